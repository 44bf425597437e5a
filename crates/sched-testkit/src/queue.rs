//! The suite of [`RunQueue`]'s guarantees, for stores that have one.

mod batches;
mod cancelling;
mod committing;
mod filtering;
mod keys;
mod limits;
mod outliving;
mod retrying;
mod rows;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use sched_core::{ClaimRequest, ClaimedRun, FinishedRun, Outcome, QueuedRun, RunClaim, RunId, RunQueue};
use serde_json::Value;

pub use self::batches::*;
pub use self::cancelling::*;
pub use self::committing::*;
pub use self::filtering::*;
pub use self::keys::*;
pub use self::limits::*;
pub use self::outliving::*;
pub use self::retrying::*;
pub use self::rows::*;
use crate::jobs::{NOON, noon_plus, run_id, sample_queued};
#[doc(hidden)]
pub use crate::store::fixture;
use crate::store::{StoreFixture, single};

/// Tests the run queue of a job store, one test for each case. It is given the same as
/// [`store_suite!`](crate::store_suite).
#[macro_export]
macro_rules! queue_suite {
    ($make:expr) => {
        $crate::suite! { queue, $make;
            queue_claims_once,
            queue_reclaims_after_the_lease,
            queue_refuses_stale_tokens,
            queue_renewal_extends_the_lease,
            queue_release_gives_back_at_once,
            queue_orders_by_priority,
            queue_waits_for_the_scheduled_time,
            queue_serves_executors_with_places,
            queue_keeps_the_limits,
            queue_keeps_both_limits_at_once,
            queue_passes_over_runs_held_back_elsewhere,
            queue_drains_behind_a_limit,
            queue_skips_runs_that_overlap,
            queue_queues_runs_that_overlap,
            queue_commits_runs_with_their_job,
            queue_claims_what_it_commits,
            queue_claims_what_it_commits_at_once,
            queue_takes_over_what_a_commit_claimed,
            queue_claims_in_a_commit_only_what_is_wanted,
            queue_fire_times_are_unique,
            queue_keeps_results,
            queue_keeps_every_field,
            queue_lists_by_id,
            queue_counts_rows,
            queue_runs_outlive_their_job,
            queue_says_when_to_wake,
            queue_tries_again,
            queue_cancels_what_waits,
            queue_cancels_what_a_limit_holds_back,
            queue_cancelling_leaves_the_place_to_the_next,
            queue_counts_what_is_tried_again_as_unfinished,
            queue_refuses_to_try_again_for_a_stale_owner,
            queue_frees_the_place_of_what_is_tried_again,
            queue_keeps_the_history_of_a_result,
            queue_counts_lost_attempts_and_not_released_ones,
            queue_claims_what_was_lost_without_a_reap,
            queue_lease_holds_at_its_very_end,
            queue_puts_back_into_the_order,
            queue_release_ends_the_claim,
            queue_shows_owners_and_leases,
            queue_keeps_the_limit_of_a_key,
            queue_passes_over_a_full_key,
            queue_frees_the_place_of_a_key,
            queue_keeps_all_limits_at_once,
            queue_keeps_the_limits_in_a_race,
            queue_leaves_unknown_tasks,
            queue_skips_only_for_runs_of_the_job,
            queue_lists_what_is_asked_for,
            queue_lists_spans_to_the_microsecond,
            queue_pages_through_a_filter,
            queue_cleanup_keeps_the_newest,
            queue_cleanup_leaves_the_unfinished,
            queue_cleanup_goes_by_each_time_to_live,
            queue_takes_empty_batches,
            queue_takes_a_thousand_runs_at_once,
            queue_claims_at_most_the_limit,
            queue_answers_each_claim,
            queue_orders_equal_times_by_id,
            queue_keeps_far_times,
            queue_keeps_any_value,
            queue_keeps_the_kind_of_a_failure,
            queue_tells_jobs_apart,
            queue_commits_nothing_for_a_removed_job,
            queue_commits_each_job_for_itself,
            queue_claims_once_among_eight,
            queue_finishes_once_among_eight,
            queue_takes_a_fire_time_once_among_eight,
            queue_is_shared_by_its_handles,
        }
    };
}

/// Tests what only the run queue of a persistent store does; to be used beside [`queue_suite!`]. The fixture must have a
/// [`corruption of runs`](StoreFixture::with_run_corruption).
#[macro_export]
macro_rules! persistent_queue_suite {
    ($make:expr) => {
        $crate::suite! { queue, $make;
            queue_recovers_an_owner,
            queue_keeps_runs_over_a_restart,
            queue_abandons_what_does_not_decode,
            queue_tells_of_values_that_are_too_long,
            queue_refuses_long_payloads,
        }
    };
}

