//! The tables: their names, the migrations that make them, and which version a database has.
//!
//! Every statement of this crate names its tables as `{jobs}`, `{runs}` and `{meta}`; here the checked names go in.
//! Migrations only go forward, under a lock that their database gives.

use std::fmt;

use sched_core::{Error, ErrorKind};

use crate::error::Fault;

/// The newest version this program knows; every database's migrations lead to it.
pub(crate) const VERSION: i64 = 1;

/// The longest prefix.
const MAX_PREFIX: usize = 40;

/// The longest name of a schema, which is PostgreSQL's limit.
const MAX_SCHEMA: usize = 63;

/// A database's way to write SQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    #[cfg(feature = "sqlite")]
    Sqlite,
    #[cfg(feature = "postgres")]
    Postgres,
    #[cfg(feature = "mysql")]
    Mysql,
}

impl Dialect {
    /// The migrations, the first of which makes version 1.
    fn migrations(self) -> &'static [&'static str] {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite => &[include_str!("../migrations/sqlite/0001_jobs_and_runs.sql")],
            #[cfg(feature = "postgres")]
            Self::Postgres => &[include_str!("../migrations/postgres/0001_jobs_and_runs.sql")],
            #[cfg(feature = "mysql")]
            Self::Mysql => &[include_str!("../migrations/mysql/0001_jobs_and_runs.sql")],
        }
    }

    /// What a store does with its tables.
    fn needed_rights(self) -> &'static str {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite => "to write the file and its directory",
            #[cfg(feature = "postgres")]
            Self::Postgres => {
                "SELECT, INSERT, UPDATE and DELETE on each of them, and USAGE on their sequence"
            }
            #[cfg(feature = "mysql")]
            Self::Mysql => "SELECT, INSERT, UPDATE and DELETE on each of them",
        }
    }

    /// Whether writers do not wait for one another.
    pub(crate) fn writes_side_by_side(self) -> bool {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite => false,
            #[cfg(feature = "postgres")]
            Self::Postgres => true,
            #[cfg(feature = "mysql")]
            Self::Mysql => true,
        }
    }

    /// What encloses a name, so that any word may be one.
    fn quote(self) -> &'static str {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite => "",
            #[cfg(feature = "postgres")]
            Self::Postgres => "\"",
            #[cfg(feature = "mysql")]
            Self::Mysql => "`",
        }
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite => "SQLite",
            #[cfg(feature = "postgres")]
            Self::Postgres => "PostgreSQL",
            #[cfg(feature = "mysql")]
            Self::Mysql => "MySQL",
        })
    }
}

/// The names of a store's tables.
#[derive(Debug, Clone)]
pub(crate) struct Tables {
    pub(crate) dialect: Dialect,
    prefix: String,
    schema: Option<String>,
}

impl Tables {
    /// Tables of that prefix; `None` when it is no plain identifier.
    pub(crate) fn new(dialect: Dialect, prefix: &str) -> Option<Self> {
        let is_free = !prefix.to_ascii_lowercase().starts_with("sqlite_");
        let fits = is_plain(prefix) && is_free && prefix.len() <= MAX_PREFIX;
        fits.then(|| Self { dialect, prefix: prefix.to_owned(), schema: None })
    }

    /// The same tables in a schema; `None` when it is no plain identifier.
    pub(crate) fn in_schema(self, schema: &str) -> Option<Self> {
        let fits = is_plain(schema) && schema.len() <= MAX_SCHEMA;
        fits.then(|| Self { schema: Some(schema.to_owned()), ..self })
    }

    /// The statement with the names put in.
    pub(crate) fn sql(&self, text: &str) -> String {
        let mut sql = String::with_capacity(text.len() + 64);
        for part in text.split('{') {
            match part.split_once('}') {
                None => sql.push_str(part),
                Some((name, rest)) => {
                    match name {
                        "prefix" => sql.push_str(&self.prefix),
                        name => self.push_table(&mut sql, name),
                    }
                    sql.push_str(rest);
                }
            }
        }
        sql
    }

    /// The whole name of a table.
    fn push_table(&self, sql: &mut String, name: &str) {
        let quote = self.dialect.quote();
        if let Some(schema) = &self.schema {
            sql.extend([quote, schema, quote, "."]);
        }
        sql.extend([quote, &self.prefix, "_", name, quote]);
    }

    /// What tells this store's locks from those of others in the same database: FNV-1a over its name, which may be longer
    /// than the name of a lock.
    #[cfg(any(feature = "postgres", feature = "mysql"))]
    pub(crate) fn lock_key(&self) -> u64 {
        let name = format!("sched:{}.{}", self.schema.as_deref().unwrap_or_default(), self.prefix);
        let fold = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        name.bytes().fold(0xcbf2_9ce4_8422_2325, fold)
    }

    /// The name of a table without its schema.
    #[cfg(feature = "mysql")]
    pub(crate) fn bare_name(&self, name: &str) -> String {
        format!("{}_{name}", self.prefix)
    }

    /// The schema that was asked for.
    #[cfg(any(feature = "postgres", feature = "mysql"))]
    pub(crate) fn schema(&self) -> Option<&str> {
        self.schema.as_deref()
    }

