//! Cases about claims: who gets what, until when, and what a commit writes.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::TimeDelta;
use sched_core::{Advance, Claim, Committed, ConflictPolicy, Cursor, ErrorKind, Job, JobCommit, JobStatus};

use super::{StoreFixture, applied, claimed_ids};
use crate::jobs::{NOON, cursor_at, job_id, moved, noon_plus, sample_job, sample_queued_of};

/// Jobs are claimed at or after their run time; paused and later ones are not.
pub fn store_claims_what_is_due(fixture: StoreFixture) {
    assert!(fixture.claim("one", NOON, 10).is_empty());
    fixture.insert(&[sample_job("later", noon_plus(9)), sample_job("paused", None), sample_job("due", NOON)]);
    assert!(fixture.claim("one", NOON - TimeDelta::microseconds(1), 10).is_empty());
    let claimed = fixture.claim_one("one", NOON);
    assert_eq!(claimed.job.id().as_str(), "due");
    assert_eq!(claimed.claim.id, *claimed.job.id());
    assert_eq!(claimed.job.cursor, sample_job("due", NOON).cursor);
    assert!(fixture.claim("one", NOON, 10).is_empty(), "a claimed job is not due, even for its owner");
    fixture.end();
}

/// A claim takes at most its limit, the earliest first, and leaves the others.
pub fn store_claims_at_most_the_limit(fixture: StoreFixture) {
    const LIMIT: usize = 50;
    for count in [LIMIT, LIMIT + 1] {
        let ids: Vec<String> = (0..count).map(|number| format!("job-{number:03}")).collect();
        let jobs: Vec<Job> = ids.iter().map(|id| sample_job(id, NOON)).collect();
        fixture.insert(&jobs);
        assert!(fixture.claim("one", NOON, 0).is_empty());
        assert_eq!(claimed_ids(&fixture.claim("one", NOON, LIMIT)), ids[..LIMIT]);
        assert_eq!(claimed_ids(&fixture.claim("one", NOON, LIMIT)), ids[LIMIT..]);
        assert!(fixture.claim("one", NOON, LIMIT).is_empty());
        fixture.store.clear().expect("clear");
    }
    fixture.end();
}

/// Of two schedulers that claim at once, each job goes to one of them.
pub fn store_claims_once(fixture: StoreFixture) {
    const JOBS: usize = 200;
    let jobs: Vec<Job> = (0..JOBS).map(|number| sample_job(&format!("job-{number}"), NOON)).collect();
    fixture.insert(&jobs);
    let claim_all = |store: &dyn sched_core::JobStore, owner: &str| {
        let lease = std::time::Duration::from_secs(600);
        let request = sched_core::ClaimRequest { lease, ..fixture.request(owner, NOON, 7) };
        let mut claims = Vec::new();
        loop {
            let claimed = store.claim_due(&request).expect("claim");
            if claimed.is_empty() {
                return claims;
            }
            claims.extend(claimed.into_iter().map(|claimed| claimed.claim));
        }
    };
    let claims = std::thread::scope(|scope| {
        let other = scope.spawn(|| claim_all(&*fixture.peer, "two"));
        let mut claims = claim_all(&*fixture.store, "one");
        claims.extend(other.join().expect("the store does not panic"));
        claims
    });
    let ids: BTreeSet<&str> = claims.iter().map(|claim| claim.id.as_str()).collect();
    assert_eq!((claims.len(), ids.len()), (JOBS, JOBS), "each job is claimed once");
    fixture.end();
}

