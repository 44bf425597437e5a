//! The statements about jobs.

use std::collections::HashSet;

use diesel::QueryResult;
use diesel::sql_types::{BigInt, Binary, Nullable, Text};

use super::{Rows, uuids_of};
use crate::backend::{Due, JobPage, JobStatements, Lease, Statements, Unreadable};
use crate::rows::{CommitColumns, CursorColumns, JobColumns, JobRow};
use crate::statement::{Bind, load};

type JobTypes = (
    BigInt,
    Text,
    Binary,
    Nullable<BigInt>,
    Nullable<BigInt>,
    Nullable<BigInt>,
    Text,
    BigInt,
    BigInt,
    Nullable<Text>,
);

/// A row has no shortcut: its id is its key.
const COLUMNS: &str = "0::bigint, j.id, j.payload, j.next_run_time, j.next_fire_time, j.last_fire_time, j.status, \
     j.revision, j.token, j.quarantine";

/// Jobs as one list for each column.
struct JobLists<'a> {
    ids: Vec<Option<&'a str>>,
    tasks: Vec<Option<&'a str>>,
    payloads: Vec<Option<&'a [u8]>>,
    revisions: Vec<Option<i64>>,
    cursors: CursorLists<'a>,
}

impl<'a> JobLists<'a> {
    fn new(jobs: &'a [&JobColumns<'_>]) -> Self {
        Self {
            ids: jobs.iter().map(|columns| Some(columns.id())).collect(),
            tasks: jobs.iter().map(|columns| Some(columns.task())).collect(),
            payloads: jobs.iter().map(|columns| Some(columns.payload.as_slice())).collect(),
            revisions: jobs.iter().map(|columns| Some(columns.revision())).collect(),
            cursors: CursorLists::new(jobs.iter().map(|columns| Some(&columns.cursor))),
        }
    }

    /// In the order id, task, payload, revision, cursor.
    fn binds(&self) -> [Bind<'_>; 9] {
        let [run, fire, last, status, state] = self.cursors.binds();
        let (ids, tasks) = (Bind::Texts(&self.ids), Bind::Texts(&self.tasks));
        let (payloads, revisions) = (Bind::ByteStrings(&self.payloads), Bind::Ints(&self.revisions));
        [ids, tasks, payloads, revisions, run, fire, last, status, state]
    }
}

/// Cursors as one list for each column; what has no cursor is nothing but `NULL`.
struct CursorLists<'a> {
    next_run_times: Vec<Option<i64>>,
    next_fire_times: Vec<Option<i64>>,
    last_fire_times: Vec<Option<i64>>,
    statuses: Vec<Option<&'a str>>,
    states: Vec<Option<i64>>,
}

impl<'a> CursorLists<'a> {
    fn new(cursors: impl Iterator<Item = Option<&'a CursorColumns>> + Clone) -> Self {
        let times =
            |time: fn(&CursorColumns) -> Option<i64>| cursors.clone().map(|cursor| time(cursor?)).collect();
        Self {
            next_run_times: times(|cursor| cursor.next_run_time),
            next_fire_times: times(|cursor| cursor.next_fire_time),
            last_fire_times: times(|cursor| cursor.last_fire_time),
            statuses: cursors.clone().map(|cursor| Some(cursor?.status.as_str())).collect(),
            states: times(|cursor| Some(cursor.state)),
        }
    }

    fn binds(&self) -> [Bind<'_>; 5] {
        [
            Bind::Ints(&self.next_run_times),
            Bind::Ints(&self.next_fire_times),
            Bind::Ints(&self.last_fire_times),
            Bind::Texts(&self.statuses),
            Bind::Ints(&self.states),
        ]
    }
}

/// Commits as one list for each column.
struct CommitLists<'a> {
    ids: Vec<Option<&'a str>>,
    tokens: Vec<Option<i64>>,
    cursors: CursorLists<'a>,
}

impl<'a> CommitLists<'a> {
    fn new(commits: &'a [&CommitColumns]) -> Self {
        Self {
            ids: commits.iter().map(|commit| Some(commit.id.as_str())).collect(),
            tokens: commits.iter().map(|commit| Some(commit.token)).collect(),
            cursors: CursorLists::new(commits.iter().map(|commit| commit.cursor.as_ref())),
        }
    }

