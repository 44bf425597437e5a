//! Real processes on a SQLite file, stopped in every way: which runs end, which are given back, and who runs those next.
//!
//! A member is this very test program, told to run the one test that serves. Its leases hold for an hour, so that a run
//! which another scheduler gets within seconds was given back.

#![cfg(all(unix, feature = "sql", feature = "tokio", feature = "signal", feature = "thread"))]
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a failed step fails the test; a member talks")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use std::{env, fs, process, thread};

use sched::{
    BackgroundScheduler, BlockingScheduler, Error, NewRun, Outcome, Registry, RunFilter, RunState, Scheduler,
    SchedulerBuilder, Shutdown, Task, TaskError, TokioScheduler, current_scheduler, shutdown_on_signal,
};
use serde_json::json;
use tempfile::TempDir;

/// Makes the test that serves a member of this kind.
const KIND: &str = "SCHED_TEST_MEMBER";
/// Where a member's file is, and what opens its gates.
const DIRECTORY: &str = "SCHED_TEST_DIRECTORY";

const PATIENCE: Duration = Duration::from_secs(30);

/// What a member says stands behind this, so that it is told from what else is printed.
const MARK: &str = "member: ";

fn say(word: &str) {
    println!("\n{MARK}{word}");
}

/// Waits until something holds that nobody tells.
#[track_caller]
fn until(holds: impl Fn() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < PATIENCE, "it does not come");
        thread::sleep(Duration::from_millis(2));
    }
}

fn builder(directory: &Path, identity: &str) -> Result<SchedulerBuilder, Error> {
    let registry = Registry::builder().linked().task(hold(directory)).task(Task::new("quick", |_, _| ()));
    let config = json!({
        "job_stores": { "default": { "type": "sql", "url": format!("sqlite:///{}/runs", directory.display()) } },
        "executors": { "default": { "type": "threadpool", "max_workers": 1 } },
        "job_defaults": { "result_ttl": 3_600 },
        "lease_duration": 3_600,
        "poll_interval": 0.05,
    });
    Ok(Scheduler::builder().registry(registry.build()?).config(config).identity(identity))
}

/// Goes on until a file is there that opens it, it is asked to stop, or a file says that it is to shut its scheduler down.
fn hold(directory: &Path) -> Task {
    let (open, inside) = (directory.join("open"), directory.join("inside"));
    Task::new("hold", move |context, _| {
        say("begun");
        loop {
            if inside.exists() {
                let scheduler = current_scheduler().ok_or_else(|| TaskError::new("no scheduler"))?;
                return scheduler.shutdown(Shutdown::Wait).map_err(TaskError::from);
            }
            if open.exists() {
                return Ok(());
            }
            if context.is_cancelled() {
                return Err(TaskError::cancelled());
            }
            thread::park_timeout(Duration::from_millis(2));
        }
    })
}

/// In a member this serves; in an ordinary run of the tests it does nothing.
#[test]
fn serve() -> Result<(), Error> {
    let (Ok(kind), Some(directory)) = (env::var(KIND), env::var_os(DIRECTORY)) else { return Ok(()) };
    let builder = builder(Path::new(&directory), "member")?;
    match kind.as_str() {
        "background" => {
            let scheduler = BackgroundScheduler::build(builder)?;
            shutdown_on_signal(&scheduler)?;
            scheduler.start()?;
            queue(&scheduler)?;
            scheduler.wait_until_stopped();
        }
        "blocking" => {
            let scheduler = BlockingScheduler::build(builder)?;
            shutdown_on_signal(&scheduler)?;
            let inner = Scheduler::clone(&scheduler);
            thread::spawn(move || {
                until(|| inner.is_running());
                queue(&inner).unwrap();
            });
            scheduler.start()?;
        }
        _ => {
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            runtime.block_on(async {
                let scheduler = TokioScheduler::build(builder)?;
                scheduler.start().await?;
                let inner = scheduler.scheduler().clone();
                thread::spawn(move || queue(&inner).unwrap());
                scheduler.run_until_signal().await
            })?;
        }
    }
    say("over");
    Ok(())
}

