//! Cases: adding, finding, listing and removing jobs.

use std::time::Duration;

use chrono::TimeDelta;
use sched_core::{
    Coalesce, ConflictPolicy, Error, ErrorKind, Grace, Job, JobSettings, JobStatus, Overlap, Retain, Task,
};
use serde_json::json;

use super::fixture::{ADD, Fixture, HELD, NOTE};
use super::triggers::Every;
use crate::jobs::{FixedTrigger, NOON, noon_plus};

fn kind<T>(result: Result<T, Error>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind())
}

/// Adding answers a handle with the id, or a random one of 32 digits.
pub fn adding_answers_a_handle(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.world()?;
    let named = world.add(Job::task(NOTE).id("a").trigger(Every::seconds(60)))?;
    let random = world.add(Job::task(NOTE).trigger(Every::seconds(60)))?;
    assert_eq!((named.id().as_str(), named.name(), named.store()), ("a", NOTE, "default"));
    assert_eq!(random.id().as_str().len(), 32);
    assert!(named.is_pending() && named != random && named == world.job("a")?);
    assert_eq!(format!("{named:?}"), "<Job (id=a name=note)>");
    Ok(())
}

/// A handle's calls are the scheduler's, with the job's own id and store; none keeps the job alive.
pub fn a_handle_calls_its_scheduler(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.started()?;
    let job = world.add(Job::task(NOTE).id("a").trigger(Every::seconds(60)))?;
    assert_eq!(job.pause()?.next_run_time(), None);
    assert!(job.resume()?.is_some_and(|job| job.next_run_time() == Some(noon_plus(60))));
    assert_eq!(job.modify(sched_core::JobChanges::new().name("other"))?.name(), "other");
    assert_eq!(job.reschedule(Every::seconds(5))?.next_run_time(), Some(noon_plus(5)));
    job.remove()?;
    assert_eq!(kind(job.pause()), Some(ErrorKind::NotFound));
    world.recorder.expect(&["added a", "modified a", "modified a", "modified a", "modified a", "removed a"]);
    Ok(())
}

/// Options that a job does not give come from its task, then from the scheduler's defaults at start.
pub fn options_come_from_job_then_task_then_defaults(fixture: &Fixture) -> Result<(), Error> {
    let defaults = JobSettings {
        max_instances: Some(6),
        coalesce: Some(Coalesce::All),
        misfire_grace_time: Some(Grace::Within(Duration::from_secs(3))),
        ..JobSettings::default()
    };
    let world = fixture.world_with(|config| config.job_defaults(defaults))?;
    let settings = JobSettings {
        max_instances: Some(4),
        overlap: Some(Overlap::Queue),
        metadata: json!({ "from": "task", "team": "ops" }).as_object().cloned().map(Into::into),
        ..JobSettings::default()
    };
    world.scheduler.configure_task(NOTE, &settings)?;
    let own = json!({ "from": "job" }).as_object().cloned().unwrap_or_default();
    world.add(Job::task(NOTE).id("a").trigger(Every::seconds(60)).max_instances(2).metadata(own))?;
    world.start()?;
    let job = world.job("a")?;
    assert_eq!((job.options.max_instances, job.options.coalesce), (2, Coalesce::All));
    assert_eq!(job.options.overlap, Overlap::Queue);
    assert_eq!(job.options.misfire_grace_time, Grace::Within(Duration::from_secs(3)));
    let metadata = job.options.metadata.as_deref().map(|map| serde_json::Value::Object(map.clone()));
    assert_eq!(metadata, Some(json!({ "from": "job", "team": "ops" })));
    Ok(())
}

/// A taken id is refused by default, replaced or kept on demand; also while the scheduler is stopped.
pub fn a_taken_id_is_refused_replaced_or_kept(fixture: &Fixture) -> Result<(), Error> {
    for started in [false, true] {
        let world = if started { fixture.started()? } else { fixture.world()? };
        let job = |name: &str| Job::task(NOTE).id("a").name(name.to_owned()).trigger(Every::seconds(60));
        world.add(job("first"))?;
        assert_eq!(kind(world.add(job("second"))), Some(ErrorKind::AlreadyExists));
        assert_eq!(world.add(job("third").on_conflict(ConflictPolicy::Keep))?.name(), "first");
        assert_eq!(world.add(job("fourth").replace_existing())?.name(), "fourth");
        assert_eq!(world.scheduler.get_jobs(None)?.len(), 1);
        assert_eq!(world.job("a")?.name(), "fourth");
        let expected: &[&str] = if started { &["added a", "added a"] } else { &[] };
        world.recorder.expect(expected);
    }
    Ok(())
}

