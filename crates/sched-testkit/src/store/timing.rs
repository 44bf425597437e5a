//! Cases about times: to the microsecond, before the epoch, far from us.

use chrono::{DateTime, TimeDelta, Utc};
use sched_core::{Cursor, Job};

use super::{StoreFixture, applied, claimed_ids};
use crate::jobs::{NOON, noon_plus, sample_job, time};

/// From the first year to the last that RFC 3339 can write.
const FAR: [&str; 8] = [
    "0001-01-01T00:00:00Z",
    "0001-01-01T00:00:00.000001Z",
    "1582-10-15T12:34:56.789012Z",
    "1969-12-31T23:59:59.999999Z",
    "1970-01-01T00:00:00Z",
    "2038-01-19T03:14:08Z",
    "9999-12-31T23:59:59.999998Z",
    "9999-12-31T23:59:59.999999Z",
];

/// Times of years 1 to 9999 come back as they were and are listed in their order.
pub fn store_keeps_far_times(fixture: StoreFixture) {
    let jobs: Vec<Job> =
        (0..).zip(FAR).map(|(at, text)| sample_job(&format!("job-{}", 9 - at), time(text))).collect();
    fixture.insert(&jobs);
    let listed = fixture.list(&sched_core::JobFilter::default());
    let times: Vec<Option<DateTime<Utc>>> = listed.iter().map(Job::next_run_time).collect();
    assert_eq!(times, FAR.map(|text| Some(time(text))));
    for (listed, job) in listed.iter().zip(&jobs) {
        assert_eq!((listed.id(), &listed.cursor), (job.id(), &job.cursor));
    }
    fixture.end();
}

/// A job of any time is due at its moment and not a microsecond before.
pub fn store_claims_to_the_microsecond(fixture: StoreFixture) {
    for (at, text) in (0..).zip(FAR) {
        let (id, due) = (format!("job-{at}"), time(text));
        fixture.insert(&[sample_job(&id, due)]);
        assert_eq!(fixture.store.next_wakeup().expect("next wakeup"), Some(due), "{text}");
        assert!(fixture.claim("one", due - TimeDelta::microseconds(1), 10).is_empty(), "{text}");
        assert_eq!(claimed_ids(&fixture.claim("one", due, 10)), [&*id], "{text}");
        fixture.store.clear().expect("clear");
    }
    fixture.end();
}

/// The times of a cursor are kept each for itself, to the microsecond, by insert, update and commit alike.
pub fn store_keeps_every_time_of_a_cursor(fixture: StoreFixture) {
    let cursor = |base: i64| Cursor {
        next_fire_time: Some(NOON + TimeDelta::microseconds(base + 1)),
        next_run_time: Some(NOON + TimeDelta::microseconds(base + 2)),
        last_fire_time: Some(NOON - TimeDelta::microseconds(base + 3)),
        ..Cursor::default()
    };
    let job = Job { cursor: cursor(10), ..sample_job("a", NOON) };
    fixture.insert(std::slice::from_ref(&job));
    assert_eq!(fixture.stored("a").cursor, cursor(10), "after an insert");
    let read = fixture.stored("a");
    let update = Cursor { revision: read.cursor.revision, ..cursor(20) };
    fixture.update_one(&Job { cursor: update, ..read }).expect("update");
    let stored = fixture.stored("a").cursor;
    assert_eq!(Cursor { revision: 0, ..stored.clone() }, cursor(20), "after an update");
    let claim = fixture.claim_one("one", noon_plus(1)).claim;
    assert_eq!(fixture.commit_one(&claim, sched_core::Advance::To(cursor(30)), Vec::new()), applied());
    let committed = fixture.stored("a").cursor;
    assert_eq!(Cursor { revision: stored.revision + 1, ..cursor(30) }, committed, "after a commit");
    fixture.end();
}

/// The loop is woken for what comes first: the next job, or the end of a lease.
pub fn store_wakes_for_what_comes_first(fixture: StoreFixture) {
    let wakeup = || fixture.store.next_wakeup().expect("next wakeup").expect("something is scheduled");
    let now = fixture.now();
    let (soon, far) = (now + TimeDelta::milliseconds(10), now + TimeDelta::days(400));
    fixture.insert(&[sample_job("due", now - TimeDelta::seconds(1)), sample_job("far", far)]);
    let claim = fixture.claim_one("one", now).claim;
    let lease_end = wakeup();
    assert!(lease_end < far);
    fixture.insert(&[sample_job("soon", soon)]);
    assert_eq!(wakeup(), soon, "it is earlier than {lease_end}");
    fixture.store.remove(&[crate::jobs::job_id("soon")]).expect("remove");
    assert_eq!(fixture.advance(&claim, far + TimeDelta::days(1)), applied());
    assert_eq!(wakeup(), far, "the lease is over with its commit");
    fixture.end();
}

/// A lease lasts as long as was asked for, each its own time.
pub fn store_gives_each_lease_its_time(fixture: StoreFixture) {
    fixture.insert(&["a", "b"].map(|id| sample_job(id, NOON)));
    let long = sched_core::ClaimRequest { lease: fixture.lease() * 4, ..fixture.request("one", NOON, 1) };
    let long = fixture.store.claim_due(&long).expect("claim");
    assert_eq!(claimed_ids(&long), ["a"]);
    assert_eq!(claimed_ids(&fixture.claim("one", NOON, 1)), ["b"]);
    fixture.outlast_leases();
    let again = fixture.claim("two", NOON, 10);
    assert_eq!(claimed_ids(&again), ["b"], "the longer lease holds");
    assert_eq!(fixture.advance(&long[0].claim, noon_plus(60)), applied());
    fixture.end();
}
