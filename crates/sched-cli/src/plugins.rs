//! `sched plugins`: what is linked into this program.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::args::{LogFormat, PluginsArgs};
use crate::failure::Failure;
use crate::logging::Log;
use crate::{output, schedule};

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
