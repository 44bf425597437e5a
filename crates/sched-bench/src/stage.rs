//! A scheduler on a stage: its clock stands still until told otherwise and its loop is stepped by hand, so that a
//! turn can be timed alone. And a tally of runs that wakes who waits for the last of them.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use sched_core::{
    Clock, Driver, Error, JobBuilder, Runtime, Scheduler, Shutdown, StartMode, Task, Trigger, Wake,
};
use serde_json::json;

use crate::Outcome;

/// Longest wait for runs before they count as lost.
const PATIENCE: Duration = Duration::from_secs(60);

/// A clock that is set by hand.
#[derive(Debug)]
pub struct SetClock {
    begun: i64,
    now: AtomicI64,
}

impl SetClock {
    /// A clock that stands at `now`.
    pub fn at(now: DateTime<Utc>) -> Self {
        let now = now.timestamp_micros();
        Self { begun: now, now: AtomicI64::new(now) }
    }

    /// Moves on to `micros` since 1970.
    pub fn set(&self, micros: i64) {
        self.now.store(micros, Ordering::SeqCst);
    }
}

impl Clock for SetClock {
    fn now(&self) -> DateTime<Utc> {
        DateTime::from_timestamp_micros(self.now.load(Ordering::SeqCst)).unwrap_or_default()
    }

    fn monotonic(&self) -> Duration {
        let passed = self.now.load(Ordering::SeqCst) - self.begun;
        Duration::from_micros(u64::try_from(passed).unwrap_or(0))
    }
}

/// A runtime that drives nothing: it hands the loop out.
#[derive(Debug, Default)]
struct Collect(Mutex<Option<Driver>>);

impl Runtime for Collect {
    fn spawn(&self, driver: Driver) -> Result<(), Error> {
        *self.0.lock() = Some(driver);
        Ok(())
    }
}

/// A started scheduler with its loop at hand.
#[derive(Debug)]
pub struct Stage {
    /// The scheduler.
    pub scheduler: Scheduler,
    /// Its clock.
    pub clock: Arc<SetClock>,
    driver: Driver,
}

impl Stage {
    /// A started scheduler with a memory store and a thread pool, of as many workers as usual or as given.
    ///
    /// **Errors**: those of the scheduler.
    pub fn start(now: DateTime<Utc>, workers: Option<u32>) -> Outcome<Self> {
        let clock = Arc::new(SetClock::at(now));
        let builder = Scheduler::builder().clock(Arc::clone(&clock) as Arc<dyn Clock>);
        let scheduler = match workers {
            Some(workers) => builder.config(pool(workers)).build()?,
            None => builder.build()?,
        };
        let runtime = Arc::new(Collect::default());
        scheduler.start_on(Arc::clone(&runtime) as Arc<dyn Runtime>, StartMode::Running)?;
        let driver = runtime.0.lock().take().ok_or("the scheduler started no loop")?;
        Ok(Self { scheduler, clock, driver })
    }

    /// Takes turns until nothing is due.
    pub fn turns(&mut self) {
        while self.driver.turn() == Wake::Again {}
    }

    /// Waits until no run is unfinished. **Errors**: when that takes too long.
    pub fn settle(&self) -> Outcome {
        let deadline = Instant::now() + PATIENCE;
        while !self.scheduler.active_runs().is_empty() {
            if Instant::now() > deadline {
                return Err("runs do not end".into());
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // A stage that did not come down has nobody left to tell.
        let _ = self.scheduler.shutdown(Shutdown::Now);
    }
}

/// A configuration with a default thread pool of so many workers.
pub fn pool(workers: u32) -> serde_json::Value {
    json!({ "executors": { "default": { "type": "threadpool", "max_workers": workers } } })
}

/// A job of a shared task.
pub fn job_of(task: &Arc<Task>, trigger: impl Trigger) -> JobBuilder {
    JobBuilder::bound(Arc::clone(task)).trigger(trigger)
}

/// Counts runs and wakes the thread that made it when the expected number is reached.
pub struct Tally {
    count: AtomicU64,
    target: AtomicU64,
    waiter: Thread,
}

impl Tally {
    /// A tally that stands at zero; only this thread can wait.
    pub fn new() -> Arc<Self> {
        let (count, target) = (AtomicU64::new(0), AtomicU64::new(u64::MAX));
        Arc::new(Self { count, target, waiter: thread::current() })
    }

    /// One more.
    pub fn add(&self) {
        if self.count.fetch_add(1, Ordering::AcqRel) + 1 == self.target.load(Ordering::Acquire) {
            self.waiter.unpark();
        }
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }

    /// Expects so many in all. To be called before the last of them can come.
    pub fn expect(&self, target: u64) {
        self.target.store(target, Ordering::Release);
    }

    /// Waits for the expected number; whether it came.
    pub fn wait(&self) -> bool {
        self.wait_within(PATIENCE)
    }

    /// Waits so long at most; whether the expected number came.
    pub fn wait_within(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        while self.count() < self.target.load(Ordering::Acquire) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            thread::park_timeout(left);
        }
        true
    }

    /// A task that counts its runs here.
    pub fn task(self: &Arc<Self>) -> Arc<Task> {
        let tally = Arc::clone(self);
        Arc::new(Task::new("count", move |_, _| tally.add()))
    }
}

impl fmt::Debug for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tally").field("count", &self.count()).finish_non_exhaustive()
    }
}
