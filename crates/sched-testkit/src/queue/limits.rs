//! Cases about limits: of executors, jobs and tasks, and what overlaps.

use std::sync::Arc;

use sched_core::{Advance, Args, Call, Committed, Job, JobOptions, JobSettings, Overlap, QueuedRun};
use serde_json::Value;

use super::{claim_of, run_ids};
use crate::jobs::{
    LIMITED, NOON, cursor_at, moved, noon_plus, run_id, sample_job, sample_queued, sample_queued_of, task,
    with_settings,
};
use crate::store::{StoreFixture, applied};

/// A job with a limit and an overlap policy.
fn limited_job(id: &str, max_instances: u32, overlap: Overlap) -> Job {
    let settings =
        JobSettings { max_instances: Some(max_instances), overlap: Some(overlap), ..JobSettings::default() };
    with_settings(&sample_job(id, NOON), settings)
}

/// A run of the task that is limited to two.
fn limited_run(number: u64) -> QueuedRun {
    QueuedRun { call: Call::bound(task(LIMITED), Args::default()), ..sample_queued(number, NOON) }
}

/// Runs go to executors that are asked for, at most as many as each has places; the order is that of all of them.
pub fn queue_serves_executors_with_places(fixture: StoreFixture) {
    let run = |number, executor: &str| {
        let options = JobOptions { executor: Arc::from(executor), ..JobOptions::default() };
        QueuedRun { options: Arc::new(options), ..sample_queued(number, NOON) }
    };
    fixture.enqueue([run(1, "b"), run(2, "a"), run(3, "a"), run(4, "c"), run(5, "a"), run(6, "b")]);
    let claim = |limit, places: &[(&str, usize)]| {
        let places: Vec<(Arc<str>, usize)> =
            places.iter().map(|(alias, free)| (Arc::from(*alias), *free)).collect();
        run_ids(&fixture.queue().claim(&fixture.request("one", NOON, limit), &places).expect("claim"))
    };
    assert!(claim(10, &[]).is_empty());
    assert!(claim(10, &[("a", 0), ("unknown", 5)]).is_empty());
    assert_eq!(claim(10, &[("a", 2), ("b", 1)]), [1, 2, 3].map(run_id));
    assert_eq!(claim(1, &[("a", 9), ("b", 9)]), [run_id(5)]);
    assert_eq!(claim(10, &[("a", 9), ("b", 9), ("c", 9)]), [4, 6].map(run_id));
    fixture.end();
}

/// At most `max_instances` runs of a job, and of a task over all of its jobs, are claimed at once. A place that is free
/// again, by whatever way, is taken by the next.
pub fn queue_keeps_the_limits(fixture: StoreFixture) {
    let job = limited_job("a", 2, Overlap::Queue);
    fixture.enqueue((1..=5).map(|number| sample_queued_of(&job, number, noon_plus(number.cast_signed()))));
    fixture.enqueue((11..=15).map(limited_run));
    fixture.enqueue([sample_queued(21, noon_plus(9))]);
    let now = noon_plus(60);
    let claimed = fixture.claim_runs("one", now, 10);
    assert_eq!(run_ids(&claimed), [11, 12, 1, 2, 21].map(run_id));
    assert!(fixture.claim_runs("two", now, 10).is_empty(), "all limits are reached");
    for done in &claimed[..3] {
        assert!(fixture.finish_run(claim_of(done), Value::Null));
    }
    let claimed_again = fixture.claim_runs("two", now, 10);
    assert_eq!(run_ids(&claimed_again), [13, 14, 3].map(run_id));
    fixture.queue().release(&[claim_of(&claimed_again[2])]).expect("release");
    assert_eq!(run_ids(&fixture.claim_runs("one", now, 10)), [run_id(3)]);
    fixture.outlast_leases();
    assert_eq!(fixture.queue().reap().expect("reap").len(), 5);
    assert_eq!(run_ids(&fixture.claim_runs("one", now, 20)), [13, 14, 2, 3, 21].map(run_id));
    fixture.end();
}

/// A run needs a place with its job and with its task; one that waits for the one does not keep others from the other.
pub fn queue_keeps_both_limits_at_once(fixture: StoreFixture) {
    let run_of = |job: &Job, number| QueuedRun {
        call: Call::bound(task(LIMITED), Args::default()),
        ..sample_queued_of(job, number, noon_plus(i64::try_from(number).expect("small")))
    };
    let (narrow, wide) = (limited_job("narrow", 1, Overlap::Queue), limited_job("wide", 5, Overlap::Queue));
    fixture.enqueue([1, 2, 3].map(|number| run_of(&narrow, number)));
    fixture.enqueue([4, 5, 6].map(|number| run_of(&wide, number)));
    let now = noon_plus(60);
    let claimed = fixture.claim_runs("one", now, 10);
    assert_eq!(run_ids(&claimed), [1, 4].map(run_id), "one of each: the narrow job and the task are full");
    assert!(fixture.finish_run(claim_of(&claimed[1]), Value::Null));
    let next = fixture.claim_runs("one", now, 10);
    assert_eq!(run_ids(&next), [run_id(5)], "the narrow job is full, so the wide one goes on");
    assert!(fixture.finish_run(claim_of(&claimed[0]), Value::Null));
    assert_eq!(run_ids(&fixture.claim_runs("one", now, 10)), [run_id(2)]);
    assert!(fixture.finish_run(claim_of(&next[0]), Value::Null));
    assert_eq!(run_ids(&fixture.claim_runs("one", now, 10)), [run_id(6)]);
    fixture.end();
}

