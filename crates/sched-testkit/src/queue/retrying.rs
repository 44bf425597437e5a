//! Cases about runs that are tried again, released, or lost with their owner.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use sched_core::{
    Advance, Again, Attempt, ClaimedRun, Committed, FinishedRun, JobSettings, Outcome, Overlap, QueuedRun,
    RunCounts, RunState, TaskError,
};
use serde_json::{Value, json};

use super::{claim_of, run_ids};
use crate::jobs::{
    NOON, cursor_at, noon_plus, run_id, sample_job, sample_queued, sample_queued_of, with_settings,
};
use crate::store::{StoreFixture, single};

/// The attempt that a claim stands for, as it failed.
pub(crate) fn failed(claimed: &ClaimedRun, at: DateTime<Utc>) -> Attempt {
    Attempt {
        attempt: claimed.attempt,
        outcome: Outcome::Failed(TaskError::new(format!("attempt {}", claimed.attempt))),
        started_at: Some(at),
        finished_at: at,
    }
}

impl StoreFixture {
    /// Ends an attempt, to be tried again at a moment; says whether the claim was still open.
    pub(crate) fn try_again(&self, claimed: &ClaimedRun, at: DateTime<Utc>) -> bool {
        let ended = failed(claimed, NOON);
        let mut history = claimed.history.clone();
        history.push(ended.clone());
        let finished = FinishedRun {
            claim: claim_of(claimed),
            outcome: ended.outcome,
            started_at: ended.started_at,
            finished_at: ended.finished_at,
            again: Some(Again { at, history }),
        };
        single(self.queue().finish(vec![finished]).expect("finish"))
    }
}

/// A run that is finished with a time to try again waits until then, with its id, its fire time and its history; each
/// claim counts an attempt.
pub fn queue_tries_again(fixture: StoreFixture) {
    let run = QueuedRun { priority: 3, ..sample_queued_of(&sample_job("a", NOON), 1, NOON) };
    fixture.enqueue([run.clone()]);
    let mut history = Vec::new();
    for attempt in 1..=4 {
        let now = noon_plus(i64::from(attempt) * 60);
        let claimed = fixture.claim_run("one", now);
        assert_eq!((claimed.run.id, claimed.attempt), (run_id(1), attempt));
        assert_eq!((claimed.run.fire_time, claimed.run.priority), (NOON, 3), "they stay as they were");
        assert_eq!(claimed.run.call.args, run.call.args);
        assert_eq!(claimed.history, history);
        history.push(failed(&claimed, NOON));
        let again = now + chrono::TimeDelta::seconds(60);
        assert!(fixture.try_again(&claimed, again), "the claim is open");
        assert!(!fixture.try_again(&claimed, again), "it is open once");
        let record = fixture.queue().result(run_id(1)).expect("the row is there");
        assert_eq!((&record.state, record.attempt), (&RunState::Queued, attempt));
        assert_eq!((record.run.scheduled_time, record.run.fire_time), (again, NOON));
        assert_eq!(record.history, history);
        let before = again - chrono::TimeDelta::microseconds(1);
        assert!(fixture.claim_runs("two", before, 10).is_empty(), "it waits");
    }
    fixture.end();
}

/// A run that waits for its next attempt is unfinished: it is counted, its fire time is taken, others overlap it.
pub fn queue_counts_what_is_tried_again_as_unfinished(fixture: StoreFixture) {
    let settings = JobSettings { overlap: Some(Overlap::Skip), ..JobSettings::default() };
    let job = with_settings(&sample_job("a", NOON), settings);
    fixture.insert(std::slice::from_ref(&job));
    fixture.enqueue([sample_queued_of(&job, 1, NOON)]);
    let claimed = fixture.claim_run("one", NOON);
    assert!(fixture.try_again(&claimed, noon_plus(600)));
    let counts = fixture.queue().counts().expect("counts");
    assert_eq!(counts, RunCounts { queued: 1, running: 0, finished: 0 });
    fixture.enqueue([sample_queued_of(&job, 2, NOON)]);
    assert!(fixture.claim_runs("one", noon_plus(1), 10).is_empty(), "the fire time is taken");
    let claim = fixture.claim_one("one", NOON).claim;
    let run = sample_queued_of(&job, 3, noon_plus(60));
    let committed = fixture.commit_one(&claim, Advance::To(cursor_at(noon_plus(120))), vec![run]);
    assert_eq!(committed, Committed::Applied { skipped: vec![noon_plus(60)] }, "the first is unfinished");
    assert_eq!(fixture.queue().next_wakeup().expect("next wakeup"), Some(noon_plus(600)));
    fixture.end();
}

