//! Where the database is and how it is used: URLs, the builder, and the keys of a configuration.
//!
//! Everything is checked here, once; nothing here connects.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use sched_core::{Error, ErrorKind, Fault, JobStore, Section};

use crate::schema::Tables;
use crate::store::SqlStore;

/// What `max_payload` is when it is not given: one mebibyte.
const DEFAULT_MAX_PAYLOAD: usize = 1 << 20;

/// The most connections of a pool.
const MAX_POOL: u32 = 1_024;

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

/// Where a SQLite database is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Location {
    /// In memory, for as long as the store lives.
    Memory,
    /// In a file; a path or a `file:` URI.
    File(String),
}

impl Location {
    /// Reads a URL as SQLAlchemy writes it, or a path or `file:` URI as SQLite takes it.
    fn parse(url: &str) -> Result<Self, String> {
        let url = url.trim();
        let Some((scheme, rest)) = url.split_once("://") else { return Self::parse_path(url) };
        let is_sqlite = scheme == "sqlite" || scheme.starts_with("sqlite+");
        if scheme == "file" {
            return Self::parse_path(url);
        }
        if !is_sqlite {
            return Err(format!(
                "`{}` is not a SQLite database, and this version has SQLite only",
                masked(url)
            ));
        }
        if rest.contains('?') {
            return Err(format!("`{}` has options after `?`: give them as keys of their own", masked(url)));
        }
        match rest.strip_prefix('/') {
            None if rest.is_empty() => Ok(Self::Memory),
            None => Err(format!(
                "`{}` names a host: a relative path has three slashes, an absolute one four (`sqlite:////var/jobs.sqlite`)",
                masked(url)
            )),
            Some("" | ":memory:") => Ok(Self::Memory),
            Some(path) => Self::parse_path(path),
        }
    }

    fn parse_path(path: &str) -> Result<Self, String> {
        let is_memory =
            path.contains(":memory:") || (path.starts_with("file:") && path.contains("mode=memory"));
        match path {
            "" => Err("this store needs a url, such as `sqlite:///jobs.sqlite`".to_owned()),
            _ if path.contains('\0') => Err("a path has no NUL character".to_owned()),
            _ if path.starts_with("sqlite:") => Err(format!("`{path}` is no url, expected `sqlite:///…`")),
            _ if is_memory => Ok(Self::Memory),
            _ => Ok(Self::File(path.to_owned())),
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("sqlite in memory"),
            Self::File(path) => write!(f, "sqlite \"{path}\""),
        }
    }
}

/// The URL without its password.
fn masked(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    // A password may hold any of the characters that end an authority, so that the last `@` counts.
    let (authority, path) = match path.rfind('@') {
        Some(at) if !authority.contains('@') && authority.contains(':') => {
            rest.split_at(authority.len() + at)
        }
        _ => (authority, path),
    };
    match authority.rfind('@').map_or((authority, ""), |at| authority.split_at(at)) {
        (user, host) if user.contains(':') => {
            let name = user.split(':').next().unwrap_or_default();
            format!("{scheme}://{name}:***{host}{path}")
        }
        _ => format!("{scheme}://{rest}"),
    }
}

/// A store's configuration, checked.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) location: Location,
    pub(crate) tables: Tables,
    pub(crate) pool_size: u32,
    pub(crate) busy_timeout: Duration,
    pub(crate) synchronous: Synchronous,
    pub(crate) create_schema: bool,
    pub(crate) max_payload: usize,
}

/// Builds a [`SqlStore`].
///
/// # Example
/// ```
/// use std::time::Duration;
/// use sched_store_sql::SqlStore;
///
/// let store = SqlStore::builder("sqlite:////var/lib/app/jobs.sqlite")
///     .table_prefix("app")
///     .pool_size(8)
///     .busy_timeout(Duration::from_secs(10))
///     .build()?;
/// assert!(store.ddl().contains("CREATE TABLE app_jobs"));
/// # Ok::<(), sched_core::Error>(())
/// ```
#[derive(Clone)]
#[must_use = "a builder does nothing until it builds"]
pub struct SqlStoreBuilder {
    url: String,
    prefix: String,
    pool_size: u32,
    busy_timeout: Duration,
    synchronous: Synchronous,
    create_schema: bool,
    max_payload: usize,
}

