//! What a scheduler does on every async runtime: tokio of many threads and of one, async-std, smol.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

mod shutdown;

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::Poll;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use futures_channel::oneshot;
use sched_async::{AsyncRuntime, AsyncScheduler, Lagged};
use sched_core::{
    Args, Call, Error, ErrorKind, Event, EventMask, Job, JobChanges, JobStatus, JobStore, NewRun, Outcome,
    RunFilter, RunState, Scheduler, SchedulerConfig, SchedulerState, Task, current_run, current_scheduler,
};
use sched_store_memory::MemoryStore;
use sched_testkit::FaultyStore;
use sched_triggers::ScheduleExt as _;
use serde_json::{Value, json};

use self::shutdown::*;

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long a call of a slow store takes.
const DELAY: Duration = Duration::from_millis(500);

/// Long enough that a test which waited for it would be seen.
const FOR_EVER: Duration = Duration::from_secs(3_600);

/// Runs the cases on one runtime.
macro_rules! on {
    ($runtime:ident: $R:ty, $block_on:expr; $($case:ident)*) => {
        mod $runtime {
            $(
                #[test]
                fn $case() -> Result<(), super::Error> {
                    let block_on = $block_on;
                    block_on(super::$case::<$R>())
                }
            )*
        }
    };
}

macro_rules! on_all {
    ($($case:ident)*) => {
        on! { tokio_threads: sched_runtime_tokio::Tokio, |case| {
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(case)
        }; $($case)* }
        on! { tokio_one_thread: sched_runtime_tokio::Tokio, |case| {
            tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(case)
        }; $($case)* }
        on! { async_std: sched_runtime_async_std::AsyncStd, async_std::task::block_on; $($case)* }
        on! { smol: sched_runtime_smol::Smol, smol::block_on; $($case)* }
    };
}

on_all! {
    jobs_are_added_found_changed_and_removed
    a_job_runs_when_it_is_due_and_not_before
    pending_jobs_run_after_the_start
    a_paused_scheduler_fires_when_it_is_resumed
    a_stopped_scheduler_starts_again
    an_async_task_knows_its_run_across_awaits
    a_panic_in_an_async_task_is_its_own
    an_async_run_is_cancelled_at_its_next_await_and_reported_once
    a_caller_waits_for_a_result
    calls_that_go_through_everything_are_made_elsewhere
    thousands_of_callers_wait_without_a_thread_each
    a_waiting_caller_is_told_of_a_shutdown
    shutdown_waits_for_runs
    shutdown_with_a_deadline_cancels_what_is_left
    shutdown_now_cancels_at_once
    shutdown_goes_on_when_its_future_is_dropped
    a_run_may_shut_the_scheduler_down
    a_run_may_shut_down_with_others_behind_it
    a_run_may_shut_down_while_its_job_waits_for_it
    a_run_that_shuts_down_is_not_cut_off
    a_limit_that_no_clock_reaches_is_none
    a_dropped_scheduler_shuts_down_without_waiting
    a_stream_tells_events_in_order_and_ends
    a_slow_reader_is_told_what_it_missed
    no_call_blocks_the_event_loop
    a_slow_store_delays_its_own_jobs_only
    a_call_that_panics_panics_in_its_caller
}

fn slow_store() -> Arc<FaultyStore> {
    FaultyStore::new(Arc::new(MemoryStore::new()))
}

/// A scheduler in which a store goes by this alias.
fn with_store<R: AsyncRuntime>(alias: &str, store: &Arc<FaultyStore>) -> Result<Tested<R>, Error> {
    let config = |config: SchedulerConfig| config.job_store(alias, Arc::clone(store) as Arc<dyn JobStore>);
    AsyncScheduler::build(Scheduler::builder().with(config)).map(Arc::new)
}

type Tested<R> = Arc<AsyncScheduler<R>>;

