//! The statements about runs.
//!
//! Waiting runs are found by executor and priority, one class after the other, so that a claim reads only what it may
//! take: what is not due yet, is behind a limit, or has a task that this process does not know is passed over inside the
//! database. Every function is part of its caller's transaction.

use std::collections::HashMap;
use std::sync::Arc;

use diesel::QueryResult;
use diesel::sql_types::{BigInt, Nullable, Text};
use diesel::sqlite::SqliteConnection;
use sched_core::{RunClaim, RunCounts};

use super::jobs::{Due, Lease, new_token};
use crate::codec::{RUN_VERSION, RunColumns, RunRow, length, micros, number as int};
use crate::schema::Tables;
use crate::statement::{Bind, execute, load, number};

type RunTypes = (
    BigInt,
    Text,
    Nullable<Text>,
    BigInt,
    BigInt,
    BigInt,
    Text,
    Text,
    Text,
    BigInt,
    BigInt,
    Nullable<BigInt>,
    BigInt,
    BigInt,
    Nullable<Text>,
    Nullable<BigInt>,
    Nullable<Text>,
    Nullable<Text>,
    Nullable<BigInt>,
    Nullable<BigInt>,
);

const COLUMNS: &str = "seq, id, job_id, fire_time, scheduled_time, priority, task, executor, payload, \
     payload_version, max_instances, task_max, state, attempt, owner, lease_until, outcome, result, started_at, \
     finished_at";

/// Whether a waiting run `q` has a task of a list in JSON (twice; any task when there is none) and is behind no limit.
const MAY_START: &str = "(? IS NULL OR q.task IN (SELECT value FROM json_each(?))) \
     AND (q.job_id IS NULL OR q.max_instances > \
       (SELECT count(*) FROM {runs} o WHERE o.job_id = q.job_id AND o.state = 1)) \
     AND (q.task_max IS NULL OR q.task_max > \
       (SELECT count(*) FROM {runs} o WHERE o.task = q.task AND o.state = 1 AND o.task_max IS NOT NULL))";

/// What a claim of runs looks for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub(crate) due: Due,
    /// Executors and their free places.
    pub(crate) executors: &'a [(Arc<str>, usize)],
    /// The tasks that are known here, as a list in JSON; any when `None`.
    pub(crate) tasks: Option<&'a str>,
}

/// Queues a run; says whether its id, and its job and fire time, were free.
pub(crate) fn insert(
    conn: &mut SqliteConnection,
    tables: &Tables,
    columns: &RunColumns,
) -> QueryResult<bool> {
    let sql = tables.sql(
        "INSERT INTO {runs} (id, job_id, fire_time, scheduled_time, priority, task, executor, payload, \
         payload_version, max_instances, task_max, result_ttl) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) \
         ON CONFLICT DO NOTHING",
    );
    let run = &columns.run;
    let binds = [
        columns.id.as_str().into(),
        run.job_id.as_ref().map(sched_core::JobId::as_str).into(),
        micros(run.fire_time).into(),
        micros(run.scheduled_time).into(),
        i64::from(run.priority).into(),
        run.call.task.name().into(),
        (&*run.options.executor).into(),
        columns.payload.as_str().into(),
        RUN_VERSION.into(),
        i64::from(run.options.max_instances.max(1)).into(),
        columns.task_max.into(),
        length(run.options.result_ttl).into(),
    ];
    Ok(execute(conn, &sql, &binds)? > 0)
}

/// Whether `most` runs of a job are unfinished. There is no bound `LIMIT` here: SQLite would prepare the statement anew
/// each time.
pub(crate) fn is_job_full(
    conn: &mut SqliteConnection,
    tables: &Tables,
    job_id: &str,
    most: u32,
) -> QueryResult<bool> {
    let sql = tables.sql("SELECT count(*) FROM {runs} WHERE job_id = ? AND state < 2");
    let unfinished = number(conn, &sql, &[job_id.into()])?;
    Ok(unfinished.is_some_and(|unfinished| unfinished >= i64::from(most.max(1))))
}

