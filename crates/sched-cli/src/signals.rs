//! Ctrl-C and requests to terminate: the first asks the program to stop, the second ends it at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::command::Commands;
use crate::failure::Failure;

/// The exit status of a forced end: 128 plus the number of SIGINT.
const FORCED: i32 = 130;

/// The longest time between two looks at the wall clock, which may be set while the program waits.
const LOOK: Duration = Duration::from_secs(1);

/// Whether the program was asked to stop.
#[derive(Debug)]
pub(crate) struct Stop {
    asked: Receiver<()>,
    stopping: Arc<AtomicBool>,
}

impl Stop {
    /// Takes the signals over. A forced end kills the running commands.
    pub(crate) fn on_signal(commands: &Arc<Commands>) -> Result<Self, Failure> {
        let (ask, asked) = mpsc::channel();
        let stopping = Arc::new(AtomicBool::new(false));
        let (seen, commands) = (Arc::clone(&stopping), Arc::clone(commands));
        let handler = move || {
            if seen.swap(true, Ordering::SeqCst) {
                commands.kill_and_exit(FORCED);
            }
            // Without anybody to tell, the program is about to end.
            let _ = ask.send(());
        };
        ctrlc::set_handler(handler).map_err(|error| {
            Failure::new(format_args!("the signal handler could not be installed: {error}"))
        })?;
        Ok(Self { asked, stopping })
    }

    /// Waits for a signal, at the latest until `end`.
    pub(crate) fn wait(&self, end: Option<DateTime<Utc>>) {
        let Some(end) = end else {
            // It fails only when the handler is gone, and then there is nothing to wait for.
            let _ = self.asked.recv();
            return;
        };
        while let Ok(left) = (end - Utc::now()).to_std() {
            if self.asked.recv_timeout(left.min(LOOK)) != Err(mpsc::RecvTimeoutError::Timeout) {
                return;
            }
        }
    }

    /// Whether a signal came.
    pub(crate) fn is_asked(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// From now on the next signal is the second.
    pub(crate) fn begin(&self) {
        self.stopping.store(true, Ordering::SeqCst);
    }
}
