//! The `examples` step: every example is built, started, must end well on its own, and has to print what [`catalogue`]
//! says.
//!
//! An example sees `SCHED_EXAMPLE=1` and then stops after a few fires instead of running for ever. One that needs a server
//! is given its URL in the environment, as tests are; without the server it is left out, and said so.

mod catalogue;

use self::catalogue::{EXAMPLES, Example};
use crate::{
    metadata::Metadata,
    out,
    run::{Failure, Workspace, capture, run_within},
    services::{Outcome, SERVERS, Server},
    test::{self, Options},
};
use serde_json::Value;
use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

const PACKAGE: &str = "sched-examples";

/// How long one start of an example may take; scripts end themselves before.
const LIMIT: Duration = Duration::from_secs(180);

/// One built program.
#[derive(Debug, PartialEq)]
struct Program {
    name: String,
    path: PathBuf,
}

/// Where examples are started, and from what.
struct Place<'a> {
    /// The directory with the scripts.
    scripts: PathBuf,
    programs: &'a [Program],
    /// A directory for logs, and one for each example to be started in.
    scratch: PathBuf,
    servers: &'a [(&'static Server, Outcome)],
}

/// Builds and runs every example.
pub(crate) fn run(workspace: &Workspace) -> Result<(), Failure> {
    let metadata = Metadata::of_members(workspace)?;
    if metadata.member(PACKAGE).is_none() {
        return Err(Failure::new(format!("there is no package `{PACKAGE}`")));
    }
    let servers: Vec<_> = SERVERS
        .iter()
        .filter(|server| EXAMPLES.iter().any(|example| example.server == Some(server.name)))
        .collect();
    test::with_servers(workspace, &servers, Options::default(), |_, servers| {
        let programs = build(workspace)?;
        let scripts = workspace.root().join("examples");
        let scratch = metadata.target_directory.join("xtask/examples");
        let place = Place { scripts, programs: &programs, scratch, servers };
        check_all_are_started(&place)?;
        EXAMPLES.iter().try_for_each(|example| run_one(example, &place))
    })
}

fn build(workspace: &Workspace) -> Result<Vec<Program>, Failure> {
    const OPTIONS: [&str; 4] =
        ["--bins", "--all-features", "--quiet", "--message-format=json-render-diagnostics"];
    Ok(programs(&capture(workspace.cargo(["build", "--package", PACKAGE]).args(OPTIONS))?))
}

/// The programs among the artifacts that cargo reports, one JSON object a line.
fn programs(messages: &str) -> Vec<Program> {
    let program = |line: &str| {
        let message: Value = serde_json::from_str(line).ok()?;
        let name = message["target"]["name"].as_str()?.to_owned();
        // Libraries and build scripts have no executable, messages of other kinds no target.
        let path = PathBuf::from(message["executable"].as_str()?);
        Some(Program { name, path })
    };
    messages.lines().filter_map(program).collect()
}

/// Fails when there is a program that neither an example nor the script of one starts.
fn check_all_are_started(place: &Place<'_>) -> Result<(), Failure> {
    let mut started: Vec<String> =
        EXAMPLES.iter().map(|example| format!("--bin {} ", example.name)).collect();
    for script in EXAMPLES.iter().filter(|example| example.is_script()) {
        let path = place.scripts.join(script.name);
        started.push(
            fs::read_to_string(&path)
                .map_err(|error| Failure::new(format!("cannot read {}: {error}", path.display())))?,
        );
    }
    match place.programs.iter().find(|program| {
        let option = format!("--bin {} ", program.name);
        !started.iter().any(|text| text.contains(&option))
    }) {
        None => Ok(()),
        Some(program) => Err(Failure::new(format!(
            "example {} is not in xtask/src/examples/catalogue.rs, which says what it has to print",
            program.name
        ))),
    }
}

