//! Whether, and when, a run that failed is tried again.
//!
//! Pure functions of the rule, the run and its outcome: no clock, no random number. The engine keeps the time.

use std::fmt;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::config::{Section, to_duration, to_integer};
use crate::id::{RunId, mix64};
use crate::run::Outcome;
use crate::task::TaskErrorKind;

/// The pause before the second attempt, when nothing else is said.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The longest pause, when nothing else is said.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// How often a run is tried, and how long the pauses are.
///
/// An attempt that follows a failed one is the same run: it has the same id and fire time, and the next number. Runs
/// that a dead scheduler left behind are taken over whatever is said here; that counts as an attempt too.
///
/// # Example
/// ```
/// use std::time::Duration;
/// use sched_core::{Backoff, Job, Retry, RetryKind};
/// let thrice = Job::task("report").retry(3);
/// let patient = Job::task("fetch").retry(
///     Retry::new(8)
///         .backoff(Backoff::exponential(Duration::from_secs(2), 3.0, Duration::from_secs(3_600)))
///         .jitter(Duration::from_secs(5))
///         .only([RetryKind::TimedOut, RetryKind::Other("rate_limited".to_owned())]),
/// );
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Retry {
    /// At most this many attempts, the first one included; at least 1, which is no retry.
    pub max_attempts: u32,
    /// The pause after a failed attempt.
    pub backoff: Backoff,
    /// Each pause is up to this much longer.
    pub jitter: Duration,
    /// Which failures are tried again; all but wrong arguments when it is empty.
    pub only: Vec<RetryKind>,
}

/// The pauses between attempts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Backoff {
    /// Always the same.
    Fixed(Duration),
    /// Each one longer than the one before.
    Exponential {
        /// The pause after the first attempt.
        first: Duration,
        /// How many times as long the next one is; less than 1 counts as 1.
        factor: f64,
        /// The longest pause.
        max: Duration,
    },
}

/// A kind of failure, as retry rules tell them apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum RetryKind {
    /// The task returned an error, of whatever kind.
    Error,
    /// The task panicked.
    Panic,
    /// Its time was up.
    TimedOut,
    /// Its executor lost it.
    Abandoned,
    /// The task returned an error of a kind it named itself.
    Other(String),
}

impl Backoff {
    /// Pauses that grow.
    pub fn exponential(first: Duration, factor: f64, max: Duration) -> Self {
        Self::Exponential { first, factor, max }
    }

    /// The pause after this attempt, from 1.
    pub fn pause_after(&self, attempt: u32) -> Duration {
        match *self {
            Self::Fixed(pause) => pause,
            Self::Exponential { first, factor, max } => {
                let steps = i32::try_from(attempt.saturating_sub(1)).unwrap_or(i32::MAX);
                let seconds = first.as_secs_f64() * factor.max(1.0).powi(steps);
                Duration::try_from_secs_f64(seconds).map_or(max, |pause| pause.min(max))
            }
        }
    }
}

impl Default for Backoff {
    /// One second, then twice as long each time, up to five minutes.
    fn default() -> Self {
        Self::exponential(FIRST_PAUSE, 2.0, LONGEST_PAUSE)
    }
}

impl From<Duration> for Backoff {
    fn from(pause: Duration) -> Self {
        Self::Fixed(pause)
    }
}

impl Retry {
    /// At most this many attempts, with the default pauses; 0 counts as 1.
    pub fn new(max_attempts: u32) -> Self {
        let (backoff, jitter) = (Backoff::default(), Duration::ZERO);
        Self { max_attempts: max_attempts.max(1), backoff, jitter, only: Vec::new() }
    }

    /// Other pauses.
    #[must_use]
    pub fn backoff(mut self, backoff: impl Into<Backoff>) -> Self {
        self.backoff = backoff.into();
        self
    }

    /// Each pause is up to this much longer, by a hash of the run and the attempt.
    #[must_use]
    pub fn jitter(mut self, jitter: Duration) -> Self {
        self.jitter = jitter;
        self
    }

    /// Tries again only after these failures.
    #[must_use]
    pub fn only(mut self, kinds: impl IntoIterator<Item = RetryKind>) -> Self {
        self.only = kinds.into_iter().collect();
        self
    }

