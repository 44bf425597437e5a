//! The jobs: a slab of slots, found by id, ordered by time, claimed in batches.
//!
//! Every job is in exactly one of three places: the agenda (scheduled), the idle set (out of the schedule), or a lease
//! (claimed). Nothing here locks or reads a clock.

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use sched_core::{
    Advance, Claim, ClaimedJob, ConflictPolicy, Cursor, Error, ErrorKind, FencingToken, Inserted, Job,
    JobFilter, JobId, JobSpec, JobStatus, StoredJob,
};

use crate::agenda::Agenda;
use crate::ids::Ids;
use crate::leases::Leases;

/// The time of a job that is out of the schedule: after all others.
const NEVER: i64 = i64::MAX;

/// All jobs of a store.
#[derive(Debug, Default)]
pub(crate) struct JobTable {
    slab: Slab,
    ids: Ids,
    agenda: Agenda,
    idle: BTreeSet<(JobId, u32)>,
    leases: Leases,
    /// Specs that were deleted or replaced, for their owner to drop outside its lock.
    deleted: Vec<Arc<JobSpec>>,
}

/// What is claimed: jobs due at or before a moment, under a lease.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Taking {
    /// Jobs due at or before this moment.
    pub(crate) due: i64,
    /// At most this many.
    pub(crate) limit: usize,
    /// The last moment of the lease.
    pub(crate) lease_until: i64,
    /// The token of the first job; those after it count up.
    pub(crate) first_token: u64,
}

/// A job as it is kept: 64 bytes, of which times are microseconds.
#[derive(Debug)]
struct Entry {
    spec: Arc<JobSpec>,
    next_fire: i64,
    next_run: i64,
    last_fire: i64,
    /// Boxed because nearly every job is scheduled, which is `None`.
    status: Option<Box<JobStatus>>,
    revision: u64,
    /// The token of its open claim; 0 when it is not claimed.
    token: u64,
}

#[derive(Debug, Default)]
struct Slab {
    entries: Vec<Option<Entry>>,
    vacant: Vec<u32>,
}

impl JobTable {
    pub(crate) fn insert(&mut self, job: &Job, conflict: ConflictPolicy) -> Result<Inserted, Error> {
        match (self.find(job.id()), conflict) {
            (None, _) => {
                let Some(slot) = self.slab.put(Entry::new(job)) else {
                    return Err(Error::new(ErrorKind::Unsupported, "the memory store holds no more jobs"));
                };
                self.ids.insert(job.id().as_str(), slot);
                self.schedule(slot);
                Ok(Inserted::Added)
            }
            (Some(_), ConflictPolicy::Keep) => Ok(Inserted::Kept),
            (Some(slot), ConflictPolicy::Replace) => {
                self.unschedule(slot);
                if let Some(entry) = self.slab.get_mut(slot) {
                    self.deleted.push(entry.replace(job));
                }
                self.schedule(slot);
                Ok(Inserted::Replaced)
            }
            (Some(_), ConflictPolicy::Error) => {
                let message = format!("job identifier \"{}\" conflicts with an existing job", job.id());
                Err(Error::new(ErrorKind::AlreadyExists, message))
            }
        }
    }

    pub(crate) fn update(&mut self, job: &Job) -> Result<(), Error> {
        let missing =
            || Error::new(ErrorKind::NotFound, format!("no job by the id of \"{}\" was found", job.id()));
        let slot = self.find(job.id()).ok_or_else(missing)?;
        let stored = self.slab.get(slot).map(|entry| entry.revision).ok_or_else(missing)?;
        if stored != job.cursor.revision {
            let message = format!("job \"{}\" was changed by somebody else", job.id());
            return Err(Error::new(ErrorKind::Stale, message));
        }
        self.unschedule(slot);
        if let Some(entry) = self.slab.get_mut(slot) {
            let old = std::mem::replace(entry, Entry::new(job));
            entry.revision = stored + 1;
            self.deleted.push(old.spec);
        }
        self.schedule(slot);
        Ok(())
    }

    pub(crate) fn remove(&mut self, id: &JobId) -> bool {
        let found = self.find(id);
        if let Some(slot) = found {
            self.remove_slot(slot);
        }
        found.is_some()
    }

    pub(crate) fn len(&self) -> usize {
        self.slab.entries.len() - self.slab.vacant.len()
    }

    pub(crate) fn get(&self, id: &JobId) -> Option<Job> {
        self.find(id).and_then(|slot| self.slab.get(slot)).map(Entry::job)
    }