async fn started<R: AsyncRuntime>() -> Result<Tested<R>, Error> {
    let scheduler = Arc::new(AsyncScheduler::new()?);
    scheduler.start().await?;
    Ok(scheduler)
}

/// The answer of a future that must end.
async fn soon<R: AsyncRuntime, T>(future: impl Future<Output = T>) -> T {
    within::<R, T>(PATIENCE, future).await.unwrap_or_else(|| panic!("it does not end"))
}

/// The answer of a future, if it ends in time.
async fn within<R: AsyncRuntime, T>(limit: Duration, future: impl Future<Output = T>) -> Option<T> {
    let (mut future, mut limit) = (pin!(future), pin!(R::current().unwrap().sleep(limit)));
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(answer) => Poll::Ready(Some(answer)),
        Poll::Pending => limit.as_mut().poll(context).map(|()| None),
    })
    .await
}

/// Starts a future beside the test.
fn beside<R: AsyncRuntime, T: Send + 'static>(
    future: impl Future<Output = T> + Send + 'static,
) -> impl Future<Output = T> {
    let (tell, told) = oneshot::channel();
    R::current().unwrap().spawn(async move { drop(tell.send(future.await)) });
    async move { soon::<R, _>(told).await.unwrap() }
}

/// An async task that sleeps.
fn sleeper<R: AsyncRuntime>(name: &str, pause: Duration) -> Arc<Task> {
    Arc::new(Task::new_async(name, move |_, _| async move {
        R::current().unwrap().sleep(pause).await;
        "slept"
    }))
}

fn call(task: &Arc<Task>) -> Call {
    Call::bound(Arc::clone(task), Args::default())
}

/// The next event of a stream that did not lag.
async fn next<R: AsyncRuntime>(events: &mut sched_async::Events) -> Event {
    soon::<R, _>(events.next()).await.unwrap().unwrap()
}

async fn jobs_are_added_found_changed_and_removed<R: AsyncRuntime>() -> Result<(), Error> {
    let scheduler = started::<R>().await?;
    let hour = Duration::from_secs(3_600);
    let job = scheduler.add_job(Job::call(|| ()).every(hour).id("a")).await?;
    assert_eq!(scheduler.get_job("a").await?, Some(job));
    let named = scheduler.modify_job("a", JobChanges::new().name("new")).await?;
    assert_eq!(named.name(), "new");
    assert_eq!(*scheduler.pause_job("a").await?.status(), JobStatus::Paused);
    assert_eq!(*scheduler.resume_job("a").await?.unwrap().status(), JobStatus::Scheduled);
    let later = scheduler.clock().now() + 24 * hour;
    let moved = scheduler.resume_job_from("a", later).await?.unwrap();
    assert!(moved.next_run_time() >= Some(later));
    let daily = json!({ "type": "interval", "days": 1 });
    assert_eq!(scheduler.reschedule_job("a", daily).await?.trigger.alias(), "interval");
    assert_eq!(scheduler.get_jobs(Some("default")).await?.len(), 1);
    scheduler.remove_job("a").await?;
    assert_eq!(scheduler.remove_job("a").await.unwrap_err().kind(), ErrorKind::NotFound);
    scheduler.add_job(Job::call(|| ()).every(hour)).await?;
    scheduler.remove_all_jobs(None).await?;
    assert_eq!(scheduler.get_jobs(None).await?, []);
    assert!(scheduler.call(|scheduler| scheduler.format_jobs(None)).await?.contains("No scheduled jobs"));
    scheduler.shutdown(true).await
}

async fn a_job_runs_when_it_is_due_and_not_before<R: AsyncRuntime>() -> Result<(), Error> {
    let scheduler = started::<R>().await?;
    let mut events = scheduler.events(EventMask::JOB_EXECUTED);
    let due = scheduler.clock().now() + Duration::from_millis(50);
    let date = json!({ "type": "date", "run_date": due.to_rfc3339() });
    scheduler.add_job(Job::call(|| 1 + 2).trigger(date)).await?;
    let event = next::<R>(&mut events).await;
    assert_eq!(event.value(), Some(&json!(3)));
    let ended = event.ended().unwrap();
    assert!(ended.started_at.unwrap() >= ended.run.scheduled_time, "not before its time");
    scheduler.shutdown(true).await
}

