//! The contract of a job store, and of the run queue that a store may have.
//!
//! Stores are synchronous, shared between threads and pooled inside. Every call is a batch: a turn of the engine
//! makes a fixed number of calls, however many jobs are due.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use serde_json::Value;

use crate::Error;
use crate::clock::Clock;
use crate::config::BuildContext;
use crate::id::{FencingToken, JobId, RunId};
use crate::job::{Cursor, Defaults, Job, JobOptions, JobRecord, JobStatus};
use crate::policy::ConflictPolicy;
use crate::registry::Registry;
use crate::run::Outcome;
use crate::task::Call;

/// What a store gets when it is started.
#[derive(Clone)]
pub struct StoreContext {
    /// The alias under which the scheduler knows it.
    pub alias: Arc<str>,
    /// Decodes triggers and finds tasks.
    pub registry: Arc<Registry>,
    /// The time, for stores whose server has no clock of its own.
    pub clock: Arc<dyn Clock>,
    /// The scheduler's zone.
    pub timezone: Tz,
    defaults: Arc<Defaults>,
}

impl StoreContext {
    /// What a store needs of a scheduler without job defaults.
    pub fn new(
        alias: impl Into<Arc<str>>,
        registry: Arc<Registry>,
        clock: Arc<dyn Clock>,
        timezone: Tz,
    ) -> Self {
        Self { alias: alias.into(), registry, clock, timezone, defaults: Arc::default() }
    }

    pub(crate) fn with_defaults(mut self, defaults: Arc<Defaults>) -> Self {
        self.defaults = defaults;
        self
    }

    /// The job of a record, with the scheduler's job defaults where it has no option of its own. A task that is not
    /// registered here stays a name: it is not an error, only no work for this process.
    ///
    /// **Errors**: [`Corrupt`](crate::ErrorKind::Corrupt) for a newer version, a trigger or an option that does not
    /// decode.
    pub fn decode(&self, record: JobRecord) -> Result<Job, Error> {
        record.decode_with(self.build_context(), &self.defaults)
    }

    /// What decoding a trigger needs.
    pub fn build_context(&self) -> BuildContext<'_> {
        BuildContext { registry: &self.registry, timezone: self.timezone }
    }
}

impl fmt::Debug for StoreContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreContext").field("alias", &self.alias).finish_non_exhaustive()
    }
}

/// What a store can do; constant while it is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreTraits {
    /// Jobs outlive the process, so closures are refused and delivery is durable by default.
    pub persistent: bool,
    /// Calls may wait for a server or a disk, so async adapters keep them off their event loop.
    pub blocking: bool,
    /// Other processes may write to it, so that a bounded poll looks for their jobs.
    pub shared: bool,
}

/// What became of a job that was inserted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inserted {
    /// It is new.
    Added,
    /// It replaced one of the same id.
    Replaced,
    /// One of the same id was kept.
    Kept,
}

/// Who claims, what, and for how long.
#[derive(Debug, Clone)]
pub struct ClaimRequest {
    /// The scheduler's identity.
    pub owner: Arc<str>,
    /// Jobs due at or before this moment are claimed.
    pub now: DateTime<Utc>,
    /// At most this many.
    pub limit: usize,
    /// How long the claim holds when it is not committed.
    pub lease: Duration,
}

/// Proof of a claim, given back when it is committed or finished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The job.
    pub id: JobId,
    /// Fences off a stale owner.
    pub token: FencingToken,
    /// The store's own shortcut to the row; no meaning elsewhere.
    pub slot: u64,
}

/// A job that is due and claimed.
#[derive(Debug, Clone)]
pub struct ClaimedJob {
    /// The job as it was claimed.
    pub job: Job,
    /// Proof of the claim.
    pub claim: Claim,
}

/// What is written of the jobs that were claimed, and which of their runs are wanted at once.
#[derive(Debug, Default)]
pub struct PlannedCommits {
    /// Of these jobs, each at most once. The others stay as they were, and are due as before.
    pub commits: Vec<JobCommit>,
    /// Who wants to run what of it.
    pub wish: Option<RunWish>,
}

/// Plans claimed jobs while their store keeps them locked.
pub type Planner<'a> = dyn FnMut(Vec<ClaimedJob>) -> PlannedCommits + 'a;

/// What a claimed job becomes.
#[derive(Debug, Clone)]
pub enum Advance {
    /// It stays, with this cursor.
    To(Cursor),
    /// It is removed.
    Remove,
}

