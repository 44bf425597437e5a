//! The backlog in Redis. The limit is a script that claims a thousand due jobs and writes their next times, job by job.

use std::time::Instant;

use redis::{Connection, Script};
use sched_store_redis::RedisStore;
use sched_testkit::server;

use super::backlog::{self, Budget};
use crate::Outcome;
use crate::figure::Figure;
use crate::options::Options;
use crate::out::Board;

/// What the limit measured on the machine on which the budgets were written.
const REFERENCE: f64 = 246_000.0;

/// How many jobs a second the durable way has to do there.
const DURABLE: f64 = 50_000.0;

const BUDGET: Budget = Budget { server: "redis", least: [0.3, 0.2] };

/// Measures both ways of delivery, where there is a server.
///
/// **Errors**: those of the server and the scheduler; lost runs.
pub fn run(options: &Options, board: &mut Board) -> Outcome {
    let Some(url) = server::redis() else { return Ok(()) };
    let jobs = backlog::size(options);
    let ours = |delivery| {
        let prefix = server::unique_name("bench");
        backlog::rate(|| RedisStore::builder(&url).prefix(&prefix).build(), jobs, delivery)
    };
    let figures = backlog::compare(options, board, &BUDGET, ours, || limit(&url, jobs))?;
    let case = format!("redis, {jobs} jobs due at once, durable, in numbers");
    let durable = Figure::new("stores", case, "jobs/s", figures.durable).limit(figures.limit);
    board.put(&durable.at_least(DURABLE, Some(REFERENCE)));
    Ok(())
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
