//! Cases about the life of a store: closed, restarted, persistent or not, shared or not.

use std::sync::Arc;

use sched_core::{ConflictPolicy, ErrorKind, JobFilter, StoredJob};

use super::{StoreFixture, applied, assert_kind, claimed_ids};
use crate::jobs::{NOON, closure_job, job_id, noon_plus, sample_job};

/// Before `start` and after `shutdown` every call fails as closed; a second start works. A store that is not persistent
/// is then empty.
pub fn store_restarts(fixture: StoreFixture) {
    fixture.insert(&[sample_job("a", NOON)]);
    let stale = fixture.claim_one("one", NOON).claim;
    fixture.shutdown();
    let jobs = [sample_job("b", NOON)];
    let (store, closed) = (&fixture.store, ErrorKind::Closed);
    assert_kind(store.insert(&jobs, ConflictPolicy::Error), closed);
    assert_kind(store.update(&jobs), closed);
    assert_kind(store.remove(&[job_id("a")]), closed);
    assert_kind(store.clear(), closed);
    assert_kind(store.get(&[job_id("a")]), closed);
    assert_kind(store.list(&JobFilter::default()), closed);
    assert_kind(store.next_wakeup(), closed);
    assert_kind(store.claim_due(&fixture.request("one", NOON, 1)), closed);
    assert_kind(store.commit(Vec::new()), closed);
    if let Some(queue) = store.runs() {
        assert_kind(queue.counts(), closed);
        assert_kind(queue.enqueue(Vec::new()), closed);
    }
    store.shutdown().expect("a second shutdown does no harm");
    fixture.start();
    let expected: &[&str] = if store.traits().persistent { &["a"] } else { &[] };
    assert_eq!(fixture.ids(), expected);
    store.clear().expect("clear");
    fixture.insert(&[sample_job("a", NOON)]);
    let fresh = fixture.claim_one("one", NOON).claim;
    assert_ne!(fresh.token, stale.token, "tokens are not used again");
    assert_eq!(fixture.advance(&fresh, noon_plus(60)), applied());
    fixture.end();
}

/// A job whose task has no name is kept in memory and refused anywhere else; no error takes the others with it.
pub fn store_judges_closures(fixture: StoreFixture) {
    let jobs = [sample_job("a", NOON), closure_job("closure", NOON), sample_job("z", NOON)];
    let answers = fixture.store.insert(&jobs, ConflictPolicy::Error).expect("insert");
    let kinds: Vec<_> = answers.into_iter().map(|answer| answer.err().map(|error| error.kind())).collect();
    if fixture.store.traits().persistent {
        assert_eq!(kinds, [None, Some(ErrorKind::InvalidJob), None]);
        assert_eq!(fixture.ids(), ["a", "z"]);
    } else {
        assert_eq!(kinds, [None, None, None]);
        assert_eq!(claimed_ids(&fixture.claim("one", NOON, 10)), ["a", "closure", "z"]);
    }
    fixture.end();
}

/// The jobs of a persistent store are there after a restart, as they were.
pub fn store_keeps_jobs_over_a_restart(fixture: StoreFixture) {
    assert!(fixture.store.traits().persistent, "this suite is for persistent stores");
    fixture.insert(&[sample_job("a", NOON), sample_job("b", None)]);
    let before = [fixture.stored("a"), fixture.stored("b")];
    fixture.shutdown();
    fixture.start();
    assert_eq!(fixture.ids(), ["a", "b"]);
    for job in before {
        let stored = fixture.stored(job.id().as_str());
        assert_eq!(stored.cursor, job.cursor);
        assert_eq!(stored.spec.args, job.spec.args);
        assert!(stored.spec.task.bound().is_some(), "the task is found again by its name");
    }
    fixture.end();
}

/// A row that does not decode is listed with the reason, is neither claimed nor deleted, and blocks nobody.
pub fn store_quarantines_what_does_not_decode(fixture: StoreFixture) {
    fixture.insert(&["a", "b", "c"].map(|id| sample_job(id, NOON)));
    fixture.corrupt(&job_id("b"));
    for _ in 0..2 {
        let listed = fixture.store.list(&JobFilter::default()).expect("list");
        let jobs: Vec<_> = listed.iter().filter(|stored| matches!(stored, StoredJob::Job(_))).collect();
        let quarantined: Vec<_> = listed
            .iter()
            .filter_map(|stored| match stored {
                StoredJob::Quarantined { id, reason, .. } => Some((id.as_str(), !reason.is_empty())),
                StoredJob::Job(_) => None,
            })
            .collect();
        assert_eq!((jobs.len(), quarantined), (2, vec![("b", true)]));
    }
    let claimed = fixture.claim("one", NOON, 10);
    assert_eq!(claimed_ids(&claimed), ["a", "c"]);
    for claimed in &claimed {
        assert_eq!(fixture.advance(&claimed.claim, noon_plus(60)), applied());
    }
    let wakeup = fixture.store.next_wakeup().expect("next wakeup");
    assert_eq!(wakeup, Some(noon_plus(60)), "the row does not keep the loop awake");
    assert_eq!(fixture.store.remove(&[job_id("b")]).expect("remove"), [true], "it can be removed by hand");
    fixture.end();
}

/// What one handle writes, the other reads.
pub fn store_is_shared_by_its_handles(fixture: StoreFixture) {
    let is_shared = fixture.store.traits().shared;
    assert!(
        !is_shared || !Arc::ptr_eq(&fixture.store, &fixture.peer),
        "the fixture of a shared store has a peer"
    );
    fixture.insert(&[sample_job("a", NOON)]);
    let seen = fixture.peer.get(&[job_id("a")]).expect("get");
    assert_eq!(seen.into_iter().flatten().count(), 1);
    let claim = fixture.claim_one("one", NOON).claim;
    assert!(fixture.peer.claim_due(&fixture.request("two", NOON, 1)).expect("claim").is_empty());
    assert_eq!(fixture.advance(&claim, noon_plus(60)), applied());
    let seen = fixture.peer.get(&[job_id("a")]).expect("get");
    assert_eq!(
        seen.into_iter().flatten().next().and_then(|job| job.position().next_run_time),
        Some(noon_plus(60))
    );
    fixture.end();
}
