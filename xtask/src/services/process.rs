//! Server processes: started apart from this program, watched and ended by process id, never by name.
//!
//! A process id alone proves nothing, because ids are used again; an id with the time its process started does.

use crate::run::Failure;
use std::{
    fs::{self, File},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// How often a process is looked at that should end soon.
const POLL: Duration = Duration::from_millis(20);

/// How long a server may take to end well before it is killed.
const PATIENCE: Duration = Duration::from_secs(15);

/// A user of this machine that a server runs as.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(not(unix), expect(dead_code, reason = "servers are started on Unix-like systems only"))]
pub(super) struct User {
    pub(super) name: String,
    uid: u32,
    gid: u32,
}

impl User {
    /// The first of these users that exists.
    pub(super) fn first_of(names: &[&str]) -> Option<Self> {
        names.iter().find_map(|name| {
            Some(Self { name: (*name).to_owned(), uid: id(&["-u", name])?, gid: id(&["-g", name])? })
        })
    }

    /// Whether this user may enter a directory: all directories above it count.
    pub(super) fn can_enter(&self, directory: &Path) -> bool {
        let mut test = Command::new("test");
        test.arg("-x").arg(directory).current_dir("/");
        run_as(&mut test, Some(self)).and_then(|()| succeeded(&mut test)).is_ok()
    }

    /// Gives a directory to this user.
    #[cfg(unix)]
    pub(super) fn own(&self, directory: &Path) -> Result<(), Failure> {
        std::os::unix::fs::chown(directory, Some(self.uid), Some(self.gid)).map_err(|error| {
            Failure::new(format!("cannot give {} to {}: {error}", directory.display(), self.name))
        })
    }

    #[cfg(not(unix))]
    pub(super) fn own(&self, _: &Path) -> Result<(), Failure> {
        Err(unsupported())
    }
}

/// Whether this program may do what only root may do.
pub(super) fn is_root() -> bool {
    id(&["-u"]) == Some(0)
}

fn id(arguments: &[&str]) -> Option<u32> {
    let output = Command::new("id").args(arguments).stderr(Stdio::null()).output().ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}

/// Makes a command run as another user; as the caller when there is none.
#[cfg(unix)]
pub(super) fn run_as(command: &mut Command, user: Option<&User>) -> Result<(), Failure> {
    use std::os::unix::process::CommandExt;
    if let Some(user) = user {
        command.uid(user.uid).gid(user.gid);
    }
    Ok(())
}

#[cfg(not(unix))]
pub(super) fn run_as(_: &mut Command, _: Option<&User>) -> Result<(), Failure> {
    Err(unsupported())
}

/// Starts a server that lives on when this program ends, with its output in a file.
pub(super) fn launch(command: &[String], user: Option<&User>, log: &Path) -> Result<Child, Failure> {
    let (program, arguments) =
        command.split_first().ok_or_else(|| Failure::new("a server without a command to start it"))?;
    let cannot = |error| Failure::new(format!("cannot start {program}: {error}"));
    let output = File::options().create(true).append(true).open(log).map_err(cannot)?;
    let copy = output.try_clone().map_err(cannot)?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(output).stderr(copy);
    if let Some(directory) = log.parent() {
        command.current_dir(directory);
    }
    run_as(&mut command, user)?;
    // A key that interrupts this program must not end the server.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    command.spawn().map_err(cannot)
}

/// Runs a command to its end and returns what it printed; a failure carries it.
pub(super) fn succeeded(command: &mut Command) -> Result<String, Failure> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| Failure::new(format!("cannot start {program}: {error}")))?;
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(text);
    }
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    Err(Failure::new(format!("{program} failed ({}): {}", output.status, tail(&text))))
}

/// The last lines of a text.
pub(super) fn tail(text: &str) -> String {
    const LINES: usize = 15;
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}

/// A process that this program or an earlier one started.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Process {
    pub(super) pid: u32,
    /// When it started, as the system counts.
    pub(super) started: String,
}

impl Process {
    /// The process of this id as it is now.
    pub(super) fn of(pid: u32) -> Option<Self> {
        Some(Self { pid, started: started(pid)? })
    }

