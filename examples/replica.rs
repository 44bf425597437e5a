//! One of many equal processes on a PostgreSQL database; `replicas.sh` starts several and kills one.
//!
//! `replica URL NAME`. It ends on ctrl-c or a request to terminate. Built with `--features postgres`.

#![expect(clippy::print_stdout, reason = "an example talks to its reader")]

use std::error::Error;

use sched::prelude::*;
use serde_json::json;

/// Says when it begins and ends, so that a death in between shows.
#[task]
fn tick(run: &RunContext) {
    let (second, attempt) = (run.run().fire_time.timestamp(), run.run().attempt);
    println!("begins {second} attempt {attempt}");
    std::thread::sleep(Duration::from_millis(400));
    println!("ends {second} attempt {attempt}");
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (url, name) = arguments.next().zip(arguments.next()).ok_or("usage: replica URL NAME")?;
    let scheduler = BlockingScheduler::from_config(json!({
        "identity": name,
        "job_stores": { "default": { "type": "sql", "url": url, "tablename": "example_replicas" } },
        "event_broker": { "type": "postgres", "url": url },
        // How long the work of a dead replica waits for another. 15 seconds, unless it is for show.
        "lease_duration": "2s",
        "poll_interval": "500ms",
    }))?;
    // Each replica adds the same job. While the run of a dead one waits for its lease to end, others go on beside it. All
    // fire times run, also those that were due together.
    let job = tick::job().trigger(json!({ "type": "cron", "second": "*" })).id("tick");
    scheduler.add_job(job.max_instances(10).coalesce(Coalesce::All).replace_existing())?;
    sched::shutdown_on_signal(&scheduler)?;
    Ok(scheduler.start()?)
}
