//! What the suites cannot say: restarts, crashes, processes, mangled rows, schemas, limits, URLs.
#![cfg(feature = "sqlite")]
#![expect(clippy::expect_used, reason = "a test: what fails, panics")]

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::{Connection, SqliteConnection};
use sched_core::{
    Advance, BuildContext, ClaimRequest, ClaimedJob, Clock, Committed, ConflictPolicy, Error, ErrorKind,
    FinishedRun, Inserted, Job, JobCommit, JobFilter, JobOptions, JobStore, Outcome, QueuedRun, Registry,
    RunClaim, RunFilter, RunQueue, RunState, StoreContext, StoredJob, SystemClock, TaskError, TaskErrorKind,
};
use sched_store_sql::{SqlStore, diesel};
use sched_testkit::jobs::{
    FIXED, cursor_at, job_id, moved, noon_plus, registry, run_id, sample_queued, sample_queued_of,
    with_settings,
};
use sched_testkit::{NOON, SimClock, sample_job};
use serde_json::json;
use tempfile::TempDir;

/// A directory with a database file in it.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(TempDir::new().expect("a temporary directory"))
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("jobs.sqlite")
    }

    fn url(&self) -> String {
        format!("sqlite:///{}", self.path().display())
    }

    /// A started store.
    fn store(&self, clock: &SimClock) -> SqlStore {
        let store = SqlStore::open(self.url()).expect("the url is right");
        store.start(context(clock)).expect("the store starts");
        store
    }

    /// Does something to the file that no store would do.
    fn run(&self, sql: &str) {
        let mut conn =
            SqliteConnection::establish(&self.path().display().to_string()).expect("the file opens");
        conn.batch_execute(sql).expect("the statement is right");
    }
}

fn context(clock: &SimClock) -> StoreContext {
    context_with(Arc::new(clock.clone()), registry())
}

fn context_with(clock: Arc<dyn Clock>, registry: Arc<Registry>) -> StoreContext {
    StoreContext::new("default", registry, clock, sched_core::chrono_tz::Tz::UTC)
}

fn request(owner: &str, lease: Duration) -> ClaimRequest {
    ClaimRequest { owner: Arc::from(owner), now: noon_plus(1_000), limit: 10, lease }
}

const LEASE: Duration = Duration::from_secs(30);

fn places() -> [(Arc<str>, usize); 1] {
    [(Arc::from("default"), 100)]
}

fn ids(store: &SqlStore) -> Vec<String> {
    let listed = JobStore::list(store, &JobFilter::default()).expect("list");
    let id = |stored: &StoredJob| match stored {
        StoredJob::Job(job) => job.id().to_string(),
        StoredJob::Quarantined { id, .. } => format!("({id})"),
    };
    listed.iter().map(id).collect()
}

fn insert(store: &SqlStore, jobs: &[Job]) {
    for answer in store.insert(jobs, ConflictPolicy::Error).expect("insert") {
        assert_eq!(answer.expect("the job is stored"), Inserted::Added);
    }
}

fn start_error(store: &SqlStore) -> Error {
    store.start(context(&SimClock::default())).expect_err("the start fails")
}

/// Counting a long history takes longer than deleting a batch of it.
#[test]
fn a_history_that_is_too_long_is_counted_once_for_many_batches() {
    let (place, clock) = (Place::new(), SimClock::default());
    let store = place.store(&clock);
    let end = |numbers: std::ops::RangeInclusive<u64>| {
        let options = Arc::new(JobOptions { result_ttl: LEASE * 1_000, ..JobOptions::default() });
        let kept = |number| QueuedRun { options: Arc::clone(&options), ..sample_queued(number, NOON) };
        store.enqueue(numbers.map(kept).collect()).expect("enqueue");
        let claimed = store.claim(&request("one", LEASE), &places()).expect("claim");
        let end = |run: &sched_core::ClaimedRun| FinishedRun {
            claim: RunClaim { id: run.run.id, token: run.token },
            outcome: Outcome::Cancelled,
            started_at: None,
            finished_at: NOON,
            again: None,
        };
        store.finish(claimed.iter().map(end).collect()).expect("finish");
    };
    end(1..=6);
    assert_eq!(store.cleanup(Some(2), 1).expect("cleanup"), 1, "four are too many");
    end(7..=9);
    assert_eq!(store.cleanup(Some(2), 2).expect("cleanup"), 2);
    assert_eq!(store.cleanup(Some(2), 9).expect("cleanup"), 1, "what ended since was not counted");
    assert_eq!(store.cleanup(Some(2), 9).expect("cleanup"), 3);
    assert_eq!(store.cleanup(Some(2), 9).expect("cleanup"), 0);
    assert_eq!(store.counts().expect("counts").finished, 2);
}

