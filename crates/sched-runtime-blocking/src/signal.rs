//! Ending a scheduler on ctrl-c.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sched_core::{Error, ErrorKind, EventMask, Scheduler, Shutdown};

/// The exit status after a second signal: 128 plus the number of SIGINT.
const FORCED_EXIT: i32 = 130;

/// Shuts `scheduler` down on ctrl-c, or on a request to terminate: the first waits for unfinished runs, the second
/// ends the process at once with status 130. A scheduler that is started again has a first signal again.
///
/// A program has one such handler. **Errors**: [`InvalidState`](ErrorKind::InvalidState) when one is installed
/// already.
pub fn shutdown_on_signal(scheduler: &Scheduler) -> Result<(), Error> {
    let handler = on_signal(scheduler, || std::process::exit(FORCED_EXIT));
    ctrlc::set_handler(handler).map_err(|error| {
        Error::new(ErrorKind::InvalidState, "the signal handler could not be installed").with_source(error)
    })
}

/// What a signal does: it shuts the scheduler down, and calls `force` when it is not the first since the last start.
fn on_signal(scheduler: &Scheduler, force: impl Fn() + Send + 'static) -> impl FnMut() + Send + 'static {
    let (scheduler, asked) = (scheduler.clone(), Arc::new(AtomicBool::new(false)));
    let started = Arc::clone(&asked);
    scheduler.add_listener(move |_| started.store(false, Ordering::SeqCst), EventMask::SCHEDULER_STARTED);
    move || {
        if asked.swap(true, Ordering::SeqCst) {
            return force();
        }
        let scheduler = scheduler.clone();
        let stop = move || {
            if let Err(error) = scheduler.shutdown(Shutdown::Wait) {
                tracing::warn!(%error, "the scheduler could not be shut down");
            }
        };
        if std::thread::Builder::new().name("sched-signal".to_owned()).spawn(stop).is_err() {
            force();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;
    use crate::BackgroundScheduler;
    use {sched_executor_thread as _, sched_store_memory as _};

    #[test]
    fn each_start_has_a_first_signal() -> Result<(), Error> {
        let (scheduler, forced) = (BackgroundScheduler::new()?, Arc::new(AtomicUsize::new(0)));
        let counted = Arc::clone(&forced);
        let mut signal = on_signal(&scheduler, move || _ = counted.fetch_add(1, Ordering::SeqCst));
        for round in 0..3 {
            scheduler.start()?;
            signal();
            scheduler.wait_until_stopped();
            assert_eq!(forced.load(Ordering::SeqCst), round, "the first signal of start {round}");
            signal();
            assert_eq!(forced.load(Ordering::SeqCst), round + 1, "the second signal of start {round}");
        }
        Ok(())
    }
}