async fn pending_jobs_run_after_the_start<R: AsyncRuntime>() -> Result<(), Error> {
    let scheduler = AsyncScheduler::<R>::new()?;
    scheduler.add_job(Job::call(|| "ran").id("a")).await?;
    let mut events = scheduler.events(EventMask::SCHEDULER_STARTED | EventMask::JOB_EXECUTED);
    scheduler.start().await?;
    assert_eq!(next::<R>(&mut events).await, Event::SchedulerStarted);
    assert_eq!(next::<R>(&mut events).await.value(), Some(&json!("ran")));
    assert_eq!(scheduler.start().await.unwrap_err().kind(), ErrorKind::InvalidState);
    scheduler.shutdown(true).await
}

async fn a_paused_scheduler_fires_when_it_is_resumed<R: AsyncRuntime>() -> Result<(), Error> {
    let scheduler = AsyncScheduler::<R>::new()?;
    scheduler.start_paused().await?;
    scheduler.add_job(Job::call(|| ())).await?;
    let mut events = scheduler.events(EventMask::JOB_EXECUTED);
    assert!(within::<R, _>(Duration::from_millis(50), events.next()).await.is_none());
    scheduler.resume().await?;
    next::<R>(&mut events).await;
    scheduler.pause().await?;
    assert_eq!(scheduler.state(), SchedulerState::Paused);
    scheduler.shutdown(true).await
}

async fn a_stopped_scheduler_starts_again<R: AsyncRuntime>() -> Result<(), Error> {
    let scheduler = AsyncScheduler::<R>::new()?;
    assert_eq!(scheduler.shutdown(true).await.unwrap_err().kind(), ErrorKind::InvalidState);
    for _ in 0..3 {
        scheduler.start().await?;
        let task = sleeper::<R>("nap", Duration::from_millis(1));
        assert_eq!(soon::<R, _>(scheduler.run_job(call(&task))).await?, json!("slept"));
        scheduler.shutdown(true).await?;
        soon::<R, _>(scheduler.wait_until_stopped()).await;
    }
    Ok(())
}

async fn an_async_task_knows_its_run_across_awaits<R: AsyncRuntime>() -> Result<(), Error> {
    let scheduler = started::<R>().await?;
    let inner = scheduler.scheduler().clone();
    let task = Task::new_async("look", move |context, _| {
        let scheduler = inner.clone();
        async move {
            let look = || {
                let same_run = current_run().map(|current| current.run().id) == Some(context.run().id);
                same_run && current_scheduler().as_ref() == Some(&scheduler)
            };
            let mut looks = vec![look()];
            for _ in 0..3 {
                R::current().unwrap().sleep(Duration::from_millis(1)).await;
                looks.push(look());
            }
            looks.iter().all(|look| *look)
        }
    });
    let task = Arc::new(task);
    let others: Vec<_> = (0..20).map(|_| Arc::clone(&scheduler)).collect();
    let runs: Vec<_> = others
        .into_iter()
        .map(|scheduler| {
            let run = call(&task);
            beside::<R, _>(async move { scheduler.run_job(run).await })
        })
        .collect();
    for run in runs {
        assert_eq!(run.await?, json!(true));
    }
    assert!(current_run().is_none());
    scheduler.shutdown(true).await
}

