//! The compiled form of a cron expression and the search for the next matching local time.
//!
//! A README beside this file explains the search. It works on local seconds since 1970 and knows no zones; what
//! a clock change does to the answer is decided in [`search`](super::search).

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use super::field::{Field, LAST_YEAR, Selection, Years};
use crate::civil::{self, DAY};
use crate::holidays::BusinessDays;

/// Years after which month lengths and weekdays repeat: what does not match in so many never does.
const CYCLE: u32 = 400;

/// A compiled cron schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Schedule {
    years: Option<Years>,
    months: u64,
    days: Days,
    times: Times,
    business: Option<Arc<BusinessDays>>,
    rolled: RolledMonth,
    barren: Barren,
}

impl Schedule {
    /// Compiles eight selections in the order of [`Field::ALL`]. `either`: a day matches when its day or its
    /// weekday does, instead of both.
    pub(super) fn new(fields: [Selection; 8], either: bool) -> Self {
        let bits = |field: Field, most: u32| match &fields[field.index()] {
            selection if selection.every => full(most),
            selection => selection.bits,
        };
        let months = bits(Field::Month, 12) & !1;
        let weeks = match fields[Field::Week.index()].every {
            true => None,
            false => Some(fields[Field::Week.index()].bits),
        };
        let times = Times {
            hours: bits(Field::Hour, 23),
            minutes: bits(Field::Minute, 59),
            seconds: bits(Field::Second, 59),
        };
        let [year, _, day, _, day_of_week, ..] = fields;
        let years = if year.every { None } else { year.years.or_else(|| Some(Years::none())) };
        Self {
            years,
            months,
            days: Days::new(day, day_of_week, weeks, either),
            times,
            business: None,
            rolled: RolledMonth::default(),
            barren: Barren::default(),
        }
    }

    /// The first matching local time at or after `local`, in local seconds since 1970.
    pub(super) fn at_or_after(&self, local: i64) -> Option<i64> {
        let local = local.max(0);
        if self.barren.covers(local) {
            return None;
        }
        let (days, second) = (local.div_euclid(DAY), local.rem_euclid(DAY));
        let date = civil::date_of(days);
        let mask = self.firing_days(date.year, date.month);
        if mask & (1 << date.day) != 0
            && let Some(time) = u32::try_from(second).ok().and_then(|second| self.times.at_or_after(second))
        {
            return Some(days * DAY + i64::from(time));
        }
        if let Some(day) = next_bit(u64::from(mask), date.day + 1) {
            return Some((days + i64::from(day) - i64::from(date.day)) * DAY + self.times.first());
        }
        let found = self.first_after_month(date.year, date.month);
        if found.is_none() {
            self.barren.begins(local);
        }
        found
    }

    /// The first match in the months after the given one.
    fn first_after_month(&self, year: u32, month: u32) -> Option<i64> {
        let (mut year, mut month) = (year, month + 1);
        let last = year.saturating_add(CYCLE * if self.years.is_none() { 1 } else { 30 }).min(LAST_YEAR);
        let months = self.searched_months();
        let next = self.year_at_or_after(year)?;
        if next > year {
            (year, month) = (next, 1);
        }
        while year <= last {
            while let Some(found) = next_bit(months, month) {
                let mask = self.firing_days(year, found);
                if mask != 0 {
                    let day = civil::first_of_month(year, found) + i64::from(mask.trailing_zeros()) - 1;
                    return Some(day * DAY + self.times.first());
                }
                month = found + 1;
            }
            (year, month) = (self.year_at_or_after(year + 1)?, 1);
        }
        None
    }

    /// The same schedule with days off.
    pub(super) fn with_business(self, business: Option<Arc<BusinessDays>>) -> Self {
        Self { business, rolled: RolledMonth::default(), barren: Barren::default(), ..self }
    }

    /// The days of a month on which something fires, days off considered.
    fn firing_days(&self, year: u32, month: u32) -> u32 {
        match &self.business {
            None => self.scheduled_days(year, month),
            Some(business) => self.rolled.get(year, month, || self.business_days(business, year, month)),
        }
    }

    /// The days of a month that match.
    fn scheduled_days(&self, year: u32, month: u32) -> u32 {
        match self.has_year(year) && self.months & (1 << month) != 0 {
            true => self.days.mask(year, month),
            false => 0,
        }
    }

    /// Rolls the matching days of this month, and of those around it from which fires can move here.
    fn business_days(&self, business: &BusinessDays, year: u32, month: u32) -> u32 {
        let first = civil::first_of_month(year, month);
        let last = first + i64::from(civil::month_length(year, month)) - 1;
        if business.all_off(first, last) {
            return 0;
        }
        let (from, to) = business.reach(first, last);
        let mut mask = 0;
        let mut day = from;
        while day <= to {
            let date = civil::date_of(day);
            let start = day - i64::from(date.day);
            for day in
                bits(u64::from(self.scheduled_days(date.year, date.month))).map(|day| start + i64::from(day))
            {
                let rolled = business.rolled(day).filter(|rolled| (first..=last).contains(rolled));
                mask |= rolled
                    .and_then(|rolled| u32::try_from(rolled - first + 1).ok())
                    .map_or(0, |day| 1 << day);
            }
            day = start + i64::from(civil::month_length(date.year, date.month)) + 1;
        }
        mask
    }

