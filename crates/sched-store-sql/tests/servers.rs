//! What the suites cannot say of databases with a server: connections that break, wrong URLs, starts at once, schemas,
//! callers' own transactions.
#![cfg(all(feature = "postgres", feature = "mysql"))]
#![expect(clippy::expect_used, reason = "a test: what fails, panics")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection;
use diesel::r2d2::{ConnectionManager, Pool};
use diesel::{Connection, MysqlConnection, PgConnection, RunQueryDsl};
use sched_core::{
    Advance, Again, Attempt, ClaimRequest, ClaimedJob, Committed, ConflictPolicy, Error, ErrorKind,
    FinishedRun, Inserted, Job, JobCommit, JobFilter, JobStore, Outcome, RunClaim, RunFilter, RunQueue,
    RunState, StoreContext, SystemClock, TaskError,
};
use sched_store_sql::{SqlStore, diesel};
use sched_testkit::jobs::{cursor_at, noon_plus, registry, run_id, sample_queued, sample_queued_of};
use sched_testkit::{NOON, Proxy, assert_bounded_round_trips, sample_job, server};

const LEASE: Duration = Duration::from_secs(30);

/// A schema of its own on a server, which is a database for MySQL.
struct Place {
    url: String,
    name: String,
    run: fn(&str, &str),
}

impl Place {
    /// One on each server that is there.
    fn all() -> Vec<Self> {
        let postgres = server::postgres().map(|url| Self {
            url,
            name: server::unique_name("sql"),
            run: |url, sql| {
                let mut conn = PgConnection::establish(url).expect("the server is there");
                conn.batch_execute("SET client_min_messages = warning").expect("it is right");
                conn.batch_execute(sql).expect("the statement is right");
            },
        });
        let mysql = server::mysql().map(|url| Self {
            url,
            name: server::unique_name("sql"),
            run: |url, sql| {
                let mut conn = MysqlConnection::establish(url).expect("the server is there");
                conn.batch_execute(sql).expect("the statement is right");
            },
        });
        postgres.into_iter().chain(mysql).collect()
    }

    fn store_at(&self, url: &str) -> SqlStore {
        let builder = SqlStore::builder(url).table_schema(&self.name).connect_timeout(Duration::from_secs(5));
        builder.build().expect("the configuration is right")
    }

    fn store(&self) -> SqlStore {
        started(self.store_at(&self.url))
    }

    fn run(&self, sql: &str) {
        (self.run)(&self.url, &sql.replace("{schema}", &self.name));
    }

    fn is_postgres(&self) -> bool {
        self.url.starts_with("postgres")
    }

    /// Where the server listens.
    fn target(&self) -> String {
        let rest = self.url.split('@').nth(1).expect("the url has a user");
        rest.split('/').next().expect("the url has a host").to_owned()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let cascade = if self.is_postgres() { "CASCADE" } else { "" };
        if !std::thread::panicking() {
            self.run(&format!("DROP SCHEMA IF EXISTS {{schema}} {cascade}"));
        }
    }
}

fn started(store: SqlStore) -> SqlStore {
    store.start(context()).expect("the store starts");
    store
}

fn context() -> StoreContext {
    StoreContext::new("default", registry(), Arc::new(SystemClock::new()), sched_core::chrono_tz::Tz::UTC)
}

fn start_error(store: &SqlStore) -> Error {
    store.start(context()).expect_err("the start fails")
}

fn request() -> ClaimRequest {
    ClaimRequest { owner: Arc::from("one"), now: noon_plus(1_000), limit: 10, lease: LEASE }
}

fn insert(store: &SqlStore, jobs: &[Job]) {
    for answer in store.insert(jobs, ConflictPolicy::Error).expect("insert") {
        assert_eq!(answer.expect("the job is stored"), Inserted::Added);
    }
}

fn places() -> [(Arc<str>, usize); 1] {
    [(Arc::from("default"), 100)]
}

