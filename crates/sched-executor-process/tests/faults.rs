//! Real processes that crash, hang, leak and print, and what becomes of their runs.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use std::{env, fs, process, thread};

use sched_core::{
    BuildContext, Capacity, Error, ErrorKind, Event, EventMask, Execution, Executor, ExecutorContext,
    JobOptions, NewRun, Outcome, Registry, RunSink, RunState, Scheduler, Shutdown, Task, TaskErrorKind,
};
use sched_executor_process::{InheritEnv, ProcessPoolBuilder, ProcessPoolExecutor, TaskOutput, WORKER_DIED};
use sched_runtime_blocking::BackgroundScheduler;
use sched_testkit::jobs::{CANCELLABLE_GATE, ECHO, ECHO_LATER, GATE, WHY, execution_with, run_id};
use sched_testkit::{Gate, RecordingSink, SimClock};
use serde_json::{Value, json};

/// In a worker process this serves; in an ordinary run of the tests it does nothing.
#[test]
fn serve() {
    let registry = tasks().into_iter().fold(Registry::builder(), sched_core::RegistryBuilder::task);
    sched_executor_process::init_with(&registry.build().unwrap());
}

fn tasks() -> Vec<Arc<Task>> {
    let own = [
        Task::new("abort", |_, _| -> () { process::abort() }),
        Task::new("exit", |_, _| -> () { process::exit(3) }),
        Task::new("pid", |_, _| process::id()),
        Task::new("leak", |_, _| -> () {
            loop {
                std::mem::forget(std::hint::black_box(vec![1_u8; 1 << 20]));
            }
        }),
        Task::new("hoard", |_, _| -> () {
            loop {
                std::mem::forget(std::hint::black_box(Vec::<u8>::with_capacity(1 << 20)));
            }
        }),
        Task::new("hang", |_, _| -> () {
            loop {
                thread::park();
            }
        }),
        Task::new("brood", |_, args| -> Result<(), String> {
            let child =
                process::Command::new("sleep").arg("3600").spawn().map_err(|error| error.to_string())?;
            let file = args.positional().first().and_then(Value::as_str).unwrap_or_default();
            fs::write(file, child.id().to_string()).map_err(|error| error.to_string())?;
            loop {
                thread::park();
            }
        }),
        Task::new("env", |_, args| {
            args.positional().first().and_then(Value::as_str).and_then(|name| std::env::var(name).ok())
        }),
        Task::new("scheduler", |_, _| sched_core::current_scheduler().is_some()),
        Task::new("long", |_, _| "x".repeat(10_000)),
        Task::new("append", |_, args| {
            let path = args.positional().first().and_then(Value::as_str).unwrap_or_default();
            let file = fs::OpenOptions::new().create(true).append(true).open(path);
            file.and_then(|mut file| file.write_all(b"x")).map_err(|error| error.to_string())
        }),
        Task::new("fds", |_, _| {
            let open =
                fs::read_dir("/proc/self/fd").map(|fds| fds.count()).map_err(|error| error.to_string())?;
            Ok::<_, String>(open)
        }),
    ];
    own.map(Arc::new).into_iter().chain(sched_testkit::jobs::tasks()).collect()
}

fn builder() -> ProcessPoolBuilder {
    let builder =
        ProcessPoolExecutor::builder().max_workers(2).worker_args(["serve", "--exact", "--nocapture"]);
    builder.output(TaskOutput::Discard)
}

struct Fixture {
    executor: ProcessPoolExecutor,
    sink: Arc<RecordingSink>,
}

impl Fixture {
    fn start(builder: ProcessPoolBuilder) -> Self {
        let fixture = Self { executor: builder.build(), sink: RecordingSink::new(SimClock::default()) };
        fixture.executor.start(ExecutorContext { alias: Arc::from("default") }).unwrap();
        fixture
    }

    fn execution(&self, number: u64, name: &str, args: Value) -> Execution {
        let task = tasks().into_iter().find(|task| task.name() == name).unwrap();
        self.execution_of(number, task, args)
    }

