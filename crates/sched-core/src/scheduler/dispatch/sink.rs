//! The engine's ear: what is told of a run's progress, and what follows from its end.

use std::sync::{Arc, Weak};
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::table::{Active, Claimed, Pending, Released, Stage, Told};
use crate::context::CancelReason;
use crate::event::{Event, EventMask, RunEnded};
use crate::executor::{Execution, ExecutionData, RunSink};
use crate::id::JobId;
use crate::run::{Outcome, Run, RunReport};
use crate::scheduler::Scheduler;
use crate::scheduler::lane::{ClosesAfter, Ended, Lane, Lapsed};
use crate::store::{Again, Attempt};

/// Hears of the runs of one lane.
pub(crate) struct Sink {
    pub(crate) scheduler: Scheduler,
    pub(crate) lane: Weak<Lane>,
}

/// The events of a run's end.
const ENDED: EventMask = EventMask::JOB_EXECUTED.union(EventMask::JOB_ERROR).union(EventMask::JOB_MISSED);

impl RunSink for Sink {
    fn now(&self) -> DateTime<Utc> {
        self.scheduler.inner.clock.now()
    }

    fn monotonic(&self) -> Option<Duration> {
        Some(self.scheduler.inner.clock.monotonic())
    }

    fn started(&self, run: &Arc<Run>) {
        if self.scheduler.inner.events.wants(EventMask::RUN_STARTED) {
            self.scheduler.publish(Event::RunStarted(Arc::clone(run)));
        }
    }

    fn timed(&self, run: &Arc<Run>, timeout: Duration) {
        let inner = &self.scheduler.inner;
        let Some(deadline) = inner.clock.monotonic().checked_add(timeout) else { return };
        inner.dispatcher.set_deadline(run.id, deadline);
        if let (Some(lane), Ok(timeout)) = (self.lane.upgrade(), chrono::TimeDelta::from_std(timeout)) {
            self.scheduler.keep(&lane, deadline);
            lane.wake_for(self.now().checked_add_signed(timeout));
        }
    }

    fn finished(&self, report: RunReport) {
        let scheduler = &self.scheduler;
        let dispatcher = &scheduler.inner.dispatcher;
        let mut table = dispatcher.table.lock();
        let has_place = match table.active.get(&report.run.id) {
            Some(active) if active.is_plain() && !may_retry(&active.data, &report.outcome) => true,
            Some(_) => {
                drop(table);
                return self.finished_specially(report);
            }
            None => false,
        };
        log_outcome(&report);
        let (run, now) = (Arc::clone(&report.run), report.finished_at);
        if scheduler.inner.events.wants(ENDED) || !has_place {
            drop(table);
            scheduler.publish_ended(report);
            if !has_place {
                return;
            }
            table = dispatcher.table.lock();
        }
        let (released, alias) = table.release_plain(run.id, now);
        drop(table);
        dispatcher.settled.notify_all();
        scheduler.go_on(released, alias);
    }

    /// Frees its place and nothing else, when nobody is told; and does not wait for a batch that has the table.
    fn succeeded(&self, report: RunReport) {
        let inner = &self.scheduler.inner;
        if inner.events.wants(ENDED) {
            return self.finished(report);
        }
        let (run, at) = (&report.run, report.finished_at);
        log_outcome(&report);
        let mut table = match inner.dispatcher.table.try_lock() {
            Some(table) => table,
            None if inner.dispatcher.lay_aside(run, at) => return,
            None => inner.dispatcher.table.lock(),
        };
        let (released, backlogged) = table.release_plain(run.id, at);
        drop(table);
        inner.dispatcher.settled.notify_all();
        self.scheduler.go_on(released, backlogged);
    }

    fn scheduler(&self) -> Option<&Scheduler> {
        Some(&self.scheduler)
    }
}

/// What follows from the end of a run that is not a plain one.
enum End {
    /// It was told: only the place is free.
    Silent,
    /// The lane tells it when its row is written.
    Written(Arc<Lane>),
    /// It is told now.
    Tell(RunReport),
    /// It keeps its place and waits for its next attempt; the lane was woken for that.
    Retry,
    /// It had lost its place already.
    Gone,
}

