//! The statements about runs.
//!
//! Waiting runs are found by executor and priority, one class after the other, so that a claim reads only what it may
//! take: what is not due yet, is behind a limit, or has a task that this process does not know is passed over inside the
//! database.

use diesel::QueryResult;
use diesel::sql_types::{BigInt, Binary, Nullable, Text};

use super::Rows;
use crate::backend::{Due, KnownTasks, Lease, RunPage, RunStatements, Unreadable, Wanted};
use crate::rows::{EndedRun, Ending, Proof, RunColumns, RunRow, Then, Waiting};
use crate::statement::{Bind, execute, load, number};

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

const COLUMNS: &str = "id, job_id, task, fire_time, scheduled_time, priority, payload, state, attempt, token, owner, \
     lease_until, outcome, result, history, started_at, finished_at";

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
    "(SELECT count(*) FROM {runs} o WHERE o.job_id = q.job_id AND o.state < 2 AND o.state = 1)";
const TASK_RUNNING: &str =
    "(SELECT count(*) FROM {runs} o WHERE o.task = q.task AND o.state = 1 AND o.task_max IS NOT NULL)";
const KEY_RUNNING: &str = "(SELECT count(*) FROM {runs} o WHERE o.limit_key = q.limit_key AND o.state = 1 \
     AND o.limit_key IS NOT NULL)";

/// Whether a waiting run `q` has a task of a list in JSON (twice; any task when there is none) and is behind no limit.
fn may_start() -> String {
    format!(
        "(? IS NULL OR q.task IN (SELECT value FROM json_each(?))) \
         AND (q.job_id IS NULL OR q.max_instances > {JOB_RUNNING}) \
         AND (q.task_max IS NULL OR q.task_max > {TASK_RUNNING}) \
         AND (q.limit_key IS NULL OR q.key_max > {KEY_RUNNING})"
    )
}

/// The columns of a waiting run. A run whose job may run once was found because no run of it is claimed.
fn waiting_columns() -> String {
    format!(
        "q.id, q.executor, q.priority, q.scheduled_time, q.job_id, q.task, q.limit_key, q.max_instances, q.task_max, \
         q.key_max, CASE WHEN q.job_id IS NULL OR q.max_instances = 1 THEN 0 ELSE {JOB_RUNNING} END, \
         CASE WHEN q.task_max IS NULL THEN 0 ELSE {TASK_RUNNING} END, \
         CASE WHEN q.limit_key IS NULL THEN 0 ELSE {KEY_RUNNING} END"
    )
}

impl Rows<'_> {
    /// Due runs of an executor that may start, in order.
    fn waiting_of(
        &mut self,
        executor: &str,
        tasks: Option<&KnownTasks>,
        due: Due,
    ) -> QueryResult<Vec<Waiting>> {
        let sql = self.tables.sql(&format!(
            "SELECT {} FROM {{runs}} q WHERE q.state = 0 AND q.executor = ? AND q.priority = ? \
             AND q.scheduled_time <= ? AND {} ORDER BY q.scheduled_time, q.id LIMIT ?",
            waiting_columns(),
            may_start()
        ));
        let tasks: Bind<'_> = tasks.map(|tasks| tasks.json.as_str()).into();
        let mut found: Vec<Waiting> = Vec::new();
        let mut below = None;
        while let Some(priority) = self.next_priority(executor, below)? {
            let left = due.limit.saturating_sub(i64::try_from(found.len()).unwrap_or(i64::MAX));
            if left <= 0 {
                break;
            }
            let binds = [executor.into(), priority.into(), due.at.into(), tasks, tasks, left.into()];
            found.extend(load::<WaitingTypes, Waiting, _>(self.conn, &sql, &binds)?);
            below = Some(priority);
        }
        Ok(found)
    }

    /// The greatest priority of an executor's waiting runs, below the one that was dealt with.
    fn next_priority(&mut self, executor: &str, below: Option<i64>) -> QueryResult<Option<i64>> {
        let sql = self
            .tables
            .sql("SELECT max(priority) FROM {runs} WHERE state = 0 AND executor = ? AND priority < ?");
        number(self.conn, &sql, &[executor.into(), below.unwrap_or(i64::MAX).into()])
    }

    /// When the next run of an executor that may start is to start.
    fn next_of(&mut self, executor: &str, tasks: Option<&KnownTasks>) -> QueryResult<Option<i64>> {
        let sql = self.tables.sql(&format!(
            "SELECT q.scheduled_time FROM {{runs}} q WHERE q.state = 0 AND q.executor = ? AND q.priority = ? \
             AND {} ORDER BY q.scheduled_time, q.id LIMIT 1",
            may_start()
        ));
        let tasks: Bind<'_> = tasks.map(|tasks| tasks.json.as_str()).into();
        let (mut next, mut below) = (None, None);
        while let Some(priority) = self.next_priority(executor, below)? {
            let start = number(self.conn, &sql, &[executor.into(), priority.into(), tasks, tasks])?;
            next = [next, start].into_iter().flatten().min();
            below = Some(priority);
        }
        Ok(next)
    }
}

