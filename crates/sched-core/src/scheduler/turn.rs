//! One step of the engine: claim, plan, commit, dispatch, settle, and when to wake.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::Scheduler;
use super::ahead::{Ahead, planned};
use super::at_once::AtOnce;
use super::backoff::Backoff;
use super::commit::{Batch, Outcomes, Planned};
use super::dispatch::{Followed, Sink};
use super::driver::Wake;
use super::lane::Lane;
use super::queued::Wishes;
use super::settle::{Beside, settle, tell_removed_elsewhere};
use super::state::{EngineOptions, SchedulerState};
use super::told::{AppliedPlan, Told, run_id};
use crate::Error;
use crate::context::CancelReason;
use crate::error::panic_message;
use crate::event::Event;
use crate::executor::{Execution, RunSink};
use crate::id::mix64;
use crate::job::{Job, JobStatus};
use crate::plan::{Plan, PlannedFire, Then, plan};
use crate::policy::{Delivery, Overlap, Role};
use crate::run::Run;
use crate::store::{ClaimRequest, Committed, QueuedRun, RunQueue};
use crate::task::TaskRef;

/// A wall clock that departs this far from the monotonic one has jumped.
const CLOCK_TOLERANCE_MILLIS: i64 = 1_000;

/// How soon runs that an executor had no place for are offered again, when no run of it ends before.
const BACKLOG_PAUSE: Duration = Duration::from_millis(100);

/// How soon a queue is looked at again when what is due in it could not be claimed, for want of a place or of its
/// executor. It costs a call of the store.
const QUEUE_PAUSE: Duration = Duration::from_secs(1);

/// How many due jobs of a store in memory are claimed at once at first: few, so that the first run starts before the last is
/// planned. Stores with round trips take whole batches.
pub(super) const SMALL_BATCH: usize = 256;

/// What a lane's loop remembers from turn to turn.
pub(crate) struct Engine {
    pub(crate) options: EngineOptions,
    pub(crate) delivery: Delivery,
    pub(crate) backoff: Backoff,
    pub(super) sink: Arc<dyn RunSink>,
    /// How many jobs of a store in memory are claimed at once; more as long as more are due, up to a whole batch.
    small_batch: usize,
    /// Plans whose commit failed, to be committed again.
    pub(super) uncommitted: Option<Batch>,
    pub(super) at_once: AtOnce,
    /// What is written of ended runs while the turn goes on.
    pub(super) beside: Option<Beside>,
    /// Whether nothing that was due waited in the queue when it was looked at last: then what is committed may be
    /// claimed at once, because it overtakes nothing.
    pub(super) is_queue_clear: bool,
    pub(super) ahead: Ahead,
    seen: Option<(DateTime<Utc>, Duration)>,
    next_upkeep: Duration,
    /// Whether there may be results to delete.
    is_cleaning: bool,
}

impl Engine {
    pub(crate) fn new(
        options: EngineOptions,
        delivery: Delivery,
        scheduler: Scheduler,
        lane: Weak<Lane>,
    ) -> Self {
        let backoff = Backoff::new(options.retry_interval);
        let sink = Arc::new(Sink { scheduler, lane });
        Self {
            options,
            delivery,
            backoff,
            sink,
            small_batch: SMALL_BATCH,
            uncommitted: None,
            at_once: AtOnce::default(),
            beside: None,
            is_queue_clear: false,
            ahead: Ahead::default(),
            seen: None,
            next_upkeep: Duration::ZERO,
            is_cleaning: false,
        }
    }

    pub(crate) fn step(&mut self, scheduler: &Scheduler, lane: &Arc<Lane>) -> Result<Wake, Error> {
        let now = scheduler.inner.clock.now();
        self.watch_clock(scheduler, now);
        scheduler.expire(lane);
        let is_beside = self.may_settle_beside(scheduler, lane);
        if !is_beside {
            settle(scheduler, lane)?;
        }
        if lane.is_backlogged() {
            scheduler.retry_backlogs();
            // Who is refused from here on says so, and who was before is seen.
            lane.set_backlogged(false);
            if scheduler.has_backlog() {
                lane.set_backlogged(true);
            }
        }
        let phase = match scheduler.inner.state.read().phase {
            SchedulerState::Running if lane.is_leaving() => SchedulerState::Paused,
            phase => phase,
        };
        let queue = lane.store.runs().filter(|_| self.uses_queue(lane));
        let mut more = false;
        if phase == SchedulerState::Running {
            scheduler.start_retries(lane, now);
            more = match is_beside {
                true => {
                    self.settle_beside(scheduler, lane, |it| it.start_due(scheduler, lane, queue, now))?
                }
                false => self.start_due(scheduler, lane, queue, now)?,
            };
        } else {
            self.release_prepared(lane)?;
        }
        if let Some(queue) = queue {
            more |= self.keep_leases(scheduler, lane, queue)?;
        }
        if more {
            return Ok(Wake::Again);
        }
        let resting = Resting { queue: queue.filter(|_| phase == SchedulerState::Running), phase, now };
        self.next_wake(scheduler, lane, &resting)
    }

