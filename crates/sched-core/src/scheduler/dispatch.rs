//! Handing runs to executors, and hearing of their end.
//!
//! Here the overlap policy is decided for direct runs, because only here it is known what is unfinished. The table
//! is never locked while an executor or a listener is called.
//!
//! In reading order: [`table`] is what is unfinished; this file admits runs; [`handing`] hands them over, with
//! [`backlog`] for those that do not fit; [`sink`] hears of their end; [`timing`] ends those whose time is up and
//! starts those that are tried again.

mod backlog;
mod handing;
mod settled;
mod sink;
mod table;
mod timing;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use parking_lot::Mutex;

use self::settled::Settled;
pub(crate) use self::sink::{Sink, log_outcome, retrying};
use self::table::{Active, Claimed, Released, Stage, Table};
use super::driver::in_turn;
use super::lane::Lane;
use super::{Inner, Scheduler};
use crate::context::{CancelReason, current_run};
use crate::event::{Event, JobRef};
use crate::executor::{Execution, ExecutionData};
use crate::id::{JobId, RunId};
use crate::policy::Overlap;
use crate::run::{Outcome, Run, RunReport};
use crate::store::{Attempt, ClaimedRun, RunClaim};
use crate::task::Task;

/// A run that is on its way or running.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ActiveRun {
    /// The run.
    pub run: Arc<Run>,
    /// When it was handed to its executor, or began to wait for its next attempt.
    pub since: DateTime<Utc>,
    /// When it started, if it has.
    pub started_at: Option<DateTime<Utc>>,
    /// The executor's alias.
    pub executor: Arc<str>,
    /// Why it was asked to stop, if it was.
    pub cancelled: Option<CancelReason>,
    /// Its time was up and that was told, but its code goes on: it hangs, or does not look at its token.
    pub timed_out: bool,
    /// It failed and waits for its next attempt.
    pub retrying: bool,
}

impl ActiveRun {
    /// For how long it has been running at `now`, or has waited when it has not started; zero when that is earlier.
    pub fn age(&self, now: DateTime<Utc>) -> Duration {
        (now - self.started_at.unwrap_or(self.since)).to_std().unwrap_or_default()
    }
}

/// What is unfinished.
#[derive(Default)]
pub(crate) struct Dispatcher {
    table: Mutex<Table>,
    /// Ends of runs that came while a batch had the table.
    aside: Mutex<Aside>,
    settled: Settled,
}

/// What workers lay aside instead of waiting for a batch of admissions to end.
#[derive(Default)]
struct Aside {
    /// How many batches will look here before they end.
    batches: usize,
    ends: Vec<PlainEnd>,
}

/// The end of a run that frees its place, and nothing else.
struct PlainEnd {
    run: Arc<Run>,
    at: DateTime<Utc>,
}

/// Whether a claimed run still runs here, from an earlier claim.
pub(crate) enum Adopted {
    /// It does not.
    Unknown,
    /// It does, and has taken the new claim.
    GoesOn,
    /// It does, and was asked to stop.
    Ending,
}

/// What became of a batch of fire times of one job.
pub(crate) enum Admitted {
    /// Some run now, the others wait for their turn.
    Taken,
    /// Too many runs are unfinished.
    Skipped {
        /// The limit that was reached.
        limit: u32,
    },
}

/// Where an unfinished run was found.
pub(crate) enum Found {
    /// It was handed over.
    Active(Arc<ExecutionData>),
    /// It waited for its turn and is taken out; the event is to be told after its end.
    Waiting(Execution, Option<Event>),
    /// Its time was up, and it was to be tried again once its code is over. It is no more; this is the end of it.
    GivenUp(Box<RunReport>),
    /// It is not unfinished here.
    Nowhere,
}

/// A claimed run, as it is registered.
pub(crate) struct Registration<'a> {
    pub(crate) execution: &'a Execution,
    pub(crate) claim: RunClaim,
    /// Until when the claim holds at least, by the monotonic clock.
    pub(crate) lease_end: Duration,
    pub(crate) history: Vec<Attempt>,
}

