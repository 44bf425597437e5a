#![doc = include_str!("../README.md")]

mod agenda;
mod ids;
mod leases;
mod queue;
mod store;
mod table;

pub use self::store::MemoryStore;

use std::sync::Arc;

use sched_core::{Error, Factory, JobStore, Plugin, Section};

inventory::submit! {
    Plugin {
        aliases: &["memory"],
        summary: "jobs and runs in memory, gone when the process ends; the default",
        package: env!("CARGO_PKG_NAME"),
        factory: Factory::JobStore(from_config),
    }
}

/// A memory store has no keys.
fn from_config(_: &mut Section<'_>) -> Result<Arc<dyn JobStore>, Error> {
    Ok(Arc::new(MemoryStore::new()))
}
