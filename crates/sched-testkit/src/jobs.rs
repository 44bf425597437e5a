//! Sample tasks, jobs, runs and times, the same for every suite.
//!
//! The tasks are plain functions under names of their own, so that a store can bind them again and another process can
//! run them.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use sched_core::{
    Args, Call, CancelToken, Cursor, Error, Execution, Factory, Job, JobId, JobOptions, JobSettings, JobSpec,
    JobStatus, Plugin, QueuedRun, Registry, Run, RunContext, RunId, RunSink, Scheduler, Section, Task,
    TaskError, TaskRef, Trigger,
};
use serde_json::{Value, json};

use crate::sink::{PATIENCE, pass_in_directory};

/// The first of May 2024, noon: where simulated clocks begin.
pub const NOON: DateTime<Utc> = match NaiveDate::from_ymd_opt(2024, 5, 1) {
    Some(date) => match date.and_hms_opt(12, 0, 0) {
        Some(noon) => noon.and_utc(),
        None => DateTime::UNIX_EPOCH,
    },
    None => DateTime::UNIX_EPOCH,
};

/// So many seconds after [`NOON`].
pub fn noon_plus(seconds: i64) -> DateTime<Utc> {
    NOON + TimeDelta::seconds(seconds)
}

/// Reads an RFC 3339 time; panics when it is none.
pub fn time(text: &str) -> DateTime<Utc> {
    match DateTime::parse_from_rfc3339(text) {
        Ok(time) => time.to_utc(),
        Err(error) => panic!("`{text}` is not a time: {error}"),
    }
}

/// Answers with its first argument.
pub const ECHO: &str = "testkit.echo";
/// The same as an async function, which is pending once.
pub const ECHO_LATER: &str = "testkit.echo_later";
/// Fails with the message `deliberate`.
pub const FAIL: &str = "testkit.fail";
/// Panics with the message `deliberate`.
pub const PANIC: &str = "testkit.panic";
/// Answers with what it can see of its run: an object with `run`, `job`, `attempt`, `deadline` and `current`.
pub const LOOK: &str = "testkit.look";
/// Waits until it is asked to stop and then fails with the message `stopped`; gives up after a while.
pub const WAIT: &str = "testkit.wait";
/// Waits at a [`Gate`](crate::Gate) across processes until it is asked to stop, and answers why.
pub const WHY: &str = "testkit.why";
/// Does nothing, and at most two runs of it do so at once.
pub const LIMITED: &str = "testkit.limited";
/// Waits at a [`Gate`](crate::Gate) across processes, whatever it is asked.
pub const GATE: &str = "testkit.gate";
/// The same until it is asked to stop.
pub const CANCELLABLE_GATE: &str = "testkit.cancellable_gate";

/// The sample tasks. A process that runs the tasks of others registers them under the same names.
pub fn tasks() -> Vec<Arc<Task>> {
    let first = |args: &Args| args.positional().first().cloned().unwrap_or_default();
    let echo = Task::new(ECHO, move |_, args| first(args));
    let echo_later = Task::new_async(ECHO_LATER, move |_, args| async move {
        Yield::once().await;
        first(&args)
    });
    let fail = Task::new(FAIL, |_, _| Err::<(), _>(TaskError::new("deliberate")));
    let panic = Task::new(PANIC, |_, _| -> () { panic!("deliberate") });
    let limited = Task::new(LIMITED, |_, _| ()).with_max_instances(2);
    let gate = Task::new(GATE, |context, args| pass_in_directory(context, args, &CancelToken::new()));
    let cancellable = Task::new(CANCELLABLE_GATE, |context, args| {
        pass_in_directory(context, args, &context.cancel_token())
    });
    let look = Task::new(LOOK, |context, _| look(context));
    let wait = Task::new(WAIT, |context, _| wait(context));
    let why = Task::new(WHY, |context, args| {
        // Whoever opens the gate asks nothing.
        drop(pass_in_directory(context, args, &context.cancel_token()));
        context.cancel_reason().map(|reason| reason.to_string())
    });
    [echo, echo_later, fail, panic, look, wait, why, limited, gate, cancellable].map(Arc::new).into()
}

