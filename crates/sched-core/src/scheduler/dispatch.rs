//! Handing runs to executors, and hearing of their end.
//!
//! Here the overlap policy is decided for direct runs, because only here it is known what is unfinished. The table
//! is never locked while an executor or a listener is called.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use parking_lot::{Condvar, Mutex};
use rustc_hash::FxHashMap;

use super::lane::Lane;
use super::{Inner, Scheduler};
use crate::ErrorKind;
use crate::context::{CancelToken, current_run};
use crate::error::panic_message;
use crate::event::{Event, EventMask, JobRef, RunEnded};
use crate::executor::{Execution, Executor, Refused, RunSink};
use crate::id::{JobId, RunId};
use crate::policy::Overlap;
use crate::run::{Outcome, Run, RunReport};
use crate::store::RunClaim;
use crate::task::Task;

/// A run that is on its way or running.
#[derive(Debug, Clone)]
pub struct ActiveRun {
    /// The run.
    pub run: Arc<Run>,
    /// When it was handed to its executor.
    pub since: DateTime<Utc>,
    /// The executor's alias.
    pub executor: Arc<str>,
}

/// What is unfinished.
#[derive(Default)]
pub(crate) struct Dispatcher {
    table: Mutex<Table>,
    settled: Condvar,
}

type JobSlot = (u32, JobId);

#[derive(Default)]
struct Table {
    active: FxHashMap<RunId, Active>,
    jobs: FxHashMap<JobSlot, Slots>,
    /// Unfinished runs of limited tasks, in each lane by itself.
    tasks: FxHashMap<(u32, Arc<str>), u32>,
    /// Runs that executors had no place for, in order.
    backlog: FxHashMap<Arc<str>, VecDeque<Execution>>,
    waiting: usize,
}

struct Active {
    public: ActiveRun,
    cancel: CancelToken,
    lane: Arc<Lane>,
    claim: Option<RunClaim>,
    limited_task: bool,
}

/// A job's unfinished direct runs.
#[derive(Default)]
struct Slots {
    active: u32,
    waiting: VecDeque<Execution>,
    running: VecDeque<RunId>,
    /// The job's schedule ended: say so when the last run is over.
    ended: Option<JobRef>,
}

/// A run ready to be submitted.
pub(crate) struct Ready {
    pub(crate) executor: Arc<str>,
    pub(crate) execution: Execution,
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

/// What became of a request to stop a run.
pub(crate) enum Cancelled {
    /// It was handed to this executor and is asked.
    Asked(Arc<str>),
    /// It waited for its turn and is taken out.
    Waiting(Execution),
    /// It is not unfinished here.
    Unknown,
}

impl Dispatcher {
    /// Begins a batch of admissions.
    pub(crate) fn batch(&self) -> Batch<'_> {
        Batch { table: self.table.lock() }
    }

    /// Notes a claimed run as active.
    pub(crate) fn register(
        &self,
        lane: &Arc<Lane>,
        execution: &Execution,
        claim: RunClaim,
        now: DateTime<Utc>,
    ) {
        let mut table = self.table.lock();
        note_active(&mut table, lane, execution, Some(claim), now);
    }

    /// Unfinished runs.
    pub(crate) fn active(&self) -> Vec<ActiveRun> {
        self.table.lock().active.values().map(|active| active.public.clone()).collect()
    }

    pub(crate) fn active_count(&self) -> usize {
        self.table.lock().active.len()
    }

    /// Asks a run to stop.
    pub(crate) fn cancel(&self, run: RunId) -> Cancelled {
        let mut table = self.table.lock();
        if let Some(active) = table.active.get(&run) {
            active.cancel.cancel();
            return Cancelled::Asked(Arc::clone(&active.public.executor));
        }
        let waits = |execution: &Execution| execution.run().is_some_and(|waiting| waiting.id == run);
        let found = table.jobs.values_mut().find_map(|slots| {
            let at = slots.waiting.iter().position(waits)?;
            slots.waiting.remove(at)
        });
        match found {
            Some(execution) => {
                table.waiting -= 1;
                Cancelled::Waiting(execution)
            }
            None => Cancelled::Unknown,
        }
    }

    /// Asks all unfinished runs to stop and drops those that wait.
    pub(crate) fn close(&self) {
        let mut table = self.table.lock();
        table.active.values().for_each(|active| active.cancel.cancel());
        let mut dropped: Vec<Execution> = Vec::new();
        for slots in table.jobs.values_mut() {
            dropped.extend(slots.waiting.drain(..));
        }
        let backlogs: Vec<_> = table.backlog.drain().collect();
        dropped.extend(backlogs.into_iter().flat_map(|(_, backlog)| backlog));
        table.waiting = 0;
        drop(table);
        for execution in dropped {
            execution.finish(Outcome::Cancelled);
        }
    }

