//! A scheduler in the middle of a case, and what was told of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use sched_core::{
    Args, BuildContext, Call, Error, Event, EventMask, JobBuilder, JobStore, NewRun, Outcome, Registry,
    RunEnded, RunId, Scheduler, SchedulerBuilder, Shutdown, StartMode, Task,
};
use serde_json::json;

use super::Adapter;
use crate::jobs::FixedTrigger;
use crate::scheduler::Recorder;
use crate::sink::{Gate, PATIENCE};

/// A scheduler under test and a recorder of all its events.
pub struct Stage<A> {
    pub(super) adapter: A,
    pub(super) recorder: Recorder,
}

impl<A: Adapter> Stage<A> {
    /// A scheduler of defaults that is stopped.
    pub(super) fn stopped() -> Result<Self, Error> {
        Self::of(Scheduler::builder())
    }

    pub(super) fn of(builder: SchedulerBuilder) -> Result<Self, Error> {
        let adapter = A::make(builder)?;
        let recorder = Recorder::listen(adapter.scheduler(), EventMask::all());
        Ok(Self { adapter, recorder })
    }

    /// A scheduler of defaults that fires.
    pub(super) fn started() -> Result<Self, Error> {
        Self::started_from(Scheduler::builder())
    }

    pub(super) fn started_from(builder: SchedulerBuilder) -> Result<Self, Error> {
        let stage = Self::of(builder)?;
        stage.adapter.start(StartMode::Running)?;
        Ok(stage)
    }

    /// A scheduler that fires, in the middle of a run of the job `held`, which waits at the gate, whatever it is asked or
    /// until it is asked to stop.
    pub(super) fn held(is_willing: bool) -> Result<(Self, Arc<Gate>), Error> {
        let (stage, gate) = (Self::started()?, Gate::new());
        let task = if is_willing { gate.cancellable_task() } else { gate.task() };
        stage.adapter.add_job(JobBuilder::bound(task).id("held"))?;
        gate.wait_for(1);
        Ok((stage, gate))
    }

    pub(super) fn scheduler(&self) -> &Scheduler {
        self.adapter.scheduler()
    }

    /// Some milliseconds from now, as the scheduler sees it.
    pub(super) fn soon(&self, milliseconds: u64) -> DateTime<Utc> {
        self.scheduler().clock().now() + Duration::from_millis(milliseconds)
    }

    /// How the runs of a job ended so far.
    pub(super) fn ends_of(&self, job: &str) -> Vec<RunEnded> {
        let ended =
            self.recorder.events().iter().filter_map(|event| event.ended().cloned()).collect::<Vec<_>>();
        ended
            .into_iter()
            .filter(|ended| ended.run.job_id.as_ref().is_some_and(|id| id.as_str() == job))
            .collect()
    }

    /// Waits until a run of a job has ended.
    pub(super) fn end_of(&self, job: &str) -> Outcome {
        let fits =
            |event: &Event| event.ended().is_some() && event.job_id().is_some_and(|id| id.as_str() == job);
        let event = self.recorder.wait_for(&format!("the end of {job}"), fits);
        event.and_then(|event| Some(event.ended()?.outcome.clone())).unwrap_or(Outcome::Cancelled)
    }

    /// Waits until the run of that id has ended.
    pub(super) fn end_of_run(&self, run: RunId) -> Option<RunEnded> {
        let fits = |event: &Event| event.ended().is_some_and(|ended| ended.run.id == run);
        self.recorder.wait_for("the end of a run", fits).and_then(|event| event.ended().cloned())
    }

    /// Shuts down, waiting for runs.
    pub(super) fn end(&self) -> Result<(), Error> {
        self.adapter.shutdown(Shutdown::Wait)
    }
}

/// Waits until something holds that no event tells. It fails the test when that takes long.
#[track_caller]
pub(super) fn until(what: &str, holds: impl Fn() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < PATIENCE, "{what} does not come");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A job of a plain function that does nothing.
pub(super) fn noop() -> JobBuilder {
    JobBuilder::bound(Task::new("noop", |_, _| ()))
}

/// The job at these times. It may be added after the first of them, on a computer that is busy.
pub(super) fn at(times: &[DateTime<Utc>], job: JobBuilder) -> JobBuilder {
    let job = job.trigger(FixedTrigger::new(times.iter().copied()));
    times.iter().min().into_iter().fold(job, |job, first| job.next_run_time(*first))
}

/// A run of a task without arguments.
pub(super) fn run_of(task: &Arc<Task>) -> NewRun {
    Call::bound(Arc::clone(task), Args::default()).into()
}

/// The store `memory` that the program under test has linked.
pub(super) fn memory() -> Result<Arc<dyn JobStore>, Error> {
    let registry = Registry::linked()?;
    let context = BuildContext { registry: &registry, timezone: chrono_tz::Tz::UTC };
    registry.job_store("jobstores.test", json!({ "type": "memory" }), context)
}
