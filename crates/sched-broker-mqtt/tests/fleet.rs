//! A fleet on one file: a job that one scheduler adds is started by another.
#![expect(clippy::expect_used, reason = "a test: what fails, panics")]

use std::time::Duration;

use sched::{BackgroundScheduler, Registry, Scheduler, StartMode};
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
    let Some(broker) = server::mqtt() else { return };
    let directory = tempfile::tempdir().expect("there is a place for files");
    let url = format!("sqlite:///{}", directory.path().join("jobs.sqlite").display());
    let name = server::unique_name("fleet");
    let config = json!({
        "job_stores": { "default": { "type": "sql", "url": url } },
        "event_broker": { "type": "mqtt", "url": broker, "topic": name },
        "poll_interval": 60,
    });
    let times = fleet(100, |registry, mode| start(&config, registry, mode));
    let (median, longest) = (times[times.len() / 2], times[times.len() - 1]);
    println!("mqtt, SQLite: median {median:?}, longest {longest:?}");
    assert!(median < Duration::from_secs(1), "it took {median:?} at the median");
}
