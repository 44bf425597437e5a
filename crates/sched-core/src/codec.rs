//! What stores write: jobs, runs and outcomes as payloads, and back.
//!
//! A payload is data only, never code, and its size is limited in both directions. What a store orders or searches by
//! (ids, times, states, limits) is no part of it: each store keeps that in columns or fields of its own. A payload is
//! read in whichever format it was written, so the format of a store may be changed at any time.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::config::Section;
use crate::id::{JobId, RunId};
use crate::job::{Cursor, Job, JobOptions, JobRecord, JobSettings, JobStatus};
use crate::run::{MissReason, Outcome};
use crate::store::{Attempt, QueuedRun, StoreContext};
use crate::task::{Args, Call, TaskError, TaskErrorKind, TaskRef};
use crate::{Error, ErrorKind};

/// The version of a run's payload this program writes, and the newest it reads.
pub const RUN_VERSION: u32 = 1;

/// How large a payload may be when nothing else is said, in bytes.
pub const DEFAULT_MAX_PAYLOAD: usize = 1 << 20;

/// How deep arguments, results and settings may be nested. JSON of more than 128 levels in all is not read.
pub const MAX_DEPTH: usize = 100;

/// The tag by which CBOR says that it is CBOR; no JSON begins so. **Source**: RFC 8949, section 3.4.6.
#[cfg(feature = "cbor")]
const CBOR_TAG: [u8; 3] = [0xd9, 0xd9, 0xf7];

/// The format of payloads that are written. Either is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum PayloadFormat {
    /// Text that people and databases read.
    #[default]
    Json,
    /// Bytes, smaller and faster to read. Needs the feature `cbor`.
    #[cfg(feature = "cbor")]
    Cbor,
}

impl PayloadFormat {
    /// The words a configuration may use.
    pub const WORDS: &'static [&'static str] = &["json", "cbor"];

    /// The format of a word.
    ///
    /// **Errors**: [`InvalidConfig`](ErrorKind::InvalidConfig) for another word, and for `cbor` in a build without
    /// it.
    pub fn from_word(word: &str) -> Result<Self, Error> {
        match word {
            "json" => Ok(Self::Json),
            #[cfg(feature = "cbor")]
            "cbor" => Ok(Self::Cbor),
            #[cfg(not(feature = "cbor"))]
            "cbor" => Err(Error::new(
                ErrorKind::InvalidConfig,
                "`cbor` needs the cargo feature `cbor` of `sched`, or of the store's crate",
            )),
            other => {
                let words = Self::WORDS.join(", ");
                Err(Error::new(ErrorKind::InvalidConfig, format!("`{other}` is not one of {words}")))
            }
        }
    }
}

/// What a store keeps of a run beside its payload.
#[derive(Debug, Clone, Copy)]
pub struct RunHead<'a> {
    /// The run's id, as text.
    pub id: &'a str,
    /// The job's id; `None` for a run that was queued directly.
    pub job_id: Option<&'a str>,
    /// The task's name.
    pub task: &'a str,
    /// The fire time.
    pub fire_time: DateTime<Utc>,
    /// Not before this moment.
    pub scheduled_time: DateTime<Utc>,
    /// Higher runs first.
    pub priority: i32,
}

/// What a run's payload holds.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RunPayload {
    #[serde(default = "run_version", skip_serializing_if = "is_run_version")]
    version: u32,
    #[serde(default, skip_serializing_if = "Args::is_empty")]
    arguments: Args,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    options: Map<String, Value>,
}

fn run_version() -> u32 {
    RUN_VERSION
}

fn is_run_version(version: &u32) -> bool {
    *version == RUN_VERSION
}

/// Encodes and decodes for one store.
#[derive(Debug, Clone)]
pub struct Codec {
    format: PayloadFormat,
    max_payload: usize,
    /// Shared by all runs that have no options of their own.
    plain: Arc<JobOptions>,
}

impl Default for Codec {
    fn default() -> Self {
        Self::new(PayloadFormat::default(), DEFAULT_MAX_PAYLOAD)
    }
}

impl Codec {
    /// A codec that writes `format` and refuses payloads of more than `max_payload` bytes.
    pub fn new(format: PayloadFormat, max_payload: usize) -> Self {
        Self { format, max_payload, plain: Arc::new(JobOptions::default()) }
    }

