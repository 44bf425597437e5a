//! How a job is described before it is added.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

use super::{Cursor, Job, JobChanges, JobOptions, JobSettings, JobSpec, JobStatus};
use crate::config::BuildContext;
use crate::id::JobId;
use crate::id::is_name;
use crate::plan::jittered;
use crate::policy::{Coalesce, ConflictPolicy, Grace, Overlap, Retain, TimeoutSlot};
use crate::retry::Retry;
use crate::task::{Args, Task, TaskOutput, TaskRef};
use crate::trigger::{Immediate, Trigger};
use crate::{Error, ErrorKind};

/// A trigger, or what one is built from when the job is added.
#[derive(Debug)]
pub enum TriggerSpec {
    /// A trigger at hand.
    Ready(Arc<dyn Trigger>),
    /// A table with `type`, resolved through the registry.
    Config(Value),
    /// A trigger that could not be built; adding the job reports it.
    Failed(Error),
}

impl<T: Trigger> From<T> for TriggerSpec {
    fn from(trigger: T) -> Self {
        Self::Ready(Arc::new(trigger))
    }
}

impl From<Arc<dyn Trigger>> for TriggerSpec {
    fn from(trigger: Arc<dyn Trigger>) -> Self {
        Self::Ready(trigger)
    }
}

impl From<Value> for TriggerSpec {
    fn from(config: Value) -> Self {
        Self::Config(config)
    }
}

impl<T: Into<TriggerSpec>> From<Result<T, Error>> for TriggerSpec {
    fn from(built: Result<T, Error>) -> Self {
        built.map_or_else(Self::Failed, Into::into)
    }
}

impl TriggerSpec {
    /// The trigger. **Errors**: the failure it carries, or that of the registry.
    pub fn resolve(self, path: &str, context: BuildContext<'_>) -> Result<Arc<dyn Trigger>, Error> {
        match self {
            Self::Ready(trigger) => Ok(trigger),
            Self::Config(config) => context.registry.trigger(path, config, context),
            Self::Failed(error) => Err(error),
        }
    }
}

/// A job that is being described. Nothing is checked before it is added; then every fault is an error.
///
/// # Example
/// ```
/// use sched_core::Job;
/// let job = Job::call(|| println!("tick")).id("ticker").max_instances(3).replace_existing();
/// ```
#[derive(Debug)]
#[must_use = "a job does nothing until it is added to a scheduler"]
pub struct JobBuilder {
    task: TaskRef,
    args: Args,
    id: Option<Arc<str>>,
    name: Option<Arc<str>>,
    trigger: Option<TriggerSpec>,
    settings: JobSettings,
    first: First,
    conflict: ConflictPolicy,
    store: Option<Arc<str>>,
}

/// When a job runs first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum First {
    #[default]
    AsTriggered,
    At(DateTime<Utc>),
    Paused,
}

impl JobBuilder {
    /// See [`Job::call`].
    pub fn call<R: TaskOutput>(body: impl Fn() -> R + Send + Sync + 'static) -> Self {
        let name = readable_name(std::any::type_name_of_val(&body));
        Self::bound(Arc::new(Task::new(name, move |_, _| body()).unregistered()))
    }