/// Queues one run that goes on and three that wait behind it, and obeys from then on.
fn queue(scheduler: &Scheduler) -> Result<(), Error> {
    let kept = |task: &str| NewRun::task(task).result_ttl(Duration::from_secs(3_600));
    scheduler.pause()?;
    scheduler.add_run(kept("hold").priority(1))?;
    for _ in 0..3 {
        scheduler.add_run(kept("quick"))?;
    }
    scheduler.resume()?;
    let scheduler = scheduler.clone();
    thread::spawn(move || {
        for command in std::io::stdin().lines().map_while(Result::ok) {
            let how = match command.as_str() {
                "wait" => Shutdown::Wait,
                "limit" => Shutdown::WaitFor(Duration::from_millis(200)),
                _ => Shutdown::Now,
            };
            let shut_down = scheduler.clone();
            thread::spawn(move || match shut_down.shutdown(how) {
                Ok(()) => say("shut down"),
                Err(error) => say(&format!("refused: {:?}", error.kind())),
            });
            // What is ordered next comes after this one has begun.
            until(|| !scheduler.is_running());
        }
        // The test is gone.
        process::exit(1);
    });
    Ok(())
}

/// A process in the middle of the run `hold`, with three runs behind it.
struct Member {
    child: Child,
    orders: ChildStdin,
    words: mpsc::Receiver<String>,
    directory: TempDir,
}

impl Member {
    fn start(kind: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["serve", "--exact", "--nocapture"])
            .env(KIND, kind)
            .env(DIRECTORY, directory.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (orders, told) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (tell, words) = mpsc::channel();
        thread::spawn(move || {
            let lines = BufReader::new(told).lines().map_while(Result::ok);
            let words = lines.filter_map(|line| line.strip_prefix(MARK).map(str::to_owned));
            words.map_while(|word| tell.send(word).ok()).for_each(drop);
        });
        let member = Self { child, orders, words, directory };
        member.expect("begun");
        member
    }

    #[track_caller]
    fn expect(&self, word: &str) {
        assert_eq!(self.words.recv_timeout(PATIENCE).as_deref(), Ok(word));
    }

    fn order(&mut self, order: &str) {
        writeln!(self.orders, "{order}").unwrap();
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &pid]).status().unwrap().success());
    }

    fn touch(&self, file: &str) -> PathBuf {
        let path = self.directory.path().join(file);
        fs::write(&path, "").unwrap();
        path
    }

    /// Waits until the process has ended; its exit status, where it has one.
    fn end(mut self) -> (Option<i32>, TempDir) {
        let begin = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(begin.elapsed() < PATIENCE, "the member does not end");
            thread::sleep(Duration::from_millis(2));
        };
        (status.code(), self.directory)
    }
}

/// What is in the store: how often each task stands where, with its attempt.
type Rows = BTreeMap<String, usize>;

fn rows(scheduler: &Scheduler) -> Rows {
    let mut rows = Rows::new();
    for record in scheduler.get_runs(&RunFilter::default(), None).unwrap() {
        let state = match &record.state {
            RunState::Queued => "queued".to_owned(),
            RunState::Running { .. } => "leased".to_owned(),
            RunState::Finished { outcome: Outcome::Succeeded(_), .. } => "succeeded".to_owned(),
            RunState::Finished { outcome, .. } => outcome.to_string(),
        };
        *rows.entry(format!("{} {state} {}", record.run.call.task.name(), record.attempt)).or_default() += 1;
    }
    rows
}

/// What a member has left behind, as a scheduler sees it that fires nothing.
fn left_behind(directory: &Path) -> Rows {
    let scheduler = BackgroundScheduler::build(builder(directory, "reader").unwrap()).unwrap();
    scheduler.start_paused().unwrap();
    let rows = rows(&scheduler);
    scheduler.shutdown(true).unwrap();
    rows
}

/// What becomes of it when another scheduler goes on, and all gates are open.
fn inherited(directory: &Path, identity: &str) -> Rows {
    let _ = fs::remove_file(directory.join("inside"));
    fs::write(directory.join("open"), "").unwrap();
    let scheduler = BackgroundScheduler::build(builder(directory, identity).unwrap()).unwrap();
    scheduler.start().unwrap();
    let is_over = |row: &String| !row.contains(" queued ") && !row.contains(" leased ");
    until(|| rows(&scheduler).keys().all(is_over));
    let rows = rows(&scheduler);
    scheduler.shutdown(true).unwrap();
    rows
}

fn expected(rows: &[(&str, usize)]) -> Rows {
    rows.iter().map(|(row, count)| ((*row).to_owned(), *count)).collect()
}

/// The run that went on ended well, and what did not start is anybody's at once, as if nobody had ever claimed it.
fn check_a_good_end(directory: &Path) {
    let left = left_behind(directory);
    assert_eq!(left.get("hold succeeded 1"), Some(&1), "{left:?}");
    assert!(left.keys().all(|row| !row.contains("leased")), "{left:?}");
    let rows = inherited(directory, "heir");
    assert_eq!(rows, expected(&[("hold succeeded 1", 1), ("quick succeeded 1", 3)]));
}

