//! [`RedisStore`], and the contract of a job store.
//!
//! Jobs are encoded before a script is sent and decoded after it has answered, so that the server is held for as short as
//! possible. What a call does to the data is in `scripts/`.

use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use parking_lot::RwLock;
use redis::Value;
use sched_core::codec::{Codec, from_micros};
use sched_core::{
    Advance, Claim, ClaimRequest, ClaimedJob, Committed, ConflictPolicy, Error, ErrorKind, FencingToken,
    Inserted, Job, JobCommit, JobCounts, JobFilter, JobId, JobPosition, JobState, JobStore, RunQueue,
    RunWish, StoreContext, StoreTraits, StoredJob,
};

use crate::codec::{
    JobRow, RunRow, corrupt, encode_cursor, encode_place, encode_run, from_sortable, micros_of, number,
    sortable, sortable_floor,
};
use crate::config::{Config, RedisStoreBuilder};
use crate::pool::Pool;
use crate::script::{self, Keys, Request, Script, bytes, count, list, list_of, text};
use crate::server;

/// How many jobs or runs are asked for at once: a server does nothing else meanwhile.
pub(crate) const PAGE: usize = 1_000;

/// How often a job is read and written again that others change meanwhile.
const TRIES: usize = 10;

/// Jobs and runs in Redis.
///
/// Delivery is durable by default: advancing a job and queueing its run is one script. Any number of schedulers may share
/// a server. Leases are judged by the server's clock.
pub struct RedisStore {
    pub(crate) config: Config,
    pub(crate) codec: Codec,
    started: RwLock<Option<Arc<Started>>>,
}

/// What there is while the store is started.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) context: StoreContext,
    pub(crate) pool: Pool,
    /// The tasks that are registered here, and their limits.
    pub(crate) tasks: Vec<(Arc<str>, Option<u32>)>,
}

impl RedisStore {
    /// A store at `url`: `redis://[user:password@]host[:port][/db]`, `rediss://…` with encryption (cargo feature `tls`),
    /// or `unix:///path`.
    ///
    /// **Errors**: [`InvalidConfig`](ErrorKind::InvalidConfig).
    pub fn open(url: impl Into<String>) -> Result<Self, Error> {
        Self::builder(url).build()
    }

    /// A builder with defaults for everything but the URL.
    pub fn builder(url: impl Into<String>) -> RedisStoreBuilder {
        RedisStoreBuilder::new(url)
    }

    pub(crate) fn new(config: Config) -> Self {
        let codec = Codec::new(config.format, config.max_payload);
        Self { config, codec, started: RwLock::new(None) }
    }

    pub(crate) fn keys(&self) -> &Keys {
        &self.config.keys
    }

    /// **Errors**: [`Closed`](ErrorKind::Closed).
    pub(crate) fn started(&self) -> Result<Arc<Started>, Error> {
        let closed =
            || Error::new(ErrorKind::Closed, format!("the store in {} is not started", self.config.address));
        self.started.read().clone().ok_or_else(closed)
    }

