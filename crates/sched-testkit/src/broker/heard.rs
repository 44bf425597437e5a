//! A subscriber that remembers, and notices to send it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use parking_lot::{Condvar, Mutex};
use sched_core::{EventBroker, Notice, NoticeCallback};

use crate::jobs::noon_plus;
use crate::sink::PATIENCE;

/// How long is waited for a notice before it is sent again, where some may be lost.
const AGAIN: Duration = Duration::from_millis(20);

/// The notices that a subscriber was called for.
#[derive(Debug, Default)]
pub struct Heard {
    notices: Mutex<Vec<Notice>>,
    more: Condvar,
}

impl Heard {
    /// What is subscribed.
    pub fn callback(heard: &Arc<Self>) -> NoticeCallback {
        let heard = Arc::clone(heard);
        Arc::new(move |notice| {
            heard.notices.lock().push(notice.clone());
            heard.more.notify_all();
        })
    }

    /// The notices so far, in order.
    pub fn notices(&self) -> Vec<Notice> {
        self.notices.lock().clone()
    }

    /// How many were heard from an origin.
    pub fn count_of(&self, origin: &str) -> usize {
        self.notices.lock().iter().filter(|notice| &*notice.origin == origin).count()
    }

    /// The first notice from an origin, once it is there; panics when it does not come.
    pub fn of(&self, origin: &str) -> Notice {
        let found = self.wait(PATIENCE, |notice| &*notice.origin == origin);
        found.unwrap_or_else(|| {
            panic!("nothing was heard from \"{origin}\" in {PATIENCE:?}, but {:?}", self.notices())
        })
    }

    /// Waits for a notice; panics when it does not come.
    pub fn hears(&self, expected: &Notice) {
        let found = self.wait(PATIENCE, |notice| notice == expected);
        assert!(found.is_some(), "{expected:?} was not heard in {PATIENCE:?}");
    }

    /// Publishes, again and again, until something of the origin is heard; panics when nothing comes.
    pub fn hears_in_the_end(&self, broker: &dyn EventBroker, origin: &str) {
        let begin = Instant::now();
        loop {
            // What cannot be published now can be later.
            let _ = broker.publish(&[notice(origin)]);
            if self.wait(AGAIN, |notice| &*notice.origin == origin).is_some() {
                return;
            }
            assert!(begin.elapsed() < PATIENCE, "nothing was heard from \"{origin}\" in {PATIENCE:?}");
        }
    }

    fn wait(&self, limit: Duration, mut fits: impl FnMut(&Notice) -> bool) -> Option<Notice> {
        let end = Instant::now() + limit;
        let mut notices = self.notices.lock();
        loop {
            if let Some(found) = notices.iter().find(|notice| fits(notice)) {
                return Some(found.clone());
            }
            if self.more.wait_until(&mut notices, end).timed_out() {
                return None;
            }
        }
    }
}

/// A notice of somebody.
pub fn notice(origin: &str) -> Notice {
    notice_due(origin, noon_plus(0))
}

/// A notice of somebody about a moment.
pub fn notice_due(origin: &str, due: DateTime<Utc>) -> Notice {
    Notice { origin: origin.into(), store: "default".into(), due }
}
