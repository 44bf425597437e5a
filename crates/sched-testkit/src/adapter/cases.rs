//! Cases: jobs and runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sched_core::{
    Coalesce, Error, ErrorKind, Event, EventMask, JobBuilder, JobChanges, JobStatus, JobStore, NewRun,
    Outcome, Overlap, Retry, Scheduler, SchedulerState, StartMode, Task, TaskErrorKind, current_run,
    current_scheduler,
};
use serde_json::{Value, json};

use super::Adapter;
use super::stage::{Stage, at, memory, noop, run_of, until};
use crate::faults::FaultyStore;
use crate::jobs::FixedTrigger;
use crate::scheduler::{Recorder, word};
use crate::sink::Gate;

/// So long that a test which waited for it would be seen.
const HOUR: Duration = Duration::from_secs(3_600);

/// A job that was added before the start is stored by it, and runs after the start was told.
pub fn a_pending_job_runs_after_the_start_is_told<A: Adapter>() -> Result<(), Error> {
    let stage = Stage::<A>::stopped()?;
    stage.adapter.add_job(JobBuilder::bound(Task::new("sum", |_, _| 1 + 2)).id("a"))?;
    stage.adapter.start(StartMode::Running)?;
    stage.recorder.wait_for_word("removed a");
    let words = stage.recorder.words_of(&["added", "started", "submitted", "executed", "removed"]);
    assert_eq!(words, ["added a", "started", "submitted a", "executed a", "removed a"]);
    assert_eq!(stage.end_of("a"), Outcome::Succeeded(json!(3)));
    stage.end()
}

/// A job that is added to a running scheduler wakes it: it runs when it is due, and not before.
pub fn a_live_job_runs_when_it_is_due<A: Adapter>() -> Result<(), Error> {
    let stage = Stage::<A>::started()?;
    let due = stage.soon(50);
    stage.adapter.add_job(at(&[due], noop().id("a")))?;
    stage.recorder.wait_for_word("removed a");
    let words = stage.recorder.words_of(&["added", "submitted", "executed", "removed"]);
    assert_eq!(words, ["added a", "submitted a", "executed a", "removed a"]);
    let ends = stage.ends_of("a");
    assert!(ends.iter().all(|end| end.run.fire_time == due && end.started_at >= Some(due)), "{ends:?}");
    stage.end()
}

/// Each fire time is one run, in order, at its time or later.
pub fn a_repeating_job_keeps_its_times<A: Adapter>() -> Result<(), Error> {
    let stage = Stage::<A>::started()?;
    let first = stage.soon(30);
    let times: Vec<_> = (0..10).map(|step| first + Duration::from_millis(20) * step).collect();
    let job = at(&times, noop().id("a"));
    // Where the computer is busy several are due at once, and each is run all the same.
    stage.adapter.add_job(job.coalesce(Coalesce::All).overlap(Overlap::Queue))?;
    stage.recorder.wait_for_word("removed a");
    let ends = stage.ends_of("a");
    assert_eq!(ends.iter().map(|end| end.run.fire_time).collect::<Vec<_>>(), times);
    assert!(ends.iter().all(|end| end.started_at >= Some(end.run.scheduled_time)), "{ends:?}");
    stage.end()
}

/// A thousand jobs that are due when the scheduler is resumed all run, each once.
pub fn a_burst_is_run_whole<A: Adapter>() -> Result<(), Error> {
    let stage = Stage::<A>::stopped()?;
    stage.adapter.start(StartMode::Paused)?;
    let ran = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&ran);
    let task = Arc::new(Task::new("count", move |_, _| counting.fetch_add(1, Ordering::SeqCst)));
    for number in 0..1_000 {
        stage.adapter.add_job(JobBuilder::bound(Arc::clone(&task)).id(number.to_string()))?;
    }
    stage.scheduler().resume()?;
    let executed = || stage.recorder.words_of(&["executed"]);
    until("the last of a thousand runs", || executed().len() >= 1_000);
    stage.end()?;
    assert_eq!(ran.load(Ordering::SeqCst), 1_000);
    let mut names = executed();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 1_000);
    Ok(())
}

