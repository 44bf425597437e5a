//! Cases about concurrency keys, limits over several owners, and tasks that are not registered.

use std::collections::BTreeMap;
use std::sync::Arc;

use sched_core::{
    Args, Call, JobOptions, JobSettings, MissReason, Outcome, Overlap, QueuedRun, RunId, TaskRef,
};
use serde_json::{Value, json};

use super::{claim_of, run_ids};
use crate::jobs::{
    ECHO, LIMITED, LOOK, NOON, noon_plus, run_id, sample_job, sample_queued, sample_queued_of, task,
    with_settings,
};
use crate::store::{StoreFixture, race};

/// The run under a key of so many places.
pub(crate) fn keyed(run: QueuedRun, key: &str, limit: u32) -> QueuedRun {
    let options = JobOptions {
        concurrency_key: Some(Arc::from(key)),
        concurrency_limit: limit,
        ..JobOptions::clone(&run.options)
    };
    QueuedRun { options: Arc::new(options), ..run }
}

/// At most `concurrency_limit` runs of a key are claimed at once, whatever their jobs, tasks and owners.
pub fn queue_keeps_the_limit_of_a_key(fixture: StoreFixture) {
    let settings =
        JobSettings { overlap: Some(Overlap::Queue), max_instances: Some(9), ..JobSettings::default() };
    let (a, b) = (sample_job("a", NOON), sample_job("b", NOON));
    let (a, b) = (with_settings(&a, settings.clone()), with_settings(&b, settings));
    let look = |number| QueuedRun {
        call: Call::bound(task(LOOK), Args::default()),
        ..sample_queued(number, noon_plus(4))
    };
    let runs = [
        sample_queued_of(&a, 1, noon_plus(1)),
        sample_queued_of(&b, 2, noon_plus(2)),
        sample_queued_of(&a, 3, noon_plus(3)),
        look(4),
        sample_queued_of(&b, 5, noon_plus(5)),
    ];
    fixture.enqueue(runs.map(|run| keyed(run, "tenant 7", 2)));
    fixture.enqueue([
        sample_queued_of(&a, 6, noon_plus(6)),
        keyed(sample_queued(7, noon_plus(7)), "tenant 8", 1),
    ]);
    let now = noon_plus(60);
    let claimed = fixture.claim_runs("one", now, 10);
    assert_eq!(run_ids(&claimed), [1, 2, 6, 7].map(run_id), "two of the key, and all others");
    let peer = fixture.peer.runs().expect("the peer has a run queue");
    let by_peer = || {
        let places = [(Arc::from("default"), 100)];
        peer.claim(&fixture.request("two", now, 10), &places).expect("claim")
    };
    assert!(by_peer().is_empty(), "another owner finds the key full too");
    assert!(fixture.finish_run(claim_of(&claimed[1]), Value::Null));
    let next = by_peer();
    assert_eq!(run_ids(&next), [run_id(3)]);
    assert!(fixture.claim_runs("one", now, 10).is_empty());
    assert!(fixture.finish_run(claim_of(&claimed[0]), Value::Null));
    assert!(fixture.finish_run(claim_of(&next[0]), Value::Null));
    assert_eq!(run_ids(&fixture.claim_runs("one", now, 10)), [4, 5].map(run_id));
    fixture.end();
}

/// Runs that a key holds back do not hold back others behind them, however many they are and however few are asked for.
pub fn queue_passes_over_a_full_key(fixture: StoreFixture) {
    fixture.enqueue((1..=60).map(|number| keyed(sample_queued(number, NOON), "busy", 1)));
    fixture.enqueue((61..=62).map(|number| sample_queued(number, noon_plus(1))));
    fixture.enqueue([keyed(sample_queued(63, noon_plus(2)), "idle", 1)]);
    let mut claimed = Vec::new();
    for _ in 0..4 {
        claimed.extend(run_ids(&fixture.claim_runs("one", noon_plus(60), 1)));
    }
    assert_eq!(claimed, [1, 61, 62, 63].map(run_id));
    assert!(fixture.claim_runs("one", noon_plus(60), 10).is_empty());
    fixture.end();
}

