//! The testkit's own trigger and clock, and the clock of the machine, pass their suites: the others stand on them.

mod fixed {
    use std::sync::Arc;

    use sched_testkit::{FixedTrigger, NOON};

    sched_testkit::trigger_suite!(|| Arc::new(FixedTrigger::every(NOON, 60, 10)));
}

mod sim_clock {
    use std::sync::Arc;

    use chrono::TimeDelta;
    use sched_testkit::{NOON, SimClock};

    sched_testkit::clock_suite!(|| Arc::new(SimClock::new(NOON + TimeDelta::nanoseconds(1_999))));
}

mod system_clock {
    use std::sync::Arc;

    use sched_core::SystemClock;

    sched_testkit::clock_suite!(|| Arc::new(SystemClock::new()));
}
