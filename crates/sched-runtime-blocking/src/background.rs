//! A scheduler on its own thread.

use std::ops::Deref;
use std::sync::Arc;

use parking_lot::Mutex;
use sched_core::{Error, Scheduler, SchedulerBuilder, Shutdown, StartMode};
use serde_json::Value;

use crate::threads::Threads;

/// A scheduler that runs on threads of its own, one for each job store, named `sched-loop-{store}`.
///
/// Dropping it shuts it down and waits for unfinished runs; call [`shutdown`](Self::shutdown) to choose otherwise.
/// Clone the [`Scheduler`] inside (`scheduler.clone()` on the deref) to share it.
#[derive(Debug)]
pub struct BackgroundScheduler {
    scheduler: Scheduler,
    threads: Mutex<Option<Arc<Threads>>>,
}

impl BackgroundScheduler {
    /// A scheduler with defaults for everything. **Errors**: those of [`Scheduler::new`].
    pub fn new() -> Result<Self, Error> {
        Scheduler::new().map(Self::from)
    }

    /// A scheduler from a configuration dictionary. **Errors**: those of [`Scheduler::from_config`].
    pub fn from_config(config: Value) -> Result<Self, Error> {
        Scheduler::from_config(config).map(Self::from)
    }

    /// A scheduler from a builder. **Errors**: those of [`SchedulerBuilder::build`].
    pub fn build(builder: SchedulerBuilder) -> Result<Self, Error> {
        builder.build().map(Self::from)
    }

    /// Starts and returns. **Errors**: those of [`Scheduler::start_on`].
    pub fn start(&self) -> Result<(), Error> {
        self.start_in(StartMode::Running)
    }

    /// Starts paused, so that stored jobs can be pruned before they fire; then call `resume`.
    pub fn start_paused(&self) -> Result<(), Error> {
        self.start_in(StartMode::Paused)
    }

    fn start_in(&self, mode: StartMode) -> Result<(), Error> {
        let threads = Arc::new(Threads::new());
        self.scheduler.start_on(Arc::clone(&threads) as Arc<_>, mode)?;
        *self.threads.lock() = Some(threads);
        Ok(())
    }

    /// Shuts the scheduler down and joins its threads. See [`Scheduler::shutdown`].
    pub fn shutdown(&self, how: impl Into<Shutdown>) -> Result<(), Error> {
        let stopped = self.scheduler.shutdown(how);
        if stopped.is_ok() {
            self.join();
        }
        stopped
    }

    fn join(&self) {
        let threads = self.threads.lock().take();
        if let Some(threads) = threads {
            threads.join();
        }
        self.scheduler.shut_down().wait();
    }
}

impl From<Scheduler> for BackgroundScheduler {
    fn from(scheduler: Scheduler) -> Self {
        Self { scheduler, threads: Mutex::new(None) }
    }
}

impl Deref for BackgroundScheduler {
    type Target = Scheduler;
    fn deref(&self) -> &Scheduler {
        &self.scheduler
    }
}

impl Drop for BackgroundScheduler {
    fn drop(&mut self) {
        let stopped = self.scheduler.is_running().then(|| self.scheduler.shutdown(Shutdown::Wait));
        if let Some(Err(error)) = stopped {
            tracing::error!(%error, "the scheduler could not be shut down");
        }
        self.join();
    }
}
