//! The workspace's own commands: `cargo xtask COMMAND`.
//!
//! Reading order: this file (the commands), `ci` (what CI runs), then one module per check. Everything here works on a
//! checkout and calls cargo; nothing here is linked into a crate that users get.

mod chaos;
mod ci;
mod deps;
mod examples;
mod licences;
mod metadata;
mod out;
mod run;
mod services;
mod sim;
mod suites;
mod test;
mod tidy;

use crate::run::{Failure, Workspace};
use std::{env, ffi::OsString, path, process::ExitCode};

const HELP: &str = "\
The workspace's own commands.

Usage: cargo xtask COMMAND

Commands:
  ci [--skip STEP]...  run what CI runs, in order, and stop at the first failure
  test [--keep]        run all unit, integration and documentation tests, with servers where they can be had;
                       --keep lets the servers run on
  services COMMAND     start and stop the servers that tests use:
                         up [--no-install] [NAME...]   start them, install what is missing
                         down [NAME...]                stop them, remove their data
                         status                        print what there is
                         restart NAME...               start them again on their ports with their data
                         kill NAME...                  end them as a crash would
  examples             build and run all examples, with servers where they can be had
  deps                 check who depends on whom, and the size of the minimal build
  tidy                 check the source rules
  chaos [--store S]... [--fleet] [--rounds N] [--seed N] ...
                       kill, freeze and cut off schedulers that share a store while jobs fire
  sim [--seeds N | --seed N | --story N] [--mutation NAME]
                       simulate engines that share a store: the first N seeds [default: 10000], one, or one line by
                       line; with a deliberate bug
  bench NAME...        run benchmark scenarios in a release build
  vectors [DIR...]     check the triggers against recorded fire times [default: ../shared/vectors]
  help                 print this";

/// Where the recorded fire times are expected, seen from the workspace's root.
const VECTORS: &str = "../shared/vectors";

/// The exit code of a command line that makes no sense.
const USAGE: u8 = 2;

/// What the command line asks for.
#[derive(Debug, PartialEq)]
enum Request {
    Help,
    Ci { skip: Vec<String> },
    Test(test::Options),
    Services(services::Request),
    Chaos(chaos::Options),
    Examples,
    Deps,
    Tidy,
    Sim { arguments: Vec<OsString> },
    Bench { names: Vec<OsString> },
    Vectors { directories: Vec<OsString> },
}

fn main() -> ExitCode {
    let request = match parse(env::args_os().skip(1)) {
        Ok(request) => request,
        Err(message) => {
            out::error(format!("error: {message}\n\n{HELP}"));
            return ExitCode::from(USAGE);
        }
    };
    match perform(request) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            out::error(format!("error: {failure}"));
            ExitCode::FAILURE
        }
    }
}

fn perform(request: Request) -> Result<(), Failure> {
    let workspace = Workspace::locate()?;
    match request {
        Request::Help => {
            out::line(HELP);
            Ok(())
        }
        Request::Ci { skip } => ci::run(&workspace, &skip),
        Request::Test(options) => test::run(&workspace, options),
        Request::Services(request) => services::perform(&workspace, request),
        Request::Chaos(options) => chaos::run(&workspace, &options),
        Request::Examples => examples::run(&workspace),
        Request::Deps => deps::check(&workspace),
        Request::Tidy => tidy::check(&workspace),
        Request::Sim { arguments } => sim::play(&workspace, arguments),
        Request::Bench { names } => bench(&workspace, names),
        Request::Vectors { directories } => vectors(&workspace, directories),
    }
}

fn bench(workspace: &Workspace, names: Vec<OsString>) -> Result<(), Failure> {
    run::run(workspace.cargo(["run", "--release", "--package", "sched-bench", "--"]).args(names))
}