    /// How long to wait after this attempt at a run; `None` when it is not tried again.
    pub fn pause_after(&self, run: RunId, attempt: u32, outcome: &Outcome) -> Option<Duration> {
        if attempt >= self.max_attempts || !self.covers(outcome) {
            return None;
        }
        let limit = u64::try_from(self.jitter.as_micros()).unwrap_or(u64::MAX);
        let (high, low) = run.as_uuid().as_u64_pair();
        let hash = mix64(mix64(high ^ u64::from(attempt)) ^ low);
        let jitter = Duration::from_micros(hash % limit.saturating_add(1));
        Some(self.backoff.pause_after(attempt).saturating_add(jitter))
    }

    /// Whether a run that ended so is one to try again.
    fn covers(&self, outcome: &Outcome) -> bool {
        let kind = match outcome {
            Outcome::Failed(error) => match error.kind() {
                TaskErrorKind::Panic => RetryKind::Panic,
                TaskErrorKind::Arguments | TaskErrorKind::Cancelled => return false,
                TaskErrorKind::TimedOut => RetryKind::TimedOut,
                TaskErrorKind::Other(word) if self.only.iter().any(|kind| kind.word() == word) => {
                    return true;
                }
                _ => RetryKind::Error,
            },
            Outcome::TimedOut => RetryKind::TimedOut,
            Outcome::Abandoned(_) => RetryKind::Abandoned,
            _ => return false,
        };
        self.only.is_empty() || self.only.contains(&kind)
    }

    /// Takes the rule out of a table: `retry = 3`, or `retry = { max_attempts = 3, … }`.
    pub(crate) fn read(section: &mut Section<'_>) -> Option<Self> {
        const KEY: &str = "retry";
        const MOST: i64 = 1_000_000;
        let value = section.value(KEY)?;
        if let Some(count) = to_integer(&value) {
            let attempts = u32::try_from(count).ok().filter(|count| (1..=MOST).contains(&i64::from(*count)));
            if attempts.is_none() {
                section.fault(KEY, format!("{count} is out of range, expected 1 to {MOST} attempts"));
            }
            return attempts.map(Self::new);
        }
        let table = Section::new(section.path_of(KEY), value, section.context());
        let mut table = table.map_err(|error| section.absorb(error, KEY)).ok()?;
        let attempts = table.integer_in("max_attempts", 1, MOST);
        if attempts.is_none() && !table.is_faulty() {
            table.missing("max_attempts", "how often it is tried at most");
        }
        let mut retry = Self::new(attempts.and_then(|count| u32::try_from(count).ok()).unwrap_or(1));
        retry.backoff = read_backoff(&mut table).unwrap_or_default();
        retry.jitter = table.duration("jitter").unwrap_or_default();
        for kind in table.list("only").unwrap_or_default() {
            match kind.as_str().map(str::trim).filter(|word| !word.is_empty()) {
                Some(word) => retry.only.push(RetryKind::from(word)),
                None => table.fault("only", "expected a list of kinds of failures, such as `timed_out`"),
            }
        }
        section.merge(table);
        Some(retry)
    }

    /// The value from which [`read`](Self::read) makes the same rule.
    pub(crate) fn to_config(&self) -> Value {
        let plain = Self::new(self.max_attempts);
        if *self == plain {
            return Value::from(self.max_attempts);
        }
        let mut table = Map::new();
        table.insert("max_attempts".to_owned(), Value::from(self.max_attempts));
        if self.backoff != plain.backoff {
            let backoff = match self.backoff {
                Backoff::Fixed(pause) => seconds(pause),
                Backoff::Exponential { first, factor, max } => {
                    serde_json::json!({ "first": seconds(first), "factor": factor, "max": seconds(max) })
                }
            };
            table.insert("backoff".to_owned(), backoff);
        }
        if !self.jitter.is_zero() {
            table.insert("jitter".to_owned(), seconds(self.jitter));
        }
        if !self.only.is_empty() {
            table.insert("only".to_owned(), self.only.iter().map(RetryKind::word).collect());
        }
        Value::Object(table)
    }
}

impl From<u32> for Retry {
    fn from(max_attempts: u32) -> Self {
        Self::new(max_attempts)
    }
}

impl RetryKind {
    /// The word a configuration uses.
    pub fn word(&self) -> &str {
        match self {
            Self::Error => "error",
            Self::Panic => "panic",
            Self::TimedOut => "timed_out",
            Self::Abandoned => "abandoned",
            Self::Other(word) => word,
        }
    }
}

