//! Rules about the shape of one file. Each returns what it finds in the file it is given, and nothing for a file that is
//! none of its business.

use super::{File, Finding};

/// The most lines a source file may have, its trailing tests apart.
const LENGTH: usize = 800;

/// Module names that say nothing about what is inside.
const EMPTY_NAMES: &[&str] = &["utils", "common", "helpers", "misc"];

/// A source file has at most 800 lines before its tests.
pub(super) fn length(file: &File) -> Vec<Finding> {
    let lines = file.trailing_tests().unwrap_or_else(|| file.text.lines().count());
    if file.is_rust() && lines > LENGTH {
        return vec![file.finding(None, format!("{lines} lines; split it by concern before {LENGTH}"))];
    }
    Vec::new()
}

/// A module is named for what it does.
pub(super) fn module_names(file: &File) -> Vec<Finding> {
    if !file.is_rust() {
        return Vec::new();
    }
    let message = |name: &str| format!("a module named `{name}` says nothing; name it for what it does");
    let of_path = file
        .path
        .split('/')
        .map(|part| part.strip_suffix(".rs").unwrap_or(part))
        .filter(|name| EMPTY_NAMES.contains(name))
        .map(|name| file.finding(None, message(name)));
    let inline = file.lines().filter_map(|(number, line)| {
        let (visibility, rest) = line.trim_start().split_once("mod ")?;
        let name = rest.strip_suffix('{')?.trim_end();
        let declares = visibility.is_empty() || visibility.starts_with("pub");
        (declares && EMPTY_NAMES.contains(&name)).then(|| file.finding(number, message(name)))
    });
    of_path.chain(inline).collect()
}

/// Every module of a crate opens with what it is. Tests need no introduction.
pub(super) fn module_docs(file: &File) -> Vec<Finding> {
    let parts: Vec<&str> = file.path.split('/').collect();
    let is_module = file.is_rust()
        && matches!(parts.as_slice(), ["crates", _, "src", ..] | ["xtask", "src", ..])
        && !parts.iter().any(|part| matches!(*part, "tests" | "tests.rs"));
    let first = file.text.lines().next().unwrap_or_default();
    if is_module && !first.starts_with("//!") && !first.starts_with("#![doc =") {
        return vec![file.finding(1, "does not open with `//!`: say what the module is and what it is not")];
    }
    Vec::new()
}

/// A test that is ignored says why.
pub(super) fn ignored_tests(file: &File) -> Vec<Finding> {
    // Spelled in two parts, here and below, so that this file keeps its own rules.
    let attribute = concat!("#", "[ignore");
    find_lines(file, |line| {
        let rest = line.trim_start().strip_prefix(attribute)?;
        let reason = rest.strip_prefix(" = \"").unwrap_or_default();
        (reason.is_empty() || reason.starts_with('"'))
            .then(|| "an ignored test without its reason".to_owned())
    })
}

/// Exceptions to lints are expectations with a reason.
pub(super) fn allow_attributes(file: &File) -> Vec<Finding> {
    let attributes = [concat!("#", "[allow("), concat!("#", "![allow(")];
    find_lines(file, |line| {
        let found = attributes.iter().any(|attribute| line.contains(attribute));
        found.then(|| "use `#[expect(…, reason = \"…\")]`: it fails when it is no longer needed".to_owned())
    })
}

