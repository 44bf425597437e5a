//! Jobs as JSON: out of one scheduler, into another.

use std::io::{Read, Write};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Scheduler;
use crate::event::{Event, JobRef};
use crate::job::JobRecord;
use crate::policy::ConflictPolicy;
use crate::{Error, ErrorKind};

/// The version of the export format this program writes and reads.
const EXPORT_VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Export {
    version: u32,
    scheduler_version: String,
    jobs: Vec<JobRecord>,
}

impl Scheduler {
    /// Writes the jobs of a store, or of all, as JSON.
    ///
    /// **Errors**: [`InvalidState`](ErrorKind::InvalidState) when stopped, [`InvalidJob`](ErrorKind::InvalidJob) for
    /// a closure, those of the store and of `out`.
    pub fn export_jobs(&self, out: impl Write, store: Option<&str>) -> Result<(), Error> {
        if !self.is_running() {
            let message = "the scheduler must have been started for job export to work";
            return Err(Error::new(ErrorKind::InvalidState, message));
        }
        let jobs = self.get_jobs(store)?;
        let jobs: Vec<JobRecord> = jobs.iter().map(|job| JobRecord::encode(job)).collect::<Result<_, _>>()?;
        let scheduler_version = env!("CARGO_PKG_VERSION").to_owned();
        let export = Export { version: EXPORT_VERSION, scheduler_version, jobs };
        serde_json::to_writer_pretty(out, &export).map_err(|error| {
            Error::new(ErrorKind::Unavailable, "the jobs could not be written").with_source(error)
        })
    }

    /// Adds the jobs of an export to a store, with the times they had; says how many. All or nothing: when one
    /// cannot be read or exists already, none is added.
    ///
    /// **Errors**: [`InvalidState`](ErrorKind::InvalidState) when stopped, [`Corrupt`](ErrorKind::Corrupt) for
    /// anything that is not an export of this version, [`AlreadyExists`](ErrorKind::AlreadyExists).
    pub fn import_jobs(&self, input: impl Read, store: &str) -> Result<usize, Error> {
        let corrupt = |error| Error::new(ErrorKind::Corrupt, "not an export of jobs").with_source(error);
        let value: serde_json::Value = serde_json::from_reader(input).map_err(corrupt)?;
        match value.get("version") {
            Some(version) if version.as_u64() == Some(u64::from(EXPORT_VERSION)) => {}
            Some(version) => {
                let message =
                    format!("unrecognized version {version} of an export, expected {EXPORT_VERSION}");
                return Err(Error::new(ErrorKind::Corrupt, message));
            }
            None => return Err(Error::new(ErrorKind::Corrupt, "not an export of jobs: it has no version")),
        }
        let export: Export = serde_json::from_value(value).map_err(corrupt)?;
        let state = self.inner.state.read();
        state.must_be_started()?;
        let entry = state.store(store)?;
        let (target, lane) = (Arc::clone(&entry.store), entry.lane.clone());
        let decoded = export.jobs.into_iter().map(|job| job.decode_with(state.context(), &state.defaults));
        let mut jobs = decoded.collect::<Result<Vec<_>, _>>()?;
        let revision = crate::job::first_revision(self.inner.clock.now());
        jobs.iter_mut().for_each(|job| job.cursor.revision = revision);
        drop(state);
        let adding = lane.as_ref().map(|lane| lane.adding.read());
        let answers = target.insert(&jobs, ConflictPolicy::Error)?;
        if let Some(error) = answers.iter().position(Result::is_err) {
            let added = jobs.iter().zip(&answers).filter(|(_, answer)| answer.is_ok());
            let added: Vec<_> = added.map(|(job, _)| job.id().clone()).collect();
            target.remove(&added)?;
            return answers.into_iter().nth(error).unwrap_or_else(|| Ok(crate::Inserted::Kept)).map(|_| 0);
        }
        let alias: Arc<str> = Arc::from(store);
        let refs =
            jobs.iter().map(|job| JobRef { job_id: job.id().clone(), store: Some(Arc::clone(&alias)) });
        self.inner.events.enqueue(refs.map(Event::JobAdded));
        drop(adding);
        self.inner.events.flush();
        if let Some(lane) = lane {
            self.due(&lane, jobs.iter().filter_map(|job| job.next_run_time()).min());
        }
        Ok(jobs.len())
    }
}
