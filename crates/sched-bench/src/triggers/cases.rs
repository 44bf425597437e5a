//! The fourteen cases, each in the words of every contestant.

use chrono_tz::Tz;
use sched_core::Error;
use sched_triggers::{CronBuilder, CronTrigger};

use super::hand::{HandCron, HandDays, every};

/// One schedule.
#[derive(Debug)]
pub struct Case {
    /// Its name.
    pub name: &'static str,
    /// Ours.
    pub ours: fn(CronBuilder) -> CronBuilder,
    /// As crontab text, where five fields say it.
    pub crontab: Option<&'static str>,
    /// The limit's.
    pub hand: HandCron,
    /// As `cron` reads it; it knows neither the last day nor the third Friday.
    pub cron: Option<&'static str>,
    /// As croner reads it.
    pub croner: &'static str,
}

/// What a next fire may cost, and what it cost the limit where that was written down, in nanoseconds.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    /// Ours.
    pub ours: f64,
    /// The limit's.
    pub limit: f64,
}

impl Case {
    /// Our trigger. **Errors**: none, for a case that is written right.
    pub fn trigger(&self, zone: Tz) -> Result<CronTrigger, Error> {
        (self.ours)(CronTrigger::builder()).timezone(zone).build()
    }

    /// The budget in a zone.
    pub fn budget(&self, zone: Tz) -> Budget {
        match (self.name == LEAP_DAY, zone == Tz::UTC) {
            (false, true) => Budget { ours: 100.0, limit: 48.0 },
            (true, true) => Budget { ours: 150.0, limit: 40.0 },
            (false, false) => Budget { ours: 200.0, limit: 58.0 },
            (true, false) => Budget { ours: 300.0, limit: 108.0 },
        }
    }
}

/// The case that has a budget of its own.
const LEAP_DAY: &str = "29 February";

const MIDNIGHT: HandCron = HandCron { months: !1, days: HandDays::Every, hours: 1, minutes: 1, seconds: 1 };
const WORKDAYS: HandDays = HandDays::Weekdays(0b001_1111);
const FRIDAY: u32 = 4;

/// All cases.
pub static CASES: &[Case] = &[
    Case {
        name: "every minute",
        ours: |cron| cron.minute("*"),
        crontab: Some("* * * * *"),
        hand: HandCron { hours: every(1, 24), minutes: every(1, 60), ..MIDNIGHT },
        cron: Some("0 * * * * *"),
        croner: "* * * * *",
    },
    Case {
        name: "every 5 minutes",
        ours: |cron| cron.minute("*/5"),
        crontab: Some("*/5 * * * *"),
        hand: HandCron { hours: every(1, 24), minutes: every(5, 60), ..MIDNIGHT },
        cron: Some("0 */5 * * * *"),
        croner: "*/5 * * * *",
    },
    Case {
        name: "hourly",
        ours: |cron| cron.hour("*"),
        crontab: Some("0 * * * *"),
        hand: HandCron { hours: every(1, 24), ..MIDNIGHT },
        cron: Some("0 0 * * * *"),
        croner: "0 * * * *",
    },
    Case {
        name: "daily 04:30",
        ours: |cron| cron.hour(4).minute(30),
        crontab: Some("30 4 * * *"),
        hand: HandCron { hours: 1 << 4, minutes: 1 << 30, ..MIDNIGHT },
        cron: Some("0 30 4 * * *"),
        croner: "30 4 * * *",
    },
    Case {
        name: "weekdays 09:00",
        ours: |cron| cron.day_of_week("mon-fri").hour(9),
        crontab: Some("0 9 * * 1-5"),
        hand: HandCron { days: WORKDAYS, hours: 1 << 9, ..MIDNIGHT },
        cron: Some("0 0 9 * * Mon-Fri"),
        croner: "0 9 * * 1-5",
    },
    Case {
        name: "office hours each 15 minutes",
        ours: |cron| cron.day_of_week("mon-fri").hour("9-17").minute("*/15"),
        crontab: Some("*/15 9-17 * * 1-5"),
        hand: HandCron { days: WORKDAYS, hours: 0x1ff << 9, minutes: every(15, 60), ..MIDNIGHT },
        cron: Some("0 */15 9-17 * * Mon-Fri"),
        croner: "*/15 9-17 * * 1-5",
    },
    Case {
        name: "lists",
        ours: |cron| cron.hour("6,12,18").minute("5,20,35,50"),
        crontab: Some("5,20,35,50 6,12,18 * * *"),
        hand: HandCron {
            hours: 1 << 6 | 1 << 12 | 1 << 18,
            minutes: 1 << 5 | 1 << 20 | 1 << 35 | 1 << 50,
            ..MIDNIGHT
        },
        cron: Some("0 5,20,35,50 6,12,18 * * *"),
        croner: "5,20,35,50 6,12,18 * * *",
    },
    Case {
        name: "first of month",
        ours: |cron| cron.day(1),
        crontab: Some("0 0 1 * *"),
        hand: HandCron { days: HandDays::Days(1 << 1), ..MIDNIGHT },
        cron: Some("0 0 0 1 * *"),
        croner: "0 0 1 * *",
    },
    Case {
        name: "last day",
        ours: |cron| cron.day("last"),
        crontab: None,
        hand: HandCron { days: HandDays::Last, ..MIDNIGHT },
        cron: None,
        croner: "0 0 L * *",
    },
    Case {
        name: "third Friday",
        ours: |cron| cron.day("3rd fri"),
        crontab: None,
        hand: HandCron { days: HandDays::Nth { nth: 3, weekday: FRIDAY }, ..MIDNIGHT },
        cron: None,
        croner: "0 0 * * 5#3",
    },
    Case {
        name: "yearly",
        ours: |cron| cron.month(1).day(1),
        crontab: Some("0 0 1 1 *"),
        hand: HandCron { months: 1 << 1, days: HandDays::Days(1 << 1), ..MIDNIGHT },
        cron: Some("0 0 0 1 1 *"),
        croner: "0 0 1 1 *",
    },
    Case {
        name: LEAP_DAY,
        ours: |cron| cron.month(2).day(29),
        crontab: Some("0 0 29 2 *"),
        hand: HandCron { months: 1 << 2, days: HandDays::Days(1 << 29), ..MIDNIGHT },
        cron: Some("0 0 0 29 2 *"),
        croner: "0 0 29 2 *",
    },
    Case {
        name: "every 10 seconds",
        ours: |cron| cron.second("*/10"),
        crontab: None,
        hand: HandCron { hours: every(1, 24), minutes: every(1, 60), seconds: every(10, 60), ..MIDNIGHT },
        cron: Some("*/10 * * * * *"),
        croner: "*/10 * * * * *",
    },
    Case {
        name: "Monday 12:30:15",
        ours: |cron| cron.day_of_week("mon").hour(12).minute(30).second(15),
        crontab: None,
        hand: HandCron {
            days: HandDays::Weekdays(1),
            hours: 1 << 12,
            minutes: 1 << 30,
            seconds: 1 << 15,
            ..MIDNIGHT
        },
        cron: Some("15 30 12 * * Mon"),
        croner: "15 30 12 * * 1",
    },
];
