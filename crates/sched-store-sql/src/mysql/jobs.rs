//! The statements about jobs.

use std::collections::{HashMap, HashSet};

use diesel::QueryResult;
use diesel::result::{DatabaseErrorKind, Error as DieselError};
use diesel::sql_types::{BigInt, Binary, Nullable, Text};

use super::{BYTES, INT, NAME, Rows, batch, hex, listed, packets, parts, table};
use crate::backend::{Due, JobPage, JobStatements, Lease, Unreadable};
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

const COLUMNS: &str = "j.seq, j.id, j.payload, j.next_run_time, j.next_fire_time, \
     NULLIF(j.last_fire_time, -9223372036854775808), j.status, \
     j.revision, j.token, j.quarantine";

/// How often an insert is tried while others insert the same ids.
pub(super) const MAX_TRIES: usize = 5;

/// Reads rows as they are, and not as they were when a caller's own transaction began.
const LOCK: &str = "LOCK IN SHARE MODE";

/// How many times as many due jobs a claim looks at as it takes, when others who claim at the same moment have the first.
const WINDOW: i64 = 4;

/// The last fire time of a job that has not fired: a row that keeps its length is changed in place, at half the cost.
fn last_or_never(last: Option<i64>) -> i64 {
    last.unwrap_or(i64::MIN)
}

/// A row's state by its status.
const STATE: &str =
    "CASE status WHEN 'scheduled' THEN 0 WHEN 'paused' THEN 1 WHEN 'finished' THEN 2 ELSE 3 END";

/// The columns of a job's row in a batch.
fn job_table() -> String {
    table(&[
        ("id", NAME),
        ("task", NAME),
        ("payload", BYTES),
        ("revision", INT),
        ("next_run_time", INT),
        ("next_fire_time", INT),
        ("last_fire_time", INT),
        ("status", "LONGTEXT CHARACTER SET utf8mb4"),
        ("state", INT),
    ])
}

