//! A member: a process with a scheduler on the shared store, until it is told to stop or is killed.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use sched::{
    BackgroundScheduler, ConflictPolicy, Job, Registry, Retain, RunContext, Scheduler, Shutdown, Task,
};
use serde_json::{Value, json};

use crate::Fault;
use crate::journal::{Entry, Journal, Step, path_of};
use crate::plan::Plan;

/// The name of the task.
const TASK: &str = "note";

/// How often a member tries to start on a store that is not there yet.
const START_ATTEMPTS: u32 = 200;

/// Runs a scheduler until standard input is closed, then shuts it down and waits for its runs.
///
/// **Errors**: those of the scheduler, which is tried again while the store is not there.
pub fn serve(plan: Plan, number: usize) -> Result<(), Fault> {
    let plan = Arc::new(plan);
    let scheduler = start(&plan, number)?;
    for job in 0..plan.jobs {
        add(&scheduler, &plan, job)?;
    }
    let mut rest = Vec::new();
    std::io::stdin().read_to_end(&mut rest)?;
    scheduler.shutdown(Shutdown::Wait)?;
    Ok(())
}

fn start(plan: &Arc<Plan>, number: usize) -> Result<BackgroundScheduler, Fault> {
    let journal = Journal::open(&path_of(&plan.directory, number))?;
    let longest = plan.longest;
    let note = Task::new(TASK, move |context: &RunContext, args| {
        note(&journal, longest, context, args.get(0, "job"))
    });
    let registry = Registry::builder().linked().task(note).build()?;
    let builder = || {
        let builder = Scheduler::builder().registry(registry.clone()).config(plan.config());
        builder.identity(format!("member-{number}-{}", std::process::id()))
    };
    let mut attempt = 0;
    loop {
        attempt += 1;
        let started =
            BackgroundScheduler::build(builder()).and_then(|scheduler| scheduler.start().map(|()| scheduler));
        match started {
            Ok(scheduler) => return Ok(scheduler),
            Err(error) if error.is_retryable() && attempt < START_ATTEMPTS => {
                std::thread::sleep(Duration::from_millis(50));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Adds a job unless another member has; tries again while the store is not there.
fn add(scheduler: &Scheduler, plan: &Plan, number: u32) -> Result<(), Fault> {
    let (first, end) = (instant(plan.first_fire(number)), instant(plan.end));
    let job = || {
        let trigger = json!({
            "type": "interval",
            "seconds": plan.interval.as_secs_f64(),
            "start_date": first.to_rfc3339(),
            "end_date": end.to_rfc3339(),
        });
        Job::task(TASK)
            .id(format!("job-{number}"))
            .args(json!([number]))
            .trigger(trigger)
            .next_run_time(first)
            .retain(Retain::Finished)
            .on_conflict(ConflictPolicy::Keep)
    };
    let mut attempt = 0;
    loop {
        attempt += 1;
        match scheduler.add_job(job()) {
            Ok(_) => return Ok(()),
            // Its schedule is over, and it was removed.
            Err(error) if error.kind() == sched::ErrorKind::NeverFires => return Ok(()),
            Err(error) if error.is_retryable() && attempt < START_ATTEMPTS => {
                std::thread::sleep(Duration::from_millis(50));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// The task: says that it starts, works for a while, says that it ends, and answers who it was.
fn note(journal: &Journal, longest: Duration, context: &RunContext, job: Option<&Value>) -> Value {
    let run = context.run();
    let job = job.and_then(Value::as_u64).and_then(|job| u32::try_from(job).ok()).unwrap_or(u32::MAX);
    let write = |step| {
        let entry = Entry {
            step,
            job,
            fire: run.fire_time.timestamp_micros(),
            attempt: run.attempt,
            pid: std::process::id(),
            at: Utc::now().timestamp_micros(),
        };
        if let Err(error) = journal.write(&entry) {
            crate::out::error(&format!("the journal cannot be written: {error}"));
            std::process::exit(3);
        }
    };
    write(Step::Start);
    std::thread::sleep(longest.mul_f64(fastrand::f64()));
    write(Step::End);
    json!({ "pid": std::process::id(), "attempt": run.attempt })
}

fn instant(micros: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(micros).unwrap_or_default()
}
