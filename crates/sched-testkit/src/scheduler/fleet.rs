//! Cases: schedulers of one store with different roles, names that come back, and what goes on while a loop is stuck.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use sched_core::{
    Attempt, Delivery, Error, ErrorKind, Event, EventBroker as _, Job, LocalBroker, NewRun, Outcome, Role,
    RunState, Scheduler, SchedulerConfig, Shutdown,
};
use serde_json::{Value, json};

use super::fixture::{ADD, Fixture, HELD, HOOK, NOTE, World};
use super::runtime::ManualRuntime;
use super::triggers::Every;
use crate::faults::{FaultyStore, StoreCall};
use crate::jobs::{FixedTrigger, noon_plus};

const HOUR: Duration = Duration::from_secs(3_600);

fn durable_with(
    fixture: &Fixture,
    configure: impl FnOnce(SchedulerConfig) -> SchedulerConfig,
) -> Result<World, Error> {
    fixture.started_with(|config| configure(config.delivery(Delivery::Durable)))
}

/// A scheduler that only plans queues what is due; a worker runs it and plans nothing.
pub fn a_planner_plans_and_a_worker_runs(fixture: &Fixture) -> Result<(), Error> {
    let planner = durable_with(fixture, |config| config.role(Role::Scheduler))?;
    let worker = planner.another(|config| config.role(Role::Worker))?;
    planner.add(Job::task(NOTE).id("a").trigger(Every::seconds(10)).executor(HELD))?;
    for _ in 0..3 {
        planner.sleep(10);
        worker.turn();
        assert!(worker.held.is_empty(), "a worker plans nothing");
        planner.turn();
        worker.turn();
        worker.held.run_all();
        worker.turn();
    }
    assert!(planner.held.is_empty() && planner.scheduler.active_runs().is_empty());
    assert_eq!(worker.fired(), [10, 20, 30]);
    Ok(())
}

/// A scheduler that has no place for what it planned tells the others at once; while it has, it is silent.
pub fn a_full_scheduler_tells_the_others(fixture: &Fixture) -> Result<(), Error> {
    let (broker, told) = (Arc::new(LocalBroker::new()), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&told);
    broker.subscribe(Arc::new(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
    }))?;
    let with_broker = |config: SchedulerConfig| config.event_broker(Arc::clone(&broker) as Arc<_>);
    let full = durable_with(fixture, |config| with_broker(config).max_concurrent_runs(1))?;
    let worker = full.another(|config| with_broker(config).role(Role::Worker))?;
    full.add(Job::task(NOTE).id("a").trigger(Every::seconds(10)).executor(HELD).max_instances(10))?;
    full.turn();
    let before = told.load(Ordering::SeqCst);
    full.sleep(10);
    full.turn();
    assert_eq!((full.held.len(), told.load(Ordering::SeqCst)), (1, before), "there was a place");
    worker.turn();
    assert!(worker.held.is_empty());
    for left in 1..=2 {
        full.sleep(10);
        full.turn();
        assert_eq!((full.held.len(), told.load(Ordering::SeqCst)), (1, before + left), "one notice a turn");
    }
    worker.turn();
    assert_eq!(worker.held.len(), 2, "what had no place there");
    Ok(())
}

/// A client adds, queues and waits for results, and never claims anything.
pub fn a_client_only_asks(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.durable()?;
    let client = world.another(|config| config.role(Role::Client))?;
    client.add(Job::task(NOTE).id("a").trigger(Every::seconds(10)))?;
    let run = client.scheduler.add_run(NewRun::task(ADD).args(json!([1, 2])).result_ttl(HOUR))?;
    client.sleep(30);
    assert_eq!(client.turn(), None, "it rests until it is woken");
    assert!(client.scheduler.active_runs().is_empty() && client.held.is_empty());
    world.turn();
    let row = client.scheduler.get_run_result(run, None)?;
    assert!(matches!(&row.state, RunState::Finished { outcome, .. } if outcome.value() == Some(&json!(3))));
    assert_eq!(client.fired(), [30]);
    Ok(())
}

/// What nobody would run is not planned: a scheduler that only plans refuses a store that delivers directly.
pub fn a_planner_needs_durable_delivery(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.world_with(|config| config.role(Role::Scheduler))?;
    assert_eq!(world.start().err().map(|error| error.kind()), Some(ErrorKind::InvalidConfig));
    assert!(!world.scheduler.is_running());
    Ok(())
}

/// Who runs nothing may plan and queue for executors that it does not have.
pub fn who_runs_nothing_needs_no_executor(fixture: &Fixture) -> Result<(), Error> {
    for role in [Role::Scheduler, Role::Client] {
        let world = durable_with(fixture, |config| config.role(role))?;
        world.add(Job::task(NOTE).id("a").trigger(Every::seconds(10)).executor("gpu"))?;
        world.scheduler.add_run(NewRun::task(NOTE).executor("gpu"))?;
        world.scheduler.pause_job("a")?;
    }
    let worker = durable_with(fixture, |config| config.role(Role::Worker))?;
    let refused = worker.scheduler.add_run(NewRun::task(NOTE).executor("gpu"));
    assert_eq!(refused.err().map(|error| error.kind()), Some(ErrorKind::NotFound));
    Ok(())
}

