//! Events: what happened, told to listeners in order.

mod bus;
mod mask;

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::Value;

pub(crate) use self::bus::EventBus;
pub use self::bus::{EventStream, ListenerId};
pub use self::mask::*;
use crate::id::{JobId, RunId};
use crate::run::{MissReason, Outcome, Run};

/// A job in a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobRef {
    /// The job's id.
    pub job_id: JobId,
    /// The store's alias; `None` while the job is pending.
    pub store: Option<Arc<str>>,
}

/// The end of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct RunEnded {
    /// The run.
    pub run: Arc<Run>,
    /// How it ended.
    pub outcome: Outcome,
    /// When it started, if it did.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub finished_at: DateTime<Utc>,
}

/// What happened.
///
/// # Guarantees
/// 1. Listeners are called in the order of registration, one event at a time, in one order for all (case
///    `events_are_ordered`). For one run: submitted, started, finished, and where it is tried
///    again, submitted, started, retrying before; a job whose schedule ends is removed after
///    its last run has finished (case `removal_follows_the_last_run`).
/// 2. A listener that panics disturbs nobody; [`ListenerFailed`](Event::ListenerFailed) says so to the others (case
///    `a_listener_may_panic`).
/// 3. A listener may call any method of the scheduler; what that leads to is told after the present event.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// The scheduler started.
    SchedulerStarted,
    /// The scheduler was shut down.
    SchedulerShutdown,
    /// The scheduler was paused: nothing fires.
    SchedulerPaused,
    /// The scheduler was resumed.
    SchedulerResumed,
    /// An executor was added under this alias.
    ExecutorAdded(Arc<str>),
    /// The executor of this alias was removed.
    ExecutorRemoved(Arc<str>),
    /// A job store was added under this alias.
    JobStoreAdded(Arc<str>),
    /// The job store of this alias was removed.
    JobStoreRemoved(Arc<str>),
    /// All jobs of a store, or of all stores, were removed.
    AllJobsRemoved(Option<Arc<str>>),
    /// A job was added, or replaced one of the same id.
    JobAdded(JobRef),
    /// A job was removed, by hand or because its schedule ended.
    JobRemoved(JobRef),
    /// A job was changed by hand.
    JobModified(JobRef),
    /// Runs of a job were handed to its executor.
    JobSubmitted {
        /// The job.
        job: JobRef,
        /// When its runs were to start.
        scheduled_run_times: Vec<DateTime<Utc>>,
    },
    /// Runs of a job did not happen because too many are unfinished.
    JobMaxInstances {
        /// The job.
        job: JobRef,
        /// When its runs were to start.
        scheduled_run_times: Vec<DateTime<Utc>>,
        /// The limit.
        limit: u32,
    },
    /// A run starts.
    RunStarted(Arc<Run>),
    /// A run succeeded.
    JobExecuted(RunEnded),
    /// A run failed, was cancelled, timed out, or was abandoned, and is not tried again. The attempt of its run is how
    /// often it was tried.
    JobError(RunEnded),
    /// A run did not happen.
    JobMissed(RunEnded),
    /// An attempt failed, and another one of the same run follows.
    JobRetrying {
        /// How the attempt ended; its run has its number.
        attempt: RunEnded,
        /// When the next attempt starts, at the earliest.
        at: DateTime<Utc>,
    },
    /// More fire times were missed than `max_catch_up` lets run; the later ones were dropped.
    CatchUpLimited(JobRef),
    /// A job is out of the schedule because its trigger failed. Resuming it tries again.
    JobSuspended {
        /// The job.
        job: JobRef,
        /// Why.
        reason: Arc<str>,
    },
    /// A job store failed. Its loop goes on and tries again.
    StoreFailed {
        /// The store's alias.
        store: Arc<str>,
        /// Why.
        reason: Arc<str>,
        /// When the loop tries again.
        retry_in: Duration,
    },
    /// A job store works again.
    StoreRecovered(Arc<str>),
    /// The wall clock jumped against the monotonic clock; positive is forward.
    ClockJumped {
        /// By how much, in milliseconds.
        by_millis: i64,
    },
    /// A write of ours came too late: another scheduler owns the job or run now.
    ClaimLost {
        /// The store's alias.
        store: Arc<str>,
        /// The job, for a claim on a job.
        job_id: Option<JobId>,
        /// The run, for a claim on a run.
        run_id: Option<RunId>,
    },
    /// A listener panicked.
    ListenerFailed {
        /// Which.
        listener: ListenerId,
        /// The panic's message.
        reason: Arc<str>,
    },
}

