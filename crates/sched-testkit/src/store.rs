//! The suite of [`JobStore`]'s guarantees, and what its cases stand on.
//!
//! Cases are in modules by subject; each is a function of a [`StoreFixture`] that a store's crate may also call by
//! itself. They speak to the store only through the trait, so that they say the same of every store.

mod at_once;
mod batches;
mod changing;
mod claiming;
mod committing;
mod filtering;
mod listing;
mod naming;
mod outliving;
mod quarantine;
mod racing;
mod serving;
mod timing;

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use sched_core::{
    Advance, Claim, ClaimRequest, ClaimedJob, Clock, Committed, ConflictPolicy, Error, ErrorKind, Inserted,
    Job, JobCommit, JobFilter, JobId, JobStore, QueuedRun, RunId, RunWish, StoreContext, StoredJob,
    SystemClock,
};

pub use self::at_once::*;
pub use self::batches::*;
pub use self::changing::*;
pub use self::claiming::*;
pub use self::committing::*;
pub use self::filtering::*;
pub use self::listing::*;
pub use self::naming::*;
pub use self::outliving::*;
pub use self::quarantine::*;
pub(crate) use self::racing::race;
pub use self::racing::*;
pub use self::serving::*;
pub use self::timing::*;
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
            store_commits_raise_the_revision,
            store_changes_fence_claims,
            store_says_when_to_wake,
            store_judges_closures,
            store_restarts,
            store_lists_by_task,
            store_lists_by_state,
            store_pages_through_a_filter,
            store_pages_across_equal_times,
            store_pages_go_on_after_a_removed_job,
            store_counts_jobs,
            store_orders_ids_by_bytes,
            store_looks_up_in_the_order_asked,
            store_lists_nothing_when_empty,
            store_takes_ids_of_every_length,
            store_tells_ids_apart_by_case,
            store_tells_ids_apart_by_spaces,
            store_tells_ids_apart_by_accents,
            store_takes_ids_that_look_like_syntax,
            store_keeps_any_argument,
            store_keeps_jobs_of_unknown_tasks,
            store_replaces_the_whole_job,
            store_keeps_far_times,
            store_claims_to_the_microsecond,
            store_keeps_every_time_of_a_cursor,
            store_wakes_for_what_comes_first,
            store_gives_each_lease_its_time,
            store_commits_change_the_cursor_only,
            store_commits_reschedule,
            store_commits_remove,
            store_commits_of_a_removed_job_are_stale,
            store_commits_of_a_paused_job_are_stale,
            store_claims_outlast_what_changes_nothing,
            store_commits_at_the_very_end_of_a_lease,
            store_claims_of_a_batch_end_each_for_itself,
            store_takes_empty_batches,
            store_takes_a_thousand_jobs_at_once,
            store_claims_all_without_a_limit,
            store_refuses_a_duplicate_in_a_batch,
            store_keeps_the_first_of_a_batch,
            store_replaces_by_the_last_of_a_batch,
            store_updates_a_job_once_in_a_batch,
            store_removes_a_job_once_in_a_batch,
            store_commits_a_claim_once_in_a_batch,
            store_answers_in_the_order_of_the_batch,
            store_keeps_jobs_of_its_own,
            store_claims_once_among_eight,
            store_inserts_once_among_eight,
            store_takes_crossed_batches,
            store_loses_no_update_among_eight,
            store_removes_once_among_eight,
            store_commits_once_among_eight,
            store_removal_wins_over_a_commit,
            store_update_races_a_commit,
            store_lists_whole_while_others_write,
            store_claims_and_commits_at_once,
            store_claims_at_once_only_what_is_free,
            store_commits_at_once_over_ended_claims,
            store_commits_at_once_among_eight,
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
            store_recovers_an_owner,
            store_keeps_claims_over_a_restart,
            store_pages_across_quarantined_rows,
            store_counts_quarantined_rows,
            store_looks_quarantined_rows_up,
            store_replaces_a_quarantined_row,
            store_claims_past_spoiled_rows,
            store_commits_at_once_past_spoiled_rows,
            store_refuses_long_payloads,
        }
    };
}

