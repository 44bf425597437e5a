//! The world a case plays in: a scheduler on a simulated clock, with tasks that leave traces.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use parking_lot::Mutex;
use sched_core::{
    ActiveRun, Clock, Delivery, Error, EventMask, Executor, JobBuilder, JobHandle, JobId, JobStore, Outcome,
    Param, Registry, RegistryBuilder, RunContext, Scheduler, SchedulerConfig, StartMode, Task, TaskError,
};
use serde_json::Value;

use super::executors::HeldExecutor;
use super::recorder::Recorder;
use super::runtime::ManualRuntime;
use super::triggers;
use crate::clock::SimClock;
use crate::jobs::NOON;
use crate::sink::PATIENCE;

/// The alias of the executor that holds its runs.
pub const HELD: &str = "held";

/// Adds up its arguments `a` and `b`.
pub const ADD: &str = "add";
/// Leaves a [`Trace`] and answers nothing.
pub const NOTE: &str = "note";
/// Fails with the message `deliberate`.
pub const FAIL: &str = "fail";
/// Panics with the message `deliberate`.
pub const PANIC: &str = "panic";
/// Does what the case told it through [`World::on_hook`].
pub const HOOK: &str = "hook";
/// As [`NOTE`], and at most one run of it at once.
pub const SINGLE: &str = "single";

/// Makes the store and the executor under test.
pub struct Fixture {
    store: Box<dyn Fn() -> Arc<dyn JobStore>>,
    executor: Box<dyn Fn() -> Arc<dyn Executor>>,
    head_start: Duration,
}

impl Fixture {
    /// A fixture of factories: one store and one executor for each scheduler that a case makes.
    pub fn new(
        store: impl Fn() -> Arc<dyn JobStore> + 'static,
        executor: impl Fn() -> Arc<dyn Executor> + 'static,
    ) -> Self {
        Self { store: Box::new(store), executor: Box::new(executor), head_start: Duration::ZERO }
    }

    /// Lets the loops wake so much before a job is due.
    #[must_use]
    pub fn with_head_start(self, head_start: Duration) -> Self {
        Self { head_start, ..self }
    }

    /// How much before a job is due the loops wake.
    pub fn head_start(&self) -> Duration {
        self.head_start
    }

    /// A new store.
    pub fn store(&self) -> Arc<dyn JobStore> {
        (self.store)()
    }

    /// A stopped scheduler with the store and the executor under test as `default`, and the executor [`HELD`].
    pub fn world(&self) -> Result<World, Error> {
        self.world_with(|config| config)
    }

    /// The same with another configuration.
    pub fn world_with(
        &self,
        configure: impl FnOnce(SchedulerConfig) -> SchedulerConfig,
    ) -> Result<World, Error> {
        let (clock, traces) = (SimClock::new(NOON), Arc::default());
        let (hook, held) = (Hook::default(), HeldExecutor::new());
        let registry = tasks(Registry::builder(), &traces, &hook);
        let registry = triggers::PLUGINS.into_iter().fold(registry, RegistryBuilder::plugin).build()?;
        let config = configure(
            SchedulerConfig::new()
                .timezone(Tz::UTC)
                .delivery(Delivery::Direct)
                .job_store("default", self.store())
                .executor("default", (self.executor)())
                .executor(HELD, Arc::clone(&held) as Arc<dyn Executor>),
        );
        let scheduler = Scheduler::builder()
            .registry(registry)
            .clock(Arc::new(clock.clone()))
            .with(|_| config)
            .build()?;
        let recorder = Recorder::listen(&scheduler, EventMask::all() - EventMask::RUN_STARTED);
        let runtime = Arc::new(ManualRuntime::with_head_start(self.head_start));
        Ok(World { scheduler, clock, runtime, recorder, traces, held, hook })
    }

    /// A started scheduler; what was told so far is forgotten.
    pub fn started(&self) -> Result<World, Error> {
        self.started_with(|config| config)
    }

