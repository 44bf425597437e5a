//! Cases: start, pause, resume, shutdown, and starting again.

use std::sync::Arc;
use std::time::Duration;

use sched_core::{
    Error, ErrorKind, Event, EventMask, Executor, Job, JobStore, Overlap, SchedulerConfig, SchedulerState,
    Shutdown, StartMode,
};

use super::executors::Refusal;
use super::fixture::{ADD, Fixture, HELD, HOOK, NOTE, World};
use super::triggers::Every;
use crate::faults::{FaultyStore, StoreCall};
use crate::jobs::noon_plus;

fn kind<T>(result: Result<T, Error>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind())
}

/// A started scheduler, paused or not, cannot be started or configured.
pub fn a_started_scheduler_cannot_be_started_or_configured(fixture: &Fixture) -> Result<(), Error> {
    for mode in [StartMode::Running, StartMode::Paused] {
        let world = fixture.world()?;
        world.start_in(mode)?;
        let again = world.start();
        assert_eq!(
            again.as_ref().err().map(ToString::to_string).as_deref(),
            Some("scheduler is already running")
        );
        assert_eq!(kind(again), Some(ErrorKind::InvalidState));
        assert_eq!(kind(world.scheduler.configure(SchedulerConfig::new())), Some(ErrorKind::InvalidState));
    }
    Ok(())
}

/// Pausing, resuming and shutting down need a started scheduler.
pub fn a_stopped_scheduler_cannot_pause_resume_or_shut_down(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.world()?;
    for result in [world.scheduler.pause(), world.scheduler.resume(), world.scheduler.shutdown(true)] {
        assert_eq!(
            result.as_ref().err().map(ToString::to_string).as_deref(),
            Some("scheduler is not running")
        );
        assert_eq!(kind(result), Some(ErrorKind::InvalidState));
    }
    assert!(world.recorder.words().is_empty());
    Ok(())
}

/// The state follows start, pause, resume and shutdown; paused counts as running.
pub fn the_state_follows_every_switch(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.world()?;
    let scheduler = &world.scheduler;
    assert_eq!((scheduler.state(), scheduler.is_running()), (SchedulerState::Stopped, false));
    world.start_in(StartMode::Paused)?;
    assert_eq!((scheduler.state(), scheduler.is_running()), (SchedulerState::Paused, true));
    scheduler.resume()?;
    assert_eq!((scheduler.state(), scheduler.is_running()), (SchedulerState::Running, true));
    scheduler.resume()?;
    scheduler.pause()?;
    scheduler.pause()?;
    scheduler.shutdown(true)?;
    assert_eq!((scheduler.state(), scheduler.is_running()), (SchedulerState::Stopped, false));
    world.recorder.expect(&["started", "resumed", "paused", "shutdown"]);
    Ok(())
}

/// Start really adds the pending jobs in order and then tells of itself; nothing of it is told before.
pub fn start_adds_pending_jobs_and_then_tells_of_itself(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.world()?;
    for id in ["b", "a"] {
        let job = world.add(Job::task(NOTE).id(id).trigger(Every::seconds(60)))?;
        assert!(job.is_pending() && job.next_run_time().is_none());
    }
    assert!(world.recorder.words().is_empty());
    world.start()?;
    world.recorder.expect(&["added b", "added a", "started"]);
    assert!(!world.job("a")?.is_pending());
    assert_eq!(world.held.calls(), ["start held"]);
    assert_eq!(world.runtime.len(), 1);
    Ok(())
}

/// Shutdown stops each executor and store once, as told, and tells of itself once.
pub fn shutdown_stops_every_part_once(fixture: &Fixture) -> Result<(), Error> {
    for (how, told) in [(true, "shutdown Wait"), (false, "shutdown Now")] {
        let store = FaultyStore::new(fixture.store());
        let world =
            fixture.started_with(|config| config.job_store("default", Arc::clone(&store) as Arc<_>))?;
        world.scheduler.shutdown(how)?;
        assert_eq!(world.held.calls(), ["start held", told]);
        assert_eq!((store.calls(StoreCall::Start), store.calls(StoreCall::Shutdown)), (1, 1));
        world.recorder.expect(&["shutdown"]);
        world.turn();
        assert!(world.runtime.is_empty(), "the drivers end");
    }
    Ok(())
}

