//! Running the tests: every unit, integration and documentation test, and one closing line per suite.
//!
//! Cargo's own report of a large workspace ends with whatever suite came last; this one ends with all of them. Cargo's
//! exit code decides; the lines are read only to be counted.

use crate::{
    metadata::Metadata,
    out,
    run::{Failure, Workspace, capture, expect_success, not_started},
};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    io::{self, BufRead, BufReader, PipeReader},
    path::{Path, PathBuf},
    process::Stdio,
};

const TEST: [&str; 3] = ["test", "--workspace", "--all-features"];

/// What the tests are told about where they run.
#[derive(Debug)]
pub(crate) struct Surroundings {
    /// Environment variables: the URLs of servers.
    pub(crate) variables: Vec<(&'static str, String)>,
    /// The file to which a test appends `program`, `test` and `reason`, tabs between them, when its server is absent.
    pub(crate) skipped: PathBuf,
}

/// One suite's results.
#[derive(Debug, Default, PartialEq)]
struct Suite {
    name: String,
    passed: usize,
    failed: usize,
    ignored: usize,
    /// Result lines seen: none means that the suite died, or has a harness of its own.
    results: usize,
    seconds: f64,
}

/// Reads the output of `cargo test` line by line.
#[derive(Debug, Default)]
struct Tally {
    /// Names of suites by the file name of their program.
    names: BTreeMap<String, String>,
    suites: Vec<Suite>,
}

/// Builds all tests, runs all of them even when some fail, and prints the closing lines.
pub(crate) fn run(workspace: &Workspace, surroundings: &Surroundings) -> Result<(), Failure> {
    let names = build(workspace)?;
    let mut command = workspace.cargo(TEST);
    command.arg("--no-fail-fast");
    command.envs(surroundings.variables.iter().map(|(name, url)| (name, url)));
    command.env("SCHED_SKIPPED_FILE", &surroundings.skipped);
    let (reader, writer) = io::pipe().map_err(|error| not_started(&command, &error))?;
    let copy = writer.try_clone().map_err(|error| not_started(&command, &error))?;
    let mut child =
        command.stdout(writer).stderr(copy).spawn().map_err(|error| not_started(&command, &error))?;
    // The command holds the writing ends; the reader sees the end of the output only when they are closed.
    command.stdout(Stdio::inherit()).stderr(Stdio::inherit());
    let tally = Tally::read(names, reader)?;
    let status = child.wait().map_err(|error| not_started(&command, &error))?;
    tally.print();
    tally.print_skipped(&surroundings.skipped)?;
    expect_success(&command, status)
}

/// Builds the test programs and returns the suites' names by the file names of their programs.
fn build(workspace: &Workspace) -> Result<BTreeMap<String, String>, Failure> {
    let metadata = Metadata::of_members(workspace)?;
    let messages =
        capture(workspace.cargo(TEST).args(["--no-run", "--message-format=json-render-diagnostics"]))?;
    Ok(messages.lines().filter_map(|line| test_program(line, &metadata)).collect())
}

/// The file name and the suite's name of a test program that cargo reports as built.
fn test_program(message: &str, metadata: &Metadata) -> Option<(String, String)> {
    let message: Value = serde_json::from_str(message).ok()?;
    let file = Path::new(message["executable"].as_str()?).file_name()?.to_str()?.to_owned();
    let id = message["package_id"].as_str()?;
    let package = metadata.packages.iter().find(|package| package.id == id)?;
    let target = &message["target"];
    let suite = match (target["kind"][0].as_str()?, target["name"].as_str()?) {
        (kind @ ("bin" | "test" | "example" | "bench"), name) => format!("{} {kind} {name}", package.name),
        _ => format!("{} unit tests", package.name),
    };
    Some((file, suite))
}

impl Tally {
    /// Shows the output as it comes and counts its results.
    fn read(names: BTreeMap<String, String>, output: PipeReader) -> Result<Self, Failure> {
        let mut tally = Self { names, suites: Vec::new() };
        // A test may print anything, so lines are bytes first.
        for line in BufReader::new(output).split(b'\n') {
            let line =
                line.map_err(|error| Failure::new(format!("cannot read the output of cargo test: {error}")))?;
            let line = String::from_utf8_lossy(&line);
            out::line(&line);
            tally.line(&line);
        }
        Ok(tally)
    }

    fn line(&mut self, line: &str) {
        if let Some(name) = self.suite_name(line) {
            self.suites.push(Suite { name, ..Suite::default() });
        } else if let Some(suite) = self.suites.last_mut() {
            suite.line(line);
        }
    }

    /// The name of the suite that this line announces.
    fn suite_name(&self, line: &str) -> Option<String> {
        let line = line.trim_start();
        if let Some(crate_name) = line.strip_prefix("Doc-tests ") {
            return Some(format!("{} doc tests", crate_name.trim().replace('_', "-")));
        }
        let (described, program) = line.strip_prefix("Running ")?.strip_suffix(')')?.rsplit_once(" (")?;
        let file = program.rsplit(['/', '\\']).next()?;
        Some(self.names.get(file).cloned().unwrap_or_else(|| described.to_owned()))
    }

