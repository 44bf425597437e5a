//! Cases: what is due, what is late, when the loop wakes, and in which order it tells.

use std::time::Duration;

use chrono::TimeDelta;
use sched_core::{
    Coalesce, Error, Event, Job, JobBuilder, MissReason, RunContext, Task, current_run, current_scheduler,
};
use serde_json::json;

use super::fixture::{ADD, FAIL, Fixture, HELD, NOTE, PANIC, World};
use super::triggers::Every;
use crate::jobs::{FixedTrigger, Yield, noon_plus};

/// Without jobs the loop sleeps until it is woken.
pub fn without_jobs_the_loop_sleeps(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.started()?;
    assert_eq!(world.turn(), None);
    world.add(Job::task(NOTE).id("a").trigger(Every::seconds(60)).paused())?;
    assert_eq!(world.turn(), None, "a paused job wakes nobody");
    Ok(())
}

/// The loop rests until the earliest job of any store, and not longer than its poll interval.
pub fn the_loop_rests_until_the_earliest_job(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.started_with(|config| {
        config.job_store("second", fixture.store()).job_store("empty", fixture.store())
    })?;
    let until = |seconds| Some(Duration::from_secs(seconds) - fixture.head_start());
    world.add(Job::task(NOTE).id("a").trigger(Every::seconds(8)))?;
    assert_eq!(world.turn(), until(8));
    world.add(Job::task(NOTE).id("b").trigger(Every::seconds(5)).store("second"))?;
    assert_eq!(world.turn(), until(5));
    world.add(Job::task(NOTE).id("c").trigger(Every::seconds(6)))?;
    assert_eq!(world.turn(), until(5));
    world.scheduler.remove_all_jobs(None)?;
    world.add(Job::task(NOTE).id("d").trigger(Every::seconds(3_600)))?;
    assert!(world.turn().is_some_and(|rest| rest <= Duration::from_secs(10)));
    Ok(())
}

/// A job fires at its times, exactly, as long as it is scheduled; equal times in the order of their ids.
pub fn a_job_fires_at_its_times(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.started()?;
    for id in ["b", "a"] {
        world.add(Job::task(NOTE).id(id).trigger(Every::seconds(7)).executor(HELD))?;
    }
    for _ in 0..3 {
        world.run_for(7);
        world.held.run_all();
    }
    let seen: Vec<_> = world
        .traces()
        .into_iter()
        .map(|trace| {
            (trace.job.map(|id| id.to_string()).unwrap_or_default(), trace.fire_time, trace.started_at)
        })
        .collect();
    let times = [7, 14, 21].iter().flat_map(|time| ["a", "b"].map(|id| (id.to_owned(), *time, *time)));
    assert_eq!(seen, times.collect::<Vec<_>>());
    assert_eq!(world.job("a")?.next_run_time(), Some(noon_plus(28)));
    assert_eq!(world.job("a")?.cursor.last_fire_time, Some(noon_plus(21)));
    Ok(())
}

/// For one run: submitted, run, finished; the job whose schedule ends is removed after its last run has finished.
pub fn removal_follows_the_last_run(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.started()?;
    let all = super::recorder::Recorder::listen(&world.scheduler, sched_core::EventMask::all());
    world.add(Job::task(ADD).id("a").args(json!([1, 2])).executor(HELD))?;
    world.turn();
    assert!(world.ids()?.is_empty(), "it has left the store");
    all.expect(&["added a", "submitted a"]);
    world.held.run_all();
    all.expect(&["added a", "submitted a", "run a", "executed a", "removed a"]);
    Ok(())
}