fn vectors(workspace: &Workspace, mut directories: Vec<OsString>) -> Result<(), Failure> {
    if directories.is_empty() {
        directories.push(workspace.root().join(VECTORS).into());
    }
    const CHECKER: [&str; 9] = [
        "run",
        "--release",
        "--package",
        "sched-triggers",
        "--features",
        "vectors",
        "--bin",
        "sched-vectors",
        "--",
    ];
    let mut command = workspace.cargo(CHECKER);
    for directory in directories {
        // Cargo runs in the workspace's root; the caller named the directory from elsewhere.
        let directory = path::absolute(&directory)
            .map_err(|error| Failure::new(format!("cannot find {}: {error}", directory.display())))?;
        command.arg(directory);
    }
    run::run(&mut command)
}

/// Reads the command line; a fault is described in words.
fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Request, String> {
    let mut arguments = arguments.into_iter();
    let Some(command) = arguments.next() else { return Ok(Request::Help) };
    let rest: Vec<OsString> = arguments.collect();
    let request = match command.to_str() {
        Some("bench") => return Ok(Request::Bench { names: rest }),
        Some("sim") => return Ok(Request::Sim { arguments: rest }),
        Some("vectors") => return Ok(Request::Vectors { directories: rest }),
        Some("ci") => return Ok(Request::Ci { skip: parse_skips(&rest)? }),
        Some("test") => return Ok(Request::Test(test::parse(&rest)?)),
        Some("services") => return Ok(Request::Services(services::parse(&rest)?)),
        Some("chaos") => return Ok(Request::Chaos(chaos::parse(&rest)?)),
        Some("examples") => Request::Examples,
        Some("deps") => Request::Deps,
        Some("tidy") => Request::Tidy,
        Some("help" | "--help" | "-h") => Request::Help,
        _ => return Err(format!("unknown command `{}`", command.display())),
    };
    match rest.first() {
        None => Ok(request),
        Some(extra) => Err(format!("unexpected argument `{}`", extra.display())),
    }
}

fn parse_skips(arguments: &[OsString]) -> Result<Vec<String>, String> {
    let mut arguments = arguments.iter();
    let mut skip = Vec::new();
    while let Some(argument) = arguments.next() {
        if argument != "--skip" {
            return Err(format!("unexpected argument `{}`", argument.display()));
        }
        let step = arguments.next().ok_or("--skip needs the name of a step")?.to_string_lossy();
        if !ci::step_names().any(|name| name == step) {
            let steps: Vec<_> = ci::step_names().collect();
            return Err(format!("there is no step `{step}`; the steps are: {}", steps.join(", ")));
        }
        skip.push(step.into_owned());
    }
    Ok(skip)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Request, String> {
        parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn command_lines_are_read() {
        let names = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
        for (line, request) in [
            ("", Request::Help),
            ("--help", Request::Help),
            ("ci", Request::Ci { skip: vec![] }),
            ("ci --skip test --skip doc", Request::Ci { skip: vec!["test".to_owned(), "doc".to_owned()] }),
            ("test", Request::Test(test::Options { keep: false })),
            ("test --keep", Request::Test(test::Options { keep: true })),
            ("services status", Request::Services(services::Request::Status)),
            ("examples", Request::Examples),
            ("deps", Request::Deps),
            ("tidy", Request::Tidy),
            ("bench memory --quick", Request::Bench { names: names(&["memory", "--quick"]) }),
            ("vectors a b", Request::Vectors { directories: names(&["a", "b"]) }),
        ] {
            assert_eq!(parsed(line), Ok(request), "{line}");
        }
    }

    #[test]
    fn a_senseless_command_line_is_described() {
        for (line, words) in [
            ("tset", "unknown command `tset`"),
            ("tidy now", "unexpected argument `now`"),
            ("test --keep --fast", "unexpected argument `--fast`"),
            ("services", "services needs a command"),
            ("ci test", "unexpected argument `test`"),
            ("ci --skip", "--skip needs the name of a step"),
            ("ci --skip tests", "there is no step `tests`; the steps are: fmt, clippy"),
        ] {
            let message = parsed(line).unwrap_err();
            assert!(message.contains(words), "{line}: {message}");
        }
    }
}
