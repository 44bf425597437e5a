//! Cases: every way to stop a scheduler.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sched_core::{Error, ErrorKind, Event, JobBuilder, Outcome, Shutdown, Task, current_scheduler};
use serde_json::Value;

use super::Adapter;
use super::stage::{Stage, until};

fn done() -> Outcome {
    Outcome::Succeeded(Value::Null)
}

fn refused(answer: Result<(), Error>) -> bool {
    answer.is_err_and(|error| error.kind() == ErrorKind::InvalidState)
}

/// What was not started cannot be shut down.
pub fn shutdown_before_start_is_refused<A: Adapter>() -> Result<(), Error> {
    let stage = Stage::<A>::stopped()?;
    assert!(refused(stage.adapter.shutdown(Shutdown::Wait)));
    Ok(())
}

/// A shutdown that waits returns after the last run was told.
pub fn shutdown_waits_for_runs<A: Adapter>() -> Result<(), Error> {
    let (stage, gate) = Stage::<A>::held(true)?;
    std::thread::scope(|scope| {
        let stopping = scope.spawn(|| stage.adapter.shutdown(Shutdown::Wait));
        until("the shutdown", || !stage.scheduler().is_running());
        assert!(stage.ends_of("held").is_empty(), "it is waited for");
        gate.open();
        assert!(stopping.join().is_ok_and(|stopped| stopped.is_ok()));
    });
    assert_eq!(stage.end_of("held"), done());
    assert!(!stage.scheduler().is_running());
    Ok(())
}

/// A stop is over when the shutdown is, not when it begins: a program whose `main` waits for it cuts no run short.
pub fn who_waits_for_the_stop_waits_for_runs_too<A: Adapter>() -> Result<(), Error> {
    let (stage, gate) = Stage::<A>::held(true)?;
    std::thread::scope(|scope| {
        let stopping = scope.spawn(|| stage.adapter.shutdown(Shutdown::Wait));
        until("the shutdown", || !stage.scheduler().is_running());
        let waiting = scope.spawn(|| {
            let waited = stage.adapter.wait_until_stopped();
            waited.map(|()| stage.ends_of("held").len())
        });
        let plainly = scope.spawn(|| {
            stage.scheduler().wait_until_stopped();
            stage.ends_of("held").len()
        });
        // Whoever does not wait is over by now.
        std::thread::park_timeout(Duration::from_millis(50));
        gate.open();
        assert!(stopping.join().is_ok_and(|stopped| stopped.is_ok()));
        assert!(waiting.join().is_ok_and(|ends| ends.is_ok_and(|ends| ends == 1)));
        assert!(plainly.join().is_ok_and(|ends| ends == 1));
    });
    stage.adapter.wait_until_stopped()
}

/// A shutdown with a deadline waits as long as it may, then asks runs to cancel.
pub fn shutdown_with_a_deadline_cancels_what_is_left<A: Adapter>() -> Result<(), Error> {
    const LIMIT: Duration = Duration::from_millis(100);
    let ((stage, _gate), begin) = (Stage::<A>::held(true)?, Instant::now());
    stage.adapter.shutdown(Shutdown::WaitFor(LIMIT))?;
    assert!(begin.elapsed() >= LIMIT, "{:?}", begin.elapsed());
    assert_eq!(stage.end_of("held"), Outcome::Cancelled);
    Ok(())
}

/// A shutdown that does not wait asks runs to cancel, and returns though one does not listen.
pub fn shutdown_now_cancels_at_once<A: Adapter>() -> Result<(), Error> {
    let (willing, _gate) = Stage::<A>::held(true)?;
    willing.adapter.shutdown(Shutdown::Now)?;
    assert_eq!(willing.end_of("held"), Outcome::Cancelled);
    let (deaf, gate) = Stage::<A>::held(false)?;
    deaf.adapter.shutdown(Shutdown::Now)?;
    assert!(!deaf.scheduler().is_running());
    gate.open();
    Ok(())
}

/// What is shut down cannot be shut down again.
pub fn a_second_shutdown_is_refused<A: Adapter>() -> Result<(), Error> {
    let stage = Stage::<A>::started()?;
    stage.end()?;
    for how in [Shutdown::Wait, Shutdown::Now, Shutdown::WaitFor(Duration::ZERO)] {
        assert!(refused(stage.adapter.shutdown(how)));
    }
    let told = |event: &&Event| matches!(event, Event::SchedulerShutdown);
    assert_eq!(stage.recorder.events().iter().filter(told).count(), 1);
    Ok(())
}

/// While one shutdown waits, another is refused, and hurries nobody.
pub fn a_shutdown_beside_another_is_refused<A: Adapter>() -> Result<(), Error> {
    let (stage, gate) = Stage::<A>::held(true)?;
    std::thread::scope(|scope| {
        let stopping = scope.spawn(|| stage.adapter.shutdown(Shutdown::Wait));
        until("the shutdown", || !stage.scheduler().is_running());
        assert!(refused(stage.adapter.shutdown(Shutdown::Now)));
        gate.open();
        assert!(stopping.join().is_ok_and(|stopped| stopped.is_ok()));
    });
    assert_eq!(stage.end_of("held"), done());
    Ok(())
}

/// A task may shut its own scheduler down. The call waits for other runs, not for its own, which ends well.
pub fn a_task_may_end_it<A: Adapter>() -> Result<(), Error> {
    let (stage, gate) = Stage::<A>::held(true)?;
    let opening = Arc::clone(&gate);
    let task = Task::new("stop", move |_, _| {
        opening.open();
        current_scheduler().map(|scheduler| scheduler.shutdown(Shutdown::Wait).is_ok())
    });
    stage.adapter.add_job(JobBuilder::bound(task).id("stop"))?;
    stage.recorder.wait_for_word("shutdown");
    assert!(!stage.scheduler().is_running());
    assert_eq!(stage.end_of("held"), done());
    assert_eq!(stage.end_of("stop"), Outcome::Succeeded(Value::Bool(true)));
    Ok(())
}
