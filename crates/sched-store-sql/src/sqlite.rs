//! SQLite: its connections and its transactions.
//!
//! Every write is a transaction that takes the write lock when it begins (`BEGIN IMMEDIATE`), so that it either waits
//! its turn or has done nothing. Readers never wait (write-ahead log). The statements are in `jobs` and `runs`; time
//! comes from the caller, because SQLite has no server whose clock could be asked.

mod jobs;
mod runs;

use std::fs::File;
use std::io;
use std::time::{Duration, Instant};

use diesel::Connection;
use diesel::connection::SimpleConnection;
use diesel::r2d2::{ConnectionManager, CustomizeConnection, Pool, PooledConnection};
use diesel::result::Error as DieselError;
use diesel::sqlite::SqliteConnection;
use sched_core::{Error, ErrorKind};

use crate::backend::{Access, Backend, Statements, Try, Work, sealed};
use crate::config::Config;
use crate::error::{Fault, kind_of, no_connection, not_connected};
use crate::schema::{Dialect, Tables, VERSION};
use crate::statement::{Bind, execute, number};
use crate::url::Location;

type Manager = ConnectionManager<SqliteConnection>;

/// How long SQLite itself waits for the lock of others before this module looks again. By itself SQLite looks ever more rarely,
/// in the end each tenth of a second, so that whoever has waited for long is overtaken by whoever comes, again and again.
const LOOK: Duration = Duration::from_millis(8);

/// How much longer than a write may wait the pool waits for a connection.
const POOL_PATIENCE: Duration = Duration::from_secs(5);

/// An open database.
#[derive(Debug)]
pub(crate) struct Sqlite {
    pool: Pool<Manager>,
    shown: String,
    tables: Tables,
    /// How long the lock of others is waited for.
    patience: Duration,
}

impl Sqlite {
    /// Connects, and makes or checks the tables. `path` is `None` for a database in memory.
    pub(crate) fn open(config: &Config, path: Option<&str>) -> Result<Self, Error> {
        let shown = config.location.to_string();
        let settings = Settings(format!(
            "PRAGMA busy_timeout = {}; PRAGMA synchronous = {}; PRAGMA busy_timeout = {};",
            config.times.busy.as_millis(),
            config.synchronous,
            config.times.busy.min(LOOK).as_millis()
        ));
        if let Some(path) = path {
            // A first connection of its own: a pool would hide its error and try again for a long time.
            let mut conn = SqliteConnection::establish(path)
                .map_err(|error| tell_why(not_connected(error, &shown, |text| text), path))?;
            let ready = settings.apply(&mut conn).and_then(|()| log_ahead(&mut conn, config.times.busy));
            ready
                .map_err(|error| Fault::from(error).into_error(&shown))
                .map_err(|error| tell_why(error, path))?;
        }
        let is_file = path.is_some();
        let pool = Pool::builder()
            .max_size(if is_file { config.pool_size } else { 1 })
            .min_idle(Some(if is_file { 0 } else { 1 }))
            .test_on_check_out(false)
            .connection_timeout(config.times.busy.saturating_mul(2).saturating_add(POOL_PATIENCE))
            .connection_customizer(Box::new(settings));
        let pool = if is_file { pool } else { pool.idle_timeout(None).max_lifetime(None) };
        let pool = pool.build_unchecked(Manager::new(path.unwrap_or(":memory:")));
        Self::on(pool, config).map_err(|error| match path {
            Some(path) => tell_why(error, path),
            None => error,
        })
    }

    /// A database behind a pool, its tables made or checked.
    pub(crate) fn on(pool: Pool<Manager>, config: &Config) -> Result<Self, Error> {
        let (shown, tables) = (config.location.to_string(), config.tables.clone());
        let database = Self { pool, shown, tables, patience: config.times.busy };
        let conn = &mut *database.connection()?;
        let prepared =
            patiently(database.patience, || (false, prepare(conn, &database.tables, config.create_schema))).1;
        prepared.map_err(|fault| fault.into_error(&database.shown))?;
        Ok(database)
    }

