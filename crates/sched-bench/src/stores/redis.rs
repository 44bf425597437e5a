//! The backlog in Redis. The limit is a script that claims a thousand due jobs and writes their next times, job by job.

use std::sync::Arc;
use std::time::Instant;

use chrono::{DateTime, TimeDelta, Utc};
use redis::{Connection, Script};
use sched_core::{
    ConflictPolicy, Delivery, Job, JobStore, Registry, RunQueue, Scheduler, StoreContext, SystemClock, Task,
};
use sched_runtime_blocking::BackgroundScheduler;
use sched_store_redis::RedisStore;
use sched_testkit::server;
use serde_json::json;

use crate::Outcome;
use crate::figure::Figure;
use crate::measure::medians;
use crate::options::Options;
use crate::out::Board;
use crate::stage::Tally;

/// What the limit measured on the machine on which the budgets were written.
const REFERENCE: f64 = 246_000.0;

/// Measures both ways of delivery, where there is a server.
///
/// **Errors**: those of the server and the scheduler; lost runs.
pub fn run(options: &Options, board: &mut Board) -> Outcome {
    let Some(url) = server::redis() else { return Ok(()) };
    let jobs = if options.quick { 5_000 } else { 20_000 };
    let [once, durable, limit] = medians(options.runs, || {
        Ok([ours(&url, jobs, Delivery::Direct)?, ours(&url, jobs, Delivery::Durable)?, limit(&url, jobs)?])
    })?;
    let put = |case: &str, ours| {
        Figure::new("stores", format!("redis, {jobs} jobs due at once, {case}"), "jobs/s", ours).limit(limit)
    };
    board.put(&put("at most once", once).at_least(0.3 * REFERENCE, Some(REFERENCE)));
    board.put(&put("durable", durable).at_least(50_000.0, Some(REFERENCE)));
    Ok(())
}

/// Jobs per second of a scheduler, until nothing is due and no run is unfinished.
fn ours(url: &str, jobs: u32, delivery: Delivery) -> Outcome<f64> {
    let prefix = server::unique_name("bench");
    let store = RedisStore::builder(url).prefix(&prefix).build()?;
    let watcher = RedisStore::builder(url).prefix(&prefix).build()?;
    let tally = Tally::new();
    let counted = Arc::clone(&tally);
    let task = Task::new("count", move |_, _| counted.add());
    let registry = Registry::builder().linked().task(task).build()?;
    watcher.start(StoreContext::new(
        "default",
        Arc::new(registry.clone()),
        Arc::new(SystemClock::new()),
        chrono_tz::Tz::UTC,
    ))?;
    let builder = Scheduler::builder().registry(registry).job_store("default", store);
    let scheduler = BackgroundScheduler::build(builder.with(|config| config.delivery(delivery)))?;
    scheduler.start_paused()?;
    fill(&scheduler, &watcher, jobs)?;
    tally.expect(u64::from(jobs));
    let begun = Instant::now();
    scheduler.resume()?;
    let complete = tally.wait();
    while watcher.counts()? != sched_core::RunCounts::default() {}
    let time = begun.elapsed().as_secs_f64();
    scheduler.shutdown(true)?;
    watcher.clear()?;
    watcher.shutdown()?;
    if complete {
        Ok(f64::from(jobs) / time)
    } else {
        Err(format!("{} runs of {jobs}", tally.count()).into())
    }
}

/// Puts copies of a job into the store, all due now; each is due again in an hour.
fn fill(scheduler: &Scheduler, store: &RedisStore, jobs: u32) -> Outcome {
    let now = scheduler.clock().now();
    let job = Job::task("count").id("sample").trigger(json!({ "type": "interval", "hours": 1 }));
    scheduler.add_job(job)?;
    let Some(sample) = store.get(&["sample".to_owned().try_into()?])?.remove(0) else {
        return Err("the sample was not stored".into());
    };
    let sample = sample.into_job()?;
    scheduler.remove_job("sample")?;
    let copies = (0..jobs).map(|number| copy_of(&sample, number, now)).collect::<Outcome<Vec<Job>>>()?;
    for answer in store.insert(&copies, ConflictPolicy::Error)? {
        answer?;
    }
    Ok(())
}

fn copy_of(sample: &Job, number: u32, now: DateTime<Utc>) -> Outcome<Job> {
    let mut job = sample.clone();
    Arc::make_mut(&mut job.spec).id = format!("job-{number:08}").try_into()?;
    // All are due; the order is that of the ids.
    let due = now - TimeDelta::seconds(1);
    (job.cursor.next_fire_time, job.cursor.next_run_time) = (Some(due), Some(due));
    Ok(job)
}

/// Jobs per second of the least code.
fn limit(url: &str, jobs: u32) -> Outcome<f64> {
    let client = redis::Client::open(url)?;
    let mut conn: Connection = client.get_connection()?;
    let prefix = server::unique_name("limit");
    let (times, rows) = (format!("{{{prefix}}}:times"), format!("{{{prefix}}}:rows"));
    for number in 0..jobs {
        let id = format!("job-{number:08}");
        let mut pipe = redis::pipe();
        pipe.cmd("ZADD").arg(&times).arg(1).arg(&id).cmd("HSET").arg(&rows).arg(&id).arg("{}");
        pipe.exec(&mut conn)?;
    }
    let script = Script::new(
        "local ids = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', 1, 'LIMIT', 0, 1000)
         for _, id in ipairs(ids) do
           redis.call('ZADD', KEYS[1], 2, id)
           redis.call('HSET', KEYS[2], id, ARGV[1])
         end
         return ids",
    );
    let begun = Instant::now();
    let mut done = 0;
    loop {
        let ids: Vec<String> = script.key(&times).key(&rows).arg("{}").invoke(&mut conn)?;
        if ids.is_empty() {
            break;
        }
        done += ids.len();
    }
    let time = begun.elapsed().as_secs_f64();
    redis::cmd("DEL").arg(times).arg(rows).exec(&mut conn)?;
    if done == jobs as usize { Ok(f64::from(jobs) / time) } else { Err("the limit lost jobs".into()) }
}
