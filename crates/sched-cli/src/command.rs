//! The task `command`: a shell line or a list of words, run as a child process.
//!
//! What is run stands in the schedule file and stays in this process: a stored job names the task but carries no
//! command, so that a row in a shared database cannot make this program run anything that its own file does not say.

mod capture;
mod child;

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::process::{Command as Process, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::task::{Context, Wake, Waker};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sched::{Args, Run, RunContext, Task, TaskError};
use serde_json::{Value, json};

use self::capture::Capture;
use self::child::{Child, Pipes};
use crate::logging::Log;

/// The name under which the task is registered.
pub(crate) const TASK: &str = "command";

/// How long a command may take to end after it was asked to, before it is killed.
const KILL_GRACE: Duration = Duration::from_secs(2);

/// How long a silent output is waited for once its command has ended: what the command wrote is there already, and
/// only what it left in the background holds the output open.
const OUTPUT_GRACE: Duration = Duration::from_millis(500);

/// How long an output that goes on is waited for once its command has ended.
const OUTPUT_LIMIT: Duration = Duration::from_secs(10);

/// A command of the schedule file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Command {
    pub(crate) words: Words,
    pub(crate) cwd: Option<PathBuf>,
    pub(crate) env: Vec<(String, String)>,
}

/// What is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Words {
    /// A line for the shell.
    Shell(String),
    /// A program and its arguments.
    Argv(String, Vec<String>),
}

/// A job: the alias of its store and its id.
type JobName = (String, String);

/// The commands of a schedule file, and their processes.
#[derive(Debug, Default)]
pub(crate) struct Commands {
    defined: Mutex<HashMap<JobName, Arc<Command>>>,
    running: Mutex<Vec<Arc<Child>>>,
}

impl Commands {
    /// The command of a job.
    pub(crate) fn define(&self, store: &str, job: &str, command: Command) {
        self.defined.lock().insert((store.to_owned(), job.to_owned()), Arc::new(command));
    }

    /// The task that runs the command of the job it is called for.
    pub(crate) fn task(self: &Arc<Self>, log: &Arc<Log>) -> Task {
        let (commands, log) = (Arc::clone(self), Arc::clone(log));
        let body = move |context: &RunContext, _: &Args| commands.run(context, &log);
        Task::new(TASK, body).with_signature(&[])
    }

    /// Kills every running command with all its processes, and ends this process before another one starts.
    pub(crate) fn kill_and_exit(&self, status: i32) -> ! {
        // A start that hangs, as on a dead network disk, must not keep the program alive.
        let running = self.running.try_lock_for(KILL_GRACE);
        running.iter().flat_map(|running| running.iter()).for_each(|child| child.kill());
        std::process::exit(status)
    }

    fn run(&self, context: &RunContext, log: &Arc<Log>) -> Result<Value, TaskError> {
        let run = context.run();
        let command =
            self.of(run).ok_or_else(|| TaskError::new("the schedule file has no command for this job"))?;
        let (sender, receiver) = mpsc::channel();
        let mut inbox = Inbox { receiver, exited: false, cancelled: false, open: 0 };
        let failed = |error| TaskError::new(format_args!("cannot start {}: {error}", command.shown()));
        let (child, pipes) = self.start(command.process(run)).map_err(failed)?;
        let capture = Capture::new(run.clone(), Arc::clone(log));
        for (stream, pipe) in pipes {
            let closed = sender.clone();
            let reading = capture.read(stream, pipe, move || drop(closed.send(Happened::Closed)));
            inbox.open += usize::from(reading.is_ok());
        }
        let exited = sender.clone();
        let ended = match child.watch(move || drop(exited.send(Happened::Exited))) {
            Ok(()) => inbox.wait(context, sender),
            Err(_) => Ended::Cancelled,
        };
        if ended != Ended::Exited {
            child.terminate();
            inbox.until(Some(Instant::now() + KILL_GRACE), |inbox| inbox.exited);
            child.kill();
        }
        let status = child.reap();
        self.running.lock().retain(|other| !Arc::ptr_eq(other, &child));
        inbox.hear_out(&capture);
        match ended {
            Ended::Exited => judge(status, &capture),
            Ended::TimedOut => Err(TaskError::timed_out("its time was up")),
            Ended::Cancelled => Err(TaskError::cancelled()),
        }
    }

    /// Starts a process. The lock makes sure that none starts unseen while all are killed.
    fn start(&self, mut process: Process) -> io::Result<(Arc<Child>, Pipes)> {
        let mut running = self.running.lock();
        let (child, pipes) = Child::spawn(&mut process)?;
        let child = Arc::new(child);
        running.push(Arc::clone(&child));
        Ok((child, pipes))
    }

