//! Fires when one trigger does and none of the others has just fired.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use sched_core::{Error, Factory, Plugin, Section, Trigger};
use serde_json::Value;

use super::rounds::Rounds;
use super::{at_or_after, read_child, read_list, read_zone, zone_of};
use crate::config::{self, Form};
use crate::moment::MICROSECOND;
use crate::words;

/// The plug-in `except`.
pub(crate) const EXCEPT: Plugin = Plugin {
    aliases: &["except"],
    summary: "when a trigger fires, but not within the windows that others open",
    package: env!("CARGO_PKG_NAME"),
    factory: Factory::Trigger(build),
};

const LASTING: Duration = Duration::from_secs(1);

/// How many windows in a row the search steps over before it gives up.
const MAX_WINDOWS: u32 = 10_000;

/// Fires when `trigger` does, unless that lies in a window: from a fire of one of the exceptions on, for as long as
/// [`lasting`](ExceptTrigger::with_lasting) says.
///
/// The search steps from window to window and is bounded: what is always excluded is exhausted. For days off, give
/// the trigger [`Holidays`](crate::Holidays) instead.
///
/// # Example
/// ```
/// # fn main() -> Result<(), sched_core::Error> {
/// use std::sync::Arc;
/// use std::time::Duration;
///
/// use sched_triggers::{CronTrigger, ExceptTrigger, preview};
///
/// // Every hour, but not in the two hours of the nightly backup.
/// let backup = Arc::new(CronTrigger::parse("0 2 * * *")?);
/// let trigger = ExceptTrigger::new(Arc::new(CronTrigger::parse("@hourly")?), vec![backup]);
/// let trigger = trigger.with_lasting(Duration::from_secs(2 * 3600));
/// let coming = preview(&trigger, None, "2026-11-21T01:00:00Z".parse().unwrap(), 2)?;
/// assert_eq!(coming.fires[1].to_rfc3339(), "2026-11-21T04:00:00+00:00");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct ExceptTrigger {
    trigger: Arc<dyn Trigger>,
    exceptions: Vec<Arc<dyn Trigger>>,
    lasting: Duration,
    timezone: Option<Tz>,
}

impl ExceptTrigger {
    /// Fires of `trigger` but for those that coincide, to the second, with a fire of one of the `exceptions`.
    pub fn new(trigger: Arc<dyn Trigger>, exceptions: Vec<Arc<dyn Trigger>>) -> Self {
        Self { trigger, exceptions, lasting: LASTING, timezone: None }
    }

    /// How long the window stays open that an exception's fire opens; one second when not given.
    #[must_use]
    pub fn with_lasting(mut self, lasting: Duration) -> Self {
        self.lasting = config::whole_micros(lasting);
        self
    }

    /// The zone to show its fire times in; that of its trigger when not given. A configuration form also makes it the
    /// default zone of the triggers inside.
    #[must_use]
    pub fn with_timezone(mut self, timezone: Tz) -> Self {
        self.timezone = Some(timezone);
        self
    }

    /// The end of the window that `time` lies in, when it lies in one.
    fn window_end(&self, time: DateTime<Utc>) -> Result<Option<DateTime<Utc>>, Error> {
        let lasting = TimeDelta::from_std(self.lasting).unwrap_or(TimeDelta::MAX);
        let Some(earliest) = time.checked_sub_signed(lasting) else { return Ok(None) };
        let mut end = None;
        for exception in &self.exceptions {
            if let Some(opened) =
                at_or_after(&**exception, earliest + MICROSECOND)?.filter(|opened| *opened <= time)
            {
                end = end.max(opened.checked_add_signed(lasting));
            }
        }
        Ok(end)
    }
}

impl Trigger for ExceptTrigger {
    fn next_fire_time(
        &self,
        previous: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, Error> {
        let rounds = Rounds::begin();
        let mut next = self.trigger.next_fire_time(previous, now)?;
        for _ in (0..MAX_WINDOWS).take_while(|_| rounds.next()) {
            let Some(time) = next else { return Ok(None) };
            match self.window_end(time)? {
                None => return Ok(Some(time)),
                Some(end) => next = at_or_after(&*self.trigger, end.max(time + MICROSECOND))?,
            }
        }
        Ok(None)
    }

    fn alias(&self) -> &str {
        "except"
    }

    fn to_config(&self) -> Value {
        let mut form = Form::new("except");
        form.put("trigger", self.trigger.to_config());
        form.put("exceptions", super::configs(&self.exceptions));
        form.put_duration("lasting", Some(self.lasting).filter(|lasting| *lasting != LASTING));
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
        let (trigger, exceptions) = (self.trigger.anchored(at), super::anchored(&self.exceptions, at));
        if trigger.is_none() && exceptions.is_none() {
            return None;
        }
        Some(Arc::new(Self {
            trigger: trigger.unwrap_or_else(|| Arc::clone(&self.trigger)),
            exceptions: exceptions.map_or_else(|| self.exceptions.clone(), Vec::from),
            lasting: self.lasting,
            timezone: self.timezone,
        }))
    }

    fn describe(&self) -> String {
        let exceptions = self.exceptions.iter().map(|exception| format!("({})", exception.describe()));
        let window = match self.lasting == LASTING {
            true => String::new(),
            false => format!("within {} after ", words::duration(self.lasting)),
        };
        format!("{}, except {window}{}", self.trigger.describe(), words::list(exceptions.collect()))
    }

    fn is_quick(&self) -> bool {
        self.trigger.is_quick() && self.exceptions.iter().all(|exception| exception.is_quick())
    }
}

impl fmt::Display for ExceptTrigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        config::display(&self.to_config(), f)
    }
}

fn build(section: &mut Section<'_>) -> Result<Arc<dyn Trigger>, Error> {
    let timezone = read_zone(section);
    let trigger = read_child(section, timezone);
    let exceptions = read_list(section, "exceptions", timezone);
    let lasting = section.duration("lasting").map_or(LASTING, config::whole_micros);
    match trigger {
        Some(trigger) if !section.is_faulty() => {
            Ok(Arc::new(ExceptTrigger { trigger, exceptions, lasting, timezone }))
        }
        _ => config::refused(),
    }
}
