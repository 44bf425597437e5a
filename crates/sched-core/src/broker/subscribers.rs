//! Who is called for notices: what every broker keeps on its own side of the wire.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;

use super::{Notice, NoticeCallback, SubscriptionId};
use crate::error::panic_message;

/// The subscribers of a broker in this process.
#[derive(Default)]
pub struct Subscribers {
    callbacks: RwLock<Vec<(SubscriptionId, NoticeCallback)>>,
    ids: AtomicU64,
}

impl Subscribers {
    /// Nobody yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// One more; `callback` is called from now on.
    pub fn add(&self, callback: NoticeCallback) -> SubscriptionId {
        let id = SubscriptionId(self.ids.fetch_add(1, Ordering::Relaxed));
        self.callbacks.write().push((id, callback));
        id
    }

    /// One less; says how many are left.
    pub fn remove(&self, subscription: SubscriptionId) -> usize {
        let mut callbacks = self.callbacks.write();
        callbacks.retain(|(id, _)| *id != subscription);
        callbacks.len()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.callbacks.read().len()
    }

    /// Whether there is nobody.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Calls everybody for each notice. One that panics keeps nobody else from hearing.
    pub fn tell(&self, notices: &[Notice]) {
        let callbacks = self.callbacks.read().clone();
        for notice in notices {
            for (id, callback) in &callbacks {
                let call = AssertUnwindSafe(|| callback(notice));
                if let Err(panic) = std::panic::catch_unwind(call) {
                    let reason = panic_message(&*panic);
                    tracing::error!(subscriber = id.0, reason, "a subscriber of the event broker panicked");
                }
            }
        }
    }
}

impl fmt::Debug for Subscribers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Subscribers({})", self.len())
    }
}
