//! [`Stage`]: a scheduler with two stores, one of which is harmed while the other's jobs are watched.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use sched::prelude::MemoryStore;
use sched::{
    BackgroundScheduler, Coalesce, Error, Event, EventMask, Health, Job, JobBuilder, Registry, RunContext,
    RunFilter, RunState, Scheduler, Task,
};
use sched_core::{StoreContext, SystemClock};
use sched_store_sql::SqlStore;
use serde_json::json;

/// How long anything may take that is waited for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The alias of the store that is harmed.
const HARMED: &str = "harmed";

/// How many jobs there are that are not due.
const FAR: usize = 20;

/// Milliseconds from fire time to fire time.
const INTERVAL: i64 = 100;

/// A scheduler whose job `steady` is in memory and whose job `kept` is in a store that is harmed.
pub(crate) struct Stage {
    pub(crate) scheduler: BackgroundScheduler,
    steady: Arc<AtomicUsize>,
    kept: Kept,
}

/// How often each fire time ran, in milliseconds since the Unix epoch.
type Kept = Arc<parking_lot::Mutex<BTreeMap<i64, usize>>>;

impl Stage {
    /// A scheduler whose harmed store is added later.
    pub(crate) fn new() -> Self {
        let (steady, kept) = (Arc::new(AtomicUsize::new(0)), Kept::default());
        let (counter, map) = (Arc::clone(&steady), Arc::clone(&kept));
        let count = Task::new("steady", move |_, _| {
            counter.fetch_add(1, Ordering::SeqCst);
        });
        let keep = Task::new("kept", move |context: &RunContext, _| {
            *map.lock().entry(context.run().fire_time.timestamp_millis()).or_default() += 1;
        });
        let registry = Registry::builder().linked().task(count).task(keep).build().expect("no name is taken");
        let builder = Scheduler::builder().registry(registry).job_store("default", MemoryStore::new());
        let builder = builder.with(|config| {
            config.retry_interval(Duration::from_millis(200)).lease_duration(Duration::from_secs(5))
        });
        let scheduler = BackgroundScheduler::build(builder).expect("the configuration is right");
        let listener = |event: &Event| {
            if let Event::StoreFailed { store, reason, .. } = event {
                assert_eq!(&**store, HARMED, "{reason}");
                assert!(!reason.contains("sched:sched"), "{reason}");
            }
        };
        scheduler.add_listener(listener, EventMask::STORE_FAILED);
        scheduler.start().expect("it starts");
        scheduler.add_job(often("steady")).expect("it is added");
        Self { scheduler, steady, kept }
    }

    /// Adds the store that is to be harmed, with the job `kept` and a few that are due in a long time.
    pub(crate) fn with(store: SqlStore) -> Self {
        let stage = Self::new();
        stage.add(store).expect("the store starts");
        for number in 0..FAR {
            stage.add_far(&format!("far-{number}")).expect("it is added");
        }
        stage.scheduler.add_job(often("kept").store(HARMED)).expect("it is added");
        stage.fires_on();
        stage
    }

    /// Adds a job that is due in a long time.
    pub(crate) fn add_far(&self, id: &str) -> Result<(), Error> {
        let job = Job::task("kept").id(id).store(HARMED).trigger(json!({ "type": "interval", "days": 1 }));
        self.scheduler.add_job(job).map(drop)
    }

    /// Adds a store to the running scheduler.
    pub(crate) fn add(&self, store: SqlStore) -> Result<(), Error> {
        self.scheduler.add_job_store(Arc::new(store), HARMED)
    }

    /// Waits until the harmed store's loop has failed for a reason that contains `text`, and the other's job has fired
    /// several times meanwhile.
    pub(crate) fn degrades(&self, text: &str) {
        wait_until(
            &format!("a failure because of `{text}`"),
            || matches!(self.health(), Health::Degraded(reason) if reason.contains(text)),
        );
        self.goes_on();
        assert!(matches!(self.health(), Health::Degraded(_)), "it was mended too early");
    }

    /// Waits until the other store's job has fired several times.
    pub(crate) fn goes_on(&self) {
        let (ran, start) = (self.steady.load(Ordering::SeqCst), Instant::now());
        wait_until("the other store's job", || self.steady.load(Ordering::SeqCst) >= ran + 5);
        assert!(start.elapsed() < Duration::from_secs(5), "the other store's job is held up");
    }

    /// Waits until the harmed store works again and its job fires on.
    pub(crate) fn recovers(&self) {
        wait_until("the recovery", || self.health() == Health::Healthy);
        self.fires_on();
    }

    /// Waits until both jobs have fired a few more times.
    fn fires_on(&self) {
        let (steady, kept) = (self.steady.load(Ordering::SeqCst), self.kept_runs());
        wait_until("both jobs fire on", || {
            self.steady.load(Ordering::SeqCst) >= steady + 3 && self.kept_runs() >= kept + 3
        });
    }

    fn kept_runs(&self) -> usize {
        self.kept.lock().len()
    }

    fn health(&self) -> Health {
        let health = self.scheduler.health().into_iter().find(|(alias, _)| &**alias == HARMED);
        health.expect("the store has a loop").1
    }

    /// Shuts down and checks that nothing was lost and nothing was done twice: jobs, rows and fire times.
    pub(crate) fn ends_whole(self) {
        self.scheduler.pause_job("kept").expect("the store works");
        let is_unfinished = |state: &RunState| !matches!(state, RunState::Finished { .. });
        let rows =
            || self.scheduler.get_runs(&RunFilter::default(), Some(HARMED)).expect("the store has a queue");
        wait_until("every run has ended", || !rows().iter().any(|record| is_unfinished(&record.state)));
        assert_eq!(
            self.scheduler.get_jobs(Some(HARMED)).expect("the store works").len(),
            FAR + 1,
            "no job is lost"
        );
        let kept = self.kept.lock().clone();
        let mut recorded: Vec<i64> =
            rows().iter().map(|record| record.run.fire_time.timestamp_millis()).collect();
        recorded.sort_unstable();
        assert_eq!(recorded, kept.keys().copied().collect::<Vec<_>>(), "every run left its row");
        let (first, last) = (recorded[0], recorded[recorded.len() - 1]);
        let expected: BTreeMap<i64, usize> =
            (0..=(last - first) / INTERVAL).map(|nth| (first + nth * INTERVAL, 1)).collect();
        assert_eq!(kept, expected, "every fire time ran once");
        self.scheduler.shutdown(true).expect("it shuts down");
    }
}

/// A job that fires often; every fire time of it runs, however late.
fn often(task: &'static str) -> JobBuilder {
    let seconds = Duration::from_millis(INTERVAL.unsigned_abs()).as_secs_f64();
    let job = Job::task(task).id(task).trigger(json!({ "type": "interval", "seconds": seconds }));
    let job = job.coalesce(Coalesce::All).max_catch_up(100_000).max_instances(1_000);
    job.result_ttl(Duration::from_secs(3_600))
}

/// What a store is started with that stands alone.
pub(crate) fn context() -> StoreContext {
    let clock = Arc::new(SystemClock::new());
    StoreContext::new("default", sched_testkit::jobs::registry(), clock, sched_core::chrono_tz::Tz::UTC)
}

pub(crate) fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(5));
    }
}