/// Replacing keeps the next fire time when the trigger is unchanged, and starts over when it is not.
pub fn replacing_keeps_the_schedule_of_an_unchanged_trigger(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.started()?;
    let job = |seconds| Job::task(NOTE).id("a").trigger(Every::seconds(seconds)).replace_existing();
    world.add(job(60))?;
    world.run_for(50);
    assert_eq!(world.add(job(60).name("new name"))?.next_fire_time(), Some(noon_plus(60)));
    world.run_for(15);
    assert_eq!(world.fired(), [60], "a restart loop shorter than the interval does not starve the job");
    assert_eq!(world.add(job(30))?.next_fire_time(), Some(noon_plus(65 + 30)));
    Ok(())
}

/// A trigger that has no fire time left is refused when the job is added, whether the scheduler is started or not.
pub fn a_job_that_never_fires_is_refused(fixture: &Fixture) -> Result<(), Error> {
    for started in [true, false] {
        let world = if started { fixture.started()? } else { fixture.world()? };
        let past = FixedTrigger::new([noon_plus(-10)]);
        assert_eq!(kind(world.add(Job::task(NOTE).id("a").trigger(past))), Some(ErrorKind::NeverFires));
        assert!(world.ids()?.is_empty());
    }
    Ok(())
}

/// A job without a trigger runs once, at once; one that waited long for the start, too.
pub fn a_job_without_a_trigger_runs_at_once(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.world()?;
    world.add(Job::task(NOTE).id("early"))?;
    world.sleep(3_600);
    world.start()?;
    world.turn();
    world.add(Job::task(NOTE).id("late"))?;
    world.turn();
    assert_eq!(world.fired(), [3_600, 3_600]);
    world.recorder.wait_for_word("removed late");
    assert!(world.ids()?.is_empty());
    Ok(())
}

/// A given first run time wins over the trigger, once; `paused` adds the job out of the schedule.
pub fn the_first_run_time_may_be_given(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.started()?;
    world.add(Job::task(NOTE).id("a").trigger(Every::seconds(60)).next_run_time(noon_plus(7)))?;
    let paused = world.add(Job::task(NOTE).id("b").trigger(Every::seconds(60)).paused())?;
    assert_eq!((paused.status(), paused.next_run_time()), (&JobStatus::Paused, None));
    world.run_for(70);
    assert_eq!(world.fired(), [7, 67]);
    Ok(())
}