    pub(crate) fn list(&mut self, filter: &JobFilter) -> Vec<StoredJob> {
        let after = filter.after.as_ref().map(|place| {
            let time = place.next_run_time.map_or(NEVER, |time| time.timestamp_micros());
            (time, place.id.as_str())
        });
        let comes_after = |at: (i64, &str)| after.is_none_or(|after| at > after);
        let limit = filter.limit.unwrap_or(usize::MAX);
        if limit == 0 {
            return Vec::new();
        }
        let Self { slab, agenda, idle, leases, .. } = self;
        let mut claimed: Vec<(i64, &str, u32)> = leases
            .iter()
            .filter_map(|(token, slot)| {
                slab.get(slot).filter(|entry| entry.token == token).map(|it| (slot, it))
            })
            .map(|(slot, entry)| (entry.next_run, entry.id().as_str(), slot))
            .filter(|(time, id, _)| comes_after((*time, id)))
            .collect();
        claimed.sort_unstable();
        let mut claimed = claimed.into_iter().peekable();
        let scheduled = agenda.from(after.map_or(i64::MIN, |(time, _)| time), |slot| slab.id(slot));
        let idle = idle.iter().map(|(_, slot)| (NEVER, *slot));
        let mut listed = Vec::new();
        let mut push = |slot: u32| {
            let stored = slab.get(slot).map(|entry| StoredJob::Job(entry.job()));
            listed.extend(stored.filter(|stored| filter.admits(stored)));
            listed.len() >= limit
        };
        for (time, slot) in scheduled.chain(idle) {
            let at = (time, slab.id(slot));
            while let Some((_, _, earlier)) = claimed.next_if(|(time, id, _)| (*time, *id) < at) {
                if push(earlier) {
                    return listed;
                }
            }
            if comes_after(at) && push(slot) {
                return listed;
            }
        }
        let _ = claimed.any(|(_, _, slot)| push(slot));
        listed
    }

    /// When the earliest job is due or the earliest lease no longer holds.
    pub(crate) fn next_wakeup(&self) -> Option<i64> {
        [self.agenda.first(), self.leases.first_end()].into_iter().flatten().min()
    }

    /// Puts jobs back whose lease ran out before `now`.
    pub(crate) fn take_back(&mut self, now: i64) {
        for (token, slot) in self.leases.take_ended(now) {
            if let Some(entry) = self.slab.get_mut(slot).filter(|entry| entry.token == token) {
                entry.token = 0;
                self.schedule(slot);
            }
        }
    }

    pub(crate) fn claim(&mut self, taking: Taking) -> Vec<ClaimedJob> {
        let Self { slab, agenda, leases, .. } = self;
        let slots = agenda.take_due(taking.due, taking.limit, |slot| slab.id(slot));
        let mut claimed = Vec::with_capacity(slots.len());
        for (token, slot) in (taking.first_token..).zip(&slots) {
            let Some(entry) = slab.get_mut(*slot) else { continue };
            entry.token = token;
            let claim = Claim { id: entry.id().clone(), token: FencingToken(token), slot: u64::from(*slot) };
            claimed.push(ClaimedJob { job: entry.job(), claim });
        }
        if !slots.is_empty() {
            leases.open(taking.first_token, taking.lease_until, slots);
        }
        claimed
    }

    /// The slot of a claim that is still open.
    pub(crate) fn claimed_slot(&self, claim: &Claim) -> Option<u32> {
        let slot = u32::try_from(claim.slot).ok()?;
        let entry = self.slab.get(slot)?;
        (claim.token.0 != 0 && entry.token == claim.token.0 && *entry.id() == claim.id).then_some(slot)
    }

    /// Ends an open claim.
    pub(crate) fn advance(&mut self, slot: u32, advance: Advance) {
        match advance {
            Advance::Remove => self.remove_slot(slot),
            Advance::To(cursor) => {
                self.unschedule(slot);
                if let Some(entry) = self.slab.get_mut(slot) {
                    entry.stand_at(cursor);
                }
                self.schedule(slot);
            }
        }
    }

    /// Takes out the specs that were deleted or replaced since the last call.
    pub(crate) fn take_deleted(&mut self) -> Vec<Arc<JobSpec>> {
        std::mem::take(&mut self.deleted)
    }

    fn find(&self, id: &JobId) -> Option<u32> {
        self.ids.find(id.as_str(), |slot| self.slab.id(slot))
    }

