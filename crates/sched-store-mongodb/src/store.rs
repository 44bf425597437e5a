//! [`MongoStore`], and the contract of a job store.
//!
//! Jobs are encoded before anything is written and decoded after it was read. What a batch has changed is known by the
//! number of documents that matched; only when it is less than was meant, the documents are asked.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Document, RawBson, RawDocumentBuf, doc, rawdoc};
use parking_lot::{Mutex, RwLock};
use sched_core::codec::{Codec, from_micros};
use sched_core::{
    Claim, ClaimRequest, ClaimedJob, Committed, ConflictPolicy, Error, ErrorKind, FencingToken, Inserted,
    Job, JobCommit, JobCounts, JobFilter, JobId, JobStore, RunId, RunQueue, RunWish, StoreContext,
    StoreTraits, StoredJob,
};

use crate::codec::{Row, decode_job, decode_stored, judge_job};
use crate::config::{Config, MongoStoreBuilder};
use crate::database::{Database, Search, Table, outside_of_runtimes};
use crate::settle::{bury, settle, settle_claimed};
use crate::{commit, jobs, runs, schema};

/// How often a batch is begun anew when others change the same jobs at the same moment.
const ATTEMPTS: usize = 20;

/// Jobs and runs in a MongoDB server or replica set, which any number of schedulers may share.
///
/// Delivery is durable by default, on a stand-alone server too: no transactions are needed. Leases are judged by the
/// server's clock. Calls work on any thread, also on one that runs an async runtime, where they take a thread of their own.
pub struct MongoStore {
    config: Config,
    codec: Codec,
    started: RwLock<Option<Arc<Started>>>,
}

/// What there is while the store is started.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) context: StoreContext,
    pub(crate) database: Database,
    pub(crate) codec: Codec,
    /// The tasks that are registered here, and how many runs of each there may be at once.
    pub(crate) tasks: HashMap<Arc<str>, Option<u32>>,
    /// Claims that were ended by a call whose answer was lost, with the mark that it has left if it was done.
    pub(crate) doubtful: Mutex<HashMap<(RunId, FencingToken), ObjectId>>,
}

impl MongoStore {
    /// A store at this URL (`mongodb://` or `mongodb+srv://`); it does not connect before it is started.
    ///
    /// **Errors**: [`InvalidConfig`](ErrorKind::InvalidConfig).
    pub fn open(url: impl Into<String>) -> Result<Self, Error> {
        Self::builder(url).build()
    }

    /// A builder with defaults for everything but the URL.
    pub fn builder(url: impl Into<String>) -> MongoStoreBuilder {
        MongoStoreBuilder::new(url)
    }

    pub(crate) fn new(config: Config) -> Self {
        let codec = Codec::new(config.format, config.max_payload);
        Self { config, codec, started: RwLock::new(None) }
    }

    /// The statements for the MongoDB shell that make the indexes, for whoever runs them by hand.
    pub fn ddl(&self) -> String {
        schema::ddl(&self.config.names)
    }

    /// Does something with the server, on a thread where that is possible.
    ///
    /// **Errors**: [`Closed`](ErrorKind::Closed), and those of `work`.
    pub(crate) fn call<T: Send>(
        &self,
        work: impl FnOnce(&Started) -> Result<T, Error> + Send,
    ) -> Result<T, Error> {
        let closed =
            || Error::new(ErrorKind::Closed, format!("the store at {} is not started", self.config.address));
        let started = self.started.read().clone().ok_or_else(closed)?;
        outside_of_runtimes(|| work(&started))
    }
}

impl fmt::Debug for MongoStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let started = self.started.read();
        let alias = started.as_ref().map(|started| &started.context.alias);
        let mut debug = f.debug_struct("MongoStore");
        debug
            .field("server", &self.config.address)
            .field("names", &self.config.names)
            .field("alias", &alias)
            .finish()
    }
}

impl JobStore for MongoStore {
    fn start(&self, context: StoreContext) -> Result<(), Error> {
        let mut slot = self.started.write();
        if slot.is_some() {
            return Ok(());
        }
        let tasks = context.registry.tasks().map(|task| (task.shared_name(), task.max_instances())).collect();
        let codec = self.codec.clone();
        let started = outside_of_runtimes(move || {
            let database = Database::open(&self.config)?;
            let started = Started { context, database, codec, tasks, doubtful: Mutex::default() };
            started.judge_quarantine_again()?;
            Ok(Arc::new(started))
        })?;
        *slot = Some(started);
        Ok(())
    }