/// One claimed job's commit: its new cursor, and the runs that are inserted in the same transaction.
#[derive(Debug, Clone)]
pub struct JobCommit {
    /// Proof of the claim.
    pub claim: Claim,
    /// What the job becomes.
    pub advance: Advance,
    /// The runs to queue; empty for direct delivery.
    pub runs: Vec<QueuedRun>,
}

/// What became of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Committed {
    /// It was applied. The runs that the overlap policy skipped are named; the others are queued.
    Applied {
        /// Fire times whose run was not queued because `max_instances` runs are unfinished.
        skipped: Vec<DateTime<Utc>>,
    },
    /// It was applied, and its one run is claimed for the scheduler that commits: as the first attempt, with the token
    /// [`FIRST`](FencingToken::FIRST). Whoever is in doubt whether a commit was applied finds the claim in the row.
    Claimed(RunId),
    /// The claim is no longer ours, or the job was changed or removed; nothing was written.
    Stale,
}

/// Who wants to run at once what a batch of commits queues, and which of it.
#[derive(Debug, Clone)]
pub struct RunWish {
    /// The scheduler's identity.
    pub owner: Arc<str>,
    /// How long the claims hold unless they are renewed.
    pub lease: Duration,
    /// Of each commit, whether there is a place for its run and no limit beyond its job's on it.
    pub wanted: Vec<bool>,
}

/// A job as listed: decoded, or kept aside with the reason why it cannot be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoredJob {
    /// A job.
    Job(Job),
    /// A row that does not decode. It is never deleted and never blocks others.
    Quarantined {
        /// Its id.
        id: JobId,
        /// When it would be due, if its row still says so.
        next_run_time: Option<DateTime<Utc>>,
        /// Why.
        reason: String,
    },
}

impl StoredJob {
    /// The id.
    pub fn id(&self) -> &JobId {
        match self {
            Self::Job(job) => job.id(),
            Self::Quarantined { id, .. } => id,
        }
    }

    /// Where it stands in a listing; the next page comes after the last row's.
    pub fn position(&self) -> JobPosition {
        let next_run_time = match self {
            Self::Job(job) => job.next_run_time(),
            Self::Quarantined { next_run_time, .. } => *next_run_time,
        };
        JobPosition { next_run_time, id: self.id().clone() }
    }

    /// The job. **Errors**: [`Corrupt`](crate::ErrorKind::Corrupt) with the reason why it is quarantined.
    pub fn into_job(self) -> Result<Job, Error> {
        match self {
            Self::Job(job) => Ok(job),
            Self::Quarantined { id, reason, .. } => {
                Err(Error::new(crate::ErrorKind::Corrupt, format!("job \"{id}\" is quarantined: {reason}")))
            }
        }
    }
}

/// A place in the order of a listing: by next run time, then id; jobs out of the schedule come last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobPosition {
    /// When it is due; `None` when it is out of the schedule.
    pub next_run_time: Option<DateTime<Utc>>,
    /// The id.
    pub id: JobId,
}

impl From<&Job> for JobPosition {
    fn from(job: &Job) -> Self {
        Self { next_run_time: job.next_run_time(), id: job.id().clone() }
    }
}

/// The states of a job by which listings are filtered and rows counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JobState {
    /// It has a next run time.
    Scheduled,
    /// It was paused by hand.
    Paused,
    /// Its trigger ended and it is retained.
    Finished,
    /// Its trigger failed.
    Suspended,
    /// It does not decode.
    Quarantined,
}

impl From<&StoredJob> for JobState {
    fn from(stored: &StoredJob) -> Self {
        match stored {
            StoredJob::Quarantined { .. } => Self::Quarantined,
            StoredJob::Job(job) => match job.status() {
                JobStatus::Scheduled => Self::Scheduled,
                JobStatus::Paused => Self::Paused,
                JobStatus::Finished => Self::Finished,
                JobStatus::Suspended(_) => Self::Suspended,
            },
        }
    }
}

/// Which jobs are listed.
#[derive(Debug, Clone, Default)]
pub struct JobFilter {
    /// Only jobs of this task.
    pub task: Option<Arc<str>>,
    /// Only jobs in this state.
    pub state: Option<JobState>,
    /// Jobs that come after this place in the listing's order.
    pub after: Option<JobPosition>,
    /// At most this many; all when `None`.
    pub limit: Option<usize>,
}

