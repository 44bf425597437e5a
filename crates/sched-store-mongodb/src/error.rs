//! What goes wrong with a server, as [`Error`]s: the one place where the driver's errors and the server's codes are mapped.
//!
//! Writes are commands whose replies are read here too, because a reply with `writeErrors` is no error to the driver.
//! Nothing here decides whether a call is repeated; the kind does.

use std::fmt;

use mongodb::bson::{RawBsonRef, RawDocument};
use mongodb::error::{Error as DriverError, ErrorKind as DriverKind, WriteFailure};
use sched_core::{Error, ErrorKind};

/// A unique index refuses a document.
const DUPLICATE_KEY: i32 = 11_000;

/// The user may not do that.
const NO_RIGHTS: i32 = 13;

/// The user is not known, or has another password.
const WRONG_PASSWORD: i32 = 18;

/// A statement of a write that was refused; the others were not affected.
#[derive(Debug)]
pub(crate) struct Refused {
    /// Which one, counted over all statements.
    pub(crate) index: usize,
    code: i32,
    message: String,
}

impl Refused {
    /// Whether a unique index refused it.
    pub(crate) fn is_duplicate(&self) -> bool {
        self.code == DUPLICATE_KEY
    }

    pub(crate) fn into_error(self, place: impl fmt::Display) -> Error {
        Error::new(kind_of_code(self.code), self.message).in_context(place)
    }
}

/// The reply of a write.
#[derive(Debug, Default)]
pub(crate) struct Reply {
    /// Documents that were inserted, matched or deleted.
    pub(crate) changed: usize,
    /// Statements that were refused.
    pub(crate) refused: Vec<Refused>,
}

impl Reply {
    /// Reads a reply, whose statements begin at `first` of all.
    ///
    /// **Errors**: [`Timeout`](ErrorKind::Timeout) and others when the write is not known to be durable.
    pub(crate) fn read(reply: &RawDocument, first: usize) -> Result<Self, Error> {
        if let Ok(concern) = reply.get_document("writeConcernError") {
            let message = format!("the write is not durable: {}", message_of(concern));
            return Err(Error::new(kind_of_code(code_of(concern)), message));
        }
        let changed = number(reply, "n").and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
        let faults = reply.get_array("writeErrors").ok();
        let faults = faults.into_iter().flatten().filter_map(Result::ok).filter_map(RawBsonRef::as_document);
        let refused = faults.map(|fault| {
            let index = number(fault, "index").and_then(|index| usize::try_from(index).ok()).unwrap_or(0);
            Refused { index: first + index, code: code_of(fault), message: message_of(fault) }
        });
        Ok(Self { changed, refused: refused.collect() })
    }

    /// Reads the reply that a failed command has after all. The server cuts the long keys that it quotes, which may split
    /// a character, and then the driver can read none of the reply.
    pub(crate) fn of_unread(error: &DriverError, first: usize) -> Option<Result<Self, Error>> {
        let is_unread =
            matches!(error.kind.as_ref(), DriverKind::Bson(_) | DriverKind::InvalidResponse { .. });
        let reply = error.server_response().filter(|_| is_unread)?;
        let is_ok = reply.get("ok").ok()??;
        let is_ok = is_ok.as_f64() == Some(1.0) || is_ok.as_i32() == Some(1);
        is_ok.then(|| Self::read(reply, first))
    }

    /// How many documents were changed. **Errors**: that of the first statement that was refused.
    pub(crate) fn all(self, place: impl fmt::Display) -> Result<usize, Error> {
        match self.refused.into_iter().next() {
            Some(refused) => Err(refused.into_error(place)),
            None => Ok(self.changed),
        }
    }
}

/// The error of a call to the server at `place`.
pub(crate) fn failed(error: DriverError, place: impl fmt::Display) -> Error {
    let text = match advice(&error) {
        Some(advice) => format!("{}: {advice}", text_of(&error)),
        None => text_of(&error),
    };
    let failed = Error::new(kind_of(&error), text).in_context(place);
    match error.kind.as_ref() {
        // The text has all of it that people can use.
        DriverKind::ServerSelection { .. } => failed,
        _ => failed.with_source(error),
    }
}

/// What to do about it, where that is known.
fn advice(error: &DriverError) -> Option<&'static str> {
    if let Some(code) = server_code(error) {
        return advice_on_code(code);
    }
    match error.kind.as_ref() {
        DriverKind::Authentication { .. } => advice_on_code(WRONG_PASSWORD),
        DriverKind::ServerSelection { .. } => {
            Some("is the server up, the address right, and `replicaSet` the name of its set, if it is one?")
        }
        _ => None,
    }
}