/// The events of a run name its job, store, times and result.
pub fn the_events_of_a_run_tell_all_of_it(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.started()?;
    world.add(Job::task(ADD).id("a").args(json!([1, 2])).executor(HELD).next_run_time(noon_plus(5)))?;
    world.run_for(6);
    world.sleep(2);
    world.held.run_all();
    let submitted = world.recorder.wait_for_word("submitted a");
    assert!(matches!(
        submitted,
        Some(Event::JobSubmitted { job, scheduled_run_times })
            if job.store.as_deref() == Some("default") && scheduled_run_times == [noon_plus(5)]
    ));
    let ended = world.recorder.wait_for_word("executed a").and_then(|event| event.ended().cloned());
    let Some(ended) = ended else { return Ok(()) };
    assert_eq!((ended.outcome.value(), ended.run.fire_time), (Some(&json!(3)), noon_plus(5)));
    assert_eq!((&*ended.run.store, &*ended.run.task, ended.run.attempt), ("default", ADD, 1));
    assert_eq!((ended.started_at, ended.finished_at), (Some(noon_plus(8)), noon_plus(8)));
    Ok(())
}

/// Plain and async tasks see the run they are part of and the scheduler that runs it, the latter also after an await.
/// Outside of a run there is neither.
pub fn a_task_sees_its_run_and_its_scheduler(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.started()?;
    let scheduler = world.scheduler.clone();
    let look = move |context: &RunContext| {
        current_run().is_some_and(|current| current.run().id == context.run().id)
            && current_scheduler().is_some_and(|current| current == scheduler)
            && context.scheduler() == Some(&scheduler)
    };
    let looking = look.clone();
    let later = Task::new_async("later", move |context, _| {
        let look = looking.clone();
        async move {
            let before = look(&context);
            Yield::once().await;
            before && look(&context)
        }
    });
    let plain = Task::new("plain", move |context, _| look(context));
    for task in [plain, later] {
        world.add(JobBuilder::bound(task))?;
    }
    world.turn();
    assert_eq!(world.outcomes(), ["succeeded: true"; 2]);
    assert!(current_run().is_none() && current_scheduler().is_none());
    Ok(())
}

/// A task that fails or panics is an event with its message; the job goes on.
pub fn a_failing_task_is_an_event_and_the_job_goes_on(fixture: &Fixture) -> Result<(), Error> {
    for task in [FAIL, PANIC] {
        let world = fixture.started()?;
        world.add(Job::task(task).id("a").trigger(Every::seconds(10)))?;
        world.run_for(20);
        assert_eq!(world.recorder.words_of(&["failed"]), ["failed a", "failed a"]);
        let text = world.recorder.events().iter().find_map(Event::error).unwrap_or_default();
        assert!(text.contains("deliberate"), "{task}: {text}");
    }
    Ok(())
}

fn late(fixture: &Fixture, coalesce: Coalesce) -> Result<World, Error> {
    let world = fixture.started()?;
    world.add(Job::task(NOTE).id("a").trigger(Every::seconds(60)).coalesce(coalesce))?;
    world.sleep(60 + 3 * 60 + 5);
    world.turn();
    Ok(world)
}

/// Three minutes and five seconds late with an interval of a minute: all four, the earliest, or the latest runs; the next
/// is 55 seconds away.
pub fn coalescing_picks_latest_earliest_or_all(fixture: &Fixture) -> Result<(), Error> {
    let table: [(Coalesce, &[i64]); 3] =
        [(Coalesce::All, &[60, 120, 180, 240]), (Coalesce::Earliest, &[60]), (Coalesce::Latest, &[240])];
    for (coalesce, expected) in table {
        let world = late(fixture, coalesce)?;
        assert_eq!(world.fired(), expected, "{coalesce}");
        assert_eq!(
            world.job("a")?.next_fire_time(),
            Some(world.now() + TimeDelta::seconds(55)),
            "{coalesce}"
        );
        assert_eq!(world.recorder.words_of(&["submitted"]), ["submitted a"], "{coalesce}: one submission");
    }
    Ok(())
}