impl Sink {
    fn finished_specially(&self, report: RunReport) {
        let (scheduler, run) = (&self.scheduler, Arc::clone(&report.run));
        let (now, lane) = (report.finished_at, self.lane.upgrade().filter(|lane| !lane.is_stopped()));
        let is_running = scheduler.is_running();
        let goes_on = is_running && lane.is_some();
        match self.judge(report, is_running, goes_on) {
            End::Retry => {
                scheduler.inner.events.flush();
                // It may have been stopped since that was judged.
                if !scheduler.is_running() {
                    scheduler.drop_retries(None);
                }
                return;
            }
            End::Gone | End::Silent => {}
            End::Tell(report) => {
                log_outcome(&report);
                scheduler.publish_ended(report);
            }
            End::Written(lane) => lane.wake(),
        }
        let mut table = scheduler.inner.dispatcher.table.lock();
        let alias = table.active.get(&run.id).filter(|_| !table.backlog.is_empty());
        let alias = alias.map(|active| Arc::clone(&active.data.options().executor));
        let released = table.release(run.id, now);
        drop(table);
        scheduler.inner.dispatcher.settled.notify_all();
        scheduler.go_on(released, alias);
        if let Some(lane) = self.lane.upgrade().filter(|lane| lane.take_close(ClosesAfter::Run(run.id))) {
            scheduler.close_after_run(&lane);
        }
    }

    /// Decides, under one lock, what an end means.
    fn judge(&self, mut report: RunReport, is_running: bool, goes_on: bool) -> End {
        let monotonic = self.scheduler.inner.clock.monotonic();
        let mut table = self.scheduler.inner.dispatcher.table.lock();
        let Some(active) = table.active.get_mut(&report.run.id) else { return End::Tell(report) };
        let told = match std::mem::replace(&mut active.stage, Stage::Running) {
            Stage::Freed => {
                table.active.remove(&report.run.id);
                return End::Gone;
            }
            Stage::Held(told) => Some(*told),
            Stage::Running | Stage::Retrying => None,
        };
        let was_told = told.is_some();
        let again = match told {
            Some(Told { report: told, again }) => {
                report = told;
                again
            }
            None => {
                report.outcome = in_time(active, report.outcome, monotonic);
                next_attempt(&active.data, &report, monotonic)
            }
        };
        if let Some(claimed) = &active.claimed {
            let is_dropped = matches!(report.outcome, Outcome::Cancelled | Outcome::Abandoned(_));
            let is_unbegun = report.started_at.is_none() && is_dropped;
            // Another scheduler, or a later turn, runs what nobody here asked to end.
            let is_left =
                matches!(active.data.cancel.reason(), Some(CancelReason::Lost | CancelReason::Shutdown));
            return match is_unbegun {
                // The lease is given back when the lane ends, for others to take it at once.
                true if !is_running => End::Silent,
                true if is_left => End::Written(claimed.give_up(report.run.job_id.clone())),
                _ => End::Written(claimed.end(report, again.map(|(_, at)| at), was_told)),
            };
        }
        match again.filter(|_| goes_on) {
            Some((due, at)) => {
                let (lane, deadline) = (active.lane, active.deadline.take());
                let id = report.run.id;
                if !was_told {
                    self.scheduler.inner.events.enqueue([retrying(&report, at)]);
                }
                let execution = active.data.again();
                if let Some(data) = execution.data() {
                    active.data = Arc::clone(data);
                }
                (active.stage, active.since) = (Stage::Retrying, report.finished_at);
                if let Some(deadline) = deadline {
                    table.deadlines.remove(&(lane, deadline, id));
                }
                let due = (lane, due.max(monotonic), id);
                table.retries.insert(due, Pending { execution, last: report });
                // Before anybody can see that it waits.
                if let Some(lane) = self.lane.upgrade() {
                    lane.wake_for(Some(at));
                }
                End::Retry
            }
            // It was told that another attempt follows, and now none does.
            None if !was_told || again.is_some() => End::Tell(report),
            None => End::Silent,
        }
    }
}

