//! Fires when any of its triggers fires.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use sched_core::{Error, Factory, Plugin, Section, Trigger};
use serde_json::Value;

use super::{Children, anchored, at_or_after, checked, configs, read_list, read_zone, zone_of};
use crate::config::{self, Form};
use crate::moment::MICROSECOND;

/// The plug-in `or`.
pub(crate) const OR: Plugin = Plugin {
    aliases: &["or"],
    summary: "when any of its triggers fires",
    package: env!("CARGO_PKG_NAME"),
    factory: Factory::Trigger(build),
};

/// Fires whenever any of its triggers does: their fire times merged, equal ones once.
///
/// Every trigger keeps its own phase. It is exhausted when all of them are.
///
/// **Source**: APScheduler 4.0 manual, "OrTrigger".
#[derive(Debug, Clone)]
pub struct OrTrigger {
    children: Children,
    jitter: Option<Duration>,
    timezone: Option<Tz>,
}

impl OrTrigger {
    /// Any of `triggers`.
    ///
    /// **Errors**: [`InvalidTrigger`](sched_core::ErrorKind::InvalidTrigger) when there are none.
    pub fn new(triggers: Vec<Arc<dyn Trigger>>) -> Result<Self, Error> {
        Ok(Self { children: checked(triggers)?, jitter: None, timezone: None })
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
}

impl Trigger for OrTrigger {
    fn next_fire_time(
        &self,
        previous: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, Error> {
        let mut earliest = None;
        for child in &self.children {
            let time = match previous {
                None => child.next_fire_time(None, now)?,
                Some(previous) => at_or_after(&**child, previous + MICROSECOND)?,
            };
            earliest = [earliest, time].into_iter().flatten().min();
        }
        Ok(earliest)
    }

    fn alias(&self) -> &str {
        "or"
    }

    fn to_config(&self) -> Value {
        let mut form = Form::new("or");
        form.put("triggers", configs(&self.children));
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
        let parts: Vec<String> = self.children.iter().map(|child| child.describe()).collect();
        parts.join("; or ")
    }

    fn is_quick(&self) -> bool {
        self.children.iter().all(|child| child.is_quick())
    }
}

impl fmt::Display for OrTrigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        config::display(&self.to_config(), f)
    }
}

fn build(section: &mut Section<'_>) -> Result<Arc<dyn Trigger>, Error> {
    let timezone = read_zone(section);
    let children = read_list(section, "triggers", timezone);
    let jitter = config::jitter(section);
    if section.is_faulty() {
        return config::refused();
    }
    let built = OrTrigger::new(children).map(|trigger| OrTrigger { jitter, timezone, ..trigger });
    config::finish(section, built)
}
