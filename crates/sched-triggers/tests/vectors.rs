//! Every recorded fire time in the directory of vectors, where there is one.

#![expect(clippy::unwrap_used, reason = "a test that cannot read its own document fails")]

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
    check_document(&whole);
}

/// The list in the document is this test's own; `SCHED_UPDATE_DOCS=1` writes it anew.
fn check_document(report: &Report) {
    const START: &str = "<!-- vectors: written by the test of that name -->";
    if std::env::var_os("SCHED_VECTORS").is_some() {
        return;
    }
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/conformance.md");
    let document = std::fs::read_to_string(&path).unwrap();
    let heading = || format!("{}\n\n## Fire time vectors\n\n", document.trim_end());
    let (before, list) = document
        .split_once(START)
        .map_or_else(|| (heading(), ""), |(before, list)| (before.to_owned(), list));
    let expected = format!("\n\n{}", report.to_markdown().replace("\n## ", "\n### "));
    if list != expected && std::env::var_os("SCHED_UPDATE_DOCS").is_some() {
        std::fs::write(&path, format!("{before}{START}{expected}")).unwrap();
        return;
    }
    assert!(list == expected, "docs/conformance.md is out of date: run this test with SCHED_UPDATE_DOCS=1");
}
