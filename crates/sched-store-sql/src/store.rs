//! [`SqlStore`], and the contract of a job store.
//!
//! Jobs are encoded before a transaction begins and decoded after it has ended, so that the database is held for as
//! short as possible. The statements themselves belong to the backend.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use diesel::sqlite::SqliteConnection;
use parking_lot::{Mutex, RwLock};
use sched_core::{
    BuildContext, Claim, ClaimRequest, ClaimedJob, Committed, ConflictPolicy, Error, ErrorKind, FencingToken,
    Inserted, Job, JobCommit, JobFilter, JobId, JobStore, Overlap, QueuedRun, RunQueue, StoreContext,
    StoreTraits, StoredJob,
};

use crate::codec::{Codec, JobColumns, JobRow, RunColumns, encode_cursor, micros, time};
use crate::config::{Config, Location, SqlStoreBuilder};
use crate::error::Fault;
use crate::schema::Tables;
use crate::sqlite::jobs::{self, Due, Lease};
use crate::sqlite::{Database, runs};

/// Jobs and runs in a SQL database; this version has SQLite.
///
/// Delivery is durable by default: advancing a job and queueing its run is one transaction. Several schedulers, also of
/// several processes on one machine, may share a file. Leases are judged by the clock of the scheduler's machine, which
/// all of them share, because SQLite has no server with a clock of its own.
pub struct SqlStore {
    config: Config,
    pub(crate) codec: Codec,
    started: RwLock<Option<Arc<Started>>>,
    /// A database in memory lives as long as the store, also while it is shut down.
    in_memory: Mutex<Option<Database>>,
}

/// What there is while the store is started.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) context: StoreContext,
    pub(crate) database: Database,
    /// The names of the tasks that are registered here, as a list in JSON, when there may be others who know more.
    pub(crate) tasks: Option<String>,
}

impl Started {
    /// The time by which leases are judged, in microseconds.
    pub(crate) fn now(&self) -> i64 {
        self.context.clock.now().timestamp_micros()
    }

    pub(crate) fn build_context(&self) -> BuildContext<'_> {
        self.context.build_context()
    }

    pub(crate) fn tables(&self) -> &Tables {
        &self.database.tables
    }

    /// The last moment of a lease that begins now.
    pub(crate) fn lease_end(&self, lease: Duration) -> i64 {
        let end = TimeDelta::from_std(lease)
            .ok()
            .and_then(|lease| self.context.clock.now().checked_add_signed(lease));
        end.unwrap_or(DateTime::<Utc>::MAX_UTC).timestamp_micros()
    }
}

impl SqlStore {
    /// A store in the database of this URL; it does not connect before it is started.
    ///
    /// URLs are those of SQLAlchemy (`sqlite:///relative.sqlite`, `sqlite:////absolute.sqlite`, `sqlite://` for a
    /// database in memory), or a plain path or `file:` URI.
    ///
    /// **Errors**: [`InvalidConfig`](ErrorKind::InvalidConfig).
    pub fn open(url: impl Into<String>) -> Result<Self, Error> {
        Self::builder(url).build()
    }

    /// A builder with defaults for everything but the URL.
    pub fn builder(url: impl Into<String>) -> SqlStoreBuilder {
        SqlStoreBuilder::new(url)
    }

    pub(crate) fn new(config: Config) -> Self {
        let codec = Codec::new(config.max_payload);
        Self { config, codec, started: RwLock::new(None), in_memory: Mutex::new(None) }
    }

    /// The statements that make the tables, for whoever runs them by hand.
    pub fn ddl(&self) -> String {
        self.config.tables.ddl()
    }

    /// Adds a job inside the caller's own transaction: it is there when that is committed, and not otherwise. The
    /// schedulers find it when they next look.
    ///
    /// **Errors**: those of [`insert`](JobStore::insert).
    pub fn add_job_in(
        &self,
        conn: &mut SqliteConnection,
        job: &Job,
        conflict: ConflictPolicy,
    ) -> Result<Inserted, Error> {
        let started = self.started()?;
        let columns = self.codec.encode_job(job)?;
        let answer = self.insert_one(conn, &started, &columns, conflict);
        answer.unwrap_or_else(|fault| Err(fault.into_error(&self.config.location)))
    }

