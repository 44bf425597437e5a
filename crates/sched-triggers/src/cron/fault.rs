//! What is wrong with a cron expression: the field, the column, and how to mend it.

use std::fmt;

use sched_core::{Error, ErrorKind, Fault};

use super::field::Field;

/// A fault in a cron expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CronFault {
    /// The field, where one is at fault.
    pub(crate) field: Option<Field>,
    /// Column of the first wrong character, counted in characters from 1; `None` when no character is at fault.
    pub(crate) column: Option<usize>,
    /// What is wrong.
    pub(crate) message: String,
    /// How to mend it.
    pub(crate) suggestion: Option<String>,
}

impl CronFault {
    /// The fault as an error; `path` is the dotted key it was read from, or empty.
    pub(crate) fn at(self, path: String) -> Error {
        let message = self.to_string();
        let fault = Fault { path, message, suggestion: self.suggestion };
        Error::from_faults(ErrorKind::InvalidTrigger, vec![fault])
    }
}

impl fmt::Display for CronFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let field = self.field.map(|field| format!("cron field `{}`", field.name()));
        let column = self.column.map(|column| format!("column {column}"));
        let place: Vec<String> = field.into_iter().chain(column).collect();
        if !place.is_empty() {
            write!(f, "{}: ", place.join(", "))?;
        }
        f.write_str(&self.message)
    }
}

impl From<CronFault> for Error {
    fn from(fault: CronFault) -> Self {
        fault.at(String::new())
    }
}
