//! Cases about rows: what is unique, what is kept, listed, counted, and for how long.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use sched_core::{
    Advance, ErrorKind, JobOptions, JobSettings, MissReason, Outcome, Overlap, QueuedRun, RunCounts,
    RunFilter, RunId, RunState, TaskError,
};
use serde_json::{Value, json};

use super::claim_of;
use crate::jobs::{
    NOON, cursor_at, job_id, noon_plus, run_id, sample_job, sample_queued, sample_queued_of, with_settings,
};
use crate::store::{StoreFixture, applied, assert_kind};

/// A run that is kept so long after its end.
fn kept(run: QueuedRun, result_ttl: Duration) -> QueuedRun {
    QueuedRun { options: Arc::new(JobOptions { result_ttl, ..JobOptions::clone(&run.options) }), ..run }
}

/// A fire time of a job never becomes two runs, whoever queues it and however far the first has come, as long as its
/// row is there. Direct runs and other jobs are not affected.
pub fn queue_fire_times_are_unique(fixture: StoreFixture) {
    let settings = JobSettings {
        overlap: Some(Overlap::Queue),
        max_instances: Some(9),
        result_ttl: Some(fixture.lease()),
        ..JobSettings::default()
    };
    let job = with_settings(&sample_job("a", NOON), settings.clone());
    let other = with_settings(&sample_job("b", noon_plus(500)), settings);
    fixture.insert(&[job.clone(), other.clone()]);
    fixture.enqueue([sample_queued_of(&job, 1, NOON), sample_queued_of(&job, 2, NOON)]);
    fixture.enqueue([sample_queued_of(&job, 3, NOON), sample_queued_of(&other, 4, NOON)]);
    fixture.enqueue([sample_queued(5, NOON), sample_queued(6, NOON), sample_queued(5, NOON)]);
    assert_eq!(fixture.queue().counts().expect("counts").queued, 4);
    let claim = fixture.claim_one("one", NOON).claim;
    let runs = vec![sample_queued_of(&job, 7, NOON), sample_queued_of(&job, 8, noon_plus(1))];
    assert_eq!(fixture.commit_one(&claim, Advance::To(cursor_at(noon_plus(60))), runs), applied());
    let claimed = fixture.claim_runs("one", NOON, 10);
    assert_eq!(claimed.len(), 4);
    fixture.enqueue([sample_queued_of(&job, 9, NOON)]);
    assert!(fixture.claim_runs("one", NOON, 10).is_empty(), "the first is running");
    for claimed in &claimed {
        assert!(fixture.finish_run(claim_of(claimed), Value::Null));
    }
    fixture.enqueue([sample_queued_of(&job, 10, NOON)]);
    assert!(fixture.claim_runs("one", NOON, 10).is_empty(), "the first is over and kept");
    fixture.end();
}

/// A result is readable until its time to live ends; without one the row goes when the run ends.
pub fn queue_keeps_results(fixture: StoreFixture) {
    let ttl = fixture.lease() * 2;
    let outcomes = [
        Outcome::Succeeded(json!({ "rows": [1, 2.5, null, "\u{e4}"] })),
        Outcome::Failed(TaskError::new("deliberate")),
        Outcome::Missed(MissReason::TooLate),
        Outcome::Cancelled,
        Outcome::TimedOut,
        Outcome::Abandoned("lost".to_owned()),
    ];
    fixture.enqueue((1_u64..).zip(&outcomes).map(|(number, _)| kept(sample_queued(number, NOON), ttl)));
    fixture.enqueue([sample_queued(9, noon_plus(1))]);
    let claimed = fixture.claim_runs("one", noon_plus(1), 10);
    for (claimed, outcome) in claimed.iter().zip(&outcomes) {
        assert!(fixture.finish_with(claim_of(claimed), outcome.clone()));
    }
    assert!(fixture.finish_run(claim_of(&claimed[6]), json!(1)));
    assert_kind(fixture.queue().result(run_id(9)), ErrorKind::NotFound);
    assert_kind(fixture.queue().result(run_id(77)), ErrorKind::NotFound);
    for _ in 0..2 {
        for (number, expected) in (1..).zip(&outcomes) {
            let record = fixture.queue().result(run_id(number)).expect("the result is kept");
            let RunState::Finished { outcome, started_at, finished_at } = record.state else {
                panic!("{:?} is not finished", record.state)
            };
            assert_eq!((outcome, started_at), (expected.clone(), Some(finished_at)));
        }
    }
    fixture.pass(fixture.lease());
    assert_eq!(fixture.queue().cleanup(None, 10).expect("cleanup"), 0, "they are kept");
    fixture.pass(fixture.lease());
    assert_eq!(fixture.queue().cleanup(None, 4).expect("cleanup"), 4, "at most the limit is deleted");
    assert_eq!(fixture.queue().cleanup(None, 10).expect("cleanup"), 2);
    assert_kind(fixture.queue().result(run_id(1)), ErrorKind::NotFound);
    assert_eq!(fixture.queue().counts().expect("counts"), RunCounts::default());
    fixture.end();
}

