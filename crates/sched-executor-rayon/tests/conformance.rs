//! The rayon executor keeps the contract of an executor, on a pool of its own and on the global one, and a scheduler on
//! it is one like any other.

use std::sync::Arc;

use sched_executor_rayon::RayonExecutor;
use sched_store_memory::MemoryStore;
use sched_testkit::ExecutorFixture;
use sched_testkit::scheduler::Fixture;

fn pool(workers: usize, queue_size: Option<usize>) -> ExecutorFixture {
    let builder = RayonExecutor::builder().max_workers(workers);
    let builder = queue_size.into_iter().fold(builder, |builder, size| builder.queue_size(size));
    ExecutorFixture::new(Arc::new(builder.build())).with_width(workers)
}

mod own_pool {
    use super::*;
    sched_testkit::executor_suite!(|| Arc::new(RayonExecutor::default()));
    sched_testkit::pool_suite!(|| pool(4, None));
}

mod single_thread {
    use super::*;
    sched_testkit::executor_suite!(|| Arc::new(RayonExecutor::new(1)));
    sched_testkit::pool_suite!(|| pool(1, None));
}

mod bounded {
    use super::*;
    sched_testkit::executor_suite!(|| pool(2, Some(3)));
    sched_testkit::pool_suite!(|| pool(2, Some(3)));
}

mod without_queue {
    use super::*;
    sched_testkit::executor_suite!(|| pool(3, Some(0)));
}

mod global_pool {
    use super::*;
    sched_testkit::executor_suite!(|| Arc::new(RayonExecutor::global()));
}

fn world() -> Fixture {
    Fixture::new(|| Arc::new(MemoryStore::new()), || Arc::new(RayonExecutor::new(1)))
}

sched_testkit::scheduler_suite!(world);
