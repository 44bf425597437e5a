//! Jobs and runs as rows, and back.
//!
//! What a database orders, searches or counts by has columns of its own; the rest is a payload of
//! [`sched_core::codec`]. Times are whole microseconds since the Unix epoch. Nothing here touches a database.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sched_core::codec::{Codec, RunHead, from_micros, to_micros};
use sched_core::{
    Cursor, Error, ErrorKind, FinishedRun, Job, JobStatus, Outcome, QueuedRun, RunClaim, RunRecord, RunState,
    StoreContext,
};

#[cfg(any(feature = "sqlite", feature = "mysql"))]
use crate::statement::Bind;

/// The states of a job as numbers.
pub(crate) mod job_state {
    pub(crate) const SCHEDULED: i64 = 0;
    pub(crate) const PAUSED: i64 = 1;
    pub(crate) const FINISHED: i64 = 2;
    pub(crate) const SUSPENDED: i64 = 3;
    pub(crate) const QUARANTINED: i64 = 4;
}

/// The states of a run as numbers.
pub(crate) mod run_state {
    pub(crate) const QUEUED: i64 = 0;
    pub(crate) const RUNNING: i64 = 1;
    pub(crate) const FINISHED: i64 = 2;
}

/// A cursor as columns.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct CursorColumns {
    pub(crate) next_run_time: Option<i64>,
    pub(crate) next_fire_time: Option<i64>,
    pub(crate) last_fire_time: Option<i64>,
    pub(crate) status: String,
    pub(crate) state: i64,
}

impl From<&Cursor> for CursorColumns {
    fn from(cursor: &Cursor) -> Self {
        Self {
            next_run_time: cursor.next_run_time.map(to_micros),
            next_fire_time: cursor.next_fire_time.map(to_micros),
            last_fire_time: cursor.last_fire_time.map(to_micros),
            status: cursor.status.to_string(),
            state: match cursor.status {
                JobStatus::Scheduled => job_state::SCHEDULED,
                JobStatus::Paused => job_state::PAUSED,
                JobStatus::Finished => job_state::FINISHED,
                _ => job_state::SUSPENDED,
            },
        }
    }
}

/// A job as it is written.
#[derive(Debug, Clone)]
pub(crate) struct JobColumns<'a> {
    pub(crate) job: &'a Job,
    pub(crate) payload: Vec<u8>,
    pub(crate) cursor: CursorColumns,
}

impl<'a> JobColumns<'a> {
    /// **Errors**: [`InvalidJob`](ErrorKind::InvalidJob) for a closure and for a payload that is too long.
    pub(crate) fn encode(codec: &Codec, job: &'a Job) -> Result<Self, Error> {
        Ok(Self { job, payload: codec.encode_job(job)?, cursor: CursorColumns::from(&job.cursor) })
    }

    pub(crate) fn id(&self) -> &'a str {
        self.job.id().as_str()
    }

    pub(crate) fn task(&self) -> &'a str {
        self.job.spec.task.name()
    }

    pub(crate) fn revision(&self) -> i64 {
        count(self.job.cursor.revision)
    }
}

/// A job as it is read.
#[derive(Debug, diesel::Queryable)]
pub(crate) struct JobRow {
    pub(crate) seq: i64,
    pub(crate) id: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) next_run_time: Option<i64>,
    pub(crate) next_fire_time: Option<i64>,
    pub(crate) last_fire_time: Option<i64>,
    pub(crate) status: String,
    pub(crate) revision: i64,
    pub(crate) token: i64,
    pub(crate) quarantine: Option<String>,
}

impl JobRow {
    /// The job, also of a row that is kept aside.
    ///
    /// **Errors**: [`Corrupt`](ErrorKind::Corrupt) with the reason.
    pub(crate) fn decode(&self, codec: &Codec, context: &StoreContext) -> Result<Job, Error> {
        let cursor = Cursor {
            next_run_time: time_or_none(self.next_run_time)?,
            next_fire_time: time_or_none(self.next_fire_time)?,
            last_fire_time: time_or_none(self.last_fire_time)?,
            status: self.status.parse()?,
            revision: u64::try_from(self.revision).map_err(|_| corrupt("the revision is negative"))?,
        };
        codec.decode_job(&self.payload, &self.id, cursor, context)
    }

    /// The order of claims and listings.
    pub(crate) fn place(&self) -> (Option<i64>, &str) {
        (self.next_run_time, &self.id)
    }
}

/// What a claimed job becomes, and its runs.
#[derive(Debug)]
pub(crate) struct CommitColumns {
    #[cfg_attr(
        not(any(feature = "sqlite", feature = "mysql")),
        expect(dead_code, reason = "PostgreSQL has no shortcut to a row")
    )]
    pub(crate) seq: i64,
    pub(crate) id: String,
    pub(crate) token: i64,
    /// The new cursor; `None` when the job is removed.
    pub(crate) cursor: Option<CursorColumns>,
    pub(crate) runs: Vec<RunColumns>,
    /// Whether its one run is to be claimed, which no limit but its job's may hold back.
    pub(crate) is_wanted: bool,
}