    pub(crate) fn location(&self) -> &Location {
        &self.config.location
    }

    /// **Errors**: [`Closed`](ErrorKind::Closed).
    pub(crate) fn started(&self) -> Result<Arc<Started>, Error> {
        let closed =
            || Error::new(ErrorKind::Closed, format!("the store in {} is not started", self.config.location));
        self.started.read().clone().ok_or_else(closed)
    }

    fn open_database(&self) -> Result<Database, Error> {
        if self.config.location != Location::Memory {
            return Database::open(&self.config);
        }
        let mut kept = self.in_memory.lock();
        let database = match kept.take() {
            Some(database) => database,
            None => Database::open(&self.config)?,
        };
        Ok(kept.insert(database).clone())
    }

    fn decode(&self, started: &Started, row: &JobRow) -> Result<Job, Error> {
        match &row.quarantine {
            Some(reason) => Err(Error::new(ErrorKind::Corrupt, reason.as_str())),
            None => self.codec.decode_job(row, &started.context),
        }
    }

    /// The job of a row as it is listed; `None` when not even its id is one.
    fn stored(&self, started: &Started, row: &JobRow) -> Option<StoredJob> {
        match (self.decode(started, row), JobId::new(row.id.as_str())) {
            (Ok(job), _) => Some(StoredJob::Job(job)),
            (Err(error), Ok(id)) => {
                let next_run_time = row.next_run_time.and_then(|at| time(at).ok());
                Some(StoredJob::Quarantined { id, next_run_time, reason: error.to_string() })
            }
            (Err(_), Err(error)) => {
                tracing::warn!(seq = row.seq, %error, "a row of the job table has an invalid id");
                None
            }
        }
    }

    fn insert_one(
        &self,
        conn: &mut SqliteConnection,
        started: &Started,
        columns: &JobColumns<'_>,
        conflict: ConflictPolicy,
    ) -> Result<Result<Inserted, Error>, Fault> {
        let (tables, id) = (started.tables(), columns.job.id());
        if jobs::insert(conn, tables, columns)? {
            return Ok(Ok(Inserted::Added));
        }
        match conflict {
            ConflictPolicy::Keep => Ok(Ok(Inserted::Kept)),
            ConflictPolicy::Error => {
                let message = format!("job identifier \"{id}\" conflicts with an existing job");
                Ok(Err(Error::new(ErrorKind::AlreadyExists, message)))
            }
            ConflictPolicy::Replace => {
                let row = jobs::find(conn, tables, id.as_str())?;
                let row = row.ok_or(diesel::result::Error::NotFound)?;
                let stands = self.decode(started, &row).ok();
                let stands = stands.filter(|stored| stored.spec.same_schedule(&columns.job.spec));
                let cursor = encode_cursor(&stands.as_ref().unwrap_or(columns.job).cursor);
                let columns = JobColumns { job: columns.job, payload: columns.payload.clone(), cursor };
                jobs::replace(conn, tables, &row, &columns)?;
                Ok(Ok(Inserted::Replaced))
            }
        }
    }

    fn update_one(
        conn: &mut SqliteConnection,
        tables: &Tables,
        columns: &JobColumns<'_>,
    ) -> Result<Result<(), Error>, Fault> {
        let job = columns.job;
        let Some(row) = jobs::find(conn, tables, job.id().as_str())? else {
            let message = format!("no job by the id of \"{}\" was found", job.id());
            return Ok(Err(Error::new(ErrorKind::NotFound, message)));
        };
        if u64::try_from(row.revision) != Ok(job.cursor.revision) {
            let message = format!("job \"{}\" was changed by somebody else", job.id());
            return Ok(Err(Error::new(ErrorKind::Stale, message)));
        }
        jobs::replace(conn, tables, &row, columns)?;
        Ok(Ok(()))
    }