/// When a lease has run out the job is claimed again, with a greater token; until then it is not.
pub fn store_reclaims_after_the_lease(fixture: StoreFixture) {
    fixture.insert(&[sample_job("a", NOON)]);
    let first = fixture.claim_one("one", NOON);
    if fixture.is_simulated() {
        fixture.pass(fixture.lease());
        assert!(fixture.claim("two", NOON, 10).is_empty(), "the lease holds at its very end");
        fixture.pass(Duration::from_micros(1));
    } else {
        assert!(fixture.claim("two", NOON, 10).is_empty(), "the lease holds");
        fixture.outlast_leases();
    }
    let second = fixture.claim_one("two", NOON);
    assert!(second.claim.token > first.claim.token, "{:?} after {:?}", second.claim, first.claim);
    assert_eq!(second.job.cursor, first.job.cursor);
    fixture.outlast_leases();
    let third = fixture.claim_one("one", NOON);
    assert!(third.claim.token > second.claim.token, "{:?} after {:?}", third.claim, second.claim);
    assert_eq!(fixture.advance(&third.claim, noon_plus(60)), applied());
    let later = fixture.claim_one("one", noon_plus(60));
    assert!(later.claim.token > third.claim.token, "a commit does not set the token back");
    fixture.end();
}

/// A commit under a claim that is no longer open writes nothing: neither cursor nor runs.
pub fn store_refuses_stale_commits(fixture: StoreFixture) {
    let job = sample_job("a", NOON);
    fixture.insert(std::slice::from_ref(&job));
    let stale = fixture.claim_one("one", NOON).claim;
    fixture.outlast_leases();
    let good = fixture.claim_one("two", NOON).claim;
    let runs =
        || if fixture.store.runs().is_some() { vec![sample_queued_of(&job, 1, NOON)] } else { Vec::new() };
    let to = |seconds| Advance::To(cursor_at(noon_plus(seconds)));
    assert_eq!(fixture.commit_one(&stale, to(5), runs()), Committed::Stale);
    assert_eq!(fixture.commit_one(&stale, Advance::Remove, runs()), Committed::Stale);
    assert_eq!(fixture.stored("a").cursor, job.cursor);
    if let Some(queue) = fixture.store.runs() {
        assert_eq!(queue.counts().expect("counts").queued, 0, "a stale commit queues nothing");
    }
    assert_eq!(fixture.commit_one(&good, to(60), runs()), applied());
    assert_eq!(fixture.commit_one(&good, to(90), Vec::new()), Committed::Stale, "a claim is committed once");
    let unknown = Claim { id: job_id("unknown"), ..good };
    assert_eq!(fixture.commit_one(&unknown, to(1), Vec::new()), Committed::Stale);
    assert_eq!(fixture.stored("a").next_run_time(), Some(noon_plus(60)));
    fixture.end();
}

/// The commits of a batch are applied each for itself; jobs that are not in it stay claimed.
pub fn store_commits_a_batch(fixture: StoreFixture) {
    fixture.insert(&["a", "b", "c", "d", "e"].map(|id| sample_job(id, NOON)));
    let claimed = fixture.claim("one", NOON, 10);
    assert_eq!(claimed_ids(&claimed), ["a", "b", "c", "d", "e"]);
    let finished = Cursor { last_fire_time: Some(NOON), ..Cursor::default() }.stopped(JobStatus::Finished);
    let next = Cursor { last_fire_time: Some(NOON), ..cursor_at(noon_plus(60)) };
    fixture.store.remove(&[job_id("d")]).expect("remove");
    let advances = [Advance::To(next.clone()), Advance::Remove, Advance::To(finished), Advance::Remove];
    let commits = claimed.iter().zip(advances);
    let commits = commits.map(|(claimed, advance)| JobCommit {
        claim: claimed.claim.clone(),
        advance,
        runs: Vec::new(),
    });
    let answers = fixture.store.commit(commits.collect()).expect("commit");
    assert_eq!(answers, [applied(), applied(), applied(), Committed::Stale]);
    assert_eq!(fixture.ids(), ["e", "a", "c"]);
    let stored = fixture.stored("a").cursor;
    assert_eq!((stored.next_fire_time, stored.last_fire_time), (next.next_fire_time, next.last_fire_time));
    assert_eq!(*fixture.stored("c").status(), JobStatus::Finished);
    assert!(fixture.claim("two", NOON, 10).is_empty(), "`e` is still claimed");
    assert_eq!(fixture.advance(&claimed[4].claim, noon_plus(1)), applied());
    assert!(fixture.store.commit(Vec::new()).expect("commit").is_empty());
    assert_eq!(claimed_ids(&fixture.claim("one", noon_plus(60), 10)), ["e", "a"]);
    fixture.end();
}

