//! What the suites cannot say: lost replies, crashes of processes and servers, clusters, rights, limits, mangled rows.
#![cfg(all(feature = "cbor", feature = "sentinel"))]
#![expect(clippy::expect_used, reason = "a test: what fails, panics")]

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sched_core::{
    Advance, BuildContext, Call, ClaimRequest, Committed, ConflictPolicy, Error, ErrorKind, FinishedRun,
    Inserted, Job, JobCommit, JobFilter, JobStore, Outcome, QueuedRun, Registry, RunClaim, RunCounts,
    RunFilter, RunQueue, StoreContext, StoredJob, SystemClock,
};
use sched_store_redis::{PayloadFormat, RedisStore, RedisStoreBuilder};
use sched_testkit::jobs::{cursor_at, job_id, noon_plus, registry, run_id, sample_queued, sample_queued_of};
use sched_testkit::{NOON, Proxy, assert_bounded_round_trips, sample_job, server};
use serde_json::json;
use tempfile::TempDir;

const LEASE: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(500);

fn context() -> StoreContext {
    context_with(registry())
}

fn context_with(registry: Arc<Registry>) -> StoreContext {
    StoreContext::new("default", registry, Arc::new(SystemClock::new()), sched_core::chrono_tz::Tz::UTC)
}

fn started(builder: RedisStoreBuilder) -> RedisStore {
    let store = builder.build().expect("the configuration is right");
    store.start(context()).expect("the store starts");
    store
}

fn start_error(builder: RedisStoreBuilder) -> Error {
    builder.build().expect("the configuration is right").start(context()).expect_err("the start fails")
}

fn request(owner: &str, lease: Duration) -> ClaimRequest {
    ClaimRequest { owner: Arc::from(owner), now: noon_plus(1_000), limit: 5_000, lease }
}

fn places() -> [(Arc<str>, usize); 1] {
    [(Arc::from("default"), 5_000)]
}

fn insert(store: &RedisStore, jobs: &[Job]) {
    for answer in store.insert(jobs, ConflictPolicy::Error).expect("insert") {
        assert_eq!(answer.expect("the job is stored"), Inserted::Added);
    }
}

fn ids(store: &RedisStore) -> Vec<String> {
    let listed = JobStore::list(store, &JobFilter::default()).expect("list");
    let id = |stored: &StoredJob| match stored {
        StoredJob::Job(job) => job.id().to_string(),
        StoredJob::Quarantined { id, .. } => format!("({id})"),
    };
    listed.iter().map(id).collect()
}

/// A command of the server's own.
fn command(url: &str, words: &[&[u8]]) -> redis::RedisResult<redis::Value> {
    let mut conn = redis::Client::open(url)?.get_connection()?;
    let (name, arguments) = words.split_first().expect("a command has a name");
    let mut command = redis::cmd(&String::from_utf8_lossy(name));
    command.arg(arguments);
    command.query(&mut conn)
}

fn wait_for<T>(what: &str, condition: impl Fn() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(start.elapsed() < LEASE, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A server of a test's own, with an append-only file that is synced with every write.
struct Server {
    directory: TempDir,
    port: u16,
    child: Option<Child>,
    options: Vec<String>,
}

impl Server {
    /// Nothing where no server may be started.
    fn start(options: &[&str]) -> Option<Self> {
        server::redis()?;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        drop(listener);
        let directory = TempDir::new().expect("a temporary directory");
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        let mut server = Self { directory, port, child: None, options };
        server.run();
        Some(server)
    }

    fn run(&mut self) {
        let mut program = Command::new("redis-server");
        program.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "yes", "--appendfsync", "always"]);
        program.arg("--port").arg(self.port.to_string()).arg("--dir").arg(self.directory.path());
        let child = program.args(&self.options).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        self.child = Some(child.expect("redis-server is installed where tests of servers run"));
        let url = self.url();
        let has_loaded = || command_text(&url, &[b"PING"]).is_ok_and(|text| text == "PONG").then_some(());
        let wants_password = || command(&url, &[b"PING"]).is_err_and(|error| error.code() == Some("NOAUTH"));
        wait_for("the start of the server", || has_loaded().or_else(|| wants_password().then_some(())));
    }

    /// As when the power fails, but for the disk's own memory.
    fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().expect("it is killed");
        child.wait().expect("it is dead");
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.kill();
        }
    }
}