/// The place of a key is free again when its run is finished, released, to be tried again, or lost.
pub fn queue_frees_the_place_of_a_key(fixture: StoreFixture) {
    fixture
        .enqueue((1..=3).map(|number| keyed(sample_queued(number, noon_plus(number.cast_signed())), "k", 1)));
    let now = noon_plus(60);
    let claimed = fixture.claim_run("one", now);
    fixture.queue().release(&[claim_of(&claimed)]).expect("release");
    let claimed = fixture.claim_run("one", now);
    assert_eq!(claimed.run.id, run_id(1), "after a release");
    assert!(fixture.try_again(&claimed, noon_plus(600)));
    let claimed = fixture.claim_run("one", now);
    assert_eq!(claimed.run.id, run_id(2), "while the first waits for its next attempt");
    fixture.outlast_leases();
    fixture.queue().reap().expect("reap");
    let claimed = fixture.claim_run("two", now);
    assert_eq!(claimed.run.id, run_id(2), "after its lease");
    assert!(fixture.finish_run(claim_of(&claimed), Value::Null));
    assert_eq!(fixture.claim_run("two", now).run.id, run_id(3), "after the end");
    fixture.end();
}

/// Runs need a place with each of their limits: of the job, the task and the key.
pub fn queue_keeps_all_limits_at_once(fixture: StoreFixture) {
    let settings =
        JobSettings { overlap: Some(Overlap::Queue), max_instances: Some(2), ..JobSettings::default() };
    let job = with_settings(&sample_job("a", NOON), settings);
    let run = |number: u64, key| {
        let run = sample_queued_of(&job, number, noon_plus(number.cast_signed()));
        keyed(QueuedRun { call: Call::bound(task(LIMITED), Args::default()), ..run }, key, 1)
    };
    fixture.enqueue([run(1, "x"), run(2, "x"), run(3, "y"), run(4, "z")]);
    fixture.enqueue([keyed(sample_queued(5, noon_plus(5)), "x", 1), sample_queued(6, noon_plus(6))]);
    let now = noon_plus(60);
    let claimed = fixture.claim_runs("one", now, 10);
    assert_eq!(run_ids(&claimed), [1, 3, 6].map(run_id), "the key, then the job and the task are full");
    assert!(fixture.finish_run(claim_of(&claimed[1]), Value::Null));
    let more = fixture.claim_runs("one", now, 10);
    assert_eq!(run_ids(&more), [run_id(4)], "the second waits for its key");
    assert!(fixture.finish_run(claim_of(&claimed[0]), Value::Null));
    assert_eq!(run_ids(&fixture.claim_runs("one", now, 10)), [run_id(2)], "the fifth waits for the key");
    fixture.end();
}

/// Many who claim at once, through two handles, do not exceed the limits of a key, a job and a task.
pub fn queue_keeps_the_limits_in_a_race(fixture: StoreFixture) {
    const THREADS: u32 = 8;
    for round in 0..10 {
        let settings =
            JobSettings { overlap: Some(Overlap::Queue), max_instances: Some(3), ..JobSettings::default() };
        let job = with_settings(&sample_job(&format!("job-{round}"), NOON), settings);
        let of_job = (1..=20).map(|number| sample_queued_of(&job, number, noon_plus(number.cast_signed())));
        fixture.enqueue(of_job);
        fixture.enqueue((21..=40).map(|number| keyed(sample_queued(number, NOON), "key", 2)));
        let limited = |number| QueuedRun {
            call: Call::bound(task(LIMITED), Args::default()),
            ..sample_queued(number, NOON)
        };
        fixture.enqueue((41..=60).map(limited));
        let claimed = race(&fixture, THREADS, |store, thread| {
            let queue = store.runs().expect("a run queue");
            let places = [(Arc::from("default"), 4)];
            queue
                .claim(&fixture.request(&format!("owner {thread}"), noon_plus(60), 4), &places)
                .expect("claim")
        });
        let mut claimed: Vec<_> = claimed.into_iter().flatten().collect();
        claimed.extend(fixture.claim_runs("last", noon_plus(60), 100));
        let mut counts: BTreeMap<u64, usize> = BTreeMap::new();
        let number = |id: RunId| (1..=60).find(|number| run_id(*number) == id).unwrap_or_default();
        claimed.iter().for_each(|claimed| *counts.entry((number(claimed.run.id) - 1) / 20).or_default() += 1);
        assert_eq!(counts, BTreeMap::from([(0, 3), (1, 2), (2, 2)]), "round {round}");
        drain(&fixture);
    }
    fixture.end();
}