    /// Looks at every quarantined row again: this program may know what another did not.
    fn judge_quarantine_again(&self, started: &Started) -> Result<(), Error> {
        let tables = started.tables();
        let rows = started.database.read(|conn| Ok(jobs::quarantined(conn, tables)?))?;
        let decodes = |row: &&JobRow| self.codec.decode_job(row, &started.context).is_ok();
        let mended: Vec<&JobRow> = rows.iter().filter(decodes).collect();
        if mended.is_empty() {
            return Ok(());
        }
        tracing::info!(jobs = mended.len(), "quarantined jobs decode again");
        started.database.write(|conn| {
            mended.iter().try_for_each(|row| jobs::end_quarantine(conn, tables, row))?;
            Ok(())
        })
    }

    fn quarantine(&self, started: &Started, token: i64, rows: &[(i64, Error)]) {
        let tables = started.tables();
        let done = started.database.write(|conn| {
            for (seq, reason) in rows {
                jobs::quarantine(conn, tables, (*seq, token), &reason.to_string())?;
            }
            Ok(())
        });
        match done {
            Ok(()) => tracing::warn!(jobs = rows.len(), "jobs that do not decode were quarantined"),
            // Their leases end, and they are judged again.
            Err(error) => tracing::warn!(%error, "jobs that do not decode could not be quarantined"),
        }
    }
}

impl fmt::Debug for SqlStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let started = self.started.read();
        let alias = started.as_ref().map(|started| &started.context.alias);
        f.debug_struct("SqlStore")
            .field("database", &self.config.location)
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
        let database = self.open_database()?;
        let names: Vec<&str> = context.registry.tasks().map(|task| task.name()).collect();
        let tasks = self.traits().shared.then(|| serde_json::Value::from(names).to_string());
        let started = Arc::new(Started { context, database, tasks });
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
        StoreTraits { persistent: true, blocking: true, shared: self.config.location != Location::Memory }
    }

    fn insert(&self, jobs: &[Job], conflict: ConflictPolicy) -> Result<Vec<Result<Inserted, Error>>, Error> {
        let started = self.started()?;
        let encoded: Vec<_> = jobs.iter().map(|job| self.codec.encode_job(job)).collect();
        if encoded.iter().all(Result::is_err) {
            return Ok(encoded.into_iter().filter_map(Result::err).map(Err).collect());
        }
        started.database.write(|conn| {
            let answers = encoded.into_iter().map(|columns| match columns {
                Ok(columns) => self.insert_one(conn, &started, &columns, conflict),
                Err(error) => Ok(Err(error)),
            });
            answers.collect()
        })
    }

    fn update(&self, jobs: &[Job]) -> Result<Vec<Result<(), Error>>, Error> {
        let started = self.started()?;
        let encoded: Vec<_> = jobs.iter().map(|job| self.codec.encode_job(job)).collect();
        if encoded.iter().all(Result::is_err) {
            return Ok(encoded.into_iter().filter_map(Result::err).map(Err).collect());
        }
        started.database.write(|conn| {
            let answers = encoded.into_iter().map(|columns| match columns {
                Ok(columns) => Self::update_one(conn, started.tables(), &columns),
                Err(error) => Ok(Err(error)),
            });
            answers.collect()
        })
    }

    fn remove(&self, ids: &[JobId]) -> Result<Vec<bool>, Error> {
        let started = self.started()?;
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        started.database.write(|conn| {
            let answers = ids.iter().map(|id| jobs::remove(conn, started.tables(), id.as_str()));
            Ok(answers.collect::<Result<_, _>>()?)
        })
    }

    fn clear(&self) -> Result<usize, Error> {
        let started = self.started()?;
        started.database.write(|conn| Ok(jobs::clear(conn, started.tables())?))
    }

    fn get(&self, ids: &[JobId]) -> Result<Vec<Option<StoredJob>>, Error> {
        let started = self.started()?;
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let rows: Vec<Option<JobRow>> = started.database.read(|conn| {
            let found = ids.iter().map(|id| jobs::find(conn, started.tables(), id.as_str()));
            Ok(found.collect::<Result<_, _>>()?)
        })?;
        Ok(rows.iter().map(|row| row.as_ref().and_then(|row| self.stored(&started, row))).collect())
    }

    fn list(&self, filter: &JobFilter) -> Result<Vec<StoredJob>, Error> {
        let started = self.started()?;
        let after = filter.after.as_ref();
        let after = after.map(|place| (place.next_run_time.map(micros), place.id.as_str()));
        let limit = limit_of(filter.limit);
        let rows = started.database.read(|conn| Ok(jobs::list(conn, started.tables(), after, limit)?))?;
        Ok(rows.iter().filter_map(|row| self.stored(&started, row)).collect())
    }

    fn next_wakeup(&self) -> Result<Option<DateTime<Utc>>, Error> {
        let started = self.started()?;
        let next = started.database.read(|conn| Ok(jobs::next_wakeup(conn, started.tables())?))?;
        next.map(time).transpose()
    }

    fn claim_due(&self, request: &ClaimRequest) -> Result<Vec<ClaimedJob>, Error> {
        let started = self.started()?;
        let (now, tables) = (started.now(), started.tables());
        let due = Due { at: request.now.timestamp_micros(), limit: limit_of(Some(request.limit)) };
        if request.limit == 0 || !started.database.read(|conn| Ok(jobs::is_due(conn, tables, due, now)?))? {
            return Ok(Vec::new());
        }
        let lease = Lease { owner: &request.owner, now, until: started.lease_end(request.lease) };
        let (token, rows) = started.database.write(|conn| Ok(jobs::claim(conn, tables, due, lease)?))?;
        let mut unreadable = Vec::new();
        let mut claimed = Vec::with_capacity(rows.len());
        for row in rows {
            match self.codec.decode_job(&row, &started.context) {
                Ok(job) => {
                    let (id, slot) = (job.id().clone(), row.seq.cast_unsigned());
                    let claim = Claim { id, token: FencingToken(token.cast_unsigned()), slot };
                    claimed.push(ClaimedJob { job, claim });
                }
                Err(error) => unreadable.push((row.seq, error)),
            }
        }
        if !unreadable.is_empty() {
            self.quarantine(&started, token, &unreadable);
        }
        Ok(claimed)
    }

    fn commit(&self, commits: Vec<JobCommit>) -> Result<Vec<Committed>, Error> {
        let started = self.started()?;
        if commits.is_empty() {
            return Ok(Vec::new());
        }
        let encoded = commits.into_iter().map(|JobCommit { claim, advance, runs }| {
            let runs: Result<Vec<RunColumns>, Error> =
                runs.into_iter().map(|run| self.codec.encode_run(run)).collect();
            Ok((claim, advance, runs?))
        });
        let encoded = encoded.collect::<Result<Vec<_>, Error>>()?;
        let tables = started.tables();
        started.database.write(|conn| {
            let committed = encoded.iter().map(|(claim, advance, runs)| {
                Ok(match jobs::advance(conn, tables, claim, advance)? {
                    true => Committed::Applied { skipped: admit(conn, tables, runs)? },
                    false => Committed::Stale,
                })
            });
            committed.collect()
        })
    }

    fn runs(&self) -> Option<&dyn RunQueue> {
        Some(self)
    }
}

