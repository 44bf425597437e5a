//! What the suites cannot say: crashes between any two writes, servers that die, processes, runtimes, strangers' documents.
#![expect(clippy::expect_used, reason = "a test: what fails, panics")]

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mongodb::bson::{Document, doc, oid::ObjectId};
use mongodb::sync::Client;
use sched_core::{
    Advance, ClaimRequest, Committed, ConflictPolicy, Error, ErrorKind, FinishedRun, Inserted, Job,
    JobCommit, JobCounts, JobFilter, JobStore, Outcome, QueuedRun, RunClaim, RunCounts, RunQueue, RunWish,
    StoreContext, SystemClock,
};
use sched_store_mongodb::{MongoStore, MongoStoreBuilder};
use sched_testkit::jobs::{cursor_at, job_id, noon_plus, registry, run_id, sample_queued, sample_queued_of};
use sched_testkit::{NOON, sample_job, server};
use serde_json::Value;

use own::OwnServer;

mod own;

const LEASE: Duration = Duration::from_millis(300);
const PATIENCE: Duration = Duration::from_secs(60);

/// A database that nobody else has, for as long as a test takes.
struct Place {
    url: String,
    client: Client,
    name: String,
}

impl Place {
    /// On a server that stands alone; nothing when there is none.
    fn alone() -> Option<Self> {
        server::mongodb_standalone().map(|url| Self::at(url, server::unique_name("own")))
    }

    fn replica_set() -> Option<Self> {
        server::mongodb().map(|url| Self::at(url, server::unique_name("own")))
    }

    fn at(url: String, name: String) -> Self {
        Self { client: Client::with_uri_str(&url).expect("the url is right"), url, name }
    }

    fn builder(&self) -> MongoStoreBuilder {
        MongoStore::builder(&self.url).database(&self.name)
    }

    fn store(&self) -> MongoStore {
        started(self.builder())
    }

    /// A store whose commands can be told from those of others.
    fn store_called(&self, app: &str) -> MongoStore {
        let joint = if self.url.contains('?') { "&" } else { "?" };
        let url = format!("{}{joint}appName={app}&retryWrites=false&retryReads=false", self.url);
        started(MongoStore::builder(url).database(&self.name))
    }

    fn collection(&self, name: &str) -> mongodb::sync::Collection<Document> {
        self.client.database(&self.name).collection(name)
    }

    fn admin(&self, command: Document) {
        self.client.database("admin").run_command(command).run().expect("the server does as it is told");
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // The server may be gone, and the next one begins empty.
        let _ = self.client.database(&self.name).drop().run();
    }
}

fn started(builder: MongoStoreBuilder) -> MongoStore {
    let store = builder.build().expect("the configuration is right");
    store.start(context()).expect("the store starts");
    store
}

fn context() -> StoreContext {
    StoreContext::new("default", registry(), Arc::new(SystemClock::new()), sched_core::chrono_tz::Tz::UTC)
}

fn request(owner: &str) -> ClaimRequest {
    ClaimRequest { owner: Arc::from(owner), now: noon_plus(1_000), limit: 100, lease: LEASE }
}

fn places() -> [(Arc<str>, usize); 1] {
    [(Arc::from("default"), 100)]
}

fn insert(store: &MongoStore, jobs: &[Job]) {
    let answers = store.insert(jobs, ConflictPolicy::Error).expect("insert");
    answers.into_iter().for_each(|answer| assert_eq!(answer.expect("the job is stored"), Inserted::Added));
}

/// What a scheduler commits about due jobs: each has one run for the time it was due, and is then removed or due no more.
fn commits(store: &MongoStore, owner: &str, first_run: u64) -> Result<Vec<JobCommit>, Error> {
    let claimed = store.claim_due(&request(owner))?;
    let commits = (first_run..).zip(claimed).map(|(number, claimed)| JobCommit {
        advance: match claimed.job.id().as_str().starts_with("last") {
            true => Advance::Remove,
            false => Advance::To(cursor_at(None)),
        },
        runs: vec![sample_queued_of(&claimed.job, number, NOON)],
        claim: claimed.claim,
    });
    Ok(commits.collect())
}

