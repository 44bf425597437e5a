#![doc = include_str!("../README.md")]

#[cfg(feature = "mqtt")]
pub use sched_broker_mqtt as broker_mqtt;
pub use sched_core::*;
#[cfg(feature = "process")]
pub use sched_executor_process as process;
#[cfg(feature = "rayon")]
pub use sched_executor_rayon as executor_rayon;
#[cfg(feature = "thread")]
pub use sched_executor_thread as executor_thread;
#[cfg(feature = "macros")]
pub use sched_macros::{scheduled, task};
#[cfg(feature = "async-std")]
pub use sched_runtime_async_std::{self as runtime_async_std, AsyncStdScheduler};
#[cfg(feature = "signal")]
pub use sched_runtime_blocking::shutdown_on_signal;
#[cfg(feature = "blocking")]
pub use sched_runtime_blocking::{BackgroundScheduler, BlockingScheduler};
#[cfg(feature = "smol")]
pub use sched_runtime_smol::{self as runtime_smol, SmolScheduler};
#[cfg(feature = "tokio")]
pub use sched_runtime_tokio::{self as runtime_tokio, TokioScheduler};
#[cfg(feature = "memory")]
pub use sched_store_memory as store_memory;
#[cfg(feature = "mongodb")]
pub use sched_store_mongodb as store_mongodb;
#[cfg(feature = "redis")]
pub use sched_store_redis as store_redis;
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
    #[cfg(feature = "process")]
    pub use sched_executor_process::ProcessPoolExecutor;
    #[cfg(feature = "rayon")]
    pub use sched_executor_rayon::RayonExecutor;
    #[cfg(feature = "thread")]
    pub use sched_executor_thread::{DebugExecutor, ThreadPoolExecutor};
    #[cfg(feature = "macros")]
    pub use sched_macros::{scheduled, task};
    #[cfg(feature = "async-std")]
    pub use sched_runtime_async_std::{AsyncStdExecutor, AsyncStdScheduler};
    #[cfg(feature = "blocking")]
    pub use sched_runtime_blocking::{BackgroundScheduler, BlockingScheduler};
    #[cfg(feature = "smol")]
    pub use sched_runtime_smol::{SmolExecutor, SmolScheduler};
    #[cfg(feature = "tokio")]
    pub use sched_runtime_tokio::{TokioExecutor, TokioScheduler};
    #[cfg(feature = "memory")]
    pub use sched_store_memory::MemoryStore;
    #[cfg(feature = "mongodb")]
    pub use sched_store_mongodb::MongoStore;
    #[cfg(feature = "redis")]
    pub use sched_store_redis::RedisStore;
    #[cfg(feature = "sql")]
    pub use sched_store_sql::SqlStore;
    #[cfg(feature = "triggers")]
    pub use sched_triggers::*;
}
