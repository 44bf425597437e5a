//! A scheduler that runs until the process is asked to end, on every async runtime. One test: signals are the whole
//! process's.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sched_async::{AsyncRuntime, AsyncScheduler};
use sched_core::{Error, EventMask, JobBuilder, Outcome, SchedulerState, Task};
use sched_runtime_async_std::AsyncStd;
use sched_runtime_smol::Smol;
use sched_runtime_tokio::Tokio;
use sched_store_memory as _;

fn ask_to_end(signal: &str) {
    let pid = std::process::id().to_string();
    assert!(Command::new("kill").args(["-s", signal, &pid]).status().unwrap().success());
}

async fn until<R: AsyncRuntime>(come: impl Fn() -> bool) {
    let begin = Instant::now();
    while !come() {
        assert!(begin.elapsed() < Duration::from_secs(20), "it does not come");
        R::current().unwrap().sleep(Duration::from_millis(1)).await;
    }
}

/// What becomes of a run that sleeps so long, when the process is asked to end by these signals.
async fn outcome<R: AsyncRuntime>(signals: &[&str], pause: Duration) -> Result<Outcome, Error> {
    let scheduler = Arc::new(AsyncScheduler::<R>::new()?);
    let starts = scheduler.subscribe(EventMask::RUN_STARTED);
    let end = Arc::new(Mutex::new(None));
    let heard = Arc::clone(&end);
    scheduler.add_listener(
        move |event| *heard.lock() = event.ended().map(|ended| ended.outcome.clone()),
        EventMask::JOB_ERROR | EventMask::JOB_EXECUTED,
    );
    let sleep = Task::new_async("sleep", move |_, _| R::current().unwrap().sleep(pause));
    scheduler.add_job(JobBuilder::bound(sleep)).await?;
    let (running, (tell, ended)) = (Arc::clone(&scheduler), futures_channel::oneshot::channel());
    R::current()?.spawn(async move { drop(tell.send(running.run_until_signal().await)) });
    until::<R>(|| !starts.drain().is_empty()).await;
    for signal in signals {
        ask_to_end(signal);
        until::<R>(|| scheduler.state() == SchedulerState::Stopped).await;
    }
    ended.await.unwrap()?;
    // A run that was cancelled ends beside the shutdown.
    until::<R>(|| end.lock().is_some()).await;
    let outcome = end.lock().take();
    Ok(outcome.unwrap())
}

async fn signals_end_it<R: AsyncRuntime>() -> Result<(), Error> {
    let slept = Outcome::Succeeded(serde_json::Value::Null);
    for signal in ["INT", "TERM"] {
        assert_eq!(outcome::<R>(&[signal], Duration::from_millis(100)).await?, slept);
    }
    let hour = Duration::from_secs(3_600);
    assert_eq!(outcome::<R>(&["TERM", "TERM"], hour).await?, Outcome::Cancelled);
    let scheduler = Arc::new(AsyncScheduler::<R>::new()?);
    let (stopping, (tell, ended)) = (Arc::clone(&scheduler), futures_channel::oneshot::channel());
    R::current()?.spawn(async move { drop(tell.send(stopping.run_until_signal().await)) });
    until::<R>(|| scheduler.is_running()).await;
    scheduler.shutdown(true).await?;
    ended.await.unwrap()
}

#[test]
fn the_first_signal_waits_for_runs_and_the_second_cancels_them() -> Result<(), Error> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(signals_end_it::<Tokio>())?;
    async_std::task::block_on(signals_end_it::<AsyncStd>())?;
    smol::block_on(signals_end_it::<Smol>())
}
