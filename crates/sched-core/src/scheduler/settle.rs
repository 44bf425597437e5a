//! The ends of queued runs: their rows are written, then it is told.
//!
//! Where a store writes side by side, the rows of many ends are written on a thread of their own while the turn claims and
//! commits what is due. It is told all the same on the loop's thread, which a listener may shut down from.

use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::Arc;
use std::thread;

use parking_lot::{Condvar, Mutex};
use rustc_hash::FxHashSet;

use super::Scheduler;
use super::dispatch::{log_outcome, retrying};
use super::lane::{Ended, Lane, Lapsed};
use super::state::SchedulerState;
use super::told::Told;
use super::turn::Engine;
use crate::Error;
use crate::event::{Event, JobRef};
use crate::id::JobId;
use crate::job::Job;
use crate::run::RunReport;
use crate::store::{FinishedRun, RunClaim, RunFilter, RunPhase, RunQueue};

/// From how many ends on a thread pays that writes them.
const LEAST_BESIDE: usize = 64;

/// Of how many jobs that ended it is looked, at each upkeep, whether others have ended their last runs. Each costs two
/// calls of the store.
const ENDED_JOBS: usize = 50;

/// Ends that are being written while a turn goes on.
pub(super) struct Beside {
    jobs: FxHashSet<JobId>,
    written: Arc<Gate>,
}

impl Beside {
    /// Whether an end of that job is among them: until it is written, the job seems to have one run more.
    pub(super) fn touches(&self, job: &Job) -> bool {
        self.jobs.contains(job.id())
    }

    /// Waits until they are written, or cannot be.
    pub(super) fn wait(&self) {
        let mut is_open = self.written.is_open.lock();
        while !*is_open {
            self.written.opened.wait(&mut is_open);
        }
    }
}

#[derive(Default)]
struct Gate {
    is_open: Mutex<bool>,
    opened: Condvar,
}

/// Opens a gate when it is dropped, whatever happened before.
struct Opener(Arc<Gate>);

impl Drop for Opener {
    fn drop(&mut self) {
        *self.0.is_open.lock() = true;
        self.0.opened.notify_all();
    }
}

impl Engine {
    /// Whether ends are to be written while the turn goes on.
    pub(super) fn may_settle_beside(&self, scheduler: &Scheduler, lane: &Lane) -> bool {
        lane.store.writes_side_by_side()
            && self.options.role.plans()
            && self.uncommitted.is_none()
            && lane.ended.lock().len() >= LEAST_BESIDE
            && !lane.is_leaving()
            && scheduler.inner.state.read().phase == SchedulerState::Running
    }

    /// Finishes the rows of runs that ended while `work` is done, then tells of them. There may be more to do after that: what
    /// was behind a limit is so no more.
    pub(super) fn settle_beside(
        &mut self,
        scheduler: &Scheduler,
        lane: &Arc<Lane>,
        work: impl FnOnce(&mut Self) -> Result<bool, Error>,
    ) -> Result<bool, Error> {
        give_back(scheduler, lane)?;
        let ended = Taken::from(&lane.ended);
        let jobs = ended.items.iter().filter_map(|ended| ended.report.run.job_id.clone()).collect();
        let gate = Arc::<Gate>::default();
        self.beside = Some(Beside { jobs, written: Arc::clone(&gate) });
        let (written, worked) = thread::scope(|scope| {
            let opener = Opener(gate);
            let write = move || {
                let _opener = opener;
                write_ends(lane, ended)
            };
            let name = format!("sched-settle-{}", lane.alias).replace('\0', "");
            let writing = thread::Builder::new().name(name).spawn_scoped(scope, write);
            let worked = std::panic::catch_unwind(AssertUnwindSafe(|| work(self)));
            (writing.map(thread::ScopedJoinHandle::join), worked)
        });
        self.beside = None;
        let settled = match written {
            Ok(Ok(written)) => written.map(|written| tell_ends(scheduler, lane, written)),
            Ok(Err(panic)) => resume_unwind(panic),
            // There was no thread for it.
            Err(_) => settle(scheduler, lane),
        };
        let worked = worked.unwrap_or_else(|panic| resume_unwind(panic));
        settled.and(worked)?;
        Ok(true)
    }
}

/// Finishes the rows of runs that ended, then tells of them.
pub(crate) fn settle(scheduler: &Scheduler, lane: &Arc<Lane>) -> Result<(), Error> {
    give_back(scheduler, lane)?;
    let written = write_ends(lane, Taken::from(&lane.ended))?;
    tell_ends(scheduler, lane, written);
    Ok(())
}

