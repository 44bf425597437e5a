#![doc = include_str!("../README.md")]

use std::future::Future;
use std::time::Duration;

use sched_core::{Error, Factory, Plugin};

pub use sched_async::{AsyncExecutor, AsyncRuntime, AsyncScheduler, Events, Lagged};

/// A scheduler on async-std; see [`AsyncScheduler`].
pub type AsyncStdScheduler = AsyncScheduler<AsyncStd>;

/// An executor on async-std; see [`AsyncExecutor`]. Its alias is `async-std`.
pub type AsyncStdExecutor = AsyncExecutor<AsyncStd>;

inventory::submit! {
    Plugin {
        aliases: &["async-std"],
        summary: "spawns async tasks on async-std, plain functions on its blocking threads",
        package: env!("CARGO_PKG_NAME"),
        factory: Factory::Executor(sched_async::executor_from_config::<AsyncStd>),
    }
}

/// The async-std runtime. A program has one, which starts when it is first used.
#[derive(Debug, Clone, Copy, Default)]
pub struct AsyncStd;

impl AsyncRuntime for AsyncStd {
    const NAME: &'static str = "async-std";

    fn current() -> Result<Self, Error> {
        Ok(Self)
    }

    fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        drop(async_std::task::spawn(future));
    }

    fn spawn_blocking(&self, work: impl FnOnce() + Send + 'static) {
        drop(async_std::task::spawn_blocking(work));
    }

    fn sleep(&self, pause: Duration) -> impl Future<Output = ()> + Send + 'static + use<> {
        async_std::task::sleep(pause)
    }

    fn signal(&self) -> impl Future<Output = Result<(), Error>> + Send + 'static + use<> {
        sched_async::next_signal()
    }
}
