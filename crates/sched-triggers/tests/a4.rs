//! The trigger tests of APScheduler 4, each as a walk: a configuration, when it starts, and every fire time in order. A
//! trigger is written down and read back before each step, as upstream does with every serializer.
//!
//! Times are local to the row's zone, as upstream writes them; an offset is given where the hour repeats.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a failed step fails the test")]

use std::sync::Arc;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use sched_core::{BuildContext, Error, Registry, Trigger, time::parse_datetime};
use serde_json::{Value, json};

const BERLIN: Tz = Tz::Europe__Berlin;
const EASTERN: Tz = Tz::US__Eastern;

/// Ends a walk: the trigger fires no more.
const END: &str = "end";

fn build(zone: Tz, config: &Value) -> Result<Arc<dyn Trigger>, Error> {
    let registry = sched_triggers::PLUGINS
        .into_iter()
        .fold(Registry::builder(), |it, plugin| it.plugin(plugin))
        .build()?;
    registry.trigger("", config.clone(), BuildContext { registry: &registry, timezone: zone })
}

fn at(zone: Tz, text: &str) -> DateTime<Utc> {
    parse_datetime(text, zone).unwrap()
}

/// Walks from `start` on, through a round trip of the configuration at each step.
#[track_caller]
fn walks(zone: Tz, config: Value, start: &str, expected: &[&str]) {
    let mut trigger = build(zone, &config).unwrap_or_else(|error| panic!("{config}: {error}"));
    let (mut previous, start) = (None, at(zone, start));
    for (step, expected) in expected.iter().enumerate() {
        let next = trigger.next_fire_time(previous, start).unwrap();
        let expected = (*expected != END).then(|| at(zone, expected));
        let shown = next.map(|next| next.with_timezone(&zone));
        assert_eq!(next, expected, "{config}, step {step}: {shown:?}");
        trigger = build(zone, &trigger.to_config()).unwrap_or_else(|error| panic!("{config}: {error}"));
        previous = next;
    }
}

fn cron(mut fields: Value) -> Value {
    fields["type"] = json!("cron");
    fields
}

#[track_caller]
fn refused(config: &Value, parts: &[&str]) {
    let text = build(BERLIN, config).map(drop).unwrap_err().to_string();
    assert!(parts.iter().all(|part| text.contains(part)), "{config}: {text}");
}

#[test]
fn a_date_fires_once_and_an_interval_until_its_end() {
    walks(
        BERLIN,
        json!({ "type": "date", "run_date": "2020-05-14 11:56:12" }),
        "2020-01-01",
        &["2020-05-14 11:56:12", END],
    );
    let interval = json!({ "type": "interval", "hours": 1, "seconds": 6, "start_date": "2020-05-14 11:56:12",
        "end_date": "2020-05-14 13:56:24" });
    let expected = ["2020-05-14 11:56:12", "2020-05-14 12:56:18", "2020-05-14 13:56:24", END];
    walks(BERLIN, interval, "2020-05-14 11:56:12", &expected);
    refused(&json!({ "type": "interval", "seconds": 0 }), &[]);
    let backwards =
        json!({ "type": "interval", "seconds": 1, "start_date": "2020-05-16", "end_date": "2020-05-15" });
    refused(&backwards, &["the end date lies before the start date"]);
}

#[test]
fn a_calendar_interval_leaves_out_what_is_not_there() {
    let calendar = |mut arguments: Value| {
        arguments["type"] = json!("calendarinterval");
        arguments
    };
    refused(&calendar(json!({})), &[]);
    refused(&calendar(json!({ "days": 1, "start_date": "2016-03-02", "end_date": "2016-03-01" })), &[]);
    let once = calendar(json!({ "days": 1, "start_date": "2020-12-31", "end_date": "2020-12-31" }));
    walks(BERLIN, once, "2020-01-01", &["2020-12-31", END]);
    let gap = calendar(json!({ "days": 1, "hour": 2, "minute": 30, "start_date": "2016-03-27" }));
    walks(BERLIN, gap, "2016-03-27", &["2016-03-28 02:30:00"]);
    let twice = calendar(json!({ "days": 2, "hour": 2, "minute": 30, "start_date": "2016-10-30" }));
    walks(BERLIN, twice, "2016-10-30", &["2016-10-30T02:30:00+02:00", "2016-11-01 02:30:00"]);
    let months = calendar(json!({ "months": 1, "start_date": "2016-03-31" }));
    walks(BERLIN, months, "2016-03-31", &["2016-03-31", "2016-05-31"]);
    let utc = calendar(json!({ "days": 1, "hour": 8, "timezone": "UTC", "start_date": "2016-03-31" }));
    walks(BERLIN, utc, "2016-03-31", &["2016-03-31T08:00:00Z", "2016-04-01T08:00:00Z"]);
}