/// A second shutdown is refused.
pub fn a_second_shutdown_is_refused(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.started()?;
    world.scheduler.shutdown(true)?;
    assert_eq!(kind(world.scheduler.shutdown(true)), Some(ErrorKind::InvalidState));
    world.recorder.expect(&["shutdown"]);
    Ok(())
}

/// A paused scheduler fires nothing and rests, however overdue its jobs are; resuming judges them as late.
pub fn a_paused_scheduler_fires_nothing_and_rests(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.started()?;
    world.add(Job::task(NOTE).id("a").trigger(Every::seconds(10)))?;
    world.scheduler.pause()?;
    let before = world.runtime.turns();
    world.run_for(3_600);
    assert!(world.runtime.turns() - before < 1_000, "it is busy waiting");
    assert!(world.traces().is_empty());
    world.scheduler.resume()?;
    world.turn();
    assert_eq!(world.fired(), [3_600]);
    Ok(())
}

/// Started paused, stored jobs can be removed before they fire.
pub fn started_paused_nothing_fires_until_resumed(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.world()?;
    for id in ["keep", "prune"] {
        world.add(Job::task(NOTE).id(id))?;
    }
    world.start_in(StartMode::Paused)?;
    world.run_for(5);
    assert!(world.traces().is_empty());
    world.scheduler.remove_job("prune")?;
    world.scheduler.resume()?;
    world.turn();
    assert_eq!(world.traces().len(), 1);
    Ok(())
}

/// What runs when the scheduler is paused goes on and is told of.
pub fn pausing_leaves_running_runs_alone(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.started()?;
    world.add(Job::task(ADD).id("a").args(serde_json::json!([1, 2])).executor(HELD))?;
    world.turn();
    world.scheduler.pause()?;
    world.held.run_all();
    assert_eq!(world.outcomes(), ["succeeded: 3"]);
    Ok(())
}

/// After a shutdown the scheduler starts again, with executors that work.
pub fn a_restarted_scheduler_runs_jobs_again(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.world()?;
    for round in 1..=3 {
        world.add(Job::task(NOTE).id("a").replace_existing())?;
        world.start()?;
        world.turn();
        assert_eq!(world.traces().len(), round);
        world.scheduler.shutdown(true)?;
        world.turn();
    }
    Ok(())
}

/// A task may shut its scheduler down, waiting or not, and its own run is reported.
pub fn a_task_may_shut_the_scheduler_down(fixture: &Fixture) -> Result<(), Error> {
    for how in [Shutdown::Wait, Shutdown::Now, Shutdown::WaitFor(Duration::from_secs(60))] {
        let world = fixture.started()?;
        world.on_hook(move |context| match context.scheduler().map(|scheduler| scheduler.shutdown(how)) {
            Some(Ok(())) => Ok(serde_json::json!("down")),
            other => Ok(serde_json::json!(format!("{other:?}"))),
        });
        world.add(Job::task(HOOK).id("a").trigger(Every::seconds(60)).next_run_time(world.now()))?;
        world.turn();
        world.recorder.wait_for_word("executed a");
        assert_eq!(world.scheduler.state(), SchedulerState::Stopped);
        assert_eq!(world.outcomes(), ["succeeded: \"down\""], "{how:?}");
        world.recorder.wait_for_word("shutdown");
    }
    Ok(())
}

/// A task may shut its scheduler down although other runs wait behind it on the same thread.
pub fn a_task_may_shut_down_with_others_behind_it(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.started()?;
    world.on_hook(|context| {
        let done = context.scheduler().map(|scheduler| scheduler.shutdown(Shutdown::Wait));
        Ok(serde_json::json!(done.is_some_and(|done| done.is_ok())))
    });
    for id in ["a", "b", "c"] {
        let task = if id == "a" { HOOK } else { NOTE };
        world.add(Job::task(task).id(id).trigger(Every::seconds(60)).next_run_time(noon_plus(1)))?;
    }
    world.run_for(2);
    world.recorder.wait_for_word("shutdown");
    let ended = |event: &Event| event.ended().is_some();
    for id in ["a", "b", "c"] {
        world
            .recorder
            .wait_for(id, |event| ended(event) && event.job_id().is_some_and(|job| job.as_str() == id));
    }
    Ok(())
}

