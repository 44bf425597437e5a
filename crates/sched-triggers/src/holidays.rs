//! Days on which nothing should fire, and what becomes of fire times that fall on one.
//!
//! A calendar is data that the user gives: no country's holidays are built in.

use std::fmt;
use std::str::FromStr;

use chrono::{Datelike, NaiveDate, TimeDelta, Weekday};
use sched_core::{Error, ErrorKind, Section};
use serde_json::Value;

use crate::civil;
use crate::config;
use crate::cron::WEEKDAYS;
use crate::options::{Choice, Roll};

/// Longest run of days off that a fire time is moved across.
const LONGEST_RUN: i64 = 366;

/// Days off: dates, ranges of dates, days of every year, days of the week.
///
/// As text it is a list of `2026-12-25`, `2026-12-24/2027-01-02` (both inclusive), `12-25` (every year) and weekday
/// names, joined by commas.
///
/// # Example
/// ```
/// # fn main() -> Result<(), sched_core::Error> {
/// use sched_triggers::{CronTrigger, Holidays, Roll, preview};
///
/// // The first of the month, or the next working day.
/// let off: Holidays = "sat, sun, 01-01, 12-25".parse()?;
/// let trigger = CronTrigger::parse("0 9 1 * *")?.with_holidays(off, Roll::Following);
/// let coming = preview(&trigger, None, "2026-12-15T00:00:00Z".parse().unwrap(), 1)?;
/// assert_eq!(coming.fires[0].to_rfc3339(), "2027-01-04T09:00:00+00:00");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Holidays {
    /// First and last day of each range, counted from 1970-01-01; sorted and apart.
    ranges: Vec<(i64, i64)>,
    /// Month and day; sorted.
    yearly: Vec<(u32, u32)>,
    /// Bit 0 is Monday.
    weekdays: u8,
}

impl Holidays {
    /// No day off.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a date.
    #[must_use]
    pub fn date(self, date: NaiveDate) -> Self {
        self.range(date, date)
    }

    /// Adds all dates from `first` to `last`, both included.
    #[must_use]
    pub fn range(mut self, first: NaiveDate, last: NaiveDate) -> Self {
        self.ranges.push((day_number(first), day_number(last)));
        self.ranges.retain(|(first, last)| first <= last);
        self.ranges.sort_unstable();
        self.ranges.dedup_by(|next, kept| {
            let joins = next.0 <= kept.1 + 1;
            if joins {
                kept.1 = kept.1.max(next.1);
            }
            joins
        });
        self
    }

    /// Adds a day of every year.
    #[must_use]
    pub fn yearly(mut self, month: u32, day: u32) -> Self {
        self.yearly.push((month, day));
        self.yearly.sort_unstable();
        self.yearly.dedup();
        self
    }

    /// Adds a day of every week.
    #[must_use]
    pub fn weekday(mut self, weekday: Weekday) -> Self {
        self.weekdays |= 1 << weekday.num_days_from_monday();
        self
    }

    fn is_off(&self, day: i64) -> bool {
        if self.weekdays & (1 << civil::weekday_of(day)) != 0 {
            return true;
        }
        let next = self.ranges.partition_point(|(first, _)| *first <= day);
        if next.checked_sub(1).and_then(|index| self.ranges.get(index)).is_some_and(|(_, last)| day <= *last)
        {
            return true;
        }
        let date = civil::date_of(day);
        !self.yearly.is_empty() && self.yearly.contains(&(date.month, date.day))
    }
}

impl FromStr for Holidays {
    type Err = Error;

    /// **Errors**: [`InvalidTrigger`](ErrorKind::InvalidTrigger) naming the first item that is not understood.
    fn from_str(text: &str) -> Result<Self, Error> {
        let mut holidays = Self::new();
        for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
            holidays = with_item(holidays, item).ok_or_else(|| {
                let expected =
                    "expected `YYYY-MM-DD`, `YYYY-MM-DD/YYYY-MM-DD`, `MM-DD` or a weekday such as `sat`";
                Error::new(ErrorKind::InvalidTrigger, format!("unknown day `{item}`, {expected}"))
            })?;
        }
        Ok(holidays)
    }
}

