//! Cases about what a store gives back: order, pages, every attribute, microseconds.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use sched_core::{
    Args, Coalesce, Grace, Job, JobFilter, JobPosition, JobSettings, JobSpec, JobStatus, Overlap, Retain,
    Retry, RetryKind, TimeoutSlot,
};
use serde_json::json;

use super::{StoreFixture, claimed_ids};
use crate::jobs::{NOON, job_id, moved, noon_plus, sample_job, with_settings};

/// Jobs are listed and claimed by time and then id; those out of the schedule are listed last, by id.
pub fn store_orders_by_time_then_id(fixture: StoreFixture) {
    let times = [
        ("e", Some(2)),
        ("b", None),
        ("d", Some(1)),
        ("a", None),
        ("g", Some(1)),
        ("f", Some(2)),
        ("c", Some(3)),
    ];
    let jobs = times.map(|(id, seconds)| sample_job(id, seconds.map(noon_plus)));
    fixture.insert(&jobs);
    assert_eq!(fixture.ids(), ["d", "g", "e", "f", "c", "a", "b"]);
    let claimed = fixture.claim("one", noon_plus(2), 10);
    assert_eq!(claimed_ids(&claimed), ["d", "g", "e", "f"]);
    fixture.end();
}

/// A job that is moved, paused or resumed finds its new place, also among jobs of the same time.
pub fn store_orders_anew_after_changes(fixture: StoreFixture) {
    for mover in ["a", "b", "c"] {
        let jobs = ["a", "b", "c"].map(|id| sample_job(id, NOON));
        fixture.insert(&jobs);
        let others: Vec<&str> = ["a", "b", "c"].into_iter().filter(|id| *id != mover).collect();
        let change = |time: Option<DateTime<Utc>>| {
            fixture.update_one(&moved(&fixture.stored(mover), time)).expect("update");
            fixture.ids()
        };
        let first = |mover| [&[mover], &others[..]].concat();
        let last = |mover| [&others[..], &[mover]].concat();
        assert_eq!(change(Some(noon_plus(-1))), first(mover), "{mover} is earlier");
        assert_eq!(change(Some(NOON)), ["a", "b", "c"], "{mover} is back");
        assert_eq!(change(None), last(mover), "{mover} is paused");
        assert_eq!(fixture.claim("one", noon_plus(1), 10).len(), 2, "{mover} is not due");
        assert_eq!(change(Some(noon_plus(1))), last(mover), "{mover} is resumed");
        fixture.store.clear().expect("clear");
    }
    fixture.end();
}

/// Pages follow one another without gap or repetition.
pub fn store_lists_in_pages(fixture: StoreFixture) {
    let scheduled = (0..7).map(|number| sample_job(&format!("job-{number}"), noon_plus(number / 3)));
    let paused = (0..3).map(|number| sample_job(&format!("paused-{number}"), None));
    let jobs: Vec<Job> = scheduled.chain(paused).collect();
    fixture.insert(&jobs);
    let all = fixture.ids();
    assert_eq!(all.len(), 10);
    for limit in [1, 2, 3, 9, 10, 11] {
        let (mut paged, mut after) = (Vec::new(), None);
        loop {
            let page =
                fixture.list(&JobFilter { after: after.take(), limit: Some(limit), ..JobFilter::default() });
            assert!(page.len() <= limit, "a page of {limit} has {}", page.len());
            let Some(last) = page.last() else { break };
            after = Some(JobPosition::from(last));
            paged.extend(page.iter().map(|job| job.id().as_str().to_owned()));
        }
        assert_eq!(paged, all, "pages of {limit}");
    }
    assert!(fixture.list(&JobFilter { limit: Some(0), ..JobFilter::default() }).is_empty());
    fixture.end();
}

/// Claimed jobs are listed in their place, and found.
pub fn store_lists_claimed_jobs(fixture: StoreFixture) {
    let jobs: Vec<Job> =
        (0..6).map(|number| sample_job(&format!("job-{number}"), noon_plus(number))).collect();
    fixture.insert(&jobs);
    let all = fixture.ids();
    assert_eq!(fixture.claim("one", noon_plus(2), 2).len(), 2);
    assert_eq!(fixture.ids(), all);
    assert_eq!(fixture.stored("job-0").next_run_time(), Some(NOON));
    let page =
        fixture.list(&JobFilter { after: Some((&jobs[0]).into()), limit: Some(2), ..JobFilter::default() });
    assert_eq!(page, [jobs[1].clone(), jobs[2].clone()]);
    fixture.end();
}