/// The queue of a fixture, in short words.
impl StoreFixture {
    pub(crate) fn queue(&self) -> &dyn RunQueue {
        self.store.runs().expect("the store has a run queue")
    }

    pub(crate) fn enqueue(&self, runs: impl IntoIterator<Item = QueuedRun>) {
        self.queue().enqueue(runs.into_iter().collect()).expect("enqueue");
    }

    /// Claims at most `limit` runs that are due at `now`, for the executor `default`.
    pub(crate) fn claim_runs(&self, owner: &str, now: DateTime<Utc>, limit: usize) -> Vec<ClaimedRun> {
        let places = [(Arc::from("default"), 100)];
        self.queue().claim(&self.request(owner, now, limit), &places).expect("claim")
    }

    pub(crate) fn claim_run(&self, owner: &str, now: DateTime<Utc>) -> ClaimedRun {
        single(self.claim_runs(owner, now, 10))
    }

    /// Ends a run with a value; says whether the claim was still open.
    pub(crate) fn finish_run(&self, claim: RunClaim, value: Value) -> bool {
        self.finish_with(claim, Outcome::Succeeded(value))
    }

    pub(crate) fn finish_with(&self, claim: RunClaim, outcome: Outcome) -> bool {
        let now = self.now();
        let finished = FinishedRun { claim, outcome, started_at: Some(now), finished_at: now, again: None };
        single(self.queue().finish(vec![finished]).expect("finish"))
    }

    pub(crate) fn renew_run(&self, claim: RunClaim, lease: Duration) -> bool {
        single(self.queue().renew(&[claim], lease).expect("renew"))
    }
}

pub(crate) fn claim_of(claimed: &ClaimedRun) -> RunClaim {
    RunClaim { id: claimed.run.id, token: claimed.token }
}

pub(crate) fn run_ids(claimed: &[ClaimedRun]) -> Vec<RunId> {
    claimed.iter().map(|claimed| claimed.run.id).collect()
}

/// Of two schedulers that claim at once, each run goes to one of them; nobody claims it again.
pub fn queue_claims_once(fixture: StoreFixture) {
    const RUNS: u64 = 200;
    fixture.enqueue((0..RUNS).map(|number| sample_queued(number, NOON)));
    let claim_all = |queue: &dyn RunQueue, owner: &str| {
        let places = [(Arc::from("default"), 7)];
        let request = ClaimRequest { lease: Duration::from_secs(600), ..fixture.request(owner, NOON, 7) };
        let mut claims = Vec::new();
        loop {
            let claimed = queue.claim(&request, &places).expect("claim");
            if claimed.is_empty() {
                return claims;
            }
            claims.extend(run_ids(&claimed));
        }
    };
    let claims = std::thread::scope(|scope| {
        let peer = fixture.peer.runs().expect("the peer has a run queue");
        let other = scope.spawn(|| claim_all(peer, "two"));
        let mut claims = claim_all(fixture.queue(), "one");
        claims.extend(other.join().expect("the queue does not panic"));
        claims
    });
    let distinct: BTreeSet<RunId> = claims.iter().copied().collect();
    assert_eq!((claims.len() as u64, distinct.len() as u64), (RUNS, RUNS), "each run is claimed once");
    fixture.end();
}

/// When a lease has run out, the run is reaped and claimed again, with a greater token and attempt.
pub fn queue_reclaims_after_the_lease(fixture: StoreFixture) {
    fixture.enqueue([sample_queued(1, NOON)]);
    let first = fixture.claim_run("one", NOON);
    assert_eq!(first.attempt, 1);
    assert!(fixture.queue().reap().expect("reap").is_empty(), "the lease holds");
    assert!(fixture.claim_runs("two", NOON, 10).is_empty(), "the lease holds");
    if fixture.is_simulated() {
        fixture.pass(fixture.lease());
        assert!(fixture.queue().reap().expect("reap").is_empty(), "the lease holds at its very end");
    }
    fixture.outlast_leases();
    assert_eq!(fixture.queue().reap().expect("reap"), [run_id(1)]);
    assert!(fixture.queue().reap().expect("reap").is_empty(), "it is reaped once");
    let second = fixture.claim_run("two", NOON);
    assert_eq!(second.attempt, 2);
    assert!(second.token > first.token, "{:?} after {:?}", second.token, first.token);
    fixture.end();
}

