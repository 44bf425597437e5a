//! Cron: dialects, clock changes, descriptions, errors.

use crate::support::{fires, time};
use chrono_tz::Tz;
use sched_core::Trigger;
use sched_triggers::{CronTrigger, Dialect, Gap, Holidays, Overlap, Roll};

fn local(text: &str, dialect: Dialect, now: &str, count: usize) -> Vec<String> {
    let trigger = CronTrigger::parse_dialect(text, dialect).unwrap_or_else(|error| panic!("{text}: {error}"));
    let all = fires(&trigger, now, count);
    all.into_iter().map(|fire| fire.replace("+00:00", "").replace('T', " ")).collect()
}

fn check(dialect: Dialect, cases: &[(&str, &[&str])]) {
    for (text, expected) in cases {
        assert_eq!(local(text, dialect, "2026-11-21T00:00:00Z", expected.len()), *expected, "{text}");
    }
}

#[test]
fn unix_text_follows_posix_and_vixie() {
    check(
        Dialect::Unix,
        &[
            ("0 9 * * 0", &["2026-11-22 09:00:00", "2026-11-29 09:00:00"]),
            ("0 9 * * 7", &["2026-11-22 09:00:00"]),
            (
                "0 9 * * sat-mon",
                &["2026-11-21 09:00:00", "2026-11-22 09:00:00", "2026-11-23 09:00:00", "2026-11-28 09:00:00"],
            ),
            ("0 9 * * 5-7", &["2026-11-21 09:00:00", "2026-11-22 09:00:00", "2026-11-27 09:00:00"]),
            (
                "0 0 13 * fri",
                &["2026-11-27 00:00:00", "2026-12-04 00:00:00", "2026-12-11 00:00:00", "2026-12-13 00:00:00"],
            ),
            ("0 0 */10 * mon", &["2026-12-21 00:00:00"]),
            ("0 0 * * mon-fri/2", &["2026-11-23 00:00:00", "2026-11-25 00:00:00", "2026-11-27 00:00:00"]),
            ("*/20 1-2 1,15 jan *", &["2027-01-01 01:00:00", "2027-01-01 01:20:00"]),
            ("@yearly", &["2027-01-01 00:00:00"]),
            ("@annually", &["2027-01-01 00:00:00"]),
            ("@monthly", &["2026-12-01 00:00:00"]),
            ("@weekly", &["2026-11-22 00:00:00"]),
            ("@Daily", &["2026-11-21 00:00:00", "2026-11-22 00:00:00"]),
            ("@midnight", &["2026-11-21 00:00:00"]),
            ("@hourly", &["2026-11-21 00:00:00", "2026-11-21 01:00:00"]),
            ("@reboot", &["2026-11-21 00:00:00", "end"]),
        ],
    );
}

#[test]
fn quartz_text_follows_its_manual() {
    check(
        Dialect::Quartz,
        &[
            ("0 0 12 ? * 1", &["2026-11-22 12:00:00"]),
            ("0 0 12 ? * SAT", &["2026-11-21 12:00:00"]),
            ("0 0 12 L * ?", &["2026-11-30 12:00:00", "2026-12-31 12:00:00"]),
            ("0 0 12 L-3 * ?", &["2026-11-27 12:00:00", "2026-12-28 12:00:00"]),
            ("0 0 12 LW * ?", &["2026-11-30 12:00:00", "2026-12-31 12:00:00", "2027-01-29 12:00:00"]),
            ("0 0 12 15W * ?", &["2026-12-15 12:00:00", "2027-01-15 12:00:00", "2027-02-15 12:00:00"]),
            ("0 0 12 1W * ?", &["2026-12-01 12:00:00", "2027-01-01 12:00:00", "2027-02-01 12:00:00"]),
            ("0 0 12 1W 5 ? 2027", &["2027-05-03 12:00:00", "end"]),
            ("0 15 10 ? * 6L", &["2026-11-27 10:15:00", "2026-12-25 10:15:00"]),
            ("0 15 10 ? * FRI#3", &["2026-12-18 10:15:00", "2027-01-15 10:15:00"]),
            (
                "30 0 22-2 ? * L 2026",
                &["2026-11-21 00:00:30", "2026-11-21 01:00:30", "2026-11-21 02:00:30", "2026-11-21 22:00:30"],
            ),
            ("0 0 0 1 NOV-JAN ? *", &["2026-12-01 00:00:00", "2027-01-01 00:00:00", "2027-11-01 00:00:00"]),
        ],
    );
}

