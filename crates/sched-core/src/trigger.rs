//! The contract of a trigger: a pure rule that gives the next fire time.
//!
//! Triggers hold no cursor, read no clock and do no I/O. What has fired is told to them as `previous`; what time
//! it is, as `now`. That makes them cheap to share, easy to store and safe to ask twice.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use serde_json::Value;

use crate::Error;

/// The key that [`Trigger::anchored`] writes into a trigger's configuration form; it is left out when two
/// definitions are compared.
pub const ANCHOR_KEY: &str = "anchor";

/// A rule that gives fire times.
///
/// # Guarantees
/// 1. Pure: the same arguments give the same answer (case `trigger_is_pure`).
/// 2. With `previous`, the answer is later than `previous`, whatever `now` says; without, it is the first fire
///    time of the rule at or after `now` (a date trigger also answers with its date when that is past)
///    (case `trigger_is_strictly_increasing`).
/// 3. Bounded: every search ends; beyond its horizon a trigger is exhausted and answers `None`
///    (case `trigger_search_is_bounded`).
/// 4. `to_config` gives a form from which the registry builds an equal trigger
///    (case `trigger_config_round_trips`).
///
/// **Units**: UTC instants, whole microseconds. **Errors**: [`InvalidTrigger`](crate::ErrorKind::InvalidTrigger);
/// the scheduler then suspends the job and says so in an event.
/// **Source**: APScheduler 3.0 manual, "Custom triggers".
pub trait Trigger: fmt::Debug + fmt::Display + Send + Sync + 'static {
    /// The next fire time after `previous`, or the first at or after `now` when nothing has fired yet.
    fn next_fire_time(
        &self,
        previous: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, Error>;

    /// The plug-in alias that builds this kind, such as `"cron"`.
    fn alias(&self) -> &str;

    /// The configuration form: an object with `type` and every argument that differs from its default.
    fn to_config(&self) -> Value;

    /// The latest fire time in `(previous, now]`, starting from `first`, which is known to be due.
    ///
    /// It is what coalescing needs after a long sleep. The provided method walks at most 64 steps, then bisects
    /// with fresh calls (`previous = None`); a trigger with a closed form overrides it.
    fn latest_fire_time(&self, first: DateTime<Utc>, now: DateTime<Utc>) -> Result<DateTime<Utc>, Error> {
        latest_by_search(self, first, now)
    }

    /// The zone its calendar fields live in, for display. UTC where the rule has none.
    fn timezone(&self) -> Tz {
        Tz::UTC
    }

    /// The trigger's own jitter, used where the job has none.
    fn jitter(&self) -> Option<Duration> {
        None
    }

    /// This trigger with an open start (such as "now") fixed to `at`; `None` when nothing is open.
    ///
    /// The scheduler calls it once, when the job is really added, so that the phase survives restarts. The fixed
    /// moment is written under the key `anchor` of the configuration form.
    fn anchored(&self, at: DateTime<Utc>) -> Option<Arc<dyn Trigger>> {
        let _ = at;
        None
    }

    /// The rule in plain English, such as "at 09:00 on weekdays, Europe/Berlin".
    fn describe(&self) -> String {
        self.to_string()
    }

    /// Whether it answers within microseconds and calls nothing but itself, so that it may be asked while a store keeps a
    /// transaction open. `false` by default: then its jobs are claimed first and committed later, which costs a write more.
    fn is_quick(&self) -> bool {
        false
    }
}

/// The configuration form without anchors: what the user wrote. Two triggers with equal definitions are the same
/// schedule, so that replacing one by the other keeps the next fire time.
pub fn trigger_definition(trigger: &dyn Trigger) -> Value {
    let mut config = trigger.to_config();
    strip_anchors(&mut config);
    config
}

fn strip_anchors(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.remove(ANCHOR_KEY);
            map.values_mut().for_each(strip_anchors);
        }
        Value::Array(items) => items.iter_mut().for_each(strip_anchors),
        _ => {}
    }
}

const WALK_LIMIT: usize = 64;

/// Walks a little, then bisects: a fresh call at `t` answers at or before `now` exactly while `t` is not past the
/// latest fire time.
fn latest_by_search<T: Trigger + ?Sized>(
    trigger: &T,
    first: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<DateTime<Utc>, Error> {
    let mut latest = first;
    for _ in 0..WALK_LIMIT {
        match trigger.next_fire_time(Some(latest), now)? {
            Some(next) if next <= now && next > latest => latest = next,
            _ => return Ok(latest),
        }
    }
    let (mut low, mut high) = (latest, now);
    while high - low > TimeDelta::microseconds(1) {
        let middle = low + (high - low) / 2;
        match trigger.next_fire_time(None, middle)? {
            Some(fire) if fire >= middle && fire <= now => (latest, low) = (fire, fire),
            _ => high = middle,
        }
    }
    Ok(latest)
}

/// Fires once, at the moment it is anchored: the trigger of a job that was added without one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Immediate {
    at: Option<DateTime<Utc>>,
}

impl Immediate {
    /// A trigger that is not anchored yet.
    pub fn new() -> Self {
        Self { at: None }
    }
}

impl Default for Immediate {
    fn default() -> Self {
        Self::new()
    }
}

impl Trigger for Immediate {
    fn next_fire_time(
        &self,
        previous: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, Error> {
        Ok(if previous.is_none() { Some(self.at.unwrap_or(now)) } else { None })
    }

    fn alias(&self) -> &str {
        "date"
    }

    /// The form of a date trigger, which is what another process builds from it.
    fn to_config(&self) -> Value {
        match self.at {
            Some(at) => serde_json::json!({ "type": "date", "anchor": at.to_rfc3339() }),
            None => serde_json::json!({ "type": "date" }),
        }
    }

    fn anchored(&self, at: DateTime<Utc>) -> Option<Arc<dyn Trigger>> {
        match self.at {
            Some(_) => None,
            None => Some(Arc::new(Self { at: Some(at) })),
        }
    }

    fn describe(&self) -> String {
        "once, as soon as possible".to_owned()
    }

    fn is_quick(&self) -> bool {
        true
    }
}

impl fmt::Display for Immediate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.at {
            Some(at) => write!(f, "date[{}]", at.format("%Y-%m-%d %H:%M:%S UTC")),
            None => f.write_str("date[now]"),
        }
    }
}
