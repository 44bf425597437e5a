//! The `deny` step: licences, wildcard versions and sources of everything the workspace depends on.
//!
//! Where cargo-deny is installed it does the work. Otherwise the essential part of the same policy is checked here, from
//! `cargo metadata` and two parts of `deny.toml`: the list `allow`, and the tables `clarify`, which say what the licence of
//! a crate is that gives it in a file only. Advisories are no part of it: they need a network.

mod clarification;
mod expression;

use self::{clarification::Clarification, expression::is_allowed};
use crate::{
    metadata::{Metadata, Package},
    out,
    run::{self, Failure, Workspace},
};
use std::{fs, process::Stdio};
use toml::{Table, Value};

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
    let text = fs::read_to_string(workspace.root().join(POLICY))
        .map_err(|error| Failure::new(format!("cannot read {POLICY}: {error}")))?;
    let policy = Policy::parse(&text)?;
    let metadata = Metadata::of_everything(workspace)?;
    let faults: Vec<String> =
        metadata.packages.iter().flat_map(|package| faults_of(package, &policy)).collect();
    if !faults.is_empty() {
        return Err(Failure::new(format!("{} not allowed:\n  {}", faults.len(), faults.join("\n  "))));
    }
    out::line(format!("{} packages: licences, versions and sources allowed", metadata.packages.len()));
    Ok(())
}

/// What the policy file says about licences.
#[derive(Debug)]
struct Policy {
    allowed: Vec<String>,
    clarifications: Vec<Clarification>,
}

impl Policy {
    /// Reads the policy; what cannot be read is a failure, never an empty list.
    fn parse(text: &str) -> Result<Self, Failure> {
        let policy: Table =
            text.parse().map_err(|error| Failure::new(format!("cannot read {POLICY}: {error}")))?;
        let licences = policy.get("licenses");
        let names = licences.and_then(|section| section.get("allow")).and_then(Value::as_array);
        let names = names.into_iter().flatten().map(|name| name.as_str().map(str::to_owned));
        let allowed: Option<Vec<String>> = names.collect();
        let allowed = allowed.filter(|allowed| !allowed.is_empty()).ok_or_else(|| {
            Failure::new(format!("{POLICY} has no list `allow` of names in section `[licenses]`"))
        })?;
        let tables = licences.and_then(|section| section.get("clarify")).and_then(Value::as_array);
        let tables = tables.into_iter().flatten().map(|table| Clarification::parse(table.as_table()?));
        let clarifications: Option<Vec<Clarification>> = tables.collect();
        let clarifications = clarifications.ok_or_else(|| {
            Failure::new(format!(
                "{POLICY}: a clarification needs `crate`, `expression` and `license-files` with `path` and `hash`"
            ))
        })?;
        Ok(Self { allowed, clarifications })
    }
}

/// What the policy has against a package, in words.
fn faults_of(package: &Package, policy: &Policy) -> Vec<String> {
    let name = format!("{} {}", package.name, package.version);
    let mut faults = Vec::new();
    let private = package.source.is_none() && !package.published;
    if !private && let Err(fault) = judge_licence(package, policy) {
        faults.push(format!("{name}: {fault}"));
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

/// Checks a package's licence: what a clarification says, else what its manifest says.
fn judge_licence(package: &Package, policy: &Policy) -> Result<(), Failure> {
    let clarification = policy.clarifications.iter().find(|clarification| clarification.concerns(package));
    let licence = match clarification {
        Some(clarification) => {
            clarification.verify(package)?;
            &clarification.expression
        }
        None => package.licence.as_ref().ok_or_else(|| Failure::new("no licence given"))?,
    };
    match is_allowed(licence, &policy.allowed) {
        Some(true) => Ok(()),
        Some(false) => Err(Failure::new(format!("licence {licence}"))),
        None => Err(Failure::new(format!("cannot read licence {licence}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::{Dependency, Kind};
    use std::path::PathBuf;

    const POLICY: &str = "[licenses]\nallow = [\"MIT\", \"Apache-2.0\"]\n";

    fn package(licence: Option<&str>, source: Option<&str>, requirement: &str) -> Package {
        Package {
            id: "p".to_owned(),
            name: "p".to_owned(),
            version: "1.0.0".to_owned(),
            manifest: PathBuf::from("/p/Cargo.toml"),
            licence: licence.map(str::to_owned),
            source: source.map(str::to_owned),
            published: true,
            dependencies: vec![Dependency {
                name: "d".to_owned(),
                kind: Kind::Normal,
                requirement: requirement.to_owned(),
                by_path: false,
            }],
        }
    }

    #[test]
    fn the_allow_list_is_found_in_its_section() {
        let policy = "[bans]\nallow = [\"x\"]\n[licenses]\n# why\nallow = [\n  \"MIT\", # ours\n  \"ISC\",\n]\n[sources]\n";
        assert_eq!(Policy::parse(policy).unwrap().allowed, ["MIT", "ISC"]);
    }

    #[test]
    fn a_policy_without_an_allow_list_is_a_failure() {
        for policy in [
            "",
            "[licenses",
            "[licenses]\n",
            "[licenses]\nallow = []\n",
            "[licenses]\nallow = [\"MIT\", 1]\n",
            "[licenses]\n[bans]\nallow = [\"MIT\"]\n",
        ] {
            assert!(Policy::parse(policy).is_err(), "{policy:?}");
        }
    }

    #[test]
    fn a_clarification_counts_as_long_as_its_file_is_unchanged() {
        // This package's own manifest stands in for a licence file.
        let manifest = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
        let unlicensed = Package { manifest, ..package(None, Some("registry+x"), "^1") };
        let clarify = |expression: &str, hash: &str| {
            let table = format!(
                "[[licenses.clarify]]\ncrate = \"p\"\nexpression = \"{expression}\"\n\
                 license-files = [{{ path = \"Cargo.toml\", hash = {hash} }}]\n"
            );
            faults_of(&unlicensed, &Policy::parse(&format!("{POLICY}{table}")).unwrap())
        };
        let [fault] = <[String; 1]>::try_from(clarify("MIT", "0x0")).unwrap();
        let found =
            fault.strip_prefix("p 1.0.0: Cargo.toml has the hash ").unwrap().split(',').next().unwrap();
        assert_eq!(clarify("MIT", found), Vec::<String>::new());
        assert_eq!(clarify("GPL-3.0", found), ["p 1.0.0: licence GPL-3.0"]);
    }

    #[test]
    fn a_clarification_without_a_file_is_a_failure() {
        let table = "[[licenses.clarify]]\ncrate = \"p\"\nexpression = \"MIT\"\n";
        let message = Policy::parse(&format!("{POLICY}{table}")).unwrap_err().to_string();
        assert!(message.contains("license-files"), "{message}");
    }

    #[test]
    fn each_fault_of_a_package_is_named() {
        for (package, fault) in [
            (package(Some("MIT"), Some("registry+x"), "*"), None),
            (package(Some("MIT"), None, "^1"), None),
            (package(None, Some("registry+x"), "^1"), Some("p 1.0.0: no licence given")),
            (package(Some("GPL-3.0"), Some("registry+x"), "^1"), Some("p 1.0.0: licence GPL-3.0")),
            (package(Some("MIT"), Some("git+x"), "^1"), Some("p 1.0.0: comes from no registry")),
            (package(Some("MIT"), None, "*"), Some("p 1.0.0: depends on any version of d")),
        ] {
            assert_eq!(
                faults_of(&package, &Policy::parse(POLICY).unwrap()),
                fault.into_iter().collect::<Vec<_>>()
            );
        }
    }
}
