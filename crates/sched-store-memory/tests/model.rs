//! The memory store does what a plain list of jobs would do, whatever is asked of it in whatever order.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;
use sched_core::{
    Advance, Claim, ClaimRequest, Committed, ConflictPolicy, Job, JobCommit, JobFilter, JobStore, StoredJob,
};
use sched_store_memory::MemoryStore;
use sched_testkit::jobs::{NOON, cursor_at, job_id, moved, sample_job};
use sched_testkit::{SimClock, StoreFixture};

const LEASE: Duration = Duration::from_secs(10);

/// Something that is asked of both.
#[derive(Debug, Clone)]
enum Step {
    Insert(u8, Option<u8>),
    Replace(u8, Option<u8>),
    Update(u8, Option<u8>),
    Remove(u8),
    Claim(u8, usize),
    Commit(usize, Option<u8>),
    Pass(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (id, time) = (0..12_u8, proptest::option::weighted(0.8, 0..20_u8));
    let step = prop_oneof![
        4 => (id.clone(), time.clone()).prop_map(|(id, time)| Step::Insert(id, time)),
        1 => (id.clone(), time.clone()).prop_map(|(id, time)| Step::Replace(id, time)),
        2 => (id.clone(), time.clone()).prop_map(|(id, time)| Step::Update(id, time)),
        2 => id.prop_map(Step::Remove),
        4 => (0..20_u8, 0..6_usize).prop_map(|(time, limit)| Step::Claim(time, limit)),
        4 => (0..8_usize, time).prop_map(|(claim, time)| Step::Commit(claim, time)),
        1 => (0..12_u8).prop_map(Step::Pass),
    ];
    proptest::collection::vec(step, 1..120)
}

/// Jobs in no order at all.
#[derive(Default)]
struct Model {
    jobs: BTreeMap<String, Kept>,
}

#[derive(Clone)]
struct Kept {
    time: Option<DateTime<Utc>>,
    revision: u64,
    /// Its open claim's number and the end of its lease.
    claim: Option<(usize, DateTime<Utc>)>,
}

impl Model {
    fn ordered(&self) -> Vec<(Option<DateTime<Utc>>, String)> {
        let mut jobs: Vec<_> = self.jobs.iter().map(|(id, kept)| (kept.time, id.clone())).collect();
        jobs.sort_by_key(|(time, id)| (time.is_none(), *time, id.clone()));
        jobs
    }

    fn due(&self, due: DateTime<Utc>, now: DateTime<Utc>) -> Vec<String> {
        let is_free = |id: &String| self.jobs[id].claim.is_none_or(|(_, until)| until < now);
        let is_due = |time: Option<DateTime<Utc>>| time.is_some_and(|time| time <= due);
        self.ordered()
            .into_iter()
            .filter(|(time, id)| is_due(*time) && is_free(id))
            .map(|(_, id)| id)
            .collect()
    }

    fn wakeup(&self) -> Option<DateTime<Utc>> {
        let times = self.jobs.values().filter_map(|kept| match kept.claim {
            Some((_, until)) => Some(until + TimeDelta::microseconds(1)),
            None => kept.time,
        });
        times.min()
    }
}

fn at(seconds: u8) -> DateTime<Utc> {
    // Every fourth time is the same as its neighbour, and none is in the same place of its second.
    NOON + TimeDelta::milliseconds(i64::from(seconds / 4 * 4) * 333)
}

/// The store, its model, and every claim that was ever made.
struct Pair {
    store: MemoryStore,
    clock: SimClock,
    model: Model,
    claims: Vec<Claim>,
}

impl Pair {
    fn new() -> Self {
        let (store, clock) = (MemoryStore::new(), SimClock::default());
        let mut context = StoreFixture::new(Arc::new(MemoryStore::new())).context();
        context.clock = Arc::new(clock.clone());
        store.start(context).unwrap();
        Self { store, clock, model: Model::default(), claims: Vec::new() }
    }

    fn now(&self) -> DateTime<Utc> {
        sched_core::Clock::now(&self.clock)
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Insert(id, time) => self.insert(id, time, ConflictPolicy::Error),
            Step::Replace(id, time) => self.insert(id, time, ConflictPolicy::Replace),
            Step::Update(id, time) => self.update(id, time),
            Step::Remove(id) => {
                let removed = self.store.remove(&[job_id(&name(id))]).unwrap();
                assert_eq!(removed, [self.model.jobs.remove(&name(id)).is_some()]);
            }
            Step::Claim(time, limit) => self.claim(at(time), limit),
            Step::Commit(claim, time) => self.commit(claim, time),
            Step::Pass(seconds) => self.clock.advance(Duration::from_secs(seconds.into())),
        }
    }

