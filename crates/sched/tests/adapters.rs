//! The blocking and the background scheduler for real: they wait on events, with a deadline.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use sched::{
    BackgroundScheduler, BlockingScheduler, Error, ErrorKind, EventMask, Executor, Job, Scheduler,
    SchedulerBuilder, Shutdown,
};
use sched_executor_thread::{DebugExecutor, ThreadPoolExecutor};
use sched_testkit::scheduler::Recorder;

fn builder() -> SchedulerBuilder {
    Scheduler::builder().executor("default", DebugExecutor::new())
}

/// Drives one scheduler: starts it, hands it to the case, and ends it.
trait Adapter: Sized + Send + Sync + 'static {
    fn make(builder: SchedulerBuilder) -> Self;
    fn scheduler(&self) -> &Scheduler;
    /// Runs `case` while the scheduler runs.
    fn during(self, case: impl FnOnce(&Scheduler) + Send + 'static);
}

impl Adapter for BackgroundScheduler {
    fn make(builder: SchedulerBuilder) -> Self {
        Self::build(builder).unwrap()
    }
    fn scheduler(&self) -> &Scheduler {
        self
    }
    fn during(self, case: impl FnOnce(&Scheduler) + Send + 'static) {
        self.start().unwrap();
        case(&self);
        if self.is_running() {
            self.shutdown(Shutdown::Wait).unwrap();
        }
    }
}

impl Adapter for BlockingScheduler {
    fn make(builder: SchedulerBuilder) -> Self {
        Self::build(builder).unwrap()
    }
    fn scheduler(&self) -> &Scheduler {
        self
    }
    fn during(self, case: impl FnOnce(&Scheduler) + Send + 'static) {
        let started = Recorder::listen(&self, EventMask::SCHEDULER_STARTED);
        let scheduler = Scheduler::clone(&self);
        let beside = std::thread::spawn(move || {
            started.wait_for_word("started");
            case(&scheduler);
            if scheduler.is_running() {
                scheduler.shutdown(Shutdown::Wait).unwrap();
            }
        });
        self.start().unwrap();
        beside.join().unwrap();
    }
}

fn shutdown_before_start_is_refused<A: Adapter>() {
    let adapter = A::make(builder());
    let refused: Error = adapter.scheduler().shutdown(true).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidState);
}

fn a_pending_job_runs_after_the_start_is_told<A: Adapter>() {
    let adapter = A::make(builder());
    let recorder = Recorder::listen(adapter.scheduler(), EventMask::all() - EventMask::RUN_STARTED);
    adapter.scheduler().add_job(Job::call(|| 1 + 2).id("a")).unwrap();
    adapter.during(move |_| {
        recorder.wait_for_word("removed a");
        recorder.expect(&[
            "store_added default",
            "added a",
            "started",
            "submitted a",
            "executed a",
            "removed a",
        ]);
        let value = recorder.events().iter().find_map(|event| event.value().cloned());
        assert_eq!(value, Some(serde_json::json!(3)));
    });
}

fn a_live_job_runs_when_it_is_due<A: Adapter>() {
    A::make(builder()).during(|scheduler| {
        let recorder = Recorder::listen(scheduler, EventMask::all() - EventMask::RUN_STARTED);
        let due = Utc::now() + Duration::from_millis(50);
        let trigger = serde_json::json!({ "type": "date", "run_date": due.to_rfc3339() });
        scheduler.add_job(Job::call(|| 1 + 2).id("a").trigger(trigger)).unwrap();
        recorder.wait_for_word("removed a");
        recorder.expect(&["added a", "submitted a", "executed a", "removed a"]);
        let ended = recorder.events().iter().find_map(|event| event.ended().cloned()).unwrap();
        assert!(ended.started_at.unwrap() >= ended.run.scheduled_time, "not before its time");
    });
}

fn a_shutdown_is_told_and_the_scheduler_starts_again<A: Adapter>() {
    let adapter = A::make(builder());
    let scheduler = adapter.scheduler().clone();
    let recorder = Recorder::listen(&scheduler, EventMask::SCHEDULER_STARTED | EventMask::SCHEDULER_SHUTDOWN);
    adapter.during(|_| ());
    recorder.expect(&["started", "shutdown"]);
    let again = BackgroundScheduler::from(scheduler);
    again.start().unwrap();
    drop(again);
    recorder.expect(&["started", "shutdown", "started", "shutdown"]);
}

fn a_task_may_end_it<A: Adapter>() {
    let adapter = A::make(Scheduler::builder());
    let scheduler = adapter.scheduler().clone();
    let recorder = Recorder::listen(&scheduler, EventMask::SCHEDULER_SHUTDOWN);
    let stop = || sched::current_scheduler().is_some_and(|scheduler| scheduler.shutdown(true).is_ok());
    scheduler.add_job(Job::call(stop).id("a")).unwrap();
    adapter.during(move |_| {
        recorder.wait_for_word("shutdown");
    });
    assert!(!scheduler.is_running());
}

/// A listener of a run's end is part of the run: it may wait for everything else to end.
fn a_listener_of_an_end_may_end_it<A: Adapter>() {
    for executor in executors() {
        let adapter = A::make(Scheduler::builder().with(|config| config.executor("default", executor)));
        let scheduler = adapter.scheduler().clone();
        let recorder = Recorder::listen(&scheduler, EventMask::SCHEDULER_SHUTDOWN);
        let (own, (sender, ended)) = (scheduler.clone(), std::sync::mpsc::channel());
        let stop = move |_: &sched::Event| drop(sender.send(own.shutdown(Shutdown::Wait)));
        scheduler.add_listener(stop, EventMask::JOB_EXECUTED);
        scheduler.add_job(Job::call_async(async || ()).id("a")).unwrap();
        adapter.during(move |_| {
            ended.recv_timeout(Duration::from_secs(20)).unwrap().unwrap();
            recorder.wait_for_word("shutdown");
        });
        assert!(!scheduler.is_running());
    }
}

fn executors() -> Vec<Arc<dyn Executor>> {
    vec![
        Arc::new(DebugExecutor::new()),
        Arc::new(ThreadPoolExecutor::new(1)),
        #[cfg(feature = "rayon")]
        Arc::new(sched::prelude::RayonExecutor::new(1)),
    ]
}

macro_rules! adapter_cases {
    ($module:ident, $adapter:ident: $($case:ident)*) => {
        mod $module {
            $(#[test] fn $case() { super::$case::<sched::$adapter>() })*
        }
    };
}

adapter_cases! { blocking, BlockingScheduler:
    shutdown_before_start_is_refused
    a_pending_job_runs_after_the_start_is_told
    a_live_job_runs_when_it_is_due
    a_shutdown_is_told_and_the_scheduler_starts_again
    a_task_may_end_it
    a_listener_of_an_end_may_end_it
}

adapter_cases! { background, BackgroundScheduler:
    shutdown_before_start_is_refused
    a_pending_job_runs_after_the_start_is_told
    a_live_job_runs_when_it_is_due
    a_shutdown_is_told_and_the_scheduler_starts_again
    a_task_may_end_it
    a_listener_of_an_end_may_end_it
}
