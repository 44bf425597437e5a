//! One recurrence rule, expanded from any moment on.
//!
//! The crate `rrule` can only count from the start of a recurrence. A rule without `COUNT` is therefore given a later
//! start in the same phase, so that a question costs the same however old the recurrence is; one with `COUNT` is
//! expanded once and kept.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, OnceLock};

use chrono::{
    DateTime, Datelike, Months, NaiveDate, NaiveDateTime, NaiveTime, Offset, TimeDelta, TimeZone, Utc,
};
use chrono_tz::Tz;
use rrule::{Frequency, RRule, RRuleSet, RRuleSetIter, Unvalidated};
use sched_core::time::resolve_local;

use super::text::{Stamp, same_kind, shown, stamp};

/// Greatest `COUNT`: the times of a counted rule are kept.
const MOST: u32 = 100_000;
/// Most times of day one rule may name: a rule is expanded by the day, month or year.
const MOST_TIMES: usize = 1_440;

const PARTS: [&str; 14] = [
    "FREQ",
    "UNTIL",
    "COUNT",
    "INTERVAL",
    "BYSECOND",
    "BYMINUTE",
    "BYHOUR",
    "BYDAY",
    "BYMONTHDAY",
    "BYYEARDAY",
    "BYWEEKNO",
    "BYMONTH",
    "BYSETPOS",
    "WKST",
];

/// A rule with its start.
#[derive(Clone)]
pub(super) struct Rule {
    text: Box<str>,
    rule: RRule,
    start: NaiveDateTime,
    until: Option<DateTime<Utc>>,
    zone: Tz,
    counted: Arc<OnceLock<Vec<DateTime<Utc>>>>,
}

impl Rule {
    /// Reads `FREQ=…;…`. `UNTIL` is read here because it may be local time; the rest is the crate's.
    pub(super) fn read(text: &str, start: Stamp, zone: Tz) -> Result<Self, String> {
        // The crate cuts weekdays at bytes and panics inside a letter.
        if !text.is_ascii() {
            return Err(format!("RRULE: unexpected letter in `{}`", shown(text)));
        }
        let mut until = None;
        let mut rest: Vec<&str> = Vec::new();
        let mut seen: Vec<String> = Vec::new();
        for part in text.trim().split(';').filter(|part| !part.is_empty()) {
            let (key, value) = part
                .split_once('=')
                .ok_or_else(|| format!("RRULE: expected `NAME=value`, got `{}`", shown(part)))?;
            let key = key.to_ascii_uppercase();
            if !PARTS.contains(&key.as_str()) {
                return Err(format!("RRULE: unknown part `{}`, expected {}", shown(&key), PARTS.join(", ")));
            }
            if seen.contains(&key) {
                return Err(format!("RRULE: {key} is given twice"));
            }
            match key.as_str() {
                "UNTIL" => until = Some(same_kind(stamp(value)?, start, "UNTIL")?.instant(zone)),
                _ => rest.push(part),
            }
            seen.push(key);
        }
        let fault = |error: rrule::RRuleError| format!("RRULE: {error}");
        let rule: RRule<Unvalidated> = rest.join(";").parse().map_err(fault)?;
        let rule = rule.validate(utc(start.local)).map_err(fault)?;
        check(&rule, until.is_some())?;
        let text = text.trim().into();
        Ok(Self { text, rule, start: start.local, until, zone, counted: Arc::default() })
    }

    /// The first time at or after `floor` that is to be kept.
    pub(super) fn at_or_after(
        &self,
        floor: DateTime<Utc>,
        is_kept: impl Fn(&DateTime<Utc>) -> bool,
    ) -> Option<DateTime<Utc>> {
        let fits = |time: &DateTime<Utc>| self.until.is_none_or(|until| *time <= until);
        if self.until.is_some_and(|until| floor > until) {
            return None;
        }
        if self.rule.get_count().is_none() {
            let times = Times::new(self, self.in_phase(self.near(floor)));
            return times.skip_while(|time| *time < floor).take_while(fits).find(is_kept);
        }
        let all = self.counted.get_or_init(|| Times::new(self, self.start).collect());
        let first = all.partition_point(|time| *time < floor);
        all.get(first..)?.iter().copied().take_while(fits).find(is_kept)
    }

    /// A local time that nothing at or after `floor` comes before. Near a clock change that is days earlier.
    fn near(&self, floor: DateTime<Utc>) -> NaiveDateTime {
        let local = |time: DateTime<Utc>| {
            let offset = self.zone.offset_from_utc_datetime(&time.naive_utc()).fix();
            time.naive_utc().checked_add_offset(offset).unwrap_or(time.naive_utc())
        };
        let days = TimeDelta::days(2);
        let (Some(before), Some(after)) = (floor.checked_sub_signed(days), floor.checked_add_signed(days))
        else {
            return self.start;
        };
        let is_steady = local(after) - local(before) == after - before;
        if is_steady { local(floor) } else { local(before) }
    }

