//! The worker's side: what [`init`] does in a process that a pool started.
//!
//! One thread listens to the pool, the thread that called `init` runs the tasks, one at a time. Every result leaves the
//! process before the next run begins, so that a process that dies takes down no run but the one it was in.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;
use std::{process, thread};

use chrono::{DateTime, TimeDelta, Utc};
use parking_lot::{Condvar, Mutex};
use rustix::net::RecvFlags;
use sched_core::{
    CancelToken, Error, Execution, JobOptions, Outcome, Registry, Run, RunId, RunReport, RunSink, TaskError,
};
use uuid::Uuid;

use crate::wire::{GREETING, Greeting, Inbox, Order, ToPool, ToWorker, WireError, uptime};

/// Holds the token of the pool's greeting.
pub(crate) const VARIABLE: &str = "SCHED_PROCESS_WORKER";

/// How much is read at once.
const BUFFER: usize = 64 * 1024;

/// The greeting that waits at this process's standard input, if a pool started it and nobody has taken it yet.
///
/// The variable alone proves nothing: whatever a task starts inherits it.
fn greeting() -> Option<Result<Greeting, WireError>> {
    let token: Uuid = std::env::var(VARIABLE).ok()?.parse().ok()?;
    let mut bytes = [0; GREETING];
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    let (_, length) = rustix::net::recv(io::stdin().as_fd(), &mut bytes, flags).ok()?;
    let mut inbox = Inbox::new(0);
    inbox.push(bytes.get(..length)?);
    match inbox.next_to_worker() {
        Ok(Some(ToWorker::Greeting(greeting))) if greeting.token == token => Some(Ok(greeting)),
        Ok(_) => None,
        Err(error) => Some(Err(error)),
    }
}

/// Serves and exits if a pool started this process, else returns at once.
pub(crate) fn serve_if_called(registry: impl FnOnce() -> Result<Registry, Error>) {
    let Some(greeting) = greeting() else { return };
    #[cfg(any(target_os = "linux", target_os = "android"))]
    close_inherited();
    let Ok(socket) = io::stdin().as_fd().try_clone_to_owned().map(UnixStream::from) else { process::exit(1) };
    let served = greeting.map_err(|WireError(reason)| reason).and_then(|greeting| {
        let registry = registry().map_err(|error| error.to_string())?;
        come_up(&socket, greeting).map_err(|error| error.to_string())?;
        Desk::new(&socket, greeting).and_then(|desk| desk.serve(registry)).map_err(|error| error.to_string())
    });
    if let Err(reason) = served {
        // A pool that is gone hears nothing.
        let _ = send(&socket, &ToPool::Unfit(reason), usize::MAX);
    }
    process::exit(1);
}

/// Closes what the program had open without the flag that keeps it out of other programs: files and connections of C
/// libraries, what a supervisor or a shell left behind. Nothing in this process owns such a descriptor yet, because it
/// comes up only now. Where `/proc` is absent they stay open.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn close_inherited() {
    const STANDARD: i32 = 2;
    let Ok(entries) = std::fs::read_dir("/proc/self/fd") else { return };
    let open = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    for fd in open.filter(|fd| *fd > STANDARD).collect::<Vec<_>>() {
        if std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).is_ok_and(|info| is_inheritable(&info))
        {
            // It fails for what is closed by now.
            let _ = nix::unistd::close(fd);
        }
    }
}

/// Whether a descriptor, as `/proc/self/fdinfo` describes it, is handed on to other programs.
///
/// **Source**: `proc_pid_fdinfo(5)`: the flags are octal and include `O_CLOEXEC`.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn is_inheritable(info: &str) -> bool {
    let close_on_exec = u64::from(rustix::fs::OFlags::CLOEXEC.bits());
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|flags| u64::from_str_radix(flags.trim(), 8).ok());
    flags.is_some_and(|flags| flags & close_on_exec == 0)
}

/// Tells the pool that this process is a worker that has not called `init`; says whether it is one.
pub(crate) fn confess() -> bool {
    if greeting().is_none() {
        return false;
    }
    if let Ok(socket) = io::stdin().as_fd().try_clone_to_owned() {
        let _ = send(&UnixStream::from(socket), &ToPool::Astray, 0);
    }
    true
}

fn send(mut socket: &UnixStream, message: &ToPool, max_payload: usize) -> io::Result<()> {
    let mut frame = Vec::new();
    message.encode(&mut frame, max_payload);
    socket.write_all(&frame)
}