    fn print(&self) {
        out::title("suites");
        let (full, empty): (Vec<_>, Vec<_>) = self.suites.iter().partition(|suite| !suite.is_empty());
        for suite in &full {
            out::line(suite.to_line());
        }
        if !empty.is_empty() {
            let names: Vec<_> = empty.iter().map(|suite| suite.name.as_str()).collect();
            out::line(format!("without tests: {}", names.join(", ")));
        }
        let sum = |count: fn(&Suite) -> usize| full.iter().map(|suite| count(suite)).sum::<usize>();
        out::line(format!(
            "total: {} passed, {} failed, {} ignored in {} suites",
            sum(|suite| suite.passed),
            sum(|suite| suite.failed),
            sum(|suite| suite.ignored),
            full.len()
        ));
    }
}

impl Tally {
    /// Prints which suites did not run as a whole, and why. Their tests count as passed above.
    fn print_skipped(&self, file: &Path) -> Result<(), Failure> {
        let notes = fs::read_to_string(file)
            .map_err(|error| Failure::new(format!("cannot read {}: {error}", file.display())))?;
        let lines = self.skipped(&notes);
        if !lines.is_empty() {
            out::title("not run");
            lines.iter().for_each(out::line);
        }
        Ok(())
    }

    /// One line for each suite and reason.
    fn skipped(&self, notes: &str) -> Vec<String> {
        let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
        for note in notes.lines() {
            let mut parts = note.split('\t');
            if let (Some(program), Some(_), Some(reason)) = (parts.next(), parts.next(), parts.next()) {
                let suite = self.names.get(program).map_or(program, String::as_str);
                *counts.entry((suite, reason)).or_default() += 1;
            }
        }
        counts.iter().map(|((suite, reason), count)| format!("{suite}: {count} tests, {reason}")).collect()
    }
}

impl Suite {
    /// Adds a line like `test result: ok. 3 passed; 0 failed; 1 ignored; …; finished in 0.02s`.
    ///
    /// A documentation suite has several of them.
    fn line(&mut self, line: &str) {
        let Some((_, counts)) = line.strip_prefix("test result: ").and_then(|rest| rest.split_once(". "))
        else {
            return;
        };
        self.results += 1;
        for part in counts.split("; ") {
            if let Some(time) = part.strip_prefix("finished in ") {
                self.seconds += time.trim_end_matches('s').parse().unwrap_or(0.0);
            } else if let Some((count, what)) = part.split_once(' ') {
                self.count(what, count.parse().unwrap_or(0));
            }
        }
    }

    fn count(&mut self, what: &str, count: usize) {
        match what {
            "passed" => self.passed += count,
            "failed" => self.failed += count,
            "ignored" => self.ignored += count,
            _ => {}
        }
    }

    /// Whether it reported that it holds no tests.
    fn is_empty(&self) -> bool {
        self.results > 0 && self.passed + self.failed + self.ignored == 0
    }

    fn to_line(&self) -> String {
        let Self { name, passed, failed, ignored, results, seconds } = self;
        if *results == 0 {
            return format!("?       no counts reported                              {name}");
        }
        let verdict = if *failed == 0 { "ok" } else { "FAILED" };
        format!(
            "{verdict:<7} {passed:>5} passed {failed:>4} failed {ignored:>4} ignored {seconds:>7.2} s  {name}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(lines: &[&str]) -> Tally {
        let names = BTreeMap::from([("core-01".to_owned(), "sched-core unit tests".to_owned())]);
        let mut tally = Tally { names, suites: Vec::new() };
        lines.iter().for_each(|line| tally.line(line));
        tally
    }

    fn names(tally: &Tally) -> Vec<&str> {
        tally.suites.iter().map(|suite| suite.name.as_str()).collect()
    }

    #[test]
    fn suites_are_named_by_their_program() {
        let tally = tally(&[
            "   Compiling sched-core v0.1.0",
            "     Running unittests src/lib.rs (target/debug/deps/core-01)",
            "     Running tests/plan.rs (target/debug/deps/plan-02)",
            "   Doc-tests sched_core",
        ]);
        assert_eq!(names(&tally), ["sched-core unit tests", "tests/plan.rs", "sched-core doc tests"]);
    }

    #[test]
    fn results_are_added_up_per_suite() {
        let tally = tally(&[
            "     Running unittests src/lib.rs (target/debug/deps/core-01)",
            "test a ... ok",
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.25s",
            "   Doc-tests sched_core",
            "test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.50s",
            "test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.25s",
        ]);
        let counts: Vec<_> = tally
            .suites
            .iter()
            .map(|suite| (suite.passed, suite.failed, suite.ignored, suite.seconds))
            .collect();
        assert_eq!(counts, [(3, 0, 1, 0.25), (3, 1, 0, 0.75)]);
        assert!(tally.suites[0].to_line().starts_with("ok "));
        assert!(tally.suites[1].to_line().starts_with("FAILED "));
    }

    #[test]
    fn tests_that_did_not_run_are_counted_by_suite_and_reason() {
        let notes = "core-01\ta::b\tno Redis\ncore-01\tc\tno Redis\ncore-01\tc\tno MQTT\nelse-02\td\tno MQTT\nnonsense\n";
        assert_eq!(
            tally(&[]).skipped(notes),
            [
                "else-02: 1 tests, no MQTT",
                "sched-core unit tests: 1 tests, no MQTT",
                "sched-core unit tests: 2 tests, no Redis",
            ]
        );
    }

    #[test]
    fn a_suite_that_reports_nothing_is_not_taken_for_an_empty_one() {
        let tally = tally(&[
            "     Running unittests src/lib.rs (target/debug/deps/core-01)",
            "     Running unittests src/main.rs (target/debug/deps/cli-02)",
            "test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s",
        ]);
        assert_eq!(tally.suites.iter().map(Suite::is_empty).collect::<Vec<_>>(), [false, true]);
        assert!(tally.suites[0].to_line().starts_with("? "));
    }
}
