//! The statements about jobs.
//!
//! A claim is open while `claimed_until` is set; its token is new to the whole database, so that a job that was removed
//! and added again is not mistaken for the one that was claimed. SQLite runs in this process: a statement for each row
//! of a batch costs no more than one statement for all.

use diesel::QueryResult;
use diesel::sql_types::{BigInt, Binary, Nullable, Text};

use super::Rows;
use crate::backend::{Due, JobPage, JobStatements, Lease, Unreadable};
use crate::rows::{CommitColumns, JobColumns, JobRow};
use crate::statement::{Bind, execute, load, number};

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

const COLUMNS: &str =
    "seq, id, payload, next_run_time, next_fire_time, last_fire_time, status, revision, token, quarantine";

impl JobStatements for Rows<'_> {
    fn insert_jobs(&mut self, jobs: &[&JobColumns<'_>]) -> QueryResult<Vec<bool>> {
        let sql = self.tables.sql(
            "INSERT INTO {jobs} (id, task, payload, next_run_time, next_fire_time, last_fire_time, status, state, \
             revision) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING",
        );
        let inserted = jobs.iter().map(|columns| {
            let cursor = &columns.cursor;
            let binds = [
                columns.id().into(),
                columns.task().into(),
                columns.payload.as_slice().into(),
                cursor.next_run_time.into(),
                cursor.next_fire_time.into(),
                cursor.last_fire_time.into(),
                cursor.status.as_str().into(),
                cursor.state.into(),
                columns.revision().into(),
            ];
            Ok(execute(self.conn, &sql, &binds)? > 0)
        });
        inserted.collect()
    }

    /// A transaction that writes has the whole database to itself.
    fn find_jobs(&mut self, ids: &[&str], _for_change: bool) -> QueryResult<Vec<JobRow>> {
        let sql = self.tables.sql(&format!("SELECT {COLUMNS} FROM {{jobs}} WHERE id = ?"));
        let mut rows = Vec::with_capacity(ids.len());
        for id in ids {
            rows.extend(load::<JobTypes, JobRow, _>(self.conn, &sql, &[(*id).into()])?);
        }
        Ok(rows)
    }

    fn replace_jobs(&mut self, jobs: &[&JobColumns<'_>]) -> QueryResult<()> {
        let sql = self.tables.sql(
            "UPDATE {jobs} SET task = ?, payload = ?, next_run_time = ?, next_fire_time = ?, last_fire_time = ?, \
             status = ?, state = ?, revision = revision + 1, token = token + 1, claimed_by = NULL, \
             claimed_until = NULL, quarantine = NULL WHERE id = ?",
        );
        jobs.iter().try_for_each(|columns| {
            let cursor = &columns.cursor;
            let binds = [
                columns.task().into(),
                columns.payload.as_slice().into(),
                cursor.next_run_time.into(),
                cursor.next_fire_time.into(),
                cursor.last_fire_time.into(),
                cursor.status.as_str().into(),
                cursor.state.into(),
                columns.id().into(),
            ];
            execute(self.conn, &sql, &binds).map(drop)
        })
    }

    fn remove_jobs(&mut self, ids: &[&str]) -> QueryResult<Vec<String>> {
        let sql = self.tables.sql("DELETE FROM {jobs} WHERE id = ?");
        let mut removed = Vec::new();
        for id in ids {
            if execute(self.conn, &sql, &[(*id).into()])? > 0 {
                removed.push((*id).to_owned());
            }
        }
        Ok(removed)
    }

    fn clear_jobs(&mut self) -> QueryResult<usize> {
        execute(self.conn, &self.tables.sql("DELETE FROM {jobs}"), &[])
    }

    fn list_jobs(&mut self, page: JobPage<'_>) -> QueryResult<Vec<JobRow>> {
        const OF: &str = "(? IS NULL OR task = ?) AND (? IS NULL OR state = ?)";
        let (time, id) = page.after.unwrap_or((Some(i64::MIN), ""));
        let of: [Bind<'_>; 4] = [page.task.into(), page.task.into(), page.state.into(), page.state.into()];
        let mut rows = Vec::new();
        if let Some(time) = time {
            let sql = self.tables.sql(&format!(
                "SELECT {COLUMNS} FROM {{jobs}} WHERE next_run_time IS NOT NULL AND (next_run_time, id) > (?, ?) \
                 AND {OF} ORDER BY next_run_time, id LIMIT ?"
            ));
            let binds = [time.into(), id.into(), of[0], of[1], of[2], of[3], page.limit.into()];
            rows = load::<JobTypes, JobRow, _>(self.conn, &sql, &binds)?;
        }
        let left = match page.limit {
            unlimited if unlimited < 0 => unlimited,
            limit => limit.saturating_sub(i64::try_from(rows.len()).unwrap_or(i64::MAX)),
        };
        if left != 0 {
            let id = if time.is_none() { id } else { "" };
            let sql = self.tables.sql(&format!(
                "SELECT {COLUMNS} FROM {{jobs}} WHERE next_run_time IS NULL AND id > ? AND {OF} ORDER BY id LIMIT ?"
            ));
            let binds = [id.into(), of[0], of[1], of[2], of[3], left.into()];
            rows.extend(load::<JobTypes, JobRow, _>(self.conn, &sql, &binds)?);
        }
        Ok(rows)
    }

    fn count_jobs(&mut self) -> QueryResult<Vec<(i64, i64)>> {
        let sql = self.tables.sql("SELECT state, count(*) FROM {jobs} GROUP BY state");
        load::<(BigInt, BigInt), _, _>(self.conn, &sql, &[])
    }

    /// What is claimed was due, so that no more than the claimed rows are read to find the earliest end.
    fn next_job(&mut self) -> QueryResult<Option<i64>> {
        let due = self.tables.sql(
            "SELECT next_run_time FROM {jobs} WHERE next_run_time IS NOT NULL AND claimed_until IS NULL \
             ORDER BY next_run_time, id LIMIT 1",
        );
        let due = number(self.conn, &due, &[])?;
        let ends = self.tables.sql(
            "SELECT min(claimed_until) + 1 FROM {jobs} WHERE next_run_time <= ? AND claimed_until IS NOT NULL",
        );
        let ends = number(self.conn, &ends, &[due.unwrap_or(i64::MAX).into()])?;
        Ok([due, ends].into_iter().flatten().min())
    }

    fn is_job_due(&mut self, due: Due) -> QueryResult<bool> {
        let sql = self.tables.sql(
            "SELECT 1 FROM {jobs} WHERE next_run_time <= ? AND (claimed_until IS NULL OR claimed_until < ?) LIMIT 1",
        );
        Ok(number(self.conn, &sql, &[due.at.into(), self.now.into()])?.is_some())
    }

    fn claim_jobs(&mut self, due: Due, lease: Lease<'_>) -> QueryResult<Vec<JobRow>> {
        let token = self.new_token()?;
        let sql = self.tables.sql(&format!(
            "UPDATE {{jobs}} SET token = ?, claimed_by = ?, claimed_until = ? WHERE seq IN (SELECT seq FROM {{jobs}} \
             WHERE next_run_time <= ? AND (claimed_until IS NULL OR claimed_until < ?) ORDER BY next_run_time, id \
             LIMIT ?) RETURNING {COLUMNS}"
        ));
        let until = self.now.saturating_add(lease.micros);
        let binds = [
            token.into(),
            lease.owner.into(),
            until.into(),
            due.at.into(),
            self.now.into(),
            due.limit.into(),
        ];
        load::<JobTypes, _, _>(self.conn, &sql, &binds)
    }

    /// A transaction that writes has the whole database to itself.
    fn lock_jobs(&mut self, due: Due) -> QueryResult<Vec<JobRow>> {
        let sql = self.tables.sql(&format!(
            "SELECT {COLUMNS} FROM {{jobs}} WHERE next_run_time <= ? AND (claimed_until IS NULL OR claimed_until < ?) \
             ORDER BY next_run_time, id LIMIT ?"
        ));
        load::<JobTypes, _, _>(self.conn, &sql, &[due.at.into(), self.now.into(), due.limit.into()])
    }

    fn quarantine_jobs(&mut self, rows: &[Unreadable]) -> QueryResult<()> {
        let sql = self.tables.sql(
            "UPDATE {jobs} SET quarantine = ?, state = 4, next_run_time = NULL, token = token + 1, \
             claimed_by = NULL, claimed_until = NULL WHERE id = ? AND token = ?",
        );
        rows.iter().try_for_each(|row| {
            let binds = [row.reason.as_str().into(), row.id.as_str().into(), row.token.into()];
            execute(self.conn, &sql, &binds).map(drop)
        })
    }

    fn quarantined_jobs(&mut self) -> QueryResult<Vec<JobRow>> {
        let sql = self.tables.sql(&format!(
            "SELECT {COLUMNS} FROM {{jobs}} WHERE next_run_time IS NULL AND quarantine IS NOT NULL"
        ));
        load::<JobTypes, _, _>(self.conn, &sql, &[])
    }

    fn end_quarantine(&mut self, ids: &[&str]) -> QueryResult<()> {
        let sql = self.tables.sql(
            "UPDATE {jobs} SET quarantine = NULL, \
             state = CASE status WHEN 'scheduled' THEN 0 WHEN 'paused' THEN 1 WHEN 'finished' THEN 2 ELSE 3 END, \
             next_run_time = CASE status WHEN 'scheduled' THEN next_fire_time END \
             WHERE id = ? AND quarantine IS NOT NULL",
        );
        ids.iter().try_for_each(|id| execute(self.conn, &sql, &[(*id).into()]).map(drop))
    }

    fn recover(&mut self, owner: &str) -> QueryResult<()> {
        let jobs = self.tables.sql(
            "UPDATE {jobs} SET token = token + 1, claimed_by = NULL, claimed_until = NULL \
             WHERE next_run_time IS NOT NULL AND claimed_until IS NOT NULL AND claimed_by = ?",
        );
        execute(self.conn, &jobs, &[owner.into()])?;
        let runs = self.tables.sql(
            "UPDATE {runs} SET state = 0, token = token + 1, owner = NULL, lease_until = NULL \
             WHERE state = 1 AND owner = ?",
        );
        execute(self.conn, &runs, &[owner.into()]).map(drop)
    }

    fn advance_jobs(&mut self, commits: &[&CommitColumns]) -> QueryResult<Vec<bool>> {
        const IS_OURS: &str = "WHERE seq = ? AND id = ? AND token = ? AND claimed_until IS NOT NULL";
        let go = self.tables.sql(&format!("DELETE FROM {{jobs}} {IS_OURS}"));
        let stay = self.tables.sql(&format!(
            "UPDATE {{jobs}} SET next_run_time = ?, next_fire_time = ?, last_fire_time = ?, status = ?, state = ?, \
             revision = revision + 1, claimed_by = NULL, claimed_until = NULL {IS_OURS}"
        ));
        let changed = commits.iter().map(|commit| {
            let (seq, id, token) = (commit.seq.into(), commit.id.as_str().into(), commit.token.into());
            let changed = match &commit.cursor {
                None => execute(self.conn, &go, &[seq, id, token])?,
                Some(cursor) => {
                    let (run, fire) = (cursor.next_run_time.into(), cursor.next_fire_time.into());
                    let (last, status) = (cursor.last_fire_time.into(), cursor.status.as_str().into());
                    let binds = [run, fire, last, status, cursor.state.into(), seq, id, token];
                    execute(self.conn, &stay, &binds)?
                }
            };
            Ok(changed > 0)
        });
        changed.collect()
    }

    fn advance_locked(&mut self, commits: &[&CommitColumns]) -> QueryResult<()> {
        let go = self.tables.sql("DELETE FROM {jobs} WHERE seq = ?");
        let stay = self.tables.sql(
            "UPDATE {jobs} SET next_run_time = ?, next_fire_time = ?, last_fire_time = ?, status = ?, state = ?, \
             revision = revision + 1, token = ?, claimed_by = NULL, claimed_until = NULL WHERE seq = ?",
        );
        commits.iter().try_for_each(|commit| {
            let (seq, token) = (commit.seq.into(), commit.token.into());
            let done = match &commit.cursor {
                None => execute(self.conn, &go, &[seq]),
                Some(cursor) => {
                    let (run, fire) = (cursor.next_run_time.into(), cursor.next_fire_time.into());
                    let (last, status) = (cursor.last_fire_time.into(), cursor.status.as_str().into());
                    let binds = [run, fire, last, status, cursor.state.into(), token, seq];
                    execute(self.conn, &stay, &binds)
                }
            };
            done.map(drop)
        })
    }
}
