//! What is true of the run queue.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use sched_core::{ClaimRequest, ClaimedRun, FinishedRun, QueuedRun, RunClaim, RunId};

use super::{Fire, Lease, Process, RunEntry, Standing, Time, Watch};
use crate::simulator::server::end_of;

fn fire_of(run: &QueuedRun) -> Option<Fire> {
    run.job_id.clone().map(|job_id| (job_id, run.fire_time))
}

impl Watch {
    /// A run is queued, unless its fire time is there.
    pub(in crate::simulator) fn enqueued(&mut self, run: &QueuedRun) {
        let Some(fire) = fire_of(run) else { return };
        if self.runs.get(&fire).is_some_and(RunEntry::is_unfinished) {
            return;
        }
        let (run, scheduled) = (run.clone(), run.scheduled_time);
        let (id, attempt, token, standing, history) = (None, 0, 0, Standing::Waiting, Vec::new());
        self.runs.insert(fire, RunEntry { run, id, attempt, token, standing, history, scheduled });
    }

    pub(in crate::simulator) fn runs_claimed(
        &mut self,
        process: Process,
        (request, places): (&ClaimRequest, &[(Arc<str>, usize)]),
        claimed: &[ClaimedRun],
        now: Time,
    ) {
        claimed.iter().for_each(|claimed| self.tell_claimed(process, claimed, now));
        self.check(claimed.len() <= request.limit, || format!("{} runs were claimed", claimed.len()));
        let order = |claimed: &ClaimedRun| {
            (Reverse(claimed.run.priority), claimed.run.scheduled_time, claimed.run.id)
        };
        self.check(claimed.is_sorted_by_key(order), || "runs were claimed out of order".to_owned());
        for claimed in claimed {
            self.run_claimed(process, request, claimed, now);
        }
        self.expire(now);
        let mut free = places.to_vec();
        for claimed in claimed {
            match free.iter_mut().find(|(alias, free)| *alias == claimed.run.options.executor && *free > 0) {
                Some((_, free)) => *free -= 1,
                None => self.violated(format!("run {} has no place in its executor", claimed.run.id)),
            }
            self.check_limits(claimed);
        }
        if claimed.len() < request.limit {
            self.check_nobody_left(request, &free);
        }
    }

    /// A commit claimed its run.
    pub(in crate::simulator) fn commit_claimed(
        &mut self,
        process: Process,
        request: &ClaimRequest,
        claimed: &ClaimedRun,
        now: Time,
    ) {
        self.tell_claimed(process, claimed, now);
        self.run_claimed(process, request, claimed, now);
        self.check_limits(claimed);
    }

    fn tell_claimed(&mut self, process: Process, claimed: &ClaimedRun, now: Time) {
        self.effects += 1;
        self.tell(now, || {
            format!(
                "p{process} claims {} for attempt {}, {:?}",
                claimed.run.id, claimed.attempt, claimed.token
            )
        });
    }

    fn check_limits(&mut self, claimed: &ClaimedRun) {
        let over = self.exceeded(&claimed.run, 0);
        self.check(over.is_none(), || format!("run {} exceeds the limit of its {over:?}", claimed.run.id));
    }

    fn run_claimed(&mut self, process: Process, request: &ClaimRequest, claimed: &ClaimedRun, now: Time) {
        let (run, token) = (&claimed.run, claimed.token.0);
        let Some(fire) = fire_of(run) else { return self.violated("a run came from nowhere") };
        let Some(entry) = self.runs.get_mut(&fire).filter(|entry| entry.is_unfinished()) else {
            return self.violated(format!("{fire:?} was claimed and is not queued"));
        };
        let (lease, before) = (entry.lease().cloned(), (entry.attempt, entry.token));
        let (history, scheduled) = (entry.history.clone(), entry.scheduled);
        let id = *entry.id.get_or_insert(run.id);
        (entry.attempt, entry.token) = (claimed.attempt, token);
        let (owner, until) = (Arc::clone(&request.owner), end_of(now, request.lease));
        entry.standing =
            Standing::Leased(Lease { owner, process, token, since: now, until, asked: request.now });
        self.ids.insert(run.id, fire.clone());
        self.claims.insert((fire.clone(), claimed.attempt), (process, now));
        self.check(id == run.id, || format!("{fire:?} became two runs"));
        self.check(lease.as_ref().is_none_or(|lease| lease.until < now), || {
            format!("{fire:?} was claimed at {now} while a lease held: {lease:?}")
        });
        let needless = lease.filter(|lease| self.was_well(lease.process, lease.since, now));
        self.check(needless.is_none(), || {
            format!("{fire:?} was taken from an owner that was well: {needless:?}")
        });
        self.check(claimed.attempt == before.0 + 1, || {
            format!("{fire:?} was claimed for attempt {} after {}", claimed.attempt, before.0)
        });
        self.check(token > before.1, || {
            format!("{fire:?} was claimed with token {token} after {}", before.1)
        });
        self.check(claimed.history == history, || format!("{fire:?} lost its history"));
        self.check(run.scheduled_time == scheduled && scheduled <= request.now, || {
            format!("{fire:?} was claimed at {}, before {scheduled}", request.now)
        });
    }

    /// Leases that ended are free.
    fn expire(&mut self, now: Time) {
        let ended: Vec<Fire> = self
            .runs
            .iter()
            .filter(|(_, entry)| entry.lease().is_some_and(|lease| lease.until < now))
            .map(|(fire, _)| fire.clone())
            .collect();
        for fire in ended {
            self.take_back(&fire, now);
        }
    }