#[test]
fn jobs_and_runs_survive_the_process() {
    let (place, clock) = (Place::new(), SimClock::default());
    let store = place.store(&clock);
    insert(&store, &[sample_job("a", NOON), sample_job("b", None)]);
    store.enqueue(vec![sample_queued(1, NOON), sample_queued(2, NOON)]).expect("enqueue");
    let running = store.claim(&ClaimRequest { limit: 1, ..request("one", LEASE) }, &places()).expect("claim");
    drop(store);
    let store = place.store(&clock);
    assert_eq!(ids(&store), ["a", "b"]);
    assert_eq!(store.counts().expect("counts").queued, 1);
    let claim = RunClaim { id: running[0].run.id, token: running[0].token };
    assert_eq!(store.renew(&[claim], LEASE).expect("renew"), [true], "the claim outlives the store");
    assert_eq!(store.claim(&request("two", LEASE), &places()).expect("claim").len(), 1);
}

#[test]
fn what_a_dead_scheduler_claimed_is_taken_over_when_its_lease_ends() {
    let (place, clock) = (Place::new(), SimClock::default());
    let job = sample_job("a", NOON);
    let dead = place.store(&clock);
    insert(&dead, std::slice::from_ref(&job));
    dead.enqueue(vec![sample_queued(9, NOON)]).expect("enqueue");
    let lost = dead.claim_due(&request("dead", LEASE)).expect("claim").remove(0);
    dead.claim(&request("dead", LEASE), &places()).expect("claim");
    drop(dead);
    let store = place.store(&clock);
    assert!(store.claim_due(&request("alive", LEASE)).expect("claim").is_empty(), "the lease holds");
    let wakeup = JobStore::next_wakeup(&store).expect("next wakeup").expect("the lease ends");
    clock.advance_to(wakeup);
    let ClaimedJob { claim, .. } = store.claim_due(&request("alive", LEASE)).expect("claim").remove(0);
    let commit = |claim, number| JobCommit {
        claim,
        advance: Advance::To(cursor_at(noon_plus(60))),
        runs: vec![sample_queued_of(&job, number, NOON)],
    };
    assert_eq!(store.commit(vec![commit(lost.claim, 1)]).expect("commit"), [Committed::Stale]);
    let applied = Committed::Applied { skipped: Vec::new() };
    assert_eq!(store.commit(vec![commit(claim, 2)]).expect("commit"), [applied]);
    let claimed = store.claim(&request("alive", LEASE), &places()).expect("claim");
    let found: Vec<_> = claimed.iter().map(|claimed| (claimed.run.id, claimed.attempt)).collect();
    assert_eq!(found, [(run_id(2), 1), (run_id(9), 2)]);
}