async fn a_panic_in_an_async_task_is_its_own<R: AsyncRuntime>() -> Result<(), Error> {
    let scheduler = started::<R>().await?;
    let crash = Arc::new(Task::new_async("crash", |_, _| async {
        R::current().unwrap().sleep(Duration::from_millis(1)).await;
        if current_run().is_some() {
            std::panic::resume_unwind(Box::new("deliberate"));
        }
    }));
    let error = soon::<R, _>(scheduler.run_job(call(&crash))).await.unwrap_err();
    assert!(error.to_string().contains("deliberate"), "{error}");
    assert_eq!(
        soon::<R, _>(scheduler.run_job(call(&sleeper::<R>("nap", Duration::ZERO)))).await?,
        json!("slept")
    );
    scheduler.shutdown(true).await
}

async fn an_async_run_is_cancelled_at_its_next_await_and_reported_once<R: AsyncRuntime>() -> Result<(), Error>
{
    let scheduler = started::<R>().await?;
    let mut events =
        scheduler.events(EventMask::RUN_STARTED | EventMask::JOB_ERROR | EventMask::JOB_EXECUTED);
    let run = scheduler.add_run(call(&sleeper::<R>("sleep", FOR_EVER))).await?;
    assert!(matches!(next::<R>(&mut events).await, Event::RunStarted(_)));
    assert!(scheduler.cancel_run(run).await?);
    let ended = next::<R>(&mut events).await;
    assert_eq!(ended.ended().map(|ended| (ended.run.id, &ended.outcome)), Some((run, &Outcome::Cancelled)));
    assert!(!scheduler.cancel_run(run).await?);
    scheduler.shutdown(true).await?;
    assert_eq!(soon::<R, _>(events.next()).await, None, "nothing was told twice");
    Ok(())
}

async fn a_caller_waits_for_a_result<R: AsyncRuntime>() -> Result<(), Error> {
    let scheduler = started::<R>().await?;
    let add =
        Arc::new(Task::new("add", |_, args| args.positional().iter().filter_map(Value::as_i64).sum::<i64>()));
    let sum = Call::bound(Arc::clone(&add), json!([1, 2, 3]).into());
    assert_eq!(soon::<R, _>(scheduler.run_job(sum)).await?, json!(6));
    let fail = Arc::new(Task::new("fail", |_, _| Err::<(), _>("deliberate")));
    let error = soon::<R, _>(scheduler.run_job(call(&fail))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unexpected);
    assert!(error.to_string().contains("deliberate"), "{error}");
    let unknown = scheduler.run_job(NewRun::task("unknown")).await.unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::NotFound);
    let kept = NewRun::from(call(&add)).result_ttl(FOR_EVER);
    let id = scheduler.add_run(kept).await?;
    loop {
        let record = scheduler.get_run_result(id, None).await?;
        if let RunState::Finished { outcome, .. } = record.state {
            assert_eq!(outcome, Outcome::Succeeded(json!(0)));
            break;
        }
        R::current()?.sleep(Duration::from_millis(1)).await;
    }
    assert!(scheduler.get_runs(&RunFilter::default(), None).await?.iter().any(|record| record.run.id == id));
    scheduler.shutdown(true).await
}

/// Whether a call is made elsewhere: it has no answer at its first poll, at least in one of many tries.
async fn is_elsewhere<T>(call: impl AsyncFn() -> Result<T, Error>) -> bool {
    for _ in 0..1_000 {
        let mut call = pin!(call());
        let mut is_pending = false;
        poll_fn(|context| {
            let poll = call.as_mut().poll(context);
            is_pending |= poll.is_pending();
            poll
        })
        .await
        .unwrap();
        if is_pending {
            return true;
        }
    }
    false
}

async fn calls_that_go_through_everything_are_made_elsewhere<R: AsyncRuntime>() -> Result<(), Error> {
    let scheduler = started::<R>().await?;
    assert!(is_elsewhere(async || scheduler.get_jobs(None).await).await);
    assert!(is_elsewhere(async || scheduler.get_runs(&RunFilter::default(), None).await).await);
    assert!(is_elsewhere(async || scheduler.remove_all_jobs(None).await).await);
    assert!(
        !is_elsewhere(async || scheduler.get_job("a").await).await,
        "a look-up in memory is made at once"
    );
    scheduler.shutdown(true).await
}

