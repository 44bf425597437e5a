//! A child process that can be waited for by one thread and killed, with all its descendants, by another.
//!
//! On Unix the child leads a process group of its own: signals go to the group, and ctrl-c in the terminal does not
//! reach it. It is reaped last, so that its id cannot meanwhile become somebody else's. Elsewhere only the child
//! itself is killed.

use std::io;
use std::process::{Child as Process, Command, ExitStatus};

use parking_lot::Mutex;

use crate::logging::Stream;

/// What a child writes.
pub(super) type Pipe = Box<dyn io::Read + Send>;

/// Both outputs of a child.
pub(super) type Pipes = Vec<(Stream, Pipe)>;

/// A child process.
#[derive(Debug)]
pub(super) struct Child {
    /// `None` once it is reaped.
    process: Mutex<Option<Process>>,
    #[cfg_attr(not(unix), expect(dead_code, reason = "only groups are addressed by it"))]
    id: u32,
}

impl Child {
    /// Starts a command whose outputs are piped.
    pub(super) fn spawn(command: &mut Command) -> io::Result<(Self, Pipes)> {
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(command, 0);
        let mut process = command.spawn()?;
        let mut pipes = Pipes::new();
        pipes.extend(process.stdout.take().map(|pipe| (Stream::Stdout, Box::new(pipe) as Pipe)));
        pipes.extend(process.stderr.take().map(|pipe| (Stream::Stderr, Box::new(pipe) as Pipe)));
        let id = process.id();
        Ok((Self { process: Mutex::new(Some(process)), id }, pipes))
    }

    /// Takes the exit status, waiting for it where it must.
    pub(super) fn reap(&self) -> io::Result<ExitStatus> {
        match self.process.lock().take() {
            Some(mut process) => process.wait(),
            None => Err(io::Error::other("it was taken already")),
        }
    }
}

#[cfg(unix)]
mod group {
    use std::sync::Arc;
    use std::{io, thread};

    use rustix::io::Errno;
    use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

    use super::Child;

    impl Child {
        /// Calls `exited` from a thread of its own once the child has exited. It is not reaped by that.
        pub(in super::super) fn watch(
            self: &Arc<Self>,
            exited: impl FnOnce() + Send + 'static,
        ) -> io::Result<()> {
            let pid = self.pid();
            let watch = move || {
                if let Some(pid) = pid {
                    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
                    while matches!(waitid(WaitId::Pid(pid), options), Err(Errno::INTR)) {}
                }
                exited();
            };
            thread::Builder::new().name("sched-command".to_owned()).spawn(watch).map(drop)
        }

        /// Asks the group to end.
        pub(in super::super) fn terminate(&self) {
            self.signal(Signal::TERM);
        }

        /// Kills the group.
        pub(in super::super) fn kill(&self) {
            self.signal(Signal::KILL);
        }

        fn signal(&self, signal: Signal) {
            let process = self.process.lock();
            if let (Some(_), Some(pid)) = (&*process, self.pid()) {
                // It fails only when the whole group is gone, which is what is wanted.
                let _ = kill_process_group(pid, signal);
            }
        }

        fn pid(&self) -> Option<Pid> {
            i32::try_from(self.id).ok().and_then(Pid::from_raw)
        }
    }
}

#[cfg(not(unix))]
mod alone {
    use std::sync::Arc;
    use std::time::Duration;
    use std::{io, thread};

    use super::Child;

    /// How often the child is looked at.
    const PAUSE: Duration = Duration::from_millis(20);

    impl Child {
        /// Calls `exited` from a thread of its own once the child has exited.
        pub(in super::super) fn watch(
            self: &Arc<Self>,
            exited: impl FnOnce() + Send + 'static,
        ) -> io::Result<()> {
            let child = Arc::clone(self);
            let watch = move || {
                while child.is_running() {
                    thread::park_timeout(PAUSE);
                }
                exited();
            };
            thread::Builder::new().name("sched-command".to_owned()).spawn(watch).map(drop)
        }

        /// Kills the child: there is no gentler way.
        pub(in super::super) fn terminate(&self) {
            self.kill();
        }

        /// Kills the child.
        pub(in super::super) fn kill(&self) {
            if let Some(process) = &mut *self.process.lock() {
                // It fails only when the child is gone.
                let _ = process.kill();
            }
        }

        fn is_running(&self) -> bool {
            let mut process = self.process.lock();
            process.as_mut().is_some_and(|process| matches!(process.try_wait(), Ok(None)))
        }
    }
}
