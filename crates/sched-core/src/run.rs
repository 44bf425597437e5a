//! One execution of a task: its identity, its outcome, and its row in a run queue.

use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::id::{JobId, RunId};
use crate::task::{TaskError, TaskErrorKind};

/// One execution of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Its own id.
    pub id: RunId,
    /// The job it belongs to; `None` for a run that was queued directly.
    pub job_id: Option<JobId>,
    /// The alias of the job store it came from.
    pub store: Arc<str>,
    /// The task's name.
    pub task: Arc<str>,
    /// The trigger's fire time.
    pub fire_time: DateTime<Utc>,
    /// The fire time with its jitter: when it was to start.
    pub scheduled_time: DateTime<Utc>,
    /// 1 for the first attempt.
    pub attempt: u32,
}

/// Why a run did not happen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum MissReason {
    /// It could not start within its grace time.
    TooLate,
    /// `max_instances` runs were unfinished and the overlap policy is to skip.
    MaxInstances,
    /// No executor of that alias is configured.
    NoExecutor(String),
    /// No task of that name is registered here.
    NoTask(String),
}

impl fmt::Display for MissReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLate => f.write_str("it was too late to start"),
            Self::MaxInstances => f.write_str("the maximum number of running instances was reached"),
            Self::NoExecutor(alias) => write!(f, "no executor by the alias \"{alias}\""),
            Self::NoTask(name) => write!(f, "no task named \"{name}\""),
        }
    }
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Outcome {
    /// The task returned this value.
    Succeeded(Value),
    /// The task returned an error or panicked.
    Failed(TaskError),
    /// It did not start.
    Missed(MissReason),
    /// It was asked to stop and did.
    Cancelled,
    /// Its time was up.
    TimedOut,
    /// Nobody knows: its executor dropped it, or its scheduler died.
    Abandoned(String),
}

impl Outcome {
    /// The outcome of a task's answer.
    pub fn of(result: Result<Value, TaskError>) -> Self {
        match result {
            Ok(value) => Self::Succeeded(value),
            Err(error) => match error.kind() {
                TaskErrorKind::TimedOut => Self::TimedOut,
                TaskErrorKind::Cancelled => Self::Cancelled,
                _ => Self::Failed(error),
            },
        }
    }

    /// The value, when it succeeded.
    pub fn value(&self) -> Option<&Value> {
        match self {
            Self::Succeeded(value) => Some(value),
            _ => None,
        }
    }

    /// Whether the task did its work.
    pub fn is_success(&self) -> bool {
        matches!(self, Self::Succeeded(_))
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Succeeded(_) => f.write_str("succeeded"),
            Self::Failed(error) => write!(f, "failed: {error}"),
            Self::Missed(reason) => write!(f, "missed: {reason}"),
            Self::Cancelled => f.write_str("cancelled"),
            Self::TimedOut => f.write_str("timed out"),
            Self::Abandoned(reason) => write!(f, "abandoned: {reason}"),
        }
    }
}

/// What an executor reports when a run is over.
#[derive(Debug, Clone)]
pub struct RunReport {
    /// The run.
    pub run: Arc<Run>,
    /// How it ended.
    pub outcome: Outcome,
    /// When it started; `None` when it never did.
    pub started_at: Option<DateTime<Utc>>,
    /// When it was over.
    pub finished_at: DateTime<Utc>,
}
