//! Cases about batches of every size, about order within them, and about races for them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use sched_core::{
    Advance, Committed, ErrorKind, FinishedRun, JobOptions, JobSettings, Outcome, Overlap, QueuedRun,
    RunClaim, RunCounts, RunFilter, RunId, TaskError, TaskErrorKind,
};
use serde_json::{Value, json};

use super::{claim_of, run_ids};
use crate::jobs::{
    NOON, cursor_at, job_id, noon_plus, run_id, sample_job, sample_queued, sample_queued_of, time,
    with_settings,
};
use crate::store::{StoreFixture, applied, assert_kind, race};

/// How many threads race.
const THREADS: u32 = 8;

fn succeeded(claim: RunClaim) -> FinishedRun {
    let outcome = Outcome::Succeeded(Value::Null);
    FinishedRun { claim, outcome, started_at: Some(NOON), finished_at: NOON, again: None }
}

/// An empty batch is no call that fails, and changes nothing.
pub fn queue_takes_empty_batches(fixture: StoreFixture) {
    fixture.enqueue([sample_queued(1, NOON)]);
    let queue = fixture.queue();
    fixture.enqueue([]);
    assert!(queue.renew(&[], fixture.lease()).expect("renew").is_empty());
    assert!(queue.finish(Vec::new()).expect("finish").is_empty());
    queue.release(&[]).expect("release");
    assert!(queue.reap().expect("reap").is_empty());
    assert_eq!(queue.cleanup(None, 0).expect("cleanup"), 0);
    assert!(queue.claim(&fixture.request("one", NOON, 10), &[]).expect("claim").is_empty());
    assert_eq!(queue.counts().expect("counts"), RunCounts { queued: 1, running: 0, finished: 0 });
    fixture.end();
}

/// A thousand runs go through in one batch each of queueing, claiming, renewing and finishing.
pub fn queue_takes_a_thousand_runs_at_once(fixture: StoreFixture) {
    const RUNS: u64 = 1_000;
    fixture.enqueue((0..RUNS).map(|number| sample_queued(number, NOON)));
    let places = [(Arc::from("default"), 2_000)];
    let request =
        sched_core::ClaimRequest { lease: Duration::from_secs(60), ..fixture.request("one", NOON, 1_000) };
    let claimed = fixture.queue().claim(&request, &places).expect("claim");
    assert_eq!(run_ids(&claimed), (0..RUNS).map(run_id).collect::<Vec<_>>());
    let claims: Vec<RunClaim> = claimed.iter().map(claim_of).collect();
    let renewed = fixture.queue().renew(&claims, Duration::from_secs(60)).expect("renew");
    assert_eq!(renewed, vec![true; 1_000]);
    let finished = fixture.queue().finish(claims.into_iter().map(succeeded).collect()).expect("finish");
    assert_eq!(finished, vec![true; 1_000]);
    assert_eq!(fixture.queue().counts().expect("counts"), RunCounts::default());
    fixture.end();
}

/// A claim takes exactly its limit when there is one more, and all when there are as many or fewer.
pub fn queue_claims_at_most_the_limit(fixture: StoreFixture) {
    const LIMIT: usize = 50;
    for count in [LIMIT - 1, LIMIT, LIMIT + 1] {
        let ids: Vec<RunId> = (0..count as u64).map(run_id).collect();
        fixture.enqueue((0..count as u64).map(|number| sample_queued(number, NOON)));
        assert!(fixture.claim_runs("one", NOON, 0).is_empty());
        let (first, rest) = (fixture.claim_runs("one", NOON, LIMIT), fixture.claim_runs("one", NOON, LIMIT));
        assert_eq!(run_ids(&first), ids[..LIMIT.min(count)]);
        assert_eq!(run_ids(&rest), ids[LIMIT.min(count)..]);
        let all = first.iter().chain(&rest).map(|claimed| succeeded(claim_of(claimed)));
        fixture.queue().finish(all.collect()).expect("finish");
    }
    fixture.end();
}