    fn binds(&self) -> [Bind<'_>; 7] {
        let [run, fire, last, status, state] = self.cursors.binds();
        [Bind::Texts(&self.ids), Bind::Ints(&self.tokens), run, fire, last, status, state]
    }
}

/// Ends the open claims of a batch `c` as it says; answers the places of those that were open. A batch's row without a state
/// is that of a job which goes.
const ADVANCE: &str = "WITH c AS MATERIALIZED (SELECT * FROM unnest(?, ?, ?, ?, ?, ?, ?) WITH ORDINALITY AS c(id, token, \
       next_run_time, next_fire_time, last_fire_time, status, state, place)), \
     moved AS (UPDATE {jobs} j SET next_run_time = c.next_run_time, next_fire_time = c.next_fire_time, \
       last_fire_time = c.last_fire_time, status = c.status, state = c.state, revision = j.revision + 1, claimed_by = NULL, \
       claimed_until = NULL FROM c WHERE j.id = c.id AND j.token = c.token AND j.claimed_until IS NOT NULL \
       AND c.state IS NOT NULL RETURNING c.place), \
     gone AS (DELETE FROM {jobs} j USING c WHERE c.state IS NULL AND j.id = c.id AND j.token = c.token \
       AND j.claimed_until IS NOT NULL RETURNING c.place) \
     SELECT place FROM moved UNION ALL SELECT place FROM gone";

/// The same for rows that the transaction has locked; they take the tokens of the batch.
const ADVANCE_LOCKED: &str = "WITH c AS MATERIALIZED (SELECT * FROM unnest(?, ?, ?, ?, ?, ?, ?) AS c(id, token, next_run_time, \
       next_fire_time, last_fire_time, status, state)), \
     gone AS (DELETE FROM {jobs} j USING c WHERE c.state IS NULL AND j.id = c.id) \
     UPDATE {jobs} j SET next_run_time = c.next_run_time, next_fire_time = c.next_fire_time, \
       last_fire_time = c.last_fire_time, status = c.status, state = c.state, revision = j.revision + 1, token = c.token, \
       claimed_by = NULL, claimed_until = NULL FROM c WHERE j.id = c.id AND c.state IS NOT NULL";