    /// The months to look into: any, when fires may move into the next.
    fn searched_months(&self) -> u64 {
        match self.moves() {
            true => full(12) & !1,
            false => self.months,
        }
    }

    fn moves(&self) -> bool {
        self.business.as_ref().is_some_and(|business| business.moves())
    }

    fn has_year(&self, year: u32) -> bool {
        match &self.years {
            None => year <= LAST_YEAR,
            Some(years) => years.at_or_after(year) == Some(year),
        }
    }

    fn year_at_or_after(&self, year: u32) -> Option<u32> {
        match &self.years {
            None => (year <= LAST_YEAR).then_some(year),
            // A fire may have moved here from a year before or after.
            Some(years) if self.moves() => years.at_or_after(year - 1).map(|found| (found - 1).max(year)),
            Some(years) => years.at_or_after(year),
        }
    }

    /// The parts, for descriptions.
    pub(super) fn parts(&self) -> (Option<&Years>, u64, &Days, &Times) {
        (self.years.as_ref(), self.months, &self.days, &self.times)
    }
}

/// Remembers the firing days of the month that was asked for last; rolling days off is slow.
#[derive(Debug, Default)]
struct RolledMonth(AtomicU64);

impl RolledMonth {
    fn get(&self, year: u32, month: u32, days: impl FnOnce() -> u32) -> u32 {
        let key = u64::from(year * 16 + month) << 32;
        let known = self.0.load(Ordering::Relaxed);
        if known >> 32 << 32 == key {
            return low(known);
        }
        let days = days();
        self.0.store(key | u64::from(days), Ordering::Relaxed);
        days
    }
}

impl Clone for RolledMonth {
    fn clone(&self) -> Self {
        Self::default()
    }
}

/// What is remembered is no part of the schedule.
impl PartialEq for RolledMonth {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for RolledMonth {}

/// Remembers from when on nothing matches, so that a schedule that has ended is searched to its horizon once.
#[derive(Debug)]
struct Barren(AtomicI64);

impl Barren {
    fn covers(&self, local: i64) -> bool {
        local >= self.0.load(Ordering::Relaxed)
    }

    fn begins(&self, local: i64) {
        self.0.fetch_min(local, Ordering::Relaxed);
    }
}

impl Default for Barren {
    fn default() -> Self {
        Self(AtomicI64::new(i64::MAX))
    }
}

impl Clone for Barren {
    fn clone(&self) -> Self {
        Self::default()
    }
}

/// What is remembered is no part of the schedule.
impl PartialEq for Barren {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Barren {}

/// The times of day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Times {
    pub(super) hours: u64,
    pub(super) minutes: u64,
    pub(super) seconds: u64,
}

impl Times {
    /// The first time of any day, in seconds.
    fn first(&self) -> i64 {
        i64::from(self.time(self.hours.trailing_zeros()))
    }

    /// The first time at or after `second` of the day.
    fn at_or_after(&self, second: u32) -> Option<u32> {
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        if self.hours & (1 << hour) != 0 {
            if self.minutes & (1 << minute) != 0
                && let Some(second) = next_bit(self.seconds, second)
            {
                return Some((hour * 60 + minute) * 60 + second);
            }
            if let Some(minute) = next_bit(self.minutes, minute + 1) {
                return Some((hour * 60 + minute) * 60 + self.seconds.trailing_zeros());
            }
        }
        next_bit(self.hours, hour + 1).map(|hour| self.time(hour))
    }

    fn time(&self, hour: u32) -> u32 {
        (hour * 60 + self.minutes.trailing_zeros()) * 60 + self.seconds.trailing_zeros()
    }
}

/// The days of a month that match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Days {
    /// Days that match in every month long enough, when nothing else needs a look at the calendar.
    fixed: Option<u32>,
    pub(super) day: Selection,
    pub(super) weekday: Selection,
    pub(super) weeks: Option<u64>,
    pub(super) either: bool,
}

impl Days {
    fn new(day: Selection, weekday: Selection, weeks: Option<u64>, either: bool) -> Self {
        let fixed = (day.is_plain() && weekday.every && weeks.is_none()).then(|| match day.every {
            true => !1,
            false => low(day.bits),
        });
        Self { fixed, day, weekday, weeks, either }
    }

    /// The matching days of a month, a bit each from bit 1.
    fn mask(&self, year: u32, month: u32) -> u32 {
        let length = civil::month_length(year, month);
        let in_month = (u32::MAX >> (31 - length)) & !1;
        match self.fixed {
            Some(days) => days & in_month,
            None => self.calendar_mask(year, month, Month { length, in_month, first: 0 }),
        }
    }

