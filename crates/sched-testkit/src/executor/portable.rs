//! Cases that any executor passes, wherever it runs its runs.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use sched_core::{
    CancelReason, Capacity, ErrorKind, Executor, Grace, JobOptions, MissReason, Outcome, Run, RunId,
    RunReport, RunSink, Shutdown, TaskErrorKind,
};
use serde_json::{Value, json};

use super::ExecutorFixture;
use crate::jobs::{
    ECHO, ECHO_LATER, FAIL, LOOK, NOON, PANIC, WAIT, WHY, job_id, run_id, sample_execution, task,
};
use crate::sink::{Gate, RecordingSink};

/// Every run that is taken starts once and is reported once.
pub fn executor_reports_once(fixture: ExecutorFixture) {
    let echo = task(ECHO);
    for batch in 0..10_u64 {
        fixture.submit((0..3).map(|number| fixture.execution(batch * 3 + number, &echo, json!([number]))));
        fixture.sink.wait_for_reports(usize::try_from(batch * 3 + 3).expect("small"));
    }
    let mut started = fixture.sink.started();
    started.sort_unstable();
    assert_eq!(started, (0..30).map(run_id).collect::<Vec<_>>());
    for report in fixture.sink.reports() {
        assert!(report.outcome.is_success(), "{:?}", report.outcome);
        assert_eq!((report.started_at, report.finished_at), (Some(NOON), NOON));
    }
    fixture.executor.submit(Vec::new()).expect("no runs are no trouble");
    fixture.end();
}

/// A task that panics fails; the executor goes on, however often it happens.
pub fn executor_survives_panics(fixture: ExecutorFixture) {
    for number in 0..40 {
        let Outcome::Failed(error) = fixture.run(number, PANIC, Value::Null).outcome else {
            panic!("a panic is a failure")
        };
        assert_eq!(*error.kind(), TaskErrorKind::Panic);
        assert!(error.message().contains("deliberate"), "{error}");
    }
    assert_eq!(fixture.run(100, ECHO, json!(["alive"])).outcome, Outcome::Succeeded(json!("alive")));
    fixture.end();
}

/// A sink that panics when it hears of a start or an end.
struct PanickingSink {
    sink: Arc<RecordingSink>,
    heard: Mutex<Vec<&'static str>>,
}

impl RunSink for PanickingSink {
    fn now(&self) -> DateTime<Utc> {
        self.sink.now()
    }

    fn started(&self, run: &Arc<Run>) {
        self.heard.lock().push("started");
        if run.id == run_id(1) {
            panic!("deliberate, at the start");
        }
    }

    fn finished(&self, report: RunReport) {
        self.heard.lock().push("finished");
        let is_second = report.run.id == run_id(2);
        self.sink.finished(report);
        if is_second {
            panic!("deliberate, at the end");
        }
    }
}

/// Whoever hears of the runs may panic; the executor goes on, and shuts down.
pub fn executor_survives_a_sink_that_panics(fixture: ExecutorFixture) {
    let sink = Arc::new(PanickingSink { sink: Arc::clone(&fixture.sink), heard: Mutex::default() });
    for number in 1..=3 {
        fixture.submit([sample_execution(
            number,
            task(ECHO),
            json!([number]),
            Arc::clone(&sink) as Arc<dyn RunSink>,
        )]);
        fixture.sink.report_of(run_id(number));
    }
    assert_eq!(fixture.sink.report_of(run_id(3)).outcome, Outcome::Succeeded(json!(3)));
    let heard = sink.heard.lock().clone();
    assert_eq!(heard, ["started", "finished"].repeat(3));
    fixture.end();
}

/// Arguments and results come through as they are.
pub fn executor_carries_arguments_and_results(fixture: ExecutorFixture) {
    let values = [
        json!(null),
        json!(true),
        json!(-9_007_199_254_740_993_i64),
        json!(u64::MAX),
        json!(0.1),
        json!("\u{e4}\u{1F980}\n\"\\"),
        json!([1, [2, []], { "a": { "b": null } }]),
        json!("x".repeat(200_000)),
    ];
    for (number, value) in (1..).zip(values) {
        let report = fixture.run(number, ECHO, json!([value]));
        assert!(report.outcome == Outcome::Succeeded(value), "run {number} came back as something else");
    }
    fixture.end();
}

/// A task's error is the outcome of its run, with the message.
pub fn executor_reports_errors(fixture: ExecutorFixture) {
    let report = fixture.run(1, FAIL, Value::Null);
    let Outcome::Failed(error) = report.outcome else { panic!("{} is not a failure", report.outcome) };
    assert_eq!((error.message(), error.kind()), ("deliberate", &TaskErrorKind::Error));
    assert_eq!(report.started_at, Some(NOON));
    fixture.end();
}

/// Async tasks run to their end.
pub fn executor_runs_async_tasks(fixture: ExecutorFixture) {
    for number in 1..=20 {
        let report = fixture.run(number, ECHO_LATER, json!([number]));
        assert_eq!(report.outcome, Outcome::Succeeded(json!(number)));
    }
    fixture.end();
}

