#![doc = include_str!("../README.md")]

#[cfg(not(feature = "sqlite"))]
compile_error!("sched-store-sql needs a database: enable its feature `sqlite`");

mod codec;
mod config;
mod error;
mod queue;
mod schema;
mod sqlite;
mod statement;
mod store;

pub use diesel;

pub use self::config::{SqlStoreBuilder, Synchronous};
pub use self::store::SqlStore;

use sched_core::{Factory, Plugin};

inventory::submit! {
    Plugin {
        aliases: &["sql", "sqlalchemy"],
        summary: "jobs and runs in a SQL database: SQLite",
        package: env!("CARGO_PKG_NAME"),
        factory: Factory::JobStore(config::from_config),
    }
}
