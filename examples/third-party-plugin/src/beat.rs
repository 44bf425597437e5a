//! The trigger `beat`: fires whenever the time since 1970 is a multiple of a duration, so that all programs of the
//! world with the same beat fire together.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use sched_core::{Error, ErrorKind, Factory, Plugin, Section, Trigger};
use serde_json::{Value, json};

inventory::submit! {
    Plugin {
        aliases: &["beat"],
        summary: "when the time since 1970 is a multiple of a duration",
        package: env!("CARGO_PKG_NAME"),
        factory: Factory::Trigger(build),
    }
}

/// Reads the table of a trigger. A wrong value is a fault, which `section` keeps; the registry reports all of them,
/// unknown keys included.
fn build(section: &mut Section<'_>) -> Result<Arc<dyn Trigger>, Error> {
    let every = section.duration("every").unwrap_or(Duration::from_secs(60));
    Ok(Arc::new(BeatTrigger::new(every)?))
}

/// Fires whenever the time since 1970 is a multiple of a duration.
///
/// # Example
/// ```
/// use sched_core::Trigger;
/// let quarter_hours = sched_example_plugin::BeatTrigger::new(std::time::Duration::from_secs(900))?;
/// let now = "2026-11-21T09:07:30Z".parse().unwrap();
/// let next = quarter_hours.next_fire_time(None, now)?.unwrap();
/// assert_eq!(next.to_rfc3339(), "2026-11-21T09:15:00+00:00");
/// # Ok::<(), sched_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BeatTrigger {
    micros: i64,
}

impl BeatTrigger {
    /// **Errors**: [`InvalidTrigger`](ErrorKind::InvalidTrigger) when `every` is shorter than a microsecond or longer
    /// than 290,000 years.
    pub fn new(every: Duration) -> Result<Self, Error> {
        match i64::try_from(every.as_micros()) {
            Ok(micros) if micros > 0 => Ok(Self { micros }),
            _ => Err(Error::new(ErrorKind::InvalidTrigger, "a beat lasts at least a microsecond")),
        }
    }

    /// The last beat at or before a moment.
    fn at_or_before(self, moment: DateTime<Utc>) -> Option<i64> {
        moment.timestamp_micros().div_euclid(self.micros).checked_mul(self.micros)
    }
}

impl Trigger for BeatTrigger {
    fn next_fire_time(
        &self,
        previous: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, Error> {
        let Some(beat) = self.at_or_before(previous.unwrap_or(now)) else { return Ok(None) };
        // Strictly later than the previous fire time; without one, now itself counts.
        let on_the_beat = previous.is_none() && beat == now.timestamp_micros();
        let next = if on_the_beat { Some(beat) } else { beat.checked_add(self.micros) };
        Ok(next.and_then(DateTime::from_timestamp_micros))
    }

    fn alias(&self) -> &str {
        "beat"
    }

    fn to_config(&self) -> Value {
        json!({ "type": "beat", "every": Duration::from_micros(self.micros.unsigned_abs()).as_secs_f64() })
    }

    /// In one step; without this method the scheduler would search.
    fn latest_fire_time(&self, first: DateTime<Utc>, now: DateTime<Utc>) -> Result<DateTime<Utc>, Error> {
        let latest = self.at_or_before(now).and_then(DateTime::from_timestamp_micros);
        Ok(latest.unwrap_or(first).max(first))
    }

    /// A few divisions: it may be asked while a store keeps jobs locked.
    fn is_quick(&self) -> bool {
        true
    }
}

impl fmt::Display for BeatTrigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "beat[every={:?}]", Duration::from_micros(self.micros.unsigned_abs()))
    }
}