impl Dispatcher {
    /// Begins a batch of admissions.
    pub(crate) fn batch(&self) -> Batch<'_> {
        self.aside.lock().batches += 1;
        Batch { dispatcher: self, table: Some(self.table.lock()), replaced: Vec::new() }
    }

    /// Leaves the end of a run to a batch that has the table; says whether there is one.
    fn lay_aside(&self, run: &Arc<Run>, at: DateTime<Utc>) -> bool {
        let mut aside = self.aside.lock();
        let is_taken = aside.batches > 0;
        if is_taken {
            aside.ends.push(PlainEnd { run: Arc::clone(run), at });
        }
        is_taken
    }

    /// Notes a claimed run as active.
    pub(crate) fn register(&self, lane: &Arc<Lane>, run: Registration<'_>, now: DateTime<Utc>) {
        let Some(data) = run.execution.data() else { return };
        data.extend_lease(lane.start_by(run.lease_end));
        let claimed = Claimed { lane: Arc::clone(lane), claim: run.claim, history: run.history };
        let active = Active {
            data: Arc::clone(data),
            since: now,
            lane: lane.index,
            claimed: Some(Box::new(claimed)),
            limited_task: false,
            deadline: None,
            stage: Stage::Running,
        };
        self.table.lock().active.insert(data.run.id, active);
    }

    /// A run that was claimed here may still run here: its lease ended because renewals were held up. Then it goes on
    /// under the new claim and is not started again.
    pub(crate) fn adopt(&self, lane: &Lane, claimed: &ClaimedRun, lease_end: Duration) -> Adopted {
        let mut table = self.table.lock();
        let active = table.active.get_mut(&claimed.run.id).filter(|active| active.lane == lane.index);
        let Some(active) = active else { return Adopted::Unknown };
        match &mut active.claimed {
            Some(held) if active.data.cancel.reason().is_none() => {
                held.claim = RunClaim { id: claimed.run.id, token: claimed.token };
                held.history.clone_from(&claimed.history);
                active.data.extend_lease(lane.start_by(lease_end));
                Adopted::GoesOn
            }
            _ => Adopted::Ending,
        }
    }

    /// Claims were renewed: they hold until then at least, by the monotonic clock.
    pub(crate) fn extend_leases(&self, lane: &Lane, claims: &[RunClaim], lease_end: Duration) {
        let start_by = lane.start_by(lease_end);
        let table = self.table.lock();
        for claim in claims {
            let active = table.active.get(&claim.id);
            let is_of = |active: &&Active| active.claimed.as_ref().is_some_and(|held| held.claim == *claim);
            if let Some(active) = active.filter(is_of) {
                active.data.extend_lease(start_by);
            }
        }
    }

    /// Unfinished runs.
    pub(crate) fn active(&self) -> Vec<ActiveRun> {
        let shown = |active: &Active| ActiveRun {
            run: Arc::clone(&active.data.run),
            since: active.since,
            started_at: active.data.started_at(),
            executor: Arc::clone(&active.data.options().executor),
            cancelled: active.data.cancel.reason(),
            timed_out: matches!(active.stage, Stage::Held(_) | Stage::Freed),
            retrying: matches!(active.stage, Stage::Retrying),
        };
        self.table.lock().active.values().map(shown).collect()
    }

    /// Whether the run is unfinished here.
    pub(crate) fn has(&self, run: RunId) -> bool {
        self.table.lock().active.contains_key(&run)
    }

    pub(crate) fn active_count(&self) -> usize {
        self.table.lock().active.len()
    }

    /// The end of a run that was told while its code goes on.
    pub(crate) fn told_end(&self, run: RunId) -> Option<RunReport> {
        match &self.table.lock().active.get(&run)?.stage {
            Stage::Held(told) if told.again.is_none() => Some(told.report.clone()),
            _ => None,
        }
    }

    /// Looks an unfinished run up, to be stopped. One that waits is taken out.
    pub(crate) fn find(&self, run: RunId) -> Found {
        let mut table = self.table.lock();
        if let Some(execution) = table.take_retry(run).or_else(|| table.take_backlogged(run)) {
            return Found::Waiting(execution, None);
        }
        match table.active.get_mut(&run).map(|active| (&mut active.stage, &active.data)) {
            Some((Stage::Running, data)) => return Found::Active(Arc::clone(data)),
            Some((Stage::Held(told), _)) if told.again.is_some() => {
                told.again = None;
                told.report.outcome = Outcome::Cancelled;
                return Found::GivenUp(Box::new(told.report.clone()));
            }
            Some(_) => return Found::Nowhere,
            None => {}
        }
        let waits = |execution: &Execution| execution.run().is_some_and(|waiting| waiting.id == run);
        let found = table.jobs.iter_mut().find_map(|(slot, slots)| {
            let waiting = slots.waiting()?;
            let execution = waiting.iter().position(waits).and_then(|at| waiting.remove(at))?;
            Some((slot.clone(), execution))
        });
        let Some((slot, execution)) = found else { return Found::Nowhere };
        table.waiting -= 1;
        let idle = table.forget_idle(&slot);
        let ended = idle.and_then(|mut slots| slots.rare().ended.take());
        Found::Waiting(execution, ended.map(Event::JobRemoved))
    }

    /// The queued runs of a job that run here, the oldest first, as far as they are `limit` or more.
    pub(crate) fn oldest_claimed(&self, lane: u32, job: &JobId, limit: u32) -> Option<Arc<ExecutionData>> {
        let table = self.table.lock();
        let of_job = table.active.values().filter(|active| {
            let is_job = active.lane == lane && active.data.run.job_id.as_ref() == Some(job);
            is_job && active.claimed.is_some() && matches!(active.stage, Stage::Running)
        });
        let of_job: Vec<_> = of_job.map(|active| &active.data).collect();
        let is_full = of_job.len() >= usize::try_from(limit).unwrap_or(usize::MAX);
        of_job.into_iter().filter(|_| is_full).min_by_key(|data| data.run.id).cloned()
    }

    /// Asks all unfinished runs to stop and drops those that wait.
    pub(crate) fn close(&self) {
        let mut table = self.table.lock();
        let active: Vec<_> = table.active.values().map(|active| Arc::clone(&active.data)).collect();
        let mut dropped: Vec<Execution> = Vec::new();
        for waiting in table.jobs.values_mut().filter_map(table::Slots::waiting) {
            dropped.extend(waiting.drain(..));
        }
        let backlogs: Vec<_> = table.backlog.drain().collect();
        dropped.extend(backlogs.into_iter().flat_map(|(_, backlog)| Vec::from(backlog)));
        table.waiting = 0;
        drop(table);
        active.iter().for_each(|data| data.cancel.cancel(CancelReason::Shutdown));
        for execution in dropped {
            execution.finish(Outcome::Cancelled);
        }
    }

    /// Waits until nothing is unfinished, except the run that this thread is part of. `false`: the time ran out.
    pub(crate) fn drain(&self, scheduler: &Scheduler, limit: Option<Duration>) -> bool {
        let own = own_run(scheduler);
        let deadline = limit.and_then(|limit| std::time::Instant::now().checked_add(limit));
        let mut table = self.table.lock();
        loop {
            let others = table.active.keys().filter(|id| Some(**id) != own).count();
            if others == 0 && table.waiting == 0 {
                return true;
            }
            match deadline {
                None => self.settled.wait(&mut table),
                Some(deadline) => {
                    if self.settled.wait_until(&mut table, deadline).timed_out() {
                        return false;
                    }
                }
            }
        }
    }
}