#[test]
fn an_and_fires_where_its_parts_agree() {
    let date = |moment: &str| json!({ "type": "date", "run_date": moment });
    let dates = |threshold: u32| {
        json!({ "type": "and", "threshold": threshold,
            "triggers": [date("2020-05-16 14:17:30.254212"), date("2020-05-16 14:17:31.254212")] })
    };
    walks(BERLIN, dates(1), "2020-05-16", &["2020-05-16 14:17:30.254212", END]);
    walks(BERLIN, dates(0), "2020-05-16", &[END]);
    let every = |unit: &str, count: u32| json!({ "type": "interval", unit: count, "start_date": "2024-05-01T00:00:00Z" });
    let both = |left: Value, right: Value| json!({ "type": "and", "triggers": [left, right] });
    let utc = Tz::UTC;
    let start = "2024-05-01";
    walks(
        utc,
        both(every("hours", 6), every("hours", 4)),
        start,
        &["2024-05-01", "2024-05-01 12:00:00", "2024-05-02"],
    );
    walks(utc, both(every("days", 1), every("weeks", 1)), start, &["2024-05-01", "2024-05-08", "2024-05-15"]);
    let sixth = cron(json!({ "hour": "*/6" }));
    walks(utc, both(sixth, every("hours", 4)), start, &["2024-05-01", "2024-05-01 12:00:00", "2024-05-02"]);
    let quarter = cron(json!({ "minute": "*/15", "hour": 1 }));
    walks(
        utc,
        both(quarter, every("minutes", 10)),
        start,
        &["2024-05-01 01:00:00", "2024-05-01 01:30:00", "2024-05-02 01:00:00"],
    );
    let monthly = json!({ "type": "calendarinterval", "months": 1, "start_date": "2024-05-01" });
    let workdays = cron(json!({ "day_of_week": "mon-fri", "hour": 0 }));
    walks(utc, both(monthly, workdays), start, &["2024-05-01", "2024-07-01", "2024-08-01", "2024-10-01"]);
}

#[test]
fn an_or_fires_for_each_of_its_parts_once() {
    let date = |moment: &str| json!({ "type": "date", "run_date": moment });
    let dates = json!({ "type": "or", "triggers": [date("2020-05-16 14:17:30.254212"), date("2020-05-18 15:01:53.940564")] });
    walks(BERLIN, dates, "2020-05-16", &["2020-05-16 14:17:30.254212", "2020-05-18 15:01:53.940564", END]);
    let every = |seconds: u32, end: u32| {
        let second = |second: u32| format!("2020-05-16 14:17:{second}");
        json!({ "type": "interval", "seconds": seconds, "start_date": second(30), "end_date": second(30 + end) })
    };
    let intervals = json!({ "type": "or", "triggers": [every(4, 16), every(6, 18)] });
    let expected = [30, 34, 36, 38, 42, 46, 48].map(|second| format!("2020-05-16 14:17:{second}"));
    let expected: Vec<&str> = expected.iter().map(String::as_str).chain([END]).collect();
    walks(BERLIN, intervals, "2020-05-16 14:17:30", &expected);
}

