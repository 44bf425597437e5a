//! [`SimClock`]: a clock that moves when a test says so.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use parking_lot::Mutex;
use sched_core::Clock;

/// A simulated clock. Copies share their time; the wall and the monotonic clock move together or apart.
///
/// # Example
/// ```
/// use std::time::Duration;
/// use sched_core::Clock;
/// use sched_testkit::SimClock;
/// let clock = SimClock::at("2024-05-01T12:00:00Z");
/// clock.advance(Duration::from_secs(90));
/// assert_eq!(clock.now().to_rfc3339(), "2024-05-01T12:01:30+00:00");
/// clock.step(chrono::TimeDelta::hours(-1)); // somebody set the computer's clock
/// assert_eq!(clock.monotonic(), Duration::from_secs(90));
/// ```
#[derive(Clone)]
pub struct SimClock {
    time: Arc<Mutex<Time>>,
}

#[derive(Clone, Copy)]
struct Time {
    wall: DateTime<Utc>,
    monotonic: Duration,
}

impl SimClock {
    /// A clock that stands at `now`; its monotonic time is zero.
    pub fn new(now: DateTime<Utc>) -> Self {
        Self { time: Arc::new(Mutex::new(Time { wall: now.trunc_subsecs(6), monotonic: Duration::ZERO })) }
    }

    /// A clock that stands at an RFC 3339 time, such as `2024-05-01T12:00:00Z`.
    pub fn at(text: &str) -> Self {
        Self::new(crate::jobs::time(text))
    }

    /// Time passes: both clocks move.
    pub fn advance(&self, by: Duration) {
        let mut time = self.time.lock();
        time.wall += TimeDelta::from_std(by).unwrap_or(TimeDelta::MAX);
        time.monotonic += by;
    }

    /// Time passes until the wall clock shows `wall`; nothing happens when it does already.
    pub fn advance_to(&self, wall: DateTime<Utc>) {
        if let Ok(by) = (wall - self.now()).to_std() {
            self.advance(by);
        }
    }

    /// The wall clock is set forward or back; no time passes.
    pub fn step(&self, by: TimeDelta) {
        self.time.lock().wall += by;
    }

    /// The wall clock is set to `wall`; no time passes.
    pub fn set(&self, wall: DateTime<Utc>) {
        self.time.lock().wall = wall.trunc_subsecs(6);
    }

    /// Time passes and the wall clock stands, as if it was set back at once.
    pub fn advance_monotonic(&self, by: Duration) {
        self.time.lock().monotonic += by;
    }
}

impl Default for SimClock {
    /// A clock that stands at the first of May 2024, noon.
    fn default() -> Self {
        Self::new(crate::jobs::NOON)
    }
}

impl Clock for SimClock {
    fn now(&self) -> DateTime<Utc> {
        self.time.lock().wall
    }

    fn monotonic(&self) -> Duration {
        self.time.lock().monotonic
    }
}

impl fmt::Debug for SimClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Time { wall, monotonic } = *self.time.lock();
        f.debug_struct("SimClock").field("wall", &wall).field("monotonic", &monotonic).finish()
    }
}

/// Tests a clock, one test for each guarantee. It is given what makes an `Arc` of the clock's type.
#[macro_export]
macro_rules! clock_suite {
    ($make:expr) => {
        $crate::suite! { clock, $make; clock_is_microseconds, clock_is_monotonic }
    };
}

/// The clock of a case.
#[doc(hidden)]
pub fn fixture<C: Clock>(make: impl Fn() -> Arc<C>) -> Arc<dyn Clock> {
    make()
}

/// Readings of a clock in one test.
const READINGS: usize = 1_000;

/// The wall clock has no fractions of a microsecond.
pub fn clock_is_microseconds(clock: Arc<dyn Clock>) {
    for _ in 0..READINGS {
        let now = clock.now();
        assert_eq!(now.timestamp_subsec_nanos() % 1_000, 0, "{now} has fractions of a microsecond");
    }
}

/// The monotonic clock never goes back.
pub fn clock_is_monotonic(clock: Arc<dyn Clock>) {
    let readings: Vec<Duration> = (0..READINGS).map(|_| clock.monotonic()).collect();
    assert!(readings.is_sorted(), "the clock went back");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_share_their_time_and_both_clocks_move_apart() {
        let clock = SimClock::default();
        let copy = clock.clone();
        let start = clock.now();
        clock.advance(Duration::from_secs(5));
        copy.step(TimeDelta::seconds(-60));
        copy.advance_monotonic(Duration::from_secs(1));
        assert_eq!(copy.now(), start - TimeDelta::seconds(55));
        assert_eq!(clock.monotonic(), Duration::from_secs(6));
        clock.advance_to(start);
        assert_eq!((copy.now(), copy.monotonic()), (start, Duration::from_secs(61)));
        clock.advance_to(start - TimeDelta::seconds(1));
        assert_eq!(copy.now(), start);
    }
}