/// Only the owner of an open claim can have its run tried again; a stale one changes nothing.
pub fn queue_refuses_to_try_again_for_a_stale_owner(fixture: StoreFixture) {
    fixture.enqueue([sample_queued(1, NOON)]);
    let stale = fixture.claim_run("one", NOON);
    fixture.outlast_leases();
    assert_eq!(fixture.queue().reap().expect("reap"), [run_id(1)]);
    assert!(!fixture.try_again(&stale, noon_plus(600)), "the run was reaped");
    let good = fixture.claim_run("two", NOON);
    assert!(!fixture.try_again(&stale, noon_plus(600)), "the run has another owner");
    let record = fixture.queue().result(run_id(1)).expect("the row is there");
    assert!(record.history.is_empty(), "the stale history was not written");
    assert!(matches!(record.state, RunState::Running { .. }));
    assert!(fixture.finish_run(claim_of(&good), Value::Null));
    assert!(!fixture.try_again(&good, NOON), "a finished run is not tried again");
    fixture.end();
}

/// A run that waits for its next attempt gives its place back, and takes one again when it is claimed.
pub fn queue_frees_the_place_of_what_is_tried_again(fixture: StoreFixture) {
    let settings = JobSettings { overlap: Some(Overlap::Queue), ..JobSettings::default() };
    let job = with_settings(&sample_job("a", NOON), settings);
    fixture.enqueue((1..=3).map(|number| sample_queued_of(&job, number, noon_plus(number.cast_signed()))));
    let first = fixture.claim_run("one", noon_plus(60));
    assert!(fixture.try_again(&first, noon_plus(120)));
    let second = fixture.claim_run("one", noon_plus(60));
    assert_eq!(second.run.id, run_id(2), "the place is free");
    assert!(fixture.claim_runs("one", noon_plus(180), 10).is_empty(), "and taken");
    assert!(fixture.finish_run(claim_of(&second), Value::Null));
    let third = fixture.claim_run("one", noon_plus(180));
    assert_eq!(third.run.id, run_id(3), "it was scheduled before the second attempt");
    assert!(fixture.finish_run(claim_of(&third), Value::Null));
    assert_eq!(fixture.claim_run("one", noon_plus(180)).attempt, 2);
    fixture.end();
}

/// The attempts that went before are shown with a finished run.
pub fn queue_keeps_the_history_of_a_result(fixture: StoreFixture) {
    let settings = JobSettings { result_ttl: Some(Duration::from_secs(3_600)), ..JobSettings::default() };
    let job = with_settings(&sample_job("a", NOON), settings);
    fixture.enqueue([sample_queued_of(&job, 1, NOON)]);
    let first = fixture.claim_run("one", NOON);
    assert!(fixture.try_again(&first, NOON));
    let second = fixture.claim_run("two", NOON);
    assert!(fixture.finish_run(claim_of(&second), json!("done")));
    let record = fixture.queue().result(run_id(1)).expect("the result is kept");
    assert_eq!((record.attempt, &record.history), (2, &vec![failed(&first, NOON)]));
    let listed = single(fixture.queue().list(&sched_core::RunFilter::default()).expect("list"));
    assert_eq!((listed.attempt, listed.history), (2, record.history));
    fixture.end();
}

