//! One step of the engine: claim, plan, commit, dispatch, settle, and when to wake.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::Scheduler;
use super::backoff::Backoff;
use super::dispatch::{Sink, log_outcome};
use super::driver::Wake;
use super::lane::Lane;
use super::state::{EngineOptions, SchedulerState};
use super::told::{AppliedPlan, Told, run_id, submitted_events};
use crate::Error;
use crate::error::panic_message;
use crate::event::{Event, JobRef};
use crate::executor::{Capacity, Execution, RunSink};
use crate::job::{Job, JobStatus};
use crate::plan::{Plan, PlannedFire, Then, plan};
use crate::policy::Delivery;
use crate::run::{MissReason, Outcome, Run, RunReport};
use crate::store::{
    Advance, ClaimRequest, ClaimedJob, ClaimedRun, Committed, FinishedRun, JobCommit, QueuedRun, RunClaim,
    RunQueue,
};
use crate::task::TaskRef;

/// A wall clock that departs this far from the monotonic one has jumped.
const CLOCK_TOLERANCE_MILLIS: i64 = 1_000;

/// How soon runs that an executor had no place for are offered again, when no run of it ends before.
const BACKLOG_PAUSE: Duration = Duration::from_millis(100);

/// How soon a queue is looked at again when what is due in it could not be claimed, for want of a place or of its
/// executor. It costs a call of the store.
const QUEUE_PAUSE: Duration = Duration::from_secs(1);

/// How many due jobs of a store in memory are claimed at once: few, so that the first run starts before the last is
/// planned. Stores with round trips take whole batches.
const SMALL_BATCH: usize = 256;

/// What a lane's loop remembers from turn to turn.
pub(crate) struct Engine {
    pub(crate) options: EngineOptions,
    pub(crate) delivery: Delivery,
    pub(crate) backoff: Backoff,
    sink: Arc<dyn RunSink>,
    seen: Option<(DateTime<Utc>, Duration)>,
    next_upkeep: Duration,
}

impl Engine {
    pub(crate) fn new(options: EngineOptions, delivery: Delivery, scheduler: Scheduler) -> Self {
        let backoff = Backoff::new(options.retry_interval);
        let sink = Arc::new(Sink(scheduler));
        Self { options, delivery, backoff, sink, seen: None, next_upkeep: Duration::ZERO }
    }

    pub(crate) fn step(&mut self, scheduler: &Scheduler, lane: &Arc<Lane>) -> Result<Wake, Error> {
        let now = scheduler.inner.clock.now();
        self.watch_clock(scheduler, now);
        self.settle(scheduler, lane)?;
        if lane.is_backlogged() {
            lane.set_backlogged(scheduler.retry_backlogs());
        }
        let phase = scheduler.inner.state.read().phase;
        let mut more = false;
        if phase == SchedulerState::Running {
            more = self.fire_due(scheduler, lane, now)?;
        }
        let queue = lane.store.runs().filter(|_| self.uses_queue(lane));
        if let Some(queue) = queue {
            if phase == SchedulerState::Running {
                more |= self.start_queued(scheduler, lane, queue, now)?;
            }
            self.keep_leases(scheduler, lane, queue)?;
        }
        if more {
            return Ok(Wake::Again);
        }
        let resting = Resting { queue: queue.filter(|_| phase == SchedulerState::Running), phase, now };
        self.next_wake(scheduler, lane, &resting)
    }