/// Whether a run is too late is judged once more when it starts; exactly at the limit it is not.
pub fn executor_judges_lateness_again(fixture: ExecutorFixture) {
    let late = |number, seconds| {
        let grace = Grace::Within(Duration::from_secs(60));
        let options = JobOptions { misfire_grace_time: grace, ..JobOptions::default() };
        fixture.clock.set(NOON + chrono::TimeDelta::microseconds(seconds));
        fixture.submit([fixture.execution_with(number, &task(ECHO), json!([1]), options)]);
        fixture.sink.report_of(run_id(number))
    };
    assert_eq!(late(1, 60_000_000).outcome, Outcome::Succeeded(json!(1)));
    let missed = late(2, 60_000_001);
    assert_eq!((missed.outcome, missed.started_at), (Outcome::Missed(MissReason::TooLate), None));
    assert_eq!(fixture.sink.started(), [run_id(1)]);
    fixture.end();
}

/// A run that was asked to stop before it starts does not start.
pub fn executor_skips_cancelled_runs(fixture: ExecutorFixture) {
    let cancelled = fixture.execution(1, &task(ECHO), json!([1]));
    cancelled.cancel_token().cancel();
    fixture.submit([cancelled, fixture.execution(2, &task(ECHO), json!([2]))]);
    let report = fixture.sink.report_of(run_id(1));
    assert_eq!((report.outcome, report.started_at), (Outcome::Cancelled, None));
    assert_eq!(fixture.sink.report_of(run_id(2)).outcome, Outcome::Succeeded(json!(2)));
    fixture.end();
}

/// A run that is asked to stop half-way ends, by itself or by force, and is reported once. What it was asked for decides
/// how it ended: one whose time was up has timed out, whatever it says.
pub fn executor_ends_runs_that_are_asked_to_stop(fixture: ExecutorFixture) {
    for (number, reason) in [(1, CancelReason::TimedOut), (2, CancelReason::Asked)] {
        let options = JobOptions { timeout: Some(Duration::from_secs(90)), ..JobOptions::default() };
        let run = fixture.execution_with(number, &task(WAIT), Value::Null, options);
        let token = run.cancel_token();
        let started = usize::try_from(number).expect("small");
        std::thread::scope(|scope| {
            // An executor that runs inline does not come back before the run has ended.
            let submitting = scope.spawn(|| fixture.submit([run]));
            fixture.sink.wait_for_starts(started);
            token.cancel_because(reason);
            fixture.executor.cancel(run_id(number));
            let outcome = fixture.sink.report_of(run_id(number)).outcome;
            match reason {
                CancelReason::TimedOut => assert_eq!(outcome, Outcome::TimedOut),
                _ => assert!(matches!(outcome, Outcome::Cancelled | Outcome::Failed(_)), "{outcome}"),
            }
            submitting.join().expect("submitting does not panic");
        });
    }
    assert_eq!(fixture.run(3, ECHO, json!(["next"])).outcome, Outcome::Succeeded(json!("next")));
    fixture.end();
}

/// A run that is asked to stop sees why, wherever it runs; when its executor is shut down, that this is so.
pub fn executor_says_why_a_run_stops(fixture: ExecutorFixture) {
    let reasons = [CancelReason::Asked, CancelReason::Replaced, CancelReason::Lost, CancelReason::Shutdown];
    for (number, reason) in (1..).zip(reasons) {
        let gate = Gate::across_processes();
        let run = fixture.execution(number, &task(WHY), gate.args());
        let token = run.cancel_token();
        std::thread::scope(|scope| {
            // An executor that runs inline does not come back before the run has ended.
            scope.spawn(|| fixture.submit([run]));
            gate.wait_for(1);
            match reason {
                CancelReason::Shutdown => fixture.shutdown(Shutdown::Now),
                _ => token.cancel_because(reason),
            }
            let outcome = fixture.sink.report_of(run_id(number)).outcome;
            assert_eq!(outcome, Outcome::Succeeded(json!(reason.to_string())));
        });
    }
    fixture.end();
}

/// A limit that no clock reaches is none.
pub fn executor_waits_without_limit(fixture: ExecutorFixture) {
    assert!(fixture.run(1, ECHO, json!([1])).outcome.is_success());
    fixture.shutdown(Shutdown::WaitFor(Duration::MAX));
    fixture.end();
}

/// The timeout of a run is told once, before its start; a run without one is not timed.
pub fn executor_tells_of_timeouts(fixture: ExecutorFixture) {
    let timeout = Duration::from_secs(90);
    let options = JobOptions { timeout: Some(timeout), ..JobOptions::default() };
    fixture.submit([fixture.execution_with(1, &task(ECHO), json!([1]), options)]);
    assert!(fixture.sink.report_of(run_id(1)).outcome.is_success());
    fixture.run(2, ECHO, json!([2]));
    assert_eq!(fixture.sink.timed(), [(run_id(1), timeout)]);
    fixture.end();
}