fn job_batch(jobs: &[&JobColumns<'_>]) -> QueryResult<String> {
    let rows = jobs.iter().map(|columns| {
        let cursor = &columns.cursor;
        let last = last_or_never(cursor.last_fire_time);
        let (run, fire) = (cursor.next_run_time, cursor.next_fire_time);
        let (id, task, payload) = (columns.id(), columns.task(), hex(&columns.payload));
        (id, task, payload, columns.revision(), run, fire, last, &cursor.status, cursor.state)
    });
    batch(&rows.collect::<Vec<_>>())
}

fn size(columns: &&JobColumns<'_>) -> usize {
    columns.payload.len()
}

/// The table of a batch of ids, and of ids with numbers.
fn id_table() -> String {
    table(&[("id", NAME)])
}

fn id_batch(ids: &[&str]) -> QueryResult<String> {
    batch(&ids.iter().map(|id| [id]).collect::<Vec<_>>())
}

/// The table of a batch of claims.
fn claim_table() -> String {
    table(&[("seq", INT), ("id", NAME), ("token", INT)])
}

const IS_OURS: &str = "j.seq = v.seq AND j.id = CAST(v.id AS BINARY) AND j.token = v.token";

/// What becomes of a row whose job moves on.
const MOVED: &str = "j.next_run_time = v.next_run_time, j.next_fire_time = v.next_fire_time, \
     j.last_fire_time = v.last_fire_time, j.status = v.status, j.state = v.state, j.revision = j.revision + 1, \
     j.claimed_until = 0";

impl Rows<'_> {
    /// The ids that are taken, as the transaction sees them; with a lock, as they are.
    fn taken(&mut self, ids: &[&str], lock: &str) -> QueryResult<HashSet<String>> {
        let sql = self.sql(&format!(
            "SELECT j.id FROM {} STRAIGHT_JOIN {{jobs}} j FORCE INDEX ({{prefix}}_jobs_id) ON j.id = CAST(v.id AS BINARY) {lock}",
            id_table()
        ));
        let taken: Vec<String> = load::<Text, _, _>(self.conn, &sql, &[id_batch(ids)?.as_str().into()])?;
        Ok(taken.into_iter().collect())
    }

    /// The numbers of the rows of jobs, in order; with a lock, those that the transaction does not see yet, too.
    fn numbers(&mut self, ids: &[&str], lock: &str) -> QueryResult<Vec<(i64, String)>> {
        let sql = self.sql(&format!(
            "SELECT j.seq, j.id FROM {} STRAIGHT_JOIN {{jobs}} j FORCE INDEX ({{prefix}}_jobs_id) ON j.id = CAST(v.id AS BINARY) ORDER BY j.seq {lock}",
            id_table()
        ));
        load::<(BigInt, Text), _, _>(self.conn, &sql, &[id_batch(ids)?.as_str().into()])
    }

    fn insert_all(&mut self, jobs: &[&JobColumns<'_>]) -> QueryResult<()> {
        packets(jobs, size).into_iter().flat_map(parts).try_for_each(|part| {
            let text = format!(
                "INSERT INTO {{jobs}} (id, task, payload, revision, next_run_time, next_fire_time, last_fire_time, status, \
                 state) VALUES {}",
                listed("(?, ?, ?, ?, ?, ?, ?, ?, ?)", part.len())
            );
            let binds = part.iter().flat_map(|columns| {
                let cursor = &columns.cursor;
                [
                    columns.id().as_bytes().into(),
                    columns.task().as_bytes().into(),
                    columns.payload.as_slice().into(),
                    columns.revision().into(),
                    cursor.next_run_time.into(),
                    cursor.next_fire_time.into(),
                    last_or_never(cursor.last_fire_time).into(),
                    cursor.status.as_str().into(),
                    cursor.state.into(),
                ]
            });
            self.execute_wide(&text, &binds.collect::<Vec<Bind<'_>>>()).map(drop)
        })
    }

    /// Removes the jobs of open claims; says of each claim whether it was open.
    fn remove_claimed(&mut self, commits: &[&CommitColumns]) -> QueryResult<Vec<bool>> {
        let claims: Vec<_> = commits.iter().map(|commit| (commit.seq, &commit.id, commit.token)).collect();
        let claims = batch(&claims)?;
        let open = self.open_claims(commits)?;
        let delete = format!(
            "DELETE j FROM {} STRAIGHT_JOIN {{jobs}} j FORCE INDEX (PRIMARY) ON {IS_OURS} WHERE j.claimed_until <> 0",
            claim_table()
        );
        self.execute(&delete, &[claims.as_str().into()])?;
        Ok(open)
    }

    /// Moves the jobs of open claims on; says of each claim whether it was open.
    fn move_claimed(&mut self, commits: &[&CommitColumns]) -> QueryResult<Vec<bool>> {
        let open = self.open_claims(commits)?;
        self.move_jobs(commits, &format!("ON {IS_OURS} SET {MOVED} WHERE j.claimed_until <> 0"))?;
        Ok(open)
    }

    /// Moves jobs on: those that `how` finds, as it says.
    fn move_jobs(&mut self, commits: &[&CommitColumns], how: &str) -> QueryResult<()> {
        let columns = [
            ("seq", INT),
            ("id", NAME),
            ("token", INT),
            ("next_run_time", INT),
            ("next_fire_time", INT),
            ("last_fire_time", INT),
            ("status", "LONGTEXT CHARACTER SET utf8mb4"),
            ("state", INT),
        ];
        let update =
            format!("UPDATE {} STRAIGHT_JOIN {{jobs}} j FORCE INDEX (PRIMARY) {how}", table(&columns));
        let size = |commit: &&CommitColumns| {
            commit.id.len() + commit.cursor.as_ref().map_or(0, |cursor| cursor.status.len())
        };
        packets(commits, size).into_iter().try_for_each(|part| {
            let rows = part.iter().filter_map(|commit| {
                let cursor = commit.cursor.as_ref()?;
                let last = last_or_never(cursor.last_fire_time);
                let (run, fire) = (cursor.next_run_time, cursor.next_fire_time);
                Some((commit.seq, &commit.id, commit.token, run, fire, last, &cursor.status, cursor.state))
            });
            let rows = batch(&rows.collect::<Vec<_>>())?;
            self.execute(&update, &[rows.as_str().into()]).map(drop)
        })
    }

    /// Deletes rows that the transaction has locked.
    fn delete_locked(&mut self, seqs: impl Iterator<Item = i64>) -> QueryResult<()> {
        let seqs = batch(&seqs.map(|seq| [seq]).collect::<Vec<_>>())?;
        let text = format!(
            "DELETE j FROM {} STRAIGHT_JOIN {{jobs}} j FORCE INDEX (PRIMARY) ON j.seq = v.seq",
            table(&[("seq", INT)])
        );
        self.execute(&text, &[seqs.as_str().into()]).map(drop)
    }

    /// Moves jobs on that all go to the same cursor.
    fn move_alike(&mut self, commits: &[&CommitColumns]) -> QueryResult<()> {
        let Some((token, cursor)) =
            commits.first().and_then(|first| Some((first.token, first.cursor.as_ref()?)))
        else {
            return Ok(());
        };
        parts(commits).into_iter().try_for_each(|part| {
            let text = format!(
                "UPDATE {{jobs}} j FORCE INDEX (PRIMARY) SET j.next_run_time = ?, j.next_fire_time = ?, j.last_fire_time = ?, \
                 j.status = ?, j.state = ?, j.token = ?, j.revision = j.revision + 1, j.claimed_until = 0 \
                 WHERE j.seq IN ({})",
                listed("?", part.len())
            );
            let mut binds: Vec<Bind<'_>> = vec![
                cursor.next_run_time.into(),
                cursor.next_fire_time.into(),
                last_or_never(cursor.last_fire_time).into(),
                cursor.status.as_str().into(),
                cursor.state.into(),
                token.into(),
            ];
            binds.extend(part.iter().map(|commit| Bind::from(commit.seq)));
            self.execute_wide(&text, &binds).map(drop)
        })
    }

    /// Locks free jobs among the first `window` that are due; says also whether more may be due.
    fn lock_first(&mut self, due: Due, window: i64) -> QueryResult<(Vec<JobRow>, bool)> {
        let sql = self.sql(
            "SELECT seq FROM {jobs} FORCE INDEX ({prefix}_jobs_due) WHERE next_run_time <= ? \
             AND claimed_until < {now} ORDER BY next_run_time, id LIMIT ?",
        );
        let seqs: Vec<i64> = load::<BigInt, _, _>(self.conn, &sql, &[due.at.into(), window.into()])?;
        if seqs.is_empty() {
            return Ok((Vec::new(), false));
        }
        let is_more = i64::try_from(seqs.len()).is_ok_and(|found| found >= window);
        let seqs = batch(&seqs.iter().map(|seq| [seq]).collect::<Vec<_>>())?;
        let sql = self.sql(&format!(
            "SELECT {COLUMNS} FROM {} STRAIGHT_JOIN {{jobs}} j FORCE INDEX (PRIMARY) ON j.seq = v.seq AND j.next_run_time <= ? \
             AND j.claimed_until < {{now}} LIMIT ? FOR UPDATE SKIP LOCKED",
            table(&[("seq", INT)])
        ));
        let binds = [seqs.as_str().into(), due.at.into(), due.limit.into()];
        Ok((load::<JobTypes, _, _>(self.conn, &sql, &binds)?, is_more))
    }

    /// Says of each claim whether it is open; the rows of those that are, are locked.
    fn open_claims(&mut self, commits: &[&CommitColumns]) -> QueryResult<Vec<bool>> {
        let claims: Vec<_> = commits.iter().map(|commit| (commit.seq, &commit.id, commit.token)).collect();
        let select = format!(
            "SELECT v.place FROM {} STRAIGHT_JOIN {{jobs}} j FORCE INDEX (PRIMARY) ON {IS_OURS} WHERE j.claimed_until <> 0 FOR UPDATE",
            claim_table()
        );
        self.places(&select, &batch(&claims)?, commits.len())
    }
}

/// To how many cursors the jobs of a batch go, at most, that are moved by a statement for each: it is much faster than one that
/// joins a table, but a turn makes a bounded number of round trips.
const MOST_CURSORS: usize = 4;

/// Commits by the cursor that they go to, when few of them differ, as those of jobs with one rhythm do.
fn alike<'c>(commits: &[&'c CommitColumns]) -> Option<Vec<Vec<&'c CommitColumns>>> {
    let mut groups: HashMap<&CursorColumns, Vec<&CommitColumns>> = HashMap::new();
    for commit in commits {
        groups.entry(commit.cursor.as_ref()?).or_default().push(commit);
        if groups.len() > MOST_CURSORS {
            return None;
        }
    }
    Some(groups.into_values().collect())
}