fn command_text(url: &str, words: &[&[u8]]) -> redis::RedisResult<String> {
    redis::FromRedisValue::from_redis_value(command(url, words)?).map_err(Into::into)
}

/// Keys of a test's own on the server that all tests share.
fn shared() -> Option<(String, String)> {
    Some((server::redis()?, server::unique_name("redis")))
}

#[test]
fn a_lost_answer_doubles_nothing_and_loses_nothing() {
    let Some((url, prefix)) = shared() else { return };
    let proxy = Proxy::to(url.trim_start_matches("redis://").trim_end_matches('/')).expect("a free port");
    let store = started(RedisStore::builder(proxy.url(&url)).prefix(&prefix));
    // Every script is known to the server, so that each call is one request.
    assert_bounded_round_trips(&store, &proxy);
    let jobs: Vec<Job> = (0..3).map(|number| sample_job(&number.to_string(), NOON)).collect();
    proxy.lose_answer(1);
    insert(&store, &jobs);
    proxy.lose_answer(1);
    let claimed = store.claim_due(&request("one", LEASE)).expect("claim");
    let found: Vec<_> = claimed.iter().map(|claimed| claimed.job.id().as_str()).collect();
    assert_eq!(found, ["0", "1", "2"], "what was claimed is answered again");
    let commits = claimed.iter().zip(1..).map(|(claimed, number)| JobCommit {
        claim: claimed.claim.clone(),
        advance: Advance::To(cursor_at(noon_plus(2_000))),
        runs: vec![sample_queued_of(&claimed.job, number, NOON)],
    });
    proxy.lose_answer(1);
    let applied = Committed::Applied { skipped: Vec::new() };
    assert_eq!(store.commit(commits.collect()).expect("commit"), [applied.clone(), applied.clone(), applied]);
    assert_eq!(store.counts().expect("counts"), RunCounts { queued: 3, running: 0, finished: 0 });
    proxy.lose_answer(1);
    let runs = store.claim(&request("one", LEASE), &places()).expect("claim");
    assert_eq!(
        runs.iter().map(|run| (run.run.id, run.attempt)).collect::<Vec<_>>(),
        [1, 2, 3].map(|n| (run_id(n), 1))
    );
    let claims: Vec<RunClaim> =
        runs.iter().map(|run| RunClaim { id: run.run.id, token: run.token }).collect();
    proxy.lose_answer(1);
    assert_eq!(store.renew(&claims, LEASE).expect("renew"), [true; 3]);
    proxy.lose_answer(1);
    store.release(&claims[2..]).expect("release");
    let finished = claims[..2].iter().map(|claim| FinishedRun {
        claim: *claim,
        outcome: Outcome::Cancelled,
        started_at: None,
        finished_at: NOON,
        again: None,
    });
    proxy.lose_answer(1);
    assert_eq!(store.finish(finished.collect()).expect("finish"), [true; 2]);
    proxy.lose_answer(1);
    assert_eq!(store.remove(&[job_id("1"), job_id("x")]).expect("remove"), [true, false]);
    assert_eq!(store.counts().expect("counts"), RunCounts { queued: 1, running: 0, finished: 0 });
    proxy.lose_answer(1);
    assert_eq!(store.clear().expect("clear"), 2);
}

#[test]
fn a_turn_takes_as_many_round_trips_however_many_jobs_are_due() {
    let Some((url, prefix)) = shared() else { return };
    let proxy = Proxy::to(url.trim_start_matches("redis://").trim_end_matches('/')).expect("a free port");
    let store = started(RedisStore::builder(proxy.url(&url)).prefix(&prefix));
    // Claim, commit, claim of the runs, their renewal, their end.
    assert_eq!(assert_bounded_round_trips(&store, &proxy), 5);
}

#[test]
fn a_server_that_is_silent_or_gone_is_told_apart_and_found_again() {
    let Some((url, prefix)) = shared() else { return };
    let proxy = Proxy::to(url.trim_start_matches("redis://").trim_end_matches('/')).expect("a free port");
    let builder = RedisStore::builder(proxy.url(&url)).prefix(&prefix);
    let store = started(
        builder.response_timeout(Duration::from_millis(200)).connect_timeout(Duration::from_millis(200)),
    );
    insert(&store, &[sample_job("a", NOON)]);
    proxy.freeze();
    let error = JobStore::next_wakeup(&store).expect_err("nobody answers");
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Timeout, true), "{error}");
    proxy.thaw();
    proxy.cut();
    proxy.refuse(true);
    let error = JobStore::next_wakeup(&store).expect_err("nobody is there");
    assert!(error.is_retryable(), "{error:?}");
    proxy.refuse(false);
    assert_eq!(JobStore::next_wakeup(&store).expect("it is there again"), Some(NOON));
    store.clear().expect("clear");
}

