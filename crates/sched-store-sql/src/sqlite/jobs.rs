//! The statements about jobs.
//!
//! A claim is open while `claimed_until` is set; its token is new to the whole database, so that a job that was removed
//! and added again is not mistaken for the one that was claimed. Every function is part of its caller's transaction.

use diesel::QueryResult;
use diesel::sql_types::{BigInt, Nullable, Text};
use diesel::sqlite::SqliteConnection;
use sched_core::{Advance, Claim};

use crate::codec::{CursorColumns, JOB_PAYLOAD_VERSION, JobColumns, JobRow, encode_cursor};
use crate::schema::Tables;
use crate::statement::{Bind, execute, load, number};

type JobTypes =
    (BigInt, Text, Text, Nullable<BigInt>, Nullable<BigInt>, Nullable<BigInt>, Text, BigInt, Nullable<Text>);

const COLUMNS: &str =
    "seq, id, payload, next_run_time, next_fire_time, last_fire_time, status, revision, quarantine";

/// Who claims and until when.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lease<'a> {
    pub(crate) owner: &'a str,
    /// The moment by which leases are judged.
    pub(crate) now: i64,
    /// The last moment of the lease.
    pub(crate) until: i64,
}

/// What is due and how much of it is wanted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Due {
    pub(crate) at: i64,
    pub(crate) limit: i64,
}

/// A token that no claim ever had.
pub(super) fn new_token(conn: &mut SqliteConnection, tables: &Tables) -> QueryResult<i64> {
    let sql = tables.sql("UPDATE {meta} SET value = value + 1 WHERE name = 'token' RETURNING value");
    number(conn, &sql, &[])?.ok_or(diesel::result::Error::NotFound)
}

/// Inserts a job; says whether its id was free.
pub(crate) fn insert(
    conn: &mut SqliteConnection,
    tables: &Tables,
    columns: &JobColumns<'_>,
) -> QueryResult<bool> {
    let sql = tables.sql(
        "INSERT INTO {jobs} (id, payload, payload_version, next_run_time, next_fire_time, last_fire_time, status, \
         revision) VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING",
    );
    let (job, cursor) = (columns.job, &columns.cursor);
    let inserted = execute(
        conn,
        &sql,
        &[
            job.id().as_str().into(),
            columns.payload.as_str().into(),
            JOB_PAYLOAD_VERSION.into(),
            cursor.next_run_time.into(),
            cursor.next_fire_time.into(),
            cursor.last_fire_time.into(),
            cursor.status.as_str().into(),
            crate::codec::number(job.cursor.revision).into(),
        ],
    )?;
    Ok(inserted > 0)
}

/// Writes a job over the one in a row, as a change by a user: claims on it end.
pub(crate) fn replace(
    conn: &mut SqliteConnection,
    tables: &Tables,
    row: &JobRow,
    columns: &JobColumns<'_>,
) -> QueryResult<()> {
    let sql = tables.sql(
        "UPDATE {jobs} SET payload = ?, payload_version = ?, next_run_time = ?, next_fire_time = ?, \
         last_fire_time = ?, status = ?, revision = revision + 1, claimed_by = NULL, claimed_until = NULL, \
         quarantine = NULL WHERE seq = ?",
    );
    let cursor = &columns.cursor;
    let binds = [
        columns.payload.as_str().into(),
        JOB_PAYLOAD_VERSION.into(),
        cursor.next_run_time.into(),
        cursor.next_fire_time.into(),
        cursor.last_fire_time.into(),
        cursor.status.as_str().into(),
        row.seq.into(),
    ];
    execute(conn, &sql, &binds).map(drop)
}

/// The row of a job.
pub(crate) fn find(conn: &mut SqliteConnection, tables: &Tables, id: &str) -> QueryResult<Option<JobRow>> {
    let sql = tables.sql(&format!("SELECT {COLUMNS} FROM {{jobs}} WHERE id = ?"));
    let rows: Vec<JobRow> = load::<JobTypes, _>(conn, &sql, &[id.into()])?;
    Ok(rows.into_iter().next())
}

