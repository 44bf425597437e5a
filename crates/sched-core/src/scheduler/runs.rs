//! Runs without a schedule: queue a call, wait for its result, look at it, cancel it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use serde_json::{Map, Value};

use super::dispatch::Found;
use super::driver::in_turn;
use super::lane::Lane;
use super::settle::tell_finished;
use super::told::run_id;
use super::{ActiveRun, Scheduler};
use crate::context::CancelReason;
use crate::id::RunId;
use crate::job::{DEFAULT_ALIAS, JobSettings, check_settings};
use crate::policy::{Grace, TimeoutSlot};
use crate::retry::Retry;
use crate::run::{Outcome, Run, RunReport};
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

    /// Higher runs first; that of its task, else 0, when not given.
    pub fn priority(mut self, priority: i32) -> Self {
        self.settings.priority = Some(priority);
        self
    }

    /// Not before this moment.
    pub fn at(mut self, time: DateTime<Utc>) -> Self {
        self.not_before = Some(time);
        self
    }

    /// How late it may start, after the moment before which it does not.
    pub fn misfire_grace_time(mut self, grace: impl Into<Grace>) -> Self {
        self.settings.misfire_grace_time = Some(grace.into());
        self
    }

    /// How long it may take, from its start.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.settings.timeout = Some(timeout);
        self
    }

    /// What happens to its place when it timed out and cannot be stopped.
    pub fn timeout_slot(mut self, slot: TimeoutSlot) -> Self {
        self.settings.timeout_slot = Some(slot);
        self
    }

    /// Tries it again when it fails; a number is the most attempts.
    pub fn retry(mut self, retry: impl Into<Retry>) -> Self {
        self.settings.retry = Some(Arc::new(retry.into()));
        self
    }

    /// How often a queued run is taken over whose scheduler died or lost it, before it is abandoned; 1 is meant by 0, and
    /// 25 when not given.
    pub fn max_takeovers(mut self, limit: u32) -> Self {
        self.settings.max_takeovers = Some(limit.max(1));
        self
    }

    /// At most `limit` runs with this key at once, whatever their job, task or scheduler; 1 is meant by 0.
    pub fn concurrency(mut self, key: impl Into<Arc<str>>, limit: u32) -> Self {
        self.settings.concurrency_key = Some(key.into());
        self.settings.concurrency_limit = Some(limit.max(1));
        self
    }

    /// Data of the user's own, shown to the task.
    pub fn metadata(mut self, metadata: Map<String, Value>) -> Self {
        self.settings.metadata = Some(Arc::new(metadata));
        self
    }

    /// All options at once, as a table gives them. Those that only a schedule has are without effect.
    pub fn settings(mut self, settings: JobSettings) -> Self {
        self.settings = settings;
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

    /// The same, unless it is given already.
    pub fn result_ttl_or(mut self, ttl: Duration) -> Self {
        self.settings.result_ttl.get_or_insert(ttl);
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
        Self { call, settings, not_before: None, store }
    }
}

/// Callers that wait for a result.
#[derive(Default)]
pub(crate) struct Waiters(Mutex<FxHashMap<RunId, mpsc::Sender<Outcome>>>);

impl Waiters {
    fn wait_for(&self, id: RunId) -> Waiter<'_> {
        let (sender, told) = mpsc::channel();
        self.0.lock().insert(id, sender);
        Waiter { waiters: self, id, told }
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

/// One of them; it is forgotten when it is dropped.
struct Waiter<'a> {
    waiters: &'a Waiters,
    id: RunId,
    told: mpsc::Receiver<Outcome>,
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.waiters.0.lock().remove(&self.id);
    }
}

impl Scheduler {
    /// Queues a run and returns at once.
    ///
    /// **Errors**: [`InvalidState`](ErrorKind::InvalidState) when stopped, [`NotFound`](ErrorKind::NotFound) for an
    /// unknown task, store or executor, [`InvalidJob`](ErrorKind::InvalidJob) for wrong arguments,
    /// [`Unsupported`](ErrorKind::Unsupported) when the store has no run queue. After a retryable error of the store the run
    /// may be queued all the same.
    pub fn add_run(&self, run: impl Into<NewRun>) -> Result<RunId, Error> {
        self.add_run_named(run, |_| ())
    }

