//! `cargo xtask tidy`: the source rules that no compiler checks.
//!
//! This file gathers the tree and applies the rules; the rules stand in [`rules`] (one file at a time), [`words`] (what
//! must not be written) and [`tree`] (what needs several files). It changes nothing.

mod rules;
mod tree;
mod words;

use crate::{
    out,
    run::{Failure, Workspace},
};
use std::{collections::BTreeSet, fs, io, path::Path, process::Command};

/// A text file of the tree.
#[derive(Debug)]
struct File {
    /// Relative to the root, with `/` between the parts.
    path: String,
    text: String,
}

/// All files of the tree.
#[derive(Debug, Default)]
struct Tree {
    /// The text files.
    files: Vec<File>,
    /// The paths of all files, those without text included.
    paths: BTreeSet<String>,
}

/// A place where a rule is broken.
#[derive(Debug, PartialEq)]
struct Finding {
    path: String,
    /// Counted from one; the whole file has none.
    line: Option<usize>,
    message: String,
}

/// The rules that look at one file.
const FILE_RULES: &[fn(&File) -> Vec<Finding>] = &[
    rules::length,
    rules::module_names,
    rules::module_docs,
    rules::ignored_tests,
    rules::allow_attributes,
    rules::whitespace,
    words::unfinished,
    words::foreign,
];

/// The rules that look at several files.
const TREE_RULES: &[fn(&Tree) -> Vec<Finding>] =
    &[tree::crate_files, tree::changelog, tree::decisions, tree::links, tree::sleeps];

/// Applies all rules to the workspace and prints every finding.
pub(crate) fn check(workspace: &Workspace) -> Result<(), Failure> {
    let tree = Tree::read(workspace.root())?;
    let findings = tree.findings();
    for finding in &findings {
        out::line(finding.to_line());
    }
    if !findings.is_empty() {
        return Err(Failure::new(format!("{} findings", findings.len())));
    }
    out::line(format!("{} files: tidy", tree.paths.len()));
    Ok(())
}

impl File {
    fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// The lines with their numbers, counted from one.
    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(index, line)| (index + 1, line))
    }

    /// Where the module `tests` begins that ends the file: the index of its `#[cfg(test)]` line.
    fn trailing_tests(&self) -> Option<usize> {
        let lines: Vec<&str> = self.text.lines().collect();
        let opening = lines.iter().rposition(|line| *line == "mod tests {")?;
        let attribute = opening.checked_sub(1)?;
        let closing = opening + lines[opening..].iter().position(|line| *line == "}")?;
        (lines[attribute] == "#[cfg(test)]" && closing + 1 == lines.len()).then_some(attribute)
    }

    /// A finding on a line of this file, or on all of it.
    fn finding(&self, line: impl Into<Option<usize>>, message: impl Into<String>) -> Finding {
        Finding { path: self.path.clone(), line: line.into(), message: message.into() }
    }
}

impl Finding {
    fn to_line(&self) -> String {
        match self.line {
            Some(line) => format!("{}:{line}: {}", self.path, self.message),
            None => format!("{}: {}", self.path, self.message),
        }
    }
}

impl Tree {
    /// Reads the files that git tracks or would track; without git, all but build output.
    fn read(root: &Path) -> Result<Self, Failure> {
        let paths = match git_files(root) {
            Some(paths) => paths,
            None => walk(root).map_err(|error| Failure::new(format!("cannot list the files: {error}")))?,
        };
        let mut tree = Self::default();
        for path in paths {
            match fs::read(root.join(&path)) {
                Ok(bytes) => {
                    tree.paths.insert(path.clone());
                    tree.files.extend(String::from_utf8(bytes).ok().map(|text| File { path, text }));
                }
                // Tracked, and deleted in the working directory.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(Failure::new(format!("cannot read {path}: {error}"))),
            }
        }
        Ok(tree)
    }

    /// All findings of all rules, by path and line.
    fn findings(&self) -> Vec<Finding> {
        let of_files = self.files.iter().flat_map(|file| FILE_RULES.iter().flat_map(|rule| rule(file)));
        let of_tree = TREE_RULES.iter().flat_map(|rule| rule(self));
        let mut findings: Vec<Finding> = of_files.chain(of_tree).collect();
        findings.sort_by(|a, b| (&a.path, a.line).cmp(&(&b.path, b.line)));
        findings
    }