impl Dispatcher {
    /// Waits until no queued run of a lane is unfinished here, except the one that this thread is part of and those that
    /// hang. Inside of the lane's turn it does not wait.
    pub(crate) fn drain_claimed(&self, scheduler: &Scheduler, lane: &Lane) {
        if in_turn(lane) {
            // What a turn hands over cannot end before it does.
            return;
        }
        // A turn that is under way may still hand runs over.
        drop(lane.engine.lock());
        let own = own_run(scheduler);
        let mut table = self.table.lock();
        let is_left = |table: &Table| {
            table.active.iter().any(|(id, active)| {
                let is_claimed = active.claimed.is_some() && matches!(active.stage, Stage::Running);
                active.lane == lane.index && is_claimed && Some(*id) != own
            })
        };
        while is_left(&table) {
            self.settled.wait(&mut table);
        }
    }
}

/// The run of this scheduler that this thread is part of.
fn own_run(scheduler: &Scheduler) -> Option<RunId> {
    current_run().filter(|context| context.scheduler() == Some(scheduler)).map(|run| run.run().id)
}

/// Admissions under one lock. Runs that end meanwhile do not wait for it, where their ends are plain: the batch frees their
/// places before it ends.
pub(crate) struct Batch<'a> {
    dispatcher: &'a Dispatcher,
    /// `None` once it has ended.
    table: Option<parking_lot::MutexGuard<'a, Table>>,
    replaced: Vec<Replaced>,
}