fn advice_on_code(code: i32) -> Option<&'static str> {
    match code {
        NO_RIGHTS => Some("log in as a user with the role `readWrite` on this database"),
        WRONG_PASSWORD | 8_000 => Some(
            "the user or the password is wrong, or another database knows the user: name it as `authSource` in the URL, or as `auth_source`",
        ),
        10_107 | 13_435 => Some(
            "it takes no writes now: name `replicaSet` and not only this member, so that the primary is found",
        ),
        79 | 100 => Some("every write waits for a majority of the members that keep data"),
        _ => None,
    }
}

/// The code by which the server refused, in whichever of its shapes the driver tells it.
fn server_code(error: &DriverError) -> Option<i32> {
    match error.kind.as_ref() {
        DriverKind::Command(command) => Some(command.code),
        DriverKind::Write(WriteFailure::WriteError(write)) => Some(write.code),
        DriverKind::Write(WriteFailure::WriteConcernError(concern)) => Some(concern.code),
        DriverKind::InsertMany(many) => many.write_errors.iter().flatten().map(|write| write.code).next(),
        _ => None,
    }
}

/// Whether a unique index refused what was to be written.
pub(crate) fn is_duplicate(error: &DriverError) -> bool {
    server_code(error) == Some(DUPLICATE_KEY)
}

/// Whether an index of that name or shape is there with other options.
pub(crate) fn is_index_conflict(error: &DriverError) -> bool {
    matches!(server_code(error), Some(85 | 86))
}

/// Whether the collection that was named is not there.
pub(crate) fn is_missing_collection(error: &DriverError) -> bool {
    server_code(error) == Some(26)
}

/// What a failed call means.
pub(crate) fn kind_of(error: &DriverError) -> ErrorKind {
    if let Some(code) = server_code(error) {
        let may_pass = ["RetryableWriteError", "TransientTransactionError"];
        return match kind_of_code(code) {
            ErrorKind::Unexpected if may_pass.iter().any(|label| error.contains_label(label)) => {
                ErrorKind::Unavailable
            }
            kind => kind,
        };
    }
    match error.kind.as_ref() {
        DriverKind::Io(_)
        | DriverKind::ConnectionPoolCleared { .. }
        | DriverKind::DnsResolve { .. }
        | DriverKind::ServerSelection { .. } => ErrorKind::Unavailable,
        DriverKind::Authentication { .. }
        | DriverKind::InvalidArgument { .. }
        | DriverKind::InvalidTlsConfig { .. } => ErrorKind::InvalidConfig,
        DriverKind::IncompatibleServer { .. } | DriverKind::SessionsNotSupported => ErrorKind::Unsupported,
        DriverKind::Shutdown => ErrorKind::Closed,
        _ => ErrorKind::Unexpected,
    }
}

/// What the server's code means. **Source**: MongoDB, `src/mongo/base/error_codes.yml`.
fn kind_of_code(code: i32) -> ErrorKind {
    match code {
        DUPLICATE_KEY => ErrorKind::AlreadyExists,
        // The wait for the write concern, or for the command, was too long.
        50 | 64 | 202 | 262 => ErrorKind::Timeout,
        // Hosts that are gone, primaries that step down, shut down or are elected, conflicts, a full disk.
        6 | 7 | 43 | 89 | 91 | 112 | 133 | 189 | 9_001 | 10_107 | 11_600 | 11_602 | 13_435 | 13_436
        | 14_031 | 16_500 => ErrorKind::Unavailable,
        // Credentials, rights, a write concern that the members cannot satisfy.
        NO_RIGHTS | WRONG_PASSWORD | 79 | 100 | 8_000 => ErrorKind::InvalidConfig,
        20 | 59 | 115 => ErrorKind::Unsupported,
        // A document that is too large.
        10_334 | 17_280 | 17_419 | 17_420 => ErrorKind::InvalidJob,
        _ => ErrorKind::Unexpected,
    }
}

/// The driver's text, without its wrapping.
fn text_of(error: &DriverError) -> String {
    match error.kind.as_ref() {
        DriverKind::Command(command) => format!("{} ({})", command.message, command.code_name),
        DriverKind::ServerSelection { message, .. } => unusable_servers(message),
        _ => error.kind.to_string(),
    }
}

