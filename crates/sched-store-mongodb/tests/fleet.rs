//! A fleet on one server: a job that one scheduler adds is started by another.
#![expect(clippy::expect_used, reason = "a test: what fails, panics")]

use std::time::Duration;

use sched::{BackgroundScheduler, Registry, Scheduler, StartMode};
use sched_store_mongodb as _;
use sched_testkit::broker::fleet;
use sched_testkit::server;
use serde_json::{Value, json};

fn start(config: &Value, registry: Registry, mode: StartMode) -> BackgroundScheduler {
    let scheduler = Scheduler::builder().registry(registry).config(config.clone());
    let scheduler = BackgroundScheduler::build(scheduler).expect("the configuration is right");
    match mode {
        StartMode::Paused => scheduler.start_paused(),
        StartMode::Running => scheduler.start(),
    }
    .expect("it starts");
    scheduler
}

#[test]
fn a_job_is_started_by_another_process_at_once() {
    let Some(url) = server::mongodb() else { return };
    let name = server::unique_name("fleet");
    let config = json!({
        "job_stores": { "default": { "type": "mongodb", "url": url, "database": name } },
        "event_broker": { "type": "mongodb", "url": url, "database": name },
        "poll_interval": 60,
    });
    let times = fleet(100, |registry, mode| start(&config, registry, mode));
    let (median, longest) = (times[times.len() / 2], times[times.len() - 1]);
    println!("mongodb: median {median:?}, longest {longest:?}");
    assert!(median < Duration::from_secs(1), "it took {median:?} at the median");
}
