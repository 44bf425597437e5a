//! Cases: changing jobs that exist.

use std::sync::Arc;
use std::time::Duration;

use sched_core::{Error, ErrorKind, Grace, Job, JobChanges, JobStatus, SchedulerState};
use serde_json::json;

use super::fixture::{ADD, Fixture, HELD, NOTE, World};
use super::triggers::Every;
use crate::faults::{FaultyStore, StoreCall};
use crate::jobs::{FixedTrigger, noon_plus};

fn kind<T>(result: Result<T, Error>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind())
}

fn with_job(fixture: &Fixture, started: bool) -> Result<World, Error> {
    let world = if started { fixture.started()? } else { fixture.world()? };
    world.add(Job::task(ADD).args(json!([1, 2])).id("a").trigger(Every::seconds(60)))?;
    world.recorder.clear();
    Ok(world)
}

/// A change is applied whether the job is pending or stored, and told once.
pub fn a_change_is_applied_and_told_once(fixture: &Fixture) -> Result<(), Error> {
    for started in [false, true] {
        let world = with_job(fixture, started)?;
        let mut changes = JobChanges::new().name("other").args(json!([3])).max_instances(6);
        changes.settings.misfire_grace_time = Some(Grace::Within(Duration::from_secs(9)));
        changes.settings.executor = Some(HELD.into());
        let job = world.scheduler.modify_job("a", changes)?;
        assert_eq!((job.name(), job.id().as_str()), ("other", "a"));
        let stored = world.job("a")?;
        assert_eq!((stored.name(), stored.args.positional()), ("other", &[json!(3)][..]));
        assert_eq!((stored.options.max_instances, &*stored.options.executor), (6, HELD));
        assert_eq!(stored.options.misfire_grace_time, Grace::Within(Duration::from_secs(9)));
        let words = world.recorder.words_of(&["modified"]);
        assert_eq!(words, ["modified a"]);
    }
    Ok(())
}

/// A change with anything wrong in it changes nothing and is not told.
pub fn a_wrong_change_changes_nothing(fixture: &Fixture) -> Result<(), Error> {
    let with = |set: fn(&mut sched_core::JobSettings)| {
        let mut changes = JobChanges::new().name("other");
        set(&mut changes.settings);
        changes
    };
    let table = || {
        [
            ("empty name", ErrorKind::InvalidJob, JobChanges::new().max_instances(3).name("")),
            ("no instances", ErrorKind::InvalidJob, with(|it| it.max_instances = Some(0))),
            (
                "no grace",
                ErrorKind::InvalidJob,
                with(|it| it.misfire_grace_time = Some(Grace::Within(Duration::ZERO))),
            ),
            ("arguments", ErrorKind::InvalidJob, JobChanges::new().name("other").args(json!([1, 2, 3]))),
            ("unknown task", ErrorKind::NotFound, JobChanges::new().name("other").task("nothing")),
            (
                "trigger",
                ErrorKind::InvalidConfig,
                JobChanges::new().name("other").trigger(json!({ "type": "evry" })),
            ),
            ("unknown executor", ErrorKind::NotFound, with(|it| it.executor = Some("nowhere".into()))),
        ]
    };
    for started in [false, true] {
        let world = with_job(fixture, started)?;
        for (what, expected, changes) in table() {
            if world.scheduler.state() == SchedulerState::Stopped && what == "unknown executor" {
                continue;
            }
            assert_eq!(kind(world.scheduler.modify_job("a", changes)), Some(expected), "{what}");
            assert_eq!((world.job("a")?.name(), world.job("a")?.options.max_instances), (ADD, 1), "{what}");
        }
        assert!(world.recorder.words().is_empty(), "{:?}", world.recorder.words());
        assert_eq!(kind(world.scheduler.modify_job("b", JobChanges::new())), Some(ErrorKind::NotFound));
    }
    Ok(())
}

