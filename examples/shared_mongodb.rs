//! A fleet of replicas on one MongoDB server or replica set: start it several times, and each fire happens once among them.
//!
//! The argument is the server's URL; without one it is `SCHED_TEST_MONGODB_URL`. Ctrl-c ends the program.

#![expect(clippy::print_stdout, reason = "an example talks to its reader")]

use sched::prelude::*;

#[task]
fn report(region: String) -> String {
    println!("process {} reports for {region}", std::process::id());
    format!("{region} is well")
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args().nth(1).or_else(|| std::env::var("SCHED_TEST_MONGODB_URL").ok());
    let url = url.ok_or("give the URL of a MongoDB server, or set SCHED_TEST_MONGODB_URL")?;
    // All schedulers with the same database and collections share their jobs.
    let store = MongoStore::builder(url).database("sched_example").build()?;
    let scheduler = BackgroundScheduler::build(Scheduler::builder().job_store("default", store))?;
    // An error when there is no server.
    scheduler.start()?;

    // Every replica adds the same job; an unchanged schedule keeps its next fire time.
    let job = report::job("the north".to_owned()).every(Duration::from_secs(1)).id("report");
    scheduler.add_job(job.result_ttl(Duration::from_secs(60)).replace_existing())?;

    // A run without a job waits for its result, wherever it runs.
    println!("answered: {}", scheduler.run_job(report::call("the south".to_owned()))?);

    let end = scheduler.subscribe(EventMask::SCHEDULER_SHUTDOWN);
    sched::shutdown_on_signal(&scheduler)?;
    while end.next_within(Duration::from_secs(3)).is_none() {
        if std::env::var_os("SCHED_EXAMPLE").is_some() {
            scheduler.remove_job("report")?;
            scheduler.shutdown(true)?;
        }
    }
    Ok(())
}