/// Which runs were done, by job.
type Done = BTreeMap<String, BTreeSet<u128>>;

/// Claims and finishes what is queued.
fn work(store: &MongoStore, owner: &str, done: &mut Done) -> Result<(), Error> {
    for claimed in store.claim(&request(owner), &places())? {
        let claim = RunClaim { id: claimed.run.id, token: claimed.token };
        let job = claimed.run.job_id.as_ref().map(ToString::to_string).unwrap_or_default();
        done.entry(job).or_default().insert(claim.id.as_uuid().as_u128());
        let outcome = Outcome::Succeeded(Value::Null);
        store.finish(vec![FinishedRun {
            claim,
            outcome,
            started_at: None,
            finished_at: NOON,
            again: None,
        }])?;
    }
    Ok(())
}

/// Works until nothing is left to do, as a scheduler would that takes over.
fn work_off(store: &MongoStore, done: &mut Done) {
    let start = Instant::now();
    for round in 1.. {
        assert!(start.elapsed() < PATIENCE, "there is always something left");
        let commits = commits(store, "heir", 1_000 * round).expect("claim");
        store.commit(commits).expect("commit");
        store.reap().expect("reap");
        work(store, "heir", done).expect("work");
        let counts = store.counts().expect("counts");
        let wakeups =
            (JobStore::next_wakeup(store).expect("wakeup"), RunQueue::next_wakeup(store).expect("wakeup"));
        if counts == RunCounts::default() && wakeups == (None, None) {
            return;
        }
    }
}

/// What goes wrong with a command: it is not done, or it is done and the answer is lost.
const FAULTS: [(&str, &[&str]); 2] = [
    ("closeConnection", &["insert", "update", "delete", "find", "aggregate", "findAndModify"]),
    ("writeConcernError", &["insert", "update", "delete", "findAndModify"]),
];

/// Breaks a commit of three jobs at its every command, and lets another scheduler take over; with and without a wish to
/// claim their runs.
fn check_broken_commits(place: &Place) {
    let wish = RunWish { owner: Arc::from("first"), lease: LEASE, wanted: vec![true, false, true] };
    check_commits_broken(place, |store, commits| store.commit(commits));
    check_commits_broken(place, |store, commits| store.commit_and_claim(commits, &wish));
}

fn check_commits_broken(
    place: &Place,
    commit: impl Fn(&MongoStore, Vec<JobCommit>) -> Result<Vec<Committed>, Error>,
) {
    let app = server::unique_name("app");
    let store = place.store_called(&app);
    let heir = place.store();
    for (fault, commands) in FAULTS {
        let mut broken = 0;
        for skip in 0.. {
            insert(&heir, &["a", "b", "last"].map(|id| sample_job(id, NOON)));
            let commits = commits(&store, "first", 1).expect("claim");
            assert_eq!(commits.len(), 3);
            let mut data = doc! { "failCommands": commands, "appName": &app };
            match fault {
                "closeConnection" => data.insert(fault, true),
                _ => data.insert(fault, doc! { "code": 64, "errmsg": "the answer is lost" }),
            };
            place.admin(doc! { "configureFailPoint": "failCommand", "mode": { "skip": skip }, "data": data });
            let answer = commit(&store, commits);
            place.admin(doc! { "configureFailPoint": "failCommand", "mode": "off" });
            let mut done = Done::new();
            work_off(&heir, &mut done);
            let jobs: Vec<&str> = done.keys().map(String::as_str).collect();
            assert_eq!(jobs, ["a", "b", "last"], "{fault} after {skip} commands: {answer:?}");
            assert!(done.values().all(|runs| runs.len() == 1), "{fault} after {skip} commands: {done:?}");
            assert_eq!(heir.clear().expect("clear"), 2);
            assert_eq!(place.collection("runs").count_documents(doc! {}).run().expect("count"), 0);
            match answer {
                Err(error) => assert!(error.is_retryable(), "{error}"),
                Ok(answers) => {
                    assert!(!answers.contains(&Committed::Stale), "{answers:?}");
                    break;
                }
            }
            broken += 1;
        }
        assert!(broken >= 4, "{fault}: there are writes to break");
    }
}

