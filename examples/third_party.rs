//! A trigger and an executor of another crate, used by alias from a configuration. See `third-party-plugin/`.

#![expect(clippy::print_stdout, reason = "an example talks to its reader")]

use sched::prelude::*;
use serde_json::json;

// Nothing of the plug-in is called by name, so it has to be mentioned once to be linked at all.
use sched_example_plugin as _;

#[task]
fn greet(run: &RunContext, name: String) {
    let thread = std::thread::current();
    println!("{}: hello, {name}, from thread {:?}", run.run().fire_time, thread.name().unwrap_or("?"));
}

fn main() -> Result<(), sched::Error> {
    // The scheduler's own log: RUST_LOG=sched_core=debug shows more.
    tracing_subscriber::fmt().with_env_filter(tracing_subscriber::EnvFilter::from_default_env()).init();

    let scheduler = BackgroundScheduler::from_config(json!({
        "executors": {
            "own-threads": { "type": "thread-per-run", "thread_name": "greeter" },
        },
        "jobs": [{
            "id": "on-the-beat",
            "task": "greet",
            "args": ["world"],
            "trigger": { "type": "beat", "every": "1s" },
            "executor": "own-threads",
        }],
    }))?;
    print!("{}", scheduler.registry().describe());

    let end = scheduler.subscribe(EventMask::SCHEDULER_SHUTDOWN);
    sched::shutdown_on_signal(&scheduler)?;
    scheduler.start()?;
    let hurry = std::env::var_os("SCHED_EXAMPLE").is_some();
    while end.next_within(Duration::from_secs(3)).is_none() {
        if hurry {
            return scheduler.shutdown(true);
        }
    }
    Ok(())
}
