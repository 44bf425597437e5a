//! `sched check`: every fault of a schedule file, or what it would do next. Nothing is started.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use sched::triggers::preview;
use sched::{Error, JobHandle};

use crate::args::{CheckArgs, LogFormat};
use crate::failure::Failure;
use crate::logging::Log;
use crate::{output, schedule, times};

/// How many fire times of a job are shown.
const SHOWN: usize = 3;

/// Checks the schedule file and prints its jobs.
pub(crate) fn check(args: &CheckArgs) -> Result<(), Failure> {
    let log = Arc::new(Log::new(LogFormat::Human));
    let schedule = schedule::load(&args.file, &log)?;
    let count = schedule.jobs.len();
    let plural = if count == 1 { "job" } else { "jobs" };
    let zone = schedule.scheduler.timezone();
    output::line(format_args!("{}: ok, {count} {plural}, time zone {zone}", args.file.display()));
    let now = times::this_second();
    schedule.jobs.iter().try_for_each(|job| show(job, now)).map_err(Failure::from)
}

fn show(job: &JobHandle, now: DateTime<Utc>) -> Result<(), Error> {
    output::line(format_args!("\n{}", job.id()));
    output::line(format_args!("  {}", schedule::describe(job)));
    output::line(format_args!("  {}", job.trigger));
    let zone = job.trigger.timezone();
    let mut fires = preview(&*job.trigger, None, now, SHOWN)?.fires;
    if let Some(first) = job.next_run_time() {
        fires.retain(|fire| *fire > first);
        fires.insert(0, first);
        fires.truncate(SHOWN);
    }
    for fire in fires {
        output::line(format_args!("  {}", times::with_weekday(fire, zone)));
    }
    Ok(())
}