    fn insert(&mut self, id: u8, time: Option<u8>, conflict: ConflictPolicy) {
        let job = sample_job(&name(id), time.map(at));
        let answer = self.store.insert(std::slice::from_ref(&job), conflict).unwrap().pop().unwrap();
        let there = self.model.jobs.get(&name(id)).map(|kept| kept.revision);
        assert_eq!(answer.is_ok(), there.is_none() || conflict == ConflictPolicy::Replace);
        if answer.is_ok() {
            // The same schedule keeps its place; it is read back, because only the store knows both triggers.
            let stored =
                self.store.get(&[job_id(&name(id))]).unwrap().pop().flatten().unwrap().into_job().unwrap();
            let revision = there.map_or(0, |revision| revision + 1);
            assert_eq!(stored.cursor.revision, revision);
            self.model.jobs.insert(name(id), Kept { time: stored.next_run_time(), revision, claim: None });
        }
    }

    fn update(&mut self, id: u8, time: Option<u8>) {
        let Some(stored) = self
            .store
            .get(&[job_id(&name(id))])
            .unwrap()
            .pop()
            .flatten()
            .map(|stored| stored.into_job().unwrap())
        else {
            return assert!(!self.model.jobs.contains_key(&name(id)));
        };
        let answer = self.store.update(&[moved(&stored, time.map(at))]).unwrap().pop().unwrap();
        assert!(answer.is_ok(), "{answer:?}");
        let revision = stored.cursor.revision + 1;
        self.model.jobs.insert(name(id), Kept { time: time.map(at), revision, claim: None });
    }

    fn claim(&mut self, due: DateTime<Utc>, limit: usize) {
        let now = self.now();
        let mut expected = self.model.due(due, now);
        expected.truncate(limit);
        let request = ClaimRequest { owner: Arc::from("one"), now: due, limit, lease: LEASE };
        let claimed = self.store.claim_due(&request).unwrap();
        let ids: Vec<_> = claimed.iter().map(|claimed| claimed.job.id().as_str().to_owned()).collect();
        assert_eq!(ids, expected);
        // Leases that are over are taken back at every claim.
        for kept in
            self.model.jobs.values_mut().filter(|kept| kept.claim.is_some_and(|(_, until)| until < now))
        {
            kept.claim = None;
        }
        for claimed in claimed {
            let until = now + TimeDelta::from_std(LEASE).unwrap();
            self.model.jobs.get_mut(claimed.job.id().as_str()).unwrap().claim =
                Some((self.claims.len(), until));
            self.claims.push(claimed.claim);
        }
    }

    /// Commits one of the latest claims, open or not.
    fn commit(&mut self, back: usize, time: Option<u8>) {
        let Some(number) = self.claims.len().checked_sub(back + 1) else { return };
        let claim = self.claims[number].clone();
        let id = claim.id.as_str().to_owned();
        let kept =
            self.model.jobs.get(&id).cloned().filter(|kept| kept.claim.is_some_and(|(it, _)| it == number));
        let advance = time.map_or(Advance::Remove, |time| Advance::To(cursor_at(at(time))));
        let answer = self.store.commit(vec![JobCommit { claim, advance, runs: Vec::new() }]).unwrap();
        assert_eq!(answer[0] == Committed::Stale, kept.is_none(), "{answer:?}");
        match (kept, time) {
            (Some(kept), Some(time)) => {
                let revision = kept.revision + 1;
                self.model.jobs.insert(id, Kept { time: Some(at(time)), revision, claim: None });
            }
            (Some(_), None) => {
                self.model.jobs.remove(&id);
            }
            (None, _) => {}
        }
    }

    fn check(&self) {
        let listed =
            self.store.list(&JobFilter::default()).unwrap().into_iter().filter_map(|stored| match stored {
                StoredJob::Job(job) => Some(job),
                StoredJob::Quarantined { .. } => None,
            });
        let listed: Vec<Job> = listed.collect();
        let order: Vec<_> =
            listed.iter().map(|job| (job.next_run_time(), job.id().as_str().to_owned())).collect();
        assert_eq!(order, self.model.ordered());
        assert_eq!(self.store.next_wakeup().unwrap(), self.model.wakeup());
        for job in listed {
            assert_eq!(self.store.get(&[job.id().clone()]).unwrap(), [Some(StoredJob::Job(job.clone()))]);
            assert_eq!(job.cursor.revision, self.model.jobs[job.id().as_str()].revision);
        }
    }
}

fn name(id: u8) -> String {
    format!("job-{id}")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_store_and_a_plain_list_agree(steps in steps()) {
        let mut pair = Pair::new();
        for step in &steps {
            pair.take(step);
            pair.check();
        }
    }
}