/// A new trigger alone keeps the next fire time; from then on it decides.
pub fn a_new_trigger_alone_keeps_the_next_fire_time(fixture: &Fixture) -> Result<(), Error> {
    let world = with_job(fixture, true)?;
    let changes = JobChanges::new().task(NOTE).args(json!([])).trigger(Every::seconds(10));
    assert_eq!(world.scheduler.modify_job("a", changes)?.next_fire_time(), Some(noon_plus(60)));
    world.run_for(75);
    assert_eq!(world.fired(), [60, 70]);
    Ok(())
}

/// Rescheduling computes the next fire time of the new trigger from now, and puts a paused job back.
pub fn rescheduling_starts_the_new_trigger_now(fixture: &Fixture) -> Result<(), Error> {
    let world = with_job(fixture, true)?;
    world.sleep(20);
    let job = world.scheduler.reschedule_job("a", Every::seconds(5))?;
    assert_eq!((job.next_fire_time(), job.trigger.to_string().as_str()), (Some(noon_plus(25)), "every[5s]"));
    world.scheduler.pause_job("a")?;
    let job = world.scheduler.reschedule_job("a", Every::seconds(7))?;
    assert_eq!((job.next_fire_time(), job.status()), (Some(noon_plus(27)), &JobStatus::Scheduled));
    world.recorder.expect(&["modified a", "modified a", "modified a"]);
    Ok(())
}

/// A pending job is rescheduled like a stored one: the new trigger decides, paused or not.
pub fn a_pending_job_is_rescheduled_like_a_stored_one(fixture: &Fixture) -> Result<(), Error> {
    let world = with_job(fixture, false)?;
    world.scheduler.pause_job("a")?;
    world.scheduler.reschedule_job("a", Every::seconds(5))?;
    world.start()?;
    assert_eq!(world.job("a")?.next_fire_time(), Some(noon_plus(5)));
    Ok(())
}

/// A trigger without a fire time left is refused, and the job keeps the one it has.
pub fn rescheduling_to_a_finished_trigger_is_refused(fixture: &Fixture) -> Result<(), Error> {
    let world = with_job(fixture, true)?;
    let past = || FixedTrigger::new([noon_plus(-1)]);
    assert_eq!(kind(world.scheduler.reschedule_job("a", past())), Some(ErrorKind::NeverFires));
    let wrong = json!({ "type": "every", "millis": "many" });
    assert_eq!(kind(world.scheduler.reschedule_job("a", wrong)), Some(ErrorKind::InvalidConfig));
    assert_eq!(world.job("a")?.next_fire_time(), Some(noon_plus(60)));
    assert!(world.recorder.words().is_empty());
    Ok(())
}

/// A paused job is out of the schedule; resumed, it goes on in its phase and what was missed is forgotten.
pub fn a_resumed_job_goes_on_from_now(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.started()?;
    world.add(Job::task(NOTE).id("a").trigger(Every::seconds(10)))?;
    let paused = world.scheduler.pause_job("a")?;
    assert_eq!((paused.status(), paused.next_run_time()), (&JobStatus::Paused, None));
    world.run_for(35);
    let resumed = world.scheduler.resume_job("a")?;
    assert_eq!(resumed.and_then(|job| job.next_fire_time()), Some(noon_plus(40)));
    world.run_for(10);
    assert_eq!(world.fired(), [40]);
    Ok(())
}

/// Resuming from a moment in the past asks for what was missed since, but never for what was dealt with.
pub fn resuming_from_the_past_catches_up(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.started()?;
    world.add(Job::task(NOTE).id("a").trigger(Every::seconds(10)).coalesce(false))?;
    world.run_for(15);
    world.scheduler.pause_job("a")?;
    world.run_for(30);
    world.scheduler.resume_job_from("a", noon_plus(0))?;
    world.turn();
    assert_eq!(world.fired(), [10, 20, 30, 40]);
    Ok(())
}

/// Resuming a job whose schedule has ended meanwhile removes it and answers nothing.
pub fn resuming_an_ended_job_removes_it(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.started()?;
    world.add(Job::task(NOTE).id("a").trigger(FixedTrigger::new([noon_plus(5)])))?;
    world.scheduler.pause_job("a")?;
    world.sleep(10);
    assert!(world.scheduler.resume_job("a")?.is_none());
    assert!(world.ids()?.is_empty());
    world.recorder.expect(&["added a", "modified a", "removed a"]);
    Ok(())
}

