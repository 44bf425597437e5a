//! A job's options: as given ([`JobSettings`]), and with every default filled in ([`JobOptions`]).

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::config::{Section, to_bool, to_duration};
use crate::policy::{Coalesce, Grace, Overlap, Retain, TimeoutSlot};
use crate::retry::Retry;

/// The alias of the executor and the job store that are used when none is named.
pub const DEFAULT_ALIAS: &str = "default";

/// Options as given: by a job, by its task, or by the scheduler's job defaults. What is `None` is inherited, in
/// that order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct JobSettings {
    /// The executor's alias.
    pub executor: Option<Arc<str>>,
    /// How late a run may start.
    pub misfire_grace_time: Option<Grace>,
    /// Which of several due fire times run.
    pub coalesce: Option<Coalesce>,
    /// At most this many unfinished runs of the job; at least 1.
    pub max_instances: Option<u32>,
    /// What happens beyond that.
    pub overlap: Option<Overlap>,
    /// Each run starts up to this much later than its fire time.
    pub jitter: Option<Duration>,
    /// At most this many missed fire times run when `coalesce` is `All`.
    pub max_catch_up: Option<u32>,
    /// What happens when the trigger ends.
    pub retain: Option<Retain>,
    /// How long a run may take, from its start.
    pub timeout: Option<Duration>,
    /// What happens to the place of a run that timed out and cannot be stopped.
    pub timeout_slot: Option<TimeoutSlot>,
    /// Whether a run that failed is tried again.
    pub retry: Option<Arc<Retry>>,
    /// How often a queued run is taken over whose scheduler died or lost it; at least 1.
    pub max_takeovers: Option<u32>,
    /// Higher runs first, among runs that wait for a place.
    pub priority: Option<i32>,
    /// How long results are kept on the run's row.
    pub result_ttl: Option<Duration>,
    /// Runs that share a key share a limit, across all jobs, tasks and schedulers of a store.
    pub concurrency_key: Option<Arc<str>>,
    /// At most this many claimed runs with the same key; at least 1.
    pub concurrency_limit: Option<u32>,
    /// Data of the user's own, shown to the task.
    pub metadata: Option<Arc<Map<String, Value>>>,
}

/// Options with every default filled in.
#[derive(Debug, Clone, PartialEq)]
pub struct JobOptions {
    /// The executor's alias; `default`.
    pub executor: Arc<str>,
    /// How late a run may start; unlimited.
    pub misfire_grace_time: Grace,
    /// Which of several due fire times run; the latest.
    pub coalesce: Coalesce,
    /// At most this many unfinished runs of the job; 1.
    pub max_instances: u32,
    /// What happens beyond that; skip.
    pub overlap: Overlap,
    /// Each run starts up to this much later than its fire time; the trigger's own jitter, else none.
    pub jitter: Option<Duration>,
    /// At most this many missed fire times run when `coalesce` is `All`; 1,000.
    pub max_catch_up: u32,
    /// What happens when the trigger ends; the job is removed.
    pub retain: Retain,
    /// How long a run may take, from its start; unlimited.
    pub timeout: Option<Duration>,
    /// What happens to the place of a run that timed out and cannot be stopped; it is held.
    pub timeout_slot: TimeoutSlot,
    /// Whether a run that failed is tried again; it is not.
    pub retry: Option<Arc<Retry>>,
    /// How often a queued run is taken over whose scheduler died or lost it, before it is abandoned; 25.
    pub max_takeovers: u32,
    /// Higher runs first, among runs that wait for a place; 0.
    pub priority: i32,
    /// How long results are kept on the run's row; not at all.
    pub result_ttl: Duration,
    /// Runs that share a key share a limit, across all jobs, tasks and schedulers of a store; none.
    pub concurrency_key: Option<Arc<str>>,
    /// At most this many claimed runs with the same key; 1.
    pub concurrency_limit: u32,
    /// Data of the user's own, shown to the task; none.
    pub metadata: Option<Arc<Map<String, Value>>>,
}

impl Default for JobOptions {
    fn default() -> Self {
        Self {
            executor: Arc::from(DEFAULT_ALIAS),
            misfire_grace_time: Grace::Unlimited,
            coalesce: Coalesce::Latest,
            max_instances: 1,
            overlap: Overlap::Skip,
            jitter: None,
            max_catch_up: 1_000,
            retain: Retain::Remove,
            timeout: None,
            timeout_slot: TimeoutSlot::Hold,
            retry: None,
            max_takeovers: 25,
            priority: 0,
            result_ttl: Duration::ZERO,
            concurrency_key: None,
            concurrency_limit: 1,
            metadata: None,
        }
    }
}

