//! Cases about which rows are listed and which are cleaned up.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use sched_core::{
    Args, Call, ErrorKind, FinishedRun, JobOptions, Outcome, QueuedRun, RunClaim, RunFilter, RunId, RunPhase,
};
use serde_json::{Value, json};

use super::claim_of;
use crate::jobs::{FAIL, NOON, job_id, noon_plus, run_id, sample_job, sample_queued, sample_queued_of, task};
use crate::store::{StoreFixture, assert_kind, single};

/// A run that is kept for an hour after its end.
fn kept(run: QueuedRun) -> QueuedRun {
    let options = JobOptions { result_ttl: Duration::from_secs(3_600), ..JobOptions::clone(&run.options) };
    QueuedRun { options: Arc::new(options), ..run }
}

fn failing(number: u64, seconds: i64) -> QueuedRun {
    QueuedRun { call: Call::bound(task(FAIL), Args::default()), ..sample_queued(number, noon_plus(seconds)) }
}

/// What is listed, by id.
fn listed(fixture: &StoreFixture, filter: &RunFilter) -> Vec<RunId> {
    fixture.queue().list(filter).expect("list").iter().map(|record| record.run.id).collect()
}

/// Runs of one task, of one phase, of a span of fire times (its end excluded), and all of these at once.
pub fn queue_lists_what_is_asked_for(fixture: StoreFixture) {
    let job = sample_job("a", NOON);
    fixture.enqueue((1..=6).map(|number| kept(sample_queued(number, noon_plus(number.cast_signed())))));
    fixture.enqueue((7..=9).map(|number| kept(failing(number, number.cast_signed()))));
    fixture.enqueue([kept(sample_queued_of(&job, 10, noon_plus(10)))]);
    let claimed = fixture.claim_runs("one", noon_plus(4), 10);
    for done in &claimed[..2] {
        assert!(fixture.finish_run(claim_of(done), Value::Null));
    }
    let any = RunFilter::default();
    let of_task = RunFilter { task: Some(Arc::from(FAIL)), ..any.clone() };
    assert_eq!(listed(&fixture, &of_task), [7, 8, 9].map(run_id));
    let unknown = RunFilter { task: Some(Arc::from("unknown")), ..any.clone() };
    assert!(listed(&fixture, &unknown).is_empty());
    let phase = |phase| RunFilter { phase: Some(phase), ..any.clone() };
    assert_eq!(listed(&fixture, &phase(RunPhase::Finished)), [1, 2].map(run_id));
    assert_eq!(listed(&fixture, &phase(RunPhase::Running)), [3, 4].map(run_id));
    assert_eq!(listed(&fixture, &phase(RunPhase::Queued)), (5..=10).map(run_id).collect::<Vec<_>>());
    let span = RunFilter { from: Some(noon_plus(2)), until: Some(noon_plus(8)), ..any.clone() };
    assert_eq!(listed(&fixture, &span), (2..=7).map(run_id).collect::<Vec<_>>());
    let all = RunFilter { phase: Some(RunPhase::Queued), task: of_task.task.clone(), ..span };
    assert_eq!(listed(&fixture, &all), [run_id(7)]);
    let of_job = RunFilter { job_id: Some(job_id("a")), task: Some(Arc::from(FAIL)), ..any };
    assert!(listed(&fixture, &of_job).is_empty());
    fixture.end();
}

/// The ends of a span of fire times are exact to the microsecond; a retry is found by its fire time.
pub fn queue_lists_spans_to_the_microsecond(fixture: StoreFixture) {
    let at = |micros: i64| NOON + TimeDelta::microseconds(micros);
    fixture.enqueue((1..=5).map(|number| sample_queued(number, at(number.cast_signed()))));
    let span = |from, until| {
        let filter = RunFilter { from: Some(at(from)), until: Some(at(until)), ..RunFilter::default() };
        listed(&fixture, &filter)
    };
    assert_eq!(span(2, 4), [2, 3].map(run_id));
    assert_eq!(span(3, 4), [run_id(3)]);
    assert!(span(3, 3).is_empty());
    assert!(span(4, 2).is_empty());
    let first = fixture.claim_runs("one", at(1), 1);
    assert!(fixture.try_again(&first[0], noon_plus(600)));
    assert_eq!(span(1, 2), [run_id(1)]);
    fixture.end();
}

