//! The limit for whatever keeps jobs in memory: a binary heap of boxed closures, and one thread that sleeps.
//!
//! It is the least code that does the same work. It has no ids, no limits, no events, no executor, and cannot be
//! stopped half-way: what it costs is what nobody can do without.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::fmt;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use chrono::Utc;

/// A closure that is told its fire time, in microseconds since 1970.
pub type Closure = Box<dyn FnMut(i64) + Send>;

/// A closure on a timer.
pub struct Timer {
    at: i64,
    every: i64,
    closure: Closure,
}

impl Timer {
    /// Fires at `at` and every `every` after that, in microseconds.
    pub fn new(at: i64, every: i64, closure: impl FnMut(i64) + Send + 'static) -> Self {
        Self { at, every, closure: Box::new(closure) }
    }
}

impl PartialEq for Timer {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl Eq for Timer {}

impl PartialOrd for Timer {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Timer {
    /// The earliest is the greatest, because a binary heap gives the greatest first.
    fn cmp(&self, other: &Self) -> Ordering {
        other.at.cmp(&self.at)
    }
}

/// Closures by time.
#[derive(Default)]
pub struct Timers(BinaryHeap<Timer>);

impl Timers {
    /// Adds a timer.
    pub fn push(&mut self, timer: Timer) {
        self.0.push(timer);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Calls what is due at `now`; answers the next time.
    pub fn fire(&mut self, now: i64) -> Option<i64> {
        loop {
            let next = self.0.peek()?.at;
            if next > now {
                return Some(next);
            }
            let mut timer = self.0.pop()?;
            (timer.closure)(timer.at);
            timer.at += timer.every;
            self.0.push(timer);
        }
    }

    /// Fires by the wall clock on a thread of its own, until `end`.
    pub fn run_until(mut self, end: i64) -> JoinHandle<()> {
        thread::spawn(move || {
            loop {
                let now = Utc::now().timestamp_micros();
                let Some(next) = self.fire(now.min(end)).filter(|next| *next <= end) else { return };
                let pause = next - Utc::now().timestamp_micros();
                thread::sleep(Duration::from_micros(u64::try_from(pause).unwrap_or(0)));
            }
        })
    }
}

impl fmt::Debug for Timers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timers").field("len", &self.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn timers_fire_in_order_and_again() {
        let (sender, fired) = mpsc::channel();
        let mut timers = Timers::default();
        for (at, every) in [(3, 10), (1, 2)] {
            let sender = sender.clone();
            timers.push(Timer::new(at, every, move |at| sender.send(at).unwrap()));
        }
        assert_eq!(timers.fire(5), Some(7));
        let fired: Vec<i64> = fired.try_iter().collect();
        assert_eq!(fired.len(), 4);
        assert!(fired.is_sorted());
    }
}
