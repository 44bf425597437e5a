//! Cases: runs that go through the run queue of a store, with rows, leases and results.

use std::sync::Arc;
use std::time::Duration;

use sched_core::{
    Delivery, Error, ErrorKind, Event, Job, MissReason, NewRun, Outcome, Overlap, RunFilter, RunId,
    RunRecord, RunState, Shutdown,
};
use serde_json::{Value, json};

use super::fixture::{ADD, FAIL, Fixture, HELD, NOTE, World};
use super::triggers::Every;
use crate::faults::{FaultyStore, StoreCall};
use crate::jobs::{FixedTrigger, noon_plus};

const HOUR: Duration = Duration::from_secs(3_600);

fn rows(world: &World) -> Result<Vec<RunRecord>, Error> {
    world.scheduler.get_runs(&RunFilter::default(), None)
}

fn only_row(world: &World) -> Result<RunRecord, Error> {
    let mut rows = rows(world)?;
    assert_eq!(rows.len(), 1, "{rows:?}");
    rows.pop().ok_or_else(|| Error::new(ErrorKind::NotFound, "there is no row"))
}

fn value_of(record: &RunRecord) -> Option<&Value> {
    match &record.state {
        RunState::Finished { outcome, .. } => outcome.value(),
        _ => None,
    }
}

/// A durable run has a row from the moment its job advances; it shows its owner while it runs and its result after.
pub fn a_durable_run_has_a_row(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.durable()?;
    let job = Job::task(ADD).id("a").args(json!([1, 2])).executor(HELD).result_ttl(HOUR);
    world.add(job.trigger(FixedTrigger::new([noon_plus(5)])))?;
    world.run_for(5);
    let row = only_row(&world)?;
    assert_eq!((row.run.job_id.as_ref().map(|id| id.as_str()), row.run.fire_time), (Some("a"), noon_plus(5)));
    let RunState::Running { owner, .. } = &row.state else {
        return Err(Error::new(ErrorKind::Unexpected, format!("{:?}", row.state)));
    };
    assert_eq!(&**owner, world.scheduler.identity());
    world.held.run_all();
    world.turn();
    for _ in 0..2 {
        assert_eq!(
            value_of(&world.scheduler.get_run_result(row.run.id, None)?),
            Some(&json!(3)),
            "readable twice"
        );
    }
    world.recorder.expect(&["added a", "submitted a", "executed a", "removed a"]);
    Ok(())
}

/// A result is gone once its time to live has ended.
pub fn a_result_is_kept_for_its_time_to_live(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.durable()?;
    let kept =
        world.scheduler.add_run(NewRun::task(ADD).args(json!([1])).result_ttl(Duration::from_secs(60)))?;
    let dropped = world.scheduler.add_run(NewRun::task(ADD).args(json!([2])))?;
    world.add(Job::task(NOTE).id("tick").trigger(Every::seconds(5)))?;
    world.run_for(50);
    assert_eq!(value_of(&world.scheduler.get_run_result(kept, None)?), Some(&json!(1)));
    let gone = |run| world.scheduler.get_run_result(run, None).err().map(|error| error.kind());
    assert_eq!(gone(dropped), Some(ErrorKind::NotFound));
    world.run_for(60);
    assert_eq!(gone(kept), Some(ErrorKind::NotFound));
    Ok(())
}

/// The lease of a long run is renewed for as long as it takes; it runs once.
pub fn a_long_run_keeps_its_lease(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.durable()?;
    world.add(Job::task(NOTE).id("a").executor(HELD).result_ttl(HOUR))?;
    world.run_for(300);
    let row = only_row(&world)?;
    assert!(
        matches!(row.state, RunState::Running { lease_until, .. } if lease_until > world.now()),
        "{row:?}"
    );
    world.held.run_all();
    world.turn();
    assert_eq!((world.traces().len(), only_row(&world)?.attempt), (1, 1));
    Ok(())
}

