//! Committing plans, and trying again when it is not known whether a commit was applied.
//!
//! A claim's token makes the second try safe: it is applied once or not at all. Only a commit whose answer was lost is in
//! doubt; then the job is read back, and as long as the claim's lease holds, nobody else can have moved its cursor.

use std::sync::Arc;
use std::time::Duration;

use super::Scheduler;
use super::lane::Lane;
use super::told::AppliedPlan;
use super::turn::queued_runs;
use crate::Error;
use crate::id::{FencingToken, JobId, RunId};
use crate::job::{Cursor, Job};
use crate::plan::{Plan, Then};
use crate::policy::Delivery;
use crate::store::{
    Advance, Claim, Committed, JobCommit, JobStore, RunClaim, RunFilter, RunPhase, RunRecord, RunState,
    StoredJob,
};

use chrono::{DateTime, TimeDelta, Utc};

/// A claimed job with its plan.
pub(super) struct Planned {
    pub(super) job: Job,
    pub(super) plan: Plan,
    /// Why the trigger failed, when it did.
    pub(super) failure: Option<Arc<str>>,
    pub(super) claim: Claim,
}

/// Plans of one batch of claims.
pub(super) struct Batch {
    pub(super) planned: Vec<Planned>,
    /// When the claims were made.
    pub(super) at: DateTime<Utc>,
    /// The end of their leases, by the monotonic clock. Leases on runs that a commit claims end later.
    pub(super) until: Duration,
    /// Whether its runs were to be claimed as they are committed.
    pub(super) is_wanted: bool,
    /// Whether its jobs were claimed in the write that was to commit them, so that they are free when that failed.
    pub(super) is_at_once: bool,
}

/// What became of a batch.
#[derive(Default)]
pub(super) struct Outcomes {
    pub(super) applied: Vec<AppliedPlan>,
    pub(super) stale: Vec<Job>,
    /// Until when runs that were claimed as they were committed are leased at least, by the monotonic clock.
    pub(super) leased_until: Duration,
}

impl Batch {
    /// What is written.
    pub(super) fn commits(&self, delivery: Delivery) -> Vec<JobCommit> {
        let commits = self.planned.iter().map(|planned| {
            let Planned { job, plan, claim, .. } = planned;
            let advance = match plan.then {
                Then::Remove => Advance::Remove,
                Then::Continue | Then::Retain => Advance::To(plan.cursor.clone()),
            };
            let runs = match delivery {
                Delivery::Direct => Vec::new(),
                Delivery::Durable => queued_runs(job, plan, self.at),
            };
            JobCommit { claim: claim.clone(), advance, runs }
        });
        commits.collect()
    }

    /// What became of it, when the answers are those of the first try.
    pub(super) fn outcomes(self, answers: Vec<Committed>) -> Outcomes {
        let mut outcomes = Outcomes { leased_until: self.until, ..Outcomes::default() };
        for (planned, answer) in self.planned.into_iter().zip(answers) {
            match answer {
                Committed::Applied { skipped } => outcomes.applied.push(planned.applied(skipped)),
                Committed::Claimed(run) => outcomes.applied.push(planned.claimed(run)),
                Committed::Stale => outcomes.stale.push(planned.job),
            }
        }
        outcomes
    }

