//! Cases of executors that run their runs beside the caller.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sched_core::{
    CancelReason, CancelToken, Capacity, ErrorKind, Execution, Outcome, RunSink, Shutdown, Task,
};
use serde_json::{Value, json};

use super::ExecutorFixture;
use crate::jobs::{ECHO, run_id, sample_execution, task};
use crate::sink::Gate;

/// Runs that follow those which hold a pool's places.
const FIRST: u64 = 1_000;

impl ExecutorFixture {
    /// Holds `count` places with runs that wait at a gate, and waits until they do.
    fn hold(&self, count: u64, numbered_from: u64) -> Arc<Gate> {
        let gate = self.gate();
        let held = gate.task();
        self.submit((0..count).map(|number| self.execution(numbered_from + number, &held, gate.args())));
        gate.wait_for(usize::try_from(count).expect("small"));
        gate
    }

    /// Holds every place.
    fn hold_all(&self) -> Arc<Gate> {
        self.hold(self.width(), 0)
    }

    /// Quick runs that report themselves.
    fn quick(&self, count: u64) -> Vec<Execution> {
        let echo = task(ECHO);
        (FIRST..FIRST + count).map(|number| self.execution(number, &echo, json!([number]))).collect()
    }

    /// How many of `wanted` runs there is room for now.
    fn room(&self, wanted: usize) -> u64 {
        let room = match self.executor.capacity() {
            Capacity::Unlimited => wanted,
            Capacity::Free(room) => room.min(wanted),
        };
        u64::try_from(room).expect("small")
    }
}

/// As many runs as there are places go on at the same time.
pub fn executor_runs_side_by_side(fixture: ExecutorFixture) {
    let gate = fixture.hold_all();
    assert_eq!(fixture.sink.started().len() as u64, fixture.width());
    gate.open();
    fixture.sink.wait_for_reports(usize::try_from(fixture.width()).expect("small"));
    fixture.end();
}

/// Runs that wait start in the order in which they were submitted.
pub fn executor_starts_in_order(fixture: ExecutorFixture) {
    let width = fixture.width();
    // All places but one stay held, so that the runs that wait go through one by one.
    let others = fixture.hold(width - 1, 0);
    let last = fixture.hold(1, width);
    let count = fixture.room(50);
    fixture.submit(fixture.quick(count));
    last.open();
    let expected: Vec<_> = (FIRST..FIRST + count).map(run_id).collect();
    let held = usize::try_from(width).expect("small");
    let mut started = fixture.sink.wait_for_starts(held + expected.len()).split_off(held);
    if fixture.is_wide() {
        // Where nothing has to wait, all start at once.
        started.sort_unstable();
    }
    assert_eq!(started, expected);
    others.open();
    fixture.end();
}

/// Submitting does not wait for places: what does not fit is given back, in order; without a bound all is taken.
pub fn executor_refuses_when_full(fixture: ExecutorFixture) {
    let is_bounded = fixture.is_bounded();
    let gate = fixture.hold_all();
    if !is_bounded {
        fixture.submit(fixture.quick(10_000));
        assert_eq!(fixture.executor.capacity(), Capacity::Unlimited);
        gate.open();
        fixture.sink.wait_for_reports(10_000);
        return fixture.end();
    }
    let room = fixture.room(usize::MAX >> 1);
    let refused = fixture.try_submit(fixture.quick(room + 3)).expect_err("there is room for some only");
    assert_eq!(refused.error.kind(), ErrorKind::Unavailable, "{}", refused.error);
    let ids: Vec<_> = refused.runs.iter().filter_map(|run| run.run().map(|run| run.id)).collect();
    assert_eq!(ids, (FIRST + room..FIRST + room + 3).map(run_id).collect::<Vec<_>>());
    assert_eq!(fixture.executor.capacity(), Capacity::Free(0));
    let taken = usize::try_from(fixture.width() + room).expect("small");
    gate.open();
    fixture.sink.wait_for_reports(taken);
    fixture.submit(refused.runs);
    fixture.sink.wait_for_reports(taken + 3);
    fixture.end();
}

/// Any number of threads may submit at once.
pub fn executor_takes_runs_from_many_threads(fixture: ExecutorFixture) {
    let echo = task(ECHO);
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let (fixture, echo) = (&fixture, &echo);
            scope.spawn(move || {
                for number in 0..250 {
                    fixture.submit([fixture.execution(thread * 250 + number, echo, json!([]))]);
                }
            });
        }
    });
    assert_eq!(fixture.sink.wait_for_reports(1_000).len(), 1_000);
    fixture.end();
}

