//! Crashes that are contained by a pool of processes: each takes down its own run, and the scheduler goes on.

#![expect(clippy::print_stdout, reason = "an example talks to its reader")]

use std::time::Instant;

use sched::prelude::*;
use serde_json::json;

#[sched::task]
fn add(left: u64, right: u64) -> u64 {
    left + right
}

/// What `assert!` cannot contain: the whole process ends.
#[sched::task]
fn crash() {
    std::process::abort();
}

#[sched::task]
fn leak() {
    loop {
        std::mem::forget(std::hint::black_box(vec![1_u8; 1 << 20]));
    }
}

/// Never looks whether it is to stop.
#[sched::task]
fn spin() {
    loop {
        std::hint::spin_loop();
    }
}

fn main() -> Result<(), sched::Error> {
    // First of all: child processes come to life here, and never get past this line.
    sched::process::init();

    let scheduler = BackgroundScheduler::from_config(json!({
        "executors": {
            "default": {
                "type": "processpool",
                "max_workers": 2,
                "max_memory": 1_u64 << 30,
                "kill_grace": "100ms",
                "output": "discard",
            },
        },
        "job_defaults": { "timeout": "1s" },
    }))?;
    scheduler.start()?;
    println!("40 + 2 = {}", scheduler.run_job(NewRun::task("add").args(json!([40, 2])))?);
    for task in ["crash", "leak", "spin"] {
        let begun = Instant::now();
        match scheduler.run_job(NewRun::task(task)) {
            Ok(value) => println!("{task}: {value}"),
            Err(error) => println!("{task}: {error} (after {:.1?})", begun.elapsed()),
        }
        println!("and the pool goes on: {}", scheduler.run_job(NewRun::task("add").args(json!([1, 1])))?);
    }
    scheduler.shutdown(true)
}
