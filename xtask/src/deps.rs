//! `cargo xtask deps`: who may depend on whom, and how heavy the minimal build may be.
//!
//! The table below is the workspace's architecture; an arrow that is not in it is a defect. Dev-dependencies are free:
//! cargo allows a test to look at anything, and nothing of it reaches a user.

use crate::{
    metadata::{Kind, Metadata, Package},
    out,
    run::{Failure, Workspace, capture},
};
use std::collections::BTreeSet;

/// What a crate of the workspace is for. Its place decides what it may depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Core,
    Macros,
    Triggers,
    Store,
    Executor,
    Relay,
    Broker,
    Async,
    Runtime,
    Testkit,
    Facade,
    Cli,
    Xtask,
    /// Examples and benchmarks: never published, so their dependencies reach nobody.
    Unpublished,
}

impl Place {
    /// The place of a package, by its name; none for a published crate that the architecture does not know.
    fn of(package: &Package) -> Option<Self> {
        Some(match package.name.as_str() {
            "sched-core" => Self::Core,
            "sched-macros" => Self::Macros,
            "sched-triggers" => Self::Triggers,
            "sched-testkit" => Self::Testkit,
            "sched-async" => Self::Async,
            "sched-broker" => Self::Relay,
            "sched" => Self::Facade,
            "sched-cli" => Self::Cli,
            "xtask" => Self::Xtask,
            name if name.starts_with("sched-store-") => Self::Store,
            name if name.starts_with("sched-executor-") => Self::Executor,
            name if name.starts_with("sched-runtime-") => Self::Runtime,
            name if name.starts_with("sched-broker-") => Self::Broker,
            _ if !package.published => Self::Unpublished,
            _ => return None,
        })
    }

    /// The places that a crate of this place may depend on; none when it may depend on anything.
    fn may_use(self) -> Option<&'static [Self]> {
        match self {
            Self::Core | Self::Macros | Self::Xtask => Some(&[]),
            Self::Triggers | Self::Executor | Self::Relay | Self::Async | Self::Testkit => {
                Some(&[Self::Core])
            }
            Self::Store | Self::Broker => Some(&[Self::Core, Self::Relay]),
            Self::Runtime => Some(&[Self::Core, Self::Async]),
            Self::Facade => Some(&[
                Self::Core,
                Self::Macros,
                Self::Triggers,
                Self::Store,
                Self::Executor,
                Self::Broker,
                Self::Async,
                Self::Runtime,
                Self::Testkit,
            ]),
            Self::Cli => Some(&[Self::Facade]),
            Self::Unpublished => None,
        }
    }
}

/// Crates that one crate of the workspace wraps, and that no other may depend on.
const CONFINED: &[(&str, &str)] = &[
    ("async-std", "sched-runtime-async-std"),
    ("diesel", "sched-store-sql"),
    ("diesel_migrations", "sched-store-sql"),
    ("mongodb", "sched-store-mongodb"),
    ("rayon", "sched-executor-rayon"),
    ("redis", "sched-store-redis"),
    ("rumqttc", "sched-broker-mqtt"),
    ("smol", "sched-runtime-smol"),
    ("tokio", "sched-runtime-tokio"),
    // The driver waits for a runtime of its own, and has to be told when there is another.
    ("tokio", "sched-store-mongodb"),
];

/// The package and features of the least useful scheduler: triggers, memory store, threads, blocking runtime.
const MINIMAL_BUILD: &[&str] = &["-p", "sched", "--no-default-features", "--features", "minimal"];

/// The most crates that the minimal build may consist of, its own included.
const MINIMAL_BUILD_LIMIT: usize = 45;

/// Checks the arrows and the size of the minimal build.
pub(crate) fn check(workspace: &Workspace) -> Result<(), Failure> {
    let metadata = Metadata::of_members(workspace)?;
    let faults = forbidden(&metadata.packages);
    if !faults.is_empty() {
        return Err(Failure::new(format!("{} forbidden:\n  {}", faults.len(), faults.join("\n  "))));
    }
    out::line(format!("arrows between {} packages: as designed", metadata.packages.len()));
    if metadata.member("sched").is_none() {
        out::line("size of the minimal build: not checked, there is no package `sched`");
        return Ok(());
    }
    check_minimal_build(workspace)
}

