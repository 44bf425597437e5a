//! Scenario `dispatch`: from submitting a run to its start, one in flight and in bulk.
//!
//! The limit is a pool of two threads behind a channel; ours is a thread pool of two workers, fed with executions
//! that are made beforehand, as the limit's closures are.

mod pools;
pub mod process;

use std::hint::spin_loop;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use crossbeam_channel::Sender;
use parking_lot::Mutex;
use sched_core::{
    Args, BuildContext, Call, Clock, Execution, Executor, ExecutorContext, JobOptions, Registry, Run, RunId,
    RunReport, RunSink, Shutdown, SystemClock, Task,
};
use sched_runtime_blocking::BackgroundScheduler;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::Outcome;
use crate::figure::Figure;
use crate::measure::{median, medians, micros};
use crate::options::Options;
use crate::out::Board;
use crate::stage::{Tally, pool};

const WORKERS: u32 = 2;

/// Measures both ways of handing over.
///
/// **Errors**: those of the executor and the scheduler; lost runs.
pub fn run(options: &Options, board: &mut Board) -> Outcome {
    let (single, bulk) = if options.quick { (2_000, 20_000) } else { (20_000, 200_000) };
    let [ours, limit] = medians(options.runs, || Ok([ours_single(single)?, limit_single(single)]))?;
    let put = |case: &str, ours| Figure::new("dispatch", case, "µs", ours);
    board.put(&put("submit to run, p50", ours).limit(limit).at_most(6.0, Some(1.9)));
    let [queued, limit] = medians(options.runs, || Ok([queued(single / 4)?, limit_single(single)]))?;
    board.put(&put("add_run(now) to run, memory store, p50", queued).limit(limit).at_most(15.0, Some(1.9)));
    let [ours, limit] = medians(options.runs, || Ok([ours_bulk(bulk)?, limit_bulk(bulk)?]))?;
    board.put(&put("bulk, per task", ours).limit(limit).at_most(1.0, Some(0.05)));
    pools::run(options, board)?;
    process::run(options, board)
}

/// Notes when the task started, and lets the one who waits go on.
#[derive(Default)]
struct Bell {
    rung: AtomicBool,
    at: Mutex<Option<Instant>>,
}

impl Bell {
    fn ring(&self) {
        *self.at.lock() = Some(Instant::now());
        self.rung.store(true, Ordering::Release);
    }

    /// Waits without sleeping: only the way there is measured, not the way back.
    fn wait(&self) -> Instant {
        while !self.rung.swap(false, Ordering::Acquire) {
            spin_loop();
        }
        self.at.lock().unwrap_or_else(Instant::now)
    }

    fn task(self: &Arc<Self>) -> Arc<Task> {
        let bell = Arc::clone(self);
        Arc::new(Task::new("ring", move |_, _| bell.ring()))
    }

    /// The median way from `begin` to the bell, in microseconds.
    fn median(&self, count: u32, mut begin: impl FnMut() -> Outcome) -> Outcome<f64> {
        let mut times = Vec::with_capacity(count as usize);
        for _ in 0..count {
            let begun = Instant::now();
            begin()?;
            times.push(micros(self.wait().saturating_duration_since(begun)));
        }
        Ok(median(times))
    }
}

/// An engine that only tells the time.
#[derive(Debug)]
struct Ear(SystemClock);

impl RunSink for Ear {
    fn now(&self) -> DateTime<Utc> {
        self.0.now()
    }
    fn started(&self, _: &Arc<Run>) {}
    fn finished(&self, report: RunReport) {
        drop(report);
    }
}

/// A started executor, and what executions are made of.
struct Pool {
    executor: Arc<dyn Executor>,
    sink: Arc<dyn RunSink>,
    options: Arc<JobOptions>,
}

impl Pool {
    fn start() -> Outcome<Self> {
        Self::of(json!({ "type": "threadpool", "max_workers": WORKERS }))
    }

    fn of(config: Value) -> Outcome<Self> {
        let registry = Registry::linked()?;
        let context = BuildContext { registry: &registry, timezone: Tz::UTC };
        let executor = registry.executor("executor", config, context)?;
        executor.start(ExecutorContext { alias: Arc::from("default") })?;
        let sink = Arc::new(Ear(SystemClock::new()));
        Ok(Self { executor, sink, options: Arc::new(JobOptions::default()) })
    }