#[test]
fn a_wrong_url_says_why_at_once_and_never_tells_the_password() {
    for place in Place::all() {
        let database = |name: &str| format!("{}/{name}", place.url.rsplit_once('/').expect("a database").0);
        let stranger = place.url.replace("sched:sched@", "nobody:hunter2@");
        let closed = place.url.replace(&place.target(), "127.0.0.1:1");
        for (url, expected) in [
            (database("nonesuch"), ErrorKind::InvalidConfig),
            (stranger, ErrorKind::InvalidConfig),
            (closed, ErrorKind::Unavailable),
        ] {
            let store = place.store_at(&url);
            let start = std::time::Instant::now();
            let error = start_error(&store);
            assert_eq!(error.kind(), expected, "{error}");
            assert!(start.elapsed() < Duration::from_secs(4), "{error} came late");
            for text in [format!("{error:?}"), format!("{store:?}")] {
                assert!(!text.contains("hunter2") && !text.contains(":sched@"), "{text}");
            }
        }
    }
}

#[test]
fn stores_that_start_at_once_make_their_tables_once_and_a_newer_schema_is_refused() {
    for place in Place::all() {
        let barrier = std::sync::Barrier::new(4);
        std::thread::scope(|scope| {
            for number in 0..4 {
                let (place, barrier) = (&place, &barrier);
                scope.spawn(move || {
                    let store = place.store_at(&place.url);
                    barrier.wait();
                    insert(&started(store), &[sample_job(&number.to_string(), NOON)]);
                });
            }
        });
        assert_eq!(JobStore::list(&place.store(), &JobFilter::default()).expect("list").len(), 4);
        place.run("UPDATE {schema}.sched_meta SET value = 2 WHERE name = 'schema_version'");
        let error = start_error(&place.store_at(&place.url));
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains("schema version 2, newer than 1"), "{error}");
    }
}

#[test]
fn missing_tables_are_named_when_they_may_not_be_made() {
    for place in Place::all() {
        let store = SqlStore::builder(&place.url).table_schema(&place.name).create_schema(false).build();
        let store = store.expect("the configuration is right");
        let error = start_error(&store);
        assert_eq!(error.kind(), ErrorKind::InvalidState, "{error}");
        assert!(error.to_string().contains(&store.ddl()), "{error}");
        place.run("CREATE SCHEMA {schema}");
        place.run(&store.ddl());
        assert!(JobStore::list(&started(store), &JobFilter::default()).expect("list").is_empty());
    }
}

#[test]
fn a_connection_that_is_cut_is_replaced_unnoticed() {
    for place in Place::all() {
        let proxy = Proxy::to(place.target().as_str()).expect("a proxy");
        let store = started(place.store_at(&proxy.url(&place.url)));
        for round in 0..3 {
            insert(&store, &[sample_job(&round.to_string(), NOON)]);
            proxy.cut();
            let listed = JobStore::list(&store, &JobFilter::default()).expect("the connection is made anew");
            assert_eq!(listed.len(), round + 1);
            proxy.cut();
        }
    }
}

/// Does something while the answer to the n-th request from now on is lost; says also whether there were so many.
fn losing<T>(proxy: &Proxy, nth: usize, work: impl FnOnce() -> T) -> (T, bool) {
    let last = proxy.requests() + nth;
    proxy.lose_answer(nth);
    let done = work();
    proxy.lose_answer(usize::MAX / 2);
    (done, proxy.requests() >= last)
}

/// However far a commit or an end had come when its answer was lost, it is neither repeated nor forgotten.
#[test]
fn what_was_done_when_the_answer_was_lost_is_not_done_again() {
    for place in Place::all() {
        let proxy = Proxy::to(place.target().as_str()).expect("a proxy");
        let store = started(place.store_at(&proxy.url(&place.url)));
        for nth in 1.. {
            let job = sample_job(&format!("job-{nth}"), NOON);
            insert(&store, std::slice::from_ref(&job));
            let ClaimedJob { claim, .. } = store.claim_due(&request()).expect("claim").remove(0);
            let number = u64::try_from(nth).expect("it is small");
            let runs = vec![sample_queued_of(&job, number, NOON)];
            let commit = JobCommit { claim, advance: Advance::To(cursor_at(noon_plus(9_999))), runs };
            let (answers, is_commit_lost) = losing(&proxy, nth, || store.commit(vec![commit]));
            let applied = [Committed::Applied { skipped: Vec::new() }];
            assert_eq!(answers.expect("commit"), applied, "answer {nth} was lost");
            let claimed = store.claim(&request(), &places()).expect("claim").remove(0);
            let claim = RunClaim { id: claimed.run.id, token: claimed.token };
            let (outcome, finished_at) = (Outcome::Cancelled, noon_plus(1));
            let finished = FinishedRun { claim, outcome, started_at: None, finished_at, again: None };
            let (answers, is_end_lost) = losing(&proxy, nth, || store.finish(vec![finished]));
            assert_eq!(answers.expect("finish"), [true], "answer {nth} was lost");
            // Then the last request, which commits, was among them.
            if !is_commit_lost && !is_end_lost {
                assert!(nth > 3, "a commit takes more requests");
                break;
            }
        }
        assert_eq!(store.counts().expect("counts"), sched_core::RunCounts::default());
    }
}

