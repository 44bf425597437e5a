//! Replacing and changing jobs where a first run time or a new trigger is given.

use std::sync::Arc;

use sched::prelude::*;
use sched::{Driver, Error, Runtime, StartMode};

/// A runtime whose loops never turn: what is stored stays as it was added.
struct Still;

impl Runtime for Still {
    fn spawn(&self, driver: Driver) -> Result<(), Error> {
        drop(driver);
        Ok(())
    }
}

fn ticker() -> JobBuilder {
    Job::call(|| ()).id("ticker").every(Duration::from_secs(60)).replace_existing()
}

#[test]
fn a_replaced_job_takes_a_first_run_time_that_is_given_with_it() {
    let scheduler = Scheduler::new().unwrap();
    scheduler.start_on(Arc::new(Still), StartMode::Running).unwrap();
    let added = scheduler.add_job(ticker()).unwrap();
    let kept = scheduler.add_job(ticker()).unwrap();
    assert_eq!(kept.next_run_time(), added.next_run_time());
    let time = scheduler.clock().now() + Duration::from_secs(5);
    let moved = scheduler.add_job(ticker().next_run_time(time)).unwrap();
    assert_eq!(moved.next_run_time(), Some(time));
    assert_eq!(scheduler.get_job("ticker").unwrap().unwrap().next_run_time(), Some(time));
    scheduler.shutdown(true).unwrap();
    scheduler.add_job(ticker().next_run_time(time)).unwrap();
    scheduler.start_on(Arc::new(Still), StartMode::Paused).unwrap();
    assert_eq!(scheduler.get_job("ticker").unwrap().unwrap().next_run_time(), Some(time));
}

#[test]
fn a_trigger_that_is_changed_is_anchored() {
    let scheduler = Scheduler::new().unwrap();
    scheduler.start_on(Arc::new(Still), StartMode::Running).unwrap();
    let job = scheduler.add_job(ticker()).unwrap();
    let changed = job
        .modify(JobChanges::new().trigger(sched::serde_json::json!({ "type": "interval", "hours": 1 })))
        .unwrap();
    assert!(changed.trigger.to_config().get(sched::ANCHOR_KEY).is_some(), "{}", changed.trigger.to_config());
    assert_eq!(changed.next_run_time(), job.next_run_time());
}