impl JobFilter {
    /// Whether a row is among those that are asked for, wherever it stands in the order. The task of a quarantined
    /// row is not known.
    pub fn admits(&self, stored: &StoredJob) -> bool {
        let of_task = match (&self.task, stored) {
            (None, _) => true,
            (Some(task), StoredJob::Job(job)) => job.spec.task.name() == &**task,
            (Some(_), StoredJob::Quarantined { .. }) => false,
        };
        of_task && self.state.is_none_or(|state| state == JobState::from(stored))
    }
}

/// How many jobs a store has, by state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct JobCounts {
    /// With a next run time.
    pub scheduled: usize,
    /// Paused by hand.
    pub paused: usize,
    /// Retained after their trigger ended.
    pub finished: usize,
    /// With a trigger that failed.
    pub suspended: usize,
    /// That do not decode.
    pub quarantined: usize,
}

impl JobCounts {
    /// Counts one more.
    pub fn add(&mut self, state: JobState) {
        let count = match state {
            JobState::Scheduled => &mut self.scheduled,
            JobState::Paused => &mut self.paused,
            JobState::Finished => &mut self.finished,
            JobState::Suspended => &mut self.suspended,
            JobState::Quarantined => &mut self.quarantined,
        };
        *count += 1;
    }

    /// All of them.
    pub fn total(&self) -> usize {
        self.scheduled + self.paused + self.finished + self.suspended + self.quarantined
    }
}

