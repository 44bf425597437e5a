//! One worker process, as its pool sees it: started, talked to, stopped, and what became of it.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
#[cfg(any(target_os = "linux", target_os = "android"))]
use std::path::Path;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process_group};
use sched_core::Run;
use uuid::Uuid;

use crate::bell::Bell;
use crate::output::{Lines, Speaker, Stream};
use crate::settings::{Settings, TaskOutput};
use crate::wire::{Greeting, Inbox, ToPool, WireError};
use crate::worker::VARIABLE;

/// How much is read at once.
const BUFFER: usize = 64 * 1024;

/// How many buffers of output are read before the wire is looked at again.
const GULPS: usize = 16;

/// The longest that is kept of the last line a process wrote to its standard error.
const LAST_WORDS: usize = 200;

/// How long a process that closed its wire may take to end.
const LINGER: Duration = Duration::from_secs(1);

/// What a program that forgot to call `init` is told.
pub(crate) const FORGOTTEN: &str = "call `sched_executor_process::init()` (`sched::process::init()`) at the top of \
                                    `main`, before anything else";

/// Why there is no process.
#[derive(Debug)]
pub(crate) struct StartError {
    pub(crate) reason: String,
    /// Whether another try would end in the same way.
    pub(crate) is_final: bool,
}

impl StartError {
    fn again(reason: String) -> Self {
        Self { reason, is_final: false }
    }

    fn last(reason: String) -> Self {
        Self { reason, is_final: true }
    }
}

/// A worker process and the wire to it.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    wire: UnixStream,
    inbox: Inbox,
    came: VecDeque<ToPool>,
    outbox: Vec<u8>,
    sent: usize,
    stdout: Output<ChildStdout>,
    stderr: Output<ChildStderr>,
    speaker: Speaker,
    last_words: String,
    /// Whether it has printed anything since that was last asked.
    has_printed: bool,
    buffer: Box<[u8]>,
    is_lost: bool,
    is_reaped: bool,
    /// What it said that is no frame.
    nonsense: Option<String>,
    /// How many runs it was sent.
    pub(crate) orders: u64,
}

/// One stream of a process.
#[derive(Debug)]
struct Output<R> {
    /// None once it ended.
    pipe: Option<R>,
    lines: Lines,
}

impl<R: AsFd> Output<R> {
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().map(AsFd::as_fd)
    }
}

impl<R: Read + AsFd> Output<R> {
    fn new(pipe: Option<R>) -> io::Result<Self> {
        if let Some(pipe) = &pipe {
            rustix::io::ioctl_fionbio(pipe, true)?;
        }
        Ok(Self { pipe, lines: Lines::default() })
    }

    /// Reads what is there, and says whether there was anything. Lines are told whole; a piece at the end of a stream is
    /// one too.
    fn drain(&mut self, buffer: &mut [u8], mut tell: impl FnMut(&str)) -> bool {
        let mut was_any = false;
        for _ in 0..GULPS {
            let Some(pipe) = &mut self.pipe else { break };
            match pipe.read(buffer) {
                Ok(length) if length > 0 => {
                    was_any = true;
                    self.lines.push(&buffer[..length], &mut tell);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Ok(_) | Err(_) => {
                    self.lines.end(&mut tell);
                    self.pipe = None;
                }
            }
        }
        was_any
    }
}

impl Process {
    /// Starts a process and waits until it serves. Lines that it prints meanwhile are passed on. A bell that is rung
    /// ends the waiting when `is_given_up` says so.
    pub(crate) fn start(
        settings: &Settings,
        alias: &Arc<str>,
        bell: &Bell,
        is_given_up: impl Fn() -> bool,
    ) -> Result<Self, StartError> {
        let mut process = Self::spawn(settings, alias)?;
        let deadline = Instant::now().checked_add(settings.start_timeout);
        let answer = loop {
            if let Some(answer) = process.came.pop_front() {
                break Ok(answer);
            }
            let left = left_until(deadline);
            if left == Some(Duration::ZERO) {
                break Err(StartError::last(format!(
                    "the worker process has not answered within {:?}; {FORGOTTEN}",
                    settings.start_timeout
                )));
            }
            if process.is_lost {
                break Err(StartError::again(String::new()));
            }
            if process.wait(bell, left, None) && is_given_up() {
                break Err(StartError::again("the executor was shut down".to_owned()));
            }
        };
        match answer {
            Ok(ToPool::Ready) => {
                // What it printed until now is of no run.
                process.end_lines(None);
                process.has_printed = false;
                return Ok(process);
            }
            Ok(ToPool::Unfit(reason)) => {
                process.kill();
                return Err(StartError::last(format!("the worker process cannot serve: {reason}")));
            }
            Ok(ToPool::Astray) => {
                process.kill();
                let reason = format!("the worker process ran the program itself; {FORGOTTEN}");
                return Err(StartError::last(reason));
            }
            Ok(_) => {}
            Err(error) if !error.reason.is_empty() => {
                process.kill();
                return Err(error);
            }
            Err(_) => {}
        }
        let fate = process.bury(None);
        Err(StartError::again(format!(
            "{fate} before it served; if it did not run into trouble, {FORGOTTEN}"
        )))
    }

