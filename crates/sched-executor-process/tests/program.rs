//! A whole program: it calls `init` first, and its scheduler has a process pool by alias from a dictionary.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test without a harness"
)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{env, fs, process, thread};

use sched_core::{
    Args, Event, EventMask, Job, NewRun, Outcome, RunEnded, Shutdown, Task, TaskEntry, current_run,
    current_scheduler,
};
use sched_runtime_blocking::BackgroundScheduler;
use sched_triggers::ScheduleExt as _;
use serde_json::{Value, json};
use {sched_executor_process as _, sched_store_memory as _};

/// Makes the program leave `init` out.
const FORGETFUL: &str = "SCHED_TEST_FORGETFUL";
/// Makes the program replace its own file, run a task, and end.
const REPLACED: &str = "SCHED_TEST_REPLACED";
/// Makes the program run a task that prints, and end.
const PRINTING: &str = "SCHED_TEST_PRINTING";
/// Makes the program wait for its end with a run that goes on.
const WAITING: &str = "SCHED_TEST_WAITING";

inventory::submit! { TaskEntry { task: || Task::new("who", |context, args| who(context.metadata().is_some(), args)) } }
inventory::submit! { TaskEntry { task: || Task::new("crash", |_, _| -> () { process::abort() }) } }
inventory::submit! {
    TaskEntry { task: || Task::new("leak", |_, _| -> () {
        loop {
            std::mem::forget(std::hint::black_box(Vec::<u8>::with_capacity(1 << 20)));
        }
    }) }
}
inventory::submit! { TaskEntry { task: || Task::new("hang", |_, _| -> () { loop { thread::park(); } }) } }
inventory::submit! {
    TaskEntry { task: || Task::new("print", |context, _| {
        println!("to standard output");
        eprintln!("to standard error");
        print!("without an end");
        context.run().id.to_string()
    }) }
}
inventory::submit! { TaskEntry { task: || Task::new("sign", |context, _| println!("{}", context.run().id)) } }
inventory::submit! {
    TaskEntry { task: || Task::new("stay", |_, _| -> () {
        println!("{}", process::id());
        loop { thread::park(); }
    }) }
}

fn who(has_metadata: bool, args: &Args) -> Value {
    let run = current_run().map(|context| context.run().task.to_string());
    json!([process::id(), run, current_scheduler().is_some(), has_metadata, args.positional()])
}

fn main() {
    if env::var_os(FORGETFUL).is_none() {
        sched_executor_process::init();
    }
    if env::var_os(WAITING).is_some() {
        return wait_for_the_end();
    }
    if env::var_os(PRINTING).is_some() {
        return print();
    }
    if env::var_os(REPLACED).is_some() {
        return replace();
    }
    if env::var_os(FORGETFUL).is_some() {
        return forget();
    }
    tasks_run_in_another_process();
    a_listener_of_an_end_may_shut_down();
    what_tasks_print_is_labelled();
    a_program_whose_file_is_replaced_goes_on();
    bad_tasks_end_with_their_reason_and_delay_nobody();
    children_die_with_the_program();
    a_program_without_init_is_told();
    println!("test result: ok. 7 passed");
}

fn scheduler(executor: Value) -> BackgroundScheduler {
    let config = json!({
        "apscheduler.executors.default": executor,
        "apscheduler.job_defaults.metadata": { "team": "ops" },
    });
    BackgroundScheduler::from_config(config).unwrap()
}

fn tasks_run_in_another_process() {
    let scheduler = scheduler(json!({ "type": "processpool", "max_workers": "2" }));
    scheduler.start().unwrap();
    let seen = scheduler.run_job(NewRun::task("who").args(json!(["x"]))).unwrap();
    assert_ne!(seen[0], json!(process::id()));
    assert_eq!(seen[1], json!("who"));
    assert_eq!(seen[2], json!(false), "no scheduler reaches into another process");
    assert_eq!(seen[4], json!(["x"]));
    let error = scheduler.run_job(NewRun::task("crash")).unwrap_err().to_string();
    assert!(error.contains("killed by signal 6 (SIGABRT)"), "{error}");
    assert!(scheduler.run_job(NewRun::task("who")).is_ok(), "the pool goes on");
    scheduler.shutdown(true).unwrap();
}

