//! A store that fails when it is told to.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use sched_core::{
    ClaimRequest, ClaimedJob, ClaimedRun, Committed, ConflictPolicy, Error, ErrorKind, FinishedRun, Inserted,
    Job, JobCommit, JobCounts, JobFilter, JobId, JobStore, Planner, QueuedRun, RunClaim, RunCounts,
    RunFilter, RunId, RunQueue, RunRecord, RunWish, StoreContext, StoreTraits, StoredJob,
};

/// A call of a store or of its run queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each is named after the method")]
pub enum StoreCall {
    Start,
    Shutdown,
    Insert,
    Update,
    Remove,
    Clear,
    Get,
    List,
    JobCounts,
    NextWakeup,
    ClaimDue,
    Commit,
    ClaimAndCommit,
    Recover,
    Enqueue,
    ClaimRuns,
    Renew,
    Finish,
    CancelRuns,
    Release,
    Result,
    ListRuns,
    Reap,
    Cleanup,
    Counts,
    NextRun,
}

/// A store around another that fails the next calls of a kind, and counts all calls.
///
/// # Example
/// ```
/// use sched_core::ErrorKind;
/// use sched_testkit::{FaultyStore, StoreCall};
/// # fn example(inner: std::sync::Arc<dyn sched_core::JobStore>) {
/// let store = FaultyStore::new(inner);
/// store.fail(StoreCall::ClaimDue, 5, ErrorKind::Unavailable);
/// // … the loop goes on …
/// assert!(store.calls(StoreCall::ClaimDue) > 5);
/// # }
/// ```
pub struct FaultyStore {
    inner: Arc<dyn JobStore>,
    blocking: bool,
    side_by_side: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    calls: BTreeMap<StoreCall, usize>,
    faults: BTreeMap<StoreCall, VecDeque<Fault>>,
    broken: Option<ErrorKind>,
    delay: Duration,
    before: BTreeMap<StoreCall, Box<dyn FnOnce() + Send>>,
}

/// What goes wrong.
#[derive(Clone, Copy)]
enum Fault {
    /// The call does nothing and fails.
    Fails(ErrorKind),
    /// The call does its work, and its answer is lost.
    LosesItsAnswer(ErrorKind),
    /// The call does nothing and panics.
    Panics,
}

impl FaultyStore {
    /// A store that does what `inner` does.
    pub fn new(inner: Arc<dyn JobStore>) -> Arc<Self> {
        let side_by_side = inner.writes_side_by_side();
        Arc::new(Self { inner, blocking: true, side_by_side, state: Mutex::default() })
    }

    /// The same, which says that it is faster with two calls at once.
    pub fn side_by_side(inner: Arc<dyn JobStore>) -> Arc<Self> {
        Arc::new(Self { inner, blocking: true, side_by_side: true, state: Mutex::default() })
    }

    /// The same, which waits no more than `inner` does, and says so.
    pub fn as_quick_as(inner: Arc<dyn JobStore>) -> Arc<Self> {
        let (blocking, side_by_side) = (inner.traits().blocking, inner.writes_side_by_side());
        Arc::new(Self { inner, blocking, side_by_side, state: Mutex::default() })
    }

    /// From now on every call takes so long, beside what it does.
    pub fn delay(&self, delay: Duration) {
        self.state.lock().delay = delay;
    }

    /// The next `times` calls of this kind fail without doing anything.
    pub fn fail(&self, call: StoreCall, times: usize, kind: ErrorKind) {
        self.add(call, times, Fault::Fails(kind));
    }

    /// The next `times` calls of this kind do their work, and fail: the connection broke before the answer came.
    pub fn lose_answers(&self, call: StoreCall, times: usize, kind: ErrorKind) {
        self.add(call, times, Fault::LosesItsAnswer(kind));
    }

    /// The next `times` calls of this kind panic.
    pub fn panic(&self, call: StoreCall, times: usize) {
        self.add(call, times, Fault::Panics);
    }

