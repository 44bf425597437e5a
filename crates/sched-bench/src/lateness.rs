//! Scenario `lateness`: how much later than its fire time a task starts, with 1,000 jobs each second.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use sched_core::{RunContext, Scheduler, Task};
use sched_runtime_blocking::BackgroundScheduler;
use sched_runtime_tokio::TokioScheduler;
use sched_triggers::IntervalTrigger;
use tokio::runtime::{Builder, Runtime};
use tokio::time::{Instant, sleep_until};

use crate::Outcome;
use crate::figure::Figure;
use crate::measure::{cpu_seconds, medians, percentile};
use crate::options::Options;
use crate::out::Board;
use crate::stage::{Tally, job_of};
use crate::timers::{Timer, Timers};

const JOBS: u32 = 1_000;
const SECOND: i64 = 1_000_000;

/// How the jobs of one second lie in it.
#[derive(Debug, Clone, Copy)]
struct Shape {
    name: &'static str,
    /// From job to job, in microseconds.
    gap: i64,
    /// Budget and the limit's reference for p50, p99 (ms) and processor seconds in 20 s.
    budgets: [(f64, f64); 3],
    /// The same for p50 and p99 on tokio, whose timers are a task each.
    on_tokio: [(f64, f64); 2],
}

const SHAPES: [Shape; 2] = [
    Shape {
        name: "burst",
        gap: 0,
        budgets: [(0.6, 0.20), (1.5, 0.43), (0.05, 0.003)],
        on_tokio: [(2.5, 1.9), (4.0, 2.5)],
    },
    Shape {
        name: "spread",
        gap: SECOND / JOBS as i64,
        budgets: [(0.12, 0.06), (0.5, 0.25), (0.4, 0.14)],
        on_tokio: [(1.8, 1.4), (3.0, 2.0)],
    },
];

/// Measures lateness and processor time.
///
/// **Errors**: those of the scheduler; lost runs.
pub fn run(options: &Options, board: &mut Board) -> Outcome {
    let seconds: u32 = if options.quick { 5 } else { 20 };
    for shape in SHAPES {
        let [p50, p99, cpu, limit_p50, limit_p99, limit_cpu] = medians(options.runs, || {
            let (ours, limit) = (ours(shape, seconds)?, limit(shape, seconds)?);
            Ok([ours[0], ours[1], ours[2], limit[0], limit[1], limit[2]])
        })?;
        let scale = f64::from(seconds) / 20.0;
        let put = |what: &str, unit, ours, limit| {
            let case = format!("{}, {JOBS} jobs each second for {seconds} s, {what}", shape.name);
            Figure::new("lateness", case, unit, ours).limit(limit)
        };
        let [at_p50, at_p99, at_cpu] = shape.budgets;
        board.put(&put("p50", "ms", p50, limit_p50).at_most(at_p50.0, Some(at_p50.1)));
        board.put(&put("p99", "ms", p99, limit_p99).at_most(at_p99.0, Some(at_p99.1)));
        board.put(&put("processor", "s", cpu, limit_cpu).at_most(at_cpu.0 * scale, Some(at_cpu.1 * scale)));
        let [p50, p99, limit_p50, limit_p99] = medians(options.runs, || {
            let (ours, limit) = (on_tokio(shape, seconds)?, timers_of_tokio(shape, seconds)?);
            Ok([ours[0], ours[1], limit[0], limit[1]])
        })?;
        let [at_p50, at_p99] = shape.on_tokio;
        board.put(&put("tokio p50", "ms", p50, limit_p50).at_most(at_p50.0, Some(at_p50.1)));
        board.put(&put("tokio p99", "ms", p99, limit_p99).at_most(at_p99.0, Some(at_p99.1)));
    }
    Ok(())
}

/// How late each run was, in microseconds, kept without locking.
struct Notes {
    late: Vec<AtomicU32>,
    tally: Arc<Tally>,
    next: AtomicU32,
}

impl Notes {
    fn of(runs: u32) -> Arc<Self> {
        let tally = Tally::new();
        tally.expect(u64::from(runs));
        let late = std::iter::repeat_with(AtomicU32::default).take(runs as usize).collect();
        Arc::new(Self { late, tally, next: AtomicU32::new(0) })
    }

    fn note(&self, fire_time: i64) {
        let late = Utc::now().timestamp_micros() - fire_time;
        let place = self.next.fetch_add(1, Ordering::Relaxed);
        if let Some(kept) = self.late.get(place as usize) {
            kept.store(u32::try_from(late).unwrap_or(0), Ordering::Relaxed);
        }
        self.tally.add();
    }