    /// Reads, all from one moment.
    fn read(&self, now: i64, work: &mut Work<'_>) -> Result<(), Error> {
        let conn: &mut SqliteConnection = &mut *self.connection()?;
        let done = patiently(self.patience, || {
            (false, conn.transaction(|conn| work(&mut self.rows(conn, now), Try::First)))
        });
        done.1.map_err(|fault| fault.into_error(&self.shown))
    }

    /// Writes, all or nothing. Says also whether the transaction had begun.
    fn write(&self, now: i64, work: &mut Work<'_>) -> (bool, Result<(), Error>) {
        let conn: &mut SqliteConnection = &mut *match self.connection() {
            Ok(conn) => conn,
            Err(error) => return (false, Err(error)),
        };
        let (begun, done) = patiently(self.patience, || {
            let mut begun = false;
            let done = conn.immediate_transaction(|conn| {
                begun = true;
                work(&mut self.rows(conn, now), Try::First)
            });
            (begun, done)
        });
        (begun, done.map_err(|fault: Fault| fault.into_error(&self.shown)))
    }

    fn rows<'c>(&'c self, conn: &'c mut SqliteConnection, now: i64) -> Rows<'c> {
        Rows { conn, tables: &self.tables, now }
    }

    fn connection(&self) -> Result<PooledConnection<Manager>, Error> {
        self.pool.get().map_err(|error| no_connection(error, &self.shown))
    }
}

impl Backend for Sqlite {
    /// When a write could not begin, nothing has happened: it is tried once more.
    fn run(&self, access: Access, now: i64, work: &mut Work<'_>) -> Result<(), Error> {
        if access == Access::Read {
            return self.read(now, work);
        }
        match self.write(now, work) {
            (false, Err(error)) if error.is_retryable() => {
                tracing::debug!(%error, "a transaction could not begin; once more");
                self.write(now, work).1
            }
            (_, done) => done,
        }
    }

    /// Writers wait for one another.
    fn looks_first(&self) -> bool {
        true
    }
}

/// The statements on a connection.
pub(crate) struct Rows<'c> {
    conn: &'c mut SqliteConnection,
    tables: &'c Tables,
    /// The time by which leases are judged.
    now: i64,
}

impl Rows<'_> {
    /// A token that no claim ever had.
    fn new_token(&mut self) -> diesel::QueryResult<i64> {
        let sql = self.tables.sql("UPDATE {meta} SET value = value + 1 WHERE name = 'token' RETURNING value");
        number(self.conn, &sql, &[])?.ok_or(DieselError::NotFound)
    }
}

impl Statements for Rows<'_> {}

#[expect(private_interfaces, reason = "nobody outside can name the trait")]
impl sealed::Connection for SqliteConnection {
    const DIALECT: Dialect = Dialect::Sqlite;

    fn with_tables<'c>(&'c mut self, tables: &'c Tables) -> Box<dyn Statements + 'c> {
        Box::new(Rows { conn: self, tables, now: i64::MIN })
    }

    fn behind(pool: Pool<Manager>) -> Location {
        Location::SqlitePool(pool)
    }
}

/// Does something again as long as others hold the lock and it has not begun, which it says.
fn patiently<T>(
    patience: Duration,
    mut attempt: impl FnMut() -> (bool, Result<T, Fault>),
) -> (bool, Result<T, Fault>) {
    let start = Instant::now();
    loop {
        match attempt() {
            (false, Err(fault)) if fault.is_held() && start.elapsed() < patience => {}
            (begun, done) => return (begun, done),
        }
    }
}

