//! What goes wrong with a database, as [`Error`]s: the one place where the drivers' errors are mapped.
//!
//! The databases' own codes do not reach this crate, only their texts, which their manuals fix. Nothing here decides
//! whether a call is repeated; it says what is known about it.

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

    /// Tells more of a failure of the database that is of this kind.
    pub(crate) fn explained(self, kind: ErrorKind, explain: impl FnOnce(&str) -> String) -> Self {
        match self {
            Self::Database(error) if kind_of(&error) == kind => {
                Self::Store(Error::new(kind, explain(&error.to_string())).with_source(error))
            }
            other => other,
        }
    }

    /// Whether others hold the lock of a file. **Source**: SQLite, `sqlite3ErrStr` of `SQLITE_BUSY`.
    #[cfg(feature = "sqlite")]
    pub(crate) fn is_held(&self) -> bool {
        match self {
            Self::Database(DieselError::DatabaseError(_, information)) => {
                information.message() == "database is locked"
            }
            _ => false,
        }
    }

    /// Whether the connection is gone.
    #[cfg(any(feature = "postgres", feature = "mysql"))]
    pub(crate) fn is_lost(&self) -> bool {
        match self.cause() {
            Some(DieselError::BrokenTransactionManager) => true,
            Some(DieselError::DatabaseError(kind, information)) => {
                *kind == DatabaseErrorKind::ClosedConnection
                    || LOST.iter().any(|part| information.message().contains(part))
            }
            _ => false,
        }
    }

    /// Whether others were in the way, so that the database has undone everything.
    #[cfg(any(feature = "postgres", feature = "mysql"))]
    pub(crate) fn is_conflict(&self) -> bool {
        match self.cause() {
            Some(DieselError::DatabaseError(DatabaseErrorKind::SerializationFailure, _)) => true,
            Some(DieselError::DatabaseError(_, information)) => {
                CONFLICTS.iter().any(|part| information.message().contains(part))
            }
            _ => false,
        }
    }

    /// What failed first. After a commit that failed, a rollback fails too where the connection is gone.
    #[cfg(any(feature = "postgres", feature = "mysql"))]
    fn cause(&self) -> Option<&DieselError> {
        match self {
            Self::Store(_) => None,
            Self::Database(DieselError::RollbackErrorOnCommit { commit_error, .. }) => Some(commit_error),
            Self::Database(error) => Some(error),
        }
    }
}

/// Texts of a connection that is gone. **Source**: libpq, `fe-exec.c` and `fe-misc.c`; MySQL, "Client Error Message
/// Reference" 2006, 2013, 2055; "Server Error Message Reference" 1053, 1927.
#[cfg(any(feature = "postgres", feature = "mysql"))]
const LOST: [&str; 11] = [
    "server closed the connection",
    "terminating connection",
    "no connection to the server",
    "connection not open",
    "could not receive data from server",
    "could not send data to server",
    "SSL connection has been closed",
    "has gone away",
    "Lost connection to",
    "Server shutdown in progress",
    "Connection was killed",
];

/// Texts of transactions that were undone for others' sake. **Source**: PostgreSQL manual, appendix A, class 40; MySQL,
/// errors 1205, 1213; MariaDB, error 1020.
#[cfg(any(feature = "postgres", feature = "mysql"))]
const CONFLICTS: [&str; 5] = [
    "deadlock detected",
    "could not serialize access",
    "Deadlock found",
    "Lock wait timeout exceeded",
    "Record has changed since last read",
];

/// A connection could not be made. The text may hold the URL: it is given as it may be shown.
pub(crate) fn not_connected(
    error: ConnectionError,
    database: impl fmt::Display,
    shown: impl Fn(String) -> String,
) -> Error {
    let (kind, text) = match error {
        ConnectionError::InvalidConnectionUrl(text) => (ErrorKind::InvalidConfig, text),
        ConnectionError::BadConnection(text) => (kind_of_connection(&text), text),
        other => (ErrorKind::Unavailable, other.to_string()),
    };
    // A client library may answer with several lines.
    let text = shown(text.split_whitespace().collect::<Vec<_>>().join(" "));
    Error::new(kind, format!("cannot connect: {text}")).in_context(database)
}

/// The pool had no connection to give.
#[cfg(feature = "sqlite")]
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
            DatabaseErrorKind::ReadOnlyTransaction => ErrorKind::Unsupported,
            DatabaseErrorKind::SerializationFailure | DatabaseErrorKind::ClosedConnection => {
                ErrorKind::Unavailable
            }
            _ => kind_of_text(information.message()),
        },
        DieselError::NotFound => ErrorKind::NotFound,
        DieselError::DeserializationError(_) => ErrorKind::Corrupt,
        DieselError::BrokenTransactionManager => ErrorKind::Unavailable,
        DieselError::RollbackErrorOnCommit { commit_error, .. } => kind_of(commit_error),
        _ => ErrorKind::Unexpected,
    }
}

