//! Shutdown in steps, so that an adapter can wait for runs in its own way.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::Scheduler;
use super::driver::in_turn;
use super::lane::Lane;
use super::state::SchedulerState;
use crate::Error;
use crate::event::Event;
use crate::executor::Executor;
use crate::id::RunId;
use crate::policy::Shutdown;

/// A shutdown that has begun: nothing fires any more, and what was started is still open. For adapters; users call
/// their adapter's `shutdown`.
///
/// Dropping it finishes the shutdown as [`Shutdown::Now`] does, which may wait for a store.
#[must_use = "a shutdown that has begun is to be finished"]
pub struct Stopping {
    scheduler: Scheduler,
    parts: Option<Parts>,
}

/// What is still open.
struct Parts {
    lanes: Vec<Arc<Lane>>,
    executors: Vec<(Arc<str>, Arc<dyn Executor>)>,
}

impl Scheduler {
    /// The first step of [`shutdown`](Self::shutdown): from here on nothing fires. It waits for turns that are under
    /// way, as long as `how` says, so that whatever they hand over is seen by what follows.
    ///
    /// **Errors**: [`InvalidState`](crate::ErrorKind::InvalidState) when stopped.
    pub fn begin_shutdown(&self, how: Shutdown) -> Result<Stopping, Error> {
        let (parts, subscribed) = {
            let _control = self.inner.control.lock();
            let mut state = self.inner.state.write();
            state.must_be_started()?;
            state.phase = SchedulerState::Stopped;
            state.runtime = None;
            let subscribed = state.broker.clone().zip(state.subscription.take());
            let lanes = state.stores.iter_mut().filter_map(|entry| entry.lane.take()).collect();
            (Parts { lanes, executors: state.executors.clone() }, subscribed)
        };
        if let Some((broker, subscription)) = subscribed {
            broker.unsubscribe(subscription);
        }
        parts.lanes.iter().for_each(|lane| end_of_turn(lane, how));
        self.drop_retries(None);
        Ok(Stopping { scheduler: self.clone(), parts: Some(parts) })
    }
}

impl Stopping {
    /// Ends once no run is unfinished, except the given one.
    pub fn drained(&self, except: Option<RunId>) -> Drained {
        Drained { scheduler: self.scheduler.clone(), except }
    }

    /// The last step: waits for runs as `how` says, then shuts executors and stores down.
    ///
    /// **Errors**: the first error of an executor or store, after all were shut down.
    pub fn finish(mut self, how: Shutdown) -> Result<(), Error> {
        self.parts.take().map_or(Ok(()), |parts| self.close(parts, how))
    }

    fn close(&self, parts: Parts, how: Shutdown) -> Result<(), Error> {
        let Parts { lanes, executors } = parts;
        let inner = &self.scheduler.inner;
        let stop = match how {
            // What this turn has not handed over yet cannot end before it does: only executors can wait here.
            Shutdown::Wait | Shutdown::WaitFor(_) if lanes.iter().any(|lane| in_turn(lane)) => how,
            Shutdown::Wait if inner.dispatcher.drain(&self.scheduler, None) => how,
            Shutdown::WaitFor(limit) if inner.dispatcher.drain(&self.scheduler, Some(limit)) => {
                Shutdown::Wait
            }
            _ => Shutdown::Now,
        };
        if stop == Shutdown::Now {
            inner.dispatcher.close();
        }
        let mut first_error = None;
        for (_, executor) in executors {
            first_error = first_error.or(executor.shutdown(stop).err());
        }
        for lane in &lanes {
            first_error = first_error.or(self.scheduler.end_lane(lane).err());
        }
        inner.waiters.abandon();
        tracing::info!(identity = &*inner.identity, "the scheduler was shut down");
        self.scheduler.publish(Event::SchedulerShutdown);
        first_error.map_or(Ok(()), Err)
    }
}

impl Drop for Stopping {
    fn drop(&mut self) {
        let Some(parts) = self.parts.take() else { return };
        if let Err(error) = self.close(parts, Shutdown::Now) {
            tracing::error!(%error, "the scheduler could not be shut down");
        }
    }
}

impl fmt::Debug for Stopping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stopping").field("scheduler", &self.scheduler).finish_non_exhaustive()
    }
}

/// The future of [`Stopping::drained`].
#[derive(Debug)]
pub struct Drained {
    scheduler: Scheduler,
    except: Option<RunId>,
}

impl Future for Drained {
    type Output = ();
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.scheduler.inner.dispatcher.poll_drained(self.except, cx)
    }
}

/// Waits until no turn is under way that still hands runs over, then lets the loop settle what ends.
fn end_of_turn(lane: &Lane, how: Shutdown) {
    let turn = match how {
        _ if in_turn(lane) => None,
        Shutdown::Wait => Some(lane.engine.lock()),
        Shutdown::WaitFor(limit) => lane.engine.try_lock_for(limit),
        Shutdown::Now => None,
    };
    drop(turn);
    lane.wake();
}
