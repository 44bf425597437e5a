//! How a database is used: the builder, and the keys of a configuration.
//!
//! Everything is checked here, once; nothing here connects before a store is started.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use sched_core::codec::{DEFAULT_MAX_PAYLOAD, PayloadFormat};
use sched_core::{Error, ErrorKind, Fault, JobStore, Section};

use crate::backend::Backend;
#[cfg(feature = "mysql")]
use crate::mysql::Mysql;
#[cfg(feature = "postgres")]
use crate::postgres::Postgres;
use crate::schema::Tables;
#[cfg(feature = "sqlite")]
use crate::sqlite::Sqlite;
use crate::store::SqlStore;
use crate::url::{Location, masked};

/// The most connections of a pool.
const MAX_POOL: u32 = 1_024;

/// What is assumed when nothing is said.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(30);
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// How SQLite makes a commit durable.
///
/// **Source**: SQLite manual, `PRAGMA synchronous`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Synchronous {
    /// As `Full`, and directories too.
    Extra,
    /// Every commit is on the disk before the call returns; the default.
    #[default]
    Full,
    /// A power failure may undo the latest commits, so that a run may happen twice. The file stays sound.
    Normal,
}

impl Synchronous {
    /// The words a configuration may use.
    pub const WORDS: [&'static str; 3] = ["extra", "full", "normal"];

    /// Reads one of [`WORDS`](Self::WORDS).
    pub fn from_word(word: &str) -> Option<Self> {
        Some(match word {
            "extra" => Self::Extra,
            "full" => Self::Full,
            "normal" => Self::Normal,
            _ => return None,
        })
    }
}

impl fmt::Display for Synchronous {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Extra => "extra",
            Self::Full => "full",
            Self::Normal => "normal",
        })
    }
}

/// A store's configuration, checked.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) location: Location,
    pub(crate) tables: Tables,
    pub(crate) pool_size: u32,
    pub(crate) create_schema: bool,
    pub(crate) max_payload: usize,
    pub(crate) format: PayloadFormat,
    pub(crate) times: Times,
    #[cfg_attr(not(feature = "sqlite"), expect(dead_code, reason = "it is SQLite's"))]
    pub(crate) synchronous: Synchronous,
}

/// How long what may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    /// A write of SQLite waits for the writes of others.
    #[cfg_attr(not(feature = "sqlite"), expect(dead_code, reason = "it is SQLite's"))]
    pub(crate) busy: Duration,
    /// A connection to a server is made, or a free one is waited for.
    #[cfg_attr(
        not(any(feature = "postgres", feature = "mysql")),
        expect(dead_code, reason = "SQLite has no server")
    )]
    pub(crate) connect: Duration,
    /// A statement runs on a server.
    #[cfg_attr(
        not(any(feature = "postgres", feature = "mysql")),
        expect(dead_code, reason = "SQLite has no server")
    )]
    pub(crate) statement: Duration,
    /// A connection is kept; for ever when `None`.
    #[cfg_attr(
        not(any(feature = "postgres", feature = "mysql")),
        expect(dead_code, reason = "SQLite has no server")
    )]
    pub(crate) recycle: Option<Duration>,
}

impl Config {
    /// Connects, and makes or checks the tables.
    pub(crate) fn connect(&self) -> Result<Arc<dyn Backend>, Error> {
        Ok(match &self.location {
            #[cfg(feature = "sqlite")]
            Location::Memory => Arc::new(Sqlite::open(self, None)?),
            #[cfg(feature = "sqlite")]
            Location::File(path) => Arc::new(Sqlite::open(self, Some(path))?),
            #[cfg(feature = "sqlite")]
            Location::SqlitePool(pool) => Arc::new(Sqlite::on(pool.clone(), self)?),
            #[cfg(feature = "postgres")]
            Location::Postgres(server) => Arc::new(Postgres::open(self, server)?),
            #[cfg(feature = "postgres")]
            Location::PostgresPool(pool) => Arc::new(Postgres::on(self, pool.clone())?),
            #[cfg(feature = "mysql")]
            Location::Mysql(server) => Arc::new(Mysql::open(self, server)?),
            #[cfg(feature = "mysql")]
            Location::MysqlPool(pool) => Arc::new(Mysql::on(self, pool.clone())?),
        })
    }
}

