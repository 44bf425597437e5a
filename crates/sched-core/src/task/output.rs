//! What a task may answer, and how its failure is told.

use std::fmt;

use serde_json::Value;

/// The answer of a task: a JSON value or the reason why it failed.
pub type TaskResult = Result<Value, TaskError>;

/// Why a task failed. It is an outcome of the run, not an [`Error`](crate::Error) of the scheduler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskError {
    message: String,
    kind: TaskErrorKind,
}

/// The broad reason of a failure, which retry rules look at.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TaskErrorKind {
    /// The task returned an error.
    Error,
    /// The task panicked.
    Panic,
    /// The arguments did not decode.
    Arguments,
    /// The task noticed that its time was up.
    TimedOut,
    /// The task noticed that it was asked to stop.
    Cancelled,
    /// A word the task chose.
    Other(String),
}

impl TaskError {
    /// A failure with this message.
    pub fn new(message: impl fmt::Display) -> Self {
        Self { message: message.to_string(), kind: TaskErrorKind::Error }
    }

    /// A failure because the run's time was up.
    pub fn timed_out(message: impl fmt::Display) -> Self {
        Self { message: message.to_string(), kind: TaskErrorKind::TimedOut }
    }

    /// A failure because the run was asked to stop.
    pub fn cancelled() -> Self {
        Self { message: "cancelled".to_owned(), kind: TaskErrorKind::Cancelled }
    }

    /// A failure to decode an argument.
    pub fn arguments(message: impl fmt::Display) -> Self {
        Self { message: message.to_string(), kind: TaskErrorKind::Arguments }
    }

    /// A failure because the task panicked.
    pub fn panicked(message: impl fmt::Display) -> Self {
        Self { message: message.to_string(), kind: TaskErrorKind::Panic }
    }

    /// A failure with the error's text in its alternate form, which for many error types is the whole chain. A
    /// `TaskError` is kept as it is.
    pub fn from_display<E: fmt::Display + 'static>(error: &E) -> Self {
        match (error as &dyn std::any::Any).downcast_ref::<Self>() {
            Some(same) => same.clone(),
            None => Self::new(format_args!("{error:#}")),
        }
    }

    /// Names the kind, for retry rules.
    #[must_use]
    pub fn with_kind(mut self, kind: TaskErrorKind) -> Self {
        self.kind = kind;
        self
    }

    /// The message.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The kind.
    pub fn kind(&self) -> &TaskErrorKind {
        &self.kind
    }
}

impl<E: std::error::Error> From<E> for TaskError {
    fn from(error: E) -> Self {
        let mut message = error.to_string();
        let mut cause = error.source();
        while let Some(inner) = cause {
            message.push_str(": ");
            message.push_str(&inner.to_string());
            cause = inner.source();
        }
        Self::new(message)
    }
}

impl fmt::Display for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// What a task's function may return: nothing, a plain value, or a `Result` of one.
#[diagnostic::on_unimplemented(
    message = "a task cannot return `{Self}`",
    note = "return `()`, a number, string, bool, `Value`, or a `Result` of one; wrap other data with `serde_json::to_value`"
)]
pub trait TaskOutput {
    /// The answer as data.
    fn into_result(self) -> TaskResult;
}

impl TaskOutput for () {
    fn into_result(self) -> TaskResult {
        Ok(Value::Null)
    }
}

impl<T: TaskOutput, E: fmt::Display + 'static> TaskOutput for Result<T, E> {
    fn into_result(self) -> TaskResult {
        match self {
            Ok(value) => value.into_result(),
            Err(error) => Err(TaskError::from_display(&error)),
        }
    }
}

impl<T: TaskOutput> TaskOutput for Option<T> {
    fn into_result(self) -> TaskResult {
        self.map_or(Ok(Value::Null), TaskOutput::into_result)
    }
}

macro_rules! plain_outputs {
    ($($plain:ty),*) => {$(
        impl TaskOutput for $plain {
            fn into_result(self) -> TaskResult {
                Ok(Value::from(self))
            }
        }
    )*};
}

plain_outputs!(
    bool,
    i8,
    i16,
    i32,
    i64,
    u8,
    u16,
    u32,
    u64,
    f32,
    f64,
    usize,
    isize,
    String,
    &str,
    Value,
    Vec<Value>
);