    fn take_back(&mut self, fire: &Fire, now: Time) {
        let lease = self.runs.get(fire).and_then(RunEntry::lease).cloned();
        let needless = lease.filter(|lease| self.was_well(lease.process, lease.since, now));
        self.check(needless.is_none(), || {
            format!("{fire:?} was taken from an owner that was well: {needless:?}")
        });
        if let Some(entry) = self.runs.get_mut(fire) {
            entry.standing = Standing::Waiting;
        }
    }

    /// Which limit more runs than allowed have passed, when `more` would join them.
    fn exceeded(&self, run: &QueuedRun, more: usize) -> Option<&'static str> {
        let exceeds = |limit: u32, same: &dyn Fn(&QueuedRun) -> bool| {
            let leased = self.runs.values().filter(|entry| entry.lease().is_some() && same(&entry.run));
            more + leased.count() > limit as usize
        };
        let (options, task) = (&run.options, run.call.task.bound().and_then(|task| task.max_instances()));
        if exceeds(options.max_instances, &|other| other.job_id == run.job_id) {
            return Some("job");
        }
        if task.is_some_and(|limit| exceeds(limit, &|other| other.call.task.name() == run.call.task.name())) {
            return Some("task");
        }
        let key = options.concurrency_key.as_ref()?;
        let same = |other: &QueuedRun| other.options.concurrency_key.as_ref() == Some(key);
        exceeds(options.concurrency_limit, &same).then_some("key")
    }

    /// After a claim that took less than it might have, nobody waits who had a place.
    fn check_nobody_left(&mut self, request: &ClaimRequest, free: &[(Arc<str>, usize)]) {
        let has_place =
            |run: &QueuedRun| free.iter().any(|(alias, free)| *alias == run.options.executor && *free > 0);
        let left = self.runs.iter().find(|(_, entry)| {
            matches!(entry.standing, Standing::Waiting)
                && entry.scheduled <= request.now
                && has_place(&entry.run)
                && self.exceeded(&entry.run, 1).is_none()
        });
        let left = left.map(|(fire, _)| fire.clone());
        self.check(left.is_none(), || format!("{left:?} is due, has a place, and was left out of a claim"));
    }

    /// The entry of an open claim.
    fn open(&mut self, claim: RunClaim) -> Option<&mut RunEntry> {
        let fire = self.ids.get(&claim.id)?;
        let entry = self.runs.get_mut(fire)?;
        (entry.lease().is_some_and(|lease| lease.token == claim.token.0)).then_some(entry)
    }

    fn check_open(&mut self, what: &str, claim: RunClaim, answer: bool) -> Option<&mut RunEntry> {
        self.effects += 1;
        let open = self.open(claim).is_some();
        self.check(answer || !open, || format!("the owner of run {} could not {what} it", claim.id));
        self.check(!answer || open, || format!("a stale owner could {what} run {}", claim.id));
        self.open(claim).filter(|_| answer)
    }

    pub(in crate::simulator) fn renewed(
        &mut self,
        claim: RunClaim,
        lease: Duration,
        answer: bool,
        now: Time,
    ) {
        let Some(entry) = self.check_open("renew", claim, answer) else { return };
        if let Standing::Leased(held) = &mut entry.standing {
            (held.since, held.until) = (now, end_of(now, lease));
        }
    }

    pub(in crate::simulator) fn finished(&mut self, finished: &FinishedRun, answer: bool) {
        let Some(entry) = self.check_open("finish", finished.claim, answer) else { return };
        match &finished.again {
            Some(again) => {
                entry.standing = Standing::Waiting;
                entry.history.clone_from(&again.history);
                entry.scheduled = again.at;
            }
            None => {
                entry.standing = Standing::Over;
                self.finished += 1;
            }
        }
    }

    pub(in crate::simulator) fn released(&mut self, claim: RunClaim) {
        if let Some(entry) = self.open(claim) {
            entry.standing = Standing::Waiting;
            entry.attempt = entry.attempt.saturating_sub(1);
        }
    }

    pub(in crate::simulator) fn reaped(&mut self, ids: &[RunId], now: Time) {
        for id in ids {
            let Some(fire) = self.ids.get(id).cloned() else { continue };
            let lease = self.runs.get(&fire).and_then(RunEntry::lease).cloned();
            let ended = lease.as_ref().is_some_and(|lease| lease.until < now);
            self.check(ended, || format!("{fire:?} was taken back at {now}: {lease:?}"));
            self.take_back(&fire, now);
        }
        let left = self.runs.iter().find(|(_, entry)| entry.lease().is_some_and(|lease| lease.until < now));
        let left = left.map(|(fire, _)| fire.clone());
        self.check(left.is_none(), || format!("the lease of {left:?} ended and it was not taken back"));
    }

    /// The queue wakes for the first run that no limit holds back, and for the first lease that ends.
    pub(in crate::simulator) fn run_wakeup(&mut self, answer: Option<Time>) {
        let times = self.runs.values().filter_map(|entry| match &entry.standing {
            Standing::Waiting => self.exceeded(&entry.run, 1).is_none().then_some(entry.scheduled),
            Standing::Leased(lease) => Some(lease.until + TimeDelta::microseconds(1)),
            Standing::Over => None,
        });
        let first = times.min();
        let in_time = first.is_none_or(|first| answer.is_some_and(|answer| answer <= first));
        self.check(in_time, || format!("the queue wakes at {answer:?}, not {first:?}"));
    }
}