#[test]
fn a_wrong_cron_names_its_field() {
    for (fields, parts) in [
        (json!({ "year": "2009-fault" }), &["year", "fault"][..]),
        (json!({ "year": "2009/0" }), &["year"]),
        (json!({ "year": "2009-2008" }), &["year"]),
        (json!({ "month": "fab-jan" }), &["month", "fab"]),
        (json!({ "month": "jan-fab" }), &["month", "fab"]),
        (json!({ "day_of_week": "web-fri" }), &["day_of_week", "web"]),
        (json!({ "day_of_week": "mon-web" }), &["day_of_week", "web"]),
        (json!({ "day": "1st web" }), &["day", "web"]),
        (json!({ "day": "*/31" }), &["day", "31"]),
        (json!({ "day": "4-6/3" }), &["day", "3"]),
        (json!({ "hour": "0-24" }), &["hour", "24"]),
        (json!({ "day": "0-3" }), &["day", "0"]),
    ] {
        refused(&cron(fields), parts);
    }
    let crontab = json!({ "type": "crontab", "expr": "*", "dialect": "aps4" });
    refused(&crontab, &["5", "1"]);
}

#[test]
fn a_cron_walks_its_calendar() {
    let thirds = cron(json!({ "year": "2009/2", "month": "1-4/3", "day": "5-6" }));
    walks(
        BERLIN,
        thirds,
        "2008-12-01",
        &["2009-01-05", "2009-01-06", "2009-04-05", "2009-04-06", "2011-01-05"],
    );
    let fifth = cron(json!({ "year": "2009/2", "month": "1-3", "day": "5" }));
    walks(BERLIN, fifth, "2009-10-14", &["2011-01-05", "2011-02-05", "2011-03-05", "2013-01-05"]);
    let hours = cron(json!({ "year": "2009", "month": "feb-dec", "hour": "8-9" }));
    let expected =
        ["2009-02-01 08:00:00", "2009-02-01 09:00:00", "2009-02-02 08:00:00", "2009-02-02 09:00:00"];
    walks(BERLIN, hours, "2009-01-01", &expected);
    let last = cron(json!({ "year": "2012", "month": "2", "day": "last" }));
    walks(BERLIN, last, "2012-02-01", &["2012-02-29", END]);
    walks(
        BERLIN,
        cron(json!({ "hour": "5-6" })),
        "2009-09-25 07:00:00",
        &["2009-09-26 05:00:00", "2009-09-26 06:00:00", "2009-09-27 05:00:00"],
    );
    walks(BERLIN, cron(json!({ "day": 30 })), "2016-02-01", &["2016-03-30", "2016-04-30"]);
    walks(BERLIN, cron(json!({ "year": "2009,2008" })), "2009-01-01", &["2009-01-01", END]);
}

#[test]
fn a_cron_walks_its_weekdays() {
    let within = |days: &str, dialect: &str| {
        cron(json!({ "year": 2009, "month": 1, "day": "6-10", "day_of_week": days, "dialect": dialect }))
    };
    for (days, dialect) in [("3-5", "aps4"), ("2-4", "aps3"), ("wed-fri", "aps4")] {
        walks(BERLIN, within(days, dialect), "2009-01-01", &["2009-01-07", "2009-01-08", "2009-01-09", END]);
    }
    walks(BERLIN, within("1,0", "aps4"), "2009-01-01", &[END]);
    walks(BERLIN, within("mon,sun", "aps4"), "2009-01-01", &[END]);
    let weekend = cron(json!({ "year": 2020, "month": 1, "week": 1, "day_of_week": "fri-sun" }));
    walks(BERLIN, weekend, "2020-01-01", &["2020-01-03", "2020-01-04", "2020-01-05", END]);
    let last = cron(json!({ "year": 2020, "month": "1-3", "day": "last sun" }));
    walks(BERLIN, last, "2020-01-01", &["2020-01-26", "2020-02-23", "2020-03-29", END]);
    let fourth = cron(json!({ "year": 2009, "month": 1, "day": "4th wed" }));
    walks(BERLIN, fourth, "2009-01-01", &["2009-01-28", END]);
    let eighth = cron(json!({ "year": 2009, "month": 2, "week": 8 }));
    let expected = [
        "2009-02-16",
        "2009-02-17",
        "2009-02-18",
        "2009-02-19",
        "2009-02-20",
        "2009-02-21",
        "2009-02-22",
        END,
    ];
    walks(BERLIN, eighth, "2009-01-01", &expected);
    for days in ["3", "wed"] {
        let config = cron(json!({ "year": 2009, "week": 15, "day_of_week": days, "dialect": "aps4" }));
        walks(BERLIN, config, "2009-01-01", &["2009-04-08", END]);
    }
}

