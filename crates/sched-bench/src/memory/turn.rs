//! One turn with ten thousand due jobs, at three sizes of the store.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use sched_triggers::IntervalTrigger;

use super::{BEGIN, HOUR, first_fire, peer};
use crate::Outcome;
use crate::figure::Figure;
use crate::measure::{median, millis};
use crate::options::Options;
use crate::out::Board;
use crate::random::Random;
use crate::stage::{Stage, Tally, job_of};
use crate::timers::{Timer, Timers};

/// Jobs due in one step.
pub(super) const DUE: u32 = 10_000;

/// How many stored jobs the turn is measured at.
const SIZES: [u32; 3] = [DUE, 10 * DUE, 100 * DUE];

/// How jobs lie in memory beside when they are due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// Added in the order in which they fall due.
    Added,
    /// Added in any order.
    Shuffled,
}

/// A turn's time alone, and until its last run was over, in milliseconds.
struct Times {
    turn: f64,
    done: f64,
}

pub(super) fn run(options: &Options, board: &mut Board) -> Outcome {
    let steps = u32::try_from(options.runs * if options.quick { 1 } else { 5 })?;
    let sizes = if options.quick { &SIZES[..2] } else { &SIZES };
    let mut figures = Vec::new();
    for jobs in sizes {
        let limit = limit(*jobs, steps);
        let Times { turn, done } = ours(*jobs, steps, Order::Added)?;
        let shuffled = ours(*jobs, steps, Order::Shuffled)?;
        figures.push(done);
        let case = |what: &str| format!("{what}, {DUE} of {jobs} due");
        let put = |what, time| Figure::new("memory", case(what), "ms", time).limit(limit);
        let peer = peer::turn(*jobs, steps)?;
        // The limit itself grows with the number of jobs, so that only its smallest size tells of the machine.
        let reference = (*jobs == DUE).then_some(0.6);
        board.put(&put("turn and all runs", done).at_most(8.0, reference).peer("clokwerk 0.4", peer));
        board.put(&put("turn alone", turn));
        board.put(&put("turn and all runs, added in any order", shuffled.done));
    }
    if let [first, .., last] = figures[..] {
        let case = format!("turn and all runs, {} jobs over {DUE}", sizes[sizes.len() - 1]);
        board.put(&Figure::new("memory", case, "times", last / first).at_most(1.25, None));
    }
    Ok(())
}

/// An instant from microseconds since 1970.
pub(super) fn instant(micros: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(micros).unwrap_or_default()
}

/// The numbers of jobs in the order in which they are added.
fn numbers(jobs: u32, order: Order) -> Vec<u32> {
    let mut numbers: Vec<u32> = (0..jobs).collect();
    if order == Order::Shuffled {
        Random::new(11).shuffle(&mut numbers);
    }
    numbers
}

/// Fills a stage with jobs that fire every hour, spread over it.
pub(super) fn filled(jobs: u32, order: Order, tally: &Arc<Tally>) -> Outcome<Stage> {
    let stage = Stage::start(instant(BEGIN), None)?;
    let task = tally.task();
    for number in numbers(jobs, order) {
        let start = instant(first_fire(number, jobs));
        let trigger = IntervalTrigger::every(Duration::from_secs(3600)).start(start).build()?;
        stage.scheduler.add_job(job_of(&task, trigger))?;
    }
    Ok(stage)
}

/// The time that passes between two steps, in microseconds.
pub(super) fn step_micros(jobs: u32) -> i64 {
    HOUR * i64::from(DUE) / i64::from(jobs)
}

fn ours(jobs: u32, steps: u32, order: Order) -> Outcome<Times> {
    let tally = Tally::new();
    let mut stage = filled(jobs, order, &tally)?;
    let (mut turns, mut dones) = (Vec::new(), Vec::new());
    // The first step starts the threads and is not counted.
    for step in 1..=steps + 1 {
        tally.expect(u64::from(DUE) * u64::from(step));
        stage.clock.set(BEGIN + step_micros(jobs) * i64::from(step));
        let begun = Instant::now();
        stage.turns();
        turns.push(millis(begun.elapsed()));
        if !tally.wait() {
            return Err(
                format!("{} runs of {} in step {step} of {jobs} jobs", tally.count(), DUE * step).into()
            );
        }
        dones.push(millis(begun.elapsed()));
        stage.settle()?;
    }
    Ok(Times { turn: median(turns.split_off(1)), done: median(dones.split_off(1)) })
}

fn limit(jobs: u32, steps: u32) -> f64 {
    let (mut timers, tally) = (Timers::default(), Tally::new());
    for number in 0..jobs {
        let tally = Arc::clone(&tally);
        timers.push(Timer::new(first_fire(number, jobs), HOUR, move |_| tally.add()));
    }
    let times = (1..=steps + 1).map(|step| {
        let now = BEGIN + step_micros(jobs) * i64::from(step);
        let begun = Instant::now();
        timers.fire(now);
        millis(begun.elapsed())
    });
    median(times.skip(1).collect())
}
