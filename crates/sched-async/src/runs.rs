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
        let (watch, mut end) = Watch::begin(&self.shared.waiting, self.scheduler());
        // Before it is queued, so that its end cannot be missed. Both hold the watch: a call goes on whose future is dropped.
        let named = {
            let watch = Arc::clone(&watch);
            move |id| watch.name(id)
        };
        let id = self.call(move |scheduler| scheduler.add_run_named(run, named)).await?;
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
        self.off_loop(move |scheduler| scheduler.get_runs(&filter, store.as_deref())).await
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
            Some(ended) => {
                if let Some(tell) = waits.tell.remove(&ended.run.id) {
                    drop(tell.send(ended.outcome.clone()));
                }
            }
        }
    }
}

/// One task's wait.
struct Watch {
    waiting: Arc<Waiting>,
    scheduler: Scheduler,
    /// The shutdowns before it.
    shutdowns: u64,
    naming: Mutex<Naming>,
}

/// Whose end is waited for.
enum Naming {
    Unknown(oneshot::Sender<Outcome>),
    Run(RunId),
}

impl Watch {
    /// A watch, and what is told of the end of the run that it will be [named](Self::name) for. That is cancelled when the
    /// scheduler is shut down.
    fn begin(waiting: &Arc<Waiting>, scheduler: &Scheduler) -> (Arc<Self>, oneshot::Receiver<Outcome>) {
        let mut waits = waiting.0.lock();
        waits.watches += 1;
        if waits.listener.is_none() {
            let hearing = Arc::clone(waiting);
            waits.listener = Some(scheduler.add_listener(move |event| hearing.hear(event), ENDED));
        }
        let shutdowns = waits.shutdowns;
        drop(waits);
        let (tell, told) = oneshot::channel();
        let naming = Mutex::new(Naming::Unknown(tell));
        let (waiting, scheduler) = (Arc::clone(waiting), scheduler.clone());
        (Arc::new(Self { waiting, scheduler, shutdowns, naming }), told)
    }

    /// Names the run, which is not queued yet.
    fn name(&self, run: RunId) {
        let named = std::mem::replace(&mut *self.naming.lock(), Naming::Run(run));
        let Naming::Unknown(tell) = named else { return };
        let mut waits = self.waiting.0.lock();
        if waits.shutdowns == self.shutdowns {
            waits.tell.insert(run, tell);
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut waits = self.waiting.0.lock();
        if let Naming::Run(run) = self.naming.get_mut() {
            waits.tell.remove(run);
        }
        waits.watches -= 1;
        let listener = if waits.watches == 0 { waits.listener.take() } else { None };
        drop(waits);
        if let Some(listener) = listener {
            self.scheduler.remove_listener(listener);
        }
    }
}

#[cfg(test)]
mod tests {
    use sched_core::{Run, RunEnded};
    use sched_testkit::jobs::{NOON, run_id};

    use super::*;

    fn end_of(run: RunId) -> Event {
        let (store, task) = (Arc::from("default"), Arc::from("task"));
        let run =
            Run { id: run, job_id: None, store, task, fire_time: NOON, scheduled_time: NOON, attempt: 1 };
        let outcome = Outcome::Succeeded(Value::Null);
        Event::run_ended(RunEnded { run: Arc::new(run), outcome, started_at: None, finished_at: NOON })
    }

    #[test]
    fn only_what_is_waited_for_is_kept_however_calls_overlap() -> Result<(), Error> {
        let (waiting, scheduler) = (Arc::new(Waiting::default()), Scheduler::new()?);
        let unnamed = Watch::begin(&waiting, &scheduler);
        for number in 0..1_000 {
            let (watch, mut told) = Watch::begin(&waiting, &scheduler);
            watch.name(run_id(number));
            waiting.hear(&end_of(run_id(number + 10_000)));
            assert_eq!(waiting.0.lock().tell.len(), 1, "the ends of other runs are not kept");
            waiting.hear(&end_of(run_id(number)));
            assert_eq!(told.try_recv(), Ok(Some(Outcome::Succeeded(Value::Null))));
        }
        drop(unnamed);
        let waits = waiting.0.lock();
        assert!(waits.tell.is_empty() && waits.listener.is_none());
        Ok(())
    }

    #[test]
    fn a_wait_that_is_given_up_leaves_nothing_behind() -> Result<(), Error> {
        let (waiting, scheduler) = (Arc::new(Waiting::default()), Scheduler::new()?);
        let (watch, told) = Watch::begin(&waiting, &scheduler);
        // Whoever waited is gone, and the call goes on.
        let call = Arc::clone(&watch);
        drop((watch, told));
        call.name(run_id(1));
        assert_eq!(waiting.0.lock().tell.len(), 1);
        drop(call);
        let waits = waiting.0.lock();
        assert!(waits.tell.is_empty() && waits.listener.is_none());
        Ok(())
    }

    #[test]
    fn a_run_that_is_named_after_a_shutdown_is_not_waited_for() -> Result<(), Error> {
        let (waiting, scheduler) = (Arc::new(Waiting::default()), Scheduler::new()?);
        let (watch, mut told) = Watch::begin(&waiting, &scheduler);
        waiting.hear(&Event::SchedulerShutdown);
        watch.name(run_id(1));
        assert!(told.try_recv().is_err());
        Ok(())
    }
}
