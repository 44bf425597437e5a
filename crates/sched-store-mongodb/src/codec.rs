//! Jobs and runs as documents, and back.
//!
//! What is ordered or searched by has fields of its own; the rest is a payload, text when it is JSON and binary when it is
//! CBOR. Times are whole microseconds since the Unix epoch (BSON's own dates have milliseconds). A document that a
//! stranger has changed may have fields of any type: reading one never fails for others. Nothing here touches a server.

use std::sync::Arc;
use std::time::Duration;

use mongodb::bson::oid::ObjectId;
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, RawBson, RawBsonRef, RawDocument, RawDocumentBuf, cstr};
use sched_core::codec::{Codec, RunHead, from_micros, to_micros};
use sched_core::{
    Attempt, Cursor, Error, ErrorKind, Job, JobId, Outcome, QueuedRun, RunId, RunRecord, RunState,
    StoreContext, StoredJob,
};
use uuid::Uuid;

/// The fire time of a run is being committed; nobody sees the run yet.
pub(crate) const PREPARED: i32 = -1;
/// The run waits.
pub(crate) const QUEUED: i32 = 0;
/// The run is leased.
pub(crate) const RUNNING: i32 = 1;
/// The run is over.
pub(crate) const FINISHED: i32 = 2;

/// A document as it was read.
#[derive(Debug, Clone)]
pub(crate) struct Row(pub(crate) RawDocumentBuf);

impl Row {
    /// **Errors**: [`Corrupt`](ErrorKind::Corrupt) when the field is no whole number.
    pub(crate) fn number(&self, key: &str) -> Result<Option<i64>, Error> {
        match self.field(key)? {
            None | Some(RawBsonRef::Null) => Ok(None),
            Some(RawBsonRef::Int64(number)) => Ok(Some(number)),
            Some(RawBsonRef::Int32(number)) => Ok(Some(i64::from(number))),
            Some(_) => Err(corrupt(format!("`{key}` is no whole number"))),
        }
    }

    /// **Errors**: [`Corrupt`](ErrorKind::Corrupt) when the field is no text.
    pub(crate) fn text(&self, key: &str) -> Result<Option<&str>, Error> {
        match self.field(key)? {
            None | Some(RawBsonRef::Null) => Ok(None),
            Some(RawBsonRef::String(text)) => Ok(Some(text)),
            Some(_) => Err(corrupt(format!("`{key}` is no text"))),
        }
    }

    /// Text or bytes. **Errors**: [`Corrupt`](ErrorKind::Corrupt) when the field is neither.
    pub(crate) fn bytes(&self, key: &str) -> Result<Option<&[u8]>, Error> {
        match self.field(key)? {
            None | Some(RawBsonRef::Null) => Ok(None),
            Some(RawBsonRef::String(text)) => Ok(Some(text.as_bytes())),
            Some(RawBsonRef::Binary(binary)) => Ok(Some(binary.bytes)),
            Some(_) => Err(corrupt(format!("`{key}` is no payload"))),
        }
    }

    /// A job's id; `None` when a stranger's document has something else in its place.
    pub(crate) fn job_id(&self) -> Option<&str> {
        self.text("_id").ok().flatten()
    }

    /// A run's id; `None` when a stranger's document has something else in its place.
    pub(crate) fn run_id(&self) -> Option<RunId> {
        read_run_id(self.field("_id").ok()??)
    }

    /// The token of its latest claim; 0 when there was none.
    pub(crate) fn token(&self) -> i64 {
        self.number("token").ok().flatten().unwrap_or(0)
    }

    /// Which batch of writes has left this.
    pub(crate) fn mark(&self, key: &str) -> Option<ObjectId> {
        self.field(key).ok().flatten().and_then(RawBsonRef::as_object_id)
    }

    fn field(&self, key: &str) -> Result<Option<RawBsonRef<'_>>, Error> {
        self.0.get(key).map_err(|error| corrupt(format!("`{key}` is no BSON")).with_source(error))
    }

    fn needed<T>(value: Option<T>, key: &str) -> Result<T, Error> {
        value.ok_or_else(|| corrupt(format!("`{key}` is missing")))
    }
}

impl From<&RawDocument> for Row {
    fn from(document: &RawDocument) -> Self {
        Self(document.to_owned())
    }
}

/// A run's id in a document: sixteen bytes, whose order is that of ids.
pub(crate) fn id_of_run(id: RunId) -> RawBson {
    RawBson::Binary(Binary { subtype: BinarySubtype::Uuid, bytes: id.as_uuid().as_bytes().to_vec() })
}

fn read_run_id(id: RawBsonRef<'_>) -> Option<RunId> {
    match id {
        RawBsonRef::Binary(binary) if binary.subtype == BinarySubtype::Uuid => {
            Uuid::from_slice(binary.bytes).ok().map(RunId::from_uuid)
        }
        _ => None,
    }
}

