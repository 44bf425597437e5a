//! What is wrong is told once, clearly, with its place; nothing is started.

use crate::program::{Ended, Schedule, run, run_with};

/// A file name, its content, and what both `run` and `check` must say of it.
const FILES: &[(&str, &str, &[&str])] = &[
    ("a.toml", "timezone = 'UTC'\njobs = []", &["jobs: the file has no jobs"]),
    ("a.toml", "timezone = 'UTC'", &["jobs: the file has no jobs"]),
    ("a.toml", "", &["the file is empty"]),
    ("a.yaml", "# nothing\n", &["the file has no content"]),
    ("a.json", " \n", &["the file is empty"]),
    ("a.toml", "[[jobs]\n", &["not valid TOML", "line 1"]),
    ("a.json", "{\"jobs\": [", &["not valid JSON", "line 1"]),
    ("a.yaml", "jobs: [", &["not valid YAML"]),
    ("a.txt", "jobs", &["unknown kind of file"]),
    ("a", "jobs", &["unknown kind of file"]),
    ("a.json", "[]", &["a configuration is a table"]),
    ("a.toml", "jobs = 5", &["jobs: expected a list of tables"]),
    ("a.toml", "jobs = [5]", &["jobs[0]: expected a table"]),
    (
        "a.toml",
        "timezon = 'UTC'\n[[jobs]]\ncommand = 'true'",
        &["timezon: unknown key", "did you mean `timezone`"],
    ),
    (
        "a.toml",
        "[[jobs]]\ncommand = 'true'\ncrom = '* * * * *'",
        &["jobs[0].crom: unknown key", "did you mean `cron`"],
    ),
    ("a.toml", "[[jobs]]\ncomand = 'true'", &["jobs[0].comand: unknown key", "did you mean `command`"]),
    (
        "a.toml",
        "[[jobs]]\ncommand = 'true'\nworking_directory = '/'",
        &["jobs[0].working_directory: unknown key", "known keys: command, cwd, env, task,"],
    ),
    (
        "a.toml",
        "[[jobs]]\ncommand = 'true'\nmax_instances = 'many'",
        &["jobs[0].max_instances: expected an integer"],
    ),
    ("a.toml", "[[jobs]]\ncommand = 'true'\ntimeout = 'soon'", &["jobs[0].timeout: expected a duration"]),
    ("a.toml", "[[jobs]]\ncommand = 'true'\ncron = '61 * * * *'", &["jobs[0].cron", "61 is out of range"]),
    ("a.toml", "[[jobs]]\ncommand = 'true'\ncron = '* *'", &["jobs[0].cron", "expected 5 fields"]),
    ("a.toml", "[[jobs]]\ncommand = 'true'\nevery = 0", &["jobs[0].every: expected a positive duration"]),
    (
        "a.toml",
        "[[jobs]]\ncommand = 'true'\ntrigger = { type = 'crom' }",
        &["jobs[0].trigger.type", "did you mean `cron`"],
    ),
    (
        "a.toml",
        "[[jobs]]\ncommand = 'true'\ntrigger = { type = 'interval', second = 1 }",
        &["jobs[0].trigger.second: unknown key"],
    ),
    (
        "a.toml",
        "[[jobs]]\ncommand = 'true'\ncron = '* * * * *'\nevery = 5",
        &["jobs[0].every: a job has one trigger"],
    ),
    ("a.toml", "[[jobs]]\ncommand = 'true'\nexecutor = 'fast'", &["jobs[0].executor", "`fast`"]),
    ("a.toml", "[[jobs]]\ncommand = 'true'\nstore = 'safe'", &["jobs[0].store", "`safe`"]),
    ("a.toml", "[[jobs]]\ntask = 'logg'", &["jobs[0]", "no task named `logg`", "did you mean `log`"]),
    ("a.toml", "[[jobs]]\ntask = 'log'", &["jobs[0]", "have not been supplied: message"]),
    ("a.toml", "[[jobs]]\nid = 'a'", &["jobs[0].command: missing: a job has either `command` or `task`"]),
    (
        "a.toml",
        "[[jobs]]\ntask = 'log'\nargs = 'x'\ncommand = 'true'",
        &["jobs[0].command: a job has either", "not both"],
    ),
    ("a.toml", "[[jobs]]\ncommand = ''", &["jobs[0].command: expected a line for the shell"]),
    ("a.toml", "[[jobs]]\ncommand = 'true'\nenv = 'A=b'", &["jobs[0].env: expected a table"]),
    (
        "a.toml",
        "[[jobs]]\ncommand = 'true'\nenv = { A = '${SCHED_NO_SUCH}' }",
        &["jobs[0].env.A", "`SCHED_NO_SUCH` is not set"],
    ),
    (
        "a.toml",
        "[[jobs]]\nid = 'a'\ncommand = 'true'\n[[jobs]]\nid = 'a'\ncommand = 'true'",
        &["jobs[1].id: another job has the id `a`"],
    ),
    ("a.toml", "[[jobs]]\nid = ''\ncommand = 'true'", &["jobs[0]", "id must be a string"]),
    (
        "a.toml",
        "timezone = 'Europe/Berln'\n[[jobs]]\ncommand = 'true'",
        &["timezone: unknown time zone", "did you mean `Europe/Berlin`"],
    ),
    (
        "a.toml",
        "job_stores.default.type = 'memry'\n[[jobs]]\ncommand = 'true'",
        &["job_stores.default.type", "did you mean `memory`"],
    ),
    (
        "a.toml",
        "job_stores.default.type = 'redis'\n[[jobs]]\ncommand = 'true'",
        &["job_stores.default.type", "cargo feature `redis` of the `sched-cli` crate"],
    ),
    (
        "a.toml",
        "executors.default.type = 'processpool'\n[[jobs]]\ncommand = 'true'",
        &["executors.default.type", "`sched-cli` comes without it", "threadpool"],
    ),
    (
        "a.toml",
        "executors.default.type = 'threadpol'\n[[jobs]]\ncommand = 'true'",
        &["executors.default.type", "did you mean `threadpool`"],
    ),
    (
        "a.toml",
        "[[jobs]]\ncommand = 'true'\ntrigger = { type = 'cron', year = 1999 }",
        &["jobs[0]", "would never run"],
    ),
    ("a.toml", "[[jobs]]\ncommand = 'true'\ncron = '0 0 30 2 *'", &["jobs[0]", "would never run"]),
];

