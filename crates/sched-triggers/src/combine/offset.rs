//! Fires a fixed time before or after another trigger.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use sched_core::{Error, ErrorKind, Factory, Plugin, Section, Trigger};
use serde_json::Value;

use super::{read_child, read_zone, zone_of};
use crate::config::{self, Form};
use crate::{moment, words};

/// The plug-in `offset`.
pub(crate) const OFFSET: Plugin = Plugin {
    aliases: &["offset"],
    summary: "a fixed time before or after another trigger",
    package: env!("CARGO_PKG_NAME"),
    factory: Factory::Trigger(build),
};

/// Longest offset: a hundred years.
const MOST: Duration = Duration::from_secs(100 * 366 * 86_400);

/// Fires a fixed time before or after another trigger does.
///
/// # Example
/// ```
/// # fn main() -> Result<(), sched_core::Error> {
/// use std::sync::Arc;
/// use std::time::Duration;
///
/// use sched_triggers::{CronTrigger, OffsetTrigger, preview};
///
/// // Two days before the last day of every month.
/// let last = Arc::new(CronTrigger::builder().day("last").build()?);
/// let trigger = OffsetTrigger::earlier(last, Duration::from_secs(2 * 86_400))?;
/// let coming = preview(&trigger, None, "2026-02-01T00:00:00Z".parse().unwrap(), 1)?;
/// assert_eq!(coming.fires[0].to_rfc3339(), "2026-02-26T00:00:00+00:00");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct OffsetTrigger {
    trigger: Arc<dyn Trigger>,
    offset: TimeDelta,
    timezone: Option<Tz>,
}

impl OffsetTrigger {
    /// Fires `by` after `trigger`.
    ///
    /// **Errors**: [`InvalidTrigger`](ErrorKind::InvalidTrigger) when that is more than a hundred years.
    pub fn later(trigger: Arc<dyn Trigger>, by: Duration) -> Result<Self, Error> {
        let offset = TimeDelta::from_std(config::whole_micros(by)).ok().filter(|_| by <= MOST);
        let offset = offset.ok_or_else(|| {
            Error::new(ErrorKind::InvalidTrigger, "the offset is too long, expected at most a hundred years")
        })?;
        Ok(Self { trigger, offset, timezone: None })
    }

    /// Fires `by` before `trigger`.
    ///
    /// **Errors**: as [`later`](OffsetTrigger::later).
    pub fn earlier(trigger: Arc<dyn Trigger>, by: Duration) -> Result<Self, Error> {
        let later = Self::later(trigger, by)?;
        Ok(Self { offset: -later.offset, ..later })
    }

    /// The zone to show its fire times in; that of its trigger when not given. A configuration form also makes it the
    /// default zone of the triggers inside.
    #[must_use]
    pub fn with_timezone(mut self, timezone: Tz) -> Self {
        self.timezone = Some(timezone);
        self
    }
}

impl Trigger for OffsetTrigger {
    fn next_fire_time(
        &self,
        previous: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, Error> {
        let inner = |time: DateTime<Utc>| time.checked_sub_signed(self.offset).unwrap_or(time);
        let found = self.trigger.next_fire_time(previous.map(inner), inner(now))?;
        let moved = found.and_then(|time| time.checked_add_signed(self.offset));
        Ok(moved.filter(|time| moment::is_in_range(*time)))
    }

    fn alias(&self) -> &str {
        "offset"
    }

    fn to_config(&self) -> Value {
        let mut form = Form::new("offset");
        form.put("trigger", self.trigger.to_config());
        let key = if self.offset < TimeDelta::zero() { "earlier" } else { "later" };
        form.put_duration(key, self.offset.abs().to_std().ok());
        form.put_zone(self.timezone);
        form.done()
    }

    fn timezone(&self) -> Tz {
        zone_of(self.timezone, Some(&self.trigger))
    }

    fn jitter(&self) -> Option<Duration> {
        self.trigger.jitter()
    }

    fn anchored(&self, at: DateTime<Utc>) -> Option<Arc<dyn Trigger>> {
        let trigger = self.trigger.anchored(at)?;
        Some(Arc::new(Self { trigger, ..self.clone() }))
    }

    fn describe(&self) -> String {
        let word = if self.offset < TimeDelta::zero() { "before" } else { "after" };
        let length = words::duration(self.offset.abs().to_std().unwrap_or_default());
        format!("{length} {word} ({})", self.trigger.describe())
    }

    fn is_quick(&self) -> bool {
        self.trigger.is_quick()
    }
}

impl fmt::Display for OffsetTrigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        config::display(&self.to_config(), f)
    }
}

fn build(section: &mut Section<'_>) -> Result<Arc<dyn Trigger>, Error> {
    let timezone = read_zone(section);
    let trigger = read_child(section, timezone);
    let (later, earlier) = (section.duration("later"), section.duration("earlier"));
    if later.is_some() == earlier.is_some() && !section.is_faulty() {
        section.missing("later", "a duration, here or under `earlier`, but not both");
    }
    match trigger {
        Some(trigger) if !section.is_faulty() => {
            let built = match earlier {
                Some(earlier) => OffsetTrigger::earlier(trigger, earlier),
                None => OffsetTrigger::later(trigger, later.unwrap_or_default()),
            };
            config::finish(section, built.map(|trigger| OffsetTrigger { timezone, ..trigger }))
        }
        _ => config::refused(),
    }
}