    /// See [`Job::call_async`].
    pub fn call_async<F>(body: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future + Send + 'static,
        F::Output: TaskOutput,
    {
        let name = readable_name(std::any::type_name_of_val(&body));
        Self::bound(Arc::new(Task::new_async(name, move |_, _| body()).unregistered()))
    }

    /// See [`Job::task`].
    pub fn task(name: impl Into<Arc<str>>) -> Self {
        Self::new(TaskRef::Named(name.into()))
    }

    /// A job of a task at hand.
    pub fn bound(task: impl Into<Arc<Task>>) -> Self {
        Self::new(TaskRef::Bound(task.into()))
    }

    fn new(task: TaskRef) -> Self {
        let (settings, conflict) = (JobSettings::default(), ConflictPolicy::Error);
        let (args, first) = (Args::default(), First::AsTriggered);
        Self { task, args, id: None, name: None, trigger: None, settings, first, conflict, store: None }
    }

    /// The id; random when none is given. Jobs that are declared at every start of a program need one.
    pub fn id(mut self, id: impl Into<Arc<str>>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// The display name; the task's name when none is given.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The arguments: an array is positional, an object named.
    pub fn args(mut self, args: impl Into<Args>) -> Self {
        self.args = args.into();
        self
    }

    /// When it fires. Without a trigger it runs once, now (or at start when the scheduler is stopped).
    pub fn trigger(mut self, trigger: impl Into<TriggerSpec>) -> Self {
        self.trigger = Some(trigger.into());
        self
    }

    /// Which store keeps it; `default` when none is named.
    pub fn store(mut self, alias: impl Into<Arc<str>>) -> Self {
        self.store = Some(alias.into());
        self
    }

    /// Which executor runs it.
    pub fn executor(mut self, alias: impl Into<Arc<str>>) -> Self {
        self.settings.executor = Some(alias.into());
        self
    }

    /// How late a run may start.
    pub fn misfire_grace_time(mut self, grace: impl Into<Grace>) -> Self {
        self.settings.misfire_grace_time = Some(grace.into());
        self
    }

    /// Which of several due fire times run; `true` is the latest, `false` is all.
    pub fn coalesce(mut self, coalesce: impl Into<Coalesce>) -> Self {
        self.settings.coalesce = Some(coalesce.into());
        self
    }

    /// At most this many unfinished runs at once; at least 1.
    pub fn max_instances(mut self, limit: u32) -> Self {
        self.settings.max_instances = Some(limit);
        self
    }

    /// What happens beyond `max_instances`.
    pub fn overlap(mut self, overlap: Overlap) -> Self {
        self.settings.overlap = Some(overlap);
        self
    }

    /// Each run starts up to this much later than its fire time.
    pub fn jitter(mut self, jitter: Duration) -> Self {
        self.settings.jitter = Some(jitter);
        self
    }

    /// At most this many missed fire times run when `coalesce` is `All`.
    pub fn max_catch_up(mut self, limit: u32) -> Self {
        self.settings.max_catch_up = Some(limit);
        self
    }

    /// What happens when the trigger ends.
    pub fn retain(mut self, retain: Retain) -> Self {
        self.settings.retain = Some(retain);
        self
    }

    /// How long a run may take, from its start. Then it is asked to stop, by force where its executor can, and
    /// reported as timed out.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.settings.timeout = Some(timeout);
        self
    }

    /// What happens to the place of a run that timed out and cannot be stopped.
    pub fn timeout_slot(mut self, slot: TimeoutSlot) -> Self {
        self.settings.timeout_slot = Some(slot);
        self
    }

    /// Tries a run that failed again; a number is the most attempts.
    pub fn retry(mut self, retry: impl Into<Retry>) -> Self {
        self.settings.retry = Some(Arc::new(retry.into()));
        self
    }

    /// How often a queued run is taken over whose scheduler died or lost it, before it is abandoned; 1 is meant by 0, and
    /// 25 when not given.
    pub fn max_takeovers(mut self, limit: u32) -> Self {
        self.settings.max_takeovers = Some(limit.max(1));
        self
    }

    /// Its runs go before others of lower priority, where they wait for a place; 0 when not given.
    pub fn priority(mut self, priority: i32) -> Self {
        self.settings.priority = Some(priority);
        self
    }

    /// How long results are kept on the run's row.
    pub fn result_ttl(mut self, ttl: Duration) -> Self {
        self.settings.result_ttl = Some(ttl);
        self
    }

    /// At most `limit` runs with this key at once, whatever their job, task or scheduler; 1 is meant by 0.
    pub fn concurrency(mut self, key: impl Into<Arc<str>>, limit: u32) -> Self {
        self.settings.concurrency_key = Some(key.into());
        self.settings.concurrency_limit = Some(limit.max(1));
        self
    }

    /// Data of the user's own, shown to the task.
    pub fn metadata(mut self, metadata: Map<String, Value>) -> Self {
        self.settings.metadata = Some(Arc::new(metadata));
        self
    }

    /// All options at once, as a table gives them.
    pub fn settings(mut self, settings: JobSettings) -> Self {
        self.settings = settings;
        self
    }

    /// The first run, whatever the trigger says; from then on the trigger decides.
    pub fn next_run_time(mut self, time: DateTime<Utc>) -> Self {
        self.first = First::At(time);
        self
    }

    /// Adds the job paused.
    pub fn paused(mut self) -> Self {
        self.first = First::Paused;
        self
    }

    /// What happens when the id exists.
    pub fn on_conflict(mut self, policy: ConflictPolicy) -> Self {
        self.conflict = policy;
        self
    }

    /// Replaces a job of the same id; short for `on_conflict(ConflictPolicy::Replace)`.
    pub fn replace_existing(self) -> Self {
        self.on_conflict(ConflictPolicy::Replace)
    }

    /// Checks everything that can be checked before the scheduler starts.
    pub(crate) fn draft(self, context: BuildContext<'_>, path: &str) -> Result<Draft, Error> {
        let id = self.id.map_or_else(|| Ok(JobId::random()), JobId::new)?;
        if self.name.as_deref().is_some_and(|name| name.trim().is_empty()) {
            return Err(Error::new(ErrorKind::InvalidJob, "name must be a nonempty string"));
        }
        check_settings(&self.settings)?;
        let task = match self.task {
            TaskRef::Named(name) => context.registry.task(&name)?,
            TaskRef::Bound(task) => task,
        };
        task.check_args(&self.args)?;
        let trigger = match self.trigger {
            Some(spec) => spec.resolve(path, context)?,
            None => Arc::new(Immediate::new()),
        };
        let store = self.store.unwrap_or_else(|| Arc::from(super::settings::DEFAULT_ALIAS));
        let (name, args, settings) = (self.name, self.args, self.settings);
        Ok(Draft {
            id,
            name,
            task,
            args,
            trigger,
            settings,
            first: self.first,
            conflict: self.conflict,
            store,
        })
    }
}

/// All limits are at least one and all grace times positive.
pub(crate) fn check_settings(settings: &JobSettings) -> Result<(), Error> {
    let invalid = |message: &str| Err(Error::new(ErrorKind::InvalidJob, message));
    match settings {
        JobSettings { misfire_grace_time: Some(Grace::Within(Duration::ZERO)), .. } => {
            invalid("misfire_grace_time must be either none or a positive duration")
        }
        JobSettings { max_instances: Some(0), .. } => invalid("max_instances must be a positive integer"),
        JobSettings { max_catch_up: Some(0), .. } => invalid("max_catch_up must be a positive integer"),
        JobSettings { timeout: Some(Duration::ZERO), .. } => invalid("timeout must be a positive duration"),
        JobSettings { concurrency_key: Some(key), .. } if !is_name(key) => invalid(
            "concurrency_key must be a nonempty string of at most 255 characters without control characters",
        ),
        JobSettings { executor: Some(alias), .. } if !is_name(alias) => {
            invalid("executor must be a nonempty alias of at most 255 characters without control characters")
        }
        _ => Ok(()),
    }
}

/// A function's own name; of a closure, that it is one and in which function it is written.
fn readable_name(type_name: &str) -> String {
    let path = type_name.trim_end_matches("::{{closure}}");
    let name = last_segment(path);
    if path.len() < type_name.len() { format!("closure in {name}") } else { name.to_owned() }
}

/// The last segment of a path, without generic arguments, which are paths themselves.
fn last_segment(path: &str) -> &str {
    let (mut depth, mut start, mut end) = (0_usize, 0, path.len());
    for (at, byte) in path.bytes().enumerate() {
        match byte {
            b'<' => {
                if depth == 0 && at > start {
                    end = at;
                }
                depth += 1;
            }
            b'>' => depth = depth.saturating_sub(1),
            b':' if depth == 0 => (start, end) = (at + 1, path.len()),
            _ => {}
        }
    }
    path.get(start..end).unwrap_or(path)
}

/// A job whose parts are checked, waiting for the scheduler's defaults and the moment it is really added.
#[derive(Debug, Clone)]
pub(crate) struct Draft {
    pub(crate) id: JobId,
    pub(crate) name: Option<Arc<str>>,
    pub(crate) task: Arc<Task>,
    pub(crate) args: Args,
    pub(crate) trigger: Arc<dyn Trigger>,
    pub(crate) settings: JobSettings,
    first: First,
    pub(crate) conflict: ConflictPolicy,
    pub(crate) store: Arc<str>,
}

impl Draft {
    /// The job that starts its schedule at `now`. **Errors**: [`NeverFires`](ErrorKind::NeverFires), or the
    /// trigger's own.
    pub(crate) fn into_job(self, defaults: &Defaults, now: DateTime<Utc>, seed: u64) -> Result<Job, Error> {
        let start = if let First::At(time) = self.first { time } else { now };
        let trigger = self.trigger.anchored(start).unwrap_or(self.trigger);
        let (settings, options) = defaults.fill(self.settings, &self.task);
        let task = TaskRef::Bound(self.task);
        let spec =
            JobSpec { id: self.id, name: self.name, task, args: self.args, trigger, settings, options };
        let mut cursor = match self.first {
            First::At(time) => Cursor::at(time, time),
            First::Paused => Cursor::default().stopped(JobStatus::Paused),
            First::AsTriggered => first_cursor(&spec, now, seed)?,
        };
        cursor.revision = first_revision(now);
        Ok(Job { spec: Arc::new(spec), cursor })
    }

