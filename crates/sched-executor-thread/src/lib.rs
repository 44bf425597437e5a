#![doc = include_str!("../README.md")]

mod debug;
mod executor;
mod pool;

pub use self::debug::DebugExecutor;
pub use self::executor::{DEFAULT_WORKERS, ThreadPoolBuilder, ThreadPoolExecutor};

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use sched_core::{Error, Executor, Factory, Plugin, Section};

inventory::submit! {
    Plugin {
        aliases: &["threadpool"],
        summary: "runs on a pool of threads; the default",
        package: env!("CARGO_PKG_NAME"),
        factory: Factory::Executor(executor::from_config),
    }
}

inventory::submit! {
    Plugin {
        aliases: &["debug"],
        summary: "runs at once, on the thread of the scheduler's loop",
        package: env!("CARGO_PKG_NAME"),
        factory: Factory::Executor(debug_from_config),
    }
}

/// A debug executor has no keys.
fn debug_from_config(_: &mut Section<'_>) -> Result<Arc<dyn Executor>, Error> {
    Ok(Arc::new(DebugExecutor::new()))
}

/// Does something that may call foreign code outside a task, such as a listener, and survives its panic. A task's own
/// panic is caught and reported before it gets here.
fn contain(work: impl FnOnce()) {
    if let Err(payload) = std::panic::catch_unwind(AssertUnwindSafe(work)) {
        // The payload's own drop may panic as well; then it is leaked.
        let dropped = std::panic::catch_unwind(AssertUnwindSafe(|| drop(payload)));
        dropped.unwrap_or_else(std::mem::forget);
    }
}