#[test]
fn work_goes_on_after_the_server_was_killed_in_the_middle_of_it() {
    const JOBS: usize = 500;
    let Some(mut server) = Server::start(&[]) else { return };
    let store = started(RedisStore::builder(server.url()).response_timeout(SHORT).connect_timeout(SHORT));
    let jobs: Vec<Job> = (0..JOBS).map(|number| sample_job(&format!("{number:03}"), NOON)).collect();
    insert(&store, &jobs);
    let mut told: BTreeSet<String> = BTreeSet::new();
    let mut number = 0;
    let mut turn = |limit: usize| -> Result<bool, Error> {
        let claimed = store.claim_due(&ClaimRequest { limit, ..request("one", SHORT) })?;
        let commits = claimed.iter().map(|claimed| {
            number += 1;
            JobCommit {
                claim: claimed.claim.clone(),
                advance: Advance::Remove,
                runs: vec![sample_queued_of(&claimed.job, number, NOON)],
            }
        });
        let answers = store.commit(commits.collect())?;
        for (claimed, answer) in claimed.iter().zip(answers) {
            if answer != Committed::Stale {
                assert!(
                    told.insert(claimed.job.id().to_string()),
                    "{} was committed twice",
                    claimed.job.id()
                );
            }
        }
        Ok(!claimed.is_empty())
    };
    for _ in 0..10 {
        assert!(turn(20).expect("it works"));
    }
    server.kill();
    assert!(turn(20).expect_err("nobody is there").is_retryable());
    server.run();
    let start = Instant::now();
    while store.job_counts().expect("the server is back").total() > 0 {
        turn(100).expect("it works");
        assert!(start.elapsed() < LEASE, "the backlog does not end");
    }
    let runs = RunQueue::list(&store, &RunFilter::default()).expect("list");
    let of: BTreeSet<String> =
        runs.iter().filter_map(|run| run.run.job_id.as_ref().map(ToString::to_string)).collect();
    assert_eq!((runs.len(), of.len()), (JOBS, JOBS), "each job has one run, and what was told is there");
    assert!(told.is_subset(&of));
}

#[test]
fn a_node_of_a_cluster_wants_the_feature_and_takes_everything_in_one_slot() {
    let Some(url) = server::redis_cluster() else { return };
    let prefix = server::unique_name("cluster");
    let error = start_error(RedisStore::builder(&url).prefix(&prefix));
    assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error}");
    assert!(error.to_string().contains("set `cluster`"), "{error}");
}

#[test]
fn wrong_credentials_and_missing_rights_are_named_and_never_shown() {
    let options = ["--requirepass", "hunter2", "--user", "weak", "on", ">hunter3", "~*", "+@all", "-evalsha"];
    let Some(server) = Server::start(&options) else { return };
    let at = |login: &str| format!("redis://{login}127.0.0.1:{}/", server.port);
    for (login, hint) in [
        ("", "wants a password"),
        (":hunter9@", "password is wrong"),
        ("nobody:hunter9@", "password is wrong"),
        ("weak:hunter3@", "lacks a right"),
    ] {
        let builder = RedisStore::builder(at(login));
        assert!(!format!("{builder:?}").contains("hunter"), "{builder:?}");
        let error = start_error(builder);
        assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{login}: {error}");
        assert!(error.to_string().contains(hint), "{login}: {error}");
        assert!(!format!("{error:?}").contains("hunter"), "{error:?}");
    }
    let store = started(RedisStore::builder(at("")).login(None, "hunter2"));
    assert!(!format!("{store:?}").contains("hunter"), "{store:?}");
}

