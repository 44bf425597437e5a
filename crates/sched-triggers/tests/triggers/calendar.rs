//! The calendar interval.

use chrono_tz::Tz;
use sched_core::Trigger;
use sched_triggers::{CalendarIntervalTrigger, Gap, Overlap, Roll};
use serde_json::json;

use crate::support::{build, fires};

fn day(text: &str) -> chrono::NaiveDate {
    text.parse().unwrap()
}

#[test]
fn a_missing_day_of_the_month_is_left_out() {
    let trigger = CalendarIntervalTrigger::builder().months(1).start(day("2016-03-31")).build().unwrap();
    let expected = ["2016-03-31T00:00:00+00:00", "2016-05-31T00:00:00+00:00", "2016-07-31T00:00:00+00:00"];
    assert_eq!(fires(&trigger, "2016-01-01T00:00:00Z", 3), expected);
    let leap = CalendarIntervalTrigger::builder().years(1).start(day("2024-02-29")).build().unwrap();
    assert_eq!(fires(&leap, "2024-03-01T00:00:00Z", 1), ["2028-02-29T00:00:00+00:00"]);
}

#[test]
fn a_fresh_search_and_a_walk_agree() {
    for (months, days) in [(0, 3), (1, 0), (7, 0), (1, 1), (14, 10)] {
        let builder = CalendarIntervalTrigger::builder().months(months).days(days).at(2, 30, 0);
        let trigger = builder.start(day("1999-01-31")).timezone(Tz::Europe__Berlin).build().unwrap();
        let walked =
            sched_triggers::preview(&trigger, None, "1999-01-01T00:00:00Z".parse().unwrap(), 300).unwrap();
        for pair in walked.fires.windows(2) {
            let after = pair[0] + chrono::TimeDelta::microseconds(1);
            assert_eq!(
                trigger.next_fire_time(None, after).unwrap(),
                Some(pair[1]),
                "{months} months {days} days"
            );
            assert_eq!(trigger.next_fire_time(None, pair[1]).unwrap(), Some(pair[1]));
        }
    }
}

#[test]
fn clock_changes_follow_the_policy() {
    let builder = |start| {
        CalendarIntervalTrigger::builder().days(1).at(2, 30, 0).start(day(start)).timezone(Tz::Europe__Berlin)
    };
    let spring = builder("2016-03-26");
    let skipped = fires(&spring.clone().build().unwrap(), "2016-03-01T00:00:00Z", 2);
    assert_eq!(skipped, ["2016-03-26T02:30:00+01:00", "2016-03-28T02:30:00+02:00"]);
    let shifted = fires(&spring.gap(Gap::Shift).build().unwrap(), "2016-03-01T00:00:00Z", 3);
    assert_eq!(shifted[1], "2016-03-27T03:30:00+02:00");
    let autumn = builder("2016-10-30");
    for (overlap, expected) in [
        (Overlap::First, vec!["+02:00"]),
        (Overlap::Second, vec!["+01:00"]),
        (Overlap::Both, vec!["+02:00", "+01:00"]),
    ] {
        let trigger = autumn.clone().overlap(overlap).build().unwrap();
        let found = fires(&trigger, "2016-10-01T00:00:00Z", expected.len() + 1);
        for (found, offset) in found.iter().zip(&expected) {
            assert_eq!(*found, format!("2016-10-30T02:30:00{offset}"));
        }
        assert_eq!(found[expected.len()], "2016-10-31T02:30:00+01:00");
    }
}

#[test]
fn a_missing_day_in_samoa_is_left_out_and_not_moved() {
    let builder = CalendarIntervalTrigger::builder().days(1).at(5, 30, 0).start(day("2011-12-29"));
    let builder = builder.timezone(Tz::Pacific__Apia);
    let expected = ["2011-12-29T05:30:00-10:00", "2011-12-31T05:30:00+14:00", "2012-01-01T05:30:00+14:00"];
    assert_eq!(fires(&builder.clone().build().unwrap(), "2011-12-29T00:00:00Z", 3), expected);
    // Moved by a whole day it meets the next date, and fires once.
    assert_eq!(fires(&builder.gap(Gap::Shift).build().unwrap(), "2011-12-29T00:00:00Z", 3), expected);
}

#[test]
fn without_a_start_the_series_begins_on_the_day_it_was_added() {
    let trigger =
        build(json!({ "type": "calendarinterval", "weeks": 1, "hour": 7, "timezone": "Pacific/Auckland" }))
            .unwrap();
    let anchored = trigger.anchored("2024-01-31T20:00:00Z".parse().unwrap()).unwrap();
    assert_eq!(fires(&*anchored, "2024-01-31T20:00:00Z", 1), ["2024-02-08T07:00:00+13:00"]);
    assert_eq!(fires(&*anchored, "2024-05-01T00:00:00Z", 1), ["2024-05-02T07:00:00+12:00"]);
}

#[test]
fn senseless_calendars_are_refused() {
    assert!(CalendarIntervalTrigger::builder().at(9, 0, 0).build().is_err());
    assert!(CalendarIntervalTrigger::builder().days(1).at(24, 0, 0).build().is_err());
    assert!(
        CalendarIntervalTrigger::builder()
            .days(1)
            .start(day("2026-01-02"))
            .end(day("2026-01-01"))
            .build()
            .is_err()
    );
    assert!(CalendarIntervalTrigger::builder().days(u32::MAX).build().is_err());
    let endless = CalendarIntervalTrigger::builder().years(1).start(day("9998-02-28")).build().unwrap();
    assert_eq!(fires(&endless, "9999-01-01T00:00:00Z", 2), ["9999-02-28T00:00:00+00:00", "end"]);
}

#[test]
fn descriptions_read_as_english() {
    let trigger =
        CalendarIntervalTrigger::builder().months(2).at(10, 0, 0).start(day("2022-06-07")).build().unwrap();
    assert_eq!(trigger.describe(), "every 2 months at 10:00, from 2022-06-07, UTC");
    let trigger = CalendarIntervalTrigger::builder().years(1).weeks(2).build().unwrap();
    assert_eq!(trigger.describe(), "every 1 year and 2 weeks at 00:00, UTC");
}

#[test]
fn a_date_on_a_holiday_is_left_out_or_rolled() {
    let builder = || CalendarIntervalTrigger::builder().days(1).at(9, 0, 0).start(day("2026-11-20"));
    let found = |roll| {
        let trigger = builder().holidays("sat,sun".parse().unwrap(), roll).build().unwrap();
        fires(&trigger, "2026-11-20T12:00:00Z", 2)
    };
    // Several dates that roll to one day fire once.
    for roll in [Roll::Skip, Roll::Following, Roll::Nearest] {
        assert_eq!(found(roll), ["2026-11-23T09:00:00+00:00", "2026-11-24T09:00:00+00:00"]);
    }
    let monthly = CalendarIntervalTrigger::builder().months(1).start(day("2026-01-31"));
    let monthly = monthly.holidays("sat,sun".parse().unwrap(), Roll::ModifiedFollowing).build().unwrap();
    let expected = ["2026-01-30T00:00:00+00:00", "2026-03-31T00:00:00+00:00", "2026-05-29T00:00:00+00:00"];
    assert_eq!(fires(&monthly, "2026-01-01T00:00:00Z", 3), expected);
    assert_eq!(fires(&monthly, "2026-05-01T00:00:00Z", 1), expected[2..]);
}
