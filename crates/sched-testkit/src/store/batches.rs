//! Cases about batches: empty ones, great ones, and those that name a job twice.

use std::sync::Arc;

use sched_core::{Advance, Committed, ConflictPolicy, ErrorKind, Inserted, Job, JobCommit, JobFilter};

use super::{StoreFixture, applied, claimed_ids};
use crate::jobs::{FixedTrigger, NOON, cursor_at, job_id, moved, noon_plus, sample_job, with_trigger};

fn kinds<T>(answers: Vec<Result<T, sched_core::Error>>) -> Vec<Result<T, ErrorKind>> {
    answers.into_iter().map(|answer| answer.map_err(|error| error.kind())).collect()
}

/// An empty batch is no call that fails, and changes nothing.
pub fn store_takes_empty_batches(fixture: StoreFixture) {
    fixture.insert(&[sample_job("a", NOON)]);
    let claim = fixture.claim_one("one", NOON).claim;
    let store = &fixture.store;
    for conflict in [ConflictPolicy::Error, ConflictPolicy::Replace, ConflictPolicy::Keep] {
        assert!(store.insert(&[], conflict).expect("insert").is_empty());
    }
    assert!(store.update(&[]).expect("update").is_empty());
    assert!(store.remove(&[]).expect("remove").is_empty());
    assert!(store.get(&[]).expect("get").is_empty());
    assert!(store.commit(Vec::new()).expect("commit").is_empty());
    assert!(fixture.claim("two", noon_plus(9), 0).is_empty());
    assert_eq!(fixture.ids(), ["a"]);
    assert_eq!(fixture.advance(&claim, noon_plus(60)), applied());
    fixture.end();
}

/// A thousand jobs go through in one batch of each call.
pub fn store_takes_a_thousand_jobs_at_once(fixture: StoreFixture) {
    const JOBS: usize = 1_000;
    let ids: Vec<String> = (0..JOBS).map(|number| format!("job-{number:04}")).collect();
    let jobs: Vec<Job> = ids.iter().map(|id| sample_job(id, NOON)).collect();
    fixture.insert(&jobs);
    let names: Vec<_> = ids.iter().map(|id| job_id(id)).collect();
    let stored = fixture.store.get(&names).expect("get");
    let stored: Vec<Job> =
        stored.into_iter().flatten().map(|job| job.into_job().expect("it decodes")).collect();
    assert_eq!(stored, jobs);
    let later: Vec<Job> = stored.iter().map(|job| moved(job, noon_plus(1))).collect();
    assert_eq!(kinds(fixture.store.update(&later).expect("update")), vec![Ok(()); JOBS]);
    assert_eq!(fixture.list(&JobFilter { limit: Some(JOBS), ..JobFilter::default() }), jobs);
    let request = sched_core::ClaimRequest {
        lease: std::time::Duration::from_secs(60),
        ..fixture.request("one", noon_plus(1), JOBS)
    };
    let claimed = fixture.store.claim_due(&request).expect("claim");
    assert_eq!(claimed_ids(&claimed), ids);
    let commits = claimed.into_iter().map(|claimed| JobCommit {
        claim: claimed.claim,
        advance: Advance::To(cursor_at(noon_plus(60))),
        runs: Vec::new(),
    });
    assert_eq!(fixture.store.commit(commits.collect()).expect("commit"), vec![applied(); JOBS]);
    assert_eq!(fixture.store.remove(&names).expect("remove"), vec![true; JOBS]);
    assert!(fixture.ids().is_empty());
    fixture.end();
}

/// The greatest limit there is means all.
pub fn store_claims_all_without_a_limit(fixture: StoreFixture) {
    let jobs: Vec<Job> = (0..120).map(|number| sample_job(&format!("job-{number:03}"), NOON)).collect();
    fixture.insert(&jobs);
    assert_eq!(fixture.list(&JobFilter { limit: Some(usize::MAX), ..JobFilter::default() }), jobs);
    assert_eq!(fixture.claim("one", NOON, usize::MAX).len(), 120);
    fixture.end();
}

/// Under `Error` the first of two equal ids in a batch is added and the second refused.
pub fn store_refuses_a_duplicate_in_a_batch(fixture: StoreFixture) {
    fixture.insert(&[sample_job("old", NOON)]);
    let batch =
        [("a", 1), ("b", 2), ("a", 3), ("old", 4), ("c", 5)].map(|(id, at)| sample_job(id, noon_plus(at)));
    let answers = kinds(fixture.store.insert(&batch, ConflictPolicy::Error).expect("insert"));
    let (added, refused) = (Ok(Inserted::Added), Err(ErrorKind::AlreadyExists));
    assert_eq!(answers, [added, added, refused, refused, added]);
    assert_eq!(fixture.ids(), ["old", "a", "b", "c"]);
    assert_eq!(fixture.stored("a").next_run_time(), Some(noon_plus(1)));
    fixture.end();
}