/// A token wakes futures only, so it is looked at again and again.
fn wait(context: &RunContext) -> Result<(), TaskError> {
    let begin = Instant::now();
    while !context.is_cancelled() && begin.elapsed() < PATIENCE {
        std::thread::park_timeout(Duration::from_millis(1));
    }
    Err(TaskError::new("stopped"))
}

/// The sample task of that name.
pub fn task(name: &str) -> Arc<Task> {
    tasks().into_iter().find(|task| task.name() == name).unwrap_or_else(|| panic!("no sample task `{name}`"))
}

fn look(context: &RunContext) -> Value {
    let run = context.run();
    json!({
        "run": run.id.to_string(),
        "job": run.job_id.as_ref().map(JobId::as_str),
        "attempt": run.attempt,
        "deadline": context.deadline().map(|deadline| deadline.to_rfc3339()),
        "current": sched_core::current_run().map(|current| current.run().id.to_string()),
    })
}

/// Is pending once.
pub(crate) struct Yield(bool);

impl Yield {
    pub(crate) fn once() -> Self {
        Self(false)
    }
}

impl Future for Yield {
    type Output = ();
    fn poll(mut self: std::pin::Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> std::task::Poll<()> {
        if std::mem::replace(&mut self.0, true) {
            return std::task::Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        std::task::Poll::Pending
    }
}

/// The sample tasks and the trigger `fixed`.
pub fn registry() -> Arc<Registry> {
    let with_tasks = tasks().into_iter().fold(Registry::builder(), sched_core::RegistryBuilder::task);
    Arc::new(with_tasks.plugin(FIXED).build().expect("the samples have names of their own"))
}

/// The plug-in of [`FixedTrigger`], for registries made by hand.
pub const FIXED: Plugin = Plugin {
    aliases: &["fixed"],
    summary: "fires at the times of a list",
    package: env!("CARGO_PKG_NAME"),
    factory: Factory::Trigger(fixed_from_config),
};

fn fixed_from_config(section: &mut Section<'_>) -> Result<Arc<dyn Trigger>, Error> {
    let times = section.list("times").unwrap_or_default();
    let micros = times.iter().filter_map(Value::as_i64);
    Ok(Arc::new(FixedTrigger::new(micros.filter_map(DateTime::from_timestamp_micros))))
}

/// Fires at the times of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FixedTrigger {
    times: Vec<DateTime<Utc>>,
}

impl FixedTrigger {
    /// A trigger that fires at these times; their order does not matter.
    pub fn new(times: impl IntoIterator<Item = DateTime<Utc>>) -> Self {
        let mut times: Vec<_> = times.into_iter().collect();
        times.sort_unstable();
        times.dedup();
        Self { times }
    }

    /// A trigger that fires `count` times, `seconds` apart, from `first` on.
    pub fn every(first: DateTime<Utc>, seconds: i64, count: i32) -> Self {
        Self::new((0..count).map(|step| first + TimeDelta::seconds(seconds) * step))
    }
}

impl Trigger for FixedTrigger {
    fn next_fire_time(
        &self,
        previous: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, Error> {
        let comes = |time: &&DateTime<Utc>| previous.map_or(**time >= now, |previous| **time > previous);
        Ok(self.times.iter().find(comes).copied())
    }

    fn alias(&self) -> &str {
        "fixed"
    }

    fn to_config(&self) -> Value {
        let micros: Vec<i64> = self.times.iter().map(DateTime::timestamp_micros).collect();
        json!({ "type": "fixed", "times": micros })
    }

    fn is_quick(&self) -> bool {
        true
    }
}

impl fmt::Display for FixedTrigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "fixed[{} times]", self.times.len())
    }
}

/// A job id; panics when it is none.
pub fn job_id(id: &str) -> JobId {
    JobId::new(id).unwrap_or_else(|error| panic!("`{id}` is not a job id: {error}"))
}

/// A run id; those of greater numbers come later.
pub fn run_id(number: u64) -> RunId {
    format!("{number:032x}").parse().expect("32 hexadecimal digits are a run id")
}

