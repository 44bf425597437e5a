//! Triggers that keep no promise.

use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};
use sched_core::{Error, ErrorKind, Trigger};
use serde_json::{Value, json};

/// A trigger that fires once as it should, at or after the time it is first asked, and then does something wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultyTrigger {
    /// It answers with an error.
    Fails,
    /// It panics.
    Panics,
    /// It answers with the time that has just fired.
    StandsStill,
    /// It answers with a time that is a day earlier.
    GoesBack,
}

impl Trigger for FaultyTrigger {
    fn next_fire_time(
        &self,
        previous: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, Error> {
        let Some(previous) = previous else { return Ok(Some(now)) };
        match self {
            Self::Fails => Err(Error::new(ErrorKind::InvalidTrigger, "deliberate")),
            Self::Panics => panic!("deliberate"),
            Self::StandsStill => Ok(Some(previous)),
            Self::GoesBack => Ok(Some(previous - TimeDelta::days(1))),
        }
    }

    fn alias(&self) -> &str {
        "faulty"
    }

    fn to_config(&self) -> Value {
        json!({ "type": "faulty", "fault": format!("{self:?}") })
    }
}

impl fmt::Display for FaultyTrigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "faulty[{self:?}]")
    }
}