async fn thousands_of_callers_wait_without_a_thread_each<R: AsyncRuntime>() -> Result<(), Error> {
    let scheduler = started::<R>().await?;
    let (running, together) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)));
    let meet = {
        let (running, together) = (Arc::clone(&running), Arc::clone(&together));
        Task::new_async("meet", move |_, _| {
            let (running, together) = (Arc::clone(&running), Arc::clone(&together));
            async move {
                if running.fetch_add(1, Ordering::SeqCst) + 1 == 3_000 {
                    together.store(true, Ordering::SeqCst);
                }
                while !together.load(Ordering::SeqCst) {
                    R::current().unwrap().sleep(Duration::from_millis(5)).await;
                }
            }
        })
    };
    let meet = Arc::new(meet);
    let callers: Vec<_> = (0..3_000)
        .map(|_| {
            let (scheduler, run) = (Arc::clone(&scheduler), call(&meet));
            beside::<R, _>(async move { scheduler.run_job(run).await })
        })
        .collect();
    for caller in callers {
        assert_eq!(caller.await?, Value::Null);
    }
    assert_eq!(running.load(Ordering::SeqCst), 3_000);
    scheduler.shutdown(true).await
}

async fn a_waiting_caller_is_told_of_a_shutdown<R: AsyncRuntime>() -> Result<(), Error> {
    let scheduler = started::<R>().await?;
    let mut events = scheduler.events(EventMask::RUN_STARTED);
    let waiting = {
        let (scheduler, run) = (Arc::clone(&scheduler), call(&sleeper::<R>("sleep", FOR_EVER)));
        beside::<R, _>(async move { scheduler.run_job(run).await })
    };
    next::<R>(&mut events).await;
    scheduler.shutdown(false).await?;
    let error = waiting.await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Closed | ErrorKind::Unexpected), "{error}");
    let late = scheduler.run_job(call(&sleeper::<R>("sleep", FOR_EVER))).await.unwrap_err();
    assert_eq!(late.kind(), ErrorKind::InvalidState);
    Ok(())
}

async fn a_stream_tells_events_in_order_and_ends<R: AsyncRuntime>() -> Result<(), Error> {
    let scheduler = started::<R>().await?;
    let mut events =
        scheduler.events(EventMask::JOB_ADDED | EventMask::JOB_REMOVED | EventMask::JOB_EXECUTED);
    for id in ["a", "b", "c"] {
        scheduler.add_job(Job::call(|| ()).id(id)).await?;
        let mut told = Vec::new();
        for _ in 0..3 {
            let event = next::<R>(&mut events).await;
            assert_eq!(event.job_id().map(|job| job.as_str()), Some(id));
            told.push(event.mask());
        }
        assert_eq!(told, [EventMask::JOB_ADDED, EventMask::JOB_EXECUTED, EventMask::JOB_REMOVED]);
    }
    scheduler.shutdown(true).await?;
    assert_eq!(soon::<R, _>(events.next()).await, None, "the shutdown itself was not asked for");
    assert_eq!(soon::<R, _>(events.next()).await, None);
    Ok(())
}

async fn a_slow_reader_is_told_what_it_missed<R: AsyncRuntime>() -> Result<(), Error> {
    let scheduler = started::<R>().await?;
    let mut events = scheduler.events_within(EventMask::JOB_ADDED, 2);
    for id in ["a", "b", "c", "d", "e"] {
        scheduler.add_job(Job::call(|| ()).every(FOR_EVER).id(id)).await?;
    }
    assert_eq!(soon::<R, _>(events.next()).await, Some(Err(Lagged { missed: 3 })));
    for id in ["d", "e"] {
        assert_eq!(next::<R>(&mut events).await.job_id().map(|job| job.as_str()), Some(id));
    }
    assert!(within::<R, _>(Duration::from_millis(10), events.next()).await.is_none());
    scheduler.shutdown(true).await
}