/// Where jobs live.
///
/// # Guarantees
/// 1. Listings and claims are ordered by (next run time, id); jobs out of the schedule come last, by id (case
///    `store_orders_by_time_then_id`).
/// 2. Ids are unique. Of two concurrent inserts of one id, one is `Added` (case `store_ids_are_unique`).
/// 3. A due job is claimed by at most one owner until its lease ends; a later claim has a greater token (cases
///    `store_claims_once`, `store_reclaims_after_the_lease`).
/// 4. `commit` writes cursor and runs of one job together or not at all; a stale claim writes nothing (case
///    `store_refuses_stale_commits`).
/// 5. A change by `update`, `remove` or a replacing `insert` makes claims on the job stale (case
///    `store_changes_fence_claims`).
/// 6. Times keep whole microseconds, or are rounded up where a store says so (case
///    `store_keeps_microseconds`).
/// 7. A replacing `insert` of a job with the same schedule keeps the cursor (case
///    `store_replace_keeps_the_cursor`).
/// 8. Calls fail before `start` and after `shutdown` with [`Closed`](crate::ErrorKind::Closed); `start` works
///    again after `shutdown` (case `store_restarts`).
/// 9. A job that does not decode is quarantined with the reason: listed, never deleted, never claimed, and no
///    hindrance to others (case `store_quarantines_what_does_not_decode`).
/// 10. The claims of an owner that is recovered are free at once and stale in its old hands (case
///     `store_recovers_an_owner`).
/// 11. `commit_and_claim` claims a run in the write that queues it only if it is the one run of its commit and nothing
///     else of its job is unfinished; for all else it is `commit` (case `queue_claims_what_it_commits`). The claim's token
///     is less than that of any later claim on the run (case `queue_takes_over_what_a_commit_claimed`).
/// 12. A commit that moves a job on counts its revision up, so that an `update` by whoever read the job before is `Stale`
///     and does not move it back (case `store_commits_raise_the_revision`).
/// 13. `claim_and_commit` writes all that is planned or nothing, and what nobody planned is due as before (case
///     `store_claims_and_commits_at_once`). Nobody else claims the jobs meanwhile, and earlier claims on those that are
///     committed are stale (cases `store_claims_at_once_only_what_is_free`, `store_commits_at_once_over_ended_claims`). It is
///     told whether an answer was lost: then the error is retryable, and the jobs show what was written.
///
/// **Errors**: retryable ones are [`Unavailable`](crate::ErrorKind::Unavailable) or
/// [`Timeout`](crate::ErrorKind::Timeout); the engine repeats the turn.
/// **Source**: APScheduler 3.0 manual, "Custom job stores".
pub trait JobStore: fmt::Debug + Send + Sync + 'static {
    /// Connects and makes ready.
    fn start(&self, context: StoreContext) -> Result<(), Error>;

    /// Lets go of every resource.
    fn shutdown(&self) -> Result<(), Error>;

    /// What the store can do.
    fn traits(&self) -> StoreTraits;

    /// Inserts jobs; each gets its own answer.
    ///
    /// **Errors**, per job: [`AlreadyExists`](crate::ErrorKind::AlreadyExists) under [`ConflictPolicy::Error`],
    /// [`InvalidJob`](crate::ErrorKind::InvalidJob) when it cannot be stored.
    fn insert(&self, jobs: &[Job], conflict: ConflictPolicy) -> Result<Vec<Result<Inserted, Error>>, Error>;

    /// Replaces stored jobs whose revision equals the given one, and counts it up; each gets its own answer.
    ///
    /// **Errors**, per job: [`NotFound`](crate::ErrorKind::NotFound), [`Stale`](crate::ErrorKind::Stale).
    fn update(&self, jobs: &[Job]) -> Result<Vec<Result<(), Error>>, Error>;

    /// Removes jobs; says of each whether it was there.
    fn remove(&self, ids: &[JobId]) -> Result<Vec<bool>, Error>;

    /// Removes all jobs; says how many. Runs stay.
    fn clear(&self) -> Result<usize, Error>;

    /// Looks jobs up; each gets its own answer.
    fn get(&self, ids: &[JobId]) -> Result<Vec<Option<StoredJob>>, Error>;

    /// Lists jobs in order.
    fn list(&self, filter: &JobFilter) -> Result<Vec<StoredJob>, Error>;

    /// How many jobs there are, by state.
    fn job_counts(&self) -> Result<JobCounts, Error> {
        let mut counts = JobCounts::default();
        self.list(&JobFilter::default())?.iter().for_each(|stored| counts.add(stored.into()));
        Ok(counts)
    }

    /// When the earliest job is due, or the earliest claim's lease ends; `None` when nothing is scheduled.
    fn next_wakeup(&self) -> Result<Option<DateTime<Utc>>, Error>;

    /// Ends, at once, all claims on jobs and runs that `owner` holds: it was this scheduler before a restart, and its
    /// work is to go on now, not after its leases. An attempt that had begun counts.
    fn recover(&self, owner: &str) -> Result<(), Error> {
        let _ = owner;
        Ok(())
    }

    /// Claims due jobs, in order.
    fn claim_due(&self, request: &ClaimRequest) -> Result<Vec<ClaimedJob>, Error>;

    /// Commits claimed jobs; each gets its own answer.
    fn commit(&self, commits: Vec<JobCommit>) -> Result<Vec<Committed>, Error>;

    /// Commits claimed jobs, and claims those runs that are wanted for the scheduler that commits, where that can be done
    /// in the same write. What is not answered as [`Claimed`](Committed::Claimed) waits in the queue.
    ///
    /// It saves the call that would claim what was just queued. A store that cannot do it need not.
    fn commit_and_claim(&self, commits: Vec<JobCommit>, wish: &RunWish) -> Result<Vec<Committed>, Error> {
        let _ = wish;
        self.commit(commits)
    }

    /// Claims due jobs, in order, has them planned, and commits the plans, all in one write: what `claim_due` and
    /// [`commit_and_claim`](Self::commit_and_claim) do in two. There is an answer for each commit. `None`, by default: the
    /// store cannot do it, and planned nothing.
    ///
    /// **Errors**: besides those of a commit, [`InvalidJob`](crate::ErrorKind::InvalidJob) when a job is committed that was not
    /// handed out; then nothing is written.
    ///
    /// The tokens of these claims mean nothing. `plan` may be asked again when the store has to begin anew; then only what it
    /// said last counts. It must call neither the store nor anything that may, and be quick.
    fn claim_and_commit(
        &self,
        request: &ClaimRequest,
        plan: &mut Planner<'_>,
    ) -> Result<Option<Vec<Committed>>, Error> {
        let _ = (request, plan);
        Ok(None)
    }

    /// Whether two calls that write are done faster side by side than one after the other. `false` by default, and where
    /// writers wait for one another.
    fn writes_side_by_side(&self) -> bool {
        false
    }

    /// The run queue, when the store has one. Without it delivery is direct and the store serves one scheduler.
    fn runs(&self) -> Option<&dyn RunQueue> {
        None
    }
}

/// A run in a queue.
#[derive(Debug, Clone)]
pub struct QueuedRun {
    /// Its id.
    pub id: RunId,
    /// Its job; `None` when it was queued directly.
    pub job_id: Option<JobId>,
    /// What to run.
    pub call: Call,
    /// The trigger's fire time, or when it was queued.
    pub fire_time: DateTime<Utc>,
    /// Not before this moment.
    pub scheduled_time: DateTime<Utc>,
    /// Higher runs first.
    pub priority: i32,
    /// The options of its job or task.
    pub options: Arc<JobOptions>,
}

