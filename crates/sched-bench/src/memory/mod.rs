//! Scenario `memory`: what a job costs to add and to keep, one turn with many due jobs, and sustained firing.

pub mod fill;
mod many;
mod peer;
mod turn;

use crate::Outcome;
use crate::options::Options;
use crate::out::Board;

/// One hour, over which jobs are spread, in microseconds.
const HOUR: i64 = 3_600_000_000;

/// 2026-01-01, when the clocks of this scenario begin, in microseconds.
const BEGIN: i64 = 1_767_225_600_000_000;

/// Measures everything about jobs in memory.
///
/// **Errors**: those of the scheduler; lost runs.
pub fn run(options: &Options, board: &mut Board) -> Outcome {
    fill::run(options, board)?;
    turn::run(options, board)?;
    many::run(options, board)
}

/// When job `number` of `jobs` fires first, spread evenly over the first hour.
fn first_fire(number: u32, jobs: u32) -> i64 {
    BEGIN + HOUR * (i64::from(number) + 1) / i64::from(jobs)
}
