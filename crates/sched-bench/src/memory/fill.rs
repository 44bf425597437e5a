//! Adding a million jobs: time and memory for each.
//!
//! Every measurement happens in a fresh process, so that no memory is used twice.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{BEGIN, HOUR, first_fire, peer};
use crate::Outcome;
use crate::figure::Figure;
use crate::measure::{medians, resident_bytes, thread_cpu_seconds};
use crate::options::Options;
use crate::out::Board;
use crate::stage::{Stage, Tally, job_of};
use crate::timers::{Timer, Timers};

const MILLION: u32 = 1_000_000;

/// Whose jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// Ours.
    Ours,
    /// The limit's.
    Limit,
    /// clokwerk's.
    Clokwerk,
}

/// What a job costs.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Cost {
    /// Microseconds to add.
    pub micros: f64,
    /// Bytes to keep.
    pub bytes: f64,
}

impl Subject {
    /// The subject of that name. **Errors**: an unknown name.
    pub fn parse(name: &str) -> Outcome<Self> {
        let known = [Self::Ours, Self::Limit, Self::Clokwerk];
        let found = known.into_iter().find(|subject| subject.name() == name);
        found.ok_or_else(|| format!("there is no subject `{name}`").into())
    }

    fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Limit => "limit",
            Self::Clokwerk => "clokwerk",
        }
    }
}

pub(super) fn run(options: &Options, board: &mut Board) -> Outcome {
    let jobs = if options.quick { MILLION / 10 } else { MILLION };
    let [ours, our_bytes, limit, limit_bytes, clokwerk, clokwerk_bytes] = medians(options.runs, || {
        let (ours, limit, clokwerk) = (
            elsewhere(Subject::Ours, jobs)?,
            elsewhere(Subject::Limit, jobs)?,
            elsewhere(Subject::Clokwerk, jobs)?,
        );
        Ok([ours.micros, ours.bytes, limit.micros, limit.bytes, clokwerk.micros, clokwerk.bytes])
    })?;
    let case = |what: &str| format!("{what}, {jobs} interval jobs");
    let add = Figure::new("memory", case("add one job"), "µs", ours).limit(limit).at_most(1.0, Some(0.17));
    board.put(&add.peer("clokwerk 0.4", clokwerk));
    let bytes = Figure::new("memory", case("keep one job"), "bytes", our_bytes).limit(limit_bytes);
    board.put(&bytes.at_most(400.0, None).peer("clokwerk 0.4", clokwerk_bytes));
    Ok(())
}

/// Measures in a process of its own.
fn elsewhere(subject: Subject, jobs: u32) -> Outcome<Cost> {
    let program = std::env::current_exe()?;
    let answer = Command::new(program).args(["--fill", subject.name(), &jobs.to_string()]).output()?;
    if !answer.status.success() {
        return Err(format!("filling failed: {}", String::from_utf8_lossy(&answer.stderr)).into());
    }
    Ok(serde_json::from_slice(&answer.stdout)?)
}

/// Measures in this process.
///
/// **Errors**: those of the scheduler.
pub fn here(subject: Subject, jobs: u32) -> Outcome<Cost> {
    match subject {
        Subject::Ours => ours(jobs),
        Subject::Limit => limit(jobs),
        Subject::Clokwerk => peer::fill(jobs),
    }
}

fn ours(jobs: u32) -> Outcome<Cost> {
    let stage = Stage::start(super::turn::instant(BEGIN), None)?;
    let task = Tally::new().task();
    cost(jobs, |number| {
        let start = super::turn::instant(first_fire(number, jobs));
        let trigger =
            sched_triggers::IntervalTrigger::every(Duration::from_secs(3600)).start(start).build()?;
        stage.scheduler.add_job(job_of(&task, trigger))?;
        Ok(())
    })
}

fn limit(jobs: u32) -> Outcome<Cost> {
    let (mut timers, tally) = (Timers::default(), Tally::new());
    let cost = cost(jobs, |number| {
        let tally = Arc::clone(&tally);
        timers.push(Timer::new(first_fire(number, jobs), HOUR, move |_| tally.add()));
        Ok(())
    });
    drop(timers);
    cost
}

/// Adds jobs one by one; what each cost. The time is the processor's, all of it this thread's, so that a busy machine
/// changes little.
pub(super) fn cost(jobs: u32, mut add: impl FnMut(u32) -> Outcome) -> Outcome<Cost> {
    let (bytes, used) = (resident_bytes()?, thread_cpu_seconds()?);
    for number in 0..jobs {
        add(number)?;
    }
    let (used, count) = (thread_cpu_seconds()? - used, f64::from(jobs));
    Ok(Cost { micros: used * 1e6 / count, bytes: (resident_bytes()? - bytes) / count })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_subject_can_be_asked_for_by_name_and_costs_something() {
        for subject in [Subject::Ours, Subject::Limit, Subject::Clokwerk] {
            assert_eq!(Subject::parse(subject.name()).unwrap(), subject);
            assert!(here(subject, 2_000).unwrap().micros > 0.0, "{subject:?}");
        }
    }
}