/// Started paused, nothing fires until it is resumed.
pub fn a_paused_scheduler_fires_when_it_is_resumed<A: Adapter>() -> Result<(), Error> {
    let stage = Stage::<A>::stopped()?;
    stage.adapter.start(StartMode::Paused)?;
    stage.adapter.add_job(noop().id("a"))?;
    // A run of another scheduler would have come and gone meanwhile.
    let other = Stage::<A>::started()?;
    other.adapter.run_job(run_of(&Arc::new(Task::new("noop", |_, _| ()))))?;
    assert!(stage.ends_of("a").is_empty());
    stage.scheduler().resume()?;
    assert!(stage.end_of("a").is_success());
    stage.scheduler().pause()?;
    assert_eq!(stage.scheduler().state(), SchedulerState::Paused);
    other.end()?;
    stage.end()
}

/// A job is found, changed, paused, resumed and removed while its loop sleeps.
pub fn a_job_is_changed_while_the_scheduler_runs<A: Adapter>() -> Result<(), Error> {
    let stage = Stage::<A>::started()?;
    let scheduler = stage.scheduler().clone();
    let later = stage.soon(3_600_000);
    stage.adapter.add_job(noop().id("a").trigger(FixedTrigger::new([later])))?;
    assert_eq!(scheduler.modify_job("a", JobChanges::new().name("new"))?.name(), "new");
    assert_eq!(*scheduler.pause_job("a")?.status(), JobStatus::Paused);
    let resumed = scheduler.resume_job("a")?;
    assert!(resumed.is_some_and(|job| job.next_run_time() == Some(later)));
    // The loop sleeps for an hour and is woken.
    scheduler.modify_job("a", JobChanges::new().next_run_time(Some(stage.soon(20))))?;
    assert!(stage.end_of("a").is_success());
    let last = noop().id("b").trigger(FixedTrigger::new([later]));
    stage.adapter.add_job(last)?;
    scheduler.remove_job("b")?;
    assert_eq!(scheduler.remove_job("b").map_err(|error| error.kind()), Err(ErrorKind::NotFound));
    stage.end()
}

/// A caller gets the value of a run, or the reason why there is none.
pub fn a_caller_waits_for_a_result<A: Adapter>() -> Result<(), Error> {
    let stage = Stage::<A>::started()?;
    let sum = Arc::new(Task::new("sum", |_, _| json!([1, { "two": 2.5 }])));
    assert_eq!(stage.adapter.run_job(run_of(&sum))?, json!([1, { "two": 2.5 }]));
    let fail = Arc::new(Task::new("fail", |_, _| Err::<(), _>("deliberate")));
    let failed = stage.adapter.run_job(run_of(&fail)).map_err(|error| error.to_string());
    assert!(failed.as_ref().is_err_and(|text| text.contains("deliberate")), "{failed:?}");
    let unknown = stage.adapter.run_job(NewRun::task("unknown")).map_err(|error| error.kind());
    assert_eq!(unknown, Err(ErrorKind::NotFound));
    stage.end()
}

/// What a run sees of itself: its own run, and the scheduler that it belongs to.
fn look(scheduler: &Scheduler, own: sched_core::RunId) -> bool {
    current_run().is_some_and(|current| current.run().id == own)
        && current_scheduler().is_some_and(|current| current == *scheduler)
}

/// Plain and async tasks see their run and their scheduler, on the executor of the runtime and on threads.
pub fn a_run_knows_itself_and_its_scheduler<A: Adapter>() -> Result<(), Error> {
    let stage = Stage::<A>::of(
        Scheduler::builder().config(json!({ "executors": { "threads": { "type": "threadpool" } } })),
    )?;
    stage.adapter.start(StartMode::Running)?;
    let scheduler = stage.scheduler().clone();
    let plain = Task::new("plain", move |context, _| look(&scheduler, context.run().id));
    let scheduler = stage.scheduler().clone();
    let later = Task::new_async("later", move |context, _| {
        let scheduler = scheduler.clone();
        async move {
            let before = look(&scheduler, context.run().id);
            crate::jobs::Yield::once().await;
            before && look(&scheduler, context.run().id)
        }
    });
    for task in [plain, later].map(Arc::new) {
        for executor in ["default", "threads"] {
            let seen = stage.adapter.run_job(run_of(&task).executor(executor))?;
            assert_eq!(seen, json!(true), "{} on {executor}", task.name());
        }
    }
    assert!(current_run().is_none() && current_scheduler().is_none());
    stage.end()
}

