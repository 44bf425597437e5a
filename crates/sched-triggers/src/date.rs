//! The date trigger: fires once, at a given moment. It does not judge whether that moment has passed.

use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use sched_core::{ANCHOR_KEY, Error, Factory, Plugin, Section, Trigger};
use serde_json::Value;

use crate::config::{self, Form};
use crate::{moment, words};

/// The plug-in `date`.
pub(crate) const DATE: Plugin = Plugin {
    aliases: &["date"],
    summary: "once, at a given moment",
    package: env!("CARGO_PKG_NAME"),
    factory: Factory::Trigger(build),
};

/// Fires once.
///
/// Without a previous fire time it answers with its moment even when that is past: whether it is too late is the
/// planner's decision. Without a moment of its own it fires when it is added.
///
/// **Source**: APScheduler 3.0 manual, "DateTrigger".
///
/// # Example
/// ```
/// use sched_core::Trigger;
/// use sched_triggers::DateTrigger;
///
/// let moment = "2026-11-21T09:00:00Z".parse().unwrap();
/// let trigger = DateTrigger::at(moment);
/// assert_eq!(trigger.next_fire_time(None, moment).unwrap(), Some(moment));
/// assert_eq!(trigger.next_fire_time(Some(moment), moment).unwrap(), None);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DateTrigger {
    run: Moment,
    timezone: Tz,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    /// Given by the user.
    Given(DateTime<Utc>),
    /// When it is added: not yet known, or fixed by [`Trigger::anchored`].
    Added(Option<DateTime<Utc>>),
}

impl DateTrigger {
    /// Fires at `moment`, cut to whole microseconds.
    pub fn at(moment: DateTime<Utc>) -> Self {
        Self { run: Moment::Given(moment::whole(moment)), timezone: Tz::UTC }
    }

    /// Fires when it is added.
    pub fn when_added() -> Self {
        Self { run: Moment::Added(None), timezone: Tz::UTC }
    }

    /// Shows the moment in another zone.
    #[must_use]
    pub fn with_timezone(mut self, timezone: Tz) -> Self {
        self.timezone = timezone;
        self
    }

    fn moment(&self) -> Option<DateTime<Utc>> {
        match self.run {
            Moment::Given(moment) => Some(moment),
            Moment::Added(anchor) => anchor,
        }
    }
}

impl Trigger for DateTrigger {
    fn next_fire_time(
        &self,
        previous: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, Error> {
        Ok(match (self.moment(), previous) {
            (moment, None) => Some(moment.unwrap_or(now)),
            (Some(moment), Some(previous)) => Some(moment).filter(|moment| *moment > previous),
            (None, Some(_)) => None,
        })
    }

    fn alias(&self) -> &str {
        "date"
    }

    fn to_config(&self) -> Value {
        let mut form = Form::new("date");
        match self.run {
            Moment::Given(moment) => form.put_time("run_date", Some(moment)),
            Moment::Added(anchor) => form.put_time(ANCHOR_KEY, anchor),
        }
        form.put("timezone", self.timezone.name());
        form.done()
    }

    fn latest_fire_time(&self, first: DateTime<Utc>, _now: DateTime<Utc>) -> Result<DateTime<Utc>, Error> {
        Ok(first)
    }

    fn timezone(&self) -> Tz {
        self.timezone
    }

    fn anchored(&self, at: DateTime<Utc>) -> Option<Arc<dyn Trigger>> {
        (self.run == Moment::Added(None)).then(|| {
            let anchored: Arc<dyn Trigger> = Arc::new(Self { run: Moment::Added(Some(at)), ..self.clone() });
            anchored
        })
    }

    fn describe(&self) -> String {
        match self.moment() {
            Some(moment) => format!("once at {}, {}", words::local(moment, self.timezone), self.timezone),
            None => "once, when it is added".to_owned(),
        }
    }

    fn is_quick(&self) -> bool {
        true
    }
}

impl fmt::Display for DateTrigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        config::display(&self.to_config(), f)
    }
}

fn build(section: &mut Section<'_>) -> Result<Arc<dyn Trigger>, Error> {
    let timezone = config::timezone(section);
    let moment = config::renamed_instant(section, ["run_date", "run_time"], timezone);
    let anchor = config::instant(section, ANCHOR_KEY, timezone);
    let run = moment.map_or(Moment::Added(anchor), Moment::Given);
    Ok(Arc::new(DateTrigger { run, timezone }))
}
