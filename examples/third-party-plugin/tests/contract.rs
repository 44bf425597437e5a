//! The suites of the test kit: they check that the plug-ins keep their contracts.

mod beat {
    use std::sync::Arc;
    use std::time::Duration;

    use sched_example_plugin::BeatTrigger;

    sched_testkit::trigger_suite!(|| Arc::new(BeatTrigger::new(Duration::from_secs(900)).unwrap()));
}

mod thread_per_run {
    use std::sync::Arc;

    use sched_example_plugin::ThreadPerRun;

    sched_testkit::executor_suite!(|| Arc::new(ThreadPerRun::new("run")));
    sched_testkit::pool_suite!(|| Arc::new(ThreadPerRun::new("run")));
}
