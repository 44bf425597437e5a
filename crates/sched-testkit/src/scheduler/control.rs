//! Cases: runs whose time is up, and runs that somebody stops.

use std::sync::Arc;
use std::time::Duration;

use sched_core::{
    CancelReason, Delivery, Error, ErrorKind, Job, NewRun, Outcome, Overlap, RunFilter, RunId, RunPhase,
    RunState, Shutdown, TimeoutSlot,
};
use serde_json::Value;

use super::fixture::{Fixture, HELD, NOTE, World};
use super::triggers::Every;
use crate::faults::{FaultyStore, StoreCall};
use crate::jobs::{FixedTrigger, noon_plus};

const HOUR: Duration = Duration::from_secs(3_600);
const FIVE: Duration = Duration::from_secs(5);

fn done() -> Outcome {
    Outcome::Succeeded(Value::Null)
}

fn only_active(world: &World) -> Result<sched_core::ActiveRun, Error> {
    let mut active = world.scheduler.active_runs();
    assert_eq!(active.len(), 1, "{active:?}");
    active.pop().ok_or_else(|| Error::new(ErrorKind::NotFound, "no run is active"))
}

/// The time of a run counts from its start, not from when it was handed over. An executor that can stops it, and
/// whatever it says of the end, the run has timed out.
pub fn a_run_that_takes_too_long_is_stopped_by_force(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.started()?;
    world.held.kill_when_told();
    world.add(Job::task(NOTE).id("a").executor(HELD).timeout(FIVE))?;
    world.run_for(60);
    assert!(world.outcomes().is_empty(), "it has not started");
    let context = world.held.begin_one();
    world.run_for(4);
    assert!(world.outcomes().is_empty());
    world.run_for(1);
    assert_eq!(world.outcomes(), ["timed out"]);
    assert_eq!(context.and_then(|context| context.cancel_reason()), Some(CancelReason::TimedOut));
    assert!(world.scheduler.active_runs().is_empty());
    Ok(())
}

/// Code that cannot be stopped is reported when its time is up, keeps its place, and shows with its age; its late end is
/// not told.
pub fn a_run_that_cannot_be_stopped_keeps_its_place(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.started()?;
    world.add(Job::task(NOTE).id("a").executor(HELD).timeout(FIVE).trigger(Every::seconds(10)))?;
    world.run_for(10);
    world.held.begin_one();
    world.run_for(5);
    assert_eq!(world.outcomes(), ["timed out"]);
    world.run_for(5);
    assert_eq!(world.recorder.words_of(&["max_instances"]), ["max_instances a"], "its place is held");
    let hung = only_active(&world)?;
    assert!(hung.timed_out && hung.started_at == Some(noon_plus(10)), "{hung:?}");
    assert!(!world.scheduler.cancel_run(hung.run.id)?, "it is over, as far as anybody can do");
    world.held.end_one(done());
    assert!(world.scheduler.active_runs().is_empty());
    world.run_for(10);
    world.held.run_all();
    assert_eq!(world.outcomes(), ["timed out", "succeeded: null"]);
    Ok(())
}

/// With `timeout_slot = free` the job goes on beside the code that hangs.
pub fn a_run_that_cannot_be_stopped_may_give_its_place_up(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.started()?;
    let job = Job::task(NOTE).id("a").executor(HELD).timeout(FIVE).timeout_slot(TimeoutSlot::Free);
    world.add(job.trigger(Every::seconds(10)))?;
    world.run_for(10);
    world.held.begin_one();
    world.run_for(10);
    assert!(world.recorder.words_of(&["max_instances"]).is_empty());
    assert_eq!((world.scheduler.active_runs().len(), world.held.len()), (2, 1));
    world.held.end_one(done());
    world.held.run_all();
    assert_eq!(world.outcomes(), ["timed out", "succeeded: null"]);
    assert!(world.scheduler.active_runs().is_empty());
    Ok(())
}

/// A run that ends after its time, before anybody noticed, has timed out all the same; one that ends in time has not,
/// and a clock that is set changes nothing.
pub fn an_end_after_the_deadline_is_a_timeout(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.started()?;
    world.add(Job::task(NOTE).id("late").executor(HELD).timeout(FIVE))?;
    world.turn();
    world.held.begin_one();
    world.sleep(6);
    world.held.end_one(done());
    world.add(Job::task(NOTE).id("early").executor(HELD).timeout(FIVE))?;
    world.turn();
    world.held.begin_one();
    world.clock.step(chrono::TimeDelta::hours(1));
    world.run_for(4);
    world.held.end_one(done());
    assert_eq!(world.outcomes(), ["timed out", "succeeded: null"]);
    Ok(())
}

