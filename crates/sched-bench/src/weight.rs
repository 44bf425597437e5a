//! Scenario `weight`: how many crates the minimal build has, and how long it takes from nothing.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::Outcome;
use crate::figure::Figure;
use crate::measure::seconds;
use crate::options::Options;
use crate::out::Board;

const MINIMAL: [&str; 5] = ["-p", "sched", "--no-default-features", "--features", "minimal"];

/// Crates of tokio-cron-scheduler 0.15, and seconds of its cold build, as the budget gives them.
const PEER: (&str, f64, f64) = ("tokio-cron-scheduler 0.15, as published", 37.0, 22.0);

/// Counts crates, and builds when asked to.
///
/// **Errors**: those of cargo.
pub fn run(options: &Options, board: &mut Board) -> Outcome {
    let (peer, peer_crates, peer_seconds) = PEER;
    let figure = Figure::new("weight", "crates of the minimal build", "crates", crates()? as f64);
    board.put(&figure.at_most(45.0, None).peer(peer, peer_crates));
    if options.build {
        let figure = Figure::new("weight", "cold debug build", "s", cold_build()?);
        board.put(&figure.at_most(20.0, None).peer(peer, peer_seconds));
    }
    Ok(())
}

fn cargo(command: &str) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.arg(command).args(MINIMAL).current_dir(env!("CARGO_MANIFEST_DIR"));
    cargo
}

fn crates() -> Outcome<usize> {
    let answer = cargo("tree").args(["-e", "normal", "--prefix", "none"]).output()?;
    if !answer.status.success() {
        return Err(format!("cargo tree failed: {}", String::from_utf8_lossy(&answer.stderr)).into());
    }
    Ok(distinct(&String::from_utf8(answer.stdout)?))
}

/// Counts names with versions; a repeated crate ends with `(*)`.
fn distinct(tree: &str) -> usize {
    let crates = tree.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        Some((words.next()?, words.next()?))
    });
    crates.collect::<BTreeSet<_>>().len()
}

fn cold_build() -> Outcome<f64> {
    let target = tempfile::tempdir()?;
    let begun = Instant::now();
    let mut build = cargo("build");
    let status =
        build.arg("--target-dir").arg(target.path()).stdout(Stdio::null()).stderr(Stdio::null()).status()?;
    if status.success() { Ok(seconds(begun.elapsed())) } else { Err("the minimal build failed".into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_crate_counts_once_and_a_second_version_counts_again() {
        assert_eq!(distinct("a v1.0.0 (path)\nb v1.0.0\na v1.0.0 (path) (*)\nb v2.0.0\n\n"), 3);
    }
}
