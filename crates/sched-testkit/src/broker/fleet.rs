//! How soon a job that one scheduler of a fleet adds is started by another.

use std::ops::Deref;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use sched_core::{Args, Job, Registry, RunContext, Scheduler, StartMode, Task};

use crate::sink::PATIENCE;

/// The task that a [`fleet`] runs.
const STAMP: &str = "stamp";

/// After so long without work a scheduler's loop has come to rest, so that what comes next has to wake it.
const REST: Duration = Duration::from_millis(30);

/// Times, shortest first: from the call of `add_job` in one scheduler, which starts nothing itself, until the task begins
/// in another. Each is added a moment after the one before has begun.
///
/// `start` starts a scheduler on the shared store; the registry has what is linked in and a task.
///
/// Panics when a job is not started.
pub fn fleet<S: Deref<Target = Scheduler>>(
    jobs: usize,
    start: impl Fn(Registry, StartMode) -> S,
) -> Vec<Duration> {
    let (sender, begun) = mpsc::channel();
    let registry = || {
        let sender = sender.clone();
        let stamp = Task::new(STAMP, move |_: &RunContext, _: &Args| {
            // The case that listened may be over.
            let _ = sender.send(Instant::now());
        });
        Registry::builder().linked().task(stamp).build().expect("no name is taken twice")
    };
    let adds = start(registry(), StartMode::Paused);
    let starts = start(registry(), StartMode::Running);
    let mut times: Vec<Duration> = (0..jobs)
        .map(|_| {
            let added = Instant::now();
            adds.add_job(Job::task(STAMP)).expect("the job is added");
            let first = begun.recv_timeout(PATIENCE).expect("the other scheduler starts the job");
            assert!(begun.recv_timeout(REST).is_err(), "a job was started twice");
            first.saturating_duration_since(added)
        })
        .collect();
    starts.shutdown(true).expect("it shuts down");
    adds.shutdown(true).expect("it shuts down");
    times.sort_unstable();
    times
}
