//! Rules that need more than one file: what every crate has, decisions, links, and which tests may sleep.

use super::{File, Finding, Tree};
use std::collections::{BTreeMap, BTreeSet};

/// The test files that may sleep, one `path: reason` a line.
const SLEEPERS: &str = "xtask/tidy-sleeps.txt";

const CHANGELOG: &str = "CHANGELOG.md";

/// Every crate has a README and a root module.
pub(super) fn crate_files(tree: &Tree) -> Vec<Finding> {
    let crates = tree.paths.iter().filter_map(|path| {
        let directory = path.strip_suffix("/Cargo.toml")?;
        let name = directory.strip_prefix("crates/")?;
        (!name.contains('/')).then_some(directory)
    });
    let mut findings = Vec::new();
    for directory in crates {
        let lacks = |name: &str| !tree.paths.contains(&format!("{directory}/{name}"));
        if lacks("README.md") {
            findings.push(whole(directory, "the crate has no README.md"));
        }
        if lacks("src/lib.rs") && lacks("src/main.rs") {
            findings.push(whole(directory, "the crate has neither src/lib.rs nor src/main.rs"));
        }
    }
    findings
}

/// There is a changelog with a place for what comes next.
pub(super) fn changelog(tree: &Tree) -> Vec<Finding> {
    match tree.file(CHANGELOG) {
        None => vec![whole(CHANGELOG, "there is no changelog")],
        Some(file) if file.text.lines().any(|line| line == "## [Unreleased]") => Vec::new(),
        Some(file) => vec![file.finding(None, "has no heading `## [Unreleased]`")],
    }
}

/// Every decision record has its three parts and a number of its own.
pub(super) fn decisions(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut first_with = BTreeMap::new();
    for file in &tree.files {
        let Some(name) = file.path.strip_prefix("docs/adr/").filter(|name| name.ends_with(".md")) else {
            continue;
        };
        let Some(number) = decision_number(name) else {
            if name != "README.md" {
                findings.push(file.finding(None, "is not named NNN-title.md"));
            }
            continue;
        };
        if let Some(other) = first_with.insert(number, name) {
            findings.push(file.finding(None, format!("has the same number as {other}")));
        }
        for part in ["Context", "Decision", "Consequences"] {
            let is_heading =
                |line: &str| line.starts_with('#') && line.trim_start_matches('#').trim() == part;
            if !file.text.lines().any(is_heading) {
                findings.push(file.finding(None, format!("has no heading `{part}`")));
            }
        }
    }
    findings
}

/// The number of a decision record named `NNN-title.md`.
fn decision_number(name: &str) -> Option<&str> {
    let (number, title) = name.split_once('-')?;
    let numbered = number.len() == 3 && number.bytes().all(|byte| byte.is_ascii_digit());
    (numbered && title != ".md").then_some(number)
}

/// Relative links in the documentation lead to a file.
pub(super) fn links(tree: &Tree) -> Vec<Finding> {
    let documents = tree.files.iter().filter(|file| is_document(&file.path));
    documents.flat_map(|file| dead_links(file, tree)).collect()
}

fn is_document(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    match parts.as_slice() {
        [name] | ["docs", .., name] => name.ends_with(".md"),
        ["crates", _, "README.md"] => true,
        _ => false,
    }
}

fn dead_links(file: &File, tree: &Tree) -> Vec<Finding> {
    let mut fenced = false;
    let mut findings = Vec::new();
    for (number, line) in file.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            let dead = link_targets(line).into_iter().filter(|target| is_dead(&file.path, target, tree));
            findings.extend(
                dead.map(|target| file.finding(number, format!("the link to `{target}` leads nowhere"))),
            );
        }
    }
    findings
}

