//! Jobs and runs as rows, and back.
//!
//! A job's payload is its [`JobRecord`] without the cursor, which has columns of its own; a run's is its arguments and
//! those options that are not the default. Payloads are JSON: data only, never code. Nothing here touches a database.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use sched_core::{
    Args, BuildContext, Call, Cursor, Error, ErrorKind, JOB_VERSION, Job, JobId, JobOptions, JobRecord,
    JobSettings, JobStatus, MissReason, Outcome, QueuedRun, RunId, RunRecord, RunState, Section,
    StoreContext, TaskError, TaskErrorKind, TaskRef,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The version of a run's payload this program writes, and the newest it reads.
pub(crate) const RUN_VERSION: i64 = 1;

/// The version of a job's payload as a column.
pub(crate) const JOB_PAYLOAD_VERSION: i64 = JOB_VERSION as i64;

/// A cursor as columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CursorColumns {
    pub(crate) next_run_time: Option<i64>,
    pub(crate) next_fire_time: Option<i64>,
    pub(crate) last_fire_time: Option<i64>,
    pub(crate) status: String,
}

/// A job as it is written.
#[derive(Debug)]
pub(crate) struct JobColumns<'a> {
    pub(crate) job: &'a Job,
    pub(crate) payload: String,
    pub(crate) cursor: CursorColumns,
}

/// A job as it is read.
#[derive(Debug, diesel::Queryable)]
pub(crate) struct JobRow {
    pub(crate) seq: i64,
    pub(crate) id: String,
    pub(crate) payload: String,
    pub(crate) next_run_time: Option<i64>,
    pub(crate) next_fire_time: Option<i64>,
    pub(crate) last_fire_time: Option<i64>,
    pub(crate) status: String,
    pub(crate) revision: i64,
    pub(crate) quarantine: Option<String>,
}

/// A run as it is written.
#[derive(Debug)]
pub(crate) struct RunColumns {
    pub(crate) run: QueuedRun,
    pub(crate) id: String,
    pub(crate) payload: String,
    pub(crate) task_max: Option<i64>,
}

/// A run as it is read.
#[derive(Debug, diesel::Queryable)]
pub(crate) struct RunRow {
    pub(crate) seq: i64,
    pub(crate) id: String,
    pub(crate) job_id: Option<String>,
    pub(crate) fire_time: i64,
    pub(crate) scheduled_time: i64,
    pub(crate) priority: i64,
    pub(crate) task: String,
    pub(crate) executor: String,
    pub(crate) payload: String,
    pub(crate) payload_version: i64,
    pub(crate) max_instances: i64,
    pub(crate) task_max: Option<i64>,
    pub(crate) state: i64,
    pub(crate) attempt: i64,
    pub(crate) owner: Option<String>,
    pub(crate) lease_until: Option<i64>,
    pub(crate) outcome: Option<String>,
    pub(crate) result: Option<String>,
    pub(crate) started_at: Option<i64>,
    pub(crate) finished_at: Option<i64>,
}

/// What a run's payload holds.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RunPayload {
    #[serde(default, skip_serializing_if = "Args::is_empty")]
    arguments: Args,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    options: Map<String, Value>,
}

/// Encodes and decodes for one store.
#[derive(Debug, Clone)]
pub(crate) struct Codec {
    /// The longest payload, in bytes.
    pub(crate) max_payload: usize,
    /// Shared by all runs that have no options of their own.
    plain: Arc<JobOptions>,
}

impl Codec {
    pub(crate) fn new(max_payload: usize) -> Self {
        Self { max_payload, plain: Arc::new(JobOptions::default()) }
    }

