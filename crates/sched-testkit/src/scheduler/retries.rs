//! Cases: runs that fail and are tried again.

use std::time::Duration;

use sched_core::{
    Backoff, Error, ErrorKind, Event, Job, JobSettings, NewRun, Outcome, Overlap, Retry, RetryKind,
    RunFilter, RunRecord, RunState, TaskError, TaskErrorKind,
};
use serde_json::{Value, json};

use super::fixture::{FAIL, Fixture, HELD, HOOK, PANIC, World};
use super::triggers::Every;
use crate::jobs::FixedTrigger;
use crate::jobs::noon_plus;

const HOUR: Duration = Duration::from_secs(3_600);

/// So many attempts, with a pause of ten seconds.
fn attempts(count: u32) -> Retry {
    Retry::new(count).backoff(Duration::from_secs(10))
}

/// Lets the hook fail until that attempt.
fn succeed_at(world: &World, attempt: u32) {
    world.on_hook(move |context| match context.run().attempt {
        now if now < attempt => Err(TaskError::new(format!("attempt {now}"))),
        now => Ok(json!(now)),
    });
}

/// The attempts told of, and when the next ones start, in seconds.
fn retried(world: &World) -> Vec<(u32, i64)> {
    let told = |event: &Event| match event {
        Event::JobRetrying { attempt, at } => {
            Some((attempt.run.attempt, (*at - crate::jobs::NOON).num_seconds()))
        }
        _ => None,
    };
    world.recorder.events().iter().filter_map(told).collect()
}

fn first_row(world: &World) -> Result<RunRecord, Error> {
    let rows = world.scheduler.get_runs(&RunFilter::default(), None)?;
    rows.into_iter().next().ok_or_else(|| Error::new(ErrorKind::NotFound, "there is no row"))
}

/// A run that fails is tried again after its pauses, as the same run, and its end is told once.
pub fn a_failing_run_is_tried_again(fixture: &Fixture) -> Result<(), Error> {
    for world in [fixture.started()?, fixture.durable()?] {
        succeed_at(&world, 3);
        let growing = Backoff::exponential(Duration::from_secs(10), 2.0, HOUR);
        world.add(Job::task(HOOK).id("a").executor(HELD).retry(Retry::new(5).backoff(growing)))?;
        let mut runs = Vec::new();
        world.turn();
        for _ in 0..60 {
            runs.extend(world.held.ids());
            world.held.run_all();
            world.run_for(1);
        }
        runs.dedup();
        assert_eq!(runs.len(), 1, "it is one run");
        assert_eq!(retried(&world), [(1, 10), (2, 30)]);
        let words = world.recorder.words_of(&["submitted", "retrying", "executed", "failed", "removed"]);
        let attempt = ["submitted a", "retrying a"];
        assert_eq!(words, [&attempt[..], &attempt, &["submitted a", "executed a", "removed a"]].concat());
        assert_eq!(world.outcomes(), ["succeeded: 3"]);
    }
    Ok(())
}

/// After the last attempt the failure is told, with how often it was tried.
pub fn a_run_that_fails_for_good_says_how_often(fixture: &Fixture) -> Result<(), Error> {
    for world in [fixture.started()?, fixture.durable()?] {
        world.add(Job::task(FAIL).id("a").retry(attempts(3)))?;
        world.run_for(60);
        assert_eq!(retried(&world).len(), 2);
        let ended = world.recorder.wait_for_word("failed a").and_then(|event| event.ended().cloned());
        assert_eq!(ended.map(|ended| ended.run.attempt), Some(3));
        assert!(world.scheduler.active_runs().is_empty());
    }
    Ok(())
}

/// A rule may name the failures it is for; wrong arguments are never among them.
pub fn only_the_named_failures_are_tried_again(fixture: &Fixture) -> Result<(), Error> {
    let busy = || RetryKind::Other("busy".to_owned());
    let own = |word: &str| TaskError::new("x").with_kind(TaskErrorKind::Other(word.to_owned()));
    let table = [
        (FAIL, vec![], 1),
        (FAIL, vec![RetryKind::Panic], 0),
        (FAIL, vec![RetryKind::Error], 1),
        (PANIC, vec![RetryKind::Panic, RetryKind::TimedOut], 1),
        (HOOK, vec![busy()], 1),
        (HOOK, vec![RetryKind::Other("other".to_owned())], 0),
    ];
    for (task, only, expected) in table {
        let world = fixture.started()?;
        world.on_hook(move |_| Err(own("busy")));
        let named = format!("{task} {only:?}");
        world.add(Job::task(task).id("a").retry(attempts(2).only(only)))?;
        world.run_for(60);
        assert_eq!(retried(&world).len(), expected, "{named}");
        assert_eq!(world.recorder.words_of(&["failed"]), ["failed a"], "{named}");
    }
    Ok(())
}

