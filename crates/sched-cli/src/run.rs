//! `sched run`: a schedule file, until a signal or a given time.

use std::path::Path;
use std::sync::Arc;

use chrono::Utc;
use sched::{BackgroundScheduler, EventMask, Scheduler, Shutdown};

use crate::args::{LogFormat, RunArgs};
use crate::failure::Failure;
use crate::logging::Log;
use crate::schedule::{self, Schedule};
use crate::signals::Stop;
use crate::{once, output, times};

/// Runs the schedule file.
pub(crate) fn run(args: &RunArgs) -> Result<(), Failure> {
    let log = Arc::new(Log::new(args.log));
    let schedule = schedule::load(&args.file, &log)?;
    let (zone, now) = (schedule.scheduler.timezone(), Utc::now());
    let end = match &args.until {
        Some(text) => {
            let end = times::parse_until(text, now, zone);
            let end = end.map_err(|_| {
                Failure::usage(format_args!("--until: `{text}` is neither a time nor a duration"))
            })?;
            if end < now {
                return Err(Failure::usage(format_args!("--until: {} is past", times::rfc3339(end, zone))));
            }
            Some(end)
        }
        None => None,
    };
    let stop = Stop::on_signal(&schedule.commands)?;
    log.show_in(zone, schedule.jobs.iter().map(|job| job.id().as_str()));
    if args.once {
        return once::run(&schedule, &log, &stop);
    }
    if args.log == LogFormat::Human {
        introduce(&args.file, &schedule);
    }
    let scheduler = BackgroundScheduler::from(schedule.scheduler);
    listen(&scheduler, &log, EventMask::all());
    scheduler.start()?;
    stop.wait(end);
    stop.begin();
    tell_of_drain(&scheduler, &log);
    scheduler.shutdown(Shutdown::Wait)?;
    Ok(())
}

/// Writes what the scheduler tells to the log.
pub(crate) fn listen(scheduler: &Scheduler, log: &Arc<Log>, events: EventMask) {
    let log = Arc::clone(log);
    scheduler.add_listener(move |event| log.event(event), events);
}

/// Says for what the end waits.
pub(crate) fn tell_of_drain(scheduler: &Scheduler, log: &Log) {
    let runs = scheduler.active_runs();
    if runs.is_empty() {
        return;
    }
    let mut jobs: Vec<&str> =
        runs.iter().filter_map(|active| Some(active.run.job_id.as_ref()?.as_str())).collect();
    jobs.sort_unstable();
    log.notice("draining", &format!("waiting for {}; Ctrl-C now kills", jobs.join(", ")));
}

fn introduce(file: &Path, schedule: &Schedule) {
    let zone = schedule.scheduler.timezone();
    let count = schedule.jobs.len();
    let plural = if count == 1 { "job" } else { "jobs" };
    output::line(format_args!("{}: {count} {plural}, time zone {zone}; Ctrl-C stops", file.display()));
    let width = schedule.jobs.iter().map(|job| job.id().as_str().chars().count()).max().unwrap_or(0);
    for job in &schedule.jobs {
        output::line(format_args!("  {:width$}  {}", job.id(), schedule::describe(job)));
    }
}
