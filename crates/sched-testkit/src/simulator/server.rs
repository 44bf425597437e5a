//! The simulated server: tables of jobs and runs and a clock of its own, shared by many clients.
//!
//! It is as plain as can be: every call looks at every row. The deliberate bugs of [`Mutation`] are in here, each at the
//! place where a store would have it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use sched_core::{
    Advance, Attempt, Claim, ClaimRequest, ClaimedJob, ClaimedRun, Committed, Cursor, FencingToken,
    FinishedRun, Job, JobCommit, JobId, JobStatus, Overlap, QueuedRun, RunClaim, RunCounts, RunId, RunRecord,
    RunState,
};

use super::mutation::Mutation;
use crate::jobs::run_id;

type Time = DateTime<Utc>;

/// A claim on a job.
#[derive(Debug, Clone)]
struct Lease {
    owner: Arc<str>,
    token: u64,
    until: Time,
}

#[derive(Debug, Clone)]
struct JobRow {
    job: Job,
    lease: Option<Lease>,
}

#[derive(Debug, Clone)]
struct RunRow {
    run: QueuedRun,
    attempt: u32,
    token: u64,
    state: RunState,
    history: Vec<Attempt>,
}

impl RunRow {
    fn lease(&self) -> Option<(&Arc<str>, Time)> {
        match &self.state {
            RunState::Running { owner, lease_until } => Some((owner, *lease_until)),
            _ => None,
        }
    }
}

/// The tables.
#[derive(Debug, Clone)]
pub(super) struct Server {
    mutation: Option<Mutation>,
    jobs: BTreeMap<JobId, JobRow>,
    runs: BTreeMap<RunId, RunRow>,
    /// Job and fire time of every row.
    fires: BTreeSet<(JobId, Time)>,
    last_token: u64,
    last_run: u64,
}

impl Server {
    pub(super) fn new(mutation: Option<Mutation>) -> Self {
        let (jobs, runs, fires) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        Self { mutation, jobs, runs, fires, last_token: FencingToken::FIRST.0, last_run: 0 }
    }

    fn is(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }

    fn token(&mut self, unless: Mutation) -> u64 {
        if !self.is(unless) || self.last_token == FencingToken::FIRST.0 {
            self.last_token += 1;
        }
        self.last_token
    }

    pub(super) fn insert(&mut self, job: &Job) {
        self.jobs.insert(job.id().clone(), JobRow { job: job.clone(), lease: None });
    }

    pub(super) fn job(&self, id: &JobId) -> Option<Job> {
        self.jobs.get(id).map(|row| row.job.clone())
    }

    pub(super) fn jobs(&self) -> Vec<Job> {
        let mut jobs: Vec<Job> = self.jobs.values().map(|row| row.job.clone()).collect();
        jobs.sort_by_key(|job| (job.next_run_time().is_none(), job.next_run_time(), job.id().clone()));
        jobs
    }

    pub(super) fn remove(&mut self, id: &JobId) -> bool {
        self.jobs.remove(id).is_some()
    }

    pub(super) fn claim_due(&mut self, request: &ClaimRequest, now: Time) -> Vec<ClaimedJob> {
        let judged = if self.is(Mutation::LeaseByClientClock) { request.now } else { now };
        let open = self.is(Mutation::ClaimIgnoresLease);
        let is_free = |row: &JobRow| open || row.lease.as_ref().is_none_or(|lease| lease.until < judged);
        let due = |row: &JobRow| row.job.next_run_time().is_some_and(|time| time <= request.now);
        let mut ids: Vec<(Option<Time>, JobId)> = self
            .jobs
            .values()
            .filter(|row| due(row) && is_free(row))
            .map(|row| (row.job.next_run_time(), row.job.id().clone()))
            .collect();
        ids.sort();
        if self.is(Mutation::JobOrderReversed) {
            ids.reverse();
        }
        ids.truncate(request.limit + usize::from(self.is(Mutation::JobBatchOffByOne)));
        let mut claimed = Vec::new();
        for (_, id) in ids {
            let token = self.token(Mutation::JobTokenNotIncreased);
            let until = end_of(now, request.lease);
            let leaves = !self.is(Mutation::CommitNeedsNoClaim);
            let loses = self.is(Mutation::ClaimLosesJobs) && token.is_multiple_of(7);
            let Some(row) = self.jobs.get_mut(&id) else { continue };
            row.lease = leaves.then(|| Lease { owner: Arc::clone(&request.owner), token, until });
            if !loses {
                let claim = Claim { id, token: FencingToken(token), slot: 0 };
                claimed.push(ClaimedJob { job: row.job.clone(), claim });
            }
        }
        claimed
    }

