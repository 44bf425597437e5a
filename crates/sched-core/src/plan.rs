//! Planning: which fire times of a due job become runs, which are misfires, and what comes next.
//!
//! A pure function of the job, its cursor and the time. It reads no clock, calls no store and knows no thread, so
//! that misfire, coalescing, jitter and catch-up are decided, and tested, in one place. How many instances may
//! overlap is not decided here: that depends on what is running.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::id::mix64;
use crate::job::{Cursor, JobSpec, JobStatus};
use crate::policy::{Coalesce, Retain};
use crate::{Error, ErrorKind};

/// What a due job leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The fire times dealt with, in order; each runs or is a misfire.
    pub fires: Vec<PlannedFire>,
    /// Where the schedule stands afterwards.
    pub cursor: Cursor,
    /// What becomes of the job.
    pub then: Then,
    /// Whether more fire times were due than `max_catch_up` lets run; the later ones were dropped.
    pub catch_up_limited: bool,
}

/// One fire time of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlannedFire {
    /// The trigger's fire time.
    pub fire_time: DateTime<Utc>,
    /// The fire time with its jitter.
    pub scheduled_time: DateTime<Utc>,
    /// Whether it is too late to start.
    pub missed: bool,
}

/// What becomes of a job after a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// It stays in the schedule.
    Continue,
    /// Its trigger ended: it is removed.
    Remove,
    /// Its trigger ended: it stays as finished.
    Retain,
}

/// Plans a job that is due at `now`. `seed` varies the jitter from scheduler to scheduler.
///
/// # Guarantees
/// 1. At least one fire time is dealt with, and never more than `max_catch_up` (case `plan_is_bounded`).
/// 2. Fire times are strictly increasing, and so is the cursor's next fire time, whatever the trigger answers
///    (case `plan_is_strictly_increasing`).
/// 3. Jitter only delays, by less than the gap to the following fire time, and never enters the next fire time
///    (case `jitter_does_not_accumulate`).
/// 4. Lateness is judged by [`is_too_late`], which is asked again when the run starts.
///
/// **Errors**: the trigger's own; [`InvalidTrigger`](ErrorKind::InvalidTrigger) when it goes back in time;
/// [`Unexpected`](ErrorKind::Unexpected) when the cursor has no next fire time.
pub fn plan(spec: &JobSpec, cursor: &Cursor, now: DateTime<Utc>, seed: u64) -> Result<Plan, Error> {
    let (Some(first), Some(run_time)) = (cursor.next_fire_time, cursor.next_run_time) else {
        return Err(Error::new(
            ErrorKind::Unexpected,
            format!("job \"{}\" is planned but not scheduled", spec.id),
        ));
    };
    let mut catch_up = CatchUp { spec, now, seed, fires: Vec::with_capacity(1), limited: false };
    catch_up.push(first, run_time);
    let next = catch_up.collect(first)?;
    let last = catch_up.last_fire_time(first);
    let (cursor, then) = match next {
        Some(next) => (
            Cursor {
                next_fire_time: Some(next.fire_time),
                next_run_time: Some(next.scheduled_time),
                last_fire_time: Some(last),
                status: JobStatus::Scheduled,
                revision: cursor.revision,
            },
            Then::Continue,
        ),
        None => {
            let ended = Cursor { last_fire_time: Some(last), ..cursor.clone() }.stopped(JobStatus::Finished);
            (ended, if spec.options.retain == Retain::Finished { Then::Retain } else { Then::Remove })
        }
    };
    Ok(Plan { fires: catch_up.fires, cursor, then, catch_up_limited: catch_up.limited })
}

/// Whether a run that was to start at `scheduled_time` is too late at `now`. Exactly at the limit is in time.
pub fn is_too_late(grace: crate::Grace, scheduled_time: DateTime<Utc>, now: DateTime<Utc>) -> bool {
    !grace.allows((now - scheduled_time).to_std().unwrap_or(Duration::ZERO))
}

