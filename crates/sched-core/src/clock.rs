//! Where the time comes from. Nothing else in the workspace's libraries reads a clock.

use std::time::{Duration, Instant};

use chrono::{DateTime, SubsecRound, Utc};

/// Wall time and monotonic time, injected into a scheduler.
///
/// # Guarantees
/// 1. `now` is UTC, cut to whole microseconds. It may jump either way (case `clock_is_microseconds`).
/// 2. `monotonic` never goes back (case `clock_is_monotonic`).
pub trait Clock: Send + Sync + 'static {
    /// The wall clock, UTC, whole microseconds.
    fn now(&self) -> DateTime<Utc>;

    /// Time since an arbitrary fixed moment; unaffected by changes of the wall clock.
    fn monotonic(&self) -> Duration;
}

/// The computer's own clocks.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock {
    origin: Instant,
}

impl SystemClock {
    /// A clock whose monotonic time starts at zero now.
    pub fn new() -> Self {
        Self { origin: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> DateTime<Utc> {
        Utc::now().trunc_subsecs(6)
    }

    fn monotonic(&self) -> Duration {
        self.origin.elapsed()
    }
}
