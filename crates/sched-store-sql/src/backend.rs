//! What a database must do for a store: statements about whole batches of rows, inside transactions of its own.
//!
//! [`Statements`] is all that differs between databases; the contracts in `store` and `queue` are written on it once.
//! [`Backend`] owns the connections. It alone decides what is tried again after a failure.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use diesel::QueryResult;
use sched_core::{Error, JobCounts, Overlap, RunCounts};

use crate::error::Fault;
use crate::rows::{
    CommitColumns, EndedRun, Ending, JobColumns, JobRow, Proof, RunColumns, RunRow, Waiting, job_state,
    run_state,
};

/// What a piece of work does, which decides what happens when its connection is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// It reads.
    Read,
    /// It writes, all or nothing. It is not repeated when nobody knows whether it was committed.
    Claim,
    /// It writes, all or nothing, and is repeated even then; [`Try`] tells it.
    Change,
    /// As `Change`, by a single statement where the database has statements about batches.
    Single,
}

/// Whether work may have been done before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Try {
    /// It was not.
    First,
    /// An earlier try may have been committed: its answer was lost.
    AfterUnknown,
}

/// Work on a database.
pub(crate) type Work<'w> = dyn FnMut(&mut dyn Statements, Try) -> Result<(), Fault> + 'w;

/// A database that is connected and has its tables.
pub(crate) trait Backend: fmt::Debug + Send + Sync + 'static {
    /// Does work in a transaction. `now` is the time by which leases are judged where no server has a clock.
    fn run(&self, access: Access, now: i64, work: &mut Work<'_>) -> Result<(), Error>;

    /// Whether a look before a write saves more than it costs.
    fn looks_first(&self) -> bool;
}

/// Who claims, and for how many microseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lease<'a> {
    pub(crate) owner: &'a str,
    pub(crate) micros: i64,
}

/// What is due and how much of it is wanted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Due {
    pub(crate) at: i64,
    pub(crate) limit: i64,
}

/// The tasks that are registered here.
#[derive(Debug)]
pub(crate) struct KnownTasks {
    #[cfg_attr(not(feature = "postgres"), expect(dead_code, reason = "the others read the list in JSON"))]
    pub(crate) names: Vec<String>,
    /// The same as a list in JSON.
    #[cfg_attr(
        not(any(feature = "sqlite", feature = "mysql")),
        expect(dead_code, reason = "PostgreSQL has lists of its own")
    )]
    pub(crate) json: String,
}

/// What a claim of runs looks for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub(crate) due: Due,
    /// Executors and their free places.
    pub(crate) executors: &'a [(Arc<str>, i64)],
    /// Any task when `None`.
    pub(crate) tasks: Option<&'a KnownTasks>,
}

/// A page of jobs, in order.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct JobPage<'a> {
    /// Behind this time and id; a time of `None` is that of jobs out of the schedule.
    pub(crate) after: Option<(Option<i64>, &'a str)>,
    pub(crate) task: Option<&'a str>,
    pub(crate) state: Option<i64>,
    pub(crate) limit: i64,
}

/// A page of runs, by id.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RunPage<'a> {
    pub(crate) after: Option<&'a str>,
    pub(crate) job_id: Option<&'a str>,
    pub(crate) task: Option<&'a str>,
    pub(crate) state: Option<i64>,
    /// The first fire time.
    pub(crate) from: i64,
    /// The last fire time.
    pub(crate) until: i64,
    pub(crate) limit: i64,
}

/// A claimed row that does not decode, and why.
#[derive(Debug)]
pub(crate) struct Unreadable {
    pub(crate) id: String,
    pub(crate) token: i64,
    pub(crate) reason: String,
}

/// What became of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It was stale.
    Stale,
    /// It was applied; the runs at these places were skipped.
    Applied(Vec<usize>),
    /// It was applied, and its one run is claimed.
    Claimed,
}