    /// A start that is a whole number of intervals after the rule's own, and at least one before `floor`.
    fn in_phase(&self, floor: NaiveDateTime) -> NaiveDateTime {
        let interval = i64::from(self.rule.get_interval());
        let begin = self.start;
        let whole = |ahead: i64, step: i64| (ahead / step - 1).max(0) * step;
        let moved = match self.rule.get_freq() {
            Frequency::Yearly => {
                let years = whole(i64::from(floor.year()) - i64::from(begin.year()), interval);
                months_on(begin, years * 12).and_then(|date| date.with_month(1))
            }
            Frequency::Monthly => {
                let months = |time: NaiveDateTime| i64::from(time.year()) * 12 + i64::from(time.month0());
                months_on(begin, whole(months(floor) - months(begin), interval))
            }
            frequency => {
                let seconds = whole((floor - begin).num_seconds(), seconds_of(frequency) * interval);
                return TimeDelta::try_seconds(seconds)
                    .and_then(|ahead| begin.checked_add_signed(ahead))
                    .unwrap_or(begin);
            }
        };
        moved.map_or(begin, |date| date.and_time(NaiveTime::MIN)).max(begin)
    }
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rule").field("text", &self.text).field("start", &self.start).finish_non_exhaustive()
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What the crate accepts but this trigger refuses: rules without sense, without bound, or expanded wrongly.
fn check(rule: &RRule, has_until: bool) -> Result<(), String> {
    let refuse = |message: &str| Err(format!("RRULE: {message}"));
    let frequency = rule.get_freq();
    let times = [rule.get_by_hour(), rule.get_by_minute(), rule.get_by_second()];
    // The crate steps over hours and minutes that are not named, and then leaves days out or loses its phase.
    let named = match frequency {
        Frequency::Minutely => &times[..2],
        Frequency::Secondly => &times[..],
        _ => &[],
    };
    match rule.get_count() {
        Some(_) if has_until => return refuse("COUNT and UNTIL exclude one another"),
        Some(0) => return refuse("COUNT is 0, expected 1 or more"),
        Some(count) if count > MOST => return refuse("COUNT is more than 100000, use UNTIL"),
        _ => {}
    }
    if rule.get_interval() == 0 {
        return refuse("INTERVAL is 0, expected 1 or more");
    }
    if named.iter().any(|values| !values.is_empty()) {
        return refuse(
            "times of day do not go with this FREQ; write FREQ=DAILY with BYHOUR, BYMINUTE and BYSECOND",
        );
    }
    if times.iter().map(|values| values.len().max(1)).product::<usize>() > MOST_TIMES {
        return refuse("more than 1440 times of day");
    }
    Ok(())
}

/// The times of a rule from a start on, increasing.
///
/// Times that fall into a gap move past it, possibly past times that come after them; they wait in `moved`.
struct Times {
    locals: RRuleSetIter,
    zone: Tz,
    ahead: Option<DateTime<Utc>>,
    moved: BTreeSet<DateTime<Utc>>,
    last: Option<DateTime<Utc>>,
}

impl Times {
    fn new(rule: &Rule, start: NaiveDateTime) -> Self {
        let set = RRuleSet::new(utc(start)).rrule(rule.rule.clone()).limit();
        let locals = (&set).into_iter();
        Self { locals, zone: rule.zone, ahead: None, moved: BTreeSet::new(), last: None }
    }

    /// The next time that exists on the clock.
    fn pull(&mut self) -> Option<DateTime<Utc>> {
        loop {
            let local = self.locals.next()?.naive_utc();
            match self.zone.from_local_datetime(&local).earliest() {
                Some(time) => return Some(time.to_utc()),
                None => self.moved.insert(resolve_local(local, self.zone)),
            };
        }
    }
}

impl Iterator for Times {
    type Item = DateTime<Utc>;

    fn next(&mut self) -> Option<DateTime<Utc>> {
        loop {
            self.ahead = self.ahead.take().or_else(|| self.pull());
            let first_moved = self.moved.first().copied();
            let next = match self.ahead {
                Some(ahead) if first_moved.is_none_or(|moved| ahead < moved) => self.ahead.take(),
                _ => self.moved.pop_first(),
            }?;
            if self.last.is_none_or(|last| next > last) {
                self.last = Some(next);
                return Some(next);
            }
        }
    }
}

/// Local time as the crate wants it: it knows no local time without a zone, so UTC stands in.
fn utc(local: NaiveDateTime) -> DateTime<rrule::Tz> {
    rrule::Tz::UTC.from_utc_datetime(&local)
}

/// The first of the month so many months later.
fn months_on(from: NaiveDateTime, months: i64) -> Option<NaiveDate> {
    let months = Months::new(u32::try_from(months).ok()?);
    from.date().with_day(1)?.checked_add_months(months)
}

fn seconds_of(frequency: Frequency) -> i64 {
    match frequency {
        Frequency::Secondly => 1,
        Frequency::Minutely => 60,
        Frequency::Hourly => 3_600,
        Frequency::Daily => 86_400,
        Frequency::Weekly | Frequency::Monthly | Frequency::Yearly => 7 * 86_400,
    }
}
