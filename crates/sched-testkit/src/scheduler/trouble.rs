//! Cases: triggers, stores and executors that go wrong. The loop goes on, and events tell.

use std::sync::Arc;
use std::time::Duration;

use sched_core::{Delivery, Error, ErrorKind, Event, Health, Job, JobStatus, MissReason};

use super::executors::Refusal;
use super::fixture::{Fixture, HELD, NOTE, World};
use super::triggers::Every;
use crate::faults::{FaultyStore, FaultyTrigger, StoreCall};
use crate::jobs::noon_plus;

/// A trigger that fails, panics or goes back: the known fire runs, the job is suspended with the reason, others go on,
/// and resuming tries again.
pub fn a_faulty_trigger_suspends_its_job_only(fixture: &Fixture) -> Result<(), Error> {
    for (faulty, reason) in [
        (FaultyTrigger::Fails, "deliberate"),
        (FaultyTrigger::Panics, "panicked: deliberate"),
        (FaultyTrigger::StandsStill, "went back"),
        (FaultyTrigger::GoesBack, "went back"),
    ] {
        let world = fixture.started()?;
        world.add(Job::task(NOTE).id("bad").trigger(faulty))?;
        world.add(Job::task(NOTE).id("good").trigger(Every::seconds(1)))?;
        world.run_for(3);
        assert_eq!(world.recorder.words_of(&["suspended"]), ["suspended bad"], "{faulty}");
        let bad = world.job("bad")?;
        let JobStatus::Suspended(told) = bad.status() else {
            return Err(Error::new(ErrorKind::Unexpected, format!("{faulty}: {:?}", bad.status())));
        };
        assert!(told.contains(reason) && bad.next_run_time().is_none(), "{faulty}: {told}");
        let of = |id: &str| {
            world
                .traces()
                .iter()
                .filter(|trace| trace.job.as_ref().is_some_and(|job| job.as_str() == id))
                .count()
        };
        assert_eq!((of("bad"), of("good")), (1, 3), "{faulty}");
        let resumed = world.scheduler.resume_job("bad")?.and_then(|job| job.next_fire_time());
        assert_eq!(resumed, Some(noon_plus(3)), "{faulty}");
    }
    Ok(())
}

fn with_faulty_store(fixture: &Fixture) -> Result<(World, Arc<FaultyStore>), Error> {
    let store = FaultyStore::new(fixture.store());
    let world = fixture.started_with(|config| config.job_store("default", Arc::clone(&store) as Arc<_>))?;
    world.add(Job::task(NOTE).id("a").trigger(Every::seconds(1)))?;
    world.recorder.clear();
    Ok((world, store))
}

/// A store that fails or panics five times: the loop backs off, shows as degraded, recovers, and what was due runs.
pub fn a_failing_store_is_tried_again_until_it_recovers(fixture: &Fixture) -> Result<(), Error> {
    use StoreCall::{ClaimDue, Commit, NextWakeup};
    type Spoil = fn(&FaultyStore, StoreCall);
    let fails: Spoil = |store, call| store.fail(call, 5, ErrorKind::Unavailable);
    let panics: Spoil = |store, call| store.panic(call, 5);
    let loses: Spoil = |store, call| store.lose_answers(call, 5, ErrorKind::Timeout);
    let table = [
        (ClaimDue, fails),
        (ClaimDue, panics),
        (ClaimDue, loses),
        (NextWakeup, fails),
        (NextWakeup, panics),
        (Commit, fails),
        (Commit, panics),
    ];
    for (method, spoil) in table {
        let (world, store) = with_faulty_store(fixture)?;
        spoil(&store, method);
        world.run_for(1);
        let health = world.scheduler.health().into_iter().next().map(|(_, health)| health);
        assert!(matches!(health, Some(Health::Degraded(_))), "{method:?}: {health:?}");
        world.run_for(120);
        let words = world.recorder.words_of(&["store_failed", "store_recovered"]);
        let failures = words.iter().filter(|word| *word == "store_failed default").count();
        assert_eq!(failures, 5, "{method:?}: {words:?}");
        assert_eq!(words.last().map(String::as_str), Some("store_recovered default"), "{method:?}");
        assert_eq!(world.scheduler.health().first().map(|(_, health)| health.clone()), Some(Health::Healthy));
        let last = world.fired().last().copied();
        assert!(last.is_some_and(|last| last >= 120), "{method:?}: it goes on, last {last:?}");
        let mut times = world.fired();
        times.dedup();
        assert_eq!(times, world.fired(), "{method:?}: no fire time runs twice");
    }
    Ok(())
}

