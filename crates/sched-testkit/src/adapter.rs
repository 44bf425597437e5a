//! The adapter suite: what a scheduler does on its own runtime, in real time.
//!
//! The [scheduler suite](crate::scheduler) steps an engine by hand. Here a thread, an event loop or a signal drives it, as
//! in the programs of its users: [`adapter_suite!`](crate::adapter_suite) makes one test of each case, the same for every
//! scheduler. Nothing sleeps and hopes: cases wait for events, with a deadline.
//!
//! The program under test links a store `memory`, an executor `threadpool` and what else its scheduler needs.

mod cases;
mod stage;
mod stopping;

use serde_json::Value;

use sched_core::{Error, JobBuilder, NewRun, Scheduler, SchedulerBuilder, Shutdown, StartMode};

pub use self::cases::*;
pub use self::stage::Stage;
pub use self::stopping::*;

/// A scheduler with its runtime, in the hands of a plain thread: each call is made as a user of this scheduler makes it.
pub trait Adapter: Sized + Send + Sync + 'static {
    /// A scheduler from a builder, stopped.
    fn make(builder: SchedulerBuilder) -> Result<Self, Error>;
    /// The scheduler inside.
    fn scheduler(&self) -> &Scheduler;
    /// Starts it, and returns when it is started.
    fn start(&self, mode: StartMode) -> Result<(), Error>;
    /// Shuts it down.
    fn shutdown(&self, how: Shutdown) -> Result<(), Error>;
    /// Waits until it is shut down, by whomever.
    fn wait_until_stopped(&self) -> Result<(), Error>;
    /// Adds a job.
    fn add_job(&self, job: JobBuilder) -> Result<(), Error>;
    /// Queues a run and waits for its value.
    fn run_job(&self, run: NewRun) -> Result<Value, Error>;
}

/// Makes one test of each case of the adapter suite. The argument is a type that implements
/// [`Adapter`](crate::adapter::Adapter).
#[macro_export]
macro_rules! adapter_suite {
    ($adapter:ty) => {
        $crate::adapter_cases! { $adapter;
            shutdown_before_start_is_refused
            a_pending_job_runs_after_the_start_is_told
            a_live_job_runs_when_it_is_due
            a_repeating_job_keeps_its_times
            a_burst_is_run_whole
            a_paused_scheduler_fires_when_it_is_resumed
            a_job_is_changed_while_the_scheduler_runs
            a_caller_waits_for_a_result
            a_run_knows_itself_and_its_scheduler
            a_panic_ends_one_run
            a_run_is_cancelled
            a_run_whose_time_is_up_is_told_and_seen
            a_failing_run_is_tried_again
            a_delayed_run_waits_for_its_time
            what_may_not_run_yet_waits_in_the_queue
            a_slow_store_delays_its_own_jobs_only
            a_store_that_fails_is_lived_through
            shutdown_waits_for_runs
            who_waits_for_the_stop_waits_for_runs_too
            shutdown_with_a_deadline_cancels_what_is_left
            shutdown_now_cancels_at_once
            a_second_shutdown_is_refused
            a_shutdown_beside_another_is_refused
            a_task_may_end_it
            a_shutdown_is_told_and_the_scheduler_starts_again
        }
    };
}

/// Makes the tests of the adapter suite.
#[doc(hidden)]
#[macro_export]
macro_rules! adapter_cases {
    ($adapter:ty; $($case:ident)*) => {
        $(
            #[test]
            fn $case() -> Result<(), $crate::scheduler::Error> {
                $crate::adapter::$case::<$adapter>()
            }
        )*
    };
}