#[test]
fn a_shutdown_that_waits_ends_what_runs_and_gives_the_rest_back() {
    for kind in ["background", "blocking"] {
        let mut member = Member::start(kind);
        member.order("wait");
        member.touch("open");
        let (status, directory) = member.end();
        assert_eq!(status, Some(0), "{kind}");
        check_a_good_end(directory.path());
    }
}

#[test]
fn a_shutdown_with_a_deadline_or_none_cancels_what_runs_and_gives_the_rest_back() {
    for order in ["limit", "now"] {
        let mut member = Member::start("background");
        member.order(order);
        let (status, directory) = member.end();
        assert_eq!(status, Some(0), "{order}");
        let left = left_behind(directory.path());
        assert!(left.keys().all(|row| !row.contains("leased")), "{order}: {left:?}");
        let rows = inherited(directory.path(), "heir");
        assert_eq!(rows.get("quick succeeded 1"), Some(&3), "{order}: {rows:?}");
        let is_held = |row: &&String| row.starts_with("hold ");
        let held: Vec<_> = rows.keys().filter(is_held).collect();
        assert!(
            matches!(held[..], [row] if row == "hold cancelled 1" || row == "hold succeeded 2"),
            "{held:?}"
        );
    }
}

#[test]
fn a_run_that_shuts_its_scheduler_down_is_over_and_not_run_again() {
    for kind in ["background", "blocking", "tokio"] {
        let member = Member::start(kind);
        member.touch("inside");
        let (status, directory) = member.end();
        assert_eq!(status, Some(0), "{kind}");
        check_a_good_end(directory.path());
    }
}

#[test]
fn a_second_shutdown_is_refused_and_hurries_nobody() {
    let mut member = Member::start("background");
    member.order("wait");
    member.order("now");
    member.expect("refused: InvalidState");
    member.touch("open");
    let (status, directory) = member.end();
    assert_eq!(status, Some(0));
    check_a_good_end(directory.path());
}

#[test]
fn a_request_to_terminate_waits_for_what_runs() {
    for kind in ["background", "blocking", "tokio"] {
        let mut member = Member::start(kind);
        member.signal("TERM");
        // Whoever would not wait is gone by then.
        thread::sleep(Duration::from_millis(200));
        assert!(member.child.try_wait().unwrap().is_none(), "{kind} waits");
        member.touch("open");
        let (status, directory) = member.end();
        assert_eq!(status, Some(0), "{kind}");
        check_a_good_end(directory.path());
    }
}

#[test]
fn a_second_request_to_terminate_ends_a_program_of_threads_at_once() {
    for kind in ["background", "blocking"] {
        let member = Member::start(kind);
        member.signal("TERM");
        // Two signals that come at once are one.
        thread::sleep(Duration::from_millis(100));
        member.signal("TERM");
        let (status, directory) = member.end();
        assert_eq!(status, Some(130), "{kind}");
        check_what_a_dead_member_left(directory.path());
    }
}

#[test]
fn a_second_request_to_terminate_cancels_what_runs_on_an_event_loop() {
    let member = Member::start("tokio");
    member.signal("TERM");
    thread::sleep(Duration::from_millis(100));
    member.signal("TERM");
    let (status, directory) = member.end();
    assert_eq!(status, Some(0));
    let left = left_behind(directory.path());
    assert!(left.keys().all(|row| !row.contains("leased")), "{left:?}");
    assert_eq!(inherited(directory.path(), "heir").get("quick succeeded 1"), Some(&3));
}

#[test]
fn what_a_killed_program_leased_is_its_own_again_when_it_comes_back() {
    let member = Member::start("background");
    member.signal("KILL");
    let (status, directory) = member.end();
    assert_eq!(status, None);
    check_what_a_dead_member_left(directory.path());
}

/// Nothing was given back: the run stays leased to all others, and the member of that name takes it up again at once.
fn check_what_a_dead_member_left(directory: &Path) {
    let left = left_behind(directory);
    assert_eq!(left.get("hold leased 1"), Some(&1), "{left:?}");
    let rows = inherited(directory, "member");
    assert_eq!(rows.get("hold succeeded 2"), Some(&1), "{rows:?}");
    let quick = rows.iter().filter(|(row, _)| row.starts_with("quick succeeded")).map(|(_, count)| count);
    assert_eq!(quick.sum::<usize>(), 3, "{rows:?}");
}
