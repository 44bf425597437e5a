//! A hundred thousand quick runs, each reported once, in memory that stays as it is. One test: memory is the whole
//! program's.

use std::sync::Arc;

use sched_runtime_async_std::{AsyncExecutor, AsyncStdExecutor};
use sched_testkit::ExecutorFixture;
use sched_testkit::executor::executor_endures;

#[test]
fn a_hundred_thousand_runs_end_once_each_and_leave_nothing_behind() {
    let narrow: AsyncStdExecutor = AsyncExecutor::builder().max_concurrency(100).build();
    for executor in [AsyncStdExecutor::new(), narrow] {
        let fixture = ExecutorFixture::from(Arc::new(executor));
        fixture.start();
        executor_endures(&fixture);
    }
}