impl RunStatements for Rows<'_> {
    fn insert_runs(&mut self, runs: &[&RunColumns]) -> QueryResult<()> {
        let sql = self.tables.sql(
            "INSERT INTO {runs} (id, job_id, task, executor, priority, fire_time, scheduled_time, payload, \
             max_instances, task_max, limit_key, key_max, result_ttl) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) \
             ON CONFLICT DO NOTHING",
        );
        runs.iter().try_for_each(|run| execute(self.conn, &sql, &run.binds(Bind::Text)).map(drop))
    }

    fn insert_claimed_runs(&mut self, runs: &[&RunColumns], lease: Lease<'_>) -> QueryResult<Vec<bool>> {
        let sql = self.tables.sql(
            "INSERT INTO {runs} (id, job_id, task, executor, priority, fire_time, scheduled_time, payload, \
             max_instances, task_max, limit_key, key_max, result_ttl, state, attempt, token, owner, lease_until) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1, 1, 1, ?, ?) ON CONFLICT DO NOTHING",
        );
        let until = self.now.saturating_add(lease.micros);
        let new = runs.iter().map(|run| {
            let [
                id,
                job_id,
                task,
                executor,
                priority,
                fire,
                start,
                payload,
                most,
                task_max,
                key,
                key_max,
                ttl,
            ] = run.binds(Bind::Text);
            let (owner, until) = (lease.owner.into(), until.into());
            let binds = [
                id, job_id, task, executor, priority, fire, start, payload, most, task_max, key, key_max,
                ttl, owner, until,
            ];
            Ok(execute(self.conn, &sql, &binds)? > 0)
        });
        new.collect()
    }

    /// There is no bound `LIMIT` here: SQLite would prepare the statement anew each time.
    fn unfinished_runs(&mut self, job_ids: &[&str]) -> QueryResult<Vec<(String, i64)>> {
        let sql = self.tables.sql("SELECT count(*) FROM {runs} WHERE job_id = ? AND state < 2");
        let counts = job_ids.iter().map(|job_id| {
            let unfinished = number(self.conn, &sql, &[(*job_id).into()])?;
            Ok(((*job_id).to_owned(), unfinished.unwrap_or(0)))
        });
        counts.collect()
    }

    fn known_runs(&mut self, runs: &[&RunColumns]) -> QueryResult<Vec<bool>> {
        let sql =
            self.tables.sql("SELECT 1 FROM {runs} WHERE id = ? OR (job_id = ? AND fire_time = ?) LIMIT 1");
        let known = runs.iter().map(|run| {
            let binds = [run.id.as_str().into(), run.job_id().into(), run.fire_time().into()];
            Ok(number(self.conn, &sql, &binds)?.is_some())
        });
        known.collect()
    }

    /// A transaction that writes is the only one.
    fn begin_claim(&mut self) -> QueryResult<()> {
        self.take_back().map(drop)
    }

    /// Likewise.
    fn begin_commit(&mut self) -> QueryResult<()> {
        Ok(())
    }

    fn is_run_due(&mut self, wanted: Wanted<'_>) -> QueryResult<bool> {
        if self.has_ended_leases()? {
            return Ok(true);
        }
        for (executor, _) in wanted.executors.iter().filter(|(_, free)| *free > 0) {
            if !self.waiting_of(executor, wanted.tasks, Due { limit: 1, ..wanted.due })?.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn waiting_runs(&mut self, wanted: Wanted<'_>) -> QueryResult<Vec<Waiting>> {
        let mut found = Vec::new();
        for (executor, places) in wanted.executors.iter().filter(|(_, places)| *places > 0) {
            let due = Due { limit: wanted.due.limit.min(*places), ..wanted.due };
            found.extend(self.waiting_of(executor, wanted.tasks, due)?);
        }
        Ok(found)
    }

    fn lease_runs(&mut self, ids: &[&str], lease: Lease<'_>) -> QueryResult<Vec<RunRow>> {
        let token = self.new_token()?;
        let until = self.now.saturating_add(lease.micros);
        let sql = self.tables.sql(&format!(
            "UPDATE {{runs}} SET state = 1, attempt = attempt + 1, token = ?, owner = ?, lease_until = ? \
             WHERE id = ? AND state = 0 RETURNING {COLUMNS}"
        ));
        let mut leased = Vec::with_capacity(ids.len());
        for id in ids {
            let binds = [token.into(), lease.owner.into(), until.into(), (*id).into()];
            leased.extend(load::<RunTypes, RunRow, _>(self.conn, &sql, &binds)?);
        }
        Ok(leased)
    }

    fn renew_runs(&mut self, claims: &[&Proof], micros: i64) -> QueryResult<Vec<bool>> {
        let until = self.now.saturating_add(micros);
        let sql =
            self.tables.sql("UPDATE {runs} SET lease_until = ? WHERE id = ? AND token = ? AND state = 1");
        let renewed = claims.iter().map(|claim| {
            let binds = [until.into(), claim.id.as_str().into(), claim.token.into()];
            Ok(execute(self.conn, &sql, &binds)? > 0)
        });
        renewed.collect()
    }

    fn release_runs(&mut self, claims: &[&Proof]) -> QueryResult<()> {
        let sql = self.tables.sql(
            "UPDATE {runs} SET state = 0, attempt = attempt - 1, token = token + 1, owner = NULL, lease_until = NULL \
             WHERE id = ? AND token = ? AND state = 1",
        );
        claims.iter().try_for_each(|claim| {
            execute(self.conn, &sql, &[claim.id.as_str().into(), claim.token.into()]).map(drop)
        })
    }

    /// A row whose result is not kept goes at once.
    fn finish_runs(&mut self, endings: &[&Ending]) -> QueryResult<Vec<bool>> {
        let go =
            self.tables.sql("DELETE FROM {runs} WHERE id = ? AND token = ? AND state = 1 AND result_ttl = 0");
        // A time to live that goes beyond the latest time there is never ends.
        let keep = self.tables.sql(
            "UPDATE {runs} SET state = 2, owner = NULL, lease_until = NULL, outcome = ?, result = ?, \
             started_at = ?, finished_at = ?, expires_at = CASE WHEN result_ttl <= 9000000000000000000 - ? \
             THEN result_ttl + ? END WHERE id = ? AND token = ? AND state = 1",
        );
        let wait = self.tables.sql(
            "UPDATE {runs} SET state = 0, owner = NULL, lease_until = NULL, scheduled_time = ?, history = ? \
             WHERE id = ? AND token = ? AND state = 1",
        );
        let ended = endings.iter().map(|ending| {
            let (id, token): (Bind<'_>, Bind<'_>) = (ending.id.as_str().into(), ending.token.into());
            let changed = match &ending.then {
                Then::Again { at, history } => {
                    execute(self.conn, &wait, &[(*at).into(), history.as_slice().into(), id, token])?
                }
                Then::Over { .. } if execute(self.conn, &go, &[id, token])? > 0 => 1,
                Then::Over { outcome, result, started_at, finished_at } => {
                    let end = Bind::from(*finished_at);
                    let (outcome, result) = ((*outcome).into(), result.as_deref().into());
                    let binds = [outcome, result, (*started_at).into(), end, end, end, id, token];
                    execute(self.conn, &keep, &binds)?
                }
            };
            Ok(changed > 0)
        });
        ended.collect()
    }

    fn cancel_runs(&mut self, ids: &[&str], at: i64) -> QueryResult<Vec<bool>> {
        let go = self.tables.sql("DELETE FROM {runs} WHERE id = ? AND state = 0 AND result_ttl = 0");
        let keep = self.tables.sql(
            "UPDATE {runs} SET state = 2, outcome = 'cancelled', finished_at = ?, expires_at = CASE \
             WHEN result_ttl <= 9000000000000000000 - ? THEN result_ttl + ? END WHERE id = ? AND state = 0",
        );
        let cancelled = ids.iter().map(|id| {
            if execute(self.conn, &go, &[(*id).into()])? > 0 {
                return Ok(true);
            }
            let binds = [at.into(), at.into(), at.into(), (*id).into()];
            Ok(execute(self.conn, &keep, &binds)? > 0)
        });
        cancelled.collect()
    }

    fn set_runs_aside(&mut self, rows: &[Unreadable], reasons: &[Vec<u8>]) -> QueryResult<()> {
        let sql = self.tables.sql(
            "UPDATE {runs} SET state = 2, owner = NULL, lease_until = NULL, outcome = 'abandoned', result = ?, \
             finished_at = ? WHERE id = ? AND token = ? AND state = 1",
        );
        rows.iter().zip(reasons).try_for_each(|(row, reason)| {
            let binds = [reason.as_slice().into(), self.now.into(), row.id.as_str().into(), row.token.into()];
            execute(self.conn, &sql, &binds).map(drop)
        })
    }

    fn find_run(&mut self, id: &str) -> QueryResult<Option<RunRow>> {
        let sql = self.tables.sql(&format!("SELECT {COLUMNS} FROM {{runs}} WHERE id = ?"));
        Ok(load::<RunTypes, RunRow, _>(self.conn, &sql, &[id.into()])?.into_iter().next())
    }

    fn run_states(&mut self, ids: &[&str]) -> QueryResult<Vec<(String, i64, i64)>> {
        let sql = self.tables.sql("SELECT id, state, token FROM {runs} WHERE id = ?");
        let mut found = Vec::with_capacity(ids.len());
        for id in ids {
            found.extend(load::<(Text, BigInt, BigInt), _, _>(self.conn, &sql, &[(*id).into()])?);
        }
        Ok(found)
    }

    fn list_runs(&mut self, page: RunPage<'_>) -> QueryResult<Vec<RunRow>> {
        let of_job = if page.job_id.is_some() { "job_id = ?" } else { "? IS NULL" };
        let sql = self.tables.sql(&format!(
            "SELECT {COLUMNS} FROM {{runs}} WHERE {of_job} AND id > ? AND (? IS NULL OR task = ?) \
             AND (? IS NULL OR state = ?) AND fire_time >= ? AND fire_time <= ? ORDER BY id LIMIT ?"
        ));
        let binds = [
            page.job_id.into(),
            page.after.unwrap_or_default().into(),
            page.task.into(),
            page.task.into(),
            page.state.into(),
            page.state.into(),
            page.from.into(),
            page.until.into(),
            page.limit.into(),
        ];
        load::<RunTypes, _, _>(self.conn, &sql, &binds)
    }

    fn has_ended_leases(&mut self) -> QueryResult<bool> {
        let sql = self.tables.sql("SELECT 1 FROM {runs} WHERE state = 1 AND lease_until < ? LIMIT 1");
        Ok(number(self.conn, &sql, &[self.now.into()])?.is_some())
    }

    fn take_back(&mut self) -> QueryResult<Vec<String>> {
        let sql = self.tables.sql(
            "UPDATE {runs} SET state = 0, token = token + 1, owner = NULL, lease_until = NULL \
             WHERE state = 1 AND lease_until < ? RETURNING id",
        );
        load::<Text, _, _>(self.conn, &sql, &[self.now.into()])
    }

    fn has_expired_runs(&mut self) -> QueryResult<bool> {
        let sql = self.tables.sql("SELECT 1 FROM {runs} WHERE state = 2 AND expires_at <= ? LIMIT 1");
        Ok(number(self.conn, &sql, &[self.now.into()])?.is_some())
    }

    fn delete_expired_runs(&mut self, limit: i64) -> QueryResult<usize> {
        let sql = self.tables.sql(
            "DELETE FROM {runs} WHERE rowid IN (SELECT rowid FROM {runs} WHERE state = 2 AND expires_at <= ? \
             ORDER BY expires_at LIMIT ?)",
        );
        execute(self.conn, &sql, &[self.now.into(), limit.into()])
    }

    fn last_ended_beyond(&mut self, keep: i64) -> QueryResult<Option<EndedRun>> {
        let sql = self.tables.sql(
            "SELECT finished_at, id FROM {runs} WHERE state = 2 ORDER BY finished_at DESC, id DESC LIMIT 1 OFFSET ?",
        );
        let found: Vec<EndedRun> = load::<(Nullable<BigInt>, Text), _, _>(self.conn, &sql, &[keep.into()])?;
        Ok(found.into_iter().next())
    }

    fn delete_ended_runs(&mut self, last: &EndedRun, limit: i64) -> QueryResult<usize> {
        let sql = self.tables.sql(
            "DELETE FROM {runs} WHERE rowid IN (SELECT rowid FROM {runs} WHERE state = 2 \
             AND (finished_at, id) <= (?, ?) ORDER BY finished_at, id LIMIT ?)",
        );
        execute(self.conn, &sql, &[last.finished_at.into(), last.id.as_str().into(), limit.into()])
    }

    fn count_runs(&mut self) -> QueryResult<Vec<(i64, i64)>> {
        let sql = self.tables.sql("SELECT state, count(*) FROM {runs} GROUP BY state");
        load::<(BigInt, BigInt), _, _>(self.conn, &sql, &[])
    }

    fn next_run(&mut self, tasks: Option<&KnownTasks>) -> QueryResult<Option<i64>> {
        let lease = self.tables.sql("SELECT min(lease_until) FROM {runs} WHERE state = 1");
        let mut next = number(self.conn, &lease, &[])?.map(|until| until.saturating_add(1));
        let executors = self.tables.sql("SELECT min(executor) FROM {runs} WHERE state = 0 AND executor > ?");
        let mut executor = String::new();
        loop {
            let found: Vec<Option<String>> =
                load::<Nullable<Text>, _, _>(self.conn, &executors, &[executor.as_str().into()])?;
            let Some(Some(found)) = found.into_iter().next() else { return Ok(next) };
            next = [next, self.next_of(&found, tasks)?].into_iter().flatten().min();
            executor = found;
        }
    }
}
