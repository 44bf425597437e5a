//! [`TokioClock`]: wall time that follows tokio's.

use std::time::Duration;

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use sched_core::Clock;
use tokio::runtime::Handle;
use tokio::time::Instant;

/// A clock whose wall time is the moment it was made plus the time that has passed on tokio's clock since.
///
/// While tokio's clock runs, it shows what the computer's does, but for later changes of that. Under
/// `tokio::time::pause` it stands still with the runtime's timers, and moves when they are advanced: a scheduler on it
/// goes through days in milliseconds. It is for tests; schedulers that are made while the clock of their runtime is
/// paused have one without being told.
///
/// It follows the runtime that it was made on, whichever thread it is read on.
#[derive(Debug, Clone)]
pub struct TokioClock {
    wall: DateTime<Utc>,
    origin: Instant,
    runtime: Option<Handle>,
}

impl TokioClock {
    /// A clock that shows the computer's time now.
    pub fn new() -> Self {
        Self::starting_at(Utc::now())
    }

    /// A clock that shows `wall` now.
    pub fn starting_at(wall: DateTime<Utc>) -> Self {
        Self { wall: wall.trunc_subsecs(6), origin: Instant::now(), runtime: Handle::try_current().ok() }
    }

    /// Whether tokio's clock stands still here, as it does after `tokio::time::pause`.
    pub fn is_paused() -> bool {
        // Tokio does not say so. Its clock is read before and after the computer's has moved for certain.
        let (tokio, computer) = (Instant::now(), std::time::Instant::now());
        while computer.elapsed() < Duration::from_micros(1) {
            std::hint::spin_loop();
        }
        Instant::now() == tokio
    }
}

impl Default for TokioClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for TokioClock {
    fn now(&self) -> DateTime<Utc> {
        let passed = TimeDelta::from_std(self.monotonic()).unwrap_or(TimeDelta::MAX);
        self.wall.checked_add_signed(passed).unwrap_or(DateTime::<Utc>::MAX_UTC).trunc_subsecs(6)
    }

    fn monotonic(&self) -> Duration {
        // A thread that is not the runtime's would read the computer's time.
        let _inside = self.runtime.as_ref().map(Handle::enter);
        Instant::now().saturating_duration_since(self.origin)
    }
}