fn with_item(holidays: Holidays, item: &str) -> Option<Holidays> {
    if let Some(weekday) = WEEKDAYS.iter().position(|name| name.eq_ignore_ascii_case(item)) {
        return Some(holidays.weekday(Weekday::try_from(u8::try_from(weekday).ok()?).ok()?));
    }
    if let Some((first, last)) = item.split_once('/') {
        let (first, last): (NaiveDate, NaiveDate) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        return (first <= last).then(|| holidays.range(first, last));
    }
    if let Ok(date) = item.parse::<NaiveDate>() {
        return Some(holidays.date(date));
    }
    let (month, day) = item.split_once('-')?;
    let (month, day) = (month.parse().ok()?, day.parse().ok()?);
    NaiveDate::from_ymd_opt(2000, month, day)?;
    Some(holidays.yearly(month, day))
}

impl fmt::Display for Holidays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let weekdays =
            (0..7).filter(|day| self.weekdays & (1 << day) != 0).map(|day| WEEKDAYS[day].to_owned());
        let yearly = self.yearly.iter().map(|(month, day)| format!("{month:02}-{day:02}"));
        let ranges = self.ranges.iter().map(|(first, last)| match first == last {
            true => date(*first).to_string(),
            false => format!("{}/{}", date(*first), date(*last)),
        });
        f.write_str(&weekdays.chain(yearly).chain(ranges).collect::<Vec<_>>().join(","))
    }
}

/// Days off and what becomes of what falls on them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BusinessDays {
    pub(crate) holidays: Holidays,
    pub(crate) roll: Roll,
}

impl BusinessDays {
    /// Where a day's fires go: to the day itself, to another, or nowhere. Later days never go before earlier ones.
    pub(crate) fn rolled(&self, day: i64) -> Option<i64> {
        if !self.holidays.is_off(day) {
            return Some(day);
        }
        let month = |day| civil::date_of(day).month;
        match self.roll {
            Roll::Skip => None,
            Roll::Following => self.open_day(day, 1),
            Roll::Preceding => self.open_day(day, -1),
            Roll::ModifiedFollowing => match self.open_day(day, 1) {
                Some(next) if month(next) == month(day) => Some(next),
                _ => self.open_day(day, -1),
            },
            Roll::Nearest => match (self.open_day(day, -1), self.open_day(day, 1)) {
                (Some(before), Some(after)) if day - before < after - day => Some(before),
                (before, after) => after.or(before),
            },
        }
    }

    /// Whether fires can move to other days.
    pub(crate) fn moves(&self) -> bool {
        self.roll != Roll::Skip
    }

    /// Whether no day from `first` to `last` is a working day.
    pub(crate) fn all_off(&self, first: i64, last: i64) -> bool {
        (first..=last).all(|day| self.holidays.is_off(day))
    }

    /// The days from `first` to `last`, and those around them that fires can move from.
    pub(crate) fn reach(&self, first: i64, last: i64) -> (i64, i64) {
        if !self.moves() {
            return (first, last);
        }
        let run = |edge: i64, step: i64| {
            let off = (1..=LONGEST_RUN).take_while(|days| self.holidays.is_off(edge + days * step));
            off.last().unwrap_or(0) * step
        };
        (first + run(first, -1), last + run(last, 1))
    }

    pub(crate) fn rolled_date(&self, from: NaiveDate) -> Option<NaiveDate> {
        self.rolled(day_number(from)).map(date)
    }

    /// The first day of the days off that `day` belongs to: no day before it rolls past `day`.
    pub(crate) fn start_of_run(&self, day: NaiveDate) -> NaiveDate {
        let day = day_number(day);
        let run = (0..LONGEST_RUN).take_while(|days| self.holidays.is_off(day - days)).last();
        date(day - run.unwrap_or(0))
    }

