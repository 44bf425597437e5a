//! The cron trigger: fires whenever the local wall clock matches.
//!
//! In reading order: [`field`] has the eight fields, [`item`] reads the expression of one, [`text`] and [`builder`]
//! put them together, [`literal`] checks text at compile time, [`schedule`] searches local time, [`search`] instants, [`config`] and [`describe`] talk to
//! configuration and people. It neither rounds nor delays: jitter and misfires are the planner's business.
#![doc = include_str!("README.md")]

mod builder;
mod config;
mod describe;
mod fault;
mod field;
mod item;
pub(crate) mod literal;
mod schedule;
mod search;
mod text;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use sched_core::{Error, Trigger};
use serde_json::Value;

pub use self::builder::CronBuilder;
pub use self::field::Field;
use self::schedule::Schedule;
use crate::holidays::BusinessDays;
use crate::zone::zone;
use crate::{Dialect, Gap, Holidays, Overlap, Roll, moment};

pub(crate) use self::config::{CRON, CRONTAB};
pub(crate) use self::field::WEEKDAYS;

/// Fires when the local time matches a cron expression.
///
/// # Guarantees
/// 1. An instant fires if and only if its local time matches every field; day and weekday are joined by the
///    dialect's rule.
/// 2. A local time that the clocks skip never fires and one that comes twice fires twice, unless [`Gap`] and
///    [`Overlap`] say otherwise. Instants are compared, never wall clocks.
/// 3. Start and end are inclusive.
/// 4. `Display` gives text that [`FromStr`] reads back to an equal trigger.
///
/// **Units**: whole seconds. **Source**: APScheduler 3.0 manual, "CronTrigger"; POSIX `crontab`; Quartz 2.3 tutorial.
///
/// # Example
/// ```
/// # fn main() -> Result<(), sched_core::Error> {
/// use sched_core::Trigger;
/// use sched_triggers::CronTrigger;
///
/// let trigger = CronTrigger::parse("30 4 * * mon-fri")?.with_timezone(chrono_tz::Tz::Europe__Berlin);
/// let now = "2026-03-28T00:00:00Z".parse().unwrap();
/// let next = trigger.next_fire_time(None, now)?;
/// assert_eq!(next.unwrap().to_rfc3339(), "2026-03-30T02:30:00+00:00");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct CronTrigger {
    plan: Plan,
    source: Source,
    dialect: Dialect,
    options: Options,
}

/// What fires.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Plan {
    Schedule(Schedule),
    /// Once, when the job is added.
    Reboot,
}

impl Plan {
    fn with_business(self, business: Option<Arc<BusinessDays>>) -> Self {
        match self {
            Self::Schedule(schedule) => Self::Schedule(schedule.with_business(business)),
            Self::Reboot => Self::Reboot,
        }
    }
}

/// What the user wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    Fields(Box<[Option<Box<str>>; 8]>),
    Text(Box<str>),
}

/// Everything but the expression.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Options {
    timezone: Tz,
    start: Option<DateTime<Utc>>,
    end: Option<DateTime<Utc>>,
    gap: Gap,
    overlap: Overlap,
    business: Option<Arc<BusinessDays>>,
    jitter: Option<Duration>,
    anchor: Option<DateTime<Utc>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            timezone: Tz::UTC,
            start: None,
            end: None,
            gap: Gap::Skip,
            overlap: Overlap::Both,
            business: None,
            jitter: None,
            anchor: None,
        }
    }
}

impl CronTrigger {
    /// Starts a trigger field by field.
    pub fn builder() -> CronBuilder {
        CronBuilder::new()
    }

    /// Reads a crontab line's five fields by Unix rules, or a macro such as `@daily`; also what `Display` wrote.
    /// The zone is UTC until [`with_timezone`](CronTrigger::with_timezone).
    ///
    /// **Errors**: [`InvalidTrigger`](sched_core::ErrorKind::InvalidTrigger) with field, column and suggestion.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if text.trim_end().ends_with(']') {
            return config::parse_display(text);
        }
        Self::parse_dialect(text, Dialect::Unix)
    }

    /// Reads cron text by the rules of a dialect: six or seven fields for Quartz, five for the others.
    ///
    /// **Errors**: [`InvalidTrigger`](sched_core::ErrorKind::InvalidTrigger) with field, column and suggestion.
    pub fn parse_dialect(text: &str, dialect: Dialect) -> Result<Self, Error> {
        let plan = text::read(text, dialect)?;
        Ok(Self { plan, source: Source::Text(text.trim().into()), dialect, options: Options::default() })
    }

    /// The same wall clock times in another zone.
    #[must_use]
    pub fn with_timezone(mut self, timezone: Tz) -> Self {
        self.options.timezone = timezone;
        self
    }

    /// Nothing fires on `holidays`; `roll` says what becomes of what would.
    #[must_use]
    pub fn with_holidays(mut self, holidays: Holidays, roll: Roll) -> Self {
        self.options.business = Some(Arc::new(BusinessDays { holidays, roll }));
        self.plan = self.plan.with_business(self.options.business.clone());
        self
    }

    /// How the expression was read.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    fn reboot(&self, previous: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        match (previous, self.options.anchor) {
            (None, anchor) => Some(anchor.unwrap_or(now)),
            (Some(previous), Some(anchor)) if anchor > previous => Some(anchor),
            (Some(_), _) => None,
        }
    }
}

impl Trigger for CronTrigger {
    fn next_fire_time(
        &self,
        previous: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, Error> {
        let schedule = match &self.plan {
            Plan::Schedule(schedule) => schedule,
            Plan::Reboot => return Ok(self.reboot(previous, now)),
        };
        let mut from = match previous {
            Some(previous) => previous.timestamp() + 1,
            None => moment::ceil_seconds(now),
        };
        if let Some(start) = self.options.start {
            from = from.max(moment::ceil_seconds(start));
        }
        let policy = search::Policy { gap: self.options.gap, overlap: self.options.overlap };
        let found = search::at_or_after(schedule, zone(self.options.timezone), policy, from);
        let time = found.and_then(|seconds| DateTime::from_timestamp(seconds, 0));
        Ok(time.filter(|time| self.options.end.is_none_or(|end| *time <= end)))
    }

    fn alias(&self) -> &str {
        match self.source {
            Source::Fields(_) => "cron",
            Source::Text(_) => "crontab",
        }
    }

    fn to_config(&self) -> Value {
        config::write(self)
    }

    fn timezone(&self) -> Tz {
        self.options.timezone
    }

    fn jitter(&self) -> Option<Duration> {
        self.options.jitter
    }

    fn anchored(&self, at: DateTime<Utc>) -> Option<Arc<dyn Trigger>> {
        if self.plan != Plan::Reboot || self.options.anchor.is_some() {
            return None;
        }
        let mut anchored = self.clone();
        anchored.options.anchor = Some(at);
        Some(Arc::new(anchored))
    }

    fn describe(&self) -> String {
        describe::describe(self)
    }

    fn is_quick(&self) -> bool {
        true
    }
}

impl PartialEq for CronTrigger {
    fn eq(&self, other: &Self) -> bool {
        self.plan == other.plan && self.options == other.options
    }
}

impl Eq for CronTrigger {}

impl fmt::Display for CronTrigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        crate::config::display(&self.to_config(), f)
    }
}

impl FromStr for CronTrigger {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::parse(text)
    }
}