#[test]
fn every_way_to_mangle_a_row_quarantines_it_and_no_other() {
    let mangle = [
        ("the payload is no JSON", "payload = CAST('x' AS BLOB)"),
        ("the payload is deep", "payload = CAST(replace(hex(zeroblob(500)), '00', '[') AS BLOB)"),
        ("the version is newer", "payload = CAST(json_set(CAST(payload AS TEXT), '$.version', 2) AS BLOB)"),
        (
            "the trigger is unknown",
            "payload = CAST(json_set(CAST(payload AS TEXT), '$.trigger.type', 'nonesuch') AS BLOB)",
        ),
        ("a field is unknown", "payload = CAST(json_set(CAST(payload AS TEXT), '$.surprise', 1) AS BLOB)"),
        (
            "an option is wrong",
            "payload = CAST(json_set(CAST(payload AS TEXT), '$.settings', json('{\"overlap\":\"x\"}')) AS BLOB)",
        ),
        (
            "the payload is another job's",
            "payload = CAST(json_set(CAST(payload AS TEXT), '$.id', 'other') AS BLOB)",
        ),
        ("the status is unknown", "status = 'x'"),
        ("the revision is negative", "revision = -1"),
        ("the time is none", "last_fire_time = 9223372036854775807"),
        ("the payload is too long", "payload = zeroblob(1048577)"),
    ];
    for (what, change) in mangle {
        let (place, clock) = (Place::new(), SimClock::default());
        let store = place.store(&clock);
        insert(&store, &["a", "b", "c"].map(|id| sample_job(id, NOON)));
        place.run(&format!("UPDATE sched_jobs SET {change} WHERE id = 'b'"));
        assert_eq!(ids(&store), ["a", "(b)", "c"], "{what}");
        let claimed = store.claim_due(&request("one", LEASE)).expect("claim");
        assert_eq!(claimed.len(), 2, "{what}");
        assert_eq!(ids(&store), ["a", "c", "(b)"], "{what}: it is out of the schedule");
        clock.advance(LEASE * 2);
        assert_eq!(store.claim_due(&request("one", LEASE)).expect("claim").len(), 2, "{what}");
        let looked_up = store.get(&[job_id("b")]).expect("get").remove(0).expect("it is there");
        let looked_up = looked_up.into_job().expect_err("it does not decode");
        assert_eq!(looked_up.kind(), ErrorKind::Corrupt, "{what}: {looked_up}");
        assert!(looked_up.to_string().contains("\"b\""), "{what}: {looked_up}");
    }
}

#[test]
fn a_quarantined_job_is_back_once_it_decodes_or_is_replaced() {
    let (place, clock) = (Place::new(), SimClock::default());
    let store = place.store(&clock);
    insert(&store, &["a", "b"].map(|id| sample_job(id, NOON)));
    drop(store);
    let ignorant = SqlStore::open(place.url()).expect("the url is right");
    let without_trigger = Arc::new(Registry::builder().build().expect("nothing is named twice"));
    ignorant.start(context_with(Arc::new(clock.clone()), without_trigger)).expect("it starts");
    assert!(ignorant.claim_due(&request("ignorant", LEASE)).expect("claim").is_empty());
    assert_eq!(ids(&ignorant), ["(a)", "(b)"]);
    assert_eq!(JobStore::next_wakeup(&ignorant).expect("next wakeup"), None);
    let replaced =
        ignorant.insert(&[sample_job("b", noon_plus(5))], ConflictPolicy::Replace).expect("insert");
    assert_eq!(
        replaced.into_iter().map(|answer| answer.expect("replaced")).collect::<Vec<_>>(),
        [Inserted::Replaced]
    );
    assert_eq!(JobStore::next_wakeup(&ignorant).expect("next wakeup"), Some(noon_plus(5)));
    let store = place.store(&clock);
    assert_eq!(ids(&store), ["a", "b"]);
    assert_eq!(store.claim_due(&request("one", LEASE)).expect("claim").len(), 2);
}

#[test]
fn a_mangled_run_ends_as_abandoned_and_blocks_nobody() {
    let (place, clock) = (Place::new(), SimClock::default());
    let store = place.store(&clock);
    store.enqueue(vec![sample_queued(1, NOON), sample_queued(2, NOON)]).expect("enqueue");
    place.run(&format!("UPDATE sched_runs SET payload = CAST('x' AS BLOB) WHERE id = '{}'", run_id(1)));
    let claimed = store.claim(&request("one", LEASE), &places()).expect("claim");
    assert_eq!(claimed.iter().map(|claimed| claimed.run.id).collect::<Vec<_>>(), [run_id(2)]);
    let RunState::Finished { outcome: Outcome::Abandoned(reason), .. } =
        store.result(run_id(1)).expect("kept").state
    else {
        panic!("the run is not abandoned")
    };
    assert!(reason.contains("does not decode"), "{reason}");
    assert_eq!(RunQueue::list(&store, &RunFilter::default()).expect("list").len(), 2);
}

