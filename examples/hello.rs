//! The smallest program: two jobs on the main thread, until ctrl-c.

#![expect(clippy::print_stdout, reason = "an example talks to its reader")]

use sched::prelude::*;

fn main() -> Result<(), sched::Error> {
    // With SCHED_EXAMPLE set, every example hurries and ends by itself.
    let hurry = std::env::var_os("SCHED_EXAMPLE").is_some();
    let pause = if hurry { Duration::from_millis(500) } else { Duration::from_secs(3) };

    let scheduler = BlockingScheduler::new()?;
    scheduler.add_job(Job::call(|| println!("tick")).every(pause))?;
    scheduler.add_job(Job::call(|| println!("good morning")).cron("0 9 * * mon-fri").id("greeting"))?;
    // A job without a trigger runs once, as soon as the scheduler starts.
    scheduler.add_job(Job::call(|| println!("hello, world; ctrl-c ends this")))?;
    if hurry {
        // Jobs and listeners may call any method of their scheduler, shutdown too.
        let end = || sched::current_scheduler().map(|scheduler| scheduler.shutdown(true));
        scheduler.add_job(Job::call(end).every(Duration::from_secs(2)))?;
    }

    sched::shutdown_on_signal(&scheduler)?;
    scheduler.start()
}
