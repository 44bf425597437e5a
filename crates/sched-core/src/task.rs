//! Tasks: functions registered under a stable name, with their arguments and what they may answer.
//!
//! A stored job names its task; no code is ever stored. [`Task`] is what `#[task]` builds, and what a closure
//! becomes when it is scheduled in memory.

mod args;
mod output;

use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;

use serde_json::Value;

pub use self::args::{Args, Param, Signature};
pub use self::output::{TaskError, TaskErrorKind, TaskOutput, TaskResult};
use crate::context::RunContext;
use crate::job::JobSettings;
use crate::{Error, ErrorKind};

/// A boxed future of a task's answer.
pub type TaskFuture = Pin<Box<dyn Future<Output = TaskResult> + Send>>;

/// A plain function as a task's body.
pub type SyncBody = dyn Fn(&RunContext, &Args) -> TaskResult + Send + Sync;

/// An async function as a task's body.
pub type AsyncBody = dyn Fn(RunContext, Args) -> TaskFuture + Send + Sync;

/// What a task does when it runs.
#[derive(Clone)]
pub enum TaskBody {
    /// A plain function; it may block.
    Sync(Arc<SyncBody>),
    /// An async function. On a thread it is driven by a small executor of its own; under a runtime it is spawned.
    Async(Arc<AsyncBody>),
}

impl fmt::Debug for TaskBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sync(_) => "sync",
            Self::Async(_) => "async",
        })
    }
}

type ArgsCheck = fn(&Args) -> Result<(), TaskError>;

/// A function under a stable name, with the settings its jobs inherit.
#[derive(Debug, Clone)]
pub struct Task {
    name: Arc<str>,
    body: TaskBody,
    settings: Option<Box<JobSettings>>,
    max_instances: Option<u32>,
    signature: Option<Signature>,
    check: Option<ArgsCheck>,
    registered: bool,
}

impl Task {
    /// A task from a function of the run's context and its raw arguments.
    pub fn new<R: TaskOutput>(
        name: impl Into<Arc<str>>,
        body: impl Fn(&RunContext, &Args) -> R + Send + Sync + 'static,
    ) -> Self {
        Self::from_body(
            name,
            TaskBody::Sync(Arc::new(move |context, args| body(context, args).into_result())),
        )
    }

