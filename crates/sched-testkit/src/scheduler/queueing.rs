//! Cases: the queue as an interface, priorities, back-pressure, and keys that limit.

use std::time::Duration;

use sched_core::{
    Delivery, Error, ErrorKind, Grace, Job, JobId, NewRun, Outcome, Overlap, Retry, RunFilter, RunPhase,
};
use serde_json::{Map, Value, json};

use super::fixture::{ADD, FAIL, Fixture, HELD, HOOK, NOTE, World};
use super::triggers::Every;
use crate::jobs::{FixedTrigger, noon_plus};

const HOUR: Duration = Duration::from_secs(3_600);

fn jobs_of(world: &World) -> Vec<String> {
    let jobs = world.traces().into_iter().filter_map(|trace| trace.job);
    jobs.map(|job: JobId| job.as_str().to_owned()).collect()
}

fn phase(world: &World, phase: RunPhase) -> Result<usize, Error> {
    let filter = RunFilter { phase: Some(phase), ..RunFilter::default() };
    Ok(world.scheduler.get_runs(&filter, None)?.len())
}

/// A queued call has options of its own: a time to start by, a timeout, a rule for failures, metadata.
pub fn a_queued_call_takes_its_options(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.started()?;
    let metadata: Map<String, Value> = json!({ "team": "ops" }).as_object().cloned().unwrap_or_default();
    world.on_hook(|context| Ok(json!([context.deadline().is_some(), context.metadata()])));
    let run = NewRun::task(HOOK).timeout(HOUR).metadata(metadata).result_ttl(HOUR);
    let run = world.scheduler.add_run(run)?;
    let late = NewRun::task(NOTE).misfire_grace_time(Grace::Within(Duration::from_secs(5))).executor(HELD);
    world.scheduler.add_run(late)?;
    world.scheduler.add_run(NewRun::task(FAIL).retry(Retry::new(2).backoff(Duration::from_secs(1))))?;
    world.run_for(6);
    world.held.run_all();
    world.turn();
    let row = world.scheduler.get_run_result(run, None)?;
    let expected = Outcome::Succeeded(json!([true, { "team": "ops" }]));
    assert!(
        matches!(&row.state, sched_core::RunState::Finished { outcome, .. } if *outcome == expected),
        "{row:?}"
    );
    let mut words = world.recorder.words_of(&["executed", "retrying", "failed", "missed"]);
    words.sort();
    assert_eq!(words, ["executed", "failed", "missed", "retrying"]);
    let wrong = world.scheduler.add_run(NewRun::task(NOTE).timeout(Duration::ZERO));
    assert_eq!(wrong.err().map(|error| error.kind()), Some(ErrorKind::InvalidJob));
    Ok(())
}

/// A job has a priority too: of its queued runs, the higher go first.
pub fn priorities_order_jobs_too(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.durable()?;
    world.held.limit(1);
    for (id, priority) in [("low", -5), ("usual", 0), ("high", 5)] {
        let at = FixedTrigger::new([noon_plus(10)]);
        world.add(Job::task(NOTE).id(id).priority(priority).trigger(at).executor(HELD))?;
    }
    world.run_for(10);
    for _ in 0..3 {
        world.held.run_one();
        world.run_for(2);
    }
    assert_eq!(jobs_of(&world), ["high", "usual", "low"]);
    Ok(())
}

/// Direct runs for which there is no place wait by priority, then in order.
pub fn a_backlog_is_ordered_by_priority(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.started()?;
    world.held.limit(1);
    for (id, priority) in [("first", 0), ("low", -5), ("usual", 0), ("high", 5), ("later", 0)] {
        world.add(Job::task(NOTE).id(id).priority(priority).executor(HELD))?;
        world.turn();
    }
    world.held.run_all();
    assert_eq!(jobs_of(&world), ["first", "high", "usual", "later", "low"]);
    Ok(())
}

/// What an executor has no place for stays in the queue, for others to take; nothing is lost.
pub fn a_full_executor_leaves_runs_in_the_queue(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.durable()?;
    world.held.limit(2);
    for _ in 0..10 {
        world.scheduler.add_run(NewRun::task(NOTE).executor(HELD))?;
    }
    world.turn();
    assert_eq!((phase(&world, RunPhase::Running)?, phase(&world, RunPhase::Queued)?), (2, 8));
    for _ in 0..30 {
        world.held.run_all();
        world.run_for(1);
    }
    assert_eq!(world.traces().len(), 10);
    Ok(())
}

