//! The statements about runs.
//!
//! Waiting runs are found by executor and priority, one class after the other, so that a claim reads only what it may
//! take. Claims of one store exclude one another by an advisory lock, so that what they count stays true until they
//! are committed.
//!
//! A claim is open while `lease_until` is set. `state = 1` says the same, but to the planner it also offers the index of what
//! is leased, which is read from end to end for each row of a batch when the table's statistics are of a quiet hour.

use std::collections::HashSet;

use diesel::QueryResult;
use diesel::connection::SimpleConnection;
use diesel::sql_types::{BigInt, Binary, Nullable, Text};
use uuid::Uuid;

use super::jobs::run_ids;
use super::{Rows, uuid_of, uuids_of};
use crate::backend::{KnownTasks, Lease, RunPage, RunStatements, Unreadable, Wanted};
use crate::rows::{EndedRun, Ending, Proof, RunColumns, RunRow, Then, Waiting};
use crate::statement::{Bind, load};

type RunTypes = (
    Text,
    Nullable<Text>,
    Text,
    BigInt,
    BigInt,
    BigInt,
    Binary,
    BigInt,
    BigInt,
    BigInt,
    Nullable<Text>,
    Nullable<BigInt>,
    Nullable<Text>,
    Nullable<Binary>,
    Nullable<Binary>,
    Nullable<BigInt>,
    Nullable<BigInt>,
);

const COLUMNS: &str = "r.id::text, r.job_id, r.task, r.fire_time, r.scheduled_time, r.priority, r.payload, r.state, \
     r.attempt, r.token, r.owner, r.lease_until, r.outcome, r.result, r.history, r.started_at, r.finished_at";

type WaitingTypes = (
    Text,
    Text,
    BigInt,
    BigInt,
    Nullable<Text>,
    Text,
    Nullable<Text>,
    BigInt,
    Nullable<BigInt>,
    BigInt,
    BigInt,
    BigInt,
    BigInt,
);

const JOB_RUNNING: &str =
    "(SELECT count(*) FROM {runs} o WHERE o.job_id = q.job_id AND o.state = 1 AND o.state < 2)";
const TASK_RUNNING: &str =
    "(SELECT count(*) FROM {runs} o WHERE o.task = q.task AND o.state = 1 AND o.task_max IS NOT NULL)";
const KEY_RUNNING: &str = "(SELECT count(*) FROM {runs} o WHERE o.limit_key = q.limit_key AND o.state = 1)";

/// The key of the lock on claims: a number of this crate's own ("schd"), and that of the table, by whatever name a process
/// finds it.
const LOCK: &str = "1935894628, '{runs}'::regclass::oid::integer";

/// Whether a waiting run `q` has one of the tasks of a list (twice; any task when there is none) and is behind no limit.
fn may_start() -> String {
    format!(
        "(? IS NULL OR q.task = ANY(?)) \
         AND (q.job_id IS NULL OR q.max_instances > {JOB_RUNNING}) \
         AND (q.task_max IS NULL OR q.task_max > {TASK_RUNNING}) \
         AND (q.limit_key IS NULL OR q.key_max > {KEY_RUNNING})"
    )
}

/// The columns of a waiting run. A run whose job may run once was found because no run of it is claimed.
fn waiting_columns() -> String {
    format!(
        "q.id, q.executor, q.priority, q.scheduled_time, q.job_id, q.task, q.limit_key, q.max_instances, q.task_max, \
         q.key_max, CASE WHEN q.job_id IS NULL OR q.max_instances = 1 THEN 0 ELSE {JOB_RUNNING} END AS job_running, \
         CASE WHEN q.task_max IS NULL THEN 0 ELSE {TASK_RUNNING} END AS task_running, \
         CASE WHEN q.limit_key IS NULL THEN 0 ELSE {KEY_RUNNING} END AS key_running"
    )
}

