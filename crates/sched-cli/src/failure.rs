//! Why the program ends badly: what it says, and its exit status.

use std::fmt::{Display, Write as _};

use sched::{Error, Fault};

/// The configuration is wrong, or what was asked for failed.
const FAILED: u8 = 1;

/// The command line is wrong; the status that clap uses, too.
const USAGE: u8 = 2;

/// An end that is not a success.
#[derive(Debug)]
pub(crate) struct Failure {
    status: u8,
    text: String,
}

impl Failure {
    /// What was asked for failed.
    pub(crate) fn new(text: impl Display) -> Self {
        Self { status: FAILED, text: text.to_string() }
    }

    /// What was asked for failed, and that has been told.
    pub(crate) fn told() -> Self {
        Self::new("")
    }

    /// The command line makes no sense.
    pub(crate) fn usage(text: impl Display) -> Self {
        Self { status: USAGE, text: text.to_string() }
    }

    /// Every fault of `subject`, such as a file.
    pub(crate) fn of_faults(subject: impl Display, faults: &[Fault]) -> Self {
        match faults {
            [fault] => Self::new(format_args!("{subject}: {fault}")),
            _ => Self::new(format_args!("{subject} has {}", listed(faults))),
        }
    }

    pub(crate) fn status(&self) -> u8 {
        self.status
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error.faults().len() {
            0 | 1 => Self::new(error),
            _ => Self::new(listed(&error.into_faults(""))),
        }
    }
}

fn listed(faults: &[Fault]) -> String {
    let mut text = format!("{} faults:", faults.len());
    for fault in faults {
        let _ = write!(text, "\n  {fault}");
    }
    text
}
