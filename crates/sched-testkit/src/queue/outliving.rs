//! Cases about the run queue of a persistent store: what is there after a restart, after a crash, after damage.

use std::sync::Arc;
use std::time::Duration;

use sched_core::{JobOptions, Outcome, QueuedRun, RunCounts, RunState, TaskErrorKind};
use serde_json::{Value, json};

use super::{claim_of, failed, run_ids};
use crate::jobs::{NOON, noon_plus, run_id, sample_queued};
use crate::store::StoreFixture;

/// A run that is kept for an hour after its end.
fn kept(number: u64) -> QueuedRun {
    let run = sample_queued(number, NOON);
    let options = JobOptions { result_ttl: Duration::from_secs(3_600), ..JobOptions::clone(&run.options) };
    QueuedRun { options: Arc::new(options), ..run }
}

/// The runs that an owner holds, and no others, are free at once when it is recovered; its old claims are stale, and
/// the attempts that had begun count.
pub fn queue_recovers_an_owner(fixture: StoreFixture) {
    fixture.enqueue((1..=4).map(|number| sample_queued(number, NOON)));
    let lost = fixture.claim_runs("one", NOON, 2);
    let live = fixture.claim_runs("two", NOON, 1);
    fixture.store.recover("nobody").expect("recover");
    fixture.store.recover("one").expect("recover");
    assert_eq!(fixture.queue().counts().expect("counts"), RunCounts { queued: 3, running: 1, finished: 0 });
    assert!(!fixture.renew_run(claim_of(&lost[0]), fixture.lease()), "the old claim is stale");
    let again = fixture.claim_runs("one", NOON, 10);
    let attempts: Vec<_> = again.iter().map(|claimed| (claimed.run.id, claimed.attempt)).collect();
    assert_eq!(attempts, [(run_id(1), 2), (run_id(2), 2), (run_id(4), 1)]);
    assert!(again[0].token > lost[0].token);
    assert!(!fixture.finish_run(claim_of(&lost[1]), Value::Null));
    assert!(fixture.finish_run(claim_of(&live[0]), Value::Null), "a live owner keeps its claim");
    fixture.end();
}

/// Runs, claims, histories and results of a persistent store are there after a restart, as they were.
pub fn queue_keeps_runs_over_a_restart(fixture: StoreFixture) {
    fixture.enqueue((1..=4).map(kept));
    let claimed = fixture.claim_runs("one", NOON, 3);
    assert!(fixture.finish_run(claim_of(&claimed[0]), json!({ "rows": 7 })));
    assert!(fixture.try_again(&claimed[1], noon_plus(60)));
    fixture.shutdown();
    fixture.start();
    assert_eq!(fixture.queue().counts().expect("counts"), RunCounts { queued: 2, running: 1, finished: 1 });
    let record = fixture.queue().result(run_id(1)).expect("the result is kept");
    assert!(
        matches!(&record.state, RunState::Finished { outcome, .. } if *outcome == Outcome::Succeeded(json!({ "rows": 7 })))
    );
    let record = fixture.queue().result(run_id(2)).expect("the row is there");
    assert_eq!((record.attempt, record.history), (1, vec![failed(&claimed[1], NOON)]));
    let next = fixture.claim_runs("two", NOON, 10);
    assert_eq!(run_ids(&next), [run_id(4)], "the third is leased");
    assert!(next[0].token > claimed[2].token, "tokens are not used again");
    assert!(fixture.renew_run(claim_of(&claimed[2]), fixture.lease()), "a claim outlives the store");
    fixture.end();
}

/// A run whose row does not decode is finished as abandoned with the reason and kept; it blocks nobody.
pub fn queue_abandons_what_does_not_decode(fixture: StoreFixture) {
    fixture.enqueue((1..=3).map(kept));
    fixture.corrupt_run(run_id(1));
    let mut claimed = fixture.claim_runs("one", NOON, 1);
    claimed.extend(fixture.claim_runs("one", NOON, 10));
    assert_eq!(run_ids(&claimed), [2, 3].map(run_id));
    let record = fixture.queue().result(run_id(1)).expect("the row is kept");
    let RunState::Finished { outcome: Outcome::Abandoned(reason), .. } = record.state else {
        panic!("{:?} is not abandoned", record.state)
    };
    assert!(!reason.is_empty());
    let listed = fixture.queue().list(&sched_core::RunFilter::default()).expect("list");
    assert_eq!(listed.len(), 3, "it is listed");
    assert!(fixture.claim_runs("two", noon_plus(60), 10).is_empty());
    assert_eq!(fixture.queue().counts().expect("counts"), RunCounts { queued: 0, running: 2, finished: 1 });
    fixture.end();
}

/// A value that is too long to be kept is told as a failure of its own kind; the run is over all the same.
pub fn queue_tells_of_values_that_are_too_long(fixture: StoreFixture) {
    fixture.enqueue([kept(1), kept(2)]);
    let claimed = fixture.claim_runs("one", NOON, 10);
    let most = fixture.max_payload();
    assert!(fixture.finish_run(claim_of(&claimed[0]), json!("x".repeat(most - 64))));
    assert!(fixture.finish_run(claim_of(&claimed[1]), json!("x".repeat(most + 1))));
    let outcome = |number| match fixture.queue().result(run_id(number)).expect("the row is kept").state {
        RunState::Finished { outcome, .. } => outcome,
        other => panic!("{other:?} is not finished"),
    };
    assert_eq!(outcome(1).value().and_then(Value::as_str).map(str::len), Some(most - 64));
    let Outcome::Failed(error) = outcome(2) else { panic!("it is a failure") };
    assert_eq!(*error.kind(), TaskErrorKind::Other("result_too_long".to_owned()));
    fixture.end();
}

/// A run that is queued directly with arguments that are too long is refused, and nothing of its batch is half there.
pub fn queue_refuses_long_payloads(fixture: StoreFixture) {
    let most = fixture.max_payload();
    let with = |number, length: usize| {
        let run = sample_queued(number, NOON);
        let args = sched_core::Args::from(json!(["x".repeat(length)]));
        QueuedRun { call: sched_core::Call { args, ..run.call }, ..run }
    };
    fixture.enqueue([with(1, most - 256)]);
    let refused = fixture.queue().enqueue(vec![with(2, most + 1)]);
    crate::store::assert_kind(refused, sched_core::ErrorKind::InvalidJob);
    let claimed = fixture.claim_run("one", NOON);
    assert_eq!((claimed.run.id, claimed.run.call.args), (run_id(1), with(1, most - 256).call.args));
    fixture.end();
}
