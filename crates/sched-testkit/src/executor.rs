//! The suites of [`Executor`]'s guarantees.
//!
//! [`executor_suite!`](crate::executor_suite) uses tasks that are known by name, so that an executor may run them in
//! another process. [`pool_suite!`](crate::pool_suite) holds runs back with a [`Gate`], which needs tasks
//! of the same process that run beside the test. [`executor_endures`] is for a test that is alone in its program.

mod endurance;
mod pool;
mod portable;

use std::any::Any;
use std::sync::Arc;
use std::time::Instant;

use sched_core::{
    Capacity, ErrorKind, Execution, Executor, ExecutorContext, JobOptions, Refused, RunReport, Shutdown, Task,
};
use serde_json::Value;

pub use self::endurance::executor_endures;
pub use self::pool::*;
pub use self::portable::*;
use crate::clock::SimClock;
use crate::jobs::{execution_with, run_id, task};
use crate::sink::{Gate, PATIENCE, RecordingSink};

/// Tests an executor, one test for each case.
///
/// It is given what makes an executor that is not started: a function or closure that returns an `Arc` of its type, or
/// an [`ExecutorFixture`] when there is more to say.
#[macro_export]
macro_rules! executor_suite {
    ($make:expr) => {
        $crate::suite! { executor, $make;
            executor_reports_once,
            executor_survives_panics,
            executor_survives_a_sink_that_panics,
            executor_carries_arguments_and_results,
            executor_reports_errors,
            executor_runs_async_tasks,
            executor_judges_lateness_again,
            executor_skips_cancelled_runs,
            executor_ends_runs_that_are_asked_to_stop,
            executor_says_why_a_run_stops,
            executor_tells_of_timeouts,
            executor_shows_the_deadline,
            executor_shows_the_run,
            executor_shutdown_when_told_of_an_end,
            executor_waits_without_limit,
            executor_finishes_a_thousand_quick_runs,
            executor_refuses_when_closed,
            executor_restarts,
            executor_shows_itself,
        }
    };
}

/// Tests an executor that runs beside its caller, in the same process; to be used beside
/// [`executor_suite!`](crate::executor_suite). The fixture says how [`wide`](ExecutorFixture::with_width) it is.
#[macro_export]
macro_rules! pool_suite {
    ($make:expr) => {
        $crate::suite! { executor, $make;
            executor_runs_side_by_side,
            executor_starts_in_order,
            executor_refuses_when_full,
            executor_takes_runs_from_many_threads,
            executor_takes_runs_from_inside_a_run,
            executor_lets_runs_stop_early,
            executor_cancels_by_force_or_not_at_all,
            executor_shutdown_waits,
            executor_shutdown_waits_at_most,
            executor_shutdown_waits_without_limit,
            executor_shutdown_now_returns,
            executor_shutdown_inside_a_run,
            executor_shutdown_inside_two_runs,
            executor_restarts_beside_an_old_run,
        }
    };
}

/// Tests an executor that runs beside its caller, in other processes that know the [sample tasks](crate::jobs::tasks);
/// to be used beside [`executor_suite!`](crate::executor_suite). The fixture says how
/// [`wide`](ExecutorFixture::with_width) it is.
///
/// These are the cases of [`pool_suite!`](crate::pool_suite) without those whose tasks have to reach their executor.
#[macro_export]
macro_rules! process_suite {
    ($make:expr) => {
        $crate::suite! { executor, || $crate::ExecutorFixture::across_processes($make().into());
            executor_runs_side_by_side,
            executor_starts_in_order,
            executor_refuses_when_full,
            executor_takes_runs_from_many_threads,
            executor_lets_runs_stop_early,
            executor_cancels_by_force_or_not_at_all,
            executor_shutdown_waits,
            executor_shutdown_waits_at_most,
            executor_shutdown_waits_without_limit,
            executor_shutdown_now_returns,
            executor_restarts_beside_an_old_run,
        }
    };
}

/// An executor under test, with the sink that hears of its runs.
pub struct ExecutorFixture {
    /// The executor; the suites start it.
    pub executor: Arc<dyn Executor>,
    /// What hears of the runs.
    pub sink: Arc<RecordingSink>,
    /// The time by which lateness is judged.
    pub clock: SimClock,
    width: Option<usize>,
    is_across_processes: bool,
    _kept: Option<Box<dyn Any + Send + Sync>>,
}

