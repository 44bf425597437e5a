//! A simulated process: a real scheduler with a clock, a client and an executor of its own, turned by hand.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::Waker;
use std::time::Duration;

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use parking_lot::Mutex;
use sched_core::{
    Clock, Delivery, Driver, Error, ErrorKind, Event, EventMask, Keeper, Registry, Runtime, Scheduler,
    Shutdown, StartMode,
};

use super::client::Client;
use super::executor::SimExecutor;
use super::watch::Process;
use super::world::World;

/// The time that nobody in the simulation can see: that of the server.
#[derive(Debug)]
pub(super) struct TrueTime(Mutex<DateTime<Utc>>);

impl TrueTime {
    pub(super) fn new(start: DateTime<Utc>) -> Arc<Self> {
        Arc::new(Self(Mutex::new(start)))
    }

    pub(super) fn now(&self) -> DateTime<Utc> {
        *self.0.lock()
    }

    /// Time passes, and never goes back.
    pub(super) fn advance_to(&self, time: DateTime<Utc>) {
        let mut now = self.0.lock();
        *now = time.max(*now);
    }
}

/// The clock of a process: off by some amount, and running off.
#[derive(Debug)]
pub(super) struct NodeClock {
    truth: Arc<TrueTime>,
    began: DateTime<Utc>,
    offset: Mutex<TimeDelta>,
    /// The monotonic clock shows nothing.
    stopped: AtomicBool,
    /// So many microseconds too fast in a second.
    drift: i64,
}

impl NodeClock {
    pub(super) fn new(truth: &Arc<TrueTime>, offset: TimeDelta, drift: i64) -> Arc<Self> {
        let (truth, began) = (Arc::clone(truth), truth.now());
        let stopped = AtomicBool::new(false);
        Arc::new(Self { truth, began, offset: Mutex::new(offset), stopped, drift })
    }

    /// Somebody sets it.
    pub(super) fn step(&self, by: TimeDelta) {
        *self.offset.lock() += by;
    }

    /// It is set right.
    pub(super) fn correct(&self) {
        *self.offset.lock() = TimeDelta::microseconds(-self.run_off());
    }

    /// As long as the answer lives the monotonic clock shows nothing.
    pub(super) fn stop(self: &Arc<Self>) -> Stopped {
        self.stopped.store(true, Ordering::SeqCst);
        Stopped(Arc::clone(self))
    }

    fn run_off(&self) -> i64 {
        (self.truth.now() - self.began).num_milliseconds() * self.drift / 1_000
    }
}

/// A clock that does not go.
pub(super) struct Stopped(Arc<NodeClock>);

impl Drop for Stopped {
    fn drop(&mut self) {
        self.0.stopped.store(false, Ordering::SeqCst);
    }
}

impl Clock for NodeClock {
    fn now(&self) -> DateTime<Utc> {
        let off = *self.offset.lock() + TimeDelta::microseconds(self.run_off());
        (self.truth.now() + off).trunc_subsecs(6)
    }

    fn monotonic(&self) -> Duration {
        if self.stopped.load(Ordering::SeqCst) {
            return Duration::ZERO;
        }
        (self.truth.now() - self.began).to_std().unwrap_or_default()
    }
}

/// What a process is to be.
#[derive(Debug, Clone)]
pub(super) struct NodePlan {
    pub(super) slot: usize,
    pub(super) identity: String,
    pub(super) offset: TimeDelta,
    pub(super) drift: i64,
    pub(super) places: usize,
    /// So many jobs and runs are claimed at once.
    pub(super) batch: usize,
    pub(super) delivery: Delivery,
}

/// How a process fares.
#[derive(Debug, Default)]
pub(super) struct NodeState {
    pub(super) next_turn: Option<DateTime<Utc>>,
    pub(super) frozen_until: Option<DateTime<Utc>>,
    pub(super) dead: bool,
    /// It is inside a turn or a shutdown, waiting for the server.
    pub(super) busy: bool,
    pub(super) turns: usize,
    /// Turns without a rest, and when they began.
    pub(super) restless: (usize, DateTime<Utc>),
    pub(super) failures: u32,
}

