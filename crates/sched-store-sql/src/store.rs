//! [`SqlStore`], and the contract of a job store.
//!
//! Jobs are encoded before a transaction begins and decoded after it has ended, so that the database is held for as
//! short as possible. The statements themselves belong to the databases.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::r2d2::{ConnectionManager, Pool};
use parking_lot::{Mutex, RwLock};
use sched_core::codec::{Codec, from_micros, to_micros};
use sched_core::{
    Advance, Claim, ClaimRequest, ClaimedJob, Committed, ConflictPolicy, Error, ErrorKind, FencingToken,
    Inserted, Job, JobCommit, JobCounts, JobFilter, JobId, JobState, JobStore, Planner, RunQueue, RunWish,
    StoreContext, StoreTraits, StoredJob,
};

use crate::backend::{
    Access, Answer, Backend, Due, JobPage, KnownTasks, Lease, SqlConnection, Statements, Try, Unreadable,
    job_counts,
};
use crate::config::{Config, SqlStoreBuilder};
use crate::error::Fault;
use crate::rows::{
    CommitColumns, CursorColumns, EndedRun, JobColumns, JobRow, RunColumns, count, job_state, micros_of,
    run_state, time_or_none,
};
use crate::schema::Tables;

/// How many rows are read at once where those that are wanted are known only after they are decoded.
const PAGE: i64 = 1_000;

/// Jobs and runs in a SQL database.
///
/// Delivery is durable by default: advancing a job and queueing its run is one transaction. Several schedulers, also of
/// several processes, may share the tables. Leases are judged by the server's clock; for SQLite, which has no server, by
/// that of the machine, which all of its processes share.
pub struct SqlStore {
    config: Config,
    pub(crate) codec: Codec,
    started: RwLock<Option<Arc<Started>>>,
    /// A database that lives as long as the store, also while it is shut down.
    kept: Mutex<Option<Arc<dyn Backend>>>,
}

/// What there is while the store is started.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) context: StoreContext,
    backend: Arc<dyn Backend>,
    /// The tasks that are registered here, when there may be others who know more.
    pub(crate) tasks: Option<KnownTasks>,
    /// What is still to be deleted of a history that is too long.
    pub(crate) surplus: Mutex<Option<Surplus>>,
}

/// The finished runs up to the last of those that were beyond `keep` when they were counted.
#[derive(Debug)]
pub(crate) struct Surplus {
    pub(crate) keep: i64,
    pub(crate) last: EndedRun,
}

impl Started {
    /// Does work in a transaction.
    pub(crate) fn run<T>(
        &self,
        access: Access,
        mut work: impl FnMut(&mut dyn Statements, Try) -> Result<T, Fault>,
    ) -> Result<T, Error> {
        let mut done = None;
        let now = self.context.clock.now().timestamp_micros();
        self.backend.run(access, now, &mut |rows, tried| {
            done = Some(work(rows, tried)?);
            Ok(())
        })?;
        done.ok_or_else(|| Error::new(ErrorKind::Unexpected, "a transaction ended without an answer"))
    }

    /// Reads.
    pub(crate) fn read<T>(
        &self,
        mut work: impl FnMut(&mut dyn Statements) -> Result<T, Fault>,
    ) -> Result<T, Error> {
        self.run(Access::Read, |rows, _| work(rows))
    }

    /// Whether a look finds nothing to do, where a look is worth its while.
    pub(crate) fn is_idle(
        &self,
        mut look: impl FnMut(&mut dyn Statements) -> Result<bool, Fault>,
    ) -> Result<bool, Error> {
        Ok(self.backend.looks_first() && !self.read(|rows| look(rows))?)
    }
}

