//! The executor of a simulated process: its runs take simulated time.

use std::fmt;
use std::sync::{Arc, Weak};

use chrono::{DateTime, TimeDelta, Utc};
use parking_lot::Mutex;
use sched_core::{
    Capacity, Error, ErrorKind, Execution, Executor, ExecutorContext, Outcome, Refused, RunContext, Shutdown,
    TaskError, TaskErrorKind,
};
use serde_json::Value;

use super::watch::Process;
use super::world::World;

/// A run on its way.
struct Running {
    ends: DateTime<Utc>,
    execution: Execution,
    /// It is the current run as long as it is held.
    _context: RunContext,
    outcome: Outcome,
}

/// So many places.
pub(super) struct SimExecutor {
    world: Weak<World>,
    process: Process,
    places: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    open: bool,
    running: Vec<Running>,
}

impl SimExecutor {
    pub(super) fn new(world: &Arc<World>, process: Process, places: usize) -> Self {
        Self { world: Arc::downgrade(world), process, places, state: Mutex::default() }
    }

    /// When the next run ends.
    pub(super) fn next_end(&self) -> Option<DateTime<Utc>> {
        self.state.lock().running.iter().map(|running| running.ends).min()
    }

    /// Ends the first run that is due.
    pub(super) fn end_one(&self, now: DateTime<Utc>) {
        let ended = {
            let mut state = self.state.lock();
            let first = (0..state.running.len()).min_by_key(|at| state.running[*at].ends);
            let due = first.filter(|at| state.running[*at].ends <= now);
            due.map(|at| state.running.remove(at))
        };
        if let Some(Running { execution, outcome, .. }) = ended {
            execution.finish(outcome);
        }
    }

    fn begin(&self, execution: Execution) {
        let Some(world) = self.world.upgrade() else { return };
        let run = execution.run().cloned();
        let (Some(run), Some((execution, context))) = (run, execution.begin()) else { return };
        let (ends, outcome) = world.with(|hub, now| {
            if let Some(job_id) = &run.job_id {
                hub.watch.started(self.process, &(job_id.clone(), run.fire_time), run.attempt, now);
            }
            let long = hub.random.chance(150);
            let millis = hub.random.between(0, if long { 40_000 } else { 3_000 });
            let outcome = match hub.random.between(0, 9) {
                0 => Outcome::Failed(TaskError::new("deliberate")),
                1 => Outcome::Failed(TaskError::new("deliberate").with_kind(TaskErrorKind::Panic)),
                2 => Outcome::TimedOut,
                _ => Outcome::Succeeded(Value::Null),
            };
            (now + TimeDelta::milliseconds(millis), outcome)
        });
        self.state.lock().running.push(Running { ends, execution, _context: context, outcome });
    }
}

impl fmt::Debug for SimExecutor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimExecutor({} places)", self.places)
    }
}

impl Executor for SimExecutor {
    fn start(&self, _: ExecutorContext) -> Result<(), Error> {
        self.state.lock().open = true;
        Ok(())
    }

    fn submit(&self, runs: Vec<Execution>) -> Result<(), Refused> {
        let mut runs = runs.into_iter();
        while let Capacity::Free(1..) = self.capacity() {
            let Some(execution) = runs.next() else { return Ok(()) };
            self.begin(execution);
        }
        let (runs, open): (Vec<Execution>, bool) = (runs.collect(), self.state.lock().open);
        let kind = if open { ErrorKind::Unavailable } else { ErrorKind::Closed };
        match runs.is_empty() {
            true => Ok(()),
            false => Err(Refused { runs, error: Error::new(kind, "there is no place") }),
        }
    }

    fn capacity(&self) -> Capacity {
        let state = self.state.lock();
        Capacity::Free(if state.open { self.places.saturating_sub(state.running.len()) } else { 0 })
    }

    fn shutdown(&self, _: Shutdown) -> Result<(), Error> {
        let running = {
            let mut state = self.state.lock();
            state.open = false;
            std::mem::take(&mut state.running)
        };
        // A simulation shuts down while runs are on their way only to stop them.
        running.into_iter().for_each(|running| running.execution.finish(Outcome::Cancelled));
        Ok(())
    }
}
