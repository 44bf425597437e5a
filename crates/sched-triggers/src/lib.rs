#![doc = include_str!("../README.md")]

mod calendar;
mod civil;
mod combine;
mod config;
mod cron;
mod date;
mod holidays;
mod interval;
mod moment;
mod options;
mod preview;
#[cfg(feature = "rrule")]
mod recurrence;
mod schedule;
#[cfg(feature = "vectors")]
pub mod vectors;
mod words;
mod zone;

pub use self::calendar::{CalendarIntervalBuilder, CalendarIntervalTrigger};
pub use self::combine::{AndTrigger, ExceptTrigger, LimitTrigger, OffsetTrigger, OrTrigger};
pub use self::cron::{CronBuilder, CronTrigger, Field};
pub use self::date::DateTrigger;
pub use self::holidays::Holidays;
pub use self::interval::{IntervalBuilder, IntervalTrigger};
pub use self::options::{Dialect, First, Gap, Overlap, Roll};
pub use self::preview::{Preview, TriggerExt, preview};
#[cfg(feature = "rrule")]
pub use self::recurrence::RruleTrigger;
pub use self::schedule::ScheduleExt;

/// What [`cron!`] expands to.
#[doc(hidden)]
pub mod __cron {
    pub use crate::cron::literal::{checked, fault};
}

/// The plug-ins of this crate, for a registry that is put together by hand. Linking the crate registers them too.
pub const PLUGINS: [sched_core::Plugin; COUNT] = [
    date::DATE,
    interval::INTERVAL,
    cron::CRON,
    cron::CRONTAB,
    calendar::CALENDAR_INTERVAL,
    combine::AND,
    combine::OR,
    combine::EXCEPT,
    combine::OFFSET,
    combine::LIMIT,
    #[cfg(feature = "rrule")]
    recurrence::RRULE,
];

const COUNT: usize = if cfg!(feature = "rrule") { 11 } else { 10 };

inventory::submit! { date::DATE }
inventory::submit! { interval::INTERVAL }
inventory::submit! { cron::CRON }
inventory::submit! { cron::CRONTAB }
inventory::submit! { calendar::CALENDAR_INTERVAL }
inventory::submit! { combine::AND }
inventory::submit! { combine::OR }
inventory::submit! { combine::EXCEPT }
inventory::submit! { combine::OFFSET }
inventory::submit! { combine::LIMIT }
#[cfg(feature = "rrule")]
inventory::submit! { recurrence::RRULE }