/// A run that is claimed from a queue.
#[derive(Debug, Clone)]
pub struct ClaimedRun {
    /// The run.
    pub run: QueuedRun,
    /// 1 for the first attempt, one more each time its lease ended or it is tried again.
    pub attempt: u32,
    /// Fences off a stale owner.
    pub token: FencingToken,
    /// Attempts that ended, oldest first.
    pub history: Vec<Attempt>,
}

/// An attempt at a run that ended and was followed by another.
#[derive(Debug, Clone, PartialEq)]
pub struct Attempt {
    /// Its number, from 1.
    pub attempt: u32,
    /// How it ended.
    pub outcome: Outcome,
    /// When it started, if it did.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub finished_at: DateTime<Utc>,
}

/// Proof of a claim on a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunClaim {
    /// The run.
    pub id: RunId,
    /// The claim's token.
    pub token: FencingToken,
}

/// The end of a claimed run.
#[derive(Debug, Clone)]
pub struct FinishedRun {
    /// Proof of the claim.
    pub claim: RunClaim,
    /// How it ended.
    pub outcome: Outcome,
    /// When it started, if it did.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub finished_at: DateTime<Utc>,
    /// Put it back into the queue, to be tried again.
    pub again: Option<Again>,
}

/// A run that is tried again. Its row keeps id, fire time and attempt, and counts as unfinished.
#[derive(Debug, Clone, PartialEq)]
pub struct Again {
    /// Not before this moment.
    pub at: DateTime<Utc>,
    /// The attempts that ended, this one included; takes the place of what the row has.
    pub history: Vec<Attempt>,
}

/// Where a run stands in its queue.
#[derive(Debug, Clone, PartialEq)]
pub enum RunState {
    /// It waits.
    Queued,
    /// It is leased to a scheduler.
    Running {
        /// The scheduler.
        owner: Arc<str>,
        /// Until when, unless it renews.
        lease_until: DateTime<Utc>,
    },
    /// It is over. The row is kept for the run's `result_ttl`.
    Finished {
        /// How it ended.
        outcome: Outcome,
        /// When it started, if it did.
        started_at: Option<DateTime<Utc>>,
        /// When it ended.
        finished_at: DateTime<Utc>,
    },
}

/// A run's row.
#[derive(Debug, Clone)]
pub struct RunRecord {
    /// The run.
    pub run: QueuedRun,
    /// Attempts so far.
    pub attempt: u32,
    /// Where it stands.
    pub state: RunState,
    /// Attempts that ended and were followed by another, oldest first.
    pub history: Vec<Attempt>,
}

/// The states of a run by which listings are filtered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RunPhase {
    /// It waits.
    Queued,
    /// It is leased.
    Running,
    /// It is over and kept.
    Finished,
}

impl From<&RunState> for RunPhase {
    fn from(state: &RunState) -> Self {
        match state {
            RunState::Queued => Self::Queued,
            RunState::Running { .. } => Self::Running,
            RunState::Finished { .. } => Self::Finished,
        }
    }
}

/// Which runs are listed.
#[derive(Debug, Clone, Default)]
pub struct RunFilter {
    /// Only of this job.
    pub job_id: Option<JobId>,
    /// Only of this task.
    pub task: Option<Arc<str>>,
    /// Only in this phase.
    pub phase: Option<RunPhase>,
    /// Only with a fire time at or after this moment.
    pub from: Option<DateTime<Utc>>,
    /// Only with a fire time before this moment.
    pub until: Option<DateTime<Utc>>,
    /// Runs whose id is greater.
    pub after: Option<RunId>,
    /// At most this many; all when `None`.
    pub limit: Option<usize>,
}

impl RunFilter {
    /// Whether a row is among those that are asked for, wherever it stands in the order.
    pub fn admits(&self, record: &RunRecord) -> bool {
        let run = &record.run;
        self.job_id.as_ref().is_none_or(|id| run.job_id.as_ref() == Some(id))
            && self.task.as_deref().is_none_or(|task| run.call.task.name() == task)
            && self.phase.is_none_or(|phase| phase == RunPhase::from(&record.state))
            && self.from.is_none_or(|from| run.fire_time >= from)
            && self.until.is_none_or(|until| run.fire_time < until)
    }
}

/// How many rows a queue has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RunCounts {
    /// Waiting.
    pub queued: usize,
    /// Leased.
    pub running: usize,
    /// Over and kept.
    pub finished: usize,
}

