//! What is unfinished, and the limits of jobs, tasks and keys that make runs wait. Data only: nothing here calls out.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use rustc_hash::FxHashMap;

use super::backlog::Backlog;
use crate::event::{Event, JobRef};
use crate::executor::{Execution, ExecutionData};
use crate::id::{JobId, RunId};
use crate::policy::Overlap;
use crate::run::RunReport;
use crate::scheduler::lane::Lane;
use crate::store::{Attempt, RunClaim};
use crate::task::Task;

/// A job of one lane.
pub(super) type JobSlot = (u32, JobId);

/// A moment, by the monotonic clock, at which a lane has to do something about a run.
pub(super) type Due = (u32, Duration, RunId);

#[derive(Default)]
pub(super) struct Table {
    pub(super) active: FxHashMap<RunId, Active>,
    pub(super) jobs: FxHashMap<JobSlot, Slots>,
    /// Unfinished runs of limited tasks, in each lane by itself.
    tasks: Crowds,
    /// Unfinished runs that share a key, in each lane by itself.
    keys: Crowds,
    /// Runs that executors had no place for, in order.
    pub(super) backlog: FxHashMap<Arc<str>, Backlog>,
    pub(super) waiting: usize,
    /// When the time of runs is up.
    pub(super) deadlines: BTreeSet<Due>,
    /// Direct runs that are tried again, with the end of their last attempt.
    pub(super) retries: BTreeMap<Due, Pending>,
}

pub(super) struct Active {
    pub(super) data: Arc<ExecutionData>,
    pub(super) since: DateTime<Utc>,
    pub(super) lane: u32,
    /// Whose row is to be finished, for a run that was claimed from a queue.
    pub(super) claimed: Option<Box<Claimed>>,
    pub(super) limited_task: bool,
    /// When its time is up, once it has started and if it has a timeout.
    pub(super) deadline: Option<Duration>,
    pub(super) stage: Stage,
}

/// A claim on a run, and what became of its earlier attempts.
#[derive(Clone)]
pub(super) struct Claimed {
    pub(super) lane: Arc<Lane>,
    pub(super) claim: RunClaim,
    pub(super) history: Vec<Attempt>,
}

/// How far an unfinished run is.
pub(super) enum Stage {
    /// It was handed over, or waits in a backlog.
    Running,
    /// It waits for its next attempt.
    Retrying,
    /// Its time was up and that was told, but its code goes on and keeps the place.
    Held(Box<Told>),
    /// The same, without a place.
    Freed,
}

/// The end of a run that was told before it really came.
#[derive(Clone)]
pub(super) struct Told {
    pub(super) report: RunReport,
    /// When it is tried again, if it is: by the monotonic clock, and by the other one.
    pub(super) again: Option<(Duration, DateTime<Utc>)>,
}

/// A direct run that waits for its next attempt.
pub(super) struct Pending {
    pub(super) execution: Execution,
    pub(super) last: RunReport,
}

impl Active {
    /// Whether its end is told and frees its place, and nothing else.
    pub(super) fn is_plain(&self) -> bool {
        self.claimed.is_none() && self.deadline.is_none() && matches!(self.stage, Stage::Running)
    }
}

/// A job's unfinished direct runs.
#[derive(Default)]
pub(super) struct Slots {
    active: u32,
    /// What most jobs never have.
    rare: Option<Box<Rare>>,
}

#[derive(Default)]
pub(super) struct Rare {
    pub(super) waiting: VecDeque<Execution>,
    /// Oldest first; kept for the policy that cancels the previous run.
    pub(super) running: VecDeque<RunId>,
    /// The job's schedule ended: say so when the last run is over.
    pub(super) ended: Option<JobRef>,
}

impl Slots {
    pub(super) fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    pub(super) fn waiting(&mut self) -> Option<&mut VecDeque<Execution>> {
        self.rare.as_mut().map(|rare| &mut rare.waiting)
    }

    /// Runs that have a place, and those that wait for one.
    pub(super) fn unfinished(&self) -> u32 {
        let waiting = self.rare.as_ref().map_or(0, |rare| rare.waiting.len());
        self.active.saturating_add(u32::try_from(waiting).unwrap_or(u32::MAX))
    }

    fn next_waiting(&mut self) -> Option<Execution> {
        self.rare.as_mut()?.waiting.pop_front()
    }

