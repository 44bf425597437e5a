//! Ending a scheduler on ctrl-c.

use std::sync::atomic::{AtomicBool, Ordering};

use sched_core::{Error, ErrorKind, Scheduler, Shutdown};

/// The exit status after a second signal: 128 plus the number of SIGINT.
const FORCED_EXIT: i32 = 130;

/// Shuts `scheduler` down on ctrl-c, or on a request to terminate: the first waits for unfinished runs, the second
/// ends the process at once with status 130.
///
/// A program has one such handler. **Errors**: [`InvalidState`](ErrorKind::InvalidState) when one is installed
/// already.
pub fn shutdown_on_signal(scheduler: &Scheduler) -> Result<(), Error> {
    let (scheduler, asked) = (scheduler.clone(), AtomicBool::new(false));
    let handler = move || {
        if asked.swap(true, Ordering::SeqCst) {
            std::process::exit(FORCED_EXIT);
        }
        let scheduler = scheduler.clone();
        let stop = move || {
            if let Err(error) = scheduler.shutdown(Shutdown::Wait) {
                tracing::warn!(%error, "the scheduler could not be shut down");
            }
        };
        if std::thread::Builder::new().name("sched-signal".to_owned()).spawn(stop).is_err() {
            std::process::exit(FORCED_EXIT);
        }
    };
    ctrlc::set_handler(handler).map_err(|error| {
        Error::new(ErrorKind::InvalidState, "the signal handler could not be installed").with_source(error)
    })
}
