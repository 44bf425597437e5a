//! Fires so many times, then never again.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use sched_core::{ANCHOR_KEY, Error, ErrorKind, Factory, Plugin, Section, Trigger};
use serde_json::Value;

use super::rounds::apart;
use super::{context_in, read_child, read_zone, zone_of};
use crate::config::{self, Form};
use crate::moment;

/// The plug-in `limit`.
pub(crate) const LIMIT: Plugin = Plugin {
    aliases: &["limit"],
    summary: "the first so many fire times of another trigger",
    package: env!("CARGO_PKG_NAME"),
    factory: Factory::Trigger(build),
};

/// Largest limit: the last fire time is found by counting, once.
const MOST: u32 = 100_000;

/// Largest limit with which counting takes no time to speak of.
const QUICK_FIRES: u32 = 1_000;

/// The first so many fire times of another trigger, counted from the moment the job is added.
///
/// A trigger keeps no count of what ran. The limit is therefore the time of the last counted fire, which follows from
/// the moment the job was added: a fire that was missed or skipped counts as well. Before it is added the count
/// begins with each question.
///
/// # Example
/// ```
/// # fn main() -> Result<(), sched_core::Error> {
/// use std::sync::Arc;
///
/// use sched_triggers::{CronTrigger, LimitTrigger, preview};
///
/// let trigger = LimitTrigger::new(Arc::new(CronTrigger::parse("@daily")?), 2)?;
/// let coming = preview(&trigger, None, "2026-11-21T09:00:00Z".parse().unwrap(), 10)?;
/// assert_eq!((coming.fires.len(), coming.exhausted), (2, true));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct LimitTrigger {
    trigger: Arc<dyn Trigger>,
    max_fires: u32,
    timezone: Option<Tz>,
    anchor: Option<DateTime<Utc>>,
    /// The last fire time that counts, once it is known; `None` when the trigger ends before.
    last: OnceLock<Option<DateTime<Utc>>>,
}

impl LimitTrigger {
    /// The first `max_fires` fire times of `trigger`.
    ///
    /// **Errors**: [`InvalidTrigger`](ErrorKind::InvalidTrigger) unless `max_fires` is 1 to 100,000.
    pub fn new(trigger: Arc<dyn Trigger>, max_fires: u32) -> Result<Self, Error> {
        if !(1..=MOST).contains(&max_fires) {
            return Err(Error::new(
                ErrorKind::InvalidTrigger,
                format!("expected a limit of 1 to {MOST} fires"),
            ));
        }
        Ok(Self { trigger, max_fires, timezone: None, anchor: None, last: OnceLock::new() })
    }

    /// The zone to show its fire times in; that of its trigger when not given. A configuration form also makes it the
    /// default zone of the triggers inside.
    #[must_use]
    pub fn with_timezone(mut self, timezone: Tz) -> Self {
        self.timezone = Some(timezone);
        self
    }

    /// The last fire time that counts from `anchor` on.
    fn last(&self, anchor: DateTime<Utc>) -> Result<Option<DateTime<Utc>>, Error> {
        if let Some(last) = self.last.get() {
            return Ok(*last);
        }
        let mut last = None;
        for _ in 0..self.max_fires {
            match apart(|| self.trigger.next_fire_time(last, anchor))? {
                Some(next) => last = Some(next),
                None => return Ok(*self.last.get_or_init(|| None)),
            }
        }
        Ok(*self.last.get_or_init(|| last))
    }
}

impl Trigger for LimitTrigger {
    fn next_fire_time(
        &self,
        previous: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, Error> {
        let Some(next) = self.trigger.next_fire_time(previous, now)? else { return Ok(None) };
        let Some(anchor) = self.anchor else {
            return Ok(Some(next).filter(|_| previous.is_none() || self.max_fires > 1));
        };
        let last = self.last(anchor)?;
        Ok(Some(next).filter(|next| last.is_none_or(|last| *next <= last)))
    }

    fn alias(&self) -> &str {
        "limit"
    }

    fn to_config(&self) -> Value {
        let mut form = Form::new("limit");
        form.put("trigger", self.trigger.to_config());
        form.put("max_fires", self.max_fires);
        form.put_time(ANCHOR_KEY, self.anchor);
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
        if self.anchor.is_some() {
            return None;
        }
        let trigger = self.trigger.anchored(at).unwrap_or_else(|| Arc::clone(&self.trigger));
        let anchor = Some(moment::whole(at));
        Some(Arc::new(Self { trigger, anchor, last: OnceLock::new(), ..self.clone() }))
    }

    fn describe(&self) -> String {
        match self.max_fires {
            1 => format!("{}, once", self.trigger.describe()),
            count => format!("{}, {count} times", self.trigger.describe()),
        }
    }

    /// The last fire is found by walking there, once.
    fn is_quick(&self) -> bool {
        self.max_fires <= QUICK_FIRES && self.trigger.is_quick()
    }
}

impl fmt::Display for LimitTrigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        config::display(&self.to_config(), f)
    }
}

fn build(section: &mut Section<'_>) -> Result<Arc<dyn Trigger>, Error> {
    let timezone = read_zone(section);
    let trigger = read_child(section, timezone);
    let zone = context_in(section, timezone).timezone;
    let anchor = config::instant(section, ANCHOR_KEY, zone);
    let max_fires = section.count("max_fires", MOST).and_then(|count| u32::try_from(count).ok());
    if max_fires.is_none() && !section.is_faulty() {
        section.missing("max_fires", "a number of fires");
    }
    match trigger.zip(max_fires) {
        Some((trigger, max_fires)) if !section.is_faulty() => {
            let built =
                LimitTrigger::new(trigger, max_fires).map(|limit| LimitTrigger { timezone, anchor, ..limit });
            config::finish(section, built)
        }
        _ => config::refused(),
    }
}
