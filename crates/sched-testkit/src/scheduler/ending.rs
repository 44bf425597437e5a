//! Cases: what is under way while a scheduler, a store or a run ends.

use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use parking_lot::Mutex;
use sched_core::{
    Delivery, Error, ErrorKind, Event, EventMask, Job, NewRun, Outcome, Overlap, Retry, RunState, Shutdown,
};
use serde_json::Value;

use super::fixture::{Fixture, HELD, HOOK, NOTE, SINGLE, World};
use super::triggers::Every;
use crate::faults::{FaultyStore, StoreCall};

const HOUR: Duration = Duration::from_secs(3_600);

fn kind<T>(result: Result<T, Error>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind())
}

fn with_store(fixture: &Fixture, delivery: Delivery) -> Result<(World, Arc<FaultyStore>), Error> {
    let store = FaultyStore::new(fixture.store());
    let world = fixture.started_with(|config| {
        config.job_store("default", Arc::clone(&store) as Arc<_>).delivery(delivery)
    })?;
    Ok((world, store))
}

/// A listener that hears that a store failed, or works again, may shut the scheduler down: the store is closed as ever.
pub fn a_listener_of_a_store_failure_may_shut_down(fixture: &Fixture) -> Result<(), Error> {
    for (mask, failures) in [(EventMask::STORE_FAILED, 9), (EventMask::STORE_RECOVERED, 1)] {
        let (world, store) = with_store(fixture, Delivery::Direct)?;
        let scheduler = world.scheduler.clone();
        world.scheduler.add_listener(move |_| drop(scheduler.shutdown(true)), mask);
        store.fail(StoreCall::ClaimDue, failures, ErrorKind::Unavailable);
        for _ in 0..3 {
            world.runtime.step();
            world.sleep(60);
        }
        assert!(!world.scheduler.is_running());
        assert_eq!(store.calls(StoreCall::Shutdown), 1, "{mask:?}");
        world.scheduler.shut_down().wait();
    }
    Ok(())
}

/// A shutdown that does not wait, or not for long, leaves the end of a store whose turn is stuck to that turn.
pub fn a_shutdown_that_does_not_wait_leaves_a_stuck_turn_behind(fixture: &Fixture) -> Result<(), Error> {
    for how in [Shutdown::Now, Shutdown::WaitFor(Duration::from_millis(1))] {
        let (world, store) = with_store(fixture, Delivery::Direct)?;
        world.turn();
        let (begun, begins) = mpsc::channel();
        let (go_on, goes_on) = mpsc::channel::<()>();
        store.before(StoreCall::ClaimDue, move || {
            let _ = begun.send(());
            let _ = goes_on.recv();
        });
        std::thread::scope(|scope| {
            let turn = scope.spawn(|| world.runtime.step());
            let _ = begins.recv();
            let stopped = world.scheduler.shutdown(how);
            assert!(stopped.is_ok(), "{stopped:?}");
            assert_eq!(store.calls(StoreCall::Shutdown), 0, "it is in use");
            drop(go_on);
            drop(turn.join());
        });
        world.scheduler.shut_down().wait();
        assert_eq!(store.calls(StoreCall::Shutdown), 1);
    }
    Ok(())
}

/// What is added while a shutdown goes on would be lost with the program: it is refused.
pub fn nothing_is_added_while_a_shutdown_goes_on(fixture: &Fixture) -> Result<(), Error> {
    let (world, _) = with_store(fixture, Delivery::Durable)?;
    world.add(Job::task(NOTE).id("other").trigger(Every::seconds(3_600)))?;
    let (scheduler, refused) = (world.scheduler.clone(), Arc::new(Mutex::new(Vec::new())));
    let told = Arc::clone(&refused);
    world.on_hook(move |_| {
        scheduler.shutdown(true)?;
        let added = scheduler.add_job(Job::task(NOTE).id("late").trigger(Every::seconds(1)));
        told.lock().extend([
            kind(added),
            kind(scheduler.remove_job("other")),
            kind(scheduler.pause_job("other")),
        ]);
        Ok(Value::Null)
    });
    world.scheduler.add_run(NewRun::task(HOOK))?;
    world.runtime.step();
    world.recorder.wait_for_word("executed");
    world.scheduler.shut_down().wait();
    assert_eq!(*refused.lock(), [Some(ErrorKind::InvalidState); 3]);
    world.scheduler.add_job(Job::task(NOTE).id("later").trigger(Every::seconds(1)))?;
    Ok(())
}

