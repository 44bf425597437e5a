//! Shutdown: waiting for runs without holding a thread, and signals.

use std::future::{Future, pending};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use futures_channel::oneshot;
use sched_core::{Error, EventMask, RunContext, RunId, Scheduler, Shutdown, Stopping, current_run};

use crate::race::{First, first};
use crate::runtime::{AsyncRuntime, ended, off_loop};
use crate::scheduler::{AsyncScheduler, Shared};

/// How often a run that shuts its scheduler down looks whether others wait for its place.
const LOOK: Duration = Duration::from_millis(100);

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
    /// Inside one of the scheduler's runs it waits for the others only, but not for those that wait behind that very run,
    /// for its place or because `overlap` queues them. What is left of the work goes on when the call has returned:
    ///
    /// * When it waited, those behind are run when that run is over, as far as the limit allows; executors and stores
    ///   are shut down once nothing is unfinished.
    /// * With `false`, or when the limit passes, executors and stores are shut down at once. The run that asked is not
    ///   cut off, though its token says that it is to stop; if it was queued, its store is closed when it is over.
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
    own: Option<RunContext>,
}

type Tell = oneshot::Sender<Result<(), Error>>;

impl<R: AsyncRuntime> Ending<R> {
    async fn end(self, shared: &Arc<Shared<R>>, hurry: impl Future<Output = ()>, tell: Tell) {
        let (scheduler, how) = (shared.scheduler.clone(), self.how);
        let begin = scheduler.clock().monotonic();
        let begun = off_loop(&self.runtime, move || scheduler.begin_shutdown(how)).await;
        let stopping = match begun.and_then(|begun| begun) {
            Ok(stopping) => stopping,
            Err(error) => return drop(tell.send(Err(error))),
        };
        shared.ended();
        let passed = shared.scheduler.clock().monotonic().saturating_sub(begin);
        let mut cut = pin!(first(limit(self.runtime.clone(), how, passed), hurry));
        let mut how = match how {
            Shutdown::Wait | Shutdown::WaitFor(_) => until(self.others_over(&stopping), cut.as_mut()).await,
            Shutdown::Now => how,
        };
        let Self { runtime, own, .. } = self;
        let Some(own) = own else {
            let finished = off_loop(&runtime, move || stopping.finish(how)).await;
            return drop(tell.send(finished.and_then(|finished| finished)));
        };
        // The run that asked goes on, and ends, before its executor does.
        drop(tell.send(Ok(())));
        if how == Shutdown::Wait {
            how = until(stopping.drained(None), cut).await;
        }
        let finished = off_loop(&runtime, move || match how {
            Shutdown::Now => stopping.finish_beside(&own, how),
            how => stopping.finish(how),
        });
        if let Err(error) = finished.await.and_then(|finished| finished) {
            tracing::error!(%error, "the scheduler could not be shut down");
        }
    }

    /// Ends once no run is unfinished but the one that asked, or nothing goes on beside it.
    async fn others_over(&self, stopping: &Stopping) {
        let own = self.own.as_ref().map(|context| context.run().id);
        let Some(id) = own else { return stopping.drained(None).await };
        first(stopping.drained(own), self.stands_still(stopping, id)).await;
    }

    /// Ends when unfinished runs wait behind the given one.
    async fn stands_still(&self, stopping: &Stopping, own: RunId) {
        let mut before = None;
        loop {
            self.runtime.sleep(LOOK).await;
            let behind = stopping.behind(own);
            if behind.is_some() && behind == before {
                return;
            }
            before = behind;
        }
    }
}

/// Ends when no more time is to be spent on waiting for runs, some of which has passed.
async fn limit<R: AsyncRuntime>(runtime: R, how: Shutdown, passed: Duration) {
    match how {
        Shutdown::Wait => pending().await,
        Shutdown::WaitFor(limit) => runtime.sleep(limit.saturating_sub(passed)).await,
        Shutdown::Now => {}
    }
}

/// Waits for runs to be over unless `cut` ends first; says how to go on.
async fn until<T>(over: impl Future<Output = ()>, cut: Pin<&mut impl Future<Output = T>>) -> Shutdown {
    match first(over, cut).await {
        First::Left(()) => Shutdown::Wait,
        First::Right(_) => Shutdown::Now,
    }
}