/// A given next run time moves the job, or pauses it when it is none; pausing works on pending jobs, too.
pub fn the_next_run_time_may_be_moved(fixture: &Fixture) -> Result<(), Error> {
    let world = with_job(fixture, true)?;
    let moved = world.scheduler.modify_job("a", JobChanges::new().next_run_time(noon_plus(3)))?;
    assert_eq!(moved.next_run_time(), Some(noon_plus(3)));
    let paused = world.scheduler.modify_job("a", JobChanges::new().next_run_time(None))?;
    assert_eq!(paused.status(), &JobStatus::Paused);
    let world = with_job(fixture, false)?;
    assert_eq!(world.scheduler.pause_job("a")?.status(), &JobStatus::Paused);
    world.start()?;
    assert_eq!(world.job("a")?.status(), &JobStatus::Paused);
    Ok(())
}

/// A change wins over the engine: a job changed while it is claimed or fires keeps the change.
pub fn a_change_survives_a_fire(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.started()?;
    world.on_hook(|context| {
        if let (Some(scheduler), Some(id)) = (context.scheduler(), &context.run().job_id) {
            scheduler
                .modify_job(id, JobChanges::new().name("changed"))
                .map_err(sched_core::TaskError::from)?;
        }
        Ok(json!(null))
    });
    world.add(Job::task(super::fixture::HOOK).id("a").trigger(Every::seconds(10)))?;
    world.run_for(11);
    let job = world.job("a")?;
    assert_eq!((job.name(), job.next_fire_time()), ("changed", Some(noon_plus(20))));
    assert_eq!(world.outcomes(), ["succeeded: null"]);
    Ok(())
}

/// A task may remove or pause its own job.
pub fn a_task_may_remove_its_own_job(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.started()?;
    world.on_hook(|context| {
        if let (Some(scheduler), Some(id)) = (context.scheduler(), &context.run().job_id) {
            scheduler.remove_job(id).map_err(sched_core::TaskError::from)?;
        }
        Ok(json!("done"))
    });
    world.add(Job::task(super::fixture::HOOK).id("a").trigger(Every::seconds(10)))?;
    world.run_for(60);
    assert_eq!(world.outcomes(), ["succeeded: \"done\""]);
    assert!(world.ids()?.is_empty());
    Ok(())
}

/// A change that the engine or another change overtakes is made anew: no fire time runs twice, and no change is lost.
pub fn a_change_that_is_overtaken_is_made_anew(fixture: &Fixture) -> Result<(), Error> {
    let store = FaultyStore::new(fixture.store());
    let world = fixture.started_with(|config| config.job_store("default", Arc::clone(&store) as Arc<_>))?;
    world.add(Job::task(NOTE).id("a").trigger(Every::seconds(10)))?;
    world.sleep(10);
    let engine = world.clone();
    store.before(StoreCall::Update, move || {
        engine.turn();
    });
    world.scheduler.modify_job("a", JobChanges::new().name("other"))?;
    world.turn();
    assert_eq!(world.fired(), [10], "it is not moved back");
    let faster = world.scheduler.clone();
    store.before(StoreCall::Update, move || {
        let changed = faster.modify_job("a", JobChanges::new().max_instances(6));
        changed.map(drop).unwrap_or_else(|error| panic!("{error}"));
    });
    world.scheduler.modify_job("a", JobChanges::new().name("last"))?;
    let job = world.job("a")?;
    assert_eq!((job.name(), job.options.max_instances), ("last", 6));
    assert_eq!(job.next_run_time(), Some(noon_plus(20)));
    world.sleep(10);
    let engine = world.clone();
    store.before(StoreCall::Update, move || {
        engine.turn();
    });
    world.scheduler.pause_job("a")?;
    assert_eq!(world.job("a")?.cursor.last_fire_time, Some(noon_plus(20)));
    Ok(())
}