/// A store that is removed claims nothing more, and is closed when the queued runs that go on here are over.
pub fn a_removed_store_waits_for_its_queued_runs(fixture: &Fixture) -> Result<(), Error> {
    let (world, store) = with_store(fixture, Delivery::Durable)?;
    let run = world.scheduler.add_run(NewRun::task(NOTE).executor(HELD).result_ttl(HOUR))?;
    world.turn();
    let other = world.another(|config| config)?;
    store.fail(StoreCall::Shutdown, 1, ErrorKind::Unavailable); // the other one needs its rows
    world.held.begin_one();
    std::thread::scope(|scope| {
        let removing = scope.spawn(|| world.scheduler.remove_job_store("default"));
        while world.scheduler.job_store("default").is_ok() {
            std::thread::yield_now();
        }
        other.turn();
        assert!(other.held.is_empty() && !removing.is_finished(), "it goes on here");
        world.held.end_one(Outcome::Succeeded(Value::Null));
        drop(removing.join());
    });
    let row = other.scheduler.get_run_result(run, None)?;
    assert!(matches!(&row.state, RunState::Finished { outcome, .. } if outcome.is_success()), "{row:?}");
    assert_eq!(row.attempt, 1);
    Ok(())
}

/// A store that panics while the end of a run is written loses nothing: it is written by the next turn.
pub fn an_end_survives_a_store_that_panics(fixture: &Fixture) -> Result<(), Error> {
    let (world, store) = with_store(fixture, Delivery::Durable)?;
    let run = world.scheduler.add_run(NewRun::task(NOTE).executor(HELD).result_ttl(HOUR))?;
    world.turn();
    world.held.run_all();
    store.panic(StoreCall::Finish, 1);
    world.runtime.step();
    world.run_for(30);
    let row = world.scheduler.get_run_result(run, None)?;
    assert!(matches!(&row.state, RunState::Finished { outcome, .. } if outcome.is_success()), "{row:?}");
    assert_eq!((row.attempt, world.outcomes().len()), (1, 1));
    Ok(())
}

/// Whoever waits on a loop's own thread for a run that this loop has to start is told so.
pub fn a_loop_does_not_wait_for_its_own_run(fixture: &Fixture) -> Result<(), Error> {
    let (world, _) = with_store(fixture, Delivery::Durable)?;
    let (scheduler, answers) = (world.scheduler.clone(), Arc::new(Mutex::new(Vec::new())));
    let told = Arc::clone(&answers);
    let ask = move |_: &Event| told.lock().push(kind(scheduler.run_job(NewRun::task(NOTE))));
    world.scheduler.add_listener(ask, EventMask::JOB_SUBMITTED);
    world.add(Job::task(NOTE).id("a").trigger(Every::seconds(10)).executor(HELD))?;
    world.run_for(10);
    assert_eq!(*answers.lock(), [Some(ErrorKind::InvalidState)]);
    Ok(())
}

/// A run whose time was up and that is to be tried again when its code is over can be cancelled before, or replaced: no
/// other attempt follows.
pub fn a_hung_run_that_was_to_be_tried_again_may_be_cancelled(fixture: &Fixture) -> Result<(), Error> {
    for replaced in [false, true] {
        let world = fixture.started()?;
        let job = Job::task(HOOK).id("a").executor(HELD).timeout(Duration::from_secs(5));
        let retry = Retry::new(3).backoff(Duration::from_secs(1));
        world.add(job.retry(retry).trigger(Every::seconds(10)).overlap(Overlap::CancelPrevious))?;
        world.run_for(10);
        world.held.begin_one();
        world.run_for(if replaced { 12 } else { 6 });
        assert_eq!(world.recorder.words_of(&["retrying"]), ["retrying a"]);
        if !replaced {
            let [hung] = &world.scheduler.active_runs()[..] else {
                return Err(Error::new(ErrorKind::Unexpected, "one run is active"));
            };
            assert!(world.scheduler.cancel_run(hung.run.id)?);
            assert!(!world.scheduler.cancel_run(hung.run.id)?, "it is over");
        }
        assert_eq!(world.outcomes(), ["cancelled"]);
        world.held.end_one(Outcome::Succeeded(Value::Null));
        world.scheduler.pause_job("a")?;
        world.run_for(30);
        assert_eq!(world.recorder.words_of(&["retrying"]), ["retrying a"], "no attempt follows");
    }
    Ok(())
}

/// A place of a limited task that is free goes to a job that can take it, not to one whose own places are taken.
pub fn a_free_place_of_a_task_goes_to_who_can_take_it(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.started()?;
    for id in ["a", "b", "c", "d"] {
        let job =
            Job::task(SINGLE).id(id).trigger(Every::seconds(3_600)).overlap(Overlap::Queue).executor(HELD);
        world.add(job.next_run_time(world.now()))?;
    }
    world.turn();
    // A second run of the first job waits behind its own.
    world.scheduler.modify_job("a", sched_core::JobChanges::new().next_run_time(world.now()))?;
    world.turn();
    for _ in 0..5 {
        assert_eq!(world.held.len(), 1, "one at once, and always one");
        world.held.run_one();
        world.turn();
    }
    let jobs: Vec<_> = world.traces().iter().filter_map(|trace| trace.job.clone()).collect();
    let mut jobs: Vec<_> = jobs.iter().map(ToString::to_string).collect();
    jobs.sort();
    assert_eq!(jobs, ["a", "a", "b", "c", "d"]);
    Ok(())
}