    /// The format that is written.
    pub fn format(&self) -> PayloadFormat {
        self.format
    }

    /// The longest payload, in bytes.
    pub fn max_payload(&self) -> usize {
        self.max_payload
    }

    /// A job without its cursor.
    ///
    /// **Errors**: [`InvalidJob`](ErrorKind::InvalidJob) for a closure and for a payload that is too long or nested too
    /// deep.
    pub fn encode_job(&self, job: &Job) -> Result<Vec<u8>, Error> {
        let mut record = JobRecord::encode(job)?;
        let values = record.settings.values().chain([&record.trigger]);
        check_depth(&record.arguments, values, format_args!("job \"{}\"", job.id()))?;
        (record.next_fire_time, record.next_run_time, record.last_fire_time) = (None, None, None);
        record.status = JobStatus::Scheduled.to_string();
        let payload = self.encode(&record, format_args!("job \"{}\"", job.id()))?;
        self.check_length(&payload, format_args!("job \"{}\"", job.id()))?;
        Ok(payload)
    }

    /// The job of a payload, with the cursor that the store keeps.
    ///
    /// **Errors**: [`Corrupt`](ErrorKind::Corrupt) with the reason.
    pub fn decode_job(
        &self,
        payload: &[u8],
        id: &str,
        cursor: Cursor,
        context: &StoreContext,
    ) -> Result<Job, Error> {
        self.check_size(payload)?;
        let record: JobRecord = decode(payload)?;
        if record.id.as_str() != id {
            return Err(corrupt("the payload is that of another job"));
        }
        Ok(Job { cursor, ..context.decode(record)? })
    }

    /// What a run needs beside its [`RunHead`]: arguments, and the options that are not the default. It may be of
    /// any length: a job's is as long as the job allows; see [`check_run`](Self::check_run).
    ///
    /// **Errors**: [`InvalidJob`](ErrorKind::InvalidJob) for a closure and for a payload that is nested too deep.
    pub fn encode_run(&self, run: &QueuedRun) -> Result<Vec<u8>, Error> {
        if run.call.task.bound().is_some_and(|task| !task.is_registered()) {
            let message = format!("run {} calls a closure, which can live in a memory store only", run.id);
            return Err(Error::new(ErrorKind::InvalidJob, message));
        }
        let options = own_options(&run.options).to_config();
        check_depth(&run.call.args, options.values(), format_args!("run {}", run.id))?;
        let payload = RunPayload { version: RUN_VERSION, arguments: run.call.args.clone(), options };
        self.encode(&payload, format_args!("run {}", run.id))
    }

    /// Whether a run that is queued directly is short enough.
    ///
    /// **Errors**: [`InvalidJob`](ErrorKind::InvalidJob).
    pub fn check_run(&self, payload: &[u8], id: RunId) -> Result<(), Error> {
        self.check_length(payload, format_args!("run {id}"))
    }

    /// The run of a payload. A task that is not registered here stays a name.
    ///
    /// **Errors**: [`Corrupt`](ErrorKind::Corrupt) with the reason.
    pub fn decode_run(
        &self,
        payload: &[u8],
        head: RunHead<'_>,
        context: &StoreContext,
    ) -> Result<QueuedRun, Error> {
        let payload: RunPayload = decode(payload)?;
        if payload.version != RUN_VERSION {
            let message =
                format!("run has version {}, but only {RUN_VERSION} can be handled", payload.version);
            return Err(corrupt(message));
        }
        let options = match payload.options.is_empty() {
            true => Arc::clone(&self.plain),
            false => Arc::new(read_options(payload.options, context)?),
        };
        let run = self.bare_run(head, context)?;
        Ok(QueuedRun { call: Call { args: payload.arguments, ..run.call }, options, ..run })
    }

    /// A run without arguments and options: how a row is shown whose payload does not decode.
    ///
    /// **Errors**: [`Corrupt`](ErrorKind::Corrupt) when not even the ids are ids.
    pub fn bare_run(&self, head: RunHead<'_>, context: &StoreContext) -> Result<QueuedRun, Error> {
        let id: RunId = head.id.parse().map_err(|error: Error| corrupt(error.to_string()))?;
        let job_id = head.job_id.map(JobId::new).transpose();
        let task = context.registry.task(head.task).map(TaskRef::Bound);
        Ok(QueuedRun {
            id,
            job_id: job_id.map_err(|error| corrupt(error.to_string()))?,
            call: Call {
                task: task.unwrap_or_else(|_| TaskRef::Named(Arc::from(head.task))),
                args: Args::default(),
            },
            fire_time: head.fire_time,
            scheduled_time: head.scheduled_time,
            priority: head.priority,
            options: Arc::clone(&self.plain),
        })
    }

