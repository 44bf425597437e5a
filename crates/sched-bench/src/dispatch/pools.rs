//! The executors on rayon and tokio, beside rayon and tokio themselves.

use std::sync::Arc;
use std::time::Instant;

use sched_core::{Execution, Task};
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

use super::{Bell, Pool, WORKERS};
use crate::Outcome;
use crate::figure::Figure;
use crate::measure::{medians, micros};
use crate::options::Options;
use crate::out::Board;
use crate::stage::Tally;

/// An executor, what it is measured beside, and what both may cost in microseconds: the budget and the limit's
/// reference, for one in flight and in bulk.
struct Subject<'a> {
    name: &'static str,
    config: Value,
    is_async: bool,
    limit: &'a dyn Fn(Box<dyn FnOnce() + Send>),
    single: (f64, f64),
    bulk: (f64, f64),
}

/// Measures both ways of handing over.
///
/// **Errors**: those of the executors and the runtimes; lost runs.
pub(super) fn run(options: &Options, board: &mut Board) -> Outcome {
    let (single, bulk) = if options.quick { (2_000, 20_000) } else { (20_000, 200_000) };
    let rayon = rayon::ThreadPoolBuilder::new().num_threads(WORKERS as usize).build()?;
    let tokio = Builder::new_multi_thread().worker_threads(WORKERS as usize).enable_all().build()?;
    let subjects = [
        Subject {
            name: "rayon",
            config: json!({ "type": "rayon", "max_workers": WORKERS }),
            is_async: false,
            limit: &|work| rayon.spawn(work),
            single: (6.0, 1.9),
            bulk: (1.0, 0.29),
        },
        Subject {
            name: "tokio, async",
            config: json!({ "type": "tokio" }),
            is_async: true,
            limit: &|work| drop(tokio.spawn(async { work() })),
            single: (6.0, 2.0),
            bulk: (2.0, 0.93),
        },
        Subject {
            name: "tokio, plain function",
            config: json!({ "type": "tokio", "max_workers": WORKERS }),
            is_async: false,
            limit: &|work| drop(tokio.spawn_blocking(work)),
            single: (6.0, 3.4),
            bulk: (2.0, 7.0),
        },
    ];
    for subject in &subjects {
        let put = |case: &str, ours| Figure::new("dispatch", format!("{}: {case}", subject.name), "µs", ours);
        let [ours, limit] =
            medians(options.runs, || Ok([subject.single(&tokio, single)?, subject.limit_single(single)?]))?;
        board.put(
            &put("submit to run, p50", ours).limit(limit).at_most(subject.single.0, Some(subject.single.1)),
        );
        let [ours, limit] =
            medians(options.runs, || Ok([subject.bulk(&tokio, bulk)?, subject.limit_bulk(bulk)?]))?;
        board.put(&put("bulk, per task", ours).limit(limit).at_most(subject.bulk.0, Some(subject.bulk.1)));
    }
    Ok(())
}

impl Subject<'_> {
    fn pool(&self, tokio: &Runtime) -> Outcome<Pool> {
        let _inside = tokio.enter();
        Pool::of(self.config.clone())
    }

    /// A task that does `work`, which takes no time.
    fn task(&self, work: impl Fn() + Clone + Send + Sync + 'static) -> Arc<Task> {
        if !self.is_async {
            return Arc::new(Task::new("work", move |_, _| work()));
        }
        Arc::new(Task::new_async("work", move |_, _| {
            let work = work.clone();
            async move { work() }
        }))
    }

    fn single(&self, tokio: &Runtime, count: u32) -> Outcome<f64> {
        let (pool, bell) = (self.pool(tokio)?, Arc::new(Bell::default()));
        let rung = Arc::clone(&bell);
        let task = self.task(move || rung.ring());
        let mut ready: Vec<Execution> = (0..count).map(|_| pool.execution(&task)).collect();
        bell.median(count, || pool.submit(ready.pop().into_iter().collect()))
    }

    fn limit_single(&self, count: u32) -> Outcome<f64> {
        let bell = Arc::new(Bell::default());
        bell.median(count, || {
            let bell = Arc::clone(&bell);
            (self.limit)(Box::new(move || bell.ring()));
            Ok(())
        })
    }

    fn bulk(&self, tokio: &Runtime, count: u32) -> Outcome<f64> {
        let (pool, tally) = (self.pool(tokio)?, Tally::new());
        let counted = Arc::clone(&tally);
        let task = self.task(move || counted.add());
        let ready: Vec<Execution> = (0..count).map(|_| pool.execution(&task)).collect();
        tally.expect(u64::from(count));
        let begun = Instant::now();
        pool.submit(ready)?;
        waited(&tally, count, begun)
    }

    fn limit_bulk(&self, count: u32) -> Outcome<f64> {
        let tally = Tally::new();
        let work = |_| {
            let tally = Arc::clone(&tally);
            Box::new(move || tally.add()) as Box<dyn FnOnce() + Send>
        };
        let ready: Vec<_> = (0..count).map(work).collect();
        tally.expect(u64::from(count));
        let begun = Instant::now();
        ready.into_iter().for_each(self.limit);
        waited(&tally, count, begun)
    }
}

fn waited(tally: &Tally, count: u32, begun: Instant) -> Outcome<f64> {
    match tally.wait() {
        true => Ok(micros(begun.elapsed()) / f64::from(count)),
        false => Err(format!("{} runs of {count}", tally.count()).into()),
    }
}
