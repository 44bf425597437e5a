//! `sched next` with a trigger on the command line.

use serde_json::{Value, json};

use crate::program::run;

/// The first words of the lines that `sched next` prints.
#[track_caller]
fn fires(args: &[&str]) -> Vec<String> {
    let ended = run(&[&["next"], args].concat());
    assert_eq!(ended.status, Some(0), "{ended:?}");
    ended.stdout.lines().map(|line| line.split("  ").next().unwrap().to_owned()).collect()
}

#[test]
fn fire_times_are_shown_in_the_zone_that_was_asked_for() {
    let berlin = ["--tz", "Europe/Berlin", "--from", "2026-03-27T17:57:00", "-n", "3"];
    let cron = [&["cron", "minute=*/5", "hour=9-17"], &berlin[..]].concat();
    let expected = ["2026-03-28T09:00:00+01:00", "2026-03-28T09:05:00+01:00", "2026-03-28T09:10:00+01:00"];
    assert_eq!(fires(&cron), expected);
    let crontab = [&["crontab", "0 9 * * 1-5"], &berlin[..]].concat();
    let expected = ["2026-03-30T09:00:00+02:00", "2026-03-31T09:00:00+02:00", "2026-04-01T09:00:00+02:00"];
    assert_eq!(fires(&crontab), expected);
    let interval = [&["interval", "hours=36"], &berlin[..]].concat();
    let expected = ["2026-03-29T06:57:00+02:00", "2026-03-30T18:57:00+02:00", "2026-04-01T06:57:00+02:00"];
    assert_eq!(fires(&interval), expected);
}

#[test]
fn a_trigger_with_a_zone_of_its_own_keeps_it() {
    let args = ["cron", "hour=9", "timezone=Asia/Tokyo", "--tz", "UTC", "--from", "2026-01-01", "-n", "1"];
    assert_eq!(fires(&args), ["2026-01-01T09:00:00+09:00"]);
}

#[test]
fn unquoted_crontab_fields_and_nested_triggers_are_understood() {
    let place = ["--tz", "UTC", "--from", "2026-01-01", "-n", "2"];
    let unquoted = [&["crontab", "30", "4", "*", "*", "*"], &place[..]].concat();
    assert_eq!(fires(&unquoted), ["2026-01-01T04:30:00+00:00", "2026-01-02T04:30:00+00:00"]);
    let nested = r#"triggers=[{"type":"cron","hour":"9"},{"type":"cron","hour":"17"}]"#;
    let nested = [&["or", nested], &place[..]].concat();
    assert_eq!(fires(&nested), ["2026-01-01T09:00:00+00:00", "2026-01-01T17:00:00+00:00"]);
}

#[test]
fn the_day_of_the_week_and_the_words_are_shown() {
    let args = ["next", "crontab", "0 9 * * 1-5", "--tz", "UTC", "--from", "2026-01-02T10:00:00", "-n", "1"];
    let ended = run(&[&args[..], &["--describe"]].concat());
    assert_eq!(ended.stdout, "at 09:00 on weekdays, UTC\n2026-01-05T09:00:00+00:00  Monday\n");
}

#[test]
fn json_has_everything_in_one_object() {
    let args =
        ["next", "date", "run_date=2026-05-01 09:00:00", "--tz", "Europe/Paris", "--json", "--describe"];
    let mut answer: Value = serde_json::from_str(&run(&args).stdout).unwrap();
    assert!(answer["description"].take().as_str().unwrap().starts_with("once at"), "{answer}");
    let fires = json!(["2026-05-01T09:00:00+02:00"]);
    let expected =
        json!({ "description": null, "timezone": "Europe/Paris", "fires": fires, "exhausted": true });
    assert_eq!(answer, expected);
}

#[test]
fn an_end_of_the_fire_times_is_told() {
    let args = ["next", "cron", "hour=9", "end_date=2026-01-02", "--tz", "UTC", "--from", "2026-01-01"];
    let ended = run(&args);
    assert_eq!(ended.stdout.lines().count(), 1, "{ended:?}");
    assert!(ended.stderr.contains("no fire times after that"), "{ended:?}");
    let ended = run(&["next", "crontab", "0 0 30 2 *", "--tz", "UTC"]);
    assert_eq!((ended.status, ended.stdout.as_str()), (Some(0), ""), "{ended:?}");
    assert!(ended.stderr.contains("the trigger never fires"), "{ended:?}");
}

#[test]
fn a_faulty_trigger_is_told_with_every_fault() {
    let cases: &[(&[&str], &[&str])] = &[
        (
            &["cron", "minute=61", "hor=3"],
            &["2 faults", "minute:", "61 is out of range", "hor: unknown key", "`hour`"],
        ),
        (&["crn", "minute=1"], &["no trigger by the name \"crn\"", "did you mean `cron`"]),
        (&["crontab", "* * *"], &["expr", "expected 5 fields"]),
        (&["interval", "hours=x"], &["hours: expected"]),
        (&["interval", "hours=0"], &["hours: the interval must be longer than zero"]),
        (&["cron"], &["error: a cron trigger needs at least one field of year,"]),
        (&["2026-05-01"], &["no trigger by the name \"2026-05-01\""]),
    ];
    for (args, expected) in cases {
        let ended = run(&[&["next"], *args].concat());
        assert_eq!((ended.status, ended.stdout.as_str()), (Some(1), ""), "{ended:?}");
        expected.iter().for_each(|text| assert!(ended.stderr.contains(text), "`{text}`: {ended:?}"));
    }
}
