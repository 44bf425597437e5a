//! Times and durations as text, and as people type them.

use std::time::Duration;

use chrono::{DateTime, FixedOffset, Offset, TimeZone, Timelike, Utc};
use chrono_tz::Tz;
use sched::config::to_duration;
use sched::{Error, time};
use serde_json::Value;

/// A moment in RFC 3339 with the zone's offset; microseconds, six digits, only where they are not zero.
///
/// Offsets that are no whole minutes, which some zones had before 1972, are written with their seconds.
pub(crate) fn rfc3339(moment: DateTime<Utc>, zone: Tz) -> String {
    let local = moment.with_timezone(&zone);
    let local: DateTime<FixedOffset> = local.with_timezone(&local.offset().fix());
    let whole_minutes = local.offset().local_minus_utc() % 60 == 0;
    let format = match (local.nanosecond() / 1000, whole_minutes) {
        (0, true) => "%Y-%m-%dT%H:%M:%S%:z",
        (_, true) => "%Y-%m-%dT%H:%M:%S%.6f%:z",
        (0, false) => "%Y-%m-%dT%H:%M:%S%::z",
        (_, false) => "%Y-%m-%dT%H:%M:%S%.6f%::z",
    };
    local.format(format).to_string()
}

/// A moment for people who look at a list: RFC 3339 and the day of the week.
pub(crate) fn with_weekday(moment: DateTime<Utc>, zone: Tz) -> String {
    format!("{}  {}", rfc3339(moment, zone), moment.with_timezone(&zone).format("%A"))
}

/// A duration for people: `12 ms`, `3.4 s`, `2 min 5 s`, `1 h 2 min`.
pub(crate) fn duration_text(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 => format!("{} ms", duration.as_millis()),
        1..60 => format!("{:.1} s", duration.as_secs_f64()),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

/// Reads a moment, or a duration from `now` on. A time without offset is in `zone`.
pub(crate) fn parse_until(text: &str, now: DateTime<Utc>, zone: Tz) -> Result<DateTime<Utc>, Error> {
    let after =
        to_duration(&Value::from(text)).and_then(|duration| chrono::TimeDelta::from_std(duration).ok());
    match after.and_then(|after| now.checked_add_signed(after)) {
        Some(moment) => Ok(moment),
        None => time::parse_datetime(text, zone),
    }
}

/// The present, cut to whole seconds: what a preview starts from.
pub(crate) fn this_second() -> DateTime<Utc> {
    let now = Utc::now();
    Utc.timestamp_opt(now.timestamp(), 0).single().unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_with_the_offset_of_their_zone() {
        let cases = [
            ("2026-07-01T00:00:00Z", Tz::Europe__Berlin, "2026-07-01T02:00:00+02:00"),
            ("2026-07-01T00:00:00.0000005Z", Tz::UTC, "2026-07-01T00:00:00+00:00"),
            ("2026-07-01T00:00:00.5Z", Tz::UTC, "2026-07-01T00:00:00.500000+00:00"),
            ("1971-01-01T00:00:00Z", Tz::Africa__Monrovia, "1970-12-31T23:15:30-00:44:30"),
        ];
        for (moment, zone, expected) in cases {
            assert_eq!(rfc3339(moment.parse().unwrap(), zone), expected);
        }
    }

    #[test]
    fn durations_are_written_in_the_unit_that_fits() {
        let cases = [(12, "12 ms"), (3_400, "3.4 s"), (125_000, "2 min 5 s"), (3_720_000, "1 h 2 min")];
        for (millis, expected) in cases {
            assert_eq!(duration_text(Duration::from_millis(millis)), expected);
        }
    }

    #[test]
    fn an_end_is_a_moment_or_a_duration() {
        let now = "2026-11-21T12:00:00Z".parse().unwrap();
        let cases = [
            ("90", "2026-11-21T12:01:30+00:00"),
            ("2h 30m", "2026-11-21T14:30:00+00:00"),
            ("2026-11-22", "2026-11-21T23:00:00+00:00"),
            ("2026-11-21T20:00:00Z", "2026-11-21T20:00:00+00:00"),
        ];
        for (text, expected) in cases {
            let until = parse_until(text, now, Tz::Europe__Berlin).unwrap();
            assert_eq!(until.to_rfc3339(), expected, "{text}");
        }
        assert!(parse_until("soon", now, Tz::UTC).is_err());
    }
}
