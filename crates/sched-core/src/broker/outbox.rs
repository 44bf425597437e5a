//! What is on its way out: notices that come close together become one.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use parking_lot::{Condvar, Mutex};

use super::Notice;
use crate::{Error, ErrorKind};

/// How long notices are gathered before they are sent, unless a broker says otherwise.
pub const DEFAULT_GATHERING: Duration = Duration::from_millis(2);

/// How many senders and stores are remembered; beyond that the earliest notice stands for all of a store.
const MOST: usize = 1_024;

type Key = (Arc<str>, Arc<str>);

/// Gathers notices and sends them from a thread of its own, so that whoever publishes never waits for a network.
///
/// Within a gathering time, notices of one origin about one store become one, with the earliest due time: a thousand
/// jobs added one by one cost a few messages. What cannot be sent is dropped after it was logged, since every loop over
/// a shared store also looks by itself.
pub struct Outbox {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    gathered: BTreeMap<Key, DateTime<Utc>>,
    closed: bool,
}

impl Outbox {
    /// An outbox whose thread calls `send` for what was gathered. `name` is that of the thread.
    ///
    /// **Errors**: [`Unavailable`](ErrorKind::Unavailable) when no thread can be had.
    pub fn new(
        name: &str,
        gathering: Duration,
        mut send: impl FnMut(&[Notice]) -> Result<(), Error> + Send + 'static,
    ) -> Result<Self, Error> {
        let shared = Arc::new(Shared { state: Mutex::default(), changed: Condvar::new() });
        let inside = Arc::clone(&shared);
        let serve = move || {
            while let Some(notices) = inside.gather(gathering) {
                if let Err(error) = send(&notices) {
                    tracing::warn!(%error, "the event broker failed; others find what is due when they poll");
                }
            }
        };
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(serve);
        let failed =
            |error| Error::new(ErrorKind::Unavailable, "a thread could not be started").with_source(error);
        Ok(Self { shared, thread: Some(thread.map_err(failed)?) })
    }

    /// Puts notices on their way.
    pub fn put(&self, notices: &[Notice]) {
        let mut state = self.shared.state.lock();
        for Notice { origin, store, due } in notices {
            let key = (Arc::clone(store), Arc::clone(origin));
            let is_new = !state.gathered.contains_key(&key);
            if is_new && state.gathered.len() >= MOST {
                // Whoever it is from: the earliest wakes everybody in time.
                if let Some((_, first)) = state.gathered.iter_mut().find(|((of, _), _)| of == store) {
                    *first = (*first).min(*due);
                    continue;
                }
            }
            let earliest = state.gathered.entry(key).or_insert(*due);
            *earliest = (*earliest).min(*due);
        }
        drop(state);
        self.shared.changed.notify_one();
    }
}

impl Shared {
    /// What was gathered, once its time is over; `None` when the outbox is closed and empty.
    fn gather(&self, gathering: Duration) -> Option<Vec<Notice>> {
        let mut state = self.state.lock();
        while state.gathered.is_empty() {
            if state.closed {
                return None;
            }
            self.changed.wait(&mut state);
        }
        let end = Instant::now() + gathering;
        while !state.closed && !self.changed.wait_until(&mut state, end).timed_out() {}
        let gathered = std::mem::take(&mut state.gathered);
        drop(state);
        let notices = gathered.into_iter().map(|((store, origin), due)| Notice { origin, store, due });
        Some(notices.collect())
    }
}

impl Drop for Outbox {
    /// Sends what is left and waits for it.
    fn drop(&mut self) {
        self.shared.state.lock().closed = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take().filter(|it| it.thread().id() != std::thread::current().id())
        {
            // A panic of the sender was reported where it happened.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox").field("waiting", &self.shared.state.lock().gathered.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    fn notice(origin: &str, second: i64) -> Notice {
        let due = DateTime::from_timestamp(second, 0).unwrap();
        Notice { origin: origin.into(), store: "default".into(), due }
    }

    #[test]
    fn notices_that_come_together_become_one_with_the_earliest_time() {
        let (sender, sent) = mpsc::channel();
        let send = move |notices: &[Notice]| {
            sender.send(notices.to_vec()).map_err(|_| Error::new(ErrorKind::Closed, "nobody listens"))
        };
        let outbox = Outbox::new("outbox", Duration::from_secs(60), send).unwrap();
        outbox.put(&[notice("a", 9), notice("b", 5), notice("a", 7)]);
        outbox.put(&[notice("a", 8)]);
        drop(outbox);
        assert_eq!(sent.try_iter().collect::<Vec<_>>(), [[notice("a", 7), notice("b", 5)]]);
    }

    #[test]
    fn notices_are_sent_after_a_failure_and_what_is_left_at_the_end() {
        let (sender, sent) = mpsc::channel();
        let send = move |notices: &[Notice]| {
            sender.send(notices.len()).unwrap();
            Err(Error::new(ErrorKind::Unavailable, "no network"))
        };
        let outbox = Outbox::new("outbox", Duration::ZERO, send).unwrap();
        for round in 0..3 {
            outbox.put(&[notice("a", round)]);
            assert_eq!(sent.recv().unwrap(), 1);
        }
        drop(outbox);
        assert!(sent.recv().is_err(), "its thread has ended");
    }
}