#[test]
fn a_commit_that_breaks_off_between_any_two_commands_loses_and_doubles_nothing() {
    let Some(place) = Place::alone() else { return };
    check_broken_commits(&place);
}

#[test]
fn nor_does_it_in_a_replica_set() {
    let Some(place) = Place::replica_set() else { return };
    check_broken_commits(&place);
}

#[test]
fn a_run_whose_end_was_written_and_not_answered_is_ended_by_its_owner() {
    let Some(place) = Place::replica_set() else { return };
    let app = server::unique_name("app");
    let (store, other) = (place.store_called(&app), place.store());
    let keep = |ttl| {
        move |run: QueuedRun| {
            let options =
                sched_core::JobOptions { result_ttl: ttl, ..sched_core::JobOptions::clone(&run.options) };
            QueuedRun { options: Arc::new(options), ..run }
        }
    };
    for (number, (ttl, broken)) in
        [(PATIENCE, "update"), (Duration::ZERO, "update"), (Duration::ZERO, "delete")].into_iter().enumerate()
    {
        let number = u64::try_from(number).expect("few");
        store.enqueue(vec![keep(ttl)(sample_queued(number, NOON))]).expect("enqueue");
        let claimed =
            store.claim(&ClaimRequest { lease: PATIENCE, ..request("one") }, &places()).expect("claim");
        let finish = |store: &MongoStore| {
            let claim = RunClaim { id: claimed[0].run.id, token: claimed[0].token };
            let outcome = Outcome::Succeeded(Value::Null);
            store.finish(vec![FinishedRun {
                claim,
                outcome,
                started_at: None,
                finished_at: NOON,
                again: None,
            }])
        };
        let data = doc! {
            "failCommands": [broken], "appName": &app,
            "writeConcernError": { "code": 64, "errmsg": "the answer is lost" },
        };
        place.admin(doc! { "configureFailPoint": "failCommand", "mode": { "times": 1 }, "data": data });
        finish(&store).expect_err("the answer is lost");
        assert_eq!(finish(&store).expect("finish"), [true], "{ttl:?}, {broken}");
        assert_eq!(finish(&store).expect("finish"), [false], "it is ended once");
        assert_eq!(finish(&other).expect("finish"), [false]);
        assert_eq!(store.counts().expect("counts").running, 0);
    }
}

#[test]
fn a_run_that_was_prepared_under_an_older_claim_is_out_of_the_way() {
    let Some(place) = Place::alone() else { return };
    let store = place.store();
    let job = sample_job("a", NOON);
    insert(&store, std::slice::from_ref(&job));
    let stale = commits(&store, "first", 1).expect("claim");
    let claim = stale[0].claim.clone();
    std::thread::sleep(LEASE * 2);
    let good = commits(&store, "second", 2).expect("claim");
    let late = doc! {
        "_id": mongodb::bson::Uuid::from_bytes(*run_id(1).as_uuid().as_bytes()), "job": "a", "fire": NOON.timestamp_micros(),
        "state": -1, "commit": ObjectId::new(), "token": claim.token.0.cast_signed(), "wake": claim.slot.cast_signed(),
    };
    place.collection("runs").insert_one(late).run().expect("insert");
    assert_eq!(store.commit(good).expect("commit"), [Committed::Applied { skipped: Vec::new() }]);
    assert_eq!(store.commit(stale).expect("commit"), [Committed::Stale]);
    let mut done = Done::new();
    work_off(&store, &mut done);
    assert_eq!(done["a"], BTreeSet::from([run_id(2).as_uuid().as_u128()]));
}