    /// Waits until nothing is unfinished, except the run that this thread is part of. `false`: the time ran out.
    pub(crate) fn drain(&self, scheduler: &Scheduler, limit: Option<Duration>) -> bool {
        let own =
            current_run().filter(|context| context.scheduler() == Some(scheduler)).map(|run| run.run().id);
        let deadline = limit.map(|limit| std::time::Instant::now() + limit);
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

/// Admissions under one lock.
pub(crate) struct Batch<'a> {
    table: parking_lot::MutexGuard<'a, Table>,
}

impl Batch<'_> {
    /// Admits the runs of one job's turn: as many as there are places start, the others wait; without any place
    /// the overlap policy decides. Runs to submit are pushed to `ready`.
    pub(crate) fn admit(
        &mut self,
        lane: &Arc<Lane>,
        runs: Vec<Execution>,
        now: DateTime<Utc>,
        ready: &mut Vec<Ready>,
    ) -> Admitted {
        let Some((job, options, task)) = runs.first().and_then(|run| {
            let job_id = run.run()?.job_id.clone()?;
            Some((job_id, Arc::clone(run.options()?), Arc::clone(run.task()?)))
        }) else {
            return Admitted::Taken;
        };
        let slot = (lane.index, job);
        let slots = self.table.jobs.entry(slot.clone()).or_default();
        let job_full = slots.active >= options.max_instances;
        let oldest = slots.running.front().copied();
        let task_limit = task.max_instances();
        let task_active = task_limit.map_or(0, |_| self.table.active_of(lane.index, &task));
        let task_full = task_limit.is_some_and(|limit| task_active >= limit);
        if (job_full || task_full) && options.overlap == Overlap::Skip {
            let limit = if job_full { options.max_instances } else { task_limit.unwrap_or(1) };
            runs.into_iter().for_each(Execution::forget);
            self.table.forget_idle(&slot);
            return Admitted::Skipped { limit };
        }
        let previous = oldest.filter(|_| job_full && options.overlap == Overlap::CancelPrevious);
        if let Some(active) = previous.and_then(|oldest| self.table.active.get(&oldest)) {
            active.cancel.cancel();
        }
        for run in runs {
            match has_place(&self.table, &slot, &run) {
                true => ready.extend(take_place(&mut self.table, lane, &slot, run, now)),
                false => {
                    self.table.waiting += 1;
                    self.table.jobs.entry(slot.clone()).or_default().waiting.push_back(run);
                }
            }
        }
        Admitted::Taken
    }

    /// Notes that a job's schedule ended. The event is told now when nothing of it is unfinished, else later.
    pub(crate) fn end_job(&mut self, lane: &Arc<Lane>, job: JobRef) -> Option<Event> {
        match self.table.jobs.get_mut(&(lane.index, job.job_id.clone())) {
            Some(slots) => {
                slots.ended = Some(job);
                None
            }
            None => Some(Event::JobRemoved(job)),
        }
    }
}

fn has_place(table: &Table, slot: &JobSlot, execution: &Execution) -> bool {
    let (Some(options), Some(task)) = (execution.options(), execution.task()) else { return false };
    let active = table.jobs.get(slot).map_or(0, |slots| slots.active);
    let fits = |limit| table.active_of(slot.0, task) < limit;
    active < options.max_instances && task.max_instances().is_none_or(fits)
}

fn take_place(
    table: &mut Table,
    lane: &Arc<Lane>,
    slot: &JobSlot,
    execution: Execution,
    now: DateTime<Utc>,
) -> Option<Ready> {
    let executor = Arc::clone(&execution.options()?.executor);
    let id = execution.run()?.id;
    note_active(table, lane, &execution, None, now);
    let slots = table.jobs.entry(slot.clone()).or_default();
    slots.active += 1;
    slots.running.push_back(id);
    Some(Ready { executor, execution })
}

fn note_active(
    table: &mut Table,
    lane: &Arc<Lane>,
    execution: &Execution,
    claim: Option<RunClaim>,
    since: DateTime<Utc>,
) {
    let (Some(run), Some(options), Some(task)) = (execution.run(), execution.options(), execution.task())
    else {
        return;
    };
    let limited_task = claim.is_none() && task.max_instances().is_some();
    if limited_task {
        *table.tasks.entry((lane.index, task.shared_name())).or_default() += 1;
    }
    let public = ActiveRun { run: Arc::clone(run), since, executor: Arc::clone(&options.executor) };
    let cancel = execution.cancel_token();
    table.active.insert(run.id, Active { public, cancel, lane: Arc::clone(lane), claim, limited_task });
}

