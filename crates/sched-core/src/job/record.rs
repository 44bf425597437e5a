//! A job as data: what stores keep and what export writes. No code is ever in it.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Cursor, Defaults, Job, JobSettings, JobSpec, JobStatus};
use crate::config::{BuildContext, Section};
use crate::id::JobId;
use crate::task::{Args, TaskRef};
use crate::{Error, ErrorKind};

/// The version of [`JobRecord`] this program writes, and the newest it reads.
pub const JOB_VERSION: u32 = 1;

/// A job as data. Unknown fields and newer versions are refused when it is read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobRecord {
    /// The format, [`JOB_VERSION`].
    pub version: u32,
    /// The job's id.
    pub id: JobId,
    /// The display name, when it is not the task's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The task's name.
    pub task: String,
    /// The arguments.
    #[serde(default, skip_serializing_if = "Args::is_empty")]
    pub arguments: Args,
    /// The trigger's configuration form.
    pub trigger: Value,
    /// The options as given.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub settings: Map<String, Value>,
    /// The next fire time, unless the job is out of the schedule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_fire_time: Option<DateTime<Utc>>,
    /// The next run time, unless the job is out of the schedule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_run_time: Option<DateTime<Utc>>,
    /// The latest fire time that was dealt with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_fire_time: Option<DateTime<Utc>>,
    /// `scheduled`, `paused`, `finished` or `suspended`.
    pub status: String,
}

impl JobRecord {
    /// **Errors**: [`InvalidJob`](ErrorKind::InvalidJob) when the task is a closure, which no other process could
    /// call.
    pub fn encode(job: &Job) -> Result<Self, Error> {
        if job.spec.task.bound().is_some_and(|task| !task.is_registered()) {
            let message = format!(
                "job \"{}\" calls a closure, which can live in a memory store only: register the function as a task",
                job.spec.id
            );
            return Err(Error::new(ErrorKind::InvalidJob, message));
        }
        Ok(Self {
            version: JOB_VERSION,
            id: job.spec.id.clone(),
            name: job.spec.name.as_deref().map(str::to_owned),
            task: job.spec.task.name().to_owned(),
            arguments: job.spec.args.clone(),
            trigger: job.spec.trigger.to_config(),
            settings: job.spec.settings.to_config(),
            next_fire_time: job.cursor.next_fire_time,
            next_run_time: job.cursor.next_run_time,
            last_fire_time: job.cursor.last_fire_time,
            status: job.cursor.status.to_string(),
        })
    }

    /// The job; see [`StoreContext::decode`](crate::StoreContext::decode).
    pub(crate) fn decode_with(self, context: BuildContext<'_>, defaults: &Defaults) -> Result<Job, Error> {
        let corrupt = |message: String| Error::new(ErrorKind::Corrupt, message);
        if self.version != JOB_VERSION {
            let message =
                format!("job has version {}, but only version {JOB_VERSION} can be handled", self.version);
            return Err(corrupt(message));
        }
        let status: JobStatus = self.status.parse()?;
        let trigger = context.registry.trigger("trigger", self.trigger, context);
        let trigger = trigger.map_err(|error| corrupt(error.to_string()).with_source(error))?;
        let mut section = Section::new("settings", Value::Object(self.settings), context)?;
        let own = JobSettings::read(&mut section);
        section.finish().map_err(|error| corrupt(error.to_string()).with_source(error))?;
        let task = context.registry.task(&self.task).ok();
        let (settings, options) = match &task {
            Some(task) => defaults.fill(own, task),
            None => (Arc::new(own.clone()), Arc::new(own.over(&defaults.settings).resolve())),
        };
        let task = task.map_or_else(|| TaskRef::Named(Arc::from(self.task)), TaskRef::Bound);
        let name = self.name.map(Arc::from);
        let spec = JobSpec { id: self.id, name, task, args: self.arguments, trigger, settings, options };
        let (next_fire_time, next_run_time) = (self.next_fire_time, self.next_run_time);
        let last_fire_time = self.last_fire_time;
        let cursor = Cursor { next_fire_time, next_run_time, last_fire_time, status, revision: 0 };
        Ok(Job { spec: Arc::new(spec), cursor })
    }
}

/// The form in which a status is stored: `scheduled`, `paused`, `finished`, or `suspended: ` with the reason.
impl fmt::Display for JobStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scheduled => f.pad("scheduled"),
            Self::Paused => f.pad("paused"),
            Self::Finished => f.pad("finished"),
            Self::Suspended(reason) => write!(f, "{SUSPENDED}{reason}"),
        }
    }
}

impl FromStr for JobStatus {
    type Err = Error;
    fn from_str(word: &str) -> Result<Self, Error> {
        Ok(match word {
            "scheduled" => Self::Scheduled,
            "paused" => Self::Paused,
            "finished" => Self::Finished,
            other => {
                let unknown = || Error::new(ErrorKind::Corrupt, format!("unknown status `{other}`"));
                Self::Suspended(Arc::from(other.strip_prefix(SUSPENDED).ok_or_else(unknown)?))
            }
        })
    }
}

const SUSPENDED: &str = "suspended: ";