/// A replica set of one's own, whose majority can be kept behind what its primary has.
fn own_set() -> Option<(Place, OwnServer)> {
    let test = ["--replSet", "own", "--setParameter", "enableTestCommands=1"].map(str::to_owned);
    let server = OwnServer::with(|_| test.to_vec())?;
    let url = format!("{}?directConnection=true&serverSelectionTimeoutMS=20000", server.url(""));
    let place = Place::at(url, "own".to_owned());
    let member = server.url("").trim_start_matches("mongodb://").trim_end_matches('/').to_owned();
    let members = doc! { "_id": "own", "members": [{ "_id": 0, "host": member }] };
    place.admin(doc! { "replSetInitiate": members });
    let admin = place.client.database("admin");
    let start = Instant::now();
    while !admin
        .run_command(doc! { "hello": 1 })
        .run()
        .is_ok_and(|hello| hello.get_bool("isWritablePrimary").unwrap_or(false))
    {
        assert!(start.elapsed() < PATIENCE, "there is no primary");
        std::thread::sleep(Duration::from_millis(20));
    }
    Some((place, server))
}

#[test]
fn a_claim_that_a_majority_does_not_know_of_yet_is_a_claim() {
    let Some((place, _server)) = own_set() else { return };
    let patient = || started(place.builder().write_timeout(PATIENCE));
    let (store, other) = (patient(), patient());
    insert(&store, &[sample_job("a", NOON)]);
    // Tokens are drawn, many at once, while the majority is there.
    store.commit(commits(&store, "first", 9).expect("claim")).expect("commit");
    work_off(&store, &mut Done::new());
    insert(&store, &[sample_job("b", NOON)]);
    // From now on the majority stays behind.
    place.admin(doc! { "configureFailPoint": "disableSnapshotting", "mode": "alwaysOn" });
    let request = ClaimRequest { lease: PATIENCE, ..request("first") };
    let claimed = store.claim_due(&request).expect("claim").remove(0);
    let runs = vec![sample_queued_of(&claimed.job, 1, NOON)];
    let good = vec![JobCommit { claim: claimed.claim, advance: Advance::To(cursor_at(None)), runs }];
    let is_prepared =
        || place.collection("runs").count_documents(doc! { "state": -1 }).run().expect("count") == 1;
    let counter = || place.collection("meta").find_one(doc! { "_id": "tokens" }).run().expect("find");
    let drawn = counter();
    std::thread::scope(|scope| {
        let commit = scope.spawn(|| store.commit(good));
        let start = Instant::now();
        while !is_prepared() {
            assert!(start.elapsed() < PATIENCE, "nothing is prepared");
        }
        let reap = scope.spawn(|| other.reap());
        // The commit waits for its runs, the other for what it may judge by.
        while is_prepared() && counter() == drawn {
            assert!(start.elapsed() < PATIENCE, "nobody judges");
        }
        place.admin(doc! { "configureFailPoint": "disableSnapshotting", "mode": "off" });
        // The majority moves on with the next write.
        place.collection("told").insert_one(doc! {}).run().expect("insert");
        reap.join().expect("it ends").expect("reap");
        let answer = commit.join().expect("it ends").expect("commit");
        assert_eq!(answer, [Committed::Applied { skipped: Vec::new() }]);
    });
    let mut done = Done::new();
    work_off(&store, &mut done);
    assert_eq!(done["b"], BTreeSet::from([run_id(1).as_uuid().as_u128()]));
    std::mem::forget(place);
}

