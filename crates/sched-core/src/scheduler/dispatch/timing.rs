//! What is done about runs at a moment: the end of those whose time is up, and the next attempt of those that failed.
//!
//! A lane's loop asks here when it must wake, and calls. Time is that of the monotonic clock: a clock that is set does
//! neither stretch nor shrink a run's time.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::Dispatcher;
use super::sink::{log_outcome, next_attempt, retrying};
use super::table::{Active, Pending, Stage, Told};
use crate::context::CancelReason;
use crate::executor::{Execution, ExecutionData};
use crate::id::RunId;
use crate::policy::TimeoutSlot;
use crate::run::{Outcome, RunReport};
use crate::scheduler::Scheduler;
use crate::scheduler::lane::Lane;
use crate::scheduler::told::submitted_events;

/// The least of all run ids, where ranges begin.
const FIRST_RUN: RunId = RunId::least();

impl Dispatcher {
    /// Notes when the time of a run is up.
    pub(super) fn set_deadline(&self, run: RunId, deadline: Duration) {
        let mut table = self.table.lock();
        let Some(active) = table.active.get_mut(&run) else { return };
        active.deadline = Some(deadline);
        let due = (active.lane, deadline, run);
        table.deadlines.insert(due);
    }

    /// When the lane has to look at a run next: at one whose time is up, or, if it may start runs, at one that is tried
    /// again.
    pub(crate) fn next_timer(&self, lane: u32, may_start: bool) -> Option<Duration> {
        let table = self.table.lock();
        let (from, to) = ((lane, Duration::ZERO, FIRST_RUN), (lane + 1, Duration::ZERO, FIRST_RUN));
        let deadline = table.deadlines.range(from..to).next().map(|(_, due, _)| *due);
        let retry = table.retries.range(from..to).next().map(|((_, due, _), _)| *due);
        deadline.into_iter().chain(retry.filter(|_| may_start)).min()
    }

    fn next_expired(&self, lane: u32, now: Duration) -> Option<Arc<ExecutionData>> {
        let mut table = self.table.lock();
        let from = (lane, Duration::ZERO, FIRST_RUN);
        loop {
            let due = *table.deadlines.range(from..).next().filter(|due| due.0 == lane && due.1 <= now)?;
            table.deadlines.remove(&due);
            if let Some(active) = table.active.get_mut(&due.2) {
                return Some(Arc::clone(&active.data));
            }
        }
    }

    /// Takes the runs of a lane, or of all, out that wait for another attempt, each with the end of its last one.
    fn take_retries(&self, lane: Option<u32>) -> Vec<(Execution, RunReport)> {
        let mut table = self.table.lock();
        let is_meant = |of: u32| lane.is_none_or(|lane| lane == of);
        let (taken, kept) =
            std::mem::take(&mut table.retries).into_iter().partition(|((of, ..), _)| is_meant(*of));
        table.retries = kept;
        let taken: std::collections::BTreeMap<_, Pending> = taken;
        taken.into_values().map(|Pending { execution, last }| (execution, last)).collect()
    }

    /// The ends of direct runs that were told to be tried again once their code is over; now they are not.
    fn take_held_retries(&self, lane: Option<u32>) -> Vec<RunReport> {
        let mut table = self.table.lock();
        let of_lane = |active: &&mut Active| lane.is_none_or(|lane| lane == active.lane);
        let held = table.active.values_mut().filter(of_lane).filter(|active| active.claimed.is_none());
        let taken = held.filter_map(|active| match &mut active.stage {
            Stage::Held(told) => told.again.take().map(|_| told.report.clone()),
            _ => None,
        });
        taken.collect()
    }
}

impl Scheduler {
    /// Ends the runs of a lane whose time is up.
    pub(crate) fn expire(&self, lane: &Lane) {
        let inner = &self.inner;
        if inner.dispatcher.next_timer(lane.index, false).is_none() {
            return;
        }
        let now = inner.clock.monotonic();
        while let Some(data) = inner.dispatcher.next_expired(lane.index, now) {
            tracing::warn!(task = &*data.run.task, run = %data.run.id, "the time of the run is up");
            if !self.stop(&data, CancelReason::TimedOut) {
                self.give_up(data.run.id);
            }
        }
    }