/// The open claims of a batch of ids and tokens, with their places. The rows are locked in the order of their ids, as whatever
/// else changes several runs locks them: the planner has orders of its own.
const OPEN_CLAIMS: &str = "SELECT c.id, c.place FROM unnest(?, ?) WITH ORDINALITY AS c(id, token, place) \
     JOIN {runs} r ON r.id = c.id AND r.token = c.token AND r.lease_until IS NOT NULL ORDER BY c.id FOR UPDATE OF r";

/// Every executor of a first member `w(executor, places)` with each priority that waits there.
const CLASSES: &str = "class(executor, places, priority) AS (SELECT w.executor, w.places, (SELECT max(q.priority) \
       FROM {runs} q WHERE q.state = 0 AND q.executor = w.executor) FROM w \
     UNION ALL SELECT c.executor, c.places, (SELECT max(q.priority) FROM {runs} q WHERE q.state = 0 \
       AND q.executor = c.executor AND q.priority < c.priority) FROM class c WHERE c.priority IS NOT NULL)";

/// Runs as one list for each column.
struct RunLists<'a> {
    ids: Vec<Uuid>,
    job_ids: Vec<Option<&'a str>>,
    tasks: Vec<Option<&'a str>>,
    executors: Vec<Option<&'a str>>,
    priorities: Vec<Option<i64>>,
    fire_times: Vec<Option<i64>>,
    scheduled_times: Vec<Option<i64>>,
    payloads: Vec<Option<&'a [u8]>>,
    max_instances: Vec<Option<i64>>,
    task_maxes: Vec<Option<i64>>,
    limit_keys: Vec<Option<&'a str>>,
    key_maxes: Vec<Option<i64>>,
    result_ttls: Vec<Option<i64>>,
}

impl<'a> RunLists<'a> {
    fn new(runs: &[&'a RunColumns]) -> Self {
        Self {
            ids: runs.iter().map(|run| *run.run.id.as_uuid()).collect(),
            job_ids: runs.iter().map(|run| run.job_id()).collect(),
            tasks: runs.iter().map(|run| Some(run.task())).collect(),
            executors: runs.iter().map(|run| Some(run.executor())).collect(),
            priorities: runs.iter().map(|run| Some(i64::from(run.run.priority))).collect(),
            fire_times: runs.iter().map(|run| Some(run.fire_time())).collect(),
            scheduled_times: runs.iter().map(|run| Some(run.scheduled_time())).collect(),
            payloads: runs.iter().map(|run| Some(run.payload.as_slice())).collect(),
            max_instances: runs.iter().map(|run| Some(run.max_instances())).collect(),
            task_maxes: runs.iter().map(|run| run.task_max()).collect(),
            limit_keys: runs.iter().map(|run| run.limit_key()).collect(),
            key_maxes: runs.iter().map(|run| Some(run.key_max())).collect(),
            result_ttls: runs.iter().map(|run| Some(run.result_ttl())).collect(),
        }
    }

    fn binds(&self) -> [Bind<'_>; 13] {
        [
            Bind::Uuids(&self.ids),
            Bind::Texts(&self.job_ids),
            Bind::Texts(&self.tasks),
            Bind::Texts(&self.executors),
            Bind::Ints(&self.priorities),
            Bind::Ints(&self.fire_times),
            Bind::Ints(&self.scheduled_times),
            Bind::ByteStrings(&self.payloads),
            Bind::Ints(&self.max_instances),
            Bind::Ints(&self.task_maxes),
            Bind::Texts(&self.limit_keys),
            Bind::Ints(&self.key_maxes),
            Bind::Ints(&self.result_ttls),
        ]
    }
}

/// Endings as one list for each column.
struct EndingLists<'a> {
    ids: Vec<Uuid>,
    tokens: Vec<Option<i64>>,
    again_at: Vec<Option<i64>>,
    histories: Vec<Option<&'a [u8]>>,
    outcomes: Vec<Option<&'a str>>,
    results: Vec<Option<&'a [u8]>>,
    started_at: Vec<Option<i64>>,
    finished_at: Vec<Option<i64>>,
}

