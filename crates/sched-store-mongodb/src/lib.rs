#![doc = include_str!("../README.md")]

mod broker;
mod codec;
mod commit;
mod config;
mod database;
mod error;
mod jobs;
mod places;
mod queue;
mod runs;
mod schema;
mod settle;
mod store;

pub use self::broker::{MongoBroker, MongoBrokerBuilder};
pub use self::config::MongoStoreBuilder;
pub use self::store::MongoStore;

use sched_core::{Factory, Plugin};

inventory::submit! {
    Plugin {
        aliases: &["mongodb"],
        summary: "jobs and runs in MongoDB, shared by many schedulers",
        package: env!("CARGO_PKG_NAME"),
        factory: Factory::JobStore(config::from_config),
    }
}