    /// Sends items in as few requests as they fit into, each of which begins with `head`; answers what the script says of
    /// each item, in order.
    pub(crate) fn write_all<T>(
        &self,
        started: &Started,
        (script, head): (&'static Script, &[&[u8]]),
        items: impl IntoIterator<Item = T>,
        add: impl Fn(&mut Request, T),
    ) -> Result<Vec<Value>, Error> {
        let mut answers = Vec::new();
        let mut items = items.into_iter().peekable();
        while items.peek().is_some() {
            let mut request = Request::write(script, self.keys());
            for argument in head {
                request.arg(*argument);
            }
            while let Some(item) = items.next_if(|_| !request.is_full()) {
                add(&mut request, item);
            }
            match started.pool.write(&request)? {
                Value::Array(more) => answers.extend(more),
                only => answers.push(only),
            }
        }
        Ok(answers)
    }

    /// The rows of ids.
    fn rows<'a>(
        &self,
        started: &Started,
        ids: impl IntoIterator<Item = &'a str>,
    ) -> Result<Vec<JobRow<'a>>, Error> {
        let ids: Vec<&str> = ids.into_iter().collect();
        let mut rows = Vec::with_capacity(ids.len());
        for page in ids.chunks(PAGE) {
            let mut request = Request::read(&script::GET, self.keys());
            for id in page {
                request.arg(id);
            }
            let [payloads, cursors, reasons] = list_of(started.pool.call(&request)?)?;
            let cells = list(payloads)?.into_iter().zip(list(cursors)?).zip(list(reasons)?);
            rows.extend(page.iter().zip(cells).map(|(id, ((payload, cursor), reason))| JobRow {
                id,
                payload: bytes(payload),
                cursor: bytes(cursor),
                reason: bytes(reason),
            }));
        }
        Ok(rows)
    }

    /// Inserts the jobs of these positions, and replaces those that are there; answers the positions that are contended:
    /// somebody else changed the job meanwhile.
    fn insert_some(
        &self,
        started: &Started,
        open: &[usize],
        conflict: ConflictPolicy,
        batch: &mut Inserting<'_>,
    ) -> Result<Vec<usize>, Error> {
        let policy = if conflict == ConflictPolicy::Replace { "replace" } else { "" };
        let jobs = open.iter().map(|at| &batch.jobs[*at]);
        let found = self.write_all(
            started,
            (&script::INSERT, &[policy.as_bytes()]),
            jobs,
            |request, (job, payload)| {
                let cursor = encode_cursor(&job.cursor, job.cursor.revision);
                request.arg(job.id().as_str()).arg(payload).arg(cursor).arg(encode_place(&job.cursor));
            },
        )?;
        let mut stored = Vec::new();
        for (at, answer) in open.iter().zip(found) {
            let id = batch.jobs[*at].0.id();
            batch.answers[*at] = match answer {
                Value::Int(1) => Some(Ok(Inserted::Added)),
                Value::Int(_) if conflict == ConflictPolicy::Keep => Some(Ok(Inserted::Kept)),
                Value::Int(_) => Some(Err(conflicts(id))),
                row => {
                    let [payload, cursor] = list_of(row)?;
                    let filled = |value| bytes(value).filter(|bytes| !bytes.is_empty());
                    let row = JobRow {
                        id: id.as_str(),
                        payload: filled(payload),
                        cursor: filled(cursor),
                        reason: None,
                    };
                    stored.push((*at, row));
                    None
                }
            };
        }
        let replacing = stored.iter().map(|(at, row)| (&batch.jobs[*at], row));
        let replaced =
            self.write_all(started, (&script::REPLACE, &[]), replacing, |request, ((job, payload), row)| {
                let before = row.decode(&self.codec, &started.context);
                let stands = before.is_ok_and(|before| before.spec.same_schedule(&job.spec));
                let following = row.revision().parse::<u64>().unwrap_or(0).wrapping_add(1);
                request.arg(job.id().as_str()).arg(row.revision()).number(following);
                request.arg(if stands { "keep" } else { "" }).arg(payload);
                request.arg(encode_cursor(&job.cursor, following)).arg(encode_place(&job.cursor));
            })?;
        let mut contended = Vec::new();
        for ((at, _), answer) in stored.iter().zip(replaced) {
            match answer {
                Value::Int(1) => batch.answers[*at] = Some(Ok(Inserted::Replaced)),
                _ => contended.push(*at),
            }
        }
        Ok(contended)
    }

    /// The ids of one page of a listing, in order, with the texts of their times.
    fn page(
        &self,
        started: &Started,
        after: Option<&Place>,
        most: usize,
        places: &[&str],
    ) -> Result<Vec<Place>, Error> {
        let mut request = Request::read(&script::LIST, self.keys());
        match after {
            None => request.arg("").arg(""),
            Some(place) => request.arg(place.time.as_deref().unwrap_or("-")).arg(&place.id),
        };
        request.number(most);
        for place in places {
            request.arg(place);
        }
        let mut found = Vec::new();
        for (place, page) in places.iter().zip(list(started.pool.call(&request)?)?) {
            for member in list(page)? {
                // What is no text is none of ours.
                let Ok(member) = text(member) else { continue };
                found.extend(match *place {
                    "timed" => Place::timed(&member),
                    _ => Some(Place { time: None, id: member }),
                });
            }
        }
        found.retain(|place| after.is_none_or(|after| place.key() > after.key()));
        found.sort_unstable_by(|left, right| left.key().cmp(&right.key()));
        found.truncate(most);
        Ok(found)
    }

    /// Looks at every quarantined row again: this program may know what another did not.
    fn judge_quarantine_again(&self, started: &Started) -> Result<(), Error> {
        let mut after = None;
        loop {
            let places = self.page(started, after.as_ref(), PAGE, &["quarantined"])?;
            let Some(last) = places.last().cloned() else { return Ok(()) };
            let rows = self.rows(started, places.iter().map(|place| place.id.as_str()))?;
            let decodes = |row: &&JobRow<'_>| row.decode(&self.codec, &started.context).is_ok();
            let mut request = Request::read(&script::REQUALIFY, self.keys());
            let mut mended = 0_usize;
            for row in rows.iter().filter(decodes) {
                request.arg(row.id).arg(row.cursor.as_deref().unwrap_or_default());
                mended += 1;
            }
            if mended > 0 {
                tracing::info!(jobs = mended, "quarantined jobs decode again");
                started.pool.write(&request)?;
            }
            after = Some(last);
        }
    }

    fn quarantine(&self, started: &Started, token: &str, jobs: &[(String, Error)]) {
        let mut request = Request::read(&script::QUARANTINE, self.keys());
        for (id, reason) in jobs {
            request.arg(id).arg(token).arg(reason.to_string());
        }
        match started.pool.write(&request) {
            Ok(_) => tracing::warn!(jobs = jobs.len(), "jobs that do not decode were quarantined"),
            // Their leases end, and they are judged again.
            Err(error) => tracing::warn!(%error, "jobs that do not decode could not be quarantined"),
        }
    }

    /// Commits, and lets those runs be claimed that are wanted.
    fn commit_all(&self, commits: Vec<JobCommit>, wish: Option<&RunWish>) -> Result<Vec<Committed>, Error> {
        let started = self.started()?;
        let is_wanted = |at: usize| wish.is_some_and(|wish| wish.wanted.get(at).is_some_and(|it| *it));
        let encoded = commits.into_iter().enumerate().map(|(at, JobCommit { claim, advance, runs })| {
            // Only the one run of a commit may be claimed.
            let token = (is_wanted(at) && runs.len() == 1).then_some(claim.token);
            let rows = runs.iter().map(|run| encode_run(&self.codec, run, token));
            Ok(Committing { claim, advance, runs: rows.collect::<Result<_, Error>>()? })
        });
        let encoded = encoded.collect::<Result<Vec<_>, Error>>()?;
        let (owner, lease) = wish.map_or(("", 0), |wish| (&*wish.owner, micros_of(wish.lease)));
        let lease = lease.to_string();
        let head = [owner.as_bytes(), lease.as_bytes()];
        let answers = self.write_all(&started, (&script::COMMIT, &head), &encoded, |request, commit| {
            commit.put(request);
        })?;
        encoded.iter().zip(answers).map(|(commit, answer)| commit.outcome(answer)).collect()
    }

    /// Claims at most one page of due jobs; says whether there may be more.
    fn claim_page(
        &self,
        started: &Started,
        request: &ClaimRequest,
        limit: usize,
        claimed: &mut Vec<ClaimedJob>,
    ) -> Result<bool, Error> {
        let mut call = Request::write(&script::CLAIM_JOBS, self.keys());
        call.arg(sortable_floor(request.now)).number(limit);
        call.arg(&*request.owner).number(micros_of(request.lease));
        let answer = list(started.pool.write(&call)?)?;
        if answer.is_empty() {
            return Ok(false);
        }
        let [token, ids, payloads, cursors] = list_of(Value::Array(answer))?;
        let token = text(token)?;
        let fencing = FencingToken(token.parse().map_err(|_| corrupt("a token is no number"))?);
        let (ids, first) = (list(ids)?, claimed.len());
        let more = ids.len() >= limit;
        let mut unreadable = Vec::new();
        for ((id, payload), cursor) in ids.into_iter().zip(list(payloads)?).zip(list(cursors)?) {
            let id = text(id)?;
            let row = JobRow { id: &id, payload: bytes(payload), cursor: bytes(cursor), reason: None };
            match row.decode(&self.codec, &started.context) {
                Ok(job) => {
                    let (id, slot) = (job.id().clone(), job.cursor.revision);
                    claimed.push(ClaimedJob { job, claim: Claim { id, token: fencing, slot } });
                }
                Err(error) => unreadable.push((id, error)),
            }
        }
        // They are in order already, unless the answer was lost and asked for again.
        claimed[first..].sort_by(|left, right| {
            let key = |claimed: &ClaimedJob| claimed.job.next_run_time();
            key(left).cmp(&key(right)).then_with(|| left.job.id().cmp(right.job.id()))
        });
        if !unreadable.is_empty() {
            self.quarantine(started, &token, &unreadable);
        }
        Ok(more)
    }
}