/// Builds a [`SqlStore`].
///
/// # Example
/// ```
/// use std::time::Duration;
/// use sched_store_sql::SqlStore;
///
/// # #[cfg(feature = "sqlite")] {
/// let store = SqlStore::builder("sqlite:////var/lib/app/jobs.sqlite")
///     .table_prefix("app")
///     .pool_size(8)
///     .busy_timeout(Duration::from_secs(10))
///     .build()?;
/// assert!(store.ddl().contains("CREATE TABLE app_jobs"));
/// # }
/// # Ok::<(), sched_core::Error>(())
/// ```
#[derive(Clone)]
#[must_use = "a builder does nothing until it builds"]
pub struct SqlStoreBuilder {
    place: Place,
    prefix: String,
    schema: Option<String>,
    pool_size: u32,
    create_schema: bool,
    max_payload: usize,
    format: PayloadFormat,
    synchronous: Option<Synchronous>,
    busy_timeout: Option<Duration>,
    connect_timeout: Option<Duration>,
    statement_timeout: Option<Duration>,
    recycle: Option<Duration>,
}

/// Where the database is, as it was said.
#[derive(Clone)]
enum Place {
    Url(String),
    Given(Location),
}

impl fmt::Debug for SqlStoreBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = match &self.place {
            Place::Url(url) => masked(url),
            Place::Given(location) => location.to_string(),
        };
        f.debug_struct("SqlStoreBuilder").field("url", &place).finish_non_exhaustive()
    }
}

impl SqlStoreBuilder {
    pub(crate) fn new(url: impl Into<String>) -> Self {
        Self::at(Place::Url(url.into()))
    }

    pub(crate) fn given(location: Location) -> Self {
        Self::at(Place::Given(location))
    }

    fn at(place: Place) -> Self {
        Self {
            place,
            prefix: "sched".to_owned(),
            schema: None,
            pool_size: 4,
            create_schema: true,
            max_payload: DEFAULT_MAX_PAYLOAD,
            format: PayloadFormat::default(),
            synchronous: None,
            busy_timeout: None,
            connect_timeout: None,
            statement_timeout: None,
            recycle: None,
        }
    }

    /// The tables are named `{prefix}_jobs`, `{prefix}_runs` and `{prefix}_meta`; `sched` when not given. Letters,
    /// digits and underscores, at most 40.
    pub fn table_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// The schema of the tables, which for MySQL is a database; the connection's own when not given. It is made when it
    /// is missing and `create_schema` is on. SQLite has none.
    pub fn table_schema(mut self, schema: impl Into<String>) -> Self {
        self.schema = Some(schema.into());
        self
    }

    /// At most this many connections, from 1 to 1,024; 4 when not given. A SQLite database in memory has one, and a given
    /// pool keeps its own.
    pub fn pool_size(mut self, connections: u32) -> Self {
        self.pool_size = connections;
        self
    }

    /// How long a write of SQLite waits for the writes of other connections and processes; 5 seconds when not given.
    pub fn busy_timeout(mut self, limit: Duration) -> Self {
        self.busy_timeout = Some(limit);
        self
    }

    /// How a commit of SQLite is made durable.
    pub fn synchronous(mut self, synchronous: Synchronous) -> Self {
        self.synchronous = Some(synchronous);
        self
    }

