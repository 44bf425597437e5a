//! Starting queued runs: those that are claimed from the queue, and those that a commit claims as it queues them.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::Scheduler;
use super::commit::{Outcomes, Planned};
use super::dispatch::{Adopted, Registration};
use super::lane::{Ended, Lane};
use super::state::{EngineOptions, SchedulerState};
use super::told::{AppliedPlan, submitted_events};
use super::turn::Engine;
use crate::Error;
use crate::executor::{Capacity, Execution};
use crate::plan::Plan;
use crate::policy::Delivery;
use crate::run::{MissReason, Outcome, Run, RunReport};
use crate::store::{Attempt, ClaimedRun, QueuedRun, RunClaim, RunQueue, RunWish};
use crate::task::{Task, TaskRef};

/// A claimed run on its way to its executor, or the reason why it cannot go.
struct Departure {
    claim: RunClaim,
    history: Vec<Attempt>,
    execution: Result<Execution, RunReport>,
}

impl Engine {
    /// Claims queued runs for which executors have a place, and starts them; says whether there may be more.
    pub(super) fn start_queued(
        &mut self,
        scheduler: &Scheduler,
        lane: &Arc<Lane>,
        queue: &dyn RunQueue,
        now: DateTime<Utc>,
    ) -> Result<bool, Error> {
        self.is_queue_clear = false;
        let (limit, places) = places(&self.options, scheduler);
        if places.is_empty() {
            return Ok(false);
        }
        let until = scheduler.inner.clock.monotonic() + self.options.lease;
        let claimed = queue.claim(&self.request(scheduler, now, limit), &places)?;
        if scheduler.inner.clock.monotonic() >= until {
            // The answer took as long as the leases: others may have started these runs since.
            let late = claimed.iter().map(|claimed| RunClaim { id: claimed.run.id, token: claimed.token });
            queue.release(&late.collect::<Vec<_>>())?;
            return Ok(!claimed.is_empty());
        }
        let full = claimed.len() >= limit;
        let all = scheduler.inner.state.read().executors.len() == places.len();
        self.is_queue_clear = all && !full && leaves_room(&places, &claimed);
        let mut ending = Vec::new();
        let departures = claimed.into_iter().filter_map(|claimed| {
            let claim = RunClaim { id: claimed.run.id, token: claimed.token };
            match scheduler.inner.dispatcher.adopt(lane, &claimed, until) {
                Adopted::Unknown => {}
                Adopted::GoesOn => {
                    lane.claims.lock().insert(claim.id, claim);
                    return None;
                }
                Adopted::Ending => {
                    ending.push(claim);
                    return None;
                }
            }
            let (execution, history) = self.claimed_execution(scheduler, lane, claimed);
            Some(Departure { claim, history, execution })
        });
        let departures: Vec<Departure> = departures.collect();
        if !ending.is_empty() {
            // Others may run them. Here they are looked at again after a while, when the old attempts may be over.
            self.is_queue_clear = false;
            release_late(queue, &ending);
        }
        let unsettled = self.depart(scheduler, lane, (departures, until), now);
        Ok(full || unsettled)
    }

    /// Starts the runs that were claimed as they were committed.
    pub(super) fn start_committed(
        &self,
        scheduler: &Scheduler,
        lane: &Arc<Lane>,
        outcomes: &Outcomes,
        now: DateTime<Utc>,
    ) {
        let claimed = outcomes.applied.iter().filter_map(|applied| Some((applied, applied.claimed?)));
        if scheduler.inner.clock.monotonic() >= outcomes.leased_until {
            let late: Vec<RunClaim> = claimed.map(|(_, claim)| claim).collect();
            if let (Some(queue), false) = (lane.store.runs(), late.is_empty()) {
                release_late(queue, &late);
            }
            return;
        }
        let departures = claimed.filter_map(|(applied, claim)| {
            let execution = Ok(self.committed_execution(lane, applied, claim)?);
            Some(Departure { claim, history: Vec::new(), execution })
        });
        let departures: Vec<Departure> = departures.collect();
        if !departures.is_empty() {
            self.depart(scheduler, lane, (departures, outcomes.leased_until), now);
        }
    }

