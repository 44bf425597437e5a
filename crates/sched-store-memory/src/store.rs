//! [`MemoryStore`]: the tables under one lock, and the two contracts they keep.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use parking_lot::Mutex;
use sched_core::{
    ClaimRequest, ClaimedJob, ClaimedRun, Committed, ConflictPolicy, Error, ErrorKind, FinishedRun, Inserted,
    Job, JobCommit, JobFilter, JobId, JobStore, QueuedRun, RunClaim, RunCounts, RunFilter, RunId, RunQueue,
    RunRecord, RunWish, StoreContext, StoreTraits, StoredJob,
};

use crate::queue::{Lease, RunTable};
use crate::table::{JobTable, Taking};

/// Jobs and runs in memory. They are gone after [`shutdown`](JobStore::shutdown).
///
/// Closures may be stored. Several schedulers of one process may share it.
pub struct MemoryStore {
    tables: Mutex<Tables>,
}

#[derive(Default)]
struct Tables {
    /// There while the store is started.
    context: Option<StoreContext>,
    /// The latest token of any claim. It outlives restarts, so that an old claim stays stale.
    last_token: u64,
    jobs: JobTable,
    runs: RunTable,
}

impl MemoryStore {
    /// An empty store that is not started.
    pub fn new() -> Self {
        Self { tables: Mutex::new(Tables::default()) }
    }

    /// Does something under the lock, given the time. What it deletes is dropped afterwards: a closure may own
    /// anything, even this store.
    fn with<R>(&self, work: impl FnOnce(&mut Tables, DateTime<Utc>) -> R) -> Result<R, Error> {
        let mut tables = self.tables.lock();
        let closed = || Error::new(ErrorKind::Closed, "the memory store is not started");
        let now = tables.context.as_ref().ok_or_else(closed)?.clock.now();
        let result = work(&mut tables, now);
        let deleted = (tables.jobs.take_deleted(), tables.runs.take_deleted());
        drop(tables);
        drop(deleted);
        Ok(result)
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tables = self.tables.lock();
        let alias = tables.context.as_ref().map(|context| &context.alias);
        f.debug_struct("MemoryStore").field("alias", &alias).field("jobs", &tables.jobs.len()).finish()
    }
}

impl JobStore for MemoryStore {
    fn start(&self, context: StoreContext) -> Result<(), Error> {
        self.tables.lock().context.get_or_insert(context);
        Ok(())
    }

    fn shutdown(&self) -> Result<(), Error> {
        let mut tables = self.tables.lock();
        let last_token = tables.last_token;
        let old = std::mem::replace(&mut *tables, Tables { last_token, ..Tables::default() });
        drop(tables);
        drop(old);
        Ok(())
    }

    fn traits(&self) -> StoreTraits {
        StoreTraits { persistent: false, blocking: false, shared: false }
    }

    fn insert(&self, jobs: &[Job], conflict: ConflictPolicy) -> Result<Vec<Result<Inserted, Error>>, Error> {
        self.with(|tables, _| jobs.iter().map(|job| tables.jobs.insert(job, conflict)).collect())
    }

    fn update(&self, jobs: &[Job]) -> Result<Vec<Result<(), Error>>, Error> {
        self.with(|tables, _| jobs.iter().map(|job| tables.jobs.update(job)).collect())
    }

    fn remove(&self, ids: &[JobId]) -> Result<Vec<bool>, Error> {
        self.with(|tables, _| ids.iter().map(|id| tables.jobs.remove(id)).collect())
    }

    fn clear(&self) -> Result<usize, Error> {
        let old = self.with(|tables, _| std::mem::take(&mut tables.jobs))?;
        Ok(old.len())
    }

    fn get(&self, ids: &[JobId]) -> Result<Vec<Option<StoredJob>>, Error> {
        self.with(|tables, _| ids.iter().map(|id| tables.jobs.get(id).map(StoredJob::Job)).collect())
    }

    fn list(&self, filter: &JobFilter) -> Result<Vec<StoredJob>, Error> {
        self.with(|tables, _| tables.jobs.list(filter))
    }

    fn next_wakeup(&self) -> Result<Option<DateTime<Utc>>, Error> {
        self.with(|tables, _| tables.jobs.next_wakeup().and_then(DateTime::from_timestamp_micros))
    }

    fn claim_due(&self, request: &ClaimRequest) -> Result<Vec<ClaimedJob>, Error> {
        self.with(|Tables { jobs, last_token, .. }, now| {
            jobs.take_back(now.timestamp_micros());
            let claimed = jobs.claim(Taking {
                due: request.now.timestamp_micros(),
                limit: request.limit,
                lease_until: lease_end(now, request.lease).timestamp_micros(),
                first_token: *last_token + 1,
            });
            *last_token = claimed.last().map_or(*last_token, |last| last.claim.token.0);
            claimed
        })
    }