#[test]
fn runs_of_tasks_that_are_unknown_here_are_left_to_others() {
    let (place, clock) = (Place::new(), SimClock::default());
    let store = place.store(&clock);
    store.enqueue(vec![sample_queued(1, NOON)]).expect("enqueue");
    let ignorant = SqlStore::open(place.url()).expect("the url is right");
    let without_tasks = Arc::new(Registry::builder().plugin(FIXED).build().expect("one plug-in"));
    ignorant.start(context_with(Arc::new(clock), without_tasks)).expect("it starts");
    assert!(ignorant.claim(&request("one", LEASE), &places()).expect("claim").is_empty());
    assert_eq!(
        RunQueue::next_wakeup(&ignorant).expect("next wakeup"),
        None,
        "it does not keep the loop awake"
    );
    assert_eq!(store.claim(&request("two", LEASE), &places()).expect("claim").len(), 1);
}

#[test]
fn a_run_of_a_task_that_nobody_can_know_is_claimed() {
    let store = SqlStore::open("sqlite://").expect("the url is right");
    let without_tasks = Arc::new(Registry::builder().build().expect("nothing is named twice"));
    store.start(context_with(Arc::new(SimClock::default()), without_tasks)).expect("it starts");
    store.enqueue(vec![sample_queued(1, NOON)]).expect("enqueue");
    let claimed = store.claim(&request("one", LEASE), &places()).expect("claim");
    assert!(claimed[0].run.call.task.bound().is_none(), "the scheduler can say that it is unknown");
}

#[test]
fn every_failure_comes_back_as_it_was() {
    let (place, clock) = (Place::new(), SimClock::default());
    let store = SqlStore::builder(place.url()).max_payload(200).build().expect("the configuration is right");
    store.start(context(&clock)).expect("it starts");
    let kinds = [
        TaskErrorKind::Error,
        TaskErrorKind::Panic,
        TaskErrorKind::Arguments,
        TaskErrorKind::Other("no such file: \u{e4}".to_owned()),
    ];
    let options = Arc::new(JobOptions { result_ttl: LEASE, ..JobOptions::default() });
    let mut outcomes: Vec<Outcome> =
        kinds.into_iter().map(|kind| Outcome::Failed(TaskError::new("deliberate").with_kind(kind))).collect();
    outcomes.push(Outcome::Succeeded(json!("x".repeat(200))));
    for (number, outcome) in (1..).zip(outcomes) {
        let run = QueuedRun { options: Arc::clone(&options), ..sample_queued(number, NOON) };
        store.enqueue(vec![run]).expect("enqueue");
        let claimed = store.claim(&request("one", LEASE), &places()).expect("claim").remove(0);
        let claim = RunClaim { id: claimed.run.id, token: claimed.token };
        let finished =
            FinishedRun { claim, outcome: outcome.clone(), started_at: None, finished_at: NOON, again: None };
        assert_eq!(store.finish(vec![finished]).expect("finish"), [true]);
        let RunState::Finished { outcome: found, started_at, .. } =
            store.result(run_id(number)).expect("kept").state
        else {
            panic!("the run is not finished")
        };
        assert_eq!(started_at, None);
        match outcome {
            Outcome::Succeeded(_) => {
                assert!(found.to_string().contains("202 bytes"), "a value too long: {found}")
            }
            outcome => assert_eq!(found, outcome),
        }
    }
}

