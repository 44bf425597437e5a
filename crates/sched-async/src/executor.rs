//! [`AsyncExecutor`]: the contract of an executor, kept by a [`Pool`](crate::pool::Pool).

use std::fmt;
use std::sync::Arc;

use parking_lot::RwLock;
use sched_core::{
    Capacity, Error, ErrorKind, Execution, Executor, ExecutorContext, Refused, RunId, Section, Shutdown,
};

use crate::pool::{Limits, Pool};
use crate::runtime::AsyncRuntime;

/// How many plain functions run at once when nothing else is said: half of the blocking threads that runtimes usually
/// have, so that job stores are not kept waiting.
pub const DEFAULT_BLOCKING_WORKERS: usize = 256;

/// The most a configuration may ask for.
const MOST_WORKERS: u32 = 65_536;

/// Runs runs on an async runtime: async tasks are spawned, plain functions go to its blocking threads.
///
/// Any number of async runs goes on at once, unless [`max_concurrency`](AsyncExecutorBuilder::max_concurrency) says
/// otherwise. [`cancel`](Executor::cancel) stops a run that waits, and an async run at its next await: its future is
/// dropped there, which reports it as cancelled. A plain function that has started can only be asked to stop.
/// `shutdown(Now)` does so with all of them.
///
/// It uses the runtime it is started on, or the one it is [given](AsyncExecutorBuilder::runtime). A run that calls a
/// blocking `shutdown(Wait)` from async code holds up the thread of the runtime that it is on.
pub struct AsyncExecutor<R: AsyncRuntime> {
    settings: AsyncExecutorBuilder<R>,
    pool: RwLock<Option<Arc<Pool<R>>>>,
}

/// Describes an [`AsyncExecutor`].
#[derive(Debug, Clone)]
#[must_use = "a builder builds nothing until `build`"]
pub struct AsyncExecutorBuilder<R> {
    runtime: Option<R>,
    max_concurrency: Option<usize>,
    queue_size: Option<usize>,
    max_workers: usize,
}

impl<R: AsyncRuntime> AsyncExecutorBuilder<R> {
    /// The runtime, when it is not the one that the executor is started on.
    pub fn runtime(mut self, runtime: R) -> Self {
        self.runtime = Some(runtime);
        self
    }

    /// At most this many runs at once, async or not, at least 1; any number when it is not said.
    pub fn max_concurrency(mut self, max_concurrency: usize) -> Self {
        self.max_concurrency = Some(max_concurrency.max(1));
        self
    }

    /// At most this many runs wait for one of the `max_concurrency` places; more are refused. As many as there are
    /// places when it is not said, so that the next is at hand when a run ends. Without `max_concurrency` none waits.
    pub fn queue_size(mut self, queue_size: usize) -> Self {
        self.queue_size = Some(queue_size);
        self
    }

    /// At most this many plain functions at once, at least 1; [`DEFAULT_BLOCKING_WORKERS`] when it is not said. It
    /// should be well below the number of blocking threads that the runtime has: job stores use them too.
    pub fn max_workers(mut self, max_workers: usize) -> Self {
        self.max_workers = max_workers.max(1);
        self
    }

    /// The executor.
    pub fn build(self) -> AsyncExecutor<R> {
        AsyncExecutor { settings: self, pool: RwLock::new(None) }
    }

    fn limits(&self) -> Limits {
        let queue = |places| self.queue_size.unwrap_or(places);
        Limits {
            places: self.max_concurrency.map(|places| (places, queue(places))),
            workers: self.max_workers,
        }
    }
}

impl<R: AsyncRuntime> AsyncExecutor<R> {
    /// An executor without limit, on the runtime that it is started on.
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// An executor without limit, on this runtime.
    pub fn on(runtime: R) -> Self {
        Self::builder().runtime(runtime).build()
    }

    /// Starts a description.
    pub fn builder() -> AsyncExecutorBuilder<R> {
        AsyncExecutorBuilder {
            runtime: None,
            max_concurrency: None,
            queue_size: None,
            max_workers: DEFAULT_BLOCKING_WORKERS,
        }
    }

    fn pool(&self) -> Option<Arc<Pool<R>>> {
        self.pool.read().clone()
    }
}

impl<R: AsyncRuntime> Default for AsyncExecutor<R> {
    fn default() -> Self {
        Self::new()
    }
}

impl<R: AsyncRuntime> fmt::Debug for AsyncExecutor<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let AsyncExecutorBuilder { max_concurrency, queue_size, max_workers, .. } = &self.settings;
        let mut debug = f.debug_struct("AsyncExecutor");
        debug.field("runtime", &R::NAME).field("max_concurrency", max_concurrency);
        debug.field("queue_size", queue_size).field("max_workers", max_workers).finish_non_exhaustive()
    }
}

impl<R: AsyncRuntime> Executor for AsyncExecutor<R> {
    fn start(&self, context: ExecutorContext) -> Result<(), Error> {
        let mut pool = self.pool.write();
        if pool.as_ref().is_some_and(|pool| pool.is_open()) {
            let message = format!("executor \"{}\" is started already", context.alias);
            return Err(Error::new(ErrorKind::InvalidState, message));
        }
        let runtime = self.settings.runtime.clone().map_or_else(R::current, Ok)?;
        *pool = Some(Pool::new(runtime, self.settings.limits(), context.alias));
        Ok(())
    }

    fn submit(&self, runs: Vec<Execution>) -> Result<(), Refused> {
        match self.pool() {
            Some(pool) => pool.submit(runs),
            None => Err(Refused::closed(runs, R::NAME)),
        }
    }

    fn cancel(&self, run: RunId) -> bool {
        self.pool().is_some_and(|pool| pool.cancel(run))
    }

    fn capacity(&self) -> Capacity {
        self.pool().map_or(Capacity::Free(0), |pool| pool.capacity())
    }

    fn shutdown(&self, how: Shutdown) -> Result<(), Error> {
        if let Some(pool) = self.pool() {
            pool.shutdown(how);
        }
        Ok(())
    }
}

impl<R: AsyncRuntime> Drop for AsyncExecutor<R> {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.get_mut().take() {
            pool.shutdown(Shutdown::Now);
        }
    }
}

/// The factory of an executor plug-in on `R`: reads `max_concurrency`, `queue_size` and `max_workers`.
///
/// **Errors**: [`InvalidConfig`](ErrorKind::InvalidConfig).
pub fn executor_from_config<R: AsyncRuntime>(section: &mut Section<'_>) -> Result<Arc<dyn Executor>, Error> {
    let mut settings = AsyncExecutor::<R>::builder();
    settings.max_concurrency = section.count("max_concurrency", u32::MAX);
    if let Some(size) = section.integer_in("queue_size", 0, i64::from(u32::MAX)) {
        settings.queue_size = usize::try_from(size).ok();
        if settings.max_concurrency.is_none() {
            section.fault("queue_size", "has no meaning without `max_concurrency`");
        }
    }
    if let Some(workers) = section.count("max_workers", MOST_WORKERS) {
        settings = settings.max_workers(workers);
    }
    Ok(Arc::new(settings.build()))
}
