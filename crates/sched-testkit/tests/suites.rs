//! The lists of the suites for stores are whole: every case is in one list and says what it shows, every guarantee names
//! a case that is there.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A case: its name, and whether it has a line of documentation.
type Case = (String, bool);

/// A suite's name and the names in its list.
type Suite = (String, Vec<String>);

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}

/// The cases of a module and of its folder.
fn cases(module: &str) -> Vec<Case> {
    let folder = std::fs::read_dir(root().join(format!("src/{module}"))).unwrap();
    let mut sources = vec![read(&format!("src/{module}.rs"))];
    sources.extend(folder.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap()));
    let mut cases = Vec::new();
    for source in sources {
        let lines: Vec<&str> = source.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            let name =
                line.strip_prefix("pub fn ").and_then(|rest| rest.split_once("(fixture: StoreFixture)"));
            if let Some((name, _)) = name {
                cases.push((name.to_owned(), at > 0 && lines[at - 1].starts_with("/// ")));
            }
        }
    }
    cases
}

/// The suites that a module declares.
fn suites(module: &str) -> Vec<Suite> {
    let source = read(&format!("src/{module}.rs"));
    let suites = source.split("macro_rules! ").skip(1).filter_map(|rest| {
        let (name, body) = rest.split_once(' ')?;
        let (_, list) = body.split_once("$make;")?;
        let (list, _) = list.split_once('}')?;
        let names = list.split(',').map(str::trim).filter(|name| !name.is_empty());
        Some((name.to_owned(), names.map(str::to_owned).collect()))
    });
    suites.collect()
}

#[test]
fn every_case_is_in_one_list_and_says_what_it_shows() {
    let mut listed: BTreeMap<String, usize> = BTreeMap::new();
    let suites: Vec<Suite> = ["store", "queue"].into_iter().flat_map(suites).collect();
    suites.iter().flat_map(|(_, names)| names).for_each(|name| *listed.entry(name.clone()).or_default() += 1);
    let cases: Vec<Case> = ["store", "queue"].into_iter().flat_map(cases).collect();
    for (name, documented) in &cases {
        assert!(documented, "{name} has no line of documentation");
        assert_eq!(listed.get(name), Some(&1), "{name} is to be in one list");
    }
    assert_eq!(listed.len(), cases.len(), "{listed:?}");
    for (suite, names) in &suites {
        println!("{suite}: {} cases", names.len());
    }
    println!("together: {} cases", cases.len());
    assert!(cases.len() >= 120, "{} cases", cases.len());
}

#[test]
fn every_guarantee_of_a_store_names_a_case_that_is_there() {
    let contract = read("../sched-core/src/store.rs");
    let cases: Vec<Case> = ["store", "queue"].into_iter().flat_map(cases).collect();
    let named = contract.split('`').skip(1).step_by(2);
    let named: Vec<&str> =
        named.filter(|word| word.starts_with("store_") || word.starts_with("queue_")).collect();
    assert!(named.len() >= 19, "{named:?}");
    for name in named {
        assert!(cases.iter().any(|(case, _)| case == name), "{name} is not a case");
    }
}
