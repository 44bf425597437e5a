//! Changes to a job that exists: any attribute but its id, all or nothing.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::builder::{TriggerSpec, check_settings};
use super::{Cursor, Job, JobSettings, JobSpec, JobStatus};
use crate::config::BuildContext;
use crate::task::{Args, Task, TaskRef};
use crate::{Error, ErrorKind, Trigger};

/// What [`modify_job`](crate::Scheduler::modify_job) changes. What is not named stays.
///
/// # Example
/// ```
/// use sched_core::JobChanges;
/// let mut changes = JobChanges::new().name("Alternate name");
/// changes.settings.max_instances = Some(6);
/// ```
#[derive(Debug, Default)]
pub struct JobChanges {
    /// Options; those that are `None` stay.
    pub settings: JobSettings,
    name: Option<Arc<str>>,
    args: Option<Args>,
    task: Option<TaskRef>,
    trigger: Option<TriggerSpec>,
    next_run_time: Option<Option<DateTime<Utc>>>,
}

/// Changes whose parts are resolved and checked.
#[derive(Clone)]
pub(crate) struct Resolved {
    pub(crate) settings: JobSettings,
    pub(crate) name: Option<Arc<str>>,
    pub(crate) args: Option<Args>,
    pub(crate) task: Option<Arc<Task>>,
    pub(crate) trigger: Option<Arc<dyn Trigger>>,
    pub(crate) next_run_time: Option<Option<DateTime<Utc>>>,
}

impl JobChanges {
    /// No change yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A new display name.
    #[must_use]
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// New arguments, all of them.
    #[must_use]
    pub fn args(mut self, args: impl Into<Args>) -> Self {
        self.args = Some(args.into());
        self
    }

    /// Another task, by name.
    #[must_use]
    pub fn task(mut self, name: impl Into<Arc<str>>) -> Self {
        self.task = Some(TaskRef::Named(name.into()));
        self
    }

    /// Another trigger; the next fire time stays, as in APScheduler. See
    /// [`reschedule_job`](crate::Scheduler::reschedule_job) for a new one.
    #[must_use]
    pub fn trigger(mut self, trigger: impl Into<TriggerSpec>) -> Self {
        self.trigger = Some(trigger.into());
        self
    }

    /// Another next run time; `None` pauses the job.
    #[must_use]
    pub fn next_run_time(mut self, time: impl Into<Option<DateTime<Utc>>>) -> Self {
        self.next_run_time = Some(time.into());
        self
    }

    /// At most this many unfinished runs at once.
    #[must_use]
    pub fn max_instances(mut self, limit: u32) -> Self {
        self.settings.max_instances = Some(limit);
        self
    }

    pub(crate) fn resolve(self, context: BuildContext<'_>) -> Result<Resolved, Error> {
        check_settings(&self.settings)?;
        if self.name.as_deref().is_some_and(|name| name.trim().is_empty()) {
            return Err(Error::new(ErrorKind::InvalidJob, "name must be a nonempty string"));
        }
        let task = match self.task {
            Some(TaskRef::Named(name)) => Some(context.registry.task(&name)?),
            Some(TaskRef::Bound(task)) => Some(task),
            None => None,
        };
        let trigger = self.trigger.map(|spec| spec.resolve("trigger", context)).transpose()?;
        let (settings, name, args) = (self.settings, self.name, self.args);
        Ok(Resolved { settings, name, args, task, trigger, next_run_time: self.next_run_time })
    }
}

impl Job {
    /// The job with `changes`; all of them or none. The revision stays: the store counts it up.
    pub(crate) fn changed(
        &self,
        changes: Resolved,
        defaults: &super::Defaults,
        now: DateTime<Utc>,
    ) -> Result<Self, Error> {
        let task = changes.task.or_else(|| self.spec.task.bound().cloned());
        let args = changes.args.unwrap_or_else(|| self.spec.args.clone());
        if let Some(task) = &task {
            task.check_args(&args)?;
        }
        let own = changes.settings.over(&self.spec.settings);
        let (settings, options) = match &task {
            Some(task) => defaults.fill(own, task),
            None => (Arc::new(own.clone()), Arc::new(own.over(&defaults.settings).resolve())),
        };
        let start = changes.next_run_time.flatten().unwrap_or(now);
        let anchored = changes.trigger.map(|trigger| trigger.anchored(start).unwrap_or(trigger));
        let spec = JobSpec {
            id: self.spec.id.clone(),
            name: changes.name.or_else(|| self.spec.name.clone()),
            task: task.map_or_else(|| self.spec.task.clone(), TaskRef::Bound),
            args,
            trigger: anchored.unwrap_or_else(|| Arc::clone(&self.spec.trigger)),
            settings,
            options,
        };
        let mut cursor = self.cursor.clone();
        match changes.next_run_time {
            Some(Some(time)) => {
                let Cursor { last_fire_time, revision, .. } = cursor;
                cursor = Cursor { last_fire_time, revision, ..Cursor::at(time, time) };
            }
            Some(None) => cursor = cursor.stopped(JobStatus::Paused),
            None => {}
        }
        Ok(Self { spec: Arc::new(spec), cursor })
    }
}