/// In a batch each claim gets its own answer, in order: one that is open, stale, unknown, or named twice.
pub fn queue_answers_each_claim(fixture: StoreFixture) {
    fixture.enqueue((1..=3).map(|number| sample_queued(number, NOON)));
    let claims: Vec<RunClaim> = fixture.claim_runs("one", NOON, 10).iter().map(claim_of).collect();
    let unknown = RunClaim { id: run_id(99), ..claims[0] };
    let older = RunClaim { token: sched_core::FencingToken(0), ..claims[0] };
    let batch = [claims[0], unknown, claims[1], older, claims[1]];
    let renewed = fixture.queue().renew(&batch, fixture.lease()).expect("renew");
    assert_eq!(renewed, [true, false, true, false, true]);
    let finished = fixture.queue().finish(batch.map(succeeded).into()).expect("finish");
    assert_eq!(finished, [true, false, true, false, false], "a run is finished once");
    assert_eq!(fixture.queue().counts().expect("counts").running, 1);
    fixture.end();
}

/// Where priority and time are equal the order is that of ids, byte by byte, however they came.
pub fn queue_orders_equal_times_by_id(fixture: StoreFixture) {
    let numbers = [0xff, 0x01, 0x0100, 0x7f, 0x80, 1 << 63, 0x00];
    fixture.enqueue(numbers.map(|number| sample_queued(number, NOON)));
    let mut sorted = numbers;
    sorted.sort_unstable();
    let mut claimed = Vec::new();
    for _ in numbers {
        claimed.extend(run_ids(&fixture.claim_runs("one", NOON, 1)));
    }
    assert_eq!(claimed, sorted.map(run_id));
    fixture.end();
}

/// Times before the epoch and long after us come back as they were, and keep their order.
pub fn queue_keeps_far_times(fixture: StoreFixture) {
    let texts = [
        "0001-01-01T00:00:00.000001Z",
        "1969-12-31T23:59:59.999999Z",
        "2024-05-01T12:00:00.000001Z",
        "9999-12-31T23:59:59.999999Z",
    ];
    let times = texts.map(time);
    fixture.enqueue(
        [4, 3, 2, 1]
            .into_iter()
            .zip(times.into_iter().rev())
            .map(|(number, time)| sample_queued(number, time)),
    );
    assert_eq!(fixture.queue().next_wakeup().expect("next wakeup"), Some(times[0]));
    for (number, time) in (1..).zip(times) {
        let run = fixture.queue().result(run_id(number)).expect("the row is there").run;
        assert_eq!((run.fire_time, run.scheduled_time), (time, time));
        assert!(fixture.claim_runs("one", time - TimeDelta::microseconds(1), 10).is_empty(), "{time}");
        assert_eq!(fixture.claim_run("one", time).run.id, run_id(number));
    }
    fixture.end();
}

/// Results of every shape come back as they were: nested, empty, of the greatest numbers, with odd characters.
pub fn queue_keeps_any_value(fixture: StoreFixture) {
    let values = [
        json!(null),
        json!([]),
        json!({}),
        json!(""),
        json!("nul \u{0} tab \t quote ' \" \\ \u{1F980}"),
        json!([u64::MAX, i64::MIN, -0.5, 1e300]),
        json!({ "": { "$set": [{ "a.b": null }] } }),
        json!("x".repeat(100_000)),
    ];
    let kept = |number| {
        let run = sample_queued(number, NOON);
        let options =
            JobOptions { result_ttl: Duration::from_secs(3_600), ..JobOptions::clone(&run.options) };
        QueuedRun { options: Arc::new(options), ..run }
    };
    fixture.enqueue((0..values.len() as u64).map(kept));
    let claimed = fixture.claim_runs("one", NOON, 100);
    for (claimed, value) in claimed.iter().zip(&values) {
        assert!(fixture.finish_run(claim_of(claimed), value.clone()));
        let record = fixture.queue().result(claimed.run.id).expect("the result is kept");
        let sched_core::RunState::Finished { outcome, .. } = record.state else {
            panic!("{:?}", record.state)
        };
        assert_eq!(outcome, Outcome::Succeeded(value.clone()));
    }
    fixture.end();
}