/// Removes a job; says whether it was there.
pub(crate) fn remove(conn: &mut SqliteConnection, tables: &Tables, id: &str) -> QueryResult<bool> {
    let sql = tables.sql("DELETE FROM {jobs} WHERE id = ?");
    Ok(execute(conn, &sql, &[id.into()])? > 0)
}

/// Removes all jobs; says how many.
pub(crate) fn clear(conn: &mut SqliteConnection, tables: &Tables) -> QueryResult<usize> {
    execute(conn, &tables.sql("DELETE FROM {jobs}"), &[])
}

/// Where a listing goes on: after this time and id; a time of `None` is that of jobs out of the schedule.
pub(crate) type After<'a> = Option<(Option<i64>, &'a str)>;

/// Lists jobs: the scheduled by time and id, then the others by id.
pub(crate) fn list(
    conn: &mut SqliteConnection,
    tables: &Tables,
    after: After<'_>,
    limit: i64,
) -> QueryResult<Vec<JobRow>> {
    let (time, id) = match after {
        None => (Some(i64::MIN), ""),
        Some(after) => after,
    };
    let mut rows = Vec::new();
    if let Some(time) = time {
        let sql = tables.sql(&format!(
            "SELECT {COLUMNS} FROM {{jobs}} WHERE next_run_time IS NOT NULL AND (next_run_time, id) > (?, ?) \
             ORDER BY next_run_time, id LIMIT ?"
        ));
        rows = load::<JobTypes, JobRow>(conn, &sql, &[time.into(), id.into(), limit.into()])?;
    }
    let left = match limit {
        unlimited if unlimited < 0 => unlimited,
        limit => limit.saturating_sub(i64::try_from(rows.len()).unwrap_or(i64::MAX)),
    };
    if left != 0 {
        let id = if time.is_none() { id } else { "" };
        let sql = tables.sql(&format!(
            "SELECT {COLUMNS} FROM {{jobs}} WHERE next_run_time IS NULL AND id > ? ORDER BY id LIMIT ?"
        ));
        rows.extend(load::<JobTypes, JobRow>(conn, &sql, &[id.into(), left.into()])?);
    }
    Ok(rows)
}

/// When the earliest unclaimed job is due, or the earliest claim no longer holds.
pub(crate) fn next_wakeup(conn: &mut SqliteConnection, tables: &Tables) -> QueryResult<Option<i64>> {
    let due = tables.sql(
        "SELECT next_run_time FROM {jobs} WHERE next_run_time IS NOT NULL AND claimed_until IS NULL \
         ORDER BY next_run_time, id LIMIT 1",
    );
    let lease = tables.sql("SELECT min(claimed_until) FROM {jobs} WHERE claimed_until IS NOT NULL");
    let ends = number(conn, &lease, &[])?.map(|until| until.saturating_add(1));
    Ok([number(conn, &due, &[])?, ends].into_iter().flatten().min())
}

/// Whether a claim would find anything.
pub(crate) fn is_due(conn: &mut SqliteConnection, tables: &Tables, due: Due, now: i64) -> QueryResult<bool> {
    let sql = tables.sql(
        "SELECT 1 FROM {jobs} WHERE next_run_time <= ? AND (claimed_until IS NULL OR claimed_until < ?) LIMIT 1",
    );
    Ok(number(conn, &sql, &[due.at.into(), now.into()])?.is_some())
}

