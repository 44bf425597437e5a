//! Cases about commits, and what does and does not come between a claim and its commit.

use sched_core::{
    Advance, Committed, ConflictPolicy, Cursor, ErrorKind, Inserted, JobCommit, JobFilter, JobSettings,
    JobState, JobStatus,
};

use super::{StoreFixture, applied, assert_kind, claimed_ids};
use crate::jobs::{NOON, cursor_at, job_id, moved, noon_plus, sample_job, with_settings};

/// A commit moves the cursor and nothing else.
pub fn store_commits_change_the_cursor_only(fixture: StoreFixture) {
    let settings = JobSettings { max_instances: Some(4), ..JobSettings::default() };
    fixture.insert(&[with_settings(&sample_job("a", NOON), settings)]);
    let before = fixture.stored("a");
    let claim = fixture.claim_one("one", NOON).claim;
    let cursor = Cursor { last_fire_time: Some(NOON), ..cursor_at(noon_plus(60)) };
    assert_eq!(fixture.commit_one(&claim, Advance::To(cursor.clone()), Vec::new()), applied());
    let after = fixture.stored("a");
    assert_eq!(after.cursor, Cursor { revision: before.cursor.revision + 1, ..cursor });
    assert_eq!(after.spec.args, before.spec.args);
    assert_eq!(after.spec.settings, before.spec.settings);
    assert_eq!(after.spec.trigger.to_config(), before.spec.trigger.to_config());
    fixture.end();
}

/// A committed job is due at its new time, not before, and not while it is out of the schedule.
pub fn store_commits_reschedule(fixture: StoreFixture) {
    fixture.insert(&["a", "b", "c"].map(|id| sample_job(id, NOON)));
    let claimed = fixture.claim("one", NOON, 10);
    assert_eq!(fixture.advance(&claimed[0].claim, noon_plus(60)), applied());
    let finished = Cursor::default().stopped(JobStatus::Finished);
    assert_eq!(fixture.commit_one(&claimed[1].claim, Advance::To(finished), Vec::new()), applied());
    let suspended = Cursor::default().stopped(JobStatus::Suspended("no more".into()));
    assert_eq!(fixture.commit_one(&claimed[2].claim, Advance::To(suspended), Vec::new()), applied());
    assert!(fixture.claim("one", noon_plus(59), 10).is_empty());
    assert_eq!(claimed_ids(&fixture.claim("one", noon_plus(9_000), 10)), ["a"]);
    let state = |state| fixture.list(&JobFilter { state: Some(state), ..JobFilter::default() });
    assert_eq!(state(JobState::Finished), [sample_job("b", NOON)]);
    assert_eq!(state(JobState::Suspended), [sample_job("c", NOON)]);
    fixture.end();
}

/// A job that a commit removed is gone; its id is free, and nothing of it comes back.
pub fn store_commits_remove(fixture: StoreFixture) {
    fixture.insert(&[sample_job("a", NOON)]);
    let claim = fixture.claim_one("one", NOON).claim;
    assert_eq!(fixture.commit_one(&claim, Advance::Remove, Vec::new()), applied());
    assert!(fixture.get("a").is_none());
    assert_eq!(fixture.store.next_wakeup().expect("next wakeup"), None);
    fixture.insert(&[sample_job("a", noon_plus(5))]);
    assert_eq!(fixture.commit_one(&claim, Advance::Remove, Vec::new()), Committed::Stale);
    fixture.outlast_leases();
    assert!(fixture.claim("two", NOON, 10).is_empty(), "the old lease is over");
    assert_eq!(fixture.stored("a").next_run_time(), Some(noon_plus(5)));
    fixture.end();
}

/// A job that was removed while it was claimed stays removed: its commit writes nothing.
pub fn store_commits_of_a_removed_job_are_stale(fixture: StoreFixture) {
    fixture.insert(&["a", "b", "c"].map(|id| sample_job(id, NOON)));
    let claimed = fixture.claim("one", NOON, 10);
    fixture.store.remove(&[job_id("b")]).expect("remove");
    let commits = claimed.iter().map(|claimed| JobCommit {
        claim: claimed.claim.clone(),
        advance: Advance::To(cursor_at(noon_plus(60))),
        runs: Vec::new(),
    });
    let answers = fixture.store.commit(commits.collect()).expect("commit");
    assert_eq!(answers, [applied(), Committed::Stale, applied()]);
    assert_eq!(fixture.ids(), ["a", "c"]);
    fixture.store.clear().expect("clear");
    fixture.insert(&[sample_job("a", NOON)]);
    let claim = fixture.claim_one("one", NOON).claim;
    fixture.store.clear().expect("clear");
    assert_eq!(fixture.advance(&claim, noon_plus(60)), Committed::Stale, "after clear");
    assert!(fixture.ids().is_empty());
    fixture.end();
}

