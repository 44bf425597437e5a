#![doc = include_str!("../README.md")]

mod executor;
mod pool;

pub use self::executor::{RayonBuilder, RayonExecutor};

use sched_core::{Factory, Plugin};

inventory::submit! {
    Plugin {
        aliases: &["rayon"],
        summary: "runs on a rayon pool, for work that keeps processors busy",
        package: env!("CARGO_PKG_NAME"),
        factory: Factory::Executor(executor::from_config),
    }
}
