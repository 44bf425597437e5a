//! Tasks by attribute: functions with a stable name, typed arguments and, where it never changes, their schedule.

#![expect(clippy::print_stdout, reason = "an example talks to its reader")]

use sched::prelude::*;
use serde::{Deserialize, Serialize};

/// A task with a schedule of its own: the decorator `@scheduler.scheduled_job('cron', id=…, day='last sun')`.
#[scheduled(cron(day = "last sun"), id = "my_job_id")]
fn some_decorated_task() {
    println!("I am printed at 00:00:00 on the last Sunday of every month!");
}

/// Arguments and results are anything serde can encode.
#[derive(Debug, Serialize, Deserialize)]
struct Mail {
    to: String,
    rows: u32,
}

/// A task without one. `run` is no argument: the scheduler fills it in.
#[task(max_instances = 2, misfire_grace_time = "10m", result_ttl = "1h")]
fn report(run: &RunContext, mail: Mail, subject: Option<String>) -> Result<u32, String> {
    let subject = subject.unwrap_or_else(|| "your report".to_owned());
    println!("attempt {}: {subject:?} to {}", run.run().attempt, mail.to);
    mail.rows.checked_mul(2).ok_or_else(|| "too many rows".to_owned())
}

/// Async functions are tasks as well; on a thread pool they are driven by the pool's thread.
#[task]
async fn greet(name: String) -> String {
    format!("hello, {name}")
}

fn main() -> Result<(), sched::Error> {
    let scheduler = BackgroundScheduler::new()?;
    scheduler.add_declared_jobs()?;

    // The attribute made `report::job`, with the function's own parameters, so the compiler checks the arguments.
    let mail = Mail { to: "ops@example.org".to_owned(), rows: 21 };
    let daily = report::job(mail, Some("good morning".to_owned())).cron("0 9 * * mon-fri").id("daily-report");
    scheduler.add_job(daily.replace_existing())?;
    // The same by name, as a configuration file does it; here they are checked when the job is added.
    let weekly = Job::task("report").args(serde_json::json!([{ "to": "boss@example.org", "rows": 7 }]));
    scheduler.add_job(weekly.cron("@weekly").id("weekly-report"))?;
    let wrong = scheduler.add_job(Job::task("report").args(serde_json::json!({ "male": 1 })));
    println!("a wrong argument: {:?}\n", wrong.err());

    scheduler.start()?;
    scheduler.print_jobs(None, std::io::stdout())?;

    // A task can also run at once, without a job. This call waits for its value.
    let mail = Mail { to: "dev@example.org".to_owned(), rows: 4 };
    println!("\nthe report answered {}", scheduler.run_job(report::call(mail, None))?);
    println!("the greeting is {}", scheduler.run_job(greet::call("world".to_owned()))?);
    scheduler.shutdown(true)
}