impl Scheduler {
    /// Hands runs to their executors, batch by batch. What does not fit waits in order.
    pub(crate) fn submit(&self, ready: Vec<Ready>) {
        let mut groups: Vec<(Arc<str>, Vec<Execution>)> = Vec::with_capacity(1);
        for Ready { executor, execution } in ready {
            match groups.iter_mut().find(|(alias, _)| *alias == executor) {
                Some((_, group)) => group.push(execution),
                None => groups.push((executor, vec![execution])),
            }
        }
        for (alias, group) in groups {
            self.submit_to(&alias, group);
        }
    }

    fn submit_to(&self, alias: &Arc<str>, mut group: Vec<Execution>) {
        let mut table = self.inner.dispatcher.table.lock();
        if let Some(backlog) = table.backlog.get_mut(alias).filter(|backlog| !backlog.is_empty()) {
            let added = group.len();
            backlog.extend(group.drain(..));
            table.waiting += added;
            return;
        }
        drop(table);
        let executor = self.inner.state.read().executor(alias).cloned();
        let refused = match executor {
            Ok(executor) => submit_caught(alias, &*executor, group),
            Err(_) => {
                let reason = crate::run::MissReason::NoExecutor(alias.as_ref().to_owned());
                group.into_iter().for_each(|run| run.finish(Outcome::Missed(reason.clone())));
                None
            }
        };
        if let Some(refused) = refused {
            self.keep_refused(alias, refused);
        }
    }

    fn keep_refused(&self, alias: &Arc<str>, refused: Refused) {
        if refused.error.kind() == ErrorKind::Closed {
            let reason = refused.error.to_string();
            refused.runs.into_iter().for_each(|run| run.finish(Outcome::Abandoned(reason.clone())));
            return;
        }
        let mut table = self.inner.dispatcher.table.lock();
        let first = refused.runs.first().and_then(Execution::run).map(|run| run.id);
        let lane = first.and_then(|id| table.active.get(&id)).map(|active| Arc::clone(&active.lane));
        table.waiting += refused.runs.len();
        let backlog = table.backlog.entry(Arc::clone(alias)).or_default();
        for run in refused.runs.into_iter().rev() {
            backlog.push_front(run);
        }
        drop(table);
        if let Some(lane) = lane {
            lane.wake_for_backlog();
        }
    }

    /// Offers all executors what they had no place for; whether something still waits.
    pub(crate) fn retry_backlogs(&self) -> bool {
        let table = self.inner.dispatcher.table.lock();
        if table.backlog.is_empty() {
            return false;
        }
        let aliases: Vec<Arc<str>> = table.backlog.keys().cloned().collect();
        drop(table);
        aliases.iter().for_each(|alias| self.retry_backlog(alias));
        self.inner.dispatcher.table.lock().backlog.values().any(|backlog| !backlog.is_empty())
    }

    /// Offers an executor what it had no place for.
    fn retry_backlog(&self, alias: &Arc<str>) {
        let mut table = self.inner.dispatcher.table.lock();
        let Some(backlog) = table.backlog.remove(alias).filter(|backlog| !backlog.is_empty()) else { return };
        table.waiting -= backlog.len();
        drop(table);
        self.submit_to(alias, backlog.into());
    }

    /// Frees the place of a run that ended. Answers the runs that take its place, and the event that is due.
    fn release(&self, run: &Run) -> (Vec<Ready>, Option<Event>) {
        let now = self.inner.clock.now();
        let mut table = self.inner.dispatcher.table.lock();
        let Some(active) = table.active.remove(&run.id) else { return (Vec::new(), None) };
        let mut ready = Vec::new();
        let mut event = None;
        if let (None, Some(job_id)) = (active.claim, run.job_id.clone()) {
            let slot = (active.lane.index, job_id);
            ready.extend(table.next_of_job(&slot, &active, run, now));
            event = table.forget_idle(&slot).and_then(|slots| slots.ended).map(Event::JobRemoved);
        }
        if active.limited_task {
            ready.extend(wake_task_waiters(&mut table, &active.lane, &run.task, now));
        }
        drop(table);
        self.inner.dispatcher.settled.notify_all();
        (ready, event)
    }
}

impl Table {
    fn active_of(&self, lane: u32, task: &Task) -> u32 {
        self.tasks.get(&(lane, task.shared_name())).copied().unwrap_or(0)
    }

    /// Frees a direct run's place and gives it to the job's next waiting run.
    fn next_of_job(
        &mut self,
        slot: &JobSlot,
        active: &Active,
        run: &Run,
        now: DateTime<Utc>,
    ) -> Option<Ready> {
        if active.limited_task
            && let Some(count) = self.tasks.get_mut(&(slot.0, Arc::clone(&run.task)))
        {
            *count = count.saturating_sub(1);
        }
        let slots = self.jobs.get_mut(slot)?;
        slots.active = slots.active.saturating_sub(1);
        slots.running.retain(|id| *id != run.id);
        self.next_waiting(slot, &active.lane, now)
    }