/// The kind behind the text of a failed connection: what nobody mends by waiting is the configuration's fault.
fn kind_of_connection(text: &str) -> ErrorKind {
    const WRONG: [&str; 14] = [
        "password authentication failed",
        "no password supplied",
        "no pg_hba.conf entry",
        "does not exist",
        "permission denied",
        "invalid URI",
        "invalid connection option",
        "invalid sslmode",
        "root certificate file",
        "server does not support SSL",
        "certificate verify failed",
        "Access denied",
        "Unknown database",
        "is not allowed to connect",
    ];
    const SLOW: [&str; 3] = ["timeout expired", "timed out", "Timeout"];
    let has = |parts: &[&str]| parts.iter().any(|part| text.contains(part));
    match () {
        () if has(&WRONG) => ErrorKind::InvalidConfig,
        () if has(&SLOW) => ErrorKind::Timeout,
        () => ErrorKind::Unavailable,
    }
}

/// The kind behind the text of a failed statement. **Source**: SQLite, `sqlite3ErrStr` and "Result and Error Codes";
/// PostgreSQL manual, appendix A; MySQL, "Server Error Message Reference".
fn kind_of_text(text: &str) -> ErrorKind {
    use ErrorKind::{Corrupt, InvalidConfig, InvalidJob, InvalidState, Timeout, Unavailable, Unsupported};
    const TEXTS: [(&str, ErrorKind); 41] = [
        ("is locked", Unavailable),
        ("locking protocol", Unavailable),
        ("unable to open database", Unavailable),
        ("disk I/O error", Unavailable),
        ("disk is full", Unavailable),
        ("out of memory", Unavailable),
        ("interrupted", Timeout),
        ("readonly database", Unsupported),
        ("malformed", Corrupt),
        ("is not a database", Corrupt),
        ("no such table", InvalidState),
        ("canceling statement due to statement timeout", Timeout),
        ("canceling statement due to lock timeout", Timeout),
        ("deadlock detected", Unavailable),
        ("the database system is", Unavailable),
        ("server closed the connection", Unavailable),
        ("terminating connection", Unavailable),
        ("no connection to the server", Unavailable),
        ("could not receive data from server", Unavailable),
        ("too many clients", Unavailable),
        ("remaining connection slots", Unavailable),
        ("could not extend file", Unavailable),
        ("No space left on device", Unavailable),
        ("read-only transaction", Unsupported),
        ("permission denied", InvalidConfig),
        ("invalid byte sequence", Corrupt),
        ("has gone away", Unavailable),
        ("Lost connection to", Unavailable),
        ("Server shutdown in progress", Unavailable),
        ("Connection was killed", Unavailable),
        ("Deadlock found", Unavailable),
        ("Lock wait timeout exceeded", Timeout),
        ("Too many connections", Unavailable),
        ("maximum statement execution time exceeded", Timeout),
        ("max_statement_time exceeded", Timeout),
        ("--read-only option", Unsupported),
        ("is full", Unavailable),
        ("index row size", InvalidJob),
        ("Data too long", InvalidJob),
        ("command denied", InvalidConfig),
        ("Access denied", InvalidConfig),
    ];
    if let Some((_, kind)) = TEXTS.iter().find(|(part, _)| text.contains(part)) {
        return *kind;
    }
    // `relation "x" does not exist`, `Table 'x' doesn't exist`.
    match text.contains("does not exist") || text.contains("doesn't exist") {
        true => InvalidState,
        false => ErrorKind::Unexpected,
    }
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
            ("canceling statement due to statement timeout", ErrorKind::Timeout),
            ("relation \"sched_jobs\" does not exist", ErrorKind::InvalidState),
            ("permission denied for table sched_jobs", ErrorKind::InvalidConfig),
            ("Table 'a.sched_jobs' doesn't exist", ErrorKind::InvalidState),
            ("MySQL server has gone away", ErrorKind::Unavailable),
            ("Lock wait timeout exceeded; try restarting transaction", ErrorKind::Timeout),
            ("INSERT command denied to user 'a'@'b' for table `c`.`d`", ErrorKind::InvalidConfig),
        ];
        for (text, expected) in table {
            assert_eq!(kind(DatabaseErrorKind::Unknown, text), expected, "{text}");
        }
        assert_eq!(kind(DatabaseErrorKind::UniqueViolation, "x"), ErrorKind::AlreadyExists);
        assert_eq!(kind(DatabaseErrorKind::ClosedConnection, "x"), ErrorKind::Unavailable);
    }

    #[test]
    fn a_connection_that_waiting_does_not_mend_is_the_configurations_fault() {
        let table = [
            ("FATAL: password authentication failed for user \"me\"", ErrorKind::InvalidConfig),
            ("FATAL: database \"x\" does not exist", ErrorKind::InvalidConfig),
            ("Access denied for user 'me'@'localhost' (using password: YES)", ErrorKind::InvalidConfig),
            ("Unknown database 'x'", ErrorKind::InvalidConfig),
            ("could not connect to server: Connection refused", ErrorKind::Unavailable),
            ("FATAL: the database system is starting up", ErrorKind::Unavailable),
            ("timeout expired", ErrorKind::Timeout),
        ];
        for (text, expected) in table {
            let error = ConnectionError::BadConnection(format!("{text}\n"));
            let error = not_connected(error, "db", |text| text);
            assert_eq!((error.kind(), error.to_string()), (expected, format!("db: cannot connect: {text}")));
        }
    }
}
