//! The three equivalent ways of the APScheduler manual to set a scheduler up, and what a wrong dictionary is answered.
//!
//! Given the URL of a MongoDB server, as argument or in `SCHED_TEST_MONGODB_URL`, each of them is started and runs jobs.

#![expect(clippy::print_stdout, reason = "an example talks to its reader")]

use std::sync::Arc;

use sched::prelude::*;
use sched::{JobSettings, SchedulerConfig, time};
use serde_json::{Value, json};

#[task]
fn is_child(of: u32) -> bool {
    std::process::id() != of
}

fn main() -> Result<(), sched::Error> {
    // The processes of the pool come to life here, and never get past this line.
    sched::process::init();

    let given = std::env::args().nth(1).or_else(|| std::env::var("SCHED_TEST_MONGODB_URL").ok());
    let url = given.as_deref().unwrap_or("mongodb://localhost:27017");
    let schedulers = [
        in_code(url)?,
        BackgroundScheduler::from_config(flat(url))?,
        configured_later(url)?,
        BackgroundScheduler::from_config(with_python_paths(url))?,
    ];
    let described = schedulers.each_ref().map(describe);
    assert!(described.iter().all(|other| *other == described[0]), "{described:#?}");
    println!("{}\n-- all are equal", described[0]);
    if given.is_some() {
        schedulers.iter().try_for_each(work)?;
    }

    // Everything that is wrong is told at once, with its path, and nothing is started.
    let wrong = json!({ "timezone": "Europe/Berln", "executors.x": { "type": "rayon", "max_worker": 2 } });
    println!("{:?}", BackgroundScheduler::from_config(wrong).err());
    Ok(())
}

/// Method 1: the parts at hand.
fn in_code(url: &str) -> Result<BackgroundScheduler, sched::Error> {
    let (coalesce, max_instances) = (Some(Coalesce::All), Some(3));
    let builder = Scheduler::builder()
        .job_store("mongo", MongoStore::open(url)?)
        .job_store("default", SqlStore::open("sqlite:///jobs.sqlite")?)
        .executor("default", ThreadPoolExecutor::new(20))
        .executor("processpool", ProcessPoolExecutor::new(5))
        .job_defaults(JobSettings { coalesce, max_instances, ..JobSettings::default() })
        .timezone(time::parse_timezone("UTC")?);
    BackgroundScheduler::build(builder)
}

/// Method 2: a flat dictionary, as from an ini file, where strings stand for numbers and booleans.
fn flat(url: &str) -> Value {
    json!({
        "apscheduler.jobstores.mongo": { "type": "mongodb", "url": url },
        "apscheduler.jobstores.default": { "type": "sqlalchemy", "url": "sqlite:///jobs.sqlite" },
        "apscheduler.executors.default":
            { "class": "apscheduler.executors.pool:ThreadPoolExecutor", "max_workers": "20" },
        "apscheduler.executors.processpool": { "type": "processpool", "max_workers": "5" },
        "apscheduler.job_defaults.coalesce": "false",
        "apscheduler.job_defaults.max_instances": "3",
        "apscheduler.timezone": "UTC",
    })
}

/// Method 3: a scheduler first, its configuration later, partly from a dictionary and partly at hand.
fn configured_later(url: &str) -> Result<BackgroundScheduler, sched::Error> {
    let scheduler = BackgroundScheduler::new()?;
    let dictionary = json!({
        "jobstores": { "mongo": { "type": "mongodb", "url": url } },
        "executors": { "default": { "type": "threadpool", "max_workers": 20 } },
        "job_defaults": { "coalesce": false, "max_instances": 3 },
        "timezone": "UTC",
    });
    let config = SchedulerConfig::from_value(dictionary, &scheduler.registry())?
        .job_store("default", Arc::new(SqlStore::open("sqlite:///jobs.sqlite")?))
        .executor("processpool", Arc::new(ProcessPoolExecutor::new(5)));
    scheduler.configure(config)?;
    Ok(scheduler)
}

/// Method 2 again, by the paths of Python's classes.
fn with_python_paths(url: &str) -> Value {
    let mut all = flat(url);
    let mongo = "apscheduler.jobstores.mongodb:MongoDBJobStore";
    let sql = "apscheduler.jobstores.sqlalchemy:SQLAlchemyJobStore";
    all["apscheduler.jobstores.mongo"] = json!({ "class": mongo, "url": url });
    all["apscheduler.jobstores.default"] = json!({ "class": sql, "url": "sqlite:///jobs.sqlite" });
    all["apscheduler.executors.processpool"] =
        json!({ "class": "apscheduler.executors.pool:ProcessPoolExecutor", "max_workers": 5 });
    all
}

/// What a scheduler is made of, in a fixed order.
fn describe(scheduler: &BackgroundScheduler) -> String {
    let store = |alias: Arc<str>| format!("store {alias}: {:?}", scheduler.job_store(&alias).ok());
    let executor = |alias: Arc<str>| format!("executor {alias}: {:?}", scheduler.executor(&alias).ok());
    let mut parts: Vec<String> = scheduler.job_stores().into_iter().map(store).collect();
    parts.extend(scheduler.executors().into_iter().map(executor));
    parts.sort_unstable();
    parts.push(format!("time zone {}", scheduler.timezone()));
    parts.push(format!("job defaults {}", Value::from(scheduler.job_defaults().to_config())));
    parts.join("\n")
}

/// Runs a job of each store, on each executor.
fn work(scheduler: &BackgroundScheduler) -> Result<(), sched::Error> {
    let ends = scheduler.subscribe(EVENT_JOB_EXECUTED | EVENT_JOB_ERROR);
    scheduler.start()?;
    for (store, executor) in [("mongo", "default"), ("default", "processpool")] {
        scheduler.add_job(is_child::job(std::process::id()).store(store).executor(executor))?;
        let end = ends.next_within(Duration::from_secs(30));
        println!("{store} on {executor}, in a child: {:?}", end.as_ref().and_then(Event::value));
    }
    scheduler.shutdown(true)
}
