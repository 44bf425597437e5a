//! Runs without a schedule: queue a call, wait for its result, look at it, cancel it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use serde_json::Value;

use super::dispatch::Cancelled;
use super::lane::Lane;
use super::{ActiveRun, Scheduler};
use crate::id::RunId;
use crate::job::{DEFAULT_ALIAS, JobSettings};
use crate::run::Outcome;
use crate::store::{QueuedRun, RunFilter, RunRecord, RunState, outcome_value};
use crate::task::{Args, Call, TaskRef};
use crate::{Error, ErrorKind};

/// How long the result of [`run_job`](Scheduler::run_job) is kept for whoever waits.
const RESULT_TTL: Duration = Duration::from_secs(15 * 60);

/// How often a waiting caller looks at the queue, in case another process ran it.
const RESULT_POLL: Duration = Duration::from_millis(500);

/// A run to be queued directly.
///
/// # Example
/// ```
/// use sched_core::{Args, NewRun};
/// let run = NewRun::task("report").args(serde_json::json!(["ops", 3])).priority(5);
/// ```
#[derive(Debug, Clone)]
#[must_use = "a run does nothing until it is queued"]
pub struct NewRun {
    call: Call,
    settings: JobSettings,
    priority: i32,
    not_before: Option<DateTime<Utc>>,
    store: Arc<str>,
}

impl NewRun {
    /// A run of a registered task.
    pub fn task(name: impl Into<Arc<str>>) -> Self {
        Call::named(name, Args::default()).into()
    }

    /// The arguments.
    pub fn args(mut self, args: impl Into<Args>) -> Self {
        self.call.args = args.into();
        self
    }

    /// Higher runs first; 0 when not given.
    pub fn priority(mut self, priority: i32) -> Self {
        self.priority = priority;
        self
    }

    /// Not before this moment.
    pub fn at(mut self, time: DateTime<Utc>) -> Self {
        self.not_before = Some(time);
        self
    }

    /// Which executor runs it.
    pub fn executor(mut self, alias: impl Into<Arc<str>>) -> Self {
        self.settings.executor = Some(alias.into());
        self
    }

    /// How long its result is kept; not at all when not given.
    pub fn result_ttl(mut self, ttl: Duration) -> Self {
        self.settings.result_ttl = Some(ttl);
        self
    }

    /// In which store it is queued; `default` when none is named.
    pub fn store(mut self, alias: impl Into<Arc<str>>) -> Self {
        self.store = alias.into();
        self
    }
}

impl From<Call> for NewRun {
    fn from(call: Call) -> Self {
        let (settings, store) = (JobSettings::default(), Arc::from(DEFAULT_ALIAS));
        Self { call, settings, priority: 0, not_before: None, store }
    }
}

/// Callers that wait for a result.
#[derive(Default)]
pub(crate) struct Waiters(Mutex<FxHashMap<RunId, mpsc::Sender<Outcome>>>);

impl Waiters {
    fn wait_for(&self, id: RunId) -> mpsc::Receiver<Outcome> {
        let (sender, receiver) = mpsc::channel();
        self.0.lock().insert(id, sender);
        receiver
    }

    fn forget(&self, id: RunId) {
        self.0.lock().remove(&id);
    }

    pub(crate) fn tell(&self, id: RunId, outcome: &Outcome) {
        if let Some(waiter) = self.0.lock().remove(&id) {
            let _ = waiter.send(outcome.clone());
        }
    }

    pub(crate) fn abandon(&self) {
        self.0.lock().clear();
    }
}

impl Scheduler {
    /// Queues a run and returns at once.
    ///
    /// **Errors**: [`InvalidState`](ErrorKind::InvalidState) when stopped, [`NotFound`](ErrorKind::NotFound) for an
    /// unknown task, store or executor, [`InvalidJob`](ErrorKind::InvalidJob) for wrong arguments,
    /// [`Unsupported`](ErrorKind::Unsupported) when the store has no run queue.
    pub fn add_run(&self, run: impl Into<NewRun>) -> Result<RunId, Error> {
        let (lane, queued) = self.queued(run.into())?;
        let id = queued.id;
        self.enqueue(&lane, queued)?;
        Ok(id)
    }

