//! Triggers whose fire times a test can count on its fingers, also by alias, so that persistent stores keep them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use sched_core::{ANCHOR_KEY, Error, ErrorKind, Factory, Immediate, Plugin, Section, Trigger};
use serde_json::{Value, json};

use crate::faults::FaultyTrigger;
use crate::jobs::FIXED;

/// The plug-ins of this module, under the aliases `every`, `fixed`, `faulty` and `date`.
pub const PLUGINS: [Plugin; 4] = [
    Plugin {
        aliases: &["every"],
        summary: "every so many milliseconds",
        package: env!("CARGO_PKG_NAME"),
        factory: Factory::Trigger(build_every),
    },
    FIXED,
    Plugin {
        aliases: &["faulty"],
        summary: "fires once and then goes wrong",
        package: env!("CARGO_PKG_NAME"),
        factory: Factory::Trigger(build_faulty),
    },
    Plugin {
        aliases: &["date"],
        summary: "once; what a job without trigger is stored as",
        package: env!("CARGO_PKG_NAME"),
        factory: Factory::Trigger(build_date),
    },
];

/// Fires every period, first one period after it is added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Every {
    millis: i64,
    anchor: Option<DateTime<Utc>>,
    jitter: Option<Duration>,
    slow: bool,
}

impl Every {
    /// Every so many seconds.
    pub fn seconds(seconds: i64) -> Self {
        Self { millis: seconds * 1_000, anchor: None, jitter: None, slow: false }
    }

    /// With a jitter of its own.
    #[must_use]
    pub fn with_jitter(self, jitter: Duration) -> Self {
        Self { jitter: Some(jitter), ..self }
    }

    /// As a trigger that may take long to answer.
    #[must_use]
    pub fn slowly(self) -> Self {
        Self { slow: true, ..self }
    }
}

impl Trigger for Every {
    fn next_fire_time(
        &self,
        previous: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, Error> {
        let period = TimeDelta::milliseconds(self.millis);
        if let Some(previous) = previous {
            return Ok(previous.checked_add_signed(period));
        }
        let first = self.anchor.unwrap_or(now) + period;
        let behind = (now - first).num_milliseconds().max(0);
        let steps = (behind + self.millis - 1) / self.millis;
        Ok(first.checked_add_signed(TimeDelta::milliseconds(steps * self.millis)))
    }

    fn alias(&self) -> &str {
        "every"
    }

    fn to_config(&self) -> Value {
        let mut config = json!({ "type": "every", "millis": self.millis });
        if let Some(anchor) = self.anchor {
            config[ANCHOR_KEY] = json!(anchor.to_rfc3339());
        }
        if let Some(jitter) = self.jitter {
            config["jitter"] = json!(jitter.as_secs_f64());
        }
        if self.slow {
            config["slow"] = json!(true);
        }
        config
    }

    fn jitter(&self) -> Option<Duration> {
        self.jitter
    }

    fn anchored(&self, at: DateTime<Utc>) -> Option<Arc<dyn Trigger>> {
        if self.anchor.is_some() {
            return None;
        }
        Some(Arc::new(Self { anchor: Some(at), ..self.clone() }))
    }

    fn is_quick(&self) -> bool {
        !self.slow
    }
}

impl fmt::Display for Every {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "every[{}s]", self.millis / 1_000)
    }
}

fn build_every(section: &mut Section<'_>) -> Result<Arc<dyn Trigger>, Error> {
    let millis = section.integer_in("millis", 1, i64::MAX / 2_000).unwrap_or(1);
    let zone = section.context().timezone;
    let anchor = section.datetime(ANCHOR_KEY, zone);
    let (jitter, slow) = (section.duration("jitter"), section.boolean("slow").unwrap_or(false));
    Ok(Arc::new(Every { millis, anchor, jitter, slow }))
}

/// Only the form that [`Immediate`] writes.
fn build_date(section: &mut Section<'_>) -> Result<Arc<dyn Trigger>, Error> {
    let zone = section.context().timezone;
    let immediate = Immediate::new();
    let anchored = section.datetime(ANCHOR_KEY, zone).and_then(|anchor| immediate.anchored(anchor));
    Ok(anchored.unwrap_or_else(|| Arc::new(immediate)))
}

fn build_faulty(section: &mut Section<'_>) -> Result<Arc<dyn Trigger>, Error> {
    use FaultyTrigger::{Fails, GoesBack, Panics, StandsStill};
    let fault = section.string("fault");
    let found = [Fails, GoesBack, Panics, StandsStill]
        .into_iter()
        .find(|faulty| fault.as_deref() == Some(&format!("{faulty:?}")));
    found
        .map(|faulty| Arc::new(faulty) as Arc<dyn Trigger>)
        .ok_or_else(|| Error::new(ErrorKind::InvalidTrigger, "expected a way of going wrong"))
}