    /// Hands claimed runs over whose leases hold until then at least, by the monotonic clock; says whether ends of runs are to be written.
    fn depart(
        &self,
        scheduler: &Scheduler,
        lane: &Arc<Lane>,
        (departures, lease_end): (Vec<Departure>, Duration),
        now: DateTime<Utc>,
    ) -> bool {
        let mut claims = lane.claims.lock();
        if !departures.is_empty() && claims.is_empty() {
            lane.keeping.begin(lease_end.saturating_sub(self.options.lease / 3 * 2));
        }
        claims.extend(departures.iter().map(|departure| (departure.claim.id, departure.claim)));
        drop(claims);
        let mut ready = Vec::with_capacity(departures.len());
        let mut unknown = Vec::new();
        for Departure { claim, history, execution } in departures {
            match execution {
                Ok(execution) => {
                    let run = Registration { execution: &execution, claim, lease_end, history };
                    scheduler.inner.dispatcher.register(lane, run, now);
                    ready.push(execution);
                }
                Err(report) => unknown.push(Ended { claim, report, again: None, told: false }),
            }
        }
        if !ready.is_empty() {
            scheduler.keep(lane, lane.keeping.renewal());
        }
        let unsettled = !unknown.is_empty();
        lane.ended.lock().extend(unknown);
        lane.await_additions(scheduler);
        submitted_events(scheduler, &ready);
        scheduler.submit(ready);
        scheduler.inner.events.flush();
        unsettled
    }

    fn claimed_execution(
        &self,
        scheduler: &Scheduler,
        lane: &Lane,
        claimed: ClaimedRun,
    ) -> (Result<Execution, RunReport>, Vec<Attempt>) {
        let ClaimedRun { run, attempt, history, .. } = claimed;
        let QueuedRun { id, job_id, call, fire_time, scheduled_time, options, .. } = run;
        let task_name: Arc<str> = Arc::from(call.task.name());
        let store = Arc::clone(&lane.alias);
        let run = Arc::new(Run { id, job_id, store, task: task_name, fire_time, scheduled_time, attempt });
        let task = match call.task {
            TaskRef::Bound(task) => Ok(task),
            TaskRef::Named(name) => scheduler.inner.state.read().registry.task(&name),
        };
        let no_task = |_| Outcome::Missed(MissReason::NoTask(run.task.as_ref().to_owned()));
        let departs = match too_many_takeovers(attempt, &history, options.max_takeovers) {
            Some(reason) => Err(Outcome::Abandoned(reason)),
            None => task.map_err(no_task),
        };
        let execution = match departs {
            Ok(task) => Ok(Execution::new(run, task, call.args, options, Arc::clone(&self.sink))),
            Err(outcome) => {
                Err(RunReport { run, outcome, started_at: None, finished_at: scheduler.inner.clock.now() })
            }
        };
        (execution, history)
    }

    fn committed_execution(&self, lane: &Lane, applied: &AppliedPlan, claim: RunClaim) -> Option<Execution> {
        let spec = &applied.job.spec;
        let fire = applied.due().next()?;
        let run = Run {
            id: claim.id,
            job_id: Some(spec.id.clone()),
            store: Arc::clone(&lane.alias),
            task: spec.task.bound()?.shared_name(),
            fire_time: fire.fire_time,
            scheduled_time: fire.scheduled_time,
            attempt: 1,
        };
        Some(Execution::of_job(Arc::new(run), Arc::clone(spec), Arc::clone(&self.sink)))
    }
}

