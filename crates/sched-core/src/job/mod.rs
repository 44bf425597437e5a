//! Jobs: the stored plan of a task, its trigger and its options.
//!
//! A [`Job`] is two halves. Its [`JobSpec`] is what the user asked for and never changes in place; its [`Cursor`]
//! is where the schedule stands, and is all that a turn of the engine writes.

mod builder;
mod changes;
mod record;
mod settings;

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;

pub use self::builder::{DeclaredJob, JobBuilder, TriggerSpec};
pub(crate) use self::builder::{Defaults, Draft, check_settings, first_cursor, first_revision};
pub use self::changes::JobChanges;
pub use self::record::{JOB_VERSION, JobRecord};
pub(crate) use self::settings::read_word;
pub use self::settings::{DEFAULT_ALIAS, JobOptions, JobSettings};
use crate::id::JobId;
use crate::task::{Args, TaskRef};
use crate::trigger::{Trigger, trigger_definition};

/// What the user asked for: immutable once made, shared by every copy of the job.
#[derive(Debug, Clone)]
pub struct JobSpec {
    /// The unique id in its store.
    pub id: JobId,
    /// The display name; the task's name when `None`.
    pub name: Option<Arc<str>>,
    /// The task.
    pub task: TaskRef,
    /// Its arguments.
    pub args: Args,
    /// When it fires.
    pub trigger: Arc<dyn Trigger>,
    /// The settings as given, before any default.
    pub settings: Arc<JobSettings>,
    /// The settings with every default filled in.
    pub options: Arc<JobOptions>,
}

impl JobSpec {
    /// The display name.
    pub fn display_name(&self) -> &str {
        self.name.as_deref().unwrap_or_else(|| self.task.name())
    }

    /// Whether both have the same schedule, so that replacing one by the other keeps the next fire time.
    pub fn same_schedule(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.trigger, &other.trigger)
            || trigger_definition(&*self.trigger) == trigger_definition(&*other.trigger)
    }
}

/// Whether a job takes part in the schedule.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum JobStatus {
    /// It has a next run time.
    #[default]
    Scheduled,
    /// It was paused by hand.
    Paused,
    /// Its trigger ended and it is retained.
    Finished,
    /// Its trigger failed; the reason says how. Resuming tries again.
    Suspended(Arc<str>),
}

/// Where a job's schedule stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cursor {
    /// The trigger's next fire time.
    pub next_fire_time: Option<DateTime<Utc>>,
    /// The next fire time with its jitter: when the job is due. `None` unless it is scheduled.
    pub next_run_time: Option<DateTime<Utc>>,
    /// The latest fire time that was dealt with.
    pub last_fire_time: Option<DateTime<Utc>>,
    /// Whether it takes part.
    pub status: JobStatus,
    /// Counts changes by users; a claim made before a change is stale.
    pub revision: u64,
}

impl Cursor {
    /// A schedule that stands before `fire_time`.
    pub fn at(fire_time: DateTime<Utc>, run_time: DateTime<Utc>) -> Self {
        Self { next_fire_time: Some(fire_time), next_run_time: Some(run_time), ..Self::default() }
    }

    /// The same cursor out of the schedule, with `status`.
    #[must_use]
    pub fn stopped(self, status: JobStatus) -> Self {
        Self { next_fire_time: None, next_run_time: None, status, ..self }
    }
}

/// A job: what the user asked for, and where its schedule stands. Cheap to clone; equal when the ids are.
#[derive(Debug, Clone)]
pub struct Job {
    /// What the user asked for.
    pub spec: Arc<JobSpec>,
    /// Where the schedule stands.
    pub cursor: Cursor,
}

impl Job {
    /// A job of a plain closure or function. It lives in memory only.
    pub fn call<R: crate::task::TaskOutput>(body: impl Fn() -> R + Send + Sync + 'static) -> JobBuilder {
        JobBuilder::call(body)
    }

    /// A job of an async closure or function. It lives in memory only.
    pub fn call_async<F>(body: impl Fn() -> F + Send + Sync + 'static) -> JobBuilder
    where
        F: Future + Send + 'static,
        F::Output: crate::task::TaskOutput,
    {
        JobBuilder::call_async(body)
    }

    /// A job of a registered task, by name.
    pub fn task(name: impl Into<Arc<str>>) -> JobBuilder {
        JobBuilder::task(name)
    }

    /// The id.
    pub fn id(&self) -> &JobId {
        &self.spec.id
    }

    /// The display name.
    pub fn name(&self) -> &str {
        self.spec.display_name()
    }

    /// When it is due next, jitter included; `None` while it is not scheduled.
    pub fn next_run_time(&self) -> Option<DateTime<Utc>> {
        self.cursor.next_run_time
    }

    /// The trigger's next fire time.
    pub fn next_fire_time(&self) -> Option<DateTime<Utc>> {
        self.cursor.next_fire_time
    }

    /// Whether it takes part in the schedule.
    pub fn status(&self) -> &JobStatus {
        &self.cursor.status
    }

    /// The job as one line: `name (trigger: …, next run at: …)`, with times in `zone`.
    pub fn display_in(&self, zone: Tz) -> String {
        format!("{} (trigger: {}, {})", self.name(), self.spec.trigger, self.standing(zone))
    }

    /// The line of a listing, which tells by the id which job to change or remove.
    pub(crate) fn listed(&self, standing: &str) -> String {
        format!("{} (id: {}, trigger: {}, {standing})", self.name(), self.id(), self.spec.trigger)
    }

    /// Where the schedule stands, in words.
    pub(crate) fn standing(&self, zone: Tz) -> String {
        match (&self.cursor.status, self.cursor.next_run_time) {
            (JobStatus::Scheduled, Some(time)) => {
                format!("next run at: {}", time.with_timezone(&zone).format("%Y-%m-%d %H:%M:%S %Z"))
            }
            (JobStatus::Scheduled, None) => "pending".to_owned(),
            (JobStatus::Paused, _) => "paused".to_owned(),
            (JobStatus::Finished, _) => "finished".to_owned(),
            (JobStatus::Suspended(reason), _) => format!("suspended: {reason}"),
        }
    }
}

impl Deref for Job {
    type Target = JobSpec;
    fn deref(&self) -> &JobSpec {
        &self.spec
    }
}

impl PartialEq for Job {
    fn eq(&self, other: &Self) -> bool {
        self.spec.id == other.spec.id
    }
}

impl Eq for Job {}

impl fmt::Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.display_in(self.spec.trigger.timezone()))
    }
}