impl<'a> EndingLists<'a> {
    fn new(endings: &[&'a Ending]) -> QueryResult<Self> {
        let mut lists = Self {
            ids: uuids_of(endings.iter().map(|ending| ending.id.as_str()))?,
            tokens: endings.iter().map(|ending| Some(ending.token)).collect(),
            again_at: Vec::with_capacity(endings.len()),
            histories: Vec::with_capacity(endings.len()),
            outcomes: Vec::with_capacity(endings.len()),
            results: Vec::with_capacity(endings.len()),
            started_at: Vec::with_capacity(endings.len()),
            finished_at: Vec::with_capacity(endings.len()),
        };
        for ending in endings {
            let (again, history, over) = match &ending.then {
                Then::Again { at, history } => (Some(*at), Some(history.as_slice()), None),
                Then::Over { outcome, result, started_at, finished_at } => {
                    (None, None, Some((*outcome, result.as_deref(), *started_at, *finished_at)))
                }
            };
            lists.again_at.push(again);
            lists.histories.push(history);
            lists.outcomes.push(over.map(|(outcome, ..)| outcome));
            lists.results.push(over.and_then(|(_, result, ..)| result));
            lists.started_at.push(over.and_then(|(_, _, started_at, _)| started_at));
            lists.finished_at.push(over.map(|(.., finished_at)| finished_at));
        }
        Ok(lists)
    }

    fn binds(&self) -> [Bind<'_>; 8] {
        [
            Bind::Uuids(&self.ids),
            Bind::Ints(&self.tokens),
            Bind::Ints(&self.again_at),
            Bind::ByteStrings(&self.histories),
            Bind::Texts(&self.outcomes),
            Bind::ByteStrings(&self.results),
            Bind::Ints(&self.started_at),
            Bind::Ints(&self.finished_at),
        ]
    }
}

/// Proofs of claims as lists.
fn proofs(claims: &[&Proof]) -> QueryResult<(Vec<Uuid>, Vec<Option<i64>>)> {
    let ids = uuids_of(claims.iter().map(|claim| claim.id.as_str()))?;
    Ok((ids, claims.iter().map(|claim| Some(claim.token)).collect()))
}

/// The names of tasks as a list that may be absent.
fn task_list(tasks: Option<&KnownTasks>) -> Option<Vec<Option<&str>>> {
    tasks.map(|tasks| tasks.names.iter().map(|name| Some(name.as_str())).collect())
}

fn task_bind<'a>(tasks: &'a Option<Vec<Option<&'a str>>>) -> Bind<'a> {
    tasks.as_deref().map_or(Bind::NoTexts, Bind::Texts)
}

impl RunStatements for Rows<'_> {
    fn insert_runs(&mut self, runs: &[&RunColumns]) -> QueryResult<()> {
        self.execute(
            "INSERT INTO {runs} (id, job_id, task, executor, priority, fire_time, scheduled_time, payload, \
             max_instances, task_max, limit_key, key_max, result_ttl) \
             SELECT * FROM unnest(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            &RunLists::new(runs).binds(),
        )
        .map(drop)
    }

    fn insert_claimed_runs(&mut self, runs: &[&RunColumns], lease: Lease<'_>) -> QueryResult<Vec<bool>> {
        let sql = self.sql(
            "INSERT INTO {runs} (id, job_id, task, executor, priority, fire_time, scheduled_time, payload, \
             max_instances, task_max, limit_key, key_max, result_ttl, state, attempt, token, owner, lease_until) \
             SELECT n.*, 1, 1, 1, ?, {now} + ? FROM unnest(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) AS n \
             ON CONFLICT DO NOTHING RETURNING id",
        );
        let lists = RunLists::new(runs);
        let mut binds = vec![lease.owner.into(), lease.micros.into()];
        binds.extend(lists.binds());
        let new: Vec<Uuid> = load::<diesel::sql_types::Uuid, _, _>(self.conn, &sql, &binds)?;
        if new.len() == runs.len() {
            return Ok(vec![true; new.len()]);
        }
        let new: HashSet<Uuid> = new.into_iter().collect();
        Ok(lists.ids.iter().map(|id| new.contains(id)).collect())
    }

