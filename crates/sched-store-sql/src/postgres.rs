//! PostgreSQL: its connections and its transactions.
//!
//! Each batch is one statement, whose lists are arrays, so that a turn costs the same number of round trips however
//! many jobs are due. What is one statement needs no transaction around it. Leases are judged by the server's clock, and
//! fencing tokens come from a sequence. The statements are in `jobs` and `runs`.

pub(crate) mod broker;
mod jobs;
mod runs;

use diesel::QueryResult;
use diesel::connection::SimpleConnection;
use diesel::pg::PgConnection;
use diesel::r2d2::{ConnectionManager, Pool};
use diesel::result::Error as DieselError;
use sched_core::Error;
use uuid::Uuid;

use crate::backend::{Access, Backend, Statements, Work, sealed};
use crate::config::{Config, Times};
use crate::error::Fault;
use crate::pool::{Client, Connections, SILENCE};
use crate::schema::{Dialect, Tables, VERSION};
use crate::statement::{Bind, execute, load, number};
use crate::url::{Location, Server};

/// The server's time in microseconds, once for a whole statement.
const NOW: &str = "(SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)";

/// When a connection that rests asks whether the other end is still there. The system's own defaults are hours.
const KEEPALIVES: [(&str, &str); 3] =
    [("keepalives_idle", "10"), ("keepalives_interval", "5"), ("keepalives_count", "3")];

/// An open database.
#[derive(Debug)]
pub(crate) struct Postgres {
    connections: Connections<PgConnection>,
    tables: Tables,
}

impl Postgres {
    /// Connects, and makes or checks the tables.
    pub(crate) fn open(config: &Config, server: &Server) -> Result<Self, Error> {
        let (connections, mut first) = Connections::open(config, server, url_of(server, &config.times))?;
        let prepared = prepare(&mut first, &config.tables, config.create_schema);
        prepared.map_err(|fault| fault.into_error(&config.location))?;
        Ok(Self { connections, tables: config.tables.clone() })
    }

    /// A database behind a pool that somebody else made, its tables made or checked.
    pub(crate) fn on(config: &Config, pool: Pool<ConnectionManager<PgConnection>>) -> Result<Self, Error> {
        let connections = Connections::given(config, pool);
        connections.with(|conn| prepare(conn, &config.tables, config.create_schema))?;
        Ok(Self { connections, tables: config.tables.clone() })
    }
}

impl Backend for Postgres {
    fn run(&self, access: Access, _now: i64, work: &mut Work<'_>) -> Result<(), Error> {
        self.connections.run(access, &mut |conn, tried| work(&mut Rows { conn, tables: &self.tables }, tried))
    }

    fn looks_first(&self) -> bool {
        false
    }
}

impl Client for PgConnection {
    /// Compiling a statement takes seconds where running it takes milliseconds: the server takes a claim from a long queue for
    /// costly, because it does not know how early it ends.
    fn set_up(&mut self, times: &Times) -> QueryResult<()> {
        let (statement, silence) = (times.statement.as_millis(), SILENCE.as_millis());
        self.batch_execute(&format!(
            "SET statement_timeout = {statement}; SET lock_timeout = {statement}; \
             SET idle_in_transaction_session_timeout = {silence}; SET jit = off;"
        ))
    }

    fn in_transaction<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T, Fault>) -> Result<T, Fault> {
        self.build_transaction().read_committed().run(work)
    }
}

/// The statements on a connection.
pub(crate) struct Rows<'c> {
    conn: &'c mut PgConnection,
    tables: &'c Tables,
}

