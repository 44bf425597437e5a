//! Cases about changes by users: inserting, replacing, updating, removing.

use std::sync::Arc;

use sched_core::{ConflictPolicy, Error, ErrorKind, Inserted, Job, JobSettings, JobSpec};
use serde_json::json;

use super::{StoreFixture, assert_kind};
use crate::jobs::{FixedTrigger, NOON, job_id, moved, noon_plus, sample_job, with_settings, with_trigger};

/// Ids are unique: a second insert is refused, kept off, or replaces; of two at once, one adds.
pub fn store_ids_are_unique(fixture: StoreFixture) {
    let (first, second) = (sample_job("a", NOON), sample_job("a", noon_plus(5)));
    fixture.insert(std::slice::from_ref(&first));
    assert_kind(fixture.insert_one(&second, ConflictPolicy::Error), ErrorKind::AlreadyExists);
    assert_eq!(fixture.insert_one(&second, ConflictPolicy::Keep).expect("insert"), Inserted::Kept);
    assert_eq!(fixture.stored("a").next_run_time(), Some(NOON));
    assert_eq!(fixture.insert_one(&second, ConflictPolicy::Replace).expect("insert"), Inserted::Replaced);
    assert_eq!(fixture.stored("a").next_run_time(), Some(noon_plus(5)));
    for round in 0..20 {
        let jobs = [sample_job(&format!("race-{round}"), NOON)];
        let insert = |store: &Arc<dyn sched_core::JobStore>| {
            let mut answers = store.insert(&jobs, ConflictPolicy::Error).expect("insert");
            answers.pop().expect("one answer")
        };
        let (one, other) = std::thread::scope(|scope| {
            let other = scope.spawn(|| insert(&fixture.peer));
            (insert(&fixture.store), other.join().expect("the store does not panic"))
        });
        let kinds = [one, other].map(|answer| answer.map_err(|error: Error| error.kind()));
        let added = kinds.iter().filter(|answer| **answer == Ok(Inserted::Added)).count();
        let refused = kinds.iter().filter(|answer| **answer == Err(ErrorKind::AlreadyExists)).count();
        assert_eq!((added, refused), (1, 1), "{kinds:?}");
    }
    assert_eq!(fixture.ids().len(), 21);
    fixture.end();
}

/// In a batch each job gets its own answer, in order, and the others are not affected.
pub fn store_answers_each_job(fixture: StoreFixture) {
    fixture.insert(&[sample_job("b", NOON)]);
    let batch = ["a", "b", "c"].map(|id| sample_job(id, NOON));
    let answers = fixture.store.insert(&batch, ConflictPolicy::Error).expect("insert");
    let kinds: Vec<_> = answers.into_iter().map(|answer| answer.map_err(|error| error.kind())).collect();
    assert_eq!(kinds, [Ok(Inserted::Added), Err(ErrorKind::AlreadyExists), Ok(Inserted::Added)]);
    let batch = ["a", "x", "c"].map(|id| moved(&sample_job(id, NOON), noon_plus(1)));
    let answers = fixture.store.update(&batch).expect("update");
    let kinds: Vec<_> = answers.into_iter().map(|answer| answer.map_err(|error| error.kind())).collect();
    assert_eq!(kinds, [Ok(()), Err(ErrorKind::NotFound), Ok(())]);
    assert_eq!(fixture.ids(), ["b", "a", "c"]);
    let removed = fixture.store.remove(&["a", "x", "b"].map(job_id)).expect("remove");
    assert_eq!(removed, [true, false, true]);
    assert!(fixture.store.insert(&[], ConflictPolicy::Error).expect("insert").is_empty());
    assert!(fixture.store.get(&[]).expect("get").is_empty());
    assert!(fixture.store.remove(&[]).expect("remove").is_empty());
    assert_eq!(fixture.ids(), ["c"]);
    fixture.end();
}

/// A job replaced by one of the same schedule stays where it stands; with another schedule it starts anew.
pub fn store_replace_keeps_the_cursor(fixture: StoreFixture) {
    let times = || FixedTrigger::every(NOON, 60, 100);
    let stands = with_trigger(&sample_job("a", noon_plus(120)), times());
    fixture.insert(std::slice::from_ref(&stands));
    let before = fixture.stored("a").cursor;
    let settings = JobSettings { max_instances: Some(3), ..JobSettings::default() };
    let same = with_settings(&with_trigger(&sample_job("a", NOON), times()), settings);
    assert_eq!(fixture.insert_one(&same, ConflictPolicy::Replace).expect("insert"), Inserted::Replaced);
    let replaced = fixture.stored("a");
    assert_eq!(replaced.spec.options.max_instances, 3);
    assert_eq!(
        (replaced.next_run_time(), replaced.next_fire_time()),
        (before.next_run_time, before.next_fire_time)
    );
    assert_ne!(replaced.cursor.revision, before.revision, "a replacement counts as a change");
    let paused = moved(&replaced, None);
    fixture.update_one(&paused).expect("update");
    fixture.insert_one(&same, ConflictPolicy::Replace).expect("insert");
    assert_eq!(fixture.stored("a").status(), paused.status(), "a paused job stays paused");
    let other = with_trigger(&sample_job("a", noon_plus(7)), FixedTrigger::every(noon_plus(7), 30, 5));
    fixture.insert_one(&other, ConflictPolicy::Replace).expect("insert");
    assert_eq!(fixture.stored("a").next_run_time(), Some(noon_plus(7)));
    assert_eq!(fixture.ids(), ["a"]);
    fixture.end();
}

