//! What a scheduler is set up from: in code, or from a dictionary.

use std::sync::Arc;
use std::time::Duration;

use chrono_tz::Tz;
use serde_json::Value;

use super::file::Parts;
use super::state::{EngineSettings, State, StoreEntry};
use crate::broker::EventBroker;
use crate::config::{BuildContext, Section, expand};
use crate::executor::Executor;
use crate::job::{Defaults, Draft, JobSettings, read_word};
use crate::policy::{ConflictPolicy, Delivery, Role};
use crate::registry::Registry;
use crate::store::JobStore;
use crate::{Error, ErrorKind, time};

/// Everything [`Scheduler::configure`](crate::Scheduler::configure) sets: stores, executors, job defaults, options, and jobs.
#[derive(Default)]
pub struct SchedulerConfig {
    stores: Vec<(Arc<str>, Arc<dyn JobStore>)>,
    executors: Vec<(Arc<str>, Arc<dyn Executor>)>,
    defaults: JobSettings,
    timezone: Option<Tz>,
    engine: EngineSettings,
    broker: Option<Arc<dyn EventBroker>>,
    identity: Option<Arc<str>>,
    jobs: Vec<Draft>,
}

impl SchedulerConfig {
    /// Defaults for everything.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads a configuration dictionary: flat dotted keys and nested tables, in any order, with or without the
    /// prefix `apscheduler.` or `sched.`.
    ///
    /// Keys: `job_stores` (also `jobstores`), `executors`, `event_broker`, `job_defaults`, `timezone`, `jobs`, and the engine's
    /// `jobstore_retry_interval`, `poll_interval`, `lease_duration` (durations), `claim_batch`,
    /// `max_concurrent_runs` (counts), `delivery` (`direct`, `at_most_once`, `durable`), `role` (`both`, `scheduler`,
    /// `worker`, `client`), `identity`, `run_history` (a table with `max_count`).
    ///
    /// **Errors**: [`InvalidConfig`](ErrorKind::InvalidConfig) with every fault, each with its path. Nothing is
    /// started or changed.
    pub fn from_value(config: Value, registry: &Registry) -> Result<Self, Error> {
        let mut faults = Vec::new();
        let tree = expand(config, &mut faults);
        let utc = BuildContext { registry, timezone: Tz::UTC };
        let mut section = Section::new("", Value::Object(tree), utc)?;
        let timezone = section.timezone("timezone");
        let context = BuildContext { registry, timezone: timezone.unwrap_or_else(time::local_timezone) };
        let engine = read_engine(&mut section);
        let identity = read_identity(&mut section);
        let defaults = match section.section("job_defaults") {
            Some(mut table) => {
                let defaults = JobSettings::read(&mut table);
                section.merge(table);
                defaults
            }
            None => JobSettings::default(),
        };
        let mut parts = Parts { context, faults };
        let tables = section.value("executors");
        let executors =
            parts.build("executors", tables, |path, table| registry.executor(path, table, context));
        let stores_key = if section.has("jobstores") { "jobstores" } else { "job_stores" };
        let tables = section.value(stores_key);
        let stores = parts.build(stores_key, tables, |path, table| registry.job_store(path, table, context));
        let broker = section.value("event_broker").and_then(|table| {
            let built = registry.event_broker("event_broker", table, context);
            built.map_err(|error| parts.faults.extend(error.into_faults("event_broker"))).ok()
        });
        let jobs = section.value("jobs");
        let jobs = parts.jobs(jobs, &stores, &executors);
        let mut faults = parts.faults;
        if let Err(error) = section.finish() {
            faults.extend(error.into_faults(""));
        }
        match faults.is_empty() {
            true => Ok(Self { stores, executors, defaults, timezone, engine, broker, identity, jobs }),
            false => Err(Error::from_faults(ErrorKind::InvalidConfig, faults)),
        }
    }

    /// Adds a job store under an alias, in place of one of that alias.
    #[must_use]
    pub fn job_store(mut self, alias: &str, store: Arc<dyn JobStore>) -> Self {
        self.stores.retain(|(name, _)| &**name != alias);
        self.stores.push((Arc::from(alias), store));
        self
    }

    /// Adds an executor under an alias, in place of one of that alias.
    #[must_use]
    pub fn executor(mut self, alias: &str, executor: Arc<dyn Executor>) -> Self {
        self.executors.retain(|(name, _)| &**name != alias);
        self.executors.push((Arc::from(alias), executor));
        self
    }

    /// The options of jobs that have none of their own.
    #[must_use]
    pub fn job_defaults(mut self, defaults: JobSettings) -> Self {
        self.defaults = defaults;
        self
    }

    /// The zone of triggers and naive times that name none; the machine's own when not given.
    #[must_use]
    pub fn timezone(mut self, timezone: Tz) -> Self {
        self.timezone = Some(timezone);
        self
    }

    /// The longest pause before a failed job store is tried again; 10 s when not given, and at least 1 ms.
    #[must_use]
    pub fn retry_interval(mut self, interval: Duration) -> Self {
        self.engine.retry_interval = Some(interval.max(Duration::from_millis(1)));
        self
    }

    /// At most this many due jobs are claimed in one turn; 1,000 when not given.
    #[must_use]
    pub fn claim_batch(mut self, limit: usize) -> Self {
        self.engine.claim_batch = Some(limit.max(1));
        self
    }

    /// Queued runs are claimed only while fewer runs than this are unfinished; 10,000 when not given.
    #[must_use]
    pub fn max_concurrent_runs(mut self, limit: usize) -> Self {
        self.engine.max_concurrent_runs = Some(limit.max(1));
        self
    }

