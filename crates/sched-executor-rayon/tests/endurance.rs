//! A hundred thousand quick runs, each reported once, in memory that stays as it is. One test: memory is the whole
//! program's.

use std::sync::Arc;

use sched_executor_rayon::RayonExecutor;
use sched_testkit::ExecutorFixture;
use sched_testkit::executor::executor_endures;

#[test]
fn a_hundred_thousand_runs_end_once_each_and_leave_nothing_behind() {
    let fixtures: [ExecutorFixture; 2] =
        [Arc::new(RayonExecutor::new(2)).into(), Arc::new(RayonExecutor::global()).into()];
    for fixture in fixtures {
        fixture.start();
        executor_endures(&fixture);
    }
}
