//! `sched plugins`: what is linked into this program.

use std::sync::Arc;

use sched::{Registry, RegistryBuilder};
use serde_json::{Value, json};

use crate::args::{LogFormat, PluginsArgs};
use crate::failure::Failure;
use crate::logging::Log;
use crate::{output, schedule};

/// The cargo features of this crate, each of which links something in.
const FEATURES: &[&str] = &[
    "cbor",
    "mongodb",
    "mqtt",
    "mqtt-tls",
    "mysql",
    "postgres",
    "rayon",
    "redis",
    "redis-cluster",
    "redis-sentinel",
    "redis-tls",
    "sql",
];

/// Everything that is linked into this program. What could be, and is not, is told with the feature that links it.
pub(crate) fn linked() -> RegistryBuilder {
    Registry::builder().linked().features_of(env!("CARGO_PKG_NAME"), FEATURES)
}

/// Prints the plug-ins and tasks.
pub(crate) fn list(args: &PluginsArgs) -> Result<(), Failure> {
    let log = Arc::new(Log::new(LogFormat::Human));
    let (registry, _) = schedule::registry(&log)?;
    if !args.json {
        output::line(registry.describe().trim_end());
        return Ok(());
    }
    let plugins = registry.plugins().map(|plugin| {
        json!({
            "kind": plugin.kind().to_string().replace(' ', "_"),
            "aliases": plugin.aliases,
            "summary": plugin.summary,
            "package": plugin.package,
        })
    });
    let tasks =
        registry.tasks().map(|task| json!({ "name": task.name(), "signature": task.signature_text() }));
    let (plugins, tasks): (Vec<Value>, Vec<Value>) = (plugins.collect(), tasks.collect());
    output::line(json!({ "plugins": plugins, "tasks": tasks }));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use sched::config::{Format, parse};

    #[test]
    fn the_features_that_errors_name_are_those_of_this_crate() {
        let manifest = parse(include_str!("../Cargo.toml"), Format::Toml).unwrap();
        let mut features: Vec<&str> =
            manifest["features"].as_object().unwrap().keys().map(String::as_str).collect();
        features.sort_unstable();
        features.retain(|feature| *feature != "default");
        assert_eq!(features, FEATURES);
    }
}
