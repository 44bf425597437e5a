//! Failed runs that are tried again: growing pauses, kinds of failures that are worth it, and the history of a run.

#![expect(clippy::print_stdout, reason = "an example talks to its reader")]

use sched::prelude::*;
use sched::{Backoff, Retry, RetryKind, RunState, TaskError, TaskErrorKind};
use serde_json::json;

/// A service that is not there at the first two attempts.
#[task(result_ttl = "1h")]
fn fetch(run: &RunContext, page: String) -> Result<String, TaskError> {
    match run.run().attempt {
        1 => Err(TaskError::new("connection refused")),
        2 => Err(TaskError::new("try later").with_kind(TaskErrorKind::Other("rate_limited".to_owned()))),
        attempt => Ok(format!("{page}, at attempt {attempt}")),
    }
}

/// No attempt helps here.
#[task(result_ttl = "1h")]
fn parse(text: String) -> Result<i64, TaskError> {
    let bad = |error| TaskError::new(format!("{text:?}: {error}"));
    text.parse().map_err(|error: std::num::ParseIntError| {
        bad(error).with_kind(TaskErrorKind::Other("bad_input".to_owned()))
    })
}

fn main() -> Result<(), sched::Error> {
    let scheduler = BackgroundScheduler::new()?;
    scheduler.add_listener(tell, EventMask::JOB_RETRYING);
    let ends = scheduler.subscribe(EVENT_JOB_EXECUTED | EVENT_JOB_ERROR);
    scheduler.start()?;

    // 200 ms, 400 ms, … at most five seconds; five attempts in all. An attempt is the same run with the next number.
    let pauses = Backoff::exponential(Duration::from_millis(200), 2.0, Duration::from_secs(5));
    let patient = Retry::new(5).backoff(pauses);
    let fetching = scheduler.add_run(NewRun::from(fetch::call("news".to_owned())).retry(patient))?;
    ends.next_within(Duration::from_secs(10));
    show(&scheduler, fetching)?;

    // Only after failures of these kinds: this one is told at once.
    let picky = Retry::new(5).only([RetryKind::TimedOut, RetryKind::from("rate_limited")]);
    let parsing = scheduler.add_run(NewRun::from(parse::call("seven".to_owned())).retry(picky))?;
    ends.next_within(Duration::from_secs(10));
    show(&scheduler, parsing)?;

    // A job has the same options, in code and as data, where a number alone is the most attempts.
    let every_hour = json!({ "type": "interval", "hours": 1 });
    scheduler.add_job(fetch::job("archive".to_owned()).trigger(every_hour).retry(3).id("archive"))?;
    scheduler.shutdown(true)
}

fn tell(event: &Event) {
    if let Event::JobRetrying { attempt, at } = event {
        let pause = (*at - attempt.finished_at).num_milliseconds();
        println!("attempt {} {}; again in {pause} ms", attempt.run.attempt, attempt.outcome);
    }
}

/// A run keeps the attempts that failed, for as long as its result is kept.
fn show(scheduler: &Scheduler, run: sched::RunId) -> Result<(), sched::Error> {
    let record = scheduler.get_run_result(run, None)?;
    println!("run of `{}`, {} attempts:", record.run.call.task.name(), record.attempt);
    for earlier in &record.history {
        println!("    {}. {}", earlier.attempt, earlier.outcome);
    }
    if let RunState::Finished { outcome, .. } = &record.state {
        let value = outcome.value().map(ToString::to_string).unwrap_or_default();
        println!("    {}. {outcome} {value}", record.attempt);
    }
    Ok(())
}
