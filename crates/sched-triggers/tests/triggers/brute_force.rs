//! Cron against a minute-by-minute enumeration around clock changes.

use chrono::{DateTime, Datelike, NaiveDateTime, Offset, TimeDelta, TimeZone, Timelike, Utc};
use chrono_tz::{TZ_VARIANTS, Tz};
use proptest::prelude::*;
use sched_core::Trigger;
use sched_triggers::{CronTrigger, Gap, Overlap};

/// Minutes on each side of a clock change that are enumerated.
const WINDOW: i64 = 60 * 40;

#[derive(Debug, Clone)]
struct Sets {
    minutes: Vec<u32>,
    hours: Option<Vec<u32>>,
    weekdays: Option<Vec<u32>>,
    days: Option<Vec<u32>>,
}

impl Sets {
    fn matches(&self, local: NaiveDateTime) -> bool {
        let has = |set: &Option<Vec<u32>>, value| set.as_ref().is_none_or(|set| set.contains(&value));
        self.minutes.contains(&local.minute())
            && has(&self.hours, local.hour())
            && has(&self.weekdays, local.weekday().num_days_from_monday())
            && has(&self.days, local.day())
    }

    fn trigger(&self, zone: Tz, gap: Gap, overlap: Overlap) -> CronTrigger {
        let join = |set: &[u32]| set.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
        let field = |set: &Option<Vec<u32>>| set.as_deref().map_or_else(|| "*".to_owned(), join);
        let builder = CronTrigger::builder().minute(join(&self.minutes)).hour(field(&self.hours));
        let builder = builder.day_of_week(field(&self.weekdays)).day(field(&self.days));
        builder.timezone(zone).gap(gap).overlap(overlap).build().unwrap()
    }
}

fn sets() -> impl Strategy<Value = Sets> {
    let some = |range: std::ops::Range<u32>, most: usize| {
        proptest::option::weighted(0.4, proptest::collection::vec(range, 1..most))
    };
    (proptest::collection::vec(0_u32..60, 1..5), some(0..24, 5), some(0..7, 4), some(1..32, 8))
        .prop_map(|(minutes, hours, weekdays, days)| Sets { minutes, hours, weekdays, days })
}

fn offset(zone: Tz, at: DateTime<Utc>) -> TimeDelta {
    TimeDelta::seconds(zone.offset_from_utc_datetime(&at.naive_utc()).fix().local_minus_utc().into())
}

/// The first clock change at or after `at`, to the minute, within three years.
fn change_after(zone: Tz, at: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let days = (0..1100).map(|day| at + TimeDelta::days(day));
    let day = days.into_iter().find(|day| offset(zone, *day) != offset(zone, *day + TimeDelta::days(1)))?;
    (0..=24 * 60)
        .map(|minute| day + TimeDelta::minutes(minute))
        .find(|time| offset(zone, *time) != offset(zone, day))
}

/// Every minute of the window whose local time matches; the policies by their definition, minute by minute.
fn enumerate(
    sets: &Sets,
    zone: Tz,
    change: DateTime<Utc>,
    (gap, overlap): (Gap, Overlap),
) -> Vec<DateTime<Utc>> {
    let (before, after) = (offset(zone, change - TimeDelta::minutes(1)), offset(zone, change));
    let mut fires = Vec::new();
    for minute in -WINDOW..=WINDOW {
        let time = change + TimeDelta::minutes(minute);
        let local = time.naive_utc() + offset(zone, time);
        let repeated = before - after;
        let first_pass = time < change && time >= change - repeated;
        let second_pass = time >= change && time < change + repeated;
        let dropped =
            (overlap == Overlap::First && second_pass) || (overlap == Overlap::Second && first_pass);
        let in_gap = gap == Gap::Shift && time >= change && time < change + (after - before);
        let moved = in_gap && sets.matches(time.naive_utc() + before);
        if (sets.matches(local) && !dropped) || moved {
            fires.push(time);
        }
    }
    fires
}