#[track_caller]
fn check_refused(ended: &Ended, status: i32, expected: &[&str]) {
    assert_eq!(ended.status, Some(status), "{ended:?}");
    assert_eq!(ended.stdout, "", "{ended:?}");
    for text in expected {
        assert!(ended.stderr.contains(text), "`{text}` is not in {:?}", ended.stderr);
    }
    assert!(!ended.stderr.contains("panicked"), "{:?}", ended.stderr);
}

#[test]
fn a_faulty_schedule_file_is_refused_with_the_place_of_the_fault() {
    // A build of the whole workspace links everything into the command.
    let plugins = run(&["plugins"]).stdout;
    let is_linked = |text: &str| {
        ["redis", "processpool"]
            .iter()
            .any(|alias| plugins.contains(alias) && text.contains(&format!("'{alias}'")))
    };
    for (name, text, expected) in FILES.iter().filter(|(_, text, _)| !is_linked(text)) {
        let schedule = Schedule::new(name, text);
        for command in ["check", "run"] {
            let ended = run(&[command, &schedule.path()]);
            check_refused(&ended, 1, expected);
            assert!(ended.stderr.contains(&schedule.path()), "{text}: no file name in {:?}", ended.stderr);
        }
    }
}

#[test]
fn every_fault_is_told_at_once() {
    let text = "timezone = 'Mars/Olympus'\nfoo = 1\n\
        [[jobs]]\ncommand = 5\ncron = 'x'\n[[jobs]]\nid = 'b'\n[[jobs]]\ncommand = 'true'\nbar = 2\nenv.A = []\n";
    let schedule = Schedule::toml(text);
    let ended = run(&["check", &schedule.path()]);
    let expected = ["7 faults", "timezone:", "foo:", "jobs[0].command:", "jobs[0].cron", "jobs[1].command:"];
    check_refused(&ended, 1, &expected);
    check_refused(&ended, 1, &["jobs[2].bar:", "jobs[2].env.A:"]);
}

#[test]
fn a_file_that_cannot_be_read_is_told() {
    let schedule = Schedule::new("latin.toml", b"timezone = '\xe4'");
    let directory = schedule.beside(".");
    let missing = schedule.beside("missing.toml");
    let cases = [
        (schedule.path(), "not UTF-8"),
        (directory.to_str().unwrap().to_owned(), "it is a directory"),
        (missing.to_str().unwrap().to_owned(), "cannot read"),
    ];
    for (path, expected) in cases {
        for command in ["check", "run"] {
            check_refused(&run(&[command, &path]), 1, &[expected, &path]);
        }
    }
}

#[test]
fn a_faulty_variable_is_told_like_a_faulty_key() {
    let schedule = Schedule::toml("[[jobs]]\ncommand = 'true'");
    let variables = [("SCHED__JOB_DEFAULTS__COALESC", "true")];
    let ended = run_with(&["check", &schedule.path()], b"", &variables);
    check_refused(&ended, 1, &["job_defaults.coalesc: unknown key", "did you mean `coalesce`"]);
}

#[test]
fn a_command_line_that_makes_no_sense_is_refused() {
    let schedule = Schedule::toml("[[jobs]]\ncommand = 'true'\nevery = '1h'");
    let path = schedule.path();
    let cases: &[(&[&str], &str)] = &[
        (&[], "Usage"),
        (&["rum"], "unrecognized subcommand"),
        (&["run"], "<FILE>"),
        (&["run", &path, "--log", "xml"], "--log"),
        (&["run", &path, "--until", "soon"], "neither a time nor a duration"),
        (&["run", &path, "--until", "2001-01-01"], "is past"),
        (&["run", &path, "--until", "1s", "--once"], "cannot be used with"),
        (&["next"], "<TRIGGER>"),
        (&["next", "cron", "hour=9", "--tz", "Mars/Olympus"], "unknown time zone"),
        (&["next", "cron", "hour=9", "--from", "yesterday"], "--from: invalid date"),
        (&["next", "cron", "hour=9", "-n", "0"], "--count"),
        (&["next", "cron", "hour=9", "hour=10"], "`hour` is given twice"),
        (&["next", "interval", "5"], "expected `key=value`"),
        (&["next", "0 9 * * *"], "write `sched next crontab \"0 9 * * *\"`"),
        (&["next", "*/5", "9-17", "*", "*", "mon"], "write `sched next crontab \"*/5 9-17 * * mon\"`"),
        (&["next", "@daily", "-n", "2"], "write `sched next crontab \"@daily\"`"),
        (&["next", "or", "triggers=[{]"], "looks like JSON but is not"),
        (&["next", "--batch", "cron"], "cannot be used with"),
    ];
    for (args, expected) in cases {
        check_refused(&run(args), 2, &[expected]);
    }
}
