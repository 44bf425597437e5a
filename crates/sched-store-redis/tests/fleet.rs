//! A fleet on one server: a job that one scheduler adds is started by another.
#![expect(clippy::expect_used, reason = "a test: what fails, panics")]

use std::time::Duration;

use sched::{BackgroundScheduler, Registry, Scheduler, StartMode};
use sched_store_redis as _;
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
    let Some(url) = server::redis() else { return };
    let prefix = server::unique_name("fleet");
    let config = json!({
        "job_stores": { "default": { "type": "redis", "url": url, "prefix": prefix } },
        "event_broker": { "type": "redis", "url": url, "channel": prefix },
        "poll_interval": 60,
    });
    let times = fleet(100, |registry, mode| start(&config, registry, mode));
    let (median, longest) = (times[times.len() / 2], times[times.len() - 1]);
    println!("redis: median {median:?}, longest {longest:?}");
    assert!(median < Duration::from_secs(1), "it took {median:?} at the median");
}

#[test]
fn without_a_broker_a_job_is_started_within_the_poll_interval() {
    let Some(url) = server::redis() else { return };
    let config = json!({
        "job_stores": { "default": { "type": "redis", "url": url, "prefix": server::unique_name("fleet") } },
        "poll_interval": 0.2,
    });
    let times = fleet(10, |registry, mode| start(&config, registry, mode));
    let (shortest, median) = (times[0], times[times.len() / 2]);
    println!("poll interval 200 ms: shortest {shortest:?}, median {median:?}");
    assert!(median < Duration::from_secs(2), "it took {median:?} at the median");
}
