//! `docs/conformance.md` keeps its word: each number once, each named test there, each reason given.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a failed step fails the test")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

struct Row<'a> {
    id: &'a str,
    kind: &'a str,
    body: &'a str,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn document() -> String {
    std::fs::read_to_string(root().join("docs/conformance.md")).unwrap()
}

fn rows(document: &str) -> Vec<Row<'_>> {
    let tables = document
        .lines()
        .filter(|line| ["| A3-", "| A4-", "| AX-"].iter().any(|start| line.starts_with(start)));
    let read = tables.map(|line| {
        let cells: Vec<&str> = line.split(" | ").map(|cell| cell.trim_matches(['|', ' '])).collect();
        let [id, _, kind, body] = cells[..] else { panic!("not four cells: {line}") };
        Row { id, kind, body }
    });
    read.collect()
}

/// The `file::function` references of a cell.
fn references(body: &str) -> Vec<(&str, &str)> {
    body.split('`')
        .skip(1)
        .step_by(2)
        .filter_map(|code| code.split_once("::"))
        .filter(|(file, _)| file.ends_with(".rs"))
        .collect()
}

#[test]
fn every_number_has_one_row() {
    let document = document();
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for row in rows(&document) {
        *seen.entry(row.id).or_default() += 1;
    }
    let expected = (1..=281)
        .map(|number| format!("A3-T{number:03}"))
        .chain((1..=143).map(|number| format!("A4-T{number:03}")))
        .chain((1..=28).map(|number| format!("AX-{number:02}")));
    let expected: BTreeMap<String, usize> = expected.map(|id| (id, 1)).collect();
    let seen: BTreeMap<String, usize> = seen.into_iter().map(|(id, count)| (id.to_owned(), count)).collect();
    assert_eq!(seen, expected);
}

#[test]
fn every_named_test_exists() {
    let document = document();
    let mut sources: BTreeMap<&str, String> = BTreeMap::new();
    let mut missing = Vec::new();
    for row in rows(&document) {
        for (file, function) in references(row.body) {
            let source = sources.entry(file).or_insert_with(|| {
                std::fs::read_to_string(root().join(file))
                    .unwrap_or_else(|error| panic!("{}: {file}: {error}", row.id))
            });
            if ![format!("fn {function}("), format!("fn {function}<")]
                .iter()
                .any(|text| source.contains(text))
            {
                missing.push(format!("{}: {file}::{function}", row.id));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn every_row_names_a_test_or_gives_a_reason() {
    let document = document();
    for Row { id, kind, body } in rows(&document) {
        match kind {
            "test" => assert!(!references(body).is_empty(), "{id} names no test"),
            "decision" => assert!(body.split_whitespace().count() >= 4, "{id} gives no reason"),
            other => panic!("{id}: unknown kind `{other}`"),
        }
    }
}

/// A case that no test is made of would be named in vain.
#[test]
fn every_case_of_a_suite_is_in_its_list() {
    let folder = root().join("crates/sched-testkit/src");
    let mut unlisted = Vec::new();
    for (suite, list) in [
        ("scheduler", "scheduler/mod.rs"),
        ("store", "store.rs"),
        ("queue", "queue.rs"),
        ("executor", "executor.rs"),
        ("broker", "broker.rs"),
    ] {
        let list = std::fs::read_to_string(folder.join(list)).unwrap();
        let is_listed = |name: &str| list.split_whitespace().any(|word| word.trim_end_matches(',') == name);
        let files = std::fs::read_dir(folder.join(suite)).unwrap().map(|file| file.unwrap().path());
        let cases: Vec<String> =
            files.flat_map(|file| cases(&std::fs::read_to_string(file).unwrap())).collect();
        assert!(!cases.is_empty(), "{suite}");
        // It is alone in its program and called by name.
        let is_called = |name: &str| name == "executor_endures";
        unlisted.extend(cases.into_iter().filter(|name| !is_listed(name) && !is_called(name)));
    }
    assert!(unlisted.is_empty(), "{unlisted:?}");
}

/// The names of the public functions that take a fixture and nothing else.
fn cases(source: &str) -> Vec<String> {
    let functions = source.split("\npub fn ").skip(1).filter_map(|rest| rest.split_once('('));
    let is_case = |parameters: &str| {
        parameters
            .split_once(')')
            .is_some_and(|(only, _)| only.starts_with("fixture: ") && !only.contains(','))
    };
    functions.filter(|(_, rest)| is_case(rest)).map(|(name, _)| name.to_owned()).collect()
}
