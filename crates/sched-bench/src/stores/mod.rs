//! Scenario `stores`: a backlog of jobs that are due at once, each of which reschedules itself, until it is done.
//!
//! Each server is a file of its own, with its limit: the least code that claims as many jobs and writes their next times.
//! Servers are found as the tests find them; one that is absent is left out.

pub mod mongodb;
pub mod redis;

use crate::Outcome;
use crate::options::Options;
use crate::out::Board;

/// Measures every store whose server there is.
///
/// **Errors**: those of the stores.
pub fn run(options: &Options, board: &mut Board) -> Outcome {
    redis::run(options, board)?;
    mongodb::run(options, board)
}
