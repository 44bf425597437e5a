#![doc = include_str!("../README.md")]

pub mod dispatch;
pub mod figure;
pub mod idle;
pub mod lateness;
pub mod measure;
pub mod memory;
pub mod options;
pub mod out;
pub mod random;
pub mod scale;
pub mod stage;
pub mod stores;
pub mod timers;
pub mod triggers;
pub mod weight;

// The kinds `threadpool` and `memory` are found through the registry.
use {
    sched_executor_rayon as _, sched_executor_thread as _, sched_runtime_tokio as _, sched_store_memory as _,
};

/// What a scenario answers: its figures are printed as they come, so that only a failure is left to tell.
pub type Outcome<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;
