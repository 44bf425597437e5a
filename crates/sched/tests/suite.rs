//! The scheduler suite over the memory store, with runs inline and on threads, and with a head start for the loop.

use std::sync::Arc;
use std::time::Duration;

use sched_executor_thread::{DebugExecutor, ThreadPoolExecutor};
use sched_store_memory::MemoryStore;
use sched_testkit::scheduler::Fixture;

mod inline {
    use super::*;

    fn fixture() -> Fixture {
        Fixture::new(|| Arc::new(MemoryStore::new()), || Arc::new(DebugExecutor::new()))
    }

    sched_testkit::scheduler_suite!(fixture);
}

mod threads {
    use super::*;

    fn fixture() -> Fixture {
        Fixture::new(|| Arc::new(MemoryStore::new()), || Arc::new(ThreadPoolExecutor::new(4)))
    }

    sched_testkit::scheduler_suite!(fixture);
}

mod with_a_head_start {
    use super::*;

    fn fixture() -> Fixture {
        let fixture = Fixture::new(|| Arc::new(MemoryStore::new()), || Arc::new(DebugExecutor::new()));
        fixture.with_head_start(Duration::from_millis(2))
    }

    sched_testkit::scheduler_suite!(fixture);
}
