//! Dispatch to other processes: to a worker process and back, with arguments and a result.
//!
//! The limit is a pipe to `cat` and back.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use chrono::{DateTime, Utc};
use sched_core::{
    Args, Clock, Execution, Executor, ExecutorContext, JobOptions, Registry, Run, RunId, RunReport, RunSink,
    Shutdown, SystemClock, Task,
};
use sched_executor_process::ProcessPoolExecutor;
use serde_json::json;
use uuid::Uuid;

use super::{Bell, WORKERS};
use crate::Outcome;
use crate::figure::Figure;
use crate::measure::{median, medians, micros};
use crate::options::Options;
use crate::out::Board;
use crate::stage::Tally;

/// What goes through the limit's pipe.
const MESSAGE: [u8; 64] = [7; 64];

/// Serves a pool of this benchmark when the process is a worker of it; to be called before anything else.
///
/// **Errors**: none but defects.
pub fn serve() -> Outcome {
    sched_executor_process::init_with(&Registry::builder().task(task()).build()?);
    Ok(())
}

pub(super) fn run(options: &Options, board: &mut Board) -> Outcome {
    let (single, bulk) = if options.quick { (2_000, 20_000) } else { (20_000, 200_000) };
    let [ours, limit] = medians(options.runs, || Ok([ours_single(single)?, limit_single(single)?]))?;
    let put = |case: &str, ours| Figure::new("dispatch", case, "µs", ours);
    board.put(&put("process, there and back, p50", ours).limit(limit).at_most(25.0, Some(2.4)));
    let [ours, limit] = medians(options.runs, || Ok([ours_bulk(bulk)?, limit_bulk(bulk)?]))?;
    board.put(&put("process, bulk, per task", ours).limit(limit).at_most(3.0, Some(0.03)));
    Ok(())
}

/// Answers with its first argument.
fn task() -> Task {
    Task::new("bench.first", |_, args| args.positional().first().cloned().unwrap_or_default())
}

/// Hears of the ends of runs.
struct Ear<F>(SystemClock, F);

impl<F: Fn() + Send + Sync> RunSink for Ear<F> {
    fn now(&self) -> DateTime<Utc> {
        self.0.now()
    }
    fn started(&self, _: &Arc<Run>) {}
    fn finished(&self, report: RunReport) {
        if report.outcome.is_success() {
            (self.1)();
        }
    }
}

/// A started pool of processes, and what executions are made of.
struct Pool {
    executor: ProcessPoolExecutor,
    sink: Arc<dyn RunSink>,
    options: Arc<JobOptions>,
    task: Arc<Task>,
}

impl Pool {
    fn start(told: impl Fn() + Send + Sync + 'static) -> Outcome<Self> {
        let executor = ProcessPoolExecutor::new(WORKERS as usize);
        executor.start(ExecutorContext { alias: Arc::from("default") })?;
        let sink = Arc::new(Ear(SystemClock::new(), told));
        Ok(Self { executor, sink, options: Arc::new(JobOptions::default()), task: Arc::new(task()) })
    }

    fn execution(&self, number: u32) -> Execution {
        let now = self.sink.now();
        let run = Run {
            id: RunId::from_uuid(Uuid::now_v7()),
            job_id: None,
            store: Arc::from("default"),
            task: self.task.shared_name(),
            fire_time: now,
            scheduled_time: now,
            attempt: 1,
        };
        let args = Args::from(json!([number, "ops@example.org"]));
        let (task, options) = (Arc::clone(&self.task), Arc::clone(&self.options));
        Execution::new(Arc::new(run), task, args, options, Arc::clone(&self.sink))
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
    let bell = Arc::new(Bell::default());
    let ear = Arc::clone(&bell);
    let pool = Pool::start(move || ear.ring())?;
    // The first runs start the processes.
    pool.submit(vec![pool.execution(0)])?;
    bell.wait();
    let mut ready: Vec<Execution> = (0..count).map(|number| pool.execution(number)).collect();
    bell.median(count, || pool.submit(ready.pop().into_iter().collect()))
}

fn ours_bulk(count: u32) -> Outcome<f64> {
    const FIRST: u32 = 1_000;
    let tally = Tally::new();
    let ear = Arc::clone(&tally);
    let pool = Pool::start(move || ear.add())?;
    tally.expect(u64::from(FIRST));
    pool.submit((0..FIRST).map(|number| pool.execution(number)).collect())?;
    tally.wait();
    let ready: Vec<Execution> = (0..count).map(|number| pool.execution(number)).collect();
    tally.expect(u64::from(count + FIRST));
    let begun = Instant::now();
    pool.submit(ready)?;
    if !tally.wait() {
        return Err(format!("{} runs of {count}", tally.count()).into());
    }
    Ok(micros(begun.elapsed()) / f64::from(count))
}

/// The limit: a program that gives back what it gets.
struct Cat {
    child: Child,
    into: ChildStdin,
    out: ChildStdout,
}

impl Cat {
    fn start() -> Outcome<Self> {
        let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let pipes = (child.stdin.take(), child.stdout.take());
        let (Some(into), Some(out)) = pipes else { return Err("cat has no pipes".into()) };
        Ok(Self { child, into, out })
    }

    fn end(mut self) -> Outcome {
        drop(self.into);
        self.child.wait()?;
        Ok(())
    }
}

fn limit_single(count: u32) -> Outcome<f64> {
    let (mut cat, mut back) = (Cat::start()?, MESSAGE);
    let mut times = Vec::with_capacity(count as usize);
    for _ in 0..count {
        let begun = Instant::now();
        cat.into.write_all(&MESSAGE)?;
        cat.out.read_exact(&mut back)?;
        times.push(micros(begun.elapsed()));
    }
    cat.end()?;
    Ok(median(times))
}

fn limit_bulk(count: u32) -> Outcome<f64> {
    const BATCH: u32 = 500;
    let mut cat = Cat::start()?;
    let batch = MESSAGE.repeat(BATCH as usize);
    let mut back = batch.clone();
    let begun = Instant::now();
    for _ in 0..count / BATCH {
        cat.into.write_all(&batch)?;
        cat.out.read_exact(&mut back)?;
    }
    let time = micros(begun.elapsed()) / f64::from(count);
    cat.end()?;
    Ok(time)
}