/// Queues the runs of one commit as its overlap policy says; answers the fire times that it skipped. A place that is
/// free before the commit is enough for all of its runs.
fn admit(
    conn: &mut SqliteConnection,
    tables: &Tables,
    runs: &[RunColumns],
) -> Result<Vec<DateTime<Utc>>, Fault> {
    let mut is_full = None;
    let mut skipped = Vec::new();
    for columns in runs {
        let QueuedRun { job_id, options, fire_time, .. } = &columns.run;
        let may_skip = job_id.as_ref().filter(|_| options.overlap == Overlap::Skip);
        let skips = match (may_skip, is_full) {
            (None, _) => false,
            (Some(_), Some(full)) => full,
            (Some(job_id), None) => {
                let full = runs::is_job_full(conn, tables, job_id.as_str(), options.max_instances)?;
                *is_full.insert(full)
            }
        };
        if !skips {
            runs::insert(conn, tables, columns)?;
        } else if !runs::is_known(conn, tables, columns)? {
            skipped.push(*fire_time);
        }
    }
    Ok(skipped)
}

/// A limit as SQLite counts: less than zero is none.
pub(crate) fn limit_of(limit: Option<usize>) -> i64 {
    limit.map_or(-1, |limit| i64::try_from(limit).unwrap_or(i64::MAX))
}