/// A run that was queued may have ended, and be forgotten, before whoever queued it hears that the answer was lost.
#[test]
fn a_run_that_ended_before_its_lost_answer_was_noticed_is_not_queued_again() {
    for place in Place::all() {
        let proxy = Proxy::to(place.target().as_str()).expect("a proxy");
        let other = place.store();
        let run_one = || {
            let claimed = other.claim(&request(), &places()).expect("claim");
            let finished = claimed.iter().map(|run| FinishedRun {
                claim: RunClaim { id: run.run.id, token: run.token },
                outcome: Outcome::Cancelled,
                started_at: None,
                finished_at: noon_plus(1),
                again: None,
            });
            other.finish(finished.collect()).expect("finish").len()
        };
        let mut ended_early = 0;
        for nth in 1.. {
            // With connections of its own, so that each round has the same requests.
            let store = started(place.store_at(&proxy.url(&place.url)));
            let last = proxy.requests() + nth;
            let run = sample_queued(u64::try_from(nth).expect("it is small"), NOON);
            proxy.freeze_after(nth);
            let (done, early) = std::thread::scope(|scope| {
                let queueing = scope.spawn(|| store.enqueue(vec![run]));
                while proxy.requests() < last && !queueing.is_finished() {
                    std::thread::yield_now();
                }
                // Whether the request that was passed on queued it, shows soon or not at all.
                let (end, mut early) = (Instant::now() + Duration::from_millis(300), 0);
                while early == 0 && Instant::now() < end {
                    early = run_one();
                }
                proxy.cut();
                proxy.thaw();
                (queueing.join().expect("it ends"), early)
            });
            let all = early + run_one();
            match done {
                Ok(()) => assert_eq!(all, 1, "request {nth} of {}", place.url),
                Err(error) => assert!(error.is_retryable() && all <= 1, "{all} runs, {error}"),
            }
            if proxy.requests() < last {
                break;
            }
            ended_early += early;
        }
        assert!(ended_early > 0, "no run ended before its answer was noticed to be lost");
    }
}

/// Whoever falls silent in the middle of a claim, wherever that is, holds others up for some seconds, not for good.
#[test]
fn a_claim_that_stops_half_way_holds_nobody_up_for_long() {
    let patience = Duration::from_secs(20);
    let attempt = |nth: usize| {
        for place in Place::all() {
            let proxy = Proxy::to(place.target().as_str()).expect("a proxy");
            let (silent, other) = (started(place.store_at(&proxy.url(&place.url))), place.store());
            silent.enqueue(vec![sample_queued(1, NOON), sample_queued(2, NOON)]).expect("queued");
            let begun = proxy.requests() + nth;
            proxy.freeze_after(nth);
            std::thread::scope(|scope| {
                let claiming = scope.spawn(|| silent.claim(&request(), &places()));
                while proxy.requests() < begun && !claiming.is_finished() {
                    std::thread::yield_now();
                }
                let before = Instant::now();
                // That others were in the way for too long is an answer, too.
                while other.claim(&request(), &places()).is_err() && before.elapsed() < patience {}
                let waited = before.elapsed();
                proxy.thaw();
                drop(claiming.join());
                assert!(waited < patience, "request {nth} of {}", place.url);
            });
            let runs = RunQueue::list(&other, &RunFilter::default()).expect("list");
            let claimed = runs.iter().filter(|record| matches!(record.state, RunState::Running { .. }));
            assert_eq!((claimed.count(), runs.len()), (2, 2), "request {nth} of {}", place.url);
        }
    };
    std::thread::scope(|scope| (1..=6).for_each(|nth| drop(scope.spawn(move || attempt(nth)))));
}

