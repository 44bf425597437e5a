//! The interval trigger: fires every so many seconds of elapsed time.
//!
//! Arithmetic is on instants, in whole microseconds, so that clock changes neither stretch nor shrink an interval.
//! For "the same time every day" see [`CronTrigger`](crate::CronTrigger).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use sched_core::config::to_integer;
use sched_core::{ANCHOR_KEY, Error, ErrorKind, Factory, Plugin, Section, Trigger};
use serde_json::Value;

use crate::config::{self, Form};
use crate::options::{Choice, First};
use crate::{moment, words};

/// The plug-in `interval`.
pub(crate) const INTERVAL: Plugin = Plugin {
    aliases: &["interval"],
    summary: "every so many seconds of elapsed time",
    package: env!("CARGO_PKG_NAME"),
    factory: Factory::Trigger(build),
};

const UNITS: [(&str, i64); 6] = [
    ("weeks", 604_800_000_000),
    ("days", 86_400_000_000),
    ("hours", 3_600_000_000),
    ("minutes", 60_000_000),
    ("seconds", 1_000_000),
    ("microseconds", 1),
];

/// Fires every so many seconds of elapsed time.
///
/// # Guarantees
/// 1. With a previous fire time, the next is one interval after it.
/// 2. Without, it is the first of start, start + interval, start + 2 · interval … at or after now.
/// 3. Without a start, the first fire is one interval after the job was added, or at once when
///    [`starting_now`](IntervalBuilder::starting_now).
/// 4. The end is inclusive; past the year 9999 it is exhausted.
///
/// **Units**: whole microseconds. **Source**: APScheduler 3.0 manual, "IntervalTrigger".
///
/// # Example
/// ```
/// # fn main() -> Result<(), sched_core::Error> {
/// use sched_core::Trigger;
/// use sched_triggers::IntervalTrigger;
///
/// let trigger = IntervalTrigger::builder().minutes(90).build()?;
/// let now = "2026-11-21T09:00:00Z".parse().unwrap();
/// assert_eq!(trigger.next_fire_time(None, now)?.unwrap().to_rfc3339(), "2026-11-21T10:30:00+00:00");
/// assert_eq!(trigger.describe(), "every 1 hour 30 minutes");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IntervalTrigger {
    micros: i64,
    start: Option<DateTime<Utc>>,
    end: Option<DateTime<Utc>>,
    anchor: Option<DateTime<Utc>>,
    first: First,
    timezone: Tz,
    jitter: Option<Duration>,
}

impl IntervalTrigger {
    /// Starts an interval of the builder's units.
    pub fn builder() -> IntervalBuilder {
        IntervalBuilder { micros: Some(0), ..IntervalBuilder::default() }
    }

    /// Starts an interval of `interval`, cut to whole microseconds.
    pub fn every(interval: Duration) -> IntervalBuilder {
        IntervalBuilder { micros: i64::try_from(interval.as_micros()).ok(), ..IntervalBuilder::default() }
    }

    /// The time between two fires.
    pub fn interval(&self) -> Duration {
        Duration::from_micros(self.micros.unsigned_abs())
    }

    /// The start of the series, when it is fixed.
    fn origin(&self) -> Option<DateTime<Utc>> {
        self.start.or_else(|| match self.first {
            First::Now => self.anchor,
            First::AfterInterval => self.anchor?.checked_add_signed(TimeDelta::microseconds(self.micros)),
        })
    }

    fn fresh(&self, now: DateTime<Utc>) -> Option<i64> {
        let now = now.timestamp_micros();
        let Some(origin) = self.origin() else {
            return match self.first {
                First::Now => Some(now),
                First::AfterInterval => now.checked_add(self.micros),
            };
        };
        let origin = origin.timestamp_micros();
        if origin >= now {
            return Some(origin);
        }
        let behind = now.checked_sub(origin)?;
        let missing = (self.micros - behind % self.micros) % self.micros;
        now.checked_add(missing)
    }