/// A backlog runs in order, one after the other, as many at once as the job may.
pub fn a_backlog_runs_one_after_the_other(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.started()?;
    world.add(Job::task(NOTE).id("a").trigger(Every::seconds(60)).coalesce(false).executor(HELD))?;
    world.sleep(245);
    world.turn();
    for ran in 1..=4 {
        assert_eq!(world.held.len(), 1, "one at once");
        world.held.run_one();
        assert_eq!(world.traces().len(), ran);
    }
    assert_eq!(world.fired(), [60, 120, 180, 240]);
    assert!(world.recorder.words_of(&["max_instances"]).is_empty());
    Ok(())
}

/// At most `max_catch_up` missed fire times run; the later ones are dropped and an event says so.
pub fn catching_up_has_a_limit(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.started()?;
    world.add(Job::task(NOTE).id("a").trigger(Every::seconds(1)).coalesce(false).max_catch_up(3))?;
    world.sleep(1_000);
    world.turn();
    assert_eq!(world.fired(), [1, 2, 3]);
    assert_eq!(world.recorder.words_of(&["limited"]), ["limited a"]);
    assert_eq!(world.job("a")?.next_fire_time(), Some(noon_plus(1_001)));
    Ok(())
}

/// A fire time that is too late when it is planned is missed; exactly at the limit it runs.
pub fn a_fire_that_is_too_late_is_missed(fixture: &Fixture) -> Result<(), Error> {
    for (late, missed) in [(5, false), (6, true)] {
        let world = fixture.started()?;
        let grace = Duration::from_secs(5);
        world.add(
            Job::task(NOTE).id("a").trigger(FixedTrigger::new([noon_plus(10)])).misfire_grace_time(grace),
        )?;
        world.sleep(10 + late);
        world.turn();
        let expected = if missed {
            ["added a", "missed a", "removed a"]
        } else {
            ["added a", "executed a", "removed a"]
        };
        world.recorder.wait_for_word("removed a");
        assert_eq!(world.recorder.words_of(&["added", "missed", "executed", "removed"]), expected);
        let reasons: Vec<_> =
            world.recorder.events().iter().filter_map(|event| event.miss_reason().cloned()).collect();
        assert_eq!(reasons, if missed { vec![MissReason::TooLate] } else { vec![] });
    }
    Ok(())
}

/// Each fire time of a backlog is judged by itself.
pub fn each_fire_of_a_backlog_is_judged_by_itself(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.started()?;
    let job = Job::task(NOTE).id("a").trigger(Every::seconds(60)).coalesce(false);
    world.add(job.misfire_grace_time(Duration::from_secs(70)))?;
    world.sleep(245);
    world.turn();
    assert_eq!(world.fired(), [180, 240]);
    assert_eq!(world.recorder.words_of(&["missed"]), ["missed a", "missed a"]);
    Ok(())
}

/// A run that waited too long for its executor is missed when it would start.
pub fn lateness_is_judged_again_at_the_start(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.started()?;
    let job = Job::task(NOTE).id("a").executor(HELD).trigger(Every::seconds(60));
    world.add(job.misfire_grace_time(Duration::from_secs(5)).next_run_time(world.now()))?;
    world.turn();
    world.sleep(6);
    world.held.run_all();
    assert_eq!(world.outcomes(), ["missed: it was too late to start"]);
    assert!(world.traces().is_empty());
    Ok(())
}

/// Without a grace time a run happens however late it is.
pub fn without_a_grace_time_late_runs_happen(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.started()?;
    world.add(Job::task(NOTE).id("a").trigger(FixedTrigger::new([noon_plus(10)])))?;
    world.sleep(86_400 * 30);
    world.turn();
    assert_eq!(world.fired(), [10]);
    Ok(())
}