    /// The longest sleep of a loop while anything is scheduled or its store is shared; 10 s when not given. Loops that share a
    /// store each sleep up to a quarter less.
    #[must_use]
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.engine.poll_interval = Some(interval.max(Duration::from_millis(1)));
        self
    }

    /// What it does in a fleet; everything when not given.
    #[must_use]
    pub fn role(mut self, role: Role) -> Self {
        self.engine.role = Some(role);
        self
    }

    /// The name under which it claims; see [`SchedulerBuilder::identity`](crate::SchedulerBuilder::identity).
    #[must_use]
    pub fn identity(mut self, identity: impl Into<Arc<str>>) -> Self {
        self.identity = Some(identity.into());
        self
    }

    /// At most this many finished runs are kept in each store's queue, the latest ones; any number when not given.
    #[must_use]
    pub fn run_history(mut self, max_count: usize) -> Self {
        self.engine.keep_runs = Some(max_count);
        self
    }

    /// How long a claim holds unless it is renewed; 15 s when not given. From 10 ms to a day: what is less or more is
    /// taken for these. It has to be longer than the longest stall of machine, network and store together.
    #[must_use]
    pub fn lease_duration(mut self, lease: Duration) -> Self {
        self.engine.lease = Some(lease.clamp(Duration::from_millis(10), Duration::from_secs(86_400)));
        self
    }

    /// What carries wake-ups between schedulers that share a store; none when not given.
    #[must_use]
    pub fn event_broker(mut self, broker: Arc<dyn EventBroker>) -> Self {
        self.broker = Some(broker);
        self
    }

    /// Who makes sure that runs happen; each store's own default when not given.
    #[must_use]
    pub fn delivery(mut self, delivery: Delivery) -> Self {
        self.engine.delivery = Some(delivery);
        self
    }

    /// The name that is given.
    pub(super) fn given_identity(&self) -> Option<&Arc<str>> {
        self.identity.as_ref()
    }

    /// **Errors**: [`AlreadyExists`](ErrorKind::AlreadyExists) when a job would conflict with a pending one.
    pub(super) fn check_conflicts(&self, state: &State) -> Result<(), Error> {
        let strict = self.jobs.iter().filter(|job| job.conflict == ConflictPolicy::Error);
        let mut taken = strict.filter(|job| {
            state.pending.iter().any(|pending| pending.id == job.id && pending.store == job.store)
        });
        match taken.next() {
            None => Ok(()),
            Some(job) => Err(super::jobs::already_exists(&job.id)),
        }
    }

    /// Puts everything but the jobs into `state`; the jobs are answered.
    pub(super) fn apply(self, state: &mut State) -> Vec<Draft> {
        let entry = |(alias, store)| StoreEntry { alias, store, lane: None };
        state.stores = self.stores.into_iter().map(entry).collect();
        state.executors = self.executors;
        state.defaults = Arc::new(Defaults::new(self.defaults));
        state.timezone = self.timezone.unwrap_or_else(time::local_timezone);
        state.engine = self.engine.resolve();
        state.broker = self.broker;
        self.jobs
    }
}

impl std::fmt::Debug for SchedulerConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SchedulerConfig")
            .field("job_stores", &self.stores)
            .field("executors", &self.executors)
            .field("job_defaults", &self.defaults)
            .field("timezone", &self.timezone)
            .field("jobs", &self.jobs.len())
            .finish_non_exhaustive()
    }
}

fn read_engine(section: &mut Section<'_>) -> EngineSettings {
    let mut engine = EngineSettings::default();
    let mut duration = |key, place: &mut Option<Duration>| {
        match section.duration(key) {
            Some(Duration::ZERO) => section.fault(key, "expected a positive duration"),
            value => *place = value,
        };
    };
    duration("jobstore_retry_interval", &mut engine.retry_interval);
    duration("poll_interval", &mut engine.poll_interval);
    duration("lease_duration", &mut engine.lease);
    engine.claim_batch = section.count("claim_batch", 1_000_000);
    engine.max_concurrent_runs = section.count("max_concurrent_runs", 10_000_000);
    let words = ["direct", "at_most_once", "durable"];
    engine.delivery = read_word(section, "delivery", &words, |word| match word {
        "at_most_once" => Some(Delivery::Direct),
        other => Delivery::from_word(other),
    });
    engine.role = read_word(section, "role", Role::WORDS, Role::from_word);
    if let Some(mut history) = section.section("run_history") {
        let count = history.integer_in("max_count", 0, i64::from(u32::MAX));
        engine.keep_runs = count.and_then(|count| usize::try_from(count).ok());
        section.merge(history);
    }
    engine
}

fn read_identity(section: &mut Section<'_>) -> Option<Arc<str>> {
    const KEY: &str = "identity";
    let identity = section.string(KEY)?;
    if identity.is_empty() || identity.chars().any(char::is_control) {
        section.fault(KEY, "expected a name without control characters");
        return None;
    }
    Some(Arc::from(identity))
}

impl SchedulerConfig {
    /// This configuration, with what `code` sets in its place.
    pub(super) fn overlaid(mut self, code: Self) -> Self {
        for (alias, store) in code.stores {
            self = self.job_store(&alias, store);
        }
        for (alias, executor) in code.executors {
            self = self.executor(&alias, executor);
        }
        self.defaults = code.defaults.over(&self.defaults);
        self.timezone = code.timezone.or(self.timezone);
        self.broker = code.broker.or(self.broker);
        self.engine = code.engine.over(self.engine);
        self.identity = code.identity.or(self.identity);
        self
    }
}
