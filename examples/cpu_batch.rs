//! A batch of work that keeps processors busy, on rayon: jobs that compute run beside each other on few threads, and
//! one job computes on all of them.

#![expect(clippy::print_stdout, reason = "an example talks to its reader")]

use rayon::prelude::*;
use sched::prelude::*;
use serde_json::json;

/// How many prime numbers there are in a range.
#[sched::task]
fn count_primes(from: u64, to: u64) -> u64 {
    (from..to).filter(|number| is_prime(*number)).count() as u64
}

/// The same, by all threads of the pool that the run is on.
#[sched::task]
fn count_primes_together(from: u64, to: u64) -> u64 {
    (from..to).into_par_iter().filter(|number| is_prime(*number)).count() as u64
}

fn is_prime(number: u64) -> bool {
    number > 1
        && (2..)
            .take_while(|divisor| divisor * divisor <= number)
            .all(|divisor| !number.is_multiple_of(divisor))
}

fn main() -> Result<(), sched::Error> {
    // Two threads that compute, for the jobs that ask for them; everything else runs on the usual thread pool.
    let scheduler = BackgroundScheduler::from_config(json!({
        "executors": {
            "cpu": { "type": "rayon", "max_workers": 2, "thread_name": "cruncher" },
        },
    }))?;
    scheduler.start()?;
    let ended = scheduler.subscribe(EVENT_JOB_EXECUTED | EVENT_JOB_ERROR);

    const PART: u64 = 50_000;
    const PARTS: u64 = 8;
    for part in 0..PARTS {
        let job = Job::task("count_primes").args(json!([part * PART, (part + 1) * PART])).executor("cpu");
        scheduler.add_job(job.id(format!("part-{part}")))?;
    }
    let mut sum = 0;
    for _ in 0..PARTS {
        let Some(event) = ended.next_within(Duration::from_secs(60)) else { break };
        let found = event.value().and_then(serde_json::Value::as_u64).unwrap_or_default();
        println!("{}: {found} primes", event.job_id().map_or("?", |id| id.as_str()));
        sum += found;
    }
    let run = NewRun::task("count_primes_together").args(json!([0, PART * PARTS])).executor("cpu");
    println!("{sum} in parts, {} together", scheduler.run_job(run)?);
    scheduler.shutdown(true)
}