    /// The job's next waiting run, if it has a place.
    fn next_waiting(&mut self, slot: &JobSlot, lane: &Arc<Lane>, now: DateTime<Utc>) -> Option<Ready> {
        let next = self.jobs.get_mut(slot)?.waiting.pop_front()?;
        if has_place(self, slot, &next) {
            self.waiting -= 1;
            return take_place(self, lane, slot, next, now);
        }
        self.jobs.get_mut(slot)?.waiting.push_front(next);
        None
    }

    /// Forgets a job that has nothing unfinished.
    fn forget_idle(&mut self, slot: &JobSlot) -> Option<Slots> {
        let idle = self.jobs.get(slot).is_some_and(|slots| slots.active == 0 && slots.waiting.is_empty());
        idle.then(|| self.jobs.remove(slot)).flatten()
    }
}

/// A place of a limited task is free: the first job that waits for it may go on.
fn wake_task_waiters(table: &mut Table, lane: &Arc<Lane>, task: &str, now: DateTime<Utc>) -> Option<Ready> {
    let waits = |slots: &Slots| {
        slots.waiting.front().and_then(Execution::task).is_some_and(|waiting| waiting.name() == task)
    };
    let slot = table.jobs.iter().find(|(slot, slots)| slot.0 == lane.index && waits(slots))?.0.clone();
    table.next_waiting(&slot, lane, now)
}

/// The engine's ear.
pub(crate) struct Sink(pub(crate) Scheduler);

impl RunSink for Sink {
    fn now(&self) -> DateTime<Utc> {
        self.0.inner.clock.now()
    }

    fn started(&self, run: &Arc<Run>) {
        if self.0.inner.events.wants(EventMask::RUN_STARTED) {
            self.0.publish(Event::RunStarted(Arc::clone(run)));
        }
    }

    fn finished(&self, report: RunReport) {
        let scheduler = &self.0;
        let run = Arc::clone(&report.run);
        let Some(executor) = scheduler.ended(report) else { return };
        let (ready, event) = scheduler.release(&run);
        scheduler.inner.events.publish_all(event);
        scheduler.submit(ready);
        scheduler.retry_backlog(&executor);
    }

    fn scheduler(&self) -> Option<Scheduler> {
        Some(self.0.clone())
    }
}

impl Scheduler {
    /// Tells of a run's end: at once for a direct run, after its row is finished for a queued one. `None`: it never
    /// had a place.
    fn ended(&self, report: RunReport) -> Option<Arc<str>> {
        let table = self.inner.dispatcher.table.lock();
        let active = table.active.get(&report.run.id);
        let active = active.map(|it| (Arc::clone(&it.public.executor), Arc::clone(&it.lane), it.claim));
        drop(table);
        let Some((executor, lane, claim)) = active else {
            log_outcome(&report);
            self.publish_ended(report);
            return None;
        };
        match claim {
            // It never began: the lease is given back when the lane ends, for others to take it at once.
            Some(_) if report.started_at.is_none() && is_dropped(&report.outcome) && !self.is_running() => {}
            Some(claim) => {
                lane.ended.lock().push((claim, report));
                lane.wake();
            }
            None => {
                log_outcome(&report);
                self.publish_ended(report);
            }
        }
        Some(executor)
    }

    pub(crate) fn publish_ended(&self, report: RunReport) {
        let mask = EventMask::JOB_EXECUTED | EventMask::JOB_ERROR | EventMask::JOB_MISSED;
        if self.inner.events.wants(mask) {
            let RunReport { run, outcome, started_at, finished_at } = report;
            self.publish(Event::run_ended(RunEnded { run, outcome, started_at, finished_at }));
        }
    }
}

fn is_dropped(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Cancelled | Outcome::Abandoned(_))
}

/// Hands runs over. Those that an executor drops in a panic are reported by their own drop.
fn submit_caught(alias: &str, executor: &dyn Executor, runs: Vec<Execution>) -> Option<Refused> {
    let submit = std::panic::AssertUnwindSafe(|| executor.submit(runs));
    match std::panic::catch_unwind(submit) {
        Ok(answer) => answer.err(),
        Err(panic) => {
            tracing::error!(executor = alias, panic = panic_message(&*panic), "the executor panicked");
            None
        }
    }
}

pub(crate) fn log_outcome(report: &RunReport) {
    let job = report.run.job_id.as_ref().map_or("", JobId::as_str);
    let (task, run) = (&*report.run.task, &report.run.id);
    match &report.outcome {
        Outcome::Succeeded(_) => tracing::debug!(job, task, %run, "the run succeeded"),
        Outcome::Missed(reason) => tracing::warn!(job, task, %run, %reason, "the run was missed"),
        outcome => tracing::error!(job, task, %run, %outcome, "the run did not succeed"),
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner").field("identity", &self.identity).finish_non_exhaustive()
    }
}
