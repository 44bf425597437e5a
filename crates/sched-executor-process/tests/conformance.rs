//! The process pool keeps the contract of an executor.
//!
//! The worker processes are this very test program, told to run the one test that serves.

use std::sync::Arc;

use sched_executor_process::{ProcessPoolBuilder, ProcessPoolExecutor, TaskOutput};
use sched_testkit::ExecutorFixture;

/// In a worker process this serves; in an ordinary run of the tests it does nothing.
#[test]
fn serve() {
    sched_executor_process::init_with(&sched_testkit::jobs::registry());
}

fn builder() -> ProcessPoolBuilder {
    let builder = ProcessPoolExecutor::builder().worker_args(["serve", "--exact", "--nocapture"]);
    builder.output(TaskOutput::Discard)
}

fn pool(workers: usize, queue_size: Option<usize>) -> ExecutorFixture {
    let builder = builder().max_workers(workers);
    let builder = queue_size.into_iter().fold(builder, |builder, size| builder.queue_size(size));
    ExecutorFixture::new(Arc::new(builder.build())).with_width(workers)
}

mod processpool {
    use super::*;
    sched_testkit::executor_suite!(|| Arc::new(builder().max_workers(4).build()));
    sched_testkit::process_suite!(|| pool(3, None));
}

mod single_process {
    use super::*;
    sched_testkit::executor_suite!(|| Arc::new(builder().max_workers(1).build()));
    sched_testkit::process_suite!(|| pool(1, None));
}

mod bounded {
    use super::*;
    sched_testkit::executor_suite!(|| pool(2, Some(3)));
    sched_testkit::process_suite!(|| pool(2, Some(3)));
}

mod recycled {
    use super::*;
    sched_testkit::executor_suite!(|| Arc::new(builder().max_workers(2).max_tasks_per_child(7).build()));
}
