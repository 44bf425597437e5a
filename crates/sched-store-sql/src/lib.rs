#![doc = include_str!("../README.md")]

#[cfg(not(any(feature = "sqlite", feature = "postgres", feature = "mysql")))]
compile_error!("sched-store-sql needs a database: enable its feature `sqlite`, `postgres` or `mysql`");

mod at_once;
mod backend;
mod claim;
mod config;
mod error;
#[cfg(feature = "mysql")]
mod mysql;
#[cfg(any(feature = "postgres", feature = "mysql"))]
mod pool;
#[cfg(feature = "postgres")]
mod postgres;
mod queue;
mod rows;
mod schema;
#[cfg(feature = "sqlite")]
mod sqlite;
mod statement;
mod store;
mod url;

pub use diesel;
pub use sched_core::codec::PayloadFormat;

pub use self::backend::SqlConnection;
pub use self::config::{SqlStoreBuilder, Synchronous};
#[cfg(feature = "postgres")]
pub use self::postgres::broker::{PostgresBroker, PostgresBrokerBuilder};
pub use self::store::SqlStore;

use sched_core::{Factory, Plugin};

inventory::submit! {
    Plugin {
        aliases: &["sql", "sqlalchemy"],
        summary: "jobs and runs in a SQL database: SQLite, PostgreSQL, MySQL, MariaDB",
        package: env!("CARGO_PKG_NAME"),
        factory: Factory::JobStore(config::from_config),
    }
}