    pub(super) fn commit(&mut self, commit: JobCommit) -> Committed {
        let JobCommit { claim, advance, runs } = commit;
        let (any, none) = (self.is(Mutation::CommitAcceptsStaleToken), self.is(Mutation::CommitNeedsNoClaim));
        let Some(row) = self.jobs.get_mut(&claim.id) else { return Committed::Stale };
        let blind = self.mutation == Some(Mutation::AtOnceLocksNothing) && row.lease.is_none();
        let ours = blind || row.lease.as_ref().is_some_and(|lease| lease.token == claim.token.0);
        if !(ours || any || none) {
            return Committed::Stale;
        }
        if self.mutation != Some(Mutation::CommitKeepsTheClaim) {
            row.lease = None;
        }
        let revision = row.job.cursor.revision + 1;
        match (advance, self.mutation) {
            (_, Some(Mutation::RunsWithoutAdvance)) | (Advance::Remove, Some(Mutation::RemovedJobStays)) => {}
            (_, Some(Mutation::CursorLost)) => {
                row.job.cursor = row.job.cursor.clone().stopped(JobStatus::Paused);
            }
            (Advance::To(cursor), Some(Mutation::CursorSkipsOne)) => {
                row.job.cursor = Cursor { revision, ..skipping_one(&row.job, cursor) };
            }
            (Advance::To(_), Some(Mutation::CommitRemovesTheJob)) | (Advance::Remove, _) => {
                self.jobs.remove(&claim.id);
            }
            (Advance::To(cursor), _) => row.job.cursor = Cursor { revision, ..cursor },
        }
        match self.is(Mutation::AdvanceWithoutRuns) {
            true => Committed::Applied { skipped: Vec::new() },
            false => Committed::Applied { skipped: self.admit(runs) },
        }
    }

    /// Commits, and claims the run where nothing else of its job is unfinished.
    pub(super) fn commit_and_claim(
        &mut self,
        commit: JobCommit,
        request: &ClaimRequest,
        now: Time,
    ) -> (Committed, Option<ClaimedRun>) {
        let [run] = &commit.runs[..] else { return (self.commit(commit), None) };
        let of_job = |row: &RunRow| is_unfinished(row) && row.run.job_id == run.job_id;
        let is_busy = self.runs.values().any(of_job) && !self.is(Mutation::CommitClaimsForBusyJobs);
        let last_run = self.last_run;
        let answer = self.commit(commit);
        let is_new = answer != Committed::Stale && self.last_run > last_run;
        if is_busy || !is_new {
            return (answer, None);
        }
        let id = run_id(self.last_run);
        let claimed = self.lease_run(id, request, FencingToken::FIRST, now);
        if let Some(row) =
            self.runs.get_mut(&id).filter(|_| self.mutation == Some(Mutation::CommitClaimsLeaveNoLease))
        {
            row.state = RunState::Queued;
        }
        (claimed.as_ref().map_or(answer, |claimed| Committed::Claimed(claimed.run.id)), claimed)
    }

    fn admit(&mut self, runs: Vec<QueuedRun>) -> Vec<Time> {
        let less = u32::from(self.is(Mutation::OverlapSkipsTooEarly));
        let never = self.is(Mutation::OverlapNotSkipped);
        let skips = |run: &QueuedRun| {
            let unfinished =
                self.runs.values().filter(|row| is_unfinished(row) && row.run.job_id == run.job_id);
            let full = unfinished.count() >= (run.options.max_instances - less) as usize;
            !never && run.options.overlap == Overlap::Skip && full
        };
        let skip: Vec<bool> = runs.iter().map(skips).collect();
        let mut skipped = Vec::new();
        for (run, skip) in runs.into_iter().zip(skip) {
            match skip {
                true => skipped.push(run.fire_time),
                false => self.enqueue(run),
            }
        }
        if self.is(Mutation::SkippedNotNamed) {
            skipped.clear();
        }
        skipped
    }

    /// Queues a run under an id that follows from nothing but the order of calls.
    pub(super) fn enqueue(&mut self, run: QueuedRun) {
        if let Some(job_id) = &run.job_id
            && !self.fires.insert((job_id.clone(), run.fire_time))
            && !self.is(Mutation::FireTimesAreNotUnique)
        {
            return;
        }
        self.last_run += 1;
        let run = QueuedRun { id: run_id(self.last_run), ..run };
        let row = RunRow { attempt: 0, token: 0, state: RunState::Queued, history: Vec::new(), run };
        self.runs.insert(row.run.id, row);
    }

