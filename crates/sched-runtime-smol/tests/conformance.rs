//! The smol executor keeps the contract of an executor, and a scheduler on it is one like any other.

use std::sync::Arc;

use sched_runtime_smol::SmolExecutor;
use sched_store_memory::MemoryStore;
use sched_testkit::ExecutorFixture;
use sched_testkit::scheduler::Fixture;

/// An executor of so many places.
fn narrow(places: usize) -> ExecutorFixture {
    let executor = SmolExecutor::builder().max_concurrency(places).build();
    ExecutorFixture::new(Arc::new(executor)).with_width(places)
}

mod unlimited {
    use super::*;
    sched_testkit::executor_suite!(|| Arc::new(SmolExecutor::new()));
    sched_testkit::pool_suite!(|| Arc::new(SmolExecutor::new()));
}

mod limited {
    use super::*;
    sched_testkit::executor_suite!(|| narrow(3));
    sched_testkit::pool_suite!(|| narrow(3));
}

fn world() -> Fixture {
    Fixture::new(|| Arc::new(MemoryStore::new()), || Arc::new(SmolExecutor::new()))
}

sched_testkit::scheduler_suite!(world);