    fn remove_slot(&mut self, slot: u32) {
        self.unschedule(slot);
        self.ids.remove(self.slab.id(slot), slot);
        self.deleted.extend(self.slab.take(slot).map(|entry| entry.spec));
    }

    /// Takes a job out of the agenda, the idle set, or its lease.
    fn unschedule(&mut self, slot: u32) {
        let Some(entry) = self.slab.get_mut(slot) else { return };
        match (std::mem::take(&mut entry.token), entry.next_run) {
            (0, NEVER) => {
                self.idle.remove(&(entry.spec.id.clone(), slot));
            }
            (0, time) => self.agenda.remove(time, slot),
            (token, _) => self.leases.close(token),
        }
    }

    /// Puts a job that is nowhere into the agenda or the idle set.
    fn schedule(&mut self, slot: u32) {
        match self.slab.get(slot) {
            Some(Entry { next_run: NEVER, spec, .. }) => {
                self.idle.insert((spec.id.clone(), slot));
            }
            Some(entry) => self.agenda.insert(entry.next_run, slot),
            None => {}
        }
    }
}

impl Slab {
    fn get(&self, slot: u32) -> Option<&Entry> {
        self.entries.get(slot as usize).and_then(Option::as_ref)
    }

    fn get_mut(&mut self, slot: u32) -> Option<&mut Entry> {
        self.entries.get_mut(slot as usize).and_then(Option::as_mut)
    }

    fn id(&self, slot: u32) -> &str {
        self.get(slot).map_or("", |entry| entry.id().as_str())
    }

    /// The slot of a new entry; `None` when there are no more numbers.
    fn put(&mut self, entry: Entry) -> Option<u32> {
        if let Some(slot) = self.vacant.pop() {
            self.entries[slot as usize] = Some(entry);
            return Some(slot);
        }
        // The greatest number stands for "none" in the agenda and the table of ids.
        let slot = u32::try_from(self.entries.len()).ok().filter(|slot| *slot < u32::MAX)?;
        self.entries.push(Some(entry));
        Some(slot)
    }

    fn take(&mut self, slot: u32) -> Option<Entry> {
        let taken = self.entries.get_mut(slot as usize).and_then(Option::take);
        self.vacant.extend(taken.is_some().then_some(slot));
        taken
    }
}

impl Entry {
    fn new(job: &Job) -> Self {
        let Cursor { next_fire_time, last_fire_time, ref status, revision, .. } = job.cursor;
        Self {
            spec: Arc::clone(&job.spec),
            next_fire: micros(next_fire_time),
            next_run: time_of(&job.cursor),
            last_fire: micros(last_fire_time),
            status: kept_status(status),
            revision,
            token: 0,
        }
    }

    fn id(&self) -> &JobId {
        &self.spec.id
    }

    fn job(&self) -> Job {
        let cursor = Cursor {
            next_fire_time: time(self.next_fire),
            next_run_time: time(self.next_run),
            last_fire_time: time(self.last_fire),
            status: self.status.as_deref().cloned().unwrap_or_default(),
            revision: self.revision,
        };
        Job { spec: Arc::clone(&self.spec), cursor }
    }

    /// Becomes `job`; where it stands stays when the schedule is the same. Answers the spec it had.
    fn replace(&mut self, job: &Job) -> Arc<JobSpec> {
        let revision = self.revision + 1;
        let same = self.spec.same_schedule(&job.spec);
        let old = std::mem::replace(&mut self.spec, Arc::clone(&job.spec));
        if !same {
            *self = Self::new(job);
        }
        self.revision = revision;
        old
    }

    /// The revision rises, so that nobody who read the job before moves it back.
    fn stand_at(&mut self, cursor: Cursor) {
        self.revision += 1;
        self.next_fire = micros(cursor.next_fire_time);
        self.next_run = time_of(&cursor);
        self.last_fire = micros(cursor.last_fire_time);
        self.status = kept_status(&cursor.status);
    }
}

fn kept_status(status: &JobStatus) -> Option<Box<JobStatus>> {
    (*status != JobStatus::Scheduled).then(|| Box::new(status.clone()))
}

fn time_of(cursor: &Cursor) -> i64 {
    micros(cursor.next_run_time)
}

fn micros(time: Option<DateTime<Utc>>) -> i64 {
    time.map_or(NEVER, |time| time.timestamp_micros())
}

fn time(micros: i64) -> Option<DateTime<Utc>> {
    if micros == NEVER { None } else { DateTime::from_timestamp_micros(micros) }
}
