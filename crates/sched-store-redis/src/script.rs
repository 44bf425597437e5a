//! The scripts, a request to run one of them, and what it answers.
//!
//! Every write is one script, and so is done as a whole or not at all. It carries the name of its request, under which the
//! server remembers the answer for a minute: sent again after a lost reply, it is answered and not done twice.

use std::fmt::Write;
use std::sync::LazyLock;

use redis::{Cmd, ToRedisArgs, Value};
use sched_core::{Error, ErrorKind};
use uuid::Uuid;

/// A script's text, and the name by which a server knows it.
pub(crate) struct Source {
    pub(crate) text: &'static str,
    hash: String,
}

impl Source {
    fn new(text: &'static str) -> Self {
        Self { text, hash: redis::Script::new(text).get_hash().to_owned() }
    }
}

/// A script, hashed when it is first sent.
pub(crate) type Script = LazyLock<Source>;

macro_rules! scripts {
    ($($name:ident = $($file:literal)*;)*) => {$(
        pub(crate) static $name: Script = LazyLock::new(|| {
            Source::new(concat!(
                include_str!("../scripts/prelude.lua"),
                $(include_str!(concat!("../scripts/", $file, ".lua")),)*
            ))
        });
    )*};
}

scripts! {
    OPEN = "open";
    INSERT = "jobs" "insert";
    REPLACE = "jobs" "replace";
    UPDATE = "jobs" "update";
    REMOVE = "jobs" "remove";
    CLEAR = "jobs" "clear";
    GET = "jobs" "get";
    LIST = "jobs" "list";
    JOB_COUNTS = "jobs" "job_counts";
    NEXT_JOB = "jobs" "next_job";
    CLAIM_JOBS = "jobs" "claim_jobs";
    COMMIT = "jobs" "runs" "commit";
    QUARANTINE = "jobs" "quarantine";
    REQUALIFY = "jobs" "requalify";
    RECOVER = "jobs" "runs" "recover";
    ENQUEUE = "runs" "enqueue";
    CLAIM_RUNS = "runs" "claim_runs";
    RENEW = "runs" "renew";
    FINISH = "runs" "finish";
    CANCEL = "runs" "cancel";
    RELEASE = "runs" "release";
    SET_ASIDE = "runs" "set_aside";
    REAP = "runs" "reap";
    CLEANUP = "runs" "cleanup";
    LIST_RUNS = "runs" "list_runs";
    RUN_COUNTS = "runs" "run_counts";
    NEXT_RUN = "runs" "next_run";
}

/// The names of a store's keys. All have the prefix as their hash tag, so that they are in one slot of a cluster.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    pub(crate) jobs: String,
    pub(crate) run_times: String,
    /// What all other keys begin with.
    pub(crate) space: String,
}

impl Keys {
    pub(crate) fn new(prefix: &str, jobs: &str, run_times: &str) -> Self {
        let space = format!("{{{prefix}}}:");
        Self { jobs: format!("{space}{jobs}"), run_times: format!("{space}{run_times}"), space }
    }
}

/// A script with its arguments.
pub(crate) struct Request {
    pub(crate) script: &'static Script,
    pub(crate) command: Cmd,
    arguments: usize,
    bytes: usize,
}

/// The most arguments and bytes of a request that is made of many items. One item may have more.
const MOST_ARGUMENTS: usize = 50_000;
const MOST_BYTES: usize = 8 << 20;

impl Request {
    /// A request that changes something: the server remembers its answer.
    pub(crate) fn write(script: &'static Script, keys: &Keys) -> Self {
        let mut name = Uuid::encode_buffer();
        Self::named(script, keys, Uuid::new_v4().simple().encode_lower(&mut name))
    }

    /// A request that changes nothing, or may be done any number of times.
    pub(crate) fn read(script: &'static Script, keys: &Keys) -> Self {
        Self::named(script, keys, "")
    }

    fn named(script: &'static Script, keys: &Keys, name: &str) -> Self {
        let mut command = redis::cmd("EVALSHA");
        command.arg(&script.hash).arg(3).arg(&keys.jobs).arg(&keys.run_times).arg(&keys.space).arg(name);
        Self { script, command, arguments: 0, bytes: 0 }
    }

    pub(crate) fn arg(&mut self, argument: impl ToRedisArgs + AsRef<[u8]>) -> &mut Self {
        self.arguments += 1;
        self.bytes += argument.as_ref().len();
        self.command.arg(argument);
        self
    }

    pub(crate) fn number(&mut self, number: impl std::fmt::Display) -> &mut Self {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = write!(text, "{number}");
        self.arg(text)
    }

    /// Whether it is better to send it and to go on with another.
    pub(crate) fn is_full(&self) -> bool {
        self.arguments >= MOST_ARGUMENTS || self.bytes >= MOST_BYTES
    }
}

/// A list that a script answered.
pub(crate) fn list(value: Value) -> Result<Vec<Value>, Error> {
    match value {
        Value::Array(items) => Ok(items),
        other => Err(unexpected("a list", &other)),
    }
}

/// A list of so many items.
pub(crate) fn list_of<const N: usize>(value: Value) -> Result<[Value; N], Error> {
    let items = list(value)?;
    items.try_into().map_err(|items: Vec<Value>| {
        Error::new(ErrorKind::Unexpected, format!("a script answered {} items instead of {N}", items.len()))
    })
}

/// Bytes, where there are any.
pub(crate) fn bytes(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        _ => None,
    }
}

/// Text.
pub(crate) fn text(value: Value) -> Result<String, Error> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes)
            .map_err(|_| Error::new(ErrorKind::Corrupt, "a script answered text that is not UTF-8")),
        other => Err(unexpected("text", &other)),
    }
}

/// A whole number that is not negative.
pub(crate) fn count(value: &Value) -> Result<usize, Error> {
    match value {
        Value::Int(number) => Ok(usize::try_from(*number).unwrap_or(0)),
        other => Err(unexpected("a number", other)),
    }
}

/// Which kind of value came instead; never the value itself, which may be a payload.
fn unexpected(wanted: &str, found: &Value) -> Error {
    let found = match found {
        Value::Nil => "nothing",
        Value::Int(_) => "a number",
        Value::BulkString(_) | Value::SimpleString(_) => "text",
        Value::Array(_) => "a list",
        _ => "something else",
    };
    Error::new(ErrorKind::Unexpected, format!("a script answered {found} instead of {wanted}"))
}