    fn execution_of(&self, number: u64, task: Arc<Task>, args: Value) -> Execution {
        let sink = Arc::clone(&self.sink) as Arc<dyn RunSink>;
        execution_with(number, task, args, JobOptions::default(), sink)
    }

    fn submit(&self, number: u64, name: &str, args: Value) {
        self.executor.submit(vec![self.execution(number, name, args)]).unwrap();
    }

    fn outcome(&self, number: u64) -> Outcome {
        self.sink.report_of(run_id(number)).outcome
    }

    fn run(&self, number: u64, name: &str, args: Value) -> Outcome {
        self.submit(number, name, args);
        self.outcome(number)
    }

    /// The message of a run that died with its process.
    fn died(&self, number: u64, name: &str) -> String {
        let Outcome::Failed(error) = self.run(number, name, Value::Null) else {
            panic!("`{name}` did not fail")
        };
        assert_eq!(*error.kind(), TaskErrorKind::Other(WORKER_DIED.to_owned()));
        error.message().to_owned()
    }

    fn is_alive(&self, number: u64) {
        assert_eq!(self.run(number, ECHO, json!(["alive"])), Outcome::Succeeded(json!("alive")));
    }

    fn end(self) {
        self.executor.shutdown(Shutdown::Wait).unwrap();
    }
}

fn exists(pid: u64) -> bool {
    fs::exists(format!("/proc/{pid}")).unwrap()
}

#[test]
fn ten_thousand_quick_runs_are_each_reported_once() {
    for recycled in [None, Some(500)] {
        let builder = recycled.into_iter().fold(builder(), ProcessPoolBuilder::max_tasks_per_child);
        let fixture = Fixture::start(builder);
        let echo = sched_testkit::jobs::task(ECHO);
        let run = |number| fixture.execution_of(number, Arc::clone(&echo), json!([number]));
        fixture.executor.submit((0..10_000).map(run).collect()).unwrap();
        fixture.executor.shutdown(Shutdown::Wait).unwrap();
        let mut reports = fixture.sink.reports();
        reports.sort_unstable_by_key(|report| report.run.id);
        assert_eq!(reports.len(), 10_000);
        for (number, report) in (0..).zip(&reports) {
            assert_eq!((report.run.id, report.outcome.value()), (run_id(number), Some(&json!(number))));
        }
    }
}

#[test]
fn a_process_that_dies_takes_its_own_run_along_and_no_other() {
    let fixture = Fixture::start(builder());
    let echo = sched_testkit::jobs::task(ECHO);
    let mixed = |number: u64| match number % 100 {
        50 => fixture.execution(number, "abort", Value::Null),
        _ => fixture.execution_of(number, Arc::clone(&echo), json!([number])),
    };
    fixture.executor.submit((0..1_000).map(mixed).collect()).unwrap();
    fixture.executor.shutdown(Shutdown::Wait).unwrap();
    let reports = fixture.sink.reports();
    assert_eq!(reports.len(), 1_000);
    let failed: BTreeSet<_> =
        reports.iter().filter(|report| !report.outcome.is_success()).map(|report| report.run.id).collect();
    assert_eq!(failed, (0..10).map(|hundred| run_id(hundred * 100 + 50)).collect());
}

#[test]
fn the_end_of_a_process_is_told_and_the_pool_goes_on() {
    let fixture = Fixture::start(builder());
    assert!(fixture.died(1, "abort").starts_with("the worker process was killed by signal 6 (SIGABRT)"));
    fixture.is_alive(2);
    assert_eq!(fixture.died(3, "exit"), "the worker process exited with status 3");
    fixture.is_alive(4);
    fixture.end();
}

#[test]
fn a_leak_ends_at_the_limit_and_with_its_own_run() {
    let fixture = Fixture::start(builder().max_memory(512 << 20).output(TaskOutput::Stderr));
    let reason = fixture.died(1, "leak");
    assert!(reason.contains("(SIGABRT): memory allocation of 1048576 bytes failed"), "{reason}");
    fixture.is_alive(2);
    fixture.end();
}

