//! Cases about jobs that are claimed and committed in one write. A store that does not do that plans nothing.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use sched_core::{Advance, ClaimedJob, Committed, JobCommit, JobState, JobStore, PlannedCommits, QueuedRun};

use super::{StoreFixture, applied, assert_kind, claimed_ids, race};
use crate::jobs::{NOON, cursor_at, moved, noon_plus, run_id, sample_job, sample_queued_of};

fn next_minute(claimed: &ClaimedJob, runs: Vec<QueuedRun>) -> JobCommit {
    JobCommit { claim: claimed.claim.clone(), advance: Advance::To(cursor_at(noon_plus(60))), runs }
}

/// Claims what is due at `now` and commits what `plan` says; `None`: the store cannot.
fn at_once(
    (fixture, store): (&StoreFixture, &dyn JobStore),
    now: DateTime<Utc>,
    mut plan: impl FnMut(&[ClaimedJob]) -> Vec<JobCommit>,
) -> Option<Vec<Committed>> {
    let request = fixture.request("one", now, 10);
    let mut planned = |claimed: Vec<ClaimedJob>| PlannedCommits { commits: plan(&claimed), wish: None };
    store.claim_and_commit(&request, &mut planned).expect("claim and commit")
}

/// What is planned is written, runs and all; what is left out is due as before, and nothing is claimed any more.
pub fn store_claims_and_commits_at_once(fixture: StoreFixture) {
    let jobs = ["a", "b", "c", "d"].map(|id| sample_job(id, NOON));
    fixture.insert(&jobs);
    fixture.insert(&[sample_job("later", noon_plus(1))]);
    let before = fixture.stored("a").cursor.revision;
    let mut seen = Vec::new();
    let answers = at_once((&fixture, &*fixture.store), NOON, |claimed| {
        seen = claimed_ids(claimed).into_iter().map(str::to_owned).collect();
        let [a, b, _, d] = claimed else { return Vec::new() };
        let runs = match fixture.store.runs() {
            Some(_) => vec![sample_queued_of(&jobs[0], 1, NOON)],
            None => Vec::new(),
        };
        let gone = JobCommit { claim: d.claim.clone(), advance: Advance::Remove, runs: Vec::new() };
        vec![next_minute(b, Vec::new()), next_minute(a, runs), gone]
    });
    let Some(answers) = answers else { return fixture.end() };
    assert_eq!(seen, ["a", "b", "c", "d"], "in order, and nothing before it is due");
    assert_eq!(answers, [applied(), applied(), applied()]);
    let a = fixture.stored("a");
    assert_eq!((a.next_run_time(), a.cursor.revision), (Some(noon_plus(60)), before + 1));
    assert_eq!(fixture.ids(), ["c", "later", "a", "b"]);
    assert_eq!(fixture.store.next_wakeup().expect("next wakeup"), Some(NOON));
    assert_eq!(claimed_ids(&fixture.claim("two", NOON, 10)), ["c"], "it was left out");
    if fixture.store.runs().is_some() {
        assert_eq!(fixture.claim_run("two", NOON).run.id, run_id(1));
    }
    fixture.end();
}

/// A job that is claimed is not offered, what nobody planned is not written, and a plan for a job that was not offered is an
/// error.
pub fn store_claims_at_once_only_what_is_free(fixture: StoreFixture) {
    fixture.insert(&["a", "b"].map(|id| sample_job(id, NOON)));
    let request = fixture.request("two", NOON, 1);
    let held = fixture.store.claim_due(&request).expect("claim");
    let mut offered = Vec::new();
    let answers = at_once((&fixture, &*fixture.store), NOON, |claimed| {
        offered = claimed.to_vec();
        Vec::new()
    });
    let Some(answers) = answers else { return fixture.end() };
    assert_eq!((claimed_ids(&held), claimed_ids(&offered)), (vec!["a"], vec!["b"]));
    assert_eq!(answers, []);
    let mut foreign = |_: Vec<ClaimedJob>| {
        let commits = vec![next_minute(&held[0], Vec::new())];
        PlannedCommits { commits, wish: None }
    };
    let refused = fixture.store.claim_and_commit(&fixture.request("one", NOON, 10), &mut foreign);
    assert_kind(refused.map(drop), sched_core::ErrorKind::InvalidJob);
    assert_eq!(fixture.stored("b").cursor, offered[0].job.cursor, "nothing is written");
    assert_eq!(fixture.advance(&held[0].claim, noon_plus(60)), applied(), "its claim holds");
    assert_eq!(claimed_ids(&fixture.claim("two", NOON, 10)), ["b"]);
    fixture.end();
}