    fn within_bounds(&self, micros: i64) -> Option<DateTime<Utc>> {
        moment::from_micros(micros).filter(|time| self.end.is_none_or(|end| *time <= end))
    }
}

impl Trigger for IntervalTrigger {
    fn next_fire_time(
        &self,
        previous: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, Error> {
        let next = match previous {
            Some(previous) => previous.timestamp_micros().checked_add(self.micros),
            None => self.fresh(now),
        };
        Ok(next.and_then(|micros| self.within_bounds(micros)))
    }

    fn alias(&self) -> &str {
        "interval"
    }

    fn to_config(&self) -> Value {
        let mut form = Form::new("interval");
        let mut rest = self.micros;
        for (unit, micros) in &UNITS[1..] {
            form.put_some(unit, Some(rest / micros).filter(|count| *count > 0));
            rest %= micros;
        }
        form.put_time("start_date", self.start);
        form.put_time("end_date", self.end);
        form.put_time(ANCHOR_KEY, self.anchor);
        form.put_some("first", (self.first != First::AfterInterval).then(|| self.first.name()));
        form.put_duration("jitter", self.jitter);
        form.put("timezone", self.timezone.name());
        form.done()
    }

    /// In one step: the fires are evenly spaced from `first` on.
    fn latest_fire_time(&self, first: DateTime<Utc>, now: DateTime<Utc>) -> Result<DateTime<Utc>, Error> {
        let last = self.end.map_or(now, |end| end.min(now)).timestamp_micros();
        let origin = first.timestamp_micros();
        let steps = last.saturating_sub(origin).max(0) / self.micros;
        Ok(moment::from_micros(origin + steps * self.micros).unwrap_or(first))
    }

    fn timezone(&self) -> Tz {
        self.timezone
    }

    fn jitter(&self) -> Option<Duration> {
        self.jitter
    }

    fn anchored(&self, at: DateTime<Utc>) -> Option<Arc<dyn Trigger>> {
        if self.origin().is_some() {
            return None;
        }
        Some(Arc::new(Self { anchor: Some(moment::whole(at)), ..self.clone() }))
    }

    fn describe(&self) -> String {
        let bounds = words::bounds(self.start, self.end, self.timezone);
        let zone = if bounds.is_empty() { String::new() } else { format!(", {}", self.timezone) };
        let now = if self.first == First::Now && self.start.is_none() { ", starting at once" } else { "" };
        format!("every {}{now}{bounds}{zone}", words::duration(self.interval()))
    }

    fn is_quick(&self) -> bool {
        true
    }
}

impl fmt::Display for IntervalTrigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        config::display(&self.to_config(), f)
    }
}

/// Builds an [`IntervalTrigger`]. Units add up: `hours(1).minutes(30)` is ninety minutes.
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct IntervalBuilder {
    /// `None` once the sum has overflowed.
    micros: Option<i64>,
    start: Option<DateTime<Utc>>,
    end: Option<DateTime<Utc>>,
    anchor: Option<DateTime<Utc>>,
    first: First,
    timezone: Option<Tz>,
    jitter: Option<Duration>,
}

macro_rules! unit_setters {
    ($($name:ident => $index:literal, $doc:literal);+ $(;)?) => {
        $(
            #[doc = $doc]
            pub fn $name(self, count: u32) -> Self {
                self.add(i64::from(count), UNITS[$index].1)
            }
        )+
    };
}

impl IntervalBuilder {
    unit_setters! {
        weeks => 0, "Adds weeks of seven days.";
        days => 1, "Adds days of 24 hours.";
        hours => 2, "Adds hours.";
        minutes => 3, "Adds minutes.";
        seconds => 4, "Adds seconds.";
        microseconds => 5, "Adds microseconds.";
    }

    fn add(mut self, count: i64, unit: i64) -> Self {
        let added = count.checked_mul(unit);
        self.micros = self.micros.zip(added).and_then(|(sum, more)| sum.checked_add(more));
        self
    }