    pub(super) fn claim_runs(
        &mut self,
        request: &ClaimRequest,
        executors: &[(Arc<str>, usize)],
        now: Time,
    ) -> Vec<ClaimedRun> {
        self.take_back(if self.is(Mutation::RunLeaseByClientClock) { request.now } else { now });
        let mut places = executors.to_vec();
        if self.is(Mutation::PlacesOffByOne) {
            places.iter_mut().for_each(|(_, free)| *free += 1);
        }
        let mut line: Vec<_> = self
            .runs
            .values()
            .filter(|row| row.state == RunState::Queued && row.run.scheduled_time <= request.now)
            .map(|row| (Reverse(row.run.priority), row.run.scheduled_time, row.run.id))
            .collect();
        line.sort_unstable();
        if self.is(Mutation::RunOrderReversed) {
            line.reverse();
        }
        let mut claimed = Vec::new();
        for (_, _, id) in line {
            let Some(row) = self.runs.get(&id).filter(|_| claimed.len() < request.limit) else { break };
            let place =
                places.iter_mut().find(|(alias, free)| *alias == row.run.options.executor && *free > 0);
            let Some((_, free)) = place else { continue };
            if self.is_held_back(&row.run) {
                match self.is(Mutation::LimitBlocksOthers) {
                    true => break,
                    false => continue,
                }
            }
            *free -= 1;
            let token = FencingToken(self.token(Mutation::RunTokenNotIncreased));
            claimed.extend(self.lease_run(id, request, token, now));
        }
        claimed
    }

    fn lease_run(
        &mut self,
        id: RunId,
        request: &ClaimRequest,
        token: FencingToken,
        now: Time,
    ) -> Option<ClaimedRun> {
        let counts = u32::from(!self.is(Mutation::AttemptNotCounted));
        let row = self.runs.get_mut(&id)?;
        (row.token, row.attempt) = (token.0, row.attempt + counts);
        let (owner, lease_until) = (Arc::clone(&request.owner), end_of(now, request.lease));
        row.state = RunState::Running { owner, lease_until };
        let (run, history) = (row.run.clone(), row.history.clone());
        Some(ClaimedRun { run, attempt: row.attempt, token, history })
    }

    /// Whether a limit of a job, a task or a key is reached.
    fn is_held_back(&self, run: &QueuedRun) -> bool {
        let inside = |same: &dyn Fn(&QueuedRun) -> bool| {
            let finished = self.is(Mutation::FinishKeepsThePlace);
            let counts = |row: &&RunRow| row.lease().is_some() || (finished && !is_unfinished(row));
            self.runs.values().filter(counts).filter(|row| same(&row.run)).count()
        };
        let more = u32::from(self.is(Mutation::JobLimitOffByOne));
        let of_job = run.job_id.is_some()
            && !self.is(Mutation::JobLimitIgnored)
            && inside(&|other| other.job_id == run.job_id) >= (run.options.max_instances + more) as usize;
        let task = run.call.task.bound().and_then(|task| task.max_instances());
        let of_task = !self.is(Mutation::TaskLimitIgnored)
            && task.is_some_and(|limit| {
                inside(&|other| other.call.task.name() == run.call.task.name()) >= limit as usize
            });
        let of_key = !self.is(Mutation::KeyLimitIgnored)
            && run.options.concurrency_key.is_some()
            && inside(&|other| other.options.concurrency_key == run.options.concurrency_key)
                >= run.options.concurrency_limit as usize;
        of_job || of_task || of_key
    }

    /// The row of an open claim.
    fn claimed(&mut self, claim: RunClaim, unless: Option<Mutation>) -> Option<&mut RunRow> {
        let any = unless.is_some() && self.mutation == unless;
        let row = self.runs.get_mut(&claim.id)?;
        (row.lease().is_some() && (any || row.token == claim.token.0)).then_some(row)
    }

    pub(super) fn renew(&mut self, claim: RunClaim, lease: Duration, now: Time) -> bool {
        let extends = !self.is(Mutation::RenewDoesNotExtend);
        let refuses = self.is(Mutation::RenewRefusesTheOwner);
        let Some(row) = self.claimed(claim, Some(Mutation::RenewAcceptsStaleToken)) else { return false };
        if let (RunState::Running { lease_until, .. }, true) = (&mut row.state, extends) {
            *lease_until = end_of(now, lease);
        }
        !refuses
    }

