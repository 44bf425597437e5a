//! What is claimed and planned a little before its moment: it starts at the moment, and gives way to whoever changes it.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use sched::prelude::*;
use sched::{Error, ErrorKind, JobStore};
use sched_executor_thread::DebugExecutor;
use sched_store_memory::MemoryStore;
use sched_testkit::jobs::noon_plus;
use sched_testkit::scheduler::{Every, Fixture, NOTE, World};
use sched_testkit::{FaultyStore, StoreCall};

const HEAD_START: Duration = Duration::from_millis(2);

fn shortly_before() -> Result<World, Error> {
    shortly_before_on(Arc::new(MemoryStore::new()))
}

/// A world with a job that is due at 10 s and each 10 s after, 2 ms before its first moment: it is claimed and planned.
fn shortly_before_on(store: Arc<dyn JobStore>) -> Result<World, Error> {
    let fixture = Fixture::new(|| Arc::new(MemoryStore::new()), || Arc::new(DebugExecutor::new()));
    let fixture = fixture.with_head_start(HEAD_START);
    let world = fixture.started_with(|config| config.job_store("default", store))?;
    world.add(Job::task(NOTE).id("a").trigger(Every::seconds(10)))?;
    let before = Duration::from_secs(10) - HEAD_START;
    assert_eq!(world.turn(), Some(before));
    world.clock.advance(before);
    assert_eq!(world.turn(), Some(HEAD_START), "the loop sleeps once more, until the moment itself");
    Ok(world)
}

#[test]
fn nothing_starts_early() -> Result<(), Error> {
    let world = shortly_before()?;
    assert!(world.fired().is_empty());
    assert_eq!(world.job("a")?.next_run_time(), Some(noon_plus(10)), "nothing is committed early");
    world.clock.advance(HEAD_START - Duration::from_micros(1));
    world.turn();
    assert!(world.fired().is_empty());
    world.clock.advance(Duration::from_micros(1));
    world.turn();
    assert_eq!(world.fired(), [10]);
    assert_eq!(world.job("a")?.next_run_time(), Some(noon_plus(20)));
    world.run_for(25);
    assert_eq!(world.fired(), [10, 20, 30]);
    Ok(())
}

#[test]
fn a_change_in_the_last_moment_holds() -> Result<(), Error> {
    type Change = fn(&World) -> Result<(), Error>;
    let removed: Change = |world| world.scheduler.remove_job("a");
    let paused: Change = |world| world.scheduler.pause_job("a").map(drop);
    for change in [removed, paused] {
        let world = shortly_before()?;
        change(&world)?;
        world.run_for(30);
        assert!(world.fired().is_empty());
    }
    let world = shortly_before()?;
    world.scheduler.reschedule_job("a", Every::seconds(15))?;
    world.run_for(20);
    assert_eq!(world.fired(), [24], "fifteen seconds after the change");
    Ok(())
}

/// Runs that were made before their moment and are not committed are nobody's: no end of theirs is told.
#[test]
fn a_store_that_fails_at_the_moment_tells_of_no_run() -> Result<(), Error> {
    type Spoil = fn(&FaultyStore);
    let fails: Spoil = |store| store.fail(StoreCall::Commit, 1, ErrorKind::Unavailable);
    let panics: Spoil = |store| store.panic(StoreCall::Commit, 1);
    for spoil in [fails, panics] {
        let store = FaultyStore::as_quick_as(Arc::new(MemoryStore::new()));
        let world = shortly_before_on(Arc::clone(&store) as Arc<_>)?;
        spoil(&store);
        world.clock.advance(HEAD_START);
        world.runtime.step();
        assert_eq!((world.fired(), world.outcomes()), (vec![], vec![]));
        world.run_for(60);
        assert!(!world.fired().is_empty(), "it goes on when the claim has ended");
        assert!(world.outcomes().iter().all(|outcome| outcome.starts_with("succeeded")));
    }
    Ok(())
}

#[test]
fn a_job_that_comes_in_between_runs_at_its_own_time() -> Result<(), Error> {
    let world = shortly_before()?;
    world.add(Job::task(NOTE).id("b"))?;
    world.turn();
    assert_eq!(world.fired(), [9], "at once, two milliseconds before the other");
    world.run_for(1);
    assert_eq!(world.fired(), [9, 10]);
    Ok(())
}

#[test]
fn a_moment_that_is_slept_through_is_planned_anew() -> Result<(), Error> {
    let world = shortly_before()?;
    world.sleep(35);
    world.turn();
    assert_eq!(world.fired(), [40], "four fire times are one run, as without a head start");
    world.run_for(10);
    assert_eq!(world.fired(), [40, 50]);
    Ok(())
}

#[test]
fn a_paused_scheduler_gives_back_what_it_had_prepared() -> Result<(), Error> {
    let world = shortly_before()?;
    world.scheduler.pause()?;
    world.run_for(5);
    assert!(world.fired().is_empty());
    world.scheduler.resume()?;
    world.turn();
    assert_eq!(world.fired(), [10], "it is not left to the end of its claim");
    Ok(())
}

#[test]
fn a_clock_that_is_set_back_fires_nothing_twice() -> Result<(), Error> {
    let world = shortly_before()?;
    world.clock.set(world.now() - TimeDelta::hours(1));
    world.run_for(3_700);
    assert_eq!(world.fired().iter().filter(|time| **time == 10).count(), 1);
    Ok(())
}