/// A run may submit another.
pub fn executor_takes_runs_from_inside_a_run(fixture: ExecutorFixture) {
    let (executor, sink) = (Arc::clone(&fixture.executor), Arc::clone(&fixture.sink));
    let outer = Task::new("outer", move |_, _| {
        let inner = sample_execution(2, task(ECHO), json!(["inner"]), Arc::clone(&sink) as Arc<dyn RunSink>);
        executor.submit(vec![inner]).map_err(|refused| refused.error)
    });
    fixture.submit([fixture.execution(1, &Arc::new(outer), Value::Null)]);
    assert_eq!(fixture.sink.report_of(run_id(2)).outcome, Outcome::Succeeded(json!("inner")));
    assert!(fixture.sink.report_of(run_id(1)).outcome.is_success());
    fixture.end();
}

/// A run that is asked to stop can see it and stop.
pub fn executor_lets_runs_stop_early(fixture: ExecutorFixture) {
    let gate = fixture.gate();
    let run = fixture.execution(1, &gate.cancellable_task(), gate.args());
    let token = run.cancel_token();
    fixture.submit([run]);
    gate.wait_for(1);
    token.cancel();
    assert_eq!(fixture.sink.report_of(run_id(1)).outcome, Outcome::Cancelled);
    fixture.end();
}

/// `cancel` says truly whether the run is over; an unknown run is not.
pub fn executor_cancels_by_force_or_not_at_all(fixture: ExecutorFixture) {
    let gate = fixture.hold_all();
    let runs = fixture.quick(fixture.room(1));
    let token = runs.first().map(Execution::cancel_token);
    fixture.submit(runs);
    assert!(!fixture.executor.cancel(run_id(77)), "an unknown run");
    if let Some(token) = token {
        token.cancel();
        if fixture.executor.cancel(run_id(FIRST)) {
            assert_eq!(fixture.sink.reports().len(), 1, "it is over at once");
        } else {
            gate.open();
        }
        let outcome = fixture.sink.report_of(run_id(FIRST)).outcome;
        assert!(matches!(outcome, Outcome::Cancelled | Outcome::Succeeded(_)), "{outcome}");
    }
    gate.open();
    fixture.end();
}

/// A shutdown that waits returns after the last run was reported, those that had not started included.
pub fn executor_shutdown_waits(fixture: ExecutorFixture) {
    let gate = fixture.hold_all();
    let waiting = fixture.room(20);
    fixture.submit(fixture.quick(waiting));
    let returned = Arc::new(AtomicBool::new(false));
    std::thread::scope(|scope| {
        let shutdown = scope.spawn(|| {
            fixture.shutdown(Shutdown::Wait);
            returned.store(true, Ordering::SeqCst);
            fixture.sink.reports().len() as u64
        });
        while fixture.executor.capacity() != Capacity::Free(0) {
            std::thread::yield_now();
        }
        assert!(!returned.load(Ordering::SeqCst), "runs are held at the gate");
        gate.open();
        let reports = shutdown.join().expect("the shutdown does not panic");
        assert_eq!(reports, fixture.width() + waiting, "all were reported when it returned");
    });
    fixture.end();
}

/// A shutdown with a limit returns when the limit is over; what has not started is dropped and reported.
pub fn executor_shutdown_waits_at_most(fixture: ExecutorFixture) {
    let gate = fixture.hold_all();
    let waiting = if fixture.is_wide() { 0 } else { fixture.room(5) };
    fixture.submit(fixture.quick(waiting));
    fixture.shutdown(Shutdown::WaitFor(Duration::from_millis(20)));
    assert_eq!(fixture.sink.reports().len() as u64, waiting, "only those that had not started are over");
    gate.open();
    fixture.sink.wait_for_reports(usize::try_from(fixture.width() + waiting).expect("small"));
    fixture.end();
}

