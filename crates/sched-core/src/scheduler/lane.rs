//! A lane: one job store's own loop, and what the rest of the scheduler shares with it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::task::Waker;

use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use rustc_hash::FxHashMap;

use super::turn::Engine;
use crate::id::{JobId, RunId};
use crate::run::RunReport;
use crate::store::{JobStore, RunClaim};

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
    pub(crate) ended: Mutex<Vec<(RunClaim, RunReport)>>,
    /// Claims on runs that are on their way, for renewal.
    pub(crate) claims: Mutex<FxHashMap<RunId, RunClaim>>,
    /// Jobs that have unfinished runs in the queue, as far as this scheduler put them there.
    pub(crate) queued: Mutex<QueuedJobs>,
    /// Whether the run queue has been used, so that it must be looked at.
    pub(crate) queue_used: AtomicBool,
    health: Mutex<Health>,
    /// The moment, in microseconds, at which the loop will look again; the greatest while it is awake.
    next_wake: AtomicI64,
    woken: AtomicBool,
    stopped: AtomicBool,
    /// Whether an executor refused runs of this store for want of a place.
    backlogged: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Lane {
    pub(crate) fn new(alias: Arc<str>, store: Arc<dyn JobStore>, index: u32, engine: Engine) -> Self {
        Self {
            alias,
            store,
            index,
            engine: Mutex::new(engine),
            ended: Mutex::default(),
            claims: Mutex::default(),
            queued: Mutex::default(),
            queue_used: AtomicBool::new(false),
            health: Mutex::new(Health::Healthy),
            next_wake: AtomicI64::new(i64::MAX),
            woken: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            backlogged: AtomicBool::new(false),
            waker: Mutex::new(None),
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
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }

    pub(crate) fn health(&self) -> Health {
        self.health.lock().clone()
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
pub(crate) struct QueuedJobs(FxHashMap<JobId, (usize, bool)>);

impl QueuedJobs {
    /// Counts new runs of a job. Whether the job has ended and nothing of it is unfinished.
    pub(crate) fn add(&mut self, id: &JobId, runs: usize, ended: bool) -> bool {
        let (left, over) = self.0.get(id).copied().unwrap_or_default();
        let entry = (left + runs, over || ended);
        match entry {
            (0, over) => {
                self.0.remove(id);
                return over;
            }
            _ => self.0.insert(id.clone(), entry),
        };
        false
    }

    /// A run of a job is over. Whether it was the last one of a job that has ended.
    pub(crate) fn finish(&mut self, id: &JobId) -> bool {
        let Some((left, over)) = self.0.get_mut(id) else { return false };
        *left = left.saturating_sub(1);
        let (none, over) = (*left == 0, *over);
        if none {
            self.0.remove(id);
        }
        none && over
    }
}
