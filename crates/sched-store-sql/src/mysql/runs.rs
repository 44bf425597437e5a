//! The statements about runs.
//!
//! Waiting runs are found by executor and priority, one class after the other, so that a claim reads only what it may
//! take. Claims of one store exclude one another by the lock of a row, so that what they count stays true until they
//! are committed.

use diesel::QueryResult;
use diesel::result::{DatabaseErrorKind, Error as DieselError};
use diesel::sql_types::{BigInt, Binary, Nullable, Text};

use super::jobs::MAX_TRIES;
use super::{BYTES, INT, NAME, Rows, batch, hex, listed, packets, parts, table};
use crate::backend::{Due, KnownTasks, Lease, RunPage, RunStatements, Unreadable, Wanted};
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

const COLUMNS: &str = "r.id, r.job_id, r.task, r.fire_time, r.scheduled_time, r.priority, r.payload, r.state, \
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

const JOB_RUNNING: &str = "(SELECT COUNT(*) FROM {runs} o FORCE INDEX ({prefix}_runs_of_job) \
     WHERE o.job_id = q.job_id AND o.state = 1)";

/// The waiting runs, and how many runs are claimed of each task that has a limit and with each key.
const QUEUE: &str = "{runs} q FORCE INDEX ({prefix}_runs_queued) \
     LEFT JOIN (SELECT o.task, COUNT(*) AS running FROM {runs} o WHERE o.state = 1 AND o.task_max IS NOT NULL \
       GROUP BY o.task) t ON q.task_max IS NOT NULL AND t.task = q.task \
     LEFT JOIN (SELECT o.limit_key, COUNT(*) AS running FROM {runs} o WHERE o.state = 1 AND o.limit_key IS NOT NULL \
       GROUP BY o.limit_key) k ON k.limit_key = q.limit_key";

/// Whether a waiting run has one of the tasks of a list, when there is one, and is behind no limit.
fn may_start(tasks: Option<&KnownTasks>) -> String {
    let known = match tasks {
        None => String::new(),
        Some(_) => format!(" AND q.task IN (SELECT CAST(v.name AS BINARY) FROM {})", name_table()),
    };
    format!(
        "(q.job_id IS NULL OR q.max_instances > {JOB_RUNNING}) \
         AND (q.task_max IS NULL OR q.task_max > COALESCE(t.running, 0)) \
         AND (q.limit_key IS NULL OR q.key_max > COALESCE(k.running, 0)){known}"
    )
}

fn name_table() -> String {
    format!("JSON_TABLE(?, '$[*]' COLUMNS (name {NAME} PATH '$')) AS v")
}

/// The columns of a waiting run. A run whose job may run once was found because no run of it is claimed.
fn waiting_columns() -> String {
    format!(
        "q.id, q.executor, q.priority, q.scheduled_time, q.job_id, q.task, q.limit_key, q.max_instances, q.task_max, \
         q.key_max, CASE WHEN q.job_id IS NULL OR q.max_instances = 1 THEN 0 ELSE {JOB_RUNNING} END, \
         COALESCE(t.running, 0), COALESCE(k.running, 0)"
    )
}

const RUN_COLUMNS: &str = "id, job_id, task, executor, priority, fire_time, scheduled_time, payload, max_instances, \
     task_max, limit_key, key_max, result_ttl";
/// The columns of a run that is queued, whose names are bytes here.
fn run_binds(run: &RunColumns) -> [Bind<'_>; 13] {
    run.binds(|name| Bind::Bytes(name.map(str::as_bytes)))
}

/// The table of a batch of ids with tokens.
fn proof_table() -> String {
    table(&[("id", NAME), ("token", INT)])
}

fn proof_batch<'a>(proofs: impl Iterator<Item = (&'a str, i64)>) -> QueryResult<String> {
    batch(&proofs.collect::<Vec<_>>())
}

fn id_batch(ids: &[impl AsRef<str>]) -> QueryResult<String> {
    batch(&ids.iter().map(|id| [id.as_ref()]).collect::<Vec<_>>())
}

