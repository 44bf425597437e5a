//! The eight fields of a cron schedule and what an expression selects in one of them.

use crate::Dialect;

/// First year a year field can name.
pub(super) const FIRST_YEAR: u32 = 1970;
/// Last year a year field can name.
pub(super) const LAST_YEAR: u32 = 9999;
const YEAR_WORDS: usize = ((LAST_YEAR - FIRST_YEAR) / 64 + 1) as usize;

/// Three-letter month names, January first.
pub(super) const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
/// Three-letter weekday names, Monday first.
pub(crate) const WEEKDAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// One field, ordered from the most to the least significant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Field {
    /// Years 1970–9999.
    Year,
    /// Months 1–12 or `jan`–`dec`.
    Month,
    /// Days of the month 1–31, `last`, `2nd fri`, `last sun`.
    Day,
    /// ISO weeks 1–53.
    Week,
    /// Days of the week, by number (see [`Dialect`]) or `mon`–`sun`.
    DayOfWeek,
    /// Hours 0–23.
    Hour,
    /// Minutes 0–59.
    Minute,
    /// Seconds 0–59.
    Second,
}

impl Field {
    /// All fields in order.
    pub const ALL: [Self; 8] = [
        Self::Year,
        Self::Month,
        Self::Day,
        Self::Week,
        Self::DayOfWeek,
        Self::Hour,
        Self::Minute,
        Self::Second,
    ];

    /// The key in configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Year => "year",
            Self::Month => "month",
            Self::Day => "day",
            Self::Week => "week",
            Self::DayOfWeek => "day_of_week",
            Self::Hour => "hour",
            Self::Minute => "minute",
            Self::Second => "second",
        }
    }

    /// Its position in [`Field::ALL`].
    pub(super) fn index(self) -> usize {
        self as usize
    }

    /// Least and greatest number, as written in `dialect`.
    pub(super) fn bounds(self, dialect: Dialect) -> (u32, u32) {
        match self {
            Self::Year => (FIRST_YEAR, LAST_YEAR),
            Self::Month => (1, 12),
            Self::Day => (1, 31),
            Self::Week => (1, 53),
            Self::DayOfWeek => match dialect {
                Dialect::Aps3 => (0, 6),
                Dialect::Aps4 | Dialect::Unix => (0, 7),
                Dialect::Quartz => (1, 7),
            },
            Self::Hour => (0, 23),
            Self::Minute | Self::Second => (0, 59),
        }
    }

    /// What an omitted field right of the least significant given one stands for; `None` is every value.
    pub(super) fn least(self) -> Option<u32> {
        match self {
            Self::Month | Self::Day => Some(1),
            Self::Hour | Self::Minute | Self::Second => Some(0),
            Self::Year | Self::Week | Self::DayOfWeek => None,
        }
    }
}

/// A set of years, a bit each from [`FIRST_YEAR`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Years(Box<[u64; YEAR_WORDS]>);

impl Years {
    pub(super) fn none() -> Self {
        Self(Box::new([0; YEAR_WORDS]))
    }

    pub(super) fn insert(&mut self, year: u32) {
        let Some(offset) = year.checked_sub(FIRST_YEAR) else { return };
        if let Some(word) = usize::try_from(offset / 64).ok().and_then(|index| self.0.get_mut(index)) {
            *word |= 1 << (offset % 64);
        }
    }

    /// The first year of the set at or after `year`.
    pub(super) fn at_or_after(&self, year: u32) -> Option<u32> {
        let offset = year.saturating_sub(FIRST_YEAR);
        let (first, bit) = (usize::try_from(offset / 64).ok()?, offset % 64);
        let mut keep = u64::MAX << bit;
        for (index, word) in self.0.iter().enumerate().skip(first) {
            let word = word & keep;
            if word != 0 {
                return Some(FIRST_YEAR + u32::try_from(index).ok()? * 64 + word.trailing_zeros());
            }
            keep = u64::MAX;
        }
        None
    }

    /// All years of the set, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        std::iter::successors(self.at_or_after(FIRST_YEAR), |year| self.at_or_after(year + 1))
    }
}

/// What one expression selects. Weekdays are numbered from Monday = 0 here, whatever the dialect.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Selection {
    /// A plain `*` or `?`: every value.
    pub(super) every: bool,
    /// The expression starts with `*`; in Unix cron that decides between AND and OR of the day fields.
    pub(super) starred: bool,
    /// Selected values, a bit each; not used for years.
    pub(super) bits: u64,
    /// Selected years.
    pub(super) years: Option<Years>,
    /// Bit n: the day n days before the last of the month.
    pub(super) from_last: u32,
    /// Bit d: the working day (Monday to Friday) nearest to day d of the month.
    pub(super) nearest: u32,
    /// The last working day of the month.
    pub(super) last_working: bool,
    /// At 1 to 5, weekdays that are selected when they come the nth time in the month; at 0, the last time.
    pub(super) nth: [u8; 6],
}

impl Selection {
    /// Everything.
    pub(super) fn all() -> Self {
        Self { every: true, starred: true, ..Self::default() }
    }

    /// One value.
    pub(super) fn only(value: u32) -> Self {
        Self { bits: 1 << value, ..Self::default() }
    }

    /// Whether it only selects by plain values.
    pub(super) fn is_plain(&self) -> bool {
        self.from_last == 0 && self.nearest == 0 && !self.last_working && self.nth == [0; 6]
    }
}
