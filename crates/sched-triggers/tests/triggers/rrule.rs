//! Recurrence rules of RFC 5545.

use chrono_tz::Tz;
use sched_triggers::RruleTrigger;
use serde_json::json;

use crate::support::{build, fires, time};

fn check(text: &str, now: &str, expected: &[&str]) {
    let trigger = RruleTrigger::parse(text, Tz::UTC).unwrap_or_else(|error| panic!("{text}: {error}"));
    assert_eq!(fires(&trigger, now, expected.len()), expected, "{text}");
}

fn fault(text: &str) -> String {
    RruleTrigger::parse(text, Tz::UTC).unwrap_err().to_string()
}

#[test]
fn the_examples_of_the_rfc() {
    let start = "DTSTART;TZID=America/New_York:19970902T090000\n";
    let cases: [(&str, &[&str]); 6] = [
        ("FREQ=DAILY;INTERVAL=10;COUNT=3", &["1997-09-02", "1997-09-12", "1997-09-22"]),
        (
            "FREQ=WEEKLY;INTERVAL=2;WKST=SU;BYDAY=TU,TH;COUNT=4",
            &["1997-09-02", "1997-09-04", "1997-09-16", "1997-09-18"],
        ),
        ("FREQ=MONTHLY;BYDAY=-2MO;COUNT=3", &["1997-09-22", "1997-10-20", "1997-11-17"]),
        ("FREQ=MONTHLY;BYDAY=TU,WE,TH;BYSETPOS=3;COUNT=3", &["1997-09-04", "1997-10-07", "1997-11-06"]),
        ("FREQ=MONTHLY;BYDAY=FR;BYMONTHDAY=13", &["1998-02-13", "1998-03-13", "1998-11-13", "1999-08-13"]),
        (
            "FREQ=YEARLY;INTERVAL=4;BYMONTH=11;BYDAY=TU;BYMONTHDAY=2,3,4,5,6,7,8",
            &["1997-11-04", "2001-11-06"],
        ),
    ];
    for (rule, expected) in cases {
        let trigger = RruleTrigger::parse(&format!("{start}RRULE:{rule}"), Tz::UTC).unwrap();
        let found = fires(&trigger, "1997-01-01T00:00:00Z", expected.len());
        let days: Vec<&str> = found.iter().map(|fire| fire.split_once("T09:00:00-0").unwrap().0).collect();
        assert_eq!(days, expected, "{rule}");
    }
}

#[test]
fn dates_are_added_and_taken_away() {
    let text = "DTSTART:20260101T090000Z\nRRULE:FREQ=DAILY;COUNT=4\nEXDATE:20260102T090000Z,20260103T\n 090000Z\nRDATE:20260102T120000Z,20260104T090000Z\nRDATE:20260301T090000Z";
    let expected = [
        "2026-01-01T09:00:00+00:00",
        "2026-01-02T12:00:00+00:00",
        "2026-01-04T09:00:00+00:00",
        "2026-03-01T09:00:00+00:00",
        "end",
    ];
    check(text, "2025-01-01T00:00:00Z", &expected);
    let listed = "DTSTART:20260101T090000Z\nRDATE:20260102T090000Z,20260105T090000Z\nEXDATE:20260102T090000Z";
    check(listed, "2025-01-01T00:00:00Z", &["2026-01-05T09:00:00+00:00", "end"]);
}

