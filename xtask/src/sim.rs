//! `cargo xtask sim`: plays simulations of several engines on one store, in a release build.
//!
//! What they are and what they check is in the test kit, `simulator`; this only starts its example `sim`.

use crate::run::{Failure, Workspace, run};
use std::ffi::OsString;

/// How many seeds are played when nothing else is said.
const SEEDS: &str = "10000";

/// Plays what the arguments say, or the first 10,000 seeds.
pub(crate) fn play(workspace: &Workspace, mut arguments: Vec<OsString>) -> Result<(), Failure> {
    if arguments.is_empty() {
        arguments.extend(["--seeds", SEEDS].map(OsString::from));
    }
    const SIMULATOR: [&str; 7] = ["run", "--release", "--package", "sched-testkit", "--example", "sim", "--"];
    run(workspace.cargo(SIMULATOR).args(arguments))
}