/// A payload as a field: text when it is JSON.
pub(crate) fn payload(bytes: Vec<u8>) -> RawBson {
    match String::from_utf8(bytes) {
        Ok(text) => RawBson::String(text),
        Err(other) => RawBson::Binary(Binary { subtype: BinarySubtype::Generic, bytes: other.into_bytes() }),
    }
}

/// A time, or null.
fn time(time: Option<chrono::DateTime<chrono::Utc>>) -> RawBson {
    time.map_or(RawBson::Null, |time| RawBson::Int64(to_micros(time)))
}

/// Adds where a schedule stands. The revision is the statement's business.
pub(crate) fn append_cursor(document: &mut RawDocumentBuf, cursor: &Cursor) {
    document.append(cstr!("status"), cursor.status.to_string());
    document.append(cstr!("next_run"), time(cursor.next_run_time));
    document.append(cstr!("next_fire"), time(cursor.next_fire_time));
    document.append(cstr!("last_fire"), time(cursor.last_fire_time));
}

/// Adds what a user may change of a job, beside its cursor.
pub(crate) fn append_spec(document: &mut RawDocumentBuf, job: &Job, encoded: Vec<u8>) {
    document.append(cstr!("task"), job.spec.task.name());
    document.append(cstr!("payload"), payload(encoded));
}

/// The job of a document.
///
/// **Errors**: [`Corrupt`](ErrorKind::Corrupt) with the reason.
pub(crate) fn decode_job(row: &Row, codec: &Codec, context: &StoreContext) -> Result<Job, Error> {
    if let Some(reason) = row.text("quarantine")? {
        return Err(corrupt(reason));
    }
    judge_job(row, codec, context)
}

/// The job of a document, whatever was found out about it before.
pub(crate) fn judge_job(row: &Row, codec: &Codec, context: &StoreContext) -> Result<Job, Error> {
    let id = Row::needed(row.text("_id")?, "_id")?;
    let time = |key| row.number(key)?.map(from_micros).transpose();
    let revision = u64::try_from(row.number("revision")?.unwrap_or(0));
    let cursor = Cursor {
        next_run_time: time("next_run")?,
        next_fire_time: time("next_fire")?,
        last_fire_time: time("last_fire")?,
        status: Row::needed(row.text("status")?, "status")?.parse()?,
        revision: revision.map_err(|_| corrupt("`revision` is negative"))?,
    };
    codec.decode_job(Row::needed(row.bytes("payload")?, "payload")?, id, cursor, context)
}

/// The job of a document as it is listed; `None` when not even its id is one.
pub(crate) fn decode_stored(row: &Row, codec: &Codec, context: &StoreContext) -> Option<StoredJob> {
    let id = row.job_id().map(JobId::new);
    match (decode_job(row, codec, context), id) {
        (Ok(job), _) => Some(StoredJob::Job(job)),
        (Err(error), Some(Ok(id))) => {
            let next_run_time = row.number("next_run").ok().flatten().and_then(|at| from_micros(at).ok());
            Some(StoredJob::Quarantined { id, next_run_time, reason: error.to_string() })
        }
        _ => {
            tracing::warn!("a document among the jobs has an invalid id");
            None
        }
    }
}

/// A run on its way into the queue.
#[derive(Debug)]
pub(crate) struct NewRun {
    pub(crate) run: QueuedRun,
    encoded: Vec<u8>,
}

impl NewRun {
    /// **Errors**: [`InvalidJob`](ErrorKind::InvalidJob) for a closure.
    pub(crate) fn encode(run: QueuedRun, codec: &Codec) -> Result<Self, Error> {
        let encoded = codec.encode_run(&run)?;
        Ok(Self { run, encoded })
    }

    /// As [`encode`](Self::encode), for a run that is queued directly.
    ///
    /// **Errors**: [`InvalidJob`](ErrorKind::InvalidJob) for a payload that is too long, too.
    pub(crate) fn encode_direct(run: QueuedRun, codec: &Codec) -> Result<Self, Error> {
        let new = Self::encode(run, codec)?;
        codec.check_run(&new.encoded, new.run.id)?;
        Ok(new)
    }

    /// The document of a run that waits.
    pub(crate) fn queued(&self) -> RawDocumentBuf {
        let mut document = self.document(QUEUED, 0);
        document.append(cstr!("wake"), to_micros(self.run.scheduled_time));
        document
    }

    /// The document of a run that waits once a commit is through, which is made under a claim with this token, whose
    /// lease ends at `until`.
    pub(crate) fn prepared(&self, commit: ObjectId, (token, until): (i64, i64)) -> RawDocumentBuf {
        let mut document = self.document(PREPARED, token);
        document.append(cstr!("wake"), until);
        document.append(cstr!("commit"), commit);
        document
    }