    /// The same with another configuration.
    pub fn started_with(
        &self,
        configure: impl FnOnce(SchedulerConfig) -> SchedulerConfig,
    ) -> Result<World, Error> {
        let world = self.world_with(configure)?;
        world.start()?;
        world.turn();
        world.recorder.clear();
        Ok(world)
    }

    /// A started scheduler whose runs go through the run queue of its store.
    pub fn durable(&self) -> Result<World, Error> {
        self.started_with(|config| config.delivery(Delivery::Durable))
    }
}

impl fmt::Debug for Fixture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fixture")
    }
}

type HookBody = Arc<dyn Fn(&RunContext) -> Result<Value, TaskError> + Send + Sync>;
type Hook = Arc<Mutex<Option<HookBody>>>;

/// What a run of [`NOTE`] leaves behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// Its job.
    pub job: Option<JobId>,
    /// Seconds from the start of the simulated time to its fire time.
    pub fire_time: i64,
    /// The same to its scheduled time.
    pub scheduled_time: i64,
    /// The same to its start.
    pub started_at: i64,
    /// Its attempt.
    pub attempt: u32,
}

fn tasks(registry: RegistryBuilder, traces: &Arc<Mutex<Vec<Trace>>>, hook: &Hook) -> RegistryBuilder {
    const PARAMS: &[Param] = &[Param { name: "a", optional: false }, Param { name: "b", optional: true }];
    let number = |value: Option<&Value>| value.and_then(Value::as_i64).unwrap_or(0);
    let add = Task::new(ADD, move |_, args| number(args.get(0, "a")) + number(args.get(1, "b")));
    let note = {
        let traces = Arc::clone(traces);
        move |context: &RunContext| {
            let seconds = |time: DateTime<Utc>| (time - NOON).num_seconds();
            let run = context.run();
            traces.lock().push(Trace {
                job: run.job_id.clone(),
                fire_time: seconds(run.fire_time),
                scheduled_time: seconds(run.scheduled_time),
                started_at: seconds(context.started_at()),
                attempt: run.attempt,
            });
        }
    };
    let hook = Arc::clone(hook);
    let single = note.clone();
    registry
        .task(add.with_signature(PARAMS))
        .task(Task::new(NOTE, move |context, _| note(context)))
        .task(Task::new(SINGLE, move |context, _| single(context)).with_max_instances(1))
        .task(Task::new(FAIL, |_, _| Err::<(), _>(TaskError::new("deliberate"))))
        .task(Task::new(PANIC, |_, _| -> () { std::panic::resume_unwind(Box::new("deliberate")) }))
        .task(Task::new(HOOK, move |context, _| {
            let body = hook.lock().clone();
            body.map_or(Ok(Value::Null), |body| body(context))
        }))
}

/// A scheduler in simulated time.
#[derive(Clone)]
pub struct World {
    /// The scheduler.
    pub scheduler: Scheduler,
    /// Its clock.
    pub clock: SimClock,
    /// What drives it.
    pub runtime: Arc<ManualRuntime>,
    /// What its listeners were told, without the starts of runs.
    pub recorder: Recorder,
    /// The executor [`HELD`].
    pub held: Arc<HeldExecutor>,
    traces: Arc<Mutex<Vec<Trace>>>,
    hook: Hook,
}

impl World {
    /// Starts the scheduler.
    pub fn start(&self) -> Result<(), Error> {
        self.start_in(StartMode::Running)
    }

    /// Starts the scheduler as told.
    pub fn start_in(&self, mode: StartMode) -> Result<(), Error> {
        self.scheduler.start_on(Arc::clone(&self.runtime) as Arc<_>, mode)
    }

    /// The simulated time.
    pub fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    /// Adds a job.
    pub fn add(&self, job: JobBuilder) -> Result<JobHandle, Error> {
        self.scheduler.add_job(job)
    }

    /// A job that must be there.
    pub fn job(&self, id: &str) -> Result<JobHandle, Error> {
        let missing = || Error::new(sched_core::ErrorKind::NotFound, format!("there is no job \"{id}\""));
        self.scheduler.get_job(id)?.ok_or_else(missing)
    }

