//! Jobs that are declared with `#[scheduled]`.

use std::sync::Arc;

use chrono_tz::Tz;
use sched::{Scheduler, StartMode, scheduled};
use sched_testkit::scheduler::ManualRuntime;

#[scheduled(id = "nightly", cron = "0 3 * * *", max_instances = 4)]
fn prune() {}

/// Declared at every start, a job of a given id is there once; the function stays what it was.
#[test]
fn a_declared_job_replaces_itself_at_every_start() {
    let scheduler = Scheduler::builder().timezone(Tz::UTC).build().unwrap();
    for round in 1..=2 {
        assert_eq!(scheduler.add_declared_jobs().unwrap().len(), 1);
        scheduler.start_on(Arc::new(ManualRuntime::new()), StartMode::Paused).unwrap();
        scheduler.add_declared_jobs().unwrap();
        let jobs = scheduler.get_jobs(None).unwrap();
        assert_eq!(jobs.len(), 1, "round {round}");
        assert_eq!(
            (jobs[0].id().as_str(), jobs[0].name(), jobs[0].options.max_instances),
            ("nightly", "prune", 4)
        );
        assert_eq!((jobs[0].store(), &*jobs[0].options.executor), ("default", "default"));
        scheduler.shutdown(true).unwrap();
    }
    prune();
}
