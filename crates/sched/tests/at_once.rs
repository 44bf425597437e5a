//! What the engine does with a store that claims, plans and commits in one write, and with one that writes side by side.
#![cfg(all(feature = "sql", feature = "thread", feature = "memory"))]
#![expect(clippy::expect_used, reason = "a test: what fails, panics")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use sched::prelude::*;
use sched::{Delivery, Error, ErrorKind, Event, JobStore};
use sched_executor_thread::DebugExecutor;
use sched_store_memory::MemoryStore;
use sched_store_sql::SqlStore;
use sched_testkit::jobs::{FixedTrigger, noon_plus};
use sched_testkit::scheduler::{Every, Fixture, NOTE, World};
use sched_testkit::{FaultyStore, StoreCall};

/// A store in SQLite, in memory.
fn sqlite() -> Arc<dyn JobStore> {
    Arc::new(SqlStore::open("sqlite://").expect("the URL is right"))
}

fn world_on(store: &Arc<FaultyStore>, delivery: Delivery) -> Result<World, Error> {
    let fixture = Fixture::new(|| Arc::new(MemoryStore::new()), || Arc::new(DebugExecutor::new()));
    let store: Arc<dyn JobStore> = Arc::clone(store) as _;
    fixture.started_with(|config| config.job_store("default", store).delivery(delivery))
}

fn lost_claims(world: &World) -> usize {
    let events = world.recorder.events();
    events.iter().filter(|event| matches!(event, Event::ClaimLost { .. })).count()
}

#[test]
fn one_write_is_all_it_takes() -> Result<(), Error> {
    let store = FaultyStore::new(sqlite());
    let world = world_on(&store, Delivery::Durable)?;
    world.add(Job::task(NOTE).id("a").trigger(Every::seconds(5)))?;
    world.run_for(21);
    assert_eq!(world.fired(), [5, 10, 15, 20]);
    assert_eq!((store.calls(StoreCall::ClaimDue), store.calls(StoreCall::Commit)), (0, 0));
    Ok(())
}

/// Whatever becomes of the write, the fire time runs once, and nothing is told to be lost.
#[test]
fn a_write_that_fails_or_whose_answer_is_lost_runs_once() -> Result<(), Error> {
    type Spoil = fn(&FaultyStore);
    let undone: Spoil = |store| store.fail(StoreCall::ClaimAndCommit, 2, ErrorKind::Unavailable);
    let unanswered: Spoil = |store| store.lose_answers(StoreCall::ClaimAndCommit, 1, ErrorKind::Unavailable);
    let panics: Spoil = |store| store.panic(StoreCall::ClaimAndCommit, 1);
    for spoil in [undone, unanswered, panics] {
        let store = FaultyStore::new(sqlite());
        let world = world_on(&store, Delivery::Durable)?;
        world.add(Job::task(NOTE).id("a").trigger(FixedTrigger::new([noon_plus(5), noon_plus(90)])))?;
        world.clock.advance(Duration::from_secs(5));
        spoil(&store);
        world.run_for(115);
        let fired: Vec<_> = world.traces().iter().map(|trace| (trace.fire_time, trace.attempt)).collect();
        assert_eq!(fired, [(5, 1), (90, 1)]);
        assert_eq!(lost_claims(&world), 0, "{:?}", world.recorder.words());
    }
    Ok(())
}

/// Without rows nobody can tell whose a fire time is: it runs at most once, and the schedule goes on.
#[test]
fn a_lost_answer_of_direct_delivery_runs_nothing_twice() -> Result<(), Error> {
    let store = FaultyStore::new(sqlite());
    let world = world_on(&store, Delivery::Direct)?;
    world.add(Job::task(NOTE).id("a").trigger(Every::seconds(60)))?;
    world.clock.advance(Duration::from_secs(60));
    store.lose_answers(StoreCall::ClaimAndCommit, 1, ErrorKind::Unavailable);
    world.run_for(121);
    assert_eq!(world.fired(), [120, 180]);
    assert_eq!(lost_claims(&world), 0);
    Ok(())
}

/// A trigger that may be slow is asked between two writes, and holds nobody up that is not.
#[test]
fn a_slow_trigger_is_asked_between_two_writes() -> Result<(), Error> {
    let store = FaultyStore::new(sqlite());
    let world = world_on(&store, Delivery::Durable)?;
    world.add(Job::task(NOTE).id("slow").trigger(Every::seconds(5).slowly()))?;
    world.run_for(6);
    let alone = (store.calls(StoreCall::ClaimDue), store.calls(StoreCall::Commit));
    assert!(alone.0 > 0 && alone.1 == 1, "{alone:?}");
    for number in 0..3 {
        world.add(Job::task(NOTE).id(format!("quick-{number}")).trigger(Every::seconds(5)))?;
    }
    world.run_for(10);
    assert_eq!(world.fired(), [5, 10, 11, 11, 11, 15, 16, 16, 16]);
    Ok(())
}

