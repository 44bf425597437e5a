//! Printing: the only place that writes to the terminal. A closed pipe is no error here.

use std::io::{self, Write};

/// Prints one line to standard output.
pub fn line(text: &str) {
    // Nothing useful can be done when the reader has gone away.
    let _ = writeln!(io::stdout(), "{text}");
}

/// Prints one line to standard error.
pub fn error(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}
