//! A scheduler in the background of a program that has other things to do, and a listener that is told of every end.

#![expect(clippy::print_stdout, reason = "an example talks to its reader")]

use sched::prelude::*;

fn main() -> Result<(), sched::Error> {
    let hurry = std::env::var_os("SCHED_EXAMPLE").is_some();
    let scheduler = BackgroundScheduler::new()?;

    scheduler.add_listener(my_listener, EVENT_JOB_EXECUTED | EVENT_JOB_ERROR);
    scheduler.add_job(Job::call(|| 6 * 7).every(Duration::from_millis(700)).id("works"))?;
    scheduler.add_job(Job::call(fail).every(Duration::from_millis(900)).id("fails"))?;
    scheduler.add_job(Job::call(crash).every(Duration::from_millis(1_100)).id("panics"))?;

    // A listener is called on the thread that causes the event, so it should be quick. A stream keeps events until
    // they are read; here, for the end of the program.
    let end = scheduler.subscribe(EventMask::SCHEDULER_SHUTDOWN);
    sched::shutdown_on_signal(&scheduler)?;
    scheduler.start()?;

    println!("the scheduler runs; this thread is free (ctrl-c ends the program)");
    while end.next_within(Duration::from_secs(3)).is_none() {
        println!("-- still here, {} runs under way", scheduler.active_runs().len());
        if hurry {
            return scheduler.shutdown(true);
        }
    }
    Ok(())
}

fn my_listener(event: &Event) {
    let job = event.job_id().map_or("?", |id| id.as_str());
    match (event.error(), event.value()) {
        (Some(error), _) => println!("{job}: The job crashed :( {error}"),
        (None, value) => println!("{job}: The job worked :) {}", value.unwrap_or(&serde_json::Value::Null)),
    }
}

fn fail() -> Result<(), String> {
    Err("the disk is full".to_owned())
}

/// Divides by zero. A panic ends the run and nothing else: the thread goes on, and so does the scheduler.
fn crash() -> usize {
    let workers = std::env::args().skip(1).count();
    100 / workers
}