/// Every statement, on a connection. Each is part of the caller's transaction, and about a whole batch.
///
/// A batch names no row twice, unless said otherwise, and rows of runs are locked in its order. Whatever ends a claim, except its own commit, counts the row's
/// token up, so that a row with an ended claim and the claim's token was committed by it.
pub(crate) trait Statements: JobStatements + RunStatements {
    /// Commits claimed jobs with their runs, and claims those runs that are wanted, where there is a lease for them.
    fn commit(&mut self, commits: &[&CommitColumns], lease: Option<Lease<'_>>) -> QueryResult<Vec<Answer>> {
        if lease.is_some() {
            self.begin_commit()?;
        }
        let open = self.advance_jobs(commits)?;
        let applied = commits.iter().zip(&open).filter(|(_, open)| **open).map(|(commit, _)| *commit);
        let mut answers = admit(self, &applied.collect::<Vec<_>>(), lease)?.into_iter();
        let answer = |open: bool| if open { answers.next() } else { None };
        Ok(open.into_iter().map(answer).map(|answer| answer.unwrap_or(Answer::Stale)).collect())
    }

    /// The same for jobs that the transaction has locked. Their rows take the tokens of the commits, which no claim ever had.
    fn commit_locked(
        &mut self,
        commits: &[&CommitColumns],
        lease: Option<Lease<'_>>,
    ) -> QueryResult<Vec<Answer>> {
        if lease.is_some() {
            self.begin_commit()?;
        }
        self.advance_locked(commits)?;
        admit(self, commits, lease)
    }
}