/// Takes the greeting off the wire and makes the process what its pool wants it to be.
fn come_up(mut socket: &UnixStream, greeting: Greeting) -> io::Result<()> {
    socket.read_exact(&mut [0; GREETING])?;
    // A task that reads its standard input reads nothing, and not the pool's orders.
    rustix::stdio::dup2_stdin(std::fs::File::open("/dev/null")?)?;
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if greeting.max_memory > 0 {
        use rustix::process::{Resource, Rlimit, setrlimit};
        let most = Some(greeting.max_memory);
        setrlimit(Resource::As, Rlimit { current: most, maximum: most })?;
    }
    Ok(())
}

/// What the two threads of a worker share.
struct Desk {
    socket: UnixStream,
    max_payload: usize,
    state: Mutex<State>,
    come: Condvar,
    /// Held while a frame is written, so that those of the two threads do not mix. It is taken after the state's lock.
    writing: Mutex<()>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Waiting>,
    running: Option<(u64, CancelToken)>,
}

/// A run that has not begun.
struct Waiting {
    number: u64,
    /// The run, or why there is none.
    execution: Result<Execution, String>,
    started_at: DateTime<Utc>,
    /// When it was received, if it had to wait for others.
    since: Option<Instant>,
    /// When its lease may end, by [`uptime`].
    lease_end: Option<u64>,
}

impl Desk {
    fn new(socket: &UnixStream, greeting: Greeting) -> io::Result<Arc<Self>> {
        let max_payload = usize::try_from(greeting.max_payload).unwrap_or(usize::MAX);
        let (state, come, writing) = (Mutex::default(), Condvar::new(), Mutex::default());
        Ok(Arc::new(Self { socket: socket.try_clone()?, max_payload, state, come, writing }))
    }

    /// Runs what comes until the process ends.
    fn serve(self: Arc<Self>, registry: Registry) -> io::Result<()> {
        let ledger = Arc::new(Ledger::default());
        let (desk, sink) = (Arc::clone(&self), Arc::clone(&ledger) as Arc<dyn RunSink>);
        thread::Builder::new().name("sched-worker".to_owned()).spawn(move || {
            // Without its pool nobody wants what it does.
            process::exit(i32::from(desk.listen(&registry, &sink).is_err()))
        })?;
        send(&self.socket, &ToPool::Ready, 0)?;
        let mut frame = Vec::new();
        loop {
            let Waiting { number, execution, started_at, since, lease_end } = self.next();
            if lease_end.is_some_and(|end| uptime() >= end) {
                self.answer(&ToPool::Late(number), &mut frame)?;
                continue;
            }
            let waited = since.and_then(|since| TimeDelta::from_std(since.elapsed()).ok());
            ledger.set_time(started_at + waited.unwrap_or_default());
            let outcome = match execution {
                Ok(execution) => ledger.outcome_of(execution),
                Err(reason) => Outcome::Failed(TaskError::new(reason)),
            };
            // What was printed is in the pipe before the run is over.
            let _ = io::stdout().flush();
            self.answer(&ToPool::Done(number, outcome), &mut frame)?;
        }
    }

    /// Tells what became of the run that was the first.
    fn answer(&self, answer: &ToPool, frame: &mut Vec<u8>) -> io::Result<()> {
        // Once it is told the pool takes the next run for begun, so that it is not given back any more.
        self.state.lock().running = None;
        frame.clear();
        answer.encode(frame, self.max_payload);
        let _writing = self.writing.lock();
        (&self.socket).write_all(frame)
    }

    /// Waits for the next run and makes it the one that runs.
    fn next(&self) -> Waiting {
        let mut state = self.state.lock();
        loop {
            if let Some(next) = state.waiting.pop_front() {
                let token = next.execution.as_ref().ok().map(Execution::cancel_token);
                state.running = token.map(|token| (next.number, token));
                return next;
            }
            self.come.wait(&mut state);
        }
    }

    /// Listens until the pool closes the wire.
    fn listen(&self, registry: &Registry, sink: &Arc<dyn RunSink>) -> io::Result<()> {
        let (mut inbox, mut buffer) = (Inbox::new(self.max_payload), vec![0; BUFFER]);
        let options = Arc::new(JobOptions::default());
        loop {
            let length = match (&self.socket).read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            inbox.push(&buffer[..length]);
            let mut came = VecDeque::new();
            let mut next = || inbox.next_to_worker().map_err(|WireError(reason)| io::Error::other(reason));
            while let Some(message) = next()? {
                match message {
                    ToWorker::Order(order) => came.push_back(waiting(*order, registry, &options, sink)),
                    other => {
                        self.take(&mut came);
                        self.obey(&other)?;
                    }
                }
            }
            self.take(&mut came);
        }
    }

