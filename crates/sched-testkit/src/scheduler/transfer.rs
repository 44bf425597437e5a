//! Cases: jobs as JSON, out of one scheduler and into another.

use sched_core::{Coalesce, Error, ErrorKind, Event, Job, JobStatus, MissReason};
use serde_json::{Value, json};

use super::fixture::{ADD, Fixture, NOTE, World};
use super::triggers::Every;
use crate::jobs::{FixedTrigger, noon_plus};

fn exported(world: &World) -> Result<Value, Error> {
    let mut text = Vec::new();
    world.scheduler.export_jobs(&mut text, None)?;
    serde_json::from_slice(&text).map_err(|error| Error::new(ErrorKind::Corrupt, error.to_string()))
}

fn import(world: &World, export: &Value) -> Result<usize, Error> {
    world.scheduler.import_jobs(export.to_string().as_bytes(), "default")
}

/// Everything about a job survives a round trip, and imported jobs work: they fire, are changed, and are removed.
pub fn exported_jobs_work_where_they_are_imported(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.started()?;
    let job = Job::task(ADD).id("\u{e4}").name("n\u{e4}me").args(json!([1, 2])).trigger(Every::seconds(60));
    world
        .add(job.coalesce(Coalesce::All).max_instances(3).jitter(std::time::Duration::from_millis(1_500)))?;
    world.add(Job::task(NOTE).id("b").trigger(FixedTrigger::new([noon_plus(90)])).paused())?;
    let export = exported(&world)?;
    assert_eq!(export["version"], 1);
    assert_eq!(export["scheduler_version"], env!("CARGO_PKG_VERSION"));
    let other = fixture.started()?;
    assert_eq!(import(&other, &export)?, 2);
    other.recorder.expect(&["added \u{e4}", "added b"]);
    for id in ["\u{e4}", "b"] {
        let (old, new) = (world.job(id)?, other.job(id)?);
        assert_eq!((old.name(), &old.args, old.cursor.clone()), (new.name(), &new.args, new.cursor.clone()));
        assert_eq!((old.settings.clone(), old.options.clone()), (new.settings.clone(), new.options.clone()));
        assert_eq!(old.trigger.to_config(), new.trigger.to_config());
    }
    assert_eq!(exported(&other)?, export);
    other.scheduler.resume_job("b")?;
    other.run_for(91);
    assert_eq!(other.recorder.words_of(&["executed"]), ["executed \u{e4}", "executed b"]);
    other.scheduler.remove_job("\u{e4}")?;
    Ok(())
}

/// Exporting and importing need a started scheduler.
pub fn transfer_needs_a_started_scheduler(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.world()?;
    let error = exported(&world).err();
    let text = error.as_ref().map(ToString::to_string);
    assert_eq!(text.as_deref(), Some("the scheduler must have been started for job export to work"));
    assert_eq!(error.map(|error| error.kind()), Some(ErrorKind::InvalidState));
    let empty = json!({ "version": 1, "scheduler_version": "0", "jobs": [] });
    assert_eq!(import(&world, &empty).err().map(|error| error.kind()), Some(ErrorKind::InvalidState));
    Ok(())
}

/// An import that is wrong anywhere adds nothing.
pub fn a_wrong_import_adds_nothing(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.started()?;
    for id in ["a", "b"] {
        world.add(Job::task(NOTE).id(id).trigger(Every::seconds(60)))?;
    }
    let good = exported(&world)?;
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut export = good.clone();
        change(&mut export);
        export
    };
    let table = [
        ("no object", json!([1, 2]), ErrorKind::Corrupt),
        ("another version", changed(&|export| export["version"] = json!(2)), ErrorKind::Corrupt),
        ("a newer job", changed(&|export| export["jobs"][1]["version"] = json!(2)), ErrorKind::Corrupt),
        ("an unknown key", changed(&|export| export["jobs"][1]["extra"] = json!(2)), ErrorKind::Corrupt),
        (
            "an unknown trigger",
            changed(&|export| export["jobs"][1]["trigger"]["type"] = json!("x")),
            ErrorKind::Corrupt,
        ),
        (
            "a wrong option",
            changed(&|export| export["jobs"][1]["settings"] = json!({ "x": 1 })),
            ErrorKind::Corrupt,
        ),
        ("a wrong status", changed(&|export| export["jobs"][1]["status"] = json!("x")), ErrorKind::Corrupt),
        ("an id twice", changed(&|export| export["jobs"][1]["id"] = json!("a")), ErrorKind::AlreadyExists),
    ];
    for (what, export, expected) in table {
        let other = fixture.started()?;
        assert_eq!(import(&other, &export).err().map(|error| error.kind()), Some(expected), "{what}");
        assert!(other.ids()?.is_empty() && other.recorder.words().is_empty(), "{what}");
    }
    assert_eq!(import(&world, &good).err().map(|error| error.kind()), Some(ErrorKind::AlreadyExists));
    assert_eq!(world.ids()?, ["a", "b"], "the jobs that were there stay");
    Ok(())
}

/// A job whose task this program does not have is kept, and each of its runs is missed once with the name.
pub fn a_job_of_an_unknown_task_is_kept_and_missed(fixture: &Fixture) -> Result<(), Error> {
    let source = fixture.started()?;
    source.add(Job::task(NOTE).id("a").trigger(Every::seconds(10)))?;
    let mut export = exported(&source)?;
    export["jobs"][0]["task"] = json!("elsewhere");
    for world in [fixture.started()?, fixture.durable()?] {
        import(&world, &export)?;
        world.run_for(20);
        let reasons: Vec<_> =
            world.recorder.events().iter().filter_map(Event::miss_reason).cloned().collect();
        assert_eq!(reasons, vec![MissReason::NoTask("elsewhere".to_owned()); 2]);
        let job = world.job("a")?;
        assert_eq!((job.status(), job.next_fire_time()), (&JobStatus::Scheduled, Some(noon_plus(30))));
    }
    Ok(())
}
