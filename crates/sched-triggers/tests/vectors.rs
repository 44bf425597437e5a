//! Every recorded fire time in the directory of vectors, where there is one.

use std::path::PathBuf;

use sched_triggers::vectors::{Report, files_in, run_file};

fn directory() -> PathBuf {
    match std::env::var_os("SCHED_VECTORS") {
        Some(directory) => directory.into(),
        None => PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"),
    }
}

#[test]
fn every_recorded_fire_time_is_answered() {
    let directory = directory();
    let files = files_in(&directory).unwrap_or_default();
    if files.is_empty() {
        let message =
            format!("NOT RUN: no vectors in `{}`; set SCHED_VECTORS to their directory", directory.display());
        assert!(std::env::var_os("CI").is_none(), "{message}");
        eprintln!("{message}");
        return;
    }
    let mut whole = Report::default();
    for file in files {
        let report = run_file(&file).unwrap();
        let explained: usize = report.explained.values().map(Vec::len).sum();
        println!(
            "{:<28} {:>5} passed {explained:>4} explained {:>4} failed {:>3} skipped",
            file.file_name().unwrap_or_default().display(),
            report.passed,
            report.failed.len(),
            report.skipped_tz_sensitive,
        );
        whole.merge(report);
    }
    println!("\n{}", whole.to_markdown());
    assert!(whole.failed.is_empty(), "{} cases differ without reason", whole.failed.len());
}