/// Measures how late the timers of a runtime are, and those of a plain thread beside it: what a busy computer does to
/// any program.
struct Pulse {
    stop: Arc<AtomicBool>,
    late: Pin<Box<dyn Future<Output = Vec<Duration>>>>,
    noise: JoinHandle<Vec<Duration>>,
}

impl Pulse {
    const PAUSE: Duration = Duration::from_millis(5);

    fn of<R: AsyncRuntime>() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let beat = async move {
            let (runtime, mut late) = (R::current().unwrap(), Vec::new());
            while !stopped.load(Ordering::SeqCst) {
                let begin = Instant::now();
                runtime.sleep(Self::PAUSE).await;
                late.push(begin.elapsed().saturating_sub(Self::PAUSE));
            }
            late
        };
        let stopped = Arc::clone(&stop);
        let noise = std::thread::spawn(move || {
            let mut late = Vec::new();
            while !stopped.load(Ordering::SeqCst) {
                let begin = Instant::now();
                std::thread::sleep(Self::PAUSE);
                late.push(begin.elapsed().saturating_sub(Self::PAUSE));
            }
            late
        });
        Self { stop, late: Box::pin(beside::<R, _>(beat)), noise }
    }

    /// Nearly all timers were in time, and none was as late as a call of the store takes.
    async fn check(self) {
        self.stop.store(true, Ordering::SeqCst);
        let (usual, worst) = usual_and_worst(self.late.await);
        let (usual_noise, worst_noise) = usual_and_worst(self.noise.join().unwrap());
        assert!(usual < Duration::from_millis(20) + 2 * usual_noise, "timers are late by {usual:?}");
        assert!(worst < DELAY * 3 / 4 + worst_noise, "a timer was late by {worst:?}");
    }
}

fn usual_and_worst(mut late: Vec<Duration>) -> (Duration, Duration) {
    late.sort_unstable();
    (late[late.len() * 95 / 100], late[late.len() - 1])
}

type Calls<R> = Vec<(
    &'static str,
    Box<dyn FnOnce(Tested<R>) -> Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>>,
)>;

/// Every call that reaches a store, each on a job of its own.
fn every_call<R: AsyncRuntime>() -> Calls<R> {
    macro_rules! calls {
        ($($name:literal: |$scheduler:ident| $call:expr),* $(,)?) => {
            vec![$(($name, Box::new(|$scheduler: Tested<R>| Box::pin(async move { $call.await.map(drop) })))),*]
        };
    }
    calls! {
        "add": |scheduler| scheduler.add_job(Job::call(|| ()).every(FOR_EVER).id("added")),
        "get": |scheduler| scheduler.get_job("get"),
        "list": |scheduler| scheduler.get_jobs(None),
        "modify": |scheduler| scheduler.modify_job("modify", JobChanges::new().name("new")),
        "reschedule": |scheduler| scheduler.reschedule_job("reschedule", json!({ "type": "interval", "days": 1 })),
        "pause": |scheduler| scheduler.pause_job("pause"),
        "resume": |scheduler| scheduler.resume_job("resume"),
        "resume_from": |scheduler| scheduler.resume_job_from("resume_from", scheduler.clock().now()),
        "remove": |scheduler| scheduler.remove_job("remove"),
        "add_run": |scheduler| scheduler.add_run(call(&sleeper::<R>("nap", Duration::ZERO))),
        "run_job": |scheduler| scheduler.run_job(call(&sleeper::<R>("nap", Duration::ZERO))),
        "cancel_run": |scheduler| async move {
            let later = scheduler.clock().now() + FOR_EVER;
            let run = NewRun::from(call(&sleeper::<R>("nap", Duration::ZERO))).at(later);
            scheduler.cancel_run(scheduler.add_run(run).await?).await
        },
        "runs": |scheduler| scheduler.get_runs(&RunFilter::default(), None),
        "quarantined": |scheduler| scheduler.call(|scheduler| scheduler.get_quarantined_jobs(None)),
        "declared": |scheduler| scheduler.add_declared_jobs(),
        "print": |scheduler| scheduler.call(|scheduler| scheduler.format_jobs(None)),
        "switch": |scheduler| async move {
            scheduler.pause().await?;
            scheduler.resume().await
        },
        "parts": |scheduler| async move {
            let second = slow_store();
            second.delay(DELAY);
            scheduler.add_job_store(second, "second").await?;
            scheduler.remove_job_store("second").await?;
            scheduler.add_executor(Arc::new(sched_executor_thread::ThreadPoolExecutor::new(1)), "second").await?;
            scheduler.remove_executor("second", true).await
        },
    }
}

