//! The whole scheduler on a SQLite store.
#![cfg(feature = "sqlite")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use sched::{
    BackgroundScheduler, Delivery, Error, ErrorKind, Job, NewRun, Outcome, Registry, RunFilter, RunState,
    Scheduler, Task,
};
use sched_store_sql::SqlStore;
use serde_json::json;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(30);

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A scheduler on the file, whose task `count` counts.
fn scheduler(directory: &TempDir, counter: &Arc<AtomicUsize>) -> Result<BackgroundScheduler, Error> {
    let path = directory.path().join("jobs.sqlite");
    let store = SqlStore::open(format!("sqlite:///{}", path.display()))?;
    let counter = Arc::clone(counter);
    let count = Task::new("count", move |_, args| {
        counter.fetch_add(1, Ordering::SeqCst);
        args.positional().first().cloned().unwrap_or_default()
    });
    let registry = Registry::builder().linked().task(count).build()?;
    BackgroundScheduler::build(Scheduler::builder().registry(registry).job_store("default", store))
}

#[test]
fn a_job_fires_leaves_its_run_and_goes_on_after_a_restart() {
    let (directory, counter) =
        (TempDir::new().expect("a temporary directory"), Arc::new(AtomicUsize::new(0)));
    let first = scheduler(&directory, &counter).expect("the configuration is right");
    first.start().expect("it starts");
    let often = || {
        let job = Job::task("count").id("often").args(json!(["x"])).result_ttl(Duration::from_secs(3_600));
        job.trigger(json!({ "type": "interval", "seconds": 0.05 })).replace_existing()
    };
    let daily = || {
        Job::task("count").id("daily").trigger(json!({ "type": "interval", "days": 1 })).replace_existing()
    };
    first.add_job(often()).expect("it is added");
    let due = first.add_job(daily()).expect("it is added").next_fire_time();
    wait_until("the third run", || counter.load(Ordering::SeqCst) >= 3);
    let closure = first.add_job(Job::call(|| ()).trigger(json!({ "type": "interval", "days": 1 }))).map(drop);
    assert_eq!(closure.expect_err("a closure cannot be stored").kind(), ErrorKind::InvalidJob);
    first.shutdown(true).expect("it shuts down");
    let ran = counter.load(Ordering::SeqCst);

    let second = scheduler(&directory, &counter).expect("the configuration is right");
    second.add_job(daily()).expect("it is pending");
    second.start_paused().expect("it starts");
    let again = second.get_job("daily").expect("the store works").expect("it is there");
    assert_eq!(again.next_fire_time(), due, "a restart does not set the timer back");
    let runs = second.get_runs(&RunFilter::default(), None).expect("the store has a run queue");
    let succeeded = runs.iter().filter(|record| match &record.state {
        RunState::Finished { outcome, .. } => *outcome == Outcome::Succeeded(json!("x")),
        _ => false,
    });
    assert_eq!(succeeded.count(), ran, "every run left its result");
    second.resume().expect("it is started");
    wait_until("a run after the restart", || counter.load(Ordering::SeqCst) > ran);
    let value = second.run_job(NewRun::task("count").args(json!([7]))).expect("it runs");
    assert_eq!(value, json!(7));
    second.shutdown(true).expect("it shuts down");
}

#[test]
fn two_schedulers_share_the_work_and_do_none_of_it_twice() {
    const JOBS: usize = 200;
    for delivery in [Delivery::Durable, Delivery::Direct] {
        let (directory, counter) =
            (TempDir::new().expect("a temporary directory"), Arc::new(AtomicUsize::new(0)));
        let make = || {
            let path = directory.path().join("jobs.sqlite");
            let store = SqlStore::open(path.display().to_string()).expect("the url is right");
            let counter = Arc::clone(&counter);
            let count = Task::new("count", move |_, _| {
                counter.fetch_add(1, Ordering::SeqCst);
            });
            let registry = Registry::builder().linked().task(count).build().expect("no name is taken twice");
            let builder = Scheduler::builder().registry(registry).job_store("default", store);
            let builder = builder.with(|config| config.delivery(delivery).claim_batch(10));
            BackgroundScheduler::build(builder).expect("the configuration is right")
        };
        let schedulers = [make(), make()];
        let (one, other) = (&schedulers[0], &schedulers[1]);
        one.start_paused().expect("it starts");
        other.start_paused().expect("it starts");
        let at = one.clock().now();
        for number in 0..JOBS {
            let date = json!({ "type": "date", "run_date": at.to_rfc3339() });
            let job = Job::task("count").id(format!("job-{number}")).next_run_time(at).trigger(date);
            one.add_job(job).expect("it is added");
        }
        one.resume().expect("it is started");
        other.resume().expect("it is started");
        wait_until("the last run", || counter.load(Ordering::SeqCst) >= JOBS);
        one.shutdown(true).expect("it shuts down");
        other.shutdown(true).expect("it shuts down");
        assert_eq!(counter.load(Ordering::SeqCst), JOBS, "{delivery}");
    }
}
