#![doc = include_str!("../README.md")]

pub use sched_core::*;
#[cfg(feature = "thread")]
pub use sched_executor_thread as executor_thread;
#[cfg(feature = "macros")]
pub use sched_macros::{scheduled, task};
#[cfg(feature = "signal")]
pub use sched_runtime_blocking::shutdown_on_signal;
#[cfg(feature = "blocking")]
pub use sched_runtime_blocking::{BackgroundScheduler, BlockingScheduler};
#[cfg(feature = "memory")]
pub use sched_store_memory as store_memory;
#[cfg(feature = "sql")]
pub use sched_store_sql as store_sql;
#[cfg(feature = "triggers")]
pub use sched_triggers as triggers;

/// What the expansions of the macros name. No part of the interface.
#[doc(hidden)]
pub mod __private {
    pub use sched_core::__private::*;
}

/// What most programs use.
pub mod prelude {
    pub use std::time::Duration;

    pub use sched_core::{
        Coalesce, ConflictPolicy, EVENT_ALL, EVENT_JOB_ERROR, EVENT_JOB_EXECUTED, EVENT_JOB_MISSED, Event,
        EventMask, Job, JobBuilder, JobChanges, JobHandle, JobSettings, NewRun, Overlap, Registry,
        RunContext, Scheduler, SchedulerConfig, Shutdown, Trigger, current_run, current_scheduler,
    };
    #[cfg(feature = "thread")]
    pub use sched_executor_thread::{DebugExecutor, ThreadPoolExecutor};
    #[cfg(feature = "macros")]
    pub use sched_macros::{scheduled, task};
    #[cfg(feature = "blocking")]
    pub use sched_runtime_blocking::{BackgroundScheduler, BlockingScheduler};
    #[cfg(feature = "memory")]
    pub use sched_store_memory::MemoryStore;
    #[cfg(feature = "sql")]
    pub use sched_store_sql::SqlStore;
    #[cfg(feature = "triggers")]
    pub use sched_triggers::*;
}