/// A run ends on a thread of the pool, where its listeners are part of it.
fn a_listener_of_an_end_may_shut_down() {
    let scheduler = scheduler(json!({ "type": "processpool", "max_workers": "1" }));
    let (own, (sender, ended)) = (scheduler.clone(), std::sync::mpsc::channel());
    let stop = move |_: &Event| drop(sender.send((current_run().is_some(), own.shutdown(Shutdown::Wait))));
    scheduler.add_listener(stop, EventMask::JOB_EXECUTED);
    scheduler.start().unwrap();
    scheduler.add_job(Job::task("who")).unwrap();
    let (is_inside, shut_down) = ended.recv_timeout(Duration::from_secs(20)).unwrap();
    shut_down.unwrap();
    assert!(is_inside && !scheduler.is_running());
}

/// The program as a process of its own.
fn again(variable: &str) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command.env(variable, "1").stdin(Stdio::null());
    command
}

/// Each line of a task, on either stream, is on the program's standard error with executor, task and run in front.
fn what_tasks_print_is_labelled() {
    let program = again(PRINTING).output().unwrap();
    let (run, told) =
        (String::from_utf8(program.stdout).unwrap(), String::from_utf8(program.stderr).unwrap());
    let label = format!("[default print {}] ", run.trim());
    let mut lines: Vec<_> = told.lines().filter_map(|line| line.strip_prefix(&label)).collect();
    lines.sort_unstable();
    assert_eq!(lines, ["to standard error", "to standard output", "without an end"], "{told}");
    let signed: Vec<_> = told.lines().filter_map(|line| line.strip_prefix("[default sign ")).collect();
    assert_eq!(signed.len(), 300, "{told}");
    for line in signed {
        let (label, signature) = line.split_once("] ").unwrap();
        assert_eq!(label, signature, "a line of another run");
    }
}

fn print() {
    let scheduler = scheduler(json!({ "type": "processpool", "output": "stderr" }));
    scheduler.start().unwrap();
    println!("{}", scheduler.run_job(NewRun::task("print")).unwrap().as_str().unwrap());
    // Quick runs, of which a silent process would get many at once.
    for _ in 0..300 {
        scheduler.add_run(NewRun::task("sign")).unwrap();
    }
    scheduler.run_job(NewRun::task("who").priority(-1)).unwrap();
    scheduler.shutdown(true).unwrap();
}

/// An upgrade puts another file in the place of a program that runs; its processes are still itself.
fn a_program_whose_file_is_replaced_goes_on() {
    let copy = env::temp_dir().join(format!("sched-program-{}", process::id()));
    fs::copy(env::current_exe().unwrap(), &copy).unwrap();
    let program = Command::new(&copy).env(REPLACED, "1").stdin(Stdio::null()).output();
    fs::remove_file(&copy).unwrap();
    let program = program.unwrap();
    let told = String::from_utf8_lossy(&program.stdout);
    assert!(program.status.success() && told.contains("\"who\""), "{told}");
}

fn replace() {
    let own = env::current_exe().unwrap();
    fs::remove_file(&own).unwrap();
    fs::write(&own, "another program").unwrap();
    let scheduler = scheduler(json!({ "type": "processpool", "max_workers": 1 }));
    scheduler.start().unwrap();
    println!("{}", scheduler.run_job(NewRun::task("who")).unwrap());
    scheduler.shutdown(true).unwrap();
}