/// A queued run that hangs is reported at once, and its result says so; its row stays leased until its code ends, so that
/// nobody runs it again beside it.
pub fn a_hung_queued_run_is_never_run_twice(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.durable()?;
    let job = Job::task(NOTE).id("a").executor(HELD).timeout(FIVE).result_ttl(HOUR);
    world.add(job.trigger(FixedTrigger::new([noon_plus(1)])))?;
    world.run_for(1);
    let run = world.held.begin_one().map(|context| context.run().id);
    let other = world.another(|config| config)?;
    for _ in 0..60 {
        world.run_for(1);
        other.turn();
    }
    assert_eq!(world.outcomes(), ["timed out"]);
    let Some(run) = run else { return Err(Error::new(ErrorKind::NotFound, "no run was begun")) };
    let is_timed_out =
        |state: &RunState| matches!(state, RunState::Finished { outcome: Outcome::TimedOut, .. });
    assert!(is_timed_out(&world.scheduler.get_run_result(run, None)?.state));
    let leased = RunFilter { phase: Some(RunPhase::Running), ..RunFilter::default() };
    assert_eq!(other.scheduler.get_runs(&leased, None)?.len(), 1, "it is leased");
    assert!(other.held.is_empty());
    world.held.end_one(done());
    world.turn();
    assert!(is_timed_out(&other.scheduler.get_run_result(run, None)?.state));
    assert_eq!(world.recorder.words_of(&["failed", "executed", "removed"]), ["failed a", "removed a"]);
    Ok(())
}

/// The row of a queued run that hangs is finished at once when its place is given up. Nobody runs it again, and nothing
/// is told twice.
pub fn a_hung_queued_run_may_give_its_place_up(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.durable()?;
    let run = NewRun::task(NOTE).executor(HELD).timeout(FIVE).timeout_slot(TimeoutSlot::Free);
    let run = world.scheduler.add_run(run.result_ttl(HOUR))?;
    world.turn();
    world.held.begin_one();
    world.run_for(5);
    let counts = world.scheduler.get_runs(&RunFilter::default(), None)?;
    assert!(matches!(counts[0].state, RunState::Finished { outcome: Outcome::TimedOut, .. }), "{counts:?}");
    assert!(only_active(&world)?.timed_out);
    assert!(!world.scheduler.cancel_run(run)?);
    world.held.end_one(done());
    world.turn();
    assert!(world.scheduler.active_runs().is_empty());
    assert_eq!(world.recorder.words_of(&["failed", "executed", "claim_lost"]), ["failed"]);
    Ok(())
}

/// A shutdown that does not wait finishes the row of a run that hangs: it was told, so nobody runs it again.
pub fn a_shutdown_leaves_no_hung_run_to_others(fixture: &Fixture) -> Result<(), Error> {
    let store = FaultyStore::new(fixture.store());
    let world = fixture.started_with(|config| {
        config.job_store("default", Arc::clone(&store) as Arc<_>).delivery(Delivery::Durable)
    })?;
    let run = NewRun::task(NOTE).executor(HELD).timeout(FIVE).result_ttl(HOUR);
    let run = world.scheduler.add_run(run)?;
    world.turn();
    world.held.begin_one();
    world.run_for(5);
    let other = world.another(|config| config)?;
    store.fail(StoreCall::Shutdown, 1, ErrorKind::Unavailable); // the other one needs its rows
    let _ = world.scheduler.shutdown(Shutdown::Now);
    let row = other.scheduler.get_run_result(run, None)?;
    assert!(matches!(row.state, RunState::Finished { outcome: Outcome::TimedOut, .. }), "{row:?}");
    other.run_for(60);
    assert!(other.held.is_empty());
    world.held.end_one(done());
    assert_eq!(world.recorder.words_of(&["failed", "executed", "claim_lost"]), ["failed"]);
    Ok(())
}

/// A caller that waits for a run that hangs is answered when its time is up.
pub fn a_waiting_caller_is_told_of_a_timeout(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.durable()?;
    let scheduler = world.scheduler.clone();
    let caller =
        std::thread::spawn(move || scheduler.run_job(NewRun::task(NOTE).executor(HELD).timeout(FIVE)));
    while world.held.is_empty() {
        world.turn();
        std::thread::yield_now();
    }
    world.held.begin_one();
    world.run_for(5);
    let answer = caller.join().map_err(|_| Error::new(ErrorKind::Unexpected, "run_job panicked"))?;
    let text = answer.err().map(|error| error.to_string()).unwrap_or_default();
    assert!(text.contains("timed out"), "{text}");
    world.held.end_one(done());
    Ok(())
}

/// A run that takes its time keeps nobody from being timed, though its store fails.
pub fn a_failing_store_holds_no_timeout_up(fixture: &Fixture) -> Result<(), Error> {
    let store = FaultyStore::new(fixture.store());
    let world = fixture.started_with(|config| config.job_store("default", Arc::clone(&store) as Arc<_>))?;
    world.add(Job::task(NOTE).id("a").executor(HELD).timeout(FIVE))?;
    world.turn();
    world.held.begin_one();
    store.break_down(ErrorKind::Unavailable);
    world.run_for(5);
    assert_eq!(world.outcomes(), ["timed out"]);
    world.held.end_one(done());
    Ok(())
}