/// Guarantee 12: who has read a job before a commit moved it on cannot move it back.
pub fn store_commits_raise_the_revision(fixture: StoreFixture) {
    fixture.insert(&[sample_job("a", NOON)]);
    let before = fixture.stored("a");
    let claim = fixture.claim_one("one", NOON).claim;
    assert_eq!(fixture.advance(&claim, noon_plus(60)), applied());
    let after = fixture.stored("a");
    assert_eq!(after.cursor.revision, before.cursor.revision + 1);
    let refused = fixture.update_one(&moved(&before, noon_plus(5))).expect_err("it read too early");
    assert_eq!(refused.kind(), ErrorKind::Stale, "{refused}");
    assert_eq!(fixture.stored("a").next_run_time(), Some(noon_plus(60)));
    fixture.update_one(&moved(&after, noon_plus(5))).expect("update");
    assert_eq!(fixture.stored("a").next_run_time(), Some(noon_plus(5)));
    fixture.end();
}

/// A change that a user makes to the job `a`, which is due one second later from then on.
type Change = fn(&StoreFixture, &Job);

const CHANGES: [(&str, Change); 4] = [
    ("update", |fixture, job| fixture.update_one(&moved(job, noon_plus(1))).expect("update")),
    ("remove", |fixture, job| {
        assert_eq!(fixture.store.remove(&[job.id().clone()]).expect("remove"), [true]);
        fixture.insert(&[sample_job("a", noon_plus(1))]);
    }),
    ("replace", |fixture, _| {
        fixture.insert_one(&sample_job("a", noon_plus(1)), ConflictPolicy::Replace).expect("insert");
    }),
    ("clear", |fixture, _| {
        assert_eq!(fixture.store.clear().expect("clear"), 1);
        fixture.insert(&[sample_job("a", noon_plus(1))]);
    }),
];

/// An update, a removal or a replacement makes open claims stale, and the job is due as it now says.
pub fn store_changes_fence_claims(fixture: StoreFixture) {
    for (name, change) in CHANGES {
        fixture.insert(&[sample_job("a", NOON)]);
        let stale = fixture.claim_one("one", NOON);
        change(&fixture, &stale.job);
        assert_eq!(fixture.advance(&stale.claim, noon_plus(60)), Committed::Stale, "after {name}");
        assert!(fixture.claim("two", NOON, 10).is_empty(), "after {name}");
        let fresh = fixture.claim_one("two", noon_plus(1));
        assert_ne!(fresh.claim.token, stale.claim.token, "after {name}");
        assert_eq!(
            fixture.advance(&stale.claim, noon_plus(60)),
            Committed::Stale,
            "after {name} and a new claim"
        );
        assert_eq!(fixture.advance(&fresh.claim, noon_plus(2)), applied(), "after {name}");
        fixture.store.clear().expect("clear");
    }
    fixture.end();
}

/// The next wake-up is the earliest run time, or the end of the earliest lease; paused jobs have none.
pub fn store_says_when_to_wake(fixture: StoreFixture) {
    let wakeup = || fixture.store.next_wakeup().expect("next wakeup");
    assert_eq!(wakeup(), None);
    fixture.insert(&[sample_job("paused", None)]);
    assert_eq!(wakeup(), None);
    let far = fixture.now() + TimeDelta::days(400);
    fixture.insert(&[sample_job("far", far), sample_job("due", NOON)]);
    assert_eq!(wakeup(), Some(NOON));
    let claim = fixture.claim_one("one", NOON).claim;
    let lease_end = wakeup().expect("the lease ends");
    assert!(lease_end > fixture.now() && lease_end < far, "{lease_end} is the end of the lease");
    fixture.outlast_leases();
    assert!(wakeup().is_some_and(|time| time <= fixture.now()), "the job is due again");
    assert_eq!(fixture.claim_one("two", NOON).claim.id, claim.id);
    fixture.store.remove(&[claim.id]).expect("remove");
    assert_eq!(wakeup(), Some(far));
    fixture.end();
}