impl From<&str> for RetryKind {
    fn from(word: &str) -> Self {
        match word {
            "error" => Self::Error,
            "panic" => Self::Panic,
            "timed_out" => Self::TimedOut,
            "abandoned" => Self::Abandoned,
            other => Self::Other(other.to_owned()),
        }
    }
}

impl fmt::Display for RetryKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// `backoff = "10s"`, or `backoff = { first = 1, factor = 2, max = "5m" }`.
fn read_backoff(section: &mut Section<'_>) -> Option<Backoff> {
    const KEY: &str = "backoff";
    let value = section.value(KEY)?;
    if let Some(pause) = to_duration(&value) {
        return Some(Backoff::Fixed(pause));
    }
    let table = Section::new(section.path_of(KEY), value, section.context());
    let mut table = table.map_err(|error| section.absorb(error, KEY)).ok()?;
    let first = table.duration("first").unwrap_or(FIRST_PAUSE);
    let factor = table.number("factor").unwrap_or(2.0);
    if !(1.0..=1_000.0).contains(&factor) {
        table.fault("factor", format!("{factor} is out of range, expected 1 to 1000"));
    }
    let max = table.duration("max").unwrap_or(LONGEST_PAUSE.max(first));
    section.merge(table);
    Some(Backoff::Exponential { first, factor, max })
}

fn seconds(duration: Duration) -> Value {
    match duration.subsec_nanos() {
        0 => Value::from(duration.as_secs()),
        _ => Value::from(duration.as_secs_f64()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::TaskError;

    fn outcome(kind: TaskErrorKind) -> Outcome {
        Outcome::Failed(TaskError::new("x").with_kind(kind))
    }

    #[test]
    fn pauses_are_fixed_or_grow_up_to_the_longest() {
        let growing = Backoff::exponential(Duration::from_secs(2), 3.0, Duration::from_secs(60));
        let pauses: Vec<u64> = (1..=5).map(|attempt| growing.pause_after(attempt).as_secs()).collect();
        assert_eq!(pauses, [2, 6, 18, 54, 60]);
        assert_eq!(growing.pause_after(u32::MAX), Duration::from_secs(60));
        assert_eq!(Backoff::from(Duration::from_secs(7)).pause_after(9), Duration::from_secs(7));
    }

    #[test]
    fn attempts_are_limited_and_the_jitter_is_a_hash() {
        let retry = Retry::new(3).backoff(Duration::from_secs(1)).jitter(Duration::from_secs(10));
        let run = RunId::at(1);
        let pause = |attempt| retry.pause_after(run, attempt, &Outcome::TimedOut);
        assert_eq!((pause(1), pause(2)), (pause(1), pause(2)), "the same each time");
        assert!(pause(1).is_some_and(|pause| (1..=11).contains(&pause.as_secs())));
        assert_ne!(pause(1), pause(2), "another for each attempt");
        assert_eq!(pause(3), None);
        assert_eq!(Retry::new(0).pause_after(run, 1, &Outcome::TimedOut), None);
    }

    #[test]
    fn only_the_named_failures_are_tried_again() {
        let own = || TaskErrorKind::Other("busy".to_owned());
        let table = [
            (&[][..], outcome(TaskErrorKind::Error), true),
            (&[], outcome(TaskErrorKind::Panic), true),
            (&[], outcome(own()), true),
            (&[], Outcome::Abandoned(String::new()), true),
            (&[], outcome(TaskErrorKind::Arguments), false),
            (&[], Outcome::Cancelled, false),
            (&[], Outcome::Succeeded(Value::Null), false),
            (&["error"], outcome(own()), true),
            (&["busy"], outcome(own()), true),
            (&["busy"], outcome(TaskErrorKind::Error), false),
            (&["timed_out"], Outcome::TimedOut, true),
            (&["timed_out"], outcome(TaskErrorKind::Error), false),
            (&["panic", "abandoned"], outcome(TaskErrorKind::Panic), true),
        ];
        for (only, outcome, expected) in table {
            let retry = Retry::new(2).only(only.iter().copied().map(RetryKind::from));
            assert_eq!(retry.covers(&outcome), expected, "{only:?}: {outcome}");
        }
    }
}
