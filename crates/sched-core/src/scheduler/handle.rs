//! A job as its user holds it: a snapshot, with the calls that change the real one.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use super::Scheduler;
use crate::Error;
use crate::job::{Job, JobChanges, TriggerSpec};

/// Which job is meant: an id, or an id in one store. Without a store all are looked through, in the order in which
/// they were added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobKey {
    /// The job's id.
    pub id: Arc<str>,
    /// The store's alias.
    pub store: Option<Arc<str>>,
}

impl From<&str> for JobKey {
    fn from(id: &str) -> Self {
        Self { id: Arc::from(id), store: None }
    }
}

impl From<String> for JobKey {
    fn from(id: String) -> Self {
        Self { id: Arc::from(id), store: None }
    }
}

impl From<&crate::JobId> for JobKey {
    fn from(id: &crate::JobId) -> Self {
        id.as_str().into()
    }
}

impl From<(&str, &str)> for JobKey {
    fn from((id, store): (&str, &str)) -> Self {
        Self { id: Arc::from(id), store: Some(Arc::from(store)) }
    }
}

/// A job as [`add_job`](Scheduler::add_job) and [`get_job`](Scheduler::get_job) return it: a snapshot of that
/// moment (it derefs to [`Job`]), with calls that change the real job. Those that change it return a new snapshot.
#[derive(Clone)]
pub struct JobHandle {
    pub(crate) scheduler: Scheduler,
    pub(crate) job: Job,
    pub(crate) store: Arc<str>,
    pub(crate) pending: bool,
}

impl JobHandle {
    /// The store's alias.
    pub fn store(&self) -> &str {
        &self.store
    }

    /// Whether the job waits for the scheduler to start.
    pub fn is_pending(&self) -> bool {
        self.pending
    }

    /// See [`Scheduler::modify_job`].
    pub fn modify(&self, changes: JobChanges) -> Result<Self, Error> {
        self.scheduler.modify_job(self.key(), changes)
    }

    /// See [`Scheduler::reschedule_job`].
    pub fn reschedule(&self, trigger: impl Into<TriggerSpec>) -> Result<Self, Error> {
        self.scheduler.reschedule_job(self.key(), trigger)
    }

    /// See [`Scheduler::pause_job`].
    pub fn pause(&self) -> Result<Self, Error> {
        self.scheduler.pause_job(self.key())
    }

    /// See [`Scheduler::resume_job`].
    pub fn resume(&self) -> Result<Option<Self>, Error> {
        self.scheduler.resume_job(self.key())
    }

    /// See [`Scheduler::remove_job`].
    pub fn remove(&self) -> Result<(), Error> {
        self.scheduler.remove_job(self.key())
    }

    fn key(&self) -> JobKey {
        JobKey { id: Arc::from(self.job.id().as_str()), store: Some(Arc::clone(&self.store)) }
    }
}

impl Deref for JobHandle {
    type Target = Job;
    fn deref(&self) -> &Job {
        &self.job
    }
}

impl PartialEq for JobHandle {
    fn eq(&self, other: &Self) -> bool {
        self.job == other.job
    }
}

impl fmt::Debug for JobHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<Job (id={} name={})>", self.job.id(), self.job.name())
    }
}

impl fmt::Display for JobHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.job.fmt(f)
    }
}