/// A place with a task that is free again goes to the first run that can take it, not to one that its job holds back.
pub fn queue_passes_over_runs_held_back_elsewhere(fixture: StoreFixture) {
    let run_of = |job: &Job, number| QueuedRun {
        call: Call::bound(task(LIMITED), Args::default()),
        ..sample_queued_of(job, number, noon_plus(i64::try_from(number).expect("small")))
    };
    let (narrow, wide) = (limited_job("narrow", 1, Overlap::Queue), limited_job("wide", 5, Overlap::Queue));
    fixture.enqueue([run_of(&wide, 1), run_of(&wide, 2)]);
    fixture.enqueue([run_of(&narrow, 3), run_of(&narrow, 4), run_of(&wide, 5)]);
    let now = noon_plus(60);
    let claimed = fixture.claim_runs("one", now, 10);
    assert_eq!(run_ids(&claimed), [1, 2].map(run_id), "the task is full");
    for (done, next) in claimed.iter().zip([3, 5]) {
        assert!(fixture.finish_run(claim_of(done), Value::Null));
        assert_eq!(run_ids(&fixture.claim_runs("one", now, 10)), [run_id(next)]);
    }
    fixture.end();
}

/// Many runs behind one limit come through one by one, in order, and none is forgotten.
pub fn queue_drains_behind_a_limit(fixture: StoreFixture) {
    const RUNS: u64 = 100;
    let job = limited_job("a", 1, Overlap::Queue);
    fixture.enqueue((0..RUNS).map(|number| sample_queued_of(&job, number, noon_plus(number.cast_signed()))));
    for number in 0..RUNS {
        let claimed = fixture.claim_run("one", noon_plus(1_000));
        assert_eq!(claimed.run.id, run_id(number));
        assert!(fixture.finish_run(claim_of(&claimed), Value::Null));
    }
    assert!(fixture.claim_runs("one", noon_plus(1_000), 10).is_empty());
    fixture.end();
}

/// Under `Skip`, runs that are committed while all places of the job are taken are skipped and named; a place that was
/// free before the commit is enough for all of its runs.
pub fn queue_skips_runs_that_overlap(fixture: StoreFixture) {
    let job = limited_job("a", 2, Overlap::Skip);
    fixture.insert(std::slice::from_ref(&job));
    let commit = |runs: &[(u64, i64)]| {
        let claimed = fixture.claim_one("one", noon_plus(1_000));
        let runs = runs.iter().map(|(number, seconds)| sample_queued_of(&job, *number, noon_plus(*seconds)));
        fixture.commit_one(&claimed.claim, Advance::To(cursor_at(noon_plus(60))), runs.collect())
    };
    assert_eq!(commit(&[(1, 1)]), applied(), "nothing is unfinished");
    assert_eq!(commit(&[(2, 2), (3, 3), (4, 4)]), applied(), "one of two places is free");
    let skipped = Committed::Applied { skipped: vec![noon_plus(5), noon_plus(6)] };
    assert_eq!(commit(&[(5, 5), (6, 6)]), skipped, "four are unfinished");
    assert_eq!(fixture.queue().counts().expect("counts").queued, 4);
    for number in 1..=4 {
        let claimed = fixture.claim_runs("one", noon_plus(1_000), 1);
        assert_eq!(run_ids(&claimed), [run_id(number)]);
        assert!(fixture.finish_run(claim_of(&claimed[0]), Value::Null));
    }
    assert_eq!(commit(&[(7, 7)]), applied(), "all are finished");
    fixture.end();
}

/// Under `Queue` and `CancelPrevious` every run is queued, however many are unfinished.
pub fn queue_queues_runs_that_overlap(fixture: StoreFixture) {
    for (overlap, base) in [(Overlap::Queue, 0), (Overlap::CancelPrevious, 100)] {
        let job = limited_job(&overlap.to_string(), 1, overlap);
        fixture.insert(std::slice::from_ref(&job));
        for step in 0..3 {
            let claim = fixture.claim_one("one", noon_plus(1_000)).claim;
            let run = sample_queued_of(&job, base + step, noon_plus(step.cast_signed()));
            let advance = Advance::To(cursor_at(noon_plus(60)));
            assert_eq!(fixture.commit_one(&claim, advance, vec![run]), applied(), "{overlap}");
        }
        fixture.store.remove(&[job.id().clone()]).expect("remove");
    }
    assert_eq!(fixture.queue().counts().expect("counts").queued, 6);
    fixture.end();
}

/// A commit queues its runs together with the job's new cursor, or neither of them.
pub fn queue_commits_runs_with_their_job(fixture: StoreFixture) {
    let job = sample_job("a", NOON);
    fixture.insert(std::slice::from_ref(&job));
    let claim = fixture.claim_one("one", NOON).claim;
    fixture.update_one(&moved(&fixture.stored("a"), noon_plus(5))).expect("update");
    let advance = || Advance::To(cursor_at(noon_plus(60)));
    let stale = fixture.commit_one(&claim, advance(), vec![sample_queued_of(&job, 1, NOON)]);
    assert_eq!(stale, Committed::Stale);
    assert!(fixture.claim_runs("one", noon_plus(9), 10).is_empty(), "the stale commit queued nothing");
    let claim = fixture.claim_one("one", noon_plus(5)).claim;
    let run = sample_queued_of(&job, 2, noon_plus(5));
    assert_eq!(fixture.commit_one(&claim, advance(), vec![run]), applied());
    assert_eq!(fixture.stored("a").next_run_time(), Some(noon_plus(60)));
    assert_eq!(fixture.claim_run("one", noon_plus(9)).run.id, run_id(2));
    fixture.end();
}