impl Rows<'_> {
    /// The text with the names of the tables and the server's time put in.
    fn sql(&self, text: &str) -> String {
        self.tables.sql(&text.replace("{now}", NOW))
    }

    fn execute(&mut self, text: &str, binds: &[Bind<'_>]) -> QueryResult<usize> {
        let sql = self.sql(text);
        execute(self.conn, &sql, binds)
    }

    fn number(&mut self, text: &str, binds: &[Bind<'_>]) -> QueryResult<Option<i64>> {
        let sql = self.sql(text);
        number(self.conn, &sql, binds)
    }

    /// Runs a statement that answers the places, from 1, of the rows of a batch that it changed.
    fn changed(&mut self, text: &str, binds: &[Bind<'_>], rows: usize) -> QueryResult<Vec<bool>> {
        let sql = self.sql(text);
        let places: Vec<i64> = load::<diesel::sql_types::BigInt, _, _>(self.conn, &sql, binds)?;
        let mut changed = vec![false; rows];
        for place in places {
            let place = usize::try_from(place).ok().and_then(|place| place.checked_sub(1));
            if let Some(changed) = place.and_then(|place| changed.get_mut(place)) {
                *changed = true;
            }
        }
        Ok(changed)
    }
}

#[expect(private_interfaces, reason = "nobody outside can name the trait")]
impl sealed::Connection for PgConnection {
    const DIALECT: Dialect = Dialect::Postgres;

    fn with_tables<'c>(&'c mut self, tables: &'c Tables) -> Box<dyn Statements + 'c> {
        Box::new(Rows { conn: self, tables })
    }

    fn behind(pool: Pool<ConnectionManager<Self>>) -> Location {
        Location::PostgresPool(pool)
    }
}

/// The URL for the client library. A host that vanished is noticed, whether an answer is awaited or a request is on its way.
fn url_of(server: &Server, times: &Times) -> String {
    let mut defaults = vec![
        ("connect_timeout", times.connect.as_secs().max(2).to_string()),
        ("tcp_user_timeout", times.statement.as_millis().to_string()),
        ("application_name", "sched".to_owned()),
    ];
    defaults.extend(KEEPALIVES.map(|(name, value)| (name, value.to_owned())));
    server.with_defaults(&defaults)
}

/// The id of a run as the database's own type.
fn uuid_of(id: &str) -> QueryResult<Uuid> {
    Uuid::parse_str(id).map_err(|error| DieselError::SerializationError(Box::new(error)))
}

fn uuids_of<'a>(ids: impl IntoIterator<Item = &'a str>) -> QueryResult<Vec<Uuid>> {
    ids.into_iter().map(uuid_of).collect()
}

/// Makes what is missing, or says what to do. Whoever comes at the same moment waits. The lock is the session's: names
/// that were looked up in vain are remembered until a transaction ends.
fn prepare(conn: &mut PgConnection, tables: &Tables, create: bool) -> Result<(), Fault> {
    let found = version(conn, tables)?;
    if tables.must_migrate(found, create)? {
        let key = tables.lock_key().cast_signed();
        conn.batch_execute(&format!("SELECT pg_advisory_lock({key})"))?;
        let done = conn.in_transaction(|conn| migrate(conn, tables, create));
        let freed = conn.batch_execute(&format!("SELECT pg_advisory_unlock({key})"));
        done.map_err(|fault| tables.not_made(found, fault))?;
        freed?;
    }
    conn.batch_execute(&tables.rehearsal()).map_err(|error| tables.not_writable(error.into()))
}

/// Looks again: another process may have been faster.
fn migrate(conn: &mut PgConnection, tables: &Tables, create: bool) -> Result<(), Fault> {
    const IS_MISSING: &str = "SELECT 1::bigint WHERE to_regnamespace(quote_ident(?)) IS NULL";
    let found = version(conn, tables)?;
    if !tables.must_migrate(found, create)? {
        return Ok(());
    }
    if let Some(schema) = tables.schema()
        && number(conn, IS_MISSING, &[schema.into()])?.is_some()
    {
        conn.batch_execute(&format!("CREATE SCHEMA \"{schema}\""))?;
    }
    conn.batch_execute(&tables.ddl_after(found))?;
    let sql = tables.sql("UPDATE {meta} SET value = ? WHERE name = 'schema_version'");
    execute(conn, &sql, &[VERSION.into()])?;
    tables.log_migrated(found);
    Ok(())
}

/// The version of the tables that are there; 0 when there are none.
fn version(conn: &mut PgConnection, tables: &Tables) -> Result<i64, Fault> {
    const IS_MISSING: &str = "SELECT 1::bigint WHERE to_regclass(?) IS NULL";
    let name = tables.sql("{meta}");
    if number(conn, IS_MISSING, &[Bind::from(name.as_str())])?.is_some() {
        return Ok(0);
    }
    let sql = tables.sql("SELECT value FROM {meta} WHERE name = 'schema_version'");
    Ok(tables.version_of(number(conn, &sql, &[])?)?)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_host_that_vanishes_is_noticed_unless_the_url_says_otherwise() {
        let url = |url: &str| {
            let Ok(Location::Postgres(server)) = Location::parse(url) else { panic!("{url} is right") };
            let times = Times {
                busy: Duration::ZERO,
                connect: Duration::from_secs(5),
                statement: Duration::from_secs(30),
                recycle: None,
            };
            url_of(&server, &times)
        };
        assert_eq!(
            url("postgresql://host/db?keepalives_idle=60"),
            "postgresql://host/db?keepalives_idle=60&connect_timeout=5&tcp_user_timeout=30000&application_name=sched\
             &keepalives_interval=5&keepalives_count=3"
        );
    }
}