#[test]
fn clock_changes_follow_the_rfc() {
    let text = "DTSTART;TZID=Europe/Berlin:20260328T023000\nRRULE:FREQ=DAILY";
    let spring = ["2026-03-28T02:30:00+01:00", "2026-03-29T03:30:00+02:00", "2026-03-30T02:30:00+02:00"];
    check(text, "2026-03-01T00:00:00Z", &spring);
    let autumn = ["2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"];
    check(text, "2026-10-24T23:00:00Z", &autumn);
    // 02:15 and 02:45 move past 03:00, and 02:00 onto it.
    let text = "DTSTART;TZID=Europe/Berlin:20260329T000000\nRRULE:FREQ=MINUTELY;INTERVAL=15";
    let quarters = [
        "01:45:00+01:00",
        "03:00:00+02:00",
        "03:15:00+02:00",
        "03:30:00+02:00",
        "03:45:00+02:00",
        "04:00:00+02:00",
    ];
    let quarters = quarters.map(|clock| format!("2026-03-29T{clock}"));
    check(text, "2026-03-29T00:40:00Z", &quarters.each_ref().map(String::as_str));
    // Saturday 30 December 2011 did not exist in Samoa.
    let text = "DTSTART;TZID=Pacific/Apia:20111229T080000\nRRULE:FREQ=DAILY;COUNT=4";
    let samoa =
        ["2011-12-29T08:00:00-10:00", "2011-12-31T08:00:00+14:00", "2012-01-01T08:00:00+14:00", "end"];
    check(text, "2011-12-01T00:00:00Z", &samoa);
}

#[test]
fn until_is_inclusive_and_may_be_local() {
    for until in ["20260103T080000Z", "20260103T090000"] {
        let text = format!("DTSTART;TZID=Europe/Berlin:20260102T090000\nRRULE:FREQ=DAILY;UNTIL={until}");
        let expected = ["2026-01-02T09:00:00+01:00", "2026-01-03T09:00:00+01:00", "end"];
        check(&text, "2026-01-01T00:00:00Z", &expected);
    }
}

#[test]
fn an_old_recurrence_keeps_its_phase() {
    let frequencies = [
        "SECONDLY;INTERVAL=7",
        "MINUTELY;INTERVAL=11",
        "HOURLY;INTERVAL=5;BYHOUR=3,4",
        "MINUTELY;INTERVAL=7;BYDAY=MO",
        "DAILY;INTERVAL=9",
        "DAILY;BYHOUR=3,18",
        "WEEKLY;INTERVAL=3;BYDAY=SU,MO;WKST=WE",
        "MONTHLY;INTERVAL=7;BYMONTHDAY=31,-1",
        "YEARLY;INTERVAL=3;BYYEARDAY=1,-1",
        "MONTHLY",
        "YEARLY",
    ];
    for frequency in frequencies {
        let rule = |count: &str| {
            let text = format!("DTSTART;TZID=Europe/Berlin:20240229T070013\nRRULE:FREQ={frequency}{count}");
            RruleTrigger::parse(&text, Tz::UTC).unwrap()
        };
        let counted = rule(";COUNT=30000");
        let from =
            if frequency.starts_with("SECONDLY") { "2024-03-01T00:00:00Z" } else { "2024-07-01T00:00:00Z" };
        let (near, far) = (fires(&rule(""), from, 40), fires(&counted, from, 40));
        assert_eq!(near, far, "{frequency}");
    }
}

#[test]
fn a_minute_rule_is_what_counting_finds() {
    let start = time("2026-01-01T00:02:00Z");
    let trigger =
        RruleTrigger::parse("DTSTART:20260101T000200Z\nRRULE:FREQ=MINUTELY;INTERVAL=7;BYDAY=MO,SA", Tz::UTC)
            .unwrap();
    let expected: Vec<String> = (0..20_000)
        .map(|step| start + chrono::TimeDelta::minutes(7 * step))
        .filter(|at| ["Mon", "Sat"].contains(&at.format("%a").to_string().as_str()))
        .take(1000)
        .map(|at| at.to_rfc3339())
        .collect();
    assert_eq!(fires(&trigger, "2026-01-01T00:00:00Z", 1000), expected);
}