/// Runs one example as often as the catalogue says, in a directory of its own.
fn run_one(example: &Example, place: &Place<'_>) -> Result<(), Failure> {
    let url = match example.server.map(|name| place.servers.iter().find(|(server, _)| server.name == name)) {
        None | Some(Some((_, Outcome::Elsewhere))) => None,
        Some(Some((server, Outcome::Ready(url)))) => Some((server.variable, url)),
        Some(None | Some((_, Outcome::Absent(_)))) => {
            out::line(format!(
                "{:<30} left out: it needs {}",
                example.name,
                example.server.unwrap_or_default()
            ));
            return Ok(());
        }
    };
    let directory = place.scratch.join(example.name);
    match fs::remove_dir_all(&directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(cannot("empty", &directory, &error));
        }
        _ => fs::create_dir_all(&directory).map_err(|error| cannot("make", &directory, &error))?,
    }
    let begun = Instant::now();
    for expected in example.starts {
        let mut command = Command::new(path_of(example, place)?);
        if example.server.is_none() {
            SERVERS.iter().for_each(|server| _ = command.env_remove(server.variable));
        }
        command.envs(url).env("SCHED_EXAMPLE", "1").current_dir(&directory);
        start_one(example, &mut command, (&place.scratch, expected))?;
    }
    out::line(format!("{:<30} ok {:>5.1} s", example.name, begun.elapsed().as_secs_f64()));
    Ok(())
}

fn path_of(example: &Example, place: &Place<'_>) -> Result<PathBuf, Failure> {
    if example.is_script() {
        return Ok(place.scripts.join(example.name));
    }
    let program = place.programs.iter().find(|program| program.name == example.name);
    let missing = || Failure::new(format!("package `{PACKAGE}` has no program `{}`", example.name));
    program.map(|program| program.path.clone()).ok_or_else(missing)
}

/// Starts an example with its output in a file, which is shown only when the example fails.
fn start_one(
    example: &Example,
    command: &mut Command,
    (scratch, expected): (&Path, &[&str]),
) -> Result<(), Failure> {
    let log = scratch.join(format!("{}.log", example.name));
    let file = File::create(&log).map_err(|error| cannot("write", &log, &error))?;
    let copy = file.try_clone().map_err(|error| cannot("write", &log, &error))?;
    let ended = run_within(LIMIT, command.stdin(Stdio::null()).stdout(file).stderr(copy));
    let text = fs::read_to_string(&log).map_err(|error| cannot("read", &log, &error))?;
    let judged = ended.and_then(|()| match first_missing(&text, expected) {
        None => Ok(()),
        Some(part) => Err(Failure::new(format!("it did not print `{part}`, or not in this place"))),
    });
    judged.map_err(|failure| {
        out::line(&text);
        Failure::new(format!("example {}: {failure}", example.name))
    })
}

/// The first of the parts that a text does not contain behind the ones before it.
fn first_missing<'a>(text: &str, parts: &[&'a str]) -> Option<&'a str> {
    let mut rest = text;
    for part in parts {
        match rest.split_once(part) {
            Some((_, behind)) => rest = behind,
            None => return Some(part),
        }
    }
    None
}

fn cannot(what: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::new(format!("cannot {what} {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_artifacts_with_an_executable_are_programs() {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","target":{"name":"sched_core"},"executable":null}"#,
            "\n",
            r#"{"reason":"compiler-artifact","target":{"name":"hello"},"executable":"/t/debug/hello"}"#,
            "\n",
            r#"{"reason":"build-finished","success":true}"#,
            "\nnot json\n",
        );
        let hello = Program { name: "hello".to_owned(), path: PathBuf::from("/t/debug/hello") };
        assert_eq!(programs(messages), [hello]);
    }

    #[test]
    fn a_program_that_nothing_starts_is_named() {
        let program = |name: &str| Program { name: name.to_owned(), path: PathBuf::new() };
        let scripts = Workspace::locate().unwrap().root().join("examples");
        let check = |programs: &[Program]| {
            let place = Place { scripts: scripts.clone(), programs, scratch: PathBuf::new(), servers: &[] };
            check_all_are_started(&place).map_err(|failure| failure.to_string())
        };
        assert_eq!(check(&[program("hello"), program("replica")]), Ok(()));
        assert!(check(&[program("hell")]).unwrap_err().starts_with("example hell is not in"));
    }

    #[test]
    fn output_is_judged_by_its_parts_in_their_order() {
        for (parts, missing) in [
            (&["one", "two"][..], None),
            (&["one", "one"], Some("one")),
            (&["two", "one"], Some("one")),
            (&["three"], Some("three")),
            (&[], None),
        ] {
            assert_eq!(first_missing("one, two", parts), missing, "{parts:?}");
        }
    }

    #[test]
    fn every_example_has_something_to_print_and_a_server_that_exists() {
        for example in EXAMPLES {
            let Example { name, server, starts } = example;
            assert!(!starts.is_empty() && starts.iter().all(|parts| !parts.is_empty()), "{name}");
            assert!(server.is_none_or(|server| crate::services::find(server).is_some()), "{name}");
        }
    }
}