/// A claim that is no longer open can be neither renewed nor finished nor released.
pub fn queue_refuses_stale_tokens(fixture: StoreFixture) {
    fixture.enqueue([sample_queued(1, NOON)]);
    let stale = claim_of(&fixture.claim_run("one", NOON));
    fixture.outlast_leases();
    assert_eq!(fixture.queue().reap().expect("reap"), [run_id(1)]);
    assert!(!fixture.renew_run(stale, fixture.lease()), "a reaped run is not renewed");
    assert!(!fixture.finish_run(stale, Value::Null), "a reaped run is not finished");
    let good = claim_of(&fixture.claim_run("two", NOON));
    assert!(!fixture.renew_run(stale, fixture.lease()));
    assert!(!fixture.finish_run(stale, Value::Null));
    fixture.queue().release(&[stale]).expect("release");
    assert!(fixture.claim_runs("one", NOON, 10).is_empty(), "a stale release gives nothing back");
    let unknown = RunClaim { id: run_id(9), ..good };
    let renewed = fixture.queue().renew(&[unknown, good, stale], fixture.lease()).expect("renew");
    assert_eq!(renewed, [false, true, false]);
    assert!(fixture.finish_run(good, Value::Null));
    assert!(!fixture.finish_run(good, Value::Null), "a run is finished once");
    assert!(!fixture.renew_run(good, fixture.lease()), "a finished run is not renewed");
    fixture.end();
}

/// A renewal holds the lease from the moment it is made.
pub fn queue_renewal_extends_the_lease(fixture: StoreFixture) {
    fixture.enqueue([sample_queued(1, NOON)]);
    let claim = claim_of(&fixture.claim_run("one", NOON));
    for _ in 0..3 {
        fixture.pass(fixture.lease() / 2);
        assert!(fixture.renew_run(claim, fixture.lease()));
    }
    fixture.pass(fixture.lease() / 2);
    assert!(fixture.queue().reap().expect("reap").is_empty(), "the lease was extended");
    fixture.outlast_leases();
    assert_eq!(fixture.queue().reap().expect("reap"), [run_id(1)]);
    fixture.end();
}

/// A released run is claimed again at once, with a greater token; the attempt does not count.
pub fn queue_release_gives_back_at_once(fixture: StoreFixture) {
    fixture.enqueue([sample_queued(1, NOON), sample_queued(2, NOON)]);
    let claimed = fixture.claim_runs("one", NOON, 10);
    fixture.queue().release(&[claim_of(&claimed[0])]).expect("release");
    let again = fixture.claim_run("two", NOON);
    assert_eq!((again.run.id, again.attempt), (run_id(1), 1));
    assert!(again.token > claimed[0].token, "{:?} after {:?}", again.token, claimed[0].token);
    assert!(!fixture.finish_run(claim_of(&claimed[0]), Value::Null), "the released claim is over");
    assert!(fixture.finish_run(claim_of(&again), Value::Null));
    fixture.end();
}

/// Claims are ordered by priority (the highest first), scheduled time, and id.
pub fn queue_orders_by_priority(fixture: StoreFixture) {
    let run = |number, seconds, priority| QueuedRun { priority, ..sample_queued(number, noon_plus(seconds)) };
    let (low, high) = (i32::MIN, i32::MAX);
    let runs = [
        run(1, 2, 0),
        run(2, 1, 0),
        run(4, 0, 0),
        run(3, 0, 0),
        run(5, 3, 7),
        run(6, 3, low),
        run(7, 3, high),
        run(8, 9, high),
    ];
    fixture.enqueue(runs);
    let mut claimed = run_ids(&fixture.claim_runs("one", noon_plus(3), 2));
    claimed.extend(run_ids(&fixture.claim_runs("two", noon_plus(3), 10)));
    assert_eq!(claimed, [7, 5, 3, 4, 2, 1, 6].map(run_id));
    fixture.end();
}

/// A run is claimed at or after its scheduled time, to the microsecond.
pub fn queue_waits_for_the_scheduled_time(fixture: StoreFixture) {
    let at = |micros| NOON + chrono::TimeDelta::microseconds(micros);
    fixture.enqueue(
        [401, 400, 402].map(|micros| sample_queued(micros, at(i64::try_from(micros).expect("small")))),
    );
    assert!(fixture.claim_runs("one", at(399), 10).is_empty());
    assert_eq!(run_ids(&fixture.claim_runs("one", at(401), 10)), [400, 401].map(run_id));
    assert_eq!(fixture.claim_run("one", noon_plus(1)).run.id, run_id(402));
    fixture.end();
}
