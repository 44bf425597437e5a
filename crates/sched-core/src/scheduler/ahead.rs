//! Jobs that are claimed and planned a little before they are due, and their runs made, so that at the moment itself only
//! the commit and the hand-over are left.
//!
//! Only for direct delivery from a store that never waits, and only under a runtime that gives the loop a head start.
//! Nothing is committed early: whoever changes a job before its moment makes the claim stale, as ever.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::Scheduler;
use super::commit::{Batch, Planned};
use super::lane::Lane;
use super::turn::{Engine, SMALL_BATCH, plan_or_suspend};
use crate::Error;
use crate::executor::Execution;
use crate::policy::Delivery;
use crate::store::{Advance, ClaimedJob, JobCommit};

/// How many batches are prepared; what is due beyond them is claimed when it is due.
const MOST_BATCHES: usize = 16;

/// A pause must be this many times as long as the head start to be cut short for it.
const LEAST_PAUSE: u32 = 5;

/// A plan that is later than this by its commit is made anew, as what else has become due may change it.
const STALE_PLAN: TimeDelta = TimeDelta::milliseconds(20);

/// What was prepared for one moment.
#[derive(Default)]
pub(super) struct Ahead {
    /// How much earlier than its moment a loop wakes; zero when it does not.
    head_start: Duration,
    /// The moment the loop sleeps for.
    moment: Option<DateTime<Utc>>,
    batches: VecDeque<Prepared>,
}

/// A batch, and what is written and handed over when its moment has come.
struct Prepared {
    batch: Batch,
    commits: Vec<JobCommit>,
    runs: Made,
}

/// Runs that are not handed over yet. Nobody hears of those that never are, also when the store panics.
#[derive(Default)]
struct Made(Vec<Execution>);

impl Drop for Made {
    fn drop(&mut self) {
        self.0.drain(..).for_each(Execution::forget);
    }
}

impl Ahead {
    /// The moment that batches wait for.
    pub(super) fn due(&self) -> Option<DateTime<Utc>> {
        self.moment.filter(|_| !self.batches.is_empty())
    }

    /// The next batch whose moment has come.
    fn take_due(&mut self, now: DateTime<Utc>) -> Option<Prepared> {
        match self.moment {
            Some(moment) if moment <= now => self.batches.pop_front(),
            _ => None,
        }
    }
}

impl Engine {
    pub(crate) fn set_head_start(&mut self, head_start: Duration) {
        self.ahead.head_start = head_start;
    }

    /// How long to sleep for a moment when a job is due: a little less, when there is a head start and the pause is long.
    pub(super) fn sleep_for(&mut self, lane: &Lane, due: DateTime<Utc>, pause: Duration) -> Duration {
        let head_start = self.ahead.head_start;
        let is_wanted = !head_start.is_zero()
            && self.ahead.batches.is_empty()
            && self.delivery == Delivery::Direct
            && !lane.store.traits().blocking
            && pause >= head_start * LEAST_PAUSE;
        if !is_wanted {
            return pause;
        }
        self.ahead.moment = Some(due);
        pause.saturating_sub(head_start)
    }

    /// Claims and plans what is due at the moment the loop slept for, when that is near; says whether it did.
    pub(super) fn prepare(
        &mut self,
        scheduler: &Scheduler,
        lane: &Lane,
        now: DateTime<Utc>,
    ) -> Result<bool, Error> {
        if !self.ahead.batches.is_empty() {
            return Ok(false);
        }
        let Some(moment) = self.ahead.moment.take() else { return Ok(false) };
        let is_near =
            (moment - now).to_std().is_ok_and(|left| !left.is_zero() && left <= self.ahead.head_start);
        if !is_near {
            return Ok(false);
        }
        self.ahead.moment = Some(moment);
        while self.ahead.batches.len() < MOST_BATCHES {
            let request = self.request(scheduler, moment, self.options.claim_batch.min(SMALL_BATCH));
            let until = scheduler.inner.clock.monotonic() + self.options.lease;
            let claimed = lane.store.claim_due(&request)?;
            let is_last = claimed.len() < request.limit;
            if !claimed.is_empty() {
                let planned =
                    claimed.into_iter().map(|claimed| planned(claimed, moment, scheduler.inner.seed));
                let batch = Batch {
                    planned: planned.collect(),
                    at: moment,
                    until,
                    is_wanted: false,
                    is_at_once: false,
                };
                let (commits, runs) = (batch.commits(self.delivery), self.runs_of(lane, &batch));
                self.ahead.batches.push_back(Prepared { batch, commits, runs });
            }
            if is_last {
                break;
            }
        }
        Ok(true)
    }

    /// Commits and dispatches a batch whose moment has come; says whether there was one.
    pub(super) fn fire_prepared(
        &mut self,
        scheduler: &Scheduler,
        lane: &Arc<Lane>,
        now: DateTime<Utc>,
    ) -> Result<bool, Error> {
        let Some(Prepared { mut batch, mut commits, mut runs }) = self.ahead.take_due(now) else {
            return Ok(false);
        };
        if now - batch.at > STALE_PLAN {
            let seed = scheduler.inner.seed;
            let claims =
                batch.planned.into_iter().map(|Planned { job, claim, .. }| ClaimedJob { job, claim });
            batch.planned = claims.map(|claimed| planned(claimed, now, seed)).collect();
            commits = batch.commits(self.delivery);
            runs = self.runs_of(lane, &batch);
        }
        let outcomes = batch.outcomes(lane.store.commit(commits)?);
        if !outcomes.stale.is_empty() {
            let is_stale = |run: &Execution| {
                let job = run.run().and_then(|run| run.job_id.as_ref());
                outcomes.stale.iter().any(|stale| Some(stale.id()) == job)
            };
            let (stale, applied) = std::mem::take(&mut runs.0).into_iter().partition(is_stale);
            runs.0 = applied;
            drop(Made(stale));
        }
        self.dispatch(scheduler, lane, (outcomes, Some(std::mem::take(&mut runs.0))), now);
        Ok(true)
    }

    /// The runs of a batch, should it be committed as it is.
    fn runs_of(&self, lane: &Lane, batch: &Batch) -> Made {
        let mut runs = Vec::with_capacity(batch.planned.len());
        for planned in &batch.planned {
            self.push_executions(lane, (&planned.job, &planned.plan), batch.at, &mut runs);
        }
        Made(runs)
    }

    /// Gives back what was prepared, as it was.
    pub(crate) fn release_prepared(&mut self, lane: &Lane) -> Result<(), Error> {
        let batches = std::mem::take(&mut self.ahead.batches);
        let planned = batches.into_iter().flat_map(|prepared| prepared.batch.planned);
        let unchanged = planned.map(|planned| JobCommit {
            claim: planned.claim,
            advance: Advance::To(planned.job.cursor),
            runs: Vec::new(),
        });
        let commits: Vec<JobCommit> = unchanged.collect();
        if !commits.is_empty() {
            lane.store.commit(commits)?;
        }
        Ok(())
    }
}

/// A claimed job with its plan.
pub(super) fn planned(claimed: ClaimedJob, now: DateTime<Utc>, seed: u64) -> Planned {
    let ClaimedJob { job, claim } = claimed;
    let (plan, failure) = plan_or_suspend(&job, now, seed);
    Planned { job, plan, failure, claim }
}