/// Of the driver's view of the servers, which it tells as text only, the address of each and why it cannot be used: the
/// error it answers with, or else the kind of member it is. A text of another shape is left as it is.
fn unusable_servers(message: &str) -> String {
    let Some((_, topology)) = message.split_once(" Topology: ") else { return message.to_owned() };
    let servers = topology.split("{ Address: ").skip(1).filter_map(|server| {
        let (address, rest) = server.split_once(", Type: ")?;
        let why = match rest.split_once(", Error: ") {
            Some((_, error)) => {
                let error = error.strip_prefix("Kind: ").unwrap_or(error);
                error.split_once(", labels: ").map_or(error, |(kind, _)| kind)
            }
            None => rest.split([',', ' ']).next()?,
        };
        Some(format!("{address} ({})", why.strip_prefix("I/O error: ").unwrap_or(why)))
    });
    let servers: Vec<String> = servers.collect();
    match servers.is_empty() {
        true => message.to_owned(),
        false => format!("no server can be used: {}", servers.join(", ")),
    }
}

fn code_of(document: &RawDocument) -> i32 {
    number(document, "code").and_then(|code| i32::try_from(code).ok()).unwrap_or(0)
}

fn message_of(document: &RawDocument) -> String {
    document.get_str("errmsg").unwrap_or("(a text that cannot be read)").to_owned()
}

/// A whole number, in whichever of its types the server writes it.
fn number(document: &RawDocument, key: &str) -> Option<i64> {
    let value = document.get(key).ok()??;
    value.as_i64().or_else(|| value.as_i32().map(i64::from))
}

#[cfg(test)]
mod tests {
    use super::*;
    use mongodb::bson::rawdoc;

    #[test]
    fn what_may_pass_by_itself_is_retryable_and_the_rest_is_not() {
        let table = [
            (91, ErrorKind::Unavailable),
            (10_107, ErrorKind::Unavailable),
            (112, ErrorKind::Unavailable),
            (64, ErrorKind::Timeout),
            (50, ErrorKind::Timeout),
            (18, ErrorKind::InvalidConfig),
            (13, ErrorKind::InvalidConfig),
            (11_000, ErrorKind::AlreadyExists),
            (20, ErrorKind::Unsupported),
            (9, ErrorKind::Unexpected),
        ];
        for (code, kind) in table {
            assert_eq!(kind_of_code(code), kind, "{code}");
        }
        let lost = DriverError::from(std::io::Error::other("gone"));
        assert_eq!(kind_of(&lost), ErrorKind::Unavailable);
    }

    #[test]
    fn a_reply_tells_what_was_changed_and_what_was_refused() {
        let reply = rawdoc! {
            "n": 3,
            "writeErrors": [{ "index": 1, "code": 11_000, "errmsg": "twice" }, { "index": 4, "code": 2, "errmsg": "bad" }],
            "ok": 1.0,
        };
        let reply = Reply::read(&reply, 100).unwrap();
        assert_eq!(reply.changed, 3);
        let refused: Vec<_> = reply.refused.iter().map(|it| (it.index, it.is_duplicate())).collect();
        assert_eq!(refused, [(101, true), (104, false)]);
        assert_eq!(reply.all("here").unwrap_err().to_string(), "here: twice");
    }

    #[test]
    fn of_servers_that_cannot_be_used_the_address_and_the_cause_are_told() {
        let refused = "Server selection timeout: No available servers. Topology: { Type: Unknown, Servers: [ \
            { Address: db.example:27017, Type: Unknown, Error: Kind: I/O error: Connection refused (os error 111), labels: \
            {\"A\"}, source: None, server response: None }, { Address: [::1]:1, Type: Unknown, Error: Kind: DNS: none, \
            labels: {}, source: None, server response: None } ] }";
        let expected = "no server can be used: db.example:27017 (Connection refused (os error 111)), [::1]:1 (DNS: none)";
        assert_eq!(unusable_servers(refused), expected);
        let no_primary = "Server selection timeout: None of the available servers suitable for criteria \
            ReadPreference(Primary). Topology: { Type: ReplicaSetNoPrimary, Set Name: rs0, Servers: [ \
            { Address: a:1, Type: RsSecondary, Average RTT: 1ms, Replica Set Name: rs0 } ] }";
        assert_eq!(unusable_servers(no_primary), "no server can be used: a:1 (RsSecondary)");
        for other in ["something else", "empty. Topology: { Type: Unknown }"] {
            assert_eq!(unusable_servers(other), other);
        }
    }

    #[test]
    fn a_write_that_is_not_durable_is_an_error() {
        let reply = rawdoc! { "n": 1, "writeConcernError": { "code": 64, "errmsg": "waited too long" } };
        assert_eq!(Reply::read(&reply, 0).unwrap_err().kind(), ErrorKind::Timeout);
    }
}