impl fmt::Debug for SqlStoreBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlStoreBuilder").field("url", &masked(&self.url)).finish_non_exhaustive()
    }
}

impl SqlStoreBuilder {
    pub(crate) fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            prefix: "sched".to_owned(),
            pool_size: 4,
            busy_timeout: Duration::from_secs(5),
            synchronous: Synchronous::default(),
            create_schema: true,
            max_payload: DEFAULT_MAX_PAYLOAD,
        }
    }

    /// The tables are named `{prefix}_jobs`, `{prefix}_runs` and `{prefix}_meta`; `sched` when not given. Letters,
    /// digits and underscores, at most 40.
    pub fn table_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// At most this many connections, from 1 to 1,024; 4 when not given. A database in memory has one.
    pub fn pool_size(mut self, connections: u32) -> Self {
        self.pool_size = connections;
        self
    }

    /// How long a write waits for the writes of other connections and processes; 5 seconds when not given.
    pub fn busy_timeout(mut self, limit: Duration) -> Self {
        self.busy_timeout = limit;
        self
    }

    /// How a commit is made durable.
    pub fn synchronous(mut self, synchronous: Synchronous) -> Self {
        self.synchronous = synchronous;
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

    /// The store; it does not connect before it is started.
    ///
    /// **Errors**: [`InvalidConfig`](ErrorKind::InvalidConfig) with every fault.
    pub fn build(self) -> Result<SqlStore, Error> {
        self.check().map(SqlStore::new).map_err(|faults| to_error(faults, str::to_owned))
    }

    /// The checked configuration, or the keys that are wrong and why.
    fn check(self) -> Result<Config, Vec<(&'static str, String)>> {
        let mut faults = Vec::new();
        let location = Location::parse(&self.url).map_err(|message| faults.push(("url", message))).ok();
        let tables = Tables::new(&self.prefix);
        if tables.is_none() {
            let message = format!(
                "`{}` is no table prefix: expected at most 40 letters, digits and underscores, the first no digit",
                self.prefix
            );
            faults.push(("tablename", message));
        }
        if !(1..=MAX_POOL).contains(&self.pool_size) {
            faults
                .push(("pool_size", format!("{} is out of range, expected 1 to {MAX_POOL}", self.pool_size)));
        }
        if i32::try_from(self.busy_timeout.as_millis()).is_err() {
            faults.push(("busy_timeout", "it is too long".to_owned()));
        }
        match (location, tables) {
            (Some(location), Some(tables)) if faults.is_empty() => Ok(Config {
                location,
                tables,
                pool_size: self.pool_size,
                busy_timeout: self.busy_timeout,
                synchronous: self.synchronous,
                create_schema: self.create_schema,
                max_payload: self.max_payload,
            }),
            _ => Err(faults),
        }
    }
}

/// The factory behind the aliases.
pub(crate) fn from_config(section: &mut Section<'_>) -> Result<Arc<dyn JobStore>, Error> {
    let mut builder = SqlStoreBuilder::new(section.string("url").unwrap_or_default());
    builder.prefix = section.string("tablename").unwrap_or(builder.prefix);
    let pool_size = section.count("pool_size", MAX_POOL).and_then(|size| u32::try_from(size).ok());
    builder.pool_size = pool_size.unwrap_or(builder.pool_size);
    builder.busy_timeout = section.duration("busy_timeout").unwrap_or(builder.busy_timeout);
    builder.create_schema = section.boolean("create_schema").unwrap_or(builder.create_schema);
    builder.max_payload = section.count("max_payload", u32::MAX).unwrap_or(builder.max_payload);
    if let Some(word) = section.string("synchronous") {
        match Synchronous::from_word(word.trim()) {
            Some(synchronous) => builder.synchronous = synchronous,
            None => {
                let words = Synchronous::WORDS.join(", ");
                section.fault("synchronous", format!("`{word}` is not one of {words}"));
            }
        }
    }
    if section.string("tableschema").is_some() {
        let message = "SQLite has no schemas: leave it out, and tell tables apart by `tablename`";
        section.fault("tableschema", message);
    }
    if section.string("codec").is_some_and(|codec| codec != "json") {
        section.fault("codec", "only `json` is known");
    }
    let config = builder.check().map_err(|faults| to_error(faults, |key| section.path_of(key)))?;
    Ok(Arc::new(SqlStore::new(config)))
}