/// Everything about a job is checked when it is added, and nothing is added when anything is wrong.
pub fn a_wrong_job_is_refused_when_it_is_added(fixture: &Fixture) -> Result<(), Error> {
    let job = || Job::task(ADD).args(json!([1, 2])).trigger(Every::seconds(60));
    type Make = (&'static str, ErrorKind, sched_core::JobBuilder);
    let table: Vec<Make> = vec![
        ("empty id", ErrorKind::InvalidJob, job().id("")),
        ("control character in the id", ErrorKind::InvalidJob, job().id("a\nb")),
        ("empty name", ErrorKind::InvalidJob, job().name(" ")),
        ("no grace", ErrorKind::InvalidJob, job().misfire_grace_time(Duration::ZERO)),
        ("no instances", ErrorKind::InvalidJob, job().max_instances(0)),
        ("no catch-up", ErrorKind::InvalidJob, job().max_catch_up(0)),
        ("no time", ErrorKind::InvalidJob, job().timeout(Duration::ZERO)),
        ("empty executor", ErrorKind::InvalidJob, job().executor("")),
        ("unknown executor", ErrorKind::NotFound, job().executor("nowhere")),
        ("unknown store", ErrorKind::NotFound, job().store("nowhere")),
        ("unknown task", ErrorKind::NotFound, Job::task("ad")),
        ("too many arguments", ErrorKind::InvalidJob, job().args(json!([1, 2, 3]))),
        ("missing argument", ErrorKind::InvalidJob, job().args(json!({ "b": 1 }))),
        ("unknown argument", ErrorKind::InvalidJob, job().args(json!({ "a": 1, "c": 1 }))),
        ("unknown trigger", ErrorKind::InvalidConfig, job().trigger(json!({ "type": "evry" }))),
        ("a trigger that is no table", ErrorKind::InvalidConfig, job().trigger(json!("every"))),
        (
            "wrong trigger argument",
            ErrorKind::InvalidConfig,
            job().trigger(json!({ "type": "every", "milis": 1 })),
        ),
    ];
    let world = fixture.started()?;
    for (what, expected, job) in table {
        assert_eq!(kind(world.add(job)), Some(expected), "{what}");
    }
    assert!(world.ids()?.is_empty() && world.recorder.words().is_empty());
    Ok(())
}

/// An optional argument may be left out, and every way of giving arguments reaches the task.
pub fn arguments_reach_the_task_however_given(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.started()?;
    for (args, expected) in [
        (json!([1, 2]), "succeeded: 3"),
        (json!({ "a": 1, "b": 3 }), "succeeded: 4"),
        (json!([5]), "succeeded: 5"),
    ] {
        world.recorder.clear();
        world.add(Job::task(ADD).args(args))?;
        world.turn();
        assert_eq!(world.outcomes(), [expected]);
    }
    Ok(())
}

/// Jobs are listed by store, or all: pending ones while stopped, else by time with paused ones last.
pub fn jobs_are_listed_by_store(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.world_with(|config| config.job_store("second", fixture.store()))?;
    let second = Job::task(NOTE).id("b").store("second").trigger(Every::seconds(30));
    world.add(Job::task(NOTE).id("p").trigger(Every::seconds(60)).paused())?;
    world.add(second)?;
    world.add(Job::task(NOTE).id("a").trigger(Every::seconds(60)))?;
    let ids = |store: Option<&str>| -> Result<Vec<String>, Error> {
        Ok(world.scheduler.get_jobs(store)?.iter().map(|job| job.id().to_string()).collect())
    };
    assert_eq!((ids(None)?.join(" "), ids(Some("second"))?.join(" ")), ("p b a".into(), "b".into()));
    world.start()?;
    assert_eq!((ids(None)?.join(" "), ids(Some("second"))?.join(" ")), ("a p b".into(), "b".into()));
    assert!(ids(Some("nowhere"))?.is_empty());
    Ok(())
}

/// A job is found by id, in one store or in all; what is not there is no error.
pub fn a_job_is_found_by_id_and_store(fixture: &Fixture) -> Result<(), Error> {
    for started in [false, true] {
        let world = fixture.world_with(|config| config.job_store("second", fixture.store()))?;
        if started {
            world.start()?;
        }
        world.add(Job::task(NOTE).id("a").store("second").trigger(Every::seconds(30)))?;
        let found = |key: (&str, &str)| world.scheduler.get_job(key).map(|job| job.is_some());
        assert_eq!(world.job("a")?.store(), "second");
        assert_eq!((found(("a", "second"))?, found(("a", "default"))?), (true, false));
        assert_eq!((found(("a", "nowhere"))?, found(("b", "second"))?), (false, false));
    }
    Ok(())
}

/// Removing needs the right store; one event tells of it. Nothing is removed otherwise.
pub fn a_job_is_removed_from_its_store_only(fixture: &Fixture) -> Result<(), Error> {
    for started in [false, true] {
        let world = fixture.world_with(|config| config.job_store("second", fixture.store()))?;
        if started {
            world.start()?;
        }
        world.add(Job::task(NOTE).id("a").store("second").trigger(Every::seconds(30)))?;
        world.recorder.clear();
        for (id, store) in [("a", "default"), ("b", "second"), ("a", "nowhere")] {
            let refused = world.scheduler.remove_job((id, store));
            let told = refused.as_ref().err().map(ToString::to_string).unwrap_or_default();
            assert!(told.contains(&format!("\"{store}\"")), "the store is not named: {told}");
            assert_eq!(kind(refused), Some(ErrorKind::NotFound), "{id} {store}");
        }
        assert!(world.recorder.words().is_empty());
        world.scheduler.remove_job(("a", "second"))?;
        world.recorder.expect(&["removed a"]);
        assert!(world.ids()?.is_empty());
    }
    Ok(())
}

/// All jobs of one store or of all go at once, with one event that names the store.
pub fn all_jobs_are_removed_with_one_event(fixture: &Fixture) -> Result<(), Error> {
    for started in [false, true] {
        for (store, left, told) in [(None, "", "all_removed *"), (Some("second"), "a", "all_removed second")]
        {
            let world = fixture.world_with(|config| config.job_store("second", fixture.store()))?;
            if started {
                world.start()?;
            }
            world.add(Job::task(NOTE).id("a").trigger(Every::seconds(30)))?;
            world.add(Job::task(NOTE).id("b").store("second").trigger(Every::seconds(30)))?;
            world.recorder.clear();
            world.scheduler.remove_all_jobs(store)?;
            world.recorder.expect(&[told]);
            assert_eq!(world.ids()?.join(" "), left);
        }
    }
    Ok(())
}

/// A job whose trigger ends is removed, or stays as finished when `retain` says so.
pub fn a_finished_job_is_removed_or_retained(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.started()?;
    let once = || FixedTrigger::new([noon_plus(1)]);
    world.add(Job::task(NOTE).id("gone").trigger(once()))?;
    world.add(Job::task(NOTE).id("kept").trigger(once()).retain(Retain::Finished))?;
    world.run_for(2);
    world.recorder.wait_for_word("removed gone");
    assert_eq!(world.ids()?, ["kept"]);
    let kept = world.job("kept")?;
    assert_eq!((kept.status(), kept.next_run_time()), (&JobStatus::Finished, None));
    assert_eq!(kept.cursor.last_fire_time, Some(noon_plus(1)));
    world.run_for(60);
    assert_eq!(world.traces().len(), 2);
    Ok(())
}

/// The listing for people: pending jobs while stopped, else every store in alphabetical order.
pub fn jobs_are_printed_under_their_stores(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.world_with(|config| config.job_store("alpha", fixture.store()))?;
    let print = |store: Option<&str>| -> Result<String, Error> {
        let mut text = Vec::new();
        world.scheduler.print_jobs(store, &mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    };
    assert_eq!(print(None)?, "Pending jobs:\n    No pending jobs\n");
    world.add(Job::task(NOTE).id("a").trigger(Every::seconds(60)))?;
    world.add(Job::task(NOTE).id("b").name("other").store("alpha").trigger(Every::seconds(60)).paused())?;
    let (first, other) = (
        "    note (id: a, trigger: every[60s], pending)\n",
        "    other (id: b, trigger: every[60s], paused)\n",
    );
    assert_eq!(print(None)?, format!("Pending jobs:\n{first}{other}"));
    assert_eq!(print(Some("alpha"))?, format!("Pending jobs:\n{other}"));
    world.start()?;
    let first = "    note (id: a, trigger: every[60s], next run at: 2024-05-01 12:01:00 UTC)\n";
    assert_eq!(print(None)?, format!("Jobstore alpha:\n{other}Jobstore default:\n{first}"));
    assert_eq!(print(Some("default"))?, format!("Jobstore default:\n{first}"));
    world.scheduler.remove_all_jobs(Some("alpha"))?;
    assert_eq!(print(Some("alpha"))?, "Jobstore alpha:\n    No scheduled jobs\n");
    Ok(())
}

/// A closure is a job like any other in a store that lives in memory, and is refused with a reason elsewhere.
pub fn closures_live_in_memory_only(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.started()?;
    let persistent = world.scheduler.job_store("default")?.traits().persistent;
    let added = world.add(Job::call(|| 3).id("a").executor(HELD));
    if persistent {
        let text = added.as_ref().err().map(ToString::to_string).unwrap_or_default();
        assert!(text.contains("register the function"), "{text}");
        assert_eq!(kind(added), Some(ErrorKind::InvalidJob));
        return Ok(());
    }
    world.turn();
    world.held.run_all();
    assert_eq!(world.outcomes(), ["succeeded: 3"]);
    Ok(())
}

/// A task at hand is a job by its name.
pub fn a_bound_task_names_its_jobs(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.world()?;
    let job =
        world.add(sched_core::JobBuilder::bound(Task::new("n\u{e4}me", |_, _| ())).id("\u{e5}\u{df}"))?;
    assert_eq!((job.name(), job.id().as_str()), ("n\u{e4}me", "\u{e5}\u{df}"));
    assert_eq!(job.to_string(), "n\u{e4}me (trigger: date[now], pending)");
    Ok(())
}

/// A job's text says when it runs next in its trigger's zone, that it is paused, or that it is pending.
pub fn a_job_reads_as_one_line(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.started()?;
    let job = world.add(Job::task(NOTE).id("a").trigger(Every::seconds(60)))?;
    assert_eq!(job.to_string(), "note (trigger: every[60s], next run at: 2024-05-01 12:01:00 UTC)");
    assert_eq!(job.pause()?.to_string(), "note (trigger: every[60s], paused)");
    assert_eq!(
        job.display_in(chrono_tz::Tz::Europe__Helsinki),
        "note (trigger: every[60s], next run at: 2024-05-01 15:01:00 EEST)"
    );
    assert_eq!(NOON + TimeDelta::seconds(60), noon_plus(60));
    Ok(())
}
