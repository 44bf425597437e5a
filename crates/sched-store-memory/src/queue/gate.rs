//! The limits of jobs, tasks and concurrency keys, as gates that let so many runs through at once.

use std::collections::BTreeSet;
use std::sync::Arc;

use rustc_hash::FxHashMap;
use sched_core::{JobId, QueuedRun};

use super::Place;

/// What limits how many runs are claimed at once.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Gate {
    /// The `max_instances` of a job.
    Job(JobId),
    /// The `max_instances` of a task.
    Task(Arc<str>),
    /// The `concurrency_limit` of a key.
    Key(Arc<str>),
}

/// The gates at which there is anybody.
#[derive(Debug, Default)]
pub(super) struct Gates(FxHashMap<Gate, Crowd>);

/// The runs at a gate.
#[derive(Debug, Default)]
struct Crowd {
    /// Not over yet.
    unfinished: u32,
    /// Claimed.
    inside: u32,
    /// Held back; in the order in which they would be claimed.
    parked: BTreeSet<Place>,
}

impl Gates {
    /// Whether the run's job has as many unfinished runs as it may.
    pub(super) fn is_job_full(&self, run: &QueuedRun) -> bool {
        let Some(job_id) = &run.job_id else { return false };
        let crowd = self.0.get(&Gate::Job(job_id.clone()));
        crowd.is_some_and(|crowd| crowd.unfinished >= run.options.max_instances.max(1))
    }

    /// Whether nothing of the run's job is unfinished.
    pub(super) fn is_job_idle(&self, run: &QueuedRun) -> bool {
        run.job_id.as_ref().is_none_or(|id| !self.0.contains_key(&Gate::Job(id.clone())))
    }

    /// Counts a new run.
    pub(super) fn enter(&mut self, run: &QueuedRun) {
        for (gate, _) in gates_of(run) {
            self.0.entry(gate).or_default().unfinished += 1;
        }
    }

    /// Lets a run through all of its gates, or says which one is shut.
    pub(super) fn take(&mut self, run: &QueuedRun) -> Result<(), Gate> {
        let shut =
            gates_of(run).find(|(gate, limit)| self.0.get(gate).is_some_and(|crowd| crowd.inside >= *limit));
        if let Some((gate, _)) = shut {
            return Err(gate);
        }
        for (gate, _) in gates_of(run) {
            self.0.entry(gate).or_default().inside += 1;
        }
        Ok(())
    }

    /// Holds a run back until a place at the gate is free.
    pub(super) fn park(&mut self, gate: &Gate, place: Place) {
        if let Some(crowd) = self.0.get_mut(gate) {
            crowd.parked.insert(place);
        }
    }

    /// A claimed run is over. Answers who may try in its place.
    pub(super) fn leave(&mut self, run: &QueuedRun) -> Vec<Place> {
        let freed = self.give_back(run);
        self.forget(run);
        freed
    }

    /// A run that waits, at a gate or in line, is over. Answers who may try in its place: it may have been called to a place
    /// that is free.
    pub(super) fn desert(&mut self, run: &QueuedRun, place: Place) -> Vec<Place> {
        for (gate, _) in gates_of(run) {
            if let Some(crowd) = self.0.get_mut(&gate) {
                crowd.parked.remove(&place);
            }
        }
        let freed = self.call(gates_of(run));
        self.forget(run);
        freed
    }

    fn forget(&mut self, run: &QueuedRun) {
        for (gate, _) in gates_of(run) {
            if let Some(crowd) = self.0.get_mut(&gate) {
                crowd.unfinished -= 1;
                if crowd.unfinished == 0 {
                    self.0.remove(&gate);
                }
            }
        }
    }

    /// A claimed run waits again. Answers who may try in its place.
    pub(super) fn give_back(&mut self, run: &QueuedRun) -> Vec<Place> {
        let crowds = gates_of(run).filter_map(|(gate, _)| {
            let crowd = self.0.get_mut(&gate)?;
            crowd.inside -= 1;
            crowd.parked.pop_first()
        });
        crowds.collect()
    }

    /// Who may try at the gates that are open to the run, apart from the one that is `shut`.
    pub(super) fn others(&mut self, run: &QueuedRun, shut: &Gate) -> Vec<Place> {
        self.call(gates_of(run).filter(|(gate, _)| gate != shut))
    }

    /// Who may try at those of the gates that are open.
    fn call(&mut self, gates: impl Iterator<Item = (Gate, u32)>) -> Vec<Place> {
        let open = gates.filter_map(|(gate, limit)| {
            let crowd = self.0.get_mut(&gate).filter(|crowd| crowd.inside < limit)?;
            crowd.parked.pop_first()
        });
        open.collect()
    }
}

/// The gates of a run with their limits.
fn gates_of(run: &QueuedRun) -> impl Iterator<Item = (Gate, u32)> {
    let job = run.job_id.clone().map(|id| (Gate::Job(id), run.options.max_instances.max(1)));
    let task =
        run.call.task.bound().and_then(|task| Some((Gate::Task(task.shared_name()), task.max_instances()?)));
    let options = &run.options;
    let key = options.concurrency_key.clone().map(|key| (Gate::Key(key), options.concurrency_limit.max(1)));
    job.into_iter().chain(task).chain(key)
}
