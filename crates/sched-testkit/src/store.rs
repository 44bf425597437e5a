//! The suite of [`JobStore`]'s guarantees, and what its cases stand on.
//!
//! Cases are in modules by subject; each is a function of a [`StoreFixture`] that a store's crate may also call by
//! itself. They speak to the store only through the trait, so that they say the same of every store.

mod changing;
mod claiming;
mod listing;
mod outliving;

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, SubsecRound, Utc};
use sched_core::{
    Advance, Claim, ClaimRequest, ClaimedJob, Clock, Committed, ConflictPolicy, Error, ErrorKind, Inserted,
    Job, JobCommit, JobFilter, JobId, JobStore, QueuedRun, StoreContext, StoredJob, SystemClock,
};

pub use self::changing::*;
pub use self::claiming::*;
pub use self::listing::*;
pub use self::outliving::*;
use crate::clock::SimClock;
use crate::jobs::{cursor_at, job_id, registry};

/// Tests a job store, one test for each case.
///
/// It is given what makes a fresh, empty store that is not started: a function or closure that returns an `Arc` of the
/// store's type, or a [`StoreFixture`] when there is more to say.
///
/// # Example
/// ```
/// mod my_store {
///     # use std::sync::Arc;
///     # use sched_testkit::{FaultyStore, StoreFixture};
///     # fn make() -> StoreFixture { unreachable!("an example is not a test") }
///     sched_testkit::store_suite!(make);
/// }
/// ```
#[macro_export]
macro_rules! store_suite {
    ($make:expr) => {
        $crate::suite! { store, $make;
            store_orders_by_time_then_id,
            store_orders_anew_after_changes,
            store_lists_in_pages,
            store_lists_claimed_jobs,
            store_looks_jobs_up,
            store_keeps_microseconds,
            store_takes_any_valid_id,
            store_shows_itself,
            store_ids_are_unique,
            store_answers_each_job,
            store_replace_keeps_the_cursor,
            store_updates_every_attribute,
            store_updates_compare_revisions,
            store_removes,
            store_clears,
            store_claims_what_is_due,
            store_claims_at_most_the_limit,
            store_claims_once,
            store_reclaims_after_the_lease,
            store_refuses_stale_commits,
            store_commits_a_batch,
            store_commits_keep_the_revision,
            store_changes_fence_claims,
            store_says_when_to_wake,
            store_judges_closures,
            store_restarts,
        }
    };
}

/// Tests what only a persistent store does; to be used beside [`store_suite!`]. The fixture must have
/// [`corruption`](StoreFixture::with_corruption), and a [`peer`](StoreFixture::with_peer) when the store is shared.
#[macro_export]
macro_rules! persistent_store_suite {
    ($make:expr) => {
        $crate::suite! { store, $make;
            store_keeps_jobs_over_a_restart,
            store_quarantines_what_does_not_decode,
            store_is_shared_by_its_handles,
        }
    };
}

/// A store under test, with its clock.
pub struct StoreFixture {
    /// The store; the suites start it.
    pub store: Arc<dyn JobStore>,
    /// A second handle on the same data, as another process would have; the same store when there is none.
    pub peer: Arc<dyn JobStore>,
    time: Time,
    corrupt: Option<Corruption>,
}

/// Spoils the row of a job.
type Corruption = Box<dyn Fn(&JobId) + Send + Sync>;

/// By what leases are judged.
enum Time {
    Simulated(SimClock),
    Server(SystemClock),
}

impl<S: JobStore> From<Arc<S>> for StoreFixture {
    fn from(store: Arc<S>) -> Self {
        Self::new(store)
    }
}

/// The store of a case, started.
#[doc(hidden)]
pub fn fixture<F: Into<StoreFixture>>(make: impl Fn() -> F) -> StoreFixture {
    let fixture: StoreFixture = make().into();
    fixture.start();
    fixture
}

impl StoreFixture {
    /// A store whose leases end by the clock it is started with.
    pub fn new(store: Arc<dyn JobStore>) -> Self {
        let peer = Arc::clone(&store);
        Self { store, peer, time: Time::Simulated(SimClock::default()), corrupt: None }
    }

    /// A second handle on the same data, for races; it is started and shut down with the first.
    #[must_use]
    pub fn with_peer(mut self, peer: Arc<dyn JobStore>) -> Self {
        self.peer = peer;
        self
    }

    /// Leases end by a server's own clock, so that the suites have to wait for it (a fraction of a second each).
    #[must_use]
    pub fn with_server_clock(mut self) -> Self {
        self.time = Time::Server(SystemClock::new());
        self
    }

    /// Spoils the stored row of a job, so that it does not decode.
    #[must_use]
    pub fn with_corruption(mut self, corrupt: impl Fn(&JobId) + Send + Sync + 'static) -> Self {
        self.corrupt = Some(Box::new(corrupt));
        self
    }

    /// Starts the store and its peer.
    pub fn start(&self) {
        self.store.start(self.context()).expect("the store starts");
        if !Arc::ptr_eq(&self.store, &self.peer) {
            self.peer.start(self.context()).expect("the peer starts");
        }
    }

    /// Shuts the store and its peer down.
    pub fn shutdown(&self) {
        if !Arc::ptr_eq(&self.store, &self.peer) {
            self.peer.shutdown().expect("the peer shuts down");
        }
        self.store.shutdown().expect("the store shuts down");
    }

