//! A hundred thousand quick runs, each reported once, in memory that stays as it is, in the program and in its worker
//! processes. One test beside the one that serves: memory is the whole program's.

use std::sync::Arc;

use sched_executor_process::{ProcessPoolExecutor, TaskOutput};
use sched_testkit::ExecutorFixture;
use sched_testkit::executor::executor_endures;

/// In a worker process this serves; in an ordinary run of the tests it does nothing.
#[test]
fn serve() {
    sched_executor_process::init_with(&sched_testkit::jobs::registry());
}

#[test]
fn a_hundred_thousand_runs_end_once_each_and_leave_nothing_behind() {
    for recycled in [None, Some(10_000)] {
        let builder = ProcessPoolExecutor::builder().worker_args(["serve", "--exact", "--nocapture"]);
        let builder = builder.output(TaskOutput::Discard).max_workers(2);
        let builder = recycled.into_iter().fold(builder, |builder, runs| builder.max_tasks_per_child(runs));
        let fixture = ExecutorFixture::from(Arc::new(builder.build()));
        fixture.start();
        executor_endures(&fixture);
    }
}