impl JobStatements for Rows<'_> {
    fn insert_jobs(&mut self, jobs: &[&JobColumns<'_>]) -> QueryResult<Vec<bool>> {
        let sql = self.sql(
            "INSERT INTO {jobs} (id, task, payload, revision, next_run_time, next_fire_time, last_fire_time, status, \
             state) SELECT * FROM unnest(?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING RETURNING id",
        );
        let lists = JobLists::new(jobs);
        let inserted: Vec<String> = load::<Text, _, _>(self.conn, &sql, &lists.binds())?;
        if inserted.len() == jobs.len() {
            return Ok(vec![true; jobs.len()]);
        }
        let inserted: HashSet<&str> = inserted.iter().map(String::as_str).collect();
        Ok(jobs.iter().map(|columns| inserted.contains(columns.id())).collect())
    }

    fn find_jobs(&mut self, ids: &[&str], for_change: bool) -> QueryResult<Vec<JobRow>> {
        let lock = if for_change { "ORDER BY j.id FOR UPDATE" } else { "" };
        let sql = self.sql(&format!("SELECT {COLUMNS} FROM {{jobs}} j WHERE j.id = ANY(?) {lock}"));
        let ids: Vec<Option<&str>> = ids.iter().copied().map(Some).collect();
        load::<JobTypes, _, _>(self.conn, &sql, &[Bind::Texts(&ids)])
    }

    fn replace_jobs(&mut self, jobs: &[&JobColumns<'_>]) -> QueryResult<()> {
        let lists = JobLists::new(jobs);
        self.execute(
            "UPDATE {jobs} j SET task = n.task, payload = n.payload, next_run_time = n.next_run_time, \
             next_fire_time = n.next_fire_time, last_fire_time = n.last_fire_time, status = n.status, \
             state = n.state, revision = j.revision + 1, token = j.token + 1, claimed_by = NULL, \
             claimed_until = NULL, quarantine = NULL FROM unnest(?, ?, ?, ?, ?, ?, ?, ?, ?) AS n(id, task, payload, \
             revision, next_run_time, next_fire_time, last_fire_time, status, state) WHERE j.id = n.id",
            &lists.binds(),
        )
        .map(drop)
    }

    fn remove_jobs(&mut self, ids: &[&str]) -> QueryResult<Vec<String>> {
        let sql = self.sql("DELETE FROM {jobs} WHERE id = ANY(?) RETURNING id");
        let ids: Vec<Option<&str>> = ids.iter().copied().map(Some).collect();
        load::<Text, _, _>(self.conn, &sql, &[Bind::Texts(&ids)])
    }

    fn clear_jobs(&mut self) -> QueryResult<usize> {
        self.execute("DELETE FROM {jobs}", &[])
    }

    fn list_jobs(&mut self, page: JobPage<'_>) -> QueryResult<Vec<JobRow>> {
        let mut of = String::new();
        let mut of_binds: Vec<Bind<'_>> = Vec::new();
        if let Some(task) = page.task {
            of.push_str(" AND j.task = ?");
            of_binds.push(task.into());
        }
        if let Some(state) = page.state {
            of.push_str(" AND j.state = ?");
            of_binds.push(state.into());
        }
        let (time, id) = page.after.unwrap_or((Some(i64::MIN), ""));
        let scheduled = format!(
            "(SELECT {COLUMNS} FROM {{jobs}} j WHERE (j.next_run_time, j.id) > (?, ?){of} \
             ORDER BY j.next_run_time, j.id LIMIT ?) UNION ALL "
        );
        let others = format!(
            "(SELECT {COLUMNS} FROM {{jobs}} j WHERE j.next_run_time IS NULL AND j.id > ?{of} ORDER BY j.id LIMIT ?)"
        );
        let mut binds: Vec<Bind<'_>> = Vec::new();
        if let Some(time) = time {
            binds.extend([Bind::from(time), id.into()]);
            binds.extend(of_binds.iter().copied());
            binds.push(page.limit.into());
        }
        binds.push(if time.is_none() { id } else { "" }.into());
        binds.extend(of_binds);
        binds.push(page.limit.into());
        let sql = match time {
            Some(_) => {
                binds.push(page.limit.into());
                self.sql(&format!("{scheduled}{others} LIMIT ?"))
            }
            None => self.sql(&others),
        };
        load::<JobTypes, _, _>(self.conn, &sql, &binds)
    }

    fn count_jobs(&mut self) -> QueryResult<Vec<(i64, i64)>> {
        let sql = self.sql("SELECT state, count(*) FROM {jobs} GROUP BY state");
        load::<(BigInt, BigInt), _, _>(self.conn, &sql, &[])
    }

    /// What is claimed was due, so that no more than the claimed rows are read to find the earliest end.
    fn next_job(&mut self) -> QueryResult<Option<i64>> {
        self.number(
            "WITH first AS MATERIALIZED (SELECT next_run_time FROM {jobs} WHERE next_run_time IS NOT NULL \
               AND claimed_until IS NULL ORDER BY next_run_time, id LIMIT 1) \
             SELECT least((SELECT next_run_time FROM first), (SELECT min(claimed_until) + 1 FROM {jobs} \
               WHERE claimed_until IS NOT NULL \
               AND next_run_time <= coalesce((SELECT next_run_time FROM first), 9223372036854775807)))",
            &[],
        )
    }

    /// The ids go through an array, so that however many are wanted the planner looks each up in its index.
    fn claim_jobs(&mut self, due: Due, lease: Lease<'_>) -> QueryResult<Vec<JobRow>> {
        let sql = self.sql(&format!(
            "WITH t AS MATERIALIZED (SELECT nextval('{{tokens}}') AS token, {{now}} AS now) \
             UPDATE {{jobs}} j SET token = (SELECT token FROM t), claimed_by = ?, \
               claimed_until = (SELECT now FROM t) + ? WHERE j.id = ANY (ARRAY(SELECT id FROM {{jobs}} \
               WHERE next_run_time <= ? AND (claimed_until IS NULL OR claimed_until < (SELECT now FROM t)) \
               ORDER BY next_run_time, id LIMIT ? FOR UPDATE SKIP LOCKED)) RETURNING {COLUMNS}"
        ));
        let binds = [lease.owner.into(), lease.micros.into(), due.at.into(), due.limit.into()];
        load::<JobTypes, _, _>(self.conn, &sql, &binds)
    }

    fn lock_jobs(&mut self, due: Due) -> QueryResult<Vec<JobRow>> {
        let sql = self.sql(&format!(
            "SELECT {COLUMNS} FROM {{jobs}} j WHERE next_run_time <= ? AND (claimed_until IS NULL OR claimed_until < {{now}}) \
             ORDER BY next_run_time, id LIMIT ? FOR UPDATE SKIP LOCKED"
        ));
        load::<JobTypes, _, _>(self.conn, &sql, &[due.at.into(), due.limit.into()])
    }

    fn quarantine_jobs(&mut self, rows: &[Unreadable]) -> QueryResult<()> {
        let ids: Vec<Option<&str>> = rows.iter().map(|row| Some(row.id.as_str())).collect();
        let tokens: Vec<Option<i64>> = rows.iter().map(|row| Some(row.token)).collect();
        let reasons: Vec<Option<&str>> = rows.iter().map(|row| Some(row.reason.as_str())).collect();
        self.execute(
            "UPDATE {jobs} j SET quarantine = q.reason, state = 4, next_run_time = NULL, token = j.token + 1, \
             claimed_by = NULL, claimed_until = NULL FROM unnest(?, ?, ?) AS q(id, token, reason) \
             WHERE j.id = q.id AND j.token = q.token",
            &[Bind::Texts(&ids), Bind::Ints(&tokens), Bind::Texts(&reasons)],
        )
        .map(drop)
    }

    fn quarantined_jobs(&mut self) -> QueryResult<Vec<JobRow>> {
        let sql = self.sql(&format!(
            "SELECT {COLUMNS} FROM {{jobs}} j WHERE j.next_run_time IS NULL AND j.quarantine IS NOT NULL"
        ));
        load::<JobTypes, _, _>(self.conn, &sql, &[])
    }

    fn end_quarantine(&mut self, ids: &[&str]) -> QueryResult<()> {
        let ids: Vec<Option<&str>> = ids.iter().copied().map(Some).collect();
        self.execute(
            "UPDATE {jobs} SET quarantine = NULL, \
             state = CASE status WHEN 'scheduled' THEN 0 WHEN 'paused' THEN 1 WHEN 'finished' THEN 2 ELSE 3 END, \
             next_run_time = CASE status WHEN 'scheduled' THEN next_fire_time END \
             WHERE id = ANY(?) AND quarantine IS NOT NULL",
            &[Bind::Texts(&ids)],
        )
        .map(drop)
    }

    fn recover(&mut self, owner: &str) -> QueryResult<()> {
        self.execute(
            "WITH jobs AS (UPDATE {jobs} SET token = token + 1, claimed_by = NULL, claimed_until = NULL \
               WHERE next_run_time IS NOT NULL AND claimed_until IS NOT NULL AND claimed_by = ?) \
             UPDATE {runs} SET state = 0, token = token + 1, owner = NULL, lease_until = NULL \
             WHERE state = 1 AND owner = ?",
            &[owner.into(), owner.into()],
        )
        .map(drop)
    }

    fn advance_jobs(&mut self, commits: &[&CommitColumns]) -> QueryResult<Vec<bool>> {
        let lists = CommitLists::new(commits);
        self.changed(ADVANCE, &lists.binds(), commits.len())
    }

    fn advance_locked(&mut self, commits: &[&CommitColumns]) -> QueryResult<()> {
        self.execute(ADVANCE_LOCKED, &CommitLists::new(commits).binds()).map(drop)
    }
}

impl Statements for Rows<'_> {}

/// The ids of runs, as the database has them.
pub(super) fn run_ids(ids: &[&str]) -> QueryResult<Vec<uuid::Uuid>> {
    uuids_of(ids.iter().copied())
}
