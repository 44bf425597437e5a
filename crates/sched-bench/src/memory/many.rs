//! Sustained firing, and a crowd at one instant.

use std::sync::Arc;
use std::thread;
use std::time::Instant;

use parking_lot::Mutex;
use sched_core::{JobId, Task};
use sched_triggers::DateTrigger;

use super::turn::{DUE, Order, filled, instant, step_micros};
use super::{BEGIN, HOUR, first_fire};
use crate::Outcome;
use crate::figure::Figure;
use crate::measure::{medians, millis, seconds};
use crate::options::Options;
use crate::out::Board;
use crate::stage::{Stage, Tally, job_of};
use crate::timers::{Timer, Timers};

const CROWD: u32 = 100_000;

pub(super) fn run(options: &Options, board: &mut Board) -> Outcome {
    let jobs = if options.quick { 10 * DUE } else { 100 * DUE };
    let [ours, limit] = medians(options.runs, || Ok([sustained(jobs)?, sustained_limit(jobs)?]))?;
    let figure = Figure::new("memory", format!("sustained firing of {jobs} jobs"), "runs/s", ours);
    board.put(&figure.limit(limit).at_least(500_000.0, None));
    let [lost, misplaced, time] = medians(options.runs, crowd)?;
    let put = |what: &str, unit, value| {
        Figure::new("memory", format!("{CROWD} jobs at one instant, {what}"), unit, value)
    };
    board.put(&put("lost", "runs", lost).at_most(0.0, None));
    board.put(&put("out of order", "runs", misplaced).at_most(0.0, None));
    board.put(&put("turn and all runs", "ms", time));
    Ok(())
}

/// An hour of firing as fast as it goes, each job once: runs per second.
fn sustained(jobs: u32) -> Outcome<f64> {
    let tally = Tally::new();
    let mut stage = filled(jobs, Order::Added, &tally)?;
    tally.expect(u64::from(jobs));
    let begun = Instant::now();
    for step in 1..=jobs / DUE {
        stage.clock.set(BEGIN + step_micros(jobs) * i64::from(step));
        stage.turns();
    }
    if !tally.wait() {
        return Err(format!("{} runs of {jobs} in sustained firing", tally.count()).into());
    }
    let rate = f64::from(jobs) / seconds(begun.elapsed());
    stage.settle()?;
    Ok(rate)
}

/// The same with a heap and two threads behind a channel.
fn sustained_limit(jobs: u32) -> Outcome<f64> {
    let (sender, receiver) = crossbeam_channel::unbounded::<Arc<Tally>>();
    let workers = [receiver.clone(), receiver]
        .map(|receiver| thread::spawn(move || receiver.iter().for_each(|tally| tally.add())));
    let (mut timers, tally) = (Timers::default(), Tally::new());
    for number in 0..jobs {
        let (sender, tally) = (sender.clone(), Arc::clone(&tally));
        let hand_over = move |_| drop(sender.send(Arc::clone(&tally)));
        timers.push(Timer::new(first_fire(number, jobs), HOUR, hand_over));
    }
    tally.expect(u64::from(jobs));
    let begun = Instant::now();
    for step in 1..=jobs / DUE {
        timers.fire(BEGIN + step_micros(jobs) * i64::from(step));
    }
    let complete = tally.wait();
    let rate = f64::from(jobs) / seconds(begun.elapsed());
    drop((timers, sender));
    workers.into_iter().for_each(|worker| drop(worker.join()));
    if complete { Ok(rate) } else { Err("the limit lost runs".into()) }
}

/// All jobs at one instant on one worker: how many runs were lost, how many were out of order, and milliseconds.
fn crowd() -> Outcome<[f64; 3]> {
    let mut stage = Stage::start(instant(BEGIN), Some(1))?;
    let (tally, ran) =
        (Tally::new(), Arc::new(Mutex::new(Vec::<Option<JobId>>::with_capacity(CROWD as usize))));
    let task = {
        let (tally, ran) = (Arc::clone(&tally), Arc::clone(&ran));
        Arc::new(Task::new("note", move |context, _| {
            ran.lock().push(context.run().job_id.clone());
            tally.add();
        }))
    };
    // Added from the last to the first, so that nothing comes in order by itself.
    for number in (0..CROWD).rev() {
        let job = job_of(&task, DateTrigger::at(instant(BEGIN + HOUR)));
        stage.scheduler.add_job(job.id(format!("{number:06}")))?;
    }
    tally.expect(u64::from(CROWD));
    stage.clock.set(BEGIN + HOUR);
    let begun = Instant::now();
    stage.turns();
    let complete = tally.wait();
    let time = millis(begun.elapsed());
    if complete {
        stage.settle()?;
    }
    let ran = ran.lock();
    let in_place = |(number, id): &(u32, &Option<JobId>)| {
        id.as_ref().is_some_and(|id| id.as_str() == format!("{number:06}"))
    };
    let misplaced = ran.len() - (0..).zip(ran.iter()).filter(in_place).count();
    Ok([f64::from(CROWD) - tally.count() as f64, misplaced as f64, time])
}