    /// Just before the next call of this kind `work` is done, as if somebody else were faster.
    pub fn before(&self, call: StoreCall, work: impl FnOnce() + Send + 'static) {
        self.state.lock().before.insert(call, Box::new(work));
    }

    /// All calls fail, until [`mend`](Self::mend).
    pub fn break_down(&self, kind: ErrorKind) {
        self.state.lock().broken = Some(kind);
    }

    /// Nothing fails any more.
    pub fn mend(&self) {
        let mut state = self.state.lock();
        state.broken = None;
        state.faults.clear();
    }

    /// How many calls of this kind there were, failed ones included.
    pub fn calls(&self, call: StoreCall) -> usize {
        self.state.lock().calls.get(&call).copied().unwrap_or(0)
    }

    /// How many calls there were of all kinds.
    pub fn total_calls(&self) -> usize {
        self.state.lock().calls.values().sum()
    }

    fn add(&self, call: StoreCall, times: usize, fault: Fault) {
        self.state.lock().faults.entry(call).or_default().extend(std::iter::repeat_n(fault, times));
    }

    fn call<T>(&self, call: StoreCall, work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
        let before = self.state.lock().before.remove(&call);
        if let Some(work) = before {
            work();
        }
        let (fault, delay) = {
            let mut state = self.state.lock();
            *state.calls.entry(call).or_default() += 1;
            let broken = state.broken.map(Fault::Fails);
            let fault = broken.or_else(|| state.faults.get_mut(&call).and_then(VecDeque::pop_front));
            (fault, state.delay)
        };
        std::thread::sleep(delay);
        let fails = |kind| Err(Error::new(kind, format!("{call:?} failed deliberately")));
        match fault {
            None => work(),
            Some(Fault::Fails(kind)) => fails(kind),
            Some(Fault::LosesItsAnswer(kind)) => work().and_then(|_| fails(kind)),
            Some(Fault::Panics) => panic!("{call:?} panicked deliberately"),
        }
    }

    fn queue(&self) -> Result<&dyn RunQueue, Error> {
        self.inner.runs().ok_or_else(|| Error::new(ErrorKind::Unsupported, "the store has no run queue"))
    }
}

impl fmt::Debug for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FaultyStore").field(&self.inner).finish()
    }
}

impl JobStore for FaultyStore {
    fn start(&self, context: StoreContext) -> Result<(), Error> {
        self.call(StoreCall::Start, || self.inner.start(context))
    }

    fn shutdown(&self) -> Result<(), Error> {
        self.call(StoreCall::Shutdown, || self.inner.shutdown())
    }

    /// Those of the store inside, but that calls may wait: only such stores fail.
    fn traits(&self) -> StoreTraits {
        StoreTraits { blocking: self.blocking, ..self.inner.traits() }
    }

    fn insert(&self, jobs: &[Job], conflict: ConflictPolicy) -> Result<Vec<Result<Inserted, Error>>, Error> {
        self.call(StoreCall::Insert, || self.inner.insert(jobs, conflict))
    }

    fn update(&self, jobs: &[Job]) -> Result<Vec<Result<(), Error>>, Error> {
        self.call(StoreCall::Update, || self.inner.update(jobs))
    }

    fn remove(&self, ids: &[JobId]) -> Result<Vec<bool>, Error> {
        self.call(StoreCall::Remove, || self.inner.remove(ids))
    }

    fn clear(&self) -> Result<usize, Error> {
        self.call(StoreCall::Clear, || self.inner.clear())
    }

    fn get(&self, ids: &[JobId]) -> Result<Vec<Option<StoredJob>>, Error> {
        self.call(StoreCall::Get, || self.inner.get(ids))
    }

    fn list(&self, filter: &JobFilter) -> Result<Vec<StoredJob>, Error> {
        self.call(StoreCall::List, || self.inner.list(filter))
    }

