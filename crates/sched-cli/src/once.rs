//! `sched run --once`: every job once, now. For scripts, and to try a schedule file out.
//!
//! The jobs run on the file's executors with the file's settings, but in memory: the file's job stores are not
//! touched, because a job that has run its once would be removed from them.

use std::sync::Arc;
use std::time::Duration;

use sched::{
    BackgroundScheduler, BuildContext, Error, Event, EventMask, JobBuilder, JobHandle, JobSettings,
    Scheduler, Shutdown, TaskRef,
};
use serde_json::json;

use crate::failure::Failure;
use crate::logging::Log;
use crate::run::{listen, tell_of_drain};
use crate::schedule::{Schedule, is_paused};
use crate::signals::Stop;

/// What tells that a job has had its run, or will have none.
const ENDS: EventMask = EventMask::JOB_EXECUTED
    .union(EventMask::JOB_ERROR)
    .union(EventMask::JOB_MISSED)
    .union(EventMask::JOB_MAX_INSTANCES);

/// How often it is looked whether a signal came.
const LOOK: Duration = Duration::from_millis(100);

/// Runs every job once. **Errors**: when one of them does not succeed, or a signal came first.
pub(crate) fn run(schedule: &Schedule, log: &Arc<Log>, stop: &Stop) -> Result<(), Failure> {
    let scheduler = BackgroundScheduler::from(in_memory(&schedule.scheduler)?);
    let mut jobs = 0;
    for job in &schedule.jobs {
        if is_paused(job) {
            log.notice("job_skipped", &format!("{}: left out, it is paused", job.id()));
            continue;
        }
        scheduler.add_job(once(job))?;
        jobs += 1;
    }
    // That a job without a trigger has no further fire times goes without saying.
    listen(&scheduler, log, EventMask::all() - EventMask::JOB_REMOVED);
    let ends = scheduler.subscribe(ENDS);
    scheduler.start()?;
    let mut ended: Vec<Event> = Vec::with_capacity(jobs);
    while ended.len() < jobs && !stop.is_asked() {
        ended.extend(ends.next_within(LOOK));
    }
    stop.begin();
    if ended.len() < jobs {
        tell_of_drain(&scheduler, log);
    }
    scheduler.shutdown(Shutdown::Wait)?;
    ended.extend(ends.drain());
    let succeeded = ended.iter().filter(|event| matches!(event, Event::JobExecuted(_))).count();
    if succeeded == jobs { Ok(()) } else { Err(Failure::told()) }
}

/// A scheduler with the executors, aliases and settings of `original`, and memory for job stores.
fn in_memory(original: &Scheduler) -> Result<Scheduler, Error> {
    let registry = original.registry();
    let context = BuildContext { registry: &registry, timezone: original.timezone() };
    let mut builder = Scheduler::builder()
        .registry((*registry).clone())
        .timezone(original.timezone())
        .job_defaults(original.job_defaults());
    for alias in original.executors() {
        let executor = original.executor(&alias)?;
        builder = builder.with(|config| config.executor(&alias, executor));
    }
    for alias in original.job_stores() {
        let store = registry.job_store("", json!({ "type": "memory" }), context)?;
        builder = builder.with(|config| config.job_store(&alias, store));
    }
    builder.build()
}

/// The job without its trigger, which makes it run as soon as the scheduler starts.
fn once(job: &JobHandle) -> JobBuilder {
    let settings = JobSettings { jitter: Some(Duration::ZERO), ..(*job.settings).clone() };
    let builder = match &job.task {
        TaskRef::Bound(task) => JobBuilder::bound(Arc::clone(task)),
        TaskRef::Named(name) => JobBuilder::task(Arc::clone(name)),
    };
    let builder = builder.settings(settings).args(job.args.clone()).store(job.store()).id(job.id().as_str());
    match &job.spec.name {
        Some(name) => builder.name(Arc::clone(name)),
        None => builder,
    }
}
