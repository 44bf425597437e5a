//! The program under test: started, fed, listened to with a deadline, and never left behind.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long anything may take that should happen at once. Long, because the machine may be busy.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// What a program left that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

fn sched(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sched"));
    command.args(args).env_remove("SCHED_LOG").env_remove("RUST_LOG");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Starts the program with pipes for all three of its streams.
pub(crate) fn spawn(args: &[&str]) -> Child {
    sched(args).spawn().unwrap()
}

/// Runs the program to its end.
pub(crate) fn run(args: &[&str]) -> Ended {
    run_with(args, b"", &[])
}

/// Runs the program to its end, with this standard input and these variables.
pub(crate) fn run_with(args: &[&str], input: &[u8], variables: &[(&str, &str)]) -> Ended {
    let mut child = sched(args).envs(variables.iter().copied()).spawn().unwrap();
    let (mut stdin, input) = (child.stdin.take().unwrap(), input.to_owned());
    // A program that refuses its arguments reads nothing.
    let feeding = thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().unwrap();
    feeding.join().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ended { status: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// A directory with a schedule file.
pub(crate) struct Schedule {
    directory: TempDir,
    name: String,
}

impl Schedule {
    pub(crate) fn new(name: &str, text: impl AsRef<[u8]>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(name), text).unwrap();
        Self { directory, name: name.to_owned() }
    }

    pub(crate) fn toml(text: &str) -> Self {
        Self::new("schedule.toml", text)
    }

    pub(crate) fn path(&self) -> String {
        self.beside(&self.name).to_str().unwrap().to_owned()
    }

    /// The path of another file in its directory.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

/// A program that is running.
pub(crate) struct Running {
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Running {
    pub(crate) fn start(args: &[&str]) -> Self {
        let mut child = spawn(args);
        let (stdout, (sender, lines)) = (child.stdout.take().unwrap(), mpsc::channel());
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines() {
                // The test may have seen enough.
                let _ = sender.send(line.unwrap());
            }
        });
        Self { child, lines, seen: Vec::new() }
    }

    /// Waits for a line of output that contains `text`.
    #[track_caller]
    pub(crate) fn expect(&mut self, text: &str) -> String {
        let end = Instant::now() + DEADLINE;
        loop {
            match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if line.contains(text) {
                        return line;
                    }
                }
                Err(error) => panic!("no line with `{text}` ({error}); seen: {:#?}", self.seen),
            }
        }
    }

    #[cfg(unix)]
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Waits for the end of the program.
    #[track_caller]
    pub(crate) fn end(mut self) -> Ended {
        let end = Instant::now() + DEADLINE;
        loop {
            match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => self.seen.push(line),
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
                Err(mpsc::RecvTimeoutError::Timeout) => panic!("it does not end; seen: {:#?}", self.seen),
            }
        }
        let mut stderr = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        let status = self.child.wait().unwrap().code();
        Ended { status, stdout: self.seen.join("\n"), stderr }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended already, unless the test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