/// A pause during a claim holds: the commit is stale and the job is not due.
pub fn store_commits_of_a_paused_job_are_stale(fixture: StoreFixture) {
    fixture.insert(&[sample_job("a", NOON)]);
    let claimed = fixture.claim_one("one", NOON);
    fixture.update_one(&moved(&fixture.stored("a"), None)).expect("update");
    assert_eq!(fixture.advance(&claimed.claim, noon_plus(60)), Committed::Stale);
    assert_eq!(*fixture.stored("a").status(), JobStatus::Paused);
    fixture.outlast_leases();
    assert!(fixture.claim("two", noon_plus(9_000), 10).is_empty());
    assert_eq!(fixture.store.next_wakeup().expect("next wakeup"), None);
    fixture.end();
}

/// Calls that change nothing leave a claim open: reads, refused inserts and updates, kept jobs, empty batches.
pub fn store_claims_outlast_what_changes_nothing(fixture: StoreFixture) {
    fixture.insert(&[sample_job("a", NOON), sample_job("b", noon_plus(9))]);
    let outdated = fixture.stored("a");
    fixture.update_one(&moved(&outdated, NOON)).expect("update");
    let claim = fixture.claim_one("one", NOON).claim;
    let job = sample_job("a", noon_plus(5));
    fixture.store.list(&JobFilter::default()).expect("list");
    fixture.store.job_counts().expect("counts");
    assert_kind(fixture.insert_one(&job, ConflictPolicy::Error), ErrorKind::AlreadyExists);
    assert_eq!(fixture.insert_one(&job, ConflictPolicy::Keep).expect("insert"), Inserted::Kept);
    assert_kind(fixture.update_one(&outdated), ErrorKind::Stale);
    assert_eq!(fixture.store.remove(&[job_id("b")]).expect("remove"), [true]);
    fixture.insert(&[sample_job("c", NOON)]);
    assert_eq!(fixture.claim("two", NOON, 10).len(), 1);
    assert_eq!(fixture.advance(&claim, noon_plus(60)), applied());
    fixture.end();
}

/// A claim is good to the last moment of its lease.
pub fn store_commits_at_the_very_end_of_a_lease(fixture: StoreFixture) {
    fixture.insert(&["a", "b"].map(|id| sample_job(id, NOON)));
    let claimed = fixture.claim("one", NOON, 10);
    if fixture.is_simulated() {
        fixture.pass(fixture.lease());
        assert!(fixture.claim("two", NOON, 10).is_empty(), "the lease holds");
    }
    assert_eq!(fixture.advance(&claimed[0].claim, noon_plus(60)), applied());
    fixture.outlast_leases();
    assert_eq!(claimed_ids(&fixture.claim("two", NOON, 10)), ["b"]);
    assert_eq!(fixture.advance(&claimed[1].claim, noon_plus(60)), Committed::Stale);
    fixture.end();
}

/// Claims are those of their batch: one that is lost, committed or fenced takes no other with it.
pub fn store_claims_of_a_batch_end_each_for_itself(fixture: StoreFixture) {
    fixture.insert(&["a", "b", "c", "d"].map(|id| sample_job(id, NOON)));
    let claimed = fixture.claim("one", NOON, 10);
    assert_eq!(fixture.advance(&claimed[1].claim, NOON), applied());
    fixture.store.remove(&[job_id("c")]).expect("remove");
    assert_eq!(claimed_ids(&fixture.claim("two", NOON, 10)), ["b"], "it is due again and free");
    assert_eq!(fixture.advance(&claimed[3].claim, noon_plus(60)), applied());
    fixture.outlast_leases();
    assert_eq!(claimed_ids(&fixture.claim("three", NOON, 10)), ["a", "b"]);
    assert_eq!(fixture.advance(&claimed[0].claim, noon_plus(60)), Committed::Stale);
    fixture.end();
}
