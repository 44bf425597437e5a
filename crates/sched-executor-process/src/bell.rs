//! What wakes a thread that waits for file descriptors.

use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Wake;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// A pipe that holds at most one byte. Ringing never blocks and costs a system call only when nobody has rung before.
///
/// As a waker it may be rung by whoever cancels a run, with whatever locks they hold.
#[derive(Debug)]
pub(crate) struct Bell {
    rung: AtomicBool,
    reader: PipeReader,
    writer: PipeWriter,
}

impl Bell {
    /// **Errors**: the system has no file descriptors left.
    pub(crate) fn new() -> io::Result<Arc<Self>> {
        let (reader, writer) = io::pipe()?;
        Ok(Arc::new(Self { rung: AtomicBool::new(false), reader, writer }))
    }

    pub(crate) fn ring(&self) {
        if !self.rung.swap(true, Ordering::SeqCst) {
            // The pipe has room for a byte, and its reader is right here.
            let _ = (&self.writer).write(&[0]);
        }
    }

    /// Silences a bell that can be read. What it was rung for is to be looked at afterwards.
    pub(crate) fn silence(&self) {
        let _ = (&self.reader).read(&mut [0]);
        self.rung.store(false, Ordering::SeqCst);
    }

    /// Waits until it is rung or the time is over, and silences it; says whether it was rung.
    pub(crate) fn wait(&self, limit: Option<Duration>) -> bool {
        let limit = limit.and_then(|limit| Timespec::try_from(limit).ok());
        let mut fds = [PollFd::from_borrowed_fd(self.fd(), PollFlags::IN)];
        // Interrupted or not, it is looked at.
        let _ = poll(&mut fds, limit.as_ref());
        let is_rung = fds[0].revents().contains(PollFlags::IN);
        if is_rung {
            self.silence();
        }
        is_rung
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.ring();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.ring();
    }
}