impl SqlStore {
    /// A store in the database of this URL; it does not connect before it is started.
    ///
    /// URLs are those of SQLAlchemy and diesel: `postgresql://user:password@host/database`, `mysql://…`,
    /// `mariadb://…`, `sqlite:///relative.sqlite`, `sqlite:////absolute.sqlite`, `sqlite://` for a database in memory,
    /// or a plain path or `file:` URI of SQLite. A driver after `+` is accepted and ignored.
    ///
    /// **Errors**: [`InvalidConfig`](ErrorKind::InvalidConfig).
    pub fn open(url: impl Into<String>) -> Result<Self, Error> {
        Self::builder(url).build()
    }

    /// A builder with defaults for everything but the URL.
    pub fn builder(url: impl Into<String>) -> SqlStoreBuilder {
        SqlStoreBuilder::new(url)
    }

    /// A builder of a store on a diesel pool that is there already. Its size, timeouts and tests are its own.
    ///
    /// # Example
    /// ```
    /// # #[cfg(feature = "sqlite")] {
    /// use sched_store_sql::SqlStore;
    /// use sched_store_sql::diesel::{SqliteConnection, r2d2::{ConnectionManager, Pool}};
    ///
    /// let manager = ConnectionManager::<SqliteConnection>::new("app.sqlite");
    /// let pool = Pool::builder().max_size(8).build_unchecked(manager);
    /// let store = SqlStore::from_pool(pool).table_prefix("app").build()?;
    /// # }
    /// # Ok::<(), sched_core::Error>(())
    /// ```
    pub fn from_pool<C: SqlConnection>(pool: Pool<ConnectionManager<C>>) -> SqlStoreBuilder {
        SqlStoreBuilder::given(C::behind(pool))
    }

    pub(crate) fn new(config: Config) -> Self {
        let codec = Codec::new(config.format, config.max_payload);
        Self { config, codec, started: RwLock::new(None), kept: Mutex::new(None) }
    }

    /// The statements that make the tables, for whoever runs them by hand.
    pub fn ddl(&self) -> String {
        self.config.tables.ddl()
    }

    /// Adds a job inside the caller's own transaction: it is there when that is committed, and not otherwise. The
    /// schedulers find it when they next look.
    ///
    /// **Errors**: those of [`insert`](JobStore::insert); [`InvalidConfig`](ErrorKind::InvalidConfig) for a connection
    /// to another kind of database than the store's.
    pub fn add_job_in<C: SqlConnection>(
        &self,
        conn: &mut C,
        job: &Job,
        conflict: ConflictPolicy,
    ) -> Result<Inserted, Error> {
        let started = self.started()?;
        let tables = self.tables_for::<C>()?;
        let columns = JobColumns::encode(&self.codec, job)?;
        let answers =
            self.insert_all(&started, &mut *conn.with_tables(tables), (&[&columns], conflict, Try::First));
        let answers = answers.map_err(|fault| fault.into_error(self.location()))?;
        answers.into_iter().next().unwrap_or_else(|| Err(self.unanswered()))
    }

    /// The tables, for a caller's own connection.
    pub(crate) fn tables_for<C: SqlConnection>(&self) -> Result<&Tables, Error> {
        let tables = &self.config.tables;
        if C::DIALECT == tables.dialect {
            return Ok(tables);
        }
        let message = format!("the connection is to {}, but the store is in {}", C::DIALECT, self.location());
        Err(Error::new(ErrorKind::InvalidConfig, message))
    }