    /// Plans what is due and starts what is queued; says whether there may be more. A queue that is not known to be
    /// clear is looked at first.
    fn start_due(
        &mut self,
        scheduler: &Scheduler,
        lane: &Arc<Lane>,
        queue: Option<&dyn RunQueue>,
        now: DateTime<Utc>,
    ) -> Result<bool, Error> {
        let queue = queue.filter(|_| self.options.role.runs());
        let (mut more, was_clear) = (false, self.is_queue_clear);
        if let Some(queue) = queue.filter(|_| !was_clear) {
            more |= self.start_queued(scheduler, lane, queue, now)?;
        }
        let mut fired = Fired::default();
        if self.options.role.plans() {
            fired = self.fire_due(scheduler, lane, now)?;
            more |= fired.more;
        }
        let started = match queue.filter(|_| was_clear || fired.queued.is_some()) {
            Some(queue) => self.start_queued(scheduler, lane, queue, now),
            None => Ok(false),
        };
        if queue.is_none() || !self.is_queue_clear {
            // Others learn of what is left to them by one notice for each turn.
            scheduler.notify(lane, fired.queued);
        }
        Ok(more | started?)
    }

    fn uses_queue(&self, lane: &Lane) -> bool {
        if self.options.role == Role::Client {
            return false;
        }
        self.delivery == Delivery::Durable
            || lane.store.traits().shared
            || lane.queue_used.load(Ordering::Relaxed)
    }

    /// Compares the wall clock with the monotonic one. A jump needs no repair: due times are read again each turn.
    fn watch_clock(&mut self, scheduler: &Scheduler, now: DateTime<Utc>) {
        let monotonic = scheduler.inner.clock.monotonic();
        if let Some((wall, mono)) = self.seen.replace((now, monotonic)) {
            let passed = TimeDelta::from_std(monotonic.saturating_sub(mono)).unwrap_or(TimeDelta::MAX);
            let by_millis = (now - wall - passed).num_milliseconds();
            if by_millis.abs() > CLOCK_TOLERANCE_MILLIS {
                tracing::warn!(by_millis, "the wall clock jumped");
                scheduler.publish(Event::ClockJumped { by_millis });
            }
        }
    }

    /// Claims, plans, commits and dispatches one batch of due jobs.
    fn fire_due(
        &mut self,
        scheduler: &Scheduler,
        lane: &Arc<Lane>,
        now: DateTime<Utc>,
    ) -> Result<Fired, Error> {
        if self.uncommitted.is_some() {
            let queued = self.commit_again(scheduler, lane, now)?;
            return Ok(Fired { more: true, queued });
        }
        if self.fire_prepared(scheduler, lane, now)? {
            return Ok(Fired { more: true, queued: None });
        }
        if self.prepare(scheduler, lane, now)? {
            return Ok(Fired::default());
        }
        let is_blocking = lane.store.traits().blocking;
        let limit = match is_blocking {
            true => self.options.claim_batch,
            false => self.options.claim_batch.min(self.small_batch),
        };
        let request = self.request(scheduler, now, limit);
        if let Some(fired) = self.fire_at_once(scheduler, lane, &request)? {
            return Ok(fired);
        }
        let until = scheduler.inner.clock.monotonic() + self.options.lease;
        let claimed = lane.store.claim_due(&request)?;
        let more = claimed.len() >= request.limit && !claimed.is_empty();
        self.small_batch = if more { self.small_batch.saturating_mul(2) } else { SMALL_BATCH };
        if claimed.is_empty() {
            return Ok(Fired::default());
        }
        let seed = scheduler.inner.seed;
        let planned: Vec<Planned> = claimed.into_iter().map(|claimed| planned(claimed, now, seed)).collect();
        if let Some(beside) = self.beside.as_ref().filter(|it| planned.iter().any(|due| it.touches(&due.job)))
        {
            // Else they would seem to run still.
            beside.wait();
        }
        let wishes = Wishes::new(&self.options, self.delivery, self.is_queue_clear);
        let wish = wishes.wish(scheduler, &planned);
        let batch = Batch { planned, at: now, until, is_wanted: wish.is_some(), is_at_once: false };
        let commits = batch.commits(self.delivery);
        if !is_blocking && self.delivery == Delivery::Direct {
            let answers = lane.store.commit(commits)?;
            self.dispatch(scheduler, lane, (batch.outcomes(answers), None), now);
            return Ok(Fired { more, queued: None });
        }
        // Kept while it is written: a store that waits for somebody can leave it in doubt.
        self.uncommitted = Some(batch);
        let answers = match wish {
            Some(wish) => lane.store.commit_and_claim(commits, &wish)?,
            None => lane.store.commit(commits)?,
        };
        let Some(batch) = self.uncommitted.take() else { return Ok(Fired { more, queued: Some(now) }) };
        let outcomes = batch.outcomes(answers);
        let queued = outcomes.first_queued();
        self.dispatch(scheduler, lane, (outcomes, None), now);
        Ok(Fired { more, queued })
    }