/// What follows from a batch, once the table is free.
#[derive(Default)]
pub(crate) struct Followed {
    /// These runs are to be stopped.
    replaced: Vec<Replaced>,
    /// Places became free.
    released: Vec<(Released, Option<Arc<str>>)>,
}

/// A run in whose place another one comes. It is to be stopped once the table is free.
enum Replaced {
    /// It was handed over.
    Active(Arc<ExecutionData>),
    /// It waited for its next attempt.
    Retrying(Execution),
    /// It was to be tried again once its code is over.
    GivenUp(Box<RunReport>),
}

impl Batch<'_> {
    /// Admits the runs of one job's turn: as many as there are places start, the others wait; without any place
    /// the overlap policy decides. Runs to submit are pushed to `ready`.
    pub(crate) fn admit(
        &mut self,
        lane: &Lane,
        runs: impl Iterator<Item = Execution>,
        now: DateTime<Utc>,
        ready: &mut Vec<Execution>,
    ) -> Admitted {
        let mut runs = runs.peekable();
        let Some(first) = runs.peek().and_then(Execution::data).map(Arc::clone) else {
            return Admitted::Taken;
        };
        let (Some(job), options) = (first.run.job_id.clone(), first.options()) else {
            return Admitted::Taken;
        };
        let slot = (lane.index, job);
        let task = first.task().map(|task| &**task);
        let task_limit = task.and_then(Task::max_instances);
        let Some(table) = self.table.as_deref_mut() else { return Admitted::Taken };
        let task_full = task_limit.is_some_and(|limit| table.active_of(lane.index, task) >= limit);
        let slots = table.jobs.entry(slot.clone()).or_default();
        let job_full = slots.unfinished() >= options.max_instances;
        if (job_full || task_full) && options.overlap == Overlap::Skip {
            let limit = if job_full { options.max_instances } else { task_limit.unwrap_or(1) };
            runs.for_each(Execution::forget);
            table.forget_idle(&slot);
            return Admitted::Skipped { limit };
        }
        if job_full && options.overlap == Overlap::CancelPrevious {
            let oldest = slots.rare().running.front().copied();
            let replaced = oldest.and_then(|oldest| replace(table, oldest));
            self.replaced.extend(replaced);
        }
        for run in runs {
            table.start_or_wait(&slot, run, now, ready);
        }
        Admitted::Taken
    }

    /// Notes that a job's schedule ended. The event is told now when nothing of it is unfinished, else later.
    pub(crate) fn end_job(&mut self, lane: &Arc<Lane>, job: JobRef) -> Option<Event> {
        let table = self.table.as_deref_mut();
        match table.and_then(|table| table.jobs.get_mut(&(lane.index, job.job_id.clone()))) {
            Some(slots) => {
                slots.rare().ended = Some(job);
                None
            }
            None => Some(Event::JobRemoved(job)),
        }
    }

    /// Ends the batch; answers what follows.
    pub(crate) fn finish(mut self) -> Followed {
        let released = self.end();
        Followed { replaced: std::mem::take(&mut self.replaced), released }
    }

    /// Frees the places of runs that ended meanwhile, and the table.
    fn end(&mut self) -> Vec<(Released, Option<Arc<str>>)> {
        let Some(mut table) = self.table.take() else { return Vec::new() };
        let ends = {
            let mut aside = self.dispatcher.aside.lock();
            aside.batches -= 1;
            std::mem::take(&mut aside.ends)
        };
        let released = ends.iter().map(|end| table.release_plain(end.run.id, end.at));
        let released = released.filter(|(released, alias)| !released.is_empty() || alias.is_some()).collect();
        drop(table);
        if !ends.is_empty() {
            self.dispatcher.settled.notify_all();
        }
        released
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        drop(self.end());
    }
}