    /// An outcome as its word and its data. Data that is too long or nested too deep is not kept: the outcome says so.
    pub fn encode_outcome(&self, outcome: &Outcome) -> (&'static str, Option<Vec<u8>>) {
        let (word, data) = kept_data(outcome);
        let Some(data) = data else { return (word, None) };
        match self.encode(&data, format_args!("an outcome")) {
            Ok(data) if data.len() <= self.max_payload => (word, Some(data)),
            Ok(data) => {
                let (size, most) = (data.len(), self.max_payload);
                let message = format!("it {word}, with {size} bytes of data; {most} are kept at most");
                let (word, data) = outcome_data(&not_kept(message, RESULT_TOO_LONG));
                (word, data.and_then(|data| self.encode(&data, format_args!("an outcome")).ok()))
            }
            Err(_) => (word, None),
        }
    }

    /// The outcome of its word and its data.
    ///
    /// **Errors**: [`Corrupt`](ErrorKind::Corrupt).
    pub fn decode_outcome(&self, word: &str, data: Option<&[u8]>) -> Result<Outcome, Error> {
        read_outcome(word, data.map_or(Ok(Value::Null), decode)?)
    }

    /// The attempts of a run that ended. The oldest are left out when they are too long together.
    pub fn encode_history(&self, history: &[Attempt]) -> Vec<u8> {
        let mut rows: Vec<AttemptRow> = history.iter().map(AttemptRow::from).collect();
        loop {
            match self.encode(&rows, format_args!("a history")) {
                Ok(data) if data.len() <= self.max_payload || rows.is_empty() => return data,
                Err(_) if rows.is_empty() => return Vec::new(),
                _ => rows.remove(0),
            };
        }
    }

    /// The attempts of a run that ended.
    ///
    /// **Errors**: [`Corrupt`](ErrorKind::Corrupt).
    pub fn decode_history(&self, data: &[u8]) -> Result<Vec<Attempt>, Error> {
        let rows: Vec<AttemptRow> = decode(data)?;
        rows.into_iter().map(AttemptRow::into_attempt).collect()
    }

    fn encode(&self, value: &impl Serialize, what: std::fmt::Arguments<'_>) -> Result<Vec<u8>, Error> {
        let unwritable = |error: Box<dyn std::error::Error + Send + Sync>| {
            Error::new(ErrorKind::InvalidJob, format!("{what} cannot be stored")).with_source(error)
        };
        match self.format {
            PayloadFormat::Json => serde_json::to_vec(value).map_err(|error| unwritable(error.into())),
            #[cfg(feature = "cbor")]
            PayloadFormat::Cbor => {
                let mut data = CBOR_TAG.to_vec();
                ciborium::into_writer(value, &mut data).map_err(|error| unwritable(error.into()))?;
                Ok(data)
            }
        }
    }

    fn check_length(&self, payload: &[u8], what: std::fmt::Arguments<'_>) -> Result<(), Error> {
        let (size, limit) = (payload.len(), self.max_payload);
        if size <= limit {
            return Ok(());
        }
        let message = format!("{what} has a payload of {size} bytes, {limit} are allowed (`max_payload`)");
        Err(Error::new(ErrorKind::InvalidJob, message))
    }

    fn check_size(&self, payload: &[u8]) -> Result<(), Error> {
        match payload.len() {
            size if size > self.max_payload => {
                Err(corrupt(format!("the payload has {size} bytes, {} are allowed", self.max_payload)))
            }
            _ => Ok(()),
        }
    }
}

/// Microseconds since the Unix epoch; what is finer is rounded up, so that nothing is ever early.
pub fn to_micros(time: DateTime<Utc>) -> i64 {
    let finer = !time.timestamp_subsec_nanos().is_multiple_of(1_000);
    time.timestamp_micros().saturating_add(i64::from(finer))
}

