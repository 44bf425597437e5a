//! Cases: what happens when a job is due while its runs are unfinished.

use sched_core::{Error, Event, Job, Overlap};

use super::fixture::{Fixture, HELD, NOTE, SINGLE};
use super::triggers::Every;
use crate::jobs::noon_plus;

/// Skip: the run does not happen, an event names the times and the limit, and the job goes on.
pub fn skip_drops_the_run_and_says_so(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.started()?;
    world.add(Job::task(NOTE).id("a").trigger(Every::seconds(10)).max_instances(2).executor(HELD))?;
    world.run_for(30);
    assert_eq!(world.held.len(), 2);
    let event = world.recorder.wait_for_word("max_instances a");
    assert!(matches!(
        event,
        Some(Event::JobMaxInstances { scheduled_run_times, limit: 2, .. }) if scheduled_run_times == [noon_plus(30)]
    ));
    world.held.run_all();
    world.run_for(10);
    world.held.run_all();
    assert_eq!(world.fired(), [10, 20, 40]);
    assert_eq!(world.recorder.words_of(&["submitted"]).len(), 3);
    Ok(())
}

/// Queue: runs wait for their turn, in order.
pub fn queue_keeps_runs_in_order(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.started()?;
    world.add(Job::task(NOTE).id("a").trigger(Every::seconds(10)).overlap(Overlap::Queue).executor(HELD))?;
    world.run_for(30);
    assert_eq!(world.held.len(), 1);
    world.held.run_all();
    assert_eq!(world.fired(), [10, 20, 30]);
    Ok(())
}

/// Cancel previous: the unfinished run is asked to stop, and the new one runs after it.
pub fn cancel_previous_stops_the_old_run(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.started()?;
    let job = Job::task(NOTE).id("a").trigger(Every::seconds(10)).overlap(Overlap::CancelPrevious);
    world.add(job.executor(HELD))?;
    world.run_for(20);
    world.held.run_all();
    assert_eq!(world.outcomes(), ["cancelled", "succeeded: null"]);
    assert_eq!(world.fired(), [20]);
    Ok(())
}

/// A task's own limit counts over all of its jobs.
pub fn a_task_limit_counts_over_all_jobs(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.started()?;
    for (id, overlap) in [("a", Overlap::Skip), ("b", Overlap::Skip), ("c", Overlap::Queue)] {
        let job = Job::task(SINGLE).id(id).trigger(Every::seconds(3_600)).overlap(overlap).executor(HELD);
        world.add(job.next_run_time(world.now()))?;
    }
    world.turn();
    assert_eq!(world.held.len(), 1);
    assert_eq!(world.recorder.words_of(&["max_instances"]), ["max_instances b"]);
    world.held.run_all();
    let jobs: Vec<_> =
        world.traces().iter().filter_map(|trace| trace.job.as_ref()).map(ToString::to_string).collect();
    assert_eq!(jobs, ["a", "c"]);
    Ok(())
}

/// A task's limit holds in each store by itself: a run in one store keeps none in another waiting for ever.
pub fn a_task_limit_does_not_lock_another_store(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.started_with(|config| config.job_store("second", fixture.store()))?;
    for store in ["default", "second"] {
        let job = Job::task(SINGLE).id(store).store(store).trigger(Every::seconds(3_600));
        world.add(job.overlap(Overlap::Queue).executor(HELD).next_run_time(world.now()))?;
    }
    world.turn();
    world.held.run_all();
    assert_eq!(world.traces().len(), 2);
    Ok(())
}

/// A removed job's runs go on, and free their places.
pub fn a_removed_job_leaves_no_place_taken(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.started()?;
    world.add(Job::task(NOTE).id("a").executor(HELD).trigger(Every::seconds(10)))?;
    world.run_for(10);
    world.scheduler.remove_job("a")?;
    world.held.run_all();
    assert_eq!(world.fired(), [10]);
    world.add(Job::task(NOTE).id("a").executor(HELD).trigger(Every::seconds(10)))?;
    world.run_for(10);
    assert_eq!(world.held.len(), 1);
    assert!(world.recorder.words_of(&["max_instances"]).is_empty());
    Ok(())
}

/// What an executor has no place for waits in order and starts as places become free.
pub fn a_full_executor_delays_and_loses_nothing(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.started()?;
    world.held.limit(2);
    for id in ["a", "b", "c", "d", "e"] {
        world.add(Job::task(NOTE).id(id).executor(HELD))?;
    }
    world.turn();
    assert_eq!(world.held.len(), 2);
    world.held.run_all();
    let jobs: Vec<_> =
        world.traces().iter().filter_map(|trace| trace.job.as_ref()).map(ToString::to_string).collect();
    assert_eq!(jobs, ["a", "b", "c", "d", "e"]);
    Ok(())
}

/// A run may be cancelled by its id; whether it was unfinished is answered.
pub fn a_run_may_be_cancelled(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.started()?;
    world.add(Job::task(NOTE).id("a").executor(HELD))?;
    world.turn();
    let run = world.scheduler.active_runs().into_iter().next().map(|active| active.run.id);
    let Some(run) = run else { return Err(Error::new(sched_core::ErrorKind::NotFound, "no run is active")) };
    assert!(world.scheduler.cancel_run(run)?);
    world.held.run_all();
    assert_eq!(world.outcomes(), ["cancelled"]);
    assert!(!world.scheduler.cancel_run(run)? && world.scheduler.active_runs().is_empty());
    Ok(())
}
