//! What is special to tokio: its clock, its handles, and where there is none.

#![expect(clippy::panic, reason = "a test fails by panicking, in its helpers too")]

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use parking_lot::Mutex;
use sched_core::{
    Args, BuildContext, Call, Capacity, Clock, Error, ErrorKind, Event, EventMask, Executor, ExecutorContext,
    Job, JobBuilder, JobStore, Outcome, Registry, Scheduler, SchedulerState, Task, current_run,
};
use sched_runtime_tokio::{Tokio, TokioClock, TokioExecutor, TokioScheduler};
use sched_store_memory::MemoryStore;
use sched_testkit::{FaultyStore, StoreCall};
use sched_triggers::ScheduleExt as _;
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(24 * 3_600);

/// The answer of a future that is asked outside of any runtime.
fn outside<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => panic!("it waits for something"),
    }
}

fn sleeper(pause: Duration) -> Arc<Task> {
    Arc::new(Task::new_async("sleep", move |_, _| tokio::time::sleep(pause)))
}

fn call(task: Arc<Task>) -> Call {
    Call::bound(task, Args::default())
}

#[tokio::test(start_paused = true)]
async fn days_pass_in_milliseconds_while_the_clock_is_paused() -> Result<(), Error> {
    let begin = Instant::now();
    let scheduler = TokioScheduler::new()?;
    let (first, starts) = (scheduler.clock().now() + HOUR, Arc::new(Mutex::new(Vec::new())));
    let task = {
        let starts = Arc::clone(&starts);
        Task::new_async("note", move |context, _| {
            starts.lock().push((context.run().fire_time, context.started_at()));
            tokio::time::sleep(Duration::from_secs(60))
        })
    };
    let mut troubles = scheduler.events(EventMask::CLOCK_JUMPED | EventMask::JOB_MAX_INSTANCES);
    scheduler.start().await?;
    scheduler.add_job(JobBuilder::bound(task).every(HOUR)).await?;
    tokio::time::sleep(3 * DAY + Duration::from_secs(61)).await;
    scheduler.shutdown(true).await?;
    let starts = starts.lock().clone();
    assert_eq!(starts.len(), 72);
    for (number, (fire_time, started_at)) in (0..).zip(starts.iter()) {
        let late = *started_at - *fire_time;
        assert!(late >= TimeDelta::zero() && late <= TimeDelta::milliseconds(2), "late by {late}");
        assert!((*fire_time - first - TimeDelta::hours(number)).abs() < TimeDelta::milliseconds(5));
    }
    assert_eq!(troubles.next().await, None);
    assert!(begin.elapsed() < Duration::from_secs(20), "it took {:?}", begin.elapsed());
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn while_the_clock_is_paused_a_timeout_is_one_of_its_time() -> Result<(), Error> {
    let second = Duration::from_secs(1);
    let store = FaultyStore::new(Arc::new(MemoryStore::new()));
    store.delay(Duration::from_millis(20));
    let stores: Arc<dyn JobStore> = Arc::clone(&store) as _;
    let scheduler =
        TokioScheduler::build(Scheduler::builder().with(|config| config.job_store("default", stores)))?;
    // The store takes its time on the computer's clock, none on the runtime's.
    tokio::time::timeout(second, scheduler.start()).await.unwrap()?;
    let job = scheduler.add_job(Job::call(|| ()).every(HOUR).id("a"));
    tokio::time::timeout(second, job).await.unwrap()?;
    // A run does: the shutdown waits as long as it sleeps.
    let mut starts = scheduler.events(EventMask::RUN_STARTED);
    scheduler.add_job(JobBuilder::bound(sleeper(HOUR))).await?;
    starts.next().await.unwrap().unwrap();
    let begin = tokio::time::Instant::now();
    assert!(tokio::time::timeout(second, scheduler.shutdown(true)).await.is_err());
    scheduler.wait_until_stopped().await;
    tokio::time::sleep(HOUR).await;
    assert!(begin.elapsed() >= HOUR);
    assert_eq!(scheduler.state(), SchedulerState::Stopped);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn the_limit_of_a_shutdown_is_in_the_runtimes_time() -> Result<(), Error> {
    let scheduler = TokioScheduler::new()?;
    let mut starts = scheduler.events(EventMask::RUN_STARTED);
    scheduler.start().await?;
    scheduler.add_job(JobBuilder::bound(sleeper(DAY))).await?;
    starts.next().await.unwrap().unwrap();
    let ends = scheduler.subscribe(EventMask::JOB_ERROR);
    let begin = tokio::time::Instant::now();
    scheduler.shutdown(HOUR).await?;
    assert!((HOUR..2 * HOUR).contains(&begin.elapsed()));
    tokio::task::yield_now().await;
    let outcomes: Vec<_> = ends.drain().iter().filter_map(|end| Some(end.ended()?.outcome.clone())).collect();
    assert_eq!(outcomes, [Outcome::Cancelled]);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_clock_stands_still_with_tokio_on_every_thread() {
    assert!(TokioClock::is_paused());
    let noon: DateTime<Utc> = sched_testkit::NOON;
    let clock = TokioClock::starting_at(noon);
    let elsewhere = {
        let clock = clock.clone();
        std::thread::spawn(move || (clock.now(), clock.monotonic())).join().unwrap()
    };
    assert_eq!(elsewhere, (noon, Duration::ZERO));
    tokio::time::advance(DAY).await;
    assert_eq!((clock.now(), clock.monotonic()), (noon + TimeDelta::days(1), DAY));
    tokio::time::resume();
    assert!(!TokioClock::is_paused());
    assert!(clock.now() >= noon + TimeDelta::days(1));
}

#[tokio::test]
async fn a_clock_that_runs_is_the_computers() -> Result<(), Error> {
    assert!(!TokioClock::is_paused());
    let scheduler = TokioScheduler::new()?;
    let (before, now, after) = (Utc::now(), scheduler.clock().now(), Utc::now());
    assert!(before - TimeDelta::microseconds(1) <= now && now <= after);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_given_is_kept() -> Result<(), Error> {
    let clock = Arc::new(TokioClock::starting_at(sched_testkit::NOON));
    let scheduler = TokioScheduler::build(Scheduler::builder().clock(clock))?;
    assert_eq!(scheduler.clock().now(), sched_testkit::NOON);
    Ok(())
}

#[test]
fn where_there_is_no_runtime_the_error_says_so() -> Result<(), Error> {
    let scheduler = TokioScheduler::new()?;
    let errors = [
        outside(scheduler.start()).unwrap_err(),
        outside(scheduler.add_job(Job::call(|| ()))).unwrap_err(),
        TokioExecutor::new().start(ExecutorContext { alias: Arc::from("default") }).unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::InvalidState);
        assert!(error.to_string().contains("no tokio runtime"), "{error}");
    }
    Ok(())
}

#[test]
fn a_runtime_without_timers_is_refused() -> Result<(), Error> {
    let runtime = Builder::new_current_thread().build().unwrap();
    let scheduler = TokioScheduler::new()?;
    let error = runtime.block_on(scheduler.start()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidState);
    assert!(error.to_string().contains("enable_time"), "{error}");
    Ok(())
}

#[test]
fn a_runtime_without_signals_is_an_error_of_who_waits_for_them() -> Result<(), Error> {
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    let scheduler = TokioScheduler::new()?;
    let error = runtime.block_on(scheduler.run_until_signal()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(!scheduler.is_running(), "it was shut down again");
    Ok(())
}

#[test]
fn a_scheduler_outlives_its_runtime() -> Result<(), Error> {
    let store = FaultyStore::new(Arc::new(MemoryStore::new()));
    let stores: Arc<dyn JobStore> = Arc::clone(&store) as _;
    let builder = Scheduler::builder().with(|config| config.job_store("default", stores));
    let scheduler = TokioScheduler::build(builder)?;
    let ends = scheduler.subscribe(EventMask::JOB_ERROR);
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        scheduler.start().await?;
        let mut starts = scheduler.events(EventMask::RUN_STARTED);
        scheduler.add_job(JobBuilder::bound(sleeper(DAY))).await?;
        starts.next().await.unwrap().unwrap();
        Ok::<_, Error>(())
    })?;
    drop(runtime);
    let outcomes: Vec<_> = ends.drain().iter().filter_map(|end| Some(end.ended()?.outcome.clone())).collect();
    assert_eq!(outcomes, [Outcome::Cancelled]);
    assert_eq!(outside(scheduler.shutdown(true)).unwrap_err().kind(), ErrorKind::Closed);
    drop(scheduler);
    assert_eq!(store.calls(StoreCall::Shutdown), 1);
    Ok(())
}

#[test]
fn a_scheduler_moves_to_another_runtime() -> Result<(), Error> {
    let scheduler = TokioScheduler::new()?;
    for _ in 0..2 {
        Runtime::new().unwrap().block_on(async {
            scheduler.start().await?;
            scheduler.run_job(call(sleeper(Duration::from_millis(1)))).await?;
            scheduler.shutdown(true).await
        })?;
    }
    Ok(())
}

#[test]
fn runs_of_an_ended_runtime_are_reported() -> Result<(), Error> {
    use sched_core::{RunSink, Shutdown};
    use sched_testkit::jobs::{ECHO, ECHO_LATER, run_id, sample_execution, task};
    let runtime = Runtime::new().unwrap();
    let executor = TokioExecutor::on(Tokio::from(runtime.handle().clone()));
    executor.start(ExecutorContext { alias: Arc::from("default") })?;
    drop(runtime);
    let sink = sched_testkit::RecordingSink::new(sched_testkit::SimClock::default());
    let run = |number, name| {
        sample_execution(number, task(name), json!([number]), Arc::clone(&sink) as Arc<dyn RunSink>)
    };
    executor.submit(vec![run(1, ECHO), run(2, ECHO_LATER), run(3, ECHO)]).unwrap();
    for number in 1..=3 {
        let outcome = sink.report_of(run_id(number)).outcome;
        assert!(matches!(outcome, Outcome::Abandoned(_)), "{outcome}");
    }
    executor.shutdown(Shutdown::Wait)
}

#[tokio::test]
async fn tasks_of_both_kinds_are_inside_of_the_runtime() -> Result<(), Error> {
    let scheduler = TokioScheduler::new()?;
    scheduler.start().await?;
    let plain = Task::new("plain", |_, _| {
        tokio::runtime::Handle::current().block_on(async { tokio::spawn(async { 1 }).await.unwrap() })
    });
    assert_eq!(scheduler.run_job(call(Arc::new(plain))).await?, json!(1));
    let later = Task::new_async("later", |_, _| async { tokio::spawn(async { 2 }).await.unwrap() });
    assert_eq!(scheduler.run_job(call(Arc::new(later))).await?, json!(2));
    // A plain function may block: it is not on the one thread of the loop.
    let inner = scheduler.scheduler().clone();
    let wait = Task::new("wait", move |_, _| {
        let task = sleeper(Duration::from_millis(10));
        inner.run_job(call(task)).map(|_| current_run().is_some())
    });
    assert_eq!(scheduler.run_job(call(Arc::new(wait))).await?, json!(true));
    scheduler.shutdown(true).await
}

#[tokio::test]
async fn a_plain_task_may_shut_the_scheduler_down() -> Result<(), Error> {
    let scheduler = TokioScheduler::new()?;
    let mut events = scheduler.events(EventMask::all());
    scheduler.start().await?;
    let stop = || sched_core::current_scheduler().is_some_and(|scheduler| scheduler.shutdown(true).is_ok());
    scheduler.add_job(Job::call(stop)).await?;
    let mut values = Vec::new();
    while let Some(event) = events.next().await {
        values.extend(event.unwrap().value().cloned());
    }
    // It does not wait for its own run, which ends after it.
    assert!(values.is_empty() || values == [json!(true)]);
    scheduler.wait_until_stopped().await;
    Ok(())
}

#[tokio::test]
async fn a_limit_lets_so_many_async_runs_go_on_at_once() -> Result<(), Error> {
    let config = json!({ "executors": { "default": { "type": "tokio", "max_concurrency": 2 } } });
    let scheduler = TokioScheduler::from_config(config)?;
    let (most, now) = (Arc::new(Mutex::new(0)), Arc::new(Mutex::new(0)));
    let task = {
        let (most, now) = (Arc::clone(&most), Arc::clone(&now));
        Arc::new(Task::new_async("count", move |_, _| {
            let (most, now) = (Arc::clone(&most), Arc::clone(&now));
            async move {
                let running = {
                    let mut now = now.lock();
                    *now += 1;
                    *now
                };
                {
                    let mut most = most.lock();
                    *most = running.max(*most);
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
                *now.lock() -= 1;
            }
        }))
    };
    scheduler.start().await?;
    let mut ends = scheduler.events(EventMask::JOB_EXECUTED);
    for _ in 0..100 {
        scheduler.add_job(JobBuilder::bound(Arc::clone(&task))).await?;
    }
    for _ in 0..100 {
        ends.next().await.unwrap().unwrap();
    }
    assert_eq!(*most.lock(), 2);
    scheduler.shutdown(true).await
}

fn build(config: Value) -> Result<Arc<dyn Executor>, Error> {
    let registry = Registry::linked()?;
    let context = BuildContext { registry: &registry, timezone: sched_core::chrono_tz::Tz::UTC };
    registry.executor("executors.default", config, context)
}

#[test]
fn the_keys_of_a_configuration_are_read_and_others_refused() {
    let runtime = Runtime::new().unwrap();
    let _inside = runtime.enter();
    let config = json!({ "type": "asyncio", "max_concurrency": "3", "queue_size": 5, "max_workers": 7 });
    let executor = build(config).unwrap();
    executor.start(ExecutorContext { alias: Arc::from("default") }).unwrap();
    assert_eq!(executor.capacity(), Capacity::Free(8));
    assert!(format!("{executor:?}").contains("max_workers: 7"), "{executor:?}");
    let executor = build(json!({ "class": "apscheduler.executors.asyncio:AsyncIOExecutor" })).unwrap();
    executor.start(ExecutorContext { alias: Arc::from("default") }).unwrap();
    assert_eq!(executor.capacity(), Capacity::Unlimited);
    let wrong = json!({ "type": "tokio", "max_workers": 0, "queue_size": 2, "workers": 3 });
    let error = build(wrong).map(|_| ()).unwrap_err();
    let mut paths: Vec<_> = error.faults().iter().map(|fault| fault.path.as_str()).collect();
    paths.sort_unstable();
    assert_eq!(paths, ["max_workers", "queue_size", "workers"].map(|key| format!("executors.default.{key}")));
}

#[tokio::test]
async fn the_default_executor_is_told_as_added() -> Result<(), Error> {
    let scheduler = TokioScheduler::new()?;
    let mut events = scheduler.events(EventMask::EXECUTOR_ADDED);
    scheduler.start().await?;
    assert_eq!(events.next().await, Some(Ok(Event::ExecutorAdded(Arc::from("default")))));
    let executor = scheduler.executor("default")?;
    assert!(format!("{executor:?}").contains("\"tokio\""), "{executor:?}");
    scheduler.shutdown(true).await
}
