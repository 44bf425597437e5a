//! How a scheduler is shut down: with and without waiting, from outside and from inside of a run.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sched_async::{AsyncExecutor, AsyncRuntime, AsyncScheduler, Events};
use sched_core::{
    Error, Event, EventMask, EventStream, Job, JobBuilder, Outcome, Overlap, SchedulerState, Shutdown, Task,
};
use sched_testkit::StoreCall;
use sched_triggers::ScheduleExt as _;
use serde_json::{Value, json};

use crate::{FOR_EVER, PATIENCE, Tested, call, next, sleeper, slow_store, soon, started, with_store, within};

/// A scheduler in the middle of a run, and what is told of the run's end.
async fn sleeping<R: AsyncRuntime>(pause: Duration) -> Result<(Tested<R>, Events), Error> {
    let scheduler = started::<R>().await?;
    let mut starts = scheduler.events(EventMask::RUN_STARTED);
    let ends = scheduler.events(EventMask::JOB_EXECUTED | EventMask::JOB_ERROR);
    scheduler.add_job(JobBuilder::bound(sleeper::<R>("sleep", pause))).await?;
    next::<R>(&mut starts).await;
    Ok((scheduler, ends))
}

/// What became of a run that was asked to stop. It ends when its future is dropped, which a shutdown does not wait for.
async fn outcome_of_cancelled<R: AsyncRuntime>(ends: &EventStream) -> Outcome {
    let begin = Instant::now();
    loop {
        if let Some(event) = ends.drain().first() {
            return event.ended().unwrap().outcome.clone();
        }
        assert!(begin.elapsed() < PATIENCE, "the run does not end");
        R::current().unwrap().sleep(Duration::from_millis(1)).await;
    }
}

pub(crate) async fn shutdown_waits_for_runs<R: AsyncRuntime>() -> Result<(), Error> {
    let (scheduler, mut ends) = sleeping::<R>(Duration::from_millis(100)).await?;
    soon::<R, _>(scheduler.shutdown(true)).await?;
    assert_eq!(next::<R>(&mut ends).await.value(), Some(&json!("slept")));
    assert_eq!(soon::<R, _>(ends.next()).await, None);
    assert_eq!(scheduler.state(), SchedulerState::Stopped);
    Ok(())
}

pub(crate) async fn shutdown_with_a_deadline_cancels_what_is_left<R: AsyncRuntime>() -> Result<(), Error> {
    let (scheduler, _) = sleeping::<R>(FOR_EVER).await?;
    let (ends, begin) = (scheduler.subscribe(EventMask::JOB_ERROR), Instant::now());
    soon::<R, _>(scheduler.shutdown(Duration::from_millis(100))).await?;
    assert!(begin.elapsed() >= Duration::from_millis(100), "it waits as long as it may");
    assert_eq!(outcome_of_cancelled::<R>(&ends).await, Outcome::Cancelled);
    Ok(())
}

pub(crate) async fn shutdown_now_cancels_at_once<R: AsyncRuntime>() -> Result<(), Error> {
    let (scheduler, _) = sleeping::<R>(FOR_EVER).await?;
    let ends = scheduler.subscribe(EventMask::JOB_ERROR);
    soon::<R, _>(scheduler.shutdown(Shutdown::Now)).await?;
    assert_eq!(outcome_of_cancelled::<R>(&ends).await, Outcome::Cancelled);
    Ok(())
}

pub(crate) async fn shutdown_goes_on_when_its_future_is_dropped<R: AsyncRuntime>() -> Result<(), Error> {
    let (scheduler, mut ends) = sleeping::<R>(Duration::from_millis(100)).await?;
    assert!(within::<R, _>(Duration::from_millis(20), scheduler.shutdown(true)).await.is_none());
    assert_eq!(next::<R>(&mut ends).await.value(), Some(&json!("slept")), "it was not cut short");
    assert_eq!(soon::<R, _>(ends.next()).await, None, "the scheduler was shut down");
    Ok(())
}