    /// Commits a batch once more whose first commit failed: the jobs need not wait for the end of their leases. Says when
    /// the first run was due that it queued.
    fn commit_again(
        &mut self,
        scheduler: &Scheduler,
        lane: &Arc<Lane>,
        now: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, Error> {
        let Some(batch) = &self.uncommitted else { return Ok(None) };
        let answers = match batch.is_at_once {
            true => vec![Committed::Stale; batch.planned.len()],
            false => lane.store.commit(batch.commits(self.delivery))?,
        };
        let Some(batch) = self.uncommitted.take() else { return Ok(None) };
        let outcomes = batch.doubtful_outcomes(answers, self.delivery, scheduler, lane)?;
        let queued = outcomes.first_queued();
        self.dispatch(scheduler, lane, (outcomes, None), now);
        Ok(queued)
    }

    pub(super) fn request(&self, scheduler: &Scheduler, now: DateTime<Utc>, limit: usize) -> ClaimRequest {
        ClaimRequest { owner: Arc::clone(&scheduler.inner.identity), now, limit, lease: self.options.lease }
    }

    /// Hands over what was committed, and tells of it. Runs of direct delivery may have been made before, in the order of
    /// the outcomes.
    pub(super) fn dispatch(
        &self,
        scheduler: &Scheduler,
        lane: &Arc<Lane>,
        (outcomes, made): (Outcomes, Option<Vec<Execution>>),
        now: DateTime<Utc>,
    ) {
        let mut told = Told::new(scheduler, lane);
        for job in &outcomes.stale {
            told.claim_lost(Some(job.id().clone()), None);
        }
        // Runs are made before the table is locked: workers that end others wait for it.
        let is_made = made.is_some();
        let mut runs = made.unwrap_or_else(|| Vec::with_capacity(outcomes.applied.len()));
        for applied in &outcomes.applied {
            told.judged(applied, now);
            if self.delivery == Delivery::Direct {
                told.without_task(applied, now);
                if !is_made {
                    self.push_executions(lane, (&applied.job, &applied.plan), now, &mut runs);
                }
            }
        }
        let mut ready: Vec<Execution> = Vec::with_capacity(runs.len());
        let mut followed = Followed::default();
        match self.delivery {
            Delivery::Direct => {
                let mut batch = scheduler.inner.dispatcher.batch();
                let mut runs = runs.into_iter().peekable();
                for applied in &outcomes.applied {
                    let id = applied.job.id();
                    let of_job =
                        |run: &Execution| run.run().is_some_and(|run| run.job_id.as_ref() == Some(id));
                    if runs.peek().is_some_and(of_job) {
                        let own = std::iter::from_fn(|| runs.next_if(of_job));
                        let admitted = batch.admit(lane, own, now, &mut ready);
                        told.admitted(applied, &admitted);
                    }
                    if applied.plan.then == Then::Remove {
                        told.later.extend(batch.end_job(lane, told.job_ref(&applied.job)));
                    }
                }
                followed = batch.finish();
            }
            Delivery::Durable => outcomes.applied.iter().for_each(|applied| told.queued(applied)),
        }
        let Told { first, later, .. } = told;
        lane.await_additions(scheduler);
        // Queued before the runs are handed over, told after: a listener may wait for them, as shutdown does.
        scheduler.inner.events.enqueue(first);
        scheduler.submit(ready);
        scheduler.follow(followed);
        if self.delivery == Delivery::Durable {
            replace_queued(scheduler, lane, &outcomes.applied);
            self.start_committed(scheduler, lane, &outcomes, now);
        }
        scheduler.inner.events.publish_all(later);
    }

    pub(super) fn push_executions(
        &self,
        lane: &Lane,
        (job, plan): (&Job, &Plan),
        now: DateTime<Utc>,
        runs: &mut Vec<Execution>,
    ) {
        let spec = &job.spec;
        let TaskRef::Bound(task) = &spec.task else { return };
        let due = plan.fires.iter().filter(|fire| !fire.missed);
        runs.extend(due.map(|fire| {
            let run = Run {
                id: run_id(now),
                job_id: Some(spec.id.clone()),
                store: Arc::clone(&lane.alias),
                task: task.shared_name(),
                fire_time: fire.fire_time,
                scheduled_time: fire.scheduled_time,
                attempt: 1,
            };
            Execution::of_job(Arc::new(run), Arc::clone(spec), Arc::clone(&self.sink))
        }));
    }

    /// Renews leases, takes over what others left, and deletes a batch of results whose time ended; says whether there
    /// may be more of these, which are then deleted turn by turn.
    fn keep_leases(
        &mut self,
        scheduler: &Scheduler,
        lane: &Arc<Lane>,
        queue: &dyn RunQueue,
    ) -> Result<bool, Error> {
        scheduler.renew_leases(lane, Duration::ZERO)?;
        let monotonic = scheduler.inner.clock.monotonic();
        if monotonic >= self.next_upkeep {
            self.next_upkeep = monotonic + self.options.lease / 3;
            tell_removed_elsewhere(scheduler, lane, queue)?;
            queue.reap()?;
            self.is_cleaning = true;
        }
        if self.is_cleaning {
            let batch = self.options.claim_batch;
            self.is_cleaning = queue.cleanup(self.options.keep_runs, batch)? >= batch;
        }
        Ok(self.is_cleaning)
    }

    fn next_wake(
        &mut self,
        scheduler: &Scheduler,
        lane: &Lane,
        resting: &Resting<'_>,
    ) -> Result<Wake, Error> {
        let role = self.options.role;
        let mut next = match resting.phase {
            SchedulerState::Running if role.plans() => lane.store.next_wakeup()?,
            _ => None,
        };
        // A job that is due already and was not claimed is held by another, by a clock that may differ from ours.
        let due = next;
        let mut held_back = next.filter(|time| *time <= resting.now).map(|_| QUEUE_PAUSE);
        next = next.filter(|time| *time > resting.now);
        if let Some(waiting) =
            resting.queue.filter(|_| role.runs()).map(RunQueue::next_wakeup).transpose()?.flatten()
        {
            // What was due already has just been left in the queue, for want of a place or of its executor.
            held_back = held_back.or((waiting <= resting.now).then_some(QUEUE_PAUSE));
            next = [next, Some(waiting).filter(|time| *time > resting.now)].into_iter().flatten().min();
        }
        next = next.into_iter().chain(self.ahead.due()).min();
        let now = scheduler.inner.clock.now();
        let is_running = resting.phase == SchedulerState::Running;
        if let Some(due) = scheduler.inner.dispatcher.next_timer(lane.index, is_running) {
            let left = due.saturating_sub(scheduler.inner.clock.monotonic());
            let due = TimeDelta::from_std(left).ok().and_then(|left| now.checked_add_signed(left));
            next = next.into_iter().chain(due).min();
        }
        let mut sleep = next.map(|time| (time - now).to_std().unwrap_or(Duration::ZERO));
        if let (Some(pause), Some(due)) = (sleep, due.filter(|_| due == next)) {
            sleep = Some(self.sleep_for(lane, due, pause));
        }
        if lane.queued.lock().has_ended() {
            let upkeep = self.next_upkeep.saturating_sub(scheduler.inner.clock.monotonic());
            sleep = Some(sleep.map_or(upkeep, |sleep| sleep.min(upkeep)));
        }
        if !lane.claims.lock().is_empty() {
            let upkeep = lane.keeping.renewal().saturating_sub(scheduler.inner.clock.monotonic());
            sleep = Some(sleep.map_or(upkeep, |sleep| sleep.min(upkeep)));
        }
        let backlogged = lane.is_backlogged().then_some(BACKLOG_PAUSE);
        sleep = [sleep, held_back, backlogged].into_iter().flatten().min();
        if sleep.is_some() || (lane.store.traits().shared && role != Role::Client) {
            let poll = match lane.store.traits().shared {
                true => poll_after(self.options.poll_interval, &scheduler.inner.identity, now),
                false => self.options.poll_interval,
            };
            sleep = Some(sleep.map_or(poll, |sleep| sleep.min(poll)));
        }
        lane.asleep_until(next);
        Ok(match sleep {
            _ if lane.is_woken() => Wake::Again,
            Some(Duration::ZERO) => Wake::Again,
            Some(sleep) => Wake::After(sleep),
            None => Wake::WhenWoken,
        })
    }
}

/// When a loop looks again though nothing is known to be due. Those that share a store do not all look together: each does so
/// up to a quarter of the interval sooner, as its name and the moment say.
fn poll_after(interval: Duration, identity: &str, now: DateTime<Utc>) -> Duration {
    let moment = now.timestamp_micros().unsigned_abs();
    let hash = identity.bytes().fold(moment, |hash, byte| mix64(hash ^ u64::from(byte)));
    interval - interval / 1024 * u32::try_from(hash % 256).unwrap_or(0)
}

/// What became of the jobs that were due.
#[derive(Default)]
pub(super) struct Fired {
    /// There may be more.
    pub(super) more: bool,
    /// When the first of those runs was due that wait in the queue.
    pub(super) queued: Option<DateTime<Utc>>,
}

/// What decides how long a loop sleeps, besides its store.
struct Resting<'a> {
    queue: Option<&'a dyn RunQueue>,
    phase: SchedulerState,
    /// The time of the turn.
    now: DateTime<Utc>,
}