/// Under `Keep` the first of two equal ids stays, stored or of the batch.
pub fn store_keeps_the_first_of_a_batch(fixture: StoreFixture) {
    fixture.insert(&[sample_job("old", NOON)]);
    let batch = [("a", 1), ("old", 2), ("a", 3)].map(|(id, at)| sample_job(id, noon_plus(at)));
    let answers = kinds(fixture.store.insert(&batch, ConflictPolicy::Keep).expect("insert"));
    assert_eq!(answers, [Ok(Inserted::Added), Ok(Inserted::Kept), Ok(Inserted::Kept)]);
    assert_eq!(fixture.stored("a").next_run_time(), Some(noon_plus(1)));
    assert_eq!(fixture.stored("old").next_run_time(), Some(NOON));
    fixture.end();
}

/// Under `Replace` the last of two equal ids stays, and revisions rise.
pub fn store_replaces_by_the_last_of_a_batch(fixture: StoreFixture) {
    fixture.insert(&[sample_job("old", NOON)]);
    let other = |id: &str, at: i64| {
        with_trigger(&sample_job(id, noon_plus(at)), FixedTrigger::every(noon_plus(at), 7, 3))
    };
    let batch = [other("a", 1), other("old", 2), other("a", 3), other("old", 4)];
    let answers = kinds(fixture.store.insert(&batch, ConflictPolicy::Replace).expect("insert"));
    let (added, replaced) = (Ok(Inserted::Added), Ok(Inserted::Replaced));
    assert_eq!(answers, [added, replaced, replaced, replaced]);
    assert_eq!(fixture.stored("a").next_run_time(), Some(noon_plus(3)));
    assert_eq!(fixture.stored("old").next_run_time(), Some(noon_plus(4)));
    assert_eq!(fixture.ids(), ["a", "old"]);
    fixture.end();
}

/// Of two updates of one job in a batch, both made from the same read, the second is stale.
pub fn store_updates_a_job_once_in_a_batch(fixture: StoreFixture) {
    fixture.insert(&["a", "b"].map(|id| sample_job(id, NOON)));
    let (a, b) = (fixture.stored("a"), fixture.stored("b"));
    let batch = [moved(&a, noon_plus(1)), moved(&b, noon_plus(2)), moved(&a, noon_plus(3))];
    let answers = kinds(fixture.store.update(&batch).expect("update"));
    assert_eq!(answers, [Ok(()), Ok(()), Err(ErrorKind::Stale)]);
    assert_eq!(fixture.stored("a").next_run_time(), Some(noon_plus(1)));
    fixture.end();
}

/// A job that is named twice in a batch is removed once.
pub fn store_removes_a_job_once_in_a_batch(fixture: StoreFixture) {
    fixture.insert(&["a", "b", "c"].map(|id| sample_job(id, NOON)));
    let removed = fixture.store.remove(&["a", "b", "a", "x", "b"].map(job_id)).expect("remove");
    assert_eq!(removed, [true, true, false, false, false]);
    assert_eq!(fixture.ids(), ["c"]);
    fixture.end();
}

/// A claim that is committed twice in a batch is committed once.
pub fn store_commits_a_claim_once_in_a_batch(fixture: StoreFixture) {
    fixture.insert(&["a", "b"].map(|id| sample_job(id, NOON)));
    let claimed = fixture.claim("one", NOON, 10);
    let commits = [(0, 60), (1, 70), (0, 80)].map(|(at, seconds): (usize, i64)| JobCommit {
        claim: claimed[at].claim.clone(),
        advance: Advance::To(cursor_at(noon_plus(seconds))),
        runs: Vec::new(),
    });
    let answers = fixture.store.commit(commits.into()).expect("commit");
    assert_eq!(answers, [applied(), applied(), Committed::Stale]);
    assert_eq!(fixture.stored("a").next_run_time(), Some(noon_plus(60)));
    fixture.end();
}

/// Answers are those of the batch's order, which need not be that of ids or times.
pub fn store_answers_in_the_order_of_the_batch(fixture: StoreFixture) {
    fixture.insert(&["d", "b"].map(|id| sample_job(id, NOON)));
    let batch = ["z", "b", "a", "d", "c"].map(|id| sample_job(id, NOON));
    let answers = kinds(fixture.store.insert(&batch, ConflictPolicy::Keep).expect("insert"));
    let expected = [Inserted::Added, Inserted::Kept, Inserted::Added, Inserted::Kept, Inserted::Added];
    assert_eq!(answers, expected.map(Ok));
    let claimed = fixture.claim("one", NOON, 10);
    fixture.store.remove(&[job_id("c")]).expect("remove");
    let commits = claimed.iter().rev().map(|claimed| JobCommit {
        claim: claimed.claim.clone(),
        advance: Advance::Remove,
        runs: Vec::new(),
    });
    let answers = fixture.store.commit(commits.collect()).expect("commit");
    assert_eq!(answers, [applied(), applied(), Committed::Stale, applied(), applied()]);
    fixture.end();
}

/// What is inserted shares nothing with what the caller keeps: a later change of it needs an update.
pub fn store_keeps_jobs_of_its_own(fixture: StoreFixture) {
    let mut job = sample_job("a", NOON);
    fixture.insert(std::slice::from_ref(&job));
    job.cursor.next_run_time = Some(noon_plus(5));
    let mut read = fixture.stored("a");
    read.cursor.next_run_time = Some(noon_plus(6));
    Arc::make_mut(&mut read.spec).name = Some(Arc::from("changed"));
    let stored = fixture.stored("a");
    assert_eq!((stored.next_run_time(), stored.spec.name.as_deref()), (Some(NOON), None));
    fixture.end();
}
