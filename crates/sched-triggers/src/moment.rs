//! Instants: their limits, their rounding, and the ways people write them.

use chrono::{DateTime, NaiveDate, NaiveTime, SubsecRound, TimeDelta, Utc, Weekday};
use chrono_tz::Tz;
use sched_core::time::{parse_date, parse_datetime, resolve_local};
use sched_core::{Error, ErrorKind};

/// Latest instant a trigger answers with, in microseconds: 9999-12-31 23:59:59.999999 UTC.
const LAST_MICROS: i64 = 253_402_300_799_999_999;
/// Earliest instant that is read, in microseconds: 0000-01-01 00:00:00 UTC. Years before are written with a sign,
/// which nothing reads back.
const FIRST_MICROS: i64 = -62_167_219_200_000_000;

/// The smallest step of time in the scheduler.
pub(crate) const MICROSECOND: TimeDelta = TimeDelta::microseconds(1);

/// Seconds since 1970, rounded up.
pub(crate) fn ceil_seconds(time: DateTime<Utc>) -> i64 {
    time.timestamp() + i64::from(time.timestamp_subsec_nanos() > 0)
}

/// The instant of so many microseconds since 1970, unless it lies past the year 9999.
pub(crate) fn from_micros(micros: i64) -> Option<DateTime<Utc>> {
    (micros <= LAST_MICROS).then(|| DateTime::from_timestamp_micros(micros)).flatten()
}

/// An instant cut to whole microseconds.
pub(crate) fn whole(time: DateTime<Utc>) -> DateTime<Utc> {
    time.trunc_subsecs(6)
}

/// Whether an instant lies in the years a trigger may answer with.
pub(crate) fn is_in_range(time: DateTime<Utc>) -> bool {
    time.timestamp_micros() <= LAST_MICROS
}

/// An instant as it is written to configuration.
pub(crate) fn show(time: DateTime<Utc>) -> String {
    match time.timestamp_subsec_micros() {
        0 => time.format("%Y-%m-%dT%H:%M:%SZ").to_string(),
        _ => time.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string(),
    }
}

/// Reads a date and time: the forms of [`parse_datetime`], `H:M:S` with single digits, and those of ISO 8601 that
/// Python's `fromisoformat` reads besides: without punctuation, with a week date, without seconds, with a short
/// offset.
///
/// **Errors**: [`InvalidConfig`](ErrorKind::InvalidConfig).
pub(crate) fn read(text: &str, zone: Tz) -> Result<DateTime<Utc>, Error> {
    let time = parse_datetime(text, zone).or_else(|error| iso_datetime(text.trim(), zone).ok_or(error))?;
    if (FIRST_MICROS..=LAST_MICROS).contains(&time.timestamp_micros()) {
        return Ok(time);
    }
    Err(Error::new(ErrorKind::InvalidConfig, format!("`{text}` lies outside the years 0 to 9999 in UTC")))
}

/// Reads `YYYY-MM-DD`.
///
/// **Errors**: [`InvalidConfig`](ErrorKind::InvalidConfig).
pub(crate) fn read_date(text: &str) -> Result<NaiveDate, Error> {
    let date = parse_date(text.trim()).or_else(|| iso_date(text.trim()));
    date.ok_or_else(|| {
        Error::new(
            ErrorKind::InvalidConfig,
            format!("invalid date `{text}`, expected `YYYY-MM-DD` without a time"),
        )
    })
}

fn iso_datetime(text: &str, zone: Tz) -> Option<DateTime<Utc>> {
    let (date, rest) = match text.split_once([' ', 'T', 't']) {
        Some((date, rest)) => (date, rest),
        None => (text, "00"),
    };
    let date = parse_date(date).or_else(|| iso_date(date))?;
    let (time, offset) = match rest.find(['Z', 'z', '+', '-']) {
        Some(at) => (rest.get(..at)?, Some(iso_offset(rest.get(at..)?)?)),
        None => (rest, None),
    };
    let local = date.and_time(iso_time(time)?);
    match offset {
        None => Some(resolve_local(local, zone)),
        Some(offset) => Some(local.checked_sub_signed(offset)?.and_utc()),
    }
}