/// The runs of a scheduler that died are taken over when their leases end, as a second attempt.
pub fn the_runs_of_a_dead_scheduler_are_taken_over(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.durable()?;
    world.add(Job::task(NOTE).id("a").executor(HELD).result_ttl(HOUR))?;
    world.turn();
    world.runtime.crash();
    let other = world.another(|config| config)?;
    other.run_for(10);
    assert!(other.held.is_empty(), "the lease still holds");
    other.run_for(10);
    other.held.run_all();
    other.turn();
    let attempts: Vec<_> = other.traces().iter().map(|trace| (trace.fire_time, trace.attempt)).collect();
    assert_eq!(attempts, [(0, 2)]);
    assert_eq!(other.recorder.words_of(&["executed"]), ["executed a"]);
    Ok(())
}

/// A run whose schedulers die one after the other is taken over so often and no more: its task may be what kills them.
/// Attempts that failed and were tried again are none of these.
pub fn a_run_that_kills_its_schedulers_is_abandoned(fixture: &Fixture) -> Result<(), Error> {
    let mut owner = fixture.durable()?;
    owner.add(Job::task(FAIL).id("a").executor(HELD).result_ttl(HOUR).retry(9).max_takeovers(2))?;
    owner.turn();
    for _ in 0..2 {
        owner.held.run_one();
        owner.run_for(60);
    }
    for taken_over in 0..=2 {
        assert_eq!(owner.held.len(), 1, "taken over {taken_over} times");
        owner.runtime.crash();
        owner = owner.another(|config| config)?;
        owner.run_for(20);
    }
    assert!(owner.held.is_empty(), "not once more");
    let row = only_row(&owner)?;
    let RunState::Finished { outcome: Outcome::Abandoned(reason), started_at: None, .. } = &row.state else {
        return Err(Error::new(ErrorKind::Unexpected, format!("{:?}", row.state)));
    };
    assert!(reason.contains("max_takeovers is 2"), "{reason}");
    assert_eq!((row.attempt, row.history.len()), (6, 2));
    assert_eq!(owner.recorder.words_of(&["failed"]), ["failed a"]);
    Ok(())
}

/// A scheduler that comes back too late has its completion refused and told; the new owner's counts.
pub fn a_stale_owner_writes_nothing(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.durable()?;
    world.add(Job::task(ADD).args(json!([1, 2])).id("a").executor(HELD).result_ttl(HOUR))?;
    world.turn();
    let other = world.another(|config| config)?;
    other.run_for(20);
    assert_eq!(other.held.len(), 1);
    if let Some(run) = world.held.take() {
        run.finish(Outcome::Succeeded(json!("stale")));
    }
    world.turn();
    assert_eq!(world.recorder.words_of(&["claim_lost", "executed"]), ["claim_lost"]);
    other.held.run_all();
    other.turn();
    assert_eq!(value_of(&only_row(&other)?), Some(&json!(3)));
    Ok(())
}

/// A process that was held up after it claimed a run does not start it once its lease may have ended: it gives the run
/// back, and the attempt does not count.
pub fn a_run_does_not_start_after_its_lease(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.durable()?;
    world.add(Job::task(NOTE).id("a").executor(HELD).result_ttl(HOUR))?;
    world.turn();
    world.sleep(15);
    world.held.run_all();
    assert!(world.traces().is_empty(), "its lease has ended");
    assert!(world.scheduler.active_runs().is_empty(), "it keeps no place");
    world.turn();
    assert_eq!(world.recorder.words_of(&["claim_lost", "executed", "failed"]), ["claim_lost"]);
    world.held.run_all();
    world.turn();
    let attempts: Vec<_> = world.traces().iter().map(|trace| (trace.started_at, trace.attempt)).collect();
    assert_eq!(attempts, [(15, 1)], "it never ran before");
    assert_eq!(world.recorder.words_of(&["executed"]), ["executed a"]);
    Ok(())
}

/// What such a process finds taken over, it leaves to its new owner.
pub fn a_run_that_was_taken_over_does_not_start(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.durable()?;
    world.add(Job::task(NOTE).id("a").executor(HELD).result_ttl(HOUR))?;
    world.turn();
    let other = world.another(|config| config)?;
    other.run_for(20);
    other.held.begin_one();
    world.held.run_all();
    world.turn();
    assert!(world.traces().is_empty() && world.held.is_empty(), "it is the other's");
    assert_eq!(world.recorder.words_of(&["claim_lost", "executed", "failed"]), ["claim_lost"]);
    other.held.end_one(Outcome::Succeeded(json!("taken over")));
    other.turn();
    let row = only_row(&other)?;
    assert_eq!((value_of(&row), row.attempt), (Some(&json!("taken over")), 2));
    Ok(())
}