impl<E: Executor> From<Arc<E>> for ExecutorFixture {
    fn from(executor: Arc<E>) -> Self {
        Self::new(executor)
    }
}

/// The executor of a case, started.
#[doc(hidden)]
pub fn fixture<F: Into<ExecutorFixture>>(make: impl Fn() -> F) -> ExecutorFixture {
    let fixture: ExecutorFixture = make().into();
    fixture.start();
    fixture
}

impl ExecutorFixture {
    /// An executor that runs any number of runs side by side.
    pub fn new(executor: Arc<dyn Executor>) -> Self {
        let clock = SimClock::default();
        Self {
            executor,
            sink: RecordingSink::new(clock.clone()),
            clock,
            width: None,
            is_across_processes: false,
            _kept: None,
        }
    }

    /// Exactly so many runs go on side by side, at least one; those that follow wait.
    #[must_use]
    pub fn with_width(mut self, width: usize) -> Self {
        self.width = Some(width);
        self
    }

    /// Runs are held back at gates that other processes see.
    #[must_use]
    pub fn across_processes(mut self) -> Self {
        self.is_across_processes = true;
        self
    }

    /// A gate for this executor's runs.
    pub(crate) fn gate(&self) -> Arc<Gate> {
        if self.is_across_processes { Gate::across_processes() } else { Gate::new() }
    }

    /// Something, such as a runtime, that lives as long as the fixture.
    #[must_use]
    pub fn keeping(mut self, kept: impl Any + Send + Sync) -> Self {
        self._kept = Some(Box::new(kept));
        self
    }

    /// Starts the executor.
    pub fn start(&self) {
        self.executor.start(ExecutorContext { alias: Arc::from("default") }).expect("the executor starts");
    }

    /// How many runs hold all of its places; a few where there is no limit.
    pub(crate) fn width(&self) -> u64 {
        self.width.map_or(4, |width| width as u64)
    }

    pub(crate) fn is_wide(&self) -> bool {
        self.width.is_none()
    }

    /// A run on its way to this fixture's sink.
    pub(crate) fn execution(&self, number: u64, task: &Arc<Task>, args: Value) -> Execution {
        self.execution_with(number, task, args, JobOptions::default())
    }

    pub(crate) fn execution_with(
        &self,
        number: u64,
        task: &Arc<Task>,
        args: Value,
        options: JobOptions,
    ) -> Execution {
        let sink = Arc::clone(&self.sink);
        execution_with(number, Arc::clone(task), args, options, sink)
    }

    /// Runs one sample task to its end.
    pub(crate) fn run(&self, number: u64, name: &str, args: Value) -> RunReport {
        self.submit([self.execution(number, &task(name), args)]);
        self.sink.report_of(run_id(number))
    }

    /// Submits runs; panics when one is refused. A bounded executor may be full for a moment: a place is free only a
    /// little after its run was reported.
    pub(crate) fn submit(&self, runs: impl IntoIterator<Item = Execution>) {
        let begin = Instant::now();
        let mut waiting: Vec<_> = runs.into_iter().collect();
        while let Err(refused) = self.try_submit(std::mem::take(&mut waiting)) {
            assert_eq!(refused.error.kind(), ErrorKind::Unavailable, "{}", refused.error);
            assert!(begin.elapsed() < PATIENCE, "{} runs find no place", refused.runs.len());
            waiting = refused.runs;
            std::thread::yield_now();
        }
    }

    pub(crate) fn try_submit(&self, runs: impl IntoIterator<Item = Execution>) -> Result<(), Refused> {
        self.executor.submit(runs.into_iter().collect())
    }

    pub(crate) fn is_bounded(&self) -> bool {
        self.executor.capacity() != Capacity::Unlimited
    }

    pub(crate) fn shutdown(&self, how: Shutdown) {
        self.executor.shutdown(how).expect("the executor shuts down");
    }

    /// Ends a case: everything was reported, and nothing twice.
    pub(crate) fn end(self) {
        self.shutdown(Shutdown::Wait);
        let mut reported: Vec<_> = self.sink.reports().iter().map(|report| report.run.id).collect();
        let reports = reported.len();
        reported.sort_unstable();
        reported.dedup();
        assert_eq!(reported.len(), reports, "a run was reported twice");
    }
}
