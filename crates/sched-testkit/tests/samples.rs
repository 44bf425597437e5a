//! The testkit's own trigger passes its suite, so that the other suites may stand on it.

mod fixed {
    use std::sync::Arc;

    use sched_testkit::{FixedTrigger, NOON};

    sched_testkit::trigger_suite!(|| Arc::new(FixedTrigger::every(NOON, 60, 10)));
}