    fn calendar_mask(&self, year: u32, month: u32, shape: Month) -> u32 {
        let start = civil::first_of_month(year, month);
        let shape = Month { first: civil::weekday_of(start), ..shape };
        let day = if self.day.every { shape.in_month } else { shape.days(&self.day) };
        let weekday = if self.weekday.every { shape.in_month } else { shape.weekdays(&self.weekday) };
        let mask = if self.either { day | weekday } else { day & weekday };
        match self.weeks {
            None => mask,
            Some(weeks) => mask & shape.in_weeks(weeks, start),
        }
    }
}

/// One month of the calendar.
#[derive(Clone, Copy)]
struct Month {
    length: u32,
    in_month: u32,
    /// Weekday of its first day; 0 is Monday.
    first: u32,
}

impl Month {
    fn days(self, selection: &Selection) -> u32 {
        let mut mask = low(selection.bits);
        for back in bits(u64::from(selection.from_last)) {
            mask |= self.length.checked_sub(back).map_or(0, |day| 1 << day);
        }
        for day in bits(u64::from(selection.nearest)).filter(|day| *day <= self.length) {
            mask |= 1 << self.working_day_near(day);
        }
        if selection.last_working {
            mask |= 1 << (self.length - self.weekday(self.length).saturating_sub(4));
        }
        (mask | self.positions(selection)) & self.in_month
    }

    fn weekdays(self, selection: &Selection) -> u32 {
        (self.spread(low(selection.bits)) | self.positions(selection)) & self.in_month
    }

    /// Nth and last weekdays.
    fn positions(self, selection: &Selection) -> u32 {
        let mut mask = 0;
        let mut week = 0x7f << 1;
        for weekdays in &selection.nth[1..] {
            mask |= self.spread(u32::from(*weekdays)) & week;
            week <<= 7;
        }
        let last_week = self.in_month & !(self.in_month >> 7);
        mask | self.spread(u32::from(selection.nth[0])) & last_week
    }

    /// The days that fall on a set of weekdays (bit 0 is Monday).
    fn spread(self, weekdays: u32) -> u32 {
        let from_first = ((weekdays >> self.first) | (weekdays << (7 - self.first))) & 0x7f;
        low((u64::from(from_first) * 0x1020_4081) << 1)
    }

    fn weekday(self, day: u32) -> u32 {
        (self.first + day - 1) % 7
    }

    fn working_day_near(self, day: u32) -> u32 {
        match self.weekday(day) {
            5 if day == 1 => 3,
            5 => day - 1,
            6 if day == self.length => day - 2,
            6 => day + 1,
            _ => day,
        }
    }

    /// The days in a set of ISO weeks. `start` is the month's first day, counted from 1970-01-01.
    fn in_weeks(self, weeks: u64, start: i64) -> u32 {
        let mut mask = 0;
        let mut monday = 1 - i64::from(self.first);
        let mut block = 0x7f_u64 << 1 << 7 >> self.first;
        while monday <= i64::from(self.length) {
            if weeks & (1 << iso_week(start + monday - 1 + 3)) != 0 {
                mask |= low(block >> 7);
            }
            block <<= 7;
            monday += 7;
        }
        mask & self.in_month
    }
}

/// The ISO week of a Thursday, which decides for its whole week.
fn iso_week(thursday: i64) -> u32 {
    let year = civil::date_of(thursday).year;
    let day_of_year = thursday - civil::first_of_month(year, 1);
    u32::try_from(day_of_year / 7 + 1).unwrap_or(0)
}

/// Bits 0 to `most`.
fn full(most: u32) -> u64 {
    u64::MAX >> (63 - most)
}

/// The lower half; day sets have no more than 32 bits.
fn low(bits: u64) -> u32 {
    u32::try_from(bits & u64::from(u32::MAX)).unwrap_or(0)
}

/// The first bit of `set` at or above `from`.
fn next_bit(set: u64, from: u32) -> Option<u32> {
    let rest = set & u64::MAX.checked_shl(from)?;
    (rest != 0).then(|| rest.trailing_zeros())
}

/// The bits of `set`, ascending.
pub(super) fn bits(set: u64) -> impl Iterator<Item = u32> {
    std::iter::successors(next_bit(set, 0), move |bit| next_bit(set, bit + 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::{Datelike, NaiveDate};

    #[test]
    fn week_masks_agree_with_chrono() {
        for year in 1999..2030 {
            for month in 1..=12 {
                let weekday = Selection::all();
                for week in [1, 9, 22, 52, 53] {
                    let days = Days::new(Selection::all(), weekday.clone(), Some(1 << week), false);
                    let mask = days.mask(year, month);
                    for day in 1..=civil::month_length(year, month) {
                        let date = NaiveDate::from_ymd_opt(i32::try_from(year).unwrap(), month, day).unwrap();
                        assert_eq!(
                            mask & (1 << day) != 0,
                            date.iso_week().week() == week,
                            "{date} week {week}"
                        );
                    }
                }
            }
        }
    }
}
