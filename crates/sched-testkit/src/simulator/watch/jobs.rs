//! What is true of claims and commits of jobs.

use chrono::TimeDelta;
use sched_core::{
    Advance, ClaimRequest, ClaimedJob, Coalesce, Committed, Cursor, Grace, Job, JobCommit, JobStatus,
    Overlap, QueuedRun,
};

use super::{JobEntry, Lease, Process, Time, Watch};
use crate::simulator::server::end_of;

/// Whether a job may be claimed.
fn is_free(entry: &JobEntry, now: Time) -> bool {
    entry.lease.as_ref().is_none_or(|lease| lease.until < now)
}

/// The fire times from one on, before `until` if there is one.
fn fires(job: &Job, first: Time, until: Option<Time>) -> Vec<Time> {
    let (mut fires, mut next) = (Vec::new(), Some(first));
    while let Some(time) = next.filter(|time| until.is_none_or(|until| *time < until)) {
        fires.push(time);
        next = job.spec.trigger.next_fire_time(Some(time), time).ok().flatten();
    }
    fires
}

impl Watch {
    pub(in crate::simulator) fn jobs_claimed(
        &mut self,
        process: Process,
        request: &ClaimRequest,
        claimed: &[ClaimedJob],
        now: Time,
    ) {
        self.effects += claimed.len();
        if !claimed.is_empty() {
            let claims: Vec<_> = claimed.iter().map(|claimed| &claimed.claim).collect();
            self.tell(now, || format!("p{process} claims jobs at its {}: {claims:?}", request.now));
        }
        self.check(claimed.len() <= request.limit, || format!("{} jobs were claimed", claimed.len()));
        let order = |claimed: &ClaimedJob| (claimed.job.next_run_time(), claimed.job.id().clone());
        self.check(claimed.is_sorted_by_key(order), || "jobs were claimed out of order".to_owned());
        for claimed in claimed {
            self.job_claimed(process, request, claimed, now);
        }
        if claimed.len() < request.limit {
            let due = |entry: &&JobEntry| entry.cursor.next_run_time.is_some_and(|time| time <= request.now);
            let left = self.jobs.values().filter(|entry| !entry.gone && is_free(entry, now)).find(due);
            let left = left.map(|entry| entry.job.id().clone());
            self.check(left.is_none(), || {
                format!("job {left:?} is due and free and was left out of a claim")
            });
        }
    }

    fn job_claimed(&mut self, process: Process, request: &ClaimRequest, claimed: &ClaimedJob, now: Time) {
        let (id, token) = (claimed.job.id(), claimed.claim.token.0);
        let Some(entry) = self.jobs.get_mut(id).filter(|entry| !entry.gone) else {
            return self.violated(format!("job {id} was claimed after it was removed"));
        };
        let (free, cursor) = (is_free(entry, now), entry.cursor.clone());
        let (before, lease) = (entry.greatest_token, entry.lease.clone());
        entry.greatest_token = before.max(token);
        let (owner, until) = (request.owner.clone(), end_of(now, request.lease));
        entry.lease = Some(Lease { owner, process, token, since: now, until, asked: request.now });
        self.check(free, || format!("job {id} was claimed at {now} while a lease held: {lease:?}"));
        self.check(cursor == claimed.job.cursor, || {
            format!("job {id} stands at {cursor:?} and was given out at {:?}", claimed.job.cursor)
        });
        let due = cursor.next_run_time.is_some_and(|time| time <= request.now);
        self.check(due, || format!("job {id} was claimed before it was due"));
        self.check(token > before, || format!("job {id} was claimed with token {token} after {before}"));
    }