#[test]
fn a_payload_may_be_as_long_as_allowed_and_not_a_byte_longer() {
    let (place, clock) = (Place::new(), SimClock::default());
    let with_text = |text: &str| {
        let job = sample_job("a", NOON);
        let mut spec = sched_core::JobSpec::clone(&job.spec);
        spec.args = json!([text]).into();
        Job { spec: Arc::new(spec), cursor: job.cursor }
    };
    let limit = 5_000;
    let store =
        SqlStore::builder(place.url()).max_payload(limit).build().expect("the configuration is right");
    store.start(context(&clock)).expect("it starts");
    let insert =
        |text: &str| store.insert(&[with_text(text)], ConflictPolicy::Replace).expect("insert").remove(0);
    let message = insert(&"x".repeat(limit)).expect_err("too long").to_string();
    let size: usize =
        message.split(' ').filter_map(|word| word.parse().ok()).next().expect("it names the size");
    let fits = 2 * limit - size;
    assert!(insert(&"x".repeat(fits)).is_ok(), "{message}");
    let error = insert(&"x".repeat(fits + 1)).expect_err("a byte too long");
    assert_eq!(error.kind(), ErrorKind::InvalidJob);
    let expected = "job \"a\" has a payload of 5001 bytes, 5000 are allowed (`max_payload`)";
    assert_eq!(error.to_string(), expected);
    let read = store
        .get(&[job_id("a")])
        .expect("get")
        .remove(0)
        .expect("it is there")
        .into_job()
        .expect("it decodes");
    assert_eq!(read.spec.args, with_text(&"x".repeat(fits)).spec.args);
    let stored = moved(&read, noon_plus(9));
    assert_eq!(store.update(&[stored]).expect("update").into_iter().filter(Result::is_ok).count(), 1);
    let call = sched_core::Call { args: json!(["x".repeat(limit)]).into(), ..sample_queued(1, NOON).call };
    let error = store.enqueue(vec![QueuedRun { call, ..sample_queued(1, NOON) }]).expect_err("too long");
    assert_eq!(error.kind(), ErrorKind::InvalidJob);
}

#[test]
fn a_newer_schema_is_refused_and_a_missing_one_is_named_when_it_may_not_be_made() {
    let place = Place::new();
    let store =
        SqlStore::builder(place.url()).create_schema(false).build().expect("the configuration is right");
    let error = start_error(&store);
    assert_eq!(error.kind(), ErrorKind::InvalidState);
    assert!(error.to_string().contains(&store.ddl()), "{error}");
    place.run(&store.ddl());
    store.start(context(&SimClock::default())).expect("the statements were enough");
    assert!(ids(&store).is_empty());
    store.shutdown().expect("shutdown");
    place.run("UPDATE sched_meta SET value = 2 WHERE name = 'schema_version'");
    let error = start_error(&store);
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("schema version 2, newer than 1"), "{error}");
    place.run("DELETE FROM sched_meta");
    assert_eq!(start_error(&store).kind(), ErrorKind::Corrupt);
}

#[test]
fn a_file_that_cannot_be_used_says_why() {
    let place = Place::new();
    let store = SqlStore::open(format!("{}/missing/jobs.sqlite", place.url())).expect("the url is right");
    let error = start_error(&store);
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let text = error.to_string();
    let directory = place.path().join("missing");
    let expected = format!("the directory \"{}\" does not exist", directory.display());
    assert!(text.contains("missing/jobs.sqlite") && text.contains(&expected), "{error}");
    drop(place.store(&SimClock::default()));
    let store = SqlStore::open(format!("file:{}?mode=ro", place.path().display())).expect("the url is right");
    let error = start_error(&store);
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    assert!(
        error.to_string().contains("cannot be written") && error.to_string().contains("readonly"),
        "{error}"
    );
    std::fs::write(place.path(), "this is no database, but long enough for its header".repeat(9))
        .expect("it is written");
    let store = SqlStore::open(place.url()).expect("the url is right");
    let error = start_error(&store);
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("is not a database"), "{error}");
}

/// Another writes nearly all the time, with short pauses. Each write finds the next pause, or one soon after.
#[test]
fn whoever_waits_to_write_is_not_overtaken_for_long() {
    const WRITES: u64 = 20;
    let (place, clock) = (Place::new(), SimClock::default());
    let store = place.store(&clock);
    let (is_over, is_held) = (AtomicBool::new(false), AtomicBool::new(false));
    let took = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut other =
                SqliteConnection::establish(&place.path().display().to_string()).expect("the file opens");
            other.batch_execute("PRAGMA busy_timeout = 10000").expect("it is right");
            while !is_over.load(Ordering::SeqCst) {
                other.batch_execute("BEGIN IMMEDIATE").expect("it waits for its turn");
                is_held.store(true, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(60));
                is_held.store(false, Ordering::SeqCst);
                other.batch_execute("COMMIT").expect("it ends");
                std::thread::sleep(Duration::from_millis(3));
            }
        });
        let before = std::time::Instant::now();
        let done = (1..=WRITES).map(|number| {
            while !is_held.load(Ordering::SeqCst) {
                std::thread::yield_now();
            }
            store.enqueue(vec![sample_queued(number, NOON)])
        });
        let done: Vec<_> = done.collect();
        let took = before.elapsed();
        is_over.store(true, Ordering::SeqCst);
        assert!(done.iter().all(Result::is_ok), "{done:?}");
        took
    });
    assert!(took < Duration::from_secs(8), "{WRITES} writes took {took:?}");
}