/// A claim whose lease ends counts as an attempt, and one that is released does not, in whatever order they come. The
/// history is that of attempts that were reported.
pub fn queue_counts_lost_attempts_and_not_released_ones(fixture: StoreFixture) {
    fixture.enqueue([sample_queued(1, NOON)]);
    let steps =
        [("released", 1), ("lost", 1), ("released", 2), ("again", 2), ("released", 3), ("lost", 3), ("", 4)];
    let (mut tokens, mut ended) = (Vec::new(), 0);
    for (step, attempt) in steps {
        let claimed = fixture.claim_run("one", noon_plus(1));
        assert_eq!((claimed.attempt, claimed.history.len()), (attempt, ended), "before it is {step}");
        tokens.push(claimed.token);
        match step {
            "released" => fixture.queue().release(&[claim_of(&claimed)]).expect("release"),
            "lost" => fixture.outlast_leases(),
            _ => {
                assert!(fixture.try_again(&claimed, NOON));
                ended += 1;
            }
        }
        fixture.queue().reap().expect("reap");
    }
    assert!(tokens.is_sorted_by(|one, next| one < next), "tokens rise: {tokens:?}");
    fixture.end();
}

/// A lease that ended is taken back by the next claim or by `reap`, whichever comes first.
pub fn queue_claims_what_was_lost_without_a_reap(fixture: StoreFixture) {
    fixture.enqueue([sample_queued(1, NOON), sample_queued(2, NOON)]);
    let lost = fixture.claim_runs("one", NOON, 1);
    fixture.outlast_leases();
    let mut claimed = fixture.claim_runs("two", NOON, 10);
    if claimed.len() == 1 {
        fixture.queue().reap().expect("reap");
        claimed.extend(fixture.claim_runs("two", NOON, 10));
    }
    let mut ids = run_ids(&claimed);
    ids.sort_unstable();
    assert_eq!(ids, [1, 2].map(run_id));
    let taken_over = claimed.iter().find(|claimed| claimed.run.id == run_id(1)).expect("it is among them");
    assert_eq!(taken_over.attempt, 2);
    assert!(!fixture.finish_run(claim_of(&lost[0]), Value::Null));
    fixture.end();
}

/// The end of a lease is its last moment: until then the claim is renewed and finished as ever.
pub fn queue_lease_holds_at_its_very_end(fixture: StoreFixture) {
    fixture.enqueue([1, 2].map(|number| sample_queued(number, NOON)));
    let claimed = fixture.claim_runs("one", NOON, 10);
    if fixture.is_simulated() {
        fixture.pass(fixture.lease());
        assert!(fixture.claim_runs("two", NOON, 10).is_empty());
    }
    assert!(fixture.renew_run(claim_of(&claimed[0]), fixture.lease()));
    assert!(fixture.finish_run(claim_of(&claimed[1]), Value::Null));
    fixture.pass(fixture.lease() / 2);
    assert!(fixture.queue().reap().expect("reap").is_empty());
    assert!(fixture.claim_runs("two", NOON, 10).is_empty(), "it was renewed");
    let wakeup = fixture.queue().next_wakeup().expect("next wakeup").expect("the lease ends");
    assert!(wakeup > fixture.now(), "{wakeup}");
    fixture.end();
}

/// A run that is queued again by whatever way is claimed in its order, not at the end of the line.
pub fn queue_puts_back_into_the_order(fixture: StoreFixture) {
    fixture.enqueue((1..=4).map(|number| sample_queued(number, noon_plus(number.cast_signed()))));
    let claimed = fixture.claim_runs("one", noon_plus(60), 3);
    fixture.queue().release(&[claim_of(&claimed[1])]).expect("release");
    assert!(fixture.try_again(&claimed[0], noon_plus(9)));
    assert_eq!(run_ids(&fixture.claim_runs("two", noon_plus(60), 10)), [2, 4, 1].map(run_id));
    fixture.outlast_leases();
    fixture.queue().reap().expect("reap");
    assert_eq!(run_ids(&fixture.claim_runs("two", noon_plus(60), 10)), [2, 3, 4, 1].map(run_id));
    fixture.end();
}