    pub(in crate::simulator) fn committed(
        &mut self,
        commit: &JobCommit,
        answer: &Committed,
        is_durable: bool,
    ) {
        let (id, token) = (&commit.claim.id, commit.claim.token.0);
        let entry = self.jobs.get_mut(id).filter(|entry| !entry.gone);
        let lease = entry.and_then(|entry| entry.lease.take_if(|lease| lease.token == token));
        let skipped = match (answer, lease) {
            (Committed::Stale, None) => return,
            (Committed::Stale, Some(lease)) => {
                return self.violated(format!("the commit of job {id} was refused: {lease:?}"));
            }
            (Committed::Applied { .. } | Committed::Claimed(_), None) => {
                return self.violated(format!("a stale commit of job {id} was applied"));
            }
            (answer, Some(lease)) => {
                self.check_advance(commit, lease.asked, is_durable);
                match answer {
                    Committed::Applied { skipped } => skipped.clone(),
                    Committed::Claimed(_) | Committed::Stale => Vec::new(),
                }
            }
        };
        let expected = self.overlapping(&commit.runs);
        self.check(skipped == expected, || format!("of job {id} {skipped:?} was skipped, not {expected:?}"));
        let queued = commit.runs.iter().filter(|run| !skipped.contains(&run.fire_time));
        queued.for_each(|run| self.enqueued(run));
        let Some(entry) = self.jobs.get_mut(id) else { return };
        let revision = entry.cursor.revision + 1;
        match &commit.advance {
            Advance::Remove => entry.gone = true,
            Advance::To(cursor) => entry.cursor = Cursor { revision, ..cursor.clone() },
        }
    }

    /// The fire times that a commit should skip.
    fn overlapping(&self, runs: &[QueuedRun]) -> Vec<Time> {
        let is_full = |run: &QueuedRun| {
            let of_job =
                self.runs.values().filter(|entry| entry.is_unfinished() && entry.run.job_id == run.job_id);
            of_job.count() >= run.options.max_instances as usize
        };
        let skipped = runs.iter().filter(|run| run.options.overlap == Overlap::Skip && is_full(run));
        skipped.map(|run| run.fire_time).collect()
    }

    /// A commit deals with the fire times that were due, all of them and no other, and queues those that its policies
    /// choose.
    fn check_advance(&mut self, commit: &JobCommit, asked: Time, is_durable: bool) {
        let Some(entry) = self.jobs.get(&commit.claim.id) else { return };
        let job = entry.job.clone();
        let Some(first) = entry.cursor.next_fire_time else {
            return self.violated(format!("job {} was committed and is not scheduled", job.id()));
        };
        let next = match &commit.advance {
            Advance::To(cursor) if cursor.status == JobStatus::Scheduled => cursor.next_fire_time,
            _ => None,
        };
        let window = fires(&job, first, next);
        let after =
            window.last().and_then(|last| job.spec.trigger.next_fire_time(Some(*last), *last).ok().flatten());
        self.check(next.is_none_or(|next| next > first), || {
            format!("job {} goes back to {next:?}", job.id())
        });
        self.check(after == next, || format!("job {} goes on at {next:?}, not {after:?}", job.id()));
        let early = window.iter().find(|time| **time > asked);
        self.check(early.is_none(), || format!("job {} dealt with {early:?} at {asked}", job.id()));
        self.check(next.is_none_or(|next| next > asked), || format!("job {} is due again at once", job.id()));
        if is_durable {
            self.check_choice(&job, &window, &commit.runs, asked);
        }
    }

    fn check_choice(&mut self, job: &Job, window: &[Time], runs: &[QueuedRun], asked: Time) {
        let options = &job.spec.options;
        let chosen: Vec<Time> = match options.coalesce {
            Coalesce::Latest => window.last().copied().into_iter().collect(),
            Coalesce::Earliest => window.first().copied().into_iter().collect(),
            Coalesce::All => window.to_vec(),
        };
        let made: Vec<Time> = runs.iter().map(|run| run.fire_time).collect();
        let late = |time: &Time| match options.misfire_grace_time {
            Grace::Unlimited => false,
            Grace::Within(grace) => (asked - *time) > TimeDelta::from_std(grace).unwrap_or(TimeDelta::MAX),
        };
        let complete = match window.iter().any(late) {
            true => made.iter().all(|time| window.contains(time)),
            false => made == chosen,
        };
        self.check(complete, || format!("of {window:?} job {} runs {made:?}, not {chosen:?}", job.id()));
    }

    /// The next wake-up is the earliest run time of a free job, or the end of the earliest lease.
    pub(in crate::simulator) fn job_wakeup(&mut self, answer: Option<Time>) {
        let times = self.jobs.values().filter(|entry| !entry.gone).filter_map(|entry| match &entry.lease {
            Some(lease) => Some(lease.until + TimeDelta::microseconds(1)),
            None => entry.cursor.next_run_time,
        });
        let expected = times.min();
        self.check(answer == expected, || format!("the next wake-up is {expected:?}, not {answer:?}"));
    }
}