fn iso_date(text: &str) -> Option<NaiveDate> {
    let plain: String = text.chars().filter(|letter| *letter != '-').collect();
    let year = number(plain.get(..4)?)?;
    let year = i32::try_from(year).ok()?;
    if let Some(week) = plain.get(4..)?.strip_prefix('W') {
        let day = match week.get(2..)? {
            "" => 1,
            day => number(day)?,
        };
        let weekday = Weekday::try_from(u8::try_from(day.checked_sub(1)?).ok()?).ok()?;
        let dashes = text.len() - plain.len();
        let well_placed = matches!((dashes, week.len()), (0 | 1, 2) | (0 | 2, 3));
        return NaiveDate::from_isoywd_opt(year, number(week.get(..2)?)?, weekday).filter(|_| well_placed);
    }
    let well_formed = plain.len() == 8 && (text.len() == 8 || text.len() == 10);
    NaiveDate::from_ymd_opt(year, number(plain.get(4..6)?)?, number(plain.get(6..)?)?).filter(|_| well_formed)
}

fn iso_time(text: &str) -> Option<NaiveTime> {
    let (whole, fraction) = match text.split_once(['.', ',']) {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (text, None),
    };
    if let Some((hour, minute, second)) = spelled_out(whole) {
        return NaiveTime::from_hms_micro_opt(hour, minute, second, micros_of(fraction)?);
    }
    let plain: String = whole.chars().filter(|letter| *letter != ':').collect();
    let colons = whole.len() - plain.len();
    let parts = plain.len() / 2;
    let well_formed =
        plain.len().is_multiple_of(2) && (1..=3).contains(&parts) && (colons == 0 || colons + 1 == parts);
    if !well_formed || (fraction.is_some() && parts < 3) {
        return None;
    }
    let part = |index: usize| match plain.get(index * 2..index * 2 + 2) {
        Some(digits) => number(digits),
        None => Some(0),
    };
    NaiveTime::from_hms_micro_opt(part(0)?, part(1)?, part(2)?, micros_of(fraction)?)
}

/// `H:M:S` with one or two digits each.
fn spelled_out(text: &str) -> Option<(u32, u32, u32)> {
    let mut parts = text.splitn(3, ':').map(|part| number(part).filter(|_| part.len() <= 2));
    Some((parts.next()??, parts.next()??, parts.next()??))
}

/// A decimal fraction of a second, cut to microseconds.
fn micros_of(fraction: Option<&str>) -> Option<u32> {
    let Some(digits) = fraction else {
        return Some(0);
    };
    if digits.is_empty() || digits.len() > 9 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let kept = &digits[..digits.len().min(6)];
    Some(number(kept)? * 10_u32.pow(u32::try_from(6 - kept.len()).ok()?))
}

fn iso_offset(text: &str) -> Option<TimeDelta> {
    if text.eq_ignore_ascii_case("z") {
        return Some(TimeDelta::zero());
    }
    let time = iso_time(text.get(1..)?)?;
    let offset = time.signed_duration_since(NaiveTime::MIN);
    Some(if text.starts_with('-') { -offset } else { offset })
}

fn number(digits: &str) -> Option<u32> {
    let digits_only = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits_only.then(|| digits.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iso_forms_are_read() {
        let cases = [
            ("20240517T080910", "2024-05-17T05:09:10+00:00"),
            ("2024-W20-5T08:09:10", "2024-05-17T05:09:10+00:00"),
            ("2024W205", "2024-05-16T21:00:00+00:00"),
            ("2024-05-17T08:09", "2024-05-17T05:09:00+00:00"),
            ("2024-05-17T08:09:10,5+02:00", "2024-05-17T06:09:10.500+00:00"),
            ("2024-05-17 08:09:10z", "2024-05-17T08:09:10+00:00"),
            ("2024-05-17T08+01:00", "2024-05-17T07:00:00+00:00"),
            ("2024-5-17 8:9:1", "2024-05-17T05:09:01+00:00"),
            ("2024-05-17T08:09:10-0330", "2024-05-17T11:39:10+00:00"),
        ];
        for (text, expected) in cases {
            assert_eq!(read(text, Tz::Europe__Helsinki).unwrap().to_rfc3339(), expected, "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "",
            "12:30",
            "20240230",
            "2024-1",
            "2024-05-17T8",
            "2024-05-17T08:0910",
            "2024-W54-1",
            "é",
            "2024-05-17T08:09:10.é",
        ] {
            assert!(read(text, Tz::UTC).is_err(), "{text}");
        }
        assert!(read_date("2024-01-01 10:00:00").is_err());
    }
}