/// Claims exclude one another, and nobody else: who renews, ends or commits what it has claimed does not wait until a claim
/// that was begun by another is over.
#[test]
fn who_has_claimed_does_not_wait_for_another_claim() {
    let attempt = |nth: usize| {
        for place in Place::all() {
            let proxy = Proxy::to(place.target().as_str()).expect("a proxy");
            let (silent, other) = (started(place.store_at(&proxy.url(&place.url))), place.store());
            other.enqueue(vec![sample_queued(1, NOON), sample_queued(2, NOON)]).expect("queued");
            let claimed = other.claim(&request(), &places()).expect("claim");
            let claims: Vec<RunClaim> =
                claimed.iter().map(|run| RunClaim { id: run.run.id, token: run.token }).collect();
            insert(&other, &[sample_job("a", NOON)]);
            let ClaimedJob { claim, .. } = other.claim_due(&request()).expect("claim").remove(0);
            other.enqueue(vec![sample_queued(3, NOON)]).expect("queued");
            insert(&other, &[sample_job("b", NOON)]);
            let begun = proxy.requests() + nth;
            proxy.freeze_after(nth);
            std::thread::scope(|scope| {
                let claiming = scope.spawn(|| {
                    drop(silent.claim_due(&request()));
                    drop(silent.claim(&request(), &places()));
                });
                while proxy.requests() < begun && !claiming.is_finished() {
                    std::thread::yield_now();
                }
                let before = Instant::now();
                let renewed = other.renew(&claims, LEASE);
                let commit =
                    JobCommit { claim, advance: Advance::To(cursor_at(noon_plus(9_999))), runs: Vec::new() };
                let committed = other.commit(vec![commit]);
                let waited = before.elapsed();
                proxy.thaw();
                claiming.join().expect("it ends");
                assert_eq!(renewed.expect("renew"), [true, true]);
                assert_eq!(committed.expect("commit"), [Committed::Applied { skipped: Vec::new() }]);
                assert!(waited < Duration::from_secs(3), "request {nth} of {}: {waited:?}", place.url);
            });
        }
    };
    std::thread::scope(|scope| {
        (1..=3).for_each(|first| drop(scope.spawn(move || (first..=18).step_by(3).for_each(attempt))));
    });
}