/// The statements about jobs.
pub(crate) trait JobStatements {
    /// Inserts jobs whose id is free; says of each whether it was.
    fn insert_jobs(&mut self, jobs: &[&JobColumns<'_>]) -> QueryResult<Vec<bool>>;

    /// The rows of jobs, in no order; locked where `for_change` and the database locks rows.
    fn find_jobs(&mut self, ids: &[&str], for_change: bool) -> QueryResult<Vec<JobRow>>;

    /// Writes jobs over locked rows, as changes by a user: claims on them end.
    fn replace_jobs(&mut self, jobs: &[&JobColumns<'_>]) -> QueryResult<()>;

    /// Removes jobs; answers the ids of those that were there.
    fn remove_jobs(&mut self, ids: &[&str]) -> QueryResult<Vec<String>>;

    /// Removes all jobs; says how many.
    fn clear_jobs(&mut self) -> QueryResult<usize>;

    /// Lists jobs: the scheduled by time and id, then the others by id.
    fn list_jobs(&mut self, page: JobPage<'_>) -> QueryResult<Vec<JobRow>>;

    /// Counts jobs by their state as a number.
    fn count_jobs(&mut self) -> QueryResult<Vec<(i64, i64)>>;

    /// When the earliest unclaimed job is due, or the earliest claim no longer holds.
    fn next_job(&mut self) -> QueryResult<Option<i64>>;

    /// Whether a claim of jobs would find anything; as the other looks, true where none is worth its while.
    fn is_job_due(&mut self, due: Due) -> QueryResult<bool> {
        let _ = due;
        Ok(true)
    }

    /// Claims due jobs; answers their rows with their new tokens, in no order.
    fn claim_jobs(&mut self, due: Due, lease: Lease<'_>) -> QueryResult<Vec<JobRow>>;

    /// Locks due jobs that nobody has claimed or locked; answers their rows, in no order.
    fn lock_jobs(&mut self, due: Due) -> QueryResult<Vec<JobRow>>;

    /// Takes claimed rows that do not decode out of the schedule, and writes down why.
    fn quarantine_jobs(&mut self, rows: &[Unreadable]) -> QueryResult<()>;

    /// The rows that are kept aside.
    fn quarantined_jobs(&mut self) -> QueryResult<Vec<JobRow>>;

    /// Puts rows that decode again back into the schedule, at their fire time.
    fn end_quarantine(&mut self, ids: &[&str]) -> QueryResult<()>;

    /// Ends the open claims on all jobs and runs of an owner.
    fn recover(&mut self, owner: &str) -> QueryResult<()>;

    /// Ends open claims on jobs as their commits say; says of each whether it was open. Runs are not looked at.
    fn advance_jobs(&mut self, commits: &[&CommitColumns]) -> QueryResult<Vec<bool>>;

    /// Writes what commits say into locked rows, with the tokens of the commits.
    fn advance_locked(&mut self, commits: &[&CommitColumns]) -> QueryResult<()>;
}

/// The statements about runs.
pub(crate) trait RunStatements {
    /// Queues runs whose id, and job and fire time, are free. A batch may name a fire time twice.
    fn insert_runs(&mut self, runs: &[&RunColumns]) -> QueryResult<()>;

    /// Queues runs in the same way, claimed already: as first attempts, with the first token. Says of each whether it is
    /// new.
    fn insert_claimed_runs(&mut self, runs: &[&RunColumns], lease: Lease<'_>) -> QueryResult<Vec<bool>>;

    /// How many runs of these jobs are unfinished; jobs without are left out.
    fn unfinished_runs(&mut self, job_ids: &[&str]) -> QueryResult<Vec<(String, i64)>>;

    /// Says of each run whether a row has its id, or its job and fire time.
    fn known_runs(&mut self, runs: &[&RunColumns]) -> QueryResult<Vec<bool>>;

    /// Makes what follows in the transaction the only claim of runs, and puts runs whose lease ran out back.
    fn begin_claim(&mut self) -> QueryResult<()>;

    /// Keeps claims of runs away until the transaction ends, so that none takes a run of a job while another run of it is
    /// claimed in its commit.
    fn begin_commit(&mut self) -> QueryResult<()>;

    /// Whether a claim of runs would find anything.
    fn is_run_due(&mut self, wanted: Wanted<'_>) -> QueryResult<bool>;

    /// For each executor with free places the first due runs that no limit holds back, as many as there are places or
    /// as are wanted; in no order.
    fn waiting_runs(&mut self, wanted: Wanted<'_>) -> QueryResult<Vec<Waiting>>;

    /// Claims waiting runs; answers their rows with their new tokens and attempts, in no order.
    fn lease_runs(&mut self, ids: &[&str], lease: Lease<'_>) -> QueryResult<Vec<RunRow>>;

    /// Extends the leases of open claims; says of each whether it was open.
    fn renew_runs(&mut self, claims: &[&Proof], micros: i64) -> QueryResult<Vec<bool>>;

    /// Gives open claims back; their attempts do not count.
    fn release_runs(&mut self, claims: &[&Proof]) -> QueryResult<()>;

    /// Ends open claims; says of each whether it was open.
    fn finish_runs(&mut self, endings: &[&Ending]) -> QueryResult<Vec<bool>>;

    /// Ends waiting runs as cancelled; says of each whether it waited.
    fn cancel_runs(&mut self, ids: &[&str], at: i64) -> QueryResult<Vec<bool>>;

    /// Ends claimed runs whose rows do not decode: abandoned, with a reason that is encoded, and kept.
    fn set_runs_aside(&mut self, rows: &[Unreadable], reasons: &[Vec<u8>]) -> QueryResult<()>;

    /// The row of a run.
    fn find_run(&mut self, id: &str) -> QueryResult<Option<RunRow>>;

    /// The ids, states and tokens of the rows of runs, in no order.
    fn run_states(&mut self, ids: &[&str]) -> QueryResult<Vec<(String, i64, i64)>>;

    /// Lists runs by id.
    fn list_runs(&mut self, page: RunPage<'_>) -> QueryResult<Vec<RunRow>>;

    /// Whether a lease on a run ran out.
    fn has_ended_leases(&mut self) -> QueryResult<bool> {
        Ok(true)
    }

    /// Puts runs whose lease ran out back into the queue; answers their ids.
    fn take_back(&mut self) -> QueryResult<Vec<String>>;

    /// Whether the time to live of a finished run ended.
    fn has_expired_runs(&mut self) -> QueryResult<bool> {
        Ok(true)
    }

    /// Deletes finished runs whose time to live ended; says how many.
    fn delete_expired_runs(&mut self, limit: i64) -> QueryResult<usize>;

    /// The run that ended last of those beyond the `keep` that ended after it. All of these are counted.
    fn last_ended_beyond(&mut self, keep: i64) -> QueryResult<Option<EndedRun>>;

    /// Deletes finished runs up to this one, the oldest first; says how many.
    fn delete_ended_runs(&mut self, last: &EndedRun, limit: i64) -> QueryResult<usize>;

    /// Counts runs by their state as a number.
    fn count_runs(&mut self) -> QueryResult<Vec<(i64, i64)>>;

    /// When the next run that may start is to start, or the earliest lease no longer holds.
    fn next_run(&mut self, tasks: Option<&KnownTasks>) -> QueryResult<Option<i64>>;
}

/// Queues the runs of commits that were applied, as their overlap policy says, and claims what is wanted of jobs that have
/// no other. A place that is free before a commit is enough for all of its runs.
fn admit<S: Statements + ?Sized>(
    rows: &mut S,
    commits: &[&CommitColumns],
    lease: Option<Lease<'_>>,
) -> QueryResult<Vec<Answer>> {
    let may_skip = |run: &RunColumns| run.run.options.overlap == Overlap::Skip;
    let jobs: HashSet<&str> = commits
        .iter()
        .flat_map(|commit| commit.runs.iter().filter(|run| commit.is_wanted || may_skip(run)))
        .filter_map(RunColumns::job_id)
        .collect();
    let jobs: Vec<&str> = jobs.into_iter().collect();
    let unfinished: HashMap<String, i64> = match jobs.is_empty() {
        true => HashMap::new(),
        false => rows.unfinished_runs(&jobs)?.into_iter().collect(),
    };
    let unfinished =
        |run: &RunColumns| run.job_id().and_then(|job_id| unfinished.get(job_id)).copied().unwrap_or(0);
    let is_full = |run: &RunColumns| may_skip(run) && unfinished(run) >= run.max_instances();
    let (mut queued, mut full, mut alone) = (Vec::new(), Vec::new(), Vec::new());
    for (at, commit) in commits.iter().enumerate() {
        for (place, run) in commit.runs.iter().enumerate() {
            match () {
                () if is_full(run) => full.push((at, place, run)),
                () if commit.is_wanted && lease.is_some() && unfinished(run) == 0 => alone.push((at, run)),
                () => queued.push(run),
            }
        }
    }
    let mut answers = vec![Answer::Applied(Vec::new()); commits.len()];
    if !full.is_empty() {
        let candidates: Vec<&RunColumns> = full.iter().map(|(_, _, run)| *run).collect();
        let known = rows.known_runs(&candidates)?;
        for ((at, place, _), _) in full.iter().zip(known).filter(|(_, known)| !known) {
            if let Answer::Applied(skipped) = &mut answers[*at] {
                skipped.push(*place);
            }
        }
    }
    if !queued.is_empty() {
        rows.insert_runs(&queued)?;
    }
    if let Some(lease) = lease.filter(|_| !alone.is_empty()) {
        let runs: Vec<&RunColumns> = alone.iter().map(|(_, run)| *run).collect();
        let new = rows.insert_claimed_runs(&runs, lease)?;
        alone.iter().zip(new).filter(|(_, new)| *new).for_each(|((at, _), _)| answers[*at] = Answer::Claimed);
    }
    Ok(answers)
}

/// The counts of jobs, from their states as numbers.
pub(crate) fn job_counts(rows: &[(i64, i64)]) -> JobCounts {
    let of = |state| count_of(rows, state);
    JobCounts {
        scheduled: of(job_state::SCHEDULED),
        paused: of(job_state::PAUSED),
        finished: of(job_state::FINISHED),
        suspended: of(job_state::SUSPENDED),
        quarantined: of(job_state::QUARANTINED),
    }
}

/// The counts of runs, from their states as numbers.
pub(crate) fn run_counts(rows: &[(i64, i64)]) -> RunCounts {
    let of = |state| count_of(rows, state);
    RunCounts {
        queued: of(run_state::QUEUED),
        running: of(run_state::RUNNING),
        finished: of(run_state::FINISHED),
    }
}

fn count_of(rows: &[(i64, i64)], wanted: i64) -> usize {
    let found = rows.iter().find(|(state, _)| *state == wanted);
    found.and_then(|(_, count)| usize::try_from(*count).ok()).unwrap_or(0)
}

/// A database's own connection, on which a caller has a transaction open: `SqliteConnection`, `PgConnection`,
/// `MysqlConnection`. It cannot be implemented elsewhere.
pub trait SqlConnection: sealed::Connection {}

impl<C: sealed::Connection> SqlConnection for C {}

pub(crate) mod sealed {
    use diesel::r2d2::{ConnectionManager, Pool, R2D2Connection};

    use super::Statements;
    use crate::schema::{Dialect, Tables};
    use crate::url::Location;

    /// A connection that runs the statements of a store.
    #[expect(private_interfaces, reason = "nobody outside can name the trait")]
    pub trait Connection: R2D2Connection + Sized + 'static {
        const DIALECT: Dialect;

        /// The statements on this connection.
        fn with_tables<'c>(&'c mut self, tables: &'c Tables) -> Box<dyn Statements + 'c>;

        /// A database behind a pool that somebody else made.
        fn behind(pool: Pool<ConnectionManager<Self>>) -> Location;
    }
}