    fn unfinished_runs(&mut self, job_ids: &[&str]) -> QueryResult<Vec<(String, i64)>> {
        let sql = self
            .sql("SELECT job_id, count(*) FROM {runs} WHERE job_id = ANY(?) AND state < 2 GROUP BY job_id");
        let ids: Vec<Option<&str>> = job_ids.iter().copied().map(Some).collect();
        load::<(Text, BigInt), _, _>(self.conn, &sql, &[Bind::Texts(&ids)])
    }

    fn known_runs(&mut self, runs: &[&RunColumns]) -> QueryResult<Vec<bool>> {
        let lists = RunLists::new(runs);
        self.changed(
            "SELECT n.place FROM unnest(?, ?, ?) WITH ORDINALITY AS n(id, job_id, fire_time, place) \
             WHERE EXISTS (SELECT FROM {runs} o WHERE o.id = n.id) \
             OR EXISTS (SELECT FROM {runs} o WHERE o.job_id = n.job_id AND o.fire_time = n.fire_time)",
            &[Bind::Uuids(&lists.ids), Bind::Texts(&lists.job_ids), Bind::Ints(&lists.fire_times)],
            runs.len(),
        )
    }

    /// Commits share the lock that a claim has for itself.
    fn begin_commit(&mut self) -> QueryResult<()> {
        let sql = self.sql(&format!("SELECT pg_advisory_xact_lock_shared({LOCK})"));
        self.conn.batch_execute(&sql)
    }

    fn is_run_due(&mut self, wanted: Wanted<'_>) -> QueryResult<bool> {
        let executors = wanted.executors.iter().filter(|(_, places)| *places > 0);
        let executors: Vec<Option<&str>> = executors.map(|(alias, _)| Some(&**alias)).collect();
        let text = format!(
            "WITH RECURSIVE w(executor, places) AS (SELECT e COLLATE \"C\", 1::bigint FROM unnest(?) AS w(e)), {CLASSES} \
             SELECT 1::bigint WHERE EXISTS (SELECT FROM {{runs}} WHERE state = 1 AND lease_until < {{now}}) \
             OR EXISTS (SELECT FROM class c WHERE c.priority IS NOT NULL AND EXISTS (SELECT FROM {{runs}} q \
               WHERE q.state = 0 AND q.executor = c.executor AND q.priority = c.priority AND q.scheduled_time <= ?))"
        );
        Ok(self.number(&text, &[Bind::Texts(&executors), wanted.due.at.into()])?.is_some())
    }

    /// Both in one round trip.
    fn begin_claim(&mut self) -> QueryResult<()> {
        let sql = self.sql(&format!(
            "SELECT pg_advisory_xact_lock({LOCK}); \
             UPDATE {{runs}} SET state = 0, token = token + 1, owner = NULL, lease_until = NULL \
             WHERE id IN (SELECT id FROM {{runs}} WHERE state = 1 AND lease_until < {{now}} FOR UPDATE SKIP LOCKED)"
        ));
        self.conn.batch_execute(&sql)
    }