#[test]
fn a_committed_run_that_a_crash_has_prepared_again_is_let_go_before_the_next_commit() {
    let Some(place) = Place::alone() else { return };
    let store = place.store();
    insert(&store, &[sample_job("a", NOON), sample_job("last", NOON)]);
    let first = commits(&store, "first", 1).expect("claim");
    let first: Vec<JobCommit> = first
        .into_iter()
        .map(|commit| JobCommit { advance: Advance::To(cursor_at(Some(noon_plus(1)))), ..commit })
        .collect();
    let tokens: Vec<_> = first.iter().map(|commit| commit.claim.token.0.cast_signed()).collect();
    store.commit(first).expect("commit");
    let second = commits(&store, "second", 3).expect("claim");
    assert_eq!(second.len(), 2);
    // The claim has outlived the crash, that the first runs were let go has not.
    for job in ["a", "last"] {
        let row =
            place.collection("jobs").find_one(doc! { "_id": job }).run().expect("find").expect("it is there");
        let prepared = doc! {
            "state": -1, "commit": row.get_object_id("committed").expect("a mark"), "token": tokens[0], "wake": i64::MAX,
        };
        place
            .collection("runs")
            .update_one(doc! { "job": job }, doc! { "$set": prepared })
            .run()
            .expect("update");
    }
    let second = second.into_iter().map(|commit| {
        let runs = commit.runs.into_iter().map(|run| QueuedRun { fire_time: noon_plus(1), ..run });
        JobCommit { runs: runs.collect(), ..commit }
    });
    store.commit(second.collect()).expect("commit");
    let mut done = Done::new();
    work_off(&store, &mut done);
    assert!(done.len() == 2 && done.values().all(|runs| runs.len() == 2), "{done:?}");
}

#[test]
fn a_run_that_is_queued_in_place_of_a_dead_one_is_not_lost() {
    let Some(place) = Place::alone() else { return };
    let store = place.store();
    let dead = doc! {
        "_id": mongodb::bson::Uuid::from_bytes(*run_id(1).as_uuid().as_bytes()), "job": "gone", "fire": NOON.timestamp_micros(),
        "state": -1, "commit": ObjectId::new(), "token": 7_i64, "wake": i64::MAX,
    };
    place.collection("runs").insert_one(dead).run().expect("insert");
    assert_eq!(store.counts().expect("counts"), RunCounts::default(), "nobody sees it");
    store.enqueue(vec![sample_queued_of(&sample_job("gone", NOON), 2, NOON)]).expect("enqueue");
    let mut done = Done::new();
    work_off(&store, &mut done);
    assert_eq!(done["gone"], BTreeSet::from([run_id(2).as_uuid().as_u128()]));
}

#[test]
fn a_removed_job_whose_burial_was_left_undone_is_no_job() {
    let Some(place) = Place::alone() else { return };
    let store = place.store();
    insert(&store, &[sample_job("a", NOON), sample_job("b", NOON)]);
    let mark = doc! { "$set": { "removed": ObjectId::new(), "next_run": null } };
    place.collection("jobs").update_one(doc! { "_id": "a" }, mark).run().expect("update");
    assert_eq!(JobStore::list(&store, &JobFilter::default()).expect("list").len(), 1);
    assert_eq!(store.get(&[job_id("a")]).expect("get"), [None]);
    assert_eq!(store.job_counts().expect("counts"), JobCounts { scheduled: 1, ..JobCounts::default() });
    assert_eq!(store.remove(&[job_id("a"), job_id("b")]).expect("remove"), [false, true]);
    insert(&store, &[sample_job("a", noon_plus(5))]);
    assert_eq!(JobStore::next_wakeup(&store).expect("wakeup"), Some(noon_plus(5)));
}

#[test]
fn strangers_documents_disturb_nobody() {
    let Some(place) = Place::alone() else { return };
    let store = place.store();
    insert(&store, &[sample_job("a", NOON)]);
    let strangers = [
        doc! { "_id": ObjectId::new(), "next_run": 1_i64 },
        doc! { "_id": "pickled", "next_run_time": 1.5, "job_state": "gASV" },
        doc! { "_id": "odd", "next_run": NOON.timestamp_micros(), "status": 7, "payload": [1], "revision": "x" },
    ];
    place.collection("jobs").insert_many(strangers).run().expect("insert");
    assert_eq!(store.claim_due(&request("one")).expect("claim").len(), 1);
    let listed = JobStore::list(&store, &JobFilter::default()).expect("list");
    let ids: Vec<&str> = listed.iter().map(|stored| stored.id().as_str()).collect();
    assert_eq!(ids, ["a", "odd", "pickled"]);
    assert_eq!(
        place.collection("jobs").count_documents(doc! {}).run().expect("count"),
        4,
        "nothing is deleted"
    );
}