    /// How long connecting to a server, or waiting for a free connection, may take; 5 seconds when not given.
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.connect_timeout = Some(limit);
        self
    }

    /// How long a statement may run on a server, or wait there for the locks of others; 30 seconds when not given.
    pub fn statement_timeout(mut self, limit: Duration) -> Self {
        self.statement_timeout = Some(limit);
        self
    }

    /// A connection to a server is closed and made anew when it is this old; never when not given.
    pub fn recycle_after(mut self, age: Duration) -> Self {
        self.recycle = Some(age);
        self
    }

    /// Whether `start` makes or migrates the tables; it does when not given. Without it, a start that finds them
    /// missing or old fails and names the statements to run.
    pub fn create_schema(mut self, create: bool) -> Self {
        self.create_schema = create;
        self
    }

    /// The longest payload of a job, a run or a result, in bytes; one mebibyte when not given.
    pub fn max_payload(mut self, bytes: usize) -> Self {
        self.max_payload = bytes;
        self
    }

    /// The format of the payloads that are written; JSON when not given. Either is read.
    pub fn payload_format(mut self, format: PayloadFormat) -> Self {
        self.format = format;
        self
    }

    /// The store; it does not connect before it is started.
    ///
    /// **Errors**: [`InvalidConfig`](ErrorKind::InvalidConfig) with every fault.
    pub fn build(self) -> Result<SqlStore, Error> {
        self.check().map(SqlStore::new).map_err(|faults| to_error(faults, str::to_owned))
    }

    /// The checked configuration, or the keys that are wrong and why.
    fn check(self) -> Result<Config, Vec<(&'static str, String)>> {
        let mut faults = Vec::new();
        let location = match &self.place {
            Place::Given(location) => Some(location.clone()),
            Place::Url(url) => Location::parse(url).map_err(|message| faults.push(("url", message))).ok(),
        };
        if !(1..=MAX_POOL).contains(&self.pool_size) {
            faults
                .push(("pool_size", format!("{} is out of range, expected 1 to {MAX_POOL}", self.pool_size)));
        }
        for (key, time) in [
            ("busy_timeout", self.busy_timeout),
            ("connect_timeout", self.connect_timeout),
            ("statement_timeout", self.statement_timeout),
        ] {
            if time.is_some_and(|time| i32::try_from(time.as_millis()).is_err()) {
                faults.push((key, "it is too long".to_owned()));
            }
        }
        let tables = location.as_ref().and_then(|location| self.check_tables(location, &mut faults));
        match (location, tables) {
            (Some(location), Some(tables)) if faults.is_empty() => Ok(Config {
                location,
                tables,
                pool_size: self.pool_size,
                create_schema: self.create_schema,
                max_payload: self.max_payload,
                format: self.format,
                times: Times {
                    busy: self.busy_timeout.unwrap_or(BUSY_TIMEOUT),
                    connect: self.connect_timeout.unwrap_or(CONNECT_TIMEOUT),
                    statement: self.statement_timeout.unwrap_or(STATEMENT_TIMEOUT),
                    recycle: self.recycle,
                },
                synchronous: self.synchronous.unwrap_or_default(),
            }),
            _ => Err(faults),
        }
    }

    /// What depends on the kind of database.
    fn check_tables(&self, location: &Location, faults: &mut Vec<(&'static str, String)>) -> Option<Tables> {
        let has_server = location.has_server();
        let for_sqlite =
            [("busy_timeout", self.busy_timeout.is_some()), ("synchronous", self.synchronous.is_some())];
        let for_servers = [
            ("connect_timeout", self.connect_timeout.is_some()),
            ("statement_timeout", self.statement_timeout.is_some()),
        ];
        let foreign = if has_server { for_sqlite } else { for_servers };
        for (key, _) in foreign.into_iter().filter(|(_, is_given)| *is_given) {
            let which = if has_server { "SQLite only" } else { "databases with a server only" };
            faults.push((key, format!("it is for {which}")));
        }
        let tables = Tables::new(location.dialect(), &self.prefix);
        if tables.is_none() {
            let message = format!(
                "`{}` is no table prefix: expected at most 40 letters, digits and underscores, the first no digit",
                self.prefix
            );
            faults.push(("tablename", message));
        }
        match (tables?, &self.schema) {
            (tables, None) => Some(tables),
            (_, Some(_)) if !has_server => {
                let message = "SQLite has no schemas: leave it out, and tell tables apart by `tablename`";
                faults.push(("tableschema", message.to_owned()));
                None
            }
            (tables, Some(schema)) => {
                let tables = tables.in_schema(schema);
                if tables.is_none() {
                    let message = format!(
                        "`{schema}` is no schema: expected at most 63 letters, digits and underscores, the first no digit"
                    );
                    faults.push(("tableschema", message));
                }
                tables
            }
        }
    }
}