    /// Queues a run and waits for its value. Inside a task this takes a place of the executor while it waits.
    ///
    /// **Errors**: as [`add_run`](Self::add_run); [`Unexpected`](ErrorKind::Unexpected) with the outcome when it did
    /// not succeed; [`Closed`](ErrorKind::Closed) when the scheduler is shut down meanwhile.
    pub fn run_job(&self, run: impl Into<NewRun>) -> Result<Value, Error> {
        let mut run = run.into();
        run.settings.result_ttl.get_or_insert(RESULT_TTL);
        let (lane, queued) = self.queued(run)?;
        let id = queued.id;
        let waiter = self.inner.waiters.wait_for(id);
        if let Err(error) = self.enqueue(&lane, queued) {
            self.inner.waiters.forget(id);
            return Err(error);
        }
        loop {
            match waiter.recv_timeout(RESULT_POLL) {
                Ok(outcome) => return outcome_value(&outcome),
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    return Err(Error::new(
                        ErrorKind::Closed,
                        "the scheduler was shut down before the run ended",
                    ));
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    if let RunState::Finished { outcome, .. } = self.get_run_result(id, None)?.state {
                        return outcome_value(&outcome);
                    }
                }
            }
        }
    }

    /// The row of a queued run: whether it waits, runs, or how it ended. Readable any number of times.
    ///
    /// **Errors**: [`NotFound`](ErrorKind::NotFound) when it is unknown or its result is no longer kept.
    pub fn get_run_result(&self, id: RunId, store: Option<&str>) -> Result<RunRecord, Error> {
        self.with_queue(store, |queue| queue.result(id))
    }

    /// The rows of a store's run queue, by id.
    pub fn get_runs(&self, filter: &RunFilter, store: Option<&str>) -> Result<Vec<RunRecord>, Error> {
        self.with_queue(store, |queue| queue.list(filter))
    }

    /// Runs of this scheduler that are on their way or running, with their age.
    pub fn active_runs(&self) -> Vec<ActiveRun> {
        self.inner.dispatcher.active()
    }

    /// Asks a run of this scheduler to stop; whether it was unfinished. A task on a thread stops when it looks at
    /// its token; an executor that can, stops it by force.
    pub fn cancel_run(&self, id: RunId) -> bool {
        let alias = match self.inner.dispatcher.cancel(id) {
            Cancelled::Asked(alias) => alias,
            Cancelled::Waiting(execution) => {
                execution.finish(Outcome::Cancelled);
                return true;
            }
            Cancelled::Unknown => return false,
        };
        if let Ok(executor) = self.executor(&alias) {
            executor.cancel(id);
        }
        true
    }

    fn queued(&self, run: NewRun) -> Result<(Arc<Lane>, QueuedRun), Error> {
        let state = self.inner.state.read();
        state.must_be_started()?;
        let entry = state.store(&run.store)?;
        let lane = entry.lane.clone().filter(|lane| lane.store.runs().is_some());
        let lane = lane.ok_or_else(|| no_queue(&entry.alias))?;
        let task = match run.call.task {
            TaskRef::Named(name) => state.registry.task(&name)?,
            TaskRef::Bound(task) => task,
        };
        task.check_args(&run.call.args)?;
        let (_, options) = state.defaults.fill(run.settings, &task);
        state.executor(&options.executor)?;
        let now = self.inner.clock.now();
        let queued = QueuedRun {
            id: RunId::at(u64::try_from(now.timestamp_millis()).unwrap_or(0)),
            job_id: None,
            call: Call::bound(task, run.call.args),
            fire_time: now,
            scheduled_time: run.not_before.unwrap_or(now),
            priority: run.priority,
            options,
        };
        Ok((lane, queued))
    }

    fn enqueue(&self, lane: &Lane, run: QueuedRun) -> Result<(), Error> {
        let time = run.scheduled_time;
        let queue = lane.store.runs().ok_or_else(|| no_queue(&lane.alias))?;
        queue.enqueue(vec![run])?;
        lane.queue_used.store(true, Ordering::Relaxed);
        self.due(lane, Some(time));
        Ok(())
    }

    fn with_queue<T>(
        &self,
        store: Option<&str>,
        call: impl FnOnce(&dyn crate::store::RunQueue) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let alias = store.unwrap_or(DEFAULT_ALIAS);
        let store = self.job_store(alias)?;
        store.runs().ok_or_else(|| no_queue(alias)).and_then(call)
    }
}

fn no_queue(alias: &str) -> Error {
    Error::new(ErrorKind::Unsupported, format!("job store \"{alias}\" has no run queue"))
}