/// Among jobs that are due together those with quick triggers take one write, and only the others two.
#[test]
fn what_is_quick_does_not_wait_for_what_is_slow() -> Result<(), Error> {
    let store = FaultyStore::new(sqlite());
    let world = world_on(&store, Delivery::Durable)?;
    world.add(Job::task(NOTE).id("a").trigger(Every::seconds(5)))?;
    world.add(Job::task(NOTE).id("b").trigger(Every::seconds(5).slowly()))?;
    let (scheduler, moved) = (world.scheduler.clone(), Arc::new(AtomicUsize::new(0)));
    let seen = Arc::clone(&moved);
    store.before(StoreCall::Commit, move || {
        let next = |id| scheduler.get_job(id).ok().flatten().and_then(|job| job.next_run_time());
        let is_moved = (next("a"), next("b")) == (Some(noon_plus(10)), Some(noon_plus(5)));
        seen.store(usize::from(is_moved), Ordering::SeqCst);
    });
    world.run_for(6);
    assert_eq!((world.fired(), store.calls(StoreCall::Commit)), (vec![5, 5], 1));
    assert_eq!(moved.load(Ordering::SeqCst), 1, "the quick one had moved on before");
    Ok(())
}

/// Waits until something holds, or for a moment: then it never will.
fn for_a_moment(holds: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_millis(50);
    while !holds() && Instant::now() < end {
        std::thread::yield_now();
    }
}

/// Many ends are written beside the next claims, on a thread of their own. A job whose last run is among them is not taken for
/// busy, however long that takes.
#[test]
fn ends_that_are_written_beside_claims_keep_no_job_from_its_next_run() -> Result<(), Error> {
    const JOBS: usize = 200;
    let in_one = (StoreCall::ClaimAndCommit, sqlite as fn() -> Arc<dyn JobStore>);
    let in_two = (StoreCall::Commit, (|| Arc::new(MemoryStore::new())) as fn() -> Arc<dyn JobStore>);
    for (write, make) in [in_one, in_two] {
        let store = FaultyStore::side_by_side(make());
        let world = world_on(&store, Delivery::Durable)?;
        for number in 0..JOBS {
            let trigger = FixedTrigger::new([noon_plus(5), noon_plus(6), noon_plus(7)]);
            world.add(Job::task(NOTE).id(format!("job-{number:03}")).trigger(trigger))?;
        }
        let beside = Arc::new(AtomicUsize::new(0));
        world.clock.advance(Duration::from_secs(5));
        // While the first runs are committed all jobs fall due again: the next turn writes the ends beside that.
        let clock = world.clock.clone();
        store.before(write, move || clock.advance(Duration::from_secs(1)));
        let (writes, seen) = (Arc::downgrade(&store), Arc::clone(&beside));
        store.before(StoreCall::Finish, move || {
            let thread = std::thread::current();
            let is_apart = thread.name().is_some_and(|name| name.starts_with("sched-settle-"));
            seen.fetch_add(usize::from(is_apart), Ordering::SeqCst);
            let Some(store) = writes.upgrade() else { return };
            let written = store.calls(write);
            for_a_moment(|| store.calls(write) > written);
        });
        world.run_for(60);
        assert_eq!(beside.load(Ordering::SeqCst), 1, "on a thread of their own");
        let mut runs: BTreeMap<i64, usize> = BTreeMap::new();
        world.fired().into_iter().for_each(|time| *runs.entry(time).or_default() += 1);
        assert_eq!(runs, BTreeMap::from([(5, JOBS), (6, JOBS), (7, JOBS)]));
        let limited = |event: &Event| matches!(event, Event::JobMaxInstances { .. });
        assert!(!world.recorder.events().iter().any(limited), "no job is taken for busy");
    }
    Ok(())
}

/// When the ends cannot be written, they are written by a later turn, and told once.
#[test]
fn ends_that_could_not_be_written_beside_claims_are_not_lost() -> Result<(), Error> {
    type Spoil = fn(&FaultyStore);
    let fails: Spoil = |store| store.fail(StoreCall::Finish, 2, ErrorKind::Unavailable);
    let panics: Spoil = |store| store.panic(StoreCall::Finish, 1);
    for spoil in [fails, panics] {
        let store = FaultyStore::side_by_side(Arc::new(MemoryStore::new()));
        let world = world_on(&store, Delivery::Durable)?;
        for number in 0..100 {
            world.add(
                Job::task(NOTE).id(format!("job-{number:02}")).trigger(FixedTrigger::new([noon_plus(5)])),
            )?;
        }
        world.clock.advance(Duration::from_secs(5));
        spoil(&store);
        world.run_for(120);
        assert_eq!(world.fired(), [5; 100]);
        assert_eq!(world.recorder.words_of(&["executed"]).len(), 100);
    }
    Ok(())
}