    /// Whether it still runs: another process of the same id does not count.
    pub(super) fn is_alive(&self) -> bool {
        started(self.pid).as_ref() == Some(&self.started)
    }

    /// Asks it to end with a signal of this name and kills it when it does not.
    pub(super) fn stop(&self, signal: &str) -> Result<(), Failure> {
        if self.is_alive() {
            self.signal(signal)?;
        }
        if self.ends_within(PATIENCE) { Ok(()) } else { self.kill() }
    }

    /// Ends it without asking.
    pub(super) fn kill(&self) -> Result<(), Failure> {
        if self.is_alive() {
            self.signal("KILL")?;
        }
        if self.ends_within(PATIENCE) {
            return Ok(());
        }
        Err(Failure::new(format!("process {} outlives being killed", self.pid)))
    }

    fn ends_within(&self, limit: Duration) -> bool {
        let begun = Instant::now();
        while self.is_alive() {
            if begun.elapsed() > limit {
                return false;
            }
            thread::sleep(POLL);
        }
        true
    }

    fn signal(&self, name: &str) -> Result<(), Failure> {
        // The shell has `kill` built in; the program of that name is missing from small systems.
        let mut kill = Command::new("sh");
        kill.args(["-c", r#"kill -s "$0" "$1""#, name, &self.pid.to_string()]);
        match succeeded(&mut kill) {
            Err(failure) if self.is_alive() => Err(failure),
            _ => Ok(()),
        }
    }
}

/// When a process started; none when there is none, or only its exit code is left of it.
fn started(pid: u32) -> Option<String> {
    if cfg!(target_os = "linux") {
        return started_in_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?);
    }
    let mut ps = Command::new("ps");
    ps.args(["-o", "stat=,lstart=", "-p", &pid.to_string()]);
    let line = succeeded(&mut ps).ok()?;
    let (status, started) = line.trim().split_once(' ')?;
    (!status.starts_with('Z')).then(|| started.trim().to_owned())
}

/// The start time in a line of `/proc/PID/stat`: field 22, where field 2 is a name in parentheses that may hold anything.
fn started_in_stat(line: &str) -> Option<String> {
    const AFTER_NAME: usize = 2;
    let (_, fields) = line.rsplit_once(')')?;
    let mut fields = fields.split_whitespace();
    let state = fields.next()?;
    let started = fields.nth(22 - AFTER_NAME - 2)?;
    (!matches!(state, "Z" | "X")).then(|| started.to_owned())
}

#[cfg(not(unix))]
fn unsupported() -> Failure {
    Failure::new("servers are started on Unix-like systems only; set the SCHED_TEST_…_URL variables instead")
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "4711 (a (b) c) S 1 4711 4711 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 1 2 3";

    #[test]
    fn the_start_time_is_found_behind_any_name() {
        assert_eq!(started_in_stat(STAT).as_deref(), Some("987654"));
        assert_eq!(started_in_stat(&STAT.replace(" S ", " Z ")), None, "a zombie has ended");
        assert_eq!(started_in_stat("4711 (a"), None);
    }

    #[cfg(unix)]
    #[test]
    fn a_process_is_known_by_its_id_and_start() {
        let this = Process::of(std::process::id()).unwrap();
        assert!(this.is_alive());
        assert!(!Process { started: "1".to_owned(), ..this }.is_alive(), "an id that was used again");
    }

    #[cfg(unix)]
    #[test]
    fn a_process_has_ended_before_its_exit_code_is_read() {
        for end in [Process::kill, |process: &Process| process.stop("TERM")] {
            let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
            let process = Process::of(child.id()).unwrap();
            end(&process).unwrap();
            assert!(!process.is_alive());
            end(&process).unwrap();
            assert!(!child.wait().unwrap().success());
        }
    }

    #[test]
    fn only_the_end_of_a_long_text_is_shown() {
        let text: Vec<String> = (0..100).map(|line| line.to_string()).collect();
        assert!(tail(&text.join("\n")).starts_with("85\n"));
        assert_eq!(tail("one"), "one");
    }
}