/// The time of microseconds since the Unix epoch.
///
/// **Errors**: [`Corrupt`](ErrorKind::Corrupt) when no calendar has such a time.
pub fn from_micros(micros: i64) -> Result<DateTime<Utc>, Error> {
    DateTime::from_timestamp_micros(micros)
        .ok_or_else(|| corrupt(format!("{micros} is out of range for a time")))
}

/// The kind of the failure that stands for a value that was too long.
const RESULT_TOO_LONG: &str = "result_too_long";

/// The kind of the failure that stands for a value that was nested too deep.
const RESULT_TOO_DEEP: &str = "result_too_deep";

/// A kind that the task chose begins so.
const OTHER: &str = "other: ";

#[derive(Serialize, Deserialize)]
struct Failure {
    message: String,
    kind: String,
}

#[derive(Serialize, Deserialize)]
struct AttemptRow {
    attempt: u32,
    outcome: String,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    data: Value,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    started_at: Option<DateTime<Utc>>,
    finished_at: DateTime<Utc>,
}

impl From<&Attempt> for AttemptRow {
    fn from(attempt: &Attempt) -> Self {
        let (word, data) = kept_data(&attempt.outcome);
        Self {
            attempt: attempt.attempt,
            outcome: word.to_owned(),
            data: data.unwrap_or_default(),
            started_at: attempt.started_at,
            finished_at: attempt.finished_at,
        }
    }
}

impl AttemptRow {
    fn into_attempt(self) -> Result<Attempt, Error> {
        let Self { attempt, outcome, data, started_at, finished_at } = self;
        Ok(Attempt { attempt, outcome: read_outcome(&outcome, data)?, started_at, finished_at })
    }
}

/// An outcome as its word and its data, unless that is nested too deep to be read again.
fn kept_data(outcome: &Outcome) -> (&'static str, Option<Value>) {
    if outcome.value().is_some_and(|value| is_deeper(value, MAX_DEPTH)) {
        let message = format!("it succeeded, with data of more than {MAX_DEPTH} levels, which are not kept");
        return outcome_data(&not_kept(message, RESULT_TOO_DEEP));
    }
    outcome_data(outcome)
}

/// What stands for an outcome whose data is not kept.
fn not_kept(message: String, kind: &str) -> Outcome {
    Outcome::Failed(TaskError::new(message).with_kind(TaskErrorKind::Other(kind.to_owned())))
}

fn outcome_data(outcome: &Outcome) -> (&'static str, Option<Value>) {
    match outcome {
        Outcome::Succeeded(value) => ("succeeded", Some(value.clone())),
        Outcome::Failed(error) => {
            let kind = match error.kind() {
                TaskErrorKind::Error => "error".to_owned(),
                TaskErrorKind::Panic => "panic".to_owned(),
                TaskErrorKind::Arguments => "arguments".to_owned(),
                TaskErrorKind::TimedOut => "timed_out".to_owned(),
                TaskErrorKind::Cancelled => "cancelled".to_owned(),
                TaskErrorKind::Other(word) => format!("{OTHER}{word}"),
            };
            ("failed", Some(serde_json::json!({ "message": error.message(), "kind": kind })))
        }
        Outcome::Missed(reason) => ("missed", serde_json::to_value(reason).ok()),
        Outcome::Cancelled => ("cancelled", None),
        Outcome::TimedOut => ("timed_out", None),
        Outcome::Abandoned(reason) => ("abandoned", Some(Value::from(reason.as_str()))),
    }
}

fn read_outcome(word: &str, data: Value) -> Result<Outcome, Error> {
    Ok(match word {
        "succeeded" => Outcome::Succeeded(data),
        "failed" => {
            let Failure { message, kind } = serde_json::from_value(data).map_err(unreadable)?;
            let kind = match kind.as_str() {
                "panic" => TaskErrorKind::Panic,
                "arguments" => TaskErrorKind::Arguments,
                "timed_out" => TaskErrorKind::TimedOut,
                "cancelled" => TaskErrorKind::Cancelled,
                other => match other.strip_prefix(OTHER) {
                    Some(word) => TaskErrorKind::Other(word.to_owned()),
                    None => TaskErrorKind::Error,
                },
            };
            Outcome::Failed(TaskError::new(message).with_kind(kind))
        }
        "missed" => Outcome::Missed(serde_json::from_value::<MissReason>(data).map_err(unreadable)?),
        "cancelled" => Outcome::Cancelled,
        "timed_out" => Outcome::TimedOut,
        "abandoned" => Outcome::Abandoned(serde_json::from_value(data).map_err(unreadable)?),
        other => return Err(corrupt(format!("unknown outcome `{other}`"))),
    })
}