    fn is_idle(&self) -> bool {
        self.active == 0 && self.rare.as_ref().is_none_or(|rare| rare.waiting.is_empty())
    }
}

/// The runs that share a limit, of a task or of a key.
#[derive(Default)]
struct Crowd {
    inside: u32,
    /// Jobs whose first waiting run was held back here, in order. Some may have gone on since.
    waiting: VecDeque<JobSlot>,
}

/// Crowds by lane and name.
type Crowds = FxHashMap<(u32, Arc<str>), Crowd>;

/// Chooses between those of tasks and those of keys.
type CrowdsOf = fn(&mut Table) -> &mut Crowds;

/// What follows from a place that became free.
#[derive(Default)]
pub(super) struct Released {
    pub(super) ready: Option<Execution>,
    pub(super) for_task: Option<Execution>,
    pub(super) for_key: Option<Execution>,
    pub(super) event: Option<Event>,
}

impl Released {
    pub(super) fn is_empty(&self) -> bool {
        self.ready.is_none() && self.for_task.is_none() && self.for_key.is_none() && self.event.is_none()
    }
}

impl Table {
    pub(super) fn active_of(&self, lane: u32, task: Option<&Task>) -> u32 {
        let crowd = task.and_then(|task| self.tasks.get(&(lane, task.shared_name())));
        crowd.map_or(0, |crowd| crowd.inside)
    }

    pub(super) fn start_or_wait(
        &mut self,
        slot: &JobSlot,
        execution: Execution,
        now: DateTime<Utc>,
        ready: &mut Vec<Execution>,
    ) {
        match self.take_place(slot, execution, now) {
            Ok(execution) => ready.push(execution),
            Err(execution) => {
                self.waiting += 1;
                self.jobs.entry(slot.clone()).or_default().rare().waiting.push_back(execution);
            }
        }
    }

    /// Gives a run a place, when its job, its task and its key have one; else it is given back.
    fn take_place(
        &mut self,
        slot: &JobSlot,
        execution: Execution,
        since: DateTime<Utc>,
    ) -> Result<Execution, Execution> {
        let Some(data) = execution.data() else { return Err(execution) };
        let (task, options) = (data.task().map(|task| &**task), data.options());
        let limit = task.and_then(Task::max_instances);
        if let (Some(task), Some(limit)) = (task, limit) {
            let crowd = self.tasks.entry((slot.0, task.shared_name())).or_default();
            if crowd.inside >= limit {
                crowd.waiting.push_back(slot.clone());
                return Err(execution);
            }
        }
        let Some(slots) = self.jobs.get_mut(slot).filter(|slots| slots.active < options.max_instances) else {
            return Err(execution);
        };
        if let Some(key) = &options.concurrency_key {
            let crowd = self.keys.entry((slot.0, Arc::clone(key))).or_default();
            if crowd.inside >= options.concurrency_limit {
                crowd.waiting.push_back(slot.clone());
                return Err(execution);
            }
            crowd.inside += 1;
        }
        slots.active += 1;
        if options.overlap == Overlap::CancelPrevious {
            slots.rare().running.push_back(data.run.id);
        }
        if let (Some(task), Some(_)) = (task, limit) {
            self.tasks.entry((slot.0, task.shared_name())).or_default().inside += 1;
        }
        let active = Active {
            data: Arc::clone(data),
            since,
            lane: slot.0,
            claimed: None,
            limited_task: limit.is_some(),
            deadline: None,
            stage: Stage::Running,
        };
        self.active.insert(data.run.id, active);
        Ok(execution)
    }

    /// The same for a run whose end is plain, with the alias of its executor where runs wait for one.
    pub(super) fn release_plain(&mut self, run: RunId, now: DateTime<Utc>) -> (Released, Option<Arc<str>>) {
        let alias = match self.backlog.is_empty() {
            true => None,
            false => self.active.get(&run).map(|active| Arc::clone(&active.data.options().executor)),
        };
        (self.release(run, now), alias)
    }

    /// Forgets a run that ended, and gives its place to the next that waits for it.
    pub(super) fn release(&mut self, run: RunId, now: DateTime<Utc>) -> Released {
        let Some(active) = self.active.remove(&run) else { return Released::default() };
        if let Some(deadline) = active.deadline {
            self.deadlines.remove(&(active.lane, deadline, run));
        }
        match active.stage {
            Stage::Freed => Released::default(),
            _ => self.free_place(&active, now),
        }
    }

