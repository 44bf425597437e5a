//! The watch: it sees every call that reaches the server, with its answer, and every run that starts. It keeps a ledger of
//! its own and says what must never happen.
//!
//! It knows the contracts of `sched-core` and nothing of how the server or the engine keep them. What it finds first is
//! kept; the rest of a simulation only follows from it.

mod jobs;
mod runs;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use sched_core::{Attempt, Cursor, Job, JobId, QueuedRun, RunId};

type Time = DateTime<Utc>;

/// What a run is known by: its job and its fire time.
pub(super) type Fire = (JobId, Time);

/// A process: its number, new after every restart.
pub(super) type Process = usize;

/// A lease, as the server should keep it.
#[derive(Debug, Clone)]
struct Lease {
    owner: Arc<str>,
    process: Process,
    token: u64,
    since: Time,
    until: Time,
    /// The time of its client when it was asked for.
    asked: Time,
}

/// What is known of a job.
#[derive(Debug)]
struct JobEntry {
    job: Job,
    cursor: Cursor,
    greatest_token: u64,
    lease: Option<Lease>,
    gone: bool,
}

#[derive(Debug)]
enum Standing {
    Waiting,
    Leased(Lease),
    Over,
}

/// What is known of a run.
#[derive(Debug)]
struct RunEntry {
    run: QueuedRun,
    id: Option<RunId>,
    attempt: u32,
    token: u64,
    standing: Standing,
    history: Vec<Attempt>,
    scheduled: Time,
}

impl RunEntry {
    fn lease(&self) -> Option<&Lease> {
        match &self.standing {
            Standing::Leased(lease) => Some(lease),
            _ => None,
        }
    }

    fn is_unfinished(&self) -> bool {
        !matches!(self.standing, Standing::Over)
    }
}

/// What is known of a process.
#[derive(Debug, Default, Clone)]
pub(super) struct Health {
    pub(super) dead: bool,
    /// When it last was frozen, cut off, stalled or had its clock set.
    pub(super) troubled: Option<Time>,
    /// When the call began that it waits for.
    pub(super) waits_since: Option<Time>,
}

/// The ledger.
#[derive(Debug, Default)]
pub(super) struct Watch {
    jobs: BTreeMap<JobId, JobEntry>,
    runs: BTreeMap<Fire, RunEntry>,
    ids: BTreeMap<RunId, Fire>,
    /// The attempts of each fire time: who claimed them and when.
    claims: BTreeMap<(Fire, u32), (Process, Time)>,
    /// The attempts of each fire time that were started.
    starts: BTreeMap<Fire, BTreeSet<u32>>,
    pub(super) health: Vec<Health>,
    pub(super) violation: Option<String>,
    /// What happened, when somebody wants to read it.
    pub(super) story: Option<Vec<String>>,
    /// How much was claimed, renewed or finished.
    pub(super) effects: usize,
    pub(super) started: usize,
    pub(super) finished: usize,
}

impl Watch {
    /// Something happened that must not.
    pub(super) fn violated(&mut self, what: impl Into<String>) {
        if self.violation.is_none() {
            self.violation = Some(what.into());
        }
    }

    /// Adds to the story.
    pub(super) fn tell(&mut self, now: Time, what: impl FnOnce() -> String) {
        if let Some(story) = &mut self.story {
            story.push(format!("{} {}", now.format("%H:%M:%S%.6f"), what()));
        }
    }

    fn check(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.violated(what());
        }
    }

    /// A job that was stored before anybody looked.
    pub(super) fn added(&mut self, job: &Job) {
        let cursor = job.cursor.clone();
        let entry = JobEntry { job: job.clone(), cursor, greatest_token: 0, lease: None, gone: false };
        self.jobs.insert(job.id().clone(), entry);
    }

    /// The claims of an owner are free from now on.
    pub(super) fn recovered(&mut self, owner: &str) {
        self.jobs.values_mut().for_each(|entry| drop(entry.lease.take_if(|lease| *lease.owner == *owner)));
        for entry in self.runs.values_mut() {
            if entry.lease().is_some_and(|lease| *lease.owner == *owner) {
                entry.standing = Standing::Waiting;
            }
        }
    }

    /// A run starts. No attempt starts twice, and none while its process does not hold a lease on the run, whatever
    /// became of the process meanwhile. A run without a row starts once.
    pub(super) fn started(&mut self, process: Process, fire: &Fire, attempt: u32, now: Time) {
        self.started += 1;
        self.tell(now, || format!("p{process} starts attempt {attempt} of {fire:?}"));
        let starts = self.starts.entry(fire.clone()).or_default();
        let first = starts.is_empty();
        let is_new = starts.insert(attempt);
        self.check(is_new, || format!("attempt {attempt} of {fire:?} was started twice"));
        let Some(entry) = self.runs.get(fire) else {
            return self.check(first, || format!("{fire:?} has no row and was started twice"));
        };
        let lease = entry.lease().cloned();
        let holds = lease.as_ref().is_some_and(|lease| lease.process == process && lease.until >= now);
        self.check(holds, || format!("attempt {attempt} of {fire:?} was started without a lease: {lease:?}"));
        let claim = self.claims.get(&(fire.clone(), attempt)).copied();
        let ours = claim.filter(|(owner, _)| *owner == process);
        self.check(ours.is_some(), || {
            format!("attempt {attempt} of {fire:?} was started by another: {claim:?}")
        });
    }

    /// Whether a process was well from a moment on.
    fn was_well(&self, process: Process, since: Time, now: Time) -> bool {
        let Some(health) = self.health.get(process) else { return false };
        let waits = health.waits_since.is_some_and(|began| now - began > chrono::TimeDelta::seconds(1));
        !health.dead && !waits && health.troubled.is_none_or(|troubled| troubled < since)
    }

    /// Whether nothing is left to do at a moment: no run unfinished, no fire time due.
    pub(super) fn is_done(&self, now: Time) -> bool {
        self.left(now).is_none()
    }

    /// What is left to do.
    pub(super) fn left(&self, now: Time) -> Option<String> {
        let unfinished = self.runs.iter().find(|(_, entry)| entry.is_unfinished());
        let run = unfinished.map(|(fire, entry)| format!("{fire:?} is not over: {:?}", entry.standing));
        let due =
            |entry: &&JobEntry| !entry.gone && entry.cursor.next_run_time.is_some_and(|time| time <= now);
        run.or_else(|| self.jobs.values().find(due).map(|entry| format!("{} is due", entry.job.id())))
    }

    /// The latest fire time of any job.
    pub(super) fn last_fire(&self) -> Option<Time> {
        let next = self.jobs.values().filter(|entry| !entry.gone).filter_map(|entry| {
            let mut last = entry.cursor.next_fire_time?;
            while let Ok(Some(next)) = entry.job.spec.trigger.next_fire_time(Some(last), last) {
                last = next;
            }
            Some(last)
        });
        next.max()
    }

    /// A waiting run and another of the same fire time: what a caller sends that never heard of its first answer.
    pub(super) fn some_unfinished(&self) -> Option<QueuedRun> {
        self.runs.values().find(|entry| entry.is_unfinished()).map(|entry| entry.run.clone())
    }
}
