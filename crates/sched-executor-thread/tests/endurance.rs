//! A hundred thousand quick runs, each reported once, in memory that stays as it is. One test: memory is the whole
//! program's.

use std::sync::Arc;

use sched_executor_thread::{DebugExecutor, ThreadPoolExecutor};
use sched_testkit::ExecutorFixture;
use sched_testkit::executor::executor_endures;

#[test]
fn a_hundred_thousand_runs_end_once_each_and_leave_nothing_behind() {
    let fixtures: [ExecutorFixture; 3] = [
        Arc::new(ThreadPoolExecutor::new(4)).into(),
        Arc::new(ThreadPoolExecutor::builder().max_workers(2).queue_size(1_000).build()).into(),
        Arc::new(DebugExecutor::new()).into(),
    ];
    for fixture in fixtures {
        fixture.start();
        executor_endures(&fixture);
    }
}
