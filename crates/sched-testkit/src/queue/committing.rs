//! Cases about runs that are claimed in the write that queues them.

use sched_core::{
    Advance, ClaimedJob, Committed, FencingToken, Job, JobCommit, JobSettings, Overlap, PlannedCommits,
    QueuedRun, RunClaim, RunId, RunState, RunWish,
};
use serde_json::Value;

use super::{claim_of, run_ids};
use crate::jobs::{NOON, cursor_at, moved, noon_plus, run_id, sample_job, sample_queued_of, with_settings};
use crate::store::{StoreFixture, applied};

/// A job whose runs overlap, as many as four at once.
fn overlapping(id: &str) -> Job {
    let settings =
        JobSettings { max_instances: Some(4), overlap: Some(Overlap::Queue), ..JobSettings::default() };
    with_settings(&sample_job(id, NOON), settings)
}

fn commit_of(claimed: &ClaimedJob, runs: Vec<QueuedRun>) -> JobCommit {
    JobCommit { claim: claimed.claim.clone(), advance: Advance::To(cursor_at(noon_plus(60))), runs }
}

fn first_claim(id: RunId) -> RunClaim {
    RunClaim { id, token: FencingToken::FIRST }
}

/// The one run of a commit is claimed at once when nothing else of its job is unfinished: with a lease, as the first
/// attempt. All other runs wait, and a stale commit claims nothing. A store that does not claim so queues them all.
pub fn queue_claims_what_it_commits(fixture: StoreFixture) {
    let jobs = ["a", "b", "c", "d"].map(overlapping);
    fixture.insert(&jobs);
    let claimed = fixture.claim("one", NOON, 10);
    fixture.enqueue([sample_queued_of(&jobs[1], 9, noon_plus(-60))]);
    fixture.update_one(&moved(&fixture.stored("c"), noon_plus(5))).expect("update");
    let run = |job: usize, number, seconds| sample_queued_of(&jobs[job], number, noon_plus(seconds));
    let runs =
        [vec![run(0, 1, 0)], vec![run(1, 2, 0)], vec![run(2, 3, 0)], vec![run(3, 4, -1), run(3, 5, 0)]];
    let commits = claimed.iter().zip(runs).map(|(claimed, runs)| commit_of(claimed, runs));
    let answers = fixture.commit_wanted("one", commits.collect());
    assert_eq!(answers[1..], [applied(), Committed::Stale, applied()]);
    assert_eq!(fixture.stored("a").next_run_time(), Some(noon_plus(60)));
    if !fixture.claims_commits() {
        assert_eq!(answers[0], applied());
        assert_eq!(run_ids(&fixture.claim_runs("two", noon_plus(9), 10)), [9, 4, 1, 2, 5].map(run_id));
        return fixture.end();
    }
    assert_eq!(answers[0], Committed::Claimed(run_id(1)));
    let claim = first_claim(run_id(1));
    let row = fixture.queue().result(claim.id).expect("the row");
    assert_eq!((row.attempt, row.run.fire_time), (1, NOON));
    assert!(matches!(&row.state, RunState::Running { owner, .. } if &**owner == "one"), "{:?}", row.state);
    assert_eq!(run_ids(&fixture.claim_runs("two", noon_plus(9), 10)), [9, 4, 2, 5].map(run_id));
    assert!(fixture.renew_run(claim, fixture.lease()), "the claim is a claim like any other");
    assert!(fixture.finish_run(claim, Value::Null));
    assert!(!fixture.finish_run(claim, Value::Null), "it is finished once");
    fixture.end();
}

/// A run that is wanted is claimed in the write, as it is in a commit.
pub fn queue_claims_what_it_commits_at_once(fixture: StoreFixture) {
    let jobs = ["a", "b"].map(|id| sample_job(id, NOON));
    fixture.insert(&jobs);
    let request = fixture.request("one", NOON, 10);
    let answers = fixture.store.claim_and_commit(&request, &mut |claimed: Vec<ClaimedJob>| {
        let run = |at: usize| sample_queued_of(&jobs[at], u64::try_from(at).expect("small"), NOON);
        let commits = claimed.iter().enumerate().map(|(at, claimed)| commit_of(claimed, vec![run(at)]));
        let wish = RunWish { owner: "one".into(), lease: fixture.lease(), wanted: vec![false, true] };
        PlannedCommits { commits: commits.collect(), wish: Some(wish) }
    });
    let Some(answers) = answers.expect("claim and commit") else { return fixture.end() };
    match fixture.claims_commits() {
        true => assert_eq!(answers, [applied(), Committed::Claimed(run_id(1))]),
        false => assert_eq!(answers, [applied(), applied()]),
    }
    assert_eq!(fixture.claim_run("two", NOON).run.id, run_id(0));
    fixture.end();
}

/// The claim of a commit ends with its lease, is taken over with a greater token and attempt, and counts for the job's
/// limit as long as it holds.
pub fn queue_takes_over_what_a_commit_claimed(fixture: StoreFixture) {
    let job = sample_job("a", NOON);
    fixture.insert(std::slice::from_ref(&job));
    let claimed = fixture.claim_one("one", NOON);
    let answers =
        fixture.commit_wanted("one", vec![commit_of(&claimed, vec![sample_queued_of(&job, 1, NOON)])]);
    let first = match answers[0] {
        Committed::Claimed(run) => first_claim(run),
        _ => claim_of(&fixture.claim_run("one", NOON)),
    };
    let again = fixture.claim_one("one", noon_plus(60));
    let answers =
        fixture.commit_wanted("one", vec![commit_of(&again, vec![sample_queued_of(&job, 2, noon_plus(60))])]);
    assert_eq!(answers, [Committed::Applied { skipped: vec![noon_plus(60)] }], "one instance is all");
    fixture.outlast_leases();
    let second = fixture.claim_run("two", noon_plus(90));
    assert_eq!((second.run.id, second.attempt), (first.id, 2));
    assert!(second.token > first.token, "{:?} after {:?}", second.token, first.token);
    assert!(!fixture.renew_run(first, fixture.lease()), "the first claim is stale");
    assert!(!fixture.finish_run(first, Value::Null), "the first claim is stale");
    assert!(fixture.finish_run(claim_of(&second), Value::Null));
    fixture.end();
}

/// What is not wanted waits in the queue, and a fire time that has a row gets no second one.
pub fn queue_claims_in_a_commit_only_what_is_wanted(fixture: StoreFixture) {
    let jobs = ["a", "b"].map(overlapping);
    fixture.insert(&jobs);
    let claimed = fixture.claim("one", NOON, 10);
    fixture.enqueue([sample_queued_of(&jobs[1], 9, NOON)]);
    let done = claim_of(&fixture.claim_run("two", NOON));
    let commits = [1, 2].map(|number| {
        let at = usize::try_from(number - 1).expect("small");
        commit_of(&claimed[at], vec![sample_queued_of(&jobs[at], number, NOON)])
    });
    let wish = RunWish { owner: "one".into(), lease: fixture.lease(), wanted: vec![false, true] };
    let answers = fixture.store.commit_and_claim(commits.to_vec(), &wish).expect("commit");
    assert_eq!(answers, [applied(), applied()]);
    assert_eq!(fixture.claim_run("one", NOON).run.id, run_id(1), "the fire time of the other is taken");
    assert!(fixture.finish_run(done, Value::Null));
    fixture.end();
}
