//! Jobs that are claimed, planned and committed in one write, where their store can do that.
//!
//! The store keeps the jobs locked meanwhile, so nothing is asked that may take long or call back: a job whose trigger is
//! not [quick](crate::Trigger::is_quick) is left to a turn that claims first and commits later.

use std::sync::Arc;
use std::time::Duration;

use super::Scheduler;
use super::ahead::planned;
use super::commit::{Batch, Planned};
use super::lane::Lane;
use super::queued::Wishes;
use super::turn::{Engine, Fired};
use crate::Error;
use crate::store::{ClaimRequest, ClaimedJob, PlannedCommits};

/// How long the plans of a batch may take. What is left then is due as before.
const PATIENCE: Duration = Duration::from_millis(250);

/// For how many turns nothing is tried in one write when all that was due had slow triggers.
const SLOW_TURNS: u32 = 64;

/// Whether a lane claims and commits in one write.
#[derive(Default)]
pub(super) struct AtOnce {
    /// For how many turns it does not.
    pause: u32,
}

impl Engine {
    /// Claims, plans and commits a batch of due jobs in one write, and dispatches it. `None`: it is to be done in two.
    pub(super) fn fire_at_once(
        &mut self,
        scheduler: &Scheduler,
        lane: &Arc<Lane>,
        request: &ClaimRequest,
    ) -> Result<Option<Fired>, Error> {
        if self.at_once.pause > 0 {
            self.at_once.pause -= 1;
            return Ok(None);
        }
        let (clock, seed, now) = (&scheduler.inner.clock, scheduler.inner.seed, request.now);
        let until = clock.monotonic() + self.options.lease;
        let (mut found, mut has_slow) = (0, false);
        let Self { options, delivery, is_queue_clear, beside, uncommitted, .. } = self;
        let wishes = Wishes::new(options, *delivery, *is_queue_clear);
        let answers = lane.store.claim_and_commit(request, &mut |claimed: Vec<ClaimedJob>| {
            let begun = clock.monotonic();
            found = claimed.len();
            let mut batch = Vec::with_capacity(claimed.len());
            for claimed in claimed {
                let is_slow = !claimed.job.spec.trigger.is_quick();
                has_slow |= is_slow;
                if clock.monotonic().saturating_sub(begun) > PATIENCE {
                    break;
                }
                if !is_slow && !beside.as_ref().is_some_and(|beside| beside.touches(&claimed.job)) {
                    batch.push(planned(claimed, now, seed));
                }
            }
            let wish = wishes.wish(scheduler, &batch);
            let is_wanted = wish.is_some();
            let batch = Batch { planned: batch, at: now, until, is_wanted, is_at_once: true };
            let commits = batch.commits(*delivery);
            // Kept while it is written: when that fails, nobody knows whether it was.
            *uncommitted = Some(batch).filter(|batch| !batch.planned.is_empty());
            PlannedCommits { commits, wish }
        })?;
        let Some(answers) = answers else { return Ok(None) };
        let batch = self.uncommitted.take();
        let planned: &[Planned] = batch.as_ref().map_or(&[], |batch| &batch.planned);
        let (is_left, is_none) = (found > planned.len(), planned.is_empty());
        if has_slow {
            self.at_once.pause = if is_none { SLOW_TURNS } else { 1 };
        }
        let Some(batch) = batch else {
            return Ok(if has_slow { None } else { Some(Fired { more: is_left, queued: None }) });
        };
        let outcomes = batch.outcomes(answers);
        let queued = outcomes.first_queued();
        self.dispatch(scheduler, lane, (outcomes, None), now);
        Ok(Some(Fired { more: is_left || found >= request.limit, queued }))
    }
}