    /// Waits for all runs; p50 and p99 in milliseconds.
    fn percentiles(&self, seconds: u32) -> Outcome<[f64; 2]> {
        if !self.tally.wait_within(Duration::from_secs(u64::from(seconds) + 10)) {
            return Err(format!("{} runs of {}", self.tally.count(), self.late.len()).into());
        }
        let mut late: Vec<f64> =
            self.late.iter().map(|late| f64::from(late.load(Ordering::Relaxed)) / 1e3).collect();
        late.sort_by(f64::total_cmp);
        Ok([percentile(&late, 50), percentile(&late, 99)])
    }
}

/// The whole second after next: there is time to add the jobs.
fn beginning() -> i64 {
    (Utc::now().timestamp() + 2) * SECOND
}

fn ours(shape: Shape, seconds: u32) -> Outcome<[f64; 3]> {
    let notes = Notes::of(JOBS * seconds);
    let noting = Arc::clone(&notes);
    let task = Task::new("note", move |context, _| noting.note(fire_time(context)));
    let scheduler = BackgroundScheduler::new()?;
    scheduler.start()?;
    add_jobs(&scheduler, &Arc::new(task), shape, seconds)?;
    let before = cpu_seconds()?;
    let [p50, p99] = notes.percentiles(seconds)?;
    let cpu = cpu_seconds()? - before;
    scheduler.shutdown(true)?;
    Ok([p50, p99, cpu])
}

fn fire_time(context: &RunContext) -> i64 {
    context.run().fire_time.timestamp_micros()
}

fn add_jobs(scheduler: &Scheduler, task: &Arc<Task>, shape: Shape, seconds: u32) -> Outcome {
    let begin = beginning();
    let end = instant(begin + i64::from(seconds) * SECOND - 1);
    for number in 0..JOBS {
        let start = instant(begin + i64::from(number) * shape.gap);
        let trigger = IntervalTrigger::every(Duration::from_secs(1)).start(start).end(end).build()?;
        scheduler.add_job(job_of(task, trigger))?;
    }
    Ok(())
}

fn tokio() -> Outcome<Runtime> {
    Ok(Builder::new_multi_thread().worker_threads(2).enable_all().build()?)
}

/// Async tasks of a scheduler on tokio.
fn on_tokio(shape: Shape, seconds: u32) -> Outcome<[f64; 2]> {
    let (notes, runtime) = (Notes::of(JOBS * seconds), tokio()?);
    let noting = Arc::clone(&notes);
    let task = Task::new_async("note", move |context, _| {
        let notes = Arc::clone(&noting);
        async move { notes.note(fire_time(&context)) }
    });
    let scheduler = TokioScheduler::new()?;
    runtime.block_on(scheduler.start())?;
    add_jobs(&scheduler, &Arc::new(task), shape, seconds)?;
    let late = notes.percentiles(seconds)?;
    runtime.block_on(scheduler.shutdown(true))?;
    Ok(late)
}

/// A sleeping task of tokio for each job.
fn timers_of_tokio(shape: Shape, seconds: u32) -> Outcome<[f64; 2]> {
    let (notes, runtime) = (Notes::of(JOBS * seconds), tokio()?);
    let (origin, wall, begin) = (Instant::now(), Utc::now().timestamp_micros(), beginning());
    for number in 0..JOBS {
        let (notes, first) = (Arc::clone(&notes), begin + i64::from(number) * shape.gap);
        runtime.spawn(async move {
            for round in 0..i64::from(seconds) {
                let fire_time = first + round * SECOND;
                let pause = u64::try_from(fire_time - wall).unwrap_or(0);
                sleep_until(origin + Duration::from_micros(pause)).await;
                notes.note(fire_time);
            }
        });
    }
    notes.percentiles(seconds)
}

fn limit(shape: Shape, seconds: u32) -> Outcome<[f64; 3]> {
    let notes = Notes::of(JOBS * seconds);
    let (mut timers, begin) = (Timers::default(), beginning());
    for number in 0..JOBS {
        let notes = Arc::clone(&notes);
        let start = begin + i64::from(number) * shape.gap;
        timers.push(Timer::new(start, SECOND, move |fire_time| notes.note(fire_time)));
    }
    let thread = timers.run_until(begin + i64::from(seconds) * SECOND - 1);
    let before = cpu_seconds()?;
    let [p50, p99] = notes.percentiles(seconds)?;
    let cpu = cpu_seconds()? - before;
    thread.join().map_err(|_| "the limit's thread panicked")?;
    Ok([p50, p99, cpu])
}

fn instant(micros: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(micros).unwrap_or_default()
}
