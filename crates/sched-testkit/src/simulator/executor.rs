//! The executor of a simulated process: its runs take simulated time, and some of them a while until they start.

use std::fmt;
use std::sync::{Arc, Weak};

use chrono::{DateTime, TimeDelta, Utc};
use parking_lot::Mutex;
use sched_core::{
    Capacity, Error, ErrorKind, Execution, Executor, ExecutorContext, Outcome, Refused, RunContext, Shutdown,
    TaskError, TaskErrorKind,
};
use serde_json::Value;

use super::mutation::Mutation;
use super::node::NodeClock;
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

/// A run that was handed over and has not started.
struct Waiting {
    begins: DateTime<Utc>,
    execution: Execution,
}

/// So many places.
pub(super) struct SimExecutor {
    world: Weak<World>,
    clock: Arc<NodeClock>,
    process: Process,
    places: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    open: bool,
    waiting: Vec<Waiting>,
    running: Vec<Running>,
}

impl SimExecutor {
    pub(super) fn new(world: &Arc<World>, clock: &Arc<NodeClock>, process: Process, places: usize) -> Self {
        let (world, clock) = (Arc::downgrade(world), Arc::clone(clock));
        Self { world, clock, process, places, state: Mutex::default() }
    }

    /// When the next run starts or ends.
    pub(super) fn next_step(&self) -> Option<DateTime<Utc>> {
        let state = self.state.lock();
        let begins = state.waiting.iter().map(|waiting| waiting.begins);
        begins.chain(state.running.iter().map(|running| running.ends)).min()
    }

    /// Starts the first run that is due to start, or else ends the first that is due to end.
    pub(super) fn step(&self, now: DateTime<Utc>) {
        let begun = {
            let mut state = self.state.lock();
            let first = (0..state.waiting.len()).min_by_key(|at| state.waiting[*at].begins);
            let due = first.filter(|at| state.waiting[*at].begins <= now);
            due.map(|at| state.waiting.remove(at).execution)
        };
        match begun {
            Some(execution) => self.begin(execution),
            None => self.end_one(now),
        }
    }

    fn end_one(&self, now: DateTime<Utc>) {
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

    /// Takes a run, which starts at once or, as in a process that is short of time, a little later.
    fn take(&self, execution: Execution) {
        let Some(world) = self.world.upgrade() else { return };
        let begins = world.with(|hub, now| {
            let pause = hub.random.chance(300).then(|| hub.random.between(1, 4_000));
            pause.map(|pause| now + TimeDelta::milliseconds(pause))
        });
        match begins {
            Some(begins) => self.state.lock().waiting.push(Waiting { begins, execution }),
            None => self.begin(execution),
        }
    }

    fn begin(&self, execution: Execution) {
        let Some(world) = self.world.upgrade() else { return };
        let run = execution.run().cloned();
        let is_blind = world.with(|hub, _| hub.mutation == Some(Mutation::BeginIgnoresLease));
        let stopped = is_blind.then(|| self.clock.stop());
        let begun = execution.begin();
        drop(stopped);
        let (Some(run), Some((execution, context))) = (run, begun) else { return };
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
            self.take(execution);
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
        Capacity::Free(if state.open {
            self.places.saturating_sub(state.running.len() + state.waiting.len())
        } else {
            0
        })
    }

    fn shutdown(&self, _: Shutdown) -> Result<(), Error> {
        let (waiting, running) = {
            let mut state = self.state.lock();
            state.open = false;
            (std::mem::take(&mut state.waiting), std::mem::take(&mut state.running))
        };
        waiting.into_iter().for_each(|waiting| waiting.execution.finish(Outcome::Cancelled));
        // A simulation shuts down while runs are on their way only to stop them.
        running.into_iter().for_each(|running| running.execution.finish(Outcome::Cancelled));
        Ok(())
    }
}