/// A scheduler with a name of its own asks its stores, at start, for what the last one of that name held.
pub fn a_named_scheduler_recovers_its_own(fixture: &Fixture) -> Result<(), Error> {
    for (name, expected) in [(None, 0), (Some("node-7"), 1)] {
        let store = FaultyStore::new(fixture.store());
        let world = fixture.world_with(|config| {
            let config = config.job_store("default", Arc::clone(&store) as Arc<_>);
            match name {
                Some(name) => config.identity(name),
                None => config,
            }
        })?;
        world.start()?;
        assert_eq!(store.calls(StoreCall::Recover), expected, "{name:?}");
        assert!(name.is_none_or(|name| world.scheduler.identity() == name));
    }
    let store = FaultyStore::new(fixture.store());
    store.fail(StoreCall::Recover, 1, ErrorKind::Unavailable);
    let world = fixture
        .world_with(|config| config.job_store("default", Arc::clone(&store) as Arc<_>).identity("a"))?;
    assert_eq!(world.start().err().map(|error| error.kind()), Some(ErrorKind::Unavailable));
    world.start()?;
    Ok(())
}

/// The name is given when the scheduler is built, in code or by configuration, and cannot be changed.
pub fn the_identity_is_given_once(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.world()?;
    let registry = || (*world.scheduler.registry()).clone();
    let build = |config: Value| Scheduler::builder().registry(registry()).config(config).build();
    let named = build(json!({ "identity": "node-7", "role": "client", "run_history": { "max_count": 5 } }))?;
    assert_eq!(named.identity(), "node-7");
    let other = named.configure(SchedulerConfig::new().identity("node-8"));
    assert_eq!(other.err().map(|error| error.kind()), Some(ErrorKind::InvalidState));
    named.configure(SchedulerConfig::new().identity("node-7"))?;
    for wrong in
        [json!({ "identity": "" }), json!({ "role": "boss" }), json!({ "run_history": { "max": 1 } })]
    {
        assert_eq!(build(wrong).err().map(|error| error.kind()), Some(ErrorKind::InvalidConfig));
    }
    Ok(())
}

/// A turn that is stuck does not cost the leases of what runs: another thread renews them.
pub fn leases_are_renewed_while_a_turn_is_stuck(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.durable()?;
    let run = world.scheduler.add_run(NewRun::task(NOTE).executor(HELD).result_ttl(HOUR))?;
    world.turn();
    // The loop is not turned from here on.
    for _ in 0..60 {
        world.sleep(1);
        world.runtime.look();
    }
    let row = world.scheduler.get_run_result(run, None)?;
    assert!(
        matches!(row.state, RunState::Running { lease_until, .. } if lease_until > world.now()),
        "{row:?}"
    );
    assert_eq!(row.attempt, 1);
    world.held.run_all();
    world.turn();
    assert_eq!((world.outcomes().len(), world.recorder.words_of(&["claim_lost"]).len()), (1, 0));
    Ok(())
}

/// A run that keeps the loop's own thread is asked to stop when its time is up.
pub fn a_run_is_timed_while_its_loop_is_stuck(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.started()?;
    let (clock, runtime) = (world.clock.clone(), Arc::<ManualRuntime>::downgrade(&world.runtime));
    world.on_hook(move |context| {
        for _ in 0..10 {
            clock.advance(Duration::from_secs(1));
            runtime.upgrade().map(|runtime| runtime.look());
        }
        Ok(json!(context.cancel_reason().map(|reason| reason.to_string())))
    });
    world.add(Job::task(HOOK).id("a").timeout(Duration::from_secs(5)))?;
    world.turn();
    let ended = world.recorder.wait_for_word("failed a").and_then(|event| event.ended().cloned());
    let took = ended.map(|ended| (ended.finished_at - crate::jobs::NOON).num_seconds());
    assert!(took.is_some_and(|seconds| (5..=7).contains(&seconds)), "told at once: {took:?}");
    world.recorder.expect(&["added a", "submitted a", "failed a", "removed a"]);
    Ok(())
}

/// A graceful stop waits for what runs, and gives everything else back at once.
pub fn a_graceful_stop_gives_leases_back_at_once(fixture: &Fixture) -> Result<(), Error> {
    let store = FaultyStore::new(fixture.store());
    let world = durable_with(fixture, |config| config.job_store("default", Arc::clone(&store) as Arc<_>))?;
    for _ in 0..2 {
        world.scheduler.add_run(NewRun::task(NOTE).executor(HELD))?;
    }
    world.turn();
    let other = world.another(|config| config)?;
    store.fail(StoreCall::Shutdown, 1, ErrorKind::Unavailable); // the other one needs its rows
    let _ = world.scheduler.shutdown(Shutdown::Now);
    assert!(store.calls(StoreCall::Release) > 0);
    other.turn();
    assert_eq!(other.held.len(), 2, "at once");
    other.held.run_all();
    other.turn();
    let attempts = other.recorder.events();
    let attempts: Vec<_> = attempts.iter().filter_map(Event::ended).map(|ended| ended.run.attempt).collect();
    assert_eq!(attempts, [1, 1], "what did not start is no attempt");
    Ok(())
}