    fn take(&self, came: &mut VecDeque<Waiting>) {
        if !came.is_empty() {
            self.state.lock().waiting.append(came);
            self.come.notify_one();
        }
    }

    fn obey(&self, message: &ToWorker) -> io::Result<()> {
        match message {
            ToWorker::Cancel(number, reason) => {
                let state = self.state.lock();
                let waiting = state.waiting.iter().find(|waiting| waiting.number == *number);
                let waiting = waiting.and_then(|waiting| waiting.execution.as_ref().ok());
                let running = state.running.as_ref().filter(|(running, _)| running == number);
                let token = waiting.map(Execution::cancel_token).or(running.map(|(_, token)| token.clone()));
                drop(state);
                token.iter().for_each(|token| token.cancel_because(*reason));
            }
            ToWorker::Recall => {
                let mut state = self.state.lock();
                // Between two runs the next one is as good as begun.
                let begun = usize::from(state.running.is_none()).min(state.waiting.len());
                let returned = state.waiting.split_off(begun);
                let count = u32::try_from(returned.len()).unwrap_or(u32::MAX);
                let writing = self.writing.lock();
                // Before the end of the run that goes on can be told: at that the pool takes the next one for begun, which
                // is among those that come back.
                send(&self.socket, &ToPool::Returned(count), 0)?;
                drop((writing, state));
            }
            ToWorker::Greeting(_) | ToWorker::Order(_) => {}
        }
        Ok(())
    }
}

fn waiting(order: Order, registry: &Registry, options: &Arc<JobOptions>, sink: &Arc<dyn RunSink>) -> Waiting {
    let Order { number, run, args, started_at, follows, lease_end, timeout, metadata } = order;
    let options = match timeout.is_none() && metadata.is_none() {
        true => Arc::clone(options),
        false => Arc::new(JobOptions { timeout, metadata, ..JobOptions::default() }),
    };
    let execution = match registry.task(&run.task) {
        Ok(task) => Ok(Execution::new(Arc::new(run), task, args, options, Arc::clone(sink))),
        Err(error) => Err(format!("in the worker process: {error}")),
    };
    Waiting { number, execution, started_at, since: follows.then(Instant::now), lease_end }
}

/// Where a worker's run reports itself. Its time stands still while a run goes on: when the run started, by the clock
/// of the pool.
#[derive(Default)]
struct Ledger {
    now: AtomicI64,
    page: Mutex<Page>,
}

/// Runs that are given back report themselves as dropped; they are not on the page.
#[derive(Default)]
struct Page {
    run: Option<RunId>,
    outcome: Option<Outcome>,
}

impl Ledger {
    fn set_time(&self, now: DateTime<Utc>) {
        self.now.store(now.timestamp_micros(), Ordering::Relaxed);
    }

    fn outcome_of(&self, execution: Execution) -> Outcome {
        *self.page.lock() = Page { run: execution.run().map(|run| run.id), outcome: None };
        // A task's panic is caught further inside; this is for what its values do when they are dropped.
        let _ = std::panic::catch_unwind(AssertUnwindSafe(|| execution.run_blocking()));
        let nothing = || Outcome::Failed(TaskError::panicked("panicked outside the task"));
        self.page.lock().outcome.take().unwrap_or_else(nothing)
    }
}

impl RunSink for Ledger {
    fn now(&self) -> DateTime<Utc> {
        DateTime::from_timestamp_micros(self.now.load(Ordering::Relaxed)).unwrap_or_default()
    }

    fn started(&self, _: &Arc<Run>) {}

    fn finished(&self, report: RunReport) {
        let mut page = self.page.lock();
        if page.run == Some(report.run.id) {
            page.outcome = Some(report.outcome);
        }
    }
}

#[cfg(all(test, any(target_os = "linux", target_os = "android")))]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn a_descriptor_says_whether_it_is_handed_on() -> io::Result<()> {
        let file = std::fs::File::open("/dev/null")?;
        let info = || std::fs::read_to_string(format!("/proc/self/fdinfo/{}", file.as_raw_fd()));
        assert!(!is_inheritable(&info()?));
        rustix::io::fcntl_setfd(&file, rustix::io::FdFlags::empty())?;
        assert!(is_inheritable(&info()?));
        assert!(!is_inheritable("pos:\t0\n"), "nothing is known of it");
        Ok(())
    }
}