    /// Where the database is, without its password.
    pub(crate) fn location(&self) -> impl fmt::Display + '_ {
        &self.config.location
    }

    fn unanswered(&self) -> Error {
        Error::new(ErrorKind::Unexpected, format!("{} gave no answer", self.location()))
    }

    /// **Errors**: [`Closed`](ErrorKind::Closed).
    pub(crate) fn started(&self) -> Result<Arc<Started>, Error> {
        let closed =
            || Error::new(ErrorKind::Closed, format!("the store in {} is not started", self.location()));
        self.started.read().clone().ok_or_else(closed)
    }

    fn open_backend(&self) -> Result<Arc<dyn Backend>, Error> {
        if !self.config.location.lives_with_the_store() {
            return self.config.connect();
        }
        let mut kept = self.kept.lock();
        let backend = match kept.take() {
            Some(backend) => backend,
            None => self.config.connect()?,
        };
        Ok(Arc::clone(kept.insert(backend)))
    }

    fn decode(&self, started: &Started, row: &JobRow) -> Result<Job, Error> {
        match &row.quarantine {
            Some(reason) => Err(Error::new(ErrorKind::Corrupt, reason.as_str())),
            None => row.decode(&self.codec, &started.context),
        }
    }

    /// The job of a row as it is listed; `None` when not even its id is one.
    fn stored(&self, started: &Started, row: &JobRow) -> Option<StoredJob> {
        match (self.decode(started, row), JobId::new(row.id.as_str())) {
            (Ok(job), _) => Some(StoredJob::Job(job)),
            (Err(error), Ok(id)) => {
                let next_run_time = time_or_none(row.next_run_time).ok().flatten();
                Some(StoredJob::Quarantined { id, next_run_time, reason: error.to_string() })
            }
            (Err(_), Err(error)) => {
                tracing::warn!(%error, "a row of the job table has an invalid id");
                None
            }
        }
    }

    /// Encodes jobs, does something with those that can be, and answers for all.
    fn each_job<T>(
        &self,
        jobs: &[Job],
        work: impl FnOnce(&[&JobColumns<'_>]) -> Result<Vec<Result<T, Error>>, Error>,
    ) -> Result<Vec<Result<T, Error>>, Error> {
        let encoded: Vec<_> = jobs.iter().map(|job| JobColumns::encode(&self.codec, job)).collect();
        let good: Vec<&JobColumns<'_>> = encoded.iter().filter_map(|columns| columns.as_ref().ok()).collect();
        let mut answers = match good.is_empty() {
            true => Vec::new(),
            false => work(&good)?,
        }
        .into_iter();
        let merged = encoded
            .into_iter()
            .map(|columns| columns.and_then(|_| answers.next().unwrap_or_else(|| Err(self.unanswered()))));
        Ok(merged.collect())
    }

    fn insert_all(
        &self,
        started: &Started,
        rows: &mut dyn Statements,
        (jobs, conflict, tried): (&[&JobColumns<'_>], ConflictPolicy, Try),
    ) -> Result<Vec<Result<Inserted, Error>>, Fault> {
        let mut answers = Vec::with_capacity(jobs.len());
        for batch in distinct(jobs, |columns| columns.id()) {
            let inserted = rows.insert_jobs(batch)?;
            let taken = batch.iter().zip(&inserted).filter(|(_, inserted)| !**inserted).map(|(it, _)| *it);
            let taken: Vec<&JobColumns<'_>> = taken.collect();
            let mut judged = match (conflict, tried) {
                _ if taken.is_empty() => Vec::new(),
                (ConflictPolicy::Replace, _) => self.replace_all(started, rows, &taken)?,
                (_, Try::First) => taken.iter().map(|columns| refuse(columns.id(), conflict)).collect(),
                (_, Try::AfterUnknown) => judge_again(rows, &taken, conflict)?,
            }
            .into_iter();
            answers.extend(inserted.into_iter().map(|inserted| match inserted {
                true => Ok(Inserted::Added),
                false => judged.next().unwrap_or_else(|| Err(self.unanswered())),
            }));
        }
        Ok(answers)
    }

    /// Replaces jobs that are there. One with the same schedule keeps its cursor.
    fn replace_all(
        &self,
        started: &Started,
        rows: &mut dyn Statements,
        jobs: &[&JobColumns<'_>],
    ) -> Result<Vec<Result<Inserted, Error>>, Fault> {
        let found = find_by_id(rows, jobs)?;
        let mut replaced = Vec::with_capacity(jobs.len());
        for columns in jobs {
            let row = found.get(columns.id()).ok_or_else(|| vanished(columns.id()))?;
            let stands = self.decode(started, row).ok();
            let stands = stands.filter(|stored| stored.spec.same_schedule(&columns.job.spec));
            let cursor = stands.map_or_else(|| columns.cursor.clone(), |stored| (&stored.cursor).into());
            replaced.push(JobColumns { job: columns.job, payload: columns.payload.clone(), cursor });
        }
        rows.replace_jobs(&replaced.iter().collect::<Vec<_>>())?;
        Ok(jobs.iter().map(|_| Ok(Inserted::Replaced)).collect())
    }

    /// Looks at every quarantined row again: this program may know what another did not.
    fn judge_quarantine_again(&self, started: &Started) -> Result<(), Error> {
        let rows = started.read(|rows| Ok(rows.quarantined_jobs()?))?;
        let decodes = |row: &&JobRow| row.decode(&self.codec, &started.context).is_ok();
        let mended: Vec<&str> = rows.iter().filter(decodes).map(|row| row.id.as_str()).collect();
        if mended.is_empty() {
            return Ok(());
        }
        tracing::info!(jobs = mended.len(), "quarantined jobs decode again");
        started.run(Access::Single, |rows, _| Ok(rows.end_quarantine(&mended)?))
    }

    fn quarantine(started: &Started, unreadable: &[Unreadable]) {
        match started.run(Access::Single, |rows, _| Ok(rows.quarantine_jobs(unreadable)?)) {
            Ok(()) => tracing::warn!(jobs = unreadable.len(), "jobs that do not decode were quarantined"),
            // Their leases end, and they are judged again.
            Err(error) => tracing::warn!(%error, "jobs that do not decode could not be quarantined"),
        }
    }

    pub(crate) fn encode_commit(&self, commit: JobCommit, is_wanted: bool) -> Result<CommitColumns, Error> {
        let JobCommit { claim, advance, runs } = commit;
        let runs = runs.into_iter().map(|run| RunColumns::encode(&self.codec, run));
        let runs = runs.collect::<Result<Vec<_>, _>>()?;
        let is_free = |run: &RunColumns| {
            run.job_id().is_some() && run.task_max().is_none() && run.limit_key().is_none()
        };
        Ok(CommitColumns {
            seq: count(claim.slot),
            id: claim.id.as_str().to_owned(),
            token: count(claim.token.0),
            cursor: match &advance {
                Advance::To(cursor) => Some(CursorColumns::from(cursor)),
                Advance::Remove => None,
            },
            is_wanted: is_wanted && matches!(&runs[..], [run] if is_free(run)),
            runs,
        })
    }

    /// Commits, and claims what is wanted.
    fn commit_all(&self, commits: Vec<JobCommit>, wish: Option<&RunWish>) -> Result<Vec<Committed>, Error> {
        let started = self.started()?;
        if commits.is_empty() {
            return Ok(Vec::new());
        }
        let is_wanted = |at: usize| wish.and_then(|wish| wish.wanted.get(at)).copied().unwrap_or(false);
        let encoded = commits.into_iter().enumerate();
        let encoded = encoded.map(|(at, commit)| self.encode_commit(commit, is_wanted(at)));
        let encoded = encoded.collect::<Result<Vec<_>, Error>>()?;
        let commits: Vec<&CommitColumns> = encoded.iter().collect();
        let lease = wish.map(|wish| Lease { owner: &wish.owner, micros: lease_micros(wish.lease) });
        let answers = started.run(Access::Change, |rows, tried| {
            let mut answers = Vec::with_capacity(commits.len());
            for batch in distinct(&commits, |commit| &commit.id) {
                let mut done = rows.commit(batch, lease)?;
                if tried == Try::AfterUnknown {
                    read_back(rows, batch, &mut done)?;
                }
                answers.extend(done);
            }
            Ok(answers)
        })?;
        Ok(committed(&encoded, answers))
    }

    /// The jobs of claimed rows, in order, and what of them does not decode.
    pub(crate) fn decode_claimed(
        &self,
        started: &Started,
        mut rows: Vec<JobRow>,
    ) -> (Vec<ClaimedJob>, Vec<Unreadable>) {
        rows.sort_unstable_by(|left, right| left.place().cmp(&right.place()));
        let mut unreadable = Vec::new();
        let mut claimed = Vec::with_capacity(rows.len());
        for row in rows {
            match row.decode(&self.codec, &started.context) {
                Ok(job) => {
                    let token = FencingToken(row.token.cast_unsigned());
                    let claim = Claim { id: job.id().clone(), token, slot: row.seq.cast_unsigned() };
                    claimed.push(ClaimedJob { job, claim });
                }
                Err(error) => {
                    let JobRow { id, token, .. } = row;
                    unreadable.push(Unreadable { id, token, reason: error.to_string() });
                }
            }
        }
        (claimed, unreadable)
    }
}

pub(crate) fn committed(commits: &[CommitColumns], answers: Vec<Answer>) -> Vec<Committed> {
    let committed = commits.iter().zip(answers).map(|(commit, answer)| match (answer, &commit.runs[..]) {
        (Answer::Stale, _) => Committed::Stale,
        (Answer::Claimed, [run, ..]) => Committed::Claimed(run.run.id),
        (Answer::Claimed, []) => Committed::Applied { skipped: Vec::new() },
        (Answer::Applied(skipped), runs) => {
            let fire_time = |place: usize| runs.get(place).map(|run| run.run.fire_time);
            Committed::Applied { skipped: skipped.into_iter().filter_map(fire_time).collect() }
        }
    });
    committed.collect()
}

impl fmt::Debug for SqlStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let started = self.started.read();
        let alias = started.as_ref().map(|started| &started.context.alias);
        f.debug_struct("SqlStore")
            .field("database", &self.config.location.to_string())
            .field("tables", &self.config.tables)
            .field("alias", &alias)
            .finish()
    }
}

impl JobStore for SqlStore {
    fn start(&self, context: StoreContext) -> Result<(), Error> {
        let mut slot = self.started.write();
        if slot.is_some() {
            return Ok(());
        }
        let backend = self.open_backend()?;
        let names: Vec<String> = context.registry.tasks().map(|task| task.name().to_owned()).collect();
        let json = serde_json::Value::from(names.clone()).to_string();
        let tasks = self.traits().shared.then_some(KnownTasks { names, json });
        let started = Arc::new(Started { context, backend, tasks, surplus: Mutex::new(None) });
        self.judge_quarantine_again(&started)?;
        *slot = Some(started);
        Ok(())
    }

    fn shutdown(&self) -> Result<(), Error> {
        let started = self.started.write().take();
        drop(started);
        Ok(())
    }

    fn traits(&self) -> StoreTraits {
        StoreTraits { persistent: true, blocking: true, shared: self.config.location.is_shared() }
    }

    fn insert(&self, jobs: &[Job], conflict: ConflictPolicy) -> Result<Vec<Result<Inserted, Error>>, Error> {
        let started = self.started()?;
        self.each_job(jobs, |jobs| {
            started
                .run(Access::Change, |rows, tried| self.insert_all(&started, rows, (jobs, conflict, tried)))
        })
    }

    fn update(&self, jobs: &[Job]) -> Result<Vec<Result<(), Error>>, Error> {
        let started = self.started()?;
        self.each_job(jobs, |jobs| started.run(Access::Change, |rows, tried| update_all(rows, jobs, tried)))
    }

    fn remove(&self, ids: &[JobId]) -> Result<Vec<bool>, Error> {
        let started = self.started()?;
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<&str> = ids.iter().map(JobId::as_str).collect();
        started.run(Access::Single, |rows, tried| {
            let mut answers = Vec::with_capacity(ids.len());
            for batch in distinct(&ids, |id| id) {
                let removed: HashSet<String> = rows.remove_jobs(batch)?.into_iter().collect();
                // What is gone after a lost answer is gone as it was asked.
                answers.extend(batch.iter().map(|id| tried == Try::AfterUnknown || removed.contains(*id)));
            }
            Ok(answers)
        })
    }

    fn clear(&self) -> Result<usize, Error> {
        self.started()?.run(Access::Single, |rows, _| Ok(rows.clear_jobs()?))
    }

    fn get(&self, ids: &[JobId]) -> Result<Vec<Option<StoredJob>>, Error> {
        let started = self.started()?;
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let wanted: HashSet<&str> = ids.iter().map(JobId::as_str).collect();
        let wanted: Vec<&str> = wanted.into_iter().collect();
        let rows = started.read(|rows| Ok(rows.find_jobs(&wanted, false)?))?;
        let found: HashMap<&str, &JobRow> = rows.iter().map(|row| (row.id.as_str(), row)).collect();
        let found = |id: &JobId| found.get(id.as_str()).and_then(|row| self.stored(&started, row));
        Ok(ids.iter().map(found).collect())
    }

    /// The state of a row is known to the database, except that a row which nobody tried to decode yet may turn out to
    /// be one for the quarantine.
    fn list(&self, filter: &JobFilter) -> Result<Vec<StoredJob>, Error> {
        let started = self.started()?;
        let wanted = filter.limit.unwrap_or(usize::MAX);
        let mut after =
            filter.after.clone().map(|place| (place.next_run_time.map(to_micros), String::from(place.id)));
        let mut found = Vec::new();
        while found.len() < wanted {
            let limit = match (filter.limit, filter.state) {
                (None, _) => i64::MAX,
                (Some(_), Some(_)) => PAGE,
                (Some(limit), None) => limit_of(limit - found.len()),
            };
            let page = JobPage {
                after: after.as_ref().map(|(time, id)| (*time, id.as_str())),
                task: filter.task.as_deref(),
                state: filter.state.and_then(state_of),
                limit,
            };
            let rows = started.read(|rows| Ok(rows.list_jobs(page)?))?;
            let decoded = rows.iter().filter_map(|row| self.stored(&started, row));
            found.extend(decoded.filter(|stored| filter.admits(stored)).take(wanted - found.len()));
            match rows.last() {
                Some(last) if limit_of(rows.len()) >= limit => {
                    after = Some((last.next_run_time, last.id.clone()))
                }
                _ => break,
            }
        }
        Ok(found)
    }

    /// Rows that do not decode count as quarantined once somebody found that out.
    fn job_counts(&self) -> Result<JobCounts, Error> {
        let counts = self.started()?.read(|rows| Ok(rows.count_jobs()?))?;
        Ok(job_counts(&counts))
    }

    fn next_wakeup(&self) -> Result<Option<DateTime<Utc>>, Error> {
        let next = self.started()?.read(|rows| Ok(rows.next_job()?))?;
        next.map(from_micros).transpose()
    }

    fn recover(&self, owner: &str) -> Result<(), Error> {
        self.started()?.run(Access::Change, |rows, _| Ok(rows.recover(owner)?))
    }

    fn claim_due(&self, request: &ClaimRequest) -> Result<Vec<ClaimedJob>, Error> {
        let started = self.started()?;
        let due = due_of(request);
        if request.limit == 0 || started.is_idle(|rows| Ok(rows.is_job_due(due)?))? {
            return Ok(Vec::new());
        }
        let lease = lease_of(request);
        let rows = started.run(Access::Claim, |rows, _| Ok(rows.claim_jobs(due, lease)?))?;
        let (claimed, unreadable) = self.decode_claimed(&started, rows);
        if !unreadable.is_empty() {
            Self::quarantine(&started, &unreadable);
        }
        Ok(claimed)
    }

    fn commit(&self, commits: Vec<JobCommit>) -> Result<Vec<Committed>, Error> {
        self.commit_all(commits, None)
    }

    fn commit_and_claim(&self, commits: Vec<JobCommit>, wish: &RunWish) -> Result<Vec<Committed>, Error> {
        self.commit_all(commits, Some(wish))
    }

    fn claim_and_commit(
        &self,
        request: &ClaimRequest,
        plan: &mut Planner<'_>,
    ) -> Result<Option<Vec<Committed>>, Error> {
        self.commit_at_once(request, plan).map(Some)
    }

    /// SQLite has one writer at a time.
    fn writes_side_by_side(&self) -> bool {
        self.config.tables.dialect.writes_side_by_side()
    }

    fn runs(&self) -> Option<&dyn RunQueue> {
        Some(self)
    }
}

/// Replaces jobs whose revision is the given one.
fn update_all(
    rows: &mut dyn Statements,
    jobs: &[&JobColumns<'_>],
    tried: Try,
) -> Result<Vec<Result<(), Error>>, Fault> {
    let mut answers = Vec::with_capacity(jobs.len());
    for batch in distinct(jobs, |columns| columns.id()) {
        let found = find_by_id(rows, batch)?;
        let mut changed = Vec::with_capacity(batch.len());
        for columns in batch {
            let id = columns.id();
            answers.push(match found.get(id) {
                None => {
                    let message = format!("no job by the id of \"{id}\" was found");
                    Err(Error::new(ErrorKind::NotFound, message))
                }
                Some(row) if row.revision == columns.revision() => {
                    changed.push(*columns);
                    Ok(())
                }
                Some(row) if tried == Try::AfterUnknown && is_successor(row, columns) => Ok(()),
                Some(_) => {
                    let message = format!("job \"{id}\" was changed by somebody else");
                    Err(Error::new(ErrorKind::Stale, message))
                }
            });
        }
        if !changed.is_empty() {
            rows.replace_jobs(&changed)?;
        }
    }
    Ok(answers)
}

/// Whether a row is what writing these columns over their revision makes.
fn is_successor(row: &JobRow, columns: &JobColumns<'_>) -> bool {
    row.revision == columns.revision().saturating_add(1) && row.payload == columns.payload
}

/// The answer for a job whose id is taken.
fn refuse(id: &str, conflict: ConflictPolicy) -> Result<Inserted, Error> {
    if conflict == ConflictPolicy::Keep {
        return Ok(Inserted::Kept);
    }
    let message = format!("job identifier \"{id}\" conflicts with an existing job");
    Err(Error::new(ErrorKind::AlreadyExists, message))
}

/// The answers for jobs whose ids are taken, perhaps by an insert whose answer was lost.
fn judge_again(
    rows: &mut dyn Statements,
    jobs: &[&JobColumns<'_>],
    conflict: ConflictPolicy,
) -> Result<Vec<Result<Inserted, Error>>, Fault> {
    let found = find_by_id(rows, jobs)?;
    let is_ours = |columns: &JobColumns<'_>| {
        let row = found.get(columns.id());
        row.is_some_and(|row| row.revision == columns.revision() && row.payload == columns.payload)
    };
    let judged = jobs.iter().map(|columns| match is_ours(columns) {
        true => Ok(Inserted::Added),
        false => refuse(columns.id(), conflict),
    });
    Ok(judged.collect())
}

/// The locked rows of jobs.
fn find_by_id(rows: &mut dyn Statements, jobs: &[&JobColumns<'_>]) -> Result<HashMap<String, JobRow>, Fault> {
    let ids: Vec<&str> = jobs.iter().map(|columns| columns.id()).collect();
    Ok(rows.find_jobs(&ids, true)?.into_iter().map(|row| (row.id.clone(), row)).collect())
}

/// A job was there a moment ago, and is not any more.
fn vanished(id: &str) -> Fault {
    Error::new(ErrorKind::Unavailable, format!("job \"{id}\" was removed at the same moment")).into()
}

/// Tells stale commits from those that an earlier try has made: a row keeps the token of the claim that it was committed
/// under.
pub(crate) fn read_back(
    rows: &mut dyn Statements,
    commits: &[&CommitColumns],
    answers: &mut [Answer],
) -> Result<(), Fault> {
    let stale = commits.iter().zip(answers).filter(|(_, answer)| **answer == Answer::Stale);
    let stale: Vec<(&&CommitColumns, &mut Answer)> = stale.collect();
    if stale.is_empty() {
        return Ok(());
    }
    let ids: Vec<&str> = stale.iter().map(|(commit, _)| commit.id.as_str()).collect();
    let found: HashMap<String, i64> =
        rows.find_jobs(&ids, false)?.into_iter().map(|row| (row.id, row.token)).collect();
    for (commit, answer) in stale {
        let runs: Vec<&RunColumns> = commit.runs.iter().collect();
        let known = if runs.is_empty() { Vec::new() } else { rows.known_runs(&runs)? };
        let was_made = match (&commit.cursor, found.get(&commit.id)) {
            (Some(_), Some(token)) => *token == commit.token,
            (None, None) => known.is_empty() || known.contains(&true),
            _ => false,
        };
        if was_made {
            let skipped = known.iter().enumerate().filter(|(_, known)| !**known).map(|(place, _)| place);
            *answer = match commit.is_wanted && is_claimed(rows, commit)? {
                true => Answer::Claimed,
                false => Answer::Applied(skipped.collect()),
            };
        }
    }
    Ok(())
}

/// Whether the run of a commit is claimed as the commit claimed it.
fn is_claimed(rows: &mut dyn Statements, commit: &CommitColumns) -> Result<bool, Fault> {
    let ids: Vec<&str> = commit.runs.iter().map(|run| run.id.as_str()).collect();
    let states = rows.run_states(&ids)?;
    let first = count(FencingToken::FIRST.0);
    Ok(states.iter().any(|(_, state, token)| *state == run_state::RUNNING && *token == first))
}

/// The longest runs of neighbours in which no key comes twice.
pub(crate) fn distinct<'a, T, K: AsRef<str> + ?Sized + 'a>(
    items: &'a [T],
    key: impl Fn(&'a T) -> &'a K,
) -> Vec<&'a [T]> {
    let mut seen = HashSet::with_capacity(items.len());
    let (mut batches, mut start) = (Vec::new(), 0);
    for (at, item) in items.iter().enumerate() {
        if !seen.insert(key(item).as_ref()) {
            batches.push(&items[start..at]);
            start = at;
            seen.clear();
            seen.insert(key(item).as_ref());
        }
    }
    if start < items.len() {
        batches.push(&items[start..]);
    }
    batches
}

/// The state that rows have in the database; those for the quarantine are known only when they are decoded.
fn state_of(state: JobState) -> Option<i64> {
    match state {
        JobState::Scheduled => Some(job_state::SCHEDULED),
        JobState::Paused => Some(job_state::PAUSED),
        JobState::Finished => Some(job_state::FINISHED),
        JobState::Suspended => Some(job_state::SUSPENDED),
        JobState::Quarantined => None,
    }
}

pub(crate) fn due_of(request: &ClaimRequest) -> Due {
    Due { at: request.now.timestamp_micros(), limit: limit_of(request.limit) }
}

pub(crate) fn lease_of(request: &ClaimRequest) -> Lease<'_> {
    Lease { owner: &request.owner, micros: lease_micros(request.lease) }
}

/// The length of a lease; short enough that a moment can be added.
pub(crate) fn lease_micros(lease: Duration) -> i64 {
    micros_of(lease).min(i64::MAX / 4)
}

/// A number of rows as databases count.
pub(crate) fn limit_of(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
