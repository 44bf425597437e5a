//! The loop of a driver, and the threads it runs on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake as TaskWake, Waker};
use std::thread::{self, JoinHandle, Thread, ThreadId};
use std::time::Duration;

use parking_lot::Mutex;
use sched_core::{Driver, Error, ErrorKind, Runtime, Wake};

/// How much earlier than a job is due its loop wakes: enough to claim and plan a burst of some thousand jobs.
const HEAD_START: Duration = Duration::from_millis(2);

/// Drives a store's loop on this thread until the scheduler is shut down.
pub(crate) fn drive(mut driver: Driver) {
    driver.set_waker(Waker::from(Arc::new(Unpark(thread::current()))));
    driver.set_head_start(HEAD_START);
    loop {
        match driver.turn() {
            Wake::Again => {}
            Wake::After(pause) => thread::park_timeout(pause),
            Wake::WhenWoken => thread::park(),
            Wake::Stop => return,
        }
    }
}

/// Wakes a parked thread. An unpark that comes before the park is kept, so no wake-up is lost.
struct Unpark(Thread);

impl TaskWake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// A runtime that gives each loop a named thread, except the first when it is kept for the caller's.
#[derive(Debug, Default)]
pub(crate) struct Threads {
    /// Whether the next loop is kept.
    keeps: AtomicBool,
    kept: Mutex<Option<Driver>>,
    running: Mutex<Vec<JoinHandle<()>>>,
}

impl Threads {
    /// All loops on threads of their own.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// The first loop is kept, to be driven by the caller.
    pub(crate) fn keeping_the_first() -> Self {
        Self { keeps: AtomicBool::new(true), ..Self::default() }
    }

    /// The loop that was kept.
    pub(crate) fn kept(&self) -> Option<Driver> {
        self.kept.lock().take()
    }

    /// Waits for the threads to end; not for this one, when it is among them.
    pub(crate) fn join(&self) {
        let own: ThreadId = thread::current().id();
        let running = std::mem::take(&mut *self.running.lock());
        for handle in running.into_iter().filter(|handle| handle.thread().id() != own) {
            if handle.join().is_err() {
                tracing::error!("a scheduler thread panicked");
            }
        }
    }
}

impl Runtime for Threads {
    fn spawn(&self, driver: Driver) -> Result<(), Error> {
        if self.keeps.swap(false, Ordering::SeqCst) {
            *self.kept.lock() = Some(driver);
            return Ok(());
        }
        let name = format!("sched-loop-{}", driver.alias());
        let spawned = thread::Builder::new().name(name).spawn(move || drive(driver));
        let failed =
            |error| Error::new(ErrorKind::Unavailable, "no thread for the scheduler").with_source(error);
        self.running.lock().push(spawned.map_err(failed)?);
        Ok(())
    }
}