/// A job that aborts, one that leaks to its limit, one that never returns, and a well-behaved one share four processes.
/// Each run ends with its reason, starts before the next is due, and none is skipped.
fn bad_tasks_end_with_their_reason_and_delay_nobody() {
    const ROUNDS: usize = 4;
    let scheduler = scheduler(json!({
        "type": "processpool", "max_workers": 4, "max_memory": 512 << 20, "kill_grace": "50ms", "output": "log",
    }));
    let mask = EventMask::JOB_EXECUTED | EventMask::JOB_ERROR | EventMask::JOB_MISSED;
    let events = scheduler.subscribe(mask | EventMask::JOB_MAX_INSTANCES);
    scheduler.start().unwrap();
    let period = Duration::from_secs(1);
    let tasks = ["crash", "leak", "who"];
    for task in tasks {
        scheduler.add_job(Job::task(task).id(task).every(period)).unwrap();
    }
    let limit = Duration::from_millis(200);
    scheduler.add_job(Job::task("hang").id("hang").every(period).timeout(limit)).unwrap();
    let mut ends: BTreeMap<Arc<str>, Vec<RunEnded>> = BTreeMap::new();
    while ends.len() <= tasks.len() || ends.values().any(|ends| ends.len() < ROUNDS) {
        let event = events.next_within(Duration::from_secs(20)).unwrap();
        assert!(!matches!(event, Event::JobMaxInstances { .. } | Event::JobMissed(_)), "{event:?}");
        let ended = event.ended().cloned().unwrap();
        ends.entry(Arc::clone(&ended.run.task)).or_default().push(ended);
    }
    scheduler.shutdown(true).unwrap();
    for (task, ends) in &ends {
        for (earlier, later) in ends.iter().zip(&ends[1..]) {
            assert_eq!((later.run.fire_time - earlier.run.fire_time).to_std().unwrap(), period, "{task}");
        }
        for end in ends {
            let late = (end.started_at.unwrap() - end.run.scheduled_time).to_std().unwrap();
            assert!(late < period, "{task} started {late:?} late");
            let text = end.outcome.to_string();
            let (is_right, reason) = match &**task {
                "crash" => (text.contains("killed by signal 6 (SIGABRT)"), "an abort"),
                "leak" => (text.contains("memory allocation of 1048576 bytes failed"), "a leak"),
                "hang" => (end.outcome == Outcome::TimedOut, "a timeout"),
                _ => (end.outcome.is_success(), "a success"),
            };
            assert!(is_right, "{task}: `{text}` is not {reason}");
        }
    }
}

fn children_die_with_the_program() {
    let mut program = again(WAITING).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(program.stderr.take().unwrap()).lines();
    let line = lines.find_map(|line| line.ok().filter(|line| line.starts_with("[default stay "))).unwrap();
    let pid = line.rsplit(' ').next().unwrap().to_owned();
    assert!(fs::exists(format!("/proc/{pid}")).unwrap(), "{line}");
    program.kill().unwrap();
    program.wait().unwrap();
    let begin = Instant::now();
    // A process that nobody waits for stays a zombie until its new parent looks.
    let is_gone =
        || fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| stat.contains(") Z "));
    while !is_gone() {
        assert!(begin.elapsed() < Duration::from_secs(20), "process {pid} outlives its program");
        thread::sleep(Duration::from_millis(2));
    }
}

fn wait_for_the_end() {
    let scheduler = scheduler(json!({ "type": "processpool", "output": "stderr" }));
    scheduler.start().unwrap();
    let _ = scheduler.run_job(NewRun::task("stay"));
}

fn a_program_without_init_is_told() {
    let mut program = again(FORGETFUL).stdout(Stdio::piped()).spawn().unwrap();
    let mut told = String::new();
    program.stdout.take().unwrap().read_to_string(&mut told).unwrap();
    assert!(program.wait().unwrap().success());
    let lines: Vec<&str> = told.lines().collect();
    assert!(lines[0].contains("::init()`") && lines[0].contains("at the top of `main`"), "{told}");
    assert!(lines[1].contains("the worker process ran the program itself"), "{told}");
}

/// Without `init` a pool of the program itself does not start; one of a worker that is the program finds out as soon as
/// the worker wants a pool of its own.
fn forget() {
    let refused = scheduler(json!({ "type": "processpool" })).start().unwrap_err();
    println!("{refused}");
    let worker = env::current_exe().unwrap();
    let config = json!({
        "type": "processpool", "worker": worker.to_str(), "env": { (FORGETFUL): "1" }, "output": "discard",
    });
    let scheduler = scheduler(config);
    if let Err(error) = scheduler.start() {
        println!("{error}");
        return;
    }
    let error = scheduler.run_job(NewRun::task("who")).unwrap_err();
    println!("{error}");
    scheduler.shutdown(true).unwrap();
}