/// Every dependency of the given workspace members that the architecture forbids, in words.
fn forbidden(members: &[Package]) -> Vec<String> {
    members.iter().flat_map(|from| forbidden_of(from, members)).collect()
}

fn forbidden_of(from: &Package, members: &[Package]) -> Vec<String> {
    let Some(place) = Place::of(from) else {
        return vec![format!(
            "{}: has no place in the architecture; xtask/src/deps.rs lists the places",
            from.name
        )];
    };
    let Some(may_use) = place.may_use() else { return Vec::new() };
    let mut faults = Vec::new();
    for dependency in from.dependencies.iter().filter(|dependency| dependency.kind != Kind::Dev) {
        let member = members.iter().find(|member| member.name == dependency.name);
        // A member without a place is reported on its own account.
        if let Some(to) = member.and_then(Place::of)
            && !may_use.contains(&to)
        {
            faults.push(format!("{} -> {}: {place:?} may use {may_use:?}", from.name, dependency.name));
        }
        let owners = CONFINED.iter().filter(|(name, _)| *name == dependency.name).map(|(_, owner)| *owner);
        let owners: Vec<&str> = owners.collect();
        if !owners.is_empty() && !owners.contains(&from.name.as_str()) {
            let owners = owners.join(" and ");
            faults.push(format!("{} -> {}: only {owners} may use it", from.name, dependency.name));
        }
    }
    faults
}

fn check_minimal_build(workspace: &Workspace) -> Result<(), Failure> {
    let mut arguments = vec!["tree"];
    arguments.extend(MINIMAL_BUILD);
    arguments.extend(["-e", "normal", "--prefix", "none"]);
    let crates = distinct_crates(&capture(&mut workspace.cargo(arguments))?);
    if crates > MINIMAL_BUILD_LIMIT {
        return Err(Failure::new(format!(
            "the minimal build has {crates} crates, the limit is {MINIMAL_BUILD_LIMIT}: `cargo tree {} -e normal`",
            MINIMAL_BUILD.join(" ")
        )));
    }
    out::line(format!("size of the minimal build: {crates} crates of at most {MINIMAL_BUILD_LIMIT}"));
    Ok(())
}