#[test]
fn a_database_that_is_held_for_too_long_is_unavailable_and_then_works_again() {
    let (place, clock) = (Place::new(), SimClock::default());
    let store = SqlStore::builder(place.url()).busy_timeout(Duration::from_millis(20)).build();
    let store = store.expect("the configuration is right");
    store.start(context(&clock)).expect("it starts");
    let mut holder =
        SqliteConnection::establish(&place.path().display().to_string()).expect("the file opens");
    holder.batch_execute("BEGIN IMMEDIATE").expect("nobody else writes");
    let error = store.insert(&[sample_job("a", NOON)], ConflictPolicy::Error).expect_err("it is held");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.is_retryable() && error.to_string().contains("database is locked"), "{error}");
    assert!(ids(&store).is_empty(), "readers do not wait");
    holder.batch_execute("ROLLBACK").expect("it ends");
    insert(&store, &[sample_job("a", NOON)]);
}

#[test]
fn stores_that_start_at_once_on_a_new_file_make_its_tables_once() {
    for _ in 0..20 {
        let place = Place::new();
        let barrier = std::sync::Barrier::new(6);
        std::thread::scope(|scope| {
            for number in 0..6 {
                let (place, barrier) = (&place, &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    let store = place.store(&SimClock::default());
                    insert(&store, &[sample_job(&number.to_string(), NOON)]);
                });
            }
        });
        assert_eq!(ids(&place.store(&SimClock::default())).len(), 6);
    }
}

#[test]
fn prefixes_keep_stores_of_one_file_apart() {
    let (place, clock) = (Place::new(), SimClock::default());
    let stores = ["one", "select"].map(|prefix| {
        let store = SqlStore::builder(place.url()).table_prefix(prefix).build().expect("the prefix is right");
        store.start(context(&clock)).expect("it starts");
        insert(&store, &[sample_job(prefix, NOON)]);
        store
    });
    assert_eq!(stores.each_ref().map(ids), [["one"], ["select"]]);
}

#[test]
fn configuration_is_read_strictly() {
    let registry = Registry::linked().expect("nothing is named twice");
    let context = BuildContext { registry: &registry, timezone: sched_core::chrono_tz::Tz::UTC };
    let build = |config| registry.job_store("jobstores.default", config, context);
    let all = json!({
        "type": "sqlalchemy", "url": "sqlite:////var/jobs.sqlite", "tablename": "app", "pool_size": "8",
        "busy_timeout": "10s", "create_schema": "false", "synchronous": "normal", "max_payload": 1000, "codec": "json",
    });
    let store = build(all).expect("every key is right");
    assert!(format!("{store:?}").contains("/var/jobs.sqlite"), "{store:?}");
    let class = "apscheduler.jobstores.sqlalchemy:SQLAlchemyJobStore";
    assert!(build(json!({ "class": class, "url": "sqlite:///jobs.sqlite" })).is_ok());
    let table = [
        (json!({ "type": "sql" }), "jobstores.default.url: this store needs a url"),
        (json!({ "type": "sql", "url": "oracle://me:hunter2@host/db" }), "oracle://me:***@host/db"),
        (json!({ "type": "sql", "url": "sqlite://", "tablename": "a; DROP TABLE b" }), "is no table prefix"),
        (json!({ "type": "sql", "url": "sqlite://", "tableschema": "app" }), "SQLite has no schemas"),
        (
            json!({ "type": "sql", "url": "sqlite://", "pool_size": 0 }),
            "default.pool_size: 0 is out of range",
        ),
        (
            json!({ "type": "sql", "url": "sqlite://", "synchronous": "off" }),
            "not one of extra, full, normal",
        ),
        (
            json!({ "type": "sql", "url": "sqlite://", "codec": "pickle" }),
            "`pickle` is not one of json, cbor",
        ),
        (json!({ "type": "sql", "url": "sqlite://", "tabelname": "x" }), "did you mean `tablename`?"),
    ];
    for (config, expected) in table {
        let error = build(config.clone()).expect_err("the configuration is wrong");
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        assert_eq!(error.faults().len(), 1, "{error}");
        assert!(
            error.to_string().contains(expected) && !error.to_string().contains("hunter2"),
            "{config}: {error}"
        );
    }
}