/// A claim whose lease is over is stale once its job was committed at once, also when its owner asks again; and so is an
/// update by whoever read the job before.
pub fn store_commits_at_once_over_ended_claims(fixture: StoreFixture) {
    fixture.insert(&[sample_job("a", NOON)]);
    let held = fixture.claim_one("two", NOON);
    fixture.outlast_leases();
    let read = fixture.stored("a");
    let plan = |claimed: &[ClaimedJob]| claimed.iter().map(|it| next_minute(it, Vec::new())).collect();
    let Some(answers) = at_once((&fixture, &*fixture.peer), NOON, plan) else { return fixture.end() };
    assert_eq!(answers, [applied()]);
    assert_eq!(fixture.advance(&held.claim, noon_plus(90)), Committed::Stale);
    assert_kind(fixture.update_one(&moved(&read, noon_plus(5))), sched_core::ErrorKind::Stale);
    assert_eq!(fixture.stored("a").next_run_time(), Some(noon_plus(60)));
    let again = fixture.claim_one("two", noon_plus(60));
    assert!(again.claim.token > held.claim.token, "{:?} after {:?}", again.claim.token, held.claim.token);
    assert_eq!(fixture.advance(&again.claim, noon_plus(120)), applied());
    fixture.end();
}

/// Eight who claim and commit at once, through two handles, share the jobs: each is committed once.
pub fn store_commits_at_once_among_eight(fixture: StoreFixture) {
    let jobs: Vec<_> = (0..200).map(|number| sample_job(&format!("job-{number:03}"), NOON)).collect();
    fixture.insert(&jobs);
    let committed: Mutex<BTreeMap<String, usize>> = Mutex::default();
    race(&fixture, 8, |store, _| {
        let mut idle = 0;
        while idle < 3 {
            let mut planned = Vec::new();
            let answers = at_once((&fixture, store), NOON, |claimed| {
                planned = claimed.iter().map(|claimed| claimed.job.id().to_string()).collect();
                claimed.iter().map(|claimed| next_minute(claimed, Vec::new())).collect()
            });
            let Some(answers) = answers else { return };
            assert!(answers.iter().all(|answer| *answer == applied()), "{answers:?}");
            idle = if answers.is_empty() { idle + 1 } else { 0 };
            let mut committed = committed.lock();
            planned.into_iter().take(answers.len()).for_each(|id| *committed.entry(id).or_default() += 1);
        }
    });
    let committed = committed.into_inner();
    if !committed.is_empty() {
        assert_eq!(committed.len(), 200, "all of them");
        assert_eq!(committed.values().max(), Some(&1), "once each: {committed:?}");
        let waiting = fixture.store.job_counts().expect("counts").scheduled;
        assert_eq!((waiting, fixture.claim("two", NOON, 10).len()), (200, 0));
    }
    fixture.end();
}

/// A row that does not decode is set aside, and the others are planned.
pub fn store_commits_at_once_past_spoiled_rows(fixture: StoreFixture) {
    fixture.insert(&["a", "b"].map(|id| sample_job(id, NOON)));
    fixture.corrupt(sample_job("a", NOON).id());
    let plan = |claimed: &[ClaimedJob]| claimed.iter().map(|it| next_minute(it, Vec::new())).collect();
    let Some(answers) = at_once((&fixture, &*fixture.store), NOON, plan) else { return fixture.end() };
    assert_eq!(answers, [applied()]);
    assert_eq!(fixture.stored("b").next_run_time(), Some(noon_plus(60)));
    let listed = fixture.store.list(&sched_core::JobFilter::default()).expect("list");
    assert!(listed.iter().any(|stored| JobState::from(stored) == JobState::Quarantined), "{listed:?}");
    fixture.end();
}
