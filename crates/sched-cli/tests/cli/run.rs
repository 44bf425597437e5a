//! `sched run` with the task `log`: how it begins, ends and tells.

use std::io::Read;
use std::time::Duration;

use serde_json::Value;

use crate::program::{Schedule, run, run_with, spawn};

const TICKER: &str = "timezone = 'Europe/Berlin'\n\
    [[jobs]]\nid = 'tick'\ntask = 'log'\nargs = ['tock']\nevery = 0.2\n";

#[test]
fn a_schedule_runs_until_the_given_time() {
    let schedule = Schedule::toml(TICKER);
    let ended = run(&["run", &schedule.path(), "--until", "3s"]);
    assert_eq!((ended.status, ended.stderr.as_str()), (Some(0), ""));
    assert!(ended.stdout.contains("1 job, time zone Europe/Berlin"), "{}", ended.stdout);
    assert!(ended.stdout.contains("tick  every 200"), "{}", ended.stdout);
    for text in [" CET  tick  started", "tick  | tock", "tick  finished in ", "scheduler stopped"] {
        assert!(ended.stdout.contains(text), "`{text}` is not in {}", ended.stdout);
    }
}

#[test]
fn an_end_can_be_a_time() {
    let schedule = Schedule::toml(TICKER);
    let end = std::time::SystemTime::now() + Duration::from_secs(5);
    let seconds = end.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let end = chrono::DateTime::from_timestamp(i64::try_from(seconds).unwrap(), 0).unwrap();
    let ended = run(&["run", &schedule.path(), "--until", &end.to_rfc3339()]);
    assert_eq!(ended.status, Some(0), "{ended:?}");
}

#[test]
fn json_lines_have_stable_keys() {
    let schedule = Schedule::toml(TICKER);
    let ended = run(&["run", &schedule.path(), "--until", "3s", "--log", "json"]);
    assert_eq!(ended.status, Some(0), "{ended:?}");
    let lines: Vec<Value> = ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let first = |event: &str| {
        let found = lines.iter().find(|line| line["event"] == event);
        found.unwrap_or_else(|| panic!("no `{event}` in {}", ended.stdout))
    };
    assert_eq!(
        (&lines[0]["event"], &lines[lines.len() - 1]["event"]),
        (&"scheduler_started".into(), &"scheduler_shutdown".into())
    );
    let (started, output, done) = (first("run_started"), first("run_output"), first("job_executed"));
    for line in [started, output, done] {
        assert_eq!((&line["job"], &line["task"]), (&"tick".into(), &"log".into()), "{line}");
        assert_eq!(line["run"], started["run"], "{line}");
        for key in ["time", "scheduled"] {
            let time = line[key].as_str().unwrap();
            assert!(time.ends_with("+01:00") || time.ends_with("+02:00"), "{line}");
            chrono::DateTime::parse_from_rfc3339(time).unwrap();
        }
    }
    assert_eq!((&output["line"], &output["stream"]), (&"tock".into(), &"stdout".into()));
    assert_eq!(done["outcome"], "succeeded");
    assert!(done["duration_ms"].is_u64() && done.get("error").is_none(), "{done}");
}

#[test]
fn once_runs_every_job_whatever_its_trigger() {
    let text = "executors.default = { type = 'threadpool', max_workers = 1 }\n\
        job_defaults.jitter = '1h'\n\
        [[jobs]]\nid = 'yearly'\ntask = 'log'\nargs = ['one']\ncron = '@yearly'\n\
        [[jobs]]\nid = 'later'\ntask = 'log'\nkwargs = { message = 'two' }\nat = '2126-01-01'\n\
        [[jobs]]\nid = 'now'\ntask = 'log'\nargs = ['three']\n\
        [[jobs]]\nid = 'off'\ntask = 'log'\nargs = ['four']\nevery = '1s'\npaused = true\n";
    let schedule = Schedule::toml(text);
    let ended = run(&["run", &schedule.path(), "--once"]);
    assert_eq!((ended.status, ended.stderr.as_str()), (Some(0), ""));
    for text in ["| one", "| two", "| three", "off: left out, it is paused"] {
        assert_eq!(ended.stdout.matches(text).count(), 1, "`{text}`: {}", ended.stdout);
    }
    assert!(!ended.stdout.contains("four"), "{}", ended.stdout);
}

#[test]
fn variables_configure_the_scheduler_that_runs() {
    let schedule = Schedule::toml(TICKER);
    let variables = [("SCHED__TIMEZONE", "Asia/Tokyo"), ("SCHED__EXECUTORS__DEFAULT__TYPE", "debug")];
    let ended = run_with(&["run", &schedule.path(), "--once"], b"", &variables);
    assert_eq!(ended.status, Some(0), "{ended:?}");
    assert!(ended.stdout.contains(" JST  tick  | tock"), "{ended:?}");
}

#[test]
fn a_schedule_goes_on_when_nobody_reads_its_log() {
    let schedule = Schedule::toml(TICKER);
    let mut child = spawn(&["run", &schedule.path(), "--until", "1500ms"]);
    let mut first = [0; 10];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}
