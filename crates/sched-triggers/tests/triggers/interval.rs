//! Date and interval.

use std::time::Duration;

use chrono::TimeDelta;
use proptest::prelude::*;
use sched_core::Trigger;
use sched_triggers::{DateTrigger, IntervalTrigger};
use serde_json::json;

use crate::support::{build, fires, time};

#[test]
fn a_date_fires_once_even_when_it_is_past() {
    let trigger = DateTrigger::at(time("2020-01-01T00:00:00.1234567Z"));
    assert_eq!(fires(&trigger, "2026-11-21T00:00:00Z", 2), ["2020-01-01T00:00:00.123456+00:00", "end"]);
}

#[test]
fn an_open_date_fires_when_it_is_added() {
    let (added, later) = (time("2026-11-21T09:00:00Z"), time("2026-11-22T00:00:00Z"));
    let trigger = DateTrigger::when_added().anchored(added).unwrap();
    assert_eq!(trigger.next_fire_time(None, later).unwrap(), Some(added));
    assert_eq!(trigger.next_fire_time(Some(added), later).unwrap(), None);
    assert!(trigger.anchored(later).is_none());
}

#[test]
fn an_interval_without_start_waits_one_interval_or_none() {
    let now = "2026-11-21T09:00:00Z";
    let after = IntervalTrigger::builder().minutes(5).build().unwrap();
    assert_eq!(fires(&after, now, 2), ["2026-11-21T09:05:00+00:00", "2026-11-21T09:10:00+00:00"]);
    let at_once = IntervalTrigger::builder().minutes(5).starting_now().build().unwrap();
    assert_eq!(fires(&at_once, now, 2), ["2026-11-21T09:00:00+00:00", "2026-11-21T09:05:00+00:00"]);
}

#[test]
fn an_anchored_interval_keeps_its_phase() {
    let trigger = IntervalTrigger::builder().minutes(5).build().unwrap();
    let anchored = trigger.anchored(time("2026-11-21T09:01:00Z")).unwrap();
    assert_eq!(fires(&*anchored, "2026-11-21T12:00:00Z", 1), ["2026-11-21T12:01:00+00:00"]);
    assert_eq!(sched_core::trigger_definition(&*anchored), trigger.to_config());
    assert_eq!(build(anchored.to_config()).unwrap().to_config(), anchored.to_config());
}

#[test]
fn an_interval_is_elapsed_time_across_clock_changes() {
    let config = json!({ "type": "interval", "days": 1, "start_date": "2026-10-24 12:00:00", "timezone": "Europe/Berlin" });
    let trigger = build(config).unwrap();
    let expected = ["2026-10-24T12:00:00+02:00", "2026-10-25T11:00:00+01:00"];
    assert_eq!(fires(&*trigger, "2026-10-24T00:00:00Z", 2), expected);
}

#[test]
fn senseless_intervals_are_refused() {
    let zero = IntervalTrigger::builder().build().unwrap_err();
    let needed =
        "the interval must be longer than zero: give weeks, days, hours, minutes, seconds or microseconds";
    assert_eq!(zero.to_string(), needed);
    for (config, expected) in [
        (json!({ "type": "interval" }), needed),
        (json!({ "type": "interval", "seconds": 0 }), "seconds: the interval must be longer than zero"),
        (
            json!({ "type": "interval", "hours": 1, "minutes": -60 }),
            "hours: hours, minutes must add up to more than zero",
        ),
    ] {
        assert_eq!(build(config).unwrap_err().to_string(), expected);
    }
    assert!(IntervalTrigger::every(Duration::from_nanos(999)).build().is_err());
    assert!(IntervalTrigger::every(Duration::MAX).build().is_err());
    assert!(
        IntervalTrigger::builder()
            .weeks(u32::MAX)
            .weeks(u32::MAX)
            .weeks(u32::MAX)
            .weeks(u32::MAX)
            .build()
            .is_err()
    );
    for config in [
        json!({ "type": "interval", "seconds": -1 }),
        json!({ "type": "interval", "weeks": 1e30 }),
        json!({ "type": "interval", "seconds": "soon" }),
        json!({ "type": "interval", "hours": 1, "start_date": "2026-01-02", "end_date": "2026-01-01" }),
        json!({ "type": "interval", "hours": 1, "start_date": "2026-01-02", "start_time": "2026-01-02" }),
    ] {
        assert!(build(config.clone()).is_err(), "{config}");
    }
}

#[test]
fn fractions_are_exact() {
    let trigger = build(json!({ "type": "interval", "seconds": 0.1, "minutes": "0.5" })).unwrap();
    assert_eq!(
        trigger.to_config(),
        json!({ "type": "interval", "seconds": 30, "microseconds": 100_000, "timezone": "UTC" })
    );
}

proptest! {
    #[test]
    fn the_closed_form_is_what_walking_finds(micros in 1_i64..5_000_000, late in 0_i64..40_000_000, end in proptest::option::of(0_i64..40_000_000)) {
        let start = time("2026-11-21T09:00:00Z");
        let mut builder = IntervalTrigger::every(Duration::from_micros(micros.unsigned_abs() + 99_999)).start(start);
        if let Some(end) = end {
            builder = builder.end(start + TimeDelta::microseconds(end));
        }
        let trigger = builder.build().unwrap();
        let now = start + TimeDelta::microseconds(late);
        let mut latest = start;
        while let Some(next) = trigger.next_fire_time(Some(latest), now).unwrap().filter(|next| *next <= now) {
            latest = next;
        }
        prop_assert_eq!(trigger.latest_fire_time(start, now).unwrap(), latest);
        let fresh = trigger.next_fire_time(None, now).unwrap();
        let on_time = latest == now;
        prop_assert_eq!(fresh, if on_time { Some(now) } else { trigger.next_fire_time(Some(latest), now).unwrap() });
    }
}
