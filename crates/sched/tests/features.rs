//! The features of the plug-ins are features of the facade and of the command, and the tables of the documents name them.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use sched::config::{Format, parse};
use serde_json::{Map, Value};

/// The plug-ins that have features, and what the facade puts before a feature's name.
const PLUGINS: [(&str, &str); 4] = [
    ("sched-broker-mqtt", "mqtt-"),
    ("sched-store-mongodb", "mongodb-"),
    ("sched-store-redis", "redis-"),
    ("sched-store-sql", ""),
];

/// Of the facade's features, what the command always has or has no use for.
const NOT_OF_THE_COMMAND: [&str; 15] = [
    "async-std",
    "blocking",
    "default",
    "macros",
    "memory",
    "minimal",
    "process",
    "rrule",
    "signal",
    "smol",
    "thread",
    "tokio",
    "toml",
    "triggers",
    "yaml",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn features(package: &str) -> Map<String, Value> {
    let path = root().join("crates").join(package).join("Cargo.toml");
    let manifest = parse(&std::fs::read_to_string(path).unwrap(), Format::Toml).unwrap();
    manifest["features"].as_object().unwrap().clone()
}

fn enables(features: &Map<String, Value>, name: &str, wanted: &str) -> bool {
    let listed = features.get(name).and_then(Value::as_array);
    listed.is_some_and(|listed| listed.iter().any(|feature| feature == wanted))
}

#[test]
fn every_feature_of_a_plug_in_is_one_of_the_facade() {
    let facade = features("sched");
    for (package, prefix) in PLUGINS {
        for feature in features(package).keys().filter(|feature| *feature != "default") {
            let forwarded = match feature.as_str() {
                // It is the core's, whichever store asks for it.
                "cbor" => enables(&facade, "cbor", "sched-core/cbor"),
                // The database of `sql`.
                "sqlite" => enables(&facade, "sql", "dep:sched-store-sql"),
                _ => enables(&facade, &format!("{prefix}{feature}"), &format!("{package}/{feature}")),
            };
            assert!(forwarded, "`{feature}` of `{package}`");
        }
    }
}

#[test]
fn every_feature_of_the_facade_is_one_of_the_command_or_has_no_use_there() {
    let facade: BTreeSet<String> = features("sched").into_iter().map(|(name, _)| name).collect();
    let command = features("sched-cli");
    let expected: BTreeSet<String> =
        facade.into_iter().filter(|name| !NOT_OF_THE_COMMAND.contains(&name.as_str())).collect();
    let found: BTreeSet<String> = command.keys().filter(|name| *name != "default").cloned().collect();
    assert_eq!(found, expected);
    for name in found {
        assert!(enables(&command, &name, &format!("sched/{name}")), "{name}");
    }
}

#[test]
fn the_tables_of_features_are_whole() {
    for document in ["README.md", "crates/sched/README.md"] {
        let text = std::fs::read_to_string(root().join(document)).unwrap();
        let rows = text.lines().skip_while(|line| !line.starts_with("| feature |"));
        let cells = rows.take_while(|line| line.starts_with('|')).filter_map(|line| line.split('|').nth(1));
        let listed: Vec<&str> = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect();
        for name in features("sched").keys().filter(|name| *name != "default") {
            assert!(listed.contains(&name.as_str()), "{document} says nothing of `{name}`");
        }
    }
}