    fn spawn(settings: &Settings, alias: &Arc<str>) -> Result<Self, StartError> {
        let program = match &settings.worker {
            Some(worker) => Ok(worker.clone()),
            None => own_program(),
        };
        let program = program
            .map_err(|error| StartError::last(format!("the program does not know its own file: {error}")))?;
        let failed = |error: &io::Error| {
            let reason = format!("the worker process `{}` could not be started: {error}", program.display());
            match error.kind() {
                ErrorKind::NotFound | ErrorKind::PermissionDenied => StartError::last(reason),
                _ => StartError::again(reason),
            }
        };
        let token = Uuid::new_v4();
        let mut command = Command::new(&program);
        command.args(&settings.worker_args).env_clear().envs(settings.environment());
        // A group of its own: ctrl-c at a terminal is for the program to handle, and what a task starts is killed with it.
        command.env(VARIABLE, token.to_string()).process_group(0);
        let output = || if settings.output == TaskOutput::Discard { Stdio::null() } else { Stdio::piped() };
        command.stdout(output()).stderr(output());
        let begin = || {
            let (wire, far_end) = UnixStream::pair()?;
            let greeting = Greeting {
                token,
                max_memory: settings.max_memory.unwrap_or(0),
                max_payload: u64::try_from(settings.max_payload).unwrap_or(u64::MAX),
            };
            let mut hello = Vec::new();
            greeting.encode(&mut hello);
            (&wire).write_all(&hello)?;
            wire.set_nonblocking(true)?;
            let child = command.stdin(OwnedFd::from(far_end)).spawn()?;
            // The command holds the far end open.
            drop(command);
            Self::around(child, wire, settings, alias)
        };
        begin().map_err(|error: io::Error| failed(&error))
    }

    fn around(mut child: Child, wire: UnixStream, settings: &Settings, alias: &Arc<str>) -> io::Result<Self> {
        let speaker = Speaker { alias: Arc::clone(alias), pid: child.id(), output: settings.output };
        Ok(Self {
            stdout: Output::new(child.stdout.take())?,
            stderr: Output::new(child.stderr.take())?,
            child,
            wire,
            inbox: Inbox::new(settings.max_payload),
            came: VecDeque::new(),
            outbox: Vec::new(),
            sent: 0,
            speaker,
            last_words: String::new(),
            has_printed: false,
            buffer: vec![0; BUFFER].into(),
            is_lost: false,
            is_reaped: false,
            nonsense: None,
            orders: 0,
        })
    }

    /// What is to be sent; [`flush`](Self::flush) sends it.
    pub(crate) fn outbox(&mut self) -> &mut Vec<u8> {
        &mut self.outbox
    }

    /// Sends as much as the wire takes.
    pub(crate) fn flush(&mut self) {
        while self.sent < self.outbox.len() && !self.is_lost {
            match (&self.wire).write(&self.outbox[self.sent..]) {
                Ok(length) => self.sent += length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // What it has said until now can still be read.
                Err(_) => self.sent = self.outbox.len(),
            }
        }
        self.outbox.clear();
        self.sent = 0;
    }