    /// The ids of all jobs, as listed.
    pub fn ids(&self) -> Result<Vec<String>, Error> {
        Ok(self.scheduler.get_jobs(None)?.iter().map(|job| job.id().as_str().to_owned()).collect())
    }

    /// What the next runs of [`HOOK`] do.
    pub fn on_hook(&self, body: impl Fn(&RunContext) -> Result<Value, TaskError> + Send + Sync + 'static) {
        *self.hook.lock() = Some(Arc::new(body));
    }

    /// The traces of [`NOTE`] so far.
    pub fn traces(&self) -> Vec<Trace> {
        self.traces.lock().clone()
    }

    /// The fire times of the traces so far, in seconds.
    pub fn fired(&self) -> Vec<i64> {
        self.traces.lock().iter().map(|trace| trace.fire_time).collect()
    }

    /// Lets the scheduler do what is due now, and waits until the runs outside of [`HELD`] are over. Answers how
    /// long the scheduler rests.
    pub fn turn(&self) -> Option<Duration> {
        loop {
            let rest = self.runtime.step();
            self.settle();
            if !self.runtime.is_woken() {
                return rest;
            }
        }
    }

    /// Lets simulated time pass until `end`, waking the scheduler when it wants to be.
    pub fn run_until(&self, end: DateTime<Utc>) {
        loop {
            let rest = self.turn();
            let left = (end - self.now()).to_std().unwrap_or(Duration::ZERO);
            if left.is_zero() {
                return;
            }
            self.clock.advance(rest.map_or(left, |rest| rest.min(left)).max(Duration::from_micros(1)));
        }
    }

    /// The same for so many seconds.
    pub fn run_for(&self, seconds: i64) {
        self.run_until(self.now() + TimeDelta::seconds(seconds));
    }

    /// Simulated time passes while the scheduler is not looking, as when a computer sleeps.
    pub fn sleep(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// Another scheduler over the same store and clock, which is started, with a recorder of its own.
    pub fn another(&self, configure: impl FnOnce(SchedulerConfig) -> SchedulerConfig) -> Result<Self, Error> {
        let held = HeldExecutor::new();
        let config = SchedulerConfig::new()
            .timezone(Tz::UTC)
            .delivery(Delivery::Durable)
            .job_store("default", self.scheduler.job_store("default")?)
            .executor(HELD, Arc::clone(&held) as Arc<dyn Executor>)
            .executor("default", Arc::clone(&held) as Arc<dyn Executor>);
        let registry = Registry::clone(&self.scheduler.registry());
        let scheduler = Scheduler::builder()
            .registry(registry)
            .clock(Arc::new(self.clock.clone()))
            .with(|_| configure(config))
            .build()?;
        let recorder = Recorder::listen(&scheduler, EventMask::all() - EventMask::RUN_STARTED);
        let other = Self { scheduler, runtime: Arc::default(), recorder, held, ..self.clone() };
        other.start()?;
        other.recorder.clear();
        Ok(other)
    }

    /// The outcomes of the runs that ended so far, as text.
    pub fn outcomes(&self) -> Vec<String> {
        let text = |outcome: &Outcome| match outcome {
            Outcome::Succeeded(value) => format!("succeeded: {value}"),
            other => other.to_string(),
        };
        self.recorder
            .events()
            .iter()
            .filter_map(|event| event.ended())
            .map(|ended| text(&ended.outcome))
            .collect()
    }

    fn settle(&self) {
        let deadline = Instant::now() + PATIENCE;
        let goes_on = |active: &ActiveRun| &*active.executor != HELD && !active.retrying && !active.timed_out;
        while self.scheduler.active_runs().iter().any(goes_on) {
            assert!(Instant::now() < deadline, "a run does not end: {:?}", self.scheduler.active_runs());
            std::thread::yield_now();
        }
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World")
            .field("now", &self.now())
            .field("scheduler", &self.scheduler)
            .finish_non_exhaustive()
    }
}
