//! What tasks print: cut into lines, and passed on with the run that printed them.

use std::io::{self, Write};
use std::sync::Arc;

use sched_core::{JobId, Run};

use crate::settings::TaskOutput;

/// The longest line, in bytes. What is longer is passed on in pieces.
const LONGEST: usize = 8 * 1024;

/// Which of its two streams a process printed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

/// Cuts a stream into lines.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    partial: Vec<u8>,
}

impl Lines {
    /// Calls `tell` with each line that ends in `bytes`; what follows is kept.
    pub(crate) fn push(&mut self, bytes: &[u8], mut tell: impl FnMut(&str)) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            for piece in piece.chunks(LONGEST) {
                self.partial.extend_from_slice(piece);
                if self.partial.last() == Some(&b'\n') || self.partial.len() >= LONGEST {
                    self.end(&mut tell);
                }
            }
        }
    }

    /// Calls `tell` with what is left.
    pub(crate) fn end(&mut self, mut tell: impl FnMut(&str)) {
        if !self.partial.is_empty() {
            let text = String::from_utf8_lossy(&self.partial);
            tell(text.trim_end_matches(['\n', '\r']));
            self.partial.clear();
        }
    }
}

/// Passes the lines of one process on.
#[derive(Debug)]
pub(crate) struct Speaker {
    pub(crate) alias: Arc<str>,
    pub(crate) pid: u32,
    pub(crate) output: TaskOutput,
}

impl Speaker {
    pub(crate) fn tell(&self, stream: Stream, line: &str, run: Option<&Run>) {
        let log = match self.output {
            TaskOutput::Auto => tracing::dispatcher::has_been_set(),
            TaskOutput::Log => true,
            TaskOutput::Stderr => false,
            TaskOutput::Discard => return,
        };
        if log { self.log(stream, line, run) } else { self.print(line, run) }
    }

    fn log(&self, stream: Stream, line: &str, run: Option<&Run>) {
        let (executor, pid) = (&*self.alias, self.pid);
        let Some(run) = run else {
            tracing::info!(executor, pid, "{line}");
            return;
        };
        let (task, job, run) = (&*run.task, run.job_id.as_ref().map_or("", JobId::as_str), &run.id);
        match stream {
            Stream::Stdout => tracing::info!(executor, pid, task, job, %run, "{line}"),
            Stream::Stderr => tracing::warn!(executor, pid, task, job, %run, "{line}"),
        }
    }

    /// A program whose standard error is closed loses its tasks' lines, as it does its own.
    fn print(&self, line: &str, run: Option<&Run>) {
        let label = match run {
            Some(run) => format!("[{} {} {}]", self.alias, run.task, run.id),
            None => format!("[{} process {}]", self.alias, self.pid),
        };
        let _ = writeln!(io::stderr().lock(), "{label} {line}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_whole_however_they_come() {
        let text = "one\ntwo\r\n\nlast";
        for step in [1, 2, 3, text.len()] {
            let (mut lines, mut told) = (Lines::default(), Vec::new());
            for piece in text.as_bytes().chunks(step) {
                lines.push(piece, |line| told.push(line.to_owned()));
            }
            lines.end(|line| told.push(line.to_owned()));
            assert_eq!(told, ["one", "two", "", "last"], "in steps of {step}");
        }
    }

    #[test]
    fn what_has_no_end_is_passed_on_in_pieces() {
        let (mut lines, mut told) = (Lines::default(), Vec::new());
        lines.push(&vec![b'x'; LONGEST * 2 + 1], |line| told.push(line.len()));
        lines.push(b"\xff\n", |line| told.push(line.len()));
        assert_eq!(told, [LONGEST, LONGEST, 1 + '\u{fffd}'.len_utf8()]);
    }
}
