//! The executor `thread-per-run`: every run gets a thread of its own, which ends with it.

use std::collections::HashMap;
use std::sync::Arc;
use std::thread;

use parking_lot::{Condvar, Mutex};
use sched_core::{
    CancelReason, CancelToken, Capacity, Error, Execution, Executor, ExecutorContext, Factory, Plugin,
    Refused, RunId, Section, Shutdown, current_run,
};

inventory::submit! {
    Plugin {
        aliases: &["thread-per-run"],
        summary: "runs each run on a thread of its own",
        package: env!("CARGO_PKG_NAME"),
        factory: Factory::Executor(build),
    }
}

fn build(section: &mut Section<'_>) -> Result<Arc<dyn Executor>, Error> {
    let thread_name = section.string("thread_name").unwrap_or_else(|| "run".to_owned());
    Ok(Arc::new(ThreadPerRun::new(thread_name)))
}

/// Runs each run on a thread of its own, without any limit but the operating system's.
#[derive(Debug)]
pub struct ThreadPerRun {
    thread_name: String,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Debug, Default)]
struct State {
    open: bool,
    running: HashMap<RunId, CancelToken>,
}

/// Takes a run off the list when its thread ends, however it ends.
struct Leave {
    shared: Arc<Shared>,
    run: RunId,
}

impl Drop for Leave {
    fn drop(&mut self) {
        self.shared.state.lock().running.remove(&self.run);
        self.shared.ended.notify_all();
    }
}

impl ThreadPerRun {
    /// An executor whose threads have this name.
    pub fn new(thread_name: impl Into<String>) -> Self {
        Self { thread_name: thread_name.into(), shared: Arc::default() }
    }

    /// Starts a run. When there is no thread for it, it is dropped, and reports itself as abandoned.
    fn start_run(&self, execution: Execution) {
        let Some(run) = execution.run().map(|run| run.id) else { return };
        self.shared.state.lock().running.insert(run, execution.cancel_token());
        let leave = Leave { shared: Arc::clone(&self.shared), run };
        let body = move || {
            let _leave = leave;
            execution.run_blocking();
        };
        // The handle is not kept: the list says when the run is over.
        drop(thread::Builder::new().name(self.thread_name.clone()).spawn(body));
    }
}

impl Executor for ThreadPerRun {
    fn start(&self, _: ExecutorContext) -> Result<(), Error> {
        self.shared.state.lock().open = true;
        Ok(())
    }

    fn submit(&self, runs: Vec<Execution>) -> Result<(), Refused> {
        if !self.shared.state.lock().open {
            return Err(Refused::closed(runs, "thread-per-run"));
        }
        runs.into_iter().for_each(|run| self.start_run(run));
        Ok(())
    }

    fn capacity(&self) -> Capacity {
        if self.shared.state.lock().open { Capacity::Unlimited } else { Capacity::Free(0) }
    }

    fn shutdown(&self, how: Shutdown) -> Result<(), Error> {
        let mut state = self.shared.state.lock();
        state.open = false;
        if let Some(own) = current_run() {
            // Nobody waits for a run that waits here itself.
            state.running.remove(&own.run().id);
            self.shared.ended.notify_all();
        }
        let busy = |state: &mut State| !state.running.is_empty();
        match how {
            Shutdown::Wait => self.shared.ended.wait_while(&mut state, busy),
            Shutdown::WaitFor(limit) => _ = self.shared.ended.wait_while_for(&mut state, busy, limit),
            Shutdown::Now => {}
        }
        // What is left is asked to stop.
        let left: Vec<CancelToken> = state.running.values().cloned().collect();
        drop(state);
        left.iter().for_each(|token| token.cancel_because(CancelReason::Shutdown));
        Ok(())
    }
}
