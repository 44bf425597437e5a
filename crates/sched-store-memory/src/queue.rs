//! The runs: waiting by executor, priority and time; leased; and over, until their time to live ends.
//!
//! A run that a limit holds back is parked at its gate and comes back when a place there is free, so that a claim
//! looks only at runs it can take, however many wait behind a limit. Nothing here locks or reads a clock.

mod gate;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use rustc_hash::FxHashSet;
use sched_core::{
    Attempt, ClaimRequest, ClaimedRun, FencingToken, FinishedRun, JobId, Outcome, Overlap, QueuedRun,
    RunClaim, RunCounts, RunFilter, RunId, RunRecord, RunState,
};

use self::gate::{Gate, Gates};

/// Where a waiting run stands among those of its executor.
type Place = (Reverse<i32>, DateTime<Utc>, RunId);

/// The waiting runs of one executor; the first of each priority is the earliest.
type Line = BTreeMap<Reverse<i32>, BTreeSet<(DateTime<Utc>, RunId)>>;

/// All runs of a store.
#[derive(Debug, Default)]
pub(crate) struct RunTable {
    rows: BTreeMap<RunId, Row>,
    /// The job and fire time of every row that has a job.
    fires: FxHashSet<(JobId, DateTime<Utc>)>,
    lines: BTreeMap<Arc<str>, Line>,
    gates: Gates,
    leased: BTreeSet<(DateTime<Utc>, RunId)>,
    /// Finished runs by the moment they may be deleted.
    kept: BTreeSet<(DateTime<Utc>, RunId)>,
    /// The same, by the moment they ended.
    ended: BTreeSet<(DateTime<Utc>, RunId)>,
    /// Rows that were deleted, for their owner to drop outside its lock.
    deleted: Vec<QueuedRun>,
}

/// Who gets what is claimed, and until when.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) owner: Arc<str>,
    pub(crate) until: DateTime<Utc>,
}

#[derive(Debug)]
struct Row {
    run: QueuedRun,
    attempt: u32,
    token: u64,
    state: RunState,
    history: Vec<Attempt>,
}

impl Row {
    fn place(&self) -> Place {
        place_of(&self.run)
    }

    fn record(&self) -> RunRecord {
        let (run, history) = (self.run.clone(), self.history.clone());
        RunRecord { run, attempt: self.attempt, state: self.state.clone(), history }
    }

    /// When a row that ended may be deleted.
    fn kept_until(&self, finished_at: DateTime<Utc>) -> DateTime<Utc> {
        let ttl = TimeDelta::from_std(self.run.options.result_ttl).ok();
        let end = ttl.and_then(|ttl| finished_at.checked_add_signed(ttl));
        end.unwrap_or(DateTime::<Utc>::MAX_UTC)
    }

    /// The end of its lease, when the claim is still open.
    fn lease_of(&self, claim: RunClaim) -> Option<DateTime<Utc>> {
        match self.state {
            RunState::Running { lease_until, .. } if self.token == claim.token.0 => Some(lease_until),
            _ => None,
        }
    }
}

impl RunTable {
    /// Queues the runs of one commit as its overlap policy says; answers the fire times that it skipped. A place that
    /// is free before the batch is enough for all of the batch.
    pub(crate) fn admit(&mut self, runs: Vec<QueuedRun>) -> Vec<DateTime<Utc>> {
        let skips = |run: &QueuedRun| run.options.overlap == Overlap::Skip && self.gates.is_job_full(run);
        let skip: Vec<bool> = runs.iter().map(skips).collect();
        let mut skipped = Vec::new();
        for (run, skip) in runs.into_iter().zip(skip) {
            match skip && !self.is_known(&run) {
                true => skipped.push(run.fire_time),
                false => self.push(run),
            }
        }
        skipped
    }

    /// Whether the run is new and nothing else of its job is unfinished.
    pub(crate) fn is_alone(&self, run: &QueuedRun) -> bool {
        !self.is_known(run) && self.gates.is_job_idle(run)
    }

    /// Queues a run and claims it, unless a limit holds it back.
    pub(crate) fn push_and_claim(&mut self, run: QueuedRun, lease: &Lease) -> Option<RunId> {
        let (executor, place) = (Arc::clone(&run.options.executor), place_of(&run));
        self.push(run);
        self.leave_line(&executor, place);
        Some(self.lease_run(place, lease, FencingToken::FIRST)?.run.id)
    }

    /// Queues a run, unless its id, or its job and fire time, are there.
    pub(crate) fn push(&mut self, run: QueuedRun) {
        if self.is_known(&run) {
            return;
        }
        self.fires.extend(fire_of(&run));
        self.gates.enter(&run);
        let row = Row { run, attempt: 0, token: 0, state: RunState::Queued, history: Vec::new() };
        line_up(&mut self.lines, &row);
        self.rows.insert(row.run.id, row);
    }