impl Event {
    /// The event of a run's end: executed, error or missed.
    pub fn run_ended(ended: RunEnded) -> Self {
        match ended.outcome {
            Outcome::Succeeded(_) => Self::JobExecuted(ended),
            Outcome::Missed(_) => Self::JobMissed(ended),
            _ => Self::JobError(ended),
        }
    }

    /// The end of a run this event tells of.
    pub fn ended(&self) -> Option<&RunEnded> {
        match self {
            Self::JobExecuted(ended) | Self::JobError(ended) | Self::JobMissed(ended) => Some(ended),
            _ => None,
        }
    }

    /// The value of a run that succeeded.
    pub fn value(&self) -> Option<&Value> {
        self.ended().and_then(|ended| ended.outcome.value())
    }

    /// Why a run, or an attempt at it, failed, as text; `None` when it did not.
    pub fn error(&self) -> Option<String> {
        match self {
            Self::JobError(ended) | Self::JobRetrying { attempt: ended, .. } => {
                Some(ended.outcome.to_string())
            }
            _ => None,
        }
    }

    /// Why a run was missed.
    pub fn miss_reason(&self) -> Option<&MissReason> {
        match self.ended().map(|ended| &ended.outcome) {
            Some(Outcome::Missed(reason)) => Some(reason),
            _ => None,
        }
    }

    /// The job this event is about.
    pub fn job_id(&self) -> Option<&JobId> {
        match self {
            Self::JobAdded(job)
            | Self::JobRemoved(job)
            | Self::JobModified(job)
            | Self::CatchUpLimited(job)
            | Self::JobSubmitted { job, .. }
            | Self::JobMaxInstances { job, .. }
            | Self::JobSuspended { job, .. } => Some(&job.job_id),
            Self::RunStarted(run) => run.job_id.as_ref(),
            Self::JobRetrying { attempt, .. } => attempt.run.job_id.as_ref(),
            Self::ClaimLost { job_id, .. } => job_id.as_ref(),
            _ => self.ended().and_then(|ended| ended.run.job_id.as_ref()),
        }
    }

    /// The bit under which listeners ask for this event.
    pub fn mask(&self) -> EventMask {
        match self {
            Self::SchedulerStarted => EventMask::SCHEDULER_STARTED,
            Self::SchedulerShutdown => EventMask::SCHEDULER_SHUTDOWN,
            Self::SchedulerPaused => EventMask::SCHEDULER_PAUSED,
            Self::SchedulerResumed => EventMask::SCHEDULER_RESUMED,
            Self::ExecutorAdded(_) => EventMask::EXECUTOR_ADDED,
            Self::ExecutorRemoved(_) => EventMask::EXECUTOR_REMOVED,
            Self::JobStoreAdded(_) => EventMask::JOBSTORE_ADDED,
            Self::JobStoreRemoved(_) => EventMask::JOBSTORE_REMOVED,
            Self::AllJobsRemoved(_) => EventMask::ALL_JOBS_REMOVED,
            Self::JobAdded(_) => EventMask::JOB_ADDED,
            Self::JobRemoved(_) => EventMask::JOB_REMOVED,
            Self::JobModified(_) => EventMask::JOB_MODIFIED,
            Self::JobSubmitted { .. } => EventMask::JOB_SUBMITTED,
            Self::JobMaxInstances { .. } => EventMask::JOB_MAX_INSTANCES,
            Self::RunStarted(_) => EventMask::RUN_STARTED,
            Self::JobExecuted(_) => EventMask::JOB_EXECUTED,
            Self::JobError(_) => EventMask::JOB_ERROR,
            Self::JobMissed(_) => EventMask::JOB_MISSED,
            Self::JobRetrying { .. } => EventMask::JOB_RETRYING,
            Self::CatchUpLimited(_) => EventMask::CATCH_UP_LIMITED,
            Self::JobSuspended { .. } => EventMask::JOB_SUSPENDED,
            Self::StoreFailed { .. } => EventMask::STORE_FAILED,
            Self::StoreRecovered(_) => EventMask::STORE_RECOVERED,
            Self::ClockJumped { .. } => EventMask::CLOCK_JUMPED,
            Self::ClaimLost { .. } => EventMask::CLAIM_LOST,
            Self::ListenerFailed { .. } => EventMask::LISTENER_FAILED,
        }
    }
}