/// An update writes every attribute.
pub fn store_updates_every_attribute(fixture: StoreFixture) {
    fixture.insert(&[sample_job("a", NOON), sample_job("b", noon_plus(1))]);
    let settings = JobSettings { max_instances: Some(6), ..JobSettings::default() };
    let changed = with_settings(&moved(&fixture.stored("a"), noon_plus(2)), settings);
    let changed = with_trigger(&changed, FixedTrigger::every(noon_plus(2), 1, 2));
    let spec = JobSpec {
        name: Some(Arc::from("new")),
        args: json!(["new"]).into(),
        ..JobSpec::clone(&changed.spec)
    };
    let changed = Job { spec: Arc::new(spec), cursor: changed.cursor };
    fixture.update_one(&changed).expect("update");
    let stored = fixture.stored("a");
    assert_eq!((stored.name(), stored.spec.options.max_instances), ("new", 6));
    assert_eq!(stored.spec.args, changed.spec.args);
    assert_eq!(stored.spec.trigger.to_config(), changed.spec.trigger.to_config());
    assert_eq!(stored.next_run_time(), Some(noon_plus(2)));
    assert_eq!(fixture.ids(), ["b", "a"]);
    fixture.end();
}

/// An update of a job that somebody else has changed, or that is gone, is refused; of two at once, one is applied.
pub fn store_updates_compare_revisions(fixture: StoreFixture) {
    fixture.insert(&[sample_job("a", NOON)]);
    let read = fixture.stored("a");
    fixture.update_one(&moved(&read, noon_plus(1))).expect("update");
    assert_kind(fixture.update_one(&moved(&read, noon_plus(2))), ErrorKind::Stale);
    assert_eq!(fixture.stored("a").next_run_time(), Some(noon_plus(1)));
    assert_kind(fixture.update_one(&sample_job("missing", NOON)), ErrorKind::NotFound);
    for _ in 0..20 {
        let jobs = [fixture.stored("a")];
        let update = |store: &Arc<dyn sched_core::JobStore>| {
            let mut answers = store.update(&jobs).expect("update");
            answers.pop().expect("one answer").map_err(|error| error.kind())
        };
        let (one, other) = std::thread::scope(|scope| {
            let other = scope.spawn(|| update(&fixture.peer));
            (update(&fixture.store), other.join().expect("the store does not panic"))
        });
        assert!(matches!((one, other), (Ok(()), Err(ErrorKind::Stale)) | (Err(ErrorKind::Stale), Ok(()))));
    }
    fixture.end();
}

/// A removed job is gone; a missing one is said to be missing.
pub fn store_removes(fixture: StoreFixture) {
    fixture.insert(&["a", "b", "c"].map(|id| sample_job(id, NOON)));
    assert_eq!(fixture.store.remove(&[job_id("b")]).expect("remove"), [true]);
    assert_eq!(fixture.store.remove(&[job_id("b")]).expect("remove"), [false]);
    assert_eq!(fixture.ids(), ["a", "c"]);
    assert_eq!(fixture.claim("one", NOON, 10).len(), 2);
    fixture.insert(&[sample_job("b", noon_plus(1))]);
    assert_eq!(fixture.ids(), ["a", "c", "b"]);
    fixture.end();
}

/// Clearing removes all jobs, scheduled or not, claimed or not.
pub fn store_clears(fixture: StoreFixture) {
    fixture.insert(&[sample_job("a", NOON), sample_job("b", noon_plus(1)), sample_job("c", None)]);
    assert_eq!(fixture.claim("one", NOON, 10).len(), 1);
    assert_eq!(fixture.store.clear().expect("clear"), 3);
    assert_eq!(fixture.store.clear().expect("clear"), 0);
    assert!(fixture.ids().is_empty());
    assert_eq!(fixture.store.next_wakeup().expect("next wakeup"), None);
    fixture.end();
}
