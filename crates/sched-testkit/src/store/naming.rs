//! Cases about ids, arguments and names: of every length and every character.

use std::sync::Arc;

use sched_core::{Args, Call, ConflictPolicy, ErrorKind, Inserted, Job, JobSpec, MAX_JOB_ID_CHARS, TaskRef};
use serde_json::{Value, json};

use super::{StoreFixture, applied, assert_kind, claimed_ids};
use crate::jobs::{NOON, job_id, noon_plus, sample_job};

/// Ids that look alike are different jobs, to every call.
fn check_apart(fixture: StoreFixture, ids: &[&str]) {
    fixture.insert(&ids.iter().map(|id| sample_job(id, NOON)).collect::<Vec<_>>());
    for id in ids {
        assert_kind(
            fixture.insert_one(&sample_job(id, NOON), ConflictPolicy::Error),
            ErrorKind::AlreadyExists,
        );
        assert_eq!(fixture.stored(id).id().as_str(), *id);
    }
    let claimed = fixture.claim("one", NOON, 100);
    let mut sorted = ids.to_vec();
    sorted.sort_unstable();
    assert_eq!(claimed_ids(&claimed), sorted);
    for (seconds, claimed) in (1..).zip(&claimed) {
        assert_eq!(fixture.advance(&claimed.claim, noon_plus(seconds)), applied(), "{:?}", claimed.job.id());
    }
    assert_eq!(fixture.ids(), sorted);
    let (removed, left) = sorted.split_at(1);
    assert_eq!(fixture.store.remove(&[job_id(removed[0])]).expect("remove"), [true]);
    assert_eq!(fixture.ids(), left);
    fixture.end();
}

/// Ids may have 1 to 512 characters of any width; they are told apart by the very last one.
pub fn store_takes_ids_of_every_length(fixture: StoreFixture) {
    let mut ids = Vec::new();
    for letter in ["x", "\u{e4}", "\u{1F980}"] {
        for length in [1, 2, 63, 64, 127, 128, 191, 192, 254, 255, 256, 511, MAX_JOB_ID_CHARS] {
            ids.push(letter.repeat(length));
        }
        ids.push(format!("{}y", letter.repeat(MAX_JOB_ID_CHARS - 1)));
    }
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    check_apart(fixture, &ids);
}

/// Ids that differ in case only are different.
pub fn store_tells_ids_apart_by_case(fixture: StoreFixture) {
    check_apart(
        fixture,
        &[
            "job", "Job", "JOB", "joB", "\u{e4}", "\u{c4}", "i", "I", "\u{131}", "\u{130}", "\u{df}", "SS",
            "ss",
        ],
    );
}

/// Ids that differ in spaces only are different, at their end too.
pub fn store_tells_ids_apart_by_spaces(fixture: StoreFixture) {
    check_apart(
        fixture,
        &["a", "a ", " a", "a  ", " ", "  ", "a b", "a  b", "a\u{a0}", "a\u{3000}", "a\u{200b}"],
    );
}

/// Ids that differ in accents or in how they are composed only are different.
pub fn store_tells_ids_apart_by_accents(fixture: StoreFixture) {
    check_apart(
        fixture,
        &[
            "resume",
            "r\u{e9}sum\u{e9}",
            "re\u{301}sume\u{301}",
            "\u{212b}",
            "\u{c5}",
            "A\u{30a}",
            "\u{fb01}",
            "fi",
            "\u{ff21}",
            "A",
        ],
    );
}

/// Ids that mean something to a query language, a shell, a path or a key are only ids.
pub fn store_takes_ids_that_look_like_syntax(fixture: StoreFixture) {
    let ids = [
        "'; DROP TABLE sched_jobs; --",
        "%",
        "_",
        "a%",
        "\\",
        "\\'",
        "\"",
        "`",
        "$where",
        "{\"$gt\":\"\"}",
        "{a}",
        "{",
        "}",
        "*",
        "?",
        "[a-z]",
        "a:b",
        "a::b",
        ":",
        "/",
        "../..",
        "a.b",
        "NULL",
        "null",
        "None",
        "0",
        "00",
        "-1",
        "1e3",
        "true",
        "#",
        "\u{202e}abc",
        "\u{feff}a",
    ];
    check_apart(fixture, &ids);
}

fn with_args(id: &str, args: Args) -> Job {
    let job = sample_job(id, NOON);
    Job { spec: Arc::new(JobSpec { args, ..JobSpec::clone(&job.spec) }), cursor: job.cursor }
}

/// Arguments come back as they were given, whatever JSON they are.
pub fn store_keeps_any_argument(fixture: StoreFixture) {
    let values = [
        json!(null),
        json!([]),
        json!({}),
        json!(""),
        json!("nul \u{0} tab \t ' \" \\ \u{1F980}"),
        json!([u64::MAX, i64::MIN, 0, -0.5, 1e300, 0.1]),
        json!({ "": 1, "$set": { "a.b": [null] }, "\u{e4}": true }),
        json!("x".repeat(100_000)),
        json!([[[[[[[[[[[[[[[[[[[["deep"]]]]]]]]]]]]]]]]]]]]),
    ];
    let named = json!({ "key": "value", "": null }).as_object().cloned().unwrap_or_default();
    let args: Vec<Args> = values.iter().map(|value| Args::new(vec![value.clone()], named.clone())).collect();
    let jobs: Vec<Job> =
        (0..).zip(&args).map(|(at, args)| with_args(&format!("job-{at}"), args.clone())).collect();
    fixture.insert(&jobs);
    for (claimed, expected) in fixture.claim("one", NOON, 100).iter().zip(&args) {
        assert_eq!(claimed.job.spec.args, *expected);
        assert_eq!(fixture.stored(claimed.job.id().as_str()).spec.args, *expected);
    }
    fixture.end();
}

/// A job whose task is not registered here is kept, listed and claimed under its name.
pub fn store_keeps_jobs_of_unknown_tasks(fixture: StoreFixture) {
    let sample = sample_job("a", NOON);
    let call = Call { task: TaskRef::Named(Arc::from("nobody.knows")), args: Args::from(json!([1])) };
    let spec = JobSpec { task: call.task, args: call.args, ..JobSpec::clone(&sample.spec) };
    let job = Job { spec: Arc::new(spec), cursor: sample.cursor };
    fixture.insert(std::slice::from_ref(&job));
    for found in [fixture.stored("a"), fixture.claim_one("one", NOON).job] {
        assert_eq!((found.spec.task.name(), &found.spec.args), ("nobody.knows", &job.spec.args));
        assert!(found.spec.task.bound().is_none());
    }
    fixture.end();
}

/// What a replacement does not carry is gone: nothing of the old job shines through.
pub fn store_replaces_the_whole_job(fixture: StoreFixture) {
    let named = json!({ "only": "before" }).as_object().cloned().unwrap_or_default();
    let before = with_args("a", Args::new(vec![json!(1), json!(2)], named));
    let spec = JobSpec { name: Some(Arc::from("before")), ..JobSpec::clone(&before.spec) };
    fixture.insert(&[Job { spec: Arc::new(spec), cursor: before.cursor }]);
    let after = with_args("a", Args::from(Value::Null));
    let answer = fixture.insert_one(&after, ConflictPolicy::Replace).expect("insert");
    assert_eq!(answer, Inserted::Replaced);
    let stored = fixture.stored("a");
    assert!(stored.spec.args.is_empty());
    assert_eq!(stored.spec.name, None);
    fixture.end();
}
