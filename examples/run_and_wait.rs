//! Runs without a schedule: call a task and wait for its value, queue one and look later, priorities, a delay.

#![expect(clippy::print_stdout, reason = "an example talks to its reader")]

use sched::prelude::*;
use sched::{RunId, RunRecord, RunState};
use serde_json::json;

const KEPT: Duration = Duration::from_secs(60);

#[task]
fn divide(number: i64, by: i64) -> Result<i64, String> {
    number.checked_div(by).ok_or_else(|| "division by zero".to_owned())
}

#[task]
fn work(name: String, millis: u64) -> String {
    println!("    {name} works");
    std::thread::sleep(Duration::from_millis(millis));
    format!("{name} is done")
}

fn main() -> Result<(), sched::Error> {
    // One thread and no queue of its own, so that runs wait in the store, in the order of their priorities.
    let scheduler = BackgroundScheduler::from_config(json!({
        "executors": { "default": { "type": "threadpool", "max_workers": 1, "queue_size": 0 } },
    }))?;
    scheduler.start()?;

    println!("42 / 6 is {}", scheduler.run_job(divide::call(42, 6))?);
    if let Err(error) = scheduler.run_job(divide::call(42, 0)) {
        println!("42 / 0 is an error: {error}");
    }
    if let Err(error) = scheduler.run_job(NewRun::task("divide").args(json!(["many"]))) {
        println!("wrong arguments are never queued: {error}");
    }

    // The first takes the thread; of those that wait behind it the most urgent goes first, however late it came.
    println!("priorities:");
    let started = scheduler.subscribe(EventMask::RUN_STARTED);
    let queue = |name: &str, priority| {
        let run = NewRun::from(work::call(name.to_owned(), 200)).priority(priority).result_ttl(KEPT);
        scheduler.add_run(run)
    };
    let first = queue("the first", 0)?;
    started.next_within(Duration::from_secs(10));
    let patient = queue("the patient", -5)?;
    let usual = queue("the usual", 0)?;
    let urgent = queue("the urgent", 10)?;
    println!("    the urgent is {}", state(&scheduler.get_run_result(urgent, None)?));
    for id in [first, urgent, usual, patient] {
        println!("    {}", wait_for(&scheduler, id)?);
    }

    // Not before a moment; it is queued meanwhile, and can be cancelled.
    let soon = scheduler.clock().now() + Duration::from_millis(500);
    let delayed = |name: &str| NewRun::from(work::call(name.to_owned(), 0)).at(soon).result_ttl(KEPT);
    let id = scheduler.add_run(delayed("the delayed"))?;
    let unwanted = scheduler.add_run(delayed("the unwanted"))?;
    println!("the delayed is {}", state(&scheduler.get_run_result(id, None)?));
    println!("the unwanted was cancelled: {}", scheduler.cancel_run(unwanted)?);
    println!("    {}", wait_for(&scheduler, id)?);
    if let RunState::Finished { started_at: Some(start), .. } = scheduler.get_run_result(id, None)?.state {
        println!("it started {} its time", if start < soon { "before" } else { "at" });
    }
    scheduler.shutdown(true)
}

/// Waits until a run is over, whoever runs it. A result can be read any number of times while it is kept.
fn wait_for(scheduler: &Scheduler, id: RunId) -> Result<String, sched::Error> {
    let ends = scheduler.subscribe(EVENT_JOB_EXECUTED | EVENT_JOB_ERROR | EVENT_JOB_MISSED);
    loop {
        let record = scheduler.get_run_result(id, None)?;
        if matches!(record.state, RunState::Finished { .. }) {
            return Ok(state(&record));
        }
        ends.next_within(Duration::from_secs(1));
    }
}

fn state(record: &RunRecord) -> String {
    match &record.state {
        RunState::Queued => "queued".to_owned(),
        RunState::Running { .. } => "running".to_owned(),
        RunState::Finished { outcome, .. } => match outcome.value() {
            Some(value) => format!("finished: {value}"),
            None => format!("finished: {outcome}"),
        },
    }
}