/// A commit whose answer is lost fires nothing twice: the job is read back, and its run happens once.
pub fn a_commit_without_an_answer_fires_nothing_twice(fixture: &Fixture) -> Result<(), Error> {
    let (world, store) = with_faulty_store(fixture)?;
    store.lose_answers(StoreCall::Commit, 1, ErrorKind::Timeout);
    world.run_for(5);
    assert_eq!(world.fired(), [1, 2, 3, 4, 5]);
    assert_eq!(
        world.recorder.words_of(&["store_failed", "store_recovered"]),
        ["store_failed default", "store_recovered default"]
    );
    Ok(())
}

/// The pauses between tries double up to the retry interval, each shortened by a quarter at most.
pub fn the_pauses_between_tries_double_up_to_a_cap(fixture: &Fixture) -> Result<(), Error> {
    let store = FaultyStore::new(fixture.store());
    let cap = Duration::from_secs(1);
    let world = fixture.started_with(|config| {
        config.job_store("default", Arc::clone(&store) as Arc<_>).retry_interval(cap)
    })?;
    store.fail(StoreCall::ClaimDue, 8, ErrorKind::Unavailable);
    world.scheduler.wakeup();
    world.run_for(60);
    let pauses: Vec<Duration> = world
        .recorder
        .events()
        .iter()
        .filter_map(
            |event| if let Event::StoreFailed { retry_in, .. } = event { Some(*retry_in) } else { None },
        )
        .collect();
    let expected = [100, 200, 400, 800, 1_000, 1_000, 1_000, 1_000].map(Duration::from_millis);
    assert_eq!(pauses.len(), expected.len());
    for (pause, most) in pauses.iter().zip(expected) {
        assert!(*pause <= most && *pause >= most / 4 * 3, "{pauses:?}");
    }
    Ok(())
}

/// A failing store delays its own jobs only.
pub fn a_failing_store_delays_its_own_jobs_only(fixture: &Fixture) -> Result<(), Error> {
    let store = FaultyStore::new(fixture.store());
    let world = fixture.started_with(|config| config.job_store("bad", Arc::clone(&store) as Arc<_>))?;
    store.fail(StoreCall::ClaimDue, 1_000, ErrorKind::Unavailable);
    world.add(Job::task(NOTE).id("good").trigger(Every::seconds(1)))?;
    world.run_for(5);
    assert_eq!(world.fired(), [1, 2, 3, 4, 5]);
    Ok(())
}

/// The error of a store reaches the caller of the API, and nothing is told.
pub fn a_store_error_reaches_the_caller(fixture: &Fixture) -> Result<(), Error> {
    let (world, store) = with_faulty_store(fixture)?;
    store.fail(StoreCall::Insert, 1, ErrorKind::Unavailable);
    let added = world.add(Job::task(NOTE).id("b").trigger(Every::seconds(1)));
    assert_eq!(added.err().map(|error| error.kind()), Some(ErrorKind::Unavailable));
    store.fail(StoreCall::Update, 1, ErrorKind::Unavailable);
    let paused = world.scheduler.pause_job("a");
    assert!(paused.err().is_some_and(|error| error.is_retryable()));
    store.fail(StoreCall::Remove, 1, ErrorKind::Unavailable);
    assert!(world.scheduler.remove_job("a").is_err());
    assert!(world.recorder.words().is_empty() && world.ids()? == ["a"]);
    Ok(())
}

/// An executor that panics at a submission: those runs are reported, the other executors and the loop go on, and the
/// store is not blamed.
pub fn a_panicking_executor_loses_no_other_run(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.started()?;
    world.held.refuse(&[Refusal::Panic]);
    world.add(Job::task(NOTE).id("a").trigger(Every::seconds(10)).executor(HELD))?;
    world.add(Job::task(NOTE).id("b").trigger(Every::seconds(10)))?;
    world.run_for(20);
    world.held.run_all();
    assert_eq!(world.fired(), [10, 20, 20]);
    assert_eq!(world.recorder.words_of(&["failed", "store_failed"]), ["failed a"]);
    Ok(())
}