impl JobStatements for Rows<'_> {
    /// Neither server says which rows of an insert were new.
    fn insert_jobs(&mut self, jobs: &[&JobColumns<'_>]) -> QueryResult<Vec<bool>> {
        let ids: Vec<&str> = jobs.iter().map(|columns| columns.id()).collect();
        let mut tries = 0;
        loop {
            // Locks on what is not there would be in the way of others who insert; so only where that was not enough.
            let taken = self.taken(&ids, if tries == 0 { "" } else { LOCK })?;
            let fresh: Vec<&JobColumns<'_>> =
                jobs.iter().filter(|columns| !taken.contains(columns.id())).copied().collect();
            let inserted = if fresh.is_empty() { Ok(()) } else { self.insert_all(&fresh) };
            tries += 1;
            match inserted {
                Err(DieselError::DatabaseError(DatabaseErrorKind::UniqueViolation, _))
                    if tries < MAX_TRIES => {}
                Err(error) => return Err(error),
                Ok(()) => return Ok(ids.iter().map(|id| !taken.contains(*id)).collect()),
            }
        }
    }

    fn find_jobs(&mut self, ids: &[&str], for_change: bool) -> QueryResult<Vec<JobRow>> {
        if !for_change {
            let sql = self.sql(&format!(
                "SELECT {COLUMNS} FROM {} STRAIGHT_JOIN {{jobs}} j FORCE INDEX ({{prefix}}_jobs_id) ON j.id = CAST(v.id AS BINARY)",
                id_table()
            ));
            return load::<JobTypes, _, _>(self.conn, &sql, &[id_batch(ids)?.as_str().into()]);
        }
        let mut found = self.numbers(ids, "")?;
        if found.len() < ids.len() {
            let seen: HashSet<&str> = found.iter().map(|(_, id)| id.as_str()).collect();
            let unseen: Vec<&str> = ids.iter().copied().filter(|id| !seen.contains(id)).collect();
            found.extend(self.numbers(&unseen, LOCK)?);
            found.sort_unstable();
        }
        if found.is_empty() {
            return Ok(Vec::new());
        }
        // Locked in the order of their numbers: whoever came by another index would wait for whoever deletes.
        let seqs: Vec<[i64; 1]> = found.into_iter().map(|(seq, _)| [seq]).collect();
        let seqs = batch(&seqs)?;
        let sql = self.sql(&format!(
            "SELECT {COLUMNS} FROM {} STRAIGHT_JOIN {{jobs}} j FORCE INDEX (PRIMARY) ON j.seq = v.seq FOR UPDATE",
            table(&[("seq", INT)])
        ));
        load::<JobTypes, _, _>(self.conn, &sql, &[seqs.as_str().into()])
    }

    fn replace_jobs(&mut self, jobs: &[&JobColumns<'_>]) -> QueryResult<()> {
        let text = format!(
            "UPDATE {} STRAIGHT_JOIN {{jobs}} j FORCE INDEX ({{prefix}}_jobs_id) ON j.id = CAST(v.id AS BINARY) SET j.task = v.task, \
             j.payload = UNHEX(v.payload), j.next_run_time = v.next_run_time, j.next_fire_time = v.next_fire_time, \
             j.last_fire_time = v.last_fire_time, j.status = v.status, j.state = v.state, \
             j.revision = j.revision + 1, j.token = j.token + 1, j.claimed_until = 0, \
             j.quarantine = NULL",
            job_table()
        );
        packets(jobs, size)
            .into_iter()
            .try_for_each(|part| self.execute(&text, &[job_batch(part)?.as_str().into()]).map(drop))
    }

    fn remove_jobs(&mut self, ids: &[&str]) -> QueryResult<Vec<String>> {
        let found = self.find_jobs(ids, true)?;
        if !found.is_empty() {
            self.delete_locked(found.iter().map(|row| row.seq))?;
        }
        Ok(found.into_iter().map(|row| row.id).collect())
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
        let mut rows: Vec<JobRow> = Vec::new();
        if let Some(time) = time {
            let sql = self.sql(&format!(
                "SELECT {COLUMNS} FROM {{jobs}} j WHERE j.next_run_time >= ? AND (j.next_run_time > ? OR j.id > ?){of} \
                 ORDER BY j.next_run_time, j.id LIMIT ?"
            ));
            let mut binds: Vec<Bind<'_>> = vec![time.into(), time.into(), id.into()];
            binds.extend(&of_binds);
            binds.push(page.limit.into());
            rows = load::<JobTypes, _, _>(self.conn, &sql, &binds)?;
        }
        let left = page.limit.saturating_sub(i64::try_from(rows.len()).unwrap_or(i64::MAX));
        if left > 0 {
            let sql = self.sql(&format!(
                "SELECT {COLUMNS} FROM {{jobs}} j WHERE j.next_run_time IS NULL AND j.id > ?{of} ORDER BY j.id LIMIT ?"
            ));
            let mut binds: Vec<Bind<'_>> = vec![if time.is_none() { id } else { "" }.into()];
            binds.extend(&of_binds);
            binds.push(left.into());
            rows.extend(load::<JobTypes, JobRow, _>(self.conn, &sql, &binds)?);
        }
        Ok(rows)
    }

    fn count_jobs(&mut self) -> QueryResult<Vec<(i64, i64)>> {
        let sql = self.sql("SELECT state, COUNT(*) FROM {jobs} GROUP BY state");
        load::<(BigInt, BigInt), _, _>(self.conn, &sql, &[])
    }

    /// What is claimed was due, so that no more than the claimed rows are read to find the earliest end.
    fn next_job(&mut self) -> QueryResult<Option<i64>> {
        let due = self.number(
            "SELECT next_run_time FROM {jobs} FORCE INDEX ({prefix}_jobs_due) WHERE next_run_time IS NOT NULL \
             AND claimed_until = 0 ORDER BY next_run_time, id LIMIT 1",
            &[],
        )?;
        let ends = self.number(
            "SELECT MIN(claimed_until) + 1 FROM {jobs} FORCE INDEX ({prefix}_jobs_due) WHERE next_run_time <= ? \
             AND claimed_until <> 0",
            &[due.unwrap_or(i64::MAX).into()],
        )?;
        Ok([due, ends].into_iter().flatten().min())
    }

    fn claim_jobs(&mut self, due: Due, lease: Lease<'_>) -> QueryResult<Vec<JobRow>> {
        let mut rows = self.lock_jobs(due)?;
        if rows.is_empty() {
            return Ok(rows);
        }
        let token = self.new_token()?;
        let seqs = batch(&rows.iter().map(|row| [row.seq]).collect::<Vec<_>>())?;
        let update = format!(
            "UPDATE {} STRAIGHT_JOIN {{jobs}} j FORCE INDEX (PRIMARY) ON j.seq = v.seq SET j.token = ?, j.claimed_by = ?, \
             j.claimed_until = {{now}} + ?",
            table(&[("seq", INT)])
        );
        self.execute(
            &update,
            &[seqs.as_str().into(), token.into(), lease.owner.into(), lease.micros.into()],
        )?;
        rows.iter_mut().for_each(|row| row.token = token);
        Ok(rows)
    }

    /// Rows are looked at before they are locked, one by one: a search that locks keeps what it passes over, which is what
    /// others have claimed, and their commits would wait.
    fn lock_jobs(&mut self, due: Due) -> QueryResult<Vec<JobRow>> {
        let (rows, is_more) = self.lock_first(due, due.limit)?;
        let wanted = usize::try_from(due.limit).unwrap_or(usize::MAX);
        match is_more && rows.len() < wanted {
            true => Ok(self.lock_first(due, due.limit.saturating_mul(WINDOW))?.0),
            false => Ok(rows),
        }
    }

    fn quarantine_jobs(&mut self, rows: &[Unreadable]) -> QueryResult<()> {
        let text = format!(
            "UPDATE {} STRAIGHT_JOIN {{jobs}} j FORCE INDEX ({{prefix}}_jobs_id) ON j.id = CAST(v.id AS BINARY) AND j.token = v.token \
             SET j.quarantine = v.reason, j.state = 4, j.next_run_time = NULL, j.token = j.token + 1, \
             j.claimed_until = 0",
            table(&[("id", NAME), ("token", INT), ("reason", "LONGTEXT CHARACTER SET utf8mb4")])
        );
        packets(rows, |row| row.id.len() + row.reason.len()).into_iter().try_for_each(|part| {
            let rows: Vec<_> = part.iter().map(|row| (&row.id, row.token, &row.reason)).collect();
            self.execute(&text, &[batch(&rows)?.as_str().into()]).map(drop)
        })
    }

    fn quarantined_jobs(&mut self) -> QueryResult<Vec<JobRow>> {
        let sql = self.sql(&format!(
            "SELECT {COLUMNS} FROM {{jobs}} j WHERE j.next_run_time IS NULL AND j.quarantine IS NOT NULL"
        ));
        load::<JobTypes, _, _>(self.conn, &sql, &[])
    }

    fn end_quarantine(&mut self, ids: &[&str]) -> QueryResult<()> {
        let text = format!(
            "UPDATE {} STRAIGHT_JOIN {{jobs}} j FORCE INDEX ({{prefix}}_jobs_id) ON j.id = CAST(v.id AS BINARY) SET j.quarantine = NULL, \
             j.state = {STATE}, j.next_run_time = CASE j.status WHEN 'scheduled' THEN j.next_fire_time END \
             WHERE j.quarantine IS NOT NULL",
            id_table()
        );
        self.execute(&text, &[id_batch(ids)?.as_str().into()]).map(drop)
    }

    /// Found first and then locked: a search that locks waits for what others change.
    fn recover(&mut self, owner: &str) -> QueryResult<()> {
        let sql = self.sql(
            "SELECT seq FROM {jobs} WHERE next_run_time IS NOT NULL AND claimed_until <> 0 AND claimed_by = ?",
        );
        let seqs: Vec<i64> = load::<BigInt, _, _>(self.conn, &sql, &[owner.into()])?;
        if !seqs.is_empty() {
            let seqs = batch(&seqs.iter().map(|seq| [seq]).collect::<Vec<_>>())?;
            let text = format!(
                "UPDATE {} STRAIGHT_JOIN {{jobs}} j FORCE INDEX (PRIMARY) ON j.seq = v.seq AND j.claimed_until <> 0 AND j.claimed_by = ? \
                 SET j.token = j.token + 1, j.claimed_until = 0",
                table(&[("seq", INT)])
            );
            self.execute(&text, &[seqs.as_str().into(), owner.into()])?;
        }
        self.recover_runs(owner)
    }

    fn advance_locked(&mut self, commits: &[&CommitColumns]) -> QueryResult<()> {
        let (stay, go): (Vec<_>, Vec<_>) =
            commits.iter().copied().partition(|commit: &&CommitColumns| commit.cursor.is_some());
        match alike(&stay) {
            Some(groups) => groups.iter().try_for_each(|group| self.move_alike(group))?,
            None => {
                let assigned = format!("{MOVED}, j.token = v.token");
                self.move_jobs(&stay, &format!("ON j.seq = v.seq SET {assigned}"))?;
            }
        }
        if !go.is_empty() {
            self.delete_locked(go.iter().map(|commit| commit.seq))?;
        }
        Ok(())
    }

    fn advance_jobs(&mut self, commits: &[&CommitColumns]) -> QueryResult<Vec<bool>> {
        let (stay, go): (Vec<_>, Vec<_>) =
            commits.iter().copied().partition(|commit: &&CommitColumns| commit.cursor.is_some());
        let moved = if stay.is_empty() { Vec::new() } else { self.move_claimed(&stay)? };
        let removed = if go.is_empty() { Vec::new() } else { self.remove_claimed(&go)? };
        let (mut moved, mut removed) = (moved.into_iter(), removed.into_iter());
        let open = commits.iter().map(|commit| match commit.cursor {
            Some(_) => moved.next().unwrap_or(false),
            None => removed.next().unwrap_or(false),
        });
        Ok(open.collect())
    }
}
