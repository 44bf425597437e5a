//! Printing: the only place that writes to the terminal. A closed pipe is no error here.

use std::io::{self, Write};

use crate::figure::Figure;

/// Prints one line to standard output.
pub fn line(text: &str) {
    // Nothing useful can be done when the reader has gone away.
    let _ = writeln!(io::stdout(), "{text}");
}

/// Prints one line to standard error.
pub fn error(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Takes figures: prints each and counts those that miss their budget.
#[derive(Debug, Default)]
pub struct Board {
    missed: usize,
}

impl Board {
    /// Prints a figure as one line of JSON.
    pub fn put(&mut self, figure: &Figure) {
        self.missed += usize::from(figure.met == Some(false));
        line(&figure.to_string());
    }

    /// How many figures missed their budget so far.
    pub fn missed(&self) -> usize {
        self.missed
    }
}