#[test]
fn every_call_works_on_a_thread_that_runs_tokio() {
    let Some(place) = Place::alone() else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let store = place.store();
        insert(&store, &[sample_job("a", NOON)]);
        let commits = commits(&store, "one", 1).expect("claim");
        assert_eq!(store.commit(commits).expect("commit"), [Committed::Applied { skipped: Vec::new() }]);
        let mut done = Done::new();
        work_off(&store, &mut done);
        assert_eq!(done.len(), 1);
        assert_eq!(JobStore::list(&store, &JobFilter::default()).expect("list").len(), 1);
        store.shutdown().expect("it shuts down");
        drop(place.store());
        std::mem::forget(place);
    });
}

#[test]
fn indexes_that_are_not_to_be_made_are_named() {
    let Some(place) = Place::alone() else { return };
    let store = place.builder().create_schema(false).build().expect("the configuration is right");
    let error = store.start(context()).expect_err("nothing is there");
    assert_eq!(error.kind(), ErrorKind::InvalidState, "{error}");
    assert!(error.to_string().contains("db.jobs.createIndex("), "{error}");
    place.store().shutdown().expect("it shuts down");
    store.start(context()).expect("now they are there");
    store.shutdown().expect("it shuts down");
    let newer = doc! { "$set": { "version": 99_i64 } };
    place.collection("meta").update_one(doc! { "_id": "schema" }, newer).run().expect("update");
    assert_eq!(store.start(context()).expect_err("it is newer").kind(), ErrorKind::Unsupported);
}

#[test]
fn a_server_that_is_not_there_is_unavailable_and_soon_said_to_be() {
    let builder = MongoStore::builder("mongodb://me:hunter2@127.0.0.1:1/");
    let store = builder
        .server_selection_timeout(Duration::from_millis(200))
        .build()
        .expect("the configuration is right");
    let error = store.start(context()).expect_err("nobody is there");
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(!error.to_string().contains("hunter2"), "{error}");
    assert_eq!(store.counts().expect_err("it is closed").kind(), ErrorKind::Closed);
}

/// What another process of this program is told to do.
const ROLE: &str = "SCHED_MONGODB_TEST_ROLE";

/// Starts this program again for one of the roles below.
fn another(role: &str, place: &Place) -> Child {
    let mut command = Command::new(std::env::current_exe().expect("this program has a path"));
    command.args(["--exact", "the_work_of_another_process", "--nocapture"]);
    command
        .env(ROLE, role)
        .env("SCHED_MONGODB_TEST_URL", &place.url)
        .env("SCHED_MONGODB_TEST_NAME", &place.name);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts")
}

#[test]
fn the_work_of_another_process() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let variable = |name| std::env::var(name).expect("it was set");
    let place = Place::at(variable("SCHED_MONGODB_TEST_URL"), variable("SCHED_MONGODB_TEST_NAME"));
    let store = place.store();
    match role.as_str() {
        // Commits and is killed with what it has claimed.
        "hang" => {
            let commits = commits(&store, "dead", 1).expect("claim");
            store.claim(&request("dead"), &places()).expect("claim");
            place
                .collection("told")
                .insert_one(doc! { "jobs": i64::try_from(commits.len()).expect("few") })
                .run()
                .expect("insert");
            loop {
                std::thread::park();
            }
        }
        _ => {
            let start = Instant::now();
            while start.elapsed() < PATIENCE
                && place.collection("runs").count_documents(doc! { "state": 2 }).run().expect("count") < 200
            {
                let request = ClaimRequest { limit: 7, lease: PATIENCE, ..request(&role) };
                let claimed = store.claim(&request, &places()).expect("claim");
                let finished = claimed.into_iter().map(|run| FinishedRun {
                    claim: RunClaim { id: run.run.id, token: run.token },
                    outcome: Outcome::Succeeded(Value::from(run.attempt)),
                    started_at: None,
                    finished_at: NOON,
                    again: None,
                });
                let finished = finished.collect::<Vec<_>>();
                assert!(store.finish(finished).expect("finish").into_iter().all(|ours| ours));
            }
        }
    }
    std::mem::forget(place);
}

