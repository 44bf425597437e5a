//! What is special to the memory store.

use std::sync::Arc;

use sched_core::{
    Claim, ClaimRequest, Committed, ConflictPolicy, ErrorKind, Job, JobFilter, JobSpec, JobStore, Registry,
    Task, TaskRef,
};
// Linking the crate is what registers it.
use sched_store_memory::MemoryStore;
use sched_testkit::jobs::{NOON, job_id, moved, noon_plus, sample_job};
use sched_testkit::{FaultyStore, StoreCall, StoreFixture};
use serde_json::json;

/// A started store and its fixture.
fn started() -> StoreFixture {
    let fixture = StoreFixture::new(Arc::new(MemoryStore::new()));
    fixture.start();
    fixture
}

#[test]
fn memory_store_is_empty_after_shutdown() {
    let fixture = started();
    let store = &fixture.store;
    store.insert(&[sample_job("a", NOON), sample_job("b", None)], ConflictPolicy::Error).unwrap();
    fixture.shutdown();
    fixture.start();
    assert!(store.list(&JobFilter::default()).unwrap().is_empty());
    assert_eq!(store.next_wakeup().unwrap(), None);
    assert_eq!(store.runs().unwrap().counts().unwrap(), sched_core::RunCounts::default());
}

#[test]
fn it_is_built_by_its_alias_and_has_no_keys() {
    let registry = Registry::linked().unwrap();
    let context = sched_core::BuildContext { registry: &registry, timezone: chrono_tz::Tz::UTC };
    let build = |config| registry.job_store("jobstores.default", config, context);
    assert!(!build(json!({ "type": "memory" })).unwrap().traits().persistent);
    let error = build(json!({ "type": "memory", "url": "x" })).map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    assert!(error.to_string().starts_with("jobstores.default.url: unknown key"), "{error}");
}

/// A closure may own the store that keeps it: deleting it must not happen under the store's lock.
#[test]
fn a_deleted_closure_may_use_the_store() {
    struct Owner(Arc<dyn JobStore>);
    impl Drop for Owner {
        fn drop(&mut self) {
            let _ = self.0.list(&JobFilter::default());
        }
    }
    let fixture = started();
    let store = &fixture.store;
    let owning = |id: &str| {
        let owner = Owner(Arc::clone(store));
        let task = Task::new("owner", move |_, _| owner.0.traits().persistent);
        let sample = sample_job(id, NOON);
        let spec = JobSpec { task: TaskRef::Bound(Arc::new(task)), ..JobSpec::clone(&sample.spec) };
        Job { spec: Arc::new(spec), cursor: sample.cursor }
    };
    let insert = |conflict| store.insert(&[owning("a"), owning("b")], conflict).unwrap();
    insert(ConflictPolicy::Error);
    insert(ConflictPolicy::Replace);
    assert_eq!(store.remove(&[job_id("a")]).unwrap(), [true]);
    store.update(&[moved(&owning("b"), NOON)]).unwrap();
    assert_eq!(store.clear().unwrap(), 1);
    insert(ConflictPolicy::Error);
    fixture.shutdown();
}

/// A slot is used again when its job is gone; the token tells the claims apart.
#[test]
fn a_claim_on_a_slot_that_was_reused_is_stale() {
    let fixture = started();
    let store = &fixture.store;
    let request = ClaimRequest {
        owner: Arc::from("one"),
        now: NOON,
        limit: 10,
        lease: std::time::Duration::from_secs(30),
    };
    let claim = || store.claim_due(&request).unwrap().pop().unwrap().claim;
    store.insert(&[sample_job("a", NOON)], ConflictPolicy::Error).unwrap();
    let first = claim();
    store.remove(&[job_id("a")]).unwrap();
    store.insert(&[sample_job("b", NOON)], ConflictPolicy::Error).unwrap();
    let second = claim();
    assert_eq!(second.slot, first.slot);
    let commit = |claim: &Claim| {
        let advance = sched_core::Advance::Remove;
        store.commit(vec![sched_core::JobCommit { claim: claim.clone(), advance, runs: Vec::new() }]).unwrap()
    };
    assert_eq!(commit(&first), [Committed::Stale]);
    assert_eq!(commit(&Claim { token: second.token, ..first }), [Committed::Stale]);
    assert_eq!(commit(&second), [Committed::Applied { skipped: Vec::new() }]);
}

#[test]
fn a_faulty_store_fails_as_told_and_counts() {
    let fixture = StoreFixture::new(FaultyStore::new(Arc::new(MemoryStore::new())));
    let store = FaultyStore::new(Arc::clone(&fixture.store));
    store.start(fixture.context()).unwrap();
    store.fail(StoreCall::NextWakeup, 2, ErrorKind::Unavailable);
    assert_eq!(store.next_wakeup().unwrap_err().kind(), ErrorKind::Unavailable);
    assert!(store.next_wakeup().unwrap_err().is_retryable());
    assert_eq!(store.next_wakeup().unwrap(), None);
    assert_eq!((store.calls(StoreCall::NextWakeup), store.total_calls()), (3, 4));
    store.lose_answers(StoreCall::Insert, 1, ErrorKind::Timeout);
    let jobs = [sample_job("a", noon_plus(1))];
    assert_eq!(store.insert(&jobs, ConflictPolicy::Error).unwrap_err().kind(), ErrorKind::Timeout);
    assert_eq!(store.list(&JobFilter::default()).unwrap().len(), 1, "the work was done");
    store.panic(StoreCall::Clear, 1);
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| store.clear())).is_err());
    store.break_down(ErrorKind::Unavailable);
    assert!(store.list(&JobFilter::default()).is_err());
    store.mend();
    assert_eq!(store.clear().unwrap(), 1);
}
