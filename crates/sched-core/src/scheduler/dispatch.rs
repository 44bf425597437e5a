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
use crate::context::current_run;
use crate::error::panic_message;
use crate::event::{Event, EventMask, JobRef, RunEnded};
use crate::executor::{Execution, ExecutionData, Executor, Refused, RunSink};
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
    data: Arc<ExecutionData>,
    since: DateTime<Utc>,
    lane: u32,
    /// Whose row is to be finished, for a run that was claimed from a queue.
    claim: Option<(Arc<Lane>, RunClaim)>,
    limited_task: bool,
}

/// A job's unfinished direct runs.
#[derive(Default)]
struct Slots {
    active: u32,
    /// What most jobs never have.
    rare: Option<Box<Rare>>,
}

#[derive(Default)]
struct Rare {
    waiting: VecDeque<Execution>,
    /// Oldest first; kept for the policy that cancels the previous run.
    running: VecDeque<RunId>,
    /// The job's schedule ended: say so when the last run is over.
    ended: Option<JobRef>,
}

impl Slots {
    fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    fn next_waiting(&mut self) -> Option<Execution> {
        self.rare.as_mut()?.waiting.pop_front()
    }

    fn is_idle(&self) -> bool {
        self.active == 0 && self.rare.as_ref().is_none_or(|rare| rare.waiting.is_empty())
    }
}