/// Claims due jobs; answers their token and rows, in order.
pub(crate) fn claim(
    conn: &mut SqliteConnection,
    tables: &Tables,
    due: Due,
    lease: Lease<'_>,
) -> QueryResult<(i64, Vec<JobRow>)> {
    let token = new_token(conn, tables)?;
    let sql = tables.sql(&format!(
        "UPDATE {{jobs}} SET token = ?, claimed_by = ?, claimed_until = ? WHERE seq IN (SELECT seq FROM {{jobs}} \
         WHERE next_run_time <= ? AND (claimed_until IS NULL OR claimed_until < ?) ORDER BY next_run_time, id \
         LIMIT ?) RETURNING {COLUMNS}"
    ));
    let binds = [
        token.into(),
        lease.owner.into(),
        lease.until.into(),
        due.at.into(),
        lease.now.into(),
        due.limit.into(),
    ];
    let mut rows: Vec<JobRow> = load::<JobTypes, _>(conn, &sql, &binds)?;
    rows.sort_unstable_by(|left, right| {
        (left.next_run_time, left.id.as_str()).cmp(&(right.next_run_time, right.id.as_str()))
    });
    Ok((token, rows))
}

/// Takes a claimed row that does not decode out of the schedule, and writes down why.
pub(crate) fn quarantine(
    conn: &mut SqliteConnection,
    tables: &Tables,
    (seq, token): (i64, i64),
    reason: &str,
) -> QueryResult<()> {
    let sql = tables.sql(
        "UPDATE {jobs} SET quarantine = ?, next_run_time = NULL, claimed_by = NULL, claimed_until = NULL \
         WHERE seq = ? AND token = ?",
    );
    execute(conn, &sql, &[reason.into(), seq.into(), token.into()]).map(drop)
}

/// The rows that are kept aside.
pub(crate) fn quarantined(conn: &mut SqliteConnection, tables: &Tables) -> QueryResult<Vec<JobRow>> {
    let sql = tables.sql(&format!(
        "SELECT {COLUMNS} FROM {{jobs}} WHERE next_run_time IS NULL AND quarantine IS NOT NULL"
    ));
    load::<JobTypes, _>(conn, &sql, &[])
}

/// Puts a row that decodes again back into the schedule, at its fire time.
pub(crate) fn end_quarantine(conn: &mut SqliteConnection, tables: &Tables, row: &JobRow) -> QueryResult<()> {
    let sql = tables.sql(
        "UPDATE {jobs} SET quarantine = NULL, next_run_time = CASE status WHEN 'scheduled' THEN next_fire_time END \
         WHERE seq = ? AND quarantine IS NOT NULL",
    );
    execute(conn, &sql, &[row.seq.into()]).map(drop)
}

/// Ends an open claim; says whether it was open.
pub(crate) fn advance(
    conn: &mut SqliteConnection,
    tables: &Tables,
    claim: &Claim,
    advance: &Advance,
) -> QueryResult<bool> {
    const IS_OURS: &str = "WHERE seq = ? AND id = ? AND token = ? AND claimed_until IS NOT NULL";
    let proof = proof_of(claim);
    let changed = match advance {
        Advance::Remove => execute(conn, &tables.sql(&format!("DELETE FROM {{jobs}} {IS_OURS}")), &proof)?,
        Advance::To(cursor) => {
            let sql = tables.sql(&format!(
                "UPDATE {{jobs}} SET next_run_time = ?, next_fire_time = ?, last_fire_time = ?, status = ?, \
                 claimed_by = NULL, claimed_until = NULL {IS_OURS}"
            ));
            let CursorColumns { next_run_time, next_fire_time, last_fire_time, status } =
                encode_cursor(cursor);
            let [seq, id, token] = proof;
            let to =
                [next_run_time.into(), next_fire_time.into(), last_fire_time.into(), status.as_str().into()];
            let [run, fire, last, status] = to;
            execute(conn, &sql, &[run, fire, last, status, seq, id, token])?
        }
    };
    Ok(changed > 0)
}

fn proof_of(claim: &Claim) -> [Bind<'_>; 3] {
    [
        crate::codec::number(claim.slot).into(),
        claim.id.as_str().into(),
        crate::codec::number(claim.token.0).into(),
    ]
}
