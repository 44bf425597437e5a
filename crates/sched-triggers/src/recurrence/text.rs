//! Reads the lines of a recurrence. What the parts of a rule mean is [`rule`](super::rule)'s business.

use std::collections::BTreeSet;

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, Utc};
use chrono_tz::Tz;
use sched_core::time::{parse_timezone, resolve_local};

use super::rule::Rule;

/// A recurrence that has been read.
#[derive(Debug, Clone)]
pub(super) struct Content {
    /// The zone that the rule is expanded in.
    pub(super) zone: Tz,
    pub(super) start: DateTime<Utc>,
    pub(super) rule: Option<Rule>,
    pub(super) dates: BTreeSet<DateTime<Utc>>,
    pub(super) excluded: BTreeSet<DateTime<Utc>>,
}

/// One content line: `NAME;TZID=zone;VALUE=kind:value`.
struct Line {
    name: String,
    zone: Option<Tz>,
    value: String,
}

/// A date, or a date and time, as written.
#[derive(Clone, Copy)]
pub(super) struct Stamp {
    pub(super) local: NaiveDateTime,
    pub(super) is_utc: bool,
    pub(super) is_date: bool,
}

impl Stamp {
    /// Its instant; `zone` is where it is local.
    pub(super) fn instant(self, zone: Tz) -> DateTime<Utc> {
        if self.is_utc { self.local.and_utc() } else { resolve_local(self.local, zone) }
    }
}

/// Reads `text`; times that name no zone are in `default`.
pub(super) fn read(text: &str, default: Tz) -> Result<Content, String> {
    let lines = lines(text)?;
    let start = only(&lines, "DTSTART")?.ok_or("the line DTSTART is missing")?;
    let stamp = stamp(&start.value)?;
    let zone = if stamp.is_utc { Tz::UTC } else { start.zone.unwrap_or(default) };
    let rule = only(&lines, "RRULE")?.map(|line| Rule::read(&line.value, stamp, zone)).transpose()?;
    let collected = |name: &str| -> Result<BTreeSet<_>, String> {
        let mut times = BTreeSet::new();
        for line in lines.iter().filter(|line| line.name == name) {
            for value in line.value.split(',') {
                let time = same_kind(self::stamp(value)?, stamp, name)?;
                times.insert(time.instant(line.zone.unwrap_or(zone)));
            }
        }
        Ok(times)
    };
    let (dates, excluded) = (collected("RDATE")?, collected("EXDATE")?);
    if rule.is_none() && dates.is_empty() {
        return Err("expected a line RRULE or RDATE".to_owned());
    }
    Ok(Content { zone, start: stamp.instant(zone), rule, dates, excluded })
}

/// The one line of a name, where there is one.
fn only<'a>(lines: &'a [Line], name: &str) -> Result<Option<&'a Line>, String> {
    let mut found = lines.iter().filter(|line| line.name == name);
    match (found.next(), found.next()) {
        (line, None) => Ok(line),
        _ if name == "RRULE" => Err("more than one RRULE; combine triggers with `or` instead".to_owned()),
        _ => Err(format!("more than one {name}")),
    }
}

/// Refuses a date beside a start with a time of day, which would match nothing.
pub(super) fn same_kind(stamp: Stamp, start: Stamp, what: &str) -> Result<Stamp, String> {
    match stamp.is_date && !start.is_date {
        true => Err(format!("{what} is a date without a time of day, but DTSTART has one")),
        false => Ok(stamp),
    }
}

/// Reads `YYYYMMDD` or `YYYYMMDDTHHMMSS[Z]`.
pub(super) fn stamp(text: &str) -> Result<Stamp, String> {
    let invalid = || format!("invalid time `{text}`, expected `YYYYMMDDTHHMMSS`, with `Z` for UTC");
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let (date, time) = match text.trim().split_once(['T', 't']) {
        Some((date, time)) => (date, Some(time)),
        None => (text.trim(), None),
    };
    if date.len() != 8 || !digits(date) {
        return Err(invalid());
    }
    let date = NaiveDate::parse_from_str(date, "%Y%m%d").map_err(|_| invalid())?;
    let Some(time) = time else {
        return Ok(Stamp { local: date.and_time(NaiveTime::MIN), is_utc: false, is_date: true });
    };
    let (time, is_utc) = match time.strip_suffix(['Z', 'z']) {
        Some(time) => (time, true),
        None => (time, false),
    };
    if time.len() != 6 || !digits(time) || time.ends_with("60") {
        return Err(invalid());
    }
    let time = NaiveTime::parse_from_str(time, "%H%M%S").map_err(|_| invalid())?;
    Ok(Stamp { local: date.and_time(time), is_utc, is_date: false })
}

/// Joins folded lines and splits each into its parts.
fn lines(text: &str) -> Result<Vec<Line>, String> {
    let unfolded = text.replace("\r\n", "\n").replace("\n ", "").replace("\n\t", "");
    unfolded.lines().map(str::trim).filter(|line| !line.is_empty()).map(line).collect()
}

fn line(text: &str) -> Result<Line, String> {
    let (head, value) = match text.split_once(':') {
        Some(parts) => parts,
        None if text.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("FREQ=")) => ("RRULE", text),
        None => return Err(format!("expected `NAME:value`, got `{}`", shown(text))),
    };
    let mut parameters = head.split(';');
    let name = parameters.next().unwrap_or_default().to_ascii_uppercase();
    match name.as_str() {
        "DTSTART" | "RRULE" | "RDATE" | "EXDATE" => {}
        "EXRULE" => return Err("EXRULE is not supported; use the trigger `except`".to_owned()),
        _ => {
            let shown = shown(&name);
            return Err(format!("unknown line `{shown}`, expected DTSTART, RRULE, RDATE or EXDATE"));
        }
    }
    let mut zone = None;
    for parameter in parameters {
        match parameter.split_once('=') {
            Some((key, name)) if key.eq_ignore_ascii_case("TZID") => {
                zone = Some(parse_timezone(name.trim_matches('"')).map_err(|error| error.to_string())?);
            }
            Some((key, "DATE" | "DATE-TIME")) if key.eq_ignore_ascii_case("VALUE") => {}
            _ => return Err(format!("{name}: unknown parameter `{}`", shown(parameter))),
        }
    }
    Ok(Line { name, zone, value: value.to_owned() })
}

/// The beginning of a text, for a message.
pub(super) fn shown(text: &str) -> String {
    text.chars().take(40).collect()
}
