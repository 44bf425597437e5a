//! [`AsyncScheduler`]: starting, and where its calls are made.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use parking_lot::Mutex;
use sched_core::{
    DEFAULT_ALIAS, Error, EventMask, Executor, JobStore, Runtime, Scheduler, SchedulerBuilder, Shutdown,
    StartMode,
};
use serde_json::Value;

use crate::drive::Loops;
use crate::events::{DEFAULT_EVENT_CAPACITY, Events};
use crate::executor::AsyncExecutor;
use crate::runtime::{AsyncRuntime, off_loop};
use crate::shutdown::ShutdownOnDrop;

/// A scheduler on an async runtime: each job store's loop is a future of it, and every call is async.
///
/// * No call blocks the event loop. Stores that may wait for a server or a disk are only called on the runtime's
///   blocking threads; stores in memory are called at once, which takes no longer than a lock and a map. What goes through
///   all jobs or runs (`get_jobs`, `remove_all_jobs`, `get_runs`) is done on blocking threads whatever the store.
/// * A call that has begun is finished even when its future is dropped.
/// * When no executor is configured as `default`, an [`AsyncExecutor`] on the same runtime is: async tasks are spawned,
///   plain functions go to its blocking threads.
/// * Dropping it shuts it down without waiting: unfinished runs are asked to cancel, async ones end at their next
///   await. Call [`shutdown`](Self::shutdown) to choose otherwise.
///
/// It derefs to the [`Scheduler`] inside, which has everything else: listeners, aliases, the calls for code that is not
/// async. Those of its methods that reach a store block while they do; [`call`](Self::call) makes any of them from
/// async code. To share it, put it into an `Arc`.
pub struct AsyncScheduler<R: AsyncRuntime> {
    pub(crate) shared: Arc<Shared<R>>,
}

/// What outlives a dropped call.
pub(crate) struct Shared<R> {
    pub(crate) scheduler: Scheduler,
    /// The loops of the present start.
    loops: Mutex<Option<Arc<Loops<R>>>>,
    /// The runtime it was last started on.
    runtime: Mutex<Option<R>>,
    pub(crate) waiting: Arc<crate::runs::Waiting>,
}

impl<R: AsyncRuntime> AsyncScheduler<R> {
    /// A scheduler with defaults for everything. **Errors**: those of [`Scheduler::new`].
    pub fn new() -> Result<Self, Error> {
        Self::build(Scheduler::builder())
    }

    /// A scheduler from a configuration dictionary. **Errors**: those of [`Scheduler::from_config`].
    pub fn from_config(config: Value) -> Result<Self, Error> {
        Self::build(Scheduler::builder().config(config))
    }

    /// A scheduler from a builder. A builder without a clock gets the runtime's, if that has one of its own.
    ///
    /// **Errors**: those of [`SchedulerBuilder::build`].
    pub fn build(builder: SchedulerBuilder) -> Result<Self, Error> {
        let builder = match R::clock() {
            Some(clock) => builder.clock_or(clock),
            None => builder,
        };
        builder.build().map(Self::from)
    }

    /// The scheduler inside. A clone of it is the same scheduler.
    pub fn scheduler(&self) -> &Scheduler {
        &self.shared.scheduler
    }

    /// Starts, on the runtime that this is called on.
    ///
    /// **Errors**: those of [`Scheduler::start_on`]; [`InvalidState`](sched_core::ErrorKind::InvalidState) outside of a
    /// runtime.
    pub async fn start(&self) -> Result<(), Error> {
        self.start_in(StartMode::Running).await
    }

    /// Starts paused, so that stored jobs can be pruned before they fire; then call [`resume`](Self::resume).
    pub async fn start_paused(&self) -> Result<(), Error> {
        self.start_in(StartMode::Paused).await
    }

    async fn start_in(&self, mode: StartMode) -> Result<(), Error> {
        let runtime = R::current()?;
        *self.shared.runtime.lock() = Some(runtime.clone());
        let (shared, loops) = (Arc::clone(&self.shared), Arc::new(Loops::on(runtime.clone())));
        off_loop(&runtime, move || shared.start_on(loops, mode)).await?
    }

    /// Fires nothing until resumed. What is running goes on. Without effect when paused already.
    pub async fn pause(&self) -> Result<(), Error> {
        self.call(Scheduler::pause).await
    }

    /// Fires again; what was missed meanwhile is judged as any late run. Without effect when running already.
    pub async fn resume(&self) -> Result<(), Error> {
        self.call(Scheduler::resume).await
    }

