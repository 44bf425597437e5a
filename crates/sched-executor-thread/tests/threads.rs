//! What is special to the thread pool and to the debug executor.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::collections::BTreeSet;
use std::sync::Arc;

use sched_core::{
    BuildContext, Capacity, Error, Executor, ExecutorContext, Outcome, Registry, RunSink, Shutdown, Task,
};
use sched_executor_thread::{DebugExecutor, ThreadPoolExecutor};
use sched_testkit::jobs::{ECHO, run_id, sample_execution, task};
use sched_testkit::{Gate, RecordingSink, SimClock};
use serde_json::{Value, json};

fn start(executor: &dyn Executor, alias: &str) {
    executor.start(ExecutorContext { alias: Arc::from(alias) }).unwrap();
}

fn build(config: Value) -> Result<Arc<dyn Executor>, Error> {
    let registry = Registry::linked()?;
    let context = BuildContext { registry: &registry, timezone: chrono_tz::Tz::UTC };
    registry.executor("executors.default", config, context)
}

/// The name of the thread it runs on.
fn thread_name() -> Arc<Task> {
    Arc::new(Task::new("thread name", |_, _| std::thread::current().name().map(str::to_owned)))
}

#[test]
fn threads_are_named_after_the_alias_and_started_when_they_are_needed() {
    let (executor, sink) = (ThreadPoolExecutor::new(3), RecordingSink::new(SimClock::default()));
    start(&executor, "mail");
    let submit = |number, task| {
        let run = sample_execution(number, task, Value::Null, Arc::clone(&sink) as Arc<dyn RunSink>);
        executor.submit(vec![run]).unwrap();
    };
    let name_of = |number| sink.report_of(run_id(number)).outcome;
    for number in 0..20 {
        submit(number, thread_name());
        name_of(number);
    }
    let quick: BTreeSet<String> = (0..20).map(|number| name_of(number).to_string()).collect();
    assert_eq!(quick.len(), 1, "every outcome is a success");
    assert_eq!(name_of(0), Outcome::Succeeded(json!("sched-mail-0")));
    let gate = Gate::new();
    (100..102).for_each(|number| submit(number, gate.task()));
    gate.wait_for(2);
    submit(102, thread_name());
    let third = name_of(102);
    assert!(
        third.value().is_some_and(|name| name.as_str().is_some_and(|name| name.starts_with("sched-mail-")))
    );
    gate.open();
    executor.shutdown(Shutdown::Wait).unwrap();
}

#[test]
fn a_second_start_is_refused_while_it_runs() {
    let executor = ThreadPoolExecutor::default();
    start(&executor, "default");
    let again = executor.start(ExecutorContext { alias: Arc::from("default") });
    assert_eq!(again.unwrap_err().kind(), sched_core::ErrorKind::InvalidState);
    executor.shutdown(Shutdown::Now).unwrap();
    start(&executor, "default");
}

#[test]
fn a_dropped_pool_reports_what_has_not_started_and_lets_the_rest_end() {
    let (executor, sink) = (ThreadPoolExecutor::new(1), RecordingSink::new(SimClock::default()));
    start(&executor, "default");
    let gate = Gate::new();
    let run =
        |number, task| sample_execution(number, task, json!([number]), Arc::clone(&sink) as Arc<dyn RunSink>);
    executor.submit(vec![run(1, gate.task()), run(2, task(ECHO))]).unwrap();
    gate.wait_for(1);
    drop(executor);
    assert_eq!(sink.report_of(run_id(2)).outcome, Outcome::Cancelled);
    gate.open();
    assert!(sink.report_of(run_id(1)).outcome.is_success());
}