/// No more runs are claimed than `max_concurrent_runs`, whatever executors would take.
pub fn claimed_runs_are_limited(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.started_with(|config| config.max_concurrent_runs(3).delivery(Delivery::Durable))?;
    for _ in 0..10 {
        world.scheduler.add_run(NewRun::task(NOTE).executor(HELD))?;
    }
    world.turn();
    assert_eq!((world.held.len(), phase(&world, RunPhase::Queued)?), (3, 7));
    for _ in 0..30 {
        world.held.run_all();
        world.run_for(1);
    }
    assert_eq!(world.traces().len(), 10);
    Ok(())
}

/// A key limits direct runs, whatever their job, and holds back nobody else; they go on in order.
pub fn a_key_limits_direct_runs_of_all_jobs(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.started()?;
    for id in ["a", "b", "c", "d"] {
        world.add(Job::task(NOTE).id(id).concurrency("tenant", 2).executor(HELD))?;
        world.turn();
    }
    world.add(Job::task(NOTE).id("free").executor(HELD))?;
    world.turn();
    assert_eq!(world.held.len(), 3);
    for expected in [3, 3, 2, 1, 0] {
        world.held.run_one();
        assert_eq!(world.held.len(), expected);
    }
    assert_eq!(jobs_of(&world), ["a", "b", "free", "c", "d"]);
    assert_eq!(world.recorder.words_of(&["removed"]).len(), 5);
    Ok(())
}

/// A run that waits behind a key is unfinished: its job does not pile runs up.
pub fn runs_behind_a_key_count_as_unfinished(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.started()?;
    world.add(Job::task(NOTE).id("first").concurrency("k", 1).executor(HELD))?;
    world.turn();
    world.add(Job::task(NOTE).id("b").concurrency("k", 1).executor(HELD).trigger(Every::seconds(10)))?;
    world.run_for(30);
    assert_eq!(world.recorder.words_of(&["max_instances"]).len(), 2);
    world.held.run_all();
    assert_eq!(jobs_of(&world), ["first", "b"]);
    Ok(())
}

/// The place of a key is free again however its run ends, and when one that waits for it is cancelled.
pub fn a_key_is_freed_however_its_run_ends(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.started()?;
    let job = |id: &str| Job::task(NOTE).id(id.to_owned()).concurrency("k", 1).executor(HELD);
    world.add(job("a").overlap(Overlap::Queue).timeout(Duration::from_secs(5)))?;
    world.add(job("b").trigger(FixedTrigger::new([noon_plus(1)])))?;
    world.add(job("c").trigger(FixedTrigger::new([noon_plus(2)])))?;
    world.run_for(3);
    world.held.begin_one();
    world.run_for(10);
    assert_eq!((world.outcomes(), world.held.len()), (vec!["timed out".to_owned()], 0), "it hangs");
    world.held.end_one(Outcome::Cancelled);
    assert_eq!(world.held.len(), 1);
    let waiting = world.scheduler.active_runs();
    assert_eq!(waiting.len(), 1);
    world.scheduler.cancel_run(waiting[0].run.id)?;
    world.held.run_all();
    assert_eq!(jobs_of(&world), ["c"]);
    assert_eq!(world.outcomes(), ["timed out", "cancelled", "succeeded: null"]);
    Ok(())
}

/// A job or run may be made without being stored: checked, with its defaults. What is stored elsewhere is run.
pub fn what_is_made_is_checked_and_not_stored(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.durable()?;
    let job = world.scheduler.make_job(Job::task(NOTE).id("a").trigger(Every::seconds(10)))?;
    assert_eq!(job.next_run_time(), Some(noon_plus(10)));
    assert!(world.ids()?.is_empty());
    let (alias, run) = world.scheduler.make_run(NewRun::task(ADD).args(json!([1, 2])).priority(3))?;
    assert_eq!((&*alias, run.priority, run.fire_time), ("default", 3, world.now()));
    assert!(phase(&world, RunPhase::Queued)? == 0);
    let wrong = world.scheduler.make_run(NewRun::task(ADD).args(json!([1, 2, 3])));
    assert_eq!(wrong.err().map(|error| error.kind()), Some(ErrorKind::InvalidJob));
    let wrong = world.scheduler.make_job(Job::task("nothing"));
    assert_eq!(wrong.err().map(|error| error.kind()), Some(ErrorKind::NotFound));

    let store = world.scheduler.job_store("default")?;
    store.insert(&[job], sched_core::ConflictPolicy::Error)?;
    store.runs().map(|queue| queue.enqueue(vec![run])).transpose()?;
    world.scheduler.wakeup();
    world.run_for(10);
    assert_eq!(
        (world.fired(), world.outcomes()),
        (vec![10], vec!["succeeded: 3".to_owned(), "succeeded: null".to_owned()])
    );
    Ok(())
}