    /// How the job is shown before the scheduler starts.
    pub(crate) fn preview(&self) -> Job {
        let (settings, options) = Defaults::default().fill(self.settings.clone(), &self.task);
        let task = TaskRef::Bound(Arc::clone(&self.task));
        let (id, name, args) = (self.id.clone(), self.name.clone(), self.args.clone());
        let spec = JobSpec { id, name, task, args, trigger: Arc::clone(&self.trigger), settings, options };
        let status = if self.first == First::Paused { JobStatus::Paused } else { JobStatus::Scheduled };
        let next_run_time = if let First::At(time) = self.first { Some(time) } else { None };
        Job { spec: Arc::new(spec), cursor: Cursor { status, next_run_time, ..Cursor::default() } }
    }

    /// Applies changes made while the scheduler is stopped.
    pub(crate) fn apply(&mut self, changes: JobChanges, context: BuildContext<'_>) -> Result<(), Error> {
        let changed = changes.resolve(context)?;
        let args = changed.args.unwrap_or_else(|| self.args.clone());
        let task = changed.task.unwrap_or_else(|| Arc::clone(&self.task));
        task.check_args(&args)?;
        (self.task, self.args) = (task, args);
        self.settings = changed.settings.over(&self.settings);
        if let Some(name) = changed.name {
            self.name = Some(name);
        }
        if let Some(trigger) = changed.trigger {
            self.trigger = trigger;
        }
        self.first = match changed.next_run_time {
            Some(Some(time)) => First::At(time),
            Some(None) => First::Paused,
            None => self.first,
        };
        Ok(())
    }