/// A run as it is written.
#[derive(Debug)]
pub(crate) struct RunColumns {
    pub(crate) run: QueuedRun,
    pub(crate) id: String,
    pub(crate) payload: Vec<u8>,
}

impl RunColumns {
    /// The values of a run that is queued, with names as the database takes them: id, job, task, executor, priority, fire and
    /// scheduled time, payload, instances of the job, of the task, key and its limit, time to live of the result.
    #[cfg(any(feature = "sqlite", feature = "mysql"))]
    pub(crate) fn binds<'a>(&'a self, name: impl Fn(Option<&'a str>) -> Bind<'a>) -> [Bind<'a>; 13] {
        [
            name(Some(&self.id)),
            name(self.job_id()),
            name(Some(self.task())),
            name(Some(self.executor())),
            i64::from(self.run.priority).into(),
            self.fire_time().into(),
            self.scheduled_time().into(),
            self.payload.as_slice().into(),
            self.max_instances().into(),
            self.task_max().into(),
            name(self.limit_key()),
            self.key_max().into(),
            self.result_ttl().into(),
        ]
    }

    /// A run of any length: that of a job is as long as the job allows.
    ///
    /// **Errors**: [`InvalidJob`](ErrorKind::InvalidJob) for a closure.
    pub(crate) fn encode(codec: &Codec, run: QueuedRun) -> Result<Self, Error> {
        Ok(Self { id: run.id.to_string(), payload: codec.encode_run(&run)?, run })
    }

    pub(crate) fn job_id(&self) -> Option<&str> {
        self.run.job_id.as_ref().map(sched_core::JobId::as_str)
    }

    pub(crate) fn task(&self) -> &str {
        self.run.call.task.name()
    }

    pub(crate) fn executor(&self) -> &str {
        &self.run.options.executor
    }

    pub(crate) fn fire_time(&self) -> i64 {
        to_micros(self.run.fire_time)
    }

    pub(crate) fn scheduled_time(&self) -> i64 {
        to_micros(self.run.scheduled_time)
    }

    pub(crate) fn max_instances(&self) -> i64 {
        i64::from(self.run.options.max_instances.max(1))
    }

    pub(crate) fn task_max(&self) -> Option<i64> {
        self.run.call.task.bound().and_then(|task| task.max_instances()).map(|most| i64::from(most.max(1)))
    }

    pub(crate) fn limit_key(&self) -> Option<&str> {
        self.run.options.concurrency_key.as_deref()
    }

    pub(crate) fn key_max(&self) -> i64 {
        i64::from(self.run.options.concurrency_limit.max(1))
    }

    /// How long its row is kept after its end, in microseconds.
    pub(crate) fn result_ttl(&self) -> i64 {
        micros_of(self.run.options.result_ttl)
    }
}

/// A run as it is read.
#[derive(Debug, diesel::Queryable)]
pub(crate) struct RunRow {
    pub(crate) id: String,
    pub(crate) job_id: Option<String>,
    pub(crate) task: String,
    pub(crate) fire_time: i64,
    pub(crate) scheduled_time: i64,
    pub(crate) priority: i64,
    pub(crate) payload: Vec<u8>,
    pub(crate) state: i64,
    pub(crate) attempt: i64,
    pub(crate) token: i64,
    pub(crate) owner: Option<String>,
    pub(crate) lease_until: Option<i64>,
    pub(crate) outcome: Option<String>,
    pub(crate) result: Option<Vec<u8>>,
    pub(crate) history: Option<Vec<u8>>,
    pub(crate) started_at: Option<i64>,
    pub(crate) finished_at: Option<i64>,
}

impl RunRow {
    /// **Errors**: [`Corrupt`](ErrorKind::Corrupt) with the reason.
    pub(crate) fn decode(&self, codec: &Codec, context: &StoreContext) -> Result<QueuedRun, Error> {
        codec.decode_run(&self.payload, self.head()?, context)
    }

    /// The row as it is listed. One whose payload does not decode is shown without arguments and options.
    ///
    /// **Errors**: [`Corrupt`](ErrorKind::Corrupt) when not even its ids and times are some.
    pub(crate) fn record(&self, codec: &Codec, context: &StoreContext) -> Result<RunRecord, Error> {
        let head = self.head()?;
        let run = codec.decode_run(&self.payload, head, context);
        let run = run.or_else(|_| codec.bare_run(head, context))?;
        let state = match self.state {
            run_state::QUEUED => RunState::Queued,
            run_state::RUNNING => RunState::Running {
                owner: std::sync::Arc::from(self.owner.as_deref().unwrap_or_default()),
                lease_until: from_micros(self.lease_until.unwrap_or_default())?,
            },
            _ => RunState::Finished {
                outcome: self.outcome(codec).unwrap_or_else(|error| {
                    Outcome::Abandoned(format!("its outcome does not decode: {error}"))
                }),
                started_at: time_or_none(self.started_at)?,
                finished_at: from_micros(self.finished_at.unwrap_or_default())?,
            },
        };
        Ok(RunRecord { run, attempt: self.attempt(), state, history: self.history(codec) })
    }