    /// **Errors**: [`InvalidJob`](ErrorKind::InvalidJob) for a closure and for a payload that is too long.
    pub(crate) fn encode_job<'a>(&self, job: &'a Job) -> Result<JobColumns<'a>, Error> {
        let mut record = JobRecord::encode(job)?;
        (record.next_fire_time, record.next_run_time, record.last_fire_time) = (None, None, None);
        record.status = status_word(&JobStatus::Scheduled);
        let payload = to_text(&record, format_args!("job \"{}\"", job.id()))?;
        self.check_length(&payload, format_args!("job \"{}\"", job.id()))?;
        Ok(JobColumns { job, payload, cursor: encode_cursor(&job.cursor) })
    }

    /// **Errors**: [`Corrupt`](ErrorKind::Corrupt) with the reason.
    pub(crate) fn decode_job(&self, row: &JobRow, context: &StoreContext) -> Result<Job, Error> {
        self.check_size(&row.payload)?;
        let mut record: JobRecord = serde_json::from_str(&row.payload).map_err(unreadable)?;
        if record.id.as_str() != row.id {
            return Err(corrupt("the payload is that of another job"));
        }
        record.status.clone_from(&row.status);
        let mut job = context.decode(record)?;
        job.cursor.next_run_time = time_or_none(row.next_run_time)?;
        job.cursor.next_fire_time = time_or_none(row.next_fire_time)?;
        job.cursor.last_fire_time = time_or_none(row.last_fire_time)?;
        job.cursor.revision = u64::try_from(row.revision).map_err(|_| corrupt("the revision is negative"))?;
        Ok(job)
    }

    /// A run of any length: that of a job is as long as the job allows.
    ///
    /// **Errors**: [`InvalidJob`](ErrorKind::InvalidJob) for a closure.
    pub(crate) fn encode_run(&self, run: QueuedRun) -> Result<RunColumns, Error> {
        let task = run.call.task.bound();
        if task.is_some_and(|task| !task.is_registered()) {
            let message = format!("run {} calls a closure, which can live in a memory store only", run.id);
            return Err(Error::new(ErrorKind::InvalidJob, message));
        }
        let task_max = task.and_then(|task| task.max_instances()).map(i64::from);
        let options = own_options(&run.options).to_config();
        let payload = RunPayload { arguments: run.call.args.clone(), options };
        let payload = to_text(&payload, format_args!("run {}", run.id))?;
        Ok(RunColumns { id: run.id.to_string(), payload, task_max, run })
    }

    /// **Errors**: [`Corrupt`](ErrorKind::Corrupt) with the reason.
    pub(crate) fn decode_run(&self, row: &RunRow, context: BuildContext<'_>) -> Result<QueuedRun, Error> {
        if row.payload_version != RUN_VERSION {
            let version = row.payload_version;
            return Err(corrupt(format!("run has version {version}, but only {RUN_VERSION} can be handled")));
        }
        let payload: RunPayload = serde_json::from_str(&row.payload).map_err(unreadable)?;
        let options = match payload.options.is_empty() {
            true => Arc::clone(&self.plain),
            false => Arc::new(read_options(payload.options, context)?),
        };
        let run = bare_run(row, context, options)?;
        Ok(QueuedRun { call: Call { args: payload.arguments, ..run.call }, ..run })
    }

    /// A run's row. One that does not decode is shown without arguments and options.
    pub(crate) fn decode_record(&self, row: &RunRow, context: BuildContext<'_>) -> Result<RunRecord, Error> {
        let run =
            self.decode_run(row, context).or_else(|_| bare_run(row, context, Arc::clone(&self.plain)))?;
        let attempt = u32::try_from(row.attempt).map_err(|_| corrupt("the attempt is out of range"))?;
        let state = match row.state {
            0 => RunState::Queued,
            1 => RunState::Running {
                owner: Arc::from(row.owner.as_deref().unwrap_or_default()),
                lease_until: time(row.lease_until.unwrap_or_default())?,
            },
            _ => RunState::Finished {
                outcome: decode_outcome(row.outcome.as_deref(), row.result.as_deref()).unwrap_or_else(
                    |error| Outcome::Abandoned(format!("its outcome does not decode: {error}")),
                ),
                started_at: time_or_none(row.started_at)?,
                finished_at: time(row.finished_at.unwrap_or_default())?,
            },
        };
        Ok(RunRecord { run, attempt, state, history: Vec::new() })
    }

    /// An outcome as its word and its data. A value that is too long is not kept: the row says so.
    pub(crate) fn encode_outcome(&self, outcome: &Outcome) -> (&'static str, Option<String>) {
        let (word, data) = match outcome {
            Outcome::Succeeded(value) => ("succeeded", Some(value.to_string())),
            Outcome::Failed(error) => ("failed", Some(failure(error.message(), error.kind()))),
            Outcome::Missed(reason) => ("missed", serde_json::to_string(reason).ok()),
            Outcome::Cancelled => ("cancelled", None),
            Outcome::TimedOut => ("timed_out", None),
            Outcome::Abandoned(reason) => ("abandoned", Some(Value::from(reason.as_str()).to_string())),
            other => ("abandoned", Some(Value::from(other.to_string()).to_string())),
        };
        match data.as_ref().map_or(0, String::len) {
            size if size > self.max_payload => {
                let message =
                    format!("it {word}, with {size} bytes of data; {} are kept at most", self.max_payload);
                ("failed", Some(failure(&message, &TaskErrorKind::Other(TOO_LONG.to_owned()))))
            }
            _ => (word, data),
        }
    }

    /// **Errors**: [`InvalidJob`](ErrorKind::InvalidJob) for a payload that is too long.
    pub(crate) fn check_length(&self, payload: &str, what: std::fmt::Arguments<'_>) -> Result<(), Error> {
        let (size, limit) = (payload.len(), self.max_payload);
        if size <= limit {
            return Ok(());
        }
        let message = format!("{what} has a payload of {size} bytes, {limit} are allowed (`max_payload`)");
        Err(Error::new(ErrorKind::InvalidJob, message))
    }

    fn check_size(&self, payload: &str) -> Result<(), Error> {
        match payload.len() {
            size if size > self.max_payload => {
                Err(corrupt(format!("the payload has {size} bytes, {} are allowed", self.max_payload)))
            }
            _ => Ok(()),
        }
    }
}

/// The kind of the failure that stands for a value that was too long.
const TOO_LONG: &str = "result_too_long";

