//! Jobs: adding, finding, changing and removing them.

use std::fmt::Write as _;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::Scheduler;
use super::handle::{JobHandle, JobKey};
use super::lane::Lane;
use super::state::{SchedulerState, State, Target};
use crate::event::{Event, EventMask, JobRef};
use crate::id::JobId;
use crate::job::{Cursor, Draft, Job, JobBuilder, JobChanges, JobStatus, TriggerSpec, first_cursor};
use crate::policy::ConflictPolicy;
use crate::store::{Inserted, JobFilter, JobStore, StoredJob};
use crate::{Error, ErrorKind};

/// How often a change is tried again when the engine advances the job at the same moment.
const CHANGE_ATTEMPTS: usize = 16;

impl Scheduler {
    /// Adds a job. While the scheduler is stopped the job is pending: checked now, stored at start.
    ///
    /// **Errors**: [`InvalidState`](ErrorKind::InvalidState) while it is being shut down, when a pending job would most
    /// often be lost with the program; [`AlreadyExists`](ErrorKind::AlreadyExists), [`NeverFires`](ErrorKind::NeverFires),
    /// [`InvalidJob`](ErrorKind::InvalidJob), [`InvalidConfig`](ErrorKind::InvalidConfig) for a trigger's
    /// arguments, [`NotFound`](ErrorKind::NotFound) for an unknown task, store or executor, and those of the store.
    pub fn add_job(&self, job: JobBuilder) -> Result<JobHandle, Error> {
        let state = self.inner.state.read();
        let draft = job.draft(state.context(), "trigger")?;
        if state.phase == SchedulerState::Stopped {
            drop(state);
            draft.check_fires(self.inner.clock.now())?;
            return self.add_pending(draft);
        }
        let target = state.target(&draft)?;
        drop(state);
        let lane = target.lane.as_ref().filter(|_| self.inner.events.wants(EventMask::JOB_ADDED));
        let adding = lane.map(|lane| lane.adding.read());
        let (handle, inserted) = self.add_to_store(&target, draft)?;
        if inserted != Inserted::Kept {
            tracing::debug!(job = handle.id().as_str(), store = &*handle.store, "added a job");
            self.inner.events.enqueue([Event::JobAdded(reference(&handle))]);
            drop(adding);
            self.inner.events.flush();
            if let Some(lane) = target.lane {
                self.due(&lane, handle.next_run_time());
            }
        }
        Ok(handle)
    }

    /// Checks a job and fills its defaults in, as [`add_job`](Self::add_job) does, without storing it. Its schedule
    /// begins now.
    ///
    /// For whoever stores a job in a transaction of their own, through a store that offers that. Call
    /// [`wakeup`](Self::wakeup) once it is committed; others find the job when they poll.
    ///
    /// **Errors**: as [`add_job`](Self::add_job), but for those of the store.
    pub fn make_job(&self, job: JobBuilder) -> Result<Job, Error> {
        let state = self.inner.state.read();
        let draft = job.draft(state.context(), "trigger")?;
        let target = state.target(&draft)?;
        drop(state);
        check_closure(&target, &draft)?;
        draft.into_job(&target.defaults, self.inner.clock.now(), self.inner.seed)
    }

    /// Adds the jobs that were declared with `#[scheduled]`, each replacing a stored one of its id.
    pub fn add_declared_jobs(&self) -> Result<Vec<JobHandle>, Error> {
        let declared = self.inner.state.read().registry.declared_jobs();
        declared.into_iter().map(|job| self.add_job(job)).collect()
    }