    /// A task from an async function of the run's context and its raw arguments.
    pub fn new_async<F>(
        name: impl Into<Arc<str>>,
        body: impl Fn(RunContext, Args) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future + Send + 'static,
        F::Output: TaskOutput,
    {
        let body = move |context, args| -> TaskFuture {
            let future = body(context, args);
            Box::pin(async move { future.await.into_result() })
        };
        Self::from_body(name, TaskBody::Async(Arc::new(body)))
    }

    /// A task from a finished body, as the `#[task]` macro makes it.
    pub fn from_body(name: impl Into<Arc<str>>, body: TaskBody) -> Self {
        let name = name.into();
        Self {
            name,
            body,
            settings: None,
            max_instances: None,
            signature: None,
            check: None,
            registered: true,
        }
    }

    /// A task that has no name another process could know: it can live only in a memory store.
    #[must_use]
    pub fn unregistered(mut self) -> Self {
        self.registered = false;
        self
    }

    /// The settings that jobs of this task inherit where they have none of their own.
    #[must_use]
    pub fn with_settings(mut self, settings: JobSettings) -> Self {
        self.settings = (!settings.is_empty()).then(|| Box::new(settings));
        self
    }

    /// At most this many runs of the task at once, over all its jobs; 0 counts as 1.
    #[must_use]
    pub fn with_max_instances(mut self, limit: u32) -> Self {
        self.max_instances = Some(limit.max(1));
        self
    }

    /// The parameters, for checks and for people.
    #[must_use]
    pub fn with_signature(mut self, params: &'static [Param]) -> Self {
        self.signature = Some(Signature::new(params));
        self
    }

    /// A check that the arguments decode, made when a job is added.
    #[must_use]
    pub fn with_check(mut self, check: ArgsCheck) -> Self {
        self.check = Some(check);
        self
    }

    /// The name under which it is registered.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name, shared.
    pub fn shared_name(&self) -> Arc<str> {
        Arc::clone(&self.name)
    }

    /// What it does.
    pub fn body(&self) -> &TaskBody {
        &self.body
    }

    /// The settings its jobs inherit.
    pub fn settings(&self) -> &JobSettings {
        self.settings.as_deref().unwrap_or(&JobSettings::NONE)
    }

    /// The limit over all its jobs, when it has one.
    pub fn max_instances(&self) -> Option<u32> {
        self.max_instances
    }

    /// Whether another process with the same program can find it by name.
    pub fn is_registered(&self) -> bool {
        self.registered
    }

    /// The name with its parameters, such as `report(to, rows)`.
    pub fn signature_text(&self) -> String {
        match &self.signature {
            Some(signature) => format!("{}({signature})", self.name),
            None => self.name.as_ref().to_owned(),
        }
    }

    /// **Errors**: [`InvalidJob`](ErrorKind::InvalidJob) when the arguments do not fit the parameters.
    pub fn check_args(&self, args: &Args) -> Result<(), Error> {
        if let Some(signature) = &self.signature {
            signature.check(args).map_err(|error| error.in_context(format_args!("task `{}`", self.name)))?;
        }
        match self.check.map(|check| std::panic::catch_unwind(AssertUnwindSafe(|| check(args)))) {
            None | Some(Ok(Ok(()))) => Ok(()),
            Some(Ok(Err(error))) => {
                Err(Error::new(ErrorKind::InvalidJob, format!("task `{}`: {}", self.name, error.message())))
            }
            Some(Err(_)) => {
                Err(Error::new(ErrorKind::InvalidJob, format!("task `{}`: arguments panic", self.name)))
            }
        }
    }
}

/// A task that joins the registry at link time; what `#[task]` submits.
#[derive(Debug, Clone, Copy)]
pub struct TaskEntry {
    /// Builds the task.
    pub task: fn() -> Task,
}

inventory::collect!(TaskEntry);

/// The task of a job: by name until it is looked up, then bound.
#[derive(Clone)]
pub enum TaskRef {
    /// Only the name is known here.
    Named(Arc<str>),
    /// The task itself.
    Bound(Arc<Task>),
}

impl TaskRef {
    /// The name.
    pub fn name(&self) -> &str {
        match self {
            Self::Named(name) => name,
            Self::Bound(task) => task.name(),
        }
    }

    /// The task, once it is bound.
    pub fn bound(&self) -> Option<&Arc<Task>> {
        match self {
            Self::Named(_) => None,
            Self::Bound(task) => Some(task),
        }
    }
}

impl fmt::Debug for TaskRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.name())
    }
}

/// A task with its arguments: what a run executes.
#[derive(Debug, Clone)]
pub struct Call {
    /// The task.
    pub task: TaskRef,
    /// Its arguments.
    pub args: Args,
}

impl Call {
    /// A call of a task by name.
    pub fn named(task: impl Into<Arc<str>>, args: Args) -> Self {
        Self { task: TaskRef::Named(task.into()), args }
    }

    /// A call of a task at hand.
    pub fn bound(task: impl Into<Arc<Task>>, args: Args) -> Self {
        Self { task: TaskRef::Bound(task.into()), args }
    }
}

/// The value of a run as typed data. **Errors**: [`InvalidJob`](ErrorKind::InvalidJob) when it does not fit `T`.
pub fn decode_value<T: serde::de::DeserializeOwned>(value: Value) -> Result<T, Error> {
    serde_json::from_value(value)
        .map_err(|error| Error::new(ErrorKind::InvalidJob, "the result has another type").with_source(error))
}