    /// What it said that was not looked at yet.
    pub(crate) fn next(&mut self) -> Option<ToPool> {
        self.came.pop_front()
    }

    /// Whether there is something that was not looked at yet.
    pub(crate) fn has_said(&self) -> bool {
        !self.came.is_empty()
    }

    /// Whether it is gone or talks nonsense. What it said before that is still to be looked at.
    pub(crate) fn is_lost(&self) -> bool {
        self.is_lost && self.came.is_empty()
    }

    /// Waits until it says something, the bell is rung or the time is over; says whether the bell was rung. What it
    /// prints is passed on as output of `run`.
    ///
    /// The wire is looked at before the output, so that what a run printed is passed on before its end is told.
    pub(crate) fn wait(&mut self, bell: &Bell, limit: Option<Duration>, run: Option<&Run>) -> bool {
        let mut wire_flags = PollFlags::IN;
        wire_flags.set(PollFlags::OUT, !self.outbox.is_empty());
        let limit = limit.and_then(|limit| Timespec::try_from(limit).ok());
        let output = |pipe: Option<BorrowedFd<'_>>| pipe.map_or(PollFlags::empty(), |_| PollFlags::IN);
        let (stdout, stderr) = (self.stdout.fd(), self.stderr.fd());
        let mut fds = [
            PollFd::from_borrowed_fd(self.wire.as_fd(), wire_flags),
            PollFd::from_borrowed_fd(bell.fd(), PollFlags::IN),
            // A stream that has ended has nothing to wait for.
            PollFd::from_borrowed_fd(stdout.unwrap_or(bell.fd()), output(stdout)),
            PollFd::from_borrowed_fd(stderr.unwrap_or(bell.fd()), output(stderr)),
        ];
        // Interrupted or not, what is there is looked at.
        let _ = poll(&mut fds, limit.as_ref());
        let [wire, rung, stdout, stderr] = fds.map(|fd| fd.revents());
        if rung.contains(PollFlags::IN) {
            bell.silence();
        }
        if !(stdout | stderr).is_empty() {
            self.pass_on(run);
        }
        if wire.contains(PollFlags::OUT) {
            self.flush();
        }
        if wire.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
            self.receive();
        }
        rung.contains(PollFlags::IN)
    }

    /// Passes on what it has printed.
    fn pass_on(&mut self, run: Option<&Run>) {
        let (speaker, last_words) = (&self.speaker, &mut self.last_words);
        self.has_printed |=
            self.stdout.drain(&mut self.buffer, |line| speaker.tell(Stream::Stdout, line, run));
        self.has_printed |= self.stderr.drain(&mut self.buffer, |line| {
            speaker.tell(Stream::Stderr, line, run);
            if !is_backtrace(line) {
                last_words.clear();
                last_words.extend(line.chars().take(LAST_WORDS));
            }
        });
    }

    /// Passes on the pieces of lines that a run left behind when it ended.
    pub(crate) fn end_lines(&mut self, run: Option<&Run>) {
        let speaker = &self.speaker;
        self.stdout.lines.end(|line| speaker.tell(Stream::Stdout, line, run));
        self.stderr.lines.end(|line| speaker.tell(Stream::Stderr, line, run));
    }

    /// Whether it has printed anything since this was last asked.
    pub(crate) fn take_printed(&mut self) -> bool {
        std::mem::take(&mut self.has_printed)
    }

    /// Reads what has come over the wire.
    fn receive(&mut self) {
        while !self.is_lost {
            let length = match (&self.wire).read(&mut self.buffer) {
                Ok(length) if length > 0 => length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Ok(_) | Err(_) => {
                    self.is_lost = true;
                    return;
                }
            };
            self.inbox.push(&self.buffer[..length]);
            loop {
                match self.inbox.next_to_pool() {
                    Ok(Some(message)) => self.came.push_back(message),
                    Ok(None) => break,
                    Err(WireError(reason)) => {
                        self.is_lost = true;
                        self.nonsense = Some(reason);
                        self.kill();
                        return;
                    }
                }
            }
            if length < self.buffer.len() {
                return;
            }
        }
    }