/// A listener may shut the scheduler down at any event of a run.
pub fn a_listener_may_shut_the_scheduler_down(fixture: &Fixture) -> Result<(), Error> {
    let masks = [
        EventMask::JOB_ADDED,
        EventMask::JOB_SUBMITTED,
        EventMask::RUN_STARTED,
        EventMask::JOB_EXECUTED,
        EventMask::JOB_REMOVED,
    ];
    for mask in masks {
        let world = fixture.started()?;
        let scheduler = world.scheduler.clone();
        world.scheduler.add_listener(
            move |_| {
                if scheduler.is_running() {
                    let _ = scheduler.shutdown(Shutdown::Wait);
                }
            },
            mask,
        );
        world.add(Job::task(NOTE).id("a"))?;
        world.turn();
        world.recorder.wait_for_word("shutdown");
        assert_eq!(world.scheduler.state(), SchedulerState::Stopped, "{mask:?}");
    }
    Ok(())
}

/// A shutdown with a deadline cancels what is unfinished when its time is up.
pub fn shutdown_with_a_deadline_cancels_what_is_left(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.started()?;
    world.add(Job::task(NOTE).id("a").executor(HELD))?;
    world.turn();
    world.scheduler.shutdown(Duration::from_millis(1))?;
    assert_eq!(world.outcomes(), ["cancelled"]);
    assert!(world.traces().is_empty());
    Ok(())
}

/// A limit that no clock reaches is none: a shutdown with it waits, outside of runs and inside of one.
pub fn shutdown_with_a_limit_beyond_all_clocks_waits(fixture: &Fixture) -> Result<(), Error> {
    let how = Shutdown::WaitFor(Duration::MAX);
    let world = fixture.started()?;
    world.add(Job::task(NOTE).id("a"))?;
    world.turn();
    world.scheduler.shutdown(how)?;
    assert_eq!((world.traces().len(), world.scheduler.state()), (1, SchedulerState::Stopped));
    let world = fixture.started()?;
    world.on_hook(move |context| {
        let done = context.scheduler().map(|scheduler| scheduler.shutdown(how));
        Ok(serde_json::json!(done.is_some_and(|done| done.is_ok())))
    });
    world.add(Job::task(HOOK).id("a").trigger(Every::seconds(60)).next_run_time(world.now()))?;
    world.turn();
    world.recorder.wait_for_word("shutdown");
    world.recorder.wait_for_word("executed a");
    assert_eq!(world.outcomes(), ["succeeded: true"]);
    Ok(())
}

/// A shutdown that does not wait reports every run that was submitted, those included that had no place yet.
pub fn shutdown_now_reports_every_submitted_run(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.started()?;
    let every = Every::seconds(1);
    world.add(Job::task(NOTE).id("a").trigger(every).executor(HELD).overlap(Overlap::Queue))?;
    world.held.limit(1);
    world.add(Job::task(NOTE).id("b").trigger(Every::seconds(2)).executor(HELD))?;
    world.run_for(3);
    let submitted = world.recorder.words_of(&["submitted"]).len();
    assert_eq!(submitted, 4, "{:?}", world.recorder.words());
    world.scheduler.shutdown(false)?;
    assert_eq!(world.outcomes(), vec!["cancelled"; submitted]);
    Ok(())
}

/// Shutdown waits for runs that wait for their turn, too.
pub fn shutdown_waits_for_queued_runs(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.started()?;
    world.add(Job::task(NOTE).id("a").trigger(Every::seconds(1)).executor(HELD).overlap(Overlap::Queue))?;
    world.run_for(3);
    let (held, scheduler) = (Arc::clone(&world.held), world.scheduler.clone());
    let stopping = std::thread::spawn(move || scheduler.shutdown(Shutdown::Wait));
    while world.scheduler.is_running() {
        std::thread::yield_now();
    }
    held.run_all();
    stopping.join().map_err(|_| Error::new(ErrorKind::Unexpected, "shutdown panicked"))??;
    assert_eq!(world.fired(), [1, 2, 3]);
    Ok(())
}

