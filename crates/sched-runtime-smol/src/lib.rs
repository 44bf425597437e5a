#![doc = include_str!("../README.md")]

use std::future::Future;
use std::time::Duration;

use sched_core::{Error, Factory, Plugin};

pub use sched_async::{AsyncExecutor, AsyncRuntime, AsyncScheduler, Events, Lagged};

/// A scheduler on smol; see [`AsyncScheduler`].
pub type SmolScheduler = AsyncScheduler<Smol>;

/// An executor on smol; see [`AsyncExecutor`]. Its alias is `smol`.
pub type SmolExecutor = AsyncExecutor<Smol>;

inventory::submit! {
    Plugin {
        aliases: &["smol"],
        summary: "spawns async tasks on smol, plain functions on its blocking threads",
        package: env!("CARGO_PKG_NAME"),
        factory: Factory::Executor(sched_async::executor_from_config::<Smol>),
    }
}

/// The smol runtime: its global executor, which starts when it is first used.
#[derive(Debug, Clone, Copy, Default)]
pub struct Smol;

impl AsyncRuntime for Smol {
    const NAME: &'static str = "smol";

    fn current() -> Result<Self, Error> {
        Ok(Self)
    }

    fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        smol::spawn(future).detach();
    }

    fn spawn_blocking(&self, work: impl FnOnce() + Send + 'static) {
        smol::unblock(work).detach();
    }

    fn sleep(&self, pause: Duration) -> impl Future<Output = ()> + Send + 'static + use<> {
        let timer = smol::Timer::after(pause);
        async move {
            timer.await;
        }
    }

    fn signal(&self) -> impl Future<Output = Result<(), Error>> + Send + 'static + use<> {
        sched_async::next_signal()
    }
}
