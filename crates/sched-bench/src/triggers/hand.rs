//! The limit for triggers: bit sets and a table of offset changes, by hand.
//!
//! It is what somebody writes who needs these fourteen schedules and nothing else: no text, no options, no errors.

use chrono::{DateTime, Offset, TimeZone};
use chrono_tz::Tz;

const DAY: i64 = 86_400;
const HOUR: i64 = 3_600;

/// A schedule as bit sets.
#[derive(Debug, Clone, Copy)]
pub struct HandCron {
    /// Bits 1 to 12.
    pub months: u32,
    /// The days.
    pub days: HandDays,
    /// Bits 0 to 23.
    pub hours: u64,
    /// Bits 0 to 59.
    pub minutes: u64,
    /// Bits 0 to 59.
    pub seconds: u64,
}

/// Which days of a month.
#[derive(Debug, Clone, Copy)]
pub enum HandDays {
    /// All.
    Every,
    /// Bits 1 to 31.
    Days(u32),
    /// Bits 0 (Monday) to 6.
    Weekdays(u32),
    /// The last of the month.
    Last,
    /// The so-manieth of a weekday.
    Nth {
        /// From 1.
        nth: u32,
        /// 0 is Monday.
        weekday: u32,
    },
}

/// Every `step`th bit below `limit`.
pub const fn every(step: u32, limit: u32) -> u64 {
    let (mut bits, mut at) = (0, 0);
    while at < limit {
        bits |= 1 << at;
        at += step;
    }
    bits
}

impl HandCron {
    /// The first matching local second at or after `local`, within thirty years.
    fn at_or_after(&self, local: i64) -> Option<i64> {
        let (days, second) = (local.div_euclid(DAY), u32::try_from(local.rem_euclid(DAY)).ok()?);
        let (mut year, mut month, day) = civil(days);
        if self.months & 1 << month != 0 {
            let first = days - i64::from(day) + 1;
            let left = self.mask(first, length(year, month)) & u32::MAX << day;
            if left & 1 << day != 0
                && let Some(time) = self.time_at_or_after(second)
            {
                return Some(days * DAY + i64::from(time));
            }
            if let Some(day) = next(u64::from(left), day + 1) {
                return Some(self.first_time_of(first + i64::from(day) - 1));
            }
        }
        for _ in 0..360 {
            (year, month) = match next(u64::from(self.months), month + 1).filter(|month| *month <= 12) {
                Some(month) => (year, month),
                None => (year + 1, next(u64::from(self.months), 1)?),
            };
            let first = first_of(year, month);
            let mask = self.mask(first, length(year, month));
            if mask != 0 {
                return Some(self.first_time_of(first + i64::from(mask.trailing_zeros()) - 1));
            }
        }
        None
    }

    fn first_time_of(&self, day: i64) -> i64 {
        let (hours, minutes, seconds) = (self.hours, self.minutes, self.seconds);
        let time = (hours.trailing_zeros() * 60 + minutes.trailing_zeros()) * 60 + seconds.trailing_zeros();
        day * DAY + i64::from(time)
    }

    /// The days of a month that begins on day `first` since 1970.
    fn mask(&self, first: i64, length: u32) -> u32 {
        let month = u32::MAX >> (31 - length) & !1;
        let first_weekday = u32::try_from((first + 3).rem_euclid(7)).unwrap_or(0);
        match self.days {
            HandDays::Every => month,
            HandDays::Days(days) => days & month,
            HandDays::Weekdays(weekdays) => {
                let turned = (weekdays >> first_weekday | weekdays << (7 - first_weekday)) & 0x7f;
                (turned | turned << 7 | turned << 14 | turned << 21 | turned << 28) << 1 & month
            }
            HandDays::Last => 1 << length,
            HandDays::Nth { nth, weekday } => 1 << (1 + (weekday + 7 - first_weekday) % 7 + 7 * (nth - 1)),
        }
    }

    fn time_at_or_after(&self, second: u32) -> Option<u32> {
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        if self.hours & 1 << hour != 0 {
            if self.minutes & 1 << minute != 0
                && let Some(second) = next(self.seconds, second)
            {
                return Some(hour * 3600 + minute * 60 + second);
            }
            if let Some(minute) = next(self.minutes, minute + 1) {
                return Some(hour * 3600 + minute * 60 + self.seconds.trailing_zeros());
            }
        }
        let hour = next(self.hours, hour + 1)?;
        Some(hour * 3600 + self.minutes.trailing_zeros() * 60 + self.seconds.trailing_zeros())
    }
}

/// The first bit at or above `from`, which is below 64.
fn next(bits: u64, from: u32) -> Option<u32> {
    let left = bits & u64::MAX << from;
    (left != 0).then(|| left.trailing_zeros())
}

/// Year, month and day of a day counted from 1970. **Source**: Howard Hinnant's `civil_from_days`.
fn civil(days: i64) -> (u32, u32, u32) {
    let shifted = u32::try_from(days + 719_468).unwrap_or(0);
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march + 2) / 5 + 1;
    let month = if march < 10 { march + 3 } else { march - 9 };
    (year + era * 400 + u32::from(month <= 2), month, day)
}

/// The first day of a month, counted from 1970. **Source**: Howard Hinnant's `days_from_civil`.
fn first_of(year: u32, month: u32) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5;
    i64::from(year * 365 + year / 4 - year / 100 + year / 400 + of_year) - 719_468
}

fn length(year: u32, month: u32) -> u32 {
    match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// The offset changes of a zone, by instant.
#[derive(Debug)]
pub struct HandZone(Vec<(i64, i64)>);

impl HandZone {
    /// Looks at every hour from 2019 to 2101.
    pub fn sample(zone: Tz) -> Self {
        let mut changes: Vec<(i64, i64)> = Vec::new();
        let hours = (1_546_300_800..4_133_980_800).step_by(3_600);
        for at in hours {
            let time = DateTime::from_timestamp(at, 0).unwrap_or_default();
            let offset = i64::from(zone.offset_from_utc_datetime(&time.naive_utc()).fix().local_minus_utc());
            if changes.last().is_none_or(|(_, last)| *last != offset) {
                changes.push((at, offset));
            }
        }
        debug_assert!(changes.iter().all(|(_, offset)| offset % HOUR == 0));
        Self(changes)
    }

    /// The first fire at or after an instant, in seconds since 1970.
    pub fn at_or_after(&self, cron: &HandCron, from: i64) -> Option<i64> {
        if let [(_, offset)] = self.0[..] {
            return cron.at_or_after(from + offset).map(|local| local - offset);
        }
        let mut index = self.0.partition_point(|(start, _)| *start <= from).saturating_sub(1);
        let mut from = from;
        loop {
            let (_, offset) = *self.0.get(index)?;
            let end = self.0.get(index + 1).map_or(i64::MAX, |(start, _)| *start);
            let found = cron.at_or_after(from + offset)? - offset;
            if found < end {
                return Some(found);
            }
            // No fire before the change: go on where it happens, or next to the fire that lies behind it.
            from = end;
            index += 1;
            while let Some((start, _)) = self.0.get(index + 1).filter(|(start, _)| *start + 2 * HOUR < found)
            {
                (from, index) = (*start, index + 1);
            }
        }
    }
}