/// The plan of a due job. When its trigger fails, the fire time that is known still runs and the job is suspended.
pub(super) fn plan_or_suspend(job: &Job, now: DateTime<Utc>, seed: u64) -> (Plan, Option<Arc<str>>) {
    let call = AssertUnwindSafe(|| plan(&job.spec, &job.cursor, now, seed));
    let reason: Arc<str> = match std::panic::catch_unwind(call) {
        Ok(Ok(plan)) => return (plan, None),
        Ok(Err(error)) => error.to_string().into(),
        Err(panic) => format!("trigger panicked: {}", panic_message(&*panic)).into(),
    };
    let fire = job.cursor.next_fire_time.unwrap_or(now);
    let scheduled_time = job.cursor.next_run_time.unwrap_or(fire);
    let missed = crate::is_too_late(job.spec.options.misfire_grace_time, scheduled_time, now);
    let mut cursor = job.cursor.clone().stopped(JobStatus::Suspended(Arc::clone(&reason)));
    cursor.last_fire_time = Some(fire);
    let fires = vec![PlannedFire { fire_time: fire, scheduled_time, missed }];
    (Plan { fires, cursor, then: Then::Continue, catch_up_limited: false }, Some(reason))
}

pub(super) fn queued_runs(job: &Job, plan: &Plan, now: DateTime<Utc>) -> Vec<QueuedRun> {
    let due = plan.fires.iter().filter(|fire| !fire.missed);
    let made = due.map(|fire| QueuedRun {
        id: run_id(now),
        job_id: Some(job.spec.id.clone()),
        call: crate::task::Call { task: job.spec.task.clone(), args: job.spec.args.clone() },
        fire_time: fire.fire_time,
        scheduled_time: fire.scheduled_time,
        priority: job.spec.options.priority,
        options: Arc::clone(&job.spec.options),
    });
    made.collect()
}

