//! A backlog of jobs and a scheduler that works it off, the same for every store.

use std::sync::Arc;
use std::time::Instant;

use chrono::{DateTime, TimeDelta, Utc};
use sched_core::{
    ConflictPolicy, Delivery, Error, Job, JobStore, Registry, RunCounts, Scheduler, StoreContext, SystemClock,
};
use sched_runtime_blocking::BackgroundScheduler;
use serde_json::json;

use crate::Outcome;
use crate::figure::Figure;
use crate::measure::medians;
use crate::options::Options;
use crate::out::Board;
use crate::stage::Tally;

/// What a server is measured by.
pub(super) struct Budget {
    /// What it is called.
    pub(super) server: &'static str,
    /// The least ratio to the limit, without run rows and with.
    pub(super) least: [f64; 2],
}

/// Jobs per second: the medians of a comparison.
pub(super) struct Rates {
    /// With run rows.
    pub(super) durable: f64,
    /// Of the least code.
    pub(super) limit: f64,
}

/// How many jobs are due.
pub(crate) fn size(options: &Options) -> u32 {
    if options.quick { 5_000 } else { 20_000 }
}

/// Measures both ways of delivery beside the limit of the same server, in turn.
///
/// **Errors**: those of the store and of the limit.
pub(super) fn compare(
    options: &Options,
    board: &mut Board,
    budget: &Budget,
    mut ours: impl FnMut(Delivery) -> Outcome<f64>,
    mut limit: impl FnMut() -> Outcome<f64>,
) -> Outcome<Rates> {
    let [once, durable, limit] =
        medians(options.runs, || Ok([ours(Delivery::Direct)?, ours(Delivery::Durable)?, limit()?]))?;
    for (case, ours, least) in
        [("at most once", once, budget.least[0]), ("durable", durable, budget.least[1])]
    {
        let case = format!("{}, {} jobs due at once, {case}", budget.server, size(options));
        let figure = Figure::new("stores", case, "jobs/s", ours).limit(limit);
        board.put(&figure.at_least(least * limit, None));
    }
    Ok(Rates { durable, limit })
}

/// Jobs per second of a scheduler, from the moment when it may begin until nothing is due and no run is unfinished.
/// `open` opens the same empty store each time.
///
/// **Errors**: those of the store and the scheduler; lost runs.
pub(super) fn rate<S: JobStore>(
    open: impl Fn() -> Result<S, Error>,
    jobs: u32,
    delivery: Delivery,
) -> Outcome<f64> {
    rate_of(open, 1, jobs, delivery)
}

/// As [`rate`], of several schedulers on the one store.
///
/// **Errors**: the same.
pub(crate) fn rate_of<S: JobStore>(
    open: impl Fn() -> Result<S, Error>,
    schedulers: usize,
    jobs: u32,
    delivery: Delivery,
) -> Outcome<f64> {
    let tally = Tally::new();
    let registry = Registry::builder().linked().task(tally.task()).build()?;
    let watcher = started(open()?, registry.clone())?;
    let members = (0..schedulers).map(|_| {
        let builder = Scheduler::builder().registry(registry.clone()).job_store("default", open()?);
        let scheduler = BackgroundScheduler::build(builder.with(|config| config.delivery(delivery)))?;
        scheduler.start_paused()?;
        Ok(scheduler)
    });
    let members = members.collect::<Outcome<Vec<BackgroundScheduler>>>()?;
    let first = members.first().ok_or("there is no scheduler")?;
    fill(first, &watcher, jobs)?;
    tally.expect(u64::from(jobs));
    let begun = Instant::now();
    members.iter().try_for_each(|member| member.resume())?;
    let complete = tally.wait();
    let unfinished = || watcher.runs().map_or(Ok(RunCounts::default()), |queue| queue.counts());
    while unfinished()? != RunCounts::default() {}
    let time = begun.elapsed().as_secs_f64();
    members.iter().try_for_each(|member| member.shutdown(true))?;
    watcher.clear()?;
    watcher.shutdown()?;
    if complete {
        Ok(f64::from(jobs) / time)
    } else {
        Err(format!("{} runs of {jobs}", tally.count()).into())
    }
}

/// A store that is started without a scheduler.
///
/// **Errors**: those of the store.
pub(crate) fn started<S: JobStore>(store: S, registry: Registry) -> Outcome<S> {
    let clock = Arc::new(SystemClock::new());
    store.start(StoreContext::new("default", Arc::new(registry), clock, chrono_tz::Tz::UTC))?;
    Ok(store)
}

/// Puts copies of a job into the store, all due now; each is due again in an hour.
fn fill(scheduler: &Scheduler, store: &impl JobStore, jobs: u32) -> Outcome {
    let now = scheduler.clock().now();
    let job = Job::task("count").id("sample").trigger(json!({ "type": "interval", "hours": 1 }));
    scheduler.add_job(job)?;
    let Some(sample) = store.get(&["sample".to_owned().try_into()?])?.remove(0) else {
        return Err("the sample was not stored".into());
    };
    let sample = sample.into_job()?;
    scheduler.remove_job("sample")?;
    let copies = (0..jobs).map(|number| copy_of(&sample, number, now)).collect::<Outcome<Vec<Job>>>()?;
    for answer in store.insert(&copies, ConflictPolicy::Error)? {
        answer?;
    }
    Ok(())
}

fn copy_of(sample: &Job, number: u32, now: DateTime<Utc>) -> Outcome<Job> {
    let mut job = sample.clone();
    Arc::make_mut(&mut job.spec).id = format!("job-{number:08}").try_into()?;
    // All are due; the order is that of the ids.
    let due = now - TimeDelta::seconds(1);
    (job.cursor.next_fire_time, job.cursor.next_run_time) = (Some(due), Some(due));
    Ok(job)
}