/// Pages of a filtered listing follow one another without gap or repetition, whatever lies between.
pub fn queue_pages_through_a_filter(fixture: StoreFixture) {
    let mixed = (0..30).map(|number| match number % 3 {
        0 => failing(number, number.cast_signed()),
        _ => sample_queued(number, noon_plus(number.cast_signed())),
    });
    fixture.enqueue(mixed);
    let of_task =
        RunFilter { task: Some(Arc::from(FAIL)), until: Some(noon_plus(28)), ..RunFilter::default() };
    let expected: Vec<RunId> = (0..28).filter(|number| number % 3 == 0).map(run_id).collect();
    for limit in [1, 2, 3, 9, 10, 11] {
        let (mut paged, mut after) = (Vec::new(), None);
        loop {
            let page = listed(&fixture, &RunFilter { after, limit: Some(limit), ..of_task.clone() });
            assert!(page.len() <= limit);
            let Some(last) = page.last() else { break };
            after = Some(*last);
            paged.extend(page);
        }
        assert_eq!(paged, expected, "pages of {limit}");
    }
    assert!(listed(&fixture, &RunFilter { limit: Some(0), ..RunFilter::default() }).is_empty());
    fixture.end();
}

/// Ends the claimed runs, one second after another, in the order given.
fn finish_in_order(fixture: &StoreFixture, claims: &[RunClaim]) {
    let start = fixture.now();
    for (second, claim) in (0..).zip(claims) {
        let finished_at = start + TimeDelta::seconds(second);
        let outcome = Outcome::Succeeded(json!(second));
        let finished = FinishedRun { claim: *claim, outcome, started_at: None, finished_at, again: None };
        assert!(single(fixture.queue().finish(vec![finished]).expect("finish")));
    }
}

/// Beyond `keep`, the results that ended first are deleted, at most `limit` of them at once.
pub fn queue_cleanup_keeps_the_newest(fixture: StoreFixture) {
    fixture.enqueue((1..=8).map(|number| kept(sample_queued(number, NOON))));
    let mut claims: Vec<RunClaim> = fixture.claim_runs("one", NOON, 10).iter().map(claim_of).collect();
    claims.reverse();
    finish_in_order(&fixture, &claims);
    let cleanup = |keep, limit| fixture.queue().cleanup(keep, limit).expect("cleanup");
    let all = || listed(&fixture, &RunFilter::default());
    assert_eq!(cleanup(None, 100), 0, "their time has not come");
    assert_eq!(cleanup(Some(8), 100), 0, "there are not more");
    assert_eq!(cleanup(Some(5), 0), 0);
    assert_eq!(cleanup(Some(5), 1), 1);
    assert_eq!(all(), (1..=7).map(run_id).collect::<Vec<_>>(), "the eighth ended first");
    assert_eq!(cleanup(Some(5), 100), 2);
    assert_eq!(all(), (1..=5).map(run_id).collect::<Vec<_>>());
    assert_eq!(cleanup(Some(0), 100), 5);
    assert_eq!(cleanup(Some(0), 100), 0);
    fixture.end();
}

/// What is not finished is never cleaned up, however old it is.
pub fn queue_cleanup_leaves_the_unfinished(fixture: StoreFixture) {
    fixture.enqueue((1..=4).map(|number| kept(sample_queued(number, noon_plus(-1_000_000)))));
    let claimed = fixture.claim_runs("one", NOON, 3);
    assert!(fixture.finish_run(claim_of(&claimed[0]), Value::Null));
    assert!(fixture.try_again(&claimed[1], noon_plus(-1_000_000)));
    assert_eq!(fixture.queue().cleanup(Some(0), 100).expect("cleanup"), 1);
    assert_eq!(listed(&fixture, &RunFilter::default()), [2, 3, 4].map(run_id));
    assert!(fixture.finish_run(claim_of(&claimed[2]), Value::Null), "its claim is open");
    fixture.end();
}

/// Every result has its own time to live; those with a longer one stay.
pub fn queue_cleanup_goes_by_each_time_to_live(fixture: StoreFixture) {
    let living = |number, leases: u32| {
        let run = sample_queued(number, NOON);
        let result_ttl = fixture.lease() * leases;
        QueuedRun { options: Arc::new(JobOptions { result_ttl, ..JobOptions::clone(&run.options) }), ..run }
    };
    fixture.enqueue([living(1, 100), living(2, 1), living(3, 100), living(4, 2)]);
    let claimed = fixture.claim_runs("one", NOON, 10);
    claimed.iter().for_each(|claimed| assert!(fixture.finish_run(claim_of(claimed), Value::Null)));
    let cleanup = || fixture.queue().cleanup(None, 100).expect("cleanup");
    fixture.outlast_leases();
    assert_eq!(cleanup(), 1);
    fixture.outlast_leases();
    assert_eq!(cleanup(), 1);
    assert_eq!(listed(&fixture, &RunFilter::default()), [1, 3].map(run_id));
    assert_kind(fixture.queue().result(run_id(2)), ErrorKind::NotFound);
    fixture.end();
}
