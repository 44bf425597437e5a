//! The `examples` step: every example program is built, started, and must end well on its own.
//!
//! An example sees `SCHED_EXAMPLE=1` and then stops after a few fires instead of running for ever.

use crate::{
    metadata::Metadata,
    out,
    run::{Failure, Workspace, capture, run_within},
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

/// How long one example may take.
const LIMIT: Duration = Duration::from_secs(60);

/// One built example.
#[derive(Debug, PartialEq)]
struct Program {
    name: String,
    path: PathBuf,
}

/// Builds and runs every example.
pub(crate) fn run(workspace: &Workspace) -> Result<(), Failure> {
    let metadata = Metadata::of_members(workspace)?;
    if metadata.member(PACKAGE).is_none() {
        return Err(Failure::new(format!("there is no package `{PACKAGE}`")));
    }
    let programs = build(workspace)?;
    if programs.is_empty() {
        return Err(Failure::new(format!("package `{PACKAGE}` has no programs")));
    }
    let logs = metadata.target_directory.join("xtask");
    fs::create_dir_all(&logs).map_err(|error| cannot_write(&logs, &error))?;
    for program in programs {
        run_one(workspace, &program, &logs)?;
    }
    Ok(())
}

fn build(workspace: &Workspace) -> Result<Vec<Program>, Failure> {
    const OPTIONS: [&str; 4] =
        ["--bins", "--examples", "--quiet", "--message-format=json-render-diagnostics"];
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

/// Runs one example with its output in a file, which is shown only when the example fails.
fn run_one(workspace: &Workspace, program: &Program, logs: &Path) -> Result<(), Failure> {
    let log = logs.join(format!("example-{}.log", program.name));
    let file = File::create(&log).map_err(|error| cannot_write(&log, &error))?;
    let copy = file.try_clone().map_err(|error| cannot_write(&log, &error))?;
    let mut command = Command::new(&program.path);
    command
        .current_dir(workspace.root())
        .env("SCHED_EXAMPLE", "1")
        .stdin(Stdio::null())
        .stdout(file)
        .stderr(copy);
    let begun = Instant::now();
    if let Err(failure) = run_within(LIMIT, &mut command) {
        out::line(fs::read_to_string(&log).unwrap_or_else(|error| format!("(its output is lost: {error})")));
        return Err(Failure::new(format!("example {}: {failure}", program.name)));
    }
    out::line(format!("{:<30} ok {:>5.1} s", program.name, begun.elapsed().as_secs_f64()));
    Ok(())
}

fn cannot_write(path: &Path, error: &io::Error) -> Failure {
    Failure::new(format!("cannot write {}: {error}", path.display()))
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
}