/// Runs that wait, run and are over.
///
/// # Guarantees
/// 1. A run is claimed by at most one owner until its lease ends; a later claim has a greater token and attempt
///    (case `queue_claims_once`).
/// 2. Claims are ordered by (priority descending, scheduled time, id) and never exceed the limits of their job, task
///    and concurrency key, counted over all owners (cases `queue_orders_by_priority`, `queue_keeps_the_limits`,
///    `queue_keeps_the_limit_of_a_key`). A run that a limit holds back does not hold back others.
/// 3. `renew` and `finish` with a stale token are refused and write nothing (case `queue_refuses_stale_tokens`).
/// 4. (job id, fire time) is unique: a fire time never becomes two runs (case `queue_fire_times_are_unique`).
///    A lease still holds at its very end. `claim` may take runs back whose lease ended, as `reap` does.
/// 5. A finished run is readable any number of times until its `result_ttl` ends (case `queue_keeps_results`).
/// 6. A run that is finished with a time to try again waits until then, with its fire time, its id and its history;
///    it counts as unfinished (case `queue_tries_again`).
/// 7. In a store that is shared, a run whose task is not registered here is left to schedulers that know it; any
///    other store gives it out, so that the engine can report it (case `queue_leaves_unknown_tasks`).
/// 8. A row that does not decode is finished as abandoned with the reason and kept (persistent stores).
pub trait RunQueue: Send + Sync {
    /// Queues runs. A run whose job and fire time exist is dropped silently.
    ///
    /// **Errors**: retryable ones also where an answer was lost. Then the runs may have been queued, and may even be over: who
    /// queues them again may have them run twice.
    fn enqueue(&self, runs: Vec<QueuedRun>) -> Result<(), Error>;

    /// Claims runs whose scheduled time has come and whose executor is among `executors` (alias, free places).
    fn claim(
        &self,
        request: &ClaimRequest,
        executors: &[(Arc<str>, usize)],
    ) -> Result<Vec<ClaimedRun>, Error>;

    /// Extends leases; says of each claim whether it is still ours.
    fn renew(&self, claims: &[RunClaim], lease: Duration) -> Result<Vec<bool>, Error>;

    /// Ends runs; says of each claim whether it was still ours.
    fn finish(&self, finished: Vec<FinishedRun>) -> Result<Vec<bool>, Error>;

    /// Ends runs that wait, as cancelled at that moment; says of each whether it waited. One that is claimed or over is
    /// left alone (case `queue_cancels_what_waits`).
    ///
    /// **Errors**: [`Unsupported`](crate::ErrorKind::Unsupported) where a store cannot.
    fn cancel(&self, runs: &[RunId], at: DateTime<Utc>) -> Result<Vec<bool>, Error> {
        let _ = (runs, at);
        Err(Error::new(crate::ErrorKind::Unsupported, "this run queue cannot cancel runs that wait"))
    }

    /// Gives claims back unfinished, so that others may take them at once. It does not count as an attempt.
    fn release(&self, claims: &[RunClaim]) -> Result<(), Error>;

    /// A run's row. **Errors**: [`NotFound`](crate::ErrorKind::NotFound).
    fn result(&self, id: RunId) -> Result<RunRecord, Error>;

    /// Lists runs by id.
    fn list(&self, filter: &RunFilter) -> Result<Vec<RunRecord>, Error>;

    /// Puts runs whose lease ended back into the queue; says which.
    fn reap(&self) -> Result<Vec<RunId>, Error>;

    /// Deletes finished runs whose time to live ended, and the oldest beyond `keep`; at most `limit`, and says how
    /// many.
    fn cleanup(&self, keep: Option<usize>, limit: usize) -> Result<usize, Error>;

    /// How many rows there are.
    fn counts(&self) -> Result<RunCounts, Error>;

    /// When the next waiting run is to start or the next lease ends. Runs that a limit holds back may be left out.
    fn next_wakeup(&self) -> Result<Option<DateTime<Utc>>, Error>;
}

/// The value of a finished run. **Errors**: [`Unexpected`](crate::ErrorKind::Unexpected) naming the outcome when it
/// did not succeed.
pub fn outcome_value(outcome: &Outcome) -> Result<Value, Error> {
    match outcome {
        Outcome::Succeeded(value) => Ok(value.clone()),
        other => Err(Error::new(crate::ErrorKind::Unexpected, format!("the run {other}"))),
    }
}