/// No trailing whitespace, a final newline, no tabs in source files. A corpus of test inputs is as it was found.
pub(super) fn whitespace(file: &File) -> Vec<Finding> {
    const CHECKED: &[&str] = &["rs", "toml", "md", "yml", "yaml", "sh", "txt"];
    let name = file.path.rsplit('/').next().unwrap_or_default();
    let extension = name.rsplit_once('.').map(|(_, extension)| extension);
    let checked = extension.is_none_or(|extension| CHECKED.contains(&extension));
    if !checked || file.text.is_empty() || file.path.contains("/tests/corpus/") {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for (index, line) in file.text.split('\n').enumerate() {
        if line.trim_end() != line {
            findings.push(file.finding(index + 1, "trailing whitespace"));
        }
        if file.is_rust() && line.contains('\t') {
            findings.push(file.finding(index + 1, "a tab; write \\t in a string and spaces elsewhere"));
        }
    }
    if !file.text.ends_with('\n') {
        findings.push(file.finding(file.text.lines().count(), "no newline at the end of the file"));
    }
    findings
}

/// Puts the same question to each line of a source file.
fn find_lines(file: &File, fault: impl Fn(&str) -> Option<String>) -> Vec<Finding> {
    if !file.is_rust() {
        return Vec::new();
    }
    file.lines().filter_map(|(number, line)| Some(file.finding(number, fault(line)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> File {
        File { path: path.to_owned(), text: text.to_owned() }
    }

    /// The lines on which a rule finds something.
    fn lines(rule: fn(&File) -> Vec<Finding>, path: &str, text: &str) -> Vec<Option<usize>> {
        rule(&file(path, text)).into_iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn a_long_file_is_found_and_its_tests_do_not_count() {
        let code = "fn a() {}\n";
        let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "    fn a() {}\n".repeat(500));
        assert_eq!(lines(length, "a.rs", &code.repeat(801)), [None]);
        assert_eq!(lines(length, "a.rs", &code.repeat(800)), []);
        assert_eq!(lines(length, "a.rs", &(code.repeat(700) + &tests)), []);
        assert_eq!(lines(length, "a.rs", &(tests + &code.repeat(700))), [None]);
        assert_eq!(lines(length, "a.md", &code.repeat(801)), []);
    }

    #[test]
    fn names_that_say_nothing_are_found_in_paths_and_declarations() {
        for path in ["crates/a/src/utils.rs", "crates/a/tests/common/mod.rs", "xtask/src/misc.rs"] {
            assert_eq!(lines(module_names, path, ""), [None], "{path}");
        }
        assert_eq!(lines(module_names, "crates/a/src/commonality.rs", ""), []);
        assert_eq!(lines(module_names, "docs/common/a.md", ""), []);
        let text = "mod helpers {\n    pub(crate) mod misc {\n    }\n}\nmod codec {\n}\n// a mod helpers {\n";
        assert_eq!(lines(module_names, "a.rs", text), [Some(1), Some(2)]);
    }

    #[test]
    fn a_module_without_an_introduction_is_found() {
        for path in ["crates/a/src/lib.rs", "crates/a/src/b/c.rs", "xtask/src/main.rs"] {
            assert_eq!(lines(module_docs, path, "use std::fmt;\n"), [Some(1)], "{path}");
            assert_eq!(lines(module_docs, path, ""), [Some(1)], "{path}");
            assert_eq!(lines(module_docs, path, "//! What it is.\n"), [], "{path}");
        }
        for path in
            ["crates/a/src/tests.rs", "crates/a/src/b/tests/c.rs", "crates/a/tests/b.rs", "crates/a/src/a.md"]
        {
            assert_eq!(lines(module_docs, path, "use std::fmt;\n"), [], "{path}");
        }
    }

    #[test]
    fn an_ignored_test_without_a_reason_is_found() {
        let attribute = concat!("#", "[ignore");
        let text = format!("{attribute}]\n{attribute} = \"needs a server\"]\n{attribute} = \"\"]\n");
        assert_eq!(lines(ignored_tests, "a.rs", &text), [Some(1), Some(3)]);
    }

    #[test]
    fn a_lint_that_is_allowed_is_found_and_one_that_is_expected_is_not() {
        let text = format!("{}[allow(x)]\n{}![allow(x)]\n#[expect(x, reason = \"y\")]\n", "#", "#");
        assert_eq!(lines(allow_attributes, "a.rs", &text), [Some(1), Some(2)]);
    }

    #[test]
    fn stray_whitespace_is_found() {
        assert_eq!(lines(whitespace, "a.rs", "a \n\tb\nc\r\nd\n"), [Some(1), Some(2), Some(3)]);
        assert_eq!(lines(whitespace, "a.md", "a\n\tb\nc"), [Some(3)]);
        assert_eq!(lines(whitespace, ".ci/run", "a \n"), [Some(1)]);
        assert_eq!(lines(whitespace, "a.stderr", "a \n"), []);
        assert_eq!(lines(whitespace, "a.rs", ""), []);
    }
}