/// A run that waits for its executor starts however long that takes, as long as its lease is renewed; a renewal holds
/// from when it was asked for.
pub fn a_run_starts_within_its_renewed_lease(fixture: &Fixture) -> Result<(), Error> {
    // A third of the lease of 15 s is kept back: it would have been renewed by then.
    for (after, starts) in [(9, true), (10, false)] {
        let world = fixture.durable()?;
        world.add(Job::task(NOTE).id("a").executor(HELD).result_ttl(HOUR))?;
        world.run_for(300);
        world.sleep(after);
        world.held.run_all();
        assert_eq!(world.traces().len(), usize::from(starts), "{after} s after it was renewed last");
    }
    Ok(())
}

/// Two schedulers over one store fire each time once.
pub fn two_schedulers_fire_each_time_once(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.durable()?;
    let other = world.another(|config| config)?;
    for id in ["a", "b", "c"] {
        world.add(Job::task(NOTE).id(id).trigger(Every::seconds(10)).executor(HELD))?;
    }
    for _ in 0..5 {
        world.sleep(10);
        for _ in 0..2 {
            for member in [&other, &world] {
                member.turn();
                member.held.run_all();
                member.turn();
            }
        }
    }
    let mut seen: Vec<_> = world.traces().iter().map(|trace| (trace.job.clone(), trace.fire_time)).collect();
    seen.sort();
    seen.dedup();
    assert_eq!((seen.len(), world.traces().len()), (15, 15));
    Ok(())
}

/// A shutdown that does not wait gives back what has not started: another scheduler runs it at once.
pub fn shutdown_gives_back_what_has_not_started(fixture: &Fixture) -> Result<(), Error> {
    let store = FaultyStore::new(fixture.store());
    let world = fixture.started_with(|config| {
        config.job_store("default", Arc::clone(&store) as Arc<_>).delivery(Delivery::Durable)
    })?;
    world.add(Job::task(NOTE).id("a").executor(HELD).result_ttl(HOUR))?;
    world.turn();
    let other = world.another(|config| config)?;
    store.fail(StoreCall::Shutdown, 1, ErrorKind::Unavailable); // the other one needs its rows
    let _ = world.scheduler.shutdown(Shutdown::Now);
    other.turn();
    other.held.run_all();
    assert_eq!(other.traces().len(), 1);
    Ok(())
}

/// A queued call runs without a job; higher priority first, not before its time.
pub fn queued_calls_run_by_priority_and_time(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.durable()?;
    let run = |number: i64| NewRun::task(ADD).args(json!([number])).executor(HELD).result_ttl(HOUR);
    world.scheduler.pause()?;
    world.scheduler.add_run(run(1))?;
    world.scheduler.add_run(run(2).priority(5))?;
    let later = world.scheduler.add_run(run(3).priority(9).at(noon_plus(30)))?;
    world.scheduler.resume()?;
    world.turn();
    world.held.run_all();
    world.turn();
    assert_eq!(world.outcomes(), ["succeeded: 2", "succeeded: 1"]);
    assert!(matches!(world.scheduler.get_run_result(later, None)?.state, RunState::Queued));
    world.run_for(30);
    world.held.run_all();
    world.turn();
    assert_eq!(world.outcomes().len(), 3);
    Ok(())
}

/// A queued call is checked when it is queued, and needs a started scheduler.
pub fn a_wrong_call_is_refused_when_it_is_queued(fixture: &Fixture) -> Result<(), Error> {
    let stopped = fixture.world()?;
    let kind = |result: Result<RunId, Error>| result.err().map(|error| error.kind());
    assert_eq!(kind(stopped.scheduler.add_run(NewRun::task(ADD))), Some(ErrorKind::InvalidState));
    let world = fixture.durable()?;
    let table = [
        (NewRun::task("nothing"), ErrorKind::NotFound),
        (NewRun::task(ADD).args(json!([1, 2, 3])), ErrorKind::InvalidJob),
        (NewRun::task(NOTE).executor("nowhere"), ErrorKind::NotFound),
        (NewRun::task(NOTE).store("nowhere"), ErrorKind::NotFound),
    ];
    for (run, expected) in table {
        assert_eq!(kind(world.scheduler.add_run(run)), Some(expected));
    }
    assert!(rows(&world)?.is_empty());
    Ok(())
}