fn compare(
    sets: &Sets,
    zone: Tz,
    from: DateTime<Utc>,
    policies: (Gap, Overlap),
) -> Result<bool, TestCaseError> {
    let Some(change) = change_after(zone, from) else { return Ok(false) };
    // Changes that do not fall on a minute are left to the vectors.
    if offset(zone, change - TimeDelta::minutes(1)).num_seconds() % 60 != 0
        || offset(zone, change).num_seconds() % 60 != 0
    {
        return Ok(false);
    }
    let expected = enumerate(sets, zone, change, policies);
    let trigger = sets.trigger(zone, policies.0, policies.1);
    let (start, end) = (change - TimeDelta::minutes(WINDOW), change + TimeDelta::minutes(WINDOW));
    let mut found = Vec::new();
    let mut next = trigger.next_fire_time(None, start).unwrap();
    while let Some(time) = next.filter(|time| *time <= end) {
        found.push(time);
        prop_assert_eq!(trigger.next_fire_time(None, time).unwrap(), Some(time));
        next = trigger.next_fire_time(Some(time), start).unwrap();
    }
    prop_assert_eq!(found, expected, "{} at {}: {:?} {:?}", zone, change, sets, policies);
    Ok(true)
}

fn policies() -> impl Strategy<Value = (Gap, Overlap)> {
    let gaps = proptest::sample::select(vec![Gap::Skip, Gap::Shift]);
    (gaps, proptest::sample::select(vec![Overlap::Both, Overlap::First, Overlap::Second]))
}

/// The sample is a thousand cases; `SCHED_TRIGGER_CASES` makes it larger for a nightly run.
fn cases() -> u32 {
    std::env::var("SCHED_TRIGGER_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(1000)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    #[test]
    fn cron_agrees_with_brute_force_around_every_kind_of_clock_change(
        sets in sets(),
        zone in proptest::sample::select(TZ_VARIANTS.to_vec()),
        day in 0_i64..365 * 80,
        policies in policies(),
    ) {
        let from = DateTime::UNIX_EPOCH + TimeDelta::days(day + 3);
        compare(&sets, zone, from, policies)?;
    }

    #[test]
    fn cron_agrees_with_brute_force_in_the_oddest_zones(
        sets in sets(),
        (zone, from) in proptest::sample::select(vec![
            (Tz::Pacific__Apia, "2011-12-28T00:00:00Z"),
            (Tz::Pacific__Apia, "2012-03-28T00:00:00Z"),
            (Tz::Australia__Lord_Howe, "2026-03-20T00:00:00Z"),
            (Tz::Australia__Lord_Howe, "2026-09-20T00:00:00Z"),
            (Tz::Antarctica__Troll, "2026-03-20T00:00:00Z"),
            (Tz::Antarctica__Troll, "2026-10-20T00:00:00Z"),
            (Tz::America__Nuuk, "2024-03-25T00:00:00Z"),
            (Tz::America__St_Johns, "2010-03-10T00:00:00Z"),
            (Tz::America__St_Johns, "2010-11-01T00:00:00Z"),
            (Tz::Asia__Pyongyang, "2018-05-01T00:00:00Z"),
            (Tz::Pacific__Kwajalein, "1993-08-15T00:00:00Z"),
            (Tz::Africa__Casablanca, "2023-03-15T00:00:00Z"),
            (Tz::Asia__Kathmandu, "1985-12-28T00:00:00Z"),
        ]),
        policies in policies(),
    ) {
        prop_assert!(compare(&sets, zone, from.parse().unwrap(), policies)?);
    }
}

/// With `SCHED_TRIGGER_FULL=1` every clock change of every zone from 1970 to 2050, for a nightly run of some minutes;
/// else those of a few zones.
#[test]
fn cron_agrees_with_brute_force_at_every_clock_change() {
    let step = if std::env::var_os("SCHED_TRIGGER_FULL").is_some() { 1 } else { 149 };
    let hours =
        Sets { minutes: vec![0, 30, 59], hours: Some(vec![0, 1, 2, 3, 23]), weekdays: None, days: None };
    let policies = [(Gap::Skip, Overlap::Both), (Gap::Shift, Overlap::First), (Gap::Shift, Overlap::Second)];
    let end = DateTime::UNIX_EPOCH + TimeDelta::days(365 * 80 + 20);
    let mut compared = 0_u32;
    for (index, zone) in TZ_VARIANTS.iter().enumerate().step_by(step) {
        let mut from = DateTime::UNIX_EPOCH + TimeDelta::days(3);
        while from < end {
            let policies = policies[(index + usize::try_from(compared).unwrap()) % policies.len()];
            compared += u32::from(compare(&hours, *zone, from, policies).unwrap());
            from =
                change_after(*zone, from).map_or(from + TimeDelta::days(1100), |it| it + TimeDelta::days(1));
        }
    }
    assert!(compared > 50, "only {compared} clock changes were found");
}
