//! Jobs that outlive their program: start this, let it end, start it again.
//!
//! The first start adds a job to a SQLite file. The next one finds it there, and what fell due while no program ran is
//! made up for by one run, not by one for each fire time that was missed. An argument names the file.

#![expect(clippy::print_stdout, reason = "an example talks to its reader")]

use sched::prelude::*;

const EVERY: Duration = Duration::from_millis(500);

#[task]
fn back_up(run: &RunContext) -> String {
    format!("backed up, as was due at {}", run.run().fire_time.format("%H:%M:%S%.3f"))
}

fn main() -> Result<(), sched::Error> {
    let path = std::env::args().nth(1).unwrap_or_else(|| "restart.sqlite".to_owned());
    let store = SqlStore::open(format!("sqlite:///{path}"))?;
    let scheduler = BackgroundScheduler::build(Scheduler::builder().job_store("default", store))?;
    let runs = scheduler.subscribe(EVENT_JOB_EXECUTED);

    // Paused, a scheduler has its stores open and plans nothing: time to look.
    scheduler.start_paused()?;
    match scheduler.get_job("back-up")?.and_then(|job| job.next_fire_time()) {
        None => println!("{path} has no job yet: this is the first start"),
        Some(due) => {
            let late = (scheduler.clock().now() - due).to_std().unwrap_or_default();
            let missed = late.as_millis() / EVERY.as_millis() + 1;
            println!("{path} has the job, which was due at {}", due.format("%H:%M:%S%.3f"));
            println!("{missed} fire times were missed meanwhile; one run makes up for them:");
        }
    }
    // Every start adds the job. One that is there, with the same trigger, keeps its next fire time.
    scheduler.add_job(back_up::job().every(EVERY).id("back-up").replace_existing())?;
    scheduler.resume()?;
    for _ in 0..3 {
        let Some(event) = runs.next_within(Duration::from_secs(10)) else { break };
        println!("    {}", event.value().and_then(|value| value.as_str()).unwrap_or("?"));
    }
    scheduler.shutdown(true)?;
    println!("stopped; start me again");
    if std::env::var_os("SCHED_EXAMPLE").is_some() {
        // CI starts it again at once: so that something is missed.
        std::thread::sleep(3 * EVERY);
    }
    Ok(())
}
