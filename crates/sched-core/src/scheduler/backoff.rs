//! Pauses between failed turns.

use std::time::Duration;

use crate::id::random_u64;

/// Doubling pauses between failed turns, up to a cap, each shortened by up to a quarter at random.
pub(crate) struct Backoff {
    cap: Duration,
    failures: u32,
}

impl Backoff {
    pub(crate) fn new(cap: Duration) -> Self {
        Self { cap, failures: 0 }
    }

    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }

    pub(crate) fn next(&mut self) -> Duration {
        let pause = Duration::from_millis(100).saturating_mul(1 << self.failures.min(16)).min(self.cap);
        self.failures = self.failures.saturating_add(1);
        let random = u32::try_from(random_u64() % 256).unwrap_or(0);
        pause - pause / 1024 * random
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_cap_and_start_anew() {
        let mut backoff = Backoff::new(Duration::from_secs(2));
        for expected in [100, 200, 400, 800, 1600, 2000, 2000] {
            let pause = backoff.next().as_millis();
            assert!(pause <= expected && pause >= expected * 3 / 4, "{pause} of {expected}");
        }
        backoff.reset();
        assert!(backoff.next().as_millis() <= 100);
    }
}