/// The targets of the links in a line of Markdown: `[text](target)` and `[label]: target`; code is left out.
fn link_targets(line: &str) -> Vec<&str> {
    let mut targets = Vec::new();
    for prose in line.split('`').step_by(2) {
        targets.extend(
            prose.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target),
        );
    }
    if let Some((label, target)) = line.split_once("]: ")
        && label.starts_with('[')
    {
        targets.push(target);
    }
    // A title may follow the target.
    targets.into_iter().filter_map(|target| target.split_whitespace().next()).collect()
}

/// Whether a relative link leads to no file or directory of the tree.
fn is_dead(from: &str, target: &str, tree: &Tree) -> bool {
    let target = target.trim_start_matches('<').trim_end_matches('>');
    let path = target.split(['#', '?']).next().unwrap_or_default();
    // A scheme (`https:`) or a path in Rust's sense (`crate::Job`, which rustdoc checks).
    if path.is_empty() || path.contains(':') {
        return false;
    }
    resolve(from, path).is_none_or(|path| !path.is_empty() && !tree.has(&path))
}

/// The path, seen from the root, of a relative link in the file `from`; none when it leaves the tree.
fn resolve(from: &str, link: &str) -> Option<String> {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in link.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// Tests sleep only where a listed reason allows it, and the list names nothing else.
pub(super) fn sleeps(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut allowed = BTreeSet::new();
    let list = tree.file(SLEEPERS);
    for (file, (number, line)) in list.iter().flat_map(|file| file.lines().map(move |line| (file, line))) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (path, reason) = line.split_once(':').unwrap_or((line, ""));
        if reason.trim().is_empty() {
            findings.push(file.finding(number, "gives no reason: write `path: reason`"));
        }
        if tree.file(path).is_none_or(|file| sleeping_lines(file).is_empty()) {
            findings.push(file.finding(number, format!("`{path}` is no test that sleeps")));
        }
        allowed.insert(path);
    }
    for file in tree.files.iter().filter(|file| !allowed.contains(file.path.as_str())) {
        let message = format!(
            "a test that sleeps: wait on a condition with a deadline, or give a reason in {SLEEPERS}"
        );
        findings.extend(sleeping_lines(file).into_iter().map(|line| file.finding(line, message.clone())));
    }
    findings
}

/// The lines of test code that sleep: all of a test file, or the tests at the end of a module.
fn sleeping_lines(file: &File) -> Vec<usize> {
    let sleeps = [concat!("thread::", "sleep"), concat!("time::", "sleep("), concat!("task::", "sleep(")];
    let is_test_file = file.path.split('/').any(|part| part == "tests" || part == "tests.rs");
    let tests_begin = match file.trailing_tests() {
        _ if !file.is_rust() => return Vec::new(),
        _ if is_test_file => 0,
        Some(line) => line,
        None => return Vec::new(),
    };
    let test_lines = file.lines().skip(tests_begin);
    test_lines
        .filter(|(_, line)| sleeps.iter().any(|sleep| line.contains(sleep)))
        .map(|(number, _)| number)
        .collect()
}

