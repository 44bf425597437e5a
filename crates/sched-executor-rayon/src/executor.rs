//! [`RayonExecutor`]: the contract of an executor, kept by a [`Pool`](crate::pool::Pool).

use std::fmt;
use std::sync::Arc;

use parking_lot::RwLock;
use sched_core::{
    Capacity, Error, ErrorKind, Execution, Executor, ExecutorContext, Refused, RunId, Section, Shutdown,
};

use crate::pool::{Pool, Threads};

/// The most workers a configuration may ask for.
const MOST_WORKERS: u32 = 1_024;

/// Runs runs on a rayon pool, its own or the global one. Its alias is `rayon`.
///
/// Runs start in the order in which they were submitted. What cannot start at once waits in a queue, which is
/// unbounded unless [`queue_size`](RayonBuilder::queue_size) says otherwise. [`cancel`](Executor::cancel) drops runs
/// that wait; a run that has started can only be asked to stop. Async tasks are driven on the thread.
///
/// A run that waits for rayon (in `join`, `scope` or a parallel iterator) may have another run started on its stack
/// meanwhile, as rayon does with all work.
///
/// # Example
/// ```
/// use sched_executor_rayon::RayonExecutor;
/// let own = RayonExecutor::builder().max_workers(4).thread_name("crunch").build();
/// let shared = RayonExecutor::global();
/// ```
pub struct RayonExecutor {
    settings: RayonBuilder,
    pool: RwLock<Option<Arc<Pool>>>,
}

/// Describes a [`RayonExecutor`].
#[derive(Debug, Clone, Default)]
#[must_use = "a builder builds nothing until `build`"]
pub struct RayonBuilder {
    global: bool,
    max_workers: Option<usize>,
    queue_size: Option<usize>,
    thread_name: Option<String>,
}

impl RayonBuilder {
    /// So many threads, at least 1; one for each processor when it is not said. Without meaning on the global pool.
    pub fn max_workers(mut self, max_workers: usize) -> Self {
        self.max_workers = Some(max_workers.max(1));
        self
    }

    /// At most this many runs wait while all threads are busy; more are refused. Unbounded when it is not said.
    pub fn queue_size(mut self, queue_size: usize) -> Self {
        self.queue_size = Some(queue_size);
        self
    }

    /// Threads are named so, with a number; `sched-ALIAS` when it is not said. Without meaning on the global pool.
    pub fn thread_name(mut self, name: impl Into<String>) -> Self {
        self.thread_name = Some(name.into());
        self
    }

    /// Uses rayon's global pool, which the rest of the program uses too.
    pub fn global(mut self) -> Self {
        self.global = true;
        self
    }

    /// The executor. It has no thread yet.
    pub fn build(self) -> RayonExecutor {
        RayonExecutor { settings: self, pool: RwLock::new(None) }
    }

    /// The threads of a pool that is used under `alias`.
    ///
    /// **Errors**: [`Unavailable`](ErrorKind::Unavailable) when they cannot be started.
    fn threads(&self, alias: &str) -> Result<Threads, Error> {
        if self.global {
            return Ok(Threads::Global);
        }
        // A thread's name cannot hold NUL.
        let name = self.thread_name.clone().unwrap_or_else(|| format!("sched-{alias}")).replace('\0', "");
        let builder = rayon::ThreadPoolBuilder::new()
            .num_threads(self.max_workers.unwrap_or(0))
            .thread_name(move |number| format!("{name}-{number}"));
        builder.build().map(Threads::Own).map_err(|error| {
            let message = format!("executor \"{alias}\" could not start its threads");
            Error::new(ErrorKind::Unavailable, message).with_source(error)
        })
    }
}

impl RayonExecutor {
    /// An executor with a pool of its own, of so many threads (at least 1), and an unbounded queue.
    pub fn new(max_workers: usize) -> Self {
        Self::builder().max_workers(max_workers).build()
    }

    /// An executor on rayon's global pool, with an unbounded queue.
    pub fn global() -> Self {
        Self::builder().global().build()
    }

    /// Starts a description.
    pub fn builder() -> RayonBuilder {
        RayonBuilder::default()
    }

    fn pool(&self) -> Option<Arc<Pool>> {
        self.pool.read().clone()
    }
}

impl Default for RayonExecutor {
    fn default() -> Self {
        Self::builder().build()
    }
}

impl fmt::Debug for RayonExecutor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RayonBuilder { global, max_workers, queue_size, .. } = &self.settings;
        let mut debug = f.debug_struct("RayonExecutor");
        debug.field("global", global).field("max_workers", max_workers).field("queue_size", queue_size);
        debug.finish_non_exhaustive()
    }
}

impl Executor for RayonExecutor {
    fn start(&self, context: ExecutorContext) -> Result<(), Error> {
        let mut pool = self.pool.write();
        if pool.as_ref().is_some_and(|pool| pool.is_open()) {
            let message = format!("executor \"{}\" is started already", context.alias);
            return Err(Error::new(ErrorKind::InvalidState, message));
        }
        let threads = self.settings.threads(&context.alias)?;
        *pool = Some(Pool::new(threads, self.settings.queue_size, context.alias));
        Ok(())
    }

    fn submit(&self, runs: Vec<Execution>) -> Result<(), Refused> {
        match self.pool() {
            Some(pool) => pool.submit(runs),
            None => Err(Refused::closed(runs, "rayon")),
        }
    }

    fn cancel(&self, run: RunId) -> bool {
        self.pool().is_some_and(|pool| pool.cancel(run))
    }

    fn capacity(&self) -> Capacity {
        self.pool().map_or(Capacity::Free(0), |pool| pool.capacity())
    }

    fn shutdown(&self, how: Shutdown) -> Result<(), Error> {
        let Some(pool) = self.pool() else { return Ok(()) };
        pool.shutdown(how);
        // Its threads end with the last run, not with the next start.
        self.pool.write().take_if(|current| Arc::ptr_eq(current, &pool));
        Ok(())
    }
}

impl Drop for RayonExecutor {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.get_mut().take() {
            pool.shutdown(Shutdown::Now);
        }
    }
}

/// Reads `max_workers`, `queue_size`, `thread_name` and `global`.
pub(crate) fn from_config(section: &mut Section<'_>) -> Result<Arc<dyn Executor>, Error> {
    let mut settings = RayonBuilder {
        global: section.boolean("global").unwrap_or(false),
        max_workers: section.count("max_workers", MOST_WORKERS),
        queue_size: None,
        thread_name: section.string("thread_name"),
    };
    if let Some(size) = section.integer_in("queue_size", 0, i64::from(u32::MAX)) {
        settings.queue_size = Some(usize::try_from(size).unwrap_or(usize::MAX));
    }
    if settings.global {
        let own = [
            ("max_workers", settings.max_workers.is_some()),
            ("thread_name", settings.thread_name.is_some()),
        ];
        for (key, _) in own.into_iter().filter(|(_, given)| *given) {
            section.fault(key, "the global pool belongs to the program: leave this out, or `global`");
        }
    }
    Ok(Arc::new(settings.build()))
}
