//! The backlog in MongoDB, on a replica set and on a server that stands alone. The limit claims a thousand due jobs with
//! one update, reads them, and writes their next times with one command, under the same write concern.

use std::sync::Arc;
use std::time::Instant;

use chrono::{DateTime, TimeDelta, Utc};
use mongodb::bson::{Document, doc};
use mongodb::sync::Client;
use sched_core::{
    ConflictPolicy, Delivery, Job, JobStore, Registry, RunQueue, Scheduler, StoreContext, SystemClock, Task,
};
use sched_runtime_blocking::BackgroundScheduler;
use sched_store_mongodb::MongoStore;
use sched_testkit::server;
use serde_json::json;

use crate::Outcome;
use crate::figure::Figure;
use crate::measure::medians;
use crate::options::Options;
use crate::out::Board;
use crate::stage::Tally;

/// How many jobs the limit claims at once.
const BATCH: i64 = 1_000;

/// Measures both ways of delivery, where there is a server.
///
/// **Errors**: those of the server and the scheduler; lost runs.
pub fn run(options: &Options, board: &mut Board) -> Outcome {
    let servers = [("replica set", server::mongodb()), ("alone", server::mongodb_standalone())];
    let jobs = if options.quick { 5_000 } else { 20_000 };
    for (kind, url) in servers {
        let Some(url) = url else { continue };
        let [once, durable, limit] = medians(options.runs, || {
            Ok([
                ours(&url, jobs, Delivery::Direct)?,
                ours(&url, jobs, Delivery::Durable)?,
                limit(&url, jobs)?,
            ])
        })?;
        let put = |case: &str, ours| {
            let case = format!("mongodb {kind}, {jobs} jobs due at once, {case}");
            Figure::new("stores", case, "jobs/s", ours).limit(limit)
        };
        board.put(&put("at most once", once).at_least(0.4 * limit, None));
        board.put(&put("durable", durable).at_least(0.25 * limit, None));
    }
    Ok(())
}

/// Jobs per second of a scheduler, until nothing is due and no run is unfinished.
fn ours(url: &str, jobs: u32, delivery: Delivery) -> Outcome<f64> {
    let database = server::unique_name("bench");
    let store = MongoStore::builder(url).database(&database).build()?;
    let watcher = MongoStore::builder(url).database(&database).build()?;
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
    watcher.shutdown()?;
    Client::with_uri_str(url)?.database(&database).drop().run()?;
    if complete {
        Ok(f64::from(jobs) / time)
    } else {
        Err(format!("{} runs of {jobs}", tally.count()).into())
    }
}

/// Puts copies of a job into the store, all due now; each is due again in an hour.
fn fill(scheduler: &Scheduler, store: &MongoStore, jobs: u32) -> Outcome {
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
    let database = Client::with_uri_str(url)?.database(&server::unique_name("limit"));
    let durable = doc! { "w": "majority", "j": true };
    let table = database.collection::<Document>("jobs");
    database
        .run_command(doc! {
            "createIndexes": "jobs", "indexes": [{ "name": "due", "key": { "next_run": 1, "_id": 1 } }],
        })
        .run()?;
    table
        .insert_many((0..jobs).map(|number| {
            doc! {
                "_id": format!("job-{number:08}"), "next_run": 1_i64, "token": 0_i64, "payload": "{}",
            }
        }))
        .run()?;
    let begun = Instant::now();
    let mut done = 0;
    for token in 1_i64.. {
        let is_due = doc! { "next_run": { "$lte": 1_i64 }, "token": 0_i64 };
        let due = table.find(is_due.clone()).projection(doc! { "_id": 1 }).limit(BATCH).batch_size(1_000);
        let due = due.sort(doc! { "next_run": 1, "_id": 1 }).run()?.collect::<Result<Vec<Document>, _>>()?;
        let ids: Vec<_> = due.iter().filter_map(|document| document.get("_id").cloned()).collect();
        if ids.is_empty() {
            break;
        }
        let mut claim = is_due;
        claim.insert("_id", doc! { "$in": &ids });
        database
            .run_command(doc! {
                "update": "jobs", "writeConcern": &durable,
                "updates": [{ "q": claim, "u": { "$set": { "token": token } }, "multi": true }],
            })
            .run()?;
        let claimed = table.find(doc! { "_id": { "$in": &ids }, "token": token }).batch_size(1_000).run()?;
        let claimed = claimed.collect::<Result<Vec<Document>, _>>()?;
        let updates = claimed.iter().map(|document| {
            let own = doc! { "_id": document.get("_id").cloned(), "token": token };
            doc! { "q": own, "u": { "$set": { "next_run": 2_i64, "token": 0_i64 } } }
        });
        let updates: Vec<Document> = updates.collect();
        done += updates.len();
        database
            .run_command(doc! {
                "update": "jobs", "ordered": false, "writeConcern": &durable, "updates": updates,
            })
            .run()?;
    }
    let time = begun.elapsed().as_secs_f64();
    database.drop().run()?;
    if done == jobs as usize { Ok(f64::from(jobs) / time) } else { Err("the limit lost jobs".into()) }
}