    pub(super) fn finish(&mut self, finished: FinishedRun) -> bool {
        let (mutation, id) = (self.mutation, finished.claim.id);
        let FinishedRun { claim, outcome, started_at, finished_at, again } = finished;
        let Some(row) = self.claimed(claim, Some(Mutation::FinishAcceptsStaleToken)) else { return false };
        match (again, mutation) {
            (_, Some(Mutation::FinishIsForgotten)) => return true,
            (Some(again), mutation) if mutation != Some(Mutation::RetryEndsTheRun) => {
                row.state = RunState::Queued;
                if mutation != Some(Mutation::RetryForgetsHistory) {
                    row.history = again.history;
                }
                if mutation == Some(Mutation::RetryForgetsTheAttempt) {
                    row.attempt = 0;
                }
                if mutation != Some(Mutation::RetryDoesNotWait) {
                    row.run.scheduled_time = again.at;
                }
                return true;
            }
            _ => row.state = RunState::Finished { outcome, started_at, finished_at },
        }
        if row.run.options.result_ttl.is_zero() && mutation != Some(Mutation::FinishKeepsThePlace) {
            let fire = row.run.job_id.clone().map(|job_id| (job_id, row.run.fire_time));
            fire.map(|fire| self.fires.remove(&fire));
            self.runs.remove(&id);
        }
        true
    }

    pub(super) fn release(&mut self, claim: RunClaim) {
        let uncounted = u32::from(!self.is(Mutation::ReleaseCountsTheAttempt));
        if self.is(Mutation::ReleaseDoesNotPutBack) {
            return;
        }
        if let Some(row) = self.claimed(claim, Some(Mutation::ReleaseAcceptsStaleToken)) {
            row.state = RunState::Queued;
            row.attempt = row.attempt.saturating_sub(uncounted);
        }
    }

    pub(super) fn take_back(&mut self, now: Time) -> Vec<RunId> {
        if self.is(Mutation::ReapForgets) {
            return Vec::new();
        }
        let early = TimeDelta::seconds(i64::from(self.is(Mutation::ReapBeforeTheLeaseEnds)));
        let ended = |row: &&mut RunRow| row.lease().is_some_and(|(_, until)| until - early < now);
        let mut taken = Vec::new();
        for row in self.runs.values_mut().filter(ended) {
            row.state = RunState::Queued;
            taken.push(row.run.id);
        }
        taken
    }

    pub(super) fn recover(&mut self, owner: &str) {
        if self.is(Mutation::RecoverDoesNothing) {
            return;
        }
        let all = self.is(Mutation::RecoverTakesFromAll);
        for row in self.jobs.values_mut().filter(|row| row.lease.is_some()) {
            row.lease.take_if(|lease| all || *lease.owner == *owner);
        }
        for row in self.runs.values_mut() {
            if row.lease().is_some_and(|(holder, _)| all || **holder == *owner) {
                row.state = RunState::Queued;
            }
        }
    }

    pub(super) fn next_wakeup(&self) -> Option<Time> {
        let late = TimeDelta::hours(i64::from(self.is(Mutation::WakeupTooLate)));
        let leases = !self.is(Mutation::WakeupIgnoresLeases);
        let times = self.jobs.values().filter_map(|row| match &row.lease {
            Some(lease) => leases.then(|| lease.until + TimeDelta::microseconds(1)),
            None => row.job.next_run_time(),
        });
        times.min().map(|time| time + late)
    }

    pub(super) fn next_run(&self) -> Option<Time> {
        if self.is(Mutation::RunWakeupForgotten) {
            return None;
        }
        let times = self.runs.values().filter_map(|row| match &row.state {
            RunState::Queued => (!self.is_held_back(&row.run)).then_some(row.run.scheduled_time),
            RunState::Running { lease_until, .. } => Some(*lease_until + TimeDelta::microseconds(1)),
            RunState::Finished { .. } => None,
        });
        times.min()
    }

    pub(super) fn records(&self) -> Vec<RunRecord> {
        let record = |row: &RunRow| RunRecord {
            run: row.run.clone(),
            attempt: row.attempt,
            state: row.state.clone(),
            history: row.history.clone(),
        };
        self.runs.values().map(record).collect()
    }

    pub(super) fn counts(&self) -> RunCounts {
        let mut counts = RunCounts::default();
        for row in self.runs.values() {
            match row.state {
                RunState::Queued => counts.queued += 1,
                RunState::Running { .. } => counts.running += 1,
                RunState::Finished { .. } => counts.finished += 1,
            }
        }
        counts
    }
}

fn is_unfinished(row: &RunRow) -> bool {
    !matches!(row.state, RunState::Finished { .. })
}

/// The last moment of a lease that begins now.
pub(super) fn end_of(now: Time, lease: Duration) -> Time {
    now + TimeDelta::from_std(lease).unwrap_or(TimeDelta::MAX)
}

/// The cursor after the next fire time instead of before it.
fn skipping_one(job: &Job, cursor: Cursor) -> Cursor {
    let Some(next) = cursor.next_fire_time else { return cursor };
    match job.spec.trigger.next_fire_time(Some(next), next) {
        Ok(Some(after)) => Cursor { next_fire_time: Some(after), next_run_time: Some(after), ..cursor },
        _ => cursor,
    }
}