#[test]
fn a_run_that_waits_is_dropped_by_cancel() {
    let (executor, sink) = (ThreadPoolExecutor::new(1), RecordingSink::new(SimClock::default()));
    start(&executor, "default");
    let gate = Gate::new();
    let run =
        |number, task| sample_execution(number, task, json!([number]), Arc::clone(&sink) as Arc<dyn RunSink>);
    executor.submit(vec![run(1, gate.task()), run(2, task(ECHO)), run(3, task(ECHO))]).unwrap();
    gate.wait_for(1);
    assert!(!executor.cancel(run_id(1)), "a thread is not killed");
    assert!(executor.cancel(run_id(2)));
    assert!(!executor.cancel(run_id(2)));
    assert_eq!(sink.reports().len(), 1);
    assert_eq!(sink.report_of(run_id(2)).outcome, Outcome::Cancelled);
    gate.open();
    assert!(sink.report_of(run_id(3)).outcome.is_success());
    executor.shutdown(Shutdown::Wait).unwrap();
}

#[test]
fn the_keys_of_a_configuration_are_read_and_others_refused() {
    let config = json!({
        "type": "threadpool", "max_workers": "20", "queue_size": 5, "thread_name": "x", "pool_kwargs": {},
    });
    let executor = build(config).unwrap();
    assert_eq!(format!("{executor:?}"), "ThreadPoolExecutor { max_workers: 20, queue_size: Some(5), .. }");
    start(&*executor, "default");
    assert_eq!(executor.capacity(), Capacity::Free(25));
    let class = "apscheduler.executors.pool:ThreadPoolExecutor";
    let executor = build(json!({ "class": class })).unwrap();
    assert_eq!(format!("{executor:?}"), "ThreadPoolExecutor { max_workers: 10, queue_size: None, .. }");
    let wrong = json!({
        "type": "threadpool", "max_workers": 0, "queue_size": -1, "pool_kwargs": { "initializer": "f" }, "workers": 3,
    });
    let error = build(wrong).map(|_| ()).unwrap_err();
    let mut paths: Vec<_> = error.faults().iter().map(|fault| fault.path.as_str()).collect();
    paths.sort_unstable();
    let keys = ["max_workers", "pool_kwargs.initializer", "queue_size", "workers"];
    assert_eq!(paths, keys.map(|key| format!("executors.default.{key}")));
    assert_eq!(
        format!("{:?}", build(json!({ "type": "debug" })).unwrap()).split(' ').next(),
        Some("DebugExecutor")
    );
}

#[test]
fn the_debug_executor_runs_inside_submit_in_order() {
    let (executor, sink) = (DebugExecutor::new(), RecordingSink::new(SimClock::default()));
    start(&executor, "debug");
    let here = std::thread::current().id();
    let same_thread = Arc::new(Task::new("here", move |_, _| std::thread::current().id() == here));
    let run = |number| {
        sample_execution(number, Arc::clone(&same_thread), Value::Null, Arc::clone(&sink) as Arc<dyn RunSink>)
    };
    executor.submit((0..5).map(run).collect()).unwrap();
    let reports = sink.reports();
    assert_eq!(
        reports.iter().map(|report| report.run.id).collect::<Vec<_>>(),
        (0..5).map(run_id).collect::<Vec<_>>()
    );
    assert!(reports.iter().all(|report| report.outcome == Outcome::Succeeded(json!(true))));
}

#[test]
fn the_debug_executor_may_be_shut_down_inside_a_run_and_gives_the_rest_back() {
    let (executor, sink) = (Arc::new(DebugExecutor::new()), RecordingSink::new(SimClock::default()));
    start(&*executor, "debug");
    let own = Arc::clone(&executor);
    let stopper = Task::new("stopper", move |_, _| own.shutdown(Shutdown::Wait));
    let run =
        |number, task| sample_execution(number, task, json!([number]), Arc::clone(&sink) as Arc<dyn RunSink>);
    let refused = executor.submit(vec![run(1, Arc::new(stopper)), run(2, task(ECHO))]).unwrap_err();
    assert_eq!(refused.error.kind(), sched_core::ErrorKind::Closed);
    assert_eq!(refused.runs.len(), 1);
    assert!(sink.report_of(run_id(1)).outcome.is_success());
}