/// Jitter delays each run by at most its bound, differs from fire to fire, and never reaches the schedule; it may come
/// from the trigger.
pub fn jitter_delays_runs_but_not_the_schedule(fixture: &Fixture) -> Result<(), Error> {
    let jitter = Duration::from_secs(20);
    for of_job in [true, false] {
        let world = fixture.started()?;
        let trigger = if of_job { Every::seconds(60) } else { Every::seconds(60).with_jitter(jitter) };
        let job = Job::task(NOTE).id("a").trigger(trigger);
        world.add(if of_job { job.jitter(jitter) } else { job })?;
        world.run_for(60 * 40);
        let traces = world.traces();
        let expected: Vec<i64> = (1..).map(|minute| minute * 60).take(traces.len()).collect();
        assert!(traces.len() >= 39, "{}", traces.len());
        assert_eq!(world.fired(), expected, "the fire times are on the minute");
        let delays: Vec<i64> = traces.iter().map(|trace| trace.scheduled_time - trace.fire_time).collect();
        assert!(delays.iter().all(|delay| (0..=20).contains(delay)), "{delays:?}");
        assert!(delays.iter().any(|delay| *delay != delays[0]), "the delays differ: {delays:?}");
        assert!(traces.iter().all(|trace| trace.started_at >= trace.scheduled_time));
    }
    Ok(())
}

/// A job of one second after a year of sleep is planned once, at once, and goes on.
pub fn a_year_of_sleep_is_one_late_run(fixture: &Fixture) -> Result<(), Error> {
    const YEAR: u64 = 365 * 86_400;
    let world = fixture.started()?;
    world.add(Job::task(NOTE).id("a").trigger(Every::seconds(1)))?;
    world.sleep(YEAR);
    let begun = std::time::Instant::now();
    world.turn();
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert_eq!(world.fired(), [i64::try_from(YEAR).unwrap_or(0)]);
    world.run_for(2);
    assert_eq!(world.traces().len(), 3);
    Ok(())
}

/// Many due jobs are claimed in batches, each fires once.
pub fn more_jobs_than_a_batch_all_fire(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.started_with(|config| config.claim_batch(10))?;
    for number in 0..95 {
        world.add(Job::task(NOTE).id(format!("{number:02}")).trigger(FixedTrigger::new([noon_plus(1)])))?;
    }
    world.run_for(1);
    let mut jobs: Vec<_> = world.traces().into_iter().map(|trace| trace.job).collect();
    jobs.sort();
    jobs.dedup();
    assert_eq!((jobs.len(), world.traces().len()), (95, 95));
    Ok(())
}

/// The clock is set back: nothing fires a second time, an event says by how much, and the job goes on at its time.
pub fn a_clock_set_back_fires_nothing_twice(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.started()?;
    world.add(Job::task(NOTE).id("a").trigger(Every::seconds(60)))?;
    world.run_for(65);
    world.clock.step(TimeDelta::seconds(-3_600));
    world.run_for(3_600);
    assert_eq!(world.fired(), [60], "its next fire time is in the clock's future");
    world.run_for(60);
    assert_eq!(world.fired(), [60, 120]);
    assert_eq!(world.recorder.words_of(&["clock_jumped"]), ["clock_jumped -3600000"]);
    Ok(())
}

/// The clock is set forward: what was skipped is one late run, and an event says so.
pub fn a_clock_set_forward_is_one_late_run(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.started()?;
    world.add(Job::task(NOTE).id("a").trigger(Every::seconds(60)))?;
    world.run_for(65);
    world.clock.step(TimeDelta::seconds(3_600));
    world.run_for(10);
    assert_eq!(world.fired(), [60, 3_660]);
    assert_eq!(world.recorder.words_of(&["clock_jumped"]), ["clock_jumped 3600000"]);
    Ok(())
}

/// A wakeup makes the loop look; it changes nothing by itself.
pub fn a_wakeup_makes_the_loop_look(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.started()?;
    let before = world.runtime.turns();
    world.scheduler.wakeup();
    assert!(world.runtime.is_woken());
    world.turn();
    assert!(world.runtime.turns() > before && world.recorder.words().is_empty());
    Ok(())
}