    /// The job, or `None` when no store has it. **Errors**: those of the stores.
    pub fn get_job(&self, key: impl Into<JobKey>) -> Result<Option<JobHandle>, Error> {
        match self.find(&key.into()) {
            Ok((handle, _)) => Ok(Some(handle)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The jobs of a store, or of all: by next run time, those out of the schedule last. While the scheduler is
    /// stopped, the pending ones in the order in which they were added.
    ///
    /// Rows that do not decode are not among them; see [`get_quarantined_jobs`](Self::get_quarantined_jobs).
    pub fn get_jobs(&self, store: Option<&str>) -> Result<Vec<JobHandle>, Error> {
        let listed = self.list(store)?;
        let jobs = listed.into_iter().filter_map(|(alias, pending, stored)| match stored {
            StoredJob::Job(job) => Some(self.handle(job, alias, pending)),
            StoredJob::Quarantined { .. } => None,
        });
        Ok(jobs.collect())
    }

    /// The rows of a store, or of all, that do not decode, each with the reason.
    pub fn get_quarantined_jobs(&self, store: Option<&str>) -> Result<Vec<(JobId, String)>, Error> {
        let listed = self.list(store)?;
        let rows = listed.into_iter().filter_map(|(_, _, stored)| match stored {
            StoredJob::Quarantined { id, reason, .. } => Some((id, reason)),
            StoredJob::Job(_) => None,
        });
        Ok(rows.collect())
    }

    /// Changes a job, all of the changes or none. A new trigger alone keeps the next fire time.
    pub fn modify_job(&self, key: impl Into<JobKey>, changes: JobChanges) -> Result<JobHandle, Error> {
        let key = key.into();
        if self.state() == SchedulerState::Stopped {
            return self.change_pending(&key, |draft, state| draft.apply(changes, state.context()));
        }
        let now = self.inner.clock.now();
        let changes = changes.resolve(self.inner.state.read().context())?;
        self.change(&key, |job, state| job.changed(changes.clone(), &state.defaults, now))
    }

    /// Gives a job another trigger and its next fire time from now.
    ///
    /// **Errors**: as [`add_job`](Self::add_job); the job is unchanged then.
    pub fn reschedule_job(
        &self,
        key: impl Into<JobKey>,
        trigger: impl Into<TriggerSpec>,
    ) -> Result<JobHandle, Error> {
        let key = key.into();
        let trigger = {
            let state = self.inner.state.read();
            trigger.into().resolve("trigger", state.context())?
        };
        let now = self.inner.clock.now();
        let anchored = trigger.anchored(now).unwrap_or_else(|| Arc::clone(&trigger));
        if self.state() == SchedulerState::Stopped {
            return self.change_pending(&key, |draft, _| {
                draft.reschedule(trigger);
                draft.check_fires(now)
            });
        }
        self.change(&key, |job, _| {
            let spec = crate::JobSpec { trigger: Arc::clone(&anchored), ..(*job.spec).clone() };
            let mut cursor = first_cursor(&spec, now, self.inner.seed)?;
            (cursor.revision, cursor.last_fire_time) = (job.cursor.revision, job.cursor.last_fire_time);
            Ok(Job { spec: Arc::new(spec), cursor })
        })
    }

    /// Takes a job out of the schedule until it is resumed. What is running goes on.
    pub fn pause_job(&self, key: impl Into<JobKey>) -> Result<JobHandle, Error> {
        let key = key.into();
        if self.state() == SchedulerState::Stopped {
            return self.change_pending(&key, |draft, _| {
                draft.pause();
                Ok(())
            });
        }
        self.change(&key, |job, _| {
            Ok(Job { spec: Arc::clone(&job.spec), cursor: job.cursor.clone().stopped(JobStatus::Paused) })
        })
    }

    /// Puts a job back into the schedule, with its next fire time from now: what was missed meanwhile is
    /// forgotten. `None`: the schedule has no fire time left and the job was removed.
    pub fn resume_job(&self, key: impl Into<JobKey>) -> Result<Option<JobHandle>, Error> {
        self.resume_job_from(key, self.inner.clock.now())
    }

    /// As [`resume_job`](Self::resume_job), with the next fire time at or after `from`. A moment in the past asks
    /// for what was missed since, as `coalesce` says.
    pub fn resume_job_from(
        &self,
        key: impl Into<JobKey>,
        from: DateTime<Utc>,
    ) -> Result<Option<JobHandle>, Error> {
        let key = key.into();
        if self.state() == SchedulerState::Stopped {
            return self
                .change_pending(&key, |draft, _| {
                    draft.resume();
                    Ok(())
                })
                .map(Some);
        }
        let resumed = self.change(&key, |job, _| {
            let mut cursor = resumed_cursor(job, from, self.inner.seed)?;
            (cursor.revision, cursor.last_fire_time) = (job.cursor.revision, job.cursor.last_fire_time);
            Ok(Job { spec: Arc::clone(&job.spec), cursor })
        });
        match resumed {
            Err(error) if error.kind() == ErrorKind::NeverFires => self.remove_job(key).map(|()| None),
            other => other.map(Some),
        }
    }

    /// Removes a job. What is running goes on. **Errors**: [`NotFound`](ErrorKind::NotFound), those of the store.
    pub fn remove_job(&self, key: impl Into<JobKey>) -> Result<(), Error> {
        let key = key.into();
        let reference = match self.state() {
            SchedulerState::Stopped => {
                self.must_have_stopped()?;
                let mut state = self.inner.state.write();
                let at = pending_index(&state, &key)?;
                let draft = state.pending.remove(at);
                JobRef { job_id: draft.id, store: None }
            }
            _ => {
                let (handle, lane) = self.find(&key)?;
                let store = Arc::clone(&self.inner.state.read().store(&handle.store)?.store);
                if !store.remove(std::slice::from_ref(handle.id()))?.contains(&true) {
                    return Err(not_found(&key));
                }
                if let Some(lane) = lane {
                    lane.queued.lock().forget(handle.id());
                }
                reference(&handle)
            }
        };
        tracing::debug!(job = reference.job_id.as_str(), "removed a job");
        self.publish(Event::JobRemoved(reference));
        Ok(())
    }

    /// Removes all jobs of a store, or of all. One event tells of it.
    pub fn remove_all_jobs(&self, store: Option<&str>) -> Result<(), Error> {
        let mut state = self.inner.state.write();
        if state.phase == SchedulerState::Stopped {
            state.pending.retain(|draft| store.is_some_and(|store| store != &*draft.store));
            drop(state);
        } else {
            let chosen: Vec<Arc<dyn JobStore>> = match store {
                Some(alias) => vec![Arc::clone(&state.store(alias)?.store)],
                None => state.stores.iter().map(|entry| Arc::clone(&entry.store)).collect(),
            };
            drop(state);
            for store in chosen {
                store.clear()?;
            }
        }
        self.publish(Event::AllJobsRemoved(store.map(Arc::from)));
        Ok(())
    }

    /// The jobs as text for people: under each store its jobs, or under `Pending jobs:` those that wait. A job's line
    /// is `name (id: …, trigger: …, next run at: …)`.
    pub fn format_jobs(&self, store: Option<&str>) -> Result<String, Error> {
        let state = self.inner.state.read();
        let (zone, stopped) = (state.timezone, state.phase == SchedulerState::Stopped);
        let mut aliases: Vec<Arc<str>> = state.stores.iter().map(|entry| Arc::clone(&entry.alias)).collect();
        drop(state);
        let mut text = String::new();
        if stopped {
            let jobs = self.get_jobs(store)?;
            push_section(&mut text, "Pending jobs:", "No pending jobs", jobs.iter().map(pending_line));
            return Ok(text);
        }
        aliases.sort_unstable();
        for alias in aliases.iter().filter(|alias| store.is_none_or(|store| store == &***alias)) {
            let jobs = self.get_jobs(Some(alias))?;
            let heading = format!("Jobstore {alias}:");
            push_section(
                &mut text,
                &heading,
                "No scheduled jobs",
                jobs.iter().map(|job| job.listed(&job.standing(zone))),
            );
        }
        Ok(text)
    }

    /// Writes [`format_jobs`](Self::format_jobs) to `out`.
    ///
    /// **Errors**: those of the stores; [`Unavailable`](ErrorKind::Unavailable) when `out` fails.
    pub fn print_jobs(&self, store: Option<&str>, mut out: impl std::io::Write) -> Result<(), Error> {
        let text = self.format_jobs(store)?;
        let failed =
            |error| Error::new(ErrorKind::Unavailable, "the jobs could not be printed").with_source(error);
        out.write_all(text.as_bytes()).map_err(failed)
    }

    pub(crate) fn add_pending(&self, draft: Draft) -> Result<JobHandle, Error> {
        self.must_have_stopped()?;
        let mut state = self.inner.state.write();
        let same = |other: &Draft| other.id == draft.id && other.store == draft.store;
        let handle = |draft: &Draft| self.handle(draft.preview(), Arc::clone(&draft.store), true);
        let added = handle(&draft);
        match state.pending.iter().position(same) {
            None => state.pending.push(draft),
            Some(at) => match draft.conflict {
                ConflictPolicy::Error => return Err(already_exists(&draft.id)),
                ConflictPolicy::Replace => state.pending[at] = draft,
                ConflictPolicy::Keep => return Ok(handle(&state.pending[at])),
            },
        }
        tracing::debug!(job = added.id().as_str(), "a job waits for the scheduler to start");
        Ok(added)
    }

    /// Really adds a job. The caller tells of it and wakes the lane. No lock is held: the store may take its time.
    pub(crate) fn add_to_store(&self, target: &Target, draft: Draft) -> Result<(JobHandle, Inserted), Error> {
        let (conflict, alias) = (draft.conflict, Arc::clone(&draft.store));
        check_closure(target, &draft)?;
        let explicit = draft.is_explicit();
        let job = draft.into_job(&target.defaults, self.inner.clock.now(), self.inner.seed)?;
        let answers = target.store.insert(std::slice::from_ref(&job), conflict)?;
        let answer = answers.into_iter().next().unwrap_or_else(|| Err(already_exists(job.id())));
        let inserted = answer.map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => already_exists(job.id()),
            _ => error,
        })?;
        let job = match inserted {
            Inserted::Added => job,
            Inserted::Replaced if explicit => {
                return self.set_cursor(&*target.store, &alias, &job).map(|it| (it, inserted));
            }
            Inserted::Replaced | Inserted::Kept => stored(&*target.store, job)?,
        };
        Ok((self.handle(job, alias, false), inserted))
    }

    /// A replaced job keeps its schedule, unless a first run time was given with it.
    fn set_cursor(&self, target: &dyn JobStore, alias: &Arc<str>, job: &Job) -> Result<JobHandle, Error> {
        for _ in 0..CHANGE_ATTEMPTS {
            let mut current = stored(target, job.clone())?;
            let Cursor { last_fire_time, revision, .. } = current.cursor;
            current.cursor = Cursor { last_fire_time, revision, ..job.cursor.clone() };
            match target.update(std::slice::from_ref(&current))?.pop().unwrap_or(Ok(())) {
                Err(error) if error.kind() == ErrorKind::Stale => {}
                Err(error) => return Err(error),
                Ok(()) => {
                    current.cursor.revision += 1;
                    return Ok(self.handle(current, Arc::clone(alias), false));
                }
            }
        }
        Err(Error::new(ErrorKind::Stale, format!("job \"{}\" was changed again and again", job.id())))
    }

    fn handle(&self, job: Job, store: Arc<str>, pending: bool) -> JobHandle {
        JobHandle { scheduler: self.clone(), job, store, pending }
    }

    fn list(&self, store: Option<&str>) -> Result<Vec<(Arc<str>, bool, StoredJob)>, Error> {
        let state = self.inner.state.read();
        let wanted = |alias: &str| store.is_none_or(|store| store == alias);
        if state.phase == SchedulerState::Stopped {
            let drafts = state.pending.iter().filter(|draft| wanted(&draft.store));
            return Ok(drafts
                .map(|draft| (Arc::clone(&draft.store), true, StoredJob::Job(draft.preview())))
                .collect());
        }
        let stores = state.stores.iter().filter(|entry| wanted(&entry.alias));
        let stores: Vec<_> =
            stores.map(|entry| (Arc::clone(&entry.alias), Arc::clone(&entry.store))).collect();
        drop(state);
        let mut listed = Vec::new();
        for (alias, store) in stores {
            let jobs = store.list(&JobFilter::default())?;
            listed.extend(jobs.into_iter().map(|job| (Arc::clone(&alias), false, job)));
        }
        Ok(listed)
    }

    fn find(&self, key: &JobKey) -> Result<(JobHandle, Option<Arc<Lane>>), Error> {
        let state = self.inner.state.read();
        if state.phase == SchedulerState::Stopped {
            let draft = &state.pending[pending_index(&state, key)?];
            return Ok((self.handle(draft.preview(), Arc::clone(&draft.store), true), None));
        }
        if let Some(alias) = &key.store {
            state.store(alias)?;
        }
        let wanted = |alias: &str| key.store.as_deref().is_none_or(|store| store == alias);
        let stores = state.stores.iter().filter(|entry| wanted(&entry.alias));
        let stores: Vec<_> = stores
            .map(|entry| (Arc::clone(&entry.alias), Arc::clone(&entry.store), entry.lane.clone()))
            .collect();
        drop(state);
        let id = JobId::new(Arc::clone(&key.id)).map_err(|_| not_found(key))?;
        for (alias, store, lane) in stores {
            if let Some(Some(stored)) = store.get(std::slice::from_ref(&id))?.pop() {
                return Ok((self.handle(stored.into_job()?, alias, false), lane));
            }
        }
        Err(not_found(key))
    }

    /// Compare-and-set: made anew while the engine or somebody else writes the job in between.
    fn change(
        &self,
        key: &JobKey,
        mut make: impl FnMut(&Job, &State) -> Result<Job, Error>,
    ) -> Result<JobHandle, Error> {
        let mut last = not_found(key);
        for _ in 0..CHANGE_ATTEMPTS {
            let (handle, lane) = self.find(key)?;
            let state = self.inner.state.read();
            let mut job = make(&handle.job, &state)?;
            state.check_executor(&job.options.executor)?;
            let store = Arc::clone(&state.store(&handle.store)?.store);
            drop(state);
            match store.update(std::slice::from_ref(&job))?.pop().unwrap_or(Ok(())) {
                Ok(()) => {
                    job.cursor.revision += 1;
                    let changed = self.handle(job, Arc::clone(&handle.store), false);
                    self.publish(Event::JobModified(reference(&changed)));
                    if let Some(lane) = lane {
                        self.due(&lane, changed.next_run_time());
                    }
                    return Ok(changed);
                }
                Err(error) if error.kind() == ErrorKind::Stale => last = error,
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }

    fn change_pending(
        &self,
        key: &JobKey,
        change: impl FnOnce(&mut Draft, &State) -> Result<(), Error>,
    ) -> Result<JobHandle, Error> {
        self.must_have_stopped()?;
        let mut state = self.inner.state.write();
        let at = pending_index(&state, key)?;
        let mut draft = state.pending[at].clone();
        change(&mut draft, &state)?;
        let handle = self.handle(draft.preview(), Arc::clone(&draft.store), true);
        state.pending[at] = draft;
        drop(state);
        let job = JobRef { job_id: handle.id().clone(), store: None };
        self.publish(Event::JobModified(job));
        Ok(handle)
    }
}

/// The cursor of a job that is resumed: never at a fire time it has dealt with.
fn resumed_cursor(job: &Job, from: DateTime<Utc>, seed: u64) -> Result<Cursor, Error> {
    let cursor = first_cursor(&job.spec, from, seed)?;
    match (cursor.next_fire_time, job.cursor.last_fire_time) {
        (Some(next), Some(last)) if next <= last => {
            let Some(next) = job.spec.trigger.next_fire_time(Some(last), from)? else {
                return Err(Error::new(ErrorKind::NeverFires, "the schedule has no fire time left"));
            };
            Ok(Cursor::at(next, crate::plan::jittered(&job.spec, next, seed)?))
        }
        _ => Ok(cursor),
    }
}

/// A closure has no name that another process could know.
fn check_closure(target: &Target, draft: &Draft) -> Result<(), Error> {
    if !target.store.traits().persistent || draft.task.is_registered() {
        return Ok(());
    }
    let (id, alias) = (&draft.id, &draft.store);
    let message = format!(
        "job \"{id}\" calls a closure, but job store \"{alias}\" is persistent: register the function as a task"
    );
    Err(Error::new(ErrorKind::InvalidJob, message))
}

fn reference(handle: &JobHandle) -> JobRef {
    JobRef { job_id: handle.id().clone(), store: Some(Arc::clone(&handle.store)) }
}

fn stored(store: &dyn JobStore, job: Job) -> Result<Job, Error> {
    let found = store.get(std::slice::from_ref(job.id()))?.pop().flatten();
    found.map_or(Ok(job), StoredJob::into_job)
}

fn pending_index(state: &State, key: &JobKey) -> Result<usize, Error> {
    let matches = |draft: &Draft| {
        draft.id.as_str() == &*key.id && key.store.as_ref().is_none_or(|store| *store == draft.store)
    };
    state.pending.iter().position(matches).ok_or_else(|| not_found(key))
}

fn pending_line(job: &JobHandle) -> String {
    job.listed(if *job.status() == JobStatus::Paused { "paused" } else { "pending" })
}

fn push_section(text: &mut String, heading: &str, empty: &str, lines: impl Iterator<Item = String>) {
    let _ = writeln!(text, "{heading}");
    let mut any = false;
    for line in lines {
        any = true;
        let _ = writeln!(text, "    {line}");
    }
    if !any {
        let _ = writeln!(text, "    {empty}");
    }
}

fn not_found(key: &JobKey) -> Error {
    let mut message = format!("no job by the id of \"{}\" was found", key.id);
    if let Some(store) = &key.store {
        let _ = write!(message, " in job store \"{store}\"");
    }
    Error::new(ErrorKind::NotFound, message)
}

pub(super) fn already_exists(id: &JobId) -> Error {
    let message = format!(
        "job identifier \"{id}\" conflicts with an existing job: `replace_existing` would replace it, \
         `ConflictPolicy::Keep` would keep it"
    );
    Error::new(ErrorKind::AlreadyExists, message)
}
