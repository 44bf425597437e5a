//! The recurrence trigger: fires by an RFC 5545 rule with its start, further dates and exceptions.
//!
//! In reading order: [`text`] reads the lines, [`rule`] expands one rule. The crate `rrule` does the calendar
//! arithmetic, always in plain local time; zones, exceptions and bounds are decided here, so that the machine's own
//! zone never matters. Events, alarms and durations of a calendar are not read.

mod rule;
mod text;

use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use sched_core::{Error, ErrorKind, Factory, Plugin, Section, Trigger};
use serde_json::Value;

use self::text::Content;
use crate::config::{self, Form};
use crate::moment::MICROSECOND;
use crate::{moment, words};

/// The plug-in `rrule`.
pub(crate) const RRULE: Plugin = Plugin {
    aliases: &["rrule"],
    summary: "by an RFC 5545 recurrence rule with its dates and exceptions",
    package: env!("CARGO_PKG_NAME"),
    factory: Factory::Trigger(build),
};

/// Fires by the lines `DTSTART`, `RRULE`, `RDATE` and `EXDATE` of RFC 5545.
///
/// # Guarantees
/// 1. A local time that the clocks skip fires later by the length of the gap, and one that comes twice fires the
///    first time, as RFC 5545 section 3.3.5 has it. Two times that become one instant fire once.
/// 2. The search is bounded: a rule that never matches, or not before the year 10,000, is exhausted. `COUNT` is
///    at most 100,000.
/// 3. Nothing is left out silently: a line or part that is not understood is refused. So are times of day
///    (`BYHOUR` and its like) below `FREQ=HOURLY`, which the crate expands wrongly.
///
/// **Units**: whole seconds. **Source**: RFC 5545, sections 3.3.10 and 3.8.5.
///
/// # Example
/// ```
/// # fn main() -> Result<(), sched_core::Error> {
/// use sched_triggers::{RruleTrigger, preview};
///
/// let text = "DTSTART;TZID=Europe/Berlin:20260105T090000
/// RRULE:FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1
/// EXDATE;TZID=Europe/Berlin:20260227T090000";
/// let trigger = RruleTrigger::parse(text, chrono_tz::Tz::UTC)?;
/// let coming = preview(&trigger, None, "2026-01-01T00:00:00Z".parse().unwrap(), 2)?;
/// // The last working day of the month, but not that of February.
/// assert_eq!(coming.fires[0].to_rfc3339(), "2026-01-30T08:00:00+00:00");
/// assert_eq!(coming.fires[1].to_rfc3339(), "2026-03-31T07:00:00+00:00");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct RruleTrigger {
    text: Box<str>,
    /// The zone of times that name none.
    default_zone: Tz,
    content: Content,
}

impl RruleTrigger {
    /// Reads the lines of a recurrence; `DTSTART` and one of `RRULE` and `RDATE` are needed. Times that name no zone
    /// are in `timezone`.
    ///
    /// **Errors**: [`InvalidTrigger`](ErrorKind::InvalidTrigger) with the line at fault.
    pub fn parse(text: &str, timezone: Tz) -> Result<Self, Error> {
        let content =
            text::read(text, timezone).map_err(|message| Error::new(ErrorKind::InvalidTrigger, message))?;
        Ok(Self { text: text.trim().into(), default_zone: timezone, content })
    }

    /// The first time at or after `floor` that is not excluded.
    fn at_or_after(&self, floor: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let content = &self.content;
        let is_kept = |time: &DateTime<Utc>| !content.excluded.contains(time);
        let by_rule = content.rule.as_ref().and_then(|rule| rule.at_or_after(floor, is_kept));
        let by_date = content.dates.range(floor..).copied().find(is_kept);
        [by_rule, by_date].into_iter().flatten().min().filter(|time| moment::is_in_range(*time))
    }
}

impl Trigger for RruleTrigger {
    fn next_fire_time(
        &self,
        previous: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, Error> {
        Ok(self.at_or_after(previous.map_or(now, |previous| previous + MICROSECOND)))
    }

    fn alias(&self) -> &str {
        "rrule"
    }

    fn to_config(&self) -> Value {
        let mut form = Form::new("rrule");
        form.put("rule", &*self.text);
        form.put("timezone", self.default_zone.name());
        form.done()
    }

    /// The zone of `DTSTART`.
    fn timezone(&self) -> Tz {
        self.content.zone
    }

    fn describe(&self) -> String {
        let zone = self.content.zone;
        let start = words::local(self.content.start, zone);
        match &self.content.rule {
            Some(rule) => format!("by the rule {rule} from {start}, {zone}"),
            None => format!("on listed dates from {start}, {zone}"),
        }
    }

    fn is_quick(&self) -> bool {
        true
    }
}

impl PartialEq for RruleTrigger {
    fn eq(&self, other: &Self) -> bool {
        (&self.text, self.default_zone) == (&other.text, other.default_zone)
    }
}

impl Eq for RruleTrigger {}

impl fmt::Display for RruleTrigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        config::display(&self.to_config(), f)
    }
}

fn build(section: &mut Section<'_>) -> Result<Arc<dyn Trigger>, Error> {
    let timezone = config::timezone(section);
    let Some(text) = section.string("rule") else {
        if !section.is_faulty() {
            section.missing("rule", "the lines DTSTART and RRULE of RFC 5545");
        }
        return config::refused();
    };
    match text::read(&text, timezone) {
        Ok(content) => {
            Ok(Arc::new(RruleTrigger { text: text.trim().into(), default_zone: timezone, content }))
        }
        Err(message) => {
            section.fault("rule", message);
            config::refused()
        }
    }
}