    fn shutdown(&self) -> Result<(), Error> {
        let started = self.started.write().take();
        drop(started);
        Ok(())
    }

    fn traits(&self) -> StoreTraits {
        StoreTraits { persistent: true, blocking: true, shared: true }
    }

    fn insert(&self, jobs: &[Job], conflict: ConflictPolicy) -> Result<Vec<Result<Inserted, Error>>, Error> {
        self.call(|started| started.insert(jobs, conflict))
    }

    fn update(&self, jobs: &[Job]) -> Result<Vec<Result<(), Error>>, Error> {
        self.call(|started| started.update(jobs))
    }

    fn remove(&self, ids: &[JobId]) -> Result<Vec<bool>, Error> {
        self.call(|started| started.remove(ids))
    }

    fn clear(&self) -> Result<usize, Error> {
        self.call(|Started { database, .. }| {
            let mark = ObjectId::new();
            let removed = jobs::mark_removed(database, rawdoc! { "removed": null }, mark)?;
            bury(database, &doc! { "removed": mark })?;
            Ok(removed)
        })
    }

    fn get(&self, ids: &[JobId]) -> Result<Vec<Option<StoredJob>>, Error> {
        self.call(|started| {
            if ids.is_empty() {
                return Ok(Vec::new());
            }
            let names: Vec<&str> = ids.iter().map(JobId::as_str).collect();
            let rows = started.rows(jobs::of_ids(&names))?;
            let found = ids.iter().map(|id| rows.get(id.as_str()).and_then(|row| started.stored(row)));
            Ok(found.collect())
        })
    }

    fn list(&self, filter: &JobFilter) -> Result<Vec<StoredJob>, Error> {
        self.call(|started| started.list(filter))
    }

    /// Jobs that do not decode count as such once somebody has tried to claim them.
    fn job_counts(&self) -> Result<JobCounts, Error> {
        self.call(|Started { database, .. }| {
            let mut counts = JobCounts::default();
            for (word, count) in jobs::counts(database)? {
                let of_state = match word.as_str() {
                    "scheduled" => &mut counts.scheduled,
                    "paused" => &mut counts.paused,
                    "finished" => &mut counts.finished,
                    "suspended" => &mut counts.suspended,
                    _ => &mut counts.quarantined,
                };
                *of_state += count;
            }
            Ok(counts)
        })
    }

    fn next_wakeup(&self) -> Result<Option<DateTime<Utc>>, Error> {
        self.call(|Started { database, .. }| jobs::next_wakeup(database)?.map(from_micros).transpose())
    }

    fn recover(&self, owner: &str) -> Result<(), Error> {
        self.call(|Started { database, .. }| {
            let jobs = jobs::end_claims(database, owner)?;
            settle(database, Document::new())?;
            let runs = runs::end_claims(database, owner)?;
            if jobs + runs > 0 {
                tracing::info!(owner, jobs, runs, "ended the claims of a scheduler that went before");
            }
            Ok(())
        })
    }

    fn claim_due(&self, request: &ClaimRequest) -> Result<Vec<ClaimedJob>, Error> {
        self.call(|started| started.claim_due(request))
    }

    fn commit(&self, commits: Vec<JobCommit>) -> Result<Vec<Committed>, Error> {
        self.call(|started| started.commit(commits, None))
    }

    fn commit_and_claim(&self, commits: Vec<JobCommit>, wish: &RunWish) -> Result<Vec<Committed>, Error> {
        self.call(|started| started.commit(commits, Some(wish)))
    }

    fn writes_side_by_side(&self) -> bool {
        true
    }

    fn runs(&self) -> Option<&dyn RunQueue> {
        Some(self)
    }
}

impl Started {
    fn stored(&self, row: &Row) -> Option<StoredJob> {
        decode_stored(row, &self.codec, &self.context)
    }

    /// The rows that a filter finds, by their ids.
    fn rows(&self, filter: Document) -> Result<HashMap<String, Row>, Error> {
        let found = self.database.find(Table::Jobs, Search::of(filter))?;
        let rows = found.into_iter().map(Row);
        Ok(rows.filter_map(|row| Some((row.job_id()?.to_owned(), row))).collect())
    }

    fn list(&self, filter: &JobFilter) -> Result<Vec<StoredJob>, Error> {
        let limit = filter.limit.unwrap_or(usize::MAX);
        let mut listed = Vec::new();
        for search in jobs::listing(filter) {
            if listed.len() >= limit {
                break;
            }
            // No limit is told to the server: what does not decode may be no part of the page.
            self.database.each(Table::Jobs, search.in_batches(limit - listed.len()), |document| {
                let stored = self.stored(&Row::from(document));
                listed.extend(stored.filter(|stored| filter.admits(stored)));
                if listed.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })?;
        }
        Ok(listed)
    }