    fn file(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }

    /// Whether there is a file or a directory of this path.
    fn has(&self, path: &str) -> bool {
        let inside = format!("{path}/");
        self.paths.contains(path)
            || self.paths.range(inside.clone()..).next().is_some_and(|p| p.starts_with(&inside))
    }
}

/// The files that git tracks or would track; none where there is no git, or no repository.
fn git_files(root: &Path) -> Option<Vec<String>> {
    let output = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()
        .ok()?;
    let listed = String::from_utf8(output.stdout).ok().filter(|_| output.status.success())?;
    // A file in conflict is listed once for each of its versions.
    let paths: BTreeSet<String> = listed.split_terminator('\0').map(str::to_owned).collect();
    (!paths.is_empty()).then(|| paths.into_iter().collect())
}

/// All files below a directory, build output and git's own apart.
fn walk(root: &Path) -> io::Result<Vec<String>> {
    let mut paths = Vec::new();
    let mut directories = vec![String::new()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(root.join(&directory))? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = if directory.is_empty() { name.clone() } else { format!("{directory}/{name}") };
            let skipped = name == ".git" || name == "target";
            match entry.file_type()? {
                kind if kind.is_dir() && !skipped => directories.push(path),
                kind if kind.is_file() => paths.push(path),
                _ => {}
            }
        }
    }
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_is_tidy() {
        let workspace = Workspace::locate().unwrap();
        let tree = Tree::read(workspace.root()).unwrap();
        assert!(tree.has("xtask/src/main.rs"), "the files were not found");
        let findings: Vec<String> = tree.findings().iter().map(Finding::to_line).collect();
        assert!(findings.is_empty(), "{} findings:\n{}", findings.len(), findings.join("\n"));
    }

    #[test]
    fn git_and_a_plain_walk_find_the_same_sources() {
        let workspace = Workspace::locate().unwrap();
        // A file that was deleted stays tracked until that is committed.
        let is_source = |path: &String| path.starts_with("xtask/") && workspace.root().join(path).is_file();
        let sources = |paths: Vec<String>| paths.into_iter().filter(is_source).collect::<BTreeSet<_>>();
        let walked = sources(walk(workspace.root()).unwrap());
        assert!(walked.contains("xtask/src/tidy/mod.rs"));
        // A copy of the tree without its history has nothing to compare with.
        if let Some(listed) = git_files(workspace.root()) {
            assert_eq!(sources(listed), walked);
        }
    }

    #[test]
    fn only_a_module_of_tests_that_ends_the_file_is_trailing() {
        let file = |text: &str| File { path: "a.rs".to_owned(), text: text.to_owned() };
        let module = "#[cfg(test)]\nmod tests {\n    fn a() {}\n}\n";
        assert_eq!(file(&format!("fn a() {{}}\n\n{module}")).trailing_tests(), Some(2));
        assert_eq!(file(&format!("{module}fn a() {{}}\n")).trailing_tests(), None);
        assert_eq!(file("mod tests {\n}\n").trailing_tests(), None);
        assert_eq!(file("fn a() {}\n").trailing_tests(), None);
    }

    #[test]
    fn directories_are_known_by_their_files() {
        let paths = BTreeSet::from(["docs/adr/001-a.md".to_owned(), "docs-old.md".to_owned()]);
        let tree = Tree { files: Vec::new(), paths };
        assert!(tree.has("docs") && tree.has("docs/adr") && tree.has("docs-old.md"));
        assert!(!tree.has("doc") && !tree.has("docs/adr/002-b.md"));
    }

    #[test]
    fn a_finding_reads_as_editors_expect() {
        let file = File { path: "a.rs".to_owned(), text: String::new() };
        assert_eq!(file.finding(3, "odd").to_line(), "a.rs:3: odd");
        assert_eq!(file.finding(None, "odd").to_line(), "a.rs: odd");
    }
}
