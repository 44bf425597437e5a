//! Shutdown: waiting for runs without holding a thread, and signals.

use std::future::{Future, pending};
use std::pin::pin;
use std::sync::Arc;

use futures_channel::oneshot;
use sched_core::{Error, EventMask, RunId, Scheduler, Shutdown, Stopping, current_run};

use crate::race::{First, first};
use crate::runtime::{AsyncRuntime, ended, off_loop};
use crate::scheduler::{AsyncScheduler, Shared};

/// Shuts a scheduler down when it is dropped, on whatever thread that happens.
pub(crate) struct ShutdownOnDrop(pub(crate) Scheduler);

impl Drop for ShutdownOnDrop {
    fn drop(&mut self) {
        let stopped = self.0.is_running().then(|| self.0.shutdown(Shutdown::Now));
        if let Some(Err(error)) = stopped {
            tracing::error!(%error, "the scheduler could not be shut down");
        }
    }
}

impl<R: AsyncRuntime> AsyncScheduler<R> {
    /// Stops: nothing more fires, unfinished runs are waited for or asked to cancel, then executors and stores are shut
    /// down. No thread is held while runs are waited for. The scheduler can be started again.
    ///
    /// `true` waits, `false` does not; a `Duration` waits at most that long, in the runtime's time.
    ///
    /// Inside one of the scheduler's runs it waits for the others only; executors and stores are shut down once that
    /// run is over as well.
    ///
    /// **Errors**: [`InvalidState`](sched_core::ErrorKind::InvalidState) when stopped; else the first error of an
    /// executor or store, after all were shut down.
    pub async fn shutdown(&self, how: impl Into<Shutdown>) -> Result<(), Error> {
        self.shutdown_unless(how.into(), pending()).await
    }

    /// Waits until the scheduler is shut down, with all that a shutdown waits for; ends at once when it is stopped.
    pub async fn wait_until_stopped(&self) {
        let mut events = self.events(EventMask::SCHEDULER_SHUTDOWN);
        if self.call(|scheduler| Ok(scheduler.is_running())).await.unwrap_or(false) {
            while events.next().await.is_some() {}
        }
        self.shut_down().await;
    }

    /// Starts unless it is started, and ends once it was shut down, by whomever, or after a signal: on ctrl-c or a
    /// request to terminate the scheduler is shut down and unfinished runs are waited for. A second signal asks them to
    /// cancel.
    ///
    /// **Errors**: those of [`start`](Self::start) and [`shutdown`](Self::shutdown);
    /// [`Unavailable`](sched_core::ErrorKind::Unavailable) when signals cannot be listened to.
    pub async fn run_until_signal(&self) -> Result<(), Error> {
        let runtime = self.runtime()?;
        if !self.call(|scheduler| Ok(scheduler.is_running())).await? {
            self.start().await?;
        }
        match first(runtime.signal(), self.wait_until_stopped()).await {
            First::Left(Ok(())) => {}
            First::Left(Err(error)) => {
                self.shutdown(Shutdown::Wait).await?;
                return Err(error);
            }
            First::Right(()) => return Ok(()),
        }
        tracing::info!("asked to end; waiting for unfinished runs");
        let again = runtime.signal();
        self.shutdown_unless(Shutdown::Wait, async move { drop(again.await) }).await
    }

    /// Shuts down as told, and stops waiting for runs when `hurry` ends.
    async fn shutdown_unless(
        &self,
        how: Shutdown,
        hurry: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), Error> {
        let runtime = self.runtime()?;
        let own = current_run().filter(|context| context.scheduler() == Some(self.scheduler()));
        let own = own.map(|context| context.run().id);
        let (tell, told) = oneshot::channel();
        let (ending, shared) = (Ending { runtime: runtime.clone(), how, own }, Arc::clone(&self.shared));
        runtime.spawn(async move { ending.end(&shared, hurry, tell).await });
        told.await.unwrap_or_else(|_| Err(ended::<R>()))
    }
}

/// A shutdown on its way; it goes on when whoever asked for it is gone.
struct Ending<R> {
    runtime: R,
    how: Shutdown,
    /// The run that asked for it.
    own: Option<RunId>,
}

type Tell = oneshot::Sender<Result<(), Error>>;

impl<R: AsyncRuntime> Ending<R> {
    async fn end(self, shared: &Arc<Shared<R>>, hurry: impl Future<Output = ()>, tell: Tell) {
        let (scheduler, how) = (shared.scheduler.clone(), self.how);
        let clock = Arc::clone(scheduler.clock());
        let begin = clock.monotonic();
        let begun = off_loop(&self.runtime, move || scheduler.begin_shutdown(how)).await;
        let stopping = match begun.and_then(|begun| begun) {
            Ok(stopping) => stopping,
            Err(error) => return drop(tell.send(Err(error))),
        };
        shared.ended();
        let how = match how {
            Shutdown::WaitFor(limit) => {
                let passed = clock.monotonic().saturating_sub(begin);
                let deadline = self.runtime.sleep(limit.saturating_sub(passed));
                self.drain(&stopping, first(deadline, hurry)).await
            }
            Shutdown::Wait => self.drain(&stopping, hurry).await,
            Shutdown::Now => how,
        };
        let tell = match self.own {
            // The run that asked goes on, and ends, before its executor does.
            Some(_) => {
                drop(tell.send(Ok(())));
                if how == Shutdown::Wait {
                    stopping.drained(None).await;
                }
                None
            }
            None => Some(tell),
        };
        let finished = off_loop(&self.runtime, move || stopping.finish(how)).await;
        match (tell, finished.and_then(|finished| finished)) {
            (Some(tell), finished) => drop(tell.send(finished)),
            (None, Err(error)) => tracing::error!(%error, "the scheduler could not be shut down"),
            (None, Ok(())) => {}
        }
    }

    /// Waits for runs unless `hurry` ends first; says how to go on.
    async fn drain<T>(&self, stopping: &Stopping, hurry: impl Future<Output = T>) -> Shutdown {
        let hurry = pin!(hurry);
        match first(stopping.drained(self.own), hurry).await {
            First::Left(()) => Shutdown::Wait,
            First::Right(_) => Shutdown::Now,
        }
    }
}