    /// What became of it, when an earlier try may have been applied.
    ///
    /// Jobs that were claimed in the same write may have been claimed by others since, who planned the same: then a row in
    /// the queue says whose the run is, and without one it is not ours to start.
    ///
    /// **Errors**: those of the store that is read.
    pub(super) fn doubtful_outcomes(
        self,
        answers: Vec<Committed>,
        delivery: Delivery,
        scheduler: &Scheduler,
        lane: &Lane,
    ) -> Result<Outcomes, Error> {
        let can_tell = !self.is_at_once || delivery == Delivery::Durable;
        let holds = scheduler.inner.clock.monotonic() < self.until && can_tell;
        let in_doubt = |answer: &Committed| holds && *answer == Committed::Stale;
        let doubtful = self.planned.iter().zip(&answers).filter(|(_, answer)| in_doubt(answer));
        let ids: Vec<JobId> = doubtful.map(|(planned, _)| planned.job.id().clone()).collect();
        let mut found = read_back(&*lane.store, &ids)?.into_iter();
        let mut outcomes = Outcomes { leased_until: self.until, ..Outcomes::default() };
        for (planned, answer) in self.planned.into_iter().zip(answers) {
            let is_in_doubt = in_doubt(&answer);
            match answer {
                Committed::Applied { skipped } => outcomes.applied.push(planned.applied(skipped)),
                // Nothing was wished for.
                Committed::Claimed(_) => outcomes.applied.push(planned.applied(Vec::new())),
                Committed::Stale if is_in_doubt && planned.is_written(found.next().flatten()) => {
                    let claimed = match self.is_wanted {
                        true => claimed_run(scheduler, lane, &planned)?,
                        false => None,
                    };
                    outcomes.applied.push(AppliedPlan { claimed, ..planned.applied(Vec::new()) });
                }
                // What was claimed and not written is not lost: it is due as before.
                Committed::Stale if self.is_at_once => {}
                Committed::Stale => outcomes.stale.push(planned.job),
            }
        }
        Ok(outcomes)
    }
}

impl Outcomes {
    /// When the first run was due that waits in the queue.
    pub(super) fn first_queued(&self) -> Option<DateTime<Utc>> {
        let queued = self.applied.iter().filter(|applied| applied.is_queued());
        queued.flat_map(AppliedPlan::due).map(|fire| fire.scheduled_time).min()
    }
}

impl Planned {
    fn applied(self, skipped: Vec<DateTime<Utc>>) -> AppliedPlan {
        let Self { job, plan, failure, .. } = self;
        AppliedPlan { job, plan, failure, skipped, claimed: None }
    }

    fn claimed(self, run: RunId) -> AppliedPlan {
        AppliedPlan { claimed: Some(first_claim(run)), ..self.applied(Vec::new()) }
    }

    /// Whether the job stands where this plan put it. One that is gone may have been removed by somebody else.
    fn is_written(&self, found: Option<Cursor>) -> bool {
        let revision = self.job.cursor.revision.wrapping_add(1);
        let written = Cursor { revision, ..self.plan.cursor.clone() };
        self.plan.then != Then::Remove && found == Some(written)
    }
}

fn first_claim(id: RunId) -> RunClaim {
    RunClaim { id, token: FencingToken::FIRST }
}

/// The claim that a commit made on the run of a plan, when its row says so.
fn claimed_run(scheduler: &Scheduler, lane: &Lane, planned: &Planned) -> Result<Option<RunClaim>, Error> {
    let due = planned.plan.fires.iter().find(|fire| !fire.missed);
    let (Some(queue), Some(fire)) = (lane.store.runs(), due) else { return Ok(None) };
    let filter = RunFilter {
        job_id: Some(planned.job.id().clone()),
        phase: Some(RunPhase::Running),
        from: Some(fire.fire_time),
        until: fire.fire_time.checked_add_signed(TimeDelta::microseconds(1)),
        limit: Some(1),
        ..RunFilter::default()
    };
    let ours = |record: &RunRecord| {
        let is_owner =
            matches!(&record.state, RunState::Running { owner, .. } if *owner == scheduler.inner.identity);
        is_owner && record.attempt == 1 && record.history.is_empty()
    };
    let found = queue.list(&filter)?.into_iter().find(ours).map(|record| record.run.id);
    Ok(found.filter(|id| !scheduler.inner.dispatcher.has(*id)).map(first_claim))
}

fn read_back(store: &dyn JobStore, ids: &[JobId]) -> Result<Vec<Option<Cursor>>, Error> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let cursor = |found: Option<StoredJob>| match found {
        Some(StoredJob::Job(job)) => Some(job.cursor),
        _ => None,
    };
    Ok(store.get(ids)?.into_iter().map(cursor).collect())
}