    fn claim_due(&self, request: &ClaimRequest) -> Result<Vec<ClaimedJob>, Error> {
        if request.limit == 0 {
            return Ok(Vec::new());
        }
        let Some((token, rows)) = jobs::claim(&self.database, request)? else { return Ok(Vec::new()) };
        let ids: Vec<&str> = rows.iter().filter_map(Row::job_id).collect();
        // What their last commits left behind goes first: from now on only this claim may commit runs of theirs.
        settle_claimed(&self.database, &ids)?;
        let mut unreadable = Vec::new();
        let mut claimed = Vec::with_capacity(rows.len());
        for row in &rows {
            match decode_job(row, &self.codec, &self.context) {
                Ok(job) => {
                    let until = row.number("until").ok().flatten().unwrap_or(0).cast_unsigned();
                    let token = FencingToken(token.cast_unsigned());
                    let claim = Claim { id: job.id().clone(), token, slot: until };
                    claimed.push(ClaimedJob { job, claim });
                }
                Err(error) => unreadable.extend(row.job_id().map(|id| (id.to_owned(), error))),
            }
        }
        if !unreadable.is_empty() {
            match jobs::quarantine(&self.database, token, &unreadable) {
                Ok(jobs) => tracing::warn!(jobs, "jobs that do not decode were quarantined"),
                // Their leases end, and they are judged again.
                Err(error) => tracing::warn!(%error, "jobs that do not decode could not be quarantined"),
            }
        }
        Ok(claimed)
    }

    fn commit(&self, commits: Vec<JobCommit>, wish: Option<&RunWish>) -> Result<Vec<Committed>, Error> {
        match commits.is_empty() {
            true => Ok(Vec::new()),
            false => commit::commit(&self.database, &self.codec, commits, wish),
        }
    }

    /// Looks at every quarantined row again: this program may know what another did not.
    fn judge_quarantine_again(&self) -> Result<(), Error> {
        let filter = doc! { "quarantine": { "$exists": true }, "removed": null };
        let mut mended = Vec::new();
        self.database.each(Table::Jobs, Search::of(filter), |document| {
            let row = Row::from(document);
            if judge_job(&row, &self.codec, &self.context).is_ok() {
                mended.push(row);
            }
            ControlFlow::Continue(())
        })?;
        if !mended.is_empty() {
            let jobs = jobs::end_quarantine(&self.database, &mended)?;
            tracing::info!(jobs, "quarantined jobs decode again");
        }
        Ok(())
    }

    fn insert(&self, all: &[Job], conflict: ConflictPolicy) -> Result<Vec<Result<Inserted, Error>>, Error> {
        let mut answers = Answers::new(all.len());
        let mut left = answers.encode(all, &self.codec);
        for _ in 0..ATTEMPTS {
            let documents: Vec<RawDocumentBuf> =
                left.iter().map(|(at, encoded)| jobs::document(&all[*at], encoded.clone())).collect();
            let mut clashed = HashSet::new();
            for refused in jobs::insert(&self.database, &documents)? {
                clashed.insert(refused.index);
                if !refused.is_duplicate() {
                    let at = left[refused.index].0;
                    answers.give(at, Err(refused.into_error(self.database.place())));
                }
            }
            let added = left.iter().enumerate().filter(|(index, _)| !clashed.contains(index));
            added.for_each(|(_, (at, _))| answers.give(*at, Ok(Inserted::Added)));
            left.retain(|(at, _)| answers.is_open(*at));
            if left.is_empty() {
                return Ok(answers.all());
            }
            self.deal_with_clashes(all, &left, conflict, &mut answers)?;
            left.retain(|(at, _)| answers.is_open(*at));
            if left.is_empty() {
                return Ok(answers.all());
            }
        }
        left.iter().for_each(|(at, _)| answers.give(*at, Err(contended(&all[*at]))));
        Ok(answers.all())
    }

