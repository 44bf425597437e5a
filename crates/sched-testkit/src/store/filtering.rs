//! Cases about which jobs are listed, looked up and counted, and page after page of them.

use std::sync::Arc;

use sched_core::{
    Cursor, Job, JobCounts, JobFilter, JobPosition, JobSpec, JobState, JobStatus, StoredJob, TaskRef,
};

use super::{StoreFixture, claimed_ids};
use crate::jobs::{FAIL, NOON, job_id, noon_plus, sample_job, task};

/// The job with another task.
fn of_task(job: &Job, name: &str) -> Job {
    let spec = JobSpec { task: TaskRef::Bound(task(name)), ..JobSpec::clone(&job.spec) };
    Job { spec: Arc::new(spec), cursor: job.cursor.clone() }
}

/// The job out of the schedule.
fn stopped(job: &Job, status: JobStatus) -> Job {
    Job { spec: Arc::clone(&job.spec), cursor: Cursor::clone(&job.cursor).stopped(status) }
}

/// Jobs of every state, and of two tasks.
fn mixed() -> Vec<Job> {
    let finished = [stopped(&sample_job("f-1", NOON), JobStatus::Finished)];
    let suspended =
        ["s-1", "s-2"].map(|id| stopped(&sample_job(id, NOON), JobStatus::Suspended(Arc::from(id))));
    let paused = ["p-1", "p-2", "p-3"].map(|id| sample_job(id, None));
    let scheduled = (0..8).map(|number| sample_job(&format!("job-{number}"), noon_plus(number / 3)));
    let jobs = scheduled.chain(paused).chain(suspended).chain(finished);
    jobs.enumerate().map(|(at, job)| if at % 2 == 1 { of_task(&job, FAIL) } else { job }).collect()
}

/// The ids of a listing, read page by page.
fn paged(fixture: &StoreFixture, filter: &JobFilter, limit: usize) -> Vec<String> {
    let (mut ids, mut after) = (Vec::new(), filter.after.clone());
    loop {
        let page = JobFilter { after: after.take(), limit: Some(limit), ..filter.clone() };
        let listed = fixture.store.list(&page).expect("list");
        assert!(listed.len() <= limit, "a page of {limit} has {}", listed.len());
        let Some(last) = listed.last() else { return ids };
        after = Some(last.position());
        ids.extend(listed.iter().map(|stored| stored.id().as_str().to_owned()));
    }
}

/// Checks a filter against the whole list, at once and in pages of several sizes.
fn check(fixture: &StoreFixture, filter: &JobFilter) {
    let all = fixture.store.list(&JobFilter::default()).expect("list");
    let wanted: Vec<String> = all
        .iter()
        .filter(|stored| filter.admits(stored))
        .map(|stored| stored.id().as_str().to_owned())
        .collect();
    let listed = fixture.store.list(filter).expect("list");
    let listed: Vec<_> = listed.iter().map(|stored| stored.id().as_str().to_owned()).collect();
    assert_eq!(listed, wanted, "{filter:?}");
    for limit in [1, 2, 3, 5, 100] {
        assert_eq!(paged(fixture, filter, limit), wanted, "{filter:?} in pages of {limit}");
    }
}

const STATES: [JobState; 5] =
    [JobState::Scheduled, JobState::Paused, JobState::Finished, JobState::Suspended, JobState::Quarantined];

/// Jobs of one task are listed, in order and in pages.
pub fn store_lists_by_task(fixture: StoreFixture) {
    fixture.insert(&mixed());
    for name in [FAIL, crate::jobs::ECHO, "unknown"] {
        check(&fixture, &JobFilter { task: Some(Arc::from(name)), ..JobFilter::default() });
    }
    let listed = fixture.list(&JobFilter { task: Some(Arc::from(FAIL)), ..JobFilter::default() });
    assert_eq!(listed.len(), 7);
    fixture.end();
}

/// Jobs of one state are listed, in order and in pages.
pub fn store_lists_by_state(fixture: StoreFixture) {
    fixture.insert(&mixed());
    let numbers = STATES.map(|state| {
        let filter = JobFilter { state: Some(state), ..JobFilter::default() };
        check(&fixture, &filter);
        fixture.list(&filter).len()
    });
    assert_eq!(numbers, [8, 3, 1, 2, 0]);
    fixture.end();
}

/// Task, state, place and limit work together.
pub fn store_pages_through_a_filter(fixture: StoreFixture) {
    fixture.insert(&mixed());
    for state in STATES {
        check(
            &fixture,
            &JobFilter { task: Some(Arc::from(FAIL)), state: Some(state), ..JobFilter::default() },
        );
    }
    let filter = JobFilter {
        task: Some(Arc::from(FAIL)),
        state: Some(JobState::Scheduled),
        after: Some(JobPosition { next_run_time: Some(noon_plus(1)), id: job_id("job-3") }),
        limit: Some(1),
    };
    let listed = fixture.list(&filter);
    assert_eq!(listed.iter().map(|job| job.id().as_str()).collect::<Vec<_>>(), ["job-5"]);
    fixture.end();
}

