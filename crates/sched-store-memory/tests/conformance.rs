//! The memory store keeps the contracts of a job store and of a run queue.

use std::sync::Arc;

use sched_store_memory::MemoryStore;
use sched_testkit::StoreFixture;

mod store {
    use super::*;
    sched_testkit::store_suite!(|| Arc::new(MemoryStore::new()));
}

mod queue {
    use super::*;
    sched_testkit::queue_suite!(|| StoreFixture::from(Arc::new(MemoryStore::new())).with_claimed_commits());
}

/// The store that fails on purpose is otherwise the store that it wraps.
mod behind_a_faulty_store {
    use super::*;
    use sched_testkit::FaultyStore;

    mod store {
        use super::*;
        sched_testkit::store_suite!(|| FaultyStore::new(Arc::new(MemoryStore::new())));
    }

    mod queue {
        use super::*;
        sched_testkit::queue_suite!(|| {
            let store = FaultyStore::new(Arc::new(MemoryStore::new()));
            StoreFixture::from(store).with_claimed_commits()
        });
    }
}