    fn document(&self, state: i32, token: i64) -> RawDocumentBuf {
        let QueuedRun { id, job_id, call, fire_time, scheduled_time, priority, options } = &self.run;
        let mut document = RawDocumentBuf::new();
        document.append(cstr!("_id"), id_of_run(*id));
        if let Some(job_id) = job_id {
            document.append(cstr!("job"), job_id.as_str());
            document.append(cstr!("max"), i64::from(options.max_instances.max(1)));
        }
        document.append(cstr!("state"), state);
        document.append(cstr!("fire"), to_micros(*fire_time));
        document.append(cstr!("scheduled"), to_micros(*scheduled_time));
        document.append(cstr!("priority"), *priority);
        document.append(cstr!("task"), call.task.name());
        document.append(cstr!("executor"), &*options.executor);
        if let Some(key) = &options.concurrency_key {
            document.append(cstr!("key"), &**key);
            document.append(cstr!("key_max"), i64::from(options.concurrency_limit.max(1)));
        }
        document.append(cstr!("ttl"), micros(options.result_ttl));
        document.append(cstr!("attempt"), 0_i64);
        document.append(cstr!("token"), token);
        document.append(cstr!("payload"), payload(self.encoded.clone()));
        document
    }
}

/// A span of time in microseconds, rounded up.
fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_nanos().div_ceil(1_000)).unwrap_or(i64::MAX)
}

/// The run of a document.
///
/// **Errors**: [`Corrupt`](ErrorKind::Corrupt) with the reason.
pub(crate) fn decode_run(row: &Row, codec: &Codec, context: &StoreContext) -> Result<QueuedRun, Error> {
    let payload = Row::needed(row.bytes("payload")?, "payload")?;
    with_head(row, |head| codec.decode_run(payload, head, context))
}

/// Attempts so far.
pub(crate) fn attempts(row: &Row) -> Result<u32, Error> {
    let attempt = row.number("attempt")?.unwrap_or(0);
    u32::try_from(attempt).map_err(|_| corrupt("`attempt` is no count"))
}

/// The attempts that ended.
pub(crate) fn history(row: &Row, codec: &Codec) -> Result<Vec<Attempt>, Error> {
    row.bytes("history")?.map_or_else(|| Ok(Vec::new()), |history| codec.decode_history(history))
}

/// The row of a run. One whose payload does not decode is shown without it.
///
/// **Errors**: [`Corrupt`](ErrorKind::Corrupt) when not even its ids and times are any.
pub(crate) fn decode_record(row: &Row, codec: &Codec, context: &StoreContext) -> Result<RunRecord, Error> {
    let run = match decode_run(row, codec, context) {
        Ok(run) => run,
        Err(_) => with_head(row, |head| codec.bare_run(head, context))?,
    };
    Ok(RunRecord {
        run,
        attempt: attempts(row)?,
        state: decode_state(row, codec)?,
        history: history(row, codec).unwrap_or_default(),
    })
}

fn decode_state(row: &Row, codec: &Codec) -> Result<RunState, Error> {
    let time = |key| from_micros(Row::needed(row.number(key)?, key)?);
    let state = row.number("state")?.and_then(|state| i32::try_from(state).ok());
    Ok(match state {
        Some(QUEUED) => RunState::Queued,
        Some(RUNNING) => RunState::Running {
            owner: Arc::from(Row::needed(row.text("owner")?, "owner")?),
            lease_until: time("wake")?,
        },
        Some(FINISHED) => {
            let word = Row::needed(row.text("outcome")?, "outcome")?;
            let outcome = codec.decode_outcome(word, row.bytes("result")?);
            RunState::Finished {
                outcome: outcome.unwrap_or_else(|error| Outcome::Abandoned(error.to_string())),
                started_at: row.number("started")?.map(from_micros).transpose()?,
                finished_at: time("finished")?,
            }
        }
        _ => return Err(corrupt("`state` is unknown")),
    })
}

fn with_head<T>(row: &Row, read: impl FnOnce(RunHead<'_>) -> Result<T, Error>) -> Result<T, Error> {
    let id = Row::needed(row.run_id(), "_id")?.to_string();
    let time = |key| from_micros(Row::needed(row.number(key)?, key)?);
    let priority = i32::try_from(row.number("priority")?.unwrap_or(0));
    read(RunHead {
        id: &id,
        job_id: row.text("job")?,
        task: Row::needed(row.text("task")?, "task")?,
        fire_time: time("fire")?,
        scheduled_time: time("scheduled")?,
        priority: priority.map_err(|_| corrupt("`priority` is out of range"))?,
    })
}

pub(crate) fn corrupt(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Corrupt, message)
}
