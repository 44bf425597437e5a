//! Reading dates, zones and durations as people write them in configuration.
//!
//! Only conversions live here. What a *trigger* does with a local time that does not exist is the trigger's own
//! decision; here a naive time in a gap moves forward by the gap's length and an ambiguous one is the first.

use chrono::{DateTime, LocalResult, NaiveDate, NaiveDateTime, NaiveTime, Offset, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;

use crate::{Error, ErrorKind};

/// Reads an IANA zone name. `local` is refused because a stored schedule must not change with the machine.
///
/// **Errors**: [`InvalidConfig`](ErrorKind::InvalidConfig) with near names.
pub fn parse_timezone(name: &str) -> Result<Tz, Error> {
    if name.eq_ignore_ascii_case("utc") {
        return Ok(Tz::UTC);
    }
    name.parse().map_err(|_| {
        let known = chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name());
        let hint = crate::registry::nearest(name, known).map(|near| format!(", did you mean `{near}`?"));
        let hint = hint.unwrap_or_else(|| ", expected an IANA name such as `Europe/Berlin`".to_owned());
        Error::new(ErrorKind::InvalidConfig, format!("unknown time zone `{name}`{hint}"))
    })
}

/// The machine's own zone, or UTC where it cannot be told.
pub fn local_timezone() -> Tz {
    let zone = iana_time_zone::get_timezone().ok().and_then(|name| name.parse().ok());
    zone.filter(|zone| *zone != Tz::Etc__UTC).unwrap_or(Tz::UTC)
}

/// The instant of a wall-clock time in `zone`: the first of two, or moved forward by the length of a gap.
pub fn resolve_local(local: NaiveDateTime, zone: Tz) -> DateTime<Utc> {
    match zone.from_local_datetime(&local) {
        LocalResult::Single(time) | LocalResult::Ambiguous(time, _) => time.to_utc(),
        LocalResult::None => {
            let before = zone.offset_from_utc_datetime(&(local - TimeDelta::days(1)));
            DateTime::from_naive_utc_and_offset(local - before.fix(), Utc)
        }
    }
}

/// Reads `YYYY-M-D`, optionally `[ T]H:M:S[.ffffff]`, optionally `Z` or `±HH:MM`; a time without offset is in
/// `zone`. The result has whole microseconds.
///
/// **Errors**: [`InvalidConfig`](ErrorKind::InvalidConfig). **Source**: APScheduler 3 string dates.
pub fn parse_datetime(text: &str, zone: Tz) -> Result<DateTime<Utc>, Error> {
    let invalid = || {
        let expected = "expected `YYYY-MM-DD[ HH:MM:SS[.ffffff]][Z|±HH:MM]`";
        Error::new(ErrorKind::InvalidConfig, format!("invalid date `{text}`, {expected}"))
    };
    let (date, rest) = match text.trim().split_once([' ', 'T']) {
        Some((date, rest)) => (date, Some(rest)),
        None => (text.trim(), None),
    };
    let date = parse_date(date).ok_or_else(invalid)?;
    let Some(rest) = rest else {
        return Ok(resolve_local(date.and_time(NaiveTime::MIN), zone));
    };
    let (time, offset) = split_offset(rest).ok_or_else(invalid)?;
    let local = date.and_time(parse_time(time).ok_or_else(invalid)?);
    match offset {
        None => Ok(resolve_local(local, zone)),
        Some(offset) => {
            let utc = local.checked_sub_signed(offset).ok_or_else(invalid)?;
            Ok(utc.and_utc())
        }
    }
}

/// Reads `YYYY-M-D` with a four-digit year.
pub fn parse_date(text: &str) -> Option<NaiveDate> {
    let mut parts = text.splitn(3, '-');
    let year = digits(parts.next()?, 4, 4)?;
    let month = digits(parts.next()?, 1, 2)?;
    let day = digits(parts.next()?, 1, 2)?;
    NaiveDate::from_ymd_opt(i32::try_from(year).ok()?, month, day)
}

fn parse_time(text: &str) -> Option<NaiveTime> {
    let (whole, fraction) = match text.split_once('.') {
        Some((whole, fraction)) => (whole, fraction),
        None => (text, "0"),
    };
    let mut parts = whole.splitn(3, ':');
    let hour = digits(parts.next()?, 1, 2)?;
    let minute = digits(parts.next()?, 1, 2)?;
    let second = digits(parts.next()?, 1, 2)?;
    let scale = 10_u32.checked_pow(6_u32.checked_sub(u32::try_from(fraction.len()).ok()?)?)?;
    NaiveTime::from_hms_micro_opt(hour, minute, second, digits(fraction, 1, 6)? * scale)
}

fn split_offset(text: &str) -> Option<(&str, Option<TimeDelta>)> {
    if let Some(time) = text.strip_suffix(['Z', 'z']) {
        return Some((time, Some(TimeDelta::zero())));
    }
    let Some(at) = text.find(['+', '-']) else {
        return Some((text, None));
    };
    let (time, offset) = text.split_at(at);
    let (hours, minutes) = offset[1..].split_once(':')?;
    let minutes = digits(hours, 2, 2)? * 60 + digits(minutes, 2, 2)?;
    let offset = TimeDelta::minutes(i64::from(minutes));
    let signed = if text.as_bytes()[at] == b'-' { -offset } else { offset };
    (minutes < 24 * 60).then_some((time, Some(signed)))
}

fn digits(text: &str, least: usize, most: usize) -> Option<u32> {
    let fits = (least..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    fits.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<String> {
        parse_datetime(text, Tz::Europe__Berlin).ok().map(|time| time.to_rfc3339())
    }

    #[test]
    fn dates_are_read_as_people_write_them() {
        let cases = [
            ("2009-8-1", "2009-07-31T22:00:00+00:00"),
            ("2009-8-1 5:16:12", "2009-08-01T03:16:12+00:00"),
            ("2009-8-1 5:1:2", "2009-08-01T03:01:02+00:00"),
            ("2009-08-01T05:16:12Z", "2009-08-01T05:16:12+00:00"),
            ("2009-08-01T05:16:12+02:30", "2009-08-01T02:46:12+00:00"),
            ("2009-08-01T05:16:12-05:30", "2009-08-01T10:46:12+00:00"),
            ("2024-05-01 00:00:00.5", "2024-04-30T22:00:00.500+00:00"),
            ("2024-03-31 02:30:00", "2024-03-31T01:30:00+00:00"),
            ("2024-10-27 02:30:00", "2024-10-27T00:30:00+00:00"),
        ];
        for (text, expected) in cases {
            assert_eq!(read(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn nonsense_dates_are_refused() {
        for text in
            ["", "19700-12-1", "2009-8-1 24:00:00", "2009-8-1 5", "2009-13-1", "2009-8-1 05:00:00+99:00", "é"]
        {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn an_unknown_zone_names_a_near_one() {
        let error = parse_timezone("Europe/Berln").map(|_| ()).unwrap_err();
        assert!(error.to_string().contains("did you mean `Europe/Berlin`?"), "{error}");
    }
}