/// A shutdown whose limit no clock reaches waits for runs, those that wait included.
pub fn executor_shutdown_waits_without_limit(fixture: ExecutorFixture) {
    let gate = fixture.hold_all();
    let waiting = fixture.room(5);
    fixture.submit(fixture.quick(waiting));
    let count = usize::try_from(fixture.width() + waiting).expect("small");
    std::thread::scope(|scope| {
        let shutdown = scope.spawn(|| {
            fixture.shutdown(Shutdown::WaitFor(Duration::MAX));
            fixture.sink.reports().len()
        });
        gate.open();
        assert_eq!(shutdown.join().expect("the shutdown does not panic"), count);
    });
    assert!(fixture.sink.reports().iter().all(|report| report.outcome.is_success()));
    fixture.end();
}

/// An immediate shutdown returns while runs go on: they are asked to stop, what has not started is dropped, and each is
/// told why and reported once.
pub fn executor_shutdown_now_returns(fixture: ExecutorFixture) {
    let gate = fixture.hold(fixture.width() - 1, 0);
    let willing = fixture.gate();
    let mut tokens = Vec::new();
    let mut submit = |runs: Vec<Execution>| {
        tokens.extend(runs.iter().map(Execution::cancel_token));
        fixture.submit(runs);
    };
    submit(vec![fixture.execution(500, &willing.cancellable_task(), willing.args())]);
    willing.wait_for(1);
    let waiting = if fixture.is_wide() { 0 } else { fixture.room(5) };
    submit(fixture.quick(waiting));
    fixture.shutdown(Shutdown::Now);
    let is_shutdown = |token: &CancelToken| token.reason() == Some(CancelReason::Shutdown);
    assert!(tokens.iter().all(is_shutdown), "{tokens:?}");
    for number in FIRST..FIRST + waiting {
        let report = fixture.sink.report_of(run_id(number));
        let was_dropped = matches!(report.outcome, Outcome::Cancelled | Outcome::Abandoned(_));
        assert!(was_dropped && report.started_at.is_none(), "{:?}", report.outcome);
    }
    assert_eq!(fixture.sink.report_of(run_id(500)).outcome, Outcome::Cancelled, "it was asked to stop");
    gate.open();
    fixture.sink.wait_for_reports(usize::try_from(fixture.width() + waiting).expect("small"));
    fixture.end();
}

/// A run may shut its executor down: the call waits for the others, those that had not started included, but not for
/// the run that makes it.
pub fn executor_shutdown_inside_a_run(fixture: ExecutorFixture) {
    let waiting = if fixture.is_bounded() { fixture.room(10) - 1 } else { 10 };
    let (gate, executor, sink) = (Gate::new(), Arc::clone(&fixture.executor), Arc::clone(&fixture.sink));
    let holder = Arc::clone(&gate);
    let stopper = Task::new("stopper", move |_, _| {
        holder.pass();
        let done = executor.shutdown(Shutdown::Wait);
        done.map(|()| sink.reports().len() as u64)
    });
    fixture.submit([fixture.execution(1, &Arc::new(stopper), Value::Null)]);
    gate.wait_for(1);
    fixture.submit(fixture.quick(waiting));
    gate.open();
    assert_eq!(fixture.sink.report_of(run_id(1)).outcome, Outcome::Succeeded(json!(waiting)));
    fixture.end();
}

/// Two runs may do so at once; neither waits for the other.
pub fn executor_shutdown_inside_two_runs(fixture: ExecutorFixture) {
    if fixture.width() < 2 {
        return fixture.end();
    }
    let (gate, executor) = (Gate::new(), Arc::clone(&fixture.executor));
    let holder = Arc::clone(&gate);
    let stopper = Arc::new(Task::new("stopper", move |_, _| {
        holder.pass();
        executor.shutdown(Shutdown::Wait)
    }));
    fixture.submit([1, 2].map(|number| fixture.execution(number, &stopper, Value::Null)));
    gate.wait_for(2);
    gate.open();
    let reports = fixture.sink.wait_for_reports(2);
    assert!(reports.iter().all(|report| report.outcome.is_success()));
    fixture.end();
}

/// A run that outlives a shutdown does not hinder the next start, and is still reported.
pub fn executor_restarts_beside_an_old_run(fixture: ExecutorFixture) {
    let gate = fixture.hold_all();
    fixture.shutdown(Shutdown::Now);
    fixture.start();
    assert_eq!(fixture.run(FIRST, ECHO, json!(["new"])).outcome, Outcome::Succeeded(json!("new")));
    gate.open();
    fixture.sink.wait_for_reports(usize::try_from(fixture.width() + 1).expect("small"));
    fixture.end();
}
