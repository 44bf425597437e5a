//! Cases: what is kept of runs that ended, how it is listed, and how it is cleared away.

use std::time::Duration;

use chrono::TimeDelta;
use sched_core::{Delivery, Error, Job, JobId, RunFilter, RunPhase, SchedulerConfig};

use super::fixture::{Fixture, HELD, NOTE, World};
use super::triggers::Every;
use crate::jobs::{FixedTrigger, NOON, noon_plus};

const HOUR: Duration = Duration::from_secs(3_600);

fn durable_with(
    fixture: &Fixture,
    configure: impl FnOnce(SchedulerConfig) -> SchedulerConfig,
) -> Result<World, Error> {
    fixture.started_with(|config| configure(config.delivery(Delivery::Durable)))
}

/// The jobs and fire times, in seconds, of the rows that a filter admits; by time, then by job.
fn listed(world: &World, filter: &RunFilter) -> Result<Vec<(String, i64)>, Error> {
    let rows = world.scheduler.get_runs(filter, None)?;
    let of = |id: &Option<JobId>| id.as_ref().map(ToString::to_string).unwrap_or_default();
    let mut listed: Vec<_> =
        rows.iter().map(|row| (of(&row.run.job_id), (row.run.fire_time - NOON).num_seconds())).collect();
    listed.sort_by(|left, right| (left.1, &left.0).cmp(&(right.1, &right.0)));
    Ok(listed)
}

/// Runs are listed by job, by state and by time, alone and together, and in pages.
pub fn runs_are_listed_by_job_state_and_time(fixture: &Fixture) -> Result<(), Error> {
    let world = durable_with(fixture, |config| config)?;
    world.add(Job::task(NOTE).id("a").trigger(Every::seconds(10)).result_ttl(HOUR))?;
    world.add(Job::task(NOTE).id("b").trigger(Every::seconds(20)).result_ttl(HOUR))?;
    let held = Job::task(NOTE).id("held").executor(HELD).result_ttl(HOUR);
    world.add(held.trigger(FixedTrigger::new([noon_plus(15)])))?;
    world.run_for(40);
    let all = RunFilter::default;
    let job = |id: &str| JobId::new(id).map(|id| RunFilter { job_id: Some(id), ..all() });
    let phase = |phase| RunFilter { phase: Some(phase), ..all() };
    let a = |seconds: &[i64]| seconds.iter().map(|second| ("a".to_owned(), *second)).collect::<Vec<_>>();
    let running = vec![("held".to_owned(), 15)];
    assert_eq!(listed(&world, &job("a")?)?, a(&[10, 20, 30, 40]));
    assert_eq!(listed(&world, &phase(RunPhase::Running))?, running);
    assert_eq!(listed(&world, &phase(RunPhase::Queued))?, []);
    assert_eq!(listed(&world, &phase(RunPhase::Finished))?.len(), 6);
    let span = RunFilter { from: Some(noon_plus(15)), until: Some(noon_plus(30)), ..all() };
    let b = ("b".to_owned(), 20);
    assert_eq!(
        listed(&world, &span)?,
        [running, a(&[20]), vec![b]].concat(),
        "the end is not part of a span"
    );
    let of_all = RunFilter { job_id: job("a")?.job_id, phase: Some(RunPhase::Finished), ..span };
    assert_eq!(listed(&world, &of_all)?, a(&[20]));
    let (mut pages, mut after) = (Vec::new(), None);
    loop {
        let page = world.scheduler.get_runs(&RunFilter { limit: Some(3), after, ..all() }, None)?;
        let Some(last) = page.last() else { break };
        after = Some(last.run.id);
        pages.push(page.len());
    }
    assert_eq!(pages, [3, 3, 1]);
    world.held.run_all();
    Ok(())
}

/// Of finished runs the latest are kept, as many as the configuration says.
pub fn finished_runs_are_kept_up_to_a_limit(fixture: &Fixture) -> Result<(), Error> {
    let world = durable_with(fixture, |config| config.run_history(3))?;
    world.add(Job::task(NOTE).id("a").trigger(Every::seconds(10)).result_ttl(HOUR))?;
    world.run_for(100);
    let kept = listed(&world, &RunFilter::default())?;
    assert!((3..=4).contains(&kept.len()), "{kept:?}");
    assert_eq!(kept.last().map(|(_, second)| *second), Some(100), "{kept:?}");
    Ok(())
}

/// A finished run is kept for its time to live, each for its own.
pub fn finished_runs_are_kept_for_a_time(fixture: &Fixture) -> Result<(), Error> {
    let world = durable_with(fixture, |config| config)?;
    let minute = Duration::from_secs(60);
    world.add(Job::task(NOTE).id("short").trigger(Every::seconds(10)).result_ttl(minute))?;
    world.add(Job::task(NOTE).id("long").trigger(FixedTrigger::new([noon_plus(1)])).result_ttl(HOUR))?;
    world.run_for(300);
    let kept = listed(&world, &RunFilter::default())?;
    assert_eq!(kept.first(), Some(&("long".to_owned(), 1)));
    let oldest = (world.now() - NOON - TimeDelta::seconds(80)).num_seconds();
    assert!(kept[1..].iter().all(|(_, second)| *second >= oldest), "{kept:?}");
    assert!(kept.len() > 6, "what is younger is kept: {kept:?}");
    Ok(())
}

/// What is to be deleted is deleted a batch in a turn, and all of it as soon as nothing else is to be done.
pub fn old_runs_are_deleted_batch_by_batch(fixture: &Fixture) -> Result<(), Error> {
    const RUNS: u32 = 100;
    let world = durable_with(fixture, |config| config.claim_batch(10))?;
    let backlog = Job::task(NOTE).id("a").trigger(Every::seconds(1)).coalesce(sched_core::Coalesce::All);
    world.add(backlog.max_instances(RUNS).max_catch_up(RUNS).result_ttl(Duration::from_secs(60)))?;
    world.sleep(RUNS.into());
    world.turn();
    world.scheduler.pause_job("a")?;
    assert_eq!(listed(&world, &RunFilter::default())?.len(), usize::try_from(RUNS).unwrap_or(0));
    world.sleep(100);
    let turns = world.runtime.turns();
    world.turn();
    assert_eq!(listed(&world, &RunFilter::default())?, [], "all are gone at once");
    let took = world.runtime.turns() - turns;
    assert!((10..=13).contains(&took), "ten of them in each of {took} turns");
    Ok(())
}
