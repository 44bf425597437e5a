//! MySQL and MariaDB: their connections and their transactions.
//!
//! A batch is one text in JSON, which the server reads as a table: the statement is the same for every size and prepared
//! once. The server takes long to read wide rows and to change what it joins, so where most is written the values are bound one
//! by one, in a statement that is made for it. Neither server answers the rows of an update, so that those are read, locked, and then changed. Leases are
//! judged by the server's clock; a fencing token comes from a row that counts. The statements are in `jobs` and `runs`.

mod jobs;
mod runs;

use std::time::Duration;

use diesel::QueryResult;
use diesel::connection::{AnsiTransactionManager, SimpleConnection, TransactionManager};
use diesel::mysql::MysqlConnection;
use diesel::r2d2::{ConnectionManager, Pool};
use diesel::result::Error as DieselError;
use diesel::sql_types::BigInt;
use sched_core::{Error, ErrorKind};
use serde::Serialize;

use crate::backend::{Access, Backend, Statements, Work, sealed};
use crate::config::{Config, Times};
use crate::error::Fault;
use crate::pool::{Client, Connections, SILENCE};
use crate::schema::{Dialect, Tables, VERSION};
use crate::statement::{Bind, execute, execute_once, load, number};
use crate::url::{Location, Server};

/// The server's time in microseconds, whatever the session's time zone is.
const NOW: &str = "TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6))";

/// How many bytes of a batch go into one statement, besides its last row. **Source**: MySQL, `max_allowed_packet`, which
/// is at least 4 MiB by default; a batch is sent in hexadecimal digits.
const MAX_PACKET: usize = 1 << 20;

/// How many rows' values are bound one by one in one statement. A server takes 65,535 values.
const MOST_ROWS: usize = 2_000;

/// How long a start waits for another process that makes the tables, in seconds.
const MIGRATION_PATIENCE: i64 = 60;

/// How long a session of MySQL may rest.
const REST: Duration = Duration::from_secs(60);

/// An open database.
#[derive(Debug)]
pub(crate) struct Mysql {
    connections: Connections<MysqlConnection>,
    tables: Tables,
}

impl Mysql {
    /// Connects, and makes or checks the tables.
    pub(crate) fn open(config: &Config, server: &Server) -> Result<Self, Error> {
        let (connections, mut first) = Connections::open(config, server, server.url().to_owned())?;
        let prepared = prepare(&mut first, &config.tables, config.create_schema);
        prepared.map_err(|fault| fault.into_error(&config.location))?;
        Ok(Self { connections, tables: config.tables.clone() })
    }

    /// A database behind a pool that somebody else made, its tables made or checked.
    pub(crate) fn on(config: &Config, pool: Pool<ConnectionManager<MysqlConnection>>) -> Result<Self, Error> {
        let connections = Connections::given(config, pool);
        connections.with(|conn| prepare(conn, &config.tables, config.create_schema))?;
        Ok(Self { connections, tables: config.tables.clone() })
    }
}

impl Backend for Mysql {
    /// Few batches are one statement here.
    fn run(&self, access: Access, _now: i64, work: &mut Work<'_>) -> Result<(), Error> {
        let access = if access == Access::Single { Access::Change } else { access };
        self.connections.run(access, &mut |conn, tried| work(&mut Rows { conn, tables: &self.tables }, tried))
    }

    fn looks_first(&self) -> bool {
        false
    }
}

impl Client for MysqlConnection {
    /// MariaDB and MySQL each know one of the two limits of a statement.
    /// MySQL does not tell a silent transaction from a session at rest, so there the limit is longer, and a connection that is
    /// not used is made anew. What is between `/*M!` and `*/` is for MariaDB alone; between `/*!80000` and `*/`, for MySQL.
    fn set_up(&mut self, times: &Times) -> QueryResult<()> {
        let (seconds, silence, rest) = (times.statement.as_secs().max(1), SILENCE.as_secs(), REST.as_secs());
        self.batch_execute(&format!(
            "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION'; \
             SET SESSION innodb_lock_wait_timeout = {seconds} \
             /*M!100300 , SESSION idle_transaction_timeout = {silence} */ \
             /*!80000 , SESSION wait_timeout = {rest} */; \
             SET SESSION lock_wait_timeout = {seconds}"
        ))?;
        let millis = times.statement.as_millis();
        self.batch_execute(&format!("SET SESSION max_statement_time = {seconds}"))
            .or_else(|_| self.batch_execute(&format!("SET SESSION max_execution_time = {millis}")))
    }

