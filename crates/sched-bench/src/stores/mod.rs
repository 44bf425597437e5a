//! Scenario `stores`: a backlog of jobs that are due at once, each of which reschedules itself, until it is done.
//!
//! Each server is a file of its own, with its limit: the least code that claims as many jobs and writes their next times.
//! Servers are found as the tests find them; one that is absent is left out. `--store NAME` measures that one alone.

pub(crate) mod backlog;
pub mod mongodb;
pub mod mysql;
pub mod postgres;
pub mod redis;
pub mod sqlite;

use crate::Outcome;
use crate::options::Options;
use crate::out::Board;

/// A store's name and its measurements.
type Store = (&'static str, fn(&Options, &mut Board) -> Outcome);

const STORES: [Store; 5] = [
    ("sqlite", sqlite::run),
    ("postgres", postgres::run),
    ("mysql", mysql::run),
    ("redis", redis::run),
    ("mongodb", mongodb::run),
];

/// Measures the stores that are asked for and whose server there is.
///
/// **Errors**: those of the stores; a store that there is not.
pub fn run(options: &Options, board: &mut Board) -> Outcome {
    if let Some(name) = options.stores.iter().find(|name| STORES.iter().all(|(store, _)| store != name)) {
        let known: Vec<&str> = STORES.iter().map(|(store, _)| *store).collect();
        return Err(format!("there is no store `{name}`; there are: {}", known.join(", ")).into());
    }
    let is_wanted =
        |name: &str| options.stores.is_empty() || options.stores.iter().any(|store| store == name);
    STORES.iter().filter(|(name, _)| is_wanted(name)).try_for_each(|(_, run)| run(options, board))
}
