//! The output of a command: every line goes to the log, and a bounded part of it is kept for the run's result.

use std::io::{self, BufRead, BufReader};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use parking_lot::Mutex;
use sched::Run;

use super::child::Pipe;
use crate::logging::{Log, Stream};

/// How much output is kept for the result, in bytes; the rest is only logged.
const MAX_KEPT: usize = 64 * 1024;

/// The longest line that is logged, in bytes; the rest of it is dropped.
const MAX_LINE: usize = 8 * 1024;

/// What stands at the end of a line that was cut.
const CUT: &str = " […]";

/// The output of one run.
pub(super) struct Capture {
    run: Run,
    log: Arc<Log>,
    kept: Mutex<Kept>,
    lines: AtomicU64,
}

/// What is kept of an output.
#[derive(Debug, Clone, Default)]
pub(super) struct Kept {
    /// The first lines of both outputs, in the order in which they were read.
    pub(super) text: String,
    /// Whether there was more.
    pub(super) truncated: bool,
    /// The last line of standard error that is not blank.
    pub(super) last_stderr: String,
}

impl Capture {
    pub(super) fn new(run: Run, log: Arc<Log>) -> Arc<Self> {
        Arc::new(Self { run, log, kept: Mutex::default(), lines: AtomicU64::new(0) })
    }

    /// What was kept so far.
    pub(super) fn kept(&self) -> Kept {
        self.kept.lock().clone()
    }

    /// How many lines were read so far.
    pub(super) fn lines(&self) -> u64 {
        self.lines.load(Ordering::Relaxed)
    }

    /// Reads one of the outputs on a thread of its own, and calls `closed` at its end.
    pub(super) fn read(
        self: &Arc<Self>,
        stream: Stream,
        pipe: Pipe,
        closed: impl FnOnce() + Send + 'static,
    ) -> io::Result<()> {
        let capture = Arc::clone(self);
        let read = move || {
            let mut pipe = BufReader::new(pipe);
            // An output that fails is at its end.
            while let Ok(Some(line)) = read_line(&mut pipe) {
                capture.take(stream, &line);
            }
            closed();
        };
        thread::Builder::new().name("sched-output".to_owned()).spawn(read).map(drop)
    }

    fn take(&self, stream: Stream, line: &str) {
        self.log.output(&self.run, stream, line);
        self.lines.fetch_add(1, Ordering::Relaxed);
        let mut kept = self.kept.lock();
        match kept.text.len() + line.len() < MAX_KEPT && !kept.truncated {
            true => {
                kept.text.push_str(line);
                kept.text.push('\n');
            }
            false => kept.truncated = true,
        }
        if stream == Stream::Stderr && !line.trim().is_empty() {
            line.trim().clone_into(&mut kept.last_stderr);
        }
    }
}

/// Reads a line without its end, cut when it is too long; `None` at the end. What is no UTF-8 is replaced.
fn read_line(input: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut line: Vec<u8> = Vec::new();
    let (mut any, mut cut) = (false, false);
    loop {
        let available = match input.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        };
        if available.is_empty() {
            break;
        }
        any = true;
        let end = available.iter().position(|byte| *byte == b'\n');
        let piece = &available[..end.unwrap_or(available.len())];
        let room = MAX_LINE - line.len();
        line.extend_from_slice(&piece[..piece.len().min(room)]);
        cut |= piece.len() > room;
        let used = piece.len() + usize::from(end.is_some());
        input.consume(used);
        if end.is_some() {
            break;
        }
    }
    let mut text = String::from_utf8_lossy(&line).into_owned();
    if text.ends_with('\r') {
        text.pop();
    }
    if cut {
        text.push_str(CUT);
    }
    Ok(any.then_some(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &[u8]) -> Vec<String> {
        let mut input = BufReader::with_capacity(16, text);
        std::iter::from_fn(|| read_line(&mut input).unwrap()).collect()
    }

    #[test]
    fn output_is_read_line_by_line() {
        assert_eq!(lines(b"one\r\n\ntwo\xff\nlast"), ["one", "", "two\u{fffd}", "last"]);
        assert!(lines(b"").is_empty());
    }

    #[test]
    fn a_long_line_is_cut_and_the_next_one_is_whole() {
        let text = format!("{}\nnext\n", "x".repeat(3 * MAX_LINE));
        let read = lines(text.as_bytes());
        assert_eq!(read[0].len(), MAX_LINE + CUT.len());
        assert_eq!(read[1..], ["next"]);
    }
}
