//! The case about runs that are cancelled before anybody claims them.

use std::sync::Arc;
use std::time::Duration;

use sched_core::{ErrorKind, JobOptions, JobSettings, Outcome, QueuedRun, RunState};
use serde_json::Value;

use super::{claim_of, run_ids};
use crate::jobs::{NOON, noon_plus, run_id, sample_job, sample_queued, sample_queued_of, with_settings};
use crate::store::StoreFixture;

/// A run that waits, for its time or behind a limit, may be cancelled; one that is claimed, over or unknown may not.
/// What it held up goes on. A store that cannot do it says so.
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
    let cancelled = match fixture.queue().cancel(&wanted, now) {
        Err(error) if error.kind() == ErrorKind::Unsupported => return fixture.end(),
        answer => answer.expect("cancel"),
    };
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
