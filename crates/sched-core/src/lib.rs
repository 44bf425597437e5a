#![doc = include_str!("../README.md")]

mod broker;
pub mod clock;
pub mod codec;
pub mod config;
mod context;
mod error;
mod event;
mod executor;
mod id;
mod job;
mod plan;
mod policy;
pub mod registry;
mod retry;
mod run;
mod scheduler;
mod store;
mod task;
pub mod time;
mod trigger;

pub use self::broker::{
    DEFAULT_GATHERING, EventBroker, LocalBroker, Notice, NoticeCallback, Outbox, Subscribers, SubscriptionId,
};
pub use self::clock::{Clock, SystemClock};
pub use self::config::{BuildContext, Section};
pub use self::context::{CancelReason, CancelToken, Cancelled, RunContext, current_run, current_scheduler};
pub use self::error::{Error, ErrorKind, Fault};
pub use self::event::*;
pub use self::executor::{Capacity, Execution, Executor, ExecutorContext, Refused, RunSink};
pub use self::id::{FencingToken, JobId, MAX_JOB_ID_CHARS, RunId};
pub use self::job::*;
pub use self::plan::{Plan, PlannedFire, Then, is_too_late, plan};
pub use self::policy::*;
pub use self::registry::{Factory, Plugin, PluginKind, Registry, RegistryBuilder};
pub use self::retry::{Backoff, Retry, RetryKind};
pub use self::run::{MissReason, Outcome, Run, RunReport};
pub use self::scheduler::*;
pub use self::store::*;
pub use self::task::*;
pub use self::trigger::{ANCHOR_KEY, Immediate, Trigger, trigger_definition};

pub use {chrono, chrono_tz, serde_json};

/// What the expansions of the macros name. No part of the interface.
#[doc(hidden)]
pub mod __private {
    pub use {chrono, chrono_tz, inventory, serde_json};
}
