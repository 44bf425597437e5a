//! What an adapter drives: one [`Driver`] for each job store, stepped by [`turn`](Driver::turn).

use std::cell::RefCell;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use super::Scheduler;
use super::keeper::Keeper;
use super::lane::{ClosesAfter, Health, Lane};
use super::turn::Engine;
use crate::Error;
use crate::error::panic_message;
use crate::event::Event;

/// What to do after a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// Take another turn at once.
    Again,
    /// Sleep this long, or until woken.
    After(Duration),
    /// Sleep until woken.
    WhenWoken,
    /// The scheduler was shut down: drop the driver.
    Stop,
}

/// What an adapter provides: somewhere to run the loops.
///
/// A loop is: `set_waker` once, then [`turn`](Driver::turn) until it says [`Wake::Stop`], sleeping in between as
/// told. Before it sleeps it must check [`is_woken`](Driver::is_woken), unless its way of sleeping keeps a wake-up
/// that came early, as parking a thread does.
pub trait Runtime: Send + Sync + 'static {
    /// Begins to drive a store's loop. It is called while the scheduler starts, and must not call back into it.
    fn spawn(&self, driver: Driver) -> Result<(), Error>;

    /// Begins to drive a keeper: `set_waker` once, then [`turn`](Keeper::turn) until it says [`Wake::Stop`]. It must not
    /// run on a thread that drives a loop, which may be stuck. It gets a thread of its own, unless an adapter says
    /// otherwise.
    fn spawn_keeper(&self, keeper: Keeper) -> Result<(), Error> {
        keeper.spawn_thread()
    }
}

/// One job store's loop, to be driven by an adapter.
pub struct Driver {
    scheduler: Scheduler,
    lane: Arc<Lane>,
}

thread_local! {
    /// The lanes whose turn is running on this thread.
    static IN_TURN: RefCell<Vec<u32>> = const { RefCell::new(Vec::new()) };
}

/// Whether this thread is inside a turn of that lane, as a listener or an inline run is.
pub(crate) fn in_turn(lane: &Lane) -> bool {
    IN_TURN.with(|lanes| lanes.borrow().contains(&lane.index))
}

/// Whether this thread is inside a turn of any lane.
pub(crate) fn in_any_turn() -> bool {
    IN_TURN.with(|lanes| !lanes.borrow().is_empty())
}

struct Turning;

impl Turning {
    fn begin(index: u32) -> Self {
        IN_TURN.with(|lanes| lanes.borrow_mut().push(index));
        Self
    }
}

impl Drop for Turning {
    fn drop(&mut self) {
        IN_TURN.with(|lanes| lanes.borrow_mut().pop());
    }
}

impl Driver {
    pub(crate) fn new(scheduler: Scheduler, lane: Arc<Lane>) -> Self {
        Self { scheduler, lane }
    }

    /// One step: claim what is due, plan it, commit it, hand it to executors, finish what has ended, and say when
    /// to look again.
    ///
    /// It never panics and never fails: whatever goes wrong is told as an event, shows as
    /// [`Health::Degraded`], and is tried again after a pause that doubles up to `jobstore_retry_interval`.
    pub fn turn(&mut self) -> Wake {
        if self.lane.is_stopped() {
            return self.stop();
        }
        let wake = {
            let mut engine = self.lane.engine.lock();
            let _turning = Turning::begin(self.lane.index);
            self.lane.awake();
            let step = AssertUnwindSafe(|| engine.step(&self.scheduler, &self.lane));
            let stepped = std::panic::catch_unwind(step);
            let wake = self.judge(&mut engine, stepped);
            // A listener of what was told last may have shut the scheduler down, too.
            self.close_after_turn(&mut engine);
            wake
        };
        if self.lane.is_stopped() { self.stop() } else { wake }
    }

    /// Tells how a turn went, and says when the next one is due.
    fn judge(&self, engine: &mut Engine, stepped: std::thread::Result<Result<Wake, Error>>) -> Wake {
        let failure = match stepped {
            Ok(Ok(wake)) => {
                engine.backoff.reset();
                if self.lane.set_health(Health::Healthy) {
                    tracing::info!(store = &*self.lane.alias, "the job store works again");
                    self.scheduler.publish(Event::StoreRecovered(Arc::clone(&self.lane.alias)));
                }
                return wake;
            }
            Ok(Err(error)) => error.to_string(),
            Err(panic) => format!("panicked: {}", panic_message(&*panic)),
        };
        if self.lane.is_stopped() {
            return Wake::Stop;
        }
        let retry_in = engine.backoff.next();
        let (reason, store): (Arc<str>, _) = (failure.into(), Arc::clone(&self.lane.alias));
        tracing::warn!(store = &*store, %reason, ?retry_in, "the job store failed");
        self.lane.set_health(Health::Degraded(Arc::clone(&reason)));
        self.scheduler.publish(Event::StoreFailed { store, reason, retry_in });
        // The time of a run may be up before; what a store cannot do now it will not hold up.
        let inner = &self.scheduler.inner;
        let deadline = inner.dispatcher.next_timer(self.lane.index, false);
        let left = deadline.map(|deadline| deadline.saturating_sub(inner.clock.monotonic()));
        Wake::After(left.map_or(retry_in, |left| left.min(retry_in)))
    }

    /// The loop is over. Whoever shut the scheduler down during the last turn may have left the lane's end to it.
    fn stop(&self) -> Wake {
        self.close_after_turn(&mut self.lane.engine.lock());
        Wake::Stop
    }

    /// Closes the lane when that was left to the end of the turn.
    fn close_after_turn(&self, engine: &mut Engine) {
        if !self.lane.take_close(ClosesAfter::Turn) {
            return;
        }
        if let Err(error) = self.scheduler.close_lane(&self.lane, engine) {
            tracing::warn!(store = &*self.lane.alias, %error, "the job store could not be shut down");
        }
    }

    /// How the loop is woken.
    pub fn set_waker(&self, waker: Waker) {
        self.lane.set_waker(waker);
    }

    /// Lets the loop wake so much earlier than the next job is due, when it sleeps for long, to have claimed and planned
    /// by then; for direct delivery from a store that never waits. Zero by default. Nothing starts early, and the loop is
    /// told to sleep once more until the moment itself.
    ///
    /// A few milliseconds are right where the adapter's sleep is exact to a fraction of one.
    pub fn set_head_start(&self, head_start: Duration) {
        self.lane.engine.lock().set_head_start(head_start);
    }

    /// Whether a wake-up came since the last turn began.
    pub fn is_woken(&self) -> bool {
        self.lane.is_woken() || self.lane.is_stopped()
    }

    /// Whether a turn may wait for a server or a disk.
    pub fn is_blocking(&self) -> bool {
        self.lane.store.traits().blocking
    }

    /// The alias of its store, for naming threads and tasks.
    pub fn alias(&self) -> &str {
        &self.lane.alias
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").field("store", &self.lane.alias).finish_non_exhaustive()
    }
}
