//! The one error type of the workspace: an opaque [`Error`] whose [`ErrorKind`] drives decisions.
//!
//! Plug-ins map their client's errors here, in one place each, so that no driver type appears in a public
//! signature. A task that fails is *not* an `Error`; it is an [`Outcome`](crate::Outcome).

use std::error::Error as StdError;
use std::fmt;

/// What went wrong, as far as a caller can act on it. Match on this, never on message text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// No job, run, task, store, executor or plug-in of that name.
    NotFound,
    /// A job id or an alias is taken.
    AlreadyExists,
    /// The claim, lease or revision this write relied on is no longer ours.
    Stale,
    /// The configuration is wrong; [`Error::faults`] lists every fault.
    InvalidConfig,
    /// A trigger's arguments make no sense, or the trigger failed.
    InvalidTrigger,
    /// A job's options, arguments or payload make no sense.
    InvalidJob,
    /// The trigger has no fire time left, so the job would never run.
    NeverFires,
    /// The scheduler is in the wrong state: running when it must be stopped, or the reverse.
    InvalidState,
    /// This store, executor or platform cannot do that.
    Unsupported,
    /// A server or resource could not be reached. Retrying may help.
    Unavailable,
    /// A deadline passed. Retrying may help.
    Timeout,
    /// Stored data could not be decoded.
    Corrupt,
    /// The component was shut down.
    Closed,
    /// A defect or an unforeseen condition, such as a panic in a plug-in.
    Unexpected,
}

/// One fault of a configuration: where, what, and how to mend it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Dotted path of the key, such as `executors.default.max_workers`.
    pub path: String,
    /// What is wrong, with the value where it helps.
    pub message: String,
    /// A near match or a fix, when one is known.
    pub suggestion: Option<String>,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path.is_empty() {
            true => f.write_str(&self.message)?,
            false => write!(f, "{}: {}", self.path, self.message)?,
        }
        match &self.suggestion {
            Some(suggestion) => write!(f, " ({suggestion})"),
            None => Ok(()),
        }
    }
}

/// The error of every fallible call in `sched`.
///
/// It is one pointer wide, carries a kind, a message and, where they exist, the configuration faults and the
/// source error. Messages name aliases and ids, never payloads or credentials.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    message: String,
    faults: Vec<Fault>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error of `kind` with a message: lower case, no full stop.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner { kind, message: message.into(), faults: Vec::new(), source: None }))
    }

    /// A configuration error that lists every fault found. The message is the faults themselves.
    pub fn from_faults(kind: ErrorKind, faults: Vec<Fault>) -> Self {
        Self(Box::new(Inner { kind, message: String::new(), faults, source: None }))
    }

    /// Keeps the error that caused this one as [`source`](StdError::source).
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Puts `context` (such as `job store "default"`) in front of the message.
    #[must_use]
    pub fn in_context(mut self, context: impl fmt::Display) -> Self {
        self.0.message = match self.0.message.is_empty() {
            true => context.to_string(),
            false => format!("{context}: {}", self.0.message),
        };
        self
    }

    /// The kind, which decides what a caller may do.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Every fault of a configuration error; empty for the other kinds.
    pub fn faults(&self) -> &[Fault] {
        &self.0.faults
    }

    /// Takes the faults out; an error without any becomes one fault at `path`.
    pub fn into_faults(self, path: &str) -> Vec<Fault> {
        if self.0.faults.is_empty() {
            return vec![Fault { path: path.to_owned(), message: self.to_string(), suggestion: None }];
        }
        self.0.faults
    }

    /// Whether the same call may succeed later without any change: [`Unavailable`](ErrorKind::Unavailable) and
    /// [`Timeout`](ErrorKind::Timeout).
    pub fn is_retryable(&self) -> bool {
        matches!(self.0.kind, ErrorKind::Unavailable | ErrorKind::Timeout)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        for (index, fault) in self.0.faults.iter().enumerate() {
            let separator = match (index, self.0.message.is_empty()) {
                (0, true) => "",
                (0, false) => ": ",
                _ => "\n",
            };
            write!(f, "{separator}{fault}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.0.kind)?;
        match &self.0.source {
            Some(source) => write!(f, " (caused by: {source})"),
            None => Ok(()),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

/// The text of a panic payload, for reports.
pub(crate) fn panic_message(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "unknown panic".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_lists_every_fault_with_its_path_and_suggestion() {
        let fault = |path: &str, suggestion: Option<&str>| Fault {
            path: path.into(),
            message: "unknown key".into(),
            suggestion: suggestion.map(Into::into),
        };
        let faults = vec![fault("a.b", Some("did you mean `c`?")), fault("d", None)];
        let error = Error::from_faults(ErrorKind::InvalidConfig, faults).in_context("file x.toml");
        assert_eq!(error.to_string(), "file x.toml: a.b: unknown key (did you mean `c`?)\nd: unknown key");
        assert!(!error.is_retryable());
    }
}