/// A run comes back as it was queued, and its row shows where it stands.
pub fn queue_keeps_every_field(fixture: StoreFixture) {
    let settings = JobSettings {
        max_instances: Some(3),
        timeout: Some(Duration::from_millis(1_500)),
        misfire_grace_time: Some(Duration::from_secs(7).into()),
        metadata: json!({ "team": "\u{e4}" }).as_object().cloned().map(Arc::new),
        ..JobSettings::default()
    };
    let job = with_settings(&sample_job("a", NOON), settings);
    let fire_time = NOON + TimeDelta::microseconds(123_456);
    let scheduled_time = fire_time + TimeDelta::microseconds(1);
    let run = QueuedRun { priority: -3, scheduled_time, ..sample_queued_of(&job, 7, fire_time) };
    fixture.enqueue([run.clone()]);
    let record = fixture.queue().result(run.id).expect("the row is there");
    assert_eq!((record.attempt, record.state), (0, RunState::Queued));
    let claimed = fixture.claim_run("one", noon_plus(1));
    for found in [record.run, claimed.run.clone()] {
        assert_eq!((found.id, &found.job_id, found.priority), (run.id, &run.job_id, -3));
        assert_eq!((found.fire_time, found.scheduled_time), (fire_time, scheduled_time));
        assert_eq!((found.call.task.name(), &found.call.args), (run.call.task.name(), &run.call.args));
        assert_eq!(found.options, run.options);
    }
    let record = fixture.queue().result(run.id).expect("the row is there");
    assert_eq!(record.attempt, 1);
    let RunState::Running { owner, lease_until } = record.state else {
        panic!("{:?} is not running", record.state)
    };
    assert_eq!(&*owner, "one");
    assert!(lease_until > fixture.now(), "{lease_until} is the end of the lease");
    fixture.end();
}

/// Runs are listed by id, of one job or of all, page by page, in whatever state they are.
pub fn queue_lists_by_id(fixture: StoreFixture) {
    let job = sample_job("a", NOON);
    let of_job = |number: u64| sample_queued_of(&job, number, noon_plus(number.cast_signed()));
    fixture.enqueue([5, 1, 3].map(of_job));
    fixture.enqueue([4, 2].map(|number| kept(sample_queued(number, NOON), Duration::from_secs(3_600))));
    let claimed = fixture.claim_runs("one", NOON, 10);
    assert!(fixture.finish_run(claim_of(&claimed[0]), Value::Null));
    let list = |filter: RunFilter| -> Vec<RunId> {
        fixture.queue().list(&filter).expect("list").iter().map(|record| record.run.id).collect()
    };
    assert_eq!(list(RunFilter::default()), [1, 2, 3, 4, 5].map(run_id));
    let of_job = RunFilter { job_id: Some(job_id("a")), ..RunFilter::default() };
    assert_eq!(list(of_job.clone()), [1, 3, 5].map(run_id));
    let page = RunFilter { after: Some(run_id(1)), limit: Some(1), ..of_job };
    assert_eq!(list(page), [run_id(3)]);
    let page = RunFilter { after: Some(run_id(2)), limit: Some(2), ..RunFilter::default() };
    assert_eq!(list(page), [3, 4].map(run_id));
    let page = RunFilter { after: Some(run_id(5)), ..RunFilter::default() };
    assert!(list(page).is_empty());
    fixture.end();
}

/// Rows are counted by their state.
pub fn queue_counts_rows(fixture: StoreFixture) {
    let counts = || fixture.queue().counts().expect("counts");
    assert_eq!(counts(), RunCounts::default());
    fixture.enqueue((1..=5).map(|number| kept(sample_queued(number, NOON), Duration::from_secs(3_600))));
    assert_eq!(counts(), RunCounts { queued: 5, running: 0, finished: 0 });
    let claimed = fixture.claim_runs("one", NOON, 3);
    assert_eq!(counts(), RunCounts { queued: 2, running: 3, finished: 0 });
    assert!(fixture.finish_run(claim_of(&claimed[0]), Value::Null));
    fixture.queue().release(&[claim_of(&claimed[1])]).expect("release");
    assert_eq!(counts(), RunCounts { queued: 3, running: 1, finished: 1 });
    fixture.end();
}

/// Removing a job, or all jobs, leaves its queued runs.
pub fn queue_runs_outlive_their_job(fixture: StoreFixture) {
    let job = sample_job("a", NOON);
    fixture.insert(std::slice::from_ref(&job));
    fixture.enqueue([sample_queued_of(&job, 1, NOON)]);
    let claim = fixture.claim_one("one", NOON).claim;
    let last = sample_queued_of(&job, 2, noon_plus(1));
    let committed = fixture.commit_one(&claim, Advance::Remove, vec![last]);
    assert_eq!(
        committed,
        sched_core::Committed::Applied { skipped: vec![noon_plus(1)] },
        "the first is unfinished"
    );
    fixture.store.clear().expect("clear");
    assert_eq!(fixture.claim_run("one", noon_plus(1)).run.id, run_id(1));
    fixture.end();
}

/// The next wake-up is the earliest start of a waiting run, or the end of the earliest lease.
pub fn queue_says_when_to_wake(fixture: StoreFixture) {
    let wakeup = || fixture.queue().next_wakeup().expect("next wakeup");
    assert_eq!(wakeup(), None);
    let far = fixture.now() + TimeDelta::days(400);
    fixture.enqueue([sample_queued(1, far), sample_queued(2, NOON)]);
    assert_eq!(wakeup(), Some(NOON));
    let claim = claim_of(&fixture.claim_run("one", NOON));
    let lease_end = wakeup().expect("the lease ends");
    assert!(lease_end > fixture.now() && lease_end < far, "{lease_end} is the end of the lease");
    assert!(fixture.finish_run(claim, Value::Null));
    assert_eq!(wakeup(), Some(far));
    fixture.end();
}