    /// Makes any call of the [`Scheduler`] without blocking the event loop. With stores in memory alone it is made at once:
    /// one that goes through all jobs holds the event loop up for as long as that takes.
    ///
    /// **Errors**: those of the call; [`Closed`](sched_core::ErrorKind::Closed) when the runtime has ended.
    ///
    /// # Example
    /// ```ignore
    /// let text = scheduler.call(|scheduler| scheduler.format_jobs(None)).await?;
    /// ```
    pub async fn call<T: Send + 'static>(
        &self,
        call: impl FnOnce(&Scheduler) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        if self.shared.is_inline() {
            return call(&self.shared.scheduler);
        }
        let (runtime, scheduler) = (self.runtime()?, self.shared.scheduler.clone());
        off_loop(&runtime, move || call(&scheduler)).await?
    }

    /// Adds a job store. On a started scheduler it is started, and its loop begins.
    ///
    /// **Errors**: those of [`Scheduler::add_job_store`].
    pub async fn add_job_store(&self, store: Arc<dyn JobStore>, alias: &str) -> Result<(), Error> {
        let alias = alias.to_owned();
        // Before it can be found: no call that looks through all stores may be made on the event loop any more.
        if let Some(loops) = self.shared.loops.lock().as_ref().filter(|_| store.traits().blocking) {
            loops.set_blocking();
        }
        self.off_loop(move |scheduler| scheduler.add_job_store(store, &alias)).await
    }

    /// Removes a job store: its loop ends and it is shut down. Its jobs stay where they are.
    pub async fn remove_job_store(&self, alias: &str) -> Result<(), Error> {
        let alias = alias.to_owned();
        self.off_loop(move |scheduler| scheduler.remove_job_store(&alias)).await
    }

    /// Adds an executor. On a started scheduler it is started first.
    ///
    /// **Errors**: those of [`Scheduler::add_executor`].
    pub async fn add_executor(&self, executor: Arc<dyn Executor>, alias: &str) -> Result<(), Error> {
        let alias = alias.to_owned();
        self.off_loop(move |scheduler| scheduler.add_executor(executor, &alias)).await
    }

    /// Removes an executor and shuts it down as told.
    pub async fn remove_executor(&self, alias: &str, how: impl Into<Shutdown>) -> Result<(), Error> {
        let (alias, how) = (alias.to_owned(), how.into());
        self.off_loop(move |scheduler| scheduler.remove_executor(&alias, how)).await
    }

    /// The events in `mask` from now on, of which at most [`DEFAULT_EVENT_CAPACITY`] are kept.
    pub fn events(&self, mask: EventMask) -> Events {
        self.events_within(mask, DEFAULT_EVENT_CAPACITY)
    }

    /// The events in `mask` from now on, of which at most `capacity` are kept until they are read; at least 1.
    pub fn events_within(&self, mask: EventMask, capacity: usize) -> Events {
        Events::of(self.scheduler(), mask, capacity)
    }

    /// Makes a call that may wait for more than a store, or goes through all that a store holds.
    pub(crate) async fn off_loop<T: Send + 'static>(
        &self,
        call: impl FnOnce(&Scheduler) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (runtime, scheduler) = (self.runtime()?, self.shared.scheduler.clone());
        off_loop(&runtime, move || call(&scheduler)).await?
    }

    /// The runtime it was started on, else the one this is called on.
    pub(crate) fn runtime(&self) -> Result<R, Error> {
        let started = self.shared.loops.lock().as_ref().map(|loops| loops.runtime().clone());
        started.map_or_else(R::current, Ok)
    }
}

impl<R: AsyncRuntime> Shared<R> {
    /// Starts; blocks while stores do.
    fn start_on(&self, loops: Arc<Loops<R>>, mode: StartMode) -> Result<(), Error> {
        let scheduler = &self.scheduler;
        if scheduler.executor(DEFAULT_ALIAS).is_err() {
            scheduler.add_executor(Arc::new(AsyncExecutor::<R>::new()), DEFAULT_ALIAS)?;
        }
        scheduler.start_on(Arc::clone(&loops) as Arc<dyn Runtime>, mode)?;
        *self.loops.lock() = Some(loops);
        Ok(())
    }

    /// Whether a call takes no longer than a lock and a map: only stores in memory, all started.
    fn is_inline(&self) -> bool {
        self.loops.lock().as_ref().is_some_and(|loops| !loops.is_blocking())
    }

    /// The loops have ended.
    pub(crate) fn ended(&self) {
        self.loops.lock().take();
    }
}

impl<R: AsyncRuntime> From<Scheduler> for AsyncScheduler<R> {
    fn from(scheduler: Scheduler) -> Self {
        let (loops, runtime, waiting) = (Mutex::new(None), Mutex::new(None), Arc::default());
        Self { shared: Arc::new(Shared { scheduler, loops, runtime, waiting }) }
    }
}

impl<R: AsyncRuntime> Deref for AsyncScheduler<R> {
    type Target = Scheduler;
    fn deref(&self) -> &Scheduler {
        self.scheduler()
    }
}

impl<R: AsyncRuntime> Drop for AsyncScheduler<R> {
    fn drop(&mut self) {
        // Without a runtime it was never started.
        let Some(runtime) = self.shared.runtime.lock().take() else { return };
        let last = ShutdownOnDrop(self.shared.scheduler.clone());
        runtime.spawn_blocking(move || drop(last));
    }
}

impl<R: AsyncRuntime> fmt::Debug for AsyncScheduler<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncScheduler")
            .field("runtime", &R::NAME)
            .field("scheduler", self.scheduler())
            .finish_non_exhaustive()
    }
}