    /// The isolation is asked for each time: a given pool's sessions are its owner's.
    fn in_transaction<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T, Fault>) -> Result<T, Fault> {
        self.batch_execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")?;
        AnsiTransactionManager::transaction(self, work)
    }
}

/// The statements on a connection.
pub(crate) struct Rows<'c> {
    conn: &'c mut MysqlConnection,
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

    /// Runs a statement about rows whose values are bound one by one.
    fn execute_wide(&mut self, text: &str, binds: &[Bind<'_>]) -> QueryResult<usize> {
        let sql = self.sql(text);
        execute_once(self.conn, &sql, binds)
    }

    fn number(&mut self, text: &str, binds: &[Bind<'_>]) -> QueryResult<Option<i64>> {
        let sql = self.sql(text);
        number(self.conn, &sql, binds)
    }

    /// A token that no claim ever had. Who takes one later waits until this transaction ends.
    fn new_token(&mut self) -> QueryResult<i64> {
        self.execute("UPDATE {meta} SET value = LAST_INSERT_ID(value + 1) WHERE name = 'token'", &[])?;
        self.number("SELECT CAST(LAST_INSERT_ID() AS SIGNED)", &[])?.ok_or(DieselError::NotFound)
    }

    /// Says of each row of a batch whether its place, from 1, is among those that a statement answers.
    fn places(&mut self, text: &str, batch: &str, rows: usize) -> QueryResult<Vec<bool>> {
        let sql = self.sql(text);
        let places: Vec<i64> = load::<BigInt, _, _>(self.conn, &sql, &[batch.into()])?;
        let mut found = vec![false; rows];
        for place in places {
            let place = usize::try_from(place).ok().and_then(|place| place.checked_sub(1));
            if let Some(found) = place.and_then(|place| found.get_mut(place)) {
                *found = true;
            }
        }
        Ok(found)
    }
}

impl Statements for Rows<'_> {}

#[expect(private_interfaces, reason = "nobody outside can name the trait")]
impl sealed::Connection for MysqlConnection {
    const DIALECT: Dialect = Dialect::Mysql;

    fn with_tables<'c>(&'c mut self, tables: &'c Tables) -> Box<dyn Statements + 'c> {
        Box::new(Rows { conn: self, tables })
    }

    fn behind(pool: Pool<ConnectionManager<Self>>) -> Location {
        Location::MysqlPool(pool)
    }
}

/// A batch as the server reads it.
fn batch<T: Serialize>(rows: &[T]) -> QueryResult<String> {
    serde_json::to_string(rows).map_err(|error| DieselError::SerializationError(Box::new(error)))
}

/// The table of a batch, with the place of each row and the columns that are named.
fn table(columns: &[(&str, &str)]) -> String {
    let columns =
        columns.iter().enumerate().map(|(at, (name, kind))| format!("{name} {kind} PATH '$[{at}]'"));
    let columns: Vec<String> = columns.collect();
    format!("JSON_TABLE(?, '$[*]' COLUMNS (place FOR ORDINALITY, {})) AS v", columns.join(", "))
}

/// A batch's column of names; it has to be compared as `CAST(… AS BINARY)`.
const NAME: &str = "VARCHAR(1024) CHARACTER SET utf8mb4";
const INT: &str = "BIGINT";
/// Bytes in hexadecimal digits; `UNHEX(…)` reads them.
const BYTES: &str = "LONGTEXT";

fn hex(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];
    bytes.iter().flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]).collect()
}

/// The parts of a batch that each fit into a statement.
fn packets<T>(rows: &[T], size: impl Fn(&T) -> usize) -> Vec<&[T]> {
    let (mut parts, mut start, mut total) = (Vec::new(), 0, 0);
    for (at, row) in rows.iter().enumerate() {
        if total > MAX_PACKET {
            parts.push(&rows[start..at]);
            (start, total) = (at, 0);
        }
        total += size(row);
    }
    parts.push(&rows[start..]);
    parts
}

/// A batch in parts that one statement each can bind.
fn parts<T>(rows: &[T]) -> Vec<&[T]> {
    rows.chunks(MOST_ROWS).collect()
}

