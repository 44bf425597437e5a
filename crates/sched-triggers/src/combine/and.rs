//! Fires when all of its triggers fire together.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use sched_core::{Error, Factory, Plugin, Section, Trigger};
use serde_json::Value;

use super::rounds::Rounds;
use super::{Children, anchored, at_or_after, checked, configs, read_list, read_zone, zone_of};
use crate::config::{self, Form};
use crate::moment::MICROSECOND;
use crate::words;

/// The plug-in `and`.
pub(crate) const AND: Plugin = Plugin {
    aliases: &["and"],
    summary: "when all of its triggers fire together",
    package: env!("CARGO_PKG_NAME"),
    factory: Factory::Trigger(build),
};

const THRESHOLD: Duration = Duration::from_secs(1);
const MAX_ITERATIONS: u32 = 10_000;

/// Fires when all of its triggers fire within a threshold of one another, at the earliest of their times.
///
/// # Guarantees
/// 1. Every trigger keeps its own phase: it is never told of the others' fire times.
/// 2. The search jumps to the latest candidate instead of stepping, and ends after
///    [`max_iterations`](AndTrigger::with_max_iterations) jumps, or 50,000 with those of combinations inside it:
///    triggers that never meet are exhausted.
/// 3. It is exhausted as soon as one of its triggers is.
///
/// **Units**: the threshold is one second, cut to whole microseconds. **Source**: APScheduler 4.0 manual,
/// "AndTrigger".
#[derive(Debug, Clone)]
pub struct AndTrigger {
    children: Children,
    threshold: Duration,
    max_iterations: u32,
    jitter: Option<Duration>,
    timezone: Option<Tz>,
}

impl AndTrigger {
    /// All of `triggers`.
    ///
    /// **Errors**: [`InvalidTrigger`](sched_core::ErrorKind::InvalidTrigger) when there are none.
    pub fn new(triggers: Vec<Arc<dyn Trigger>>) -> Result<Self, Error> {
        let children = checked(triggers)?;
        Ok(Self {
            children,
            threshold: THRESHOLD,
            max_iterations: MAX_ITERATIONS,
            jitter: None,
            timezone: None,
        })
    }

    /// How far apart the triggers' times may lie.
    #[must_use]
    pub fn with_threshold(mut self, threshold: Duration) -> Self {
        self.threshold = config::whole_micros(threshold);
        self
    }

    /// How many jumps the search for a common time may take; 10,000 when not given.
    #[must_use]
    pub fn with_max_iterations(mut self, max_iterations: u32) -> Self {
        self.max_iterations = max_iterations;
        self
    }

    /// Jitter for jobs that have none of their own.
    #[must_use]
    pub fn with_jitter(mut self, jitter: Duration) -> Self {
        self.jitter = Some(config::whole_micros(jitter)).filter(|jitter| !jitter.is_zero());
        self
    }

    /// The zone to show its fire times in; that of its first trigger when not given. A configuration form also makes it the
    /// default zone of the triggers inside.
    #[must_use]
    pub fn with_timezone(mut self, timezone: Tz) -> Self {
        self.timezone = Some(timezone);
        self
    }

    fn tolerance(&self) -> TimeDelta {
        TimeDelta::from_std(self.threshold).unwrap_or(TimeDelta::MAX)
    }

    /// Where the search begins for one child: past what it gave to the previous fire time.
    fn candidate(
        &self,
        child: &dyn Trigger,
        previous: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, Error> {
        let Some(previous) = previous else {
            return child.next_fire_time(None, now);
        };
        match at_or_after(child, previous)? {
            Some(member) if member - previous <= self.tolerance() => at_or_after(child, member + MICROSECOND),
            later => Ok(later),
        }
    }
}

impl Trigger for AndTrigger {
    fn next_fire_time(
        &self,
        previous: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, Error> {
        let rounds = Rounds::begin();
        let mut times = Vec::with_capacity(self.children.len());
        for child in &self.children {
            match self.candidate(&**child, previous, now)? {
                Some(time) => times.push(time),
                None => return Ok(None),
            }
        }
        for _ in (0..self.max_iterations).take_while(|_| rounds.next()) {
            let (Some(&earliest), Some(&latest)) = (times.iter().min(), times.iter().max()) else { break };
            if latest - earliest <= self.tolerance() {
                return Ok(Some(earliest));
            }
            let floor = latest - self.tolerance();
            for (child, time) in self.children.iter().zip(&mut times).filter(|(_, time)| **time < floor) {
                match at_or_after(&**child, floor)? {
                    Some(later) => *time = later,
                    None => return Ok(None),
                }
            }
        }
        Ok(None)
    }

    fn alias(&self) -> &str {
        "and"
    }

    fn to_config(&self) -> Value {
        let mut form = Form::new("and");
        form.put("triggers", configs(&self.children));
        form.put_duration("threshold", Some(self.threshold).filter(|threshold| *threshold != THRESHOLD));
        form.put_some("max_iterations", Some(self.max_iterations).filter(|count| *count != MAX_ITERATIONS));
        form.put_duration("jitter", self.jitter);
        form.put_zone(self.timezone);
        form.done()
    }

    fn timezone(&self) -> Tz {
        zone_of(self.timezone, self.children.first())
    }

    fn jitter(&self) -> Option<Duration> {
        self.jitter
    }

    fn anchored(&self, at: DateTime<Utc>) -> Option<Arc<dyn Trigger>> {
        let children = anchored(&self.children, at)?;
        Some(Arc::new(Self { children, ..self.clone() }))
    }

    fn describe(&self) -> String {
        let parts = self.children.iter().map(|child| format!("({})", child.describe()));
        format!("whenever {} coincide", words::list(parts.collect()))
    }

    fn is_quick(&self) -> bool {
        self.children.iter().all(|child| child.is_quick())
    }
}

impl fmt::Display for AndTrigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        config::display(&self.to_config(), f)
    }
}

fn build(section: &mut Section<'_>) -> Result<Arc<dyn Trigger>, Error> {
    let timezone = read_zone(section);
    let children = read_list(section, "triggers", timezone);
    // A threshold of null is a mistake; a `max_iterations` of null means the usual limit.
    let has_threshold = section.has("threshold");
    let threshold = section.duration("threshold");
    if has_threshold && threshold.is_none() && !section.is_faulty() {
        section.fault("threshold", "expected a duration");
    }
    let max_iterations = section.integer_in("max_iterations", 0, i64::from(u32::MAX));
    let jitter = config::jitter(section);
    if section.is_faulty() {
        return config::refused();
    }
    let built = AndTrigger::new(children).map(|trigger| AndTrigger {
        threshold: threshold.map_or(THRESHOLD, config::whole_micros),
        max_iterations: max_iterations.and_then(|count| u32::try_from(count).ok()).unwrap_or(MAX_ITERATIONS),
        jitter,
        timezone,
        ..trigger
    });
    config::finish(section, built)
}