    fn next_wakeup(&self) -> Result<Option<DateTime<Utc>>, Error> {
        self.call(StoreCall::NextWakeup, || self.inner.next_wakeup())
    }

    fn job_counts(&self) -> Result<JobCounts, Error> {
        self.call(StoreCall::JobCounts, || self.inner.job_counts())
    }

    fn recover(&self, owner: &str) -> Result<(), Error> {
        self.call(StoreCall::Recover, || self.inner.recover(owner))
    }

    fn claim_due(&self, request: &ClaimRequest) -> Result<Vec<ClaimedJob>, Error> {
        self.call(StoreCall::ClaimDue, || self.inner.claim_due(request))
    }

    fn commit(&self, commits: Vec<JobCommit>) -> Result<Vec<Committed>, Error> {
        self.call(StoreCall::Commit, || self.inner.commit(commits))
    }

    fn commit_and_claim(&self, commits: Vec<JobCommit>, wish: &RunWish) -> Result<Vec<Committed>, Error> {
        self.call(StoreCall::Commit, || self.inner.commit_and_claim(commits, wish))
    }

    fn claim_and_commit(
        &self,
        request: &ClaimRequest,
        plan: &mut Planner<'_>,
    ) -> Result<Option<Vec<Committed>>, Error> {
        self.call(StoreCall::ClaimAndCommit, || self.inner.claim_and_commit(request, plan))
    }

    fn writes_side_by_side(&self) -> bool {
        self.side_by_side
    }

    fn runs(&self) -> Option<&dyn RunQueue> {
        self.inner.runs().map(|_| self as &dyn RunQueue)
    }
}

impl RunQueue for FaultyStore {
    fn enqueue(&self, runs: Vec<QueuedRun>) -> Result<(), Error> {
        self.call(StoreCall::Enqueue, || self.queue()?.enqueue(runs))
    }

    fn claim(
        &self,
        request: &ClaimRequest,
        executors: &[(Arc<str>, usize)],
    ) -> Result<Vec<ClaimedRun>, Error> {
        self.call(StoreCall::ClaimRuns, || self.queue()?.claim(request, executors))
    }

    fn renew(&self, claims: &[RunClaim], lease: Duration) -> Result<Vec<bool>, Error> {
        self.call(StoreCall::Renew, || self.queue()?.renew(claims, lease))
    }

    fn finish(&self, finished: Vec<FinishedRun>) -> Result<Vec<bool>, Error> {
        self.call(StoreCall::Finish, || self.queue()?.finish(finished))
    }

    fn cancel(&self, runs: &[RunId], at: DateTime<Utc>) -> Result<Vec<bool>, Error> {
        self.call(StoreCall::CancelRuns, || self.queue()?.cancel(runs, at))
    }

    fn release(&self, claims: &[RunClaim]) -> Result<(), Error> {
        self.call(StoreCall::Release, || self.queue()?.release(claims))
    }

    fn result(&self, id: RunId) -> Result<RunRecord, Error> {
        self.call(StoreCall::Result, || self.queue()?.result(id))
    }

    fn list(&self, filter: &RunFilter) -> Result<Vec<RunRecord>, Error> {
        self.call(StoreCall::ListRuns, || self.queue()?.list(filter))
    }

    fn reap(&self) -> Result<Vec<RunId>, Error> {
        self.call(StoreCall::Reap, || self.queue()?.reap())
    }

    fn cleanup(&self, keep: Option<usize>, limit: usize) -> Result<usize, Error> {
        self.call(StoreCall::Cleanup, || self.queue()?.cleanup(keep, limit))
    }

    fn counts(&self) -> Result<RunCounts, Error> {
        self.call(StoreCall::Counts, || self.queue()?.counts())
    }

    fn next_wakeup(&self) -> Result<Option<DateTime<Utc>>, Error> {
        self.call(StoreCall::NextRun, || self.queue()?.next_wakeup())
    }
}
