#![doc = include_str!("../README.md")]

#[cfg(unix)]
mod bell;
mod executor;
#[cfg(unix)]
mod keeper;
#[cfg(unix)]
mod output;
#[cfg(unix)]
mod pool;
#[cfg(unix)]
mod process;
mod settings;
#[cfg(unix)]
mod wire;
#[cfg(unix)]
mod worker;

#[cfg(not(unix))]
#[path = "unsupported.rs"]
mod pool;

pub use self::executor::{ProcessPoolBuilder, ProcessPoolExecutor};
pub use self::pool::WORKER_DIED;
pub use self::settings::{
    DEFAULT_ENVIRONMENT, DEFAULT_KILL_GRACE, DEFAULT_MAX_PAYLOAD, DEFAULT_START_TIMEOUT, InheritEnv,
    TaskOutput,
};

use std::sync::atomic::{AtomicBool, Ordering};

use sched_core::{Factory, Plugin, Registry};

inventory::submit! {
    Plugin {
        aliases: &["processpool"],
        summary: "runs in child processes, which may crash or be killed",
        package: env!("CARGO_PKG_NAME"),
        factory: Factory::Executor(executor::from_config),
    }
}

/// Whether [`init`] was called in this process.
static INITIALISED: AtomicBool = AtomicBool::new(false);

/// To be called at the top of `main`, before anything else: this is where the child processes of a pool come to life.
///
/// In a program that was started in the ordinary way it returns at once. In a child process it serves the pool with the
/// tasks that are linked into the program, and never returns.
pub fn init() {
    init_from(Registry::linked);
}

/// The same for a program whose tasks are in a registry of its own.
pub fn init_with(registry: &Registry) {
    init_from(|| Ok(registry.clone()));
}

fn init_from(registry: impl FnOnce() -> Result<Registry, sched_core::Error>) {
    INITIALISED.store(true, Ordering::Relaxed);
    #[cfg(unix)]
    worker::serve_if_called(registry);
    #[cfg(not(unix))]
    drop(registry);
}

pub(crate) fn is_initialised() -> bool {
    INITIALISED.load(Ordering::Relaxed)
}
