//! What hears of runs in a test, and what holds them back: [`RecordingSink`] and [`Gate`]. Both wait on conditions, with
//! a deadline.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use parking_lot::{Condvar, Mutex};
use sched_core::{CancelToken, Clock, Run, RunId, RunReport, RunSink, Task, TaskError};

use crate::clock::SimClock;

/// How long anything is waited for before a test fails.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Remembers what became of runs.
#[derive(Debug, Default)]
pub struct RecordingSink {
    clock: SimClock,
    heard: Mutex<Heard>,
    more: Condvar,
}

#[derive(Debug, Default)]
struct Heard {
    started: Vec<RunId>,
    reports: Vec<RunReport>,
}

impl RecordingSink {
    /// A sink whose time is `clock`.
    pub fn new(clock: SimClock) -> Arc<Self> {
        Arc::new(Self { clock, ..Self::default() })
    }

    /// The runs that have started, in order.
    pub fn started(&self) -> Vec<RunId> {
        self.heard.lock().started.clone()
    }

    /// The reports so far, in order.
    pub fn reports(&self) -> Vec<RunReport> {
        self.heard.lock().reports.clone()
    }

    /// The report of one run, once it is there; panics when it does not come or comes twice.
    pub fn report_of(&self, run: RunId) -> RunReport {
        self.wait("a report", |heard| heard.reports.iter().any(|report| report.run.id == run));
        let mut of_run = self.reports().into_iter().filter(|report| report.run.id == run);
        let report = of_run.next();
        assert!(of_run.next().is_none(), "run {run} was reported twice");
        report.expect("it was waited for")
    }

    /// The first reports, once there are so many; panics when they do not come.
    pub fn wait_for_reports(&self, count: usize) -> Vec<RunReport> {
        self.wait("reports", |heard| heard.reports.len() >= count);
        self.reports()
    }

    /// The runs that have started, once there are so many; panics when they do not.
    pub fn wait_for_starts(&self, count: usize) -> Vec<RunId> {
        self.wait("starts", |heard| heard.started.len() >= count);
        self.started()
    }

    fn wait(&self, what: &str, come: impl Fn(&Heard) -> bool) {
        let mut heard = self.heard.lock();
        let waited = self.more.wait_while_for(&mut heard, |heard| !come(heard), PATIENCE);
        let (started, reported) = (heard.started.len(), heard.reports.len());
        assert!(!waited.timed_out(), "{what} did not come: {started} runs started, {reported} reported");
    }
}

impl RunSink for RecordingSink {
    fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    fn started(&self, run: &Arc<Run>) {
        self.heard.lock().started.push(run.id);
        self.more.notify_all();
    }

    fn finished(&self, report: RunReport) {
        self.heard.lock().reports.push(report);
        self.more.notify_all();
    }
}

/// Holds runs back until it is opened.
#[derive(Debug, Default)]
pub struct Gate {
    state: Mutex<GateState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct GateState {
    open: bool,
    waiting: usize,
}

impl Gate {
    /// A gate that is shut.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Lets everybody through from now on.
    pub fn open(&self) {
        self.state.lock().open = true;
        self.changed.notify_all();
    }

    /// Waits until it is open; panics when it stays shut.
    pub fn pass(&self) {
        self.pass_unless(&CancelToken::new());
    }

    /// Waits until so many are waiting at it; panics when they do not come.
    pub fn wait_for(&self, count: usize) {
        let mut state = self.state.lock();
        let waited = self.changed.wait_while_for(&mut state, |state| state.waiting < count, PATIENCE);
        assert!(!waited.timed_out(), "only {} of {count} came to the gate", state.waiting);
    }

    /// A task that waits at the gate, whatever it is asked.
    pub fn task(self: &Arc<Self>) -> Arc<Task> {
        let gate = Arc::clone(self);
        Arc::new(Task::new("gate", move |_, _| gate.pass()))
    }

    /// A task that waits at the gate until it is asked to stop.
    pub fn cancellable_task(self: &Arc<Self>) -> Arc<Task> {
        let gate = Arc::clone(self);
        Arc::new(Task::new("cancellable gate", move |context, _| {
            match gate.pass_unless(&context.cancel_token()) {
                true => Ok(()),
                false => Err(TaskError::cancelled()),
            }
        }))
    }

    /// Waits until it is open, or until the token is cancelled; says whether it is open.
    fn pass_unless(&self, token: &CancelToken) -> bool {
        let mut state = self.state.lock();
        state.waiting += 1;
        self.changed.notify_all();
        // A token wakes futures only, so it is looked at again and again.
        let step = Duration::from_millis(1);
        let mut patience = PATIENCE.as_millis();
        while !state.open && !token.is_cancelled() {
            assert!(patience > 0, "the gate stays shut");
            patience -= u128::from(self.changed.wait_for(&mut state, step).timed_out());
        }
        state.waiting -= 1;
        state.open
    }
}