/// Those whose claims were given back have nothing left to say, while the run is waiting as well as when it is claimed.
pub fn queue_release_ends_the_claim(fixture: StoreFixture) {
    fixture.enqueue([sample_queued(1, NOON)]);
    let released = claim_of(&fixture.claim_run("one", NOON));
    fixture.queue().release(&[released, released]).expect("releasing twice does no harm");
    assert!(!fixture.renew_run(released, fixture.lease()));
    assert!(!fixture.finish_run(released, Value::Null));
    assert_eq!(fixture.queue().counts().expect("counts").queued, 1);
    let owner = fixture.claim_run("two", NOON);
    assert_eq!(owner.attempt, 1);
    fixture.queue().release(&[released]).expect("release");
    assert!(fixture.renew_run(claim_of(&owner), fixture.lease()), "a stale release takes nothing away");
    fixture.end();
}

/// The row of a claimed run says who has it and until when, and a renewal moves that end.
pub fn queue_shows_owners_and_leases(fixture: StoreFixture) {
    fixture.enqueue([sample_queued(1, NOON)]);
    let claimed = fixture.claim_run("owner \u{e4}\u{1F980}", NOON);
    let state = || fixture.queue().result(run_id(1)).expect("the row is there").state;
    let lease = || match state() {
        RunState::Running { owner, lease_until } => (owner, lease_until),
        other => panic!("{other:?} is not running"),
    };
    let (owner, first) = lease();
    assert_eq!(owner, Arc::from("owner \u{e4}\u{1F980}"));
    fixture.pass(fixture.lease() / 2);
    assert!(fixture.renew_run(claim_of(&claimed), fixture.lease()));
    assert!(lease().1 > first, "{} after {first}", lease().1);
    fixture.queue().release(&[claim_of(&claimed)]).expect("release");
    assert_eq!(state(), RunState::Queued);
    fixture.end();
}

/// Runs that wait are ended as cancelled, those that wait for their next attempt too; one that is claimed, over or unknown
/// is left alone. Where a store cannot, it says so.
pub fn queue_cancels_what_waits(fixture: StoreFixture) {
    let settings = JobSettings { result_ttl: Some(Duration::from_secs(3_600)), ..JobSettings::default() };
    let job = with_settings(&sample_job("a", NOON), JobSettings { max_instances: Some(9), ..settings });
    fixture.enqueue((1..=5).map(|number| sample_queued_of(&job, number, noon_plus(number.cast_signed()))));
    let claimed = fixture.claim_runs("one", noon_plus(60), 3);
    assert!(fixture.finish_run(claim_of(&claimed[0]), Value::Null));
    assert!(fixture.try_again(&claimed[1], noon_plus(600)));
    let ids = [4, 1, 2, 3, 9, 4].map(run_id);
    let cancelled = fixture.queue().cancel(&ids, noon_plus(70)).expect("cancel");
    assert_eq!(cancelled, [true, false, true, false, false, false]);
    for number in [2, 4] {
        let record = fixture.queue().result(run_id(number)).expect("the row is kept");
        let RunState::Finished { outcome, finished_at, .. } = record.state else { panic!("it is over") };
        assert_eq!((outcome, finished_at), (Outcome::Cancelled, noon_plus(70)));
    }
    let counts = fixture.queue().counts().expect("counts");
    assert_eq!(counts, RunCounts { queued: 1, running: 1, finished: 3 });
    assert_eq!(run_ids(&fixture.claim_runs("two", noon_plus(9_000), 10)), [run_id(5)]);
    assert!(fixture.finish_run(claim_of(&claimed[2]), Value::Null), "what is claimed is left alone");
    fixture.end();
}
