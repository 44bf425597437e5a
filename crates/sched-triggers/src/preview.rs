//! A look ahead at a trigger's fire times. It runs nothing and changes nothing.

use chrono::{DateTime, Utc};
use sched_core::{Error, Trigger};

/// The next fire times of a trigger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preview {
    /// The fire times, in order.
    pub fires: Vec<DateTime<Utc>>,
    /// The trigger said that there are no more. Not known when the list is as long as was asked for.
    pub exhausted: bool,
}

/// The next `count` fire times after `previous`, or from `now` on.
///
/// An open start is fixed to `now` first, as it is when a job is added.
///
/// **Errors**: those of the trigger.
///
/// # Example
/// ```
/// # fn main() -> Result<(), sched_core::Error> {
/// use sched_triggers::{CronTrigger, preview};
///
/// let trigger = CronTrigger::parse("0 9 * * mon-fri")?;
/// let coming = preview(&trigger, None, "2026-11-21T00:00:00Z".parse().unwrap(), 3)?;
/// let first = coming.fires[0].to_rfc3339();
/// assert_eq!(first, "2026-11-23T09:00:00+00:00");
/// # Ok(())
/// # }
/// ```
pub fn preview(
    trigger: &dyn Trigger,
    previous: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
    count: usize,
) -> Result<Preview, Error> {
    let anchored = trigger.anchored(now);
    let trigger = anchored.as_deref().unwrap_or(trigger);
    let mut fires = Vec::with_capacity(count.min(1000));
    let (mut previous, mut now) = (previous, now);
    while fires.len() < count {
        let Some(next) = trigger.next_fire_time(previous, now)? else {
            return Ok(Preview { fires, exhausted: true });
        };
        if previous.is_some_and(|previous| next <= previous) {
            let message =
                format!("{trigger} answered {next}, which is not later than its previous fire time");
            return Err(Error::new(sched_core::ErrorKind::InvalidTrigger, message));
        }
        fires.push(next);
        (previous, now) = (Some(next), next);
    }
    Ok(Preview { fires, exhausted: false })
}

/// [`preview`] as a method of every trigger, those behind a pointer included.
pub trait TriggerExt {
    /// The first `count` fire times at or after `from`. **Errors**: those of the trigger.
    fn preview(&self, count: usize, from: DateTime<Utc>) -> Result<Preview, Error>;
}

impl<T: Trigger> TriggerExt for T {
    fn preview(&self, count: usize, from: DateTime<Utc>) -> Result<Preview, Error> {
        preview(self, None, from, count)
    }
}

impl TriggerExt for dyn Trigger {
    fn preview(&self, count: usize, from: DateTime<Utc>) -> Result<Preview, Error> {
        preview(self, None, from, count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CronTrigger;

    #[test]
    fn a_trigger_behind_a_pointer_is_previewed_alike() {
        let (Ok(cron), Ok(from)) = (CronTrigger::parse("0 9 * * *"), "2026-11-21T10:00:00Z".parse()) else {
            panic!("both are well formed");
        };
        let direct = cron.preview(2, from).map(|coming| coming.fires);
        let shared: std::sync::Arc<dyn Trigger> = std::sync::Arc::new(cron);
        let behind = shared.preview(2, from).map(|coming| coming.fires);
        assert_eq!(direct.ok(), behind.ok());
    }
}
