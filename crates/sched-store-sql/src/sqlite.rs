//! SQLite: its connections and its transactions.
//!
//! Every write is a transaction that takes the write lock when it begins (`BEGIN IMMEDIATE`), so that it either waits
//! its turn or has done nothing. Readers never wait (write-ahead log). The statements are in `jobs` and `runs`; time
//! comes from the caller, because SQLite has no server whose clock could be asked.

pub(crate) mod jobs;
pub(crate) mod runs;

use std::time::Duration;

use diesel::Connection;
use diesel::connection::SimpleConnection;
use diesel::r2d2::{ConnectionManager, CustomizeConnection, Pool, PooledConnection};
use diesel::result::Error as DieselError;
use diesel::sqlite::SqliteConnection;
use sched_core::{Error, ErrorKind};

use crate::config::{Config, Location};
use crate::error::{Fault, kind_of, no_connection, not_connected};
use crate::schema::Tables;

type Manager = ConnectionManager<SqliteConnection>;

/// How much longer than a write may wait the pool waits for a connection.
const POOL_PATIENCE: Duration = Duration::from_secs(5);

/// An open database.
#[derive(Debug, Clone)]
pub(crate) struct Database {
    pool: Pool<Manager>,
    location: Location,
    pub(crate) tables: Tables,
}

impl Database {
    /// Connects, and makes or checks the tables.
    pub(crate) fn open(config: &Config) -> Result<Self, Error> {
        let path = match &config.location {
            Location::Memory => ":memory:",
            Location::File(path) => path,
        };
        let is_file = config.location != Location::Memory;
        let settings = Settings(format!(
            "PRAGMA busy_timeout = {}; PRAGMA synchronous = {};",
            config.busy_timeout.as_millis(),
            config.synchronous
        ));
        if is_file {
            // A first connection of its own: a pool would hide its error and try again for a long time.
            let mut conn =
                SqliteConnection::establish(path).map_err(|error| not_connected(error, &config.location))?;
            let ready = settings.apply(&mut conn).and_then(|()| log_ahead(&mut conn, config.busy_timeout));
            ready.map_err(|error| Fault::from(error).into_error(&config.location))?;
        }
        let pool = Pool::builder()
            .max_size(if is_file { config.pool_size } else { 1 })
            .min_idle(Some(if is_file { 0 } else { 1 }))
            .test_on_check_out(is_file)
            .connection_timeout(config.busy_timeout.saturating_mul(2).saturating_add(POOL_PATIENCE))
            .connection_customizer(Box::new(settings));
        let pool = if is_file { pool } else { pool.idle_timeout(None).max_lifetime(None) };
        let pool = pool.build_unchecked(Manager::new(path));
        let database = Self { pool, location: config.location.clone(), tables: config.tables.clone() };
        let mut conn = database.connection()?;
        let prepared = database.tables.prepare(&mut conn, config.create_schema);
        prepared.map_err(|fault| fault.into_error(&database.location))?;
        drop(conn);
        Ok(database)
    }

    /// Reads, all from one moment.
    pub(crate) fn read<T>(
        &self,
        work: impl FnOnce(&mut SqliteConnection) -> Result<T, Fault>,
    ) -> Result<T, Error> {
        let conn: &mut SqliteConnection = &mut *self.connection()?;
        conn.transaction(work).map_err(|fault| fault.into_error(&self.location))
    }

    /// Writes, all or nothing. When the transaction could not begin, nothing has happened: it is tried once more.
    pub(crate) fn write<T>(
        &self,
        work: impl FnOnce(&mut SqliteConnection) -> Result<T, Fault>,
    ) -> Result<T, Error> {
        let mut work = Some(work);
        match self.try_write(&mut work) {
            Err(error) if work.is_some() && error.is_retryable() => {
                tracing::debug!(%error, "a transaction could not begin; once more");
                self.try_write(&mut work)
            }
            done => done,
        }
    }

    /// Takes `work` out once the transaction has begun.
    fn try_write<T, W>(&self, work: &mut Option<W>) -> Result<T, Error>
    where
        W: FnOnce(&mut SqliteConnection) -> Result<T, Fault>,
    {
        let conn: &mut SqliteConnection = &mut *self.connection()?;
        let done = conn.immediate_transaction(|conn| match work.take() {
            Some(work) => work(conn),
            None => Err(Fault::Database(DieselError::AlreadyInTransaction)),
        });
        done.map_err(|fault| fault.into_error(&self.location))
    }

    fn connection(&self) -> Result<PooledConnection<Manager>, Error> {
        self.pool.get().map_err(|error| no_connection(error, &self.location))
    }
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