    fn execution(&self, task: &Arc<Task>) -> Execution {
        let now = self.sink.now();
        let run = Run {
            id: RunId::from_uuid(Uuid::now_v7()),
            job_id: None,
            store: Arc::from("default"),
            task: task.shared_name(),
            fire_time: now,
            scheduled_time: now,
            attempt: 1,
        };
        let (run, options) = (Arc::new(run), Arc::clone(&self.options));
        Execution::new(run, Arc::clone(task), Args::default(), options, Arc::clone(&self.sink))
    }

    fn submit(&self, runs: Vec<Execution>) -> Outcome {
        self.executor.submit(runs).map_err(|refused| refused.error.into())
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // Nobody is left to tell.
        let _ = self.executor.shutdown(Shutdown::Wait);
    }
}

fn ours_single(count: u32) -> Outcome<f64> {
    let (pool, bell) = (Pool::start()?, Arc::new(Bell::default()));
    let task = bell.task();
    let mut ready: Vec<Execution> = (0..count).map(|_| pool.execution(&task)).collect();
    bell.median(count, || pool.submit(ready.pop().into_iter().collect()))
}

fn ours_bulk(count: u32) -> Outcome<f64> {
    let (pool, tally) = (Pool::start()?, Tally::new());
    let task = tally.task();
    tally.expect(1);
    pool.submit(vec![pool.execution(&task)])?;
    tally.wait();
    let ready: Vec<Execution> = (0..count).map(|_| pool.execution(&task)).collect();
    tally.expect(u64::from(count) + 1);
    let begun = Instant::now();
    pool.submit(ready)?;
    if !tally.wait() {
        return Err(format!("{} runs of {count}", tally.count()).into());
    }
    Ok(micros(begun.elapsed()) / f64::from(count))
}

type Closure = Box<dyn FnOnce() + Send>;

const GONE: &str = "the limit's threads are gone";

/// The limit: threads that call what comes through a channel.
fn hand_pool() -> (Sender<Closure>, Vec<JoinHandle<()>>) {
    let (sender, receiver) = crossbeam_channel::unbounded::<Closure>();
    let workers = (0..WORKERS).map(|_| {
        let receiver = receiver.clone();
        thread::spawn(move || receiver.iter().for_each(|closure| closure()))
    });
    (sender, workers.collect())
}

fn limit_single(count: u32) -> f64 {
    let ((sender, workers), bell) = (hand_pool(), Arc::new(Bell::default()));
    let time = bell.median(count, || {
        let bell = Arc::clone(&bell);
        sender.send(Box::new(move || bell.ring())).map_err(|_| GONE.into())
    });
    drop(sender);
    workers.into_iter().for_each(|worker| drop(worker.join()));
    time.unwrap_or(f64::NAN)
}

fn limit_bulk(count: u32) -> Outcome<f64> {
    let ((sender, workers), tally) = (hand_pool(), Tally::new());
    tally.expect(u64::from(count));
    let ready: Vec<Closure> = (0..count)
        .map(|_| {
            let tally = Arc::clone(&tally);
            Box::new(move || tally.add()) as Closure
        })
        .collect();
    let begun = Instant::now();
    ready.into_iter().try_for_each(|closure| sender.send(closure)).map_err(|_| GONE)?;
    let complete = tally.wait();
    let time = micros(begun.elapsed()) / f64::from(count);
    drop(sender);
    workers.into_iter().for_each(|worker| drop(worker.join()));
    if complete { Ok(time) } else { Err("the limit lost tasks".into()) }
}

/// A run queued by hand, through the store and the loop.
fn queued(count: u32) -> Outcome<f64> {
    let scheduler = BackgroundScheduler::from_config(pool(WORKERS))?;
    scheduler.start()?;
    let bell = Arc::new(Bell::default());
    let task = bell.task();
    let time = bell.median(count, || {
        scheduler.add_run(Call::bound(Arc::clone(&task), Args::default()))?;
        Ok(())
    });
    scheduler.shutdown(true)?;
    time
}
