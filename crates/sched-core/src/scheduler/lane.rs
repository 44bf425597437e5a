//! A lane: one job store's own loop, and what the rest of the scheduler shares with it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::task::Waker;
use std::time::Duration;

use chrono::{DateTime, Utc};
use parking_lot::{Mutex, RwLock};
use rustc_hash::FxHashMap;

use super::Scheduler;
use super::keeper::Keeping;
use super::stopping::Ending;
use super::turn::Engine;
use crate::event::EventMask;
use crate::id::{JobId, RunId};
use crate::run::RunReport;
use crate::store::{Again, JobStore, RunClaim};

/// How a job store's loop fares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// The last turn went well.
    Healthy,
    /// The last turn failed; the loop goes on and tries again.
    Degraded(Arc<str>),
}

/// One store's loop. Only the engine inside is locked for a turn; everything else is for any thread.
pub(crate) struct Lane {
    pub(crate) alias: Arc<str>,
    pub(crate) store: Arc<dyn JobStore>,
    /// Tells lanes apart in the dispatcher.
    pub(crate) index: u32,
    pub(crate) engine: Mutex<Engine>,
    /// Runs that ended and whose row is not finished yet.
    pub(crate) ended: Mutex<Vec<Ended>>,
    /// Runs that did not start because their leases may have ended.
    pub(crate) lapsed: Mutex<Vec<Lapsed>>,
    /// Claims on runs that are on their way, for renewal.
    pub(crate) claims: Mutex<FxHashMap<RunId, RunClaim>>,
    /// Jobs that have unfinished runs in the queue, as far as this scheduler put them there.
    pub(crate) queued: Mutex<QueuedJobs>,
    /// How long a claim on a run holds unless it is renewed.
    pub(crate) lease: Duration,
    pub(crate) keeping: Keeping,
    /// Held for reading while a job is added and until that is in line to be told.
    pub(crate) adding: RwLock<()>,
    /// The store is closed when something that is under way has ended.
    closes_after: Mutex<Option<ClosesAfter>>,
    /// The shutdown that is over when the store is closed.
    ending: Mutex<Option<Ending>>,
    /// Whether the run queue has been used, so that it must be looked at.
    pub(crate) queue_used: AtomicBool,
    health: Mutex<Health>,
    /// The moment, in microseconds, at which the loop will look again; the greatest while it is awake.
    next_wake: AtomicI64,
    woken: AtomicBool,
    stopped: AtomicBool,
    /// Nothing more is planned or claimed; what runs is still kept and settled.
    leaving: AtomicBool,
    /// Whether an executor refused runs of this store for want of a place.
    backlogged: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

/// What is under way inside a scheduler that is shut down from there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClosesAfter {
    /// The lane's turn.
    Turn,
    /// A queued run.
    Run(RunId),
}

/// The end of a queued run, whose row is to be written.
pub(crate) struct Ended {
    pub(crate) claim: RunClaim,
    pub(crate) report: RunReport,
    /// It is put back, to be tried again.
    pub(crate) again: Option<Again>,
    /// Listeners and waiting callers were told already.
    pub(crate) told: bool,
}

/// A claim on a run that did not start, to be given back.
pub(crate) struct Lapsed {
    pub(crate) claim: RunClaim,
    pub(crate) job_id: Option<JobId>,
}

impl Lane {
    pub(crate) fn new(alias: Arc<str>, store: Arc<dyn JobStore>, index: u32, engine: Engine) -> Self {
        Self {
            alias,
            store,
            index,
            lease: engine.options.lease,
            keeping: Keeping::default(),
            adding: RwLock::new(()),
            closes_after: Mutex::new(None),
            ending: Mutex::new(None),
            engine: Mutex::new(engine),
            ended: Mutex::default(),
            lapsed: Mutex::default(),
            claims: Mutex::default(),
            queued: Mutex::default(),
            queue_used: AtomicBool::new(false),
            health: Mutex::new(Health::Healthy),
            next_wake: AtomicI64::new(i64::MAX),
            woken: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            leaving: AtomicBool::new(false),
            backlogged: AtomicBool::new(false),
            waker: Mutex::new(None),
        }
    }

    /// Until when a run may start whose lease holds until then at least. A lease is renewed when a third of it has passed;
    /// where less than a third is left, renewals fail, and others may soon start the run.
    pub(crate) fn start_by(&self, lease_end: Duration) -> Duration {
        lease_end.saturating_sub(self.lease / 3)
    }

    /// The claim is over. A later one on the same run, of the attempt after it, stays.
    pub(crate) fn forget(&self, claim: RunClaim) {
        let mut claims = self.claims.lock();
        if claims.get(&claim.id) == Some(&claim) {
            claims.remove(&claim.id);
        }
    }

    /// Makes the loop take a turn soon.
    pub(crate) fn wake(&self) {
        self.woken.store(true, Ordering::SeqCst);
        if let Some(waker) = &*self.waker.lock() {
            waker.wake_by_ref();
        }
    }

    /// Makes the loop offer refused runs again in a while.
    pub(crate) fn wake_for_backlog(&self) {
        if !self.backlogged.swap(true, Ordering::SeqCst) {
            self.wake();
        }
    }

    /// Whether runs wait that an executor refused.
    pub(crate) fn is_backlogged(&self) -> bool {
        self.backlogged.load(Ordering::SeqCst)
    }

    /// Whether refused runs wait; the loop says so after it offered them again.
    pub(crate) fn set_backlogged(&self, backlogged: bool) {
        self.backlogged.store(backlogged, Ordering::SeqCst);
    }

