//! Civil dates as plain numbers: days since 1970 to year, month, day and back.
//!
//! It exists because the cron search needs this conversion a few times per answer and has no use for a calendar
//! type in between. It knows nothing of zones.
//!
//! **Source**: Howard Hinnant, "chrono-compatible low-level date algorithms".

/// Seconds in a civil day.
pub(crate) const DAY: i64 = 86_400;

/// Days from 0000-03-01, where the algorithm counts from, to 1970-01-01.
const EPOCH_SHIFT: i64 = 719_468;

/// A date of the proleptic Gregorian calendar from year 0 on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Date {
    pub(crate) year: u32,
    pub(crate) month: u32,
    pub(crate) day: u32,
}

/// The date that lies `days` after 1970-01-01; days before year 0 count as its first.
pub(crate) fn date_of(days: i64) -> Date {
    let shifted = u32::try_from(days + EPOCH_SHIFT).unwrap_or(0);
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    Date { year: year_of_era + era * 400 + u32::from(month <= 2), month, day }
}

/// Days from 1970-01-01 to the first day of a month.
pub(crate) fn first_of_month(year: u32, month: u32) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year / 400, year % 400);
    let march_month = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * march_month + 2) / 5;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    i64::from(era * 146_097 + day_of_era) - EPOCH_SHIFT
}

/// Weekday of a day counted from 1970-01-01; 0 is Monday.
pub(crate) fn weekday_of(days: i64) -> u32 {
    u32::try_from((days + 3).rem_euclid(7)).unwrap_or(0)
}

/// Number of days in a month.
pub(crate) fn month_length(year: u32, month: u32) -> u32 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Whether a year has a 29 February.
pub(crate) fn is_leap(year: u32) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::{Datelike, NaiveDate};

    #[test]
    fn conversions_agree_with_chrono_over_four_centuries() {
        let mut date = NaiveDate::from_ymd_opt(1968, 1, 1).unwrap();
        while date.year() < 2405 {
            let days = date.signed_duration_since(NaiveDate::default()).num_days();
            let ours = date_of(days);
            let expected = (u32::try_from(date.year()).unwrap(), date.month(), date.day());
            assert_eq!((ours.year, ours.month, ours.day), expected);
            assert_eq!(weekday_of(days), date.weekday().num_days_from_monday());
            assert_eq!(first_of_month(ours.year, ours.month) + i64::from(ours.day) - 1, days);
            let next = date.succ_opt().unwrap();
            if next.day() == 1 {
                assert_eq!(month_length(ours.year, ours.month), ours.day);
            }
            date = next;
        }
    }
}