    /// The statements that make the tables.
    pub(crate) fn ddl(&self) -> String {
        self.ddl_after(0)
    }

    /// The statements that lead from a version to the newest.
    pub(crate) fn ddl_after(&self, version: i64) -> String {
        let done = usize::try_from(version).unwrap_or(0);
        self.dialect.migrations().iter().skip(done).map(|migration| self.sql(migration)).collect()
    }

    /// Whether tables of that version (0 for none) have to be migrated first.
    ///
    /// **Errors**: [`Unsupported`](ErrorKind::Unsupported) for a newer version,
    /// [`InvalidState`](ErrorKind::InvalidState) when they may not be migrated, with the statements to run.
    pub(crate) fn must_migrate(&self, found: i64, may_migrate: bool) -> Result<bool, Error> {
        if found > VERSION {
            let message = format!(
                "the tables \"{}_*\" have schema version {found}, newer than {VERSION}, the newest this program knows",
                self.prefix
            );
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        if found < VERSION && !may_migrate {
            return Err(self.missing(found));
        }
        Ok(found < VERSION)
    }

    /// The migration failed: says what to do where the user has no right to it.
    #[cfg(any(feature = "postgres", feature = "mysql"))]
    pub(crate) fn not_made(&self, found: i64, fault: Fault) -> Fault {
        fault.explained(ErrorKind::InvalidConfig, |reason| {
            format!(
                "the tables \"{}_*\" cannot be made: {reason}; the user needs the right to create them, or turn \
                 `create_schema` off and have another run:\n{}",
                self.prefix,
                self.ddl_after(found)
            )
        })
    }

    /// A first write failed: says which rights a store needs.
    pub(crate) fn not_writable(&self, fault: Fault) -> Fault {
        let read_only =
            |reason: &str| format!("the tables \"{}_*\" cannot be written: {reason}", self.prefix);
        let fault = fault.explained(ErrorKind::InvalidConfig, |reason| {
            format!("{}; the user needs {}", read_only(reason), self.dialect.needed_rights())
        });
        fault.explained(ErrorKind::Unsupported, read_only)
    }

    /// Statements that change nothing, and fail where a store could not write.
    pub(crate) fn rehearsal(&self) -> String {
        #[cfg(any(feature = "sqlite", feature = "mysql"))]
        const META: &str = "UPDATE {meta} SET value = value WHERE 1 = 0;";
        #[cfg(any(feature = "postgres", feature = "mysql"))]
        const TABLES: &[&str] = &["{jobs}", "{runs}"];
        let (first, tables): (&str, &[&str]) = match self.dialect {
            // A file can be written as a whole or not at all.
            #[cfg(feature = "sqlite")]
            Dialect::Sqlite => (META, &[]),
            #[cfg(feature = "postgres")]
            Dialect::Postgres => ("SELECT nextval('{tokens}');", TABLES),
            #[cfg(feature = "mysql")]
            Dialect::Mysql => (META, TABLES),
        };
        let rehearsed = tables.iter().map(|table| {
            format!(
                "INSERT INTO {table} SELECT * FROM {table} WHERE 1 = 0; \
                 UPDATE {table} SET state = state WHERE 1 = 0; DELETE FROM {table} WHERE 1 = 0;"
            )
        });
        self.sql(&std::iter::once(first.to_owned()).chain(rehearsed).collect::<String>())
    }

    /// Says that the tables were migrated.
    pub(crate) fn log_migrated(&self, from: i64) {
        tracing::info!(prefix = %self.prefix, from, to = VERSION, "migrated the schema");
    }

    /// **Errors**: [`Corrupt`](ErrorKind::Corrupt).
    pub(crate) fn version_of(&self, found: Option<i64>) -> Result<i64, Error> {
        found.ok_or_else(|| {
            let message = format!("table \"{}_meta\" has no schema version", self.prefix);
            Error::new(ErrorKind::Corrupt, message)
        })
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

/// Whether a name needs no quotes and is not empty.
fn is_plain(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(all(test, feature = "sqlite"))]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_a_plain_identifier_or_refused() {
        for good in ["sched", "_a", "apscheduler_jobs", "A9", &"x".repeat(40)] {
            assert!(Tables::new(Dialect::Sqlite, good).is_some(), "{good}");
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
            assert!(Tables::new(Dialect::Sqlite, bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn names_are_put_into_statements() {
        let tables = Tables::new(Dialect::Sqlite, "app").unwrap();
        assert_eq!(
            tables.sql("SELECT 1 FROM {jobs}, {meta} WHERE ?"),
            "SELECT 1 FROM app_jobs, app_meta WHERE ?"
        );
        let ddl = tables.ddl();
        assert!(ddl.contains("CREATE TABLE app_runs") && !ddl.contains(['{', '}']), "{ddl}");
    }

    #[cfg(feature = "postgres")]
    #[test]
    fn a_schema_goes_before_every_table() {
        let tables = Tables::new(Dialect::Postgres, "app").unwrap();
        assert!(tables.clone().in_schema("x;--").is_none());
        let tables = tables.in_schema("Jobs").unwrap();
        assert_eq!(tables.sql("DELETE FROM {jobs}"), "DELETE FROM \"Jobs\".\"app_jobs\"");
    }
}