impl Claimed {
    /// Gives the end of a queued run to its lane, which writes its row once it is woken.
    pub(super) fn end(&self, report: RunReport, again: Option<DateTime<Utc>>, told: bool) -> Arc<Lane> {
        let again = again.map(|at| {
            let attempt = Attempt {
                attempt: report.run.attempt,
                outcome: report.outcome.clone(),
                started_at: report.started_at,
                finished_at: report.finished_at,
            };
            Again { at, history: self.history.iter().cloned().chain([attempt]).collect() }
        });
        self.lane.ended.lock().push(Ended { claim: self.claim, report, again, told });
        Arc::clone(&self.lane)
    }

    /// Leaves it to the lane to give the claim back, once it is woken: the run did not start.
    fn give_up(&self, job_id: Option<JobId>) -> Arc<Lane> {
        self.lane.lapsed.lock().push(Lapsed { claim: self.claim, job_id });
        Arc::clone(&self.lane)
    }
}

/// Whether a failure of this run could be followed by another attempt.
fn may_retry(data: &ExecutionData, outcome: &Outcome) -> bool {
    !outcome.is_success() && data.options().retry.is_some()
}

/// An outcome that comes after the deadline is that the time was up, unless the run was asked to stop before.
fn in_time(active: &Active, outcome: Outcome, monotonic: Duration) -> Outcome {
    let is_late = active.deadline.is_some_and(|deadline| monotonic >= deadline);
    match outcome {
        Outcome::Cancelled if active.data.cancel.is_cancelled() => Outcome::Cancelled,
        _ if is_late => Outcome::TimedOut,
        outcome => outcome,
    }
}

/// When a run that ended so is tried again, by the monotonic clock and by the other one. What somebody stopped stays so.
pub(super) fn next_attempt(
    data: &ExecutionData,
    report: &RunReport,
    monotonic: Duration,
) -> Option<(Duration, DateTime<Utc>)> {
    if matches!(data.cancel.reason(), Some(CancelReason::Asked | CancelReason::Replaced)) {
        return None;
    }
    let run = &report.run;
    let pause = data.options().retry.as_ref()?.pause_after(run.id, run.attempt, &report.outcome)?;
    let at = report.finished_at.checked_add_signed(chrono::TimeDelta::from_std(pause).ok()?)?;
    Some((monotonic.checked_add(pause)?, at))
}

/// The event of an attempt that is followed by another.
pub(crate) fn retrying(report: &RunReport, at: DateTime<Utc>) -> Event {
    let (run, outcome) = (Arc::clone(&report.run), report.outcome.clone());
    let job = run.job_id.as_ref().map_or("", JobId::as_str);
    tracing::warn!(job, task = &*run.task, run = %run.id, attempt = run.attempt, %outcome, %at, "the run is tried again");
    let (started_at, finished_at) = (report.started_at, report.finished_at);
    Event::JobRetrying { attempt: RunEnded { run, outcome, started_at, finished_at }, at }
}

impl Scheduler {
    /// What follows from a place that became free.
    pub(super) fn go_on(&self, released: Released, backlogged: Option<Arc<str>>) {
        if released.is_empty() && backlogged.is_none() {
            return;
        }
        let Released { ready, for_task, for_key, event } = released;
        if let Some(event) = event {
            self.publish(event);
        }
        let ready: Vec<Execution> = for_key.into_iter().chain(ready).chain(for_task).collect();
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

pub(crate) fn log_outcome(report: &RunReport) {
    let job = report.run.job_id.as_ref().map_or("", JobId::as_str);
    let (task, run) = (&*report.run.task, &report.run.id);
    match &report.outcome {
        Outcome::Succeeded(_) => tracing::debug!(job, task, %run, "the run succeeded"),
        Outcome::Missed(reason) => tracing::warn!(job, task, %run, %reason, "the run was missed"),
        outcome => tracing::error!(job, task, %run, %outcome, "the run did not succeed"),
    }
}