    /// Claims due runs for executors with free places, in order.
    pub(crate) fn claim(
        &mut self,
        request: &ClaimRequest,
        executors: &[(Arc<str>, usize)],
        lease: &Lease,
        last_token: &mut u64,
    ) -> Vec<ClaimedRun> {
        let mut free = executors.to_vec();
        let mut claimed = Vec::new();
        while claimed.len() < request.limit {
            free.retain(|(_, places)| *places > 0);
            let Some((place, at)) = self.first_due(request.now, &free) else { break };
            self.leave_line(&free[at].0, place);
            let token = FencingToken((*last_token).max(FencingToken::FIRST.0) + 1);
            if let Some(run) = self.lease_run(place, lease, token) {
                *last_token = token.0;
                free[at].1 -= 1;
                claimed.push(run);
            }
        }
        claimed
    }

    /// Claims a run that has left its line; one that a limit holds back is parked.
    fn lease_run(&mut self, place: Place, lease: &Lease, token: FencingToken) -> Option<ClaimedRun> {
        let row = self.rows.get_mut(&place.2)?;
        if let Err(shut) = self.gates.take(&row.run) {
            self.gates.park(&shut, place);
            self.call_others(place.2, &shut);
            return None;
        }
        (row.token, row.attempt) = (token.0, row.attempt + 1);
        row.state = RunState::Running { owner: Arc::clone(&lease.owner), lease_until: lease.until };
        self.leased.insert((lease.until, row.run.id));
        let (run, history) = (row.run.clone(), row.history.clone());
        Some(ClaimedRun { run, attempt: row.attempt, token, history })
    }

    /// Extends a lease; says whether the claim is still open.
    pub(crate) fn renew(&mut self, claim: RunClaim, until: DateTime<Utc>) -> bool {
        let Some(row) = self.rows.get_mut(&claim.id) else { return false };
        let Some(before) = row.lease_of(claim) else { return false };
        if let RunState::Running { lease_until, .. } = &mut row.state {
            *lease_until = until;
        }
        self.leased.remove(&(before, claim.id));
        self.leased.insert((until, claim.id))
    }

    /// Ends a run, or puts it back to be tried again; says whether the claim was still open.
    pub(crate) fn finish(&mut self, finished: FinishedRun) -> bool {
        let FinishedRun { claim, outcome, started_at, finished_at, again } = finished;
        let Some(row) = self.rows.get_mut(&claim.id) else { return false };
        let Some(lease_until) = row.lease_of(claim) else { return false };
        if let Some(again) = again {
            row.history = again.history;
            row.run.scheduled_time = again.at;
            self.requeue(lease_until, claim.id);
            return true;
        }
        row.state = RunState::Finished { outcome, started_at, finished_at };
        self.leased.remove(&(lease_until, claim.id));
        let freed = self.gates.leave(&row.run);
        self.keep(claim.id, finished_at);
        self.call(freed);
        true
    }

    /// Ends a run that waits, as cancelled; says whether it waited.
    pub(crate) fn cancel(&mut self, id: RunId, at: DateTime<Utc>) -> bool {
        let Some(row) = self.rows.get_mut(&id).filter(|row| row.state == RunState::Queued) else {
            return false;
        };
        row.state = RunState::Finished { outcome: Outcome::Cancelled, started_at: None, finished_at: at };
        let (place, executor) = (row.place(), Arc::clone(&row.run.options.executor));
        let freed = self.gates.desert(&row.run, place);
        self.leave_line(&executor, place);
        self.keep(id, at);
        self.call(freed);
        true
    }

    /// Keeps a finished run for its time to live.
    fn keep(&mut self, id: RunId, finished_at: DateTime<Utc>) {
        let Some(row) = self.rows.get(&id) else { return };
        if row.run.options.result_ttl.is_zero() {
            self.delete(id);
        } else {
            self.kept.insert((row.kept_until(finished_at), id));
            self.ended.insert((finished_at, id));
        }
    }

    /// Gives a claim back; the attempt does not count.
    pub(crate) fn release(&mut self, claim: RunClaim) {
        let lease_until = self.rows.get(&claim.id).and_then(|row| row.lease_of(claim));
        if let Some(lease_until) = lease_until {
            self.requeue(lease_until, claim.id);
            if let Some(row) = self.rows.get_mut(&claim.id) {
                row.attempt -= 1;
            }
        }
    }

    /// Puts runs back whose lease ran out before `now`; says which.
    pub(crate) fn take_back(&mut self, now: DateTime<Utc>) -> Vec<RunId> {
        let ended: Vec<_> = self.leased.iter().take_while(|(until, _)| *until < now).copied().collect();
        ended.iter().for_each(|(until, id)| self.requeue(*until, *id));
        ended.into_iter().map(|(_, id)| id).collect()
    }

