//! Cases about runs that are cancelled before anybody claims them.

use std::sync::Arc;
use std::time::Duration;

use sched_core::{JobOptions, JobSettings, Outcome, QueuedRun, RunState};
use serde_json::Value;

use super::keys::keyed;
use super::{claim_of, run_ids};
use crate::jobs::{NOON, noon_plus, run_id, sample_job, sample_queued, sample_queued_of, with_settings};
use crate::store::StoreFixture;

/// A run that waits, for its time or behind a limit, may be cancelled; one that is claimed, over or unknown may not.
/// What it held up goes on.
pub fn queue_cancels_what_a_limit_holds_back(fixture: StoreFixture) {
    let single = JobSettings { max_instances: Some(1), ..JobSettings::default() };
    let job = with_settings(&sample_job("one", NOON), single);
    let kept = |run: QueuedRun| {
        let options =
            JobOptions { result_ttl: Duration::from_secs(3_600), ..JobOptions::clone(&run.options) };
        QueuedRun { options: Arc::new(options), ..run }
    };
    let of_job = |number, seconds| kept(sample_queued_of(&job, number, noon_plus(seconds)));
    fixture.enqueue([of_job(1, 0), of_job(2, 1), of_job(3, 2), kept(sample_queued(4, noon_plus(60)))]);
    let claimed = fixture.claim_run("one", noon_plus(5));
    assert_eq!(claimed.run.id, run_id(1));
    let (wanted, now) = ([1, 2, 4, 9].map(run_id), fixture.now());
    let cancelled = fixture.queue().cancel(&wanted, now).expect("cancel");
    assert_eq!(cancelled, [false, true, true, false]);
    assert_eq!(fixture.queue().cancel(&wanted, now).expect("cancel again"), [false; 4]);
    for number in [2, 4] {
        let state = fixture.queue().result(run_id(number)).expect("it is kept").state;
        let is_cancelled = matches!(state, RunState::Finished { outcome: Outcome::Cancelled, .. });
        assert!(is_cancelled, "{number}: {state:?}");
    }
    assert!(fixture.finish_run(claim_of(&claimed), Value::Null));
    let next = run_ids(&fixture.claim_runs("two", noon_plus(120), 10));
    assert_eq!(next, [run_id(3)], "the others are gone");
    fixture.end();
}

/// A run that was called to a free place and is cancelled before it takes it leaves it to the next.
pub fn queue_cancelling_leaves_the_place_to_the_next(fixture: StoreFixture) {
    let single = JobSettings { max_instances: Some(1), ..JobSettings::default() };
    let job = with_settings(&sample_job("one", NOON), single);
    let of_job = |number: u64| sample_queued_of(&job, number, noon_plus(number.cast_signed()));
    let of_key = |number: u64| keyed(sample_queued(number, noon_plus(number.cast_signed())), "k", 1);
    fixture.enqueue((1..=4).map(of_job).chain((11..=14).map(of_key)));
    let now = noon_plus(60);
    let claimed = fixture.claim_runs("one", now, 10);
    assert_eq!(run_ids(&claimed), [1, 11].map(run_id));
    claimed.iter().for_each(|claimed| assert!(fixture.finish_run(claim_of(claimed), Value::Null)));
    let next = [2, 12].map(run_id);
    assert_eq!(fixture.queue().cancel(&next, now).expect("cancel"), [true; 2]);
    let claimed = fixture.claim_runs("one", now, 10);
    assert_eq!(run_ids(&claimed), [3, 13].map(run_id));
    claimed.iter().for_each(|claimed| assert!(fixture.finish_run(claim_of(claimed), Value::Null)));
    // The last ones leave nothing behind.
    assert_eq!(fixture.queue().cancel(&[4, 14, 4].map(run_id), now).expect("cancel"), [true, true, false]);
    assert!(fixture.claim_runs("one", now, 10).is_empty());
    assert_eq!(fixture.queue().counts().expect("counts").queued, 0);
    fixture.enqueue([of_job(5), of_key(15)]);
    assert_eq!(run_ids(&fixture.claim_runs("one", now, 10)), [5, 15].map(run_id));
    fixture.end();
}