#[test]
fn a_server_that_is_full_takes_nothing_new_and_lets_go() {
    let Some(server) = Server::start(&[]) else { return };
    let store = started(RedisStore::builder(server.url()));
    insert(&store, &[sample_job("a", NOON), sample_job("b", NOON)]);
    store.enqueue(vec![sample_queued(1, NOON)]).expect("enqueue");
    let run = store.claim(&request("one", LEASE), &places()).expect("claim").remove(0);
    let ended = FinishedRun {
        claim: RunClaim { id: run.run.id, token: run.token },
        outcome: Outcome::Cancelled,
        started_at: None,
        finished_at: NOON,
        again: None,
    };
    command(&server.url(), &[b"CONFIG", b"SET", b"maxmemory", b"1"]).expect("it is set");
    let error = store.insert(&[sample_job("c", NOON)], ConflictPolicy::Error).expect_err("it is full");
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.to_string().contains("maxmemory"), "{error}");
    assert!(store.claim_due(&request("one", LEASE)).is_err(), "a claim needs room");
    assert_eq!(store.finish(vec![ended]).expect("finish"), [true], "what is under way ends");
    command(&server.url(), &[b"CONFIG", b"SET", b"maxmemory", b"0"]).expect("it is set");
    assert_eq!(store.claim_due(&request("one", LEASE)).expect("claim").len(), 2, "nothing was half done");
}

#[test]
fn a_replica_is_refused() {
    let Some(primary) = Server::start(&["--repl-diskless-sync-delay", "0"]) else { return };
    let port = primary.port.to_string();
    let Some(replica) = Server::start(&["--replicaof", "127.0.0.1", &port]) else { return };
    let error = start_error(RedisStore::builder(replica.url()));
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.to_string().contains("read-only replica"), "{error}");
    let store =
        RedisStore::builder(primary.url()).wait_replicas(1).build().expect("the configuration is right");
    wait_for("the replica", || store.start(context()).ok());
    insert(&store, &[sample_job("a", NOON)]);
    let lonely =
        RedisStore::builder(primary.url()).wait_replicas(2).response_timeout(Duration::from_millis(200));
    let error = start_error(lonely);
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert!(error.to_string().contains("1 of 2 replicas"), "{error}");
}

/// A Sentinel that watches one primary.
struct Sentinel {
    _directory: TempDir,
    port: u16,
    child: Child,
}

impl Sentinel {
    fn of(primary: &Server) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        drop(listener);
        let directory = TempDir::new().expect("a temporary directory");
        let file = directory.path().join("sentinel.conf");
        let lines = [
            format!("port {port}"),
            "bind 127.0.0.1".to_owned(),
            format!("sentinel monitor main 127.0.0.1 {} 1", primary.port),
            "sentinel down-after-milliseconds main 1000".to_owned(),
            "sentinel failover-timeout main 5000".to_owned(),
        ];
        std::fs::write(&file, lines.join("\n")).expect("the file is written");
        let mut program = Command::new("redis-server");
        program.arg(file).arg("--sentinel").current_dir(directory.path());
        let child = program.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
        Self { _directory: directory, port, child }
    }

    fn knows_a_replica(&self) -> bool {
        let url = format!("redis://127.0.0.1:{}/", self.port);
        let found = command(&url, &[b"SENTINEL", b"REPLICAS", b"main"]);
        found.is_ok_and(|found| found.as_sequence().is_some_and(|replicas| !replicas.is_empty()))
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        self.child.kill().expect("it is killed");
        self.child.wait().expect("it is dead");
    }
}

#[test]
fn behind_a_sentinel_work_goes_on_at_the_new_primary() {
    let Some(mut primary) = Server::start(&["--repl-diskless-sync-delay", "0"]) else { return };
    let port = primary.port.to_string();
    let Some(replica) = Server::start(&["--replicaof", "127.0.0.1", &port]) else { return };
    let sentinel = Sentinel::of(&primary);
    wait_for("the Sentinel's knowledge", || sentinel.knows_a_replica().then_some(()));
    let address = format!("127.0.0.1:{}", sentinel.port);
    let builder = RedisStore::builder(primary.url()).connect_timeout(SHORT).response_timeout(SHORT);
    let unknown = start_error(builder.clone().sentinels(&[&address], "other"));
    assert_eq!(unknown.kind(), ErrorKind::Unavailable, "{unknown}");
    let store = started(builder.sentinels(&[&address], "main"));
    insert(&store, &[sample_job("a", NOON)]);
    let is_there = || command(&replica.url(), &[b"HLEN", b"{sched}:jobs"]).ok();
    wait_for("the replica's copy", || is_there().filter(|count| *count == redis::Value::Int(1)));
    primary.kill();
    let later = sample_job("b", NOON);
    let added =
        wait_for("the failover", || store.insert(std::slice::from_ref(&later), ConflictPolicy::Keep).ok());
    assert!(matches!(added[..], [Ok(Inserted::Added)]), "{added:?}");
    assert_eq!(ids(&store), ["a", "b"]);
    assert_eq!(is_there(), Some(redis::Value::Int(2)), "the replica is the primary now");
}