    /// The first fire, and the phase of all others.
    pub fn start(mut self, start: DateTime<Utc>) -> Self {
        self.start = Some(moment::whole(start));
        self
    }

    /// Nothing fires after `end`; a fire time equal to it counts.
    pub fn end(mut self, end: DateTime<Utc>) -> Self {
        self.end = Some(moment::whole(end));
        self
    }

    /// Without a start: fires at once when it is added, instead of one interval later.
    pub fn starting_now(mut self) -> Self {
        self.first = First::Now;
        self
    }

    /// The zone its bounds are shown in.
    pub fn timezone(mut self, timezone: Tz) -> Self {
        self.timezone = Some(timezone);
        self
    }

    /// Jitter for jobs that have none of their own.
    pub fn jitter(mut self, jitter: Duration) -> Self {
        self.jitter = Some(config::whole_micros(jitter)).filter(|jitter| !jitter.is_zero());
        self
    }

    /// **Errors**: [`InvalidTrigger`](ErrorKind::InvalidTrigger) when the interval is zero, negative or longer than
    /// 292,000 years, or when the end lies before the start.
    pub fn build(self) -> Result<IntervalTrigger, Error> {
        let invalid = |message: &str| Err(Error::new(ErrorKind::InvalidTrigger, message));
        let micros = match self.micros {
            None => return invalid("the interval is too long"),
            Some(micros) if micros <= 0 => {
                return invalid(
                    "the interval must be longer than zero: give weeks, days, hours, minutes, seconds or microseconds",
                );
            }
            Some(micros) => micros,
        };
        if let (Some(start), Some(end)) = (self.start, self.end)
            && end < start
        {
            return invalid("the end date lies before the start date");
        }
        Ok(IntervalTrigger {
            micros,
            start: self.start,
            end: self.end,
            anchor: self.anchor,
            first: self.first,
            timezone: self.timezone.unwrap_or(Tz::UTC),
            jitter: self.jitter,
        })
    }
}

fn build(section: &mut Section<'_>) -> Result<Arc<dyn Trigger>, Error> {
    let given: Vec<&str> = UNITS.iter().map(|(unit, _)| *unit).filter(|unit| section.has(unit)).collect();
    let micros = read_units(section);
    let timezone = config::timezone(section);
    let builder = IntervalBuilder {
        micros,
        start: config::renamed_instant(section, ["start_date", "start_time"], timezone),
        end: config::renamed_instant(section, ["end_date", "end_time"], timezone),
        anchor: config::instant(section, ANCHOR_KEY, timezone),
        first: config::choice(section, "first").unwrap_or_default(),
        timezone: Some(timezone),
        jitter: config::jitter(section),
    };
    if !section.is_faulty() && micros.is_some_and(|micros| micros <= 0) {
        match given[..] {
            [] => {}
            [unit] => section.fault(unit, "the interval must be longer than zero"),
            [unit, ..] => {
                section.fault(unit, format!("{} must add up to more than zero", given.join(", ")));
            }
        }
    }
    if section.is_faulty() {
        return config::refused();
    }
    config::finish(section, builder.build())
}

/// Adds the units up exactly: integers as integers, fractions to the nearest microsecond of their sum.
fn read_units(section: &mut Section<'_>) -> Option<i64> {
    let mut whole = Some(0_i64);
    let mut fractions = 0.0;
    for (unit, micros) in UNITS {
        let Some(value) = section.value(unit) else { continue };
        if let Some(count) = to_integer(&value) {
            whole = whole.zip(count.checked_mul(micros)).and_then(|(sum, more)| sum.checked_add(more));
            continue;
        }
        let number = match &value {
            Value::String(text) => text.trim().parse().ok(),
            other => other.as_f64(),
        };
        match number.filter(|number: &f64| number.is_finite()) {
            Some(number) => fractions += number * micros as f64,
            None => section.fault(unit, "expected a number"),
        }
    }
    let fractions: i64 = format!("{fractions:.0}").parse().ok()?;
    whole?.checked_add(fractions)
}
