#![doc = include_str!("../README.md")]

mod broker;
mod codec;
mod config;
mod error;
mod pool;
mod queue;
mod script;
#[cfg(feature = "sentinel")]
mod sentinel;
mod server;
mod store;

pub use sched_core::codec::PayloadFormat;

pub use self::broker::{RedisBroker, RedisBrokerBuilder};
pub use self::config::RedisStoreBuilder;
pub use self::store::RedisStore;

use sched_core::{Factory, Plugin};

inventory::submit! {
    Plugin {
        aliases: &["redis"],
        summary: "jobs and runs in Redis",
        package: env!("CARGO_PKG_NAME"),
        factory: Factory::JobStore(config::from_config),
    }
}