    fn waiting_runs(&mut self, wanted: Wanted<'_>) -> QueryResult<Vec<Waiting>> {
        let free = || wanted.executors.iter().filter(|(_, places)| *places > 0);
        let executors: Vec<Option<&str>> = free().map(|(alias, _)| Some(&**alias)).collect();
        let places: Vec<Option<i64>> =
            free().map(|(_, places)| Some((*places).min(wanted.due.limit))).collect();
        let sql = self.sql(&format!(
            "WITH RECURSIVE w(executor, places) AS (SELECT e COLLATE \"C\", p FROM unnest(?, ?) AS w(e, p)), {CLASSES} \
             SELECT r.id::text, r.executor, r.priority, r.scheduled_time, r.job_id, r.task, r.limit_key, \
               r.max_instances, r.task_max, r.key_max, r.job_running, r.task_running, r.key_running \
             FROM (SELECT f.*, row_number() OVER (PARTITION BY f.executor ORDER BY f.priority DESC, f.scheduled_time, \
               f.id) AS number, c.places FROM class c CROSS JOIN LATERAL (SELECT {} FROM {{runs}} q \
               WHERE q.state = 0 AND q.executor = c.executor AND q.priority = c.priority AND q.scheduled_time <= ? \
               AND {} ORDER BY q.scheduled_time, q.id LIMIT c.places) f WHERE c.priority IS NOT NULL) r \
             WHERE r.number <= r.places",
            waiting_columns(),
            may_start()
        ));
        let tasks = task_list(wanted.tasks);
        let binds = [
            Bind::Texts(&executors),
            Bind::Ints(&places),
            wanted.due.at.into(),
            task_bind(&tasks),
            task_bind(&tasks),
        ];
        load::<WaitingTypes, _, _>(self.conn, &sql, &binds)
    }

    /// `state < 1` is `state = 0`, except that the planner does not look for ids in the index of what waits, where they
    /// come last.
    fn lease_runs(&mut self, ids: &[&str], lease: Lease<'_>) -> QueryResult<Vec<RunRow>> {
        let sql = self.sql(&format!(
            "WITH t AS MATERIALIZED (SELECT nextval('{{tokens}}') AS token, {{now}} AS now) \
             UPDATE {{runs}} r SET state = 1, attempt = r.attempt + 1, token = (SELECT token FROM t), owner = ?, \
             lease_until = (SELECT now FROM t) + ? WHERE r.id = ANY(?) AND r.state < 1 RETURNING {COLUMNS}"
        ));
        let ids = run_ids(ids)?;
        let binds = [lease.owner.into(), lease.micros.into(), Bind::Uuids(&ids)];
        load::<RunTypes, _, _>(self.conn, &sql, &binds)
    }

    fn renew_runs(&mut self, claims: &[&Proof], micros: i64) -> QueryResult<Vec<bool>> {
        let (ids, tokens) = proofs(claims)?;
        self.changed(
            &format!(
                "WITH c AS MATERIALIZED ({OPEN_CLAIMS}) UPDATE {{runs}} r SET lease_until = {{now}} + ? FROM c \
                 WHERE r.id = c.id RETURNING c.place"
            ),
            &[Bind::Uuids(&ids), Bind::Ints(&tokens), micros.into()],
            claims.len(),
        )
    }

    fn release_runs(&mut self, claims: &[&Proof]) -> QueryResult<()> {
        let (ids, tokens) = proofs(claims)?;
        self.execute(
            &format!(
                "WITH c AS MATERIALIZED ({OPEN_CLAIMS}) UPDATE {{runs}} r SET state = 0, attempt = r.attempt - 1, \
                 token = r.token + 1, owner = NULL, lease_until = NULL FROM c WHERE r.id = c.id"
            ),
            &[Bind::Uuids(&ids), Bind::Ints(&tokens)],
        )
        .map(drop)
    }

    /// A row whose result is not kept goes at once. A time to live that goes beyond the latest time never ends.
    fn finish_runs(&mut self, endings: &[&Ending]) -> QueryResult<Vec<bool>> {
        let lists = EndingLists::new(endings)?;
        self.changed(
            "WITH e AS MATERIALIZED (SELECT e.*, r.result_ttl FROM unnest(?, ?, ?, ?, ?, ?, ?, ?) WITH ORDINALITY \
               AS e(id, token, again_at, history, outcome, result, started_at, finished_at, place) \
               JOIN {runs} r ON r.id = e.id AND r.token = e.token AND r.lease_until IS NOT NULL \
               ORDER BY e.id FOR UPDATE OF r), \
             gone AS (DELETE FROM {runs} r USING e WHERE r.id = e.id AND e.again_at IS NULL AND e.result_ttl = 0 \
               RETURNING e.place), \
             kept AS (UPDATE {runs} r SET state = CASE WHEN e.again_at IS NULL THEN 2 ELSE 0 END, owner = NULL, \
               lease_until = NULL, scheduled_time = coalesce(e.again_at, r.scheduled_time), \
               history = coalesce(e.history, r.history), outcome = e.outcome, result = e.result, \
               started_at = e.started_at, finished_at = e.finished_at, \
               expires_at = CASE WHEN r.result_ttl <= 9000000000000000000 - e.finished_at \
                 THEN r.result_ttl + e.finished_at END FROM e WHERE r.id = e.id \
               AND (e.again_at IS NOT NULL OR e.result_ttl > 0) RETURNING e.place) \
             SELECT place FROM gone UNION ALL SELECT place FROM kept",
            &lists.binds(),
            endings.len(),
        )
    }

