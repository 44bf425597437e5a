//! Jobs with `command`: output, status, limits, and what becomes of their processes.

use std::fs::{self, File};
use std::io::Read;
use std::process::Command;
use std::sync::mpsc::{self, Receiver};
use std::thread;

use rustix::process::Signal;
use serde_json::Value;

use crate::program::{DEADLINE, Running, Schedule, run};

/// A named pipe. It tells the test when the last process that holds it is gone, and lets the test hold a process.
struct Fifo {
    path: String,
}

impl Fifo {
    fn new(schedule: &Schedule, name: &str) -> Self {
        let path = schedule.beside(name).to_str().unwrap().to_owned();
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        Self { path }
    }

    /// Hears when somebody has opened it for writing and all such processes have ended.
    fn when_released(&self) -> Receiver<()> {
        let ((sender, released), path) = (mpsc::channel(), self.path.clone());
        thread::spawn(move || {
            File::open(path).unwrap().read_to_end(&mut Vec::new()).unwrap();
            sender.send(()).unwrap();
        });
        released
    }
}

/// A schedule file of one job, made of lines that may name its directory as `{dir}`.
fn job(lines: &str) -> Schedule {
    let schedule = Schedule::toml("");
    let directory = schedule.beside("");
    let text = format!("[[jobs]]\nid = 'it'\n{}\n", lines.replace("{dir}", directory.to_str().unwrap()));
    fs::write(schedule.path(), text).unwrap();
    schedule
}

#[test]
fn output_and_status_of_commands_are_told() {
    let cases: &[(&str, i32, &[&str])] = &[
        ("command = 'echo a; echo b >&2'", 0, &["it  | a", "it  ! b", "it  finished in"]),
        ("command = ['printf', '%s;%s', 'a b', '$HOME']", 0, &["it  | a b;$HOME"]),
        ("command = 'echo why >&2; echo >&2; exit 3'", 1, &["it  failed after", ": exit status 3: why"]),
        ("command = 'kill -9 $$'", 1, &["it  failed after", "signal: 9"]),
        ("command = ['no-such-program-here']", 1, &["cannot start `no-such-program-here`", "No such file"]),
        ("command = 'true'\ncwd = '/no/such/directory'", 1, &["cannot start the shell", "No such file"]),
        ("command = 'pwd'\ncwd = '/'", 0, &["it  | /"]),
        ("command = 'echo $A-${B}'\nenv = { A = 'x y', B = 5 }", 0, &["it  | x y-5"]),
        ("command = ['sh', '-c', 'echo $0', '${PATH}']", 0, &["it  | /"]),
        ("command = 'echo $SCHED_JOB'", 0, &["it  | it"]),
        ("command = 'cat'", 0, &["it  finished in"]),
        ("command = 'printf \"a\\033[2Jb\"'", 0, &["it  | a\u{fffd}[2Jb"]),
        ("command = 'sleep 5 >/dev/null 2>&1 & echo $!'\ntimeout = '20s'", 0, &["it  finished in"]),
    ];
    for (lines, status, expected) in cases {
        let ended = run(&["run", &job(lines).path(), "--once"]);
        assert_eq!(ended.status, Some(*status), "{lines}: {ended:?}");
        for text in *expected {
            assert!(ended.stdout.contains(text), "{lines}: `{text}` is not in {}", ended.stdout);
        }
    }
}

#[test]
fn a_flood_of_output_is_cut_and_does_not_stop_the_command() {
    let lines = "command = 'head -c 20000 /dev/zero | tr \"\\\\000\" x; echo; seq 1 20000; echo end'";
    let ended = run(&["run", &job(lines).path(), "--once", "--log", "json"]);
    assert_eq!(ended.status, Some(0), "{}", ended.stderr);
    let lines: Vec<Value> = ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let output: Vec<&str> = lines.iter().filter_map(|line| line["line"].as_str()).collect();
    assert!(output[0].starts_with("xxx") && output[0].ends_with(" […]") && output[0].len() < 10_000);
    assert_eq!((output.len(), output[20_000], output[20_001]), (20_002, "20000", "end"));
}

#[test]
fn the_first_ctrl_c_waits_for_what_is_running() {
    for signal in [Signal::INT, Signal::TERM] {
        let schedule = job("command = 'echo begun; read x < {dir}/gate; echo over $x'\nevery = 0.2");
        let gate = Fifo::new(&schedule, "gate");
        let mut running = Running::start(&["run", &schedule.path()]);
        running.expect("| begun");
        running.signal(signal);
        running.expect("waiting for it");
        fs::write(&gate.path, "now\n").unwrap();
        running.expect("| over now");
        running.expect("it  finished in");
        let ended = running.end();
        assert_eq!((ended.status, ended.stderr.as_str()), (Some(0), ""));
        assert_eq!(ended.stdout.matches("| begun").count(), 1, "{}", ended.stdout);
    }
}

#[test]
fn the_second_ctrl_c_ends_it_and_kills_the_commands() {
    let schedule = job("command = 'exec 3> {dir}/held; sleep 300 & echo begun; wait'\nevery = 0.2");
    let released = Fifo::new(&schedule, "held").when_released();
    let mut running = Running::start(&["run", &schedule.path()]);
    running.expect("| begun");
    running.signal(Signal::INT);
    running.expect("waiting for it");
    running.signal(Signal::INT);
    let ended = running.end();
    assert_eq!(ended.status, Some(130), "{ended:?}");
    released.recv_timeout(DEADLINE).unwrap();
}

#[test]
fn a_command_whose_time_is_up_is_killed_with_all_its_processes() {
    // The first ends when it is asked to, the second only when it is killed.
    for trap in ["", "trap \"\" TERM; "] {
        let lines =
            format!("command = '{trap}exec 3> {{dir}}/held; sleep 300 & wait; sleep 300'\ntimeout = '2s'");
        let schedule = job(&lines);
        let released = Fifo::new(&schedule, "held").when_released();
        let ended = run(&["run", &schedule.path(), "--once", "--log", "json"]);
        assert_eq!(ended.status, Some(1), "{ended:?}");
        let error = ended.stdout.lines().find(|line| line.contains("\"job_error\"")).unwrap();
        let error: Value = serde_json::from_str(error).unwrap();
        assert_eq!((&error["outcome"], &error["error"]), (&"timed_out".into(), &"timed out".into()));
        released.recv_timeout(DEADLINE).unwrap();
    }
}

#[test]
fn a_cancelled_command_is_killed_with_all_its_processes() {
    let lines = "command = 'exec 3> {dir}/held; sleep 300 & echo begun; wait'\nevery = 1\noverlap = 'cancel_previous'";
    let schedule = job(lines);
    let released = Fifo::new(&schedule, "held").when_released();
    let mut running = Running::start(&["run", &schedule.path()]);
    running.expect("| begun");
    running.expect("it  cancelled after");
    running.signal(Signal::INT);
    running.expect("waiting for it");
    running.signal(Signal::INT);
    assert_eq!(running.end().status, Some(130));
    released.recv_timeout(DEADLINE).unwrap();
}

#[test]
fn once_fails_when_one_job_fails() {
    let text =
        "[[jobs]]\nid = 'good'\ncommand = 'true'\n[[jobs]]\nid = 'bad'\ncommand = 'false'\nevery = '1h'\n";
    let ended = run(&["run", &Schedule::toml(text).path(), "--once"]);
    assert_eq!((ended.status, ended.stderr.as_str()), (Some(1), ""));
    assert!(
        ended.stdout.contains("good  finished") && ended.stdout.contains("bad   failed"),
        "{}",
        ended.stdout
    );
}