/// A job of the task [`ECHO`] that is due at `next_run_time`, or paused when there is none. It fires every minute from
/// then on, ten times.
pub fn sample_job(id: &str, next_run_time: impl Into<Option<DateTime<Utc>>>) -> Job {
    let next_run_time = next_run_time.into();
    let trigger: Arc<dyn Trigger> = Arc::new(FixedTrigger::every(next_run_time.unwrap_or(NOON), 60, 10));
    let settings = JobSettings::default();
    let options = Arc::new(settings.resolve());
    let (task, args) = (TaskRef::Bound(task(ECHO)), Args::from(json!([id])));
    let spec =
        JobSpec { id: job_id(id), name: None, task, args, trigger, settings: Arc::new(settings), options };
    Job { spec: Arc::new(spec), cursor: cursor_at(next_run_time) }
}

/// A job of a closure, which has no name that another process could know.
pub fn closure_job(id: &str, next_run_time: DateTime<Utc>) -> Job {
    // Only a scheduler makes tasks without a name; this one is never started.
    let scheduler = Scheduler::new().expect("a scheduler without configuration");
    let pending = scheduler.add_job(Job::call(|| ()).id(id)).expect("a closure is a job");
    let sample = sample_job(id, next_run_time);
    let spec = JobSpec { task: pending.spec.task.clone(), ..JobSpec::clone(&sample.spec) };
    Job { spec: Arc::new(spec), cursor: sample.cursor }
}

/// A cursor that stands before a time, or is paused.
pub fn cursor_at(time: impl Into<Option<DateTime<Utc>>>) -> Cursor {
    match time.into() {
        Some(time) => Cursor::at(time, time),
        None => Cursor::default().stopped(JobStatus::Paused),
    }
}

/// The job with other settings.
#[must_use]
pub fn with_settings(job: &Job, settings: JobSettings) -> Job {
    let options = Arc::new(settings.resolve());
    let spec = JobSpec { settings: Arc::new(settings), options, ..JobSpec::clone(&job.spec) };
    Job { spec: Arc::new(spec), cursor: job.cursor.clone() }
}

/// The job with another trigger.
#[must_use]
pub fn with_trigger(job: &Job, trigger: impl Trigger) -> Job {
    let spec = JobSpec { trigger: Arc::new(trigger), ..JobSpec::clone(&job.spec) };
    Job { spec: Arc::new(spec), cursor: job.cursor.clone() }
}

/// The job at another place of its schedule; its revision stays.
#[must_use]
pub fn moved(job: &Job, time: impl Into<Option<DateTime<Utc>>>) -> Job {
    let revision = job.cursor.revision;
    Job { spec: Arc::clone(&job.spec), cursor: Cursor { revision, ..cursor_at(time) } }
}

/// A waiting run of the task [`ECHO`] that belongs to no job.
pub fn sample_queued(number: u64, scheduled_time: DateTime<Utc>) -> QueuedRun {
    QueuedRun {
        id: run_id(number),
        job_id: None,
        call: Call::bound(task(ECHO), Args::from(json!([number]))),
        fire_time: scheduled_time,
        scheduled_time,
        priority: 0,
        options: Arc::new(JobOptions::default()),
    }
}

/// A waiting run of a job.
pub fn sample_queued_of(job: &Job, number: u64, fire_time: DateTime<Utc>) -> QueuedRun {
    QueuedRun {
        job_id: Some(job.id().clone()),
        call: Call { task: job.spec.task.clone(), args: job.spec.args.clone() },
        options: Arc::clone(&job.spec.options),
        ..sample_queued(number, fire_time)
    }
}

/// A run of a task on its way through an executor, scheduled at [`NOON`].
pub fn sample_execution(number: u64, task: Arc<Task>, args: Value, sink: Arc<dyn RunSink>) -> Execution {
    execution_with(number, task, args, JobOptions::default(), sink)
}

/// The same with options.
pub fn execution_with(
    number: u64,
    task: Arc<Task>,
    args: Value,
    options: JobOptions,
    sink: Arc<dyn RunSink>,
) -> Execution {
    let run = Run {
        id: run_id(number),
        job_id: Some(job_id("sample")),
        store: Arc::from("default"),
        task: task.shared_name(),
        fire_time: NOON,
        scheduled_time: NOON,
        attempt: 1,
    };
    Execution::new(Arc::new(run), task, Args::from(args), Arc::new(options), sink)
}
