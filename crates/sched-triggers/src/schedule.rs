//! Short ways to give a job its trigger. Everything they do can be done with
//! [`JobBuilder::trigger`](sched_core::JobBuilder::trigger).

use std::time::Duration;

use chrono::{DateTime, Utc};
use sched_core::{JobBuilder, TriggerSpec};
use serde_json::json;

use crate::{CalendarIntervalBuilder, CronBuilder, DateTrigger, IntervalBuilder, IntervalTrigger};

/// Short ways to say when a job fires. A wrong argument is reported when the job is added.
///
/// # Example
/// ```
/// use std::time::Duration;
///
/// use sched_core::Job;
/// use sched_triggers::ScheduleExt;
///
/// let often = Job::task("poll").every(Duration::from_secs(5)).id("poller");
/// let mornings = Job::task("report").cron("0 9 * * mon-fri").id("daily-report");
/// # let _ = (often, mornings);
/// ```
pub trait ScheduleExt: Sized {
    /// Fires every `interval`, the first time one interval after it is added.
    #[must_use]
    fn every(self, interval: Duration) -> Self;

    /// Fires once, at `moment`.
    #[must_use]
    fn at(self, moment: DateTime<Utc>) -> Self;

    /// Fires by a crontab line or a macro such as `@daily`, in the scheduler's zone.
    #[must_use]
    fn cron(self, expression: &str) -> Self;

    /// Fires every day at a time of the scheduler's zone.
    #[must_use]
    fn daily_at(self, hour: u32, minute: u32) -> Self;
}

impl ScheduleExt for JobBuilder {
    fn every(self, interval: Duration) -> Self {
        self.trigger(IntervalTrigger::every(interval))
    }

    fn at(self, moment: DateTime<Utc>) -> Self {
        self.trigger(DateTrigger::at(moment))
    }

    fn cron(self, expression: &str) -> Self {
        self.trigger(json!({ "type": "crontab", "expr": expression }))
    }

    fn daily_at(self, hour: u32, minute: u32) -> Self {
        self.trigger(json!({ "type": "cron", "hour": hour, "minute": minute }))
    }
}

macro_rules! buildable {
    ($($builder:ident),+) => {
        $(
            /// Builds the trigger; an error is reported when the job is added.
            impl From<$builder> for TriggerSpec {
                fn from(builder: $builder) -> Self {
                    builder.build().into()
                }
            }
        )+
    };
}

buildable!(CronBuilder, IntervalBuilder, CalendarIntervalBuilder);