/// So many times the same, as a list.
fn listed(what: &str, times: usize) -> String {
    vec![what; times].join(", ")
}

/// Makes what is missing, or says what to do. Whoever comes at the same moment waits: a table's definition is no part of
/// a transaction here.
fn prepare(conn: &mut MysqlConnection, tables: &Tables, create: bool) -> Result<(), Fault> {
    let found = version(conn, tables)?;
    if tables.must_migrate(found, create)? {
        migrate_alone(conn, tables, create).map_err(|fault| tables.not_made(found, fault))?;
    }
    conn.batch_execute(&tables.rehearsal()).map_err(|error| tables.not_writable(error.into()))
}

fn migrate_alone(conn: &mut MysqlConnection, tables: &Tables, create: bool) -> Result<(), Fault> {
    let lock = lock_name(tables);
    let got = number(
        conn,
        "SELECT CAST(GET_LOCK(?, ?) AS SIGNED)",
        &[lock.as_str().into(), MIGRATION_PATIENCE.into()],
    )?;
    if got != Some(1) {
        let message = "another process has been making the tables for too long";
        return Err(Error::new(ErrorKind::Unavailable, message).into());
    }
    let done = migrate(conn, tables, create);
    let freed = number(conn, "SELECT CAST(RELEASE_LOCK(?) AS SIGNED)", &[lock.as_str().into()]);
    done.and(freed.map(drop).map_err(Fault::from))
}

/// **Source**: MySQL manual, "Locking Functions": a name has 64 characters at most.
fn lock_name(tables: &Tables) -> String {
    format!("sched:{:016x}", tables.lock_key())
}

/// Looks again: another process may have been faster.
fn migrate(conn: &mut MysqlConnection, tables: &Tables, create: bool) -> Result<(), Fault> {
    let found = version(conn, tables)?;
    if !tables.must_migrate(found, create)? {
        return Ok(());
    }
    if let Some(schema) = tables.schema() {
        const IS_THERE: &str = "SELECT COUNT(*) FROM information_schema.schemata WHERE schema_name = ?";
        if number(conn, IS_THERE, &[schema.into()])? == Some(0) {
            conn.batch_execute(&format!("CREATE DATABASE `{schema}`"))?;
        }
    }
    conn.batch_execute(&tables.ddl_after(found))?;
    let sql = tables.sql("UPDATE {meta} SET value = ? WHERE name = 'schema_version'");
    execute(conn, &sql, &[VERSION.into()])?;
    tables.log_migrated(found);
    Ok(())
}

/// The version of the tables that are there; 0 when there are none, or when they were not finished.
fn version(conn: &mut MysqlConnection, tables: &Tables) -> Result<i64, Fault> {
    const IS_THERE: &str = "SELECT COUNT(*) FROM information_schema.tables \
         WHERE table_schema = COALESCE(?, DATABASE()) AND table_name = ?";
    let name = tables.bare_name("meta");
    if number(conn, IS_THERE, &[tables.schema().into(), name.as_str().into()])? == Some(0) {
        return Ok(0);
    }
    let rows = number(conn, &tables.sql("SELECT COUNT(*) FROM {meta}"), &[])?;
    if rows == Some(0) {
        return Ok(0);
    }
    let sql = tables.sql("SELECT value FROM {meta} WHERE name = 'schema_version'");
    Ok(tables.version_of(number(conn, &sql, &[])?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_parted_without_loss() {
        let rows: Vec<usize> = (0..2 * MOST_ROWS + 1).collect();
        let parted = parts(&rows);
        assert_eq!(parted.iter().map(|part| part.len()).collect::<Vec<_>>(), [MOST_ROWS, MOST_ROWS, 1]);
        assert_eq!(parted.concat(), rows);
        assert_eq!(listed("(?, 1)", 2), "(?, 1), (?, 1)");
    }

    #[test]
    fn the_name_of_a_lock_is_short_enough_for_every_name_of_tables() {
        let tables = |prefix: &str, schema: &str| {
            let tables = Tables::new(Dialect::Mysql, prefix).and_then(|tables| tables.in_schema(schema));
            lock_name(&tables.unwrap())
        };
        let (long, schema) = ("x".repeat(40), "y".repeat(63));
        assert!(tables(&long, &schema).len() <= 64);
        assert_ne!(tables(&long, &schema), tables(&long, &"y".repeat(62)));
    }
}