#[test]
fn faults_name_the_column_and_a_remedy() {
    let unix = [
        ("61 * * * *", "cron field `minute`, column 1: 61 is out of range, expected 0 to 59"),
        ("0  24 * * *", "cron field `hour`, column 4: 24 is out of range, expected 0 to 23 (midnight is 0)"),
        (
            "0 0 * * fryday",
            "cron field `day_of_week`, column 9: unknown weekday name `fryday` (did you mean `fri`?)",
        ),
        ("0 0 * januar *", "cron field `month`, column 7: unknown month name `januar` (did you mean `jan`?)"),
        (
            "30-10 * * * *",
            "cron field `minute`, column 1: the range runs backwards (to go past the end, write `30-59,0-10`)",
        ),
        ("*/0 * * * *", "cron field `minute`, column 3: a step of 0 never advances (write 1 or more)"),
        (
            "*/99 * * * *",
            "cron field `minute`, column 1: the step 99 is longer than the range (59) (leave the step out, or make it smaller)",
        ),
        ("5x * * * *", "cron field `minute`, column 2: unexpected `x`"),
        ("1, * * * *", "cron field `minute`, column 3: the expression ends early, expected a value"),
        (
            "0 0 L * *",
            "cron field `day`, column 5: unexpected `L` (write `last`, or use the dialect `quartz`)",
        ),
        (
            "0 0 * * mon#2",
            "cron field `day_of_week`, column 12: unexpected `#2` (write `2nd fri` in the field `day`, or use the dialect `quartz`)",
        ),
        ("0 0 * *", "column 1: expected 5 fields (minute hour day month weekday), got 4"),
        (
            "0 0 0 * * *",
            "column 11: expected 5 fields (minute hour day month weekday), got 6 (the dialect `quartz` has seconds and years)",
        ),
        ("@dayly", "column 1: unknown macro `@dayly` (did you mean `@daily`?)"),
        ("é * * * *", "cron field `minute`, column 1: unexpected `é`"),
    ];
    for (text, expected) in unix {
        let error = CronTrigger::parse(text).unwrap_err();
        assert_eq!(error.to_string(), expected, "{text}");
        assert_eq!(error.kind(), sched_core::ErrorKind::InvalidTrigger);
    }
    for text in [
        "0 0 12 1 * 2",
        "0 0 12 ? * 0",
        "0 0 12 32W * ?",
        "0 0 12 ? * 2#6",
        "0 0 12 L-31 * ?",
        "0 0 12 * *",
        "0 0 12 LX * ?",
    ] {
        assert!(CronTrigger::parse_dialect(text, Dialect::Quartz).is_err(), "{text}");
    }
}

#[test]
fn every_wrong_field_is_reported_at_once() {
    let error = CronTrigger::builder().hour(24).minute("x").build().unwrap_err();
    assert_eq!(error.faults().len(), 2, "{error}");
    let error = CronTrigger::builder().build().unwrap_err();
    assert_eq!(
        error.to_string(),
        "a cron trigger needs at least one field of year, month, day, week, day_of_week, hour, minute, second \
         (for every second write second = \"*\")"
    );
}

#[test]
fn no_field_at_all_means_what_the_named_version_meant() {
    let trigger = CronTrigger::builder().dialect(Dialect::Aps3).build().unwrap();
    assert_eq!(fires(&trigger, "2026-11-21T00:00:00.5Z", 1), ["2026-11-21T00:00:01+00:00"]);
    let trigger = CronTrigger::builder().dialect(Dialect::Aps4).build().unwrap();
    assert_eq!(fires(&trigger, "2026-11-21T00:00:00Z", 1), ["2027-01-01T00:00:00+00:00"]);
}

