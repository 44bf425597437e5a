//! What the engine does with a store that claims, plans and commits in one write, and with one that writes side by side.
#![cfg(all(feature = "sql", feature = "thread", feature = "memory"))]
#![expect(clippy::expect_used, reason = "a test: what fails, panics")]

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use sched::prelude::*;
use sched::{Delivery, Error, ErrorKind, Event, JobStore, Trigger};
use sched_executor_thread::DebugExecutor;
use sched_store_memory::MemoryStore;
use sched_store_sql::SqlStore;
use sched_testkit::jobs::{FixedTrigger, noon_plus};
use sched_testkit::scheduler::{Every, Fixture, NOTE, World};
use sched_testkit::{FaultyStore, StoreCall};
use serde_json::Value;

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

/// A trigger that says nothing of how quick it is.
#[derive(Debug)]
struct Unknown(FixedTrigger);

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Trigger for Unknown {
    fn next_fire_time(
        &self,
        previous: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, Error> {
        self.0.next_fire_time(previous, now)
    }

    fn alias(&self) -> &str {
        "fixed"
    }

    fn to_config(&self) -> Value {
        self.0.to_config()
    }
}

/// A trigger that may be slow is never asked while jobs are locked, and holds nobody up.
#[test]
fn a_slow_trigger_is_asked_between_two_writes() -> Result<(), Error> {
    let times = || FixedTrigger::new([noon_plus(5), noon_plus(6)]);
    let store = FaultyStore::new(Arc::new(MemoryStore::new()));
    let world = world_on(&store, Delivery::Durable)?;
    world.add(Job::task(NOTE).id("slow").trigger(Unknown(times())))?;
    world.add(Job::task(NOTE).id("quick").trigger(times()))?;
    world.run_for(10);
    assert_eq!(world.fired(), [5, 5, 6, 6]);
    assert!(store.calls(StoreCall::ClaimDue) > 0 && store.calls(StoreCall::Commit) > 0);
    Ok(())
}

/// Many ends are written beside the next claims. A job whose last run is among them is not taken for busy.
#[test]
fn ends_that_are_written_beside_claims_keep_no_job_from_its_next_run() -> Result<(), Error> {
    const JOBS: usize = 200;
    let stores: [fn() -> Arc<dyn JobStore>; 2] = [sqlite, || Arc::new(MemoryStore::new())];
    for make in stores {
        let store = FaultyStore::side_by_side(make());
        let world = world_on(&store, Delivery::Durable)?;
        for number in 0..JOBS {
            let trigger = FixedTrigger::new([noon_plus(5), noon_plus(6), noon_plus(7)]);
            world.add(Job::task(NOTE).id(format!("job-{number:03}")).trigger(trigger))?;
        }
        world.clock.advance(Duration::from_secs(5));
        for _ in 0..2 {
            // The runs are over by the end of this step, and their rows are written in the next, when all are due again.
            world.runtime.step();
            world.clock.advance(Duration::from_secs(1));
        }
        world.run_for(60);
        let mut runs: BTreeMap<i64, usize> = BTreeMap::new();
        world.fired().into_iter().for_each(|time| *runs.entry(time).or_default() += 1);
        assert_eq!(runs, BTreeMap::from([(5, JOBS), (6, JOBS), (7, JOBS)]));
        assert!(world.recorder.words_of(&["limited"]).is_empty(), "{:?}", world.recorder.words());
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
