//! A runtime without threads: its drivers are turned by hand, against simulated time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Waker;
use std::time::Duration;

use parking_lot::Mutex;
use sched_core::{Driver, Error, ErrorKind, Keeper, Runtime, Wake};

/// More turns than this without a rest, at one moment, is a loop that is busy waiting.
const RESTLESS_TURNS: usize = 10_000;

/// Collects the drivers of a scheduler and turns them when it is told to.
#[derive(Debug, Default)]
pub struct ManualRuntime {
    drivers: Mutex<Vec<Driver>>,
    keepers: Mutex<Vec<Keeper>>,
    turns: AtomicUsize,
    refuses: Mutex<bool>,
    head_start: Duration,
}

impl ManualRuntime {
    /// A runtime without drivers.
    pub fn new() -> Self {
        Self::default()
    }

    /// A runtime that lets its loops wake so much before their time.
    pub fn with_head_start(head_start: Duration) -> Self {
        Self { head_start, ..Self::default() }
    }

    /// From now on drivers are refused, as a runtime does that is out of threads.
    pub fn refuse_drivers(&self, refuse: bool) {
        *self.refuses.lock() = refuse;
    }

    /// How many turns were taken so far.
    pub fn turns(&self) -> usize {
        self.turns.load(Ordering::SeqCst)
    }

    /// How many drivers it has.
    pub fn len(&self) -> usize {
        self.drivers.lock().len()
    }

    /// Whether it has no driver.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a driver was woken since its last turn.
    pub fn is_woken(&self) -> bool {
        self.drivers.lock().iter().any(Driver::is_woken)
    }

    /// Forgets all drivers, as a process does that is killed.
    pub fn crash(&self) {
        self.drivers.lock().clear();
        self.keepers.lock().clear();
    }

    /// Lets the keepers look, as their own threads do while a loop is stuck; answers how long they rest.
    pub fn look(&self) -> Option<Duration> {
        let mut rest = None::<Duration>;
        self.keepers.lock().retain_mut(|keeper| match keeper.turn() {
            Wake::After(pause) => {
                rest = Some(rest.map_or(pause, |rest| rest.min(pause)));
                true
            }
            Wake::Again | Wake::WhenWoken => true,
            Wake::Stop => false,
        });
        rest
    }

    /// Turns every driver until all of them rest; answers how long they may, or `None` until they are woken.
    pub fn step(&self) -> Option<Duration> {
        for _ in 0..RESTLESS_TURNS {
            let mut drivers = std::mem::take(&mut *self.drivers.lock());
            let (mut again, mut rest) = (false, None::<Duration>);
            drivers.retain_mut(|driver| {
                self.turns.fetch_add(1, Ordering::SeqCst);
                match driver.turn() {
                    Wake::Again => again = true,
                    Wake::After(pause) => rest = Some(rest.map_or(pause, |rest| rest.min(pause))),
                    Wake::WhenWoken => {}
                    Wake::Stop => return false,
                }
                true
            });
            let mut kept = self.drivers.lock();
            drivers.append(&mut kept);
            *kept = drivers;
            if !again && !kept.iter().any(Driver::is_woken) {
                return rest;
            }
        }
        assert!(self.is_empty(), "a loop took {RESTLESS_TURNS} turns without a rest");
        None
    }
}

impl Runtime for ManualRuntime {
    fn spawn(&self, driver: Driver) -> Result<(), Error> {
        if *self.refuses.lock() {
            return Err(Error::new(ErrorKind::Unavailable, "no place for another driver"));
        }
        driver.set_waker(Waker::noop().clone());
        driver.set_head_start(self.head_start);
        self.drivers.lock().push(driver);
        Ok(())
    }

    fn spawn_keeper(&self, keeper: Keeper) -> Result<(), Error> {
        keeper.set_waker(Waker::noop().clone());
        self.keepers.lock().push(keeper);
        Ok(())
    }
}
