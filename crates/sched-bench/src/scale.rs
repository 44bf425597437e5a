//! Scenario `scale`, in PostgreSQL: several schedulers on one store, claims among many rows, the way of a direct run, and
//! memory while a queue is worked off. With `--full` the tables are as large as they are meant to grow.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use chrono::{TimeDelta, Utc};
use diesel::connection::{Connection, SimpleConnection};
use diesel::pg::PgConnection;
use sched_core::{
    Advance, ClaimRequest, Delivery, Job, JobCommit, JobStore, NewRun, Registry, Scheduler, Task,
};
use sched_runtime_blocking::BackgroundScheduler;
use sched_store_sql::SqlStore;
use sched_testkit::server;
use serde_json::json;

use crate::Outcome;
use crate::figure::Figure;
use crate::measure::{median, millis, percentile, resident_bytes};
use crate::options::Options;
use crate::out::Board;
use crate::stage::Tally;
use crate::stores::backlog;

/// How many jobs a measured claim takes.
const CLAIM: usize = 100;

/// How many claims are measured.
const CLAIMS: usize = 50;

/// Measures, where there is a server.
///
/// **Errors**: those of the server and the scheduler; lost runs.
pub fn run(options: &Options, board: &mut Board) -> Outcome {
    let Some(url) = server::postgres() else { return Ok(()) };
    let (few, many, finished, drained) = match (options.full, options.quick) {
        (true, _) => (10_000, 1_000_000, 10_000_000, 1_000_000),
        (_, false) => (10_000, 200_000, 1_000_000, 100_000),
        (_, true) => (6_000, 20_000, 20_000, 10_000),
    };
    fleet(&url, board, backlog::size(options))?;
    claims(&url, board, (few, many), finished)?;
    direct(&url, board)?;
    drain(&url, board, drained)
}

/// A schema of its own, which goes when it is dropped.
struct Place<'a> {
    url: &'a str,
    schema: String,
}

impl<'a> Place<'a> {
    fn new(url: &'a str) -> Self {
        Self { url, schema: server::unique_name("scale") }
    }

    fn open(&self) -> Result<SqlStore, sched_core::Error> {
        SqlStore::builder(self.url).table_schema(&self.schema).build()
    }

    fn execute(&self, sql: &str) -> Outcome {
        let mut conn = PgConnection::establish(self.url)?;
        Ok(conn.batch_execute(&format!("SET search_path TO \"{}\"; {sql}", self.schema))?)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        // Whatever is left goes with the server.
        let _ = self.execute(&format!("DROP SCHEMA IF EXISTS \"{}\" CASCADE", self.schema));
    }
}

/// Jobs per second of one, two and four schedulers on one store.
fn fleet(url: &str, board: &mut Board, jobs: u32) -> Outcome {
    let mut alone = None;
    for schedulers in [1, 2, 4] {
        let place = Place::new(url);
        let rate = backlog::rate_of(|| place.open(), schedulers, jobs, Delivery::Durable)?;
        let case = format!("postgresql, {jobs} jobs due at once, {schedulers} schedulers, durable");
        let figure = Figure::new("scale", case, "jobs/s", rate);
        board.put(&figure.limit(*alone.get_or_insert(rate)));
    }
    Ok(())
}

/// The time of a claim and its commit among few and many waiting jobs, and beside finished runs.
fn claims(url: &str, board: &mut Board, (few, many): (u32, u32), finished: u32) -> Outcome {
    let among_few = claim_time(url, few, 0)?;
    for (waiting, finished) in [(many, 0), (few, finished)] {
        let time = claim_time(url, waiting, finished)?;
        let case = format!(
            "postgresql, claim and commit of {CLAIM} among {waiting} waiting jobs, {finished} finished runs"
        );
        board.put(&Figure::new("scale", case, "ms", time).limit(among_few).at_most(1.2 * among_few, None));
    }
    Ok(())
}