/// A task sees its deadline: its start plus its timeout.
pub fn executor_shows_the_deadline(fixture: ExecutorFixture) {
    let options = JobOptions { timeout: Some(Duration::from_secs(90)), ..JobOptions::default() };
    fixture.submit([fixture.execution_with(1, &task(LOOK), Value::Null, options)]);
    let deadline = (NOON + chrono::TimeDelta::seconds(90)).to_rfc3339();
    let seen = fixture.sink.report_of(run_id(1)).outcome;
    assert_eq!(seen.value().expect("it succeeds")["deadline"], json!(deadline));
    assert_eq!(
        fixture.run(2, LOOK, Value::Null).outcome.value().expect("it succeeds")["deadline"],
        Value::Null
    );
    fixture.end();
}

/// A task sees its run, as an argument and as the current run.
pub fn executor_shows_the_run(fixture: ExecutorFixture) {
    for number in 1..=2 {
        let outcome = fixture.run(number, LOOK, Value::Null).outcome;
        let seen = outcome.value().expect("it succeeds");
        let id = json!(run_id(number).to_string());
        assert_eq!((&seen["run"], &seen["current"]), (&id, &id));
        assert_eq!((&seen["job"], &seen["attempt"]), (&json!(job_id("sample").as_str()), &json!(1)));
    }
    assert!(sched_core::current_run().is_none(), "a run is current only while it runs");
    fixture.end();
}

/// A sink that shuts the executor down when it hears of an end.
struct ClosingSink {
    sink: Arc<RecordingSink>,
    executor: Arc<dyn Executor>,
    current: Mutex<Vec<Option<RunId>>>,
}

impl RunSink for ClosingSink {
    fn now(&self) -> DateTime<Utc> {
        self.sink.now()
    }

    fn started(&self, run: &Arc<Run>) {
        RunSink::started(&*self.sink, run);
    }

    fn finished(&self, report: RunReport) {
        self.current.lock().push(sched_core::current_run().map(|context| context.run().id));
        self.executor.shutdown(Shutdown::Wait).expect("it shuts down");
        self.sink.finished(report);
    }
}

/// Whoever hears of a run's end is part of the run: it is the current one, and a shutdown from there does not wait for it.
pub fn executor_shutdown_when_told_of_an_end(fixture: ExecutorFixture) {
    for (number, name) in [(1, ECHO), (2, ECHO_LATER), (3, FAIL)] {
        let sink = Arc::new(ClosingSink {
            sink: Arc::clone(&fixture.sink),
            executor: Arc::clone(&fixture.executor),
            current: Mutex::default(),
        });
        let run =
            sample_execution(number, task(name), json!([number]), Arc::clone(&sink) as Arc<dyn RunSink>);
        fixture.submit([run]);
        fixture.sink.report_of(run_id(number));
        assert_eq!(*sink.current.lock(), [Some(run_id(number))], "{name}");
        assert_eq!(fixture.executor.capacity(), Capacity::Free(0));
        fixture.start();
    }
    fixture.end();
}

/// Many quick runs are all run.
pub fn executor_finishes_a_thousand_quick_runs(fixture: ExecutorFixture) {
    const RUNS: u64 = 1_000;
    let echo = task(ECHO);
    fixture.submit((0..RUNS).map(|number| fixture.execution(number, &echo, json!([number]))));
    let reports = fixture.sink.wait_for_reports(usize::try_from(RUNS).expect("small"));
    assert!(reports.iter().all(|report| report.outcome.is_success()));
    fixture.end();
}

/// Before `start` and after `shutdown` all runs are given back as closed, unreported.
pub fn executor_refuses_when_closed(fixture: ExecutorFixture) {
    fixture.shutdown(Shutdown::Wait);
    assert_eq!(fixture.executor.capacity(), Capacity::Free(0));
    let refused = fixture.try_submit((1..=3).map(|number| fixture.execution(number, &task(ECHO), json!([]))));
    let refused = refused.expect_err("it is closed");
    assert_eq!(refused.error.kind(), ErrorKind::Closed, "{}", refused.error);
    let ids: Vec<_> = refused.runs.iter().filter_map(|run| run.run().map(|run| run.id)).collect();
    assert_eq!(ids, (1..=3).map(run_id).collect::<Vec<_>>());
    assert!(fixture.sink.reports().is_empty(), "a run that is given back is not reported");
    fixture.end();
}

/// It starts again after a shutdown, as often as it must.
pub fn executor_restarts(fixture: ExecutorFixture) {
    for number in 0..5 {
        assert_eq!(fixture.run(number, ECHO, json!([number])).outcome, Outcome::Succeeded(json!(number)));
        fixture.shutdown(if number % 2 == 0 { Shutdown::Wait } else { Shutdown::Now });
        fixture.shutdown(Shutdown::Wait);
        fixture.start();
    }
    fixture.end();
}

/// Its debug text says what it is.
pub fn executor_shows_itself(fixture: ExecutorFixture) {
    let text = format!("{:?}", fixture.executor);
    assert!(text.starts_with(char::is_alphabetic), "`{text}` does not name the executor");
    fixture.end();
}