/// A Sentinel that answers every question with a port of this machine; or nothing at all.
fn pretended_sentinel(primary: Option<u16>) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound").to_string();
    std::thread::spawn(move || {
        let mut all = Vec::new();
        for mut stream in listener.incoming().map_while(Result::ok) {
            let Some(port) = primary.map(|port| port.to_string()) else {
                all.push(stream);
                continue;
            };
            std::thread::spawn(move || {
                let mut buffer = [0; 4_096];
                while let Ok(1..) = stream.read(&mut buffer) {
                    let text = String::from_utf8_lossy(&buffer);
                    // What the client says before of itself may have any answer that is no question.
                    let commands = text.matches("CLIENT").count();
                    let reply = match text.contains("get-master-addr-by-name") {
                        true => format!("*2\r\n$9\r\n127.0.0.1\r\n${}\r\n{port}\r\n", port.len()),
                        false => "+OK\r\n".repeat(commands.max(1)),
                    };
                    buffer.fill(0);
                    if stream.write_all(reply.as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

#[test]
fn a_sentinel_that_hangs_holds_nobody_up() {
    let Some(primary) = Server::start(&[]) else { return };
    let (silent, good) = (pretended_sentinel(None), pretended_sentinel(Some(primary.port)));
    let builder = RedisStore::builder("redis://elsewhere/").connect_timeout(Duration::from_secs(4));
    let begin = Instant::now();
    let store = started(builder.sentinels(&[&silent, &good], "main"));
    insert(&store, &[sample_job("a", NOON)]);
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
}

#[cfg(feature = "tls")]
#[test]
fn behind_sentinels_no_password_goes_in_the_clear_where_encryption_is_wanted() {
    let primary = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = primary.local_addr().expect("it is bound").port();
    let sentinel = pretended_sentinel(Some(port));
    let (sender, heard) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for mut stream in primary.incoming().map_while(Result::ok) {
            let mut first = [0];
            let _ = stream.read(&mut first);
            let _ = sender.send(first[0]);
        }
    });
    let builder = RedisStore::builder("rediss://:secret@elsewhere/").connect_timeout(Duration::from_secs(2));
    start_error(builder.sentinels(&[&sentinel], "main"));
    let first = heard.recv_timeout(Duration::from_secs(5)).expect("the primary is spoken to");
    assert_eq!(first, 0x16, "it begins with the greeting of TLS");
}

#[test]
fn a_newer_schema_is_refused() {
    let Some((url, prefix)) = shared() else { return };
    let key = format!("{{{prefix}}}:schema");
    command(&url, &[b"SET", key.as_bytes(), b"2"]).expect("it is set");
    let error = start_error(RedisStore::builder(&url).prefix(&prefix));
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("schema version 2, newer than 1"), "{error}");
    command(&url, &[b"SET", key.as_bytes(), b"x"]).expect("it is set");
    assert_eq!(start_error(RedisStore::builder(&url).prefix(&prefix)).kind(), ErrorKind::Corrupt);
    command(&url, &[b"DEL", key.as_bytes()]).expect("it is gone");
}

#[test]
fn tokens_stay_exact_beyond_what_lua_counts() {
    let Some((url, prefix)) = shared() else { return };
    let store = started(RedisStore::builder(&url).prefix(&prefix));
    let key = format!("{{{prefix}}}:token");
    command(&url, &[b"SET", key.as_bytes(), b"9007199254740992"]).expect("it is set");
    insert(&store, &[sample_job("a", NOON), sample_job("b", noon_plus(1))]);
    store.enqueue(vec![sample_queued(1, NOON)]).expect("enqueue");
    let one = ClaimRequest { limit: 1, ..request("one", LEASE) };
    let tokens = [
        store.claim_due(&one).expect("claim")[0].claim.token.0,
        store.claim_due(&one).expect("claim")[0].claim.token.0,
        store.claim(&one, &places()).expect("claim")[0].token.0,
    ];
    assert_eq!(tokens, [9_007_199_254_740_993, 9_007_199_254_740_994, 9_007_199_254_740_995]);
    store.clear().expect("clear");
}

#[test]
fn every_way_to_mangle_a_row_quarantines_it_and_no_other() {
    let Some((url, _)) = shared() else { return };
    for (what, key, value) in [
        ("the payload is no JSON", "jobs", "x"),
        ("the payload is deep", "jobs", &"[".repeat(500)),
        ("the payload is too long", "jobs", &"x".repeat(2 << 20)),
        ("the cursor is no text", "cursors", "x"),
        ("the cursor is cut off", "cursors", "8006179e4bd1a000 7"),
        ("the status is unknown", "cursors", "8006179e4bd1a000 7 - - x"),
        ("the revision is negative", "cursors", "8006179e4bd1a000 -1 - - scheduled"),
        ("the time is none", "cursors", "ffffffffffffffff 7 - - scheduled"),
    ] {
        let prefix = server::unique_name("mangled");
        let store = started(RedisStore::builder(&url).prefix(&prefix));
        insert(&store, &["a", "b", "c"].map(|id| sample_job(id, NOON)));
        let key = format!("{{{prefix}}}:{key}");
        command(&url, &[b"HSET", key.as_bytes(), b"b", value.as_bytes()]).expect("it is set");
        let listed = ids(&store);
        assert_eq!((listed.len(), listed.contains(&"(b)".to_owned())), (3, true), "{what}: {listed:?}");
        assert_eq!(store.claim_due(&request("one", LEASE)).expect("claim").len(), 2, "{what}");
        assert_eq!(ids(&store), ["a", "c", "(b)"], "{what}: it is out of the schedule");
        assert_eq!(store.job_counts().expect("counts").quarantined, 1, "{what}");
        let found = store.get(&[job_id("b")]).expect("get").remove(0).expect("it is there");
        assert_eq!(found.into_job().expect_err("it does not decode").kind(), ErrorKind::Corrupt, "{what}");
        let replaced =
            store.insert(&[sample_job("b", noon_plus(5))], ConflictPolicy::Replace).expect("insert");
        assert!(matches!(replaced[..], [Ok(Inserted::Replaced)]), "{what}: {replaced:?}");
        assert_eq!(store.claim_due(&request("two", LEASE)).expect("claim").len(), 1, "{what}");
        store.clear().expect("clear");
    }
}

#[test]
fn a_quarantined_job_is_back_when_a_store_that_knows_it_starts() {
    let Some((url, prefix)) = shared() else { return };
    let open = || RedisStore::builder(&url).prefix(&prefix);
    insert(&started(open()), &[sample_job("a", NOON)]);
    let ignorant = open().build().expect("the configuration is right");
    let nothing = Arc::new(Registry::builder().build().expect("nothing is named twice"));
    ignorant.start(context_with(nothing)).expect("it starts");
    assert!(ignorant.claim_due(&request("ignorant", LEASE)).expect("claim").is_empty());
    assert_eq!(ids(&ignorant), ["(a)"]);
    let store = started(open());
    assert_eq!(ids(&store), ["a"]);
    assert_eq!(store.claim_due(&request("one", LEASE)).expect("claim").len(), 1);
    store.clear().expect("clear");
}

#[test]
fn payloads_are_bytes_and_either_format_is_read() {
    let Some((url, prefix)) = shared() else { return };
    let open = |format| started(RedisStore::builder(&url).prefix(&prefix).codec(format));
    let (json, cbor) = (open(PayloadFormat::Json), open(PayloadFormat::Cbor));
    let with_text = |id: &str| {
        let job = sample_job(id, NOON);
        let spec = sched_core::JobSpec {
            args: json!(["\u{0}\r\n\u{1F980}", 1.5e300, i64::MIN]).into(),
            ..sched_core::JobSpec::clone(&job.spec)
        };
        Job { spec: Arc::new(spec), cursor: job.cursor }
    };
    insert(&json, &[with_text("a")]);
    insert(&cbor, &[with_text("b")]);
    for store in [&json, &cbor] {
        let found = store.get(&[job_id("a"), job_id("b")]).expect("get");
        for stored in found.into_iter().flatten() {
            assert_eq!(stored.into_job().expect("it decodes").spec.args, with_text("a").spec.args);
        }
    }
    let call = Call { args: with_text("a").spec.args.clone(), ..sample_queued(1, NOON).call };
    cbor.enqueue(vec![QueuedRun { call, ..sample_queued(1, NOON) }]).expect("enqueue");
    let run = json.claim(&request("one", LEASE), &places()).expect("claim").remove(0).run;
    assert_eq!(run.call.args, with_text("a").spec.args);
    json.clear().expect("clear");
}

#[test]
fn batches_beyond_what_lua_unpacks_are_whole() {
    const MANY: usize = 13_000;
    let Some((url, prefix)) = shared() else { return };
    let store = started(RedisStore::builder(&url).prefix(&prefix));
    let jobs: Vec<Job> = (0..MANY).map(|number| sample_job(&format!("{number:05}"), NOON)).collect();
    insert(&store, &jobs);
    let all = ClaimRequest { limit: usize::MAX, ..request("one", LEASE) };
    let claimed = store.claim_due(&all).expect("claim");
    assert!(claimed.iter().map(|claimed| claimed.job.id()).eq(jobs.iter().map(|job| job.id())), "in order");
    assert_eq!(ids(&store).len(), MANY);
    store.recover("one").expect("recover");
    assert_eq!(store.claim_due(&all).expect("claim").len(), MANY);
    store.enqueue((0..MANY as u64).map(|number| sample_queued(number, NOON)).collect()).expect("enqueue");
    let places = [(Arc::from("default"), MANY)];
    let runs = store.claim(&all, &places).expect("claim");
    assert_eq!(runs.len(), MANY);
    let claims: Vec<RunClaim> =
        runs.iter().map(|run| RunClaim { id: run.run.id, token: run.token }).collect();
    assert!(store.renew(&claims, LEASE).expect("renew").iter().all(|ours| *ours));
    store.recover("one").expect("recover");
    assert_eq!(store.counts().expect("counts").queued, MANY);
    assert_eq!(store.clear().expect("clear"), MANY);
}

#[test]
fn configuration_is_read_strictly() {
    let registry = Registry::linked().expect("nothing is named twice");
    let build = |options: serde_json::Value| {
        let context = BuildContext { registry: &registry, timezone: sched_core::chrono_tz::Tz::UTC };
        registry.job_store("jobstores.default", options, context)
    };
    for good in [
        json!({ "type": "redis" }),
        json!({ "type": "redis", "host": "db", "port": "6380", "db": 2, "password": "x" }),
        json!({ "type": "redis", "url": "redis://db/1", "jobs_key": "example.jobs", "run_times_key": "example.run_times" }),
        json!({ "class": "apscheduler.jobstores.redis:RedisJobStore", "db": 0, "codec": "cbor", "max_payload": 1000 }),
        json!({ "type": "redis", "sentinels": ["a:26379", "b:26379"], "master": "main" }),
    ] {
        build(good.clone()).unwrap_or_else(|error| panic!("{good}: {error}"));
    }
    for (wrong, faults) in [
        (json!({ "url": "http://me:hunter2@db" }), &["url: `http://me:***@db` is no url"][..]),
        (json!({ "url": "redis://db", "host": "db" }), &["url: give either"]),
        (json!({ "prefix": "a{b}", "jobs_key": "token" }), &["prefix: ", "jobs_key: `token` is a key of"]),
        (json!({ "jobs_key": "x", "run_times_key": "x" }), &["run_times_key: "]),
        (json!({ "codec": "pickle" }), &["codec: `pickle` is not one of json, cbor"]),
        (json!({ "master": "main" }), &["sentinels: they are needed"]),
        (json!({ "pool_size": 0 }), &["pool_size"]),
        (json!({ "surprise": 1 }), &["surprise"]),
    ] {
        let mut options = wrong.clone();
        options["type"] = json!("redis");
        let error = build(options).map(drop).expect_err("it is wrong");
        assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{wrong}: {error}");
        for fault in faults {
            assert!(error.to_string().contains(fault), "{wrong}: {error}");
        }
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}

/// The other processes of the tests below; by itself it does nothing.
#[test]
fn another_process() {
    let variable = |name: &str| std::env::var(name).ok();
    let Some((url, prefix)) = variable("SCHED_REDIS_TEST_URL").zip(variable("SCHED_REDIS_TEST_PREFIX"))
    else {
        return;
    };
    let store = started(RedisStore::builder(&url).prefix(&prefix));
    let key = format!("{{{prefix}}}:told");
    if variable("SCHED_REDIS_TEST_HANG").is_some() {
        let claimed = store.claim_due(&request("hanging", SHORT)).expect("claim").len();
        let runs = store.claim(&request("hanging", SHORT), &places()).expect("claim").len();
        command(&url, &[b"RPUSH", key.as_bytes(), format!("{claimed} {runs}").as_bytes()])
            .expect("it is told");
        std::thread::sleep(Duration::from_secs(600));
    }
    for id in drain(&store, &std::process::id().to_string()) {
        command(&url, &[b"RPUSH", key.as_bytes(), id.as_bytes()]).expect("it is told");
    }
}

fn another(url: &str, prefix: &str, hang: bool) -> Child {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["--exact", "another_process"]).env("SCHED_REDIS_TEST_URL", url);
    command.env("SCHED_REDIS_TEST_PREFIX", prefix);
    if hang {
        command.env("SCHED_REDIS_TEST_HANG", "1");
    }
    command.stdout(Stdio::null()).spawn().expect("it starts")
}

/// What other processes told.
fn told(url: &str, prefix: &str) -> Vec<String> {
    let key = format!("{{{prefix}}}:told");
    let list = command(url, &[b"LRANGE", key.as_bytes(), b"0", b"-1"]).expect("it is a list");
    redis::FromRedisValue::from_redis_value(list).expect("texts")
}

/// Claims and commits due jobs, each with a run, until none is left; answers the ids.
fn drain(store: &RedisStore, owner: &str) -> Vec<String> {
    let mut drained = Vec::new();
    loop {
        let claimed = store.claim_due(&ClaimRequest { limit: 7, ..request(owner, LEASE) }).expect("claim");
        if claimed.is_empty() {
            return drained;
        }
        for claimed in claimed {
            let id = claimed.job.id().to_string();
            let number = id.parse().expect("ids are numbers");
            let runs = vec![sample_queued_of(&claimed.job, number, NOON)];
            let commit =
                JobCommit { claim: claimed.claim, advance: Advance::To(cursor_at(noon_plus(9_000))), runs };
            if store.commit(vec![commit]).expect("commit") != [Committed::Stale] {
                drained.push(id);
            }
        }
    }
}

#[test]
fn processes_share_a_server() {
    const JOBS: usize = 300;
    let Some((url, prefix)) = shared() else { return };
    let store = started(RedisStore::builder(&url).prefix(&prefix));
    insert(&store, &(0..JOBS).map(|number| sample_job(&number.to_string(), NOON)).collect::<Vec<_>>());
    let children = [another(&url, &prefix, false), another(&url, &prefix, false)];
    let mut drained = drain(&store, "parent");
    for mut child in children {
        assert!(child.wait().expect("it ends").success());
    }
    drained.extend(told(&url, &prefix));
    let distinct: BTreeSet<&String> = drained.iter().collect();
    assert_eq!((drained.len(), distinct.len()), (JOBS, JOBS), "each job is committed once");
    assert_eq!(store.counts().expect("counts").queued, JOBS);
    store.clear().expect("clear");
}

#[test]
fn what_a_killed_process_claimed_is_taken_over() {
    let Some((url, prefix)) = shared() else { return };
    let store = started(RedisStore::builder(&url).prefix(&prefix));
    insert(&store, &[sample_job("1", NOON), sample_job("2", NOON)]);
    store.enqueue(vec![sample_queued(9, NOON)]).expect("enqueue");
    let mut child = another(&url, &prefix, true);
    wait_for("a claim", || (told(&url, &prefix) == ["2 1"]).then_some(()));
    child.kill().expect("it is killed");
    child.wait().expect("it is dead");
    let taken_over = wait_for("the end of the leases", || {
        let drained = drain(&store, "alive");
        (!drained.is_empty()).then_some(drained)
    });
    assert_eq!(taken_over, ["1", "2"]);
    let attempts = wait_for("the end of the run's lease", || {
        let claimed = store.claim(&request("alive", LEASE), &places()).expect("claim");
        let attempts: Vec<_> = claimed.iter().map(|claimed| (claimed.run.id, claimed.attempt)).collect();
        attempts.iter().any(|(id, _)| *id == run_id(9)).then_some(attempts)
    });
    assert!(attempts.contains(&(run_id(9), 2)), "{attempts:?}");
    store.clear().expect("clear");
}