    /// Kills it and everything it started.
    pub(crate) fn kill(&mut self) {
        if let Some(pid) = self.pid() {
            // It fails when the group is gone, which is what is wanted.
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }

    /// Asks it to end, which it does when it is idle, and waits for that; at `kill_at` it is killed.
    pub(crate) fn retire(mut self, bell: &Bell, kill_at: Option<Instant>) {
        let _ = self.wire.shutdown(Shutdown::Write);
        while !self.is_lost {
            let left = left_until(kill_at);
            if left == Some(Duration::ZERO) {
                self.kill();
                break;
            }
            self.wait(bell, left, None);
        }
        self.bury(None);
    }

    /// Waits for the end of a process that is gone, and says in words how it ended. What it printed last is passed on
    /// as output of `run`.
    pub(crate) fn bury(&mut self, run: Option<&Run>) -> String {
        let status = self.reap();
        self.pass_on(run);
        if let Some(nonsense) = &self.nonsense {
            return format!("the worker process was killed because it broke the protocol: {nonsense}");
        }
        match status {
            Ok(status) => fate(status, &self.last_words),
            Err(error) => format!("the worker process ended, nobody knows how: {error}"),
        }
    }

    /// Takes the exit status. What closed its wire and does not end is killed.
    fn reap(&mut self) -> io::Result<ExitStatus> {
        let (begin, mut pause) = (Instant::now(), Duration::from_micros(100));
        while begin.elapsed() < LINGER {
            if let Some(status) = self.child.try_wait()? {
                self.is_reaped = true;
                return Ok(status);
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(10));
        }
        self.kill();
        self.is_reaped = true;
        self.child.wait()
    }

    /// Its number, as long as nobody else can have it.
    fn pid(&self) -> Option<Pid> {
        i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).filter(|_| !self.is_reaped)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.is_reaped {
            self.kill();
            let _ = self.child.wait();
        }
    }
}

/// How long it is until then; for ever when there is no such moment.
fn left_until(moment: Option<Instant>) -> Option<Duration> {
    moment.map(|moment| moment.saturating_duration_since(Instant::now()))
}

/// The program that runs here, even when its file was replaced or removed meanwhile, as an upgrade does: a process of
/// another build would know other tasks.
fn own_program() -> io::Result<PathBuf> {
    let path = std::env::current_exe()?;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        use std::os::unix::fs::MetadataExt;
        const RUNNING: &str = "/proc/self/exe";
        let file = |path: &Path| std::fs::metadata(path).map(|file| (file.dev(), file.ino())).ok();
        let running = file(Path::new(RUNNING));
        if running.is_some() && running != file(&path) {
            return Ok(RUNNING.into());
        }
    }
    Ok(path)
}

/// Whether a line belongs to a backtrace, which says less than what stands before it.
fn is_backtrace(line: &str) -> bool {
    line.is_empty()
        || line.starts_with([' ', '\t'])
        || line.starts_with("note:")
        || line == "stack backtrace:"
}

/// How a process ended, in words.
fn fate(status: ExitStatus, last_words: &str) -> String {
    if let Some(code) = status.code() {
        return format!("the worker process exited with status {code}");
    }
    let Some(signal) = status.signal() else { return "the worker process ended".to_owned() };
    let name = SIGNALS.iter().find(|(known, _)| known.as_raw() == signal);
    let name = name.map(|(_, name)| format!(" ({name})")).unwrap_or_default();
    let last_words = if last_words.is_empty() { String::new() } else { format!(": {last_words}") };
    format!("the worker process was killed by signal {signal}{name}{last_words}")
}

/// The signals that end processes most.
const SIGNALS: [(Signal, &str); 13] = [
    (Signal::ABORT, "SIGABRT"),
    (Signal::SEGV, "SIGSEGV"),
    (Signal::KILL, "SIGKILL"),
    (Signal::TERM, "SIGTERM"),
    (Signal::BUS, "SIGBUS"),
    (Signal::ILL, "SIGILL"),
    (Signal::FPE, "SIGFPE"),
    (Signal::TRAP, "SIGTRAP"),
    (Signal::INT, "SIGINT"),
    (Signal::HUP, "SIGHUP"),
    (Signal::PIPE, "SIGPIPE"),
    (Signal::SYS, "SIGSYS"),
    (Signal::XCPU, "SIGXCPU"),
];