#[test]
fn a_process_killed_from_outside_is_replaced() {
    let fixture = Fixture::start(builder().max_workers(1));
    let pid = fixture.run(1, "pid", Value::Null).value().and_then(Value::as_u64).unwrap();
    let gate = Gate::across_processes();
    fixture.submit(2, GATE, gate.args());
    gate.wait_for(1);
    signal("KILL", pid);
    let Outcome::Failed(error) = fixture.outcome(2) else { panic!("it fails") };
    assert_eq!(error.message(), "the worker process was killed by signal 9 (SIGKILL)");
    // Killed while it has nothing to do, a process takes no run along.
    let pid = fixture.run(3, "pid", Value::Null).value().and_then(Value::as_u64).unwrap();
    signal("KILL", pid);
    wait_until(|| !exists(pid));
    fixture.is_alive(4);
    fixture.end();
}

fn signal(name: &str, pid: u64) {
    let arguments = [format!("-{name}"), pid.to_string()];
    assert!(process::Command::new("kill").args(arguments).status().unwrap().success());
}

#[test]
fn a_process_that_is_stopped_past_the_lease_of_a_run_does_not_start_it() {
    let lease = Duration::from_secs(1);
    let registry = tasks().into_iter().fold(Registry::builder(), sched_core::RegistryBuilder::task);
    let builder = Scheduler::builder().registry(registry.build().unwrap()).with(|config| {
        let config = config.job_store("default", Arc::new(sched_store_memory::MemoryStore::new()));
        config.executor("default", Arc::new(builder().max_workers(1).build())).lease_duration(lease)
    });
    let scheduler = BackgroundScheduler::build(builder).unwrap();
    scheduler.start().unwrap();
    let pid = scheduler.run_job(NewRun::task("pid")).unwrap().as_u64().unwrap();
    let (started, lost) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    for (count, mask) in [(&started, EventMask::RUN_STARTED), (&lost, EventMask::CLAIM_LOST)] {
        let count = Arc::clone(count);
        scheduler.add_listener(move |_: &Event| _ = count.fetch_add(1, Ordering::SeqCst), mask);
    }
    let file = env::temp_dir().join(format!("sched-append-{}", process::id()));
    let run = NewRun::task("append").args(json!([file])).result_ttl(Duration::from_secs(60));
    signal("STOP", pid);
    let run = scheduler.add_run(run).unwrap();
    wait_until(|| started.load(Ordering::SeqCst) == 1);
    let row = || scheduler.get_run_result(run, None).unwrap();
    let leased_until = || match row().state {
        RunState::Running { lease_until, .. } => lease_until,
        other => panic!("{other:?}"),
    };
    // Its scheduler is well and renews the lease, of which the process knows nothing.
    let end = leased_until();
    wait_until(|| leased_until() > end + lease + lease / 10);
    assert!(!file.exists());
    signal("CONT", pid);
    wait_until(|| matches!(row().state, RunState::Finished { .. }));
    assert_eq!((row().attempt, lost.load(Ordering::SeqCst)), (1, 1), "it was given back and claimed again");
    assert_eq!(fs::read(&file).unwrap(), b"x", "and ran once");
    fs::remove_file(&file).unwrap();
    scheduler.shutdown(true).unwrap();
}