/// A failure keeps its message and its kind.
pub fn queue_keeps_the_kind_of_a_failure(fixture: StoreFixture) {
    let kinds = [
        TaskErrorKind::Error,
        TaskErrorKind::Panic,
        TaskErrorKind::Arguments,
        TaskErrorKind::Other("quota: \u{e4}".to_owned()),
        TaskErrorKind::Other(String::new()),
    ];
    let kept = |number| {
        let run = sample_queued(number, NOON);
        let options =
            JobOptions { result_ttl: Duration::from_secs(3_600), ..JobOptions::clone(&run.options) };
        QueuedRun { options: Arc::new(options), ..run }
    };
    fixture.enqueue((0..kinds.len() as u64).map(kept));
    for (claimed, kind) in fixture.claim_runs("one", NOON, 100).iter().zip(kinds) {
        let outcome = Outcome::Failed(TaskError::new("it broke: \u{1F980}").with_kind(kind));
        assert!(fixture.finish_with(claim_of(claimed), outcome.clone()));
        let record = fixture.queue().result(claimed.run.id).expect("the result is kept");
        let sched_core::RunState::Finished { outcome: stored, .. } = record.state else {
            panic!("it is finished")
        };
        assert_eq!(stored, outcome);
    }
    fixture.end();
}

/// Runs of jobs with odd ids are queued, unique, listed and limited like any others, each for itself.
pub fn queue_tells_jobs_apart(fixture: StoreFixture) {
    let long = "\u{1F980}".repeat(512);
    let ids = ["a", "A", "a ", "\u{e4}", "a\u{308}", "a:b", "'", &long];
    let settings = JobSettings { overlap: Some(Overlap::Queue), ..JobSettings::default() };
    let jobs = ids.map(|id| with_settings(&sample_job(id, NOON), settings.clone()));
    let runs = (0_u64..).zip(&jobs).flat_map(|(number, job)| {
        [0, 100, 200]
            .map(|base| sample_queued_of(job, base + number, noon_plus(if base == 100 { 1 } else { 0 })))
    });
    fixture.enqueue(runs);
    assert_eq!(fixture.queue().counts().expect("counts").queued, ids.len() * 2, "a fire time is queued once");
    assert_eq!(fixture.claim_runs("one", noon_plus(1), 100).len(), ids.len(), "each job has one place");
    for (number, id) in (0..).zip(ids) {
        let filter = RunFilter { job_id: Some(job_id(id)), ..RunFilter::default() };
        let listed = fixture.queue().list(&filter).expect("list");
        let found: Vec<RunId> = listed.iter().map(|record| record.run.id).collect();
        assert_eq!(found, [run_id(number), run_id(100 + number)], "{id}");
    }
    fixture.end();
}

/// A commit of a job that was removed since it was claimed, even if it was added again, queues nothing.
pub fn queue_commits_nothing_for_a_removed_job(fixture: StoreFixture) {
    let job = sample_job("a", NOON);
    for again in [false, true] {
        fixture.insert(std::slice::from_ref(&job));
        let claim = fixture.claim_one("one", NOON).claim;
        fixture.store.remove(&[job_id("a")]).expect("remove");
        if again {
            fixture.insert(std::slice::from_ref(&job));
        }
        for advance in [Advance::To(cursor_at(noon_plus(60))), Advance::Remove] {
            let committed = fixture.commit_one(&claim, advance, vec![sample_queued_of(&job, 1, NOON)]);
            assert_eq!(committed, Committed::Stale);
        }
        assert_eq!(fixture.queue().counts().expect("counts"), RunCounts::default());
        assert_eq!(fixture.get("a").is_some(), again);
    }
    fixture.end();
}

