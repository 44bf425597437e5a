//! What goes wrong with a server, as [`Error`]s: the one place where the client's errors are mapped.

use std::fmt;

use redis::{ErrorKind as ClientKind, RedisError};
use sched_core::{Error, ErrorKind};

/// The error, saying at which server it came up.
pub(crate) fn from_client(error: RedisError, server: impl fmt::Display) -> Error {
    let (kind, hint) = meaning(&error);
    let text = match hint {
        Some(hint) => format!("{hint} ({error})"),
        None => error.to_string(),
    };
    Error::new(kind, text).in_context(server).with_source(error)
}

/// Whether the connection is of no use any more. A replica that answers `READONLY` may have been the primary before.
pub(crate) fn spoils_connection(error: &RedisError) -> bool {
    error.is_io_error()
        || error.is_unrecoverable_error()
        || matches!(error.kind(), ClientKind::Parse | ClientKind::AuthenticationFailed)
        || error.code() == Some("READONLY")
}

/// Whether nobody can tell if the request was done, so that it is sent again, under the same name.
pub(crate) fn is_lost(error: &RedisError) -> bool {
    error.is_io_error() || error.is_connection_dropped()
}

/// What an error code means. **Source**: Redis, `server.c` (`createSharedObjects`), and the pages on ACL and Cluster.
const CODES: [(&str, ErrorKind, &str); 15] = [
    ("WRONGPASS", ErrorKind::InvalidConfig, "the user or the password is wrong"),
    ("NOAUTH", ErrorKind::InvalidConfig, "the server wants a password"),
    ("NOPERM", ErrorKind::InvalidConfig, "the user lacks a right: README.md has the list"),
    ("MOVED", ErrorKind::InvalidConfig, "the server is a node of a cluster: set `cluster`"),
    ("CROSSSLOT", ErrorKind::InvalidConfig, "the server is a node of a cluster: set `cluster`"),
    ("READONLY", ErrorKind::Unavailable, "the server is a read-only replica"),
    ("OOM", ErrorKind::Unavailable, "the server has reached its `maxmemory`"),
    ("LOADING", ErrorKind::Unavailable, "the server is still loading its data"),
    ("BUSY", ErrorKind::Unavailable, "the server is busy with another script"),
    ("MISCONF", ErrorKind::Unavailable, "the server cannot write to its disk"),
    ("NOREPLICAS", ErrorKind::Unavailable, "the server has too few replicas to write"),
    ("MASTERDOWN", ErrorKind::Unavailable, "the server has lost its primary"),
    ("CLUSTERDOWN", ErrorKind::Unavailable, "the cluster is down"),
    ("TRYAGAIN", ErrorKind::Unavailable, "the cluster moves the keys"),
    ("WRONGTYPE", ErrorKind::Corrupt, "a key of this prefix is somebody else's"),
];

fn meaning(error: &RedisError) -> (ErrorKind, Option<&'static str>) {
    if error.is_timeout() {
        return (ErrorKind::Timeout, Some("the server did not answer in time"));
    }
    if let Some((_, kind, hint)) =
        error.code().and_then(|code| CODES.iter().find(|(known, ..)| *known == code))
    {
        return (*kind, Some(hint));
    }
    match error.kind() {
        ClientKind::Io | ClientKind::ClusterConnectionNotFound => (ErrorKind::Unavailable, None),
        ClientKind::MasterNameNotFoundBySentinel => {
            (ErrorKind::Unavailable, Some("no Sentinel knows the primary: check `master`"))
        }
        ClientKind::AuthenticationFailed => {
            (ErrorKind::InvalidConfig, Some("the user or the password is wrong"))
        }
        ClientKind::InvalidClientConfig => (ErrorKind::InvalidConfig, None),
        _ => (ErrorKind::Unexpected, None),
    }
}