/// Waits for what no one tells.
fn wait_until(come: impl Fn() -> bool) {
    let begin = Instant::now();
    while !come() {
        assert!(begin.elapsed() < Duration::from_secs(20), "it does not come");
        thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_run_that_never_returns_is_killed_and_leaves_its_place() {
    let fixture = Fixture::start(builder().max_workers(1).kill_grace(Duration::from_millis(20)));
    let pid = fixture.run(1, "pid", Value::Null).value().and_then(Value::as_u64).unwrap();
    // Nobody opens this gate, and its task does not look whether it is to stop.
    let gate = Gate::across_processes();
    fixture.submit(2, GATE, gate.args());
    fixture.submit(3, ECHO, json!([3]));
    gate.wait_for(1);
    assert!(fixture.executor.cancel(run_id(2)));
    assert_eq!(fixture.outcome(2), Outcome::Cancelled);
    assert_eq!(fixture.outcome(3), Outcome::Succeeded(json!(3)));
    assert!(!exists(pid), "no zombie is left");
    let options = JobOptions { timeout: Some(Duration::from_millis(30)), ..JobOptions::default() };
    let hang = tasks().into_iter().find(|task| task.name() == "hang").unwrap();
    let sink = Arc::clone(&fixture.sink) as Arc<dyn RunSink>;
    fixture.executor.submit(vec![execution_with(4, hang, Value::Null, options, sink)]).unwrap();
    assert_eq!(fixture.outcome(4), Outcome::TimedOut);
    fixture.end();
}

#[test]
fn without_an_end_of_the_grace_nothing_is_killed() {
    let builder = builder().max_workers(1).kill_grace(Duration::MAX).start_timeout(Duration::MAX);
    let fixture = Fixture::start(builder.max_tasks_per_child(2));
    let pid = |number| fixture.run(number, "pid", Value::Null).value().and_then(Value::as_u64).unwrap();
    let first = pid(1);
    let gate = Gate::across_processes();
    let run = fixture.execution(2, CANCELLABLE_GATE, gate.args());
    let token = run.cancel_token();
    fixture.executor.submit(vec![run]).unwrap();
    gate.wait_for(1);
    assert!(!fixture.executor.cancel(run_id(2)), "it may go on for ever");
    assert_eq!(fixture.outcome(2), Outcome::Cancelled, "it is asked all the same");
    assert!(!token.is_cancelled(), "by the executor, not by the token");
    assert_ne!(pid(3), first, "a worn process ends by itself");
    fixture.end();
}

#[test]
fn a_run_whose_time_is_up_sees_that_in_its_process() {
    let (fixture, gate) = (Fixture::start(builder().max_workers(1)), Gate::across_processes());
    let why = sched_testkit::jobs::task(WHY);
    let options = JobOptions { timeout: Some(Duration::from_millis(30)), ..JobOptions::default() };
    let sink = Arc::clone(&fixture.sink) as Arc<dyn RunSink>;
    fixture.executor.submit(vec![execution_with(1, why, gate.args(), options, sink)]).unwrap();
    assert_eq!(fixture.outcome(1), Outcome::TimedOut, "by its answer, not by force");
    fixture.is_alive(2);
    fixture.end();
}

#[test]
fn what_a_killed_run_has_started_is_killed_with_it() {
    let fixture = Fixture::start(builder().max_workers(1).kill_grace(Duration::from_millis(20)));
    let file = std::env::temp_dir().join(format!("sched-brood-{}", process::id()));
    let _ = fs::remove_file(&file);
    fixture.submit(1, "brood", json!([file]));
    let started = || fs::read_to_string(&file).ok().and_then(|pid| pid.parse::<u64>().ok());
    wait_until(|| started().is_some());
    let child = started().unwrap();
    assert!(exists(child));
    assert!(fixture.executor.cancel(run_id(1)));
    assert_eq!(fixture.outcome(1), Outcome::Cancelled);
    // Its new parent may be slow to look after it.
    let state = || fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
    wait_until(|| state().is_empty() || state().contains(") Z "));
    fs::remove_file(file).unwrap();
    fixture.end();
}

#[test]
fn whatever_happens_to_its_processes_a_pool_is_whole() {
    let builder = builder().max_workers(3).max_memory(1 << 30).kill_grace(Duration::from_millis(20));
    let fixture = Fixture::start(builder);
    let hang = tasks().into_iter().find(|task| task.name() == "hang").unwrap();
    for round in (0..5).map(|round| round * 100) {
        let options = JobOptions { timeout: Some(Duration::from_millis(30)), ..JobOptions::default() };
        let sink = Arc::clone(&fixture.sink) as Arc<dyn RunSink>;
        let hung = execution_with(round + 1, Arc::clone(&hang), Value::Null, options, sink);
        let others = ["abort", "exit", "hoard"].into_iter().zip(round + 2..);
        let others = others.map(|(name, number)| fixture.execution(number, name, Value::Null));
        fixture.executor.submit(std::iter::once(hung).chain(others).collect()).unwrap();
        assert_eq!(fixture.outcome(round + 1), Outcome::TimedOut);
        for number in round + 2..round + 5 {
            assert!(matches!(fixture.outcome(number), Outcome::Failed(_)));
        }
        // As many runs go on at once as ever.
        let gate = Gate::across_processes();
        let held = (round + 10..).take(3).map(|number| fixture.execution(number, GATE, gate.args()));
        fixture.executor.submit(held.collect()).unwrap();
        gate.wait_for(3);
        gate.open();
        assert!((round + 10..).take(3).all(|number| fixture.outcome(number).is_success()));
    }
    fixture.end();
}

#[test]
fn runs_behind_a_slow_one_are_given_to_other_processes() {
    let fixture = Fixture::start(builder().max_workers(2));
    let echo = sched_testkit::jobs::task(ECHO);
    let quick = |number| fixture.execution_of(number, Arc::clone(&echo), json!([number]));
    let gate = Gate::across_processes();
    // Quick ones first, so that runs are sent ahead.
    let mut runs: Vec<Execution> = (0..2_000).map(quick).collect();
    runs.push(fixture.execution(5_000, GATE, gate.args()));
    runs.extend((2_000..2_200).map(quick));
    fixture.executor.submit(runs).unwrap();
    fixture.sink.wait_for_reports(2_200);
    gate.open();
    assert!(fixture.outcome(5_000).is_success());
    fixture.end();
}

#[test]
fn closures_unknown_tasks_and_payloads_over_the_limit_fail_with_the_reason() {
    let fixture = Fixture::start(builder().max_payload(1_000));
    let table: [(Execution, &str); 4] = [
        (
            fixture.execution_of(1, Arc::new(Task::new("call", |_, _| ()).unregistered()), Value::Null),
            "is a closure",
        ),
        (
            fixture.execution_of(2, Arc::new(Task::new("ecko", |_, _| ())), Value::Null),
            "no task named `ecko`",
        ),
        (
            fixture.execution(3, ECHO, json!(["x".repeat(2_000)])),
            "the arguments would take more than 1000 bytes",
        ),
        (fixture.execution(4, "long", Value::Null), "the result would take more than 1000 bytes"),
    ];
    for (number, (run, reason)) in (1..).zip(table) {
        fixture.executor.submit(vec![run]).unwrap();
        let Outcome::Failed(error) = fixture.outcome(number) else { panic!("run {number} fails") };
        assert!(error.message().contains(reason), "{error}");
    }
    fixture.is_alive(5);
    fixture.end();
}

#[test]
fn a_process_sees_what_it_is_told_and_nothing_else() {
    let fixture = Fixture::start(builder().max_workers(1).env("GIVEN", "yes"));
    assert_eq!(fixture.run(1, "env", json!(["GIVEN"])), Outcome::Succeeded(json!("yes")));
    assert_eq!(fixture.run(2, "env", json!(["CARGO_MANIFEST_DIR"])), Outcome::Succeeded(Value::Null));
    assert_eq!(fixture.run(3, "scheduler", Value::Null), Outcome::Succeeded(json!(false)));
    assert_eq!(fixture.run(4, ECHO_LATER, json!([4])), Outcome::Succeeded(json!(4)));
    let fds = fixture.run(5, "fds", Value::Null);
    fixture.end();
    let kept = fs::File::open("/dev/null").unwrap();
    let handed_on = fs::File::open("/dev/null").unwrap();
    rustix::io::fcntl_setfd(&handed_on, rustix::io::FdFlags::empty()).unwrap();
    let only = InheritEnv::Only(vec!["CARGO_MANIFEST_DIR".to_owned()]);
    let fixture = Fixture::start(builder().max_workers(1).inherit_env(only));
    assert!(fixture.run(1, "env", json!(["CARGO_MANIFEST_DIR"])).value().is_some_and(Value::is_string));
    assert_eq!(fixture.run(2, "fds", Value::Null), fds, "what the program has open is not inherited");
    fixture.end();
    drop((kept, handed_on));
}

#[test]
fn processes_are_used_again_recycled_and_gone_after_shutdown() {
    let fixture = Fixture::start(builder().max_workers(1).max_tasks_per_child(3));
    let pid = |number| fixture.run(number, "pid", Value::Null).value().and_then(Value::as_u64).unwrap();
    let pids: Vec<u64> = (0..9).map(pid).collect();
    assert!(pids.chunks(3).all(|chunk| chunk.iter().all(|pid| *pid == chunk[0])), "{pids:?}");
    assert_eq!(pids.iter().collect::<BTreeSet<_>>().len(), 3);
    fixture.end();
    assert!(pids.into_iter().all(|pid| !exists(pid)));
}

#[test]
fn a_worker_that_does_not_serve_fails_its_runs_with_the_call_that_is_missing() {
    let silent = ProcessPoolExecutor::builder().worker("/bin/cat").start_timeout(Duration::from_millis(50));
    let absent = ProcessPoolExecutor::builder().worker("/no/such/worker");
    let hasty = ProcessPoolExecutor::builder().worker("/bin/true");
    for (builder, reason) in [
        (silent, "::init()`"),
        (absent, "could not be started"),
        (hasty, "exited with status 0 before it served"),
    ] {
        let fixture = Fixture::start(builder.max_workers(1));
        let Outcome::Failed(error) = fixture.run(1, ECHO, Value::Null) else { panic!("{reason}") };
        assert!(error.message().contains(reason), "{error}");
        fixture.end();
    }
}

#[test]
fn a_program_that_did_not_call_init_is_told_so_at_once() {
    // This test program calls it in a test of its own, which only a worker runs to its end.
    let executor = ProcessPoolExecutor::builder().worker_args(["no_such_test"]).build();
    assert!(executor.start(ExecutorContext { alias: Arc::from("x") }).is_ok());
    assert_eq!(executor.capacity(), Capacity::Unlimited);
    let again = executor.start(ExecutorContext { alias: Arc::from("x") }).unwrap_err();
    assert_eq!(again.kind(), ErrorKind::InvalidState);
}

fn build(config: Value) -> Result<Arc<dyn Executor>, Error> {
    let registry = Registry::linked()?;
    let context = BuildContext { registry: &registry, timezone: chrono_tz::Tz::UTC };
    registry.executor("executors.x", config, context)
}

#[test]
fn the_keys_of_a_configuration_are_read_and_others_refused() {
    let shown = |config| format!("{:?}", build(config).unwrap());
    let five = "ProcessPoolExecutor { max_workers: 5, queue_size: None, max_tasks_per_child: None, .. }";
    assert_eq!(shown(json!({ "type": "processpool", "max_workers": "5" })), five);
    let class = "apscheduler.executors.pool:ProcessPoolExecutor";
    assert_eq!(shown(json!({ "class": class, "max_workers": 5 })), five);
    let all = json!({
        "type": "processpool", "max_workers": 2, "queue_size": 7, "worker": "/bin/w", "worker_args": ["a", 1],
        "env": { "A": "b" }, "inherit_env": ["PATH"], "max_memory": 1 << 30, "max_payload": 4096, "kill_grace": "250ms",
        "start_timeout": 3, "output": "log", "pool_kwargs": { "max_tasks_per_child": 9 },
    });
    assert_eq!(
        shown(all),
        "ProcessPoolExecutor { max_workers: 2, queue_size: Some(7), max_tasks_per_child: Some(9), .. }"
    );
    let wrong = json!({
        "type": "processpool", "max_workers": 0, "inherit_env": "some", "output": "loud", "env": [], "max_memory": 1,
        "pool_kwargs": { "mp_context": 1 },
    });
    let error = build(wrong).map(|_| ()).unwrap_err();
    let mut paths: Vec<_> =
        error.faults().iter().map(|fault| fault.path.trim_start_matches("executors.x.")).collect();
    paths.sort_unstable();
    assert_eq!(
        paths,
        ["env", "inherit_env", "max_memory", "max_workers", "output", "pool_kwargs.mp_context"]
    );
}