    /// Answers about jobs whose id is taken, as far as that is possible.
    fn deal_with_clashes(
        &self,
        all: &[Job],
        clashed: &[(usize, Vec<u8>)],
        conflict: ConflictPolicy,
        answers: &mut Answers<Inserted>,
    ) -> Result<(), Error> {
        let ids: Vec<&str> = clashed.iter().map(|(at, _)| all[*at].id().as_str()).collect();
        let rows = self.rows(doc! { "_id": { "$in": &ids } })?;
        let is_removed = |row: &Row| !matches!(row.0.get("removed"), Ok(None));
        let removed: Vec<&str> =
            rows.values().filter(|row| is_removed(row)).filter_map(Row::job_id).collect();
        if !removed.is_empty() {
            bury(&self.database, &doc! { "_id": { "$in": &removed } })?;
        }
        let there = |at: usize| rows.get(all[at].id().as_str()).filter(|row| !is_removed(row));
        match conflict {
            ConflictPolicy::Keep => {
                clashed
                    .iter()
                    .filter(|(at, _)| there(*at).is_some())
                    .for_each(|(at, _)| answers.give(*at, Ok(Inserted::Kept)));
                Ok(())
            }
            ConflictPolicy::Error => {
                for (at, _) in clashed.iter().filter(|(at, _)| there(*at).is_some()) {
                    let message =
                        format!("job identifier \"{}\" conflicts with an existing job", all[*at].id());
                    answers.give(*at, Err(Error::new(ErrorKind::AlreadyExists, message)));
                }
                Ok(())
            }
            ConflictPolicy::Replace => {
                let present = clashed.iter().filter_map(|(at, encoded)| Some((*at, encoded, there(*at)?)));
                self.replace(all, present.collect(), answers)
            }
        }
    }

    /// Replaces jobs as they were read; those that somebody else changes at the same moment get no answer.
    fn replace(
        &self,
        all: &[Job],
        present: Vec<(usize, &Vec<u8>, &Row)>,
        answers: &mut Answers<Inserted>,
    ) -> Result<(), Error> {
        let mark = ObjectId::new();
        let mut seen = HashSet::new();
        let present: Vec<_> =
            present.into_iter().filter(|(at, ..)| seen.insert(all[*at].id().as_str())).collect();
        let statements = present.iter().map(|(at, encoded, row)| {
            let job = &all[*at];
            let stands = decode_job(row, &self.codec, &self.context);
            let stands = stands.is_ok_and(|stored| stored.spec.same_schedule(&job.spec));
            let cursor = (!stands).then_some(&job.cursor);
            jobs::replacement(as_read(row), (job, (*encoded).clone()), cursor, mark)
        });
        let statements: Vec<RawDocumentBuf> = statements.collect();
        let changed = self.database.update(Table::Jobs, &statements)?;
        let ours =
            self.marked(present.iter().map(|(at, ..)| all[*at].id()), changed == present.len(), mark)?;
        for (at, ..) in present.iter().filter(|(at, ..)| ours.contains(all[*at].id().as_str())) {
            answers.give(*at, Ok(Inserted::Replaced));
        }
        Ok(())
    }