    /// **Errors**: [`NeverFires`](ErrorKind::NeverFires) when its trigger has no fire time at or after `now`.
    pub(crate) fn check_fires(&self, now: DateTime<Utc>) -> Result<(), Error> {
        match self.first {
            First::AsTriggered => first_fire(&self.id, &*self.trigger, now).map(drop),
            First::At(_) | First::Paused => Ok(()),
        }
    }

    /// Takes another trigger, which decides from now on.
    pub(crate) fn reschedule(&mut self, trigger: Arc<dyn Trigger>) {
        (self.trigger, self.first) = (trigger, First::AsTriggered);
    }

    /// Whether a first run time, or a paused start, was given.
    pub(crate) fn is_explicit(&self) -> bool {
        self.first != First::AsTriggered
    }

    pub(crate) fn pause(&mut self) {
        self.first = First::Paused;
    }

    pub(crate) fn resume(&mut self) {
        if self.first == First::Paused {
            self.first = First::AsTriggered;
        }
    }
}

/// The first revision of a job: those of one that was removed are not seen again when another gets its id.
pub(crate) fn first_revision(now: DateTime<Utc>) -> u64 {
    now.timestamp_micros().unsigned_abs()
}

/// The cursor of a schedule that begins at `now`.
pub(crate) fn first_cursor(spec: &JobSpec, now: DateTime<Utc>, seed: u64) -> Result<Cursor, Error> {
    let fire = first_fire(&spec.id, &*spec.trigger, now)?;
    Ok(Cursor::at(fire, jittered(spec, fire, seed)?))
}

fn first_fire(id: &JobId, trigger: &dyn Trigger, now: DateTime<Utc>) -> Result<DateTime<Utc>, Error> {
    trigger.next_fire_time(None, now)?.ok_or_else(|| {
        let message = format!("job \"{id}\" would never run: {trigger} has no fire time left");
        Error::new(ErrorKind::NeverFires, message)
    })
}

/// The scheduler's job defaults, with the options of a job that has none of its own resolved once and shared.
#[derive(Debug, Clone, Default)]
pub(crate) struct Defaults {
    pub(crate) settings: JobSettings,
    plain: Option<(Arc<JobSettings>, Arc<JobOptions>)>,
}

impl Defaults {
    pub(crate) fn new(settings: JobSettings) -> Self {
        let plain = (Arc::new(JobSettings::default()), Arc::new(settings.resolve()));
        Self { settings, plain: Some(plain) }
    }

