//! A job store's loop as a future.

use std::future::{Future, pending, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use sched_core::{Driver, Error, Runtime, Wake};

use crate::race::yield_now;
use crate::runtime::{AsyncRuntime, off_loop};

/// Spawns the loops of one start of a scheduler: one future for each job store.
#[derive(Debug)]
pub(crate) struct Loops<R> {
    runtime: R,
    /// Whether a call of some store may wait for a server or a disk.
    blocking: AtomicBool,
}

impl<R: AsyncRuntime> Loops<R> {
    pub(crate) fn on(runtime: R) -> Self {
        Self { runtime, blocking: AtomicBool::new(false) }
    }

    pub(crate) fn runtime(&self) -> &R {
        &self.runtime
    }

    /// Whether calls of the scheduler are to be kept off the event loop.
    pub(crate) fn is_blocking(&self) -> bool {
        self.blocking.load(Ordering::Acquire)
    }

    /// From here on calls are kept off the event loop.
    pub(crate) fn set_blocking(&self) {
        self.blocking.store(true, Ordering::Release);
    }
}

impl<R: AsyncRuntime> Runtime for Loops<R> {
    fn spawn(&self, driver: Driver) -> Result<(), Error> {
        if driver.is_blocking() {
            self.set_blocking();
        }
        self.runtime.spawn(drive(self.runtime.clone(), driver));
        Ok(())
    }
}

/// How much earlier than a job is due its loop wakes: enough to claim and plan a burst of some thousand jobs. Timers of async
/// runtimes are exact to a millisecond.
const HEAD_START: Duration = Duration::from_millis(4);

/// Drives a store's loop until the scheduler is shut down. Turns that may block are taken off the event loop.
async fn drive<R: AsyncRuntime>(runtime: R, mut driver: Driver) {
    // It waits for a turn or a start that is under way, which may wait for a server where the store does.
    if !driver.is_blocking() {
        driver.set_head_start(HEAD_START);
    }
    loop {
        let wake = if driver.is_blocking() {
            let turn = move || {
                let wake = driver.turn();
                (driver, wake)
            };
            // Without a runtime nobody can sleep any more.
            let Ok((back, wake)) = off_loop(&runtime, turn).await else { return };
            driver = back;
            wake
        } else {
            driver.turn()
        };
        match wake {
            Wake::Again => yield_now().await,
            Wake::After(pause) => rest(&driver, runtime.sleep(pause)).await,
            Wake::WhenWoken => rest(&driver, pending()).await,
            Wake::Stop => return,
        }
    }
}

/// Waits until the loop is woken or `sleep` ends.
async fn rest(driver: &Driver, sleep: impl Future<Output = ()>) {
    let mut sleep = pin!(sleep);
    poll_fn(|context| {
        // First the waker, then the question: a wake-up in between is seen by one of them.
        driver.set_waker(context.waker().clone());
        if driver.is_woken() { Poll::Ready(()) } else { sleep.as_mut().poll(context) }
    })
    .await;
}