    fn uses_queue(&self, lane: &Lane) -> bool {
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

    /// Claims, plans, commits and dispatches one batch of due jobs; says whether there may be more.
    fn fire_due(
        &mut self,
        scheduler: &Scheduler,
        lane: &Arc<Lane>,
        now: DateTime<Utc>,
    ) -> Result<bool, Error> {
        let limit = match lane.store.traits().blocking {
            true => self.options.claim_batch,
            false => self.options.claim_batch.min(SMALL_BATCH),
        };
        let request = self.request(scheduler, now, limit);
        let claimed = lane.store.claim_due(&request)?;
        if claimed.is_empty() {
            return Ok(false);
        }
        let full = claimed.len() >= request.limit;
        let mut commits = Vec::with_capacity(claimed.len());
        let mut planned = Vec::with_capacity(claimed.len());
        for ClaimedJob { job, claim } in claimed {
            let (plan, failure) = plan_or_suspend(&job, now, scheduler.inner.seed);
            let advance = match plan.then {
                Then::Remove => Advance::Remove,
                Then::Continue | Then::Retain => Advance::To(plan.cursor.clone()),
            };
            let runs = match self.delivery {
                Delivery::Direct => Vec::new(),
                Delivery::Durable => queued_runs(&job, &plan, now),
            };
            commits.push(JobCommit { claim, advance, runs });
            planned.push((job, plan, failure));
        }
        let answers = lane.store.commit(commits)?;
        let mut outcome = Outcomes::default();
        for ((job, plan, failure), answer) in planned.into_iter().zip(answers) {
            match answer {
                Committed::Applied { skipped } => {
                    outcome.applied.push(AppliedPlan { job, plan, failure, skipped });
                }
                Committed::Stale => outcome.stale.push(job),
            }
        }
        self.dispatch(scheduler, lane, outcome, now);
        Ok(full)
    }

    fn request(&self, scheduler: &Scheduler, now: DateTime<Utc>, limit: usize) -> ClaimRequest {
        ClaimRequest { owner: Arc::clone(&scheduler.inner.identity), now, limit, lease: self.options.lease }
    }

    fn dispatch(&self, scheduler: &Scheduler, lane: &Arc<Lane>, outcomes: Outcomes, now: DateTime<Utc>) {
        let mut told = Told::new(scheduler, lane);
        for job in outcomes.stale {
            told.claim_lost(Some(job.id().clone()), None);
        }
        // Runs are made before the table is locked: workers that end others wait for it.
        let mut runs = Vec::with_capacity(outcomes.applied.len());
        for applied in &outcomes.applied {
            told.judged(applied, now);
            if self.delivery == Delivery::Direct {
                told.without_task(applied, now);
                self.push_executions(lane, applied, now, &mut runs);
            }
        }
        let mut ready: Vec<Execution> = Vec::with_capacity(runs.len());
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
            }
            Delivery::Durable => outcomes.applied.iter().for_each(|applied| told.queued(applied)),
        }
        let Told { first, later, .. } = told;
        // Queued before the runs are handed over, told after: a listener may wait for them, as shutdown does.
        scheduler.inner.events.enqueue(first);
        scheduler.submit(ready);
        scheduler.inner.events.publish_all(later);
    }

    fn push_executions(
        &self,
        lane: &Lane,
        applied: &AppliedPlan,
        now: DateTime<Utc>,
        runs: &mut Vec<Execution>,
    ) {
        let spec = &applied.job.spec;
        let TaskRef::Bound(task) = &spec.task else { return };
        let due = applied.plan.fires.iter().filter(|fire| !fire.missed);
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

    /// Claims queued runs for which executors have a place, and starts them; says whether there may be more.
    fn start_queued(
        &mut self,
        scheduler: &Scheduler,
        lane: &Arc<Lane>,
        queue: &dyn RunQueue,
        now: DateTime<Utc>,
    ) -> Result<bool, Error> {
        let room = self.options.max_concurrent_runs.saturating_sub(scheduler.inner.dispatcher.active_count());
        let limit = room.min(self.options.claim_batch);
        let places = places(scheduler, limit);
        if limit == 0 || places.is_empty() {
            return Ok(false);
        }
        let claimed = queue.claim(&self.request(scheduler, now, limit), &places)?;
        let full = claimed.len() >= limit;
        let mut ready = Vec::with_capacity(claimed.len());
        let mut unknown = Vec::new();
        for claimed in claimed {
            let claim = RunClaim { id: claimed.run.id, token: claimed.token };
            lane.claims.lock().insert(claim.id, claim);
            match self.claimed_execution(scheduler, lane, claimed) {
                Ok(execution) => {
                    scheduler.inner.dispatcher.register(lane, &execution, claim, now);
                    ready.push(execution);
                }
                Err(report) => unknown.push((claim, report)),
            }
        }
        let unsettled = !unknown.is_empty();
        lane.ended.lock().extend(unknown);
        submitted_events(scheduler, &ready);
        scheduler.submit(ready);
        scheduler.inner.events.flush();
        Ok(full || unsettled)
    }

    fn claimed_execution(
        &self,
        scheduler: &Scheduler,
        lane: &Lane,
        claimed: ClaimedRun,
    ) -> Result<Execution, RunReport> {
        let ClaimedRun { run, attempt, .. } = claimed;
        let QueuedRun { id, job_id, call, fire_time, scheduled_time, options, .. } = run;
        let task_name: Arc<str> = Arc::from(call.task.name());
        let store = Arc::clone(&lane.alias);
        let run = Arc::new(Run { id, job_id, store, task: task_name, fire_time, scheduled_time, attempt });
        let task = match call.task {
            TaskRef::Bound(task) => Ok(task),
            TaskRef::Named(name) => scheduler.inner.state.read().registry.task(&name),
        };
        match task {
            Ok(task) => Ok(Execution::new(run, task, call.args, options, Arc::clone(&self.sink))),
            Err(_) => {
                let outcome = Outcome::Missed(MissReason::NoTask(run.task.as_ref().to_owned()));
                Err(RunReport { run, outcome, started_at: None, finished_at: scheduler.inner.clock.now() })
            }
        }
    }

    /// Finishes the rows of runs that ended, then tells of them.
    pub(crate) fn settle(&mut self, scheduler: &Scheduler, lane: &Arc<Lane>) -> Result<(), Error> {
        let ended = std::mem::take(&mut *lane.ended.lock());
        let (Some(queue), false) = (lane.store.runs(), ended.is_empty()) else { return Ok(()) };
        let rows = ended.iter().map(|(claim, report)| FinishedRun {
            claim: *claim,
            outcome: report.outcome.clone(),
            started_at: report.started_at,
            finished_at: report.finished_at,
            again: None,
        });
        let answers = match queue.finish(rows.collect()) {
            Ok(answers) => answers,
            Err(error) => {
                lane.ended.lock().splice(0..0, ended);
                return Err(error);
            }
        };
        for ((claim, report), ours) in ended.into_iter().zip(answers) {
            lane.claims.lock().remove(&claim.id);
            if ours {
                log_outcome(&report);
                scheduler.inner.waiters.tell(claim.id, &report.outcome);
                let job_id = report.run.job_id.clone();
                scheduler.publish_ended(report);
                let last = job_id.filter(|id| lane.queued.lock().finish(id));
                let store = Some(Arc::clone(&lane.alias));
                scheduler
                    .inner
                    .events
                    .publish_all(last.map(|job_id| Event::JobRemoved(JobRef { job_id, store })));
            } else {
                let mut told = Told::new(scheduler, lane);
                told.claim_lost(report.run.job_id.clone(), Some(claim.id));
                scheduler.inner.events.publish_all(told.first);
            }
        }
        Ok(())
    }

    /// Renews leases, takes over what others left, and deletes results whose time ended.
    fn keep_leases(
        &mut self,
        scheduler: &Scheduler,
        lane: &Arc<Lane>,
        queue: &dyn RunQueue,
    ) -> Result<(), Error> {
        let monotonic = scheduler.inner.clock.monotonic();
        if monotonic < self.next_upkeep {
            return Ok(());
        }
        self.next_upkeep = monotonic + self.options.lease / 3;
        let claims: Vec<RunClaim> = lane.claims.lock().values().copied().collect();
        if !claims.is_empty() {
            for (claim, ours) in claims.iter().zip(queue.renew(&claims, self.options.lease)?) {
                if !ours && lane.claims.lock().remove(&claim.id).is_some() {
                    scheduler.inner.dispatcher.cancel(claim.id);
                }
            }
        }
        queue.reap()?;
        queue.cleanup(None, self.options.claim_batch)?;
        Ok(())
    }

    fn next_wake(&self, scheduler: &Scheduler, lane: &Lane, resting: &Resting<'_>) -> Result<Wake, Error> {
        let mut next = match resting.phase {
            SchedulerState::Running => lane.store.next_wakeup()?,
            _ => None,
        };
        let mut held_back = None;
        if let Some(waiting) = resting.queue.map(RunQueue::next_wakeup).transpose()?.flatten() {
            // What was due already has just been left in the queue, for want of a place or of its executor.
            held_back = (waiting <= resting.now).then_some(QUEUE_PAUSE);
            next = [next, Some(waiting).filter(|time| *time > resting.now)].into_iter().flatten().min();
        }
        let now = scheduler.inner.clock.now();
        let mut sleep = next.map(|time| (time - now).to_std().unwrap_or(Duration::ZERO));
        if !lane.claims.lock().is_empty() {
            let upkeep = self.next_upkeep.saturating_sub(scheduler.inner.clock.monotonic());
            sleep = Some(sleep.map_or(upkeep, |sleep| sleep.min(upkeep)));
        }
        let backlogged = lane.is_backlogged().then_some(BACKLOG_PAUSE);
        sleep = [sleep, held_back, backlogged].into_iter().flatten().min();
        if sleep.is_some() || lane.store.traits().shared {
            let poll = self.options.poll_interval;
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

/// What decides how long a loop sleeps, besides its store.
struct Resting<'a> {
    queue: Option<&'a dyn RunQueue>,
    phase: SchedulerState,
    /// The time of the turn.
    now: DateTime<Utc>,
}

#[derive(Default)]
struct Outcomes {
    applied: Vec<AppliedPlan>,
    stale: Vec<Job>,
}

/// The plan of a due job. When its trigger fails, the fire time that is known still runs and the job is suspended.
fn plan_or_suspend(job: &Job, now: DateTime<Utc>, seed: u64) -> (Plan, Option<Arc<str>>) {
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

fn queued_runs(job: &Job, plan: &Plan, now: DateTime<Utc>) -> Vec<QueuedRun> {
    let due = plan.fires.iter().filter(|fire| !fire.missed);
    let made = due.map(|fire| QueuedRun {
        id: run_id(now),
        job_id: Some(job.spec.id.clone()),
        call: crate::task::Call { task: job.spec.task.clone(), args: job.spec.args.clone() },
        fire_time: fire.fire_time,
        scheduled_time: fire.scheduled_time,
        priority: 0,
        options: Arc::clone(&job.spec.options),
    });
    made.collect()
}

/// Executors with a place, and how many places.
fn places(scheduler: &Scheduler, limit: usize) -> Vec<(Arc<str>, usize)> {
    let state = scheduler.inner.state.read();
    let free = state.executors.iter().map(|(alias, executor)| {
        let free = match executor.capacity() {
            Capacity::Unlimited => limit,
            Capacity::Free(places) => places,
        };
        (Arc::clone(alias), free)
    });
    free.filter(|(_, free)| *free > 0).collect()
}
