//! [`DebugExecutor`]: runs everything at once, where it is submitted.

use std::thread::{self, ThreadId};

use parking_lot::{Condvar, Mutex};
use sched_core::{
    CancelReason, CancelToken, Capacity, Error, Execution, Executor, ExecutorContext, Refused, Shutdown,
};

use crate::contain;

/// Runs each run inside [`submit`](Executor::submit), on the thread that calls it. Its alias is `debug`.
///
/// For tests and for finding faults: a breakpoint in a task stops the scheduler's loop as well.
#[derive(Debug, Default)]
pub struct DebugExecutor {
    state: Mutex<State>,
    rest: Condvar,
}

#[derive(Debug, Default)]
struct State {
    open: bool,
    /// What runs now, on which thread. Runs of one thread are nested, the last one is the innermost.
    running: Vec<(ThreadId, CancelToken)>,
}

impl DebugExecutor {
    /// An executor that is not started.
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes a run as running, unless the executor is shut down.
    fn enter(&self, run: &Execution) -> bool {
        let mut state = self.state.lock();
        if state.open {
            state.running.push((thread::current().id(), run.cancel_token()));
        }
        state.open
    }

    fn leave(&self) {
        let mut state = self.state.lock();
        let here = thread::current().id();
        if let Some(innermost) = state.running.iter().rposition(|(thread, _)| *thread == here) {
            state.running.remove(innermost);
        }
        self.rest.notify_all();
    }
}

impl Executor for DebugExecutor {
    fn start(&self, _: ExecutorContext) -> Result<(), Error> {
        self.state.lock().open = true;
        Ok(())
    }

    fn submit(&self, runs: Vec<Execution>) -> Result<(), Refused> {
        let mut runs = runs.into_iter();
        while let Some(run) = runs.next() {
            if !self.enter(&run) {
                let runs = std::iter::once(run).chain(runs).collect();
                return Err(Refused::closed(runs, "debug"));
            }
            contain(|| run.run_blocking());
            self.leave();
        }
        Ok(())
    }

    fn capacity(&self) -> Capacity {
        if self.state.lock().open { Capacity::Unlimited } else { Capacity::Free(0) }
    }

    fn shutdown(&self, how: Shutdown) -> Result<(), Error> {
        let mut state = self.state.lock();
        state.open = false;
        let here = thread::current().id();
        let goes_on = |state: &mut State| state.running.iter().any(|(thread, _)| *thread != here);
        let is_over = match how {
            Shutdown::Wait => {
                self.rest.wait_while(&mut state, goes_on);
                true
            }
            Shutdown::WaitFor(limit) => !self.rest.wait_while_for(&mut state, goes_on, limit).timed_out(),
            Shutdown::Now => false,
        };
        let running = if is_over { Vec::new() } else { state.running.clone() };
        drop(state);
        running.iter().for_each(|(_, token)| token.cancel_because(CancelReason::Shutdown));
        Ok(())
    }
}