/// A run that ended: what takes its place, and what is to be told.
#[derive(Default)]
struct Released {
    ready: Option<Execution>,
    for_task: Option<Execution>,
    event: Option<Event>,
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
        let Some(data) = execution.data() else { return };
        let claim = Some((Arc::clone(lane), claim));
        let active =
            Active { data: Arc::clone(data), since: now, lane: lane.index, claim, limited_task: false };
        table.active.insert(data.run.id, active);
    }

    /// Unfinished runs.
    pub(crate) fn active(&self) -> Vec<ActiveRun> {
        let shown = |active: &Active| ActiveRun {
            run: Arc::clone(&active.data.run),
            since: active.since,
            executor: Arc::clone(&active.data.options().executor),
        };
        self.table.lock().active.values().map(shown).collect()
    }

    pub(crate) fn active_count(&self) -> usize {
        self.table.lock().active.len()
    }

    /// Asks a run to stop.
    pub(crate) fn cancel(&self, run: RunId) -> Cancelled {
        let mut table = self.table.lock();
        if let Some(active) = table.active.get(&run) {
            active.data.cancel.cancel();
            return Cancelled::Asked(Arc::clone(&active.data.options().executor));
        }
        let waits = |execution: &Execution| execution.run().is_some_and(|waiting| waiting.id == run);
        let found = table.jobs.values_mut().find_map(|slots| {
            let waiting = &mut slots.rare.as_mut()?.waiting;
            waiting.iter().position(waits).and_then(|at| waiting.remove(at))
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
        table.active.values().for_each(|active| active.data.cancel.cancel());
        let mut dropped: Vec<Execution> = Vec::new();
        for rare in table.jobs.values_mut().filter_map(|slots| slots.rare.as_mut()) {
            dropped.extend(rare.waiting.drain(..));
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
        let task_full = task_limit.is_some_and(|limit| self.table.active_of(lane.index, task) >= limit);
        let slots = self.table.jobs.entry(slot.clone()).or_default();
        let job_full = slots.active >= options.max_instances;
        if (job_full || task_full) && options.overlap == Overlap::Skip {
            let limit = if job_full { options.max_instances } else { task_limit.unwrap_or(1) };
            runs.for_each(Execution::forget);
            self.table.forget_idle(&slot);
            return Admitted::Skipped { limit };
        }
        if job_full && options.overlap == Overlap::CancelPrevious {
            let oldest = slots.rare().running.front().copied();
            if let Some(active) = oldest.and_then(|oldest| self.table.active.get(&oldest)) {
                active.data.cancel.cancel();
            }
        }
        for run in runs {
            self.table.start_or_wait(&slot, run, now, ready);
        }
        Admitted::Taken
    }

    /// Notes that a job's schedule ended. The event is told now when nothing of it is unfinished, else later.
    pub(crate) fn end_job(&mut self, lane: &Arc<Lane>, job: JobRef) -> Option<Event> {
        match self.table.jobs.get_mut(&(lane.index, job.job_id.clone())) {
            Some(slots) => {
                slots.rare().ended = Some(job);
                None
            }
            None => Some(Event::JobRemoved(job)),
        }
    }
}

impl Scheduler {
    /// Hands runs to their executors, batch by batch. What does not fit waits in order.
    pub(crate) fn submit(&self, ready: Vec<Execution>) {
        let mut groups: Vec<(Arc<str>, Vec<Execution>)> = Vec::with_capacity(1);
        let size = ready.len();
        for execution in ready {
            let Some(executor) = execution.options().map(|options| &options.executor) else { continue };
            match groups.iter_mut().find(|(alias, _)| Arc::ptr_eq(alias, executor) || alias == executor) {
                Some((_, group)) => group.push(execution),
                None => {
                    let mut group = Vec::with_capacity(size);
                    let alias = Arc::clone(executor);
                    group.push(execution);
                    groups.push((alias, group));
                }
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
        let lane = first.and_then(|id| table.active.get(&id)).map(|active| active.lane);
        table.waiting += refused.runs.len();
        let backlog = table.backlog.entry(Arc::clone(alias)).or_default();
        for run in refused.runs.into_iter().rev() {
            backlog.push_front(run);
        }
        drop(table);
        let lanes = self.inner.state.read().lanes();
        if let Some(lane) = lanes.iter().find(|it| Some(it.index) == lane) {
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
}

impl Table {
    fn active_of(&self, lane: u32, task: Option<&Task>) -> u32 {
        task.and_then(|task| self.tasks.get(&(lane, task.shared_name()))).copied().unwrap_or(0)
    }

    fn start_or_wait(
        &mut self,
        slot: &JobSlot,
        execution: Execution,
        now: DateTime<Utc>,
        ready: &mut Vec<Execution>,
    ) {
        match self.take_place(slot, execution, now) {
            Ok(execution) => ready.push(execution),
            Err(execution) => {
                self.waiting += 1;
                self.jobs.entry(slot.clone()).or_default().rare().waiting.push_back(execution);
            }
        }
    }

    /// Gives a run a place, when its job and task have one; else it is given back.
    fn take_place(
        &mut self,
        slot: &JobSlot,
        execution: Execution,
        since: DateTime<Utc>,
    ) -> Result<Execution, Execution> {
        let Some(data) = execution.data() else { return Err(execution) };
        let (task, options) = (data.task().map(|task| &**task), data.options());
        let limit = task.and_then(Task::max_instances);
        if limit.is_some_and(|limit| self.active_of(slot.0, task) >= limit) {
            return Err(execution);
        }
        let Some(slots) = self.jobs.get_mut(slot).filter(|slots| slots.active < options.max_instances) else {
            return Err(execution);
        };
        slots.active += 1;
        if options.overlap == Overlap::CancelPrevious {
            slots.rare().running.push_back(data.run.id);
        }
        if let (Some(task), Some(_)) = (task, limit) {
            *self.tasks.entry((slot.0, task.shared_name())).or_default() += 1;
        }
        let limited_task = limit.is_some();
        let active = Active { data: Arc::clone(data), since, lane: slot.0, claim: None, limited_task };
        self.active.insert(data.run.id, active);
        Ok(execution)
    }

    /// Frees the place of a run that ended and gives it to the next that waits for it.
    fn release(&mut self, run: &Run, now: DateTime<Utc>) -> Released {
        let mut released = Released::default();
        let Some(active) = self.active.remove(&run.id) else { return released };
        if active.limited_task
            && let Some(count) = self.tasks.get_mut(&(active.lane, Arc::clone(&run.task)))
        {
            *count = count.saturating_sub(1);
        }
        if let (None, Some(job_id)) = (&active.claim, &run.job_id) {
            let slot = (active.lane, job_id.clone());
            if let Some(slots) = self.jobs.get_mut(&slot) {
                slots.active = slots.active.saturating_sub(1);
                if let Some(rare) = &mut slots.rare {
                    rare.running.retain(|id| *id != run.id);
                }
            }
            released.ready = self.next_waiting(&slot, now);
            let idle = self.forget_idle(&slot);
            released.event = idle.and_then(|slots| slots.rare?.ended).map(Event::JobRemoved);
        }
        if active.limited_task {
            released.for_task = self.next_of_task(active.lane, &run.task, now);
        }
        released
    }

    /// The job's next waiting run, if it has a place.
    fn next_waiting(&mut self, slot: &JobSlot, now: DateTime<Utc>) -> Option<Execution> {
        let next = self.jobs.get_mut(slot)?.next_waiting()?;
        match self.take_place(slot, next, now) {
            Ok(next) => {
                self.waiting -= 1;
                Some(next)
            }
            Err(next) => {
                self.jobs.get_mut(slot)?.rare().waiting.push_front(next);
                None
            }
        }
    }

    /// A place of a limited task is free: the first job that waits for it may go on.
    fn next_of_task(&mut self, lane: u32, task: &str, now: DateTime<Utc>) -> Option<Execution> {
        let waits = |slots: &Slots| {
            let first = slots.rare.as_ref().and_then(|rare| rare.waiting.front());
            first.and_then(Execution::task).is_some_and(|waiting| waiting.name() == task)
        };
        let slot = self.jobs.iter().find(|(slot, slots)| slot.0 == lane && waits(slots))?.0.clone();
        self.next_waiting(&slot, now)
    }

    /// Forgets a job that has nothing unfinished.
    fn forget_idle(&mut self, slot: &JobSlot) -> Option<Slots> {
        let idle = self.jobs.get(slot).is_some_and(Slots::is_idle);
        idle.then(|| self.jobs.remove(slot)).flatten()
    }
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
        let now = report.finished_at;
        let mut table = scheduler.inner.dispatcher.table.lock();
        let claim = table.active.get(&run.id).map(|active| active.claim.clone());
        if !matches!(claim, Some(None)) || scheduler.inner.events.wants(ENDED) {
            drop(table);
            if !scheduler.ended(report, claim) {
                return;
            }
            table = scheduler.inner.dispatcher.table.lock();
        } else {
            log_outcome(&report);
        }
        let alias = table.active.get(&run.id).filter(|_| !table.backlog.is_empty());
        let alias = alias.map(|active| Arc::clone(&active.data.options().executor));
        let released = table.release(&run, now);
        drop(table);
        scheduler.inner.dispatcher.settled.notify_all();
        scheduler.go_on(released, alias);
    }

    fn scheduler(&self) -> Option<&Scheduler> {
        Some(&self.0)
    }
}

/// The events of a run's end.
const ENDED: EventMask = EventMask::JOB_EXECUTED.union(EventMask::JOB_ERROR).union(EventMask::JOB_MISSED);

impl Scheduler {
    /// Tells of a run's end: at once for a direct run, after its row is finished for a queued one. `false`: it never
    /// had a place.
    fn ended(&self, report: RunReport, claim: Option<Option<(Arc<Lane>, RunClaim)>>) -> bool {
        match &claim {
            // It never began: the lease is given back when the lane ends, for others to take it at once.
            Some(Some(_))
                if report.started_at.is_none() && is_dropped(&report.outcome) && !self.is_running() => {}
            Some(Some((lane, claim))) => {
                lane.ended.lock().push((*claim, report));
                lane.wake();
            }
            Some(None) | None => {
                log_outcome(&report);
                self.publish_ended(report);
            }
        }
        claim.is_some()
    }

    /// What follows from a place that became free.
    fn go_on(&self, released: Released, backlogged: Option<Arc<str>>) {
        let Released { ready, for_task, event } = released;
        if let Some(event) = event {
            self.publish(event);
        }
        let ready: Vec<Execution> = ready.into_iter().chain(for_task).collect();
        if !ready.is_empty() {
            self.submit(ready);
        }
        if let Some(alias) = backlogged {
            self.retry_backlog(&alias);
        }
    }

    pub(crate) fn publish_ended(&self, report: RunReport) {
        if self.inner.events.wants(ENDED) {
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