#[test]
fn rules_without_end_or_match_end_in_bounded_time() {
    for rule in [
        "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30",
        "FREQ=SECONDLY;BYMONTH=2;BYMONTHDAY=30",
        "FREQ=MONTHLY;BYDAY=1MO;BYSETPOS=-20",
        "FREQ=HOURLY;INTERVAL=24;BYHOUR=5",
    ] {
        check(&format!("DTSTART:20260101T030000Z\nRRULE:{rule}"), "2026-01-01T00:00:00Z", &["end"]);
    }
    let huge = "DTSTART:20260101T030000Z\nRRULE:FREQ=YEARLY;INTERVAL=65535";
    check(huge, "2026-01-01T00:00:00Z", &["2026-01-01T03:00:00+00:00", "end"]);
    let old = "DTSTART:00010101T000000Z\nRRULE:FREQ=SECONDLY";
    check(old, "9999-12-31T23:59:58Z", &["9999-12-31T23:59:58+00:00", "9999-12-31T23:59:59+00:00", "end"]);
}

#[test]
fn what_is_not_understood_is_refused() {
    let start = "DTSTART:20260101T090000Z\n";
    for (lines, expected) in [
        ("RRULE:FREQ=DAILY;COUNT=2;UNTIL=20270101T000000Z", "COUNT and UNTIL"),
        ("RRULE:FREQ=DAILY;INTERVAL=0", "INTERVAL is 0"),
        ("RRULE:FREQ=DAILY;COUNT=0", "COUNT is 0"),
        ("RRULE:FREQ=DAILY;COUNT=100001", "COUNT is more"),
        ("RRULE:FREQ=DAILY;BYEASTER=1", "unknown part `BYEASTER`"),
        ("RRULE:FREQ=DAILY;FREQ=DAILY", "FREQ is given twice"),
        ("RRULE:FREQ=DAILY;UNTIL=20270101", "UNTIL is a date"),
        ("RRULE:FREQ=MINUTELY;BYHOUR=9", "times of day do not go"),
        ("RRULE:FREQ=SECONDLY;BYSECOND=9", "times of day do not go"),
        ("RRULE:FREQ=FORTNIGHTLY", "RRULE: "),
        ("RRULE:FREQ=DAILY\nRRULE:FREQ=DAILY", "more than one RRULE"),
        ("RRULE:FREQ=DAILY\nEXRULE:FREQ=WEEKLY", "EXRULE is not supported"),
        ("RRULE:FREQ=DAILY\nSUMMARY:lunch", "unknown line `SUMMARY`"),
        ("RRULE:FREQ=DAILY\nEXDATE;TZID=Mars/Base:20260101T090000", "unknown time zone"),
        ("RRULE:FREQ=DAILY\nEXDATE:2026-01-01", "invalid time"),
        ("EXDATE:20260101T090000Z", "expected a line RRULE or RDATE"),
    ] {
        let message = fault(&format!("{start}{lines}"));
        assert!(message.contains(expected), "{lines}: {message}");
    }
    assert!(fault("RRULE:FREQ=DAILY").contains("DTSTART is missing"));
}

#[test]
fn the_configuration_form_round_trips() {
    let rule = "DTSTART:20260101T090000\nRRULE:FREQ=WEEKLY;BYDAY=MO";
    let trigger = build(json!({ "type": "rrule", "rule": rule, "timezone": "Asia/Tokyo" })).unwrap();
    assert_eq!(fires(&*trigger, "2026-01-01T00:00:00Z", 1), ["2026-01-05T09:00:00+09:00"]);
    assert_eq!(trigger.describe(), "by the rule FREQ=WEEKLY;BYDAY=MO from 2026-01-01 09:00:00, Asia/Tokyo");
    let written = trigger.to_config();
    assert_eq!(written, json!({ "type": "rrule", "rule": rule, "timezone": "Asia/Tokyo" }));
    assert_eq!(build(written.clone()).unwrap().to_config(), written);
    let error = build(json!({ "type": "rrule", "rule": "FREQ=DAILY", "zone": 1 }))
        .map(|_| ())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("rule: the line DTSTART is missing") && error.contains("zone: unknown key"),
        "{error}"
    );
    assert!(build(json!({ "type": "rrule" })).is_err());
}