/// The options that are not the default, as settings.
fn own_options(options: &JobOptions) -> JobSettings {
    fn own<T: PartialEq + Clone>(value: &T, usual: &T) -> Option<T> {
        (value != usual).then(|| value.clone())
    }
    let usual = JobOptions::default();
    JobSettings {
        executor: own(&options.executor, &usual.executor),
        misfire_grace_time: own(&options.misfire_grace_time, &usual.misfire_grace_time),
        coalesce: own(&options.coalesce, &usual.coalesce),
        max_instances: own(&options.max_instances, &usual.max_instances),
        overlap: own(&options.overlap, &usual.overlap),
        jitter: options.jitter,
        max_catch_up: own(&options.max_catch_up, &usual.max_catch_up),
        retain: own(&options.retain, &usual.retain),
        timeout: options.timeout,
        timeout_slot: own(&options.timeout_slot, &usual.timeout_slot),
        retry: options.retry.clone(),
        max_takeovers: own(&options.max_takeovers, &usual.max_takeovers),
        priority: own(&options.priority, &usual.priority),
        result_ttl: own(&options.result_ttl, &usual.result_ttl),
        concurrency_key: options.concurrency_key.clone(),
        concurrency_limit: own(&options.concurrency_limit, &usual.concurrency_limit),
        metadata: options.metadata.clone(),
    }
}

fn read_options(options: Map<String, Value>, context: &StoreContext) -> Result<JobOptions, Error> {
    let unreadable = |error: Error| corrupt(error.to_string()).with_source(error);
    let mut section =
        Section::new("options", Value::Object(options), context.build_context()).map_err(unreadable)?;
    let settings = JobSettings::read(&mut section);
    section.finish().map_err(unreadable)?;
    Ok(settings.resolve())
}

/// **Errors**: [`InvalidJob`](ErrorKind::InvalidJob) when what is written would be too deep to be read again.
fn check_depth<'a>(
    args: &'a Args,
    others: impl Iterator<Item = &'a Value>,
    what: std::fmt::Arguments<'_>,
) -> Result<(), Error> {
    let named = args.named().into_iter().flat_map(Map::values);
    match args.positional().iter().chain(named).chain(others).any(|value| is_deeper(value, MAX_DEPTH)) {
        true => Err(Error::new(
            ErrorKind::InvalidJob,
            format!("{what} is nested more than {MAX_DEPTH} levels deep"),
        )),
        false => Ok(()),
    }
}

fn is_deeper(value: &Value, levels: usize) -> bool {
    match value {
        Value::Array(_) | Value::Object(_) if levels == 0 => true,
        Value::Array(items) => items.iter().any(|value| is_deeper(value, levels - 1)),
        Value::Object(map) => map.values().any(|value| is_deeper(value, levels - 1)),
        _ => false,
    }
}

fn decode<T: DeserializeOwned>(payload: &[u8]) -> Result<T, Error> {
    #[cfg(feature = "cbor")]
    if let Some(mut payload) = payload.strip_prefix(&CBOR_TAG) {
        let unreadable = |error: ciborium::de::Error<_>| corrupt(error.to_string()).with_source(error);
        let value = ciborium::from_reader(&mut payload).map_err(unreadable)?;
        return match payload {
            [] => Ok(value),
            rest => Err(corrupt(format!("there are {} bytes behind the payload", rest.len()))),
        };
    }
    #[cfg(not(feature = "cbor"))]
    if payload.first() == Some(&0xd9) {
        return Err(corrupt(
            "the payload is CBOR, which needs the cargo feature `cbor` of `sched`, or of the store's crate",
        ));
    }
    serde_json::from_slice(payload).map_err(unreadable)
}

fn corrupt(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Corrupt, message)
}

fn unreadable(error: serde_json::Error) -> Error {
    corrupt(error.to_string()).with_source(error)
}