/// A panic is the failure of its run; the job goes on.
pub fn a_panic_ends_one_run<A: Adapter>() -> Result<(), Error> {
    let stage = Stage::<A>::started()?;
    let first = Mutex::new(true);
    let task = Task::new("crash", move |_, _| {
        if std::mem::take(&mut *first.lock()) {
            std::panic::resume_unwind(Box::new("deliberate"));
        }
    });
    let times = [stage.soon(10), stage.soon(40)];
    let job = at(&times, JobBuilder::bound(task).id("a"));
    stage.adapter.add_job(job.coalesce(Coalesce::All).overlap(Overlap::Queue))?;
    stage.recorder.wait_for_word("removed a");
    let ends = stage.ends_of("a");
    let kind = |end: &sched_core::RunEnded| match &end.outcome {
        Outcome::Failed(error) => Some(error.kind().clone()),
        _ => None,
    };
    assert_eq!(ends.iter().map(kind).collect::<Vec<_>>(), [Some(TaskErrorKind::Panic), None]);
    stage.end()
}

/// A run is asked to stop and does; its end is told once.
pub fn a_run_is_cancelled<A: Adapter>() -> Result<(), Error> {
    let (stage, gate) = (Stage::<A>::started()?, Gate::new());
    let run = stage.scheduler().add_run(run_of(&gate.cancellable_task()))?;
    gate.wait_for(1);
    assert!(stage.scheduler().cancel_run(run)?);
    assert_eq!(stage.end_of_run(run).map(|end| end.outcome), Some(Outcome::Cancelled));
    // Its end is told a moment before its place is free.
    until("the run is forgotten", || stage.scheduler().active_runs().is_empty());
    assert!(!stage.scheduler().cancel_run(run)?);
    stage.end()?;
    let ends = stage.recorder.events().iter().filter(|event| event.ended().is_some()).count();
    assert_eq!(ends, 1);
    Ok(())
}

/// A run that does not look whether it is to stop is told as timed out at once, and is seen with its age while it goes on.
pub fn a_run_whose_time_is_up_is_told_and_seen<A: Adapter>() -> Result<(), Error> {
    let (stage, gate) = (Stage::<A>::started()?, Gate::new());
    let job = JobBuilder::bound(gate.task()).id("a").timeout(Duration::from_millis(50));
    stage.adapter.add_job(job)?;
    assert_eq!(stage.end_of("a"), Outcome::TimedOut);
    let hung = stage.scheduler().active_runs();
    assert_eq!(hung.len(), 1, "{hung:?}");
    let age = hung[0].age(stage.scheduler().clock().now());
    assert!(hung[0].timed_out && age >= Duration::from_millis(50), "{hung:?}");
    gate.open();
    until("the end of its code", || stage.scheduler().active_runs().is_empty());
    stage.end()?;
    assert_eq!(stage.ends_of("a").len(), 1);
    Ok(())
}

/// A run that fails is tried again after a pause, as the same run.
pub fn a_failing_run_is_tried_again<A: Adapter>() -> Result<(), Error> {
    let stage = Stage::<A>::started()?;
    let task = Task::new("third", |context, _| match context.run().attempt {
        attempt if attempt < 3 => Err(format!("attempt {attempt}")),
        attempt => Ok(attempt),
    });
    let retry = Retry::new(5).backoff(Duration::from_millis(10));
    stage.adapter.add_job(JobBuilder::bound(task).id("a").retry(retry))?;
    assert_eq!(stage.end_of("a"), Outcome::Succeeded(json!(3)));
    assert_eq!(stage.recorder.words_of(&["retrying"]), ["retrying a", "retrying a"]);
    stage.end()
}

/// A queued run may be put off.
pub fn a_delayed_run_waits_for_its_time<A: Adapter>() -> Result<(), Error> {
    let stage = Stage::<A>::started()?;
    let (due, task) = (stage.soon(60), Arc::new(Task::new("noop", |_, _| ())));
    let late = stage.scheduler().add_run(run_of(&task).at(due))?;
    let early = stage.scheduler().add_run(run_of(&task))?;
    let [late, early] = [late, early].map(|run| stage.end_of_run(run).and_then(|end| end.started_at));
    assert!(early < late && late >= Some(due), "{early:?} {late:?}");
    stage.end()
}

