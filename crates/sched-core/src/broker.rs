//! The contract of an event broker: it carries wake-ups between schedulers that share a job store.
//!
//! A broker makes others look sooner; it decides nothing. A notice that is lost, late or doubled costs time, never a
//! run: every loop over a shared store also looks by itself, at least once each `poll_interval`.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use chrono::{DateTime, Utc};
use parking_lot::RwLock;

use crate::Error;

/// Something in a shared store is due at a moment that others may not know of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// The identity of the scheduler that says so; it ignores its own notices.
    pub origin: Arc<str>,
    /// The alias of the store. Schedulers that share one give it the same alias.
    pub store: Arc<str>,
    /// The earliest moment at which something is due.
    pub due: DateTime<Utc>,
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
pub struct LocalBroker {
    subscribers: RwLock<Vec<(SubscriptionId, NoticeCallback)>>,
    ids: AtomicU64,
}

impl LocalBroker {
    /// A broker without subscribers.
    pub fn new() -> Self {
        Self::default()
    }
}

impl EventBroker for LocalBroker {
    fn publish(&self, notices: &[Notice]) -> Result<(), Error> {
        let subscribers = self.subscribers.read().clone();
        for notice in notices {
            subscribers.iter().for_each(|(_, callback)| callback(notice));
        }
        Ok(())
    }

    fn subscribe(&self, callback: NoticeCallback) -> Result<SubscriptionId, Error> {
        let id = SubscriptionId(self.ids.fetch_add(1, Ordering::Relaxed));
        self.subscribers.write().push((id, callback));
        Ok(id)
    }

    fn unsubscribe(&self, subscription: SubscriptionId) {
        self.subscribers.write().retain(|(id, _)| *id != subscription);
    }
}

impl fmt::Debug for LocalBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LocalBroker({} subscribers)", self.subscribers.read().len())
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
