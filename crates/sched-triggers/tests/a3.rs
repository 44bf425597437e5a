//! The trigger tests of APScheduler 3, each as a row: a configuration, a walk of `(previous, now)`, and what fires.
//!
//! Times are local to the row's zone, as upstream writes them; an offset is given where the hour repeats.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a failed step fails the test")]

use std::collections::HashSet;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use sched_core::{BuildContext, Error, Registry, Trigger, time::parse_datetime};
use serde_json::{Value, json};

const BERLIN: Tz = Tz::Europe__Berlin;

fn build_in(zone: Tz, config: Value) -> Result<std::sync::Arc<dyn Trigger>, Error> {
    let registry = sched_triggers::PLUGINS
        .into_iter()
        .fold(Registry::builder(), |it, plugin| it.plugin(plugin))
        .build()?;
    registry.trigger("", config, BuildContext { registry: &registry, timezone: zone })
}

fn build(config: Value) -> std::sync::Arc<dyn Trigger> {
    build_in(BERLIN, config.clone()).unwrap_or_else(|error| panic!("{config}: {error}"))
}

fn at(zone: Tz, text: &str) -> DateTime<Utc> {
    parse_datetime(text, zone).unwrap()
}

/// One row: zone, configuration, previous fire time or `""`, now, and the next fire time or `""`.
type Row = (Tz, Value, &'static str, &'static str, &'static str);

fn check(rows: Vec<Row>) {
    for (zone, config, previous, now, expected) in rows {
        let trigger = build_in(zone, config.clone()).unwrap_or_else(|error| panic!("{config}: {error}"));
        let previous = (!previous.is_empty()).then(|| at(zone, previous));
        let next = trigger.next_fire_time(previous, at(zone, now)).unwrap();
        let expected = (!expected.is_empty()).then(|| at(zone, expected));
        assert_eq!(next, expected, "{config} from {previous:?} at {now}");
    }
}

fn cron(fields: Value) -> Value {
    let mut config = fields;
    config["type"] = json!("cron");
    config
}

fn refused(configs: &[Value]) {
    for config in configs {
        assert!(build_in(BERLIN, config.clone()).is_err(), "{config}");
    }
}

fn round_trips(configs: &[Value]) {
    for config in configs {
        let trigger = build(config.clone());
        let form = trigger.to_config();
        assert_eq!(build(form.clone()).to_config(), form, "{config}");
    }
}

#[test]
fn day_and_hour_expressions_give_the_next_value() {
    let day = |expression: &str| cron(json!({ "day": expression, "month": "1", "year": "2009" }));
    let hour =
        |expression: &str| cron(json!({ "hour": expression, "day": "1", "month": "1", "year": "2009" }));
    let from = |value: &str| -> &'static str { Box::leak(format!("2009-01-{value}").into_boxed_str()) };
    let o_clock =
        |value: u32| -> &'static str { Box::leak(format!("2009-01-01 {value:02}:00:00").into_boxed_str()) };
    let mut rows: Vec<Row> = Vec::new();
    let days = [
        ("*", "01", "01"),
        ("*", "10", "10"),
        ("*", "30", "30"),
        ("2-9", "01", "02"),
        ("2-9", "10", ""),
        ("2-9", "05", "05"),
        ("2-9/3", "01", "02"),
        ("2-9/3", "03", "05"),
        ("2-9/3", "09", ""),
        ("9", "01", "09"),
        ("9", "09", "09"),
        ("9", "10", ""),
    ];
    for (expression, now, next) in days {
        rows.push((BERLIN, day(expression), "", from(now), if next.is_empty() { "" } else { from(next) }));
    }
    for (now, next) in [(0, 0), (2, 3), (7, 9)] {
        rows.push((BERLIN, hour("*/3"), "", o_clock(now), o_clock(next)));
    }
    check(rows);
}

#[test]
fn weekday_expressions_give_the_next_value() {
    let weekday = |expression: &str| cron(json!({ "day_of_week": expression }));
    let day = |expression: &str| cron(json!({ "day": expression }));
    check(vec![
        (BERLIN, weekday("WED"), "", "2008-02-04", "2008-02-06"),
        (BERLIN, weekday("TUE-SAT"), "", "2008-02-07", "2008-02-07"),
        (BERLIN, weekday("TUE-SAT"), "", "2008-02-03", "2008-02-05"),
        (BERLIN, day("1st Fri"), "", "2008-02-01", "2008-02-01"),
        (BERLIN, day("2nd wed"), "", "2008-02-01", "2008-02-13"),
        (BERLIN, day("last fri"), "", "2008-02-01", "2008-02-29"),
        (BERLIN, day("last"), "", "2012-02-01", "2012-02-29"),
    ]);
}

#[test]
fn wrong_expressions_are_refused() {
    refused(&[
        cron(json!({ "hour": "*/0" })),
        cron(json!({ "hour": "5-3" })),
        cron(json!({ "day": "6th fri" })),
        cron(json!({ "day": "1st moh" })),
        cron(json!({ "day_of_week": "moh-fri" })),
        cron(json!({ "day_of_week": "mon-fre" })),
        cron(json!({ "year": "2009-fault" })),
        cron(json!({ "second": 0, "third": 1 })),
        cron(json!({ "day": "*/31" })),
        cron(json!({ "day": "4-6/3" })),
        cron(json!({ "hour": "0-24" })),
        cron(json!({ "day": "0-3" })),
        json!({ "type": "interval", "seconds": "one" }),
        json!({ "type": "calendarinterval" }),
        json!({ "type": "calendarinterval", "days": 1, "start_date": "2016-03-02", "end_date": "2016-03-01" }),
    ]);
}

#[test]
fn a_date_fires_once() {
    let date = json!({ "type": "date", "run_date": "2009-7-6" });
    let other = json!({ "type": "date", "run_date": "2009-7-6", "timezone": "Europe/London" });
    check(vec![
        (BERLIN, date.clone(), "", "2008-05-04", "2009-07-06"),
        (BERLIN, date.clone(), "", "2009-07-06", "2009-07-06"),
        (BERLIN, date.clone(), "", "2009-09-02", "2009-07-06"),
        (BERLIN, date, "2009-07-06", "2009-09-02", ""),
        (BERLIN, other, "", "2008-05-04", "2009-07-06 01:00:00"),
        (BERLIN, json!({ "type": "date" }), "", "2011-04-03 18:40:00", "2011-04-03 18:40:00"),
    ]);
}

#[test]
fn an_ambiguous_date_is_kept() {
    let zone = Tz::US__Eastern;
    for offset in ["-04:00", "-05:00"] {
        let moment: &'static str = Box::leak(format!("2013-11-03T01:05:00{offset}").into_boxed_str());
        check(vec![(zone, json!({ "type": "date", "run_date": moment }), "", "2013-10-03", moment)]);
    }
}

#[test]
fn an_interval_counts_from_its_start() {
    let start = "2009-08-04 00:00:02";
    let second = json!({ "type": "interval", "seconds": 1, "start_date": start });
    let bounded = json!({ "type": "interval", "minutes": 5, "start_date": "2014-05-26", "end_date": "2014-05-26 00:07:00" });
    check(vec![
        (BERLIN, second.clone(), "", "2009-08-04 00:00:01", start),
        (BERLIN, second.clone(), "", "2009-08-04 00:00:02.001", "2009-08-04 00:00:03"),
        (BERLIN, second, "", "2009-08-03T23:00:02.001Z", "2009-08-04 01:00:03"),
        (BERLIN, json!({ "type": "interval", "seconds": 2 }), "", "2009-08-04", "2009-08-04 00:00:02"),
        (BERLIN, bounded.clone(), "", "2014-05-26 00:02:00", "2014-05-26 00:05:00"),
        (BERLIN, bounded, "2014-05-26 00:05:00", "2014-05-26 00:06:00", ""),
    ]);
}

#[test]
fn an_interval_is_elapsed_time_across_clock_changes() {
    let hourly = |start: &str| json!({ "type": "interval", "hours": 1, "start_date": start });
    let zone = Tz::US__Eastern;
    check(vec![
        (zone, hourly("2013-03-01"), "", "2013-03-10 01:05:00", "2013-03-10T03:00:00-04:00"),
        (zone, hourly("2013-11-01"), "", "2013-11-03T01:05:00-04:00", "2013-11-03T01:00:00-05:00"),
    ]);
}

#[test]
fn a_cron_walks_its_calendar() {
    let thirds = json!({ "year": "2009/2", "month": "1-12/3", "day": "5-13" });
    check(vec![
        (BERLIN, cron(thirds.clone()), "", "2008-12-01", "2009-01-05"),
        (BERLIN, cron(thirds), "", "2009-10-14", "2011-01-05"),
        (
            BERLIN,
            cron(json!({ "year": "2009", "month": "feb-dec", "hour": "8-10" })),
            "",
            "2009-01-01",
            "2009-02-01 08:00:00",
        ),
        (
            BERLIN,
            cron(json!({ "year": "2012", "month": "2", "day": "last" })),
            "",
            "2012-02-01",
            "2012-02-29",
        ),
        (BERLIN, cron(json!({ "year": 2009, "month": 2, "hour": 0 })), "", "2009-01-01", "2009-02-01"),
        (BERLIN, cron(json!({ "year": "2009,2008" })), "", "2009-01-01", "2009-01-01"),
        (BERLIN, cron(json!({ "day": "6,8" })), "", "2009-12-31", "2010-01-06"),
        (BERLIN, cron(json!({ "hour": "5-6" })), "", "2009-09-25 07:00:00", "2009-09-26 05:00:00"),
        (BERLIN, cron(json!({ "day": 30 })), "", "2016-02-01", "2016-03-30"),
        (
            BERLIN,
            cron(json!({ "year": 2009, "month": 1, "day": "6-10", "day_of_week": "2-4" })),
            "",
            "2009-01-01",
            "2009-01-07",
        ),
        (
            BERLIN,
            cron(json!({ "year": 2009, "month": 1, "day": "6-10", "day_of_week": "0,6" })),
            "",
            "2009-01-01",
            "",
        ),
        (BERLIN, cron(json!({ "year": 2009, "month": 1, "day": "4th wed" })), "", "2009-01-01", "2009-01-28"),
        (BERLIN, cron(json!({ "year": 2009, "month": 2, "week": 8 })), "", "2009-01-01", "2009-02-16"),
        (BERLIN, cron(json!({ "year": 2009, "week": 15, "day_of_week": 2 })), "", "2009-01-01", "2009-04-08"),
        (
            BERLIN,
            cron(json!({ "year": 2009, "week": 15, "day_of_week": 2 })),
            "",
            "2009-01-01T00:00:00-10:00",
            "2009-04-08",
        ),
    ]);
}

#[test]
fn a_cron_keeps_to_its_start_and_end() {
    let started =
        json!({ "year": "2009", "month": "2", "hour": "8-10", "start_date": "2009-02-03 11:00:00" });
    let ended = json!({ "hour": 4, "end_date": "2014-04-13 03:00:00" });
    check(vec![
        (BERLIN, cron(started), "", "2009-01-01", "2009-02-04 08:00:00"),
        (BERLIN, cron(ended.clone()), "", "2014-04-12", "2014-04-12 04:00:00"),
        (BERLIN, cron(ended), "", "2014-04-13", ""),
        (
            BERLIN,
            cron(json!({ "hour": 4, "start_date": "2014-04-13T00:00:00+05:00", "timezone": "Asia/Karachi" })),
            "",
            "2014-04-01",
            "2014-04-13T04:00:00+05:00",
        ),
    ]);
}

#[test]
fn a_cron_lists_what_was_missed_and_never_goes_back() {
    let daily = cron(json!({ "day": "*" }));
    check(vec![
        (BERLIN, daily.clone(), "2015-11-23", "2015-11-26", "2015-11-24"),
        (BERLIN, daily.clone(), "2015-11-23", "2015-11-22", "2015-11-24"),
        (BERLIN, daily, "2015-11-25", "2015-11-25", "2015-11-26"),
    ]);
}

#[test]
fn a_cron_follows_the_clocks() {
    let eastern = Tz::US__Eastern;
    let month = |month: u32| cron(json!({ "year": "2013", "month": month, "hour": "*" }));
    check(vec![
        (eastern, month(3), "", "2013-03-10T01:59:00-05:00", "2013-03-10T03:00:00-04:00"),
        (
            eastern,
            month(3),
            "2013-03-10T03:00:00-04:00",
            "2013-03-10T03:00:00-04:00",
            "2013-03-10T04:00:00-04:00",
        ),
        (eastern, month(11), "", "2013-11-03T00:59:00-04:00", "2013-11-03T01:00:00-04:00"),
        (
            eastern,
            month(11),
            "2013-11-03T01:00:00-04:00",
            "2013-11-03T01:00:00-04:00",
            "2013-11-03T01:00:00-05:00",
        ),
        (
            eastern,
            cron(json!({ "hour": 1, "minute": 30 })),
            "2013-11-03T01:30:00-04:00",
            "2013-11-03T01:30:00-04:00",
            "2013-11-03T01:30:00-05:00",
        ),
        (
            eastern,
            cron(json!({ "hour": 1, "minute": 30 })),
            "2013-11-03T01:30:00-05:00",
            "2013-11-03T01:30:00-05:00",
            "2013-11-04T01:30:00-05:00",
        ),
        (
            eastern,
            cron(json!({ "hour": 1, "minute": 0, "second": 10 })),
            "2025-11-02T01:00:10-04:00",
            "2025-11-02T01:00:10-05:00",
            "2025-11-02T01:00:10-05:00",
        ),
        (
            Tz::Europe__Helsinki,
            cron(json!({ "minute": 30 })),
            "",
            "2017-10-29T03:30:00.000005+02:00",
            "2017-10-29T04:30:00+02:00",
        ),
        (
            BERLIN,
            cron(json!({ "hour": "*/1", "timezone": "America/New_York" })),
            "",
            "2013-03-10T06:30:00Z",
            "2013-03-10T07:00:00Z",
        ),
        (BERLIN, cron(json!({ "day_of_week": "mon", "hour": 0 })), "", "2024-03-30", "2024-04-01"),
        (
            Tz::US__Central,
            json!({ "type": "crontab", "expr": "0 0 * * 0-4", "dialect": "aps3" }),
            "",
            "2021-03-12 12:00:00",
            "2021-03-15",
        ),
    ]);
}

#[test]
fn a_crontab_text_means_its_fields() {
    let crontab = |expr: &str| json!({ "type": "crontab", "expr": expr });
    let rows = [
        ("* * * * *", cron(json!({ "minute": "*" }))),
        (
            "0-14 * 14-28 jul fri",
            cron(json!({ "month": "jul", "day": "14-28", "day_of_week": "fri", "minute": "0-14" })),
        ),
        (" 0-14   * 14-28   jul       *", cron(json!({ "month": "jul", "day": "14-28", "minute": "0-14" }))),
    ];
    for (text, fields) in rows {
        let aps = json!({ "type": "crontab", "expr": text, "dialect": "aps3" });
        let (left, right) = (build(aps), build(fields));
        let mut now = at(BERLIN, "2013-01-01");
        for _ in 0..200 {
            let (a, b) = (left.next_fire_time(None, now).unwrap(), right.next_fire_time(None, now).unwrap());
            assert_eq!(a, b, "{text}");
            now = a.unwrap() + TimeDelta::minutes(1);
        }
    }
    assert!(build_in(BERLIN, crontab("* * * *")).is_err());
}

#[test]
fn a_calendar_interval_walks_its_dates() {
    let calendar = |arguments: Value| {
        let mut config = arguments;
        config["type"] = json!("calendarinterval");
        config
    };
    let once = calendar(json!({ "days": 1, "start_date": "2016-03-05", "end_date": "2016-03-05" }));
    let daily = |start: &str, hour: u32| {
        calendar(json!({ "days": 1, "hour": hour, "minute": 30, "start_date": start }))
    };
    let monthly = calendar(json!({ "months": 1, "start_date": "2016-03-31" }));
    let half = calendar(json!({ "days": 1, "hour": 8, "timezone": "UTC", "start_date": "2016-03-31" }));
    check(vec![
        (BERLIN, once.clone(), "", "2016-03-04", "2016-03-05"),
        (BERLIN, once, "2016-03-05", "2016-03-05", ""),
        (BERLIN, daily("2016-03-27", 2), "", "2016-03-27", "2016-03-28 02:30:00"),
        (BERLIN, daily("2016-10-30", 2), "", "2016-10-30", "2016-10-30T02:30:00+02:00"),
        (BERLIN, monthly, "2016-03-31", "2016-03-31", "2016-05-31"),
        (BERLIN, half, "", "2016-03-31T00:00:00Z", "2016-03-31T08:00:00Z"),
    ]);
}

#[test]
fn combined_triggers_agree_or_take_the_earliest() {
    let first = cron(json!({ "month": "5-8", "day": "6-15", "end_date": "2017-08-10" }));
    let second = cron(json!({ "month": "6-9", "day": "*/3", "end_date": "2017-09-07" }));
    let both = |kind: &str| json!({ "type": kind, "triggers": [first.clone(), second.clone()] });
    check(vec![
        (BERLIN, both("and"), "", "2017-08-06", "2017-08-07"),
        (BERLIN, both("and"), "2017-08-10", "2017-08-10 00:00:01", ""),
        (BERLIN, both("or"), "", "2017-08-06", "2017-08-06"),
        (BERLIN, both("or"), "", "2017-09-08", ""),
    ]);
}

#[test]
fn jitter_is_told_and_never_part_of_the_fire_time() {
    let part = || cron(json!({ "minute": "*/5", "end_date": "2030-01-01" }));
    let configs = [
        json!({ "type": "interval", "seconds": 5, "jitter": 3, "start_date": "2026-01-01", "end_date": "2030-01-01" }),
        cron(json!({ "minute": "*/5", "jitter": 3 })),
        json!({ "type": "and", "triggers": [part(), part()], "jitter": 3 }),
        json!({ "type": "or", "triggers": [part(), part()], "jitter": 3 }),
    ];
    for config in configs {
        let with = build(config.clone());
        let mut plain = config.clone();
        plain.as_object_mut().unwrap().remove("jitter");
        let without = build(plain);
        assert_eq!((with.jitter(), without.jitter()), (Some(Duration::from_secs(3)), None), "{config}");
        let mut previous = None;
        for _ in 0..100 {
            let now = at(BERLIN, "2026-11-21 12:00:00");
            let (a, b) =
                (with.next_fire_time(previous, now).unwrap(), without.next_fire_time(previous, now).unwrap());
            assert_eq!(a, b, "{config}");
            previous = a;
        }
    }
}

#[test]
fn configurations_survive_a_round_trip() {
    round_trips(&[
        json!({ "type": "date", "run_date": "2016-04-03 18:27:00" }),
        json!({ "type": "interval", "weeks": 2, "days": 6, "minutes": 13, "seconds": 2, "start_date": "2016-04-03",
            "end_date": "2026-04-03", "jitter": 12 }),
        cron(
            json!({ "year": "2016", "month": "5-6", "day": "20-28", "hour": 7, "minute": 25, "second": "*", "jitter": 4,
            "start_date": "2016-04-03", "end_date": "2026-04-03" }),
        ),
        json!({ "type": "calendarinterval", "years": 3, "days": 8, "hour": 3, "start_date": "2016-03-05", "end_date": "2020-12-25" }),
        json!({ "type": "and", "triggers": [{ "type": "date", "run_date": "2016-04-03" }, { "type": "crontab", "expr": "* * * * *" }], "jitter": 5 }),
        json!({ "type": "or", "triggers": [{ "type": "date", "run_date": "2016-04-03" }, { "type": "interval", "seconds": 3 }], "jitter": 5 }),
    ]);
}

#[test]
fn triggers_read_as_their_arguments() {
    let rows = [
        (json!({ "type": "date", "run_date": "2009-07-06" }), &["date[", "2009-07-05T22:00:00"][..]),
        (json!({ "type": "interval", "seconds": 1 }), &["interval[", "seconds=1"]),
        (cron(json!({ "day_of_week": "1-2, 4-7".replace('7', "6") })), &["cron[", "day_of_week='1-2,"]),
        (cron(json!({ "year": "2009/2", "month": "1-12/3" })), &["cron[", "year='2009/2'", "month='1-12/3'"]),
        (
            json!({ "type": "calendarinterval", "years": 1, "months": 5 }),
            &["calendarinterval[", "years=1", "months=5"],
        ),
        (
            json!({ "type": "and", "triggers": [cron(json!({ "month": 5 })), cron(json!({ "month": 6 }))] }),
            &["and[", "cron[month='5'", "cron[month='6'"],
        ),
        (
            json!({ "type": "or", "triggers": [cron(json!({ "month": 5 })), cron(json!({ "month": 6 }))] }),
            &["or[", "cron[month='5'"],
        ),
    ];
    let mut seen = HashSet::new();
    for (config, parts) in rows {
        let text = build(config.clone()).to_string();
        assert!(parts.iter().all(|part| text.contains(part)), "{config}: {text}");
        assert!(seen.insert(text), "{config}");
    }
}
