//! Which events a listener wants: one bit each, with APScheduler 3's names and values where it has them.

use bitflags::bitflags;

bitflags! {
    /// A set of event kinds.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub struct EventMask: u64 {
        /// The scheduler started.
        const SCHEDULER_STARTED = 1;
        /// The scheduler was shut down.
        const SCHEDULER_SHUTDOWN = 1 << 1;
        /// The scheduler was paused.
        const SCHEDULER_PAUSED = 1 << 2;
        /// The scheduler was resumed.
        const SCHEDULER_RESUMED = 1 << 3;
        /// An executor was added.
        const EXECUTOR_ADDED = 1 << 4;
        /// An executor was removed.
        const EXECUTOR_REMOVED = 1 << 5;
        /// A job store was added.
        const JOBSTORE_ADDED = 1 << 6;
        /// A job store was removed.
        const JOBSTORE_REMOVED = 1 << 7;
        /// All jobs were removed.
        const ALL_JOBS_REMOVED = 1 << 8;
        /// A job was added.
        const JOB_ADDED = 1 << 9;
        /// A job was removed.
        const JOB_REMOVED = 1 << 10;
        /// A job was changed by hand.
        const JOB_MODIFIED = 1 << 11;
        /// A run succeeded.
        const JOB_EXECUTED = 1 << 12;
        /// A run failed.
        const JOB_ERROR = 1 << 13;
        /// A run did not happen.
        const JOB_MISSED = 1 << 14;
        /// Runs were handed to an executor.
        const JOB_SUBMITTED = 1 << 15;
        /// Too many runs of a job are unfinished.
        const JOB_MAX_INSTANCES = 1 << 16;
        /// A run starts.
        const RUN_STARTED = 1 << 17;
        /// Missed fire times were dropped.
        const CATCH_UP_LIMITED = 1 << 18;
        /// A job's trigger failed.
        const JOB_SUSPENDED = 1 << 19;
        /// A job store failed.
        const STORE_FAILED = 1 << 20;
        /// A job store works again.
        const STORE_RECOVERED = 1 << 21;
        /// The wall clock jumped.
        const CLOCK_JUMPED = 1 << 22;
        /// A claim of ours was taken over.
        const CLAIM_LOST = 1 << 23;
        /// A listener panicked.
        const LISTENER_FAILED = 1 << 24;
        /// A run failed and is tried again.
        const JOB_RETRYING = 1 << 25;
    }
}

macro_rules! constants {
    ($($name:ident = $flag:ident),* $(,)?) => {$(
        #[doc = concat!("[`EventMask::", stringify!($flag), "`] under APScheduler 3's name.")]
        pub const $name: EventMask = EventMask::$flag;
    )*};
}

constants! {
    EVENT_SCHEDULER_STARTED = SCHEDULER_STARTED,
    EVENT_SCHEDULER_SHUTDOWN = SCHEDULER_SHUTDOWN,
    EVENT_SCHEDULER_PAUSED = SCHEDULER_PAUSED,
    EVENT_SCHEDULER_RESUMED = SCHEDULER_RESUMED,
    EVENT_EXECUTOR_ADDED = EXECUTOR_ADDED,
    EVENT_EXECUTOR_REMOVED = EXECUTOR_REMOVED,
    EVENT_JOBSTORE_ADDED = JOBSTORE_ADDED,
    EVENT_JOBSTORE_REMOVED = JOBSTORE_REMOVED,
    EVENT_ALL_JOBS_REMOVED = ALL_JOBS_REMOVED,
    EVENT_JOB_ADDED = JOB_ADDED,
    EVENT_JOB_REMOVED = JOB_REMOVED,
    EVENT_JOB_MODIFIED = JOB_MODIFIED,
    EVENT_JOB_EXECUTED = JOB_EXECUTED,
    EVENT_JOB_ERROR = JOB_ERROR,
    EVENT_JOB_MISSED = JOB_MISSED,
    EVENT_JOB_SUBMITTED = JOB_SUBMITTED,
    EVENT_JOB_MAX_INSTANCES = JOB_MAX_INSTANCES,
}

/// Every event.
pub const EVENT_ALL: EventMask = EventMask::all();