/// A commit on its way in.
struct Committing {
    claim: Claim,
    advance: Advance,
    runs: Vec<RunRow>,
}

impl Committing {
    fn put(&self, request: &mut Request) {
        request.arg(self.claim.id.as_str()).number(self.claim.token.0);
        match &self.advance {
            Advance::Remove => request.arg(""),
            Advance::To(cursor) => request.arg(encode_cursor(cursor, self.claim.slot.wrapping_add(1))),
        };
        let kind = |run: &RunRow| if run.skips { 's' } else { 'q' };
        request.arg(self.runs.iter().map(kind).collect::<String>());
        for run in &self.runs {
            request.arg(&run.id).arg(&run.record);
        }
    }

    /// What became of it, by what the script says.
    fn outcome(&self, answer: Value) -> Result<Committed, Error> {
        Ok(match (answer, &*self.runs) {
            (Value::Int(0), _) => Committed::Stale,
            (Value::Int(2), [run]) => Committed::Claimed(run.run),
            (Value::Int(_), _) => Committed::Applied { skipped: Vec::new() },
            (positions, runs) => {
                let positions = list(positions)?;
                let fire_time = |at: &Value| Some(runs.get(count(at).ok()?.checked_sub(1)?)?.fire_time);
                Committed::Applied { skipped: positions.iter().filter_map(fire_time).collect() }
            }
        })
    }
}