pub(crate) async fn a_run_may_shut_the_scheduler_down<R: AsyncRuntime>() -> Result<(), Error> {
    for executor in ["default", "pool"] {
        let scheduler = Arc::new(AsyncScheduler::<R>::from_config(json!({
            "executors": { "pool": { "type": "threadpool" } },
        }))?);
        scheduler.start().await?;
        let mut events = scheduler.events(EventMask::all());
        let (own, answer) = (Arc::clone(&scheduler), Arc::new(Mutex::new(None)));
        let stop = {
            let answer = Arc::clone(&answer);
            Task::new_async("stop", move |_, _| {
                let (own, answer) = (Arc::clone(&own), Arc::clone(&answer));
                async move { *answer.lock() = Some(own.shutdown(true).await) }
            })
        };
        scheduler.add_job(JobBuilder::bound(stop).executor(executor)).await?;
        soon::<R, _>(scheduler.wait_until_stopped()).await;
        assert!(matches!(answer.lock().take(), Some(Ok(()))), "on {executor}");
        let mut told = Vec::new();
        while let Some(event) = soon::<R, _>(events.next()).await {
            told.push(event.unwrap());
        }
        assert!(told.iter().any(|event| event.value() == Some(&Value::Null)), "the run ends well: {told:?}");
        assert_eq!(told.last(), Some(&Event::SchedulerShutdown));
    }
    Ok(())
}

/// A task that shuts its scheduler down once it may, and goes on for a while.
struct Stopper {
    task: Arc<Task>,
    may: Arc<AtomicBool>,
    answer: Arc<Mutex<Option<Result<(), Error>>>>,
}

impl Stopper {
    fn of<R: AsyncRuntime>(scheduler: &Tested<R>, how: Shutdown) -> Self {
        let (own, may, answer) =
            (Arc::clone(scheduler), Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(None)));
        let (ready, answered) = (Arc::clone(&may), Arc::clone(&answer));
        let task = Task::new_async("stop", move |_, _| {
            let (own, ready, answered) = (Arc::clone(&own), Arc::clone(&ready), Arc::clone(&answered));
            async move {
                let runtime = R::current().unwrap();
                while !ready.load(Ordering::SeqCst) {
                    runtime.sleep(Duration::from_millis(1)).await;
                }
                // One that is run again has nothing left to shut down.
                if own.is_running() {
                    *answered.lock() = Some(own.shutdown(how).await);
                }
                runtime.sleep(Duration::from_millis(50)).await;
                "cleaned up"
            }
        });
        Self { task: Arc::new(task), may, answer }
    }

    fn job(&self) -> JobBuilder {
        JobBuilder::bound(Task::clone(&self.task))
    }

    fn go(&self) {
        self.may.store(true, Ordering::SeqCst);
    }

    fn is_content(&self) -> bool {
        matches!(self.answer.lock().take(), Some(Ok(())))
    }
}

/// The values of the runs that ended until the scheduler was shut down.
async fn values_until_the_end<R: AsyncRuntime>(mut events: Events) -> Vec<Option<Value>> {
    let mut values = Vec::new();
    while let Some(event) = soon::<R, _>(events.next()).await {
        let event = event.unwrap();
        if event.ended().is_some() {
            values.push(event.value().cloned());
        }
    }
    values
}

pub(crate) async fn a_run_may_shut_down_with_others_behind_it<R: AsyncRuntime>() -> Result<(), Error> {
    for how in [Shutdown::Wait, Shutdown::WaitFor(FOR_EVER), Shutdown::WaitFor(Duration::MAX)] {
        let scheduler = Arc::new(AsyncScheduler::<R>::new()?);
        let narrow = AsyncExecutor::<R>::builder().max_concurrency(1).build();
        scheduler.add_executor(Arc::new(narrow), "default").await?;
        scheduler.start().await?;
        let (stopper, events) = (Stopper::of(&scheduler, how), scheduler.events(EventMask::all()));
        let mut submitted = scheduler.events(EventMask::JOB_SUBMITTED);
        for job in [stopper.job(), Job::call(|| "behind")] {
            scheduler.add_job(job).await?;
            next::<R>(&mut submitted).await;
        }
        stopper.go();
        let values = values_until_the_end::<R>(events).await;
        assert_eq!(values, [Some(json!("cleaned up")), Some(json!("behind"))], "{how:?}");
        assert!(stopper.is_content());
        soon::<R, _>(scheduler.wait_until_stopped()).await;
    }
    Ok(())
}