#[test]
fn a_skipped_time_is_left_out_or_shifted() {
    let builder = || CronTrigger::builder().hour(3).minute(30).timezone(Tz::Europe__Helsinki);
    let now = "2026-03-28T00:00:00Z";
    let skipped = ["2026-03-28T03:30:00+02:00", "2026-03-30T03:30:00+03:00"];
    assert_eq!(fires(&builder().build().unwrap(), now, 2), skipped);
    let shifted = ["2026-03-28T03:30:00+02:00", "2026-03-29T04:30:00+03:00", "2026-03-30T03:30:00+03:00"];
    assert_eq!(fires(&builder().gap(Gap::Shift).build().unwrap(), now, 3), shifted);
    // Where the shifted time is a fire time of its own, it fires once.
    let often =
        CronTrigger::builder().minute("*/30").timezone(Tz::Europe__Helsinki).gap(Gap::Shift).build().unwrap();
    let around = fires(&often, "2026-03-29T00:30:00Z", 4);
    let expected = ["02:30:00+02:00", "04:00:00+03:00", "04:30:00+03:00", "05:00:00+03:00"];
    assert_eq!(around, expected.map(|time| format!("2026-03-29T{time}")));
}

#[test]
fn a_repeated_time_fires_as_often_as_it_is_told_to() {
    let builder = || CronTrigger::builder().hour(3).minute("0,30").timezone(Tz::Europe__Helsinki);
    let now = "2026-10-24T22:00:00Z";
    let day = |times: &[&str]| times.iter().map(|time| format!("2026-10-25T{time}")).collect::<Vec<_>>();
    let (first, second) = (["03:00:00+03:00", "03:30:00+03:00"], ["03:00:00+02:00", "03:30:00+02:00"]);
    assert_eq!(fires(&builder().build().unwrap(), now, 4), day(&[first, second].concat()));
    assert_eq!(fires(&builder().overlap(Overlap::First).build().unwrap(), now, 2), day(&first));
    assert_eq!(fires(&builder().overlap(Overlap::Second).build().unwrap(), now, 2), day(&second));
    for overlap in [Overlap::First, Overlap::Second] {
        let trigger = builder().overlap(overlap).build().unwrap();
        assert_eq!(fires(&trigger, now, 3)[2], "2026-10-26T03:00:00+02:00");
    }
}

#[test]
fn impossible_dates_and_the_end_of_time_are_exhausted() {
    let never = CronTrigger::builder().month(2).day(30).timezone(Tz::America__New_York).build().unwrap();
    assert_eq!(fires(&never, "2026-01-01T00:00:00Z", 1), ["end"]);
    let leap = CronTrigger::builder().month(2).day(29).build().unwrap();
    assert_eq!(fires(&leap, "2096-03-01T00:00:00Z", 1), ["2104-02-29T00:00:00+00:00"]);
    let last = CronTrigger::builder().hour("*/12").build().unwrap();
    assert_eq!(fires(&last, "9999-12-31T06:00:00Z", 9), ["9999-12-31T12:00:00+00:00", "end"]);
    assert_eq!(fires(&leap, "-0100-03-01T00:00:00Z", 1), ["1972-02-29T00:00:00+00:00"]);
}

#[test]
fn the_answer_is_later_than_the_previous_fire_time_whatever_now_is() {
    let trigger = CronTrigger::parse("0 0 * * *").unwrap();
    let next =
        trigger.next_fire_time(Some(time("2026-11-23T00:00:00Z")), time("2020-01-01T00:00:00Z")).unwrap();
    assert_eq!(next, Some(time("2026-11-24T00:00:00Z")));
}

#[test]
fn text_round_trips_to_an_equal_trigger() {
    let berlin = CronTrigger::parse("0 9 * * mon-fri").unwrap().with_timezone(Tz::Europe__Berlin);
    let full = CronTrigger::builder()
        .day("2nd fri, last sun")
        .hour("9-17/2")
        .gap(Gap::Shift)
        .overlap(Overlap::Second)
        .start(time("2026-01-01T00:00:00.25Z"))
        .end(time("2027-01-01T00:00:00Z"))
        .jitter(std::time::Duration::from_millis(2500))
        .build()
        .unwrap();
    let quartz = CronTrigger::parse_dialect("0 0 12 ? * 6#3", Dialect::Quartz).unwrap();
    for trigger in [berlin, full, quartz, CronTrigger::parse("@reboot").unwrap()] {
        let text = trigger.to_string();
        assert_eq!(
            text.parse::<CronTrigger>().unwrap_or_else(|error| panic!("{text}: {error}")),
            trigger,
            "{text}"
        );
    }
    for text in ["cron[hour='9'", "cron[hour=9]]", "cron[hours='9']", "cron[']", "date[]", "cron[]", "[]"] {
        assert!(text.parse::<CronTrigger>().is_err(), "{text}");
    }
}