    fn open_day(&self, day: i64, step: i64) -> Option<i64> {
        (1..=LONGEST_RUN).map(|days| day + days * step).find(|day| !self.holidays.is_off(*day))
    }

    /// What is said of it in a description.
    pub(crate) fn words(&self) -> &'static str {
        match self.roll {
            Roll::Skip => ", not on holidays",
            Roll::Following => ", from holidays moved to the following working day",
            Roll::Preceding => ", from holidays moved to the preceding working day",
            Roll::ModifiedFollowing => {
                ", from holidays moved to the following working day of the month or else the preceding one"
            }
            Roll::Nearest => ", from holidays moved to the nearest working day",
        }
    }

    /// Reads `holidays` (a list, or one text) and `roll`.
    pub(crate) fn read(section: &mut Section<'_>) -> Option<Self> {
        let items = section.list("holidays");
        let roll = config::choice(section, "roll");
        let Some(items) = items else {
            if roll.is_some() {
                section.fault("roll", "has no meaning without `holidays`");
            }
            return None;
        };
        let mut text = String::new();
        for item in &items {
            match item {
                Value::String(item) => text.push_str(item),
                _ => section.fault("holidays", "expected a list of texts"),
            }
            text.push(',');
        }
        match text.parse() {
            Ok(holidays) => Some(Self { holidays, roll: roll.unwrap_or_default() }),
            Err(error) => {
                section.fault("holidays", error.to_string());
                None
            }
        }
    }

    pub(crate) fn write(&self, form: &mut config::Form) {
        form.put("holidays", self.holidays.to_string());
        form.put_some("roll", (self.roll != Roll::Skip).then(|| self.roll.name()));
    }
}

fn day_number(date: NaiveDate) -> i64 {
    i64::from(date.num_days_from_ce()) - i64::from(NaiveDate::default().num_days_from_ce())
}

fn date(day: i64) -> NaiveDate {
    NaiveDate::default().checked_add_signed(TimeDelta::days(day)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips_in_one_order() {
        let text = "sun,2026-12-24/2027-01-02, 12-25,sat,2027-01-03,2026-05-01";
        let holidays: Holidays = text.parse().unwrap();
        assert_eq!(holidays.to_string(), "sat,sun,12-25,2026-05-01,2026-12-24/2027-01-03");
        assert_eq!(holidays.to_string().parse::<Holidays>().unwrap(), holidays);
        for wrong in ["someday", "2026-02-30", "13-01", "2026-01-02/2026-01-01", "02-30"] {
            assert!(wrong.parse::<Holidays>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_rule_rolls_as_its_name_says() {
        // Friday 29 May 2026 is open; 30 and 31 are a weekend; Monday 1 June is a holiday.
        let holidays: Holidays = "sat,sun,2026-06-01".parse().unwrap();
        let roll = |roll, day: &str| {
            let days = BusinessDays { holidays: holidays.clone(), roll };
            days.rolled_date(day.parse().unwrap()).map(|date| date.to_string())
        };
        let cases = [
            (Roll::Skip, "2026-05-30", None),
            (Roll::Following, "2026-05-30", Some("2026-06-02")),
            (Roll::Preceding, "2026-06-01", Some("2026-05-29")),
            (Roll::ModifiedFollowing, "2026-05-30", Some("2026-05-29")),
            (Roll::ModifiedFollowing, "2026-06-01", Some("2026-06-02")),
            (Roll::Nearest, "2026-05-30", Some("2026-05-29")),
            (Roll::Nearest, "2026-05-31", Some("2026-06-02")),
            (Roll::Nearest, "2026-05-28", Some("2026-05-28")),
        ];
        for (rule, day, expected) in cases {
            assert_eq!(roll(rule, day).as_deref(), expected, "{rule} {day}");
        }
    }
}