/// The factory behind the aliases.
pub(crate) fn from_config(section: &mut Section<'_>) -> Result<Arc<dyn JobStore>, Error> {
    let mut builder = SqlStoreBuilder::new(section.string("url").unwrap_or_default());
    builder.prefix = section.string("tablename").unwrap_or(builder.prefix);
    builder.schema = section.string("tableschema");
    builder.create_schema = section.boolean("create_schema").unwrap_or(builder.create_schema);
    builder.max_payload = section.count("max_payload", u32::MAX).unwrap_or(builder.max_payload);
    builder.busy_timeout = section.duration("busy_timeout");
    builder.statement_timeout = section.duration("statement_timeout");
    read_pool(section, &mut builder);
    if let Some(mut engine) = section.section("engine_options") {
        read_engine(&mut engine, &mut builder);
        section.merge(engine);
    }
    if let Some(word) = section.string("synchronous") {
        builder.synchronous = Synchronous::from_word(word.trim());
        if builder.synchronous.is_none() {
            let words = Synchronous::WORDS.join(", ");
            section.fault("synchronous", format!("`{word}` is not one of {words}"));
        }
    }
    if let Some(word) = section.string("codec") {
        match PayloadFormat::from_word(word.trim()) {
            Ok(format) => builder.format = format,
            Err(error) => section.absorb(error, "codec"),
        }
    }
    let config = builder.check().map_err(|faults| to_error(faults, |key| section.path_of(key)))?;
    Ok(Arc::new(SqlStore::new(config)))
}

fn read_pool(section: &mut Section<'_>, builder: &mut SqlStoreBuilder) {
    let size = section.count("pool_size", MAX_POOL).and_then(|size| u32::try_from(size).ok());
    builder.pool_size = size.unwrap_or(builder.pool_size);
    builder.connect_timeout = section.duration("connect_timeout").or(builder.connect_timeout);
    builder.recycle = section.duration("recycle_after").or(builder.recycle);
}

/// The options of SQLAlchemy's engine that have a meaning here.
fn read_engine(section: &mut Section<'_>, builder: &mut SqlStoreBuilder) {
    let size = section.count("pool_size", MAX_POOL).and_then(|size| u32::try_from(size).ok());
    let more = section.count("max_overflow", MAX_POOL).and_then(|more| u32::try_from(more).ok());
    builder.pool_size = size.unwrap_or(builder.pool_size).saturating_add(more.unwrap_or(0));
    builder.connect_timeout = section.duration("pool_timeout").or(builder.connect_timeout);
    builder.recycle = section.duration("pool_recycle").or(builder.recycle);
    if section.boolean("pool_pre_ping") == Some(false) {
        section.fault("pool_pre_ping", "connections are always tested after a pause: leave it out");
    }
    // Statements are told by `tracing`, not by an option.
    section.boolean("echo");
}

fn to_error(faults: Vec<(&'static str, String)>, path_of: impl Fn(&str) -> String) -> Error {
    let faults = faults.into_iter();
    let faults = faults.map(|(key, message)| Fault { path: path_of(key), message, suggestion: None });
    Error::from_faults(ErrorKind::InvalidConfig, faults.collect())
}