/// What is to be stopped in whose place another run comes.
fn replace(table: &mut Table, oldest: RunId) -> Option<Replaced> {
    if let Some(execution) = table.take_retry(oldest) {
        return Some(Replaced::Retrying(execution));
    }
    let active = table.active.get_mut(&oldest)?;
    match &mut active.stage {
        Stage::Held(told) if told.again.is_some() => {
            told.again = None;
            told.report.outcome = Outcome::Cancelled;
            Some(Replaced::GivenUp(Box::new(told.report.clone())))
        }
        _ => Some(Replaced::Active(Arc::clone(&active.data))),
    }
}

impl Scheduler {
    /// Does what follows from a batch: stops runs in whose place others come, and starts those that have a place now.
    pub(crate) fn follow(&self, followed: Followed) {
        for (released, backlogged) in followed.released {
            self.go_on(released, backlogged);
        }
        for replaced in followed.replaced {
            match replaced {
                Replaced::Active(data) => _ = self.stop(&data, CancelReason::Replaced),
                Replaced::Retrying(execution) => execution.finish(Outcome::Cancelled),
                Replaced::GivenUp(report) => self.tell_given_up(*report, None),
            }
        }
    }

    /// Stops a run whose lease was lost.
    pub(crate) fn stop_lost(&self, run: RunId) {
        match self.inner.dispatcher.find(run) {
            Found::Active(data) => _ = self.stop(&data, CancelReason::Lost),
            Found::Waiting(execution, _) => execution.finish(Outcome::Cancelled),
            Found::GivenUp(_) | Found::Nowhere => {}
        }
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner").field("identity", &self.identity).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executor::RunSink;
    use crate::job::JobSettings;
    use crate::task::Args;

    struct Deaf;

    impl RunSink for Deaf {
        fn now(&self) -> DateTime<Utc> {
            DateTime::UNIX_EPOCH
        }

        fn started(&self, _: &Arc<Run>) {}

        fn finished(&self, _: RunReport) {}
    }

    fn execution() -> Execution {
        let at = DateTime::UNIX_EPOCH;
        let (store, task) = (Arc::from("default"), Task::new("task", |_, _| ()));
        let run = Run {
            id: RunId::at(1),
            job_id: None,
            store,
            task: task.shared_name(),
            fire_time: at,
            scheduled_time: at,
            attempt: 1,
        };
        let options = Arc::new(JobSettings::default().resolve());
        Execution::new(Arc::new(run), Arc::new(task), Args::default(), options, Arc::new(Deaf))
    }

    #[test]
    fn an_end_that_comes_while_a_batch_has_the_table_frees_its_place_with_the_batch() {
        let at = DateTime::UNIX_EPOCH;
        let ends: [fn(Batch<'_>); 2] = [|batch| drop(batch.finish()), |batch| drop(batch)];
        for end in ends {
            let (dispatcher, execution) = (Dispatcher::default(), execution());
            let data = Arc::clone(execution.data().unwrap());
            let run = Arc::clone(&data.run);
            let active = Active {
                data,
                since: at,
                lane: 0,
                claimed: None,
                limited_task: false,
                deadline: None,
                stage: Stage::Running,
            };
            dispatcher.table.lock().active.insert(run.id, active);
            assert!(!dispatcher.lay_aside(&run, at), "nobody would look");
            let batch = dispatcher.batch();
            assert!(dispatcher.lay_aside(&run, at), "and it does not wait for the table");
            end(batch);
            assert_eq!((dispatcher.active_count(), dispatcher.lay_aside(&run, at)), (0, false));
        }
    }
}
