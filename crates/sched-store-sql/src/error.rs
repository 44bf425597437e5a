//! What goes wrong with a database, as [`Error`]s: the one place where a driver's errors are mapped.
//!
//! SQLite's own result codes do not reach this crate, only their texts, which its manual fixes. Nothing here decides
//! whether a call is repeated; the kind does.

use std::fmt;

use diesel::result::{ConnectionError, DatabaseErrorKind, Error as DieselError};
use sched_core::{Error, ErrorKind};

/// Why a transaction was rolled back: the database failed, or the store gave up.
#[derive(Debug)]
pub(crate) enum Fault {
    Database(DieselError),
    Store(Error),
}

impl From<DieselError> for Fault {
    fn from(error: DieselError) -> Self {
        Self::Database(error)
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

impl Fault {
    /// The error, saying in which database it came up.
    pub(crate) fn into_error(self, database: impl fmt::Display) -> Error {
        match self {
            Self::Store(error) => error,
            Self::Database(error) => {
                let (kind, text) = (kind_of(&error), error.to_string());
                Error::new(kind, text).in_context(database).with_source(error)
            }
        }
    }
}

/// A connection could not be made.
pub(crate) fn not_connected(error: ConnectionError, database: impl fmt::Display) -> Error {
    let (kind, text) = match &error {
        ConnectionError::InvalidConnectionUrl(text) => (ErrorKind::InvalidConfig, text.clone()),
        other => (ErrorKind::Unavailable, other.to_string()),
    };
    Error::new(kind, format!("cannot connect: {text}")).in_context(database).with_source(error)
}

/// The pool had no connection to give.
pub(crate) fn no_connection(error: diesel::r2d2::PoolError, database: impl fmt::Display) -> Error {
    Error::new(ErrorKind::Unavailable, format!("no connection: {error}"))
        .in_context(database)
        .with_source(error)
}

/// What a failed statement means.
pub(crate) fn kind_of(error: &DieselError) -> ErrorKind {
    match error {
        DieselError::DatabaseError(kind, information) => match kind {
            DatabaseErrorKind::UniqueViolation => ErrorKind::AlreadyExists,
            DatabaseErrorKind::SerializationFailure | DatabaseErrorKind::ClosedConnection => {
                ErrorKind::Unavailable
            }
            _ => kind_of_text(information.message()),
        },
        DieselError::NotFound => ErrorKind::NotFound,
        DieselError::DeserializationError(_) => ErrorKind::Corrupt,
        DieselError::BrokenTransactionManager => ErrorKind::Unavailable,
        _ => ErrorKind::Unexpected,
    }
}

/// The kind behind one of SQLite's texts. **Source**: SQLite, `sqlite3ErrStr` and "Result and Error Codes".
fn kind_of_text(text: &str) -> ErrorKind {
    const TEXTS: [(&str, ErrorKind); 11] = [
        ("is locked", ErrorKind::Unavailable),
        ("locking protocol", ErrorKind::Unavailable),
        ("unable to open database", ErrorKind::Unavailable),
        ("disk I/O error", ErrorKind::Unavailable),
        ("disk is full", ErrorKind::Unavailable),
        ("out of memory", ErrorKind::Unavailable),
        ("interrupted", ErrorKind::Timeout),
        ("readonly database", ErrorKind::Unsupported),
        ("malformed", ErrorKind::Corrupt),
        ("is not a database", ErrorKind::Corrupt),
        ("no such table", ErrorKind::InvalidState),
    ];
    TEXTS.iter().find(|(part, _)| text.contains(part)).map_or(ErrorKind::Unexpected, |(_, kind)| *kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(kind: DatabaseErrorKind, text: &str) -> ErrorKind {
        let error = DieselError::DatabaseError(kind, Box::new(text.to_owned()));
        let error = Fault::from(error).into_error("sqlite \"a\"");
        assert_eq!(error.to_string(), format!("sqlite \"a\": {text}"));
        error.kind()
    }

    #[test]
    fn what_may_pass_by_itself_is_retryable_and_the_rest_is_not() {
        let table = [
            ("database is locked", ErrorKind::Unavailable),
            ("database table is locked: sched_jobs", ErrorKind::Unavailable),
            ("database or disk is full", ErrorKind::Unavailable),
            ("disk I/O error", ErrorKind::Unavailable),
            ("unable to open database file", ErrorKind::Unavailable),
            ("attempt to write a readonly database", ErrorKind::Unsupported),
            ("database disk image is malformed", ErrorKind::Corrupt),
            ("file is not a database", ErrorKind::Corrupt),
            ("no such table: sched_jobs", ErrorKind::InvalidState),
            ("near \"x\": syntax error", ErrorKind::Unexpected),
        ];
        for (text, expected) in table {
            assert_eq!(kind(DatabaseErrorKind::Unknown, text), expected, "{text}");
        }
        assert_eq!(kind(DatabaseErrorKind::UniqueViolation, "x"), ErrorKind::AlreadyExists);
        assert_eq!(kind(DatabaseErrorKind::ClosedConnection, "x"), ErrorKind::Unavailable);
    }
}
