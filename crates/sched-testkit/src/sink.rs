//! What hears of runs in a test, and what holds them back: [`RecordingSink`] and [`Gate`]. Both wait on conditions, with
//! a deadline. A gate may stand in a directory, for runs in other processes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use std::{fs, thread};

use chrono::{DateTime, Utc};
use parking_lot::{Condvar, Mutex};
use sched_core::{Args, CancelToken, Clock, Run, RunContext, RunId, RunReport, RunSink, Task, TaskError};
use serde_json::{Value, json};

use crate::clock::SimClock;
use crate::jobs::{CANCELLABLE_GATE, GATE, task};

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
    timed: Vec<(RunId, Duration)>,
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

    /// The runs of which it was said, before they started, how long they may take; in order.
    pub fn timed(&self) -> Vec<(RunId, Duration)> {
        self.heard.lock().timed.clone()
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

    fn timed(&self, run: &Arc<Run>, timeout: Duration) {
        let mut heard = self.heard.lock();
        assert!(!heard.started.contains(&run.id), "its timeout was told after its start");
        heard.timed.push((run.id, timeout));
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
    /// Where it stands when the runs are in other processes.
    directory: Option<PathBuf>,
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

    /// A gate that is shut, for runs in other processes: its tasks are those of [`tasks`](crate::jobs::tasks).
    pub fn across_processes() -> Arc<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("sched-gate-{}-{number}", std::process::id()));
        // What a killed test of the same number left behind.
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir(&directory).expect("a directory for the gate");
        let (state, changed) = (Mutex::default(), Condvar::new());
        Arc::new(Self { state, changed, directory: Some(directory) })
    }

    /// The arguments of its tasks.
    pub fn args(&self) -> Value {
        self.directory.as_ref().map_or(Value::Null, |directory| json!([directory]))
    }

    /// Lets everybody through from now on.
    pub fn open(&self) {
        if let Some(directory) = &self.directory {
            fs::write(directory.join(OPEN), "").expect("the gate can be opened");
        }
        self.state.lock().open = true;
        self.changed.notify_all();
    }

    /// Waits until it is open; panics when it stays shut.
    pub fn pass(&self) {
        self.pass_unless(&CancelToken::new());
    }

    /// Waits until so many are waiting at it; panics when they do not come.
    pub fn wait_for(&self, count: usize) {
        if let Some(directory) = &self.directory {
            let come = || fs::read_dir(directory).map_or(0, |entries| entries.count()) >= count;
            assert!(poll(come), "fewer than {count} came to the gate");
            return;
        }
        let mut state = self.state.lock();
        let waited = self.changed.wait_while_for(&mut state, |state| state.waiting < count, PATIENCE);
        assert!(!waited.timed_out(), "only {} of {count} came to the gate", state.waiting);
    }

    /// A task that waits at the gate, whatever it is asked.
    pub fn task(self: &Arc<Self>) -> Arc<Task> {
        if self.directory.is_some() {
            return task(GATE);
        }
        let gate = Arc::clone(self);
        Arc::new(Task::new("gate", move |_, _| gate.pass()))
    }

    /// A task that waits at the gate until it is asked to stop.
    pub fn cancellable_task(self: &Arc<Self>) -> Arc<Task> {
        if self.directory.is_some() {
            return task(CANCELLABLE_GATE);
        }
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

impl Drop for Gate {
    fn drop(&mut self) {
        if let Some(directory) = &self.directory {
            // Whoever still waits takes a gate that is gone for an open one.
            let _ = fs::remove_dir_all(directory);
        }
    }
}

/// The file that opens a gate in a directory.
const OPEN: &str = "open";

/// Waits at a gate in the directory that is the first argument, until it is open or the token is cancelled.
pub(crate) fn pass_in_directory(
    context: &RunContext,
    args: &Args,
    token: &CancelToken,
) -> Result<(), TaskError> {
    let directory = args.positional().first().and_then(Value::as_str).map(Path::new);
    let directory = directory.ok_or_else(|| TaskError::arguments("no directory"))?;
    let mark = directory.join(context.run().id.to_string());
    fs::write(&mark, "").map_err(TaskError::from)?;
    let is_open = || directory.join(OPEN).exists() || !directory.exists();
    let came = poll(|| is_open() || token.is_cancelled());
    // The directory may be gone.
    let _ = fs::remove_file(mark);
    match (came, is_open()) {
        (false, _) => Err(TaskError::new("the gate stays shut")),
        (true, true) => Ok(()),
        (true, false) => Err(TaskError::cancelled()),
    }
}

/// Looks again and again whether something has come; other processes tell nobody.
fn poll(come: impl Fn() -> bool) -> bool {
    let begin = Instant::now();
    while !come() {
        if begin.elapsed() > PATIENCE {
            return false;
        }
        thread::sleep(Duration::from_millis(1));
    }
    true
}
