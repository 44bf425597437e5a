//! How long to wait before a server is tried again.

use std::time::Duration;

/// The first pause, and the longest one.
const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(10);

/// Pauses that double, from a tenth of a second up to ten seconds. Each is shortened at random by up to a half, so that
/// those who lost a server at the same moment do not come back to it at the same moment.
#[derive(Debug, Clone)]
pub struct Backoff {
    next: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { next: FIRST }
    }
}

impl Backoff {
    /// The next pause.
    pub fn pause(&mut self) -> Duration {
        let whole = self.next;
        self.next = (whole * 2).min(LONGEST);
        whole.mul_f64(1.0 - fastrand::f64() / 2.0)
    }

    /// After a server was there for so long, the pauses begin anew, unless it was but for a moment.
    pub fn was_up_for(&mut self, time: Duration) {
        if time >= self.next {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_limit_and_never_vanish() {
        let mut backoff = Backoff::default();
        let mut whole = FIRST;
        for _ in 0..20 {
            let pause = backoff.pause();
            assert!(pause > whole / 2 - Duration::from_millis(1) && pause <= whole, "{pause:?} of {whole:?}");
            whole = (whole * 2).min(LONGEST);
        }
        assert_eq!(whole, LONGEST);
    }

    #[test]
    fn a_server_that_is_there_for_a_moment_only_is_not_tried_more_often() {
        let mut backoff = Backoff { next: Duration::from_secs(4) };
        backoff.was_up_for(Duration::from_secs(1));
        assert_eq!(backoff.next, Duration::from_secs(4));
        backoff.was_up_for(Duration::from_secs(5));
        assert_eq!(backoff.next, FIRST);
    }
}
