//! Scenario `idle`: processor time of a scheduler that has nothing to do until tomorrow.

use std::thread;
use std::time::Duration;

use chrono::{TimeDelta, Utc};
use sched_runtime_blocking::BackgroundScheduler;
use sched_triggers::DateTrigger;

use crate::Outcome;
use crate::figure::Figure;
use crate::measure::{cpu_seconds, medians};
use crate::options::Options;
use crate::out::Board;
use crate::stage::{Tally, job_of};
use crate::timers::{Timer, Timers};

const SIZES: [u32; 2] = [10_000, 100_000];
const DAY: i64 = 86_400_000_000;

/// Threads that were just started or woken come to rest in this time.
const REST: Duration = Duration::from_millis(500);

/// Measures processor time.
///
/// **Errors**: those of the scheduler.
pub fn run(options: &Options, board: &mut Board) -> Outcome {
    let seconds = if options.quick { 5 } else { 30 };
    for jobs in SIZES {
        let [ours, limit] = medians(options.runs, || Ok([ours(jobs, seconds)?, limit(jobs, seconds)?]))?;
        let case = format!("{jobs} jobs due tomorrow, processor in {seconds} s");
        board.put(&Figure::new("idle", case, "s", ours).limit(limit).at_most(0.002, None));
    }
    Ok(())
}

fn ours(jobs: u32, seconds: u64) -> Outcome<f64> {
    let scheduler = BackgroundScheduler::new()?;
    scheduler.start()?;
    let (task, tomorrow) = (Tally::new().task(), Utc::now() + TimeDelta::days(1));
    for number in 0..jobs {
        let at = tomorrow + TimeDelta::milliseconds(i64::from(number));
        scheduler.add_job(job_of(&task, DateTrigger::at(at)))?;
    }
    let used = used_within(seconds)?;
    scheduler.shutdown(false)?;
    Ok(used)
}

fn limit(jobs: u32, seconds: u64) -> Outcome<f64> {
    let now = Utc::now().timestamp_micros();
    let mut timers = Timers::default();
    (0..jobs).for_each(|number| timers.push(Timer::new(now + DAY + i64::from(number), DAY, |_| ())));
    // The thread sleeps until tomorrow; it ends with the process.
    drop(timers.run_until(i64::MAX));
    used_within(seconds)
}

fn used_within(seconds: u64) -> Outcome<f64> {
    thread::sleep(REST);
    let before = cpu_seconds()?;
    thread::sleep(Duration::from_secs(seconds));
    Ok(cpu_seconds()? - before)
}
