//! A whole program: it calls `init` first, and its scheduler has a process pool by alias from a dictionary.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test without a harness")]

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, process, thread};

use sched_core::{
    Args, Event, EventMask, Job, NewRun, Shutdown, Task, TaskEntry, current_run, current_scheduler,
};
use sched_runtime_blocking::BackgroundScheduler;
use serde_json::{Value, json};
use {sched_executor_process as _, sched_store_memory as _, sched_triggers as _};

/// Makes the program leave `init` out.
const FORGETFUL: &str = "SCHED_TEST_FORGETFUL";
/// Makes the program wait for its end with a run that goes on.
const WAITING: &str = "SCHED_TEST_WAITING";

inventory::submit! { TaskEntry { task: || Task::new("who", |context, args| who(context.metadata().is_some(), args)) } }
inventory::submit! { TaskEntry { task: || Task::new("crash", |_, _| -> () { process::abort() }) } }
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
    if env::var_os(FORGETFUL).is_some() {
        return forget();
    }
    tasks_run_in_another_process();
    a_listener_of_an_end_may_shut_down();
    children_die_with_the_program();
    a_program_without_init_is_told();
    println!("test result: ok. 4 passed");
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