#[test]
fn a_cron_follows_the_clocks() {
    let every = |month: u32| cron(json!({ "year": 2013, "month": month, "hour": "*" }));
    walks(
        EASTERN,
        every(3),
        "2013-03-10T01:59:00-05:00",
        &["2013-03-10T03:00:00-04:00", "2013-03-10T04:00:00-04:00"],
    );
    walks(
        EASTERN,
        every(11),
        "2013-11-03T00:59:00-04:00",
        &["2013-11-03T01:00:00-04:00", "2013-11-03T01:00:00-05:00", "2013-11-03T02:00:00-05:00"],
    );
    walks(EASTERN, cron(json!({ "hour": 2 })), "2013-03-09 12:00:00", &["2013-03-11T02:00:00-04:00"]);
    let half = cron(json!({ "minute": "*/30" }));
    walks(EASTERN, half.clone(), "2013-03-10T01:35:00-05:00", &["2013-03-10T03:00:00-04:00"]);
    walks(EASTERN, half, "2013-11-03T01:35:00-04:00", &["2013-11-03T01:00:00-05:00"]);
    let expected = ["2024-10-27T02:00:00+02:00", "2024-10-27T02:00:00+01:00", "2024-10-27T03:00:00+01:00"];
    walks(BERLIN, cron(json!({ "hour": "*" })), "2024-10-27T02:00:00+02:00", &expected);
    walks(BERLIN, cron(json!({ "minute": 0 })), "2024-10-27T02:00:00+02:00", &expected);
}

#[test]
fn a_cron_keeps_to_a_start_and_an_end_of_any_zone() {
    let ended = cron(json!({ "year": 2014, "hour": 4, "end_date": "2014-04-13 04:00:00" }));
    walks(BERLIN, ended, "2014-04-12", &["2014-04-12 04:00:00", "2014-04-13 04:00:00", END]);
    // Seven in the morning in New York is one in the afternoon in Berlin.
    let started = cron(json!({ "hour": "*", "start_date": "2020-05-16T07:00:00-04:00" }));
    walks(BERLIN, started, "2020-05-16", &["2020-05-16 13:00:00"]);
    let over = cron(
        json!({ "hour": 4, "start_date": "2014-04-12T00:00:00+02:00", "end_date": "2014-04-12T07:00:00+06:00" }),
    );
    walks(BERLIN, over, "2014-04-12", &[END]);
}

#[test]
fn a_crontab_counts_weekdays_from_sunday() {
    let crontab =
        |days: &str| json!({ "type": "crontab", "expr": format!(" 0   0 *   * {days}"), "dialect": "aps4" });
    // The week of Monday 6 May 2024.
    for (days, expected) in [
        ("1-5", &["2024-05-06", "2024-05-07", "2024-05-08", "2024-05-09", "2024-05-10", "2024-05-13"][..]),
        ("0-3", &["2024-05-06", "2024-05-07", "2024-05-08", "2024-05-12", "2024-05-13"]),
        ("6-7", &["2024-05-11", "2024-05-12", "2024-05-18"]),
        ("fri", &["2024-05-10", "2024-05-17"]),
        ("*", &["2024-05-06", "2024-05-07"]),
    ] {
        walks(BERLIN, crontab(days), "2024-05-06", expected);
    }
    let bounded = json!({ "type": "crontab", "expr": "0 4 * * *", "start_date": "2020-05-16", "end_date": "2020-05-17 04:00:00" });
    walks(BERLIN, bounded, "2020-01-01", &["2020-05-16 04:00:00", "2020-05-17 04:00:00", END]);
}