/// Jobs on their way in, with their payloads, and what became of each.
struct Inserting<'a> {
    jobs: Vec<(&'a Job, Vec<u8>)>,
    answers: Vec<Option<Result<Inserted, Error>>>,
}

/// A place in a listing: a time as it is ordered, and an id.
#[derive(Debug, Clone)]
struct Place {
    time: Option<String>,
    id: String,
}

impl Place {
    /// The place of a time with an id behind it.
    fn timed(member: &str) -> Option<Self> {
        let (time, id) = member.split_at_checked(16)?;
        Some(Self { time: from_sortable(time).ok().map(|_| time.to_owned()), id: id.to_owned() })
    }

    fn key(&self) -> (bool, Option<&str>, &str) {
        (self.time.is_none(), self.time.as_deref(), &self.id)
    }
}

impl From<&JobPosition> for Place {
    fn from(position: &JobPosition) -> Self {
        let time = position.next_run_time.map(sortable);
        Self { time, id: position.id.as_str().to_owned() }
    }
}

/// The places where jobs of a state are; all when any may be wanted. What does not decode can be anywhere.
fn places_of(state: Option<JobState>) -> &'static [&'static str] {
    match state {
        None | Some(JobState::Quarantined) => {
            &["timed", "scheduled", "paused", "finished", "suspended", "quarantined"]
        }
        Some(JobState::Scheduled) => &["timed", "scheduled"],
        Some(JobState::Paused) => &["paused"],
        Some(JobState::Finished) => &["finished"],
        Some(JobState::Suspended) => &["suspended"],
    }
}

