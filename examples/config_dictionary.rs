//! Three equivalent ways to set a scheduler up, and what happens when a part is not linked in.
//!
//! The APScheduler manual does this with a MongoDB store, an SQLite store and a process pool. This version has none of
//! them, so memory stores and a second thread pool stand in under the same aliases: two stores, two executors, UTC,
//! coalescing off, three instances.

#![expect(clippy::print_stdout, reason = "an example talks to its reader")]

use std::sync::Arc;

use sched::prelude::*;
use sched::{JobSettings, SchedulerConfig, time};
use serde_json::json;

fn main() -> Result<(), sched::Error> {
    let schedulers = [in_code()?, from_dictionary()?, configured_later()?];
    let described = schedulers.each_ref().map(describe);
    println!("{}", described[0].join("\n"));
    for other in &described[1..] {
        assert_eq!(*other, described[0], "the three ways give equal schedulers");
    }
    println!("-- all three are equal\n");

    // A part that this program does not have is an error, and so is everything else that is wrong: all at once.
    let faulty = json!({
        "apscheduler.jobstores.mongo": { "type": "mongodb" },
        "apscheduler.executors.default": { "type": "threadpool", "max_worker": 20 },
        "apscheduler.timezone": "Europe/Berln",
    });
    match BackgroundScheduler::from_config(faulty) {
        Ok(_) => println!("nothing is wrong"),
        Err(error) => error.faults().iter().for_each(|fault| println!("fault: {fault}")),
    }
    Ok(())
}

/// Method 1: the parts at hand.
fn in_code() -> Result<BackgroundScheduler, sched::Error> {
    let defaults =
        JobSettings { coalesce: Some(Coalesce::All), max_instances: Some(3), ..JobSettings::default() };
    let builder = Scheduler::builder()
        .job_store("mongo", MemoryStore::new())
        .job_store("default", MemoryStore::new())
        .executor("default", ThreadPoolExecutor::new(20))
        .executor("processpool", ThreadPoolExecutor::new(5))
        .job_defaults(defaults)
        .timezone(time::parse_timezone("UTC")?);
    BackgroundScheduler::build(builder)
}

/// Method 2: a flat dictionary, as from an ini file. Strings stand for numbers and booleans, and `class` may name the
/// Python class.
fn from_dictionary() -> Result<BackgroundScheduler, sched::Error> {
    BackgroundScheduler::from_config(json!({
        "apscheduler.jobstores.mongo": { "type": "memory" },
        "apscheduler.jobstores.default": { "type": "memory" },
        "apscheduler.executors.default": {
            "class": "apscheduler.executors.pool:ThreadPoolExecutor",
            "max_workers": "20",
        },
        "apscheduler.executors.processpool": { "type": "threadpool", "max_workers": "5" },
        "apscheduler.job_defaults.coalesce": "false",
        "apscheduler.job_defaults.max_instances": "3",
        "apscheduler.timezone": "UTC",
    }))
}

/// Method 3: a scheduler first, its configuration later, partly from a dictionary and partly at hand.
fn configured_later() -> Result<BackgroundScheduler, sched::Error> {
    let scheduler = BackgroundScheduler::new()?;
    // … do something else here, maybe add jobs …
    let dictionary = json!({
        "jobstores": { "mongo": { "type": "memory" }, "default": { "type": "memory" } },
        "executors": { "default": { "type": "threadpool", "max_workers": 20 } },
        "job_defaults": { "coalesce": false, "max_instances": 3 },
        "timezone": "UTC",
    });
    let config = SchedulerConfig::from_value(dictionary, &scheduler.registry())?;
    scheduler.configure(config.executor("processpool", Arc::new(ThreadPoolExecutor::new(5))))?;
    Ok(scheduler)
}

/// What a scheduler is made of, in a fixed order.
fn describe(scheduler: &BackgroundScheduler) -> Vec<String> {
    let stores = scheduler.job_stores().into_iter().map(|alias| format!("job store {alias}"));
    let executors = scheduler.executors().into_iter().map(|alias| {
        let executor = scheduler.executor(&alias);
        format!("executor {alias}: {:?}", executor.ok())
    });
    let mut parts: Vec<String> = stores.chain(executors).collect();
    parts.sort_unstable();
    parts.push(format!("time zone {}", scheduler.timezone()));
    parts.push(format!("job defaults {:?}", serde_json::Value::from(scheduler.job_defaults().to_config())));
    parts
}