/// Works on two claims, the later first, while somebody holds the earlier: the later is not to be locked meanwhile.
macro_rules! check_order_of_locks {
    ($place:expr, $Connection:ty) => {{
        let (place, store) = ($place, $place.store());
        let connect = || <$Connection>::establish(&place.url).expect("the server is there");
        let (mut holder, mut looker) = (connect(), connect());
        let lock = |id: u64, how: &str| {
            format!("SELECT 1 FROM {}.sched_runs WHERE id = '{}' FOR UPDATE {how}", place.name, run_id(id))
        };
        let finished = |claim: &RunClaim| {
            let (outcome, finished_at) = (Outcome::Cancelled, noon_plus(1));
            FinishedRun { claim: *claim, outcome, started_at: None, finished_at, again: None }
        };
        type Works<'w> = &'w (dyn Fn(&[RunClaim]) -> Result<(), Error> + Sync);
        let works: [(&str, Works<'_>); 3] = [
            ("renew", &|claims| store.renew(claims, LEASE).map(drop)),
            ("finish", &|claims| store.finish(claims.iter().map(finished).collect()).map(drop)),
            ("release", &|claims| store.release(claims)),
        ];
        for ((name, work), first) in works.into_iter().zip([1, 11, 21]) {
            let runs = [first, first + 1].map(|number| sample_queued(number, NOON));
            store.enqueue(runs.to_vec()).expect("queued");
            let claimed = store.claim(&request(), &places()).expect("claim");
            let claims = claimed.iter().rev().map(|run| RunClaim { id: run.run.id, token: run.token });
            let claims: Vec<RunClaim> = claims.collect();
            holder.batch_execute(&format!("BEGIN; {}", lock(first, ""))).expect("it is free");
            let is_free = std::thread::scope(|scope| {
                let working = scope.spawn(|| work(&claims));
                let (end, mut is_free) = (Instant::now() + Duration::from_millis(500), true);
                while is_free && Instant::now() < end {
                    is_free = looker.batch_execute(&lock(first + 1, "NOWAIT")).is_ok();
                }
                holder.batch_execute("ROLLBACK").expect("it ends");
                working.join().expect("it ends").expect("it is done");
                is_free
            });
            assert!(is_free, "{name} locks the later first");
        }
    }};
}

/// Renewals and ends of the same runs come at the same moment, and in any order: they would wait for one another.
#[test]
fn runs_are_locked_in_the_order_of_their_ids() {
    for place in Place::all() {
        match place.is_postgres() {
            true => check_order_of_locks!(&place, PgConnection),
            false => check_order_of_locks!(&place, MysqlConnection),
        }
    }
}

/// In MySQL a transaction goes on seeing what it has seen first.
#[test]
fn a_callers_transaction_meets_jobs_that_came_after_its_first_look() {
    let Some(place) = Place::all().into_iter().find(|place| !place.is_postgres()) else { return };
    let store = place.store();
    for (number, conflict, expected) in
        [(1, ConflictPolicy::Keep, Inserted::Kept), (2, ConflictPolicy::Replace, Inserted::Replaced)]
    {
        let mut conn = MysqlConnection::establish(&place.url).expect("the server is there");
        let looks = format!("BEGIN; SELECT COUNT(*) FROM {}.sched_jobs", place.name);
        conn.batch_execute(&format!("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ; {looks}"))
            .expect("it looks");
        let job = sample_job(&format!("job-{number}"), NOON);
        insert(&store, std::slice::from_ref(&job));
        let added = store.add_job_in(&mut conn, &job, conflict).expect("it is there already");
        assert_eq!(added, expected);
        conn.batch_execute("COMMIT").expect("it ends");
    }
}

/// A batch goes into as many statements as it takes, whatever is in it.
#[test]
fn many_long_histories_are_kept_at_once() {
    for place in Place::all() {
        let store = place.store();
        let count = 40_u64;
        store.enqueue((1..=count).map(|number| sample_queued(number, NOON)).collect()).expect("queued");
        let claimed = store.claim(&request(), &places()).expect("claim");
        let mut all = claimed;
        while let more @ [_, ..] = &store.claim(&request(), &places()).expect("claim")[..] {
            all.extend(more.to_vec());
        }
        let finished = all.iter().map(|run| {
            let outcome = Outcome::Failed(TaskError::new("x".repeat(400_000)));
            let (attempt, finished_at) = (run.attempt, noon_plus(1));
            let ended = Attempt { attempt, outcome: outcome.clone(), started_at: None, finished_at };
            FinishedRun {
                claim: RunClaim { id: run.run.id, token: run.token },
                outcome,
                started_at: None,
                finished_at,
                again: Some(Again { at: NOON, history: vec![ended] }),
            }
        });
        let ended = store.finish(finished.collect()).expect("finish");
        assert_eq!(ended, vec![true; all.len()]);
        assert_eq!(store.counts().expect("counts").queued, all.len());
    }
}

/// How many sessions of PostgreSQL hold the lock on claims of a schema's runs, and how many wait for it.
#[derive(diesel::QueryableByName)]
struct Claimers {
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    holding: i64,
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    waiting: i64,
}

/// Limits are counted by one claim after the other, so whoever finds the tables by the search path has to wait for whoever
/// names their schema.
#[test]
fn claims_exclude_one_another_by_whatever_name_the_tables_are_found() {
    for place in Place::all().into_iter().filter(Place::is_postgres) {
        let by_schema = place.store();
        let url = format!("{}?options=-csearch_path%3D{}", place.url, place.name);
        let by_path = started(SqlStore::open(url).expect("the url is right"));
        by_schema.enqueue(vec![sample_queued(1, NOON)]).expect("queued");
        assert_eq!(by_path.counts().expect("counts").queued, 1, "they share the tables");
        let mut holder = PgConnection::establish(&place.url).expect("the server is there");
        let runs = format!("{}.sched_runs", place.name);
        // Who claims holds its lock already when it comes to change a row.
        holder.batch_execute(&format!("BEGIN; LOCK TABLE {runs} IN EXCLUSIVE MODE")).expect("it is free");
        let claimers = diesel::sql_query(format!(
            "SELECT count(*) FILTER (WHERE granted) AS holding, count(*) FILTER (WHERE NOT granted) AS waiting \
             FROM pg_locks WHERE locktype = 'advisory' AND objid = '{runs}'::regclass::oid"
        ));
        std::thread::scope(|scope| {
            let claims = [&by_schema, &by_path]
                .map(|store| scope.spawn(|| store.claim(&request(), &places()).expect("claim").len()));
            let end = Instant::now() + Duration::from_secs(15);
            loop {
                let found: Vec<Claimers> = claimers.clone().load(&mut holder).expect("it is right");
                if (found[0].holding, found[0].waiting) == (1, 1) {
                    break;
                }
                assert!(Instant::now() < end, "{} hold it, {} wait", found[0].holding, found[0].waiting);
            }
            holder.batch_execute("ROLLBACK").expect("it ends");
            let claimed: usize = claims.into_iter().map(|claim| claim.join().expect("it ends")).sum();
            assert_eq!(claimed, 1);
        });
    }
}

#[test]
fn a_server_that_does_not_answer_is_a_timeout_and_then_works_again() {
    for place in Place::all().into_iter().filter(Place::is_postgres) {
        // Whoever is patient makes the tables.
        place.store().shutdown().expect("it shuts down");
        let store = SqlStore::builder(&place.url).table_schema(&place.name);
        let store = store.statement_timeout(Duration::from_millis(300)).build();
        let store = started(store.expect("the configuration is right"));
        let mut holder = PgConnection::establish(&place.url).expect("the server is there");
        holder.batch_execute(&format!("BEGIN; LOCK TABLE {}.sched_jobs", place.name)).expect("it is free");
        let error = store.insert(&[sample_job("a", NOON)], ConflictPolicy::Error).expect_err("it is held");
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
        holder.batch_execute("ROLLBACK").expect("it ends");
        insert(&store, &[sample_job("a", NOON)]);
    }
}

#[test]
fn a_turn_takes_the_same_number_of_round_trips_for_one_job_and_for_many() {
    for place in Place::all() {
        let proxy = Proxy::to(place.target().as_str()).expect("a proxy");
        let store = started(place.store_at(&proxy.url(&place.url)));
        assert_bounded_round_trips(&store, &proxy);
    }
}

/// Adds a job and a run in a transaction of the caller's, which is then committed or not.
macro_rules! check_callers_transaction {
    ($place:expr, $Connection:ty) => {{
        let store = $place.store();
        let mut conn = <$Connection>::establish(&$place.url).expect("the server is there");
        for (number, fails) in [(1, true), (2, false)] {
            let done = conn.transaction(|conn| -> Result<(), diesel::result::Error> {
                let job = sample_job(&format!("job-{number}"), NOON);
                let added = store.add_job_in(conn, &job, ConflictPolicy::Error);
                assert_eq!(added.expect("added"), Inserted::Added);
                let again = store.add_job_in(conn, &job, ConflictPolicy::Error).expect_err("it is there");
                assert_eq!(again.kind(), ErrorKind::AlreadyExists);
                store.enqueue_in(conn, vec![sample_queued(number, NOON)]).expect("queued");
                if fails { Err(diesel::result::Error::RollbackTransaction) } else { Ok(()) }
            });
            assert_eq!(done.is_err(), fails);
        }
        let runs = RunQueue::list(&store, &RunFilter::default()).expect("list");
        let runs: BTreeSet<_> = runs.iter().map(|record| record.run.id).collect();
        assert_eq!(runs, BTreeSet::from([run_id(2)]));
        assert_eq!(JobStore::list(&store, &JobFilter::default()).expect("list").len(), 1);
        let pool = Pool::builder().max_size(2).build(ConnectionManager::<$Connection>::new(&$place.url));
        let given = SqlStore::from_pool(pool.expect("a pool")).table_schema(&$place.name).build();
        let given = started(given.expect("the configuration is right"));
        assert_eq!(given.claim_due(&request()).expect("claim").len(), 1, "a given pool does as well");
    }};
}

#[test]
fn the_callers_transaction_decides_over_jobs_and_runs() {
    for place in Place::all() {
        match place.is_postgres() {
            true => check_callers_transaction!(place, PgConnection),
            false => check_callers_transaction!(place, MysqlConnection),
        }
    }
}

#[test]
fn a_connection_to_another_kind_of_database_is_refused() {
    let (Some(postgres), Some(mysql)) = (server::postgres(), server::mysql()) else { return };
    let place = Place::all().remove(0);
    assert_eq!(place.url, postgres);
    let mut conn = MysqlConnection::establish(&mysql).expect("the server is there");
    let error = place.store().enqueue_in(&mut conn, vec![sample_queued(1, NOON)]).expect_err("it is another");
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
}