/// A run that waits for its next attempt is unfinished: the next fire time does not overlap with it, unless the job
/// allows for more.
pub fn a_pending_attempt_keeps_its_place(fixture: &Fixture) -> Result<(), Error> {
    for (instances, skipped) in [(1, 1), (2, 0)] {
        let world = fixture.started()?;
        succeed_at(&world, 2);
        let job = Job::task(HOOK).id("a").max_instances(instances).trigger(Every::seconds(10));
        world.add(job.retry(Retry::new(2).backoff(Duration::from_secs(15))))?;
        world.run_for(10);
        let waiting = world.scheduler.active_runs();
        assert!(waiting.len() == 1 && waiting[0].retrying, "{waiting:?}");
        world.run_for(10);
        assert_eq!(world.recorder.words_of(&["max_instances"]).len(), skipped, "{instances}");
        world.run_for(5);
        assert_eq!(world.recorder.words_of(&["executed"]).len(), 1, "{instances}");
    }
    Ok(())
}

/// A paused scheduler starts no attempt; a resumed one does.
pub fn a_paused_scheduler_starts_no_attempt(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.started()?;
    succeed_at(&world, 2);
    world.add(Job::task(HOOK).id("a").retry(attempts(2)))?;
    world.turn();
    world.scheduler.pause()?;
    world.run_for(60);
    assert!(world.outcomes().is_empty());
    world.scheduler.resume()?;
    world.turn();
    assert_eq!(world.outcomes(), ["succeeded: 2"]);
    Ok(())
}

/// A run that waits for its next attempt is over when it is cancelled, and when another run takes its place.
pub fn a_pending_attempt_may_be_cancelled_or_replaced(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.started()?;
    world.add(Job::task(FAIL).id("a").retry(attempts(9)))?;
    world.turn();
    let run = world.scheduler.active_runs().into_iter().next().map(|active| active.run.id);
    let run = run.ok_or_else(|| Error::new(ErrorKind::NotFound, "no run is active"))?;
    assert!(world.scheduler.cancel_run(run)? && !world.scheduler.cancel_run(run)?);
    world.run_for(60);
    assert_eq!(world.recorder.words_of(&["failed", "removed"]), ["failed a", "removed a"]);
    assert_eq!(world.outcomes(), ["cancelled"]);

    let world = fixture.started()?;
    let job = Job::task(HOOK).id("a").trigger(Every::seconds(10)).overlap(Overlap::CancelPrevious);
    world.on_hook(|context| match context.run().fire_time == noon_plus(10) {
        true => Err(TaskError::new("the first")),
        false => Ok(Value::Null),
    });
    world.add(job.retry(Retry::new(9).backoff(HOUR)))?;
    world.run_for(20);
    assert_eq!(world.outcomes(), ["cancelled", "succeeded: null"]);
    Ok(())
}

/// A shutdown starts no attempt: runs that wait for one end as their last one did, and it does not wait for them.
pub fn a_shutdown_ends_pending_attempts(fixture: &Fixture) -> Result<(), Error> {
    for how in [true, false] {
        let world = fixture.started()?;
        world.add(Job::task(FAIL).id("a").retry(attempts(9)))?;
        world.turn();
        world.scheduler.shutdown(how)?;
        let words = world.recorder.words_of(&["retrying", "failed", "removed", "shutdown"]);
        assert_eq!(words, ["retrying a", "failed a", "removed a", "shutdown"]);
        assert!(world.scheduler.active_runs().is_empty());
    }
    let world = fixture.started()?;
    let hung = Job::task(FAIL).id("a").executor(HELD).timeout(Duration::from_secs(5));
    world.add(hung.retry(attempts(9)))?;
    world.turn();
    world.held.begin_one();
    world.run_for(5);
    world.scheduler.shutdown(false)?;
    world.held.end_one(Outcome::Cancelled);
    let words = world.recorder.words_of(&["retrying", "failed", "shutdown"]);
    assert_eq!(words, ["retrying a", "failed a", "shutdown"], "a run that hangs, too");
    Ok(())
}