/// Finishes the rows of runs that ended; says of each whether it was still ours.
fn write_ends(lane: &Lane, ended: Taken<'_, Ended>) -> Result<Vec<(Ended, bool)>, Error> {
    let (Some(queue), false) = (lane.store.runs(), ended.items.is_empty()) else { return Ok(Vec::new()) };
    let rows = ended.items.iter().map(|Ended { claim, report, again, .. }| FinishedRun {
        claim: *claim,
        outcome: report.outcome.clone(),
        started_at: report.started_at,
        finished_at: report.finished_at,
        again: again.clone(),
    });
    let answers = queue.finish(rows.collect())?;
    Ok(ended.keep().into_iter().zip(answers).collect())
}

fn tell_ends(scheduler: &Scheduler, lane: &Arc<Lane>, written: Vec<(Ended, bool)>) {
    for (ended, ours) in written {
        lane.forget(ended.claim);
        match ours {
            true => tell_settled(scheduler, lane, ended),
            false => {
                let mut told = Told::new(scheduler, lane);
                told.claim_lost(ended.report.run.job_id.clone(), Some(ended.claim.id));
                scheduler.inner.events.publish_all(told.first);
            }
        }
    }
}

/// Gives back the claims of runs that did not start because their leases may have ended. One that others have claimed
/// since is theirs already.
fn give_back(scheduler: &Scheduler, lane: &Arc<Lane>) -> Result<(), Error> {
    let lapsed = Taken::from(&lane.lapsed);
    let (Some(queue), false) = (lane.store.runs(), lapsed.items.is_empty()) else { return Ok(()) };
    let claims: Vec<RunClaim> = lapsed.items.iter().map(|lapsed| lapsed.claim).collect();
    queue.release(&claims)?;
    let mut told = Told::new(scheduler, lane);
    for Lapsed { claim, job_id } in lapsed.keep() {
        lane.forget(claim);
        told.claim_lost(job_id, Some(claim.id));
    }
    scheduler.inner.events.publish_all(told.first);
    Ok(())
}

/// What was taken out of a list to be written; it goes back unless it was, also when the store panics.
struct Taken<'a, T> {
    list: &'a Mutex<Vec<T>>,
    items: Vec<T>,
}

impl<'a, T> Taken<'a, T> {
    fn from(list: &'a Mutex<Vec<T>>) -> Self {
        let items = std::mem::take(&mut *list.lock());
        Self { list, items }
    }

    /// It was written.
    fn keep(mut self) -> Vec<T> {
        std::mem::take(&mut self.items)
    }
}

impl<T> Drop for Taken<'_, T> {
    fn drop(&mut self) {
        if !self.items.is_empty() {
            self.list.lock().splice(0..0, std::mem::take(&mut self.items));
        }
    }
}

/// Tells of a queued run whose row is written.
fn tell_settled(scheduler: &Scheduler, lane: &Lane, ended: Ended) {
    match ended {
        Ended { again: Some(_), told: true, .. } => {}
        Ended { again: Some(again), report, .. } => scheduler.publish(retrying(&report, again.at)),
        Ended { told: true, report, .. } => tell_removed(scheduler, lane, report.run.job_id.clone()),
        Ended { report, .. } => tell_finished(scheduler, lane, report),
    }
}

/// Tells of the end of a queued run, and of its job's when its schedule had ended.
pub(crate) fn tell_finished(scheduler: &Scheduler, lane: &Lane, report: RunReport) {
    let job_id = report.run.job_id.clone();
    log_outcome(&report);
    scheduler.inner.waiters.tell(report.run.id, &report.outcome);
    scheduler.publish_ended(report);
    tell_removed(scheduler, lane, job_id);
}

/// Tells of jobs whose schedule has ended and whose last runs ended on other schedulers.
pub(super) fn tell_removed_elsewhere(
    scheduler: &Scheduler,
    lane: &Lane,
    queue: &dyn RunQueue,
) -> Result<(), Error> {
    let ended = lane.queued.lock().next_ended(ENDED_JOBS);
    for job_id in ended {
        let is_left = |phase| {
            let filter = RunFilter {
                job_id: Some(job_id.clone()),
                phase: Some(phase),
                limit: Some(1),
                ..RunFilter::default()
            };
            queue.list(&filter).map(|runs| !runs.is_empty())
        };
        if !is_left(RunPhase::Queued)? && !is_left(RunPhase::Running)? && lane.queued.lock().forget(&job_id) {
            let job = JobRef { job_id, store: Some(Arc::clone(&lane.alias)) };
            scheduler.publish(Event::JobRemoved(job));
        }
    }
    Ok(())
}

/// A run of that job is over.
fn tell_removed(scheduler: &Scheduler, lane: &Lane, job_id: Option<JobId>) {
    let last = job_id.filter(|id| lane.queued.lock().finish(id));
    let store = Some(Arc::clone(&lane.alias));
    scheduler.inner.events.publish_all(last.map(|job_id| Event::JobRemoved(JobRef { job_id, store })));
}
