//! The memory store keeps the contracts of a job store and of a run queue.

use std::sync::Arc;

use sched_store_memory::MemoryStore;

mod store {
    use super::*;
    sched_testkit::store_suite!(|| Arc::new(MemoryStore::new()));
}

mod queue {
    use super::*;
    sched_testkit::queue_suite!(|| Arc::new(MemoryStore::new()));
}