    fn of(&self, run: &Run) -> Option<Arc<Command>> {
        let job = run.job_id.as_ref()?;
        self.defined.lock().get(&(run.store.as_ref().to_owned(), job.as_str().to_owned())).cloned()
    }
}

/// The outcome of a command that has ended by itself.
fn judge(status: io::Result<ExitStatus>, capture: &Capture) -> Result<Value, TaskError> {
    let status = status.map_err(|error| TaskError::new(format_args!("its exit status is lost: {error}")))?;
    let kept = capture.kept();
    if status.success() {
        return Ok(json!({ "status": 0, "output": kept.text, "truncated": kept.truncated }));
    }
    let status = match status.code() {
        Some(code) => format!("exit status {code}"),
        None => status.to_string(),
    };
    Err(match kept.last_stderr.is_empty() {
        true => TaskError::new(status),
        false => TaskError::new(format_args!("{status}: {}", kept.last_stderr)),
    })
}

impl Command {
    /// The program's name, for messages.
    fn shown(&self) -> String {
        match &self.words {
            Words::Shell(_) => "the shell".to_owned(),
            Words::Argv(program, _) => format!("`{program}`"),
        }
    }

    fn process(&self, run: &Run) -> Process {
        let mut process = match &self.words {
            Words::Shell(line) => shell(line),
            Words::Argv(program, arguments) => {
                let mut process = Process::new(program);
                process.args(arguments);
                process
            }
        };
        if let Some(cwd) = &self.cwd {
            process.current_dir(cwd);
        }
        process.env("SCHED_JOB", run.job_id.as_ref().map_or("", sched::JobId::as_str));
        process.env("SCHED_RUN", run.id.to_string());
        process.env("SCHED_SCHEDULED", run.scheduled_time.to_rfc3339());
        process.envs(self.env.iter().map(|(name, value)| (name, value)));
        process.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        process
    }
}

#[cfg(unix)]
fn shell(line: &str) -> Process {
    let mut process = Process::new("sh");
    process.arg("-c").arg(line);
    process
}

#[cfg(windows)]
fn shell(line: &str) -> Process {
    use std::os::windows::process::CommandExt;
    let mut process = Process::new("cmd");
    // cmd has its own rules for quotes: the line goes to it as it is.
    process.arg("/C").raw_arg(line);
    process
}

/// What a run hears of its command.
enum Happened {
    Exited,
    Cancelled,
    /// One of its two outputs.
    Closed,
}

/// Why a command is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    Exited,
    TimedOut,
    Cancelled,
}

/// What a run has heard of its command so far.
struct Inbox {
    receiver: Receiver<Happened>,
    exited: bool,
    cancelled: bool,
    /// Outputs that may still say something.
    open: usize,
}

impl Inbox {
    /// Waits for the command to exit, for the run's deadline, or for a request to stop.
    fn wait(&mut self, context: &RunContext, sender: Sender<Happened>) -> Ended {
        let waker = Waker::from(Arc::new(Notify(sender)));
        let asked = std::pin::pin!(context.cancel_token().cancelled());
        self.cancelled = asked.poll(&mut Context::from_waker(&waker)).is_ready();
        // A limit on elapsed time, so that a change of the clock neither kills nor spares anything.
        let limit = context.deadline().and_then(|deadline| (deadline - context.started_at()).to_std().ok());
        let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
        let over = self.until(deadline, |inbox| inbox.exited || inbox.cancelled);
        match (over, self.exited) {
            (_, true) => Ended::Exited,
            (true, false) => Ended::Cancelled,
            (false, false) => Ended::TimedOut,
        }
    }

    /// Waits for the output that a command has left in its pipes.
    fn hear_out(&mut self, capture: &Capture) {
        let limit = Instant::now() + OUTPUT_LIMIT;
        loop {
            let before = capture.lines();
            let end = limit.min(Instant::now() + OUTPUT_GRACE);
            if self.until(Some(end), |inbox| inbox.open == 0) || capture.lines() == before || end == limit {
                return;
            }
        }
    }

    /// Listens until `done`; `false` when the time is up first.
    fn until(&mut self, deadline: Option<Instant>, done: impl Fn(&Self) -> bool) -> bool {
        while !done(self) {
            let heard = match deadline {
                Some(deadline) => {
                    self.receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())).ok()
                }
                None => self.receiver.recv().ok(),
            };
            match heard {
                Some(Happened::Exited) => self.exited = true,
                Some(Happened::Cancelled) => self.cancelled = true,
                Some(Happened::Closed) => self.open = self.open.saturating_sub(1),
                None => return false,
            }
        }
        true
    }
}

/// Tells a run that it was asked to stop.
struct Notify(Sender<Happened>);

impl Wake for Notify {
    fn wake(self: Arc<Self>) {
        // The run may be over already.
        let _ = self.0.send(Happened::Cancelled);
    }
}