/// Asks the runs to stop in whose place queued ones come, as far as they run here.
fn replace_queued(scheduler: &Scheduler, lane: &Lane, applied: &[AppliedPlan]) {
    let replacing = applied.iter().filter(|applied| {
        let options = &applied.job.spec.options;
        options.overlap == Overlap::CancelPrevious && applied.plan.fires.iter().any(|fire| !fire.missed)
    });
    for applied in replacing {
        let (id, limit) = (applied.job.id(), applied.job.spec.options.max_instances);
        if let Some(data) = scheduler.inner.dispatcher.oldest_claimed(lane.index, id, limit) {
            scheduler.stop(&data, CancelReason::Replaced);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_share_a_store_look_at_different_moments() {
        let (interval, now) = (Duration::from_secs(10), DateTime::UNIX_EPOCH);
        let pauses: Vec<Duration> =
            (0..100).map(|member| poll_after(interval, &format!("member-{member}"), now)).collect();
        let is_near = |pause: &Duration| *pause <= interval && *pause > interval * 3 / 4;
        assert!(pauses.iter().all(is_near), "{pauses:?}");
        let quarters = [8_125, 8_750, 9_375, 10_001].map(Duration::from_millis);
        let counts = quarters.map(|end| pauses.iter().filter(|pause| **pause < end).count());
        assert!(counts[0] > 10 && counts[2] < 90, "spread over the whole quarter: {counts:?}");
        let later = poll_after(interval, "member-0", now + TimeDelta::seconds(10));
        assert_ne!(later, pauses[0], "and not each time after the same pause");
    }
}
