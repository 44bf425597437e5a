//! Runs without a schedule, and waiting for their end without holding a thread.

use std::sync::Arc;
use std::time::Duration;

use futures_channel::oneshot;
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use sched_core::{
    Error, ErrorKind, Event, EventMask, ListenerId, NewRun, Outcome, RunFilter, RunId, RunRecord, RunState,
    Scheduler, outcome_value,
};
use serde_json::Value;

use crate::race::{First, first};
use crate::runtime::AsyncRuntime;
use crate::scheduler::AsyncScheduler;

/// How long the result of [`run_job`](AsyncScheduler::run_job) is kept for whoever waits.
const RESULT_TTL: Duration = Duration::from_secs(15 * 60);

/// How often a waiting caller looks into shared stores, in case another process ran it.
const RESULT_POLL: Duration = Duration::from_millis(500);

/// What ends a wait.
const ENDED: EventMask = EventMask::JOB_EXECUTED
    .union(EventMask::JOB_ERROR)
    .union(EventMask::JOB_MISSED)
    .union(EventMask::SCHEDULER_SHUTDOWN);

impl<R: AsyncRuntime> AsyncScheduler<R> {
    /// See [`Scheduler::add_run`].
    pub async fn add_run(&self, run: impl Into<NewRun>) -> Result<RunId, Error> {
        let run = run.into();
        self.call(|scheduler| scheduler.add_run(run)).await
    }

    /// Queues a run and waits for its value. No thread is held, so that any number of tasks may wait.
    ///
    /// **Errors**: as [`Scheduler::run_job`].
    pub async fn run_job(&self, run: impl Into<NewRun>) -> Result<Value, Error> {
        let run = run.into().result_ttl_or(RESULT_TTL);
        // From before the run exists, so that its end cannot be missed.
        let mut watch = Watch::begin(&self.shared.waiting, self.scheduler());
        let id = self.add_run(run).await?;
        let mut end = watch.end_of(id);
        let runtime = self.runtime()?;
        loop {
            match first(&mut end, runtime.sleep(RESULT_POLL)).await {
                First::Left(Ok(outcome)) => return outcome_value(&outcome),
                First::Left(Err(_)) => return Err(stopped()),
                First::Right(()) => {
                    if let Some(outcome) = self.call(move |scheduler| shared_result(scheduler, id)).await? {
                        return outcome_value(&outcome);
                    }
                }
            }
        }
    }

    /// See [`Scheduler::get_run_result`].
    pub async fn get_run_result(&self, id: RunId, store: Option<&str>) -> Result<RunRecord, Error> {
        let store = store.map(str::to_owned);
        self.call(move |scheduler| scheduler.get_run_result(id, store.as_deref())).await
    }

    /// See [`Scheduler::get_runs`].
    pub async fn get_runs(&self, filter: &RunFilter, store: Option<&str>) -> Result<Vec<RunRecord>, Error> {
        let (filter, store) = (filter.clone(), store.map(str::to_owned));
        self.call(move |scheduler| scheduler.get_runs(&filter, store.as_deref())).await
    }

    /// See [`Scheduler::cancel_run`].
    pub async fn cancel_run(&self, id: RunId) -> Result<bool, Error> {
        self.call(move |scheduler| scheduler.cancel_run(id)).await
    }
}

fn stopped() -> Error {
    Error::new(ErrorKind::Closed, "the scheduler was shut down before the run ended")
}

/// How a run ended, when the store it is in is shared with other processes, which tell us nothing.
fn shared_result(scheduler: &Scheduler, id: RunId) -> Result<Option<Outcome>, Error> {
    for alias in scheduler.job_stores() {
        if !scheduler.job_store(&alias)?.traits().shared {
            continue;
        }
        match scheduler.get_run_result(id, Some(&alias)) {
            Ok(RunRecord { state: RunState::Finished { outcome, .. }, .. }) => return Ok(Some(outcome)),
            Ok(_) => return Ok(None),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Unsupported) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// Tasks that wait for runs to end, and the one listener that tells them.
#[derive(Default)]
pub(crate) struct Waiting(Mutex<Waits>);

#[derive(Default)]
struct Waits {
    watches: usize,
    listener: Option<ListenerId>,
    /// How many watches do not know their run's id yet; what ends meanwhile is kept for them.
    unnamed: usize,
    ended: Vec<(RunId, Outcome)>,
    tell: FxHashMap<RunId, oneshot::Sender<Outcome>>,
    /// How often the scheduler was shut down.
    shutdowns: u64,
}

impl Waiting {
    fn hear(&self, event: &Event) {
        let mut waits = self.0.lock();
        match event.ended() {
            None => {
                waits.shutdowns += 1;
                // Dropping the senders tells those who wait.
                waits.tell.clear();
            }
            Some(ended) => match waits.tell.remove(&ended.run.id) {
                Some(tell) => drop(tell.send(ended.outcome.clone())),
                None if waits.unnamed > 0 => waits.ended.push((ended.run.id, ended.outcome.clone())),
                None => {}
            },
        }
    }
}

/// One task's wait.
struct Watch<'a> {
    waiting: &'a Arc<Waiting>,
    scheduler: &'a Scheduler,
    /// The shutdowns before it.
    shutdowns: u64,
    /// Whose end is waited for, once it is known.
    run: Option<RunId>,
}

impl<'a> Watch<'a> {
    fn begin(waiting: &'a Arc<Waiting>, scheduler: &'a Scheduler) -> Self {
        let mut waits = waiting.0.lock();
        waits.watches += 1;
        waits.unnamed += 1;
        if waits.listener.is_none() {
            let hearing = Arc::clone(waiting);
            waits.listener = Some(scheduler.add_listener(move |event| hearing.hear(event), ENDED));
        }
        Self { waiting, scheduler, shutdowns: waits.shutdowns, run: None }
    }

    /// Names the run. The answer is cancelled when the scheduler is shut down.
    fn end_of(&mut self, run: RunId) -> oneshot::Receiver<Outcome> {
        let (tell, told) = oneshot::channel();
        let mut waits = self.waiting.0.lock();
        self.run = Some(run);
        let heard = waits.ended.iter().position(|(ended, _)| *ended == run);
        match heard.map(|place| waits.ended.swap_remove(place)) {
            Some((_, outcome)) => drop(tell.send(outcome)),
            None if waits.shutdowns == self.shutdowns => drop(waits.tell.insert(run, tell)),
            None => {}
        }
        waits.named();
        told
    }
}

impl Waits {
    fn named(&mut self) {
        self.unnamed -= 1;
        if self.unnamed == 0 {
            self.ended.clear();
        }
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        let mut waits = self.waiting.0.lock();
        match self.run {
            Some(run) => drop(waits.tell.remove(&run)),
            None => waits.named(),
        }
        waits.watches -= 1;
        let listener = if waits.watches == 0 { waits.listener.take() } else { None };
        drop(waits);
        if let Some(listener) = listener {
            self.scheduler.remove_listener(listener);
        }
    }
}
