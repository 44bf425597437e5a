//! What a turn tells: events before the runs are handed over, and events after.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::Scheduler;
use super::dispatch::{Admitted, log_outcome};
use super::lane::Lane;
use crate::event::{Event, EventMask, JobRef, RunEnded};
use crate::executor::Execution;
use crate::id::RunId;
use crate::job::Job;
use crate::plan::{Plan, PlannedFire, Then};
use crate::run::{MissReason, Outcome, Run, RunReport};
use crate::store::RunClaim;
use crate::task::TaskRef;

/// A plan whose commit was applied.
pub(crate) struct AppliedPlan {
    pub(crate) job: Job,
    pub(crate) plan: Plan,
    /// Why the trigger failed, when it did.
    pub(crate) failure: Option<Arc<str>>,
    /// Fire times whose run the store did not queue.
    pub(crate) skipped: Vec<DateTime<Utc>>,
    /// The claim on its run, when the store made one in the commit.
    pub(crate) claimed: Option<RunClaim>,
}

impl AppliedPlan {
    /// The fire times that run.
    pub(crate) fn due(&self) -> impl Iterator<Item = &PlannedFire> {
        self.plan.fires.iter().filter(|fire| !fire.missed)
    }

    /// Whether runs of it wait in the queue.
    pub(crate) fn is_queued(&self) -> bool {
        self.claimed.is_none() && self.due().count() > self.skipped.len()
    }
}

/// The events of a turn: those told before the runs are handed over, and those told after.
pub(crate) struct Told<'a> {
    scheduler: &'a Scheduler,
    lane: &'a Arc<Lane>,
    pub(crate) first: Vec<Event>,
    pub(crate) later: Vec<Event>,
}

impl<'a> Told<'a> {
    pub(crate) fn new(scheduler: &'a Scheduler, lane: &'a Arc<Lane>) -> Self {
        Self { scheduler, lane, first: Vec::new(), later: Vec::new() }
    }

    pub(crate) fn job_ref(&self, job: &Job) -> JobRef {
        JobRef { job_id: job.id().clone(), store: Some(Arc::clone(&self.lane.alias)) }
    }

    fn wants(&self, mask: EventMask) -> bool {
        self.scheduler.inner.events.wants(mask)
    }

    pub(crate) fn claim_lost(&mut self, job_id: Option<crate::JobId>, run_id: Option<RunId>) {
        let store = Arc::clone(&self.lane.alias);
        tracing::warn!(store = &*store, job = ?job_id, run = ?run_id, "a claim was lost; nothing was written");
        self.first.push(Event::ClaimLost { store, job_id, run_id });
    }

    /// What the plan itself decided: misfires, a limit, a failed trigger.
    pub(crate) fn judged(&mut self, applied: &AppliedPlan, now: DateTime<Utc>) {
        for fire in applied.plan.fires.iter().filter(|fire| fire.missed) {
            self.missed(&applied.job, *fire, MissReason::TooLate, now);
        }
        if applied.plan.catch_up_limited {
            self.first.push(Event::CatchUpLimited(self.job_ref(&applied.job)));
        }
        if let Some(reason) = &applied.failure {
            tracing::error!(job = applied.job.id().as_str(), %reason, "the trigger failed; the job is suspended");
            let job = self.job_ref(&applied.job);
            self.first.push(Event::JobSuspended { job, reason: Arc::clone(reason) });
        }
    }

    /// The direct runs of a job whose task this program does not have. A queued run is judged when it is claimed.
    pub(crate) fn without_task(&mut self, applied: &AppliedPlan, now: DateTime<Utc>) {
        if let TaskRef::Named(name) = &applied.job.spec.task {
            for fire in applied.plan.fires.iter().filter(|fire| !fire.missed) {
                self.missed(&applied.job, *fire, MissReason::NoTask(name.as_ref().to_owned()), now);
            }
        }
    }

    fn missed(&mut self, job: &Job, fire: PlannedFire, reason: MissReason, now: DateTime<Utc>) {
        let run = Run {
            id: run_id(now),
            job_id: Some(job.id().clone()),
            store: Arc::clone(&self.lane.alias),
            task: Arc::from(job.spec.task.name()),
            fire_time: fire.fire_time,
            scheduled_time: fire.scheduled_time,
            attempt: 1,
        };
        let run = Arc::new(run);
        let report = RunReport { run, outcome: Outcome::Missed(reason), started_at: None, finished_at: now };
        log_outcome(&report);
        if self.wants(EventMask::JOB_MISSED) {
            let RunReport { run, outcome, started_at, finished_at } = report;
            self.first.push(Event::run_ended(RunEnded { run, outcome, started_at, finished_at }));
        }
    }

    /// What the dispatcher decided for direct runs.
    pub(crate) fn admitted(&mut self, applied: &AppliedPlan, admitted: &Admitted) {
        let times = || {
            let due = applied.plan.fires.iter().filter(|fire| !fire.missed);
            due.map(|fire| fire.scheduled_time).collect()
        };
        match admitted {
            Admitted::Taken if self.wants(EventMask::JOB_SUBMITTED) => {
                let job = self.job_ref(&applied.job);
                self.first.push(Event::JobSubmitted { job, scheduled_run_times: times() });
            }
            Admitted::Taken => {}
            Admitted::Skipped { limit } => self.max_instances(&applied.job, times(), *limit),
        }
    }

    /// What the store decided for queued runs.
    pub(crate) fn queued(&mut self, applied: &AppliedPlan) {
        if !applied.skipped.is_empty() {
            let limit = applied.job.spec.options.max_instances;
            self.max_instances(&applied.job, applied.skipped.clone(), limit);
        }
        let due = applied.plan.fires.iter().filter(|fire| !fire.missed).count();
        let queued = due.saturating_sub(applied.skipped.len());
        let ended = applied.plan.then == Then::Remove;
        if self.lane.queued.lock().add(applied.job.id(), queued, ended) {
            self.later.push(Event::JobRemoved(self.job_ref(&applied.job)));
        }
    }

    fn max_instances(&mut self, job: &Job, scheduled_run_times: Vec<DateTime<Utc>>, limit: u32) {
        tracing::warn!(
            job = job.id().as_str(),
            limit,
            "skipped: the maximum number of running instances is reached"
        );
        let job = self.job_ref(job);
        self.first.push(Event::JobMaxInstances { job, scheduled_run_times, limit });
    }
}

/// Queues the events that claimed runs are handed over.
pub(crate) fn submitted_events(scheduler: &Scheduler, ready: &[Execution]) {
    if !scheduler.inner.events.wants(EventMask::JOB_SUBMITTED) {
        return;
    }
    let runs = ready.iter().filter_map(Execution::run);
    let events = runs.filter_map(|run| {
        let job = JobRef { job_id: run.job_id.clone()?, store: Some(Arc::clone(&run.store)) };
        Some(Event::JobSubmitted { job, scheduled_run_times: vec![run.scheduled_time] })
    });
    scheduler.inner.events.enqueue(events);
}

/// A fresh id for a run made now.
pub(crate) fn run_id(now: DateTime<Utc>) -> RunId {
    RunId::at(u64::try_from(now.timestamp_millis()).unwrap_or(0))
}
