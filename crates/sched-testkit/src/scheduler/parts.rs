//! Cases: executors, job stores, and listeners.

use std::sync::Arc;

use parking_lot::Mutex;
use sched_core::{Error, ErrorKind, Event, EventMask, Executor, Job, Shutdown};

use super::executors::HeldExecutor;
use super::fixture::{Fixture, NOTE};
use super::recorder::word;
use super::triggers::Every;
use crate::faults::{FaultyStore, StoreCall};

/// An executor is started at once when the scheduler is, and shut down as told when it is removed.
pub fn an_executor_is_started_with_the_scheduler(fixture: &Fixture) -> Result<(), Error> {
    for started in [false, true] {
        let world = if started { fixture.started()? } else { fixture.world()? };
        let executor = HeldExecutor::new();
        world.scheduler.add_executor(Arc::clone(&executor) as Arc<dyn Executor>, "new")?;
        let expected: &[&str] = if started { &["start new"] } else { &[] };
        assert_eq!(executor.calls(), expected);
        world.scheduler.remove_executor("new", Shutdown::Now)?;
        let expected: &[&str] = if started { &["start new", "shutdown Now"] } else { &[] };
        assert_eq!(executor.calls(), expected);
        world.recorder.expect(&["executor_added new", "executor_removed new"]);
    }
    Ok(())
}

/// A job store is started at once when the scheduler is; then its jobs fire.
pub fn a_job_store_is_started_with_the_scheduler(fixture: &Fixture) -> Result<(), Error> {
    for started in [false, true] {
        let world = if started { fixture.started()? } else { fixture.world()? };
        let store = FaultyStore::new(fixture.store());
        world.scheduler.add_job_store(Arc::clone(&store) as Arc<_>, "new")?;
        assert_eq!(store.calls(StoreCall::Start), usize::from(started));
        world.recorder.expect(&["store_added new"]);
        if started {
            world.add(Job::task(NOTE).id("a").store("new"))?;
            world.turn();
            assert_eq!(world.traces().len(), 1);
        }
    }
    Ok(())
}

/// A store that does not start is not added.
pub fn a_job_store_that_does_not_start_is_not_added(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.started()?;
    let store = FaultyStore::new(fixture.store());
    store.fail(StoreCall::Start, 1, ErrorKind::Unavailable);
    assert!(world.scheduler.add_job_store(Arc::clone(&store) as Arc<_>, "new").is_err());
    assert_eq!(world.scheduler.job_stores().len(), 1);
    world.scheduler.add_job_store(store, "new")?;
    world.recorder.expect(&["store_added new"]);
    Ok(())
}

/// Aliases are unique; the messages name them.
pub fn a_taken_alias_is_refused(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.world()?;
    let executor = world.scheduler.add_executor(HeldExecutor::new(), "held");
    let store = world.scheduler.add_job_store(fixture.store(), "default");
    let texts = ["an executor by the alias of \"held\"", "a job store by the alias of \"default\""];
    for (result, text) in [executor, store].into_iter().zip(texts) {
        let message = result.as_ref().err().map(ToString::to_string).unwrap_or_default();
        assert_eq!(message, format!("this scheduler already has {text}"));
        assert_eq!(result.err().map(|error| error.kind()), Some(ErrorKind::AlreadyExists));
    }
    Ok(())
}

/// Parts are looked up by alias; an unknown one is an error that names a near one.
pub fn an_unknown_alias_is_an_error(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.world()?;
    let scheduler = &world.scheduler;
    assert!(scheduler.executor("held").is_ok() && scheduler.job_store("default").is_ok());
    let errors = [
        scheduler.executor("helt").err(),
        scheduler.job_store("defaults").err(),
        scheduler.remove_executor("helt", true).err(),
        scheduler.remove_job_store("defaults").err(),
    ];
    for error in errors {
        assert_eq!(error.as_ref().map(Error::kind), Some(ErrorKind::NotFound));
        let text = error.map(|error| error.to_string()).unwrap_or_default();
        assert!(text.contains("did you mean"), "{text}");
    }
    Ok(())
}

/// A removed store is shut down and its jobs are out of sight; only the store is told of.
pub fn a_removed_job_store_takes_its_jobs_along(fixture: &Fixture) -> Result<(), Error> {
    let store = FaultyStore::new(fixture.store());
    let world = fixture.started_with(|config| config.job_store("extra", Arc::clone(&store) as Arc<_>))?;
    world.add(Job::task(NOTE).id("a").store("extra").trigger(Every::seconds(1)))?;
    world.recorder.clear();
    world.scheduler.remove_job_store("extra")?;
    assert_eq!(store.calls(StoreCall::Shutdown), 1);
    assert!(world.ids()?.is_empty());
    world.run_for(5);
    assert!(world.traces().is_empty());
    world.recorder.expect(&["store_removed extra"]);
    Ok(())
}

/// A listener hears the events of its mask until it is removed.
pub fn a_listener_hears_its_mask_until_removed(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.started()?;
    let heard = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&heard);
    let listener = world.scheduler.add_listener(
        move |event| sink.lock().push(word(event)),
        EventMask::JOB_ADDED | EventMask::JOB_REMOVED,
    );
    world.add(Job::task(NOTE).id("a").trigger(Every::seconds(60)))?;
    world.scheduler.pause_job("a")?;
    world.scheduler.remove_job("a")?;
    assert!(world.scheduler.remove_listener(listener));
    assert!(!world.scheduler.remove_listener(listener));
    world.add(Job::task(NOTE).id("b").trigger(Every::seconds(60)))?;
    assert_eq!(*heard.lock(), ["added a", "removed a"]);
    Ok(())
}

/// A listener that panics disturbs nobody, and the others are told of it.
pub fn a_panicking_listener_disturbs_nobody(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.started()?;
    let _panics = world
        .scheduler
        .add_listener(|_| std::panic::resume_unwind(Box::new("deliberate")), EventMask::JOB_ADDED);
    let after = super::recorder::Recorder::listen(&world.scheduler, EventMask::all());
    world.add(Job::task(NOTE).id("a"))?;
    world.turn();
    after.wait_for_word("removed a");
    let first: Vec<_> = after.words().into_iter().take(2).collect();
    assert_eq!(first, ["added a", "listener_failed"]);
    let reason = after.wait_for("failure", |event| matches!(event, Event::ListenerFailed { .. }));
    assert!(matches!(reason, Some(Event::ListenerFailed { reason, .. }) if &*reason == "deliberate"));
    assert_eq!(world.traces().len(), 1);
    Ok(())
}

/// A listener may call the scheduler; what that leads to is told afterwards.
pub fn a_listener_may_call_the_scheduler(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.started()?;
    let scheduler = world.scheduler.clone();
    world.scheduler.add_listener(
        move |event| {
            if event.job_id().is_some_and(|id| id.as_str() == "a") {
                let _ = scheduler.add_job(Job::task(NOTE).id("b").trigger(Every::seconds(5)));
                let _ = scheduler.pause_job("b");
                let _ = scheduler.get_jobs(None);
            }
        },
        EventMask::JOB_EXECUTED,
    );
    world.add(Job::task(NOTE).id("a"))?;
    world.turn();
    world.recorder.wait_for_word("removed a");
    world.recorder.wait_for_word("modified b");
    let words = world.recorder.words_of(&["executed", "added", "modified"]);
    assert_eq!(words, ["added a", "executed a", "added b", "modified b"]);
    Ok(())
}