/// No more runs go on than `max_concurrent_runs`; the others stay in the queue, and none is lost.
pub fn what_may_not_run_yet_waits_in_the_queue<A: Adapter>() -> Result<(), Error> {
    let stage = Stage::<A>::started_from(Scheduler::builder().with(|config| config.max_concurrent_runs(2)))?;
    let gate = Gate::new();
    let held: Vec<_> =
        (0..20).map(|_| stage.scheduler().add_run(run_of(&gate.task()))).collect::<Result<_, _>>()?;
    gate.wait_for(2);
    assert_eq!(stage.scheduler().active_runs().len(), 2);
    let waiting = sched_core::RunFilter {
        phase: Some(sched_core::RunPhase::Queued),
        ..sched_core::RunFilter::default()
    };
    assert_eq!(stage.scheduler().get_runs(&waiting, None)?.len(), 18);
    gate.open();
    for run in held {
        assert!(stage.end_of_run(run).is_some_and(|end| end.outcome.is_success()));
    }
    stage.end()
}

/// A store that takes its time holds up no other store's jobs.
pub fn a_slow_store_delays_its_own_jobs_only<A: Adapter>() -> Result<(), Error> {
    const PAUSE: Duration = Duration::from_secs(2);
    let slow = FaultyStore::new(memory()?);
    let store = Arc::clone(&slow) as Arc<dyn JobStore>;
    let stage =
        Stage::<A>::started_from(Scheduler::builder().with(|config| config.job_store("slow", store)))?;
    stage.adapter.add_job(at(&[stage.soon(1)], noop().id("slow").store("slow")))?;
    stage.recorder.wait_for_word("executed slow");
    slow.delay(PAUSE);
    stage.scheduler().wakeup();
    let begin = Instant::now();
    for number in 0..5 {
        let id = format!("quick-{number}");
        stage.adapter.add_job(at(&[stage.soon(20)], noop().id(id.as_str()).store("default")))?;
        stage.recorder.wait_for_word(&format!("executed {id}"));
    }
    assert!(begin.elapsed() < PAUSE, "{:?}", begin.elapsed());
    slow.delay(Duration::ZERO);
    stage.end()
}

/// The loop tries a store that fails again and again, and goes on when it is well.
pub fn a_store_that_fails_is_lived_through<A: Adapter>() -> Result<(), Error> {
    let store = FaultyStore::new(memory()?);
    let stage = Stage::<A>::started_from(Scheduler::builder().with(|config| {
        let config = config.job_store("default", Arc::clone(&store) as Arc<dyn JobStore>);
        config.retry_interval(Duration::from_millis(20))
    }))?;
    stage.adapter.add_job(at(&[stage.soon(30)], noop().id("a")))?;
    store.break_down(ErrorKind::Unavailable);
    stage.recorder.wait_for("a failure", |event| matches!(event, Event::StoreFailed { .. }));
    store.mend();
    assert!(stage.end_of("a").is_success());
    stage.recorder.wait_for_word("store_recovered default");
    stage.end()
}

/// A shutdown is told last, and the scheduler starts again with its listeners.
pub fn a_shutdown_is_told_and_the_scheduler_starts_again<A: Adapter>() -> Result<(), Error> {
    let stage = Stage::<A>::stopped()?;
    let switches =
        Recorder::listen(stage.scheduler(), EventMask::SCHEDULER_STARTED | EventMask::SCHEDULER_SHUTDOWN);
    for _ in 0..3 {
        stage.adapter.start(StartMode::Running)?;
        stage.adapter.run_job(run_of(&Arc::new(Task::new("noop", |_, _| Value::Null))))?;
        stage.end()?;
    }
    assert_eq!(switches.words(), ["started", "shutdown"].repeat(3));
    assert_eq!(stage.recorder.events().last().map(word).as_deref(), Some("shutdown"));
    let again = stage.adapter.add_job(
        noop()
            .id("later")
            .trigger(FixedTrigger::new([stage.soon(u64::try_from(HOUR.as_millis()).unwrap_or(u64::MAX))])),
    );
    assert!(again.is_ok(), "a stopped scheduler keeps pending jobs: {again:?}");
    Ok(())
}