/// Whether a row has the id, or the job and fire time, of a run.
pub(crate) fn is_known(
    conn: &mut SqliteConnection,
    tables: &Tables,
    columns: &RunColumns,
) -> QueryResult<bool> {
    let sql = tables.sql("SELECT 1 FROM {runs} WHERE id = ? OR (job_id = ? AND fire_time = ?) LIMIT 1");
    let job_id = columns.run.job_id.as_ref().map(sched_core::JobId::as_str);
    let binds = [columns.id.as_str().into(), job_id.into(), micros(columns.run.fire_time).into()];
    Ok(number(conn, &sql, &binds)?.is_some())
}

/// Whether a claim would find anything.
pub(crate) fn is_due(
    conn: &mut SqliteConnection,
    tables: &Tables,
    wanted: Wanted<'_>,
    now: i64,
) -> QueryResult<bool> {
    if has_ended_leases(conn, tables, now)? {
        return Ok(true);
    }
    for (executor, _) in wanted.executors.iter().filter(|(_, free)| *free > 0) {
        let one = Due { limit: 1, ..wanted.due };
        if !waiting(conn, tables, (executor, wanted.tasks), one)?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Claims waiting runs; answers their token and rows as they were, in order.
pub(crate) fn claim(
    conn: &mut SqliteConnection,
    tables: &Tables,
    wanted: Wanted<'_>,
    lease: Lease<'_>,
) -> QueryResult<(i64, Vec<RunRow>)> {
    take_back(conn, tables, lease.now)?;
    let token = new_token(conn, tables)?;
    let sql = tables.sql(
        "UPDATE {runs} SET state = 1, attempt = attempt + 1, token = ?, owner = ?, lease_until = ? WHERE seq = ?",
    );
    let mut free: Vec<(Arc<str>, i64)> =
        wanted.executors.iter().map(|(alias, places)| (Arc::clone(alias), int(*places as u64))).collect();
    let mut claimed: Vec<RunRow> = Vec::new();
    let mut left = wanted.due.limit;
    while left > 0 {
        let due = Due { limit: left, ..wanted.due };
        let taken = next_batch(conn, tables, (&free, wanted.tasks), due)?;
        if taken.is_empty() {
            break;
        }
        for row in &taken {
            execute(conn, &sql, &[token.into(), lease.owner.into(), lease.until.into(), row.seq.into()])?;
            left -= 1;
            if let Some((_, places)) = free.iter_mut().find(|(alias, _)| **alias == *row.executor) {
                *places -= 1;
            }
        }
        claimed.extend(taken);
    }
    claimed.sort_unstable_by(|left, right| place(left).cmp(&place(right)));
    Ok((token, claimed))
}

/// The next runs that may all be claimed together; the first that waits is always among them.
fn next_batch(
    conn: &mut SqliteConnection,
    tables: &Tables,
    (free, tasks): (&[(Arc<str>, i64)], Option<&str>),
    due: Due,
) -> QueryResult<Vec<RunRow>> {
    let mut found = Vec::new();
    // Beyond the last row of a full page there may be earlier ones of the same executor.
    let mut horizon: Option<(i64, i64, String)> = None;
    for (executor, places) in free.iter().filter(|(_, places)| *places > 0) {
        let limit = due.limit.min(*places);
        let rows = waiting(conn, tables, (executor, tasks), Due { limit, ..due })?;
        if let Some(last) = rows.last().filter(|_| int(rows.len() as u64) == limit) {
            let (priority, time, id) = place(last);
            let end = (priority, time, id.to_owned());
            horizon = Some(horizon.map_or(end.clone(), |horizon| horizon.min(end)));
        }
        found.extend(rows);
    }
    found.sort_unstable_by(|left, right| place(left).cmp(&place(right)));
    let is_near = |row: &RunRow| {
        let (priority, time, id) = place(row);
        horizon.as_ref().is_none_or(|(at, end, last)| (priority, time, id) <= (*at, *end, last.as_str()))
    };
    let mut limits = Limits::default();
    let mut taken = Vec::new();
    for row in found.into_iter().take_while(is_near) {
        if int(taken.len() as u64) < due.limit && limits.admit(conn, tables, &row)? {
            taken.push(row);
        }
    }
    Ok(taken)
}

/// How many runs of jobs and tasks are running or are about to.
#[derive(Default)]
struct Limits {
    jobs: HashMap<String, i64>,
    tasks: HashMap<String, i64>,
}

impl Limits {
    /// Counts a run in, unless its job or its task is full.
    fn admit(&mut self, conn: &mut SqliteConnection, tables: &Tables, row: &RunRow) -> QueryResult<bool> {
        let of_job = match &row.job_id {
            Some(job_id) => Some(match self.jobs.get(job_id) {
                Some(running) => *running,
                // Its row would not have been found otherwise.
                None if row.max_instances == 1 => 0,
                None => running_of_job(conn, tables, job_id)?,
            }),
            None => None,
        };
        let of_task = match row.task_max {
            Some(_) => Some(match self.tasks.get(&row.task) {
                Some(running) => *running,
                None => running_of_task(conn, tables, &row.task)?,
            }),
            None => None,
        };
        let has_place = of_job.is_none_or(|running| running < row.max_instances)
            && of_task.is_none_or(|running| row.task_max.is_none_or(|most| running < most));
        let more = i64::from(has_place);
        if let (Some(job_id), Some(running)) = (&row.job_id, of_job) {
            self.jobs.insert(job_id.clone(), running + more);
        }
        if let Some(running) = of_task {
            self.tasks.insert(row.task.clone(), running + more);
        }
        Ok(has_place)
    }
}

fn running_of_job(conn: &mut SqliteConnection, tables: &Tables, job_id: &str) -> QueryResult<i64> {
    let sql = tables.sql("SELECT count(*) FROM {runs} WHERE job_id = ? AND state = 1");
    Ok(number(conn, &sql, &[job_id.into()])?.unwrap_or(0))
}

fn running_of_task(conn: &mut SqliteConnection, tables: &Tables, task: &str) -> QueryResult<i64> {
    let sql = tables.sql("SELECT count(*) FROM {runs} WHERE task = ? AND state = 1 AND task_max IS NOT NULL");
    Ok(number(conn, &sql, &[task.into()])?.unwrap_or(0))
}

/// The order of claims.
fn place(row: &RunRow) -> (i64, i64, &str) {
    (row.priority.saturating_neg(), row.scheduled_time, &row.id)
}

/// Due runs of an executor that may start, in order.
fn waiting(
    conn: &mut SqliteConnection,
    tables: &Tables,
    (executor, tasks): (&str, Option<&str>),
    due: Due,
) -> QueryResult<Vec<RunRow>> {
    let sql = tables.sql(&format!(
        "SELECT {COLUMNS} FROM {{runs}} q WHERE q.state = 0 AND q.executor = ? AND q.priority = ? \
         AND q.scheduled_time <= ? AND {MAY_START} ORDER BY q.scheduled_time, q.id LIMIT ?"
    ));
    let mut rows: Vec<RunRow> = Vec::new();
    let mut below = None;
    while let Some(priority) = next_priority(conn, tables, executor, below)? {
        let left = due.limit - int(rows.len() as u64);
        if left <= 0 {
            break;
        }
        let binds =
            [executor.into(), priority.into(), due.at.into(), tasks.into(), tasks.into(), left.into()];
        rows.extend(load::<RunTypes, RunRow>(conn, &sql, &binds)?);
        below = Some(priority);
    }
    Ok(rows)
}

/// The greatest priority of an executor's waiting runs, below the one that was dealt with.
fn next_priority(
    conn: &mut SqliteConnection,
    tables: &Tables,
    executor: &str,
    below: Option<i64>,
) -> QueryResult<Option<i64>> {
    let sql =
        tables.sql("SELECT max(priority) FROM {runs} WHERE state = 0 AND executor = ? AND priority < ?");
    number(conn, &sql, &[executor.into(), below.unwrap_or(i64::MAX).into()])
}

/// Extends the lease of an open claim; says whether it was open.
pub(crate) fn renew(
    conn: &mut SqliteConnection,
    tables: &Tables,
    claim: RunClaim,
    until: i64,
) -> QueryResult<bool> {
    let sql = tables.sql("UPDATE {runs} SET lease_until = ? WHERE id = ? AND token = ? AND state = 1");
    let id = claim.id.to_string();
    Ok(execute(conn, &sql, &[until.into(), id.as_str().into(), int(claim.token.0).into()])? > 0)
}

/// Gives an open claim back; the attempt does not count.
pub(crate) fn release(conn: &mut SqliteConnection, tables: &Tables, claim: RunClaim) -> QueryResult<()> {
    let sql = tables.sql(
        "UPDATE {runs} SET state = 0, attempt = attempt - 1, owner = NULL, lease_until = NULL \
         WHERE id = ? AND token = ? AND state = 1",
    );
    let id = claim.id.to_string();
    execute(conn, &sql, &[id.as_str().into(), int(claim.token.0).into()]).map(drop)
}

/// The end of a run, as columns.
#[derive(Debug)]
pub(crate) struct Ending {
    pub(crate) claim: RunClaim,
    pub(crate) outcome: &'static str,
    pub(crate) result: Option<String>,
    pub(crate) started_at: Option<i64>,
    pub(crate) finished_at: i64,
}

/// Ends an open claim: the row goes, or is kept for its time to live. Says whether the claim was open.
pub(crate) fn finish(conn: &mut SqliteConnection, tables: &Tables, ending: &Ending) -> QueryResult<bool> {
    let id = ending.claim.id.to_string();
    let proof: [Bind<'_>; 2] = [id.as_str().into(), int(ending.claim.token.0).into()];
    let go = tables.sql("DELETE FROM {runs} WHERE id = ? AND token = ? AND state = 1 AND result_ttl = 0");
    if execute(conn, &go, &proof)? > 0 {
        return Ok(true);
    }
    // The latest time there is stands for a time to live that would go beyond it.
    let keep = tables.sql(
        "UPDATE {runs} SET state = 2, owner = NULL, lease_until = NULL, outcome = ?, result = ?, started_at = ?, \
         finished_at = ?, expires_at = CASE WHEN result_ttl > 9000000000000000000 - ? THEN NULL \
         ELSE result_ttl + ? END WHERE id = ? AND token = ? AND state = 1",
    );
    let [id, token] = proof;
    let end = ending.finished_at;
    let binds = [
        ending.outcome.into(),
        ending.result.as_deref().into(),
        ending.started_at.into(),
        end.into(),
        end.into(),
        end.into(),
        id,
        token,
    ];
    Ok(execute(conn, &keep, &binds)? > 0)
}

/// Ends a claimed run whose row does not decode. It is kept, for somebody to look at.
pub(crate) fn set_aside(
    conn: &mut SqliteConnection,
    tables: &Tables,
    (seq, token): (i64, i64),
    ending: (&Bind<'_>, i64),
) -> QueryResult<()> {
    let sql = tables.sql(
        "UPDATE {runs} SET state = 2, owner = NULL, lease_until = NULL, outcome = 'abandoned', result = ?, \
         finished_at = ? WHERE seq = ? AND token = ? AND state = 1",
    );
    let (reason, now) = ending;
    execute(conn, &sql, &[*reason, now.into(), seq.into(), token.into()]).map(drop)
}

/// The row of a run.
pub(crate) fn find(conn: &mut SqliteConnection, tables: &Tables, id: &str) -> QueryResult<Option<RunRow>> {
    let sql = tables.sql(&format!("SELECT {COLUMNS} FROM {{runs}} WHERE id = ?"));
    let rows: Vec<RunRow> = load::<RunTypes, _>(conn, &sql, &[id.into()])?;
    Ok(rows.into_iter().next())
}

/// Lists runs by id.
pub(crate) fn list(
    conn: &mut SqliteConnection,
    tables: &Tables,
    (job_id, after): (Option<&str>, &str),
    limit: i64,
) -> QueryResult<Vec<RunRow>> {
    let of_job = if job_id.is_some() { "job_id = ?" } else { "? IS NULL" };
    let sql =
        tables.sql(&format!("SELECT {COLUMNS} FROM {{runs}} WHERE {of_job} AND id > ? ORDER BY id LIMIT ?"));
    load::<RunTypes, _>(conn, &sql, &[job_id.into(), after.into(), limit.into()])
}

/// Whether a lease has run out.
pub(crate) fn has_ended_leases(conn: &mut SqliteConnection, tables: &Tables, now: i64) -> QueryResult<bool> {
    let sql = tables.sql("SELECT 1 FROM {runs} WHERE state = 1 AND lease_until < ? LIMIT 1");
    Ok(number(conn, &sql, &[now.into()])?.is_some())
}

/// Puts runs whose lease has run out back into the queue; answers their ids.
pub(crate) fn take_back(conn: &mut SqliteConnection, tables: &Tables, now: i64) -> QueryResult<Vec<String>> {
    let sql = tables.sql(
        "UPDATE {runs} SET state = 0, owner = NULL, lease_until = NULL WHERE state = 1 AND lease_until < ? \
         RETURNING id",
    );
    load::<Text, _>(conn, &sql, &[now.into()])
}

/// Deletes finished runs whose time to live has ended; says how many.
pub(crate) fn cleanup(conn: &mut SqliteConnection, tables: &Tables, due: Due) -> QueryResult<usize> {
    let sql = tables.sql(
        "DELETE FROM {runs} WHERE seq IN (SELECT seq FROM {runs} WHERE state = 2 AND expires_at <= ? \
         ORDER BY expires_at LIMIT ?)",
    );
    execute(conn, &sql, &[due.at.into(), due.limit.into()])
}

/// Whether a finished run's time to live has ended.
pub(crate) fn has_expired(conn: &mut SqliteConnection, tables: &Tables, now: i64) -> QueryResult<bool> {
    let sql = tables.sql("SELECT 1 FROM {runs} WHERE state = 2 AND expires_at <= ? LIMIT 1");
    Ok(number(conn, &sql, &[now.into()])?.is_some())
}

/// How many rows there are.
pub(crate) fn counts(conn: &mut SqliteConnection, tables: &Tables) -> QueryResult<RunCounts> {
    let sql = tables.sql("SELECT state, count(*) FROM {runs} GROUP BY state");
    let rows: Vec<(i64, i64)> = load::<(BigInt, BigInt), _>(conn, &sql, &[])?;
    let of = |wanted: i64| {
        let found = rows.iter().find(|(state, _)| *state == wanted);
        found.and_then(|(_, count)| usize::try_from(*count).ok()).unwrap_or(0)
    };
    Ok(RunCounts { queued: of(0), running: of(1), finished: of(2) })
}

/// When the next run that may start is to start, or the earliest lease no longer holds.
pub(crate) fn next_wakeup(
    conn: &mut SqliteConnection,
    tables: &Tables,
    tasks: Option<&str>,
) -> QueryResult<Option<i64>> {
    let lease = tables.sql("SELECT min(lease_until) FROM {runs} WHERE state = 1");
    let mut next = number(conn, &lease, &[])?.map(|until| until.saturating_add(1));
    let executors = tables.sql("SELECT min(executor) FROM {runs} WHERE state = 0 AND executor > ?");
    let first = tables.sql(&format!(
        "SELECT q.scheduled_time FROM {{runs}} q WHERE q.state = 0 AND q.executor = ? AND q.priority = ? \
         AND {MAY_START} ORDER BY q.scheduled_time, q.id LIMIT 1"
    ));
    let mut executor = String::new();
    loop {
        let found: Vec<Option<String>> =
            load::<Nullable<Text>, _>(conn, &executors, &[executor.as_str().into()])?;
        let Some(Some(found)) = found.into_iter().next() else { return Ok(next) };
        let mut below = None;
        while let Some(priority) = next_priority(conn, tables, &found, below)? {
            let start =
                number(conn, &first, &[found.as_str().into(), priority.into(), tasks.into(), tasks.into()])?;
            next = [next, start].into_iter().flatten().min();
            below = Some(priority);
        }
        executor = found;
    }
}