fn half_started(
    fixture: &Fixture,
    spoil: impl Fn(&World, &FaultyStore) -> Result<(), Error>,
) -> Result<World, Error> {
    let store = FaultyStore::new(fixture.store());
    let world = fixture.world_with(|config| config.job_store("second", Arc::clone(&store) as Arc<_>))?;
    world.add(Job::task(NOTE).id("first"))?;
    spoil(&world, &store)?;
    Ok(world)
}

/// A start that fails leaves the scheduler stopped, its parts shut down, its jobs pending, and nothing told; the next
/// start works.
pub fn a_failed_start_leaves_nothing_behind(fixture: &Fixture) -> Result<(), Error> {
    type Spoil = fn(&World, &FaultyStore) -> Result<(), Error>;
    let table: [(&str, ErrorKind, Spoil); 4] = [
        ("a store that does not start", ErrorKind::Unavailable, |_, store| {
            store.fail(StoreCall::Start, 1, ErrorKind::Unavailable);
            Ok(())
        }),
        ("an executor that does not start", ErrorKind::Unsupported, |world, _| {
            world.held.refuse(&[Refusal::Error(ErrorKind::Unsupported)]);
            Ok(())
        }),
        ("a job that is not stored", ErrorKind::Unavailable, |world, store| {
            world.add(Job::task(NOTE).id("second").store("second"))?;
            store.fail(StoreCall::Insert, 1, ErrorKind::Unavailable);
            Ok(())
        }),
        ("a runtime without a place", ErrorKind::Unavailable, |world, _| {
            world.runtime.refuse_drivers(true);
            Ok(())
        }),
    ];
    for (what, expected, spoil) in table {
        let world = half_started(fixture, spoil)?;
        let pending = world.ids()?;
        assert_eq!(kind(world.start()), Some(expected), "{what}");
        assert_eq!(world.scheduler.state(), SchedulerState::Stopped, "{what}");
        assert_eq!(world.ids()?, pending, "{what}: the jobs stay pending");
        assert!(world.recorder.words().is_empty(), "{what}: {:?}", world.recorder.words());
        let calls = world.held.calls();
        let count = |call: &str| calls.iter().filter(|made| made.starts_with(call)).count();
        assert!(
            count("start") - count("shutdown") <= usize::from(expected == ErrorKind::Unsupported),
            "{calls:?}"
        );
        world.runtime.refuse_drivers(false);
        world.start()?;
        world.turn();
        assert_eq!(world.traces().len(), pending.len(), "{what}: the next start works");
    }
    Ok(())
}

/// A pending job that conflicts with a stored one fails the start; the jobs added before it are taken back.
pub fn a_conflicting_pending_job_fails_the_start(fixture: &Fixture) -> Result<(), Error> {
    let shared = fixture.store();
    let spy = FaultyStore::new(Arc::clone(&shared));
    let world =
        fixture.world_with(|config| config.job_store("default", Arc::clone(&spy) as Arc<dyn JobStore>))?;
    let keeper = fixture.world_with(|config| config.job_store("default", shared))?;
    keeper.add(Job::task(NOTE).id("taken").trigger(Every::seconds(60)))?;
    keeper.start()?;
    for id in ["new", "taken"] {
        world.add(Job::task(NOTE).id(id).trigger(Every::seconds(60)))?;
    }
    assert_eq!(kind(world.start()), Some(ErrorKind::AlreadyExists));
    assert_eq!(world.ids()?, ["new", "taken"], "both stay pending");
    assert_eq!(spy.calls(StoreCall::Remove), 1, "the first is taken back");
    assert_eq!(world.scheduler.state(), SchedulerState::Stopped);
    Ok(())
}

/// Listeners and pending jobs survive a new configuration; defaults are those at start.
pub fn pending_jobs_survive_a_new_configuration(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.world()?;
    world.add(Job::task(NOTE).id("a").trigger(Every::seconds(60)))?;
    let settings = sched_core::JobSettings { max_instances: Some(7), ..Default::default() };
    let config = SchedulerConfig::new()
        .job_store("default", fixture.store())
        .executor("default", Arc::clone(&world.held) as Arc<dyn Executor>)
        .job_defaults(settings);
    world.scheduler.configure(config)?;
    world.start()?;
    assert_eq!(world.job("a")?.options.max_instances, 7);
    world.recorder.expect(&["added a", "started"]);
    Ok(())
}
