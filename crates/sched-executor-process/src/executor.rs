//! [`ProcessPoolExecutor`]: the contract of an executor, kept by a [`Pool`](crate::pool::Pool).

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use sched_core::{
    Capacity, Error, ErrorKind, Execution, Executor, ExecutorContext, Refused, RunId, Section, Shutdown,
};

use crate::pool::Pool;
use crate::settings::{InheritEnv, Settings, TaskOutput};

/// Runs tasks in child processes. Its alias is `processpool`.
///
/// A task that aborts, exits, leaks or hangs takes down its own process and nothing else: its run fails with the reason,
/// and another process takes the place. Processes are started one by one when there is work for them, are used again,
/// and end with the pool or with the program. Tasks are found by name in the process, so a closure cannot run there;
/// arguments and results travel as JSON.
///
/// [`cancel`](Executor::cancel) drops a run that waits at once. A run that goes on is asked to stop; when it has not done
/// so after [`kill_grace`](ProcessPoolBuilder::kill_grace), its process is killed, with everything that it started, and
/// the run is reported as cancelled. The same happens when its timeout is over, and it is reported as timed out.
///
/// # Example
/// ```
/// use sched_executor_process::ProcessPoolExecutor;
/// let small = ProcessPoolExecutor::new(2);
/// let careful = ProcessPoolExecutor::builder().max_tasks_per_child(100).max_memory(512 << 20).build();
/// ```
pub struct ProcessPoolExecutor {
    settings: Arc<Settings>,
    pool: RwLock<Option<Arc<Pool>>>,
}

/// Describes a [`ProcessPoolExecutor`].
#[derive(Debug, Clone, Default)]
#[must_use = "a builder builds nothing until `build`"]
pub struct ProcessPoolBuilder {
    settings: Settings,
}

impl ProcessPoolBuilder {
    /// At most this many processes; as many as the computer has cores when it is not said, and at least 1.
    pub fn max_workers(mut self, max_workers: usize) -> Self {
        self.settings.max_workers = max_workers.max(1);
        self
    }

    /// At most this many runs wait while all workers are busy; more are refused. Unbounded when it is not said.
    pub fn queue_size(mut self, queue_size: usize) -> Self {
        self.settings.queue_size = Some(queue_size);
        self
    }

    /// A process has this many runs and is then replaced; any number when it is not said, and at least 1.
    pub fn max_tasks_per_child(mut self, runs: u64) -> Self {
        self.settings.max_tasks_per_child = Some(runs.max(1));
        self
    }

    /// The program that is started; this program itself when it is not said. It has to call [`init`](crate::init) too,
    /// and to be built with the same version of this crate.
    pub fn worker(mut self, program: impl Into<PathBuf>) -> Self {
        self.settings.worker = Some(program.into());
        self
    }

    /// The arguments with which it is started; none when it is not said.
    pub fn worker_args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.settings.worker_args = args.into_iter().map(Into::into).collect();
        self
    }

    /// Sets a variable in the environment of the processes.
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.settings.env.push((name.into(), value.into()));
        self
    }

    /// What the processes inherit from the environment of this program; [`InheritEnv::Default`] when it is not said.
    pub fn inherit_env(mut self, inherit_env: InheritEnv) -> Self {
        self.settings.inherit_env = inherit_env;
        self
    }

    /// The address space of each process, in bytes; unlimited when it is not said. A task that needs more than that
    /// usually aborts, and its run fails. On Linux only.
    pub fn max_memory(mut self, bytes: u64) -> Self {
        self.settings.max_memory = Some(bytes);
        self
    }

    /// The longest encoded arguments or result, in bytes; 16 MiB when it is not said, and at most 1 GiB. A run with more
    /// fails.
    pub fn max_payload(mut self, bytes: usize) -> Self {
        self.settings.max_payload = bytes.min(1 << 30);
        self
    }

    /// How long a run that is to be stopped may take before its process is killed; one second when it is not said. With
    /// `Duration::MAX` it is never killed: such a run is asked, and goes on until it ends by itself.
    pub fn kill_grace(mut self, grace: Duration) -> Self {
        self.settings.kill_grace = grace;
        self
    }

    /// How long a new process may take until it serves; ten seconds when it is not said, and `Duration::MAX` is no limit.
    pub fn start_timeout(mut self, timeout: Duration) -> Self {
        self.settings.start_timeout = timeout;
        self
    }

    /// What becomes of the lines that tasks print; [`TaskOutput::Auto`] when it is not said.
    pub fn output(mut self, output: TaskOutput) -> Self {
        self.settings.output = output;
        self
    }

    /// The executor. It has no process yet.
    pub fn build(self) -> ProcessPoolExecutor {
        ProcessPoolExecutor { settings: Arc::new(self.settings), pool: RwLock::new(None) }
    }
}

impl ProcessPoolExecutor {
    /// An executor of at most this many processes (at least 1).
    pub fn new(max_workers: usize) -> Self {
        Self::builder().max_workers(max_workers).build()
    }

    /// Starts a description.
    pub fn builder() -> ProcessPoolBuilder {
        ProcessPoolBuilder::default()
    }

    fn pool(&self) -> Option<Arc<Pool>> {
        self.pool.read().clone()
    }
}

impl Default for ProcessPoolExecutor {
    fn default() -> Self {
        Self::builder().build()
    }
}

impl fmt::Debug for ProcessPoolExecutor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Settings { max_workers, queue_size, max_tasks_per_child, .. } = &*self.settings;
        let mut debug = f.debug_struct("ProcessPoolExecutor");
        debug.field("max_workers", max_workers).field("queue_size", queue_size);
        debug.field("max_tasks_per_child", max_tasks_per_child).finish_non_exhaustive()
    }
}

impl Executor for ProcessPoolExecutor {
    fn start(&self, context: ExecutorContext) -> Result<(), Error> {
        let mut pool = self.pool.write();
        if pool.as_ref().is_some_and(|pool| pool.is_open()) {
            let message = format!("executor \"{}\" is started already", context.alias);
            return Err(Error::new(ErrorKind::InvalidState, message));
        }
        *pool = Some(Pool::start(Arc::clone(&self.settings), context.alias)?);
        Ok(())
    }

    fn submit(&self, runs: Vec<Execution>) -> Result<(), Refused> {
        match self.pool() {
            Some(pool) => pool.submit(runs),
            None => Err(Refused::closed(runs, "processpool")),
        }
    }

    /// Whether the run is over, or will be within the grace time.
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

impl Drop for ProcessPoolExecutor {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.get_mut().take() {
            pool.shutdown(Shutdown::Now);
        }
    }
}

/// Reads the keys that the README lists.
pub(crate) fn from_config(section: &mut Section<'_>) -> Result<Arc<dyn Executor>, Error> {
    let settings = Settings::read(section)?;
    Ok(Arc::new(ProcessPoolBuilder { settings }.build()))
}
