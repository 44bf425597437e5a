//! And, Or, and both of them nested.

use serde_json::{Value, json};

use crate::support::{build, fires};

fn check(config: Value, now: &str, expected: &[&str]) {
    let trigger = build(config.clone()).unwrap_or_else(|error| panic!("{config}: {error}"));
    let found = fires(&*trigger, now, expected.len());
    assert_eq!(found, expected, "{config}");
}

#[test]
fn weekdays_at_ten_or_weekends_at_eleven() {
    let config = json!({ "type": "or", "triggers": [
        { "type": "cron", "day_of_week": "mon-fri", "hour": 10 },
        { "type": "cron", "day_of_week": "sat,sun", "hour": 11 },
    ]});
    let expected = [
        "2026-11-20T10:00:00+00:00",
        "2026-11-21T11:00:00+00:00",
        "2026-11-22T11:00:00+00:00",
        "2026-11-23T10:00:00+00:00",
    ];
    check(config, "2026-11-20T00:00:00Z", &expected);
}

#[test]
fn every_two_months_but_not_on_weekends() {
    let config = json!({ "type": "and", "triggers": [
        { "type": "calendarinterval", "months": 2, "hour": 10, "start_date": "2022-06-07" },
        { "type": "cron", "day_of_week": "mon-fri", "hour": 10 },
    ]});
    let expected = ["2022-06-07T10:00:00+00:00", "2022-10-07T10:00:00+00:00", "2022-12-07T10:00:00+00:00"];
    check(config, "2022-06-07T00:00:00Z", &expected);
}

#[test]
fn interval_parts_keep_their_phase() {
    let start = "2026-11-21T00:00:00Z";
    let every = |seconds: u32, end: u32| json!({ "type": "interval", "seconds": seconds, "start_date": start, "end_date": format!("2026-11-21T00:00:{end}Z") });
    let config = json!({ "type": "or", "triggers": [every(4, 16), every(6, 18)] });
    let expected = [0, 4, 6, 8, 12, 16, 18].map(|second| format!("2026-11-21T00:00:{second:02}+00:00"));
    let expected: Vec<&str> = expected.iter().map(String::as_str).chain(["end"]).collect();
    check(config, start, &expected);
}

#[test]
fn open_parts_are_anchored_together() {
    let config = json!({ "type": "or", "triggers": [{ "type": "interval", "minutes": 25 }, { "type": "interval", "minutes": 40 }] });
    let expected = [25, 40, 50].map(|minute| format!("2026-11-21T00:{minute}:00+00:00"));
    check(config, "2026-11-21T00:00:00Z", &expected.each_ref().map(String::as_str));
}

#[test]
fn the_zone_of_a_combination_is_the_default_of_its_parts() {
    let nine = json!({ "type": "cron", "hour": 9 });
    let tokyo = json!({ "type": "cron", "hour": 9, "timezone": "Asia/Tokyo" });
    let helsinki = "Europe/Helsinki";
    let combinations = [
        json!({ "type": "or", "triggers": [nine, tokyo], "timezone": helsinki }),
        json!({ "type": "and", "triggers": [nine], "timezone": helsinki }),
        json!({ "type": "except", "trigger": nine, "exceptions": [tokyo], "timezone": helsinki }),
        json!({ "type": "offset", "trigger": nine, "later": 0, "timezone": helsinki }),
        json!({ "type": "limit", "trigger": { "type": "or", "triggers": [nine] }, "max_fires": 2, "timezone": helsinki }),
    ];
    for config in combinations {
        let trigger = build(config.clone()).unwrap_or_else(|error| panic!("{config}: {error}"));
        assert_eq!(trigger.to_config()["timezone"], helsinki, "{config}");
        check(config, "2026-07-01T03:00:00Z", &["2026-07-01T09:00:00+03:00"]);
    }
    let or = json!({ "type": "or", "triggers": [nine, tokyo], "timezone": helsinki });
    check(or, "2026-07-01T00:00:00Z", &["2026-07-01T03:00:00+03:00", "2026-07-01T09:00:00+03:00"]);
    let unknown =
        build(json!({ "type": "or", "triggers": [nine], "timezone": "Mars" })).map(|_| ()).unwrap_err();
    assert!(unknown.to_string().starts_with("timezone: unknown time zone"), "{unknown}");
}

#[test]
fn every_date_of_an_or_has_its_turn() {
    let date = |moment: &str| json!({ "type": "date", "run_date": moment });
    let config = json!({ "type": "or", "triggers": [date("2026-11-22"), date("2020-01-01"), date("2026-11-22"), date("2026-11-23")] });
    check(
        config,
        "2026-11-21T00:00:00Z",
        &["2020-01-01T00:00:00+00:00", "2026-11-22T00:00:00+00:00", "2026-11-23T00:00:00+00:00", "end"],
    );
}

#[test]
fn the_threshold_decides_what_is_together() {
    let config = |threshold: f64| {
        json!({ "type": "and", "threshold": threshold, "triggers": [
            { "type": "date", "run_date": "2026-11-22T00:00:00.5Z" },
            { "type": "date", "run_date": "2026-11-22T00:00:01.5Z" },
        ]})
    };
    check(config(1.0), "2026-11-21T00:00:00Z", &["2026-11-22T00:00:00.500+00:00", "end"]);
    check(config(0.999_999), "2026-11-21T00:00:00Z", &["end"]);
}