#[test]
fn descriptions_read_as_english() {
    let unix = [
        ("0 9 * * mon-fri", "at 09:00 on weekdays, UTC"),
        ("0 9 * * *", "at 09:00 every day, UTC"),
        ("* * * * *", "every minute, UTC"),
        ("*/5 * * * *", "every 5 minutes, UTC"),
        ("*/15 9-17 * * mon-fri", "every 15 minutes of hour 9 to 17 on weekdays, UTC"),
        ("0 */2 * * *", "every 2 hours, UTC"),
        ("0 0 1 1 *", "at 00:00 on day 1 of the month in January, UTC"),
        ("30 4 1,15 * 5", "at 04:30 on day 1 and 15 of the month or on Friday, UTC"),
        ("0 0,12 * jun-aug sat,sun", "at 00:00 and 12:00 on weekends in June to August, UTC"),
        ("17 * * * *", "at minute 17 of every hour, UTC"),
        ("@reboot", "once, when it is added"),
    ];
    for (text, expected) in unix {
        assert_eq!(CronTrigger::parse(text).unwrap().describe(), expected, "{text}");
    }
    let seconds = CronTrigger::builder().second("*/10").build().unwrap();
    assert_eq!(seconds.describe(), "every 10 seconds, UTC");
    let third = CronTrigger::builder().day("3rd fri").hour(8).timezone(Tz::Asia__Tokyo).build().unwrap();
    assert_eq!(third.describe(), "at 08:00 on the 3rd Friday of the month, Asia/Tokyo");
    let years = CronTrigger::builder().year("2026-2036/2").build().unwrap();
    assert_eq!(
        years.describe(),
        "at 00:00 on day 1 of the month in January every 2 years from 2026 to 2036, UTC"
    );
}

#[test]
fn holidays_are_left_out_or_rolled() {
    let off = || "sat,sun,2026-12-24/2027-01-01".parse::<Holidays>().unwrap();
    let cases = [
        (Roll::Skip, ["2026-12-15", "2027-01-15", "2027-02-01"]),
        (Roll::Following, ["2026-12-15", "2027-01-04", "2027-01-15"]),
        (Roll::Preceding, ["2026-12-15", "2026-12-23", "2027-01-15"]),
        (Roll::ModifiedFollowing, ["2026-12-15", "2027-01-04", "2027-01-15"]),
        (Roll::Nearest, ["2026-12-15", "2027-01-04", "2027-01-15"]),
    ];
    for (roll, expected) in cases {
        let trigger = CronTrigger::parse("30 9 1,15 * *").unwrap().with_holidays(off(), roll);
        let found = fires(&trigger, "2026-12-02T00:00:00Z", 3);
        assert_eq!(found, expected.map(|day| format!("{day}T09:30:00+00:00")), "{roll}");
    }
    let closed = CronTrigger::builder()
        .hour(9)
        .holidays("mon,tue,wed,thu,fri,sat,sun".parse().unwrap(), Roll::Nearest);
    assert_eq!(fires(&closed.build().unwrap(), "2026-12-02T00:00:00Z", 1), ["end"]);
}

#[test]
fn a_roll_may_leave_the_month_and_the_year() {
    let off = || "sat,sun,01-01".parse::<Holidays>().unwrap();
    let builder = || CronTrigger::builder().year(2027).month(1).day(1).hour(9);
    let following = builder().holidays(off(), Roll::Following).build().unwrap();
    assert_eq!(fires(&following, "2020-01-01T00:00:00Z", 2), ["2027-01-04T09:00:00+00:00", "end"]);
    let preceding = builder().holidays(off(), Roll::Preceding).build().unwrap();
    assert_eq!(fires(&preceding, "2020-01-01T00:00:00Z", 2), ["2026-12-31T09:00:00+00:00", "end"]);
}
