//! The tables: their names, the migrations that make them, and which version a database has.
//!
//! Every statement of this crate names its tables as `{jobs}`, `{runs}` and `{meta}`; here the checked prefix goes in.
//! Migrations only go forward, each in the transaction that also writes its number.

use diesel::connection::SimpleConnection;
use diesel::sqlite::SqliteConnection;
use sched_core::{Error, ErrorKind};

use crate::error::Fault;
use crate::statement::{Bind, execute, number};

/// The migrations, the first of which makes version 1.
const MIGRATIONS: [&str; 1] = [include_str!("../migrations/sqlite/0001_jobs_and_runs.sql")];

/// The newest version this program knows.
pub(crate) const VERSION: i64 = 1;

/// The longest prefix.
const MAX_PREFIX: usize = 40;

/// The names of a store's tables.
#[derive(Debug, Clone)]
pub(crate) struct Tables {
    prefix: String,
}

impl Tables {
    /// Tables of that prefix; `None` when it is no plain identifier.
    pub(crate) fn new(prefix: &str) -> Option<Self> {
        let starts_well = prefix.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
        let is_plain = prefix.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let is_free = !prefix.to_ascii_lowercase().starts_with("sqlite_");
        let fits = starts_well && is_plain && is_free && prefix.len() <= MAX_PREFIX;
        fits.then(|| Self { prefix: prefix.to_owned() })
    }

    /// The statement with the names put in.
    pub(crate) fn sql(&self, text: &str) -> String {
        let mut sql = String::with_capacity(text.len() + 32);
        for part in text.split('{') {
            match part.split_once('}') {
                None => sql.push_str(part),
                Some((name, rest)) => {
                    sql.push_str(&self.prefix);
                    if name != "prefix" {
                        sql.push('_');
                        sql.push_str(name);
                    }
                    sql.push_str(rest);
                }
            }
        }
        sql
    }

    /// The statements that make the tables.
    pub(crate) fn ddl(&self) -> String {
        self.ddl_after(0)
    }

    /// Makes what is missing, or says what to do.
    pub(crate) fn prepare(&self, conn: &mut SqliteConnection, create: bool) -> Result<(), Fault> {
        let found = self.version(conn)?;
        if found > VERSION {
            let message = format!(
                "the tables \"{}_*\" have schema version {found}, newer than {VERSION}, the newest this program knows",
                self.prefix
            );
            return Err(Error::new(ErrorKind::Unsupported, message).into());
        }
        if found == VERSION {
            return Ok(());
        }
        if !create {
            return Err(self.missing(found).into());
        }
        conn.immediate_transaction(|conn| self.migrate(conn))
    }

    /// Looks again inside the transaction: another process may have been faster.
    fn migrate(&self, conn: &mut SqliteConnection) -> Result<(), Fault> {
        let found = self.version(conn)?;
        if found < VERSION {
            conn.batch_execute(&self.ddl_after(found))?;
            let sql = self.sql("UPDATE {meta} SET value = ? WHERE name = 'schema_version'");
            execute(conn, &sql, &[VERSION.into()])?;
            tracing::info!(prefix = %self.prefix, from = found, to = VERSION, "migrated the schema");
        }
        Ok(())
    }

    /// The version of the tables that are there; 0 when there are none.
    fn version(&self, conn: &mut SqliteConnection) -> Result<i64, Fault> {
        const IS_THERE: &str = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = ?";
        let name = self.sql("{meta}");
        if number(conn, IS_THERE, &[Bind::from(name.as_str())])? == Some(0) {
            return Ok(0);
        }
        let sql = self.sql("SELECT value FROM {meta} WHERE name = 'schema_version'");
        number(conn, &sql, &[])?.ok_or_else(|| {
            let message = format!("table \"{name}\" has no schema version");
            Error::new(ErrorKind::Corrupt, message).into()
        })
    }

    fn ddl_after(&self, version: i64) -> String {
        let done = usize::try_from(version).unwrap_or(0);
        MIGRATIONS.iter().skip(done).map(|migration| self.sql(migration)).collect()
    }

    fn missing(&self, found: i64) -> Error {
        let state = match found {
            0 => "are missing".to_owned(),
            older => format!("have schema version {older}, older than {VERSION}"),
        };
        let message = format!(
            "the tables \"{}_*\" {state} and `create_schema` is off; run:\n{}",
            self.prefix,
            self.ddl_after(found)
        );
        Error::new(ErrorKind::InvalidState, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_a_plain_identifier_or_refused() {
        for good in ["sched", "_a", "apscheduler_jobs", "A9", &"x".repeat(40)] {
            assert!(Tables::new(good).is_some(), "{good}");
        }
        let long = "x".repeat(41);
        let bad = [
            "",
            "9a",
            "a b",
            "a;DROP TABLE x",
            "a\"",
            "a'",
            "a.b",
            "a-b",
            "\u{e4}",
            "sqlite_x",
            "a{jobs}",
            &long,
        ];
        for bad in bad {
            assert!(Tables::new(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn names_are_put_into_statements() {
        let tables = Tables::new("app").unwrap();
        assert_eq!(
            tables.sql("SELECT 1 FROM {jobs}, {meta} WHERE ?"),
            "SELECT 1 FROM app_jobs, app_meta WHERE ?"
        );
        let ddl = tables.ddl();
        assert!(ddl.contains("CREATE TABLE app_runs") && !ddl.contains(['{', '}']), "{ddl}");
    }
}