/// SQLite does not say why a file does not open; the system does.
fn tell_why(error: Error, path: &str) -> Error {
    let text = error.to_string();
    if !text.to_ascii_lowercase().contains("unable to open") {
        return error;
    }
    let path = path.strip_prefix("file:").map_or(path, |uri| uri.split('?').next().unwrap_or(uri));
    let (kind, why) = match File::options().append(true).open(path) {
        Ok(_) => (error.kind(), "its directory has to be writable, too".to_owned()),
        Err(why) => match why.kind() {
            io::ErrorKind::ReadOnlyFilesystem => (ErrorKind::Unsupported, why.to_string()),
            io::ErrorKind::PermissionDenied => (ErrorKind::InvalidConfig, why.to_string()),
            io::ErrorKind::NotFound => (error.kind(), missing_directory(path).unwrap_or(why.to_string())),
            _ => (error.kind(), why.to_string()),
        },
    };
    Error::new(kind, format!("{text}: {why}")).with_source(error)
}

/// Says that the directory of a file is not there, by its whole path: a relative one may mean another than was thought.
fn missing_directory(path: &str) -> Option<String> {
    let directory = std::path::absolute(path).ok()?.parent()?.to_owned();
    (!directory.exists()).then(|| format!("the directory \"{}\" does not exist", directory.display()))
}

/// Makes what is missing, or says what to do.
fn prepare(conn: &mut SqliteConnection, tables: &Tables, create: bool) -> Result<(), Fault> {
    match tables.must_migrate(version(conn, tables)?, create)? {
        true => migrate(conn, tables, create),
        false => rehearse(conn, tables),
    }
    .map_err(|fault| tables.not_writable(fault))
}

/// Takes the lock for writing, which only a file that can be written has. That others hold it is no fault.
fn rehearse(conn: &mut SqliteConnection, tables: &Tables) -> Result<(), Fault> {
    match conn.batch_execute(&tables.rehearsal()) {
        Err(error) if kind_of(&error) == ErrorKind::Unavailable => Ok(()),
        done => Ok(done?),
    }
}

fn migrate(conn: &mut SqliteConnection, tables: &Tables, create: bool) -> Result<(), Fault> {
    conn.immediate_transaction(|conn| {
        // Another process may have been faster.
        let found = version(conn, tables)?;
        if tables.must_migrate(found, create)? {
            conn.batch_execute(&tables.ddl_after(found))?;
            let sql = tables.sql("UPDATE {meta} SET value = ? WHERE name = 'schema_version'");
            execute(conn, &sql, &[Bind::from(VERSION)])?;
            tables.log_migrated(found);
        }
        Ok(())
    })
}

/// The version of the tables that are there; 0 when there are none.
fn version(conn: &mut SqliteConnection, tables: &Tables) -> Result<i64, Fault> {
    const IS_THERE: &str = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = ?";
    let name = tables.sql("{meta}");
    if number(conn, IS_THERE, &[Bind::from(name.as_str())])? == Some(0) {
        return Ok(0);
    }
    let sql = tables.sql("SELECT value FROM {meta} WHERE name = 'schema_version'");
    Ok(tables.version_of(number(conn, &sql, &[])?)?)
}

/// Turns the write-ahead log on, for good. SQLite does not wait by itself while another process does the same.
fn log_ahead(conn: &mut SqliteConnection, patience: Duration) -> Result<(), DieselError> {
    const PAUSE: Duration = Duration::from_millis(10);
    let mut pauses = patience.as_millis() / PAUSE.as_millis();
    loop {
        match conn.batch_execute("PRAGMA journal_mode = WAL") {
            Err(error) if pauses > 0 && kind_of(&error) == ErrorKind::Unavailable => {
                pauses -= 1;
                std::thread::sleep(PAUSE);
            }
            done => return done,
        }
    }
}

/// What every connection is told first.
#[derive(Debug)]
struct Settings(String);

impl Settings {
    fn apply(&self, conn: &mut SqliteConnection) -> Result<(), DieselError> {
        conn.batch_execute(&self.0)
    }
}

impl CustomizeConnection<SqliteConnection, diesel::r2d2::Error> for Settings {
    fn on_acquire(&self, conn: &mut SqliteConnection) -> Result<(), diesel::r2d2::Error> {
        self.apply(conn).map_err(diesel::r2d2::Error::QueryError)
    }
}