/// A run is cancelled wherever it stands, and its end is told once; one that is over or unknown is not.
pub fn a_run_may_be_cancelled_wherever_it_stands(fixture: &Fixture) -> Result<(), Error> {
    type Setting = fn(&World) -> Result<RunId, Error>;
    let active: Setting = |world| {
        world.add(Job::task(NOTE).id("a").executor(HELD))?;
        world.turn();
        world.held.begin_one();
        Ok(only_active(world)?.run.id)
    };
    let backlogged: Setting = |world| {
        world.held.limit(0);
        world.add(Job::task(NOTE).id("a").executor(HELD))?;
        world.turn();
        Ok(only_active(world)?.run.id)
    };
    let queued: Setting = |world| world.scheduler.add_run(NewRun::task(NOTE).executor(HELD));
    let delayed: Setting = |world| world.scheduler.add_run(NewRun::task(NOTE).at(noon_plus(60)));
    let claimed: Setting = |world| {
        let run = world.scheduler.add_run(NewRun::task(NOTE).executor(HELD))?;
        world.turn();
        world.held.begin_one();
        Ok(run)
    };
    for (name, setting) in [
        ("active", active),
        ("backlogged", backlogged),
        ("queued", queued),
        ("delayed", delayed),
        ("claimed", claimed),
    ] {
        let world = fixture.started()?;
        world.held.kill_when_told();
        let run = setting(&world)?;
        assert!(world.scheduler.cancel_run(run)?, "{name}");
        world.run_for(120);
        assert_eq!(world.outcomes(), ["cancelled"], "{name}");
        assert!(world.traces().is_empty() && world.scheduler.active_runs().is_empty(), "{name}");
        assert!(!world.scheduler.cancel_run(run)?, "{name}: it is over");
    }
    Ok(())
}

/// A run that waits for its turn, behind another of its job, is taken out.
pub fn a_run_that_waits_for_its_turn_may_be_cancelled(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.started()?;
    world.add(Job::task(NOTE).id("a").executor(HELD).trigger(Every::seconds(10)).overlap(Overlap::Queue))?;
    world.run_for(20);
    let first = only_active(&world)?.run.id;
    assert!(world.scheduler.cancel_run(first)?);
    world.held.run_all();
    assert_eq!(world.fired(), [20]);
    assert_eq!(world.outcomes(), ["cancelled", "succeeded: null"]);
    Ok(())
}

/// A run that another scheduler runs is not ours to stop, and the answer says whose it is.
pub fn a_run_elsewhere_is_not_cancelled(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.durable()?;
    let run = world.scheduler.add_run(NewRun::task(NOTE).executor(HELD))?;
    world.turn();
    let other = world.another(|config| config)?;
    let refused = other.scheduler.cancel_run(run).err();
    assert_eq!(refused.as_ref().map(Error::kind), Some(ErrorKind::Unsupported));
    assert!(refused.is_some_and(|error| error.to_string().contains(world.scheduler.identity())));
    world.held.run_all();
    world.turn();
    assert_eq!(world.outcomes(), ["succeeded: null"]);
    Ok(())
}

/// Whoever replaces a run stops it by force where that is possible, also a queued one.
pub fn a_replaced_run_is_stopped_by_force(fixture: &Fixture) -> Result<(), Error> {
    for world in [fixture.started()?, fixture.durable()?] {
        world.held.kill_when_told();
        let job = Job::task(NOTE).id("a").trigger(Every::seconds(10)).overlap(Overlap::CancelPrevious);
        world.add(job.executor(HELD))?;
        world.run_for(10);
        let context = world.held.begin_one();
        world.run_for(10);
        assert_eq!(context.and_then(|context| context.cancel_reason()), Some(CancelReason::Replaced));
        world.held.run_all();
        world.turn();
        assert_eq!(world.fired(), [20]);
    }
    Ok(())
}

/// A run learns from its token why it is to stop.
pub fn a_token_says_why(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.started()?;
    for id in ["asked", "shutdown"] {
        world.add(Job::task(NOTE).id(id).executor(HELD))?;
    }
    world.turn();
    let tokens: Vec<_> = std::iter::from_fn(|| world.held.begin_one()).collect();
    let first = tokens.first().map(|context| context.run().id);
    world.scheduler.cancel_run(first.ok_or_else(|| Error::new(ErrorKind::NotFound, "no run"))?)?;
    world.scheduler.shutdown(Shutdown::Now)?;
    let reasons: Vec<_> = tokens.iter().map(|context| context.cancel_token().reason()).collect();
    assert_eq!(reasons, [Some(CancelReason::Asked), Some(CancelReason::Shutdown)]);
    while world.held.end_one(Outcome::Cancelled) {}
    Ok(())
}

/// Runs with timeouts leave nothing behind that would wake the loop, however many there were.
pub fn ended_runs_leave_no_deadline(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.started()?;
    for id in 0..100 {
        world.add(Job::task(NOTE).id(id.to_string()).timeout(HOUR))?;
    }
    world.turn();
    assert_eq!(world.outcomes().len(), 100);
    assert_eq!(world.turn(), None, "there is nothing to wait for");
    Ok(())
}