    /// What the store is started with.
    pub fn context(&self) -> StoreContext {
        let clock: Arc<dyn Clock> = match &self.time {
            Time::Simulated(clock) => Arc::new(clock.clone()),
            Time::Server(clock) => Arc::new(*clock),
        };
        StoreContext::new("default", registry(), clock, chrono_tz::Tz::UTC)
    }

    /// The time by which leases end.
    pub fn now(&self) -> DateTime<Utc> {
        self.context().clock.now().trunc_subsecs(6)
    }

    /// A lease that is long enough for a case and short enough to be waited for.
    pub fn lease(&self) -> Duration {
        match self.time {
            Time::Simulated(_) => Duration::from_secs(30),
            Time::Server(_) => Duration::from_millis(500),
        }
    }

    /// Lets time pass.
    pub fn pass(&self, time: Duration) {
        match &self.time {
            Time::Simulated(clock) => clock.advance(time),
            // The server's clock cannot be moved, and is the only one that counts.
            Time::Server(_) => std::thread::sleep(time),
        }
    }

    /// Lets every lease that was given before run out.
    pub fn outlast_leases(&self) {
        self.pass(self.lease() + Duration::from_millis(1));
    }

    /// Whether time can be set to the microsecond.
    pub fn is_simulated(&self) -> bool {
        matches!(self.time, Time::Simulated(_))
    }

    pub(crate) fn corrupt(&self, id: &JobId) {
        let corrupt = self.corrupt.as_ref();
        corrupt.expect("the fixture of a persistent store has a corruption")(id);
    }

    /// Inserts new jobs; panics when one is not added.
    pub(crate) fn insert(&self, jobs: &[Job]) {
        for answer in self.store.insert(jobs, ConflictPolicy::Error).expect("insert") {
            assert_eq!(answer.expect("the job is stored"), Inserted::Added);
        }
    }

    pub(crate) fn insert_one(&self, job: &Job, conflict: ConflictPolicy) -> Result<Inserted, Error> {
        single(self.store.insert(std::slice::from_ref(job), conflict).expect("insert"))
    }

    pub(crate) fn update_one(&self, job: &Job) -> Result<(), Error> {
        single(self.store.update(std::slice::from_ref(job)).expect("update"))
    }

    pub(crate) fn get(&self, id: &str) -> Option<Job> {
        single(self.store.get(&[job_id(id)]).expect("get"))
            .map(|stored| stored.into_job().expect("it decodes"))
    }

    /// The stored job; panics when it is not there.
    pub(crate) fn stored(&self, id: &str) -> Job {
        self.get(id).unwrap_or_else(|| panic!("job `{id}` is not there"))
    }

    /// The ids of all jobs, as listed.
    pub(crate) fn ids(&self) -> Vec<String> {
        self.list(&JobFilter::default()).iter().map(|job| job.id().as_str().to_owned()).collect()
    }

    /// Jobs as listed; panics at one that does not decode.
    pub(crate) fn list(&self, filter: &JobFilter) -> Vec<Job> {
        let listed = self.store.list(filter).expect("list").into_iter().map(|stored| match stored {
            StoredJob::Job(job) => job,
            StoredJob::Quarantined { id, reason, .. } => panic!("job `{id}` does not decode: {reason}"),
        });
        listed.collect()
    }

    /// A claim of at most `limit` jobs that are due at `now`.
    pub(crate) fn request(&self, owner: &str, now: DateTime<Utc>, limit: usize) -> ClaimRequest {
        ClaimRequest { owner: Arc::from(owner), now, limit, lease: self.lease() }
    }

    pub(crate) fn claim(&self, owner: &str, now: DateTime<Utc>, limit: usize) -> Vec<ClaimedJob> {
        self.store.claim_due(&self.request(owner, now, limit)).expect("claim")
    }

    /// Claims the only job that is due at `now`.
    pub(crate) fn claim_one(&self, owner: &str, now: DateTime<Utc>) -> ClaimedJob {
        single(self.claim(owner, now, 10))
    }

    pub(crate) fn commit_one(&self, claim: &Claim, advance: Advance, runs: Vec<QueuedRun>) -> Committed {
        let commit = JobCommit { claim: claim.clone(), advance, runs };
        single(self.store.commit(vec![commit]).expect("commit"))
    }

    /// Commits that the job is due next at `time`.
    pub(crate) fn advance(&self, claim: &Claim, time: DateTime<Utc>) -> Committed {
        self.commit_one(claim, Advance::To(cursor_at(time)), Vec::new())
    }

    /// The tests that follow one another leave nothing behind.
    pub(crate) fn end(self) {
        self.store.clear().expect("clear");
        self.shutdown();
    }
}

/// What a commit answers when it was applied whole.
pub(crate) fn applied() -> Committed {
    Committed::Applied { skipped: Vec::new() }
}

/// The ids of claimed jobs.
pub(crate) fn claimed_ids(claimed: &[ClaimedJob]) -> Vec<&str> {
    claimed.iter().map(|claimed| claimed.job.id().as_str()).collect()
}

/// The only item of a list; panics when there is another number of them.
pub(crate) fn single<T: std::fmt::Debug>(items: Vec<T>) -> T {
    let [item] = <[T; 1]>::try_from(items).unwrap_or_else(|items| panic!("one item was expected: {items:?}"));
    item
}

/// Panics unless the answer is an error of that kind.
pub(crate) fn assert_kind<T: std::fmt::Debug>(answer: Result<T, Error>, kind: ErrorKind) {
    match answer {
        Ok(value) => panic!("an error of kind {kind:?} was expected, not {value:?}"),
        Err(error) => assert_eq!(error.kind(), kind, "{error}"),
    }
}