pub(crate) async fn a_run_may_shut_down_while_its_job_waits_for_it<R: AsyncRuntime>() -> Result<(), Error> {
    let scheduler = started::<R>().await?;
    let (stopper, events) = (Stopper::of(&scheduler, Shutdown::Wait), scheduler.events(EventMask::all()));
    let mut submitted = scheduler.events(EventMask::JOB_SUBMITTED);
    let job = stopper.job().every(Duration::from_millis(10)).overlap(Overlap::Queue);
    scheduler.add_job(job).await?;
    for _ in 0..2 {
        next::<R>(&mut submitted).await;
    }
    stopper.go();
    let values = values_until_the_end::<R>(events).await;
    assert!(values.len() >= 2 && values.iter().all(Option::is_some), "{values:?}");
    assert!(stopper.is_content());
    Ok(())
}

pub(crate) async fn a_run_that_shuts_down_is_not_cut_off<R: AsyncRuntime>() -> Result<(), Error> {
    for how in [Shutdown::Now, Shutdown::WaitFor(Duration::from_millis(20))] {
        for queued in [false, true] {
            let scheduler = started::<R>().await?;
            let mut starts = scheduler.events(EventMask::RUN_STARTED);
            let events = scheduler.subscribe(EventMask::JOB_EXECUTED | EventMask::JOB_ERROR);
            scheduler.add_job(JobBuilder::bound(sleeper::<R>("sleep", FOR_EVER))).await?;
            next::<R>(&mut starts).await;
            let stopper = Stopper::of(&scheduler, how);
            stopper.go();
            if queued {
                scheduler.add_run(call(&stopper.task)).await?;
            } else {
                scheduler.add_job(stopper.job()).await?;
            }
            let (begin, mut ends) = (Instant::now(), Vec::new());
            while ends.len() < 2 {
                assert!(begin.elapsed() < PATIENCE, "{how:?}, queued: {queued}: {ends:?}");
                ends.extend(events.drain());
                R::current()?.sleep(Duration::from_millis(1)).await;
            }
            let outcome = |task: &str| {
                let mut ended = ends.iter().filter_map(Event::ended);
                ended.find(|ended| &*ended.run.task == task).map(|ended| ended.outcome.clone())
            };
            assert_eq!(outcome("sleep"), Some(Outcome::Cancelled), "{how:?}");
            assert_eq!(outcome("stop"), Some(Outcome::Succeeded(json!("cleaned up"))), "{how:?}");
            assert!(stopper.is_content());
            // What the run left open is closed by now.
            soon::<R, _>(scheduler.wait_until_stopped()).await;
            scheduler.start().await?;
            scheduler.shutdown(true).await?;
        }
    }
    Ok(())
}

pub(crate) async fn a_limit_that_no_clock_reaches_is_none<R: AsyncRuntime>() -> Result<(), Error> {
    let (scheduler, mut ends) = sleeping::<R>(Duration::from_millis(50)).await?;
    soon::<R, _>(scheduler.shutdown(Duration::MAX)).await?;
    assert_eq!(next::<R>(&mut ends).await.value(), Some(&json!("slept")));
    // The same for whoever waits without a runtime.
    let (scheduler, mut ends) = sleeping::<R>(Duration::from_millis(50)).await?;
    soon::<R, _>(scheduler.remove_executor("default", Duration::MAX)).await?;
    assert_eq!(next::<R>(&mut ends).await.value(), Some(&json!("slept")));
    scheduler.shutdown(true).await
}

pub(crate) async fn a_dropped_scheduler_shuts_down_without_waiting<R: AsyncRuntime>() -> Result<(), Error> {
    let store = slow_store();
    let scheduler = with_store::<R>("default", &store)?;
    scheduler.start().await?;
    let mut events = scheduler.events(EventMask::all());
    scheduler.add_job(JobBuilder::bound(sleeper::<R>("sleep", FOR_EVER))).await?;
    while !matches!(next::<R>(&mut events).await, Event::RunStarted(_)) {}
    let ends = scheduler.subscribe(EventMask::JOB_ERROR);
    store.delay(Duration::from_millis(300));
    let begin = Instant::now();
    drop(scheduler);
    assert!(begin.elapsed() < Duration::from_millis(100), "the store takes its time elsewhere");
    assert_eq!(outcome_of_cancelled::<R>(&ends).await, Outcome::Cancelled);
    while soon::<R, _>(events.next()).await.is_some() {}
    // A call of the store that was under way is not waited for: the store is closed after it.
    while store.calls(StoreCall::Shutdown) == 0 {
        assert!(begin.elapsed() < PATIENCE, "the store is not closed");
        R::current().unwrap().sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}
