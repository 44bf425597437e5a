//! Processes: how commands are started, and the one failure type that every command returns.

use std::{
    env,
    ffi::{OsStr, OsString},
    fmt, io,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

/// Why a command did not succeed, in words for the person who called it.
#[derive(Clone, Debug)]
pub(crate) struct Failure(String);

impl Failure {
    /// A failure with the given message.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The checkout that the commands work on.
#[derive(Debug)]
pub(crate) struct Workspace {
    root: PathBuf,
}

impl Workspace {
    /// Finds the workspace that this program was started from.
    ///
    /// Cargo tells a program it runs where its manifest is; the workspace is the directory above.
    pub(crate) fn locate() -> Result<Self, Failure> {
        let manifest_dir = env::var_os("CARGO_MANIFEST_DIR")
            .ok_or_else(|| Failure::new("CARGO_MANIFEST_DIR is not set: start this as `cargo xtask`"))?;
        let root = Path::new(&manifest_dir)
            .parent()
            .ok_or_else(|| Failure::new("the xtask directory has no parent directory"))?;
        Ok(Self { root: root.to_owned() })
    }

    /// The directory of the workspace's manifest.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// A cargo command with the given arguments, run in the workspace's root.
    pub(crate) fn cargo<I: IntoIterator<Item: AsRef<OsStr>>>(&self, arguments: I) -> Command {
        let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
        let mut command = Command::new(cargo);
        command.args(arguments).current_dir(&self.root);
        command
    }
}

/// Runs a command to its end with this process's own input and output.
pub(crate) fn run(command: &mut Command) -> Result<(), Failure> {
    let status = command.status().map_err(|error| not_started(command, &error))?;
    expect_success(command, status)
}

/// Runs a command to its end and returns what it wrote to standard output.
pub(crate) fn capture(command: &mut Command) -> Result<String, Failure> {
    let output = command.stderr(Stdio::inherit()).output().map_err(|error| not_started(command, &error))?;
    expect_success(command, output.status)?;
    String::from_utf8(output.stdout)
        .map_err(|_| Failure::new(format!("`{}` printed text that is not UTF-8", spelled(command))))
}

/// Runs a command and ends it when it takes longer than `limit`.
pub(crate) fn run_within(limit: Duration, command: &mut Command) -> Result<(), Failure> {
    const POLL: Duration = Duration::from_millis(20);
    let mut child = command.spawn().map_err(|error| not_started(command, &error))?;
    let begun = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return expect_success(command, status),
            Ok(None) if begun.elapsed() < limit => thread::sleep(POLL),
            Ok(None) => {
                // A child that ended in this instant is late all the same.
                let _ = child.kill();
                let _ = child.wait();
                return Err(Failure::new(format!(
                    "`{}` still ran after {} s and was ended",
                    spelled(command),
                    limit.as_secs()
                )));
            }
            Err(error) => {
                return Err(Failure::new(format!("cannot wait for `{}`: {error}", spelled(command))));
            }
        }
    }
}

/// Turns an unsuccessful exit status into a failure that names the command.
pub(crate) fn expect_success(command: &Command, status: ExitStatus) -> Result<(), Failure> {
    if status.success() {
        return Ok(());
    }
    Err(Failure::new(format!("`{}` failed ({status})", spelled(command))))
}

/// The failure of a command that could not be started at all.
pub(crate) fn not_started(command: &Command, error: &io::Error) -> Failure {
    Failure::new(format!("cannot start `{}`: {error}", spelled(command)))
}

/// The command as a person would type it: the program without its directory, then the arguments.
fn spelled(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let mut words = vec![program.file_stem().unwrap_or(program.as_os_str()).to_string_lossy()];
    words.extend(command.get_args().map(OsStr::to_string_lossy));
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// This test program itself, asked for something quick; every platform has it.
    fn this_program(argument: &str) -> Command {
        let mut command = Command::new(env::current_exe().unwrap());
        command.arg(argument).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    #[test]
    fn a_command_that_succeeds_is_no_failure() {
        run(&mut this_program("--list")).unwrap();
    }

    #[test]
    fn a_failure_names_the_command_and_its_arguments() {
        let message = run(&mut this_program("--no-such-flag")).unwrap_err().to_string();
        assert!(message.contains("--no-such-flag` failed"), "{message}");
    }

    #[test]
    fn a_program_that_does_not_exist_is_named() {
        let message = run(&mut Command::new("no-such-program-anywhere")).unwrap_err().to_string();
        assert!(message.starts_with("cannot start `no-such-program-anywhere`"), "{message}");
    }

    const WAITS: &str = "XTASK_TEST_WAITS";

    /// Not a test of its own: the next one starts it as a program that does not end by itself.
    #[test]
    fn waits_for_the_end_of_its_input_when_told() {
        if env::var_os(WAITS).is_some() {
            io::read_to_string(io::stdin()).unwrap();
        }
    }

    #[test]
    fn a_command_that_outlives_its_limit_is_ended() {
        let mut waiting = this_program("waits_for_the_end_of_its_input_when_told");
        let ended = run_within(Duration::ZERO, waiting.env(WAITS, "1").stdin(Stdio::piped()));
        let message = ended.unwrap_err().to_string();
        assert!(message.contains("still ran after 0 s"), "{message}");
    }

    #[test]
    fn a_command_within_its_limit_is_judged_by_its_exit_code() {
        const LIMIT: Duration = Duration::from_secs(60);
        run_within(LIMIT, &mut this_program("--list")).unwrap();
        let message = run_within(LIMIT, &mut this_program("--no-such-flag")).unwrap_err().to_string();
        assert!(message.contains("failed"), "{message}");
    }
}