#[test]
fn the_callers_transaction_decides_over_jobs_and_runs() {
    let (place, clock) = (Place::new(), SimClock::default());
    let store = place.store(&clock);
    let mut conn = SqliteConnection::establish(&place.path().display().to_string()).expect("the file opens");
    let mut add = |number: u64, fails: bool| {
        conn.immediate_transaction(|conn| -> Result<(), diesel::result::Error> {
            let job = sample_job(&format!("job-{number}"), NOON);
            assert_eq!(store.add_job_in(conn, &job, ConflictPolicy::Error).expect("added"), Inserted::Added);
            let again = store.add_job_in(conn, &job, ConflictPolicy::Error).expect_err("it is there");
            assert_eq!(again.kind(), ErrorKind::AlreadyExists);
            store.enqueue_in(conn, vec![sample_queued(number, NOON)]).expect("queued");
            if fails { Err(diesel::result::Error::RollbackTransaction) } else { Ok(()) }
        })
    };
    assert!(add(1, true).is_err());
    assert!(add(2, false).is_ok());
    assert_eq!(ids(&store), ["job-2"]);
    let runs = RunQueue::list(&store, &RunFilter::default()).expect("list");
    assert_eq!(runs.iter().map(|record| record.run.id).collect::<Vec<_>>(), [run_id(2)]);
}

#[test]
fn a_claim_reads_past_what_is_behind_a_limit_in_order() {
    let (place, clock) = (Place::new(), SimClock::default());
    let store = place.store(&clock);
    let settings = sched_core::JobSettings {
        overlap: Some(sched_core::Overlap::Queue),
        ..sched_core::JobSettings::default()
    };
    let job = with_settings(&sample_job("narrow", NOON), settings);
    let behind = (1..=50).map(|number: u64| sample_queued_of(&job, number, noon_plus(number.cast_signed())));
    let free = (51..=60).map(|number: u64| sample_queued(number, noon_plus(100)));
    let elsewhere = (61..=62).map(|number: u64| {
        let options = JobOptions { executor: Arc::from("other"), ..JobOptions::default() };
        QueuedRun { options: Arc::new(options), ..sample_queued(number, noon_plus(200)) }
    });
    store.enqueue(behind.chain(free).chain(elsewhere).collect()).expect("enqueue");
    let executors = [(Arc::from("default"), 5), (Arc::from("other"), 5)];
    let claim = |limit| {
        let request = ClaimRequest { limit, ..request("one", LEASE) };
        let claimed = store.claim(&request, &executors).expect("claim");
        claimed.iter().map(|claimed| claimed.run.id).collect::<Vec<_>>()
    };
    assert_eq!(claim(4), [1, 51, 52, 53].map(run_id), "`other` comes after all of them");
    assert_eq!(claim(9), [54, 55, 56, 57, 58, 61, 62].map(run_id), "five places of `default`");
}

/// The other processes of the tests below; by itself it does nothing.
#[test]
fn another_process() {
    if let Ok(path) = std::env::var("SCHED_SQL_TEST_DRAIN") {
        let drained = drain(&path, &std::process::id().to_string());
        std::fs::write(format!("{path}.{}", std::process::id()), drained.join("\n")).expect("it is written");
    }
    if let Ok(path) = std::env::var("SCHED_SQL_TEST_HANG") {
        let store = started_in_earnest(&path);
        let lease = Duration::from_millis(500);
        let claimed = store.claim_due(&request("hanging", lease)).expect("claim");
        let runs = store.claim(&request("hanging", lease), &places()).expect("claim");
        std::fs::write(format!("{path}.{}", std::process::id()), format!("{} {}", claimed.len(), runs.len()))
            .expect("it is written");
        std::thread::sleep(Duration::from_secs(600));
    }
}