/// A run that hangs is tried again, but not before its code is over.
pub fn a_hung_run_is_tried_again_when_it_is_over(fixture: &Fixture) -> Result<(), Error> {
    for world in [fixture.started()?, fixture.durable()?] {
        let job = Job::task(HOOK).id("a").executor(HELD).timeout(Duration::from_secs(5));
        world.add(job.retry(attempts(2)))?;
        world.turn();
        world.held.begin_one();
        world.run_for(60);
        assert_eq!(retried(&world), [(1, 15)], "the earliest moment");
        assert!(world.held.is_empty(), "its code goes on");
        world.held.end_one(Outcome::Succeeded(Value::Null));
        world.turn();
        world.held.run_all();
        world.turn();
        assert_eq!(world.outcomes(), ["succeeded: null"]);
        assert_eq!(retried(&world).len(), 1);
    }
    Ok(())
}

/// The row of a queued run shows the attempts that failed.
pub fn a_queued_run_keeps_its_history(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.durable()?;
    world.add(Job::task(FAIL).id("a").result_ttl(HOUR).retry(attempts(3)))?;
    world.run_for(5);
    let row = first_row(&world)?;
    assert_eq!((row.attempt, row.history.len()), (1, 1));
    assert!(matches!(row.state, RunState::Queued), "{row:?}");
    world.run_for(60);
    let row = first_row(&world)?;
    let history: Vec<_> = row.history.iter().map(|it| (it.attempt, it.outcome.to_string())).collect();
    let failed = || "failed: deliberate".to_owned();
    assert_eq!((row.attempt, history), (3, vec![(1, failed()), (2, failed())]));
    assert!(matches!(row.state, RunState::Finished { outcome: Outcome::Failed(_), .. }), "{row:?}");
    Ok(())
}

/// The next attempt of a queued run is anybody's, also when the scheduler of the first one is dead.
pub fn attempts_go_on_elsewhere(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.durable()?;
    succeed_at(&world, 2);
    let run = NewRun::task(HOOK).retry(attempts(2)).result_ttl(HOUR).executor(HELD);
    let run = world.scheduler.add_run(run)?;
    world.turn();
    world.held.run_all();
    world.turn();
    assert_eq!(retried(&world), [(1, 10)]);
    world.runtime.crash();
    let other = world.another(|config| config)?;
    other.run_for(5);
    assert!(other.held.is_empty(), "not before its time");
    other.run_for(5);
    other.held.run_all();
    other.turn();
    let row = other.scheduler.get_run_result(run, None)?;
    assert_eq!((row.attempt, row.history.len()), (2, 1));
    Ok(())
}

/// A rule comes from the job, else its task, else the job defaults, and survives being stored.
pub fn retry_rules_are_inherited_and_stored(fixture: &Fixture) -> Result<(), Error> {
    let defaults = JobSettings { retry: Some(attempts(4).into()), ..JobSettings::default() };
    let world = fixture.started_with(|config| config.job_defaults(defaults))?;
    let never = FixedTrigger::new([noon_plus(3_600)]);
    let rich = Retry::new(7)
        .backoff(Backoff::exponential(Duration::from_millis(1_500), 1.5, HOUR))
        .jitter(Duration::from_secs(2))
        .only([RetryKind::TimedOut, RetryKind::Other("busy".to_owned())]);
    world.add(Job::task(FAIL).id("inherits").trigger(never.clone()))?;
    world.add(Job::task(FAIL).id("once").retry(1).trigger(never.clone()))?;
    world.add(Job::task(FAIL).id("rich").retry(rich.clone()).trigger(never))?;
    let of = |id: &str| world.job(id).map(|job| job.options.retry.as_deref().cloned());
    assert_eq!((of("inherits")?, of("once")?), (Some(attempts(4)), Some(Retry::new(1))));
    let mut exported = Vec::new();
    world.scheduler.export_jobs(&mut exported, None)?;
    world.scheduler.remove_all_jobs(None)?;
    world.scheduler.import_jobs(exported.as_slice(), "default")?;
    assert_eq!((of("rich")?, of("once")?), (Some(rich), Some(Retry::new(1))));
    Ok(())
}