    /// Tells of the end of a run whose time was up and whose code cannot be stopped. Its real end is not told.
    fn give_up(&self, run: RunId) {
        let (now, monotonic) = (self.inner.clock.now(), self.inner.clock.monotonic());
        let mut table = self.inner.dispatcher.table.lock();
        let Some(active) = table.active.get_mut(&run) else { return };
        if !matches!(active.stage, Stage::Running) {
            return;
        }
        let data = Arc::clone(&active.data);
        let outcome = match data.cancel.reason() {
            Some(CancelReason::TimedOut) | None => Outcome::TimedOut,
            Some(_) => Outcome::Cancelled,
        };
        let (run, started_at) = (Arc::clone(&data.run), data.started_at());
        let report = RunReport { run, outcome, started_at, finished_at: now };
        let again = next_attempt(&data, &report, monotonic);
        if again.is_some() || data.options().timeout_slot == TimeoutSlot::Hold {
            active.stage = Stage::Held(Box::new(Told { report: report.clone(), again }));
            drop(table);
            return self.tell_given_up(report, again.map(|(_, at)| at));
        }
        active.stage = Stage::Freed;
        if let Some(claimed) = &active.claimed {
            let lane = claimed.end(report, None, false);
            drop(table);
            return lane.wake();
        }
        let Some(active) = table.active.remove(&data.run.id) else { return };
        let released = table.free_place(&active, now);
        table.active.insert(data.run.id, active);
        drop(table);
        self.tell_given_up(report, None);
        self.go_on(released, None);
    }

    pub(crate) fn tell_given_up(&self, report: RunReport, again: Option<DateTime<Utc>>) {
        match again {
            Some(at) => self.publish(retrying(&report, at)),
            None => {
                log_outcome(&report);
                self.inner.waiters.tell(report.run.id, &report.outcome);
                self.publish_ended(report);
            }
        }
    }

    /// Starts the next attempts that are due in a lane.
    pub(crate) fn start_retries(&self, lane: &Lane, now: DateTime<Utc>) {
        let monotonic = self.inner.clock.monotonic();
        let mut ready = Vec::new();
        let mut table = self.inner.dispatcher.table.lock();
        let from = (lane.index, Duration::ZERO, FIRST_RUN);
        while let Some(due) = table.retries.range(from..).next().map(|(due, _)| *due)
            && (due.0 == lane.index && due.1 <= monotonic)
        {
            let Some(pending) = table.retries.remove(&due) else { break };
            if let Some(active) = table.active.get_mut(&due.2) {
                (active.stage, active.since) = (Stage::Running, now);
            }
            ready.push(pending.execution);
        }
        drop(table);
        if !ready.is_empty() {
            submitted_events(self, &ready);
            self.submit(ready);
            self.inner.events.flush();
        }
    }

    /// Ends the direct runs of a lane, or of all, that wait for another attempt, as their last attempt did: nothing
    /// starts any more.
    pub(crate) fn drop_retries(&self, lane: Option<u32>) {
        for last in self.inner.dispatcher.take_held_retries(lane) {
            log_outcome(&last);
            self.publish_ended(last);
        }
        for (execution, last) in self.inner.dispatcher.take_retries(lane) {
            let run = last.run.id;
            execution.forget();
            log_outcome(&last);
            self.publish_ended(last);
            let released = self.inner.dispatcher.table.lock().release(run, self.inner.clock.now());
            self.inner.dispatcher.settled.notify_all();
            self.go_on(released, None);
        }
    }

    /// Lets a lane that ends write the rows of runs whose end was told and whose code goes on.
    pub(crate) fn end_held(&self, lane: &Lane) {
        let mut table = self.inner.dispatcher.table.lock();
        for active in table.active.values_mut().filter(|active| active.lane == lane.index) {
            let Some(claimed) = active.claimed.clone() else { continue };
            match std::mem::replace(&mut active.stage, Stage::Freed) {
                Stage::Held(told) => _ = claimed.end(told.report, told.again.map(|(_, at)| at), true),
                stage => active.stage = stage,
            }
        }
    }
}