/// A run has its id before it is queued: whoever waits for its end is there in time.
pub fn a_run_is_named_before_it_is_queued(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.durable()?;
    let mut named = None;
    let id = world.scheduler.add_run_named(NewRun::task(NOTE), |id| {
        let found = world.scheduler.get_run_result(id, None);
        named = Some((id, found.map(drop).map_err(|error| error.kind())));
    })?;
    assert_eq!(named, Some((id, Err(ErrorKind::NotFound))));
    assert!(matches!(world.scheduler.get_run_result(id, None)?.state, RunState::Queued));
    Ok(())
}

fn run_and_wait(world: &World, run: NewRun) -> Result<Value, Error> {
    let scheduler = world.scheduler.clone();
    let caller = std::thread::spawn(move || scheduler.run_job(run));
    while !caller.is_finished() {
        world.turn();
        std::thread::yield_now();
    }
    caller.join().map_err(|_| Error::new(ErrorKind::Unexpected, "run_job panicked"))?
}

/// A caller may wait for a value; a failure is an error that names the outcome. Any delivery has a queue for it.
pub fn a_caller_may_wait_for_a_result(fixture: &Fixture) -> Result<(), Error> {
    for world in [fixture.durable()?, fixture.started()?] {
        assert_eq!(run_and_wait(&world, NewRun::task(ADD).args(json!([20, 22])))?, json!(42));
        let failed = run_and_wait(&world, NewRun::task(FAIL));
        let text = failed.as_ref().err().map(ToString::to_string).unwrap_or_default();
        assert!(text.contains("deliberate"), "{text}");
        world.recorder.wait_for_word("failed");
        assert_eq!(world.recorder.words_of(&["executed", "failed"]), ["executed", "failed"]);
    }
    Ok(())
}

/// Whoever waits for a result is told when the scheduler is shut down.
pub fn a_waiting_caller_is_told_of_a_shutdown(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.durable()?;
    let scheduler = world.scheduler.clone();
    let caller = std::thread::spawn(move || scheduler.run_job(NewRun::task(NOTE).at(noon_plus(3_600))));
    while rows(&world)?.is_empty() {
        std::thread::yield_now();
    }
    world.scheduler.shutdown(true)?;
    let answer = caller.join().map_err(|_| Error::new(ErrorKind::Unexpected, "run_job panicked"))?;
    assert_eq!(answer.err().map(|error| error.kind()), Some(ErrorKind::Closed));
    Ok(())
}

/// A claimed run may be cancelled; its row says so.
pub fn a_claimed_run_may_be_cancelled(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.durable()?;
    let run = world.scheduler.add_run(NewRun::task(NOTE).executor(HELD).result_ttl(HOUR))?;
    world.turn();
    assert!(world.scheduler.cancel_run(run)?);
    world.held.run_all();
    world.turn();
    let row = world.scheduler.get_run_result(run, None)?;
    assert!(matches!(row.state, RunState::Finished { outcome: Outcome::Cancelled, .. }), "{row:?}");
    Ok(())
}

/// Overlap policies hold for queued runs as for direct ones.
pub fn overlap_policies_hold_for_durable_runs(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.durable()?;
    world.add(Job::task(NOTE).id("skip").trigger(Every::seconds(10)).executor(HELD))?;
    world.add(
        Job::task(NOTE).id("queue").trigger(Every::seconds(10)).overlap(Overlap::Queue).executor(HELD),
    )?;
    world.run_for(30);
    assert_eq!(world.held.len(), 2);
    while world.held.run_one() {
        world.turn();
    }
    let of = |id: &str| -> Vec<i64> {
        let traces = world.traces();
        let of_job = traces.iter().filter(|trace| trace.job.as_ref().is_some_and(|job| job.as_str() == id));
        of_job.map(|trace| trace.fire_time).collect()
    };
    assert_eq!((of("skip"), of("queue")), (vec![10], vec![10, 20, 30]));
    assert_eq!(world.recorder.words_of(&["max_instances"]), ["max_instances skip", "max_instances skip"]);
    Ok(())
}