    /// Deletes finished runs whose time to live has ended, and the oldest beyond `keep`; says how many.
    pub(crate) fn cleanup(&mut self, now: DateTime<Utc>, keep: Option<usize>, limit: usize) -> usize {
        let mut deleted = 0;
        while deleted < limit {
            let expired = self.kept.first().filter(|(end, _)| *end <= now).map(|(_, id)| *id);
            let beyond = || {
                let is_too_many = keep.is_some_and(|keep| self.ended.len() > keep);
                self.ended.first().filter(|_| is_too_many).map(|(_, id)| *id)
            };
            let Some(id) = expired.or_else(beyond) else { break };
            self.delete(id);
            deleted += 1;
        }
        deleted
    }

    pub(crate) fn get(&self, id: RunId) -> Option<RunRecord> {
        self.rows.get(&id).map(Row::record)
    }

    pub(crate) fn list(&self, filter: &RunFilter) -> Vec<RunRecord> {
        let after = filter.after.map_or(Bound::Unbounded, Bound::Excluded);
        let rows = self.rows.range((after, Bound::Unbounded)).map(|(_, row)| row);
        let wanted = rows.map(Row::record).filter(|record| filter.admits(record));
        wanted.take(filter.limit.unwrap_or(usize::MAX)).collect()
    }

    pub(crate) fn counts(&self) -> RunCounts {
        let (running, finished) = (self.leased.len(), self.kept.len());
        RunCounts { queued: self.rows.len() - running - finished, running, finished }
    }

    /// When the next run that no limit holds back is to start, or the earliest lease no longer holds.
    pub(crate) fn next_wakeup(&self) -> Option<DateTime<Utc>> {
        let starts =
            self.lines.values().flat_map(BTreeMap::values).filter_map(BTreeSet::first).map(|(time, _)| *time);
        let lease_end = self.leased.first().map(|(until, _)| *until + TimeDelta::microseconds(1));
        starts.chain(lease_end).min()
    }

    /// Takes out the rows that were deleted since the last call.
    pub(crate) fn take_deleted(&mut self) -> Vec<QueuedRun> {
        std::mem::take(&mut self.deleted)
    }

    fn is_known(&self, run: &QueuedRun) -> bool {
        self.rows.contains_key(&run.id) || fire_of(run).is_some_and(|fire| self.fires.contains(&fire))
    }

    /// The first due run of these executors, and the executor's index.
    fn first_due(&self, now: DateTime<Utc>, executors: &[(Arc<str>, usize)]) -> Option<(Place, usize)> {
        let firsts = executors.iter().enumerate().filter_map(|(at, (alias, _))| {
            let mut classes = self.lines.get(alias)?.iter();
            classes.find_map(|(priority, runs)| {
                let (time, id) = *runs.first()?;
                (time <= now).then_some(((*priority, time, id), at))
            })
        });
        firsts.min()
    }

    fn leave_line(&mut self, executor: &Arc<str>, (priority, time, id): Place) {
        let Some(line) = self.lines.get_mut(executor) else { return };
        if let Some(runs) = line.get_mut(&priority) {
            runs.remove(&(time, id));
            if runs.is_empty() {
                line.remove(&priority);
            }
        }
        if line.is_empty() {
            self.lines.remove(executor);
        }
    }

    /// Ends a lease without ending the run.
    fn requeue(&mut self, lease_until: DateTime<Utc>, id: RunId) {
        self.leased.remove(&(lease_until, id));
        let Some(row) = self.rows.get_mut(&id) else { return };
        row.state = RunState::Queued;
        line_up(&mut self.lines, row);
        let freed = self.gates.give_back(&row.run);
        self.call(freed);
    }

    /// A run was parked at one gate: whoever is parked at another gate that it passed may go in its place.
    fn call_others(&mut self, parked: RunId, shut: &Gate) {
        let Some(row) = self.rows.get(&parked) else { return };
        let freed = self.gates.others(&row.run, shut);
        self.call(freed);
    }

    /// Lets parked runs line up again.
    fn call(&mut self, freed: Vec<Place>) {
        for (_, _, id) in freed {
            if let Some(row) = self.rows.get(&id) {
                line_up(&mut self.lines, row);
            }
        }
    }

    fn delete(&mut self, id: RunId) {
        if let Some(row) = self.rows.remove(&id) {
            if let Some(fire) = fire_of(&row.run) {
                self.fires.remove(&fire);
            }
            if let RunState::Finished { finished_at, .. } = row.state {
                self.ended.remove(&(finished_at, id));
                self.kept.remove(&(row.kept_until(finished_at), id));
            }
            self.deleted.push(row.run);
        }
    }
}

fn place_of(run: &QueuedRun) -> Place {
    (Reverse(run.priority), run.scheduled_time, run.id)
}

fn fire_of(run: &QueuedRun) -> Option<(JobId, DateTime<Utc>)> {
    run.job_id.clone().map(|job_id| (job_id, run.fire_time))
}

fn line_up(lines: &mut BTreeMap<Arc<str>, Line>, row: &Row) {
    let (priority, time, id) = row.place();
    let line = lines.entry(Arc::clone(&row.run.options.executor)).or_default();
    line.entry(priority).or_default().insert((time, id));
}