    fn commit(&self, commits: Vec<JobCommit>) -> Result<Vec<Committed>, Error> {
        self.with(|Tables { jobs, runs, .. }, _| {
            let committed = commits.into_iter().map(|commit| match jobs.claimed_slot(&commit.claim) {
                Some(slot) => {
                    jobs.advance(slot, commit.advance);
                    Committed::Applied { skipped: runs.admit(commit.runs) }
                }
                None => Committed::Stale,
            });
            committed.collect()
        })
    }

    fn commit_and_claim(&self, commits: Vec<JobCommit>, wish: &RunWish) -> Result<Vec<Committed>, Error> {
        self.with(|Tables { jobs, runs, .. }, now| {
            let lease = Lease { owner: Arc::clone(&wish.owner), until: lease_end(now, wish.lease) };
            let committed = commits.into_iter().zip(&wish.wanted).map(|(mut commit, wanted)| {
                let Some(slot) = jobs.claimed_slot(&commit.claim) else { return Committed::Stale };
                jobs.advance(slot, commit.advance);
                let claimed = match (commit.runs.pop(), wanted) {
                    (Some(run), true) if commit.runs.is_empty() && runs.is_alone(&run) => {
                        runs.push_and_claim(run, &lease)
                    }
                    (last, _) => {
                        commit.runs.extend(last);
                        None
                    }
                };
                claimed.map_or_else(
                    || Committed::Applied { skipped: runs.admit(commit.runs) },
                    Committed::Claimed,
                )
            });
            committed.collect()
        })
    }

    fn runs(&self) -> Option<&dyn RunQueue> {
        Some(self)
    }
}

impl RunQueue for MemoryStore {
    fn enqueue(&self, runs: Vec<QueuedRun>) -> Result<(), Error> {
        self.with(|tables, _| runs.into_iter().for_each(|run| tables.runs.push(run)))
    }

    fn claim(
        &self,
        request: &ClaimRequest,
        executors: &[(Arc<str>, usize)],
    ) -> Result<Vec<ClaimedRun>, Error> {
        self.with(|Tables { runs, last_token, .. }, now| {
            runs.take_back(now);
            let lease = Lease { owner: Arc::clone(&request.owner), until: lease_end(now, request.lease) };
            runs.claim(request, executors, &lease, last_token)
        })
    }

    fn renew(&self, claims: &[RunClaim], lease: Duration) -> Result<Vec<bool>, Error> {
        self.with(|tables, now| {
            claims.iter().map(|it| tables.runs.renew(*it, lease_end(now, lease))).collect()
        })
    }

    fn finish(&self, finished: Vec<FinishedRun>) -> Result<Vec<bool>, Error> {
        self.with(|tables, _| finished.into_iter().map(|run| tables.runs.finish(run)).collect())
    }

    fn cancel(&self, runs: &[RunId], at: DateTime<Utc>) -> Result<Vec<bool>, Error> {
        self.with(|tables, _| runs.iter().map(|id| tables.runs.cancel(*id, at)).collect())
    }

    fn release(&self, claims: &[RunClaim]) -> Result<(), Error> {
        self.with(|tables, _| claims.iter().for_each(|claim| tables.runs.release(*claim)))
    }

    fn result(&self, id: RunId) -> Result<RunRecord, Error> {
        let missing = || Error::new(ErrorKind::NotFound, format!("no run by the id of {id} was found"));
        self.with(|tables, _| tables.runs.get(id))?.ok_or_else(missing)
    }

    fn list(&self, filter: &RunFilter) -> Result<Vec<RunRecord>, Error> {
        self.with(|tables, _| tables.runs.list(filter))
    }

    fn reap(&self) -> Result<Vec<RunId>, Error> {
        self.with(|tables, now| tables.runs.take_back(now))
    }

    fn cleanup(&self, keep: Option<usize>, limit: usize) -> Result<usize, Error> {
        self.with(|tables, now| tables.runs.cleanup(now, keep, limit))
    }

    fn counts(&self) -> Result<RunCounts, Error> {
        self.with(|tables, _| tables.runs.counts())
    }

    fn next_wakeup(&self) -> Result<Option<DateTime<Utc>>, Error> {
        self.with(|tables, _| tables.runs.next_wakeup())
    }
}

/// The last moment of a lease that begins now.
fn lease_end(now: DateTime<Utc>, lease: Duration) -> DateTime<Utc> {
    let lease = TimeDelta::from_std(lease).ok();
    lease.and_then(|lease| now.checked_add_signed(lease)).unwrap_or(DateTime::<Utc>::MAX_UTC)
}
