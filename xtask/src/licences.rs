//! The `deny` step: licences, wildcard versions and sources of everything the workspace depends on.
//!
//! Where cargo-deny is installed it does the work. Otherwise the essential part of the same policy is checked here, from
//! `cargo metadata` and the `allow` list of `deny.toml`, so that the step always checks something. Advisories are no part
//! of it: they need a network.

use crate::{
    metadata::{Metadata, Package},
    out,
    run::{self, Failure, Workspace},
};
use std::{fs, process::Stdio};

const POLICY: &str = "deny.toml";

/// Checks the dependencies with the best tool at hand.
pub(crate) fn check(workspace: &Workspace) -> Result<(), Failure> {
    let mut probe = workspace.cargo(["deny", "--version"]);
    if run::run(probe.stdout(Stdio::null()).stderr(Stdio::null())).is_ok() {
        return run::run(&mut workspace.cargo(["deny", "check", "licenses", "bans", "sources"]));
    }
    out::line("cargo-deny is not installed: licences, wildcard versions and sources are checked without it");
    check_without_cargo_deny(workspace)
}

fn check_without_cargo_deny(workspace: &Workspace) -> Result<(), Failure> {
    let policy = fs::read_to_string(workspace.root().join(POLICY))
        .map_err(|error| Failure::new(format!("cannot read {POLICY}: {error}")))?;
    let allowed = allowed_licences(&policy)?;
    let metadata = Metadata::of_everything(workspace)?;
    let faults: Vec<String> =
        metadata.packages.iter().flat_map(|package| faults_of(package, &allowed)).collect();
    if !faults.is_empty() {
        return Err(Failure::new(format!("{} not allowed:\n  {}", faults.len(), faults.join("\n  "))));
    }
    out::line(format!("{} packages: licences, versions and sources allowed", metadata.packages.len()));
    Ok(())
}

/// The strings of the list `allow` in the section `[licenses]`, comments left out.
///
/// Reads the one form that the policy file uses; anything else is a failure, never an empty list.
fn allowed_licences(policy: &str) -> Result<Vec<String>, Failure> {
    let missing = || Failure::new(format!("{POLICY} has no list `allow` in section `[licenses]`"));
    let without_comments: Vec<&str> =
        policy.lines().map(|line| line.split('#').next().unwrap_or_default().trim()).collect();
    let begin = without_comments.iter().position(|line| *line == "[licenses]").ok_or_else(missing)?;
    let section: Vec<&str> =
        without_comments[begin + 1..].iter().copied().take_while(|line| !line.starts_with("[")).collect();
    let text = section.join("\n");
    let list = text
        .split_once("allow = [")
        .filter(|(before, _)| before.is_empty() || before.ends_with('\n'))
        .and_then(|(_, rest)| rest.split_once(']'))
        .map(|(list, _)| list)
        .ok_or_else(missing)?;
    let names: Vec<String> = list.split('"').skip(1).step_by(2).map(str::to_owned).collect();
    if names.is_empty() { Err(missing()) } else { Ok(names) }
}

/// What the policy has against a package, in words.
fn faults_of(package: &Package, allowed: &[String]) -> Vec<String> {
    let name = format!("{} {}", package.name, package.version);
    let mut faults = Vec::new();
    let private = package.source.is_none() && !package.published;
    match &package.licence {
        _ if private => {}
        None => faults.push(format!("{name}: no licence given")),
        Some(licence) => match is_allowed(licence, allowed) {
            Some(true) => {}
            Some(false) => faults.push(format!("{name}: licence {licence}")),
            None => faults.push(format!("{name}: cannot read licence {licence}")),
        },
    }
    if package.source.as_ref().is_some_and(|source| !source.starts_with("registry+")) {
        faults.push(format!("{name}: comes from no registry"));
    }
    if package.source.is_none() {
        let wildcards = package.dependencies.iter().filter(|d| d.requirement == "*" && !d.by_path);
        faults.extend(wildcards.map(|d| format!("{name}: depends on any version of {}", d.name)));
    }
    faults
}

/// Whether an SPDX expression can be met with the allowed licences; none when it is not an expression.
///
/// `AND` binds tighter than `OR`; `/` is the older spelling of `OR`; `X WITH Y` is a licence of its own.
fn is_allowed(expression: &str, allowed: &[String]) -> Option<bool> {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let tokens: Vec<&str> = spaced.split_whitespace().collect();
    let mut parser = Expression { tokens: &tokens, allowed };
    let verdict = parser.alternatives()?;
    parser.tokens.is_empty().then_some(verdict)
}