async fn no_call_blocks_the_event_loop<R: AsyncRuntime>() -> Result<(), Error> {
    let store = slow_store();
    store.delay(DELAY);
    let scheduler = with_store::<R>("default", &store)?;
    let pulse = Pulse::of::<R>();
    soon::<R, _>(scheduler.start()).await?;
    store.delay(Duration::ZERO);
    for (id, _) in every_call::<R>() {
        scheduler.add_job(Job::call(|| ()).every(FOR_EVER).id(id)).await?;
    }
    scheduler.add_job(Job::call(|| ()).every(Duration::from_millis(50)).id("busy")).await?;
    store.delay(DELAY);
    let calls: Vec<_> = every_call::<R>()
        .into_iter()
        .map(|(name, call)| (name, beside::<R, _>(call(Arc::clone(&scheduler)))))
        .collect();
    for (name, call) in calls {
        call.await.map_err(|error| error.in_context(name))?;
    }
    soon::<R, _>(scheduler.remove_all_jobs(None)).await?;
    let mut events = scheduler.events(EventMask::SCHEDULER_SHUTDOWN);
    soon::<R, _>(scheduler.shutdown(true)).await?;
    scheduler.start().await?;
    drop(scheduler);
    while soon::<R, _>(events.next()).await.is_some() {}
    assert!(store.total_calls() > 40, "the store was called");
    pulse.check().await;
    Ok(())
}

async fn a_slow_store_delays_its_own_jobs_only<R: AsyncRuntime>() -> Result<(), Error> {
    let store = slow_store();
    let scheduler = with_store::<R>("slow", &store)?;
    scheduler.start().await?;
    store.delay(Duration::from_secs(2));
    let mut events = scheduler.events(EventMask::JOB_EXECUTED);
    let begin = Instant::now();
    scheduler.add_job(Job::call(|| ()).every(Duration::from_millis(20)).id("quick")).await?;
    for _ in 0..5 {
        next::<R>(&mut events).await;
    }
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
    scheduler.shutdown(true).await
}

async fn a_call_that_panics_panics_in_its_caller<R: AsyncRuntime>() -> Result<(), Error> {
    let scheduler = Arc::new(AsyncScheduler::<R>::new()?);
    let calling = Arc::clone(&scheduler);
    let mut call = Box::pin(async move {
        calling.call(|_| -> Result<(), Error> { std::panic::resume_unwind(Box::new("deliberate")) }).await
    });
    let caught = poll_fn(|context| {
        let poll = std::panic::AssertUnwindSafe(|| call.as_mut().poll(context));
        match std::panic::catch_unwind(poll) {
            Ok(poll) => poll.map(Ok),
            Err(panic) => Poll::Ready(Err(panic)),
        }
    });
    let panic = soon::<R, _>(caught).await.unwrap_err();
    assert_eq!(panic.downcast_ref(), Some(&"deliberate"));
    scheduler.start().await?;
    scheduler.shutdown(true).await
}
