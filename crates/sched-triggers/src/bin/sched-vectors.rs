//! Runs directories of recorded fire times and prints, for each file, what passed, what differs under a rule, and
//! what differs without reason. It exits with 1 when anything does, or when there was nothing to run.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use sched_core::Error;
use sched_triggers::vectors::{Report, files_in, run_file};

fn main() -> ExitCode {
    let directories: Vec<_> = std::env::args_os().skip(1).collect();
    let mut whole = Report::default();
    let mut lines = Vec::new();
    for directory in &directories {
        if let Err(error) = run_directory(Path::new(directory), &mut whole, &mut lines) {
            lines.push(format!("error: {error}"));
            print(&lines);
            return ExitCode::FAILURE;
        }
    }
    lines.push(line("total", &whole));
    lines.extend(whole.explained.iter().map(|(rule, ids)| format!("  {rule}: {} explained", ids.len())));
    lines.extend(
        whole.failed.iter().map(|failure| format!("  FAILED {}: {}", failure.id, failure.difference)),
    );
    if whole.total() == 0 {
        lines.push("error: no case was found; give directories of `*.jsonl` files".to_owned());
    }
    print(&lines);
    if whole.failed.is_empty() && whole.total() > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run_directory(directory: &Path, whole: &mut Report, lines: &mut Vec<String>) -> Result<(), Error> {
    for file in files_in(directory)? {
        let report = run_file(&file)?;
        lines.push(line(&file.file_name().unwrap_or_default().to_string_lossy(), &report));
        let rules = report.explained.iter();
        lines.extend(rules.map(|(rule, ids)| format!("  {rule}: {} explained", ids.len())));
        whole.merge(report);
    }
    Ok(())
}

fn line(name: &str, report: &Report) -> String {
    let explained: usize = report.explained.values().map(Vec::len).sum();
    let (passed, failed, skipped) = (report.passed, report.failed.len(), report.skipped_tz_sensitive);
    format!("{name:<28} {passed:>6} passed {explained:>5} explained {failed:>5} failed {skipped:>4} skipped")
}

/// A reader that went away is no error.
fn print(lines: &[String]) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{}", lines.join("\n"));
}
