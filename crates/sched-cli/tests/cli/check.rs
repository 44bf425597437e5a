//! `sched check` and `sched plugins`: what a file would do, and what is linked in.

use serde_json::Value;

use crate::program::{Schedule, run, run_with};

#[test]
fn a_good_file_is_shown_with_the_next_fire_times_of_its_jobs() {
    let text = "timezone = 'Europe/Berlin'\n\
        [[jobs]]\nid = 'report'\ncommand = ['echo', 'x']\ntrigger = { type = 'date', run_date = '2096-07-02 09:00:00' }\n\
        [[jobs]]\ntask = 'log'\nargs = ['hello']\ncron = '0 9 1 1 *'\n\
        [[jobs]]\nid = 'off'\ncommand = 'true'\nevery = '1h'\npaused = true\n";
    let schedule = Schedule::toml(text);
    let ended = run(&["check", &schedule.path()]);
    assert_eq!((ended.status, ended.stderr.as_str()), (Some(0), ""));
    let blocks: Vec<&str> = ended.stdout.split("\n\n").collect();
    assert!(blocks[0].contains("ok, 3 jobs, time zone Europe/Berlin"), "{}", blocks[0]);
    assert!(blocks[1].starts_with("report\n"), "{}", blocks[1]);
    assert!(blocks[1].contains("2096-07-02T09:00:00+02:00  Monday"), "{}", blocks[1]);
    assert!(blocks[2].starts_with("job-2\n"), "{}", blocks[2]);
    assert_eq!(blocks[2].matches("-01-01T09:00:00+01:00").count(), 3, "{}", blocks[2]);
    assert!(blocks[3].contains("(paused)"), "{}", blocks[3]);
}

#[test]
fn the_same_schedule_is_read_from_every_format() {
    let texts = [
        ("a.toml", "timezone = 'UTC'\n[[jobs]]\nid = 'a'\ncommand = 'true'\ncron = '0 9 * * *'"),
        ("a.yaml", "timezone: UTC\njobs:\n  - id: a\n    command: 'true'\n    cron: 0 9 * * *\n"),
        ("a.yml", "sched.timezone: UTC\nsched:\n  jobs: [{id: a, command: 'true', cron: 0 9 * * *}]\n"),
        ("a.json", r#"{"timezone": "UTC", "jobs": [{"id": "a", "command": "true", "cron": "0 9 * * *"}]}"#),
    ];
    let shown = texts.map(|(name, text)| {
        let ended = run(&["check", &Schedule::new(name, text).path()]);
        assert_eq!(ended.status, Some(0), "{name}: {ended:?}");
        ended.stdout.split_once('\n').unwrap().1.to_owned()
    });
    assert!(shown.iter().all(|other| *other == shown[0]), "{shown:#?}");
}

#[test]
fn a_variable_stands_above_the_file() {
    let schedule = Schedule::toml("timezone = 'UTC'\n[[jobs]]\ncommand = 'true'\ncron = '0 9 * * *'");
    let ended = run_with(&["check", &schedule.path()], b"", &[("SCHED__TIMEZONE", "Asia/Tokyo")]);
    assert!(ended.stdout.contains("time zone Asia/Tokyo"), "{ended:?}");
    assert!(ended.stdout.contains("T09:00:00+09:00"), "{ended:?}");
}

#[test]
fn checking_starts_nothing() {
    let schedule = Schedule::toml("[[jobs]]\ncommand = 'touch started'\n");
    let text = format!("[[jobs]]\ncommand = 'touch started'\ncwd = {:?}\n", schedule.beside("."));
    let schedule_with_place = Schedule::toml(&text);
    assert_eq!(run(&["check", &schedule_with_place.path()]).status, Some(0));
    assert!(!schedule.beside("started").exists());
    assert_eq!(run(&["run", &schedule_with_place.path(), "--once"]).status, Some(0));
    assert!(schedule.beside("started").exists());
}

#[test]
fn the_quickstart_is_a_good_file() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/quickstart.toml");
    let ended = run(&["check", path]);
    assert_eq!((ended.status, ended.stderr.as_str()), (Some(0), ""));
    assert!(ended.stdout.contains("ok, 3 jobs"), "{ended:?}");
}

#[test]
fn plugins_are_listed_with_their_aliases() {
    let text = run(&["plugins"]).stdout;
    for part in ["crontab", "calendarinterval", "memory", "threadpool", "command()", "log(message)"] {
        assert!(text.contains(part), "`{part}` is not in {text}");
    }
    let list: Value = serde_json::from_str(&run(&["plugins", "--json"]).stdout).unwrap();
    let aliases: Vec<&Value> =
        list["plugins"].as_array().unwrap().iter().map(|it| &it["aliases"][0]).collect();
    assert!(aliases.contains(&&Value::from("cron")) && aliases.contains(&&Value::from("memory")), "{list}");
    assert!(list["tasks"].as_array().unwrap().iter().any(|task| task["name"] == "command"), "{list}");
}
