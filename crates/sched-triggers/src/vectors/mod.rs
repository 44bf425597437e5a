//! Runs files of recorded fire times (JSON Lines) against the triggers of this crate.
//!
//! A case passes when the trigger, built from its configuration form, answers exactly as recorded. Where the
//! design decides otherwise than the recorded source, the case runs through the option that stands for that source
//! (such as its dialect), or is counted under one [`Rule`]. Nothing is left out silently: a case that may depend on
//! the age of the zone data is counted as skipped.
//!
//! It reads files and judges them; it does not look for them.

mod case;
mod rule;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use sched_core::{Error, ErrorKind, Registry};
use serde_json::Value;

use self::case::Case;
pub use self::rule::Rule;

/// The outcome of one file, or of several added up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Cases that were answered as recorded.
    pub passed: usize,
    /// Cases that differ under a rule.
    pub explained: BTreeMap<Rule, Vec<String>>,
    /// Cases that differ without reason.
    pub failed: Vec<Failure>,
    /// Cases whose answer depends on the age of the zone data.
    pub skipped_tz_sensitive: usize,
}

/// A case that differs without reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The case.
    pub id: String,
    /// What was recorded and what the trigger answered.
    pub difference: String,
}

impl Report {
    /// All cases that were read.
    pub fn total(&self) -> usize {
        let explained: usize = self.explained.values().map(Vec::len).sum();
        self.passed + explained + self.failed.len() + self.skipped_tz_sensitive
    }

    /// Adds another report to this one.
    pub fn merge(&mut self, other: Self) {
        self.passed += other.passed;
        self.skipped_tz_sensitive += other.skipped_tz_sensitive;
        self.failed.extend(other.failed);
        for (rule, ids) in other.explained {
            self.explained.entry(rule).or_default().extend(ids);
        }
    }

    /// The report as a page: the counts, then every rule with its cases.
    pub fn to_markdown(&self) -> String {
        let mut text = String::new();
        let explained: usize = self.explained.values().map(Vec::len).sum();
        let _ = writeln!(text, "| | cases |\n| --- | --- |");
        let _ = writeln!(text, "| answered as recorded | {} |", self.passed);
        let _ = writeln!(text, "| differ under a rule | {explained} |");
        let _ = writeln!(text, "| differ without reason | {} |", self.failed.len());
        let _ = writeln!(
            text,
            "| left out: depend on the age of the zone data | {} |",
            self.skipped_tz_sensitive
        );
        for (rule, ids) in &self.explained {
            let _ = writeln!(text, "\n## {rule} ({})\n\n{}\n\n{}", ids.len(), rule.reason(), ids.join(", "));
        }
        if !self.failed.is_empty() {
            let _ = writeln!(text, "\n## differ without reason ({})\n", self.failed.len());
            for failure in &self.failed {
                let _ = writeln!(text, "- {}: {}", failure.id, failure.difference);
            }
        }
        text
    }
}

/// Runs every case of a file.
///
/// **Errors**: [`Unavailable`](ErrorKind::Unavailable) when the file cannot be read, [`Corrupt`](ErrorKind::Corrupt)
/// when a line is not a case.
pub fn run_file(path: &Path) -> Result<Report, Error> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        Error::new(ErrorKind::Unavailable, format!("cannot read `{}`", path.display())).with_source(error)
    })?;
    let mut builder = Registry::builder();
    for plugin in crate::PLUGINS {
        builder = builder.plugin(plugin);
    }
    let registry = builder.build()?;
    let mut report = Report::default();
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let outcome = run_line(&registry, line, &mut report);
        outcome.map_err(|error| error.in_context(format!("{}, line {}", path.display(), index + 1)))?;
    }
    Ok(report)
}

/// The files of vectors in a directory, by name.
///
/// **Errors**: [`Unavailable`](ErrorKind::Unavailable) when it cannot be read.
pub fn files_in(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    let unreadable = |error: std::io::Error| {
        Error::new(ErrorKind::Unavailable, format!("cannot read `{}`", directory.display()))
            .with_source(error)
    };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|extension| extension == "jsonl") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn run_line(registry: &Registry, line: &str, report: &mut Report) -> Result<(), Error> {
    let value: Value = serde_json::from_str(line)
        .map_err(|error| Error::new(ErrorKind::Corrupt, "not a line of JSON").with_source(error))?;
    let case = Case::read(&value)?;
    if case.tz_sensitive {
        report.skipped_tz_sensitive += 1;
        return Ok(());
    }
    let answer = case.answer(registry);
    match (case.difference(&answer), Rule::of(&case, &answer)) {
        (None, _) => report.passed += 1,
        (Some(_), Some(rule)) => report.explained.entry(rule).or_default().push(case.id.to_owned()),
        (Some(difference), None) => report.failed.push(Failure { id: case.id.to_owned(), difference }),
    }
    Ok(())
}
