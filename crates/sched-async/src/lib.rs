#![doc = include_str!("../README.md")]

mod drive;
mod events;
mod executor;
mod jobs;
mod pool;
mod race;
mod runs;
mod runtime;
mod scheduler;
mod shutdown;
#[cfg(feature = "signal")]
mod signal;

pub use self::events::{DEFAULT_EVENT_CAPACITY, Events, Lagged};
pub use self::executor::{
    AsyncExecutor, AsyncExecutorBuilder, DEFAULT_BLOCKING_WORKERS, executor_from_config,
};
pub use self::runtime::AsyncRuntime;
pub use self::scheduler::AsyncScheduler;
#[cfg(feature = "signal")]
pub use self::signal::next_signal;