fn claim_time(url: &str, waiting: u32, finished: u32) -> Outcome<f64> {
    let place = Place::new(url);
    let registry = Registry::builder().linked().task(Tally::new().task()).build()?;
    let store = backlog::started(place.open()?, registry.clone())?;
    let builder = Scheduler::builder().registry(registry).job_store("default", place.open()?);
    let scheduler = BackgroundScheduler::build(builder)?;
    scheduler.start_paused()?;
    scheduler.add_job(Job::task("count").id("sample").trigger(json!({ "type": "interval", "hours": 1 })))?;
    scheduler.shutdown(true)?;
    place.execute(&format!(
        "INSERT INTO sched_jobs (id, task, payload, next_run_time, next_fire_time, status, state, revision) \
         SELECT 'job-' || lpad(n::text, 8, '0'), task, convert_to(replace(convert_from(payload, 'UTF8'), 'sample', \
           'job-' || lpad(n::text, 8, '0')), 'UTF8'), 1, 1, status, state, revision \
         FROM sched_jobs, generate_series(1, {waiting}) n WHERE id = 'sample'; \
         INSERT INTO sched_runs (id, job_id, task, executor, priority, fire_time, scheduled_time, payload, \
           max_instances, key_max, result_ttl, state, attempt, token, outcome, finished_at, expires_at) \
         SELECT gen_random_uuid(), 'job-' || lpad((n % {waiting})::text, 8, '0'), 'count', 'default', 0, -n, -n, \
           '{{}}', 1, 1, 1, 2, 1, 2, 'succeeded', n, 9000000000000000000 FROM generate_series(1, {finished}) n; \
         ANALYZE"
    ))?;
    let mut times = Vec::with_capacity(CLAIMS);
    for _ in 0..CLAIMS {
        let now = Utc::now();
        let lease = Duration::from_secs(30);
        let request = ClaimRequest { owner: "bench".into(), now, limit: CLAIM, lease };
        let begun = Instant::now();
        let commits = store.claim_due(&request)?.into_iter().map(|claimed| {
            let mut cursor = claimed.job.cursor.clone();
            cursor.next_run_time = Some(now + TimeDelta::hours(1));
            cursor.next_fire_time = cursor.next_run_time;
            JobCommit { claim: claimed.claim, advance: Advance::To(cursor), runs: Vec::new() }
        });
        let committed = store.commit(commits.collect())?.len();
        times.push(millis(begun.elapsed()));
        if committed != CLAIM {
            return Err(format!("{committed} jobs of {CLAIM} were claimed").into());
        }
    }
    store.shutdown()?;
    Ok(median(times))
}

/// From queueing a direct run to its start.
fn direct(url: &str, board: &mut Board) -> Outcome {
    const RUNS: usize = 300;
    let place = Place::new(url);
    let (sender, started) = mpsc::channel();
    let task = Task::new("note", move |_, _| sender.send(Instant::now()).is_ok());
    let registry = Registry::builder().linked().task(task).build()?;
    let scheduler = Scheduler::builder().registry(registry).job_store("default", place.open()?);
    let scheduler = BackgroundScheduler::build(scheduler)?;
    scheduler.start()?;
    let mut times = Vec::with_capacity(RUNS);
    for _ in 0..RUNS {
        let begun = Instant::now();
        scheduler.add_run(NewRun::task("note"))?;
        times.push(millis(started.recv_timeout(Duration::from_secs(60))? - begun));
    }
    scheduler.shutdown(true)?;
    times.sort_by(f64::total_cmp);
    for (percent, budget) in [(50, 3.0), (99, 15.0)] {
        let case = format!("postgresql, from queueing a direct run to its start, p{percent}");
        board.put(&Figure::new("scale", case, "ms", percentile(&times, percent)).at_most(budget, None));
    }
    Ok(())
}

/// Resident memory when a fifth of a queue is worked off, and when all of it is.
fn drain(url: &str, board: &mut Board, runs: u32) -> Outcome {
    let place = Place::new(url);
    let tally = Tally::new();
    let registry = Registry::builder().linked().task(tally.task()).build()?;
    let scheduler = Scheduler::builder().registry(registry).job_store("default", place.open()?);
    let scheduler = BackgroundScheduler::build(scheduler)?;
    scheduler.start_paused()?;
    place.execute(&format!(
        "INSERT INTO sched_runs (id, task, executor, priority, fire_time, scheduled_time, payload, max_instances, \
           key_max, result_ttl) \
         SELECT gen_random_uuid(), 'count', 'default', 0, n, n, '{{}}', 1, 1, 0 FROM generate_series(1, {runs}) n; \
         ANALYZE"
    ))?;
    let patience = Duration::from_secs(600);
    tally.expect(u64::from(runs / 5));
    scheduler.resume()?;
    let begun = tally.wait_within(patience);
    let early = resident_bytes()?;
    tally.expect(u64::from(runs));
    let complete = begun && tally.wait_within(patience);
    let late = resident_bytes()?;
    scheduler.shutdown(true)?;
    if !complete {
        return Err(format!("{} runs of {runs}", tally.count()).into());
    }
    let case =
        format!("postgresql, resident memory at the end of {runs} queued runs, beside that after a fifth");
    board.put(&Figure::new("scale", case, "bytes", late).limit(early).at_most(1.2 * early, None));
    Ok(())
}
