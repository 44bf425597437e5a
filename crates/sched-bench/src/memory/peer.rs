//! The peer of this scenario: clokwerk, which has no ids, no store and no limits.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

use chrono::{DateTime, TimeZone, Utc};
use clokwerk::timeprovider::TimeProvider;
use clokwerk::{Interval, Job, Scheduler};

use super::fill::{Cost, cost};
use super::turn::DUE;
use super::{BEGIN, HOUR};
use crate::Outcome;
use crate::measure::{median, millis};
use crate::stage::Tally;

/// clokwerk asks a type for the time, so that it has to be kept where a type finds it.
static NOW: AtomicI64 = AtomicI64::new(BEGIN);

struct SetTime;

impl TimeProvider for SetTime {
    fn now<Tz: TimeZone + Sync + Send>(zone: &Tz) -> DateTime<Tz> {
        super::turn::instant(NOW.load(Ordering::Relaxed)).with_timezone(zone)
    }
}

type Peer = Scheduler<Utc, SetTime>;

pub(super) fn fill(jobs: u32) -> Outcome<Cost> {
    NOW.store(BEGIN, Ordering::Relaxed);
    let (mut scheduler, tally) = (Scheduler::with_tz_and_provider(Utc), Tally::new());
    let cost = cost(jobs, |number| {
        add(&mut scheduler, &tally, number, jobs);
        Ok(())
    });
    drop(scheduler);
    cost
}

fn add(scheduler: &mut Peer, tally: &Arc<Tally>, number: u32, jobs: u32) {
    let tally = Arc::clone(tally);
    let second = u32::try_from(u64::from(number) * 3600 / u64::from(jobs)).unwrap_or(0);
    scheduler.every(Interval::Hours(1)).plus(Interval::Seconds(second)).run(move || tally.add());
}

/// Milliseconds for a turn with so many due jobs.
pub(super) fn turn(jobs: u32, steps: u32) -> Outcome<f64> {
    NOW.store(BEGIN, Ordering::Relaxed);
    let (mut scheduler, tally): (Peer, _) = (Scheduler::with_tz_and_provider(Utc), Tally::new());
    (0..jobs).for_each(|number| add(&mut scheduler, &tally, number, jobs));
    // The first due time is an hour after the beginning; from then on every step has its share.
    let step = HOUR * i64::from(DUE) / i64::from(jobs);
    let mut times = Vec::new();
    for number in 0..=steps {
        NOW.store(BEGIN + HOUR + step * i64::from(number) - 1, Ordering::Relaxed);
        let (before, begun) = (tally.count(), Instant::now());
        scheduler.run_pending();
        let fired = tally.count() - before;
        if fired > u64::from(DUE / 2) {
            times.push(millis(begun.elapsed()) * f64::from(DUE) / fired as f64);
        }
    }
    Ok(median(times))
}
