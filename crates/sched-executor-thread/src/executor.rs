//! [`ThreadPoolExecutor`]: the contract of an executor, kept by a [`Pool`](crate::pool::Pool).

use std::fmt;
use std::sync::Arc;

use parking_lot::RwLock;
use sched_core::{
    Capacity, Error, ErrorKind, Execution, Executor, ExecutorContext, Refused, RunId, Section, Shutdown,
};

use crate::pool::{Limits, Pool};

/// How many workers a pool has at most when nothing else is said.
pub const DEFAULT_WORKERS: usize = 10;

/// The most workers a configuration may ask for.
const MOST_WORKERS: u32 = 65_536;

/// Runs runs on a pool of threads. Its alias is `threadpool`.
///
/// Threads are started one by one when there is work for them, named `sched-ALIAS-NUMBER`, and end with the pool.
/// Async tasks are driven on the worker. What cannot start at once waits in a queue, which is unbounded unless
/// [`queue_size`](ThreadPoolBuilder::queue_size) says otherwise. [`cancel`](Executor::cancel) drops runs that wait;
/// a run that has started can only be asked to stop.
///
/// # Example
/// ```
/// use sched_executor_thread::ThreadPoolExecutor;
/// let small = ThreadPoolExecutor::new(2);
/// let bounded = ThreadPoolExecutor::builder().max_workers(20).queue_size(1_000).thread_name("mailer").build();
/// ```
pub struct ThreadPoolExecutor {
    limits: Limits,
    thread_name: Option<String>,
    pool: RwLock<Option<Arc<Pool>>>,
}

/// Describes a [`ThreadPoolExecutor`].
#[derive(Debug, Clone)]
#[must_use = "a builder builds nothing until `build`"]
pub struct ThreadPoolBuilder {
    limits: Limits,
    thread_name: Option<String>,
}

impl ThreadPoolBuilder {
    /// At most this many threads; 10 when it is not said, and at least 1.
    pub fn max_workers(mut self, max_workers: usize) -> Self {
        self.limits.max_workers = max_workers.max(1);
        self
    }

    /// At most this many runs wait while all workers are busy; more are refused. Unbounded when it is not said.
    pub fn queue_size(mut self, queue_size: usize) -> Self {
        self.limits.queue_size = Some(queue_size);
        self
    }

    /// Threads are named so, with a number; `sched-ALIAS` when it is not said.
    pub fn thread_name(mut self, name: impl Into<String>) -> Self {
        self.thread_name = Some(name.into());
        self
    }

    /// The executor. It has no thread yet.
    pub fn build(self) -> ThreadPoolExecutor {
        ThreadPoolExecutor { limits: self.limits, thread_name: self.thread_name, pool: RwLock::new(None) }
    }
}

impl ThreadPoolExecutor {
    /// An executor of at most this many threads (at least 1), with an unbounded queue.
    pub fn new(max_workers: usize) -> Self {
        Self::builder().max_workers(max_workers).build()
    }

    /// Starts a description.
    pub fn builder() -> ThreadPoolBuilder {
        let limits = Limits { max_workers: DEFAULT_WORKERS, queue_size: None };
        ThreadPoolBuilder { limits, thread_name: None }
    }

    fn pool(&self) -> Option<Arc<Pool>> {
        self.pool.read().clone()
    }
}

impl Default for ThreadPoolExecutor {
    fn default() -> Self {
        Self::new(DEFAULT_WORKERS)
    }
}

impl fmt::Debug for ThreadPoolExecutor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Limits { max_workers, queue_size } = self.limits;
        let mut debug = f.debug_struct("ThreadPoolExecutor");
        debug.field("max_workers", &max_workers).field("queue_size", &queue_size).finish_non_exhaustive()
    }
}

impl Executor for ThreadPoolExecutor {
    fn start(&self, context: ExecutorContext) -> Result<(), Error> {
        let mut pool = self.pool.write();
        if pool.as_ref().is_some_and(|pool| pool.is_open()) {
            let message = format!("executor \"{}\" is started already", context.alias);
            return Err(Error::new(ErrorKind::InvalidState, message));
        }
        let thread_name = self.thread_name.clone().unwrap_or_else(|| format!("sched-{}", context.alias));
        *pool = Some(Pool::new(self.limits, context.alias, &thread_name));
        Ok(())
    }

    fn submit(&self, runs: Vec<Execution>) -> Result<(), Refused> {
        match self.pool() {
            Some(pool) => pool.submit(runs),
            None => Err(Refused::closed(runs, "threadpool")),
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

impl Drop for ThreadPoolExecutor {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.get_mut().take() {
            pool.shutdown(Shutdown::Now);
        }
    }
}

/// Reads `max_workers`, `queue_size`, `thread_name` and `pool_kwargs`, of which nothing is known.
pub(crate) fn from_config(section: &mut Section<'_>) -> Result<Arc<dyn Executor>, Error> {
    let mut builder = ThreadPoolExecutor::builder();
    if let Some(count) = section.count("max_workers", MOST_WORKERS) {
        builder = builder.max_workers(count);
    }
    if let Some(size) = section.integer_in("queue_size", 0, i64::from(u32::MAX)) {
        builder = builder.queue_size(usize::try_from(size).unwrap_or(usize::MAX));
    }
    if let Some(name) = section.string("thread_name") {
        builder = builder.thread_name(name);
    }
    if let Some(pool_kwargs) = section.section("pool_kwargs") {
        section.merge(pool_kwargs);
    }
    Ok(Arc::new(builder.build()))
}