    /// Attempts that have begun.
    pub(crate) fn attempt(&self) -> u32 {
        u32::try_from(self.attempt).unwrap_or(u32::MAX)
    }

    /// Attempts that ended; none when they do not decode, which is no reason not to run.
    pub(crate) fn history(&self, codec: &Codec) -> Vec<sched_core::Attempt> {
        let Some(data) = self.history.as_deref().filter(|data| !data.is_empty()) else { return Vec::new() };
        let decoded = codec.decode_history(data);
        decoded
            .inspect_err(|error| tracing::warn!(run = %self.id, %error, "a history does not decode"))
            .unwrap_or_default()
    }

    fn outcome(&self, codec: &Codec) -> Result<Outcome, Error> {
        codec.decode_outcome(self.outcome.as_deref().unwrap_or_default(), self.result.as_deref())
    }

    fn head(&self) -> Result<RunHead<'_>, Error> {
        Ok(RunHead {
            id: &self.id,
            job_id: self.job_id.as_deref(),
            task: &self.task,
            fire_time: from_micros(self.fire_time)?,
            scheduled_time: from_micros(self.scheduled_time)?,
            priority: i32::try_from(self.priority).map_err(|_| corrupt("the priority is out of range"))?,
        })
    }
}

/// A waiting run that no limit held back when it was found, and how many runs share its limits.
#[derive(Debug, diesel::Queryable)]
pub(crate) struct Waiting {
    pub(crate) id: String,
    pub(crate) executor: String,
    pub(crate) priority: i64,
    pub(crate) scheduled_time: i64,
    pub(crate) job_id: Option<String>,
    pub(crate) task: String,
    pub(crate) limit_key: Option<String>,
    pub(crate) max_instances: i64,
    pub(crate) task_max: Option<i64>,
    pub(crate) key_max: i64,
    /// Claimed runs of its job, of its task, and with its key.
    pub(crate) job_running: i64,
    pub(crate) task_running: i64,
    pub(crate) key_running: i64,
}

impl Waiting {
    /// The order of claims.
    pub(crate) fn place(&self) -> (i64, i64, &str) {
        (self.priority.saturating_neg(), self.scheduled_time, &self.id)
    }
}

/// The end of a run, or of an attempt that is followed by another.
#[derive(Debug)]
pub(crate) struct Ending {
    pub(crate) id: String,
    pub(crate) token: i64,
    pub(crate) then: Then,
}

/// What becomes of a claimed run.
#[derive(Debug)]
pub(crate) enum Then {
    /// It is over.
    Over { outcome: &'static str, result: Option<Vec<u8>>, started_at: Option<i64>, finished_at: i64 },
    /// It waits to be tried again.
    Again { at: i64, history: Vec<u8> },
}

impl Ending {
    pub(crate) fn encode(codec: &Codec, finished: FinishedRun) -> Self {
        let FinishedRun { claim, outcome, started_at, finished_at, again } = finished;
        let then = match again {
            Some(again) => {
                Then::Again { at: to_micros(again.at), history: codec.encode_history(&again.history) }
            }
            None => {
                let (outcome, result) = codec.encode_outcome(&outcome);
                let (started_at, finished_at) = (started_at.map(to_micros), to_micros(finished_at));
                Then::Over { outcome, result, started_at, finished_at }
            }
        };
        Self { id: claim.id.to_string(), token: count(claim.token.0), then }
    }
}

/// Proof of a claim on a run, as columns.
#[derive(Debug)]
pub(crate) struct Proof {
    pub(crate) id: String,
    pub(crate) token: i64,
}

impl From<&RunClaim> for Proof {
    fn from(claim: &RunClaim) -> Self {
        Self { id: claim.id.to_string(), token: count(claim.token.0) }
    }
}

/// A finished run by its place in the order in which they ended.
#[derive(Debug, Clone, diesel::Queryable)]
pub(crate) struct EndedRun {
    /// Never empty where a run is finished.
    pub(crate) finished_at: Option<i64>,
    pub(crate) id: String,
}

/// A count as a column; no count comes near the greatest.
pub(crate) fn count(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A length of time in microseconds; what no column holds is the longest.
pub(crate) fn micros_of(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// The time of a column that may be empty.
pub(crate) fn time_or_none(micros: Option<i64>) -> Result<Option<DateTime<Utc>>, Error> {
    micros.map(from_micros).transpose()
}

fn corrupt(message: &str) -> Error {
    Error::new(ErrorKind::Corrupt, message)
}