/// Finishes whatever is queued or leased.
fn drain(fixture: &StoreFixture) {
    fixture.outlast_leases();
    fixture.queue().reap().expect("reap");
    loop {
        let claimed = fixture.claim_runs("drain", noon_plus(60), 100);
        if claimed.is_empty() {
            break;
        }
        claimed.iter().for_each(|claimed| assert!(fixture.finish_run(claim_of(claimed), Value::Null)));
    }
    assert_eq!(fixture.queue().counts().expect("counts").queued, 0);
}

/// In a shared store a run whose task is not registered is left to those who know it, and blocks nobody; any other
/// store gives it out, so that somebody can say what is wrong.
pub fn queue_leaves_unknown_tasks(fixture: StoreFixture) {
    let unknown = |number| {
        let call = Call { task: TaskRef::Named(Arc::from("nobody.knows")), args: Args::from(json!([1])) };
        QueuedRun { call, ..sample_queued(number, NOON) }
    };
    fixture.enqueue((1..=30).map(unknown));
    fixture.enqueue([31, 32].map(|number| sample_queued(number, noon_plus(1))));
    let known = |claimed: &[sched_core::ClaimedRun]| {
        claimed.iter().all(|claimed| claimed.run.call.task.name() == ECHO)
    };
    if fixture.store.traits().shared {
        let claimed = fixture.claim_runs("one", noon_plus(60), 2);
        assert!(known(&claimed));
        assert_eq!(run_ids(&claimed), [31, 32].map(run_id));
        assert!(fixture.claim_runs("one", noon_plus(60), 10).is_empty());
        assert_eq!(fixture.queue().counts().expect("counts").queued, 30, "they wait");
        let record = fixture.queue().result(run_id(1)).expect("the row is there");
        assert_eq!((record.run.call.task.name(), record.attempt), ("nobody.knows", 0));
    } else {
        let claimed = fixture.claim_runs("one", noon_plus(60), 100);
        assert_eq!(claimed.len(), 32);
        assert_eq!(claimed[0].run.call.task.name(), "nobody.knows");
        let outcome = Outcome::Missed(MissReason::NoTask("nobody.knows".to_owned()));
        assert!(fixture.finish_with(claim_of(&claimed[0]), outcome));
    }
    fixture.end();
}

/// The limits of a job count unfinished runs however they came: queued, leased, or to be tried again; a commit within
/// the limit is not skipped for runs of other jobs or of nobody.
pub fn queue_skips_only_for_runs_of_the_job(fixture: StoreFixture) {
    let settings =
        JobSettings { overlap: Some(Overlap::Skip), max_instances: Some(2), ..JobSettings::default() };
    let (a, b) = (sample_job("a", NOON), sample_job("b", noon_plus(9_000)));
    let (a, b) = (with_settings(&a, settings.clone()), with_settings(&b, settings));
    fixture.insert(std::slice::from_ref(&a));
    fixture.enqueue((1..=9).map(|number| sample_queued_of(&b, number, noon_plus(number.cast_signed()))));
    fixture.enqueue([sample_queued(10, NOON)]);
    let commit = |number, seconds| {
        let claim = fixture.claim_one("one", noon_plus(1_000)).claim;
        let run = sample_queued_of(&a, number, noon_plus(seconds));
        let advance = sched_core::Advance::To(crate::jobs::cursor_at(noon_plus(60)));
        fixture.commit_one(&claim, advance, vec![run])
    };
    let applied = crate::store::applied();
    assert_eq!(commit(11, 1), applied);
    let claimed = fixture.claim_runs("one", noon_plus(1_000), 100);
    assert!(run_ids(&claimed).contains(&run_id(11)), "it is leased");
    assert_eq!(commit(12, 2), applied, "one is leased");
    let skipped = sched_core::Committed::Applied { skipped: vec![noon_plus(3)] };
    assert_eq!(commit(13, 3), skipped, "one is leased and one waits");
    let known = commit(14, 1);
    assert_eq!(known, applied, "a fire time that is queued already is neither queued again nor skipped");
    fixture.end();
}
