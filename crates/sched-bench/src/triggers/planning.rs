//! Parsing, previewing, and planning after a long sleep.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use sched_core::{Args, Cursor, JobId, JobOptions, JobSettings, JobSpec, Task, TaskRef, Trigger, plan};
use sched_triggers::{AndTrigger, CalendarIntervalTrigger, CronTrigger, IntervalTrigger, OrTrigger, preview};

use super::cases::CASES;
use super::{YEARS, peers, utc};
use crate::Outcome;
use crate::figure::Figure;
use crate::measure::{Contestant, made, median, nanos_per, race};
use crate::options::Options;
use crate::out::Board;

const FIRES: usize = 1_000;
const YEAR: TimeDelta = TimeDelta::days(365);

pub(super) fn run(options: &Options, board: &mut Board) -> Outcome {
    let rounds = options.runs.max(9);
    for case in CASES {
        if let Some(text) = case.crontab {
            board.put(&parsing(case.name, text, rounds)?);
        }
    }
    for (name, trigger) in previewed()? {
        board.put(&previewing(&name, &*trigger, rounds)?);
    }
    board.put(&waking(rounds)?);
    Ok(())
}

fn parsing(name: &str, text: &str, rounds: usize) -> Outcome<Figure> {
    const CALLS: usize = 1_000;
    /// One round: the same text, parsed again and again.
    fn again<T>(parse: impl Fn() -> T) -> f64 {
        nanos_per(CALLS, || (0..CALLS).for_each(|_| made(parse())))
    }
    CronTrigger::parse(text)?;
    let seconds = format!("0 {text}");
    let mut subjects: Vec<Contestant<'_>> = vec![
        ("ours", Box::new(|| again(|| CronTrigger::parse(black_box(text))))),
        (peers::CRON, Box::new(|| again(|| peers::cron(black_box(&seconds))))),
        (peers::CRONER, Box::new(|| again(|| peers::croner(black_box(text))))),
    ];
    let times = race(rounds, &mut subjects);
    let figure =
        Figure::new("triggers", format!("parse `{text}` ({name})"), "ns", times[0].1).at_most(1_000.0, None);
    Ok(times[1..].iter().fold(figure, |figure, (name, time)| figure.peer(name, *time)))
}

/// Every kind of trigger with many fires, cron in the dearer zone.
fn previewed() -> Outcome<Vec<(String, Arc<dyn Trigger>)>> {
    let mut triggers: Vec<(String, Arc<dyn Trigger>)> = Vec::new();
    for case in CASES {
        triggers.push((case.name.to_owned(), Arc::new(case.trigger(Tz::Europe__Berlin)?)));
    }
    let berlin = |cron: sched_triggers::CronBuilder| cron.timezone(Tz::Europe__Berlin).build();
    let workdays = Arc::new(berlin(CronTrigger::builder().day_of_week("mon-fri").hour(10))?);
    let weekends = Arc::new(berlin(CronTrigger::builder().day_of_week("sat,sun").hour(11))?);
    let hourly = Arc::new(berlin(CronTrigger::builder().hour("*"))?);
    let minutes = IntervalTrigger::every(Duration::from_secs(90)).build()?;
    let months =
        CalendarIntervalTrigger::builder().months(2).at(10, 0, 0).timezone(Tz::Europe__Berlin).build()?;
    triggers.push(("interval".to_owned(), Arc::new(minutes)));
    triggers.push(("calendarinterval".to_owned(), Arc::new(months)));
    triggers.push(("or".to_owned(), Arc::new(OrTrigger::new(vec![Arc::clone(&workdays) as _, weekends])?)));
    triggers.push(("and".to_owned(), Arc::new(AndTrigger::new(vec![workdays, hourly])?)));
    Ok(triggers)
}

fn previewing(name: &str, trigger: &dyn Trigger, rounds: usize) -> Outcome<Figure> {
    let now = utc(YEARS.0);
    let found = preview(trigger, None, now, FIRES)?.fires.len();
    let round = || nanos_per(1, || made(preview(trigger, None, now, FIRES))) / 1e6;
    let time = median((0..rounds).map(|_| round()).collect());
    Ok(Figure::new("triggers", format!("preview({found}) of {name}"), "ms", time).at_most(1.0, None))
}

/// A job that fires every second, planned after a year of sleep.
fn waking(rounds: usize) -> Outcome<Figure> {
    const CALLS: usize = 1_000;
    let (spec, cursor, now) = sleeper()?;
    let planned = plan(&spec, &cursor, now, 1)?;
    if planned.fires.len() != 1 || planned.fires[0].fire_time != now {
        return Err(format!("a year of sleep became {} fires", planned.fires.len()).into());
    }
    let round = || nanos_per(CALLS, || (0..CALLS).for_each(|_| made(plan(&spec, &cursor, now, 1))));
    let time = median((0..rounds).map(|_| round()).collect()) / 1e3;
    Ok(Figure::new("triggers", "plan of a 1 second interval after a year", "µs", time).at_most(10.0, None))
}

/// A job that fires every second and has slept for a year, with the moment it wakes.
///
/// **Errors**: none.
pub fn sleeper() -> Outcome<(JobSpec, Cursor, DateTime<Utc>)> {
    let slept = utc(YEARS.0);
    let trigger = IntervalTrigger::every(Duration::from_secs(1)).start(slept).build()?;
    Ok((spec_of(trigger)?, Cursor::at(slept, slept), slept + YEAR))
}

/// A job of a task that does nothing.
///
/// **Errors**: none.
pub fn spec_of(trigger: impl Trigger) -> Outcome<JobSpec> {
    Ok(JobSpec {
        id: JobId::new("bench")?,
        name: None,
        task: TaskRef::Bound(Arc::new(Task::new("nothing", |_, _| ()))),
        args: Args::default(),
        trigger: Arc::new(trigger),
        settings: Arc::new(JobSettings::default()),
        options: Arc::new(JobOptions::default()),
    })
}
