//! A member: a process with a scheduler on the shared store, until it is told to stop or is killed; and whoever lays the
//! jobs before there are any.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use sched::{
    BackgroundScheduler, ConflictPolicy, Job, Registry, Retain, Role, RunContext, Scheduler, SchedulerConfig,
    Shutdown, StartMode, Task,
};
use sched_testkit::scheduler::ManualRuntime;
use serde_json::{Value, json};

use crate::Fault;
use crate::journal::{Entry, Journal, Step, path_of};
use crate::plan::Plan;

/// The name of the task.
const TASK: &str = "note";

/// How long a member tries to start on a store that is not there yet.
const PATIENCE: Duration = Duration::from_secs(60);

/// How many jobs a member adds that others have added before, as programs do when they start.
const ADDED_AGAIN: u32 = 10;

/// Runs a scheduler until standard input is closed, then shuts it down and waits for its runs.
///
/// **Errors**: those of the scheduler, which is tried again while the store is not there.
pub fn serve(plan: Plan, number: usize) -> Result<(), Fault> {
    let plan = Arc::new(plan);
    let (stop, stopped) = std::sync::mpsc::channel();
    let is_stopping = Arc::new(AtomicBool::new(false));
    let is_asked = Arc::clone(&is_stopping);
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        is_asked.store(true, Ordering::SeqCst);
        let _ = stop.send(());
    });
    // One that still waits for its store has nothing to end.
    let Some(scheduler) = start(&plan, number, &is_stopping)? else { return Ok(()) };
    for _ in 0..ADDED_AGAIN.min(plan.jobs) {
        add(&scheduler, &plan, fastrand::u32(..plan.jobs))?;
    }
    stopped.recv()?;
    scheduler.shutdown(Shutdown::Wait)?;
    Ok(())
}

/// Adds all jobs of a plan.
///
/// **Errors**: those of the scheduler, which is tried again while the store is not there.
pub fn lay(plan: &Plan) -> Result<(), Fault> {
    let registry = Registry::builder().linked().task(Task::new(TASK, |_, _| ())).build()?;
    let begin = Instant::now();
    let scheduler = loop {
        let config = plan.config();
        let client = |config: SchedulerConfig| config.role(Role::Client);
        let scheduler =
            Scheduler::builder().registry(registry.clone()).config(config).with(client).build()?;
        let runtime = Arc::new(ManualRuntime::default());
        match scheduler.start_on(runtime, StartMode::Running) {
            Ok(()) => break scheduler,
            Err(error) => wait_for_the_store(error, begin)?,
        }
    };
    (0..plan.jobs).try_for_each(|job| add(&scheduler, plan, job))?;
    Ok(scheduler.shutdown(Shutdown::Wait)?)
}

/// Lets a while pass when a store is not there. **Errors**: the given one when there is nothing to wait for.
fn wait_for_the_store(error: sched::Error, begin: Instant) -> Result<(), Fault> {
    if !error.is_retryable() || begin.elapsed() > PATIENCE {
        return Err(error.into());
    }
    std::thread::sleep(Duration::from_millis(50));
    Ok(())
}

/// A scheduler that runs; `None` when it is to stop before its store was there.
fn start(
    plan: &Arc<Plan>,
    number: usize,
    is_stopping: &AtomicBool,
) -> Result<Option<BackgroundScheduler>, Fault> {
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
    let begin = Instant::now();
    loop {
        let started =
            BackgroundScheduler::build(builder()).and_then(|scheduler| scheduler.start().map(|()| scheduler));
        match started {
            Ok(scheduler) => return Ok(Some(scheduler)),
            Err(_) if is_stopping.load(Ordering::SeqCst) => return Ok(None),
            Err(error) => wait_for_the_store(error, begin)?,
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
    let begin = Instant::now();
    loop {
        match scheduler.add_job(job()) {
            Ok(_) => return Ok(()),
            // Its schedule is over, and it was removed.
            Err(error) if error.kind() == sched::ErrorKind::NeverFires => return Ok(()),
            Err(error) => wait_for_the_store(error, begin)?,
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
            begun: context.started_at().timestamp_micros(),
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
