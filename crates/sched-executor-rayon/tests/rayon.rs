//! What is special to the rayon executor.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::sync::Arc;

use sched_core::{
    BuildContext, Capacity, Error, Execution, Executor, ExecutorContext, Outcome, Registry, RunSink,
    Shutdown, Task, current_run,
};
use sched_executor_rayon::RayonExecutor;
use sched_testkit::jobs::{ECHO, run_id, sample_execution, task};
use sched_testkit::{Gate, RecordingSink, SimClock};
use serde_json::{Value, json};

fn start(executor: &dyn Executor, alias: &str) {
    executor.start(ExecutorContext { alias: Arc::from(alias) }).unwrap();
}

fn build(config: Value) -> Result<Arc<dyn Executor>, Error> {
    let registry = Registry::linked()?;
    let context = BuildContext { registry: &registry, timezone: chrono_tz::Tz::UTC };
    registry.executor("executors.cpu", config, context)
}

/// A sink, and runs on their way to it.
struct Runs(Arc<RecordingSink>);

impl Runs {
    fn new() -> Self {
        Self(RecordingSink::new(SimClock::default()))
    }

    fn of(&self, number: u64, task: Arc<Task>) -> Execution {
        sample_execution(number, task, json!([number]), Arc::clone(&self.0) as Arc<dyn RunSink>)
    }

    fn outcome(&self, number: u64) -> Outcome {
        self.0.report_of(run_id(number)).outcome
    }
}

/// The name of the thread it runs on, and how many threads its pool has.
fn place() -> Arc<Task> {
    let place = |_: &_, _: &_| json!([std::thread::current().name(), rayon::current_num_threads()]);
    Arc::new(Task::new("place", place))
}

#[test]
fn threads_are_named_after_the_alias_and_counted() {
    let (executor, runs) = (RayonExecutor::new(1), Runs::new());
    start(&executor, "cpu");
    executor.submit(vec![runs.of(1, place())]).unwrap();
    assert_eq!(runs.outcome(1), Outcome::Succeeded(json!(["sched-cpu-0", 1])));
    let named = RayonExecutor::builder().max_workers(1).thread_name("crunch\0").build();
    start(&named, "cpu");
    named.submit(vec![runs.of(2, place())]).unwrap();
    assert_eq!(runs.outcome(2), Outcome::Succeeded(json!(["crunch-0", 1])));
}

#[test]
fn a_task_computes_on_the_threads_of_its_pool() {
    use rayon::prelude::*;
    let (executor, runs) = (RayonExecutor::new(3), Runs::new());
    start(&executor, "cpu");
    let sum = Task::new("sum", |_, _| {
        let inside = |_: &u64| rayon::current_num_threads() == 3;
        (0..10_000_u64).into_par_iter().filter(inside).sum::<u64>()
    });
    executor.submit(vec![runs.of(1, Arc::new(sum))]).unwrap();
    assert_eq!(runs.outcome(1), Outcome::Succeeded(json!(49_995_000)));
}

#[test]
fn a_run_that_waits_for_rayon_is_still_itself_afterwards() {
    let (executor, runs) = (RayonExecutor::new(1), Runs::new());
    start(&executor, "cpu");
    let gate = Gate::new();
    let holder = Arc::clone(&gate);
    let waits = Task::new("waits", move |context, _| {
        holder.pass();
        // The one thread looks for other work here, and finds the runs that wait.
        rayon::yield_now();
        rayon::join(|| (), || ());
        current_run().map(|current| current.run().id) == Some(context.run().id)
    });
    executor.submit(vec![runs.of(1, Arc::new(waits))]).unwrap();
    gate.wait_for(1);
    executor.submit((2..10).map(|number| runs.of(number, task(ECHO))).collect()).unwrap();
    gate.open();
    assert_eq!(runs.outcome(1), Outcome::Succeeded(json!(true)));
    assert!((2..10).all(|number| runs.outcome(number).is_success()));
    executor.shutdown(Shutdown::Wait).unwrap();
}

#[test]
fn the_global_pool_is_shared_with_the_program() {
    let (executor, runs) = (RayonExecutor::global(), Runs::new());
    start(&executor, "cpu");
    assert_eq!(executor.capacity(), Capacity::Unlimited);
    executor.submit((0..100).map(|number| runs.of(number, task(ECHO))).collect()).unwrap();
    let (left, right) = rayon::join(|| 1, || 2);
    assert_eq!(left + right, 3);
    assert!((0..100).all(|number| runs.outcome(number).is_success()));
    executor.shutdown(Shutdown::Wait).unwrap();
    assert_eq!(rayon::join(|| 1, || 2), (1, 2), "the pool outlives the executor");
}

#[test]
fn a_second_start_is_refused_while_it_runs() {
    let executor = RayonExecutor::new(1);
    start(&executor, "cpu");
    let again = executor.start(ExecutorContext { alias: Arc::from("cpu") });
    assert_eq!(again.unwrap_err().kind(), sched_core::ErrorKind::InvalidState);
    executor.shutdown(Shutdown::Now).unwrap();
    start(&executor, "cpu");
}

#[test]
fn a_run_that_waits_is_dropped_by_cancel() {
    let (executor, runs) = (RayonExecutor::new(1), Runs::new());
    start(&executor, "cpu");
    let gate = Gate::new();
    executor.submit(vec![runs.of(1, gate.task()), runs.of(2, task(ECHO)), runs.of(3, task(ECHO))]).unwrap();
    gate.wait_for(1);
    assert!(!executor.cancel(run_id(1)), "a thread is not killed");
    assert!(executor.cancel(run_id(2)));
    assert!(!executor.cancel(run_id(2)));
    assert_eq!(runs.outcome(2), Outcome::Cancelled);
    gate.open();
    assert!(runs.outcome(3).is_success());
    executor.shutdown(Shutdown::Wait).unwrap();
}

#[test]
fn a_dropped_executor_reports_what_has_not_started_and_lets_the_rest_end() {
    let (executor, runs) = (RayonExecutor::new(1), Runs::new());
    start(&executor, "cpu");
    let gate = Gate::new();
    executor.submit(vec![runs.of(1, gate.task()), runs.of(2, task(ECHO))]).unwrap();
    gate.wait_for(1);
    drop(executor);
    assert_eq!(runs.outcome(2), Outcome::Cancelled);
    gate.open();
    assert!(runs.outcome(1).is_success());
}

#[test]
fn the_keys_of_a_configuration_are_read_and_others_refused() {
    let config = json!({ "type": "rayon", "max_workers": "3", "queue_size": 5, "thread_name": "x" });
    let executor = build(config).unwrap();
    let shown = "RayonExecutor { global: false, max_workers: Some(3), queue_size: Some(5), .. }";
    assert_eq!(format!("{executor:?}"), shown);
    start(&*executor, "cpu");
    assert_eq!(executor.capacity(), Capacity::Free(8));
    let executor = build(json!({ "type": "rayon", "global": "yes" })).unwrap();
    assert_eq!(
        format!("{executor:?}"),
        "RayonExecutor { global: true, max_workers: None, queue_size: None, .. }"
    );
    let wrong = json!({
        "type": "rayon", "global": true, "max_workers": 2, "thread_name": "x", "queue_size": -1, "threads": 3,
    });
    let error = build(wrong).map(|_| ()).unwrap_err();
    let mut paths: Vec<_> = error.faults().iter().map(|fault| fault.path.as_str()).collect();
    paths.sort_unstable();
    let keys = ["max_workers", "queue_size", "thread_name", "threads"];
    assert_eq!(paths, keys.map(|key| format!("executors.cpu.{key}")));
}