/// An executor that refuses for a while, with nothing running on it, is offered its runs again.
pub fn a_refused_run_is_offered_again(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.started()?;
    world.held.refuse(&[Refusal::Error(ErrorKind::Unavailable)]);
    world.add(Job::task(NOTE).id("a").executor(HELD))?;
    world.run_for(15);
    world.held.run_all();
    assert_eq!(world.fired(), [0]);
    Ok(())
}

/// An executor that was closed reports its runs as abandoned.
pub fn a_closed_executor_abandons_its_runs(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.started()?;
    world.held.refuse(&[Refusal::Error(ErrorKind::Closed)]);
    world.add(Job::task(NOTE).id("a").executor(HELD).trigger(Every::seconds(10)))?;
    world.run_for(10);
    assert_eq!(world.recorder.words_of(&["failed"]), ["failed a"]);
    world.run_for(10);
    world.held.run_all();
    assert_eq!(world.fired(), [20]);
    Ok(())
}

/// A job whose executor is gone is missed with the alias, each time; it stays and runs once there is one again.
pub fn a_job_without_its_executor_is_missed(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.started()?;
    world.add(Job::task(NOTE).id("a").executor(HELD).trigger(Every::seconds(10)))?;
    world.scheduler.remove_executor(HELD, true)?;
    world.run_for(20);
    let reasons: Vec<_> =
        world.recorder.events().iter().filter_map(|event| event.miss_reason().cloned()).collect();
    assert_eq!(reasons, vec![MissReason::NoExecutor(HELD.to_owned()); 2]);
    world.scheduler.add_executor(Arc::clone(&world.held) as Arc<_>, HELD)?;
    world.run_for(10);
    world.held.run_all();
    assert_eq!(world.fired(), [30]);
    Ok(())
}

/// Jobs are deleted by nobody but their owner: a failing turn, a missing executor or a suspended trigger leaves them.
pub fn trouble_deletes_no_job(fixture: &Fixture) -> Result<(), Error> {
    let (world, store) = with_faulty_store(fixture)?;
    world.add(Job::task(NOTE).id("b").trigger(FaultyTrigger::Fails))?;
    store.fail(StoreCall::Commit, 3, ErrorKind::Unavailable);
    world.run_for(100);
    let mut ids = world.ids()?;
    ids.sort();
    assert_eq!(ids, ["a", "b"]);
    Ok(())
}

/// A commit that fails is tried again as soon as the store answers, not when its claims end: nothing is late for longer
/// than the store is gone, and nothing fires twice.
pub fn a_failed_commit_is_not_left_to_the_end_of_its_claims(fixture: &Fixture) -> Result<(), Error> {
    for delivery in [Delivery::Direct, Delivery::Durable] {
        let store = FaultyStore::new(fixture.store());
        let world = fixture
            .started_with(|config| config.job_store("default", Arc::clone(&store) as _).delivery(delivery))?;
        world.add(Job::task(NOTE).id("a").trigger(Every::seconds(10)))?;
        store.fail(StoreCall::Commit, 3, ErrorKind::Unavailable);
        world.run_for(12);
        assert_eq!(world.fired(), [10], "{delivery}");
        store.lose_answers(StoreCall::Commit, 1, ErrorKind::Timeout);
        world.run_for(20);
        assert_eq!(world.fired(), [10, 20, 30], "{delivery}");
        assert!(world.recorder.words_of(&["claim_lost"]).is_empty(), "{delivery}");
    }
    Ok(())
}

/// A commit in doubt gives way to whoever changed the job meanwhile.
pub fn a_commit_in_doubt_gives_way_to_a_change(fixture: &Fixture) -> Result<(), Error> {
    let (world, store) = with_faulty_store(fixture)?;
    store.fail(StoreCall::Commit, 1, ErrorKind::Unavailable);
    world.sleep(1);
    world.runtime.step();
    world.scheduler.pause_job("a")?;
    world.run_for(60);
    assert!(world.fired().is_empty());
    assert_eq!(world.recorder.words_of(&["claim_lost"]), ["claim_lost"]);
    Ok(())
}
