//! Two processes that share their jobs in PostgreSQL: each fire time becomes one run, in one of them.
//!
//! The program starts itself as the second process. The argument is the database's URL; without one it is
//! `SCHED_TEST_POSTGRES_URL`. Built with `--features postgres`.

#![expect(clippy::print_stdout, reason = "an example talks to its reader")]

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::io::{self, BufRead as _, BufReader};
use std::process::{Command, Stdio};

use sched::prelude::*;
use sched::{Outcome, RunFilter, RunPhase, RunState};
use serde_json::json;

const JOBS: usize = 6;
const SECONDS: usize = 4;

/// Takes a while, and answers who did it.
#[task(result_ttl = "1h")]
fn report(_region: String) -> u32 {
    std::thread::sleep(Duration::from_millis(400));
    std::process::id()
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().or_else(|| std::env::var("SCHED_TEST_POSTGRES_URL").ok());
    let url = url.ok_or("give the URL of a PostgreSQL database, or set SCHED_TEST_POSTGRES_URL")?;
    let scheduler = BackgroundScheduler::from_config(json!({
        // The same for all that share: the database and the names of the tables in it.
        "job_stores": { "default": { "type": "sql", "url": url, "tablename": "example_shared" } },
        // Whoever changes something wakes the others.
        "event_broker": { "type": "postgres", "url": url },
        // Few at once, so that there is something left for the other process.
        "max_concurrent_runs": 2,
    }))?;
    scheduler.start()?;
    if arguments.next().as_deref() == Some("second") {
        println!("ready");
        // Until the first process closes our input, or ends.
        io::read_to_string(io::stdin())?;
        return Ok(scheduler.shutdown(true)?);
    }

    let mut second = Command::new(std::env::current_exe()?)
        .args([&url, "second"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let output = second.stdout.take().ok_or("the second process has no output")?;
    BufReader::new(output).read_line(&mut String::new())?;
    println!("processes {} and {} share {JOBS} jobs", std::process::id(), second.id());

    let from = scheduler.clock().now();
    let ends = scheduler.subscribe(EVENT_JOB_EXECUTED);
    for number in 1..=JOBS {
        let job = report::job(format!("region {number}")).trigger(json!({ "type": "cron", "second": "*" }));
        scheduler.add_job(
            job.coalesce(Coalesce::All).max_instances(10).id(format!("report-{number}")).replace_existing(),
        )?;
    }
    while scheduler.clock().now() < from + Duration::from_secs(SECONDS as u64) {
        ends.next_within(Duration::from_millis(100));
    }
    scheduler.remove_all_jobs(None)?;
    while unfinished(&scheduler)? > 0 {
        ends.next_within(Duration::from_millis(100));
    }
    // Closes its input first.
    second.wait()?;

    let runs = scheduler.get_runs(&RunFilter { from: Some(from), ..RunFilter::default() }, None)?;
    let mut fires = BTreeSet::new();
    let mut by_process = BTreeMap::new();
    for record in &runs {
        assert_eq!(record.attempt, 1, "no run was started twice");
        fires.insert((record.run.job_id.clone(), record.run.fire_time.timestamp()));
        if let RunState::Finished { outcome: Outcome::Succeeded(process), .. } = &record.state {
            *by_process.entry(process.to_string()).or_insert(0) += 1;
        }
    }
    for (process, count) in &by_process {
        println!("process {process} ran {count} of them");
    }
    assert_eq!(fires.len(), by_process.values().sum::<usize>(), "each fire time was run once");
    for ((job, second), (next_job, next)) in fires.iter().zip(fires.iter().skip(1)) {
        assert!(job != next_job || *next == second + 1, "no second was left out");
    }
    println!("{} fire times, {} runs, each once", fires.len(), runs.len());
    Ok(scheduler.shutdown(true)?)
}

fn unfinished(scheduler: &Scheduler) -> Result<usize, sched::Error> {
    let mut count = 0;
    for phase in [RunPhase::Queued, RunPhase::Running] {
        count += scheduler.get_runs(&RunFilter { phase: Some(phase), ..RunFilter::default() }, None)?.len();
    }
    Ok(count)
}