/// A job that is there is found by its id, equal in every attribute; another is not.
pub fn store_looks_jobs_up(fixture: StoreFixture) {
    let settings = JobSettings {
        executor: Some(Arc::from("other")),
        misfire_grace_time: Some(Grace::Within(Duration::from_secs(90))),
        coalesce: Some(Coalesce::All),
        max_instances: Some(6),
        overlap: Some(Overlap::Queue),
        jitter: Some(Duration::from_millis(250)),
        max_catch_up: Some(7),
        retain: Some(Retain::Finished),
        timeout: Some(Duration::from_secs(5)),
        timeout_slot: Some(TimeoutSlot::Free),
        retry: Some(Arc::new(Retry::new(4).backoff(Duration::from_secs(9)).only([RetryKind::TimedOut]))),
        max_takeovers: Some(5),
        priority: Some(-3),
        result_ttl: Some(Duration::from_secs(3_600)),
        concurrency_key: Some(Arc::from("tenant 7")),
        concurrency_limit: Some(3),
        metadata: json!({ "team": "a", "nested": { "list": [1, null] } }).as_object().cloned().map(Arc::new),
    };
    let plain = with_settings(&sample_job("rich", NOON), settings);
    let named = json!({ "key": "\u{e4}\u{1F980}" }).as_object().cloned().unwrap_or_default();
    let spec = JobSpec {
        name: Some(Arc::from("A name \u{1F980}")),
        args: Args::new(vec![json!(1), json!("two")], named),
        ..JobSpec::clone(&plain.spec)
    };
    let mut job = Job { spec: Arc::new(spec), cursor: plain.cursor.clone() };
    job.cursor.last_fire_time = Some(noon_plus(-60));
    job.cursor.next_run_time = Some(NOON + TimeDelta::microseconds(123_456));
    fixture.insert(std::slice::from_ref(&job));
    let stored = fixture.stored("rich");
    assert_eq!(stored.name(), "A name \u{1F980}");
    assert_eq!(stored.spec.task.name(), job.spec.task.name());
    assert_eq!(stored.spec.args, job.spec.args);
    assert_eq!(stored.spec.options, job.spec.options);
    assert_eq!(stored.spec.settings, job.spec.settings);
    assert_eq!(stored.spec.trigger.to_config(), job.spec.trigger.to_config());
    assert_eq!(stored.cursor, job.cursor);
    assert!(fixture.get("missing").is_none());
    let both = fixture.store.get(&[job_id("missing"), job_id("rich")]).expect("get");
    let both: Vec<Option<Job>> =
        both.into_iter().map(|stored| stored.map(|stored| stored.into_job().expect("it decodes"))).collect();
    assert_eq!(both, [None, Some(job)]);
    fixture.end();
}

/// Times a microsecond apart stay apart, and come back as they were.
pub fn store_keeps_microseconds(fixture: StoreFixture) {
    let at = |micros| NOON + TimeDelta::microseconds(micros);
    fixture.insert(&[("z", 400), ("y", 401), ("x", 402)].map(|(id, micros)| sample_job(id, at(micros))));
    assert_eq!(fixture.ids(), ["z", "y", "x"]);
    assert_eq!(fixture.store.next_wakeup().expect("next wakeup"), Some(at(400)));
    assert_eq!(claimed_ids(&fixture.claim("one", at(401), 10)), ["z", "y"]);
    assert_eq!(fixture.stored("x").cursor, sample_job("x", at(402)).cursor);
    let far = [("early", "1970-01-01T00:00:00.000001Z"), ("late", "9999-12-31T23:59:59.999999Z")];
    for (id, text) in far {
        let time = crate::jobs::time(text);
        fixture.insert(&[sample_job(id, time)]);
        assert_eq!(fixture.stored(id).next_run_time(), Some(time), "{text}");
    }
    fixture.end();
}

/// Every id that is valid is stored, and told apart from those that look like it.
pub fn store_takes_any_valid_id(fixture: StoreFixture) {
    let long = "\u{1F980}".repeat(512);
    let mut other_long = long.clone();
    other_long.pop();
    let ids = [
        "a",
        "A",
        "a ",
        " a",
        "\u{e4}",
        "a\u{308}",
        "\u{6f22}\u{5b57}",
        "%",
        "_",
        "a:b",
        "{a}",
        "$a",
        "a.b",
        "'",
        "\"",
        "\\",
        "a/b",
        "*",
        "null",
        &long,
        &other_long,
    ];
    fixture.insert(&ids.map(|id| sample_job(id, NOON)));
    let mut sorted = ids.to_vec();
    sorted.sort_unstable();
    assert_eq!(fixture.ids(), sorted);
    for id in ids {
        assert_eq!(fixture.stored(id).id().as_str(), id);
        assert_eq!(fixture.store.remove(&[job_id(id)]).expect("remove"), [true], "{id}");
        assert!(fixture.get(id).is_none(), "{id}");
    }
    fixture.end();
}

/// Its debug text says what it is.
pub fn store_shows_itself(fixture: StoreFixture) {
    let text = format!("{:?}", fixture.store);
    assert!(text.starts_with(char::is_alphabetic), "`{text}` does not name the store");
    fixture.insert(&[sample_job("secret-argument", None)]);
    assert!(!format!("{:?}", fixture.store).contains("secret-argument"), "debug text shows jobs");
    let mut suspended = fixture.stored("secret-argument");
    suspended.cursor.status = JobStatus::Suspended(Arc::from("no fire time: \u{e4}"));
    fixture.update_one(&suspended).expect("update");
    assert_eq!(fixture.stored("secret-argument").cursor.status, suspended.cursor.status);
    fixture.end();
}