pub(crate) fn encode_cursor(cursor: &Cursor) -> CursorColumns {
    CursorColumns {
        next_run_time: cursor.next_run_time.map(micros),
        next_fire_time: cursor.next_fire_time.map(micros),
        last_fire_time: cursor.last_fire_time.map(micros),
        status: status_word(&cursor.status),
    }
}

/// Microseconds since the Unix epoch; what is finer is rounded up, so that nothing is ever early.
pub(crate) fn micros(time: DateTime<Utc>) -> i64 {
    let finer = !time.timestamp_subsec_nanos().is_multiple_of(1_000);
    time.timestamp_micros().saturating_add(i64::from(finer))
}

/// **Errors**: [`Corrupt`](ErrorKind::Corrupt) when no calendar has such a time.
pub(crate) fn time(micros: i64) -> Result<DateTime<Utc>, Error> {
    DateTime::from_timestamp_micros(micros)
        .ok_or_else(|| corrupt(format!("{micros} is out of range for a time")))
}

/// A count as a column; no count comes near the greatest.
pub(crate) fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A length of time in microseconds.
pub(crate) fn length(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

fn time_or_none(micros: Option<i64>) -> Result<Option<DateTime<Utc>>, Error> {
    micros.map(time).transpose()
}

fn status_word(status: &JobStatus) -> String {
    match status {
        JobStatus::Paused => "paused".to_owned(),
        JobStatus::Finished => "finished".to_owned(),
        JobStatus::Suspended(reason) => format!("suspended: {reason}"),
        _ => "scheduled".to_owned(),
    }
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
        result_ttl: own(&options.result_ttl, &usual.result_ttl),
        concurrency_key: options.concurrency_key.clone(),
        concurrency_limit: own(&options.concurrency_limit, &usual.concurrency_limit),
        metadata: options.metadata.clone(),
    }
}

fn read_options(options: Map<String, Value>, context: BuildContext<'_>) -> Result<JobOptions, Error> {
    let unreadable = |error: Error| corrupt(error.to_string()).with_source(error);
    let mut section = Section::new("options", Value::Object(options), context).map_err(unreadable)?;
    let settings = JobSettings::read(&mut section);
    section.finish().map_err(unreadable)?;
    Ok(settings.resolve())
}

/// The run without its arguments.
fn bare_run(row: &RunRow, context: BuildContext<'_>, options: Arc<JobOptions>) -> Result<QueuedRun, Error> {
    let id: RunId = row.id.parse().map_err(|error: Error| corrupt(error.to_string()))?;
    let job_id = row.job_id.as_deref().map(JobId::new).transpose();
    let task = context.registry.task(&row.task).map(TaskRef::Bound);
    let task = task.unwrap_or_else(|_| TaskRef::Named(Arc::from(row.task.as_str())));
    Ok(QueuedRun {
        id,
        job_id: job_id.map_err(|error| corrupt(error.to_string()))?,
        call: Call { task, args: Args::default() },
        fire_time: time(row.fire_time)?,
        scheduled_time: time(row.scheduled_time)?,
        priority: i32::try_from(row.priority).map_err(|_| corrupt("the priority is out of range"))?,
        options,
    })
}

#[derive(Serialize, Deserialize)]
struct Failure {
    message: String,
    kind: String,
}

/// A kind that the task chose begins so.
const OTHER: &str = "other: ";

fn failure(message: &str, kind: &TaskErrorKind) -> String {
    let kind = match kind {
        TaskErrorKind::Panic => "panic".to_owned(),
        TaskErrorKind::Arguments => "arguments".to_owned(),
        TaskErrorKind::TimedOut => "timed_out".to_owned(),
        TaskErrorKind::Cancelled => "cancelled".to_owned(),
        TaskErrorKind::Other(word) => format!("{OTHER}{word}"),
        _ => "error".to_owned(),
    };
    serde_json::json!({ "message": message, "kind": kind }).to_string()
}

fn decode_outcome(word: Option<&str>, data: Option<&str>) -> Result<Outcome, Error> {
    let data = data.unwrap_or("null");
    Ok(match word.unwrap_or_default() {
        "succeeded" => Outcome::Succeeded(serde_json::from_str(data).map_err(unreadable)?),
        "failed" => {
            let Failure { message, kind } = serde_json::from_str(data).map_err(unreadable)?;
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
        "missed" => Outcome::Missed(serde_json::from_str::<MissReason>(data).map_err(unreadable)?),
        "cancelled" => Outcome::Cancelled,
        "timed_out" => Outcome::TimedOut,
        "abandoned" => Outcome::Abandoned(serde_json::from_str(data).map_err(unreadable)?),
        other => return Err(corrupt(format!("unknown outcome `{other}`"))),
    })
}

fn to_text(payload: &impl Serialize, what: std::fmt::Arguments<'_>) -> Result<String, Error> {
    serde_json::to_string(payload).map_err(|error| {
        Error::new(ErrorKind::InvalidJob, format!("{what} cannot be stored")).with_source(error)
    })
}

fn corrupt(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Corrupt, message)
}

fn unreadable(error: serde_json::Error) -> Error {
    corrupt(error.to_string()).with_source(error)
}