impl JobSettings {
    /// Nothing given.
    pub const NONE: Self = Self {
        executor: None,
        misfire_grace_time: None,
        coalesce: None,
        max_instances: None,
        overlap: None,
        jitter: None,
        max_catch_up: None,
        retain: None,
        timeout: None,
        timeout_slot: None,
        retry: None,
        max_takeovers: None,
        priority: None,
        result_ttl: None,
        concurrency_key: None,
        concurrency_limit: None,
        metadata: None,
    };

    /// Whether nothing is given.
    pub fn is_empty(&self) -> bool {
        *self == Self::NONE
    }

    /// These options where given, else those of `base`. Metadata merges by key.
    #[must_use]
    pub fn over(&self, base: &Self) -> Self {
        Self {
            executor: self.executor.clone().or_else(|| base.executor.clone()),
            misfire_grace_time: self.misfire_grace_time.or(base.misfire_grace_time),
            coalesce: self.coalesce.or(base.coalesce),
            max_instances: self.max_instances.or(base.max_instances),
            overlap: self.overlap.or(base.overlap),
            jitter: self.jitter.or(base.jitter),
            max_catch_up: self.max_catch_up.or(base.max_catch_up),
            retain: self.retain.or(base.retain),
            timeout: self.timeout.or(base.timeout),
            timeout_slot: self.timeout_slot.or(base.timeout_slot),
            retry: self.retry.clone().or_else(|| base.retry.clone()),
            max_takeovers: self.max_takeovers.or(base.max_takeovers),
            priority: self.priority.or(base.priority),
            result_ttl: self.result_ttl.or(base.result_ttl),
            concurrency_key: self.concurrency_key.clone().or_else(|| base.concurrency_key.clone()),
            concurrency_limit: self.concurrency_limit.or(base.concurrency_limit),
            metadata: merge(self.metadata.as_ref(), base.metadata.as_ref()),
        }
    }

    /// Every default filled in.
    pub fn resolve(&self) -> JobOptions {
        let base = JobOptions::default();
        JobOptions {
            executor: self.executor.clone().unwrap_or(base.executor),
            misfire_grace_time: self.misfire_grace_time.unwrap_or(base.misfire_grace_time),
            coalesce: self.coalesce.unwrap_or(base.coalesce),
            max_instances: self.max_instances.unwrap_or(base.max_instances).max(1),
            overlap: self.overlap.unwrap_or(base.overlap),
            jitter: self.jitter,
            max_catch_up: self.max_catch_up.unwrap_or(base.max_catch_up).max(1),
            retain: self.retain.unwrap_or(base.retain),
            timeout: self.timeout,
            timeout_slot: self.timeout_slot.unwrap_or(base.timeout_slot),
            retry: self.retry.clone(),
            max_takeovers: self.max_takeovers.unwrap_or(base.max_takeovers).max(1),
            priority: self.priority.unwrap_or(base.priority),
            result_ttl: self.result_ttl.unwrap_or(base.result_ttl),
            concurrency_key: self.concurrency_key.clone(),
            concurrency_limit: self.concurrency_limit.unwrap_or(base.concurrency_limit).max(1),
            metadata: self.metadata.clone(),
        }
    }

    /// Takes the options out of a table; wrong values become its faults.
    pub fn read(section: &mut Section<'_>) -> Self {
        Self {
            executor: section.string("executor").map(Arc::from),
            misfire_grace_time: read_grace(section),
            coalesce: read_coalesce(section),
            max_instances: read_count(section, "max_instances"),
            overlap: read_word(section, "overlap", Overlap::WORDS, Overlap::from_word),
            jitter: section.duration("jitter"),
            max_catch_up: read_count(section, "max_catch_up"),
            retain: read_word(section, "retain", Retain::WORDS, Retain::from_word),
            timeout: read_timeout(section),
            timeout_slot: read_word(section, "timeout_slot", TimeoutSlot::WORDS, TimeoutSlot::from_word),
            retry: Retry::read(section).map(Arc::new),
            max_takeovers: read_count(section, "max_takeovers"),
            priority: read_priority(section),
            result_ttl: section.duration("result_ttl"),
            concurrency_key: section.string("concurrency_key").map(Arc::from),
            concurrency_limit: read_count(section, "concurrency_limit"),
            metadata: read_metadata(section),
        }
    }

