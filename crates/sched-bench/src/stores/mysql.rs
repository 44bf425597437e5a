//! The backlog in MariaDB or MySQL. The limit locks a thousand due rows and writes their next times, in one transaction.

use std::time::Instant;

use diesel::connection::{Connection, SimpleConnection};
use diesel::mysql::MysqlConnection;
use diesel::sql_types::BigInt;
use diesel::{QueryableByName, RunQueryDsl, sql_query};
use sched_store_sql::SqlStore;
use sched_testkit::server;

use super::backlog::{self, Budget};
use crate::Outcome;
use crate::options::Options;
use crate::out::Board;

const BUDGET: Budget = Budget { server: "mariadb", least: [0.4, 0.25] };

/// Measures both ways of delivery, where there is a server.
///
/// **Errors**: those of the server and the scheduler; lost runs.
pub fn run(options: &Options, board: &mut Board) -> Outcome {
    let Some(url) = server::mysql() else { return Ok(()) };
    let jobs = backlog::size(options);
    let ours = |delivery| {
        let schema = server::unique_name("bench");
        let rate = backlog::rate(|| SqlStore::builder(&url).table_schema(&schema).build(), jobs, delivery);
        drop_schema(&url, &schema)?;
        rate
    };
    backlog::compare(options, board, &BUDGET, ours, || limit(&url, jobs)).map(drop)
}

fn drop_schema(url: &str, schema: &str) -> Outcome {
    MysqlConnection::establish(url)?.batch_execute(&format!("DROP DATABASE IF EXISTS `{schema}`"))?;
    Ok(())
}

#[derive(QueryableByName)]
struct Due {
    #[diesel(sql_type = BigInt)]
    seq: i64,
}

/// Jobs per second of the least code.
fn limit(url: &str, jobs: u32) -> Outcome<f64> {
    let mut conn = MysqlConnection::establish(url)?;
    let schema = server::unique_name("limit");
    conn.batch_execute(&format!(
        "CREATE DATABASE `{schema}`; USE `{schema}`; \
         CREATE TABLE jobs (seq BIGINT AUTO_INCREMENT PRIMARY KEY, id VARBINARY(2048) NOT NULL UNIQUE, \
           next_run BIGINT NOT NULL, payload LONGBLOB NOT NULL, KEY due (next_run, id)) ENGINE = InnoDB"
    ))?;
    let numbers: Vec<String> = (0..jobs).map(|number| format!("('job-{number:08}', 1, '{{}}')")).collect();
    for rows in numbers.chunks(1_000) {
        let rows = rows.join(", ");
        sql_query(format!("INSERT INTO jobs (id, next_run, payload) VALUES {rows}")).execute(&mut conn)?;
    }
    let begun = Instant::now();
    let mut done = 0;
    loop {
        let moved = conn.transaction(|conn| {
            let due: Vec<Due> = sql_query(
                "SELECT seq FROM jobs WHERE next_run <= 1 ORDER BY next_run, id LIMIT 1000 FOR UPDATE SKIP LOCKED",
            )
            .load(conn)?;
            if due.is_empty() {
                return Ok(0);
            }
            let seqs: Vec<String> = due.iter().map(|due| due.seq.to_string()).collect();
            sql_query(format!("UPDATE jobs SET next_run = 2 WHERE seq IN ({})", seqs.join(", "))).execute(conn)
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
