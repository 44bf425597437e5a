//! The only place that writes to standard output and standard error.
//!
//! A line is written in one piece, so that lines of several threads do not mix. A reader who has gone (`| head`) is
//! no reason to complain, nor to stop what is running.

use std::fmt::Display;
use std::io::{self, Write};

/// Writes a line to standard output.
pub(crate) fn line(text: impl Display) {
    write(io::stdout().lock(), text);
}

/// Writes a line to standard error.
pub(crate) fn note(text: impl Display) {
    write(io::stderr().lock(), text);
}

fn write(mut out: impl Write, text: impl Display) {
    let line = format!("{text}\n");
    // A failure to write has nobody left to be told.
    let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
}