fn conflicts(id: &JobId) -> Error {
    Error::new(ErrorKind::AlreadyExists, format!("job identifier \"{id}\" conflicts with an existing job"))
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let started = self.started.read();
        let alias = started.as_ref().map(|started| &started.context.alias);
        f.debug_struct("RedisStore")
            .field("server", &self.config.address)
            .field("keys", &self.config.keys.space)
            .field("alias", &alias)
            .finish()
    }
}

impl JobStore for RedisStore {
    fn start(&self, context: StoreContext) -> Result<(), Error> {
        let mut slot = self.started.write();
        if slot.is_some() {
            return Ok(());
        }
        let pool = Pool::new(self.config.clone())?;
        server::check(&pool, &self.config)?;
        let tasks = context.registry.tasks().map(|task| (task.shared_name(), task.max_instances())).collect();
        let started = Arc::new(Started { context, pool, tasks });
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
        StoreTraits { persistent: true, blocking: true, shared: true }
    }

    fn insert(&self, jobs: &[Job], conflict: ConflictPolicy) -> Result<Vec<Result<Inserted, Error>>, Error> {
        let started = self.started()?;
        let mut batch = Inserting { jobs: Vec::with_capacity(jobs.len()), answers: Vec::new() };
        let mut refused = Vec::with_capacity(jobs.len());
        for job in jobs {
            match self.codec.encode_job(job) {
                Ok(payload) => {
                    batch.jobs.push((job, payload));
                    refused.push(None);
                }
                Err(error) => refused.push(Some(error)),
            }
        }
        batch.answers.resize_with(batch.jobs.len(), || None);
        let mut open: Vec<usize> = (0..batch.jobs.len()).collect();
        for _ in 0..TRIES {
            open = self.insert_some(&started, &open, conflict, &mut batch)?;
            if open.is_empty() {
                break;
            }
        }
        let mut answers = batch.answers.into_iter();
        let answers = refused.into_iter().map(|error| match error {
            Some(error) => Err(error),
            None => answers.next().flatten().unwrap_or_else(|| {
                Err(Error::new(ErrorKind::Unavailable, "others change the job all the time"))
            }),
        });
        Ok(answers.collect())
    }

    fn update(&self, jobs: &[Job]) -> Result<Vec<Result<(), Error>>, Error> {
        let started = self.started()?;
        let encoded: Vec<_> = jobs.iter().map(|job| self.codec.encode_job(job)).collect();
        let sent = jobs.iter().zip(&encoded).filter_map(|(job, payload)| Some((job, payload.as_ref().ok()?)));
        let answers = self.write_all(&started, (&script::UPDATE, &[]), sent, |request, (job, payload)| {
            let revision = job.cursor.revision;
            request.arg(job.id().as_str()).number(revision).arg(payload);
            request.arg(encode_cursor(&job.cursor, revision.wrapping_add(1))).arg(encode_place(&job.cursor));
        })?;
        let mut answers = answers.into_iter();
        let answers = jobs.iter().zip(encoded).map(|(job, payload)| {
            payload?;
            let id = job.id();
            match answers.next() {
                Some(Value::Int(1)) => Ok(()),
                Some(Value::Int(2)) => {
                    Err(Error::new(ErrorKind::Stale, format!("job \"{id}\" was changed by somebody else")))
                }
                _ => Err(Error::new(ErrorKind::NotFound, format!("no job by the id of \"{id}\" was found"))),
            }
        });
        Ok(answers.collect())
    }

    fn remove(&self, ids: &[JobId]) -> Result<Vec<bool>, Error> {
        let started = self.started()?;
        let answers = self.write_all(&started, (&script::REMOVE, &[]), ids, |request, id| {
            request.arg(id.as_str());
        })?;
        Ok(answers.iter().map(|answer| *answer == Value::Int(1)).collect())
    }

