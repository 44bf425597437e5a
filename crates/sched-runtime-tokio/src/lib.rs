#![doc = include_str!("../README.md")]

mod clock;
mod runtime;

pub use self::clock::TokioClock;
pub use self::runtime::Tokio;
pub use sched_async::{AsyncExecutor, AsyncRuntime, AsyncScheduler, Events, Lagged};

use sched_core::{Factory, Plugin};

/// A scheduler on tokio; see [`AsyncScheduler`].
pub type TokioScheduler = AsyncScheduler<Tokio>;

/// An executor on tokio; see [`AsyncExecutor`]. Its aliases are `tokio` and `asyncio`.
pub type TokioExecutor = AsyncExecutor<Tokio>;

inventory::submit! {
    Plugin {
        aliases: &["tokio", "asyncio"],
        summary: "spawns async tasks on tokio, plain functions on its blocking threads",
        package: env!("CARGO_PKG_NAME"),
        factory: Factory::Executor(sched_async::executor_from_config::<Tokio>),
    }
}
