//! Jobs: adding, finding, changing and removing them, without blocking.

use chrono::{DateTime, Utc};
use sched_core::{Error, JobBuilder, JobChanges, JobHandle, JobKey, TriggerSpec};

use crate::runtime::AsyncRuntime;
use crate::scheduler::AsyncScheduler;

/// Calls of the [`Scheduler`](sched_core::Scheduler) as async functions, with its **Errors**.
///
/// The [`JobHandle`] they answer is a snapshot; its own calls that change the job block as those of the `Scheduler` do.
impl<R: AsyncRuntime> AsyncScheduler<R> {
    /// See [`Scheduler::add_job`](sched_core::Scheduler::add_job).
    pub async fn add_job(&self, job: JobBuilder) -> Result<JobHandle, Error> {
        self.call(|scheduler| scheduler.add_job(job)).await
    }

    /// See [`Scheduler::add_declared_jobs`](sched_core::Scheduler::add_declared_jobs).
    pub async fn add_declared_jobs(&self) -> Result<Vec<JobHandle>, Error> {
        self.call(|scheduler| scheduler.add_declared_jobs()).await
    }

    /// See [`Scheduler::get_job`](sched_core::Scheduler::get_job).
    pub async fn get_job(&self, key: impl Into<JobKey>) -> Result<Option<JobHandle>, Error> {
        let key = key.into();
        self.call(|scheduler| scheduler.get_job(key)).await
    }

    /// See [`Scheduler::get_jobs`](sched_core::Scheduler::get_jobs).
    pub async fn get_jobs(&self, store: Option<&str>) -> Result<Vec<JobHandle>, Error> {
        let store = store.map(str::to_owned);
        self.off_loop(move |scheduler| scheduler.get_jobs(store.as_deref())).await
    }

    /// See [`Scheduler::modify_job`](sched_core::Scheduler::modify_job).
    pub async fn modify_job(&self, key: impl Into<JobKey>, changes: JobChanges) -> Result<JobHandle, Error> {
        let key = key.into();
        self.call(|scheduler| scheduler.modify_job(key, changes)).await
    }

    /// See [`Scheduler::reschedule_job`](sched_core::Scheduler::reschedule_job).
    pub async fn reschedule_job(
        &self,
        key: impl Into<JobKey>,
        trigger: impl Into<TriggerSpec>,
    ) -> Result<JobHandle, Error> {
        let (key, trigger) = (key.into(), trigger.into());
        self.call(|scheduler| scheduler.reschedule_job(key, trigger)).await
    }

    /// See [`Scheduler::pause_job`](sched_core::Scheduler::pause_job).
    pub async fn pause_job(&self, key: impl Into<JobKey>) -> Result<JobHandle, Error> {
        let key = key.into();
        self.call(|scheduler| scheduler.pause_job(key)).await
    }

    /// See [`Scheduler::resume_job`](sched_core::Scheduler::resume_job).
    pub async fn resume_job(&self, key: impl Into<JobKey>) -> Result<Option<JobHandle>, Error> {
        let key = key.into();
        self.call(|scheduler| scheduler.resume_job(key)).await
    }

    /// See [`Scheduler::resume_job_from`](sched_core::Scheduler::resume_job_from).
    pub async fn resume_job_from(
        &self,
        key: impl Into<JobKey>,
        from: DateTime<Utc>,
    ) -> Result<Option<JobHandle>, Error> {
        let key = key.into();
        self.call(move |scheduler| scheduler.resume_job_from(key, from)).await
    }

    /// See [`Scheduler::remove_job`](sched_core::Scheduler::remove_job).
    pub async fn remove_job(&self, key: impl Into<JobKey>) -> Result<(), Error> {
        let key = key.into();
        self.call(|scheduler| scheduler.remove_job(key)).await
    }

    /// See [`Scheduler::remove_all_jobs`](sched_core::Scheduler::remove_all_jobs).
    pub async fn remove_all_jobs(&self, store: Option<&str>) -> Result<(), Error> {
        let store = store.map(str::to_owned);
        self.off_loop(move |scheduler| scheduler.remove_all_jobs(store.as_deref())).await
    }
}