/// In a batch of commits those that are applied queue their runs and those that are stale do not.
pub fn queue_commits_each_job_for_itself(fixture: StoreFixture) {
    let jobs = ["a", "b", "c"].map(|id| sample_job(id, NOON));
    fixture.insert(&jobs);
    let claimed = fixture.claim("one", NOON, 10);
    fixture.update_one(&crate::jobs::moved(&fixture.stored("b"), noon_plus(5))).expect("update");
    let commits =
        (1..).zip(claimed.iter().zip(&jobs)).map(|(number, (claimed, job))| sched_core::JobCommit {
            claim: claimed.claim.clone(),
            advance: Advance::To(cursor_at(noon_plus(60))),
            runs: vec![sample_queued_of(job, number, NOON)],
        });
    let answers = fixture.store.commit(commits.collect()).expect("commit");
    assert_eq!(answers, [applied(), Committed::Stale, applied()]);
    assert_eq!(run_ids(&fixture.claim_runs("one", NOON, 10)), [1, 3].map(run_id));
    fixture.end();
}

/// Of eight who claim at once through two handles, each run goes to one.
pub fn queue_claims_once_among_eight(fixture: StoreFixture) {
    const RUNS: u64 = 400;
    fixture.enqueue((0..RUNS).map(|number| sample_queued(number, NOON)));
    let claimed = race(&fixture, THREADS, |store, thread| {
        let queue = store.runs().expect("a run queue");
        let places = [(Arc::from("default"), 5)];
        let request = fixture.request(&format!("owner {thread}"), NOON, 5);
        let request = sched_core::ClaimRequest { lease: Duration::from_secs(600), ..request };
        let (mut claimed, mut idle) = (Vec::new(), 0);
        while idle < 2 {
            let batch = run_ids(&queue.claim(&request, &places).expect("claim"));
            idle = if batch.is_empty() { idle + 1 } else { 0 };
            claimed.extend(batch);
        }
        claimed
    });
    let claimed: Vec<RunId> = claimed.into_iter().flatten().collect();
    let distinct: BTreeSet<RunId> = claimed.iter().copied().collect();
    assert_eq!((claimed.len() as u64, distinct.len() as u64), (RUNS, RUNS), "each run is claimed once");
    fixture.end();
}

/// Of eight who finish a run with the same claim at once, one is told that it was open.
pub fn queue_finishes_once_among_eight(fixture: StoreFixture) {
    for round in 0..10 {
        fixture.enqueue([sample_queued(round, NOON)]);
        let claim = claim_of(&fixture.claim_run("one", NOON));
        let answers = race(&fixture, THREADS, |store, _| {
            store.runs().expect("a run queue").finish(vec![succeeded(claim)]).expect("finish")[0]
        });
        assert_eq!(answers.iter().filter(|open| **open).count(), 1, "round {round}");
        assert_kind(fixture.queue().result(run_id(round)), ErrorKind::NotFound);
    }
    fixture.end();
}

/// Of eight who queue a fire time at once, each under an id of its own, one does.
pub fn queue_takes_a_fire_time_once_among_eight(fixture: StoreFixture) {
    let settings =
        JobSettings { overlap: Some(Overlap::Queue), max_instances: Some(99), ..JobSettings::default() };
    let job = with_settings(&sample_job("a", NOON), settings);
    for round in 0..10_u64 {
        let fire_time = noon_plus(round.cast_signed());
        race(&fixture, THREADS, |store, thread| {
            let run = sample_queued_of(&job, round * 100 + u64::from(thread), fire_time);
            store.runs().expect("a run queue").enqueue(vec![run]).expect("enqueue");
        });
    }
    assert_eq!(fixture.queue().counts().expect("counts").queued, 10);
    fixture.end();
}

/// What one handle queues, claims or finishes, the other sees.
pub fn queue_is_shared_by_its_handles(fixture: StoreFixture) {
    let peer = fixture.peer.runs().expect("the peer has a run queue");
    fixture.enqueue([sample_queued(1, NOON), sample_queued(2, NOON)]);
    assert_eq!(peer.counts().expect("counts").queued, 2);
    let places = [(Arc::from("default"), 1)];
    let claimed = peer.claim(&fixture.request("two", NOON, 10), &places).expect("claim");
    assert_eq!(run_ids(&claimed), [run_id(1)]);
    assert_eq!(fixture.claim_run("one", NOON).run.id, run_id(2));
    assert!(fixture.finish_run(claim_of(&claimed[0]), Value::Null), "a claim is good through any handle");
    assert_kind(peer.result(run_id(1)), ErrorKind::NotFound);
    fixture.end();
}