/// A run that has started when its scheduler stops without waiting may have done part of its work: elsewhere it is the
/// next attempt, at once, and its row says what became of the first. What it does afterwards is not told.
pub fn a_run_that_a_stop_cuts_short_is_another_attempt_elsewhere(fixture: &Fixture) -> Result<(), Error> {
    let store = FaultyStore::new(fixture.store());
    let world = durable_with(fixture, |config| config.job_store("default", Arc::clone(&store) as Arc<_>))?;
    let run = world.scheduler.add_run(NewRun::task(NOTE).executor(HELD).result_ttl(HOUR))?;
    world.turn();
    world.held.begin_one();
    let other = world.another(|config| config)?;
    store.fail(StoreCall::Shutdown, 1, ErrorKind::Unavailable); // the other one needs its rows
    let _ = world.scheduler.shutdown(Shutdown::Now);
    other.turn();
    assert_eq!(other.held.len(), 1, "at once");
    world.held.end_one(Outcome::Succeeded(Value::Null));
    other.held.run_all();
    other.turn();
    let row = other.scheduler.get_run_result(run, None)?;
    assert!(matches!(&row.state, RunState::Finished { outcome, .. } if outcome.is_success()), "{row:?}");
    let cut = |attempt: &Attempt| (attempt.attempt, matches!(attempt.outcome, Outcome::Abandoned(_)));
    assert_eq!((row.attempt, row.history.iter().map(cut).collect::<Vec<_>>()), (2, vec![(1, true)]));
    Ok(())
}

/// A queued run that shuts its scheduler down has its end written before the store is closed, wherever it runs.
pub fn a_run_that_shuts_down_has_its_end_written(fixture: &Fixture) -> Result<(), Error> {
    let store = FaultyStore::new(fixture.store());
    let world = durable_with(fixture, |config| config.job_store("default", Arc::clone(&store) as Arc<_>))?;
    let scheduler = world.scheduler.clone();
    world.on_hook(move |_| scheduler.shutdown(true).map(|()| json!("done")).map_err(Into::into));
    let run = world.scheduler.add_run(NewRun::task(HOOK).result_ttl(HOUR))?;
    let other = world.another(|config| config)?;
    store.fail(StoreCall::Shutdown, 1, ErrorKind::Unavailable); // the other one needs its rows
    world.runtime.step();
    world.recorder.wait_for_word("executed");
    let row = other.scheduler.get_run_result(run, None)?;
    assert!(matches!(&row.state, RunState::Finished { outcome, .. } if outcome.is_success()), "{row:?}");
    other.run_for(60);
    assert!(other.held.is_empty(), "nobody runs it again");
    Ok(())
}

/// A job whose schedule has ended is told to be removed, also when its last run ends on another scheduler.
pub fn a_job_is_removed_after_its_last_run_elsewhere(fixture: &Fixture) -> Result<(), Error> {
    let planner = durable_with(fixture, |config| config.role(Role::Scheduler))?;
    let worker = planner.another(|config| config.role(Role::Worker))?;
    let once = FixedTrigger::new([noon_plus(1)]);
    planner.add(Job::task(NOTE).id("a").trigger(once).executor(HELD).result_ttl(HOUR))?;
    planner.run_for(1);
    worker.turn();
    planner.run_for(5);
    assert!(planner.recorder.words_of(&["removed"]).is_empty(), "its run is not over");
    worker.held.run_all();
    worker.turn();
    planner.run_for(30);
    assert_eq!(planner.recorder.words_of(&["removed"]), ["removed a"]);
    Ok(())
}

/// Nothing is told of a job's runs before it is told that the job was added.
pub fn a_job_is_told_before_its_runs(fixture: &Fixture) -> Result<(), Error> {
    let world = fixture.started()?;
    let added = 200;
    std::thread::scope(|scope| {
        let adding = scope.spawn(|| {
            for number in 0..added {
                let job = Job::task(NOTE).id(number.to_string());
                world.add(job).map(drop).unwrap_or_else(|error| panic!("{error}"));
            }
        });
        while !adding.is_finished() {
            world.turn();
        }
    });
    world.turn();
    let words = world.recorder.words();
    let place = |word: String| words.iter().position(|other| *other == word);
    for number in 0..added {
        let (told, submitted) = (place(format!("added {number}")), place(format!("submitted {number}")));
        assert!(told.is_some() && told < submitted, "{number}: {told:?}, {submitted:?}");
    }
    Ok(())
}