/// The time at which a fire time is to run: up to the job's jitter later, but before the following fire time.
///
/// The delay is a hash of the seed, the job and the fire time: the same for every retry, different for every
/// scheduler, job and fire.
pub(crate) fn jittered(spec: &JobSpec, fire_time: DateTime<Utc>, seed: u64) -> Result<DateTime<Utc>, Error> {
    let Some(jitter) = spec.options.jitter.or_else(|| spec.trigger.jitter()) else {
        return Ok(fire_time);
    };
    let following = spec.trigger.next_fire_time(Some(fire_time), fire_time)?;
    let gap =
        following.and_then(|next| (next - fire_time).num_microseconds()).map_or(i64::MAX, |gap| gap - 1);
    let limit = i64::try_from(jitter.as_micros()).unwrap_or(i64::MAX).min(gap).max(0);
    let hash = spec.id.as_str().bytes().fold(seed, |hash, byte| mix64(hash ^ u64::from(byte)));
    let hash = mix64(hash ^ fire_time.timestamp_micros().unsigned_abs());
    let delay = i64::try_from(hash % limit.unsigned_abs().saturating_add(1)).unwrap_or(0);
    Ok(fire_time.checked_add_signed(TimeDelta::microseconds(delay)).unwrap_or(fire_time))
}

struct CatchUp<'a> {
    spec: &'a JobSpec,
    now: DateTime<Utc>,
    seed: u64,
    fires: Vec<PlannedFire>,
    limited: bool,
}

impl CatchUp<'_> {
    fn push(&mut self, fire_time: DateTime<Utc>, scheduled_time: DateTime<Utc>) {
        let missed = is_too_late(self.spec.options.misfire_grace_time, scheduled_time, self.now);
        self.fires.push(PlannedFire { fire_time, scheduled_time, missed });
    }

    /// Deals with what is due after `first`; answers what comes next.
    fn collect(&mut self, first: DateTime<Utc>) -> Result<Option<PlannedFire>, Error> {
        let Some(second) = self.after(first)? else { return Ok(None) };
        if second.scheduled_time > self.now {
            return Ok(Some(second));
        }
        match self.spec.options.coalesce {
            Coalesce::All => self.collect_all(second),
            Coalesce::Earliest => self.skip_to_future(second),
            Coalesce::Latest => {
                let latest = self.latest_due(second)?;
                self.fires.clear();
                self.push(latest.fire_time, latest.scheduled_time);
                self.after(latest.fire_time)
            }
        }
    }

    fn collect_all(&mut self, second: PlannedFire) -> Result<Option<PlannedFire>, Error> {
        let most = usize::try_from(self.spec.options.max_catch_up).unwrap_or(usize::MAX);
        let mut due = second;
        while self.fires.len() < most {
            self.push(due.fire_time, due.scheduled_time);
            match self.after(due.fire_time)? {
                Some(next) if next.scheduled_time <= self.now => due = next,
                next => return Ok(next),
            }
        }
        self.limited = true;
        self.skip_to_future(due)
    }

    fn skip_to_future(&self, due: PlannedFire) -> Result<Option<PlannedFire>, Error> {
        let latest = self.latest_due(due)?;
        self.after(latest.fire_time)
    }

    /// The latest fire time whose run time has come, starting from one that is due.
    fn latest_due(&self, due: PlannedFire) -> Result<PlannedFire, Error> {
        let mut latest = self.spec.trigger.latest_fire_time(due.fire_time, self.now)?.max(due.fire_time);
        let mut run_time = jittered(self.spec, latest, self.seed)?;
        if run_time > self.now && latest > due.fire_time {
            let before = latest - TimeDelta::microseconds(1);
            latest = self.spec.trigger.latest_fire_time(due.fire_time, before)?.max(due.fire_time);
            run_time = jittered(self.spec, latest, self.seed)?;
        }
        Ok(PlannedFire { fire_time: latest, scheduled_time: run_time, missed: false })
    }

    fn after(&self, fire: DateTime<Utc>) -> Result<Option<PlannedFire>, Error> {
        let Some(next) = self.spec.trigger.next_fire_time(Some(fire), self.now)? else { return Ok(None) };
        if next <= fire {
            let message = format!("trigger {} went back from {fire} to {next}", self.spec.trigger);
            return Err(Error::new(ErrorKind::InvalidTrigger, message));
        }
        let scheduled_time = jittered(self.spec, next, self.seed)?;
        Ok(Some(PlannedFire { fire_time: next, scheduled_time, missed: false }))
    }

    fn last_fire_time(&self, first: DateTime<Utc>) -> DateTime<Utc> {
        self.fires.last().map_or(first, |fire| fire.fire_time)
    }
}
