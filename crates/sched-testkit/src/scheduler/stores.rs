//! A job store that fails when a test tells it to.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use sched_core::{
    ClaimRequest, ClaimedJob, ClaimedRun, Committed, ConflictPolicy, Error, ErrorKind, FinishedRun, Inserted,
    Job, JobCommit, JobFilter, JobId, JobStore, QueuedRun, RunClaim, RunCounts, RunFilter, RunId, RunQueue,
    RunRecord, StoreContext, StoreTraits, StoredJob,
};

/// Passes every call on to another store, unless it was told to fail. It counts the calls.
#[derive(Debug)]
pub struct FaultyStore {
    inner: Arc<dyn JobStore>,
    faults: Mutex<BTreeMap<&'static str, u32>>,
    calls: Mutex<BTreeMap<&'static str, u32>>,
    panics: Mutex<bool>,
    traits: Mutex<Option<StoreTraits>>,
}

impl FaultyStore {
    /// A wrapper around `inner` that does not fail yet.
    pub fn new(inner: Arc<dyn JobStore>) -> Arc<Self> {
        let (faults, calls, panics, traits) = Default::default();
        Arc::new(Self { inner, faults, calls, panics, traits })
    }

    /// The next `times` calls of `method` fail as if the server was gone.
    pub fn fail(&self, method: &'static str, times: u32) {
        self.faults.lock().insert(method, times);
    }

    /// Whether failing means to panic.
    pub fn panic_instead(&self, panic: bool) {
        *self.panics.lock() = panic;
    }

    /// Claims to be another kind of store.
    pub fn pretend(&self, traits: StoreTraits) {
        *self.traits.lock() = Some(traits);
    }

    /// How often `method` was called.
    pub fn calls(&self, method: &'static str) -> u32 {
        self.calls.lock().get(method).copied().unwrap_or(0)
    }

    fn pass(&self, method: &'static str) -> Result<&dyn JobStore, Error> {
        *self.calls.lock().entry(method).or_default() += 1;
        let mut faults = self.faults.lock();
        if let Some(left) = faults.get_mut(method).filter(|left| **left > 0) {
            *left -= 1;
            drop(faults);
            if *self.panics.lock() {
                std::panic::resume_unwind(Box::new("told to panic"));
            }
            return Err(Error::new(ErrorKind::Unavailable, format!("told to fail at {method}")));
        }
        Ok(&*self.inner)
    }

    fn queue(&self, method: &'static str) -> Result<&dyn RunQueue, Error> {
        let queue = self.pass(method)?.runs();
        queue.ok_or_else(|| Error::new(ErrorKind::Unsupported, "the store has no run queue"))
    }
}

impl JobStore for FaultyStore {
    fn start(&self, context: StoreContext) -> Result<(), Error> {
        self.pass("start")?.start(context)
    }
    fn shutdown(&self) -> Result<(), Error> {
        self.pass("shutdown")?.shutdown()
    }
    fn traits(&self) -> StoreTraits {
        self.traits.lock().unwrap_or_else(|| self.inner.traits())
    }
    fn insert(&self, jobs: &[Job], conflict: ConflictPolicy) -> Result<Vec<Result<Inserted, Error>>, Error> {
        self.pass("insert")?.insert(jobs, conflict)
    }
    fn update(&self, jobs: &[Job]) -> Result<Vec<Result<(), Error>>, Error> {
        self.pass("update")?.update(jobs)
    }
    fn remove(&self, ids: &[JobId]) -> Result<Vec<bool>, Error> {
        self.pass("remove")?.remove(ids)
    }
    fn clear(&self) -> Result<usize, Error> {
        self.pass("clear")?.clear()
    }
    fn get(&self, ids: &[JobId]) -> Result<Vec<Option<Job>>, Error> {
        self.pass("get")?.get(ids)
    }
    fn list(&self, filter: &JobFilter) -> Result<Vec<StoredJob>, Error> {
        self.pass("list")?.list(filter)
    }
    fn next_wakeup(&self) -> Result<Option<DateTime<Utc>>, Error> {
        self.pass("next_wakeup")?.next_wakeup()
    }
    fn claim_due(&self, request: &ClaimRequest) -> Result<Vec<ClaimedJob>, Error> {
        self.pass("claim_due")?.claim_due(request)
    }
    fn commit(&self, commits: Vec<JobCommit>) -> Result<Vec<Committed>, Error> {
        self.pass("commit")?.commit(commits)
    }
    fn runs(&self) -> Option<&dyn RunQueue> {
        self.inner.runs().map(|_| self as &dyn RunQueue)
    }
}

impl RunQueue for FaultyStore {
    fn enqueue(&self, runs: Vec<QueuedRun>) -> Result<(), Error> {
        self.queue("enqueue")?.enqueue(runs)
    }
    fn claim(
        &self,
        request: &ClaimRequest,
        executors: &[(Arc<str>, usize)],
    ) -> Result<Vec<ClaimedRun>, Error> {
        self.queue("claim")?.claim(request, executors)
    }
    fn renew(&self, claims: &[RunClaim], lease: Duration) -> Result<Vec<bool>, Error> {
        self.queue("renew")?.renew(claims, lease)
    }
    fn finish(&self, finished: Vec<FinishedRun>) -> Result<Vec<bool>, Error> {
        self.queue("finish")?.finish(finished)
    }
    fn release(&self, claims: &[RunClaim]) -> Result<(), Error> {
        self.queue("release")?.release(claims)
    }
    fn result(&self, id: RunId) -> Result<RunRecord, Error> {
        self.queue("result")?.result(id)
    }
    fn list(&self, filter: &RunFilter) -> Result<Vec<RunRecord>, Error> {
        self.queue("list_runs")?.list(filter)
    }
    fn reap(&self) -> Result<Vec<RunId>, Error> {
        self.queue("reap")?.reap()
    }
    fn cleanup(&self, limit: usize) -> Result<usize, Error> {
        self.queue("cleanup")?.cleanup(limit)
    }
    fn counts(&self) -> Result<RunCounts, Error> {
        self.queue("counts")?.counts()
    }
    fn next_wakeup(&self) -> Result<Option<DateTime<Utc>>, Error> {
        self.queue("next_run")?.next_wakeup()
    }
}
