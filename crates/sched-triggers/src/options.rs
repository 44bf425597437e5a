//! The small choices a trigger can be given by name: dialect, gap, overlap, first.

use std::fmt;

use sched_core::{Error, ErrorKind};

/// An option with a fixed list of names.
pub(crate) trait Choice: Copy + Eq + 'static {
    /// Every value with its name in configuration.
    const NAMES: &'static [(&'static str, Self)];

    /// The name in configuration.
    fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, value)| *value == self).map_or("", |(name, _)| name)
    }

    /// Reads a name, in any case.
    fn from_name(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name.trim())).map(|(_, value)| *value)
    }
}

macro_rules! choice {
    ($type:ident, $what:literal, $($name:literal => $variant:ident),+ $(,)?) => {
        impl Choice for $type {
            const NAMES: &'static [(&'static str, Self)] = &[$(($name, Self::$variant)),+];
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }

        impl std::str::FromStr for $type {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self, Error> {
                Self::from_name(text).ok_or_else(|| {
                    let known: Vec<&str> = Self::NAMES.iter().map(|(name, _)| *name).collect();
                    let message = format!("unknown {} `{text}`, expected {}", $what, known.join(", "));
                    Error::new(ErrorKind::InvalidTrigger, message)
                })
            }
        }
    };
}

/// What a local time does that the clocks skip (they are set forward over it).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Gap {
    /// It does not exist, so nothing fires. The default.
    #[default]
    Skip,
    /// It fires later by the length of the gap: 02:30 becomes 03:30.
    Shift,
}

choice!(Gap, "gap policy", "skip" => Skip, "shift" => Shift);

/// What a local time does that comes twice (the clocks are set back over it).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Overlap {
    /// It fires both times. The default of cron.
    Both,
    /// It fires the first time only. The default of the calendar interval.
    First,
    /// It fires the second time only.
    Second,
}

choice!(Overlap, "overlap policy", "both" => Both, "first" => First, "second" => Second);

/// How cron text is read: field order, weekday numbers, and what the day fields mean together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// APScheduler 3: 0 is Monday and 6 Sunday, day AND weekday, no macros; without any field, every second.
    Aps3,
    /// APScheduler 4: 0 and 7 are Sunday, weekday ranges may wrap, day AND weekday, no macros; without any
    /// field, once a year.
    Aps4,
    /// POSIX and Vixie cron: 0 and 7 are Sunday, day OR weekday when neither starts with `*`, macros such as
    /// `@daily`.
    Unix,
    /// Quartz: six or seven fields from second to year, 1 is Sunday and 7 Saturday, `L W LW # ?`, ranges may wrap.
    Quartz,
}

choice!(Dialect, "dialect", "aps3" => Aps3, "aps4" => Aps4, "unix" => Unix, "quartz" => Quartz);

/// What becomes of a fire time that falls on a day off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Roll {
    /// It is left out. The default.
    #[default]
    Skip,
    /// It moves to the next working day, at the same time of day.
    Following,
    /// It moves to the last working day before.
    Preceding,
    /// It moves to the next working day of the same month, or else to the last before.
    ModifiedFollowing,
    /// It moves to the nearest working day; of two, to the later.
    Nearest,
}

choice!(
    Roll, "roll rule",
    "skip" => Skip,
    "following" => Following,
    "preceding" => Preceding,
    "modified_following" => ModifiedFollowing,
    "nearest" => Nearest,
);

/// When an interval without start date fires first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum First {
    /// One interval after it was added. The default, as in APScheduler 3.
    #[default]
    AfterInterval,
    /// At once, as in APScheduler 4.
    Now,
}

choice!(First, "first fire", "interval" => AfterInterval, "now" => Now);