    /// The same; the id is told before the run is queued, so that its end cannot be missed. For adapters.
    ///
    /// **Errors**: as [`add_run`](Self::add_run), also after the id was told.
    pub fn add_run_named(&self, run: impl Into<NewRun>, named: impl FnOnce(RunId)) -> Result<RunId, Error> {
        let (lane, queued) = self.queued(run.into())?;
        let id = queued.id;
        named(id);
        self.enqueue(&lane, queued)?;
        Ok(id)
    }

    /// Queues a run and waits for its value. Inside a task this takes a place of the executor while it waits.
    ///
    /// **Errors**: as [`add_run`](Self::add_run); [`InvalidState`](ErrorKind::InvalidState) on the thread of the store's
    /// own loop, in a listener or under the executor `debug`, which would wait for itself; [`Unexpected`](ErrorKind::Unexpected) with the outcome when it did
    /// not succeed; [`Closed`](ErrorKind::Closed) when the scheduler is shut down meanwhile.
    pub fn run_job(&self, run: impl Into<NewRun>) -> Result<Value, Error> {
        let (lane, queued) = self.queued(run.into().result_ttl_or(RESULT_TTL))?;
        if in_turn(&lane) {
            let message = format!(
                "the loop of job store \"{}\" cannot wait for a run that it has to start",
                lane.alias
            );
            return Err(Error::new(ErrorKind::InvalidState, message));
        }
        let id = queued.id;
        let waiter = self.inner.waiters.wait_for(id);
        self.enqueue(&lane, queued)?;
        loop {
            match waiter.told.recv_timeout(RESULT_POLL) {
                Ok(outcome) => return outcome_value(&outcome),
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    return Err(Error::new(
                        ErrorKind::Closed,
                        "the scheduler was shut down before the run ended",
                    ));
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    match self.get_run_result(id, Some(&lane.alias)).map(|record| record.state) {
                        Ok(RunState::Finished { outcome, .. }) => return outcome_value(&outcome),
                        Err(error) if !error.is_retryable() => return Err(error),
                        _ => {}
                    }
                }
            }
        }
    }

    /// The row of a queued run: whether it waits, runs, or how it ended. Readable any number of times.
    ///
    /// A run of this scheduler whose time was up is shown as ended, though its row is leased until its code ends.
    ///
    /// **Errors**: [`NotFound`](ErrorKind::NotFound) when it is unknown or its result is no longer kept.
    pub fn get_run_result(&self, id: RunId, store: Option<&str>) -> Result<RunRecord, Error> {
        let mut record = self.with_queue(store, |queue| queue.result(id))?;
        if let Some(RunReport { outcome, started_at, finished_at, .. }) = self.inner.dispatcher.told_end(id) {
            record.state = RunState::Finished { outcome, started_at, finished_at };
        }
        Ok(record)
    }

    /// The rows of a store's run queue, by id.
    pub fn get_runs(&self, filter: &RunFilter, store: Option<&str>) -> Result<Vec<RunRecord>, Error> {
        self.with_queue(store, |queue| queue.list(filter))
    }

    /// Runs of this scheduler that are on their way or running, with their age.
    pub fn active_runs(&self) -> Vec<ActiveRun> {
        self.inner.dispatcher.active()
    }

    /// Stops a run, wherever it stands; whether it was unfinished.
    ///
    /// A run that has not started, because it is queued or waits for a place or for its next attempt, is over at once,
    /// as cancelled. One that runs here is asked, and stopped by force where its executor can; a task on a thread stops
    /// when it looks at its token, and what it answers then counts.
    ///
    /// **Errors**: [`Unsupported`](ErrorKind::Unsupported) for a run that is leased to another scheduler, which has to
    /// be asked there; those of the store.
    pub fn cancel_run(&self, id: RunId) -> Result<bool, Error> {
        if self.cancel_here(id) {
            return Ok(true);
        }
        let lanes = self.inner.state.read().lanes();
        for lane in lanes {
            let Some(queue) = lane.store.runs() else { continue };
            let finished_at = self.inner.clock.now();
            match queue.result(id) {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
                Ok(RunRecord { state: RunState::Finished { .. }, .. }) => return Ok(false),
                Ok(RunRecord { state: RunState::Running { owner, .. }, .. }) => {
                    return self.cancel_claimed(id, &lane, &owner);
                }
                Ok(record) if queue.cancel(&[id], finished_at)?.contains(&true) => {
                    tell_finished(self, &lane, cancelled_in_queue(&lane, record, finished_at));
                    return Ok(true);
                }
                // Somebody claimed it in between.
                Ok(_) => {
                    let owner = match queue.result(id)?.state {
                        RunState::Running { owner, .. } => owner,
                        RunState::Queued | RunState::Finished { .. } => return Ok(false),
                    };
                    return self.cancel_claimed(id, &lane, &owner);
                }
            }
        }
        Ok(false)
    }

    /// Stops a run that is known to the dispatcher; says whether it is.
    fn cancel_here(&self, id: RunId) -> bool {
        match self.inner.dispatcher.find(id) {
            Found::Active(data) => _ = self.stop(&data, CancelReason::Asked),
            Found::Waiting(execution, event) => {
                execution.cancel_token().cancel();
                execution.finish(Outcome::Cancelled);
                self.inner.events.publish_all(event);
            }
            Found::GivenUp(report) => self.tell_given_up(*report, None),
            Found::Nowhere => return false,
        }
        true
    }

    /// Stops a run that a scheduler has claimed. When it was this one, it may not know of it before its turn is over.
    fn cancel_claimed(&self, id: RunId, lane: &Arc<Lane>, owner: &str) -> Result<bool, Error> {
        if owner != &*self.inner.identity {
            let message = format!("run {id} is leased to scheduler \"{owner}\", which has to be asked");
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        if !in_turn(lane) {
            drop(lane.engine.lock());
        }
        Ok(self.cancel_here(id))
    }

    /// Checks a run and fills its defaults in, without queueing it; answers the alias of its store too.
    ///
    /// For whoever queues a run in a transaction of their own, through a store that offers that. Call
    /// [`wakeup`](Self::wakeup) once it is committed; others find the run when they poll.
    ///
    /// **Errors**: as [`add_run`](Self::add_run).
    pub fn make_run(&self, run: impl Into<NewRun>) -> Result<(Arc<str>, QueuedRun), Error> {
        let (lane, queued) = self.queued(run.into())?;
        lane.queue_used.store(true, Ordering::Relaxed);
        Ok((Arc::clone(&lane.alias), queued))
    }

    fn queued(&self, run: NewRun) -> Result<(Arc<Lane>, QueuedRun), Error> {
        let state = self.inner.state.read();
        state.must_be_started()?;
        let entry = state.store(&run.store)?;
        let lane = entry.lane.clone().filter(|lane| lane.store.runs().is_some());
        let lane = lane.ok_or_else(|| no_queue(&entry.alias))?;
        check_settings(&run.settings)?;
        let task = match run.call.task {
            TaskRef::Named(name) => state.registry.task(&name)?,
            TaskRef::Bound(task) => task,
        };
        task.check_args(&run.call.args)?;
        if lane.store.traits().persistent && !task.is_registered() {
            let message = format!(
                "the run calls a closure, but job store \"{}\" is persistent: register the function as a task",
                lane.alias
            );
            return Err(Error::new(ErrorKind::InvalidJob, message));
        }
        let (_, options) = state.defaults.fill(run.settings, &task);
        state.check_executor(&options.executor)?;
        let now = self.inner.clock.now();
        let queued = QueuedRun {
            id: run_id(now),
            job_id: None,
            call: Call::bound(task, run.call.args),
            fire_time: now,
            scheduled_time: run.not_before.unwrap_or(now),
            priority: options.priority,
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

/// The end of a run that never left its queue.
fn cancelled_in_queue(lane: &Lane, record: RunRecord, finished_at: DateTime<Utc>) -> RunReport {
    let RunRecord { run, attempt, .. } = record;
    let QueuedRun { id, job_id, call, fire_time, scheduled_time, .. } = run;
    let (store, task) = (Arc::clone(&lane.alias), Arc::from(call.task.name()));
    let run = Run { id, job_id, store, task, fire_time, scheduled_time, attempt };
    RunReport { run: Arc::new(run), outcome: Outcome::Cancelled, started_at: None, finished_at }
}

fn no_queue(alias: &str) -> Error {
    Error::new(ErrorKind::Unsupported, format!("job store \"{alias}\" has no run queue"))
}