    /// A job's settings as stored, and its options: the job's, else its task's, else the scheduler's.
    pub(crate) fn fill(&self, own: JobSettings, task: &Task) -> (Arc<JobSettings>, Arc<JobOptions>) {
        if let (Some((settings, options)), true) = (&self.plain, own.is_empty() && task.settings().is_empty())
        {
            return (Arc::clone(settings), Arc::clone(options));
        }
        let options = own.over(task.settings()).over(&self.settings).resolve();
        (Arc::new(own), Arc::new(options))
    }
}

/// A job that joins the registry at link time; what `#[scheduled]` submits.
/// [`add_declared_jobs`](crate::Scheduler::add_declared_jobs) adds them.
#[derive(Debug, Clone, Copy)]
pub struct DeclaredJob {
    /// Describes the job.
    pub job: fn() -> JobBuilder,
}

inventory::collect!(DeclaredJob);

#[cfg(test)]
mod tests {
    use super::*;

    fn plain() {}

    fn generic<T: Default>() -> T {
        T::default()
    }

    fn closure_of<T: Default + 'static>() -> JobBuilder {
        JobBuilder::call(|| drop(T::default()))
    }

    struct Place;

    impl Place {
        fn closure() -> JobBuilder {
            let make = || JobBuilder::call_async(|| async {});
            make()
        }
    }

    #[test]
    fn a_closure_is_named_after_the_function_it_is_written_in() {
        let table = [
            (JobBuilder::call(plain), "plain"),
            (JobBuilder::call(generic::<std::string::String>), "generic"),
            (JobBuilder::call(|| ()), "closure in a_closure_is_named_after_the_function_it_is_written_in"),
            (closure_of::<std::string::String>(), "closure in closure_of"),
            (Place::closure(), "closure in closure"),
        ];
        for (builder, expected) in table {
            assert_eq!(builder.task.name(), expected);
        }
    }
}
