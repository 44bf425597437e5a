//! A hundred thousand quick runs, each reported once, in memory that stays as it is. One test: memory is the whole
//! program's.

use std::sync::Arc;

use sched_runtime_tokio::{AsyncExecutor, Tokio, TokioExecutor};
use sched_testkit::ExecutorFixture;
use sched_testkit::executor::executor_endures;
use tokio::runtime::Builder;

#[test]
fn a_hundred_thousand_runs_end_once_each_and_leave_nothing_behind() {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let tokio = Tokio::from(runtime.handle().clone());
    let wide = TokioExecutor::on(tokio.clone());
    let narrow: TokioExecutor = AsyncExecutor::builder().runtime(tokio).max_concurrency(100).build();
    for executor in [wide, narrow] {
        let fixture = ExecutorFixture::from(Arc::new(executor));
        fixture.start();
        executor_endures(&fixture);
    }
}
