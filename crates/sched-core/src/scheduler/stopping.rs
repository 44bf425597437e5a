//! Shutdown in steps, so that an adapter can wait for runs in its own way.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::Scheduler;
use super::driver::{in_any_turn, in_turn};
use super::lane::{ClosesAfter, Lane};
use super::state::SchedulerState;
use crate::Error;
use crate::context::{Entered, RunContext, current_run};
use crate::event::Event;
use crate::executor::Executor;
use crate::id::RunId;
use crate::policy::Shutdown;

/// How often a run that shuts its scheduler down looks whether others wait for its place.
const LOOK: Duration = Duration::from_millis(100);

/// How long a shutdown that does not wait gives a turn that is under way: one that is not stuck is over by then.
const GRACE: Duration = Duration::from_millis(100);

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
    ending: Ending,
}

/// Shutdowns that have begun and not ended.
#[derive(Default)]
pub(crate) struct Endings(Mutex<(usize, Vec<Waker>)>);

/// One of them, until it is dropped.
pub(crate) struct Ending(Arc<Endings>);

impl Ending {
    fn of(endings: &Arc<Endings>) -> Self {
        endings.0.lock().0 += 1;
        Self(Arc::clone(endings))
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        let mut endings = self.0.0.lock();
        endings.0 -= 1;
        let waiting = if endings.0 == 0 { std::mem::take(&mut endings.1) } else { Vec::new() };
        drop(endings);
        waiting.into_iter().for_each(Waker::wake);
    }
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
            // Before anybody can see that it is stopped.
            let ending = Ending::of(&self.inner.endings);
            (Parts { lanes, executors: state.executors.clone(), ending }, subscribed)
        };
        if let Some((broker, subscription)) = subscribed {
            broker.unsubscribe(subscription);
        }
        parts.lanes.iter().for_each(|lane| end_of_turn(lane, how));
        self.drop_retries(None);
        Ok(Stopping { scheduler: self.clone(), parts: Some(parts) })
    }

    /// Ends once every shutdown that has begun is over: executors and stores are shut down, and a queued run that asked
    /// for it has its end written. At once inside of a run or a turn of this scheduler, which a shutdown waits for. For
    /// adapters; users wait with their adapter's `wait_until_stopped`.
    pub fn shut_down(&self) -> ShutDown {
        ShutDown(self.clone())
    }

    /// **Errors**: [`InvalidState`](crate::ErrorKind::InvalidState) while a shutdown has begun and is not over.
    pub(crate) fn must_have_stopped(&self) -> Result<(), Error> {
        match self.inner.endings.0.lock().0 {
            0 => Ok(()),
            _ => Err(Error::new(crate::ErrorKind::InvalidState, "the scheduler is being shut down")),
        }
    }

    /// Keeps a shutdown from being over.
    pub(crate) fn ending(&self) -> Ending {
        Ending::of(&self.inner.endings)
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

    /// The last step of a shutdown that a run asked for which goes on elsewhere: that run is not waited for and not cut
    /// off, and the store that it was claimed from is closed when it is over.
    ///
    /// **Errors**: those of [`finish`](Self::finish).
    pub fn finish_beside(self, own: &RunContext, how: Shutdown) -> Result<(), Error> {
        let (scheduler, own_id) = (self.scheduler.clone(), own.run().id);
        let lanes = self.parts.as_ref().map(|parts| parts.lanes.clone()).unwrap_or_default();
        let _entered = Entered::new(own.clone());
        let finished = self.finish(how);
        // When it was over before anything was left to its end, nobody else does that.
        let is_over = !scheduler.inner.dispatcher.has(own_id);
        for lane in lanes.iter().filter(|lane| is_over && lane.take_close(ClosesAfter::Run(own_id))) {
            scheduler.close_after_run(lane);
        }
        finished
    }

    fn close(&self, parts: Parts, how: Shutdown) -> Result<(), Error> {
        let Parts { lanes, executors, ending } = parts;
        let (inner, begin) = (&self.scheduler.inner, Instant::now());
        let stop = match how {
            // What this turn has not handed over yet cannot end before it does: only executors can wait here.
            Shutdown::Wait | Shutdown::WaitFor(_) if lanes.iter().any(|lane| in_turn(lane)) => how,
            Shutdown::Wait => self.drain(None),
            Shutdown::WaitFor(limit) => self.drain(Some(limit)),
            Shutdown::Now => Shutdown::Now,
        };
        if stop == Shutdown::Now {
            inner.dispatcher.close();
        }
        let mut first_error = None;
        for (_, executor) in executors {
            first_error = first_error.or(executor.shutdown(stop).err());
        }
        for lane in &lanes {
            let patience = match how {
                Shutdown::Wait => None,
                Shutdown::WaitFor(limit) => Some(limit.saturating_sub(begin.elapsed()).max(GRACE)),
                Shutdown::Now => Some(GRACE),
            };
            first_error = first_error.or(self.scheduler.end_lane(lane, patience).err());
        }
        inner.waiters.abandon();
        tracing::info!(identity = &*inner.identity, "the scheduler was shut down");
        self.scheduler.publish(Event::SchedulerShutdown);
        drop(ending);
        first_error.map_or(Ok(()), Err)
    }

    /// Waits until nothing is unfinished but the run that this thread is part of; answers how executors are to be stopped.
    ///
    /// Runs may wait behind that very run, for its place. When no other goes on and none starts for a while, they are left
    /// to their executor, which gives them the place while its shutdown is waited for.
    fn drain(&self, limit: Option<Duration>) -> Shutdown {
        let (scheduler, dispatcher) = (&self.scheduler, &self.scheduler.inner.dispatcher);
        // A limit that no clock reaches is none.
        let limit = limit.filter(|limit| Instant::now().checked_add(*limit).is_some());
        let own = current_run().filter(|context| context.scheduler() == Some(scheduler));
        let Some(own) = own.map(|context| context.run().id) else {
            return if dispatcher.drain(scheduler, limit) { Shutdown::Wait } else { Shutdown::Now };
        };
        let (begin, mut before) = (Instant::now(), None);
        loop {
            let left = limit.map(|limit| limit.saturating_sub(begin.elapsed()));
            if dispatcher.drain(scheduler, Some(left.map_or(LOOK, |left| left.min(LOOK)))) {
                return Shutdown::Wait;
            }
            if left.is_some_and(|left| left <= LOOK) {
                return Shutdown::Now;
            }
            let behind = self.behind(own);
            if behind.is_some() && behind == before {
                return left.map_or(Shutdown::Wait, Shutdown::WaitFor);
            }
            before = behind;
        }
    }

    /// The unfinished runs beside the given one, by id, when none of them has started. When they stay the same for a
    /// while, they wait behind that one, for its place.
    pub fn behind(&self, own: RunId) -> Option<Vec<RunId>> {
        let others = self.scheduler.active_runs().into_iter().filter(|active| active.run.id != own);
        let ids: Option<Vec<RunId>> =
            others.map(|active| active.started_at.is_none().then_some(active.run.id)).collect();
        ids.map(|mut ids| {
            ids.sort_unstable();
            ids
        })
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

/// The future of [`Scheduler::shut_down`].
#[derive(Debug)]
#[must_use = "a future does nothing unless it is awaited"]
pub struct ShutDown(Scheduler);

impl ShutDown {
    /// Waits on this thread.
    pub fn wait(self) {
        pollster::block_on(self);
    }
}

impl Future for ShutDown {
    type Output = ();
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let is_inside = in_any_turn() || current_run().is_some_and(|run| run.scheduler() == Some(&self.0));
        let mut endings = self.0.inner.endings.0.lock();
        if endings.0 == 0 || is_inside {
            return Poll::Ready(());
        }
        if !endings.1.iter().any(|waiting| waiting.will_wake(cx.waker())) {
            endings.1.push(cx.waker().clone());
        }
        Poll::Pending
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
