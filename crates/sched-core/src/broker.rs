//! The contract of an event broker: it carries wake-ups between schedulers that share a job store.
//!
//! A broker makes others look sooner; it decides nothing. A notice that is lost, late or doubled costs time, never a
//! run: every loop over a shared store also looks by itself, at least once each `poll_interval`.

mod outbox;
mod subscribers;

use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

pub use self::outbox::{DEFAULT_GATHERING, Outbox};
pub use self::subscribers::Subscribers;
use crate::Error;

/// Something in a shared store is due at a moment that others may not know of.
///
/// As data, for a wire, it is a table with these names; times are in microseconds since the Unix epoch, rounded down, so
/// that nobody wakes too late.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "NoticeRecord", into = "NoticeRecord")]
pub struct Notice {
    /// The identity of the scheduler that says so; it ignores its own notices.
    pub origin: Arc<str>,
    /// The alias of the store. Schedulers that share one give it the same alias.
    pub store: Arc<str>,
    /// The earliest moment at which something is due.
    pub due: DateTime<Utc>,
}

/// A notice as data.
#[derive(Serialize, Deserialize)]
struct NoticeRecord {
    origin: String,
    store: String,
    #[serde(with = "chrono::serde::ts_microseconds")]
    due: DateTime<Utc>,
}

impl From<Notice> for NoticeRecord {
    fn from(notice: Notice) -> Self {
        let Notice { origin, store, due } = notice;
        Self { origin: origin.as_ref().to_owned(), store: store.as_ref().to_owned(), due }
    }
}

impl From<NoticeRecord> for Notice {
    fn from(record: NoticeRecord) -> Self {
        Self { origin: record.origin.into(), store: record.store.into(), due: record.due }
    }
}

/// What is called for every notice. It returns at once.
pub type NoticeCallback = Arc<dyn Fn(&Notice) + Send + Sync>;

/// Names a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SubscriptionId(pub u64);

/// Carries notices between schedulers.
///
/// # Guarantees
/// 1. Every subscriber that was there before `publish` is called for each notice it receives, the publisher's own
///    included.
/// 2. A notice that is published after `unsubscribe` returned does not reach the subscriber.
/// 3. `publish` does not wait for other processes.
pub trait EventBroker: fmt::Debug + Send + Sync + 'static {
    /// Tells of a batch. **Errors**: retryable; the engine logs them and goes on.
    fn publish(&self, notices: &[Notice]) -> Result<(), Error>;

    /// Calls `callback` for every notice from now on.
    fn subscribe(&self, callback: NoticeCallback) -> Result<SubscriptionId, Error>;

    /// Ends a subscription.
    fn unsubscribe(&self, subscription: SubscriptionId);
}

/// A broker between schedulers of one process.
#[derive(Default)]
pub struct LocalBroker(Subscribers);

impl LocalBroker {
    /// A broker without subscribers.
    pub fn new() -> Self {
        Self::default()
    }
}

impl EventBroker for LocalBroker {
    fn publish(&self, notices: &[Notice]) -> Result<(), Error> {
        self.0.tell(notices);
        Ok(())
    }

    fn subscribe(&self, callback: NoticeCallback) -> Result<SubscriptionId, Error> {
        Ok(self.0.add(callback))
    }

    fn unsubscribe(&self, subscription: SubscriptionId) {
        self.0.remove(subscription);
    }
}

impl fmt::Debug for LocalBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LocalBroker({} subscribers)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;

    fn notice(store: &str) -> Notice {
        Notice { origin: "a".into(), store: store.into(), due: DateTime::UNIX_EPOCH }
    }

    #[test]
    fn a_notice_as_data_is_the_same_notice() {
        let notice = notice("\u{e4}");
        let text = serde_json::to_string(&notice).unwrap();
        assert_eq!(text, "{\"origin\":\"a\",\"store\":\"\u{e4}\",\"due\":0}");
        assert_eq!(serde_json::from_str::<Notice>(&text).unwrap(), notice);
    }

    #[test]
    fn broker_reaches_every_subscriber_until_it_unsubscribes() {
        let broker = LocalBroker::new();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let subscribe = |name: &'static str| {
            let seen = Arc::clone(&seen);
            broker
                .subscribe(Arc::new(move |notice| seen.lock().push((name, notice.store.to_string()))))
                .unwrap()
        };
        let first = subscribe("first");
        subscribe("second");
        broker.publish(&[notice("x")]).unwrap();
        broker.unsubscribe(first);
        broker.publish(&[notice("y")]).unwrap();
        let expected = [("first", "x"), ("second", "x"), ("second", "y")];
        assert_eq!(*seen.lock(), expected.map(|(name, store)| (name, store.to_owned())));
    }
}