    /// Which of the jobs a batch has changed: all, or those that have its mark.
    fn marked<'a>(
        &self,
        ids: impl Iterator<Item = &'a JobId>,
        is_all: bool,
        mark: ObjectId,
    ) -> Result<HashSet<String>, Error> {
        let ids: Vec<&str> = ids.map(JobId::as_str).collect();
        if is_all {
            return Ok(ids.into_iter().map(str::to_owned).collect());
        }
        let search = Search::of(doc! { "_id": { "$in": ids }, "mark": mark }).only(doc! { "_id": 1 });
        let found = self.database.find(Table::Jobs, search)?;
        Ok(found.into_iter().filter_map(|document| Row(document).job_id().map(str::to_owned)).collect())
    }

    fn update(&self, all: &[Job]) -> Result<Vec<Result<(), Error>>, Error> {
        let mut answers = Answers::new(all.len());
        let mut left = answers.encode(all, &self.codec);
        while !left.is_empty() {
            // A job that is named twice is updated twice, one after the other.
            let mut seen = HashSet::new();
            let (now, later) = left.into_iter().partition(|(at, _)| seen.insert(all[*at].id().as_str()));
            self.update_each(all, now, &mut answers)?;
            left = later;
        }
        Ok(answers.all())
    }

    fn update_each(
        &self,
        all: &[Job],
        jobs: Vec<(usize, Vec<u8>)>,
        answers: &mut Answers<()>,
    ) -> Result<(), Error> {
        let ids: Vec<&str> = jobs.iter().map(|(at, _)| all[*at].id().as_str()).collect();
        let search = Search::of(jobs::of_ids(&ids)).only(doc! { "revision": 1 });
        let revisions: HashMap<String, i64> = self
            .database
            .find(Table::Jobs, search)?
            .into_iter()
            .map(Row)
            .filter_map(|row| {
                Some((row.job_id()?.to_owned(), row.number("revision").ok().flatten().unwrap_or(0)))
            })
            .collect();
        let mark = ObjectId::new();
        let mut meant = Vec::new();
        let mut statements = Vec::new();
        for (at, encoded) in jobs {
            let job = &all[at];
            let revision = job.cursor.revision.cast_signed();
            match revisions.get(job.id().as_str()) {
                None => answers.give(at, Err(missing(job))),
                Some(found) if *found != revision => answers.give(at, Err(stale(job))),
                Some(_) => {
                    let filter = rawdoc! { "_id": job.id().as_str(), "revision": revision, "removed": null };
                    statements.push(jobs::replacement(filter, (job, encoded), Some(&job.cursor), mark));
                    meant.push(at);
                }
            }
        }
        let changed = self.database.update(Table::Jobs, &statements)?;
        let ours = self.marked(meant.iter().map(|at| all[*at].id()), changed == meant.len(), mark)?;
        for at in meant {
            let is_ours = ours.contains(all[at].id().as_str());
            answers.give(at, if is_ours { Ok(()) } else { Err(stale(&all[at])) });
        }
        Ok(())
    }

    fn remove(&self, ids: &[JobId]) -> Result<Vec<bool>, Error> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let database = &self.database;
        let names: Vec<&str> = ids.iter().map(JobId::as_str).collect();
        let present = |filter: Document| -> Result<HashSet<String>, Error> {
            let found = database.find(Table::Jobs, Search::of(filter).only(doc! { "_id": 1 }))?;
            Ok(found.into_iter().filter_map(|document| Row(document).job_id().map(str::to_owned)).collect())
        };
        let mut there = present(jobs::of_ids(&names))?;
        if there.is_empty() {
            return Ok(vec![false; ids.len()]);
        }
        let mark = ObjectId::new();
        let list: Vec<&str> = there.iter().map(String::as_str).collect();
        let filter = rawdoc! { "_id": { "$in": jobs::raw_ids(&list) }, "removed": null };
        if jobs::mark_removed(database, filter, mark)? < there.len() {
            there = present(doc! { "removed": mark })?;
        }
        bury(database, &doc! { "removed": mark })?;
        Ok(names.iter().map(|id| there.remove(*id)).collect())
    }
}

/// Finds a row as long as no user has changed it since it was read, and nobody has quarantined or restored it.
fn as_read(row: &Row) -> RawDocumentBuf {
    let field = |key| row.0.get(key).ok().flatten().map_or(RawBson::Null, RawBson::from);
    rawdoc! {
        "_id": field("_id"),
        "revision": field("revision"),
        "quarantine": field("quarantine"),
        "removed": null,
    }
}

/// The answers of a batch, in the order of its jobs.
struct Answers<T>(Vec<Option<Result<T, Error>>>);

impl<T> Answers<T> {
    fn new(count: usize) -> Self {
        Self((0..count).map(|_| None).collect())
    }

    /// The payloads of the jobs, with their places; one that cannot be stored is answered.
    fn encode(&mut self, jobs: &[Job], codec: &Codec) -> Vec<(usize, Vec<u8>)> {
        let encoded = jobs.iter().enumerate().filter_map(|(at, job)| match codec.encode_job(job) {
            Ok(encoded) => Some((at, encoded)),
            Err(error) => {
                self.give(at, Err(error));
                None
            }
        });
        encoded.collect()
    }

    fn give(&mut self, at: usize, answer: Result<T, Error>) {
        self.0[at] = Some(answer);
    }

    fn is_open(&self, at: usize) -> bool {
        self.0[at].is_none()
    }

    fn all(self) -> Vec<Result<T, Error>> {
        let unanswered = || Err(Error::new(ErrorKind::Unexpected, "the store has no answer"));
        self.0.into_iter().map(|answer| answer.unwrap_or_else(unanswered)).collect()
    }
}

fn missing(job: &Job) -> Error {
    Error::new(ErrorKind::NotFound, format!("no job by the id of \"{}\" was found", job.id()))
}

fn stale(job: &Job) -> Error {
    Error::new(ErrorKind::Stale, format!("job \"{}\" was changed by somebody else", job.id()))
}

fn contended(job: &Job) -> Error {
    Error::new(ErrorKind::Unavailable, format!("job \"{}\" is changed by others all the time", job.id()))
}