    /// The table from which [`read`](Self::read) makes the same options.
    pub fn to_config(&self) -> Map<String, Value> {
        let mut table = Map::new();
        let mut put = |key: &str, value: Option<Value>| {
            if let Some(value) = value {
                table.insert(key.to_owned(), value);
            }
        };
        put("executor", self.executor.as_deref().map(Value::from));
        put(
            "misfire_grace_time",
            self.misfire_grace_time.map(|grace| match grace {
                Grace::Unlimited => Value::from("none"),
                Grace::Within(limit) => seconds(limit),
            }),
        );
        put("coalesce", self.coalesce.map(|word| word.to_string().into()));
        put("max_instances", self.max_instances.map(Value::from));
        put("overlap", self.overlap.map(|word| word.to_string().into()));
        put("jitter", self.jitter.map(seconds));
        put("max_catch_up", self.max_catch_up.map(Value::from));
        put("retain", self.retain.map(|word| word.to_string().into()));
        put("timeout", self.timeout.map(seconds));
        put("timeout_slot", self.timeout_slot.map(|word| word.to_string().into()));
        put("retry", self.retry.as_deref().map(Retry::to_config));
        put("max_takeovers", self.max_takeovers.map(Value::from));
        put("priority", self.priority.map(Value::from));
        put("result_ttl", self.result_ttl.map(seconds));
        put("concurrency_key", self.concurrency_key.as_deref().map(Value::from));
        put("concurrency_limit", self.concurrency_limit.map(Value::from));
        put("metadata", self.metadata.as_deref().map(|map| Value::Object(map.clone())));
        table
    }
}

fn seconds(duration: Duration) -> Value {
    match duration.subsec_nanos() {
        0 => Value::from(duration.as_secs()),
        _ => Value::from(duration.as_secs_f64()),
    }
}

type Metadata = Option<Arc<Map<String, Value>>>;

fn merge(over: Option<&Arc<Map<String, Value>>>, base: Option<&Arc<Map<String, Value>>>) -> Metadata {
    match (over, base) {
        (Some(over), Some(base)) => {
            let mut merged = Map::clone(base);
            merged.extend(over.iter().map(|(key, value)| (key.clone(), value.clone())));
            Some(Arc::new(merged))
        }
        (only, None) | (None, only) => only.cloned(),
    }
}

fn read_grace(section: &mut Section<'_>) -> Option<Grace> {
    const KEY: &str = "misfire_grace_time";
    let expected = "a positive duration (seconds, or text such as `1h 30m`) or `none`";
    section.read(KEY, expected, |value| {
        if value.as_str().is_some_and(|text| text.trim().eq_ignore_ascii_case("none")) {
            return Some(Grace::Unlimited);
        }
        to_duration(value).filter(|limit| !limit.is_zero()).map(Grace::Within)
    })
}

fn read_coalesce(section: &mut Section<'_>) -> Option<Coalesce> {
    const KEY: &str = "coalesce";
    let expected = format!("a boolean or one of {}", Coalesce::WORDS.join(", "));
    section.read(KEY, &expected, |value| {
        let word = value.as_str().and_then(|word| Coalesce::from_word(word.trim()));
        word.or_else(|| to_bool(value).map(Coalesce::from))
    })
}

fn read_timeout(section: &mut Section<'_>) -> Option<Duration> {
    const KEY: &str = "timeout";
    let timeout = section.duration(KEY);
    if timeout == Some(Duration::ZERO) {
        section.fault(KEY, "expected a positive duration");
    }
    timeout.filter(|timeout| !timeout.is_zero())
}

fn read_priority(section: &mut Section<'_>) -> Option<i32> {
    let range = (i64::from(i32::MIN), i64::from(i32::MAX));
    section.integer_in("priority", range.0, range.1).and_then(|number| i32::try_from(number).ok())
}

fn read_count(section: &mut Section<'_>, key: &'static str) -> Option<u32> {
    section.integer_in(key, 1, i64::from(u32::MAX)).and_then(|count| u32::try_from(count).ok())
}

pub(crate) fn read_word<T>(
    section: &mut Section<'_>,
    key: &'static str,
    words: &[&str],
    parse: impl Fn(&str) -> Option<T>,
) -> Option<T> {
    let text = section.string(key)?;
    let read = parse(text.trim());
    if read.is_none() {
        section.fault(key, format!("`{text}` is not one of {}", words.join(", ")));
    }
    read
}

fn read_metadata(section: &mut Section<'_>) -> Metadata {
    match section.value("metadata")? {
        Value::Object(map) => Some(Arc::new(map)),
        _ => {
            section.fault("metadata", "expected a table");
            None
        }
    }
}