fn another(place: &Place, variable: &str) -> std::process::Child {
    let mut command = std::process::Command::new(std::env::current_exe().expect("this program"));
    command.args(["--exact", "another_process"]).env(variable, place.path());
    command.stdout(std::process::Stdio::null()).spawn().expect("it starts")
}

/// What another process wrote down, once it did.
fn told(place: &Place, child: &std::process::Child) -> Option<String> {
    std::fs::read_to_string(format!("{}.{}", place.path().display(), child.id()))
        .ok()
        .filter(|text| !text.is_empty())
}

fn wait_for<T>(what: &str, condition: impl Fn() -> Option<T>) -> T {
    let start = std::time::Instant::now();
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(start.elapsed() < Duration::from_secs(30), "{what} did not happen");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A store on the machine's own clock.
fn started_in_earnest(path: &str) -> SqlStore {
    let store = SqlStore::open(path).expect("a path is a url");
    store.start(context_with(Arc::new(SystemClock::new()), registry())).expect("it starts");
    store
}

const SHARED_JOBS: usize = 300;

/// Claims and commits due jobs, each with a run, until none is left; answers the ids.
fn drain(path: &str, owner: &str) -> Vec<String> {
    let store = started_in_earnest(path);
    let mut drained = Vec::new();
    loop {
        let claimed = store.claim_due(&ClaimRequest { limit: 7, ..request(owner, LEASE) }).expect("claim");
        if claimed.is_empty() {
            return drained;
        }
        let commits = claimed.into_iter().map(|ClaimedJob { job, claim }| {
            let number: u64 = job.id().as_str().parse().expect("ids are numbers");
            drained.push(job.id().to_string());
            let runs = vec![sample_queued_of(&job, number, NOON)];
            JobCommit { claim, advance: Advance::To(cursor_at(noon_plus(9_999))), runs }
        });
        let answers = store.commit(commits.collect()).expect("commit");
        assert!(answers.iter().all(|answer| *answer == Committed::Applied { skipped: Vec::new() }));
    }
}

#[test]
fn two_processes_share_a_file() {
    let place = Place::new();
    let store = place.store(&SimClock::default());
    let jobs: Vec<Job> = (0..SHARED_JOBS).map(|number| sample_job(&number.to_string(), NOON)).collect();
    insert(&store, &jobs);
    let children = [another(&place, "SCHED_SQL_TEST_DRAIN"), another(&place, "SCHED_SQL_TEST_DRAIN")];
    let mut drained = drain(&place.path().display().to_string(), "parent");
    for mut child in children {
        assert!(child.wait().expect("it ends").success());
        drained.extend(told(&place, &child).unwrap_or_default().lines().map(str::to_owned));
    }
    let distinct: BTreeSet<&String> = drained.iter().collect();
    assert_eq!((drained.len(), distinct.len()), (SHARED_JOBS, SHARED_JOBS), "each job is committed once");
    assert_eq!(store.counts().expect("counts").queued, SHARED_JOBS);
}

#[test]
fn what_a_killed_process_claimed_is_taken_over() {
    let place = Place::new();
    let path = place.path().display().to_string();
    let store = started_in_earnest(&path);
    insert(&store, &[sample_job("1", NOON), sample_job("2", NOON)]);
    store.enqueue(vec![sample_queued(9, NOON)]).expect("enqueue");
    let mut child = another(&place, "SCHED_SQL_TEST_HANG");
    assert_eq!(wait_for("a claim", || told(&place, &child)), "2 1", "two jobs and one run are claimed");
    child.kill().expect("it is killed");
    child.wait().expect("it is dead");
    let taken_over = wait_for("the end of the leases", || {
        let drained = drain(&path, "alive");
        (!drained.is_empty()).then_some(drained)
    });
    assert_eq!(taken_over, ["1", "2"]);
    let claimed = wait_for("the end of the run's lease", || {
        let claimed = store.claim(&request("alive", LEASE), &places()).expect("claim");
        claimed.iter().any(|claimed| claimed.run.id == run_id(9)).then_some(claimed)
    });
    let attempts: Vec<_> = claimed.iter().map(|claimed| (claimed.run.id, claimed.attempt)).collect();
    assert!(attempts.contains(&(run_id(9), 2)), "{attempts:?}");
}
