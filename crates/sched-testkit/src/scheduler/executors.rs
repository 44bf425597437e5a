//! Executors that do what a test tells them.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use sched_core::{
    Capacity, Error, ErrorKind, Execution, Executor, ExecutorContext, Outcome, Refused, RunContext, RunId,
    Shutdown,
};

/// Keeps its runs until the test lets them go, and remembers how it was called.
#[derive(Debug, Default)]
pub struct HeldExecutor {
    inner: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    runs: VecDeque<Execution>,
    calls: Vec<String>,
    places: Option<usize>,
    refusals: VecDeque<Refusal>,
    begun: Vec<(Execution, RunContext)>,
    kills: bool,
}

/// How a submission goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It is refused with this kind of error.
    Error(ErrorKind),
    /// It panics.
    Panic,
}

impl HeldExecutor {
    /// An executor that takes any number of runs.
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// From now on it takes at most so many runs at once.
    pub fn limit(&self, places: usize) {
        self.inner.lock().places = Some(places);
    }

    /// From now on it stops runs by force when it is told to.
    pub fn kill_when_told(&self) {
        self.inner.lock().kills = true;
    }

    /// Begins the oldest run and leaves it there, as code that takes its time; answers its context.
    pub fn begin_one(&self) -> Option<RunContext> {
        let (run, context) = self.take()?.begin()?;
        self.inner.lock().begun.push((run, context.clone()));
        Some(context)
    }

    /// Ends the oldest run that was begun; whether there was one.
    pub fn end_one(&self, outcome: Outcome) -> bool {
        let mut inner = self.inner.lock();
        let begun = (!inner.begun.is_empty()).then(|| inner.begun.remove(0));
        drop(inner);
        let ended = begun.is_some();
        begun.into_iter().for_each(|(run, _)| run.finish(outcome.clone()));
        ended
    }

    /// The next submissions, or starts, go wrong like this.
    pub fn refuse(&self, refusals: &[Refusal]) {
        self.inner.lock().refusals.extend(refusals);
    }

    /// How often and how it was started and shut down.
    pub fn calls(&self) -> Vec<String> {
        self.inner.lock().calls.clone()
    }

    /// How many runs it holds.
    pub fn len(&self) -> usize {
        self.inner.lock().runs.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The runs it holds, in order.
    pub fn ids(&self) -> Vec<RunId> {
        self.inner.lock().runs.iter().filter_map(|run| run.run().map(|run| run.id)).collect()
    }

    /// Takes the oldest run out, for a test that ends it in its own way.
    pub fn take(&self) -> Option<Execution> {
        self.inner.lock().runs.pop_front()
    }

    /// Runs the oldest run here; whether there was one.
    pub fn run_one(&self) -> bool {
        let run = self.take();
        let there = run.is_some();
        run.into_iter().for_each(Execution::run_blocking);
        there
    }

    /// Runs all runs here, those included that come meanwhile.
    pub fn run_all(&self) {
        while self.run_one() {}
    }
}

impl Executor for HeldExecutor {
    fn start(&self, context: ExecutorContext) -> Result<(), Error> {
        let mut inner = self.inner.lock();
        inner.calls.push(format!("start {}", context.alias));
        match inner.refusals.pop_front() {
            Some(Refusal::Error(kind)) => Err(Error::new(kind, "told not to start")),
            Some(Refusal::Panic) => std::panic::resume_unwind(Box::new("told to panic")),
            None => Ok(()),
        }
    }

    fn submit(&self, mut runs: Vec<Execution>) -> Result<(), Refused> {
        let mut inner = self.inner.lock();
        match inner.refusals.pop_front() {
            Some(Refusal::Error(kind)) => {
                return Err(Refused { runs, error: Error::new(kind, "told to refuse") });
            }
            Some(Refusal::Panic) => {
                drop(inner);
                std::panic::resume_unwind(Box::new("told to panic"));
            }
            None => {}
        }
        let free = inner.places.map_or(usize::MAX, |places| places.saturating_sub(inner.runs.len()));
        let rest = if runs.len() > free { runs.split_off(free) } else { Vec::new() };
        inner.runs.extend(runs);
        match rest.is_empty() {
            true => Ok(()),
            false => Err(Refused { runs: rest, error: Error::new(ErrorKind::Unavailable, "it is full") }),
        }
    }

    fn cancel(&self, run: RunId) -> bool {
        let mut inner = self.inner.lock();
        let at = inner.begun.iter().position(|(_, context)| context.run().id == run);
        let killed = at.filter(|_| inner.kills).map(|at| inner.begun.remove(at));
        drop(inner);
        killed.map(|(run, _)| run.finish(Outcome::Abandoned("it was killed".to_owned()))).is_some()
    }

    fn capacity(&self) -> Capacity {
        let inner = self.inner.lock();
        match inner.places {
            Some(places) => Capacity::Free(places.saturating_sub(inner.runs.len())),
            None => Capacity::Unlimited,
        }
    }

    fn shutdown(&self, how: Shutdown) -> Result<(), Error> {
        self.inner.lock().calls.push(format!("shutdown {how:?}"));
        if how == Shutdown::Wait {
            self.run_all();
        }
        let dropped = std::mem::take(&mut self.inner.lock().runs);
        dropped.into_iter().for_each(|run| run.finish(Outcome::Cancelled));
        Ok(())
    }
}