    fn cancel_runs(&mut self, ids: &[&str], at: i64) -> QueryResult<Vec<bool>> {
        let uuids = run_ids(ids)?;
        self.changed(
            "WITH c AS MATERIALIZED (SELECT c.*, r.result_ttl FROM unnest(?) WITH ORDINALITY AS c(id, place) \
               JOIN {runs} r ON r.id = c.id AND r.state < 1 ORDER BY c.id FOR UPDATE OF r), \
             gone AS (DELETE FROM {runs} r USING c WHERE r.id = c.id AND c.result_ttl = 0 RETURNING c.place), \
             kept AS (UPDATE {runs} r SET state = 2, outcome = 'cancelled', finished_at = ?, expires_at = CASE \
               WHEN r.result_ttl <= 9000000000000000000 - ? THEN r.result_ttl + ? END FROM c \
               WHERE r.id = c.id AND c.result_ttl > 0 RETURNING c.place) \
             SELECT place FROM gone UNION ALL SELECT place FROM kept",
            &[Bind::Uuids(&uuids), at.into(), at.into(), at.into()],
            ids.len(),
        )
    }

    fn set_runs_aside(&mut self, rows: &[Unreadable], reasons: &[Vec<u8>]) -> QueryResult<()> {
        let ids = uuids_of(rows.iter().map(|row| row.id.as_str()))?;
        let tokens: Vec<Option<i64>> = rows.iter().map(|row| Some(row.token)).collect();
        let reasons: Vec<Option<&[u8]>> = reasons.iter().map(|reason| Some(reason.as_slice())).collect();
        self.execute(
            "UPDATE {runs} r SET state = 2, owner = NULL, lease_until = NULL, outcome = 'abandoned', \
             result = q.reason, finished_at = {now} FROM unnest(?, ?, ?) AS q(id, token, reason) \
             WHERE r.id = q.id AND r.token = q.token AND r.lease_until IS NOT NULL",
            &[Bind::Uuids(&ids), Bind::Ints(&tokens), Bind::ByteStrings(&reasons)],
        )
        .map(drop)
    }

    fn find_run(&mut self, id: &str) -> QueryResult<Option<RunRow>> {
        let sql = self.sql(&format!("SELECT {COLUMNS} FROM {{runs}} r WHERE r.id = ?"));
        let rows = load::<RunTypes, RunRow, _>(self.conn, &sql, &[Bind::Uuid(uuid_of(id)?)])?;
        Ok(rows.into_iter().next())
    }

    fn run_states(&mut self, ids: &[&str]) -> QueryResult<Vec<(String, i64, i64)>> {
        let sql = self.sql("SELECT id::text, state, token FROM {runs} WHERE id = ANY(?)");
        load::<(Text, BigInt, BigInt), _, _>(self.conn, &sql, &[Bind::Uuids(&run_ids(ids)?)])
    }

