//! A scheduler on the calling thread.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use sched_core::{Error, EventMask, Scheduler, SchedulerBuilder, StartMode};
use serde_json::Value;

use crate::threads::{Threads, drive};

/// How often it is looked whether a scheduler without stores was shut down, should its event be missed.
const LOOK: Duration = Duration::from_secs(60);

/// A scheduler that runs on the thread that starts it.
///
/// [`start`](Self::start) returns after the scheduler was shut down, from a task, a listener, another thread with a
/// clone of the [`Scheduler`], or a signal.
#[derive(Debug)]
pub struct BlockingScheduler {
    scheduler: Scheduler,
}

impl BlockingScheduler {
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

    /// Starts, and returns once the scheduler was shut down. The first store's loop runs on this thread, those of
    /// further stores on threads of their own.
    ///
    /// **Errors**: those of [`Scheduler::start_on`].
    pub fn start(&self) -> Result<(), Error> {
        self.start_in(StartMode::Running)
    }

    /// As [`start`](Self::start), but nothing fires until `resume` is called.
    pub fn start_paused(&self) -> Result<(), Error> {
        self.start_in(StartMode::Paused)
    }

    fn start_in(&self, mode: StartMode) -> Result<(), Error> {
        let threads = Arc::new(Threads::keeping_the_first());
        let ends = self.scheduler.subscribe(EventMask::SCHEDULER_SHUTDOWN);
        self.scheduler.start_on(Arc::clone(&threads) as Arc<_>, mode)?;
        if let Some(driver) = threads.kept() {
            drive(driver);
        }
        // The loop ends, too, when its store is removed.
        while self.scheduler.is_running() && ends.next_within(LOOK).is_none() {}
        threads.join();
        self.scheduler.shut_down().wait();
        Ok(())
    }
}

impl From<Scheduler> for BlockingScheduler {
    fn from(scheduler: Scheduler) -> Self {
        Self { scheduler }
    }
}

impl Deref for BlockingScheduler {
    type Target = Scheduler;
    fn deref(&self) -> &Scheduler {
        &self.scheduler
    }
}