/// Tests a store on a server with a clock of its own, with and without a run queue; to be used beside the others. The
/// fixture must have a [`peer`](StoreFixture::with_peer) and be [`with_server_clock`](StoreFixture::with_server_clock).
#[macro_export]
macro_rules! server_store_suite {
    ($make:expr) => {
        $crate::suite! { store, $make;
            store_judges_leases_by_the_servers_clock,
            queue_judges_leases_by_the_servers_clock,
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
    corrupt: Option<Corruption<JobId>>,
    corrupt_run: Option<Corruption<RunId>>,
    max_payload: usize,
    claims_commits: bool,
}

/// Spoils the row of a job or a run.
type Corruption<Id> = Box<dyn Fn(&Id) + Send + Sync>;

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

/// What a suite may be given: an `Arc` of a store, a [`StoreFixture`], or nothing where the store's server is absent.
#[doc(hidden)]
pub trait IntoFixture {
    fn into_fixture(self) -> Option<StoreFixture>;
}

impl<F: Into<StoreFixture>> IntoFixture for F {
    fn into_fixture(self) -> Option<StoreFixture> {
        Some(self.into())
    }
}

impl IntoFixture for Option<StoreFixture> {
    fn into_fixture(self) -> Option<StoreFixture> {
        self
    }
}

/// The store of a case, started; nothing when its server is absent, which was told.
#[doc(hidden)]
pub fn fixture<F: IntoFixture>(make: impl Fn() -> F) -> Option<StoreFixture> {
    make().into_fixture().inspect(StoreFixture::start)
}

impl StoreFixture {
    /// A store whose leases end by the clock it is started with.
    pub fn new(store: Arc<dyn JobStore>) -> Self {
        let peer = Arc::clone(&store);
        let time = Time::Simulated(SimClock::default());
        let max_payload = sched_core::codec::DEFAULT_MAX_PAYLOAD;
        Self { store, peer, time, corrupt: None, corrupt_run: None, max_payload, claims_commits: false }
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

    /// Spoils the stored row of a run, so that it does not decode.
    #[must_use]
    pub fn with_run_corruption(mut self, corrupt: impl Fn(&RunId) + Send + Sync + 'static) -> Self {
        self.corrupt_run = Some(Box::new(corrupt));
        self
    }

    /// The longest payload that the store takes, in bytes; one mebibyte when it is not given.
    #[must_use]
    pub fn with_max_payload(mut self, bytes: usize) -> Self {
        self.max_payload = bytes;
        self
    }

    /// The store claims runs as it commits them, and is tested for it.
    #[must_use]
    pub fn with_claimed_commits(mut self) -> Self {
        self.claims_commits = true;
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
            Time::Server(_) => Duration::from_secs(1),
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

    pub(crate) fn corrupt_run(&self, id: RunId) {
        let corrupt = self.corrupt_run.as_ref();
        corrupt.expect("the fixture of a persistent run queue has a corruption of runs")(&id);
    }

    pub(crate) fn max_payload(&self) -> usize {
        self.max_payload
    }

    /// Starts the peer again with a clock that is so much ahead.
    pub(crate) fn restart_peer_skewed(&self, by: TimeDelta) {
        assert!(!self.is_simulated(), "this suite is for stores on servers with clocks of their own");
        assert!(!Arc::ptr_eq(&self.store, &self.peer), "the fixture of a store on a server has a peer");
        let mut context = self.context();
        context.clock = Arc::new(SkewedClock { clock: SystemClock::new(), by });
        self.peer.shutdown().expect("the peer shuts down");
        self.peer.start(context).expect("the peer starts");
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

    /// Commits jobs with one run each, all of them wanted at once by `owner`.
    pub(crate) fn commit_wanted(&self, owner: &str, commits: Vec<JobCommit>) -> Vec<Committed> {
        let wanted = vec![true; commits.len()];
        let wish = RunWish { owner: Arc::from(owner), lease: self.lease(), wanted };
        self.store.commit_and_claim(commits, &wish).expect("commit")
    }

    pub(crate) fn claims_commits(&self) -> bool {
        self.claims_commits
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

/// The clock of a computer that was set wrong.
#[derive(Debug)]
struct SkewedClock {
    clock: SystemClock,
    by: TimeDelta,
}

impl Clock for SkewedClock {
    fn now(&self) -> DateTime<Utc> {
        self.clock.now() + self.by
    }

    fn monotonic(&self) -> Duration {
        self.clock.monotonic()
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
