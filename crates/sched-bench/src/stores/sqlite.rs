//! The backlog in a SQLite file. The limit reads a thousand due rows and writes the next time of each, in one transaction,
//! with the same log and the same care for the disk.

use std::time::Instant;

use diesel::connection::{Connection, SimpleConnection};
use diesel::prelude::*;
use diesel::sqlite::SqliteConnection;
use sched_store_sql::SqlStore;

use super::backlog::{self, Budget};
use crate::Outcome;
use crate::options::Options;
use crate::out::Board;

const BUDGET: Budget = Budget { server: "sqlite", least: [0.5, 0.35] };

/// Measures both ways of delivery.
///
/// **Errors**: those of the store and the scheduler; lost runs.
pub fn run(options: &Options, board: &mut Board) -> Outcome {
    let jobs = backlog::size(options);
    let ours = |delivery| {
        let directory = tempfile::tempdir()?;
        let url = format!("sqlite:///{}", directory.path().join("jobs.sqlite").display());
        backlog::rate(|| SqlStore::open(&url), jobs, delivery)
    };
    backlog::compare(options, board, &BUDGET, ours, || limit(jobs)).map(drop)
}

diesel::table! {
    /// Jobs as the limit keeps them.
    jobs (seq) {
        /// The row.
        seq -> BigInt,
        /// The job.
        id -> Text,
        /// When it is due.
        next_run -> BigInt,
        /// What it does.
        payload -> Text,
    }
}

/// Jobs per second of the least code.
fn limit(jobs: u32) -> Outcome<f64> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("limit.sqlite");
    let mut conn = SqliteConnection::establish(path.to_str().ok_or("the directory's name is no text")?)?;
    conn.batch_execute(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
         CREATE TABLE jobs (seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, next_run INTEGER NOT NULL, \
           payload TEXT NOT NULL) STRICT; \
         CREATE INDEX jobs_due ON jobs (next_run, id)",
    )?;
    conn.transaction(|conn| {
        (0..jobs).try_for_each(|number| {
            let row = (jobs::id.eq(format!("job-{number:08}")), jobs::next_run.eq(1), jobs::payload.eq("{}"));
            diesel::insert_into(jobs::table).values(row).execute(conn).map(drop)
        })
    })?;
    let begun = Instant::now();
    let mut done = 0;
    loop {
        let moved = conn.immediate_transaction(|conn| {
            let due = jobs::table.filter(jobs::next_run.le(1)).order((jobs::next_run, jobs::id)).limit(1_000);
            let due: Vec<(i64, String)> = due.select((jobs::seq, jobs::payload)).load(conn)?;
            for (seq, _) in &due {
                diesel::update(jobs::table.find(seq)).set(jobs::next_run.eq(2)).execute(conn)?;
            }
            QueryResult::Ok(due.len())
        })?;
        if moved == 0 {
            break;
        }
        done += moved;
    }
    let time = begun.elapsed().as_secs_f64();
    if done == jobs as usize { Ok(f64::from(jobs) / time) } else { Err("the limit lost jobs".into()) }
}