    fn clear(&self) -> Result<usize, Error> {
        let started = self.started()?;
        count(&started.pool.write(&Request::write(&script::CLEAR, self.keys()))?)
    }

    fn get(&self, ids: &[JobId]) -> Result<Vec<Option<StoredJob>>, Error> {
        let started = self.started()?;
        let rows = self.rows(&started, ids.iter().map(JobId::as_str))?;
        Ok(rows.iter().map(|row| row.show(&self.codec, &started.context)).collect())
    }

    fn list(&self, filter: &JobFilter) -> Result<Vec<StoredJob>, Error> {
        let started = self.started()?;
        let limit = filter.limit.unwrap_or(usize::MAX);
        let filters = filter.task.is_some() || filter.state.is_some();
        let mut after = filter.after.as_ref().map(Place::from);
        let mut listed = Vec::new();
        while listed.len() < limit {
            let most = if filters { PAGE } else { PAGE.min(limit - listed.len()) };
            let page = self.page(&started, after.as_ref(), most, places_of(filter.state))?;
            let rows = self.rows(&started, page.iter().map(|place| place.id.as_str()))?;
            let shown = rows.iter().filter_map(|row| row.show(&self.codec, &started.context));
            listed.extend(shown.filter(|stored| filter.admits(stored)).take(limit - listed.len()));
            if page.len() < most {
                break;
            }
            after = page.into_iter().next_back();
        }
        Ok(listed)
    }

    /// A row that does not decode counts as quarantined once somebody has tried to claim it.
    fn job_counts(&self) -> Result<JobCounts, Error> {
        let started = self.started()?;
        let answer = started.pool.call(&Request::read(&script::JOB_COUNTS, self.keys()))?;
        let [timed, scheduled, paused, finished, suspended, quarantined] = list_of(answer)?;
        Ok(JobCounts {
            scheduled: count(&timed)? + count(&scheduled)?,
            paused: count(&paused)?,
            finished: count(&finished)?,
            suspended: count(&suspended)?,
            quarantined: count(&quarantined)?,
        })
    }

    fn next_wakeup(&self) -> Result<Option<DateTime<Utc>>, Error> {
        let started = self.started()?;
        let [due, lease] = list_of(started.pool.call(&Request::read(&script::NEXT_JOB, self.keys()))?)?;
        let due = Some(text(due)?).filter(|due| !due.is_empty());
        let due = due.map(|due| from_sortable(&due)).transpose()?;
        Ok([due, lease_over(text(lease)?.as_bytes())?].into_iter().flatten().min())
    }

    fn recover(&self, owner: &str) -> Result<(), Error> {
        let started = self.started()?;
        let mut request = Request::read(&script::RECOVER, self.keys());
        request.arg(owner);
        started.pool.write(&request).map(drop)
    }

    fn claim_due(&self, request: &ClaimRequest) -> Result<Vec<ClaimedJob>, Error> {
        let started = self.started()?;
        let (mut claimed, mut left) = (Vec::new(), request.limit);
        while left > 0 {
            let most = left.min(PAGE);
            if !self.claim_page(&started, request, most, &mut claimed)? {
                break;
            }
            left -= most;
        }
        Ok(claimed)
    }

    fn commit(&self, commits: Vec<JobCommit>) -> Result<Vec<Committed>, Error> {
        self.commit_all(commits, None)
    }

    fn commit_and_claim(&self, commits: Vec<JobCommit>, wish: &RunWish) -> Result<Vec<Committed>, Error> {
        self.commit_all(commits, Some(wish))
    }

    fn runs(&self) -> Option<&dyn RunQueue> {
        Some(self)
    }
}

/// The first moment at which a lease no longer holds.
pub(crate) fn lease_over(last: &[u8]) -> Result<Option<DateTime<Utc>>, Error> {
    number::<i64>(last).map(|last| from_micros(last.saturating_add(1))).transpose()
}