/// A recursive descent over the rest of an expression.
struct Expression<'a> {
    tokens: &'a [&'a str],
    allowed: &'a [String],
}

impl Expression<'_> {
    fn alternatives(&mut self) -> Option<bool> {
        let mut verdict = self.conjunction()?;
        while self.take("OR") {
            verdict |= self.conjunction()?;
        }
        Some(verdict)
    }

    fn conjunction(&mut self) -> Option<bool> {
        let mut verdict = self.licence()?;
        while self.take("AND") {
            verdict &= self.licence()?;
        }
        Some(verdict)
    }

    fn licence(&mut self) -> Option<bool> {
        if self.take("(") {
            let verdict = self.alternatives()?;
            return self.take(")").then_some(verdict);
        }
        let mut name = self.word()?.to_owned();
        if self.take("WITH") {
            name = format!("{name} WITH {}", self.word()?);
        }
        Some(self.allowed.contains(&name))
    }

    fn take(&mut self, token: &str) -> bool {
        let found = self.tokens.first() == Some(&token);
        if found {
            self.tokens = &self.tokens[1..];
        }
        found
    }

    fn word(&mut self) -> Option<&str> {
        let (word, rest) = self.tokens.split_first()?;
        if matches!(*word, "(" | ")" | "OR" | "AND" | "WITH") {
            return None;
        }
        self.tokens = rest;
        Some(word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::{Dependency, Kind};

    fn allowed() -> Vec<String> {
        ["MIT", "Apache-2.0", "Unicode-3.0"].map(str::to_owned).to_vec()
    }

    #[test]
    fn expressions_are_judged_as_spdx_says() {
        for (expression, verdict) in [
            ("MIT", Some(true)),
            ("GPL-3.0", Some(false)),
            ("GPL-3.0 OR MIT", Some(true)),
            ("GPL-3.0 AND MIT", Some(false)),
            ("MIT/GPL-3.0", Some(true)),
            ("(MIT OR GPL-3.0) AND Unicode-3.0", Some(true)),
            ("MIT OR GPL-3.0 AND GPL-2.0", Some(true)),
            ("(MIT OR GPL-3.0) AND GPL-2.0", Some(false)),
            ("Apache-2.0 WITH LLVM-exception", Some(false)),
            ("Apache-2.0 WITH LLVM-exception OR MIT", Some(true)),
            ("MIT OR", None),
            ("(MIT", None),
            ("MIT MIT", None),
            ("", None),
        ] {
            assert_eq!(is_allowed(expression, &allowed()), verdict, "{expression}");
        }
    }

    #[test]
    fn the_allow_list_is_found_in_its_section() {
        let policy = "[bans]\nallow = [\"x\"]\n[licenses]\n# why\nallow = [\n  \"MIT\", # ours\n  \"ISC\",\n]\n[sources]\n";
        assert_eq!(allowed_licences(policy).unwrap(), ["MIT", "ISC"]);
    }

    #[test]
    fn a_policy_without_an_allow_list_is_a_failure() {
        for policy in
            ["", "[licenses]\n", "[licenses]\nallow = []\n", "[licenses]\n[bans]\nallow = [\"MIT\"]\n"]
        {
            assert!(allowed_licences(policy).is_err(), "{policy:?}");
        }
    }

    #[test]
    fn each_fault_of_a_package_is_named() {
        let package = |licence: Option<&str>, source: Option<&str>, requirement: &str| Package {
            id: "p".to_owned(),
            name: "p".to_owned(),
            version: "1.0.0".to_owned(),
            licence: licence.map(str::to_owned),
            source: source.map(str::to_owned),
            published: true,
            dependencies: vec![Dependency {
                name: "d".to_owned(),
                kind: Kind::Normal,
                requirement: requirement.to_owned(),
                by_path: false,
            }],
        };
        for (package, fault) in [
            (package(Some("MIT"), Some("registry+x"), "*"), None),
            (package(Some("MIT"), None, "^1"), None),
            (package(None, Some("registry+x"), "^1"), Some("p 1.0.0: no licence given")),
            (package(Some("GPL-3.0"), Some("registry+x"), "^1"), Some("p 1.0.0: licence GPL-3.0")),
            (package(Some("MIT"), Some("git+x"), "^1"), Some("p 1.0.0: comes from no registry")),
            (package(Some("MIT"), None, "*"), Some("p 1.0.0: depends on any version of d")),
        ] {
            assert_eq!(faults_of(&package, &allowed()), fault.into_iter().collect::<Vec<_>>());
        }
    }
}