/// A process.
pub(super) struct Node {
    pub(super) process: Process,
    pub(super) plan: NodePlan,
    pub(super) clock: Arc<NodeClock>,
    pub(super) client: Arc<Client>,
    pub(super) executor: Arc<SimExecutor>,
    pub(super) scheduler: Scheduler,
    pub(super) driver: Mutex<Option<Driver>>,
    pub(super) state: Mutex<NodeState>,
    failures: Arc<AtomicU32>,
}

/// Keeps the driver that a scheduler spawns.
#[derive(Default)]
struct Kept(Mutex<Option<Driver>>);

impl Runtime for Kept {
    fn spawn(&self, driver: Driver) -> Result<(), Error> {
        driver.set_waker(Waker::noop().clone());
        *self.0.lock() = Some(driver);
        Ok(())
    }

    /// There is one thread, and so none that could keep leases while the loop waits for the server.
    fn spawn_keeper(&self, _: Keeper) -> Result<(), Error> {
        Err(Error::new(ErrorKind::Unsupported, "there is one thread"))
    }
}

impl Node {
    /// A process that runs.
    pub(super) fn start(world: &Arc<World>, plan: NodePlan, registry: Registry) -> Result<Self, Error> {
        let process = world.new_process();
        let clock = NodeClock::new(&world.truth, plan.offset, plan.drift);
        let client = Arc::new(Client::new(world, process));
        let executor = Arc::new(SimExecutor::new(world, &clock, process, plan.places));
        let (store, runs) = (Arc::clone(&client), Arc::clone(&executor));
        let (delivery, batch) = (plan.delivery, plan.batch);
        let scheduler = Scheduler::builder()
            .registry(registry)
            .clock(Arc::clone(&clock) as Arc<dyn Clock>)
            .identity(plan.identity.as_str())
            .with(|config| config.job_store("default", store).executor("default", runs))
            .with(|config| config.delivery(delivery).claim_batch(batch))
            .build()?;
        let failures = Arc::new(AtomicU32::new(0));
        let (count, watched) = (Arc::clone(&failures), Arc::downgrade(world));
        let heard = move |event: &Event| {
            let Event::StoreFailed { reason, .. } = event else { return };
            count.fetch_add(1, Ordering::SeqCst);
            if let Some(world) = watched.upgrade().filter(|_| reason.contains("panicked")) {
                world.with(|hub, _| hub.watch.violated(format!("a turn {reason}")));
            }
        };
        scheduler.add_listener(heard, EventMask::STORE_FAILED);
        let runtime = Arc::new(Kept::default());
        let started = scheduler.start_on(Arc::clone(&runtime) as Arc<dyn Runtime>, StartMode::Running);
        if let Err(error) = started {
            world.with(|hub, _| hub.watch.health[process].dead = true);
            return Err(error);
        }
        let driver = Mutex::new(runtime.0.lock().take());
        let now = world.truth.now();
        let state = NodeState { next_turn: Some(now), restless: (0, now), ..NodeState::default() };
        let state = Mutex::new(state);
        Ok(Self { process, plan, clock, client, executor, scheduler, driver, state, failures })
    }

    pub(super) fn failures(&self) -> u32 {
        self.failures.load(Ordering::SeqCst)
    }

    /// When it does something next: whether that is a turn, or the start or end of a run.
    pub(super) fn next(&self, now: DateTime<Utc>) -> Option<(DateTime<Utc>, bool)> {
        let state = self.state.lock();
        if state.dead {
            return None;
        }
        let woken = self.driver.lock().as_ref().map(Driver::is_woken);
        let turn = match woken {
            Some(true) => Some(now),
            Some(false) => state.next_turn,
            None => None,
        };
        let turn = turn.filter(|_| !state.busy).map(|time| (time, true));
        let end = self.executor.next_step().map(|time| (time, false));
        let (time, what) = [end, turn].into_iter().flatten().min_by_key(|(time, _)| *time)?;
        Some((time.max(state.frozen_until.unwrap_or(time)), what))
    }

    /// What is left of a process that is dead: nothing of it reaches the server.
    pub(super) fn bury(&self) {
        self.client.die();
        self.driver.lock().take();
        // It fails for want of a server; it only breaks the circle of references.
        drop(self.scheduler.shutdown(Shutdown::Now));
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node")
            .field("plan", &self.plan)
            .field("state", &*self.state.lock())
            .finish_non_exhaustive()
    }
}