/// What decides which runs of a batch may be claimed as they are committed: those that overtake nothing, have a place, and
/// are held back by no limit but their job's.
#[derive(Clone, Copy)]
pub(super) struct Wishes<'a> {
    options: &'a EngineOptions,
    /// Whether runs are queued, and nothing waits before them.
    is_possible: bool,
}

impl<'a> Wishes<'a> {
    pub(super) fn new(options: &'a EngineOptions, delivery: Delivery, is_queue_clear: bool) -> Self {
        Self { options, is_possible: delivery == Delivery::Durable && is_queue_clear }
    }

    pub(super) fn wish(self, scheduler: &Scheduler, planned: &[Planned]) -> Option<RunWish> {
        let is_running = || scheduler.inner.state.read().phase == SchedulerState::Running;
        if !self.is_possible || !self.options.role.runs() || !is_running() {
            return None;
        }
        let (mut room, mut places) = places(self.options, scheduler);
        let mut has_place = |planned: &Planned| {
            let options = &planned.job.spec.options;
            let mut places = places.iter_mut();
            let place = places.find(|(alias, free)| *alias == options.executor && *free > 0 && room > 0);
            if let Some((_, free)) = place {
                (*free, room) = (*free - 1, room - 1);
                return true;
            }
            false
        };
        let wanted: Vec<bool> = planned.iter().map(|it| is_unlimited(it) && has_place(it)).collect();
        let (owner, lease) = (Arc::clone(&scheduler.inner.identity), self.options.lease);
        wanted.contains(&true).then_some(RunWish { owner, lease, wanted })
    }
}

/// How many runs may start, and the executors with a place, and how many places.
fn places(options: &EngineOptions, scheduler: &Scheduler) -> (usize, Vec<(Arc<str>, usize)>) {
    let room = options.max_concurrent_runs.saturating_sub(scheduler.inner.dispatcher.active_count());
    let limit = room.min(options.claim_batch);
    if limit == 0 {
        return (0, Vec::new());
    }
    let state = scheduler.inner.state.read();
    let free = state.executors.iter().map(|(alias, executor)| {
        let free = match executor.capacity() {
            Capacity::Unlimited => limit,
            Capacity::Free(places) => places,
        };
        (Arc::clone(alias), free)
    });
    (limit, free.filter(|(_, free)| *free > 0).collect())
}

/// Gives back claims that nothing is started for. When that fails they end with their leases.
fn release_late(queue: &dyn RunQueue, claims: &[RunClaim]) {
    if let Err(error) = queue.release(claims) {
        tracing::warn!(%error, "claims on runs could not be released; they end with their leases");
    }
}

/// Why a run is taken over no more, if it is not: attempts that did not end were those of schedulers that died or lost it.
fn too_many_takeovers(attempt: u32, history: &[Attempt], limit: u32) -> Option<String> {
    let ended = u32::try_from(history.len()).unwrap_or(u32::MAX);
    let takeovers = attempt.saturating_sub(1).saturating_sub(ended);
    (takeovers > limit).then(|| {
        format!("{takeovers} schedulers in turn died or lost it before it ended; max_takeovers is {limit}")
    })
}

/// Whether a plan has one run, and no limit of a task or a key is on it.
fn is_unlimited(planned: &Planned) -> bool {
    let spec = &planned.job.spec;
    let Plan { fires, .. } = &planned.plan;
    let is_one = fires.iter().filter(|fire| !fire.missed).count() == 1;
    let is_free = spec.task.bound().is_some_and(|task| Task::max_instances(task).is_none());
    is_one && is_free && spec.options.concurrency_key.is_none()
}

/// Whether no executor was given as many runs as it has places: then nothing that is due waits for one of them.
fn leaves_room(places: &[(Arc<str>, usize)], claimed: &[ClaimedRun]) -> bool {
    places.iter().all(|(alias, free)| {
        let taken = claimed.iter().filter(|claimed| claimed.run.options.executor == *alias);
        taken.count() < *free
    })
}
