//! What must go on while a store's loop is held up: leases are renewed, and runs whose time is up are ended.
//!
//! The loop does both. A turn may be stuck, though, in a slow store or in a run that an inline executor does on the
//! loop's own thread; then the lane's [`Keeper`] does them a little later, on another thread. It is started when the lane
//! has something to keep for the first time.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Wake as TaskWake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use parking_lot::Mutex;

use super::Scheduler;
use super::driver::Wake;
use super::lane::Lane;
use crate::error::panic_message;
use crate::store::RunClaim;
use crate::{Error, ErrorKind};

/// By how much the keeper is later than the loop should be, for the end of a run's time.
const DEADLINE_SLACK: Duration = Duration::from_millis(100);

/// What a lane and its keeper share.
#[derive(Default)]
pub(crate) struct Keeping {
    is_started: AtomicBool,
    /// When the keeper looks again, in microseconds of the monotonic clock.
    next_look: AtomicU64,
    waker: Mutex<Option<Waker>>,
    /// When leases are to be renewed next, by the monotonic clock.
    renewal: Mutex<Duration>,
}

impl Keeping {
    /// Makes the keeper look soon.
    pub(crate) fn wake(&self) {
        if let Some(waker) = &*self.waker.lock() {
            waker.wake_by_ref();
        }
    }

    /// When leases are to be renewed next, by the monotonic clock.
    pub(crate) fn renewal(&self) -> Duration {
        *self.renewal.lock()
    }

    /// Fresh leases are to be renewed then for the first time.
    pub(crate) fn begin(&self, due: Duration) {
        *self.renewal.lock() = due;
    }

    /// Whether it is time to renew leases. Then the next time is set, and whoever asks has to do it.
    fn take_renewal(&self, now: Duration, slack: Duration, pause: Duration) -> bool {
        let mut due = self.renewal.lock();
        let is_due = now >= due.saturating_add(slack);
        if is_due {
            *due = now + pause;
        }
        is_due
    }
}

/// Keeps leases and deadlines of one store's loop when the loop is late. For adapters: see
/// [`Runtime::spawn_keeper`](crate::Runtime::spawn_keeper).
pub struct Keeper {
    scheduler: Scheduler,
    lane: Arc<Lane>,
}

impl Scheduler {
    /// Makes sure that the lane's keeper looks at `due`, by the monotonic clock, at the latest.
    pub(crate) fn keep(&self, lane: &Arc<Lane>, due: Duration) {
        let keeping = &lane.keeping;
        if keeping.is_started.load(Ordering::Acquire) {
            if micros(due) < keeping.next_look.load(Ordering::SeqCst) {
                keeping.wake();
            }
            return;
        }
        let Some(runtime) = self.inner.state.read().runtime.clone() else { return };
        if keeping.is_started.swap(true, Ordering::AcqRel) {
            return keeping.wake();
        }
        let keeper = Keeper { scheduler: self.clone(), lane: Arc::clone(lane) };
        if let Err(error) = runtime.spawn_keeper(keeper) {
            tracing::warn!(store = &*lane.alias, %error, "no thread to keep leases; the loop does it alone");
        }
    }

    /// Renews the leases of a lane when it is time, or when that was `slack` ago.
    pub(crate) fn renew_leases(&self, lane: &Lane, slack: Duration) -> Result<(), Error> {
        let (now, lease) = (self.inner.clock.monotonic(), lane.lease);
        let Some(queue) = lane.store.runs() else { return Ok(()) };
        if !lane.keeping.take_renewal(now, slack, lease / 3) {
            return Ok(());
        }
        let claims: Vec<RunClaim> = lane.claims.lock().values().copied().collect();
        if claims.is_empty() {
            return Ok(());
        }
        let answers = queue.renew(&claims, lease).inspect_err(|_| {
            // Soon again: there is still some time.
            lane.keeping.begin(now + lease / 15);
        })?;
        let (held, lost): (Vec<_>, Vec<_>) = claims.into_iter().zip(answers).partition(|(_, ours)| *ours);
        // Counted from when it was asked for, not from its answer, which may have come late.
        let held: Vec<RunClaim> = held.into_iter().map(|(claim, _)| claim).collect();
        self.inner.dispatcher.extend_leases(lane, &held, now.saturating_add(lease));
        for (claim, _) in lost {
            if lane.claims.lock().remove(&claim.id).is_some() {
                self.stop_lost(claim.id);
            }
        }
        Ok(())
    }
}

impl Keeper {
    /// One look: renews leases and ends runs whose time is up, where the loop is late with it, and says when to look
    /// again. It never panics.
    pub fn turn(&mut self) -> Wake {
        if self.lane.is_stopped() {
            return Wake::Stop;
        }
        self.lane.keeping.next_look.store(u64::MAX, Ordering::SeqCst);
        let store = &*self.lane.alias;
        match std::panic::catch_unwind(AssertUnwindSafe(|| self.look())) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(store, %error, "leases could not be renewed"),
            Err(panic) => tracing::error!(store, panic = panic_message(&*panic), "the job store panicked"),
        }
        let now = self.scheduler.inner.clock.monotonic();
        let Some(next) = self.next_look() else { return Wake::WhenWoken };
        self.lane.keeping.next_look.store(micros(next), Ordering::SeqCst);
        Wake::After(next.saturating_sub(now).max(Duration::from_millis(1)))
    }

    /// How the keeper is woken.
    pub fn set_waker(&self, waker: Waker) {
        *self.lane.keeping.waker.lock() = Some(waker);
    }

    /// The alias of its store, for naming threads and tasks.
    pub fn alias(&self) -> &str {
        &self.lane.alias
    }

    /// Runs it on a thread of its own until the scheduler is shut down.
    ///
    /// **Errors**: [`Unavailable`](ErrorKind::Unavailable) when there is no thread.
    pub fn spawn_thread(self) -> Result<(), Error> {
        let thread = thread::Builder::new().name(format!("sched-keep-{}", self.alias()));
        let spawned = thread.spawn(move || self.run());
        let failed = |error| Error::new(ErrorKind::Unavailable, "no thread for a keeper").with_source(error);
        spawned.map(drop).map_err(failed)
    }

    fn run(mut self) {
        self.set_waker(Waker::from(Arc::new(Unpark(thread::current()))));
        loop {
            match self.turn() {
                Wake::Again => {}
                Wake::After(pause) => thread::park_timeout(pause),
                Wake::WhenWoken => thread::park(),
                Wake::Stop => return,
            }
        }
    }

    fn look(&self) -> Result<(), Error> {
        let deadline = self.deadline();
        if deadline.is_some_and(|due| self.scheduler.inner.clock.monotonic() >= due) {
            self.scheduler.expire(&self.lane);
        }
        self.scheduler.renew_leases(&self.lane, self.slack())
    }

    fn next_look(&self) -> Option<Duration> {
        let holds = !self.lane.claims.lock().is_empty();
        let renewal = holds.then(|| self.lane.keeping.renewal() + self.slack());
        renewal.into_iter().chain(self.deadline()).min()
    }

    /// When the next run's time was up a little while ago.
    fn deadline(&self) -> Option<Duration> {
        let due = self.scheduler.inner.dispatcher.next_timer(self.lane.index, false)?;
        Some(due.saturating_add(DEADLINE_SLACK))
    }

    fn slack(&self) -> Duration {
        self.lane.lease / 12
    }
}

impl std::fmt::Debug for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keeper").field("store", &self.lane.alias).finish_non_exhaustive()
    }
}

/// Wakes a parked thread. An unpark that comes before the park is kept, so no wake-up is lost.
struct Unpark(Thread);

impl TaskWake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