#[test]
fn what_never_meets_is_exhausted_and_does_not_hang() {
    let cron = |hour: u32| json!({ "type": "cron", "hour": hour });
    check(json!({ "type": "and", "triggers": [cron(1), cron(2)] }), "2026-11-21T00:00:00Z", &["end"]);
    let phases = json!({ "type": "and", "triggers": [
        { "type": "interval", "hours": 2, "start_date": "2026-01-01T00:00:00Z" },
        { "type": "interval", "hours": 2, "start_date": "2026-01-01T01:00:00Z" },
    ]});
    check(phases, "2026-11-21T00:00:00Z", &["end"]);
    let impossible =
        json!({ "type": "and", "triggers": [cron(1), { "type": "cron", "month": 2, "day": 30 }] });
    check(impossible, "2026-11-21T00:00:00Z", &["end"]);
}

#[test]
fn a_rare_meeting_is_found_by_jumping() {
    let config = json!({ "type": "and", "threshold": 0, "triggers": [
        { "type": "cron", "second": "*" },
        { "type": "cron", "month": 2, "day": 29, "day_of_week": "mon" },
    ]});
    check(config, "2026-11-21T00:00:00Z", &["2044-02-29T00:00:00+00:00"]);
}

#[test]
fn combinations_nest() {
    let config = json!({ "type": "and", "triggers": [
        { "type": "or", "triggers": [{ "type": "date", "run_date": "2020-01-01" }, { "type": "cron", "hour": "*/2" }] },
        { "type": "or", "triggers": [{ "type": "cron", "hour": "*/3" }, { "type": "date", "run_date": "2026-11-21T04:00:00Z" }] },
    ]});
    let expected = ["04", "06", "12"].map(|hour| format!("2026-11-21T{hour}:00:00+00:00"));
    check(config, "2026-11-21T01:00:00Z", &expected.each_ref().map(String::as_str));
}

#[test]
fn parts_that_are_wrong_are_reported_with_their_path() {
    let error =
        build(json!({ "type": "and", "triggers": [{ "type": "cron", "hour": 24 }, { "type": "corn" }] }))
            .unwrap_err();
    let text = error.to_string();
    assert!(text.contains("triggers[0].hour: cron field `hour`, column 1: 24 is out of range"), "{text}");
    assert!(
        text.contains("triggers[1].type: no trigger by the name \"corn\" was found (did you mean `cron`?)"),
        "{text}"
    );
    for config in [
        json!({ "type": "or", "triggers": [] }),
        json!({ "type": "and" }),
        json!({ "type": "and", "triggers": [{ "type": "cron", "hour": 1 }], "threshold": null }),
        json!({ "type": "and", "triggers": [{ "type": "cron", "hour": 1 }], "threshold": "x" }),
    ] {
        assert!(build(config.clone()).is_err(), "{config}");
    }
}

#[test]
fn an_exception_closes_a_window() {
    let config = json!({ "type": "except", "lasting": "1d",
        "trigger": { "type": "cron", "day_of_week": "mon-fri", "hour": 9 },
        "exceptions": [{ "type": "cron", "month": 12, "day": "24-26" }, { "type": "date", "run_date": "2026-12-28" }],
    });
    let expected = ["2026-12-23T09:00:00+00:00", "2026-12-29T09:00:00+00:00"];
    check(config, "2026-12-23T00:00:00Z", &expected);
    let never = json!({ "type": "except", "trigger": { "type": "cron", "hour": 9 }, "exceptions": [{ "type": "cron", "hour": 9 }] });
    check(never, "2026-12-23T00:00:00Z", &["end"]);
    let often = json!({ "type": "except", "lasting": "30d", "trigger": { "type": "cron", "second": "*" }, "exceptions": [{ "type": "date", "run_date": "2026-12-23" }] });
    check(often, "2026-12-23T00:00:00Z", &["2027-01-22T00:00:00+00:00"]);
}

#[test]
fn an_offset_moves_every_fire() {
    let config = |key: &str| json!({ "type": "offset", key: "36h", "trigger": { "type": "cron", "day": "last", "timezone": "Europe/Berlin" } });
    check(
        config("earlier"),
        "2026-11-21T00:00:00Z",
        &["2026-11-28T12:00:00+01:00", "2026-12-29T12:00:00+01:00"],
    );
    check(
        config("later"),
        "2026-11-21T00:00:00Z",
        &["2026-12-01T12:00:00+01:00", "2027-01-01T12:00:00+01:00"],
    );
    let child = json!({ "type": "cron", "hour": 1 });
    assert!(build(json!({ "type": "offset", "trigger": child, "later": 1, "earlier": 1 })).is_err());
    assert!(build(json!({ "type": "offset", "trigger": child })).is_err());
    assert!(build(json!({ "type": "offset", "later": 1 })).is_err());
    assert!(build(json!({ "type": "offset", "trigger": child, "later": "101years" })).is_err());
}

#[test]
fn a_limit_counts_from_the_moment_it_was_added() {
    let trigger =
        build(json!({ "type": "limit", "max_fires": 3, "trigger": { "type": "interval", "hours": 1 } }))
            .unwrap();
    let anchored = trigger.anchored("2026-11-21T00:00:00Z".parse().unwrap()).unwrap();
    let expected = ["01", "02", "03"].map(|hour| format!("2026-11-21T{hour}:00:00+00:00"));
    assert_eq!(fires(&*anchored, "2026-11-21T00:00:00Z", 9)[..3], expected);
    assert_eq!(fires(&*anchored, "2026-11-21T02:30:00Z", 9), [&expected[2], "end"]);
    assert_eq!(fires(&*anchored, "2026-11-22T00:00:00Z", 9), ["end"]);
    assert!(
        build(json!({ "type": "limit", "max_fires": 0, "trigger": { "type": "interval", "hours": 1 } }))
            .is_err()
    );
    assert!(build(json!({ "type": "limit", "trigger": { "type": "interval", "hours": 1 } })).is_err());
}
