//! `cargo xtask test`: the tests, with the servers that they use.
//!
//! Starts what servers can be had, hands their URLs to the tests, and stops what was started for them. What did not run is
//! listed at the end; `SCHED_REQUIRE` (a list like `postgres,redis`, or `all`) makes an absent server a failure before the
//! first test.

use crate::{
    out,
    run::{Failure, Workspace},
    services::{self, Directory, Outcome, Server, Terms},
    suites::{self, Surroundings},
};
use std::{env, ffi::OsString, fs};

/// How the tests are run.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Options {
    /// Whether servers that were started for the tests run on after them.
    pub(crate) keep: bool,
}

/// Reads the arguments of the command; a fault is described in words.
pub(crate) fn parse(arguments: &[OsString]) -> Result<Options, String> {
    match arguments.iter().find(|argument| *argument != "--keep") {
        Some(extra) => Err(format!("unexpected argument `{}`", extra.display())),
        None => Ok(Options { keep: !arguments.is_empty() }),
    }
}

/// Starts servers, runs all tests, stops the servers.
pub(crate) fn run(workspace: &Workspace, options: Options) -> Result<(), Failure> {
    with_servers(workspace, &services::all(), options, |directory, outcomes| {
        run_suites(workspace, directory, outcomes)
    })
}

/// Starts those servers that can be had, does some work, and stops what was started for it.
pub(crate) fn with_servers(
    workspace: &Workspace,
    servers: &[&'static Server],
    options: Options,
    work: impl FnOnce(&Directory, &[(&'static Server, Outcome)]) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let required = services::required(&env::var("SCHED_REQUIRE").unwrap_or_default())
        .map_err(|message| Failure::new(format!("SCHED_REQUIRE: {message}")))?;
    let directory = Directory::of(workspace)?;
    let own_use = services::in_use(&directory)?;
    out::title("servers");
    let terms = Terms { install: true, temporary: !options.keep };
    let outcomes = services::up(&directory, servers, terms)?;
    let worked = match absent_but_required(&outcomes, &required) {
        Some(failure) => Err(failure),
        None => work(&directory, &outcomes),
    };
    let stopped = services::down_after_test(&directory, own_use);
    worked.and(stopped)
}

fn run_suites(
    workspace: &Workspace,
    directory: &Directory,
    outcomes: &[(&'static Server, Outcome)],
) -> Result<(), Failure> {
    let skipped = directory.skipped();
    fs::write(&skipped, "")
        .map_err(|error| Failure::new(format!("cannot write {}: {error}", skipped.display())))?;
    let url = |(server, outcome): &(&'static Server, Outcome)| match outcome {
        Outcome::Ready(url) => Some((server.variable, url.clone())),
        Outcome::Elsewhere | Outcome::Absent(_) => None,
    };
    let surroundings = Surroundings { variables: outcomes.iter().filter_map(url).collect(), skipped };
    suites::run(workspace, &surroundings)
}

/// The failure that servers are required and absent.
fn absent_but_required(outcomes: &[(&'static Server, Outcome)], required: &[&Server]) -> Option<Failure> {
    let reason = |(server, outcome): &(&'static Server, Outcome)| match outcome {
        Outcome::Absent(failure) if required.contains(server) => Some(format!("{}: {failure}", server.name)),
        _ => None,
    };
    let reasons: Vec<_> = outcomes.iter().filter_map(reason).collect();
    (!reasons.is_empty()).then(|| {
        Failure::new(format!("SCHED_REQUIRE names servers that are absent:\n  {}", reasons.join("\n  ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_required_server_fails_by_being_absent() {
        let outcomes: Vec<(&'static Server, Outcome)> = services::required("postgres,mariadb,mqtt")
            .unwrap()
            .into_iter()
            .zip([
                Outcome::Absent(Failure::new("only root installs packages")),
                Outcome::Elsewhere,
                Outcome::Ready("mqtt://127.0.0.1:1".to_owned()),
            ])
            .collect();
        for (required, failure) in [
            ("", None),
            ("mysql,mqtt", None),
            (
                "all",
                Some("SCHED_REQUIRE names servers that are absent:\n  postgres: only root installs packages"),
            ),
        ] {
            let required = services::required(required).unwrap();
            let found = absent_but_required(&outcomes, &required).map(|failure| failure.to_string());
            assert_eq!(found.as_deref(), failure);
        }
    }
}