#[test]
fn what_a_killed_process_had_claimed_is_taken_over() {
    let Some(place) = Place::alone() else { return };
    let store = place.store();
    insert(&store, &[sample_job("a", NOON), sample_job("last", NOON)]);
    store.enqueue(vec![sample_queued(9, NOON)]).expect("enqueue");
    let mut child = another("hang", &place);
    let start = Instant::now();
    while place.collection("told").count_documents(doc! {}).run().expect("count") == 0 {
        assert!(start.elapsed() < PATIENCE, "the other process claims nothing");
        std::thread::yield_now();
    }
    child.kill().expect("it is killed");
    child.wait().expect("it is dead");
    let mut done = Done::new();
    work_off(&store, &mut done);
    assert_eq!(done.keys().map(String::as_str).collect::<Vec<_>>(), ["", "a", "last"]);
    assert!(done.values().all(|runs| runs.len() == 1));
}

#[test]
fn two_processes_share_the_work_and_do_none_of_it_twice() {
    let Some(place) = Place::replica_set() else { return };
    let store = place.store();
    let kept = |number| {
        let run = sample_queued(number, NOON);
        let options = sched_core::JobOptions {
            result_ttl: Duration::from_secs(3_600_000_000),
            ..sched_core::JobOptions::clone(&run.options)
        };
        QueuedRun { options: Arc::new(options), ..run }
    };
    store.enqueue((0..200).map(kept).collect()).expect("enqueue");
    let children = [another("one", &place), another("two", &place)];
    for mut child in children {
        assert!(child.wait().expect("it ends").success(), "every claim was its own to finish");
    }
    let listed = RunQueue::list(&store, &sched_core::RunFilter::default()).expect("list");
    assert!(listed.len() == 200 && listed.iter().all(|record| record.attempt == 1), "each was tried once");
}

fn kill_and_restart(server: &mut OwnServer) {
    server.kill();
    server.start();
}

#[test]
fn a_server_that_is_killed_in_mid_work_loses_and_doubles_nothing() {
    const JOBS: usize = 60;
    let Some(mut server) = OwnServer::with(|_| Vec::new()) else { return };
    let place = Place::at(server.url(""), "own".to_owned());
    let builder = || place.builder().server_selection_timeout(Duration::from_secs(20));
    let store = started(builder());
    let jobs: Vec<Job> = (0..JOBS).map(|number| sample_job(&format!("job-{number:03}"), NOON)).collect();
    insert(&store, &jobs);
    let (mut done, mut first_run) = (Done::new(), 1);
    let start = Instant::now();
    let (mut kills, mut errors) = (0, 0);
    while done.len() < JOBS {
        assert!(start.elapsed() < PATIENCE, "{} of {JOBS} jobs ran", done.len());
        first_run += 1_000;
        let turn = |done: &mut Done| -> Result<(), Error> {
            let mut commits = commits(&store, "one", first_run)?;
            commits.truncate(5);
            store.commit(commits)?;
            store.reap()?;
            work(&store, "one", done)
        };
        if done.len() > 15 * (kills + 1) && kills < 3 {
            kills += 1;
            // It dies in the middle of what another thread has it do.
            let is_over = AtomicBool::new(false);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    while !is_over.load(Ordering::Relaxed) {
                        let _ = store.enqueue(vec![sample_queued(0, noon_plus(9_999))]);
                        let _ = store.reap();
                    }
                });
                kill_and_restart(&mut server);
                is_over.store(true, Ordering::Relaxed);
            });
        }
        if let Err(error) = turn(&mut done) {
            assert!(error.is_retryable(), "{error}");
            errors += 1;
        }
    }
    assert!(kills > 0, "{errors} calls failed");
    assert!(done.values().all(|runs| runs.len() == 1), "a fire time is one run: {done:?}");
}