/// Counts the crates in the output of `cargo tree --prefix none`, where a repeated one ends with `(*)`.
fn distinct_crates(tree: &str) -> usize {
    let names_and_versions = tree.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        Some((words.next()?, words.next()?))
    });
    names_and_versions.collect::<BTreeSet<_>>().len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::Dependency;

    fn package(name: &str, dependencies: &[(&str, Kind)]) -> Package {
        let dependency = |&(name, kind): &(&str, Kind)| Dependency {
            name: name.to_owned(),
            kind,
            requirement: "^1".to_owned(),
            by_path: false,
        };
        Package {
            id: name.to_owned(),
            name: name.to_owned(),
            version: "1.0.0".to_owned(),
            manifest: "Cargo.toml".into(),
            licence: None,
            source: None,
            published: !matches!(name, "sched-bench" | "sched-chaos" | "sched-examples" | "xtask"),
            dependencies: dependencies.iter().map(dependency).collect(),
        }
    }

    /// The faults of a workspace that has all crates, one of them with one dependency.
    fn faults_of(from: &str, to: &str, kind: Kind) -> Vec<String> {
        const CRATES: &[&str] = &[
            "sched-core",
            "sched-macros",
            "sched-triggers",
            "sched-store-memory",
            "sched-store-mongodb",
            "sched-store-sql",
            "sched-executor-thread",
            "sched-runtime-blocking",
            "sched-async",
            "sched-runtime-tokio",
            "sched-testkit",
            "sched",
            "sched-cli",
            "sched-bench",
            "sched-examples",
            "xtask",
        ];
        assert!(CRATES.contains(&from), "{from} is not in the synthetic workspace");
        let dependencies = |name: &str| if name == from { vec![(to, kind)] } else { Vec::new() };
        forbidden(&CRATES.iter().map(|name| package(name, &dependencies(name))).collect::<Vec<_>>())
    }

    #[test]
    fn designed_arrows_are_allowed() {
        for (from, to) in [
            ("sched-triggers", "sched-core"),
            ("sched-store-memory", "sched-core"),
            ("sched-executor-thread", "sched-core"),
            ("sched-runtime-blocking", "sched-core"),
            ("sched-testkit", "sched-core"),
            ("sched", "sched-core"),
            ("sched", "sched-macros"),
            ("sched", "sched-triggers"),
            ("sched", "sched-store-sql"),
            ("sched", "sched-executor-thread"),
            ("sched", "sched-runtime-tokio"),
            ("sched", "sched-testkit"),
            ("sched-cli", "sched"),
            ("sched-bench", "sched-core"),
            ("sched-examples", "sched"),
            ("sched-core", "serde"),
            ("sched-async", "sched-core"),
            ("sched-runtime-tokio", "sched-async"),
            ("sched-runtime-tokio", "tokio"),
            ("sched-store-sql", "diesel"),
            ("sched-store-mongodb", "tokio"),
            ("sched-bench", "tokio"),
            ("sched-examples", "rayon"),
        ] {
            assert_eq!(faults_of(from, to, Kind::Normal), Vec::<String>::new(), "{from} -> {to}");
        }
    }

    #[test]
    fn every_other_arrow_is_forbidden() {
        for (from, to) in [
            ("sched-core", "sched-macros"),
            ("sched-core", "sched-triggers"),
            ("sched-core", "sched-testkit"),
            ("sched-macros", "sched-core"),
            ("sched-triggers", "sched-store-memory"),
            ("sched-store-memory", "sched-triggers"),
            ("sched-store-memory", "sched-store-sql"),
            ("sched-store-memory", "sched-testkit"),
            ("sched-executor-thread", "sched-runtime-blocking"),
            ("sched-runtime-blocking", "sched-executor-thread"),
            ("sched-runtime-tokio", "sched-runtime-blocking"),
            ("sched-testkit", "sched-store-memory"),
            ("sched-triggers", "sched"),
            ("sched", "sched-cli"),
            ("sched", "sched-bench"),
            ("sched-cli", "sched-core"),
            ("xtask", "sched-core"),
            ("sched-core", "tokio"),
            ("sched-store-memory", "redis"),
            ("sched-runtime-tokio", "async-std"),
            ("sched-async", "tokio"),
            ("sched-async", "sched-runtime-tokio"),
            ("sched-store-memory", "sched-async"),
            ("sched-executor-thread", "sched-async"),
            ("sched-store-sql", "mongodb"),
            ("sched-executor-thread", "rayon"),
            ("sched", "diesel"),
            ("sched-cli", "tokio"),
        ] {
            let faults = faults_of(from, to, Kind::Normal);
            assert_eq!(faults.len(), 1, "{from} -> {to}: {faults:?}");
            assert!(faults[0].starts_with(&format!("{from} -> {to}: ")), "{faults:?}");
        }
    }

    #[test]
    fn build_dependencies_count_and_dev_dependencies_do_not() {
        assert_eq!(faults_of("sched-store-memory", "sched-triggers", Kind::Build).len(), 1);
        assert!(faults_of("sched-store-memory", "sched-triggers", Kind::Dev).is_empty());
        assert!(faults_of("sched-core", "tokio", Kind::Dev).is_empty());
    }

    #[test]
    fn a_published_crate_that_nobody_designed_is_reported() {
        let faults = forbidden(&[package("sched-surprise", &[])]);
        assert_eq!(faults.len(), 1);
        assert!(faults[0].starts_with("sched-surprise: has no place"), "{faults:?}");
    }

    #[test]
    fn a_crate_that_the_tree_repeats_counts_once() {
        let tree =
            "sched v0.1.0 (/here)\nserde v1.0.0\nserde v1.0.0 (*)\nsyn v2.0.0 (proc-macro)\nsyn v3.0.0\n\n";
        assert_eq!(distinct_crates(tree), 4);
    }
}