fn whole(path: &str, message: &str) -> Finding {
    Finding { path: path.to_owned(), line: None, message: message.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> Tree {
        Tree {
            files: files
                .iter()
                .map(|(path, text)| File { path: (*path).to_owned(), text: (*text).to_owned() })
                .collect(),
            paths: files.iter().map(|(path, _)| (*path).to_owned()).collect(),
        }
    }

    fn found(rule: fn(&Tree) -> Vec<Finding>, files: &[(&str, &str)]) -> Vec<String> {
        rule(&tree(files)).iter().map(Finding::to_line).collect()
    }

    #[test]
    fn a_crate_without_its_files_is_found() {
        let files = [
            ("crates/a/Cargo.toml", ""),
            ("crates/a/README.md", ""),
            ("crates/a/src/main.rs", ""),
            ("crates/b/Cargo.toml", ""),
            ("crates/b/tests/fixture/Cargo.toml", ""),
        ];
        assert_eq!(
            found(crate_files, &files),
            [
                "crates/b: the crate has no README.md",
                "crates/b: the crate has neither src/lib.rs nor src/main.rs"
            ]
        );
    }

    #[test]
    fn a_changelog_without_a_place_for_what_comes_next_is_found() {
        assert_eq!(found(changelog, &[]), ["CHANGELOG.md: there is no changelog"]);
        assert_eq!(found(changelog, &[(CHANGELOG, "# Changes\n")]).len(), 1);
        assert!(found(changelog, &[(CHANGELOG, "# Changes\n\n## [Unreleased]\n")]).is_empty());
    }

    #[test]
    fn decisions_have_a_name_three_parts_and_a_number_of_their_own() {
        let whole = "# A\n\n## Context\n\n## Decision\n\n## Consequences\n";
        let files = [
            ("docs/adr/001-a.md", whole),
            ("docs/adr/001-b.md", whole),
            ("docs/adr/002-c.md", "# C\n\n## Context\n\nDecision\n\n## Consequences\n"),
            ("docs/adr/3-d.md", whole),
            ("docs/adr/README.md", ""),
        ];
        assert_eq!(
            found(decisions, &files),
            [
                "docs/adr/001-b.md: has the same number as 001-a.md",
                "docs/adr/002-c.md: has no heading `Decision`",
                "docs/adr/3-d.md: is not named NNN-title.md",
            ]
        );
    }

    #[test]
    fn dead_links_are_found() {
        let text =
            "[a](adr/001-a.md) [b](../README.md#top) [c](adr) [d](gone.md \"title\")\n\n[e]: ../missing\n";
        let files = [("docs/a.md", text), ("docs/adr/001-a.md", ""), ("README.md", "[x](../outside)\n")];
        assert_eq!(
            found(links, &files),
            [
                "docs/a.md:1: the link to `gone.md` leads nowhere",
                "docs/a.md:3: the link to `../missing` leads nowhere",
                "README.md:1: the link to `../outside` leads nowhere",
            ]
        );
    }

    #[test]
    fn links_elsewhere_and_code_are_left_alone() {
        let text =
            "[a](https://example.org/x) [b](#top) [c](crate::Job) `[d](gone.md)`\n```\n[e](gone.md)\n```\n";
        assert!(found(links, &[("README.md", text), ("notes/a.md", "[f](gone.md)\n")]).is_empty());
    }

    #[test]
    fn a_sleeping_test_is_found_wherever_it_stands() {
        let sleep = concat!("    thread::", "sleep(pause);\n");
        let module = format!("fn a() {{\n{sleep}}}\n\n#[cfg(test)]\nmod tests {{\n{sleep}}}\n");
        let files = [
            ("crates/a/src/a.rs", module.as_str()),
            ("crates/a/tests/b.rs", sleep),
            ("crates/a/src/tests.rs", sleep),
        ];
        let places: Vec<_> =
            sleeps(&tree(&files)).into_iter().map(|finding| (finding.path, finding.line)).collect();
        let expected = [("crates/a/src/a.rs", 7), ("crates/a/tests/b.rs", 1), ("crates/a/src/tests.rs", 1)];
        assert_eq!(places, expected.map(|(path, line)| (path.to_owned(), Some(line))));
    }

    #[test]
    fn a_listed_test_may_sleep_and_the_list_must_be_true() {
        let sleep = concat!("thread::", "sleep(pause);\n");
        let files = |list: &'static str| [("crates/a/tests/b.rs", sleep), (SLEEPERS, list)];
        assert!(found(sleeps, &files("# why\n\ncrates/a/tests/b.rs: it tests sleeping\n")).is_empty());
        assert_eq!(found(sleeps, &files("crates/a/tests/b.rs\n")).len(), 1, "a reason is missing");
        assert_eq!(
            found(sleeps, &files("crates/a/tests/b.rs: x\ncrates/a/tests/c.rs: y\n")).len(),
            1,
            "stale"
        );
    }
}
