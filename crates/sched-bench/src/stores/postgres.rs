//! The backlog in PostgreSQL. The limit locks a thousand due rows and writes their next times, in one transaction; beside it
//! stands what is left when each row is a transaction of its own.

use std::time::Instant;

use diesel::connection::{Connection, SimpleConnection};
use diesel::pg::PgConnection;
use diesel::sql_types::{Array, BigInt, Text};
use diesel::{QueryableByName, RunQueryDsl, sql_query};
use sched_store_sql::SqlStore;
use sched_testkit::server;

use super::backlog::{self, Budget};
use crate::Outcome;
use crate::figure::Figure;
use crate::measure::medians;
use crate::options::Options;
use crate::out::Board;

/// What the limit measured on the machine on which the budgets were written.
const REFERENCE: f64 = 90_000.0;

/// How many jobs a second the durable way has to do there.
const DURABLE: f64 = 30_000.0;

const BUDGET: Budget = Budget { server: "postgresql", least: [0.5, 0.3] };

/// Measures both ways of delivery, where there is a server.
///
/// **Errors**: those of the server and the scheduler; lost runs.
pub fn run(options: &Options, board: &mut Board) -> Outcome {
    let Some(url) = server::postgres() else { return Ok(()) };
    let jobs = backlog::size(options);
    let figures = backlog::compare(
        options,
        board,
        &BUDGET,
        |delivery| {
            let schema = server::unique_name("bench");
            let rate =
                backlog::rate(|| SqlStore::builder(&url).table_schema(&schema).build(), jobs, delivery);
            drop_schema(&url, &schema)?;
            rate
        },
        || limit(&url, jobs),
    )?;
    let case = format!("postgresql, {jobs} jobs due at once, durable, in numbers");
    let durable = Figure::new("stores", case, "jobs/s", figures.durable).limit(figures.limit);
    board.put(&durable.at_least(DURABLE, Some(REFERENCE)));
    let rows = jobs / 10;
    let [row] = medians(options.runs, || Ok([row_by_row(&url, rows)?]))?;
    let case = format!("postgresql, {rows} rows, the limit without batches");
    board.put(&Figure::new("stores", case, "jobs/s", row));
    Ok(())
}

fn drop_schema(url: &str, schema: &str) -> Outcome {
    PgConnection::establish(url)?.batch_execute(&format!("DROP SCHEMA IF EXISTS \"{schema}\" CASCADE"))?;
    Ok(())
}

/// A table of due jobs in a schema of its own.
fn table(url: &str, jobs: u32) -> Outcome<(PgConnection, String)> {
    let mut conn = PgConnection::establish(url)?;
    let schema = server::unique_name("limit");
    conn.batch_execute(&format!(
        "CREATE SCHEMA \"{schema}\"; SET search_path TO \"{schema}\"; \
         CREATE TABLE jobs (id text PRIMARY KEY, next_run bigint NOT NULL, payload text NOT NULL); \
         CREATE INDEX jobs_due ON jobs (next_run, id); \
         INSERT INTO jobs SELECT 'job-' || lpad(n::text, 8, '0'), 1, '{{}}' FROM generate_series(1, {jobs}) n"
    ))?;
    Ok((conn, schema))
}

#[derive(QueryableByName)]
struct Due {
    #[diesel(sql_type = Text)]
    id: String,
}

/// Jobs per second of the least code.
fn limit(url: &str, jobs: u32) -> Outcome<f64> {
    let (mut conn, schema) = table(url, jobs)?;
    let begun = Instant::now();
    let mut done = 0;
    loop {
        let moved = conn.transaction(|conn| {
            let due: Vec<Due> = sql_query(
                "SELECT id FROM jobs WHERE next_run <= 1 ORDER BY next_run, id LIMIT 1000 FOR UPDATE SKIP LOCKED",
            )
            .load(conn)?;
            let ids: Vec<String> = due.into_iter().map(|due| due.id).collect();
            sql_query("UPDATE jobs j SET next_run = $1 FROM unnest($2) AS d(id) WHERE j.id = d.id")
                .bind::<BigInt, _>(2)
                .bind::<Array<Text>, _>(ids)
                .execute(conn)
        })?;
        if moved == 0 {
            break;
        }
        done += moved;
    }
    let time = begun.elapsed().as_secs_f64();
    drop_schema(url, &schema)?;
    if done == jobs as usize { Ok(f64::from(jobs) / time) } else { Err("the limit lost jobs".into()) }
}

/// Jobs per second of the least code that commits each job by itself.
fn row_by_row(url: &str, jobs: u32) -> Outcome<f64> {
    let (mut conn, schema) = table(url, jobs)?;
    let begun = Instant::now();
    for _ in 0..jobs {
        let moved = sql_query(
            "UPDATE jobs SET next_run = 2 WHERE id = (SELECT id FROM jobs WHERE next_run <= 1 \
             ORDER BY next_run, id LIMIT 1 FOR UPDATE SKIP LOCKED)",
        )
        .execute(&mut conn)?;
        if moved != 1 {
            return Err("the limit lost jobs".into());
        }
    }
    let time = begun.elapsed().as_secs_f64();
    drop_schema(url, &schema)?;
    Ok(f64::from(jobs) / time)
}