fn to_error(faults: Vec<(&'static str, String)>, path_of: impl Fn(&str) -> String) -> Error {
    let faults = faults.into_iter();
    let faults = faults.map(|(key, message)| Fault { path: path_of(key), message, suggestion: None });
    Error::from_faults(ErrorKind::InvalidConfig, faults.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_files_or_memory() {
        let file = |path: &str| Ok(Location::File(path.to_owned()));
        let table = [
            ("sqlite:///jobs.sqlite", file("jobs.sqlite")),
            ("sqlite:///data/jobs.sqlite", file("data/jobs.sqlite")),
            ("sqlite:////var/jobs.sqlite", file("/var/jobs.sqlite")),
            ("sqlite+pysqlite:////var/jobs.sqlite", file("/var/jobs.sqlite")),
            ("sqlite:///C:\\jobs.sqlite", file("C:\\jobs.sqlite")),
            ("jobs.sqlite", file("jobs.sqlite")),
            ("/var/jobs.sqlite", file("/var/jobs.sqlite")),
            ("file:/var/jobs.sqlite?cache=private", file("file:/var/jobs.sqlite?cache=private")),
            ("file:///var/jobs.sqlite", file("file:///var/jobs.sqlite")),
            ("sqlite://", Ok(Location::Memory)),
            ("sqlite:///", Ok(Location::Memory)),
            ("sqlite:///:memory:", Ok(Location::Memory)),
            (":memory:", Ok(Location::Memory)),
            ("file::memory:?cache=shared", Ok(Location::Memory)),
            ("file:jobs?mode=memory", Ok(Location::Memory)),
        ];
        for (url, expected) in table {
            assert_eq!(Location::parse(url), expected, "{url}");
        }
        let wrong = [
            ("", "needs a url"),
            ("sqlite://jobs.sqlite", "three slashes"),
            ("sqlite:jobs.sqlite", "is no url"),
            ("sqlite:///jobs.sqlite?timeout=5", "keys of their own"),
            ("postgresql://me@host/db", "SQLite only"),
            ("mysql+pymysql://host/db", "SQLite only"),
        ];
        for (url, expected) in wrong {
            let message = Location::parse(url).unwrap_err();
            assert!(message.contains(expected), "{url}: {message}");
        }
    }

    #[test]
    fn passwords_are_masked() {
        let table = [
            ("postgresql://me:hunter2@host/db", "postgresql://me:***@host/db"),
            ("postgresql://me:hunter2@host", "postgresql://me:***@host"),
            ("postgresql://me:hun@ter2@host/db", "postgresql://me:***@host/db"),
            ("postgresql://me:hunter2/x@host/db", "postgresql://me:***@host/db"),
            ("postgresql://:hunter2@host/db", "postgresql://:***@host/db"),
            ("postgresql://me@host:5432/db", "postgresql://me@host:5432/db"),
            ("mysql://host/db", "mysql://host/db"),
        ];
        for (url, expected) in table {
            assert_eq!(masked(url), expected);
            let error = SqlStoreBuilder::new(url).build().unwrap_err().to_string();
            assert!(
                !error.contains("hunter2") && !format!("{:?}", SqlStoreBuilder::new(url)).contains("hunter2")
            );
        }
    }
}