/// A job whose schedule ends is removed after the last of its runs, whichever that is.
pub fn durable_removal_follows_the_last_run(fixture: &Fixture) -> Result<(), Error> {
    for first_ends_first in [true, false] {
        let world = fixture.durable()?;
        let twice = FixedTrigger::new([noon_plus(1), noon_plus(2)]);
        world.add(Job::task(NOTE).id("a").trigger(twice).max_instances(2).executor(HELD))?;
        world.run_for(2);
        let mut runs: Vec<_> = std::iter::from_fn(|| world.held.take()).collect();
        assert_eq!(runs.len(), 2);
        if !first_ends_first {
            runs.reverse();
        }
        for (left, run) in [1, 0].into_iter().zip(runs) {
            assert!(world.recorder.words_of(&["removed"]).is_empty(), "{left} left");
            run.run_blocking();
            world.turn();
        }
        let words = world.recorder.words_of(&["executed", "removed"]);
        assert_eq!(words, ["executed a", "executed a", "removed a"], "first ends first: {first_ends_first}");
    }
    Ok(())
}

/// An executor without a place makes runs wait without keeping the loop busy.
pub fn waiting_for_a_place_is_not_busy_waiting(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.durable()?;
    world.held.limit(1);
    for id in ["a", "b"] {
        world.add(Job::task(NOTE).id(id).executor(HELD))?;
    }
    let before = world.runtime.turns();
    world.run_for(60);
    assert!(world.runtime.turns() - before < 200, "{} turns", world.runtime.turns() - before);
    world.held.run_one();
    world.run_for(1);
    world.held.run_one();
    assert_eq!(world.traces().len(), 2);
    Ok(())
}

/// A run for an executor that only other schedulers have waits for them, without keeping the loop busy.
pub fn a_run_for_another_schedulers_executor_waits(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.durable()?;
    world.scheduler.add_executor(super::executors::HeldExecutor::new(), "elsewhere")?;
    let run = world.scheduler.add_run(NewRun::task(NOTE).executor("elsewhere").at(noon_plus(5)))?;
    world.scheduler.remove_executor("elsewhere", true)?;
    let before = world.runtime.turns();
    world.run_for(60);
    assert!(world.runtime.turns() - before < 200, "{} turns", world.runtime.turns() - before);
    assert!(matches!(world.scheduler.get_run_result(run, None)?.state, RunState::Queued));
    Ok(())
}

/// A completion that the store does not take is written later; the event is told once.
pub fn a_completion_is_written_when_the_store_recovers(fixture: &Fixture) -> Result<(), Error> {
    let store = FaultyStore::new(fixture.store());
    let world = fixture.started_with(|config| {
        config.job_store("default", Arc::clone(&store) as Arc<_>).delivery(Delivery::Durable)
    })?;
    world.add(Job::task(ADD).id("a").args(json!([1, 2])).executor(HELD).result_ttl(HOUR))?;
    world.turn();
    store.fail(StoreCall::Finish, 3, ErrorKind::Unavailable);
    world.held.run_all();
    world.run_for(10);
    assert_eq!(world.recorder.words_of(&["executed"]), ["executed a"]);
    assert_eq!(value_of(&only_row(&world)?), Some(&json!(3)));
    Ok(())
}

/// A run that is too late when it is claimed is missed and has a row that says so.
pub fn a_late_durable_run_is_missed(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.durable()?;
    let job =
        Job::task(NOTE).id("a").executor(HELD).misfire_grace_time(Duration::from_secs(5)).result_ttl(HOUR);
    world.add(job.trigger(FixedTrigger::new([noon_plus(1)])))?;
    world.run_for(1);
    world.sleep(6);
    world.held.run_all();
    world.turn();
    let reasons: Vec<_> = world.recorder.events().iter().filter_map(Event::miss_reason).cloned().collect();
    assert_eq!(reasons, [MissReason::TooLate]);
    assert!(matches!(only_row(&world)?.state, RunState::Finished { outcome: Outcome::Missed(_), .. }));
    Ok(())
}