/// Where many jobs have one time, pages go on by id, byte by byte.
pub fn store_pages_across_equal_times(fixture: StoreFixture) {
    let ids = ["B", "a", "A", "b", "_", "\u{e4}", "\u{1F980}", "z", "\u{6f22}", "a ", "ab"];
    fixture.insert(&ids.map(|id| sample_job(id, NOON)));
    let twins: Vec<String> = ids.iter().map(|id| format!("p{id}")).collect();
    fixture.insert(&twins.iter().map(|id| sample_job(id, None)).collect::<Vec<_>>());
    let mut expected: Vec<String> = ids.map(str::to_owned).into();
    let mut paused = twins;
    expected.sort_unstable();
    paused.sort_unstable();
    expected.extend(paused);
    for limit in [1, 2, 3, 7, 11, 12, 100] {
        assert_eq!(paged(&fixture, &JobFilter::default(), limit), expected, "pages of {limit}");
    }
    fixture.end();
}

/// A page goes on after a place where no job is any more, in the schedule or out of it.
pub fn store_pages_go_on_after_a_removed_job(fixture: StoreFixture) {
    fixture.insert(&["a", "b", "c"].map(|id| sample_job(id, NOON)));
    fixture.insert(&["x", "y", "z"].map(|id| sample_job(id, None)));
    fixture.store.remove(&[job_id("b"), job_id("y")]).expect("remove");
    let after = |next_run_time, id: &str| {
        let after = Some(JobPosition { next_run_time, id: job_id(id) });
        let listed = fixture.list(&JobFilter { after, ..JobFilter::default() });
        listed.iter().map(|job| job.id().as_str().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(after(Some(NOON), "b"), ["c", "x", "z"]);
    assert_eq!(after(Some(NOON), "zzz"), ["x", "z"]);
    assert_eq!(after(Some(noon_plus(-1)), "zzz"), ["a", "c", "x", "z"]);
    assert_eq!(after(Some(noon_plus(1)), "a"), ["x", "z"]);
    assert_eq!(after(None, "y"), ["z"]);
    assert!(after(None, "z").is_empty());
    fixture.end();
}

/// Jobs are counted by their state.
pub fn store_counts_jobs(fixture: StoreFixture) {
    let counts = || fixture.store.job_counts().expect("counts");
    assert_eq!(counts(), JobCounts::default());
    fixture.insert(&mixed());
    let expected = JobCounts { scheduled: 8, paused: 3, finished: 1, suspended: 2, quarantined: 0 };
    assert_eq!(counts(), expected);
    let claimed = fixture.claim("one", NOON, 2);
    assert_eq!(counts(), expected, "a claimed job is scheduled");
    fixture.commit_one(&claimed[0].claim, sched_core::Advance::Remove, Vec::new());
    fixture.store.remove(&[job_id("p-1")]).expect("remove");
    assert_eq!(counts(), JobCounts { scheduled: 7, paused: 2, ..expected });
    fixture.store.clear().expect("clear");
    assert_eq!(counts(), JobCounts::default());
    fixture.end();
}

/// Of equal times the order is that of ids, byte by byte, in claims too: no locale, no folding of cases.
pub fn store_orders_ids_by_bytes(fixture: StoreFixture) {
    let ids = [
        "b",
        "B",
        "a",
        "A",
        "Z",
        "z",
        "\u{e4}",
        "\u{c4}",
        "ae",
        "\u{1F980}",
        "\u{ffee}",
        "10",
        "9",
        "-",
        " ",
        "~",
    ];
    fixture.insert(&ids.map(|id| sample_job(id, NOON)));
    let mut sorted = ids;
    sorted.sort_unstable_by_key(|id| id.as_bytes());
    assert_eq!(fixture.ids(), sorted);
    let (first, rest) = (fixture.claim("one", NOON, 5), fixture.claim("one", NOON, 100));
    assert_eq!(claimed_ids(&first), sorted[..5]);
    assert_eq!(claimed_ids(&rest), sorted[5..]);
    fixture.end();
}

/// Each id that is looked up gets its own answer, in the order asked, however often it is named.
pub fn store_looks_up_in_the_order_asked(fixture: StoreFixture) {
    fixture.insert(&["a", "b", "c"].map(|id| sample_job(id, NOON)));
    let ids = ["c", "x", "a", "c", "b", "x"];
    let found = fixture.store.get(&ids.map(job_id)).expect("get");
    let found: Vec<Option<&str>> =
        found.iter().map(|stored| stored.as_ref().map(|stored| stored.id().as_str())).collect();
    assert_eq!(found, [Some("c"), None, Some("a"), Some("c"), Some("b"), None]);
    let many: Vec<_> = (0..1_000).map(|number| job_id(&format!("no-{number}"))).collect();
    assert!(fixture.store.get(&many).expect("get").iter().all(Option::is_none));
    fixture.end();
}

/// An empty store lists nothing, whatever is asked for.
pub fn store_lists_nothing_when_empty(fixture: StoreFixture) {
    let filter = JobFilter {
        task: Some(Arc::from(FAIL)),
        state: Some(JobState::Paused),
        after: Some(JobPosition { next_run_time: None, id: job_id("a") }),
        limit: Some(5),
    };
    assert_eq!(fixture.store.list(&JobFilter::default()).expect("list"), Vec::<StoredJob>::new());
    assert_eq!(fixture.store.list(&filter).expect("list"), Vec::<StoredJob>::new());
    assert_eq!(fixture.store.clear().expect("clear"), 0);
    assert!(fixture.claim("one", NOON, 10).is_empty());
    fixture.end();
}