const IS_ROW: &str = "r.id = CAST(v.id AS BINARY)";
const IS_OURS: &str = "r.id = CAST(v.id AS BINARY) AND r.token = v.token AND r.state = 1";

impl Rows<'_> {
    /// Due runs of an executor that may start, in order.
    fn waiting_of(
        &mut self,
        executor: &str,
        tasks: Option<&KnownTasks>,
        due: Due,
    ) -> QueryResult<Vec<Waiting>> {
        let sql = self.sql(&format!(
            "SELECT {} FROM {QUEUE} WHERE q.state = 0 AND q.executor = ? AND q.priority = ? \
             AND q.scheduled_time <= ? AND {} ORDER BY q.scheduled_time, q.id LIMIT ?",
            waiting_columns(),
            may_start(tasks)
        ));
        let mut found: Vec<Waiting> = Vec::new();
        let mut below = None;
        while let Some(priority) = self.next_priority(executor, below)? {
            let left = due.limit.saturating_sub(i64::try_from(found.len()).unwrap_or(i64::MAX));
            if left <= 0 {
                break;
            }
            let mut binds: Vec<Bind<'_>> = vec![executor.into(), priority.into(), due.at.into()];
            binds.extend(tasks.map(|tasks| Bind::from(tasks.json.as_str())));
            binds.push(left.into());
            found.extend(load::<WaitingTypes, Waiting, _>(self.conn, &sql, &binds)?);
            below = Some(priority);
        }
        Ok(found)
    }

    /// The greatest priority of an executor's waiting runs, below the one that was dealt with.
    fn next_priority(&mut self, executor: &str, below: Option<i64>) -> QueryResult<Option<i64>> {
        self.number(
            "SELECT MAX(priority) FROM {runs} WHERE state = 0 AND executor = ? AND priority < ?",
            &[executor.into(), below.unwrap_or(i64::MAX).into()],
        )
    }

    /// When the next run of an executor that may start is to start.
    fn next_of(&mut self, executor: &str, tasks: Option<&KnownTasks>) -> QueryResult<Option<i64>> {
        let text = format!(
            "SELECT q.scheduled_time FROM {QUEUE} WHERE q.state = 0 AND q.executor = ? AND q.priority = ? AND {} \
             ORDER BY q.scheduled_time, q.id LIMIT 1",
            may_start(tasks)
        );
        let (mut next, mut below) = (None, None);
        while let Some(priority) = self.next_priority(executor, below)? {
            let mut binds: Vec<Bind<'_>> = vec![executor.into(), priority.into()];
            binds.extend(tasks.map(|tasks| Bind::from(tasks.json.as_str())));
            next = [next, self.number(&text, &binds)?].into_iter().flatten().min();
            below = Some(priority);
        }
        Ok(next)
    }

    /// The places and times to live of the rows whose claims are open; they are locked.
    fn open(&mut self, endings: &[&Ending]) -> QueryResult<Vec<(i64, i64)>> {
        let proofs = proof_batch(endings.iter().map(|ending| (ending.id.as_str(), ending.token)))?;
        let sql = self.sql(&format!(
            "SELECT v.place, r.result_ttl FROM {} STRAIGHT_JOIN {{runs}} r FORCE INDEX (PRIMARY) ON {IS_OURS} FOR UPDATE",
            proof_table()
        ));
        load::<(BigInt, BigInt), _, _>(self.conn, &sql, &[proofs.as_str().into()])
    }

    fn delete_runs(&mut self, ids: &[&str]) -> QueryResult<()> {
        parts(ids).into_iter().try_for_each(|part| {
            let text = format!(
                "DELETE r FROM {{runs}} r FORCE INDEX (PRIMARY) WHERE r.id IN ({})",
                listed("?", part.len())
            );
            let ids: Vec<Bind<'_>> = part.iter().map(|id| id.as_bytes().into()).collect();
            self.execute_wide(&text, &ids).map(drop)
        })
    }

    /// Queues runs that are claimed already, all of which have to be new.
    fn insert_claimed(&mut self, runs: &[&RunColumns], (owner, until): (&str, i64)) -> QueryResult<()> {
        let row = format!("({}, 1, 1, 1, ?, ?)", listed("?", 13));
        let text = format!(
            "INSERT INTO {{runs}} ({RUN_COLUMNS}, state, attempt, token, owner, lease_until) VALUES {}",
            listed(&row, runs.len())
        );
        let binds = runs.iter().flat_map(|run| {
            let claim = [owner.as_bytes().into(), until.into()];
            run_binds(run).into_iter().chain(claim)
        });
        self.execute_wide(&text, &binds.collect::<Vec<Bind<'_>>>()).map(drop)
    }

    /// Queues those that are new of runs that are claimed already; says which. Neither server says which rows of an insert were
    /// new.
    fn insert_unknown(&mut self, runs: &[&RunColumns], claim: (&str, i64)) -> QueryResult<Vec<bool>> {
        let mut tries = 0;
        loop {
            let known = self.known_runs(runs)?;
            let new: Vec<&RunColumns> =
                runs.iter().zip(&known).filter(|(_, known)| !**known).map(|(run, _)| *run).collect();
            tries += 1;
            let inserted = if new.is_empty() { Ok(()) } else { self.insert_claimed(&new, claim) };
            match inserted {
                Err(DieselError::DatabaseError(DatabaseErrorKind::UniqueViolation, _))
                    if tries < MAX_TRIES => {}
                Err(error) => return Err(error),
                Ok(()) => return Ok(known.into_iter().map(|known| !known).collect()),
            }
        }
    }

    /// A time to live that goes beyond the latest time never ends.
    fn keep_runs(&mut self, endings: &[&Ending]) -> QueryResult<()> {
        let text = format!(
            "UPDATE {} STRAIGHT_JOIN {{runs}} r FORCE INDEX (PRIMARY) ON {IS_ROW} SET r.state = 2, r.owner = NULL, r.lease_until = NULL, \
             r.outcome = v.outcome, r.result = UNHEX(v.result), r.started_at = v.started_at, \
             r.finished_at = v.finished_at, r.expires_at = CASE \
             WHEN r.result_ttl <= 9000000000000000000 - v.finished_at THEN r.result_ttl + v.finished_at END",
            table(&[
                ("id", NAME),
                ("outcome", NAME),
                ("result", BYTES),
                ("started_at", INT),
                ("finished_at", INT)
            ])
        );
        let size = |ending: &&Ending| match &ending.then {
            Then::Over { result, .. } => result.as_ref().map_or(0, Vec::len),
            Then::Again { .. } => 0,
        };
        packets(endings, size).into_iter().try_for_each(|part| {
            let rows = part.iter().filter_map(|ending| match &ending.then {
                Then::Over { outcome, result, started_at, finished_at } => {
                    Some((&ending.id, outcome, result.as_deref().map(hex), started_at, finished_at))
                }
                Then::Again { .. } => None,
            });
            let rows = batch(&rows.collect::<Vec<_>>())?;
            self.execute(&text, &[rows.as_str().into()]).map(drop)
        })
    }

    fn requeue_runs(&mut self, endings: &[&Ending]) -> QueryResult<()> {
        let text = format!(
            "UPDATE {} STRAIGHT_JOIN {{runs}} r FORCE INDEX (PRIMARY) ON {IS_ROW} SET r.state = 0, r.owner = NULL, r.lease_until = NULL, \
             r.scheduled_time = v.again_at, r.history = UNHEX(v.history)",
            table(&[("id", NAME), ("again_at", INT), ("history", BYTES)])
        );
        let size = |ending: &&Ending| match &ending.then {
            Then::Again { history, .. } => history.len(),
            Then::Over { .. } => 0,
        };
        packets(endings, size).into_iter().try_for_each(|part| {
            let rows = part.iter().filter_map(|ending| match &ending.then {
                Then::Again { at, history } => Some((&ending.id, at, hex(history))),
                Then::Over { .. } => None,
            });
            let rows = batch(&rows.collect::<Vec<_>>())?;
            self.execute(&text, &[rows.as_str().into()]).map(drop)
        })
    }

    /// Ends the open claims on runs of an owner.
    pub(super) fn recover_runs(&mut self, owner: &str) -> QueryResult<()> {
        let sql = self
            .sql("SELECT id FROM {runs} FORCE INDEX ({prefix}_runs_queued) WHERE state = 1 AND owner = ?");
        let ids: Vec<String> = load::<Text, _, _>(self.conn, &sql, &[owner.into()])?;
        if ids.is_empty() {
            return Ok(());
        }
        let text = format!(
            "UPDATE {} STRAIGHT_JOIN {{runs}} r FORCE INDEX (PRIMARY) ON {IS_ROW} AND r.state = 1 AND r.owner = ? SET r.state = 0, \
             r.token = r.token + 1, r.owner = NULL, r.lease_until = NULL",
            table(&[("id", NAME)])
        );
        self.execute(&text, &[id_batch(&ids)?.as_str().into(), owner.into()]).map(drop)
    }

    /// Deletes the finished runs that a search finds; says how many.
    fn delete_finished(&mut self, search: &str, binds: &[Bind<'_>]) -> QueryResult<usize> {
        let sql = self.sql(search);
        let ids: Vec<String> = load::<Text, _, _>(self.conn, &sql, binds)?;
        if ids.is_empty() {
            return Ok(0);
        }
        let text = format!(
            "DELETE r FROM {} STRAIGHT_JOIN {{runs}} r FORCE INDEX (PRIMARY) ON {IS_ROW} AND r.state = 2",
            table(&[("id", NAME)])
        );
        self.execute(&text, &[id_batch(&ids)?.as_str().into()])
    }
}

impl RunStatements for Rows<'_> {
    fn insert_runs(&mut self, runs: &[&RunColumns]) -> QueryResult<()> {
        let row = format!("({})", listed("?", 13));
        packets(runs, |run| run.payload.len()).into_iter().flat_map(parts).try_for_each(|part| {
            let text = format!(
                "INSERT INTO {{runs}} ({RUN_COLUMNS}) VALUES {} ON DUPLICATE KEY UPDATE attempt = attempt",
                listed(&row, part.len())
            );
            let binds: Vec<Bind<'_>> = part.iter().flat_map(|run| run_binds(run)).collect();
            self.execute_wide(&text, &binds).map(drop)
        })
    }

    /// Neither server says which rows of an insert were new.
    fn insert_claimed_runs(&mut self, runs: &[&RunColumns], lease: Lease<'_>) -> QueryResult<Vec<bool>> {
        let until = self.number("SELECT {now} + ?", &[lease.micros.into()])?.ok_or(DieselError::NotFound)?;
        let claim = (lease.owner, until);
        let mut new = Vec::with_capacity(runs.len());
        for part in packets(runs, |run| run.payload.len()).into_iter().flat_map(parts) {
            new.extend(match self.insert_claimed(part, claim) {
                Err(DieselError::DatabaseError(DatabaseErrorKind::UniqueViolation, _)) => {
                    self.insert_unknown(part, claim)?
                }
                inserted => inserted.map(|()| vec![true; part.len()])?,
            });
        }
        Ok(new)
    }

    fn unfinished_runs(&mut self, job_ids: &[&str]) -> QueryResult<Vec<(String, i64)>> {
        let ids = id_batch(job_ids)?;
        let sql = self.sql(&format!(
            "SELECT o.job_id, COUNT(*) FROM {} STRAIGHT_JOIN {{runs}} o FORCE INDEX ({{prefix}}_runs_of_job) \
             ON o.job_id = CAST(v.id AS BINARY) AND o.state IN (0, 1) GROUP BY o.job_id",
            table(&[("id", NAME)])
        ));
        load::<(Text, BigInt), _, _>(self.conn, &sql, &[ids.as_str().into()])
    }

    fn known_runs(&mut self, runs: &[&RunColumns]) -> QueryResult<Vec<bool>> {
        let rows: Vec<_> = runs.iter().map(|run| (&run.id, run.job_id(), run.fire_time())).collect();
        let text = format!(
            "SELECT v.place FROM {} WHERE EXISTS (SELECT 1 FROM {{runs}} o WHERE o.id = CAST(v.id AS BINARY)) \
             OR EXISTS (SELECT 1 FROM {{runs}} o WHERE o.job_id = CAST(v.job_id AS BINARY) \
             AND o.fire_time = v.fire_time)",
            table(&[("id", NAME), ("job_id", NAME), ("fire_time", INT)])
        );
        self.places(&text, &batch(&rows)?, runs.len())
    }

    fn begin_claim(&mut self) -> QueryResult<()> {
        self.number("SELECT value FROM {meta} WHERE name = 'claim' FOR UPDATE", &[])?;
        self.take_back().map(drop)
    }

    fn begin_commit(&mut self) -> QueryResult<()> {
        self.number("SELECT value FROM {meta} WHERE name = 'claim' LOCK IN SHARE MODE", &[]).map(drop)
    }

    /// Whether anything waits at all, or a lease ran out.
    fn is_run_due(&mut self, _wanted: Wanted<'_>) -> QueryResult<bool> {
        let found = self.number(
            "SELECT EXISTS (SELECT 1 FROM {runs} WHERE state = 0) \
             OR EXISTS (SELECT 1 FROM {runs} FORCE INDEX ({prefix}_runs_queued) WHERE state = 1 AND lease_until < {now})",
            &[],
        )?;
        Ok(found == Some(1))
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
        let ids = id_batch(ids)?;
        let joined = format!(
            "{} STRAIGHT_JOIN {{runs}} r FORCE INDEX (PRIMARY) ON {IS_ROW} AND r.state = 0",
            table(&[("id", NAME)])
        );
        let sql = self.sql(&format!("SELECT {COLUMNS} FROM {joined} FOR UPDATE"));
        let mut rows: Vec<RunRow> = load::<RunTypes, _, _>(self.conn, &sql, &[ids.as_str().into()])?;
        let token = self.new_token()?;
        let update = format!(
            "UPDATE {joined} SET r.state = 1, r.attempt = r.attempt + 1, r.token = ?, r.owner = ?, \
             r.lease_until = {{now}} + ?"
        );
        let binds = [ids.as_str().into(), token.into(), lease.owner.into(), lease.micros.into()];
        self.execute(&update, &binds)?;
        for row in &mut rows {
            (row.attempt, row.token) = (row.attempt + 1, token);
        }
        Ok(rows)
    }

    fn renew_runs(&mut self, claims: &[&Proof], micros: i64) -> QueryResult<Vec<bool>> {
        let proofs = proof_batch(claims.iter().map(|claim| (claim.id.as_str(), claim.token)))?;
        let joined = format!("{} STRAIGHT_JOIN {{runs}} r FORCE INDEX (PRIMARY) ON {IS_OURS}", proof_table());
        let update = format!("UPDATE {joined} SET r.lease_until = {{now}} + ?");
        let renewed = self.execute(&update, &[proofs.as_str().into(), micros.into()])?;
        match renewed == claims.len() {
            true => Ok(vec![true; renewed]),
            false => self.places(&format!("SELECT v.place FROM {joined}"), &proofs, claims.len()),
        }
    }

    fn release_runs(&mut self, claims: &[&Proof]) -> QueryResult<()> {
        let proofs = proof_batch(claims.iter().map(|claim| (claim.id.as_str(), claim.token)))?;
        let text = format!(
            "UPDATE {} STRAIGHT_JOIN {{runs}} r FORCE INDEX (PRIMARY) ON {IS_OURS} SET r.state = 0, r.attempt = r.attempt - 1, \
             r.token = r.token + 1, r.owner = NULL, r.lease_until = NULL",
            proof_table()
        );
        self.execute(&text, &[proofs.as_str().into()]).map(drop)
    }

    /// A row whose result is not kept goes at once.
    fn finish_runs(&mut self, endings: &[&Ending]) -> QueryResult<Vec<bool>> {
        let mut open = vec![false; endings.len()];
        let (mut gone, mut kept, mut again) = (Vec::new(), Vec::new(), Vec::new());
        for (place, result_ttl) in self.open(endings)? {
            let at = usize::try_from(place - 1).unwrap_or(usize::MAX);
            let (Some(open), Some(ending)) = (open.get_mut(at), endings.get(at)) else { continue };
            *open = true;
            match &ending.then {
                Then::Again { .. } => again.push(*ending),
                Then::Over { .. } if result_ttl == 0 => gone.push(ending.id.as_str()),
                Then::Over { .. } => kept.push(*ending),
            }
        }
        if !gone.is_empty() {
            self.delete_runs(&gone)?;
        }
        if !kept.is_empty() {
            self.keep_runs(&kept)?;
        }
        if !again.is_empty() {
            self.requeue_runs(&again)?;
        }
        Ok(open)
    }

    fn cancel_runs(&mut self, ids: &[&str], at: i64) -> QueryResult<Vec<bool>> {
        let rows = id_batch(ids)?;
        let joined = format!(
            "{} STRAIGHT_JOIN {{runs}} r FORCE INDEX (PRIMARY) ON {IS_ROW} AND r.state = 0",
            table(&[("id", NAME)])
        );
        let waiting = self.places(&format!("SELECT v.place FROM {joined} FOR UPDATE"), &rows, ids.len())?;
        self.execute(&format!("DELETE r FROM {joined} WHERE r.result_ttl = 0"), &[rows.as_str().into()])?;
        let keep = format!(
            "UPDATE {joined} SET r.state = 2, r.outcome = 'cancelled', r.finished_at = ?, r.expires_at = CASE \
             WHEN r.result_ttl <= 9000000000000000000 - ? THEN r.result_ttl + ? END"
        );
        self.execute(&keep, &[rows.as_str().into(), at.into(), at.into(), at.into()])?;
        Ok(waiting)
    }

    fn set_runs_aside(&mut self, rows: &[Unreadable], reasons: &[Vec<u8>]) -> QueryResult<()> {
        let text = format!(
            "UPDATE {} STRAIGHT_JOIN {{runs}} r FORCE INDEX (PRIMARY) ON {IS_OURS} SET r.state = 2, r.owner = NULL, r.lease_until = NULL, \
             r.outcome = 'abandoned', r.result = UNHEX(v.reason), r.finished_at = {{now}}",
            table(&[("id", NAME), ("token", INT), ("reason", BYTES)])
        );
        let rows: Vec<_> = rows.iter().zip(reasons).collect();
        packets(&rows, |(_, reason)| reason.len()).into_iter().try_for_each(|part| {
            let rows = part.iter().map(|(row, reason)| (&row.id, row.token, hex(reason)));
            self.execute(&text, &[batch(&rows.collect::<Vec<_>>())?.as_str().into()]).map(drop)
        })
    }

    fn find_run(&mut self, id: &str) -> QueryResult<Option<RunRow>> {
        let sql = self.sql(&format!("SELECT {COLUMNS} FROM {{runs}} r WHERE r.id = ?"));
        Ok(load::<RunTypes, RunRow, _>(self.conn, &sql, &[id.into()])?.into_iter().next())
    }

    fn run_states(&mut self, ids: &[&str]) -> QueryResult<Vec<(String, i64, i64)>> {
        let ids = id_batch(ids)?;
        let sql = self.sql(&format!(
            "SELECT r.id, r.state, r.token FROM {} STRAIGHT_JOIN {{runs}} r FORCE INDEX (PRIMARY) ON {IS_ROW}",
            table(&[("id", NAME)])
        ));
        load::<(Text, BigInt, BigInt), _, _>(self.conn, &sql, &[ids.as_str().into()])
    }

    fn list_runs(&mut self, page: RunPage<'_>) -> QueryResult<Vec<RunRow>> {
        let mut text =
            format!("SELECT {COLUMNS} FROM {{runs}} r WHERE r.fire_time >= ? AND r.fire_time <= ?");
        let mut binds: Vec<Bind<'_>> = vec![page.from.into(), page.until.into()];
        for (column, value) in [("id >", page.after), ("job_id =", page.job_id), ("task =", page.task)] {
            if let Some(value) = value {
                text.push_str(&format!(" AND r.{column} ?"));
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

    /// Looked for before it is locked: a search that locks keeps every claimed run that it passes over, and who renews or
    /// ends one would wait until the transaction ends.
    fn take_back(&mut self) -> QueryResult<Vec<String>> {
        const HAS_ENDED: &str = "state = 1 AND lease_until < {now}";
        let sql = self
            .sql(&format!("SELECT id FROM {{runs}} FORCE INDEX ({{prefix}}_runs_queued) WHERE {HAS_ENDED}"));
        let ids: Vec<String> = load::<Text, _, _>(self.conn, &sql, &[])?;
        if ids.is_empty() {
            return Ok(ids);
        }
        let sql = self.sql(&format!(
            "SELECT r.id FROM {} STRAIGHT_JOIN {{runs}} r FORCE INDEX (PRIMARY) ON {IS_ROW} WHERE {HAS_ENDED} FOR UPDATE SKIP LOCKED",
            table(&[("id", NAME)])
        ));
        let ids: Vec<String> = load::<Text, _, _>(self.conn, &sql, &[id_batch(&ids)?.as_str().into()])?;
        if !ids.is_empty() {
            let text = format!(
                "UPDATE {} STRAIGHT_JOIN {{runs}} r FORCE INDEX (PRIMARY) ON {IS_ROW} SET r.state = 0, r.token = r.token + 1, \
                 r.owner = NULL, r.lease_until = NULL",
                table(&[("id", NAME)])
            );
            self.execute(&text, &[id_batch(&ids)?.as_str().into()])?;
        }
        Ok(ids)
    }

    fn delete_expired_runs(&mut self, limit: i64) -> QueryResult<usize> {
        let search = "SELECT id FROM {runs} FORCE INDEX ({prefix}_runs_kept) WHERE expires_at <= {now} AND state = 2 \
             ORDER BY expires_at LIMIT ?";
        self.delete_finished(search, &[limit.into()])
    }

    /// Only what is finished has a time at which it ended.
    fn last_ended_beyond(&mut self, keep: i64) -> QueryResult<Option<EndedRun>> {
        let sql = self.sql(
            "SELECT finished_at, id FROM {runs} FORCE INDEX ({prefix}_runs_ended) WHERE finished_at IS NOT NULL \
             ORDER BY finished_at DESC, id DESC LIMIT 1 OFFSET ?",
        );
        let found: Vec<EndedRun> = load::<(Nullable<BigInt>, Text), _, _>(self.conn, &sql, &[keep.into()])?;
        Ok(found.into_iter().next())
    }

    fn delete_ended_runs(&mut self, last: &EndedRun, limit: i64) -> QueryResult<usize> {
        let search = "SELECT id FROM {runs} FORCE INDEX ({prefix}_runs_ended) WHERE finished_at <= ? \
             AND (finished_at < ? OR id <= ?) ORDER BY finished_at, id LIMIT ?";
        let end = Bind::from(last.finished_at);
        self.delete_finished(search, &[end, end, last.id.as_str().into(), limit.into()])
    }

    fn count_runs(&mut self) -> QueryResult<Vec<(i64, i64)>> {
        let sql = self.sql("SELECT state, COUNT(*) FROM {runs} GROUP BY state");
        load::<(BigInt, BigInt), _, _>(self.conn, &sql, &[])
    }

    fn next_run(&mut self, tasks: Option<&KnownTasks>) -> QueryResult<Option<i64>> {
        let mut next = self.number("SELECT MIN(lease_until) + 1 FROM {runs} WHERE state = 1", &[])?;
        let sql = self.sql("SELECT MIN(executor) FROM {runs} WHERE state = 0 AND executor > ?");
        let mut executor = String::new();
        loop {
            let found: Vec<Option<String>> =
                load::<Nullable<Text>, _, _>(self.conn, &sql, &[executor.as_str().into()])?;
            let Some(Some(found)) = found.into_iter().next() else { return Ok(next) };
            next = [next, self.next_of(&found, tasks)?].into_iter().flatten().min();
            executor = found;
        }
    }
}