    /// Wakes the loop when it would sleep past `time`.
    pub(crate) fn wake_for(&self, time: Option<DateTime<Utc>>) {
        if time.is_some_and(|time| time.timestamp_micros() < self.next_wake.load(Ordering::SeqCst)) {
            self.wake();
        }
    }

    pub(crate) fn set_waker(&self, waker: Waker) {
        *self.waker.lock() = Some(waker);
    }

    pub(crate) fn is_woken(&self) -> bool {
        self.woken.load(Ordering::SeqCst)
    }

    /// The loop is awake: from here on every earlier job wakes it again.
    pub(crate) fn awake(&self) {
        self.woken.store(false, Ordering::SeqCst);
        self.next_wake.store(i64::MAX, Ordering::SeqCst);
    }

    pub(crate) fn asleep_until(&self, time: Option<DateTime<Utc>>) {
        self.next_wake.store(time.map_or(i64::MAX, |time| time.timestamp_micros()), Ordering::SeqCst);
    }

    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        self.wake();
        self.keeping.wake();
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }

    /// From here on nothing more is planned or claimed.
    pub(crate) fn leave(&self) {
        self.leaving.store(true, Ordering::SeqCst);
        self.wake();
    }

    pub(crate) fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::SeqCst)
    }

    /// Leaves the end of the lane to what is under way.
    pub(crate) fn close_after(&self, what: ClosesAfter, ending: Ending) {
        *self.ending.lock() = Some(ending);
        *self.closes_after.lock() = Some(what);
    }

    /// Whether the end of the lane was left to this; it is told so once.
    pub(crate) fn take_close(&self, what: ClosesAfter) -> bool {
        let mut closes_after = self.closes_after.lock();
        let is_it = *closes_after == Some(what);
        if is_it {
            *closes_after = None;
        }
        is_it
    }

    /// Whether the end of the lane was left to anything; it is told so once.
    pub(crate) fn take_any_close(&self) -> bool {
        self.closes_after.lock().take().is_some()
    }

    /// Waits until the jobs that are being added are in line to be told, so that nothing is told of their runs before.
    pub(crate) fn await_additions(&self, scheduler: &Scheduler) {
        if scheduler.inner.events.wants(EventMask::JOB_ADDED) {
            drop(self.adding.write());
        }
    }

    pub(crate) fn health(&self) -> Health {
        self.health.lock().clone()
    }

    /// The shutdown that waits for this lane, if one does.
    pub(crate) fn take_ending(&self) -> Option<Ending> {
        self.ending.lock().take()
    }

    /// Whether the health changed.
    pub(crate) fn set_health(&self, health: Health) -> bool {
        let mut current = self.health.lock();
        let changed = *current != health;
        *current = health;
        changed
    }
}

/// How many runs of which job are unfinished, and whose schedule has ended.
#[derive(Default)]
pub(crate) struct QueuedJobs {
    jobs: FxHashMap<JobId, (usize, bool)>,
    /// How many of those that ended were looked at in this round.
    looked_at: usize,
}

impl QueuedJobs {
    /// Counts new runs of a job. Whether the job has ended and nothing of it is unfinished.
    pub(crate) fn add(&mut self, id: &JobId, runs: usize, ended: bool) -> bool {
        let (left, over) = self.jobs.get(id).copied().unwrap_or_default();
        let entry = (left + runs, over || ended);
        match entry {
            (0, over) => {
                self.jobs.remove(id);
                return over;
            }
            _ => self.jobs.insert(id.clone(), entry),
        };
        false
    }

    /// A run of a job is over. Whether it was the last one of a job that has ended.
    pub(crate) fn finish(&mut self, id: &JobId) -> bool {
        let Some((left, over)) = self.jobs.get_mut(id) else { return false };
        *left = left.saturating_sub(1);
        let (none, over) = (*left == 0, *over);
        if none {
            self.jobs.remove(id);
        }
        none && over
    }

    /// Whether any job has ended that has unfinished runs.
    pub(crate) fn has_ended(&self) -> bool {
        self.jobs.values().any(|(_, over)| *over)
    }

    /// Jobs that have ended and have unfinished runs, as far as is known here: so many, and the next ones each time.
    pub(crate) fn next_ended(&mut self, limit: usize) -> Vec<JobId> {
        let ended = self.jobs.iter().filter(|(_, (_, over))| *over);
        let next: Vec<JobId> = ended.map(|(id, _)| id.clone()).skip(self.looked_at).take(limit).collect();
        self.looked_at = if next.len() < limit { 0 } else { self.looked_at + limit };
        next
    }

    /// Forgets a job; whether it had ended and was not forgotten before.
    pub(crate) fn forget(&mut self, id: &JobId) -> bool {
        self.jobs.remove(id).is_some_and(|(_, over)| over)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_ended_job_is_looked_at_in_its_turn() {
        let mut queued = QueuedJobs::default();
        for number in 0..10 {
            let id = JobId::new(format!("job-{number}")).unwrap();
            assert!(!queued.add(&id, 1, number % 2 == 0));
        }
        let rounds: Vec<Vec<JobId>> = (0..4).map(|_| queued.next_ended(2)).collect();
        let seen: BTreeSet<&JobId> = rounds[..3].iter().flatten().collect();
        assert_eq!((seen.len(), rounds[2].len(), &rounds[3]), (5, 1, &rounds[0]));
    }
}
