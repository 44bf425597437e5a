//! Printing. The only place that writes to the terminal; a closed pipe is not an error here.

use std::io::{self, Write};

/// Prints one line to standard output.
pub(crate) fn line(text: impl AsRef<str>) {
    // Nothing useful can be done when the reader has gone away.
    let _ = writeln!(io::stdout(), "{}", text.as_ref());
}

/// Prints one line to standard error.
pub(crate) fn error(text: impl AsRef<str>) {
    let _ = writeln!(io::stderr(), "{}", text.as_ref());
}

/// Prints the title of a step, set apart from the output around it.
pub(crate) fn title(text: &str) {
    line(format!("\n── {text}"));
}