    /// Gives the place of a run to the next that waits for it.
    pub(super) fn free_place(&mut self, active: &Active, now: DateTime<Utc>) -> Released {
        let (run, mut released) = (&active.data.run, Released::default());
        if let (None, Some(job_id)) = (&active.claimed, &run.job_id) {
            let slot = (active.lane, job_id.clone());
            if self.free_plain(&slot, active) {
                return released;
            }
            if let Some(slots) = self.jobs.get_mut(&slot) {
                slots.active = slots.active.saturating_sub(1);
                if let Some(rare) = &mut slots.rare {
                    rare.running.retain(|id| *id != run.id);
                }
            }
            if let Some(key) = &active.data.options().concurrency_key {
                released.for_key =
                    self.next_of(|table| &mut table.keys, &(active.lane, Arc::clone(key)), now);
            }
            released.ready = self.next_waiting(&slot, now);
            let idle = self.forget_idle(&slot);
            released.event = idle.and_then(|slots| slots.rare?.ended).map(Event::JobRemoved);
        }
        if active.limited_task {
            released.for_task =
                self.next_of(|table| &mut table.tasks, &(active.lane, Arc::clone(&run.task)), now);
        }
        released
    }

    /// Gives the place of a run back that shares no limit, of a job for which nothing else is to be done; says whether it was
    /// one. It is what most ends are, so it looks the job up once.
    fn free_plain(&mut self, slot: &JobSlot, active: &Active) -> bool {
        if active.limited_task || active.data.options().concurrency_key.is_some() {
            return false;
        }
        let Some(slots) = self.jobs.get_mut(slot).filter(|slots| slots.rare.is_none()) else { return false };
        slots.active = slots.active.saturating_sub(1);
        if slots.active == 0 {
            self.jobs.remove(slot);
        }
        true
    }

    /// The job's next waiting run, if it has a place.
    fn next_waiting(&mut self, slot: &JobSlot, now: DateTime<Utc>) -> Option<Execution> {
        let next = self.jobs.get_mut(slot)?.next_waiting()?;
        match self.take_place(slot, next, now) {
            Ok(next) => {
                self.waiting -= 1;
                Some(next)
            }
            Err(next) => {
                self.jobs.get_mut(slot)?.rare().waiting.push_front(next);
                None
            }
        }
    }

    /// A place of a task or a key is free: the first job that waits for it and has a place of its own may go on.
    fn next_of(&mut self, crowds: CrowdsOf, of: &(u32, Arc<str>), now: DateTime<Utc>) -> Option<Execution> {
        let crowd = crowds(self).get_mut(of)?;
        crowd.inside = crowd.inside.saturating_sub(1);
        // Those that are still held back line up again, behind the others.
        let mut next = None;
        for _ in 0..crowd.waiting.len() {
            let slot = crowds(self).get_mut(of).and_then(|crowd| crowd.waiting.pop_front());
            next = slot.and_then(|slot| self.next_waiting(&slot, now));
            if next.is_some() {
                break;
            }
        }
        if crowds(self).get(of).is_some_and(|crowd| crowd.inside == 0 && crowd.waiting.is_empty()) {
            crowds(self).remove(of);
        }
        next
    }

    /// Forgets a job that has nothing unfinished.
    pub(super) fn forget_idle(&mut self, slot: &JobSlot) -> Option<Slots> {
        let idle = self.jobs.get(slot).is_some_and(Slots::is_idle);
        idle.then(|| self.jobs.remove(slot)).flatten()
    }

    /// Takes a direct run that waits for its next attempt out of the line; from then on it is as if handed over.
    pub(super) fn take_retry(&mut self, run: RunId) -> Option<Execution> {
        let active = self.active.get_mut(&run).filter(|active| matches!(active.stage, Stage::Retrying))?;
        active.stage = Stage::Running;
        let due = self.retries.keys().find(|(.., id)| *id == run).copied()?;
        self.retries.remove(&due).map(|pending| pending.execution)
    }

    /// Takes a run out of the backlog of its executor.
    pub(super) fn take_backlogged(&mut self, run: RunId) -> Option<Execution> {
        let taken = self.backlog.values_mut().find_map(|backlog| backlog.take(run));
        self.waiting -= usize::from(taken.is_some());
        taken
    }
}
