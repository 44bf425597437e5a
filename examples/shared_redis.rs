//! A fleet of replicas on one Redis server: start it several times, and each fire happens once among them.
//!
//! `REDIS_URL` says where the server is; `redis://localhost:6379/0` when it is not set.

#![expect(clippy::print_stdout, reason = "an example talks to its reader")]

use sched::prelude::*;

#[task]
fn report(region: String) -> String {
    println!("process {} reports for {region}", std::process::id());
    format!("{region} is well")
}

fn main() -> Result<(), sched::Error> {
    let url = std::env::var("REDIS_URL").unwrap_or_else(|_| "redis://localhost:6379/0".to_owned());
    // All schedulers with the same prefix share their jobs.
    let store = RedisStore::builder(url).prefix("example").build()?;
    let scheduler = BackgroundScheduler::build(Scheduler::builder().job_store("default", store))?;
    if let Err(error) = scheduler.start() {
        println!("this example needs a server: {error}");
        return Ok(());
    }

    // Every replica adds the same job; an unchanged schedule keeps its next fire time.
    let job = report::job("the north".to_owned()).every(Duration::from_secs(1)).id("report");
    scheduler.add_job(job.result_ttl(Duration::from_secs(60)).replace_existing())?;

    // A run without a job waits for its result, wherever it runs.
    println!("answered: {}", scheduler.run_job(report::call("the south".to_owned()))?);

    match std::env::var_os("SCHED_EXAMPLE") {
        Some(_) => std::thread::sleep(Duration::from_secs(3)),
        None => std::thread::park(),
    }
    scheduler.remove_job("report")?;
    scheduler.shutdown(true)
}