    fn list_runs(&mut self, page: RunPage<'_>) -> QueryResult<Vec<RunRow>> {
        let mut text =
            format!("SELECT {COLUMNS} FROM {{runs}} r WHERE r.fire_time >= ? AND r.fire_time <= ?");
        let mut binds: Vec<Bind<'_>> = vec![page.from.into(), page.until.into()];
        if let Some(after) = page.after {
            text.push_str(" AND r.id > ?");
            binds.push(Bind::Uuid(uuid_of(after)?));
        }
        for (column, value) in [("job_id", page.job_id), ("task", page.task)] {
            if let Some(value) = value {
                text.push_str(&format!(" AND r.{column} = ?"));
                binds.push(value.into());
            }
        }
        if let Some(state) = page.state {
            text.push_str(" AND r.state = ?");
            binds.push(state.into());
        }
        text.push_str(" ORDER BY r.id LIMIT ?");
        binds.push(page.limit.into());
        let sql = self.sql(&text);
        load::<RunTypes, _, _>(self.conn, &sql, &binds)
    }

    fn take_back(&mut self) -> QueryResult<Vec<String>> {
        let sql = self.sql(
            "UPDATE {runs} SET state = 0, token = token + 1, owner = NULL, lease_until = NULL \
             WHERE id IN (SELECT id FROM {runs} WHERE state = 1 AND lease_until < {now} FOR UPDATE SKIP LOCKED) \
             RETURNING id::text",
        );
        load::<Text, _, _>(self.conn, &sql, &[])
    }

    fn delete_expired_runs(&mut self, limit: i64) -> QueryResult<usize> {
        self.execute(
            "DELETE FROM {runs} WHERE id IN (SELECT id FROM {runs} WHERE state = 2 AND expires_at <= {now} \
             ORDER BY expires_at LIMIT ? FOR UPDATE SKIP LOCKED)",
            &[limit.into()],
        )
    }

    fn last_ended_beyond(&mut self, keep: i64) -> QueryResult<Option<EndedRun>> {
        let sql = self.sql(
            "SELECT finished_at, id::text FROM {runs} r WHERE state = 2 ORDER BY finished_at DESC, r.id DESC \
             LIMIT 1 OFFSET ?",
        );
        let found: Vec<EndedRun> = load::<(Nullable<BigInt>, Text), _, _>(self.conn, &sql, &[keep.into()])?;
        Ok(found.into_iter().next())
    }

    fn delete_ended_runs(&mut self, last: &EndedRun, limit: i64) -> QueryResult<usize> {
        self.execute(
            "DELETE FROM {runs} WHERE id IN (SELECT id FROM {runs} WHERE state = 2 AND (finished_at, id) <= (?, ?) \
             ORDER BY finished_at, id LIMIT ? FOR UPDATE SKIP LOCKED)",
            &[last.finished_at.into(), Bind::Uuid(uuid_of(&last.id)?), limit.into()],
        )
    }

    fn count_runs(&mut self) -> QueryResult<Vec<(i64, i64)>> {
        let sql = self.sql("SELECT state, count(*) FROM {runs} GROUP BY state");
        load::<(BigInt, BigInt), _, _>(self.conn, &sql, &[])
    }

    fn next_run(&mut self, tasks: Option<&KnownTasks>) -> QueryResult<Option<i64>> {
        let text = format!(
            "WITH RECURSIVE executors(executor) AS (SELECT min(executor) FROM {{runs}} WHERE state = 0 \
               UNION ALL SELECT (SELECT min(q.executor) FROM {{runs}} q WHERE q.state = 0 \
                 AND q.executor > e.executor) FROM executors e WHERE e.executor IS NOT NULL), \
             w(executor, places) AS (SELECT executor, 1::bigint FROM executors WHERE executor IS NOT NULL), {CLASSES} \
             SELECT least((SELECT min(lease_until) + 1 FROM {{runs}} WHERE state = 1), \
               (SELECT min(f.scheduled_time) FROM class c CROSS JOIN LATERAL (SELECT q.scheduled_time \
                 FROM {{runs}} q WHERE q.state = 0 AND q.executor = c.executor AND q.priority = c.priority \
                 AND {} ORDER BY q.scheduled_time, q.id LIMIT 1) f WHERE c.priority IS NOT NULL))",
            may_start()
        );
        let tasks = task_list(tasks);
        self.number(&text, &[task_bind(&tasks), task_bind(&tasks)])
    }
}
