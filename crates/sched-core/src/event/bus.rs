//! One queue for all events of a scheduler, emptied by whoever publishes: a total order without a thread.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::{Event, EventMask};
use crate::error::panic_message;

/// Names a registered listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ListenerId(u64);

type Callback = Arc<dyn Fn(&Event) + Send + Sync>;

#[derive(Clone)]
struct Listener {
    id: ListenerId,
    mask: EventMask,
    callback: Callback,
}

/// The scheduler's events on their way to listeners.
#[derive(Default)]
pub(crate) struct EventBus {
    wanted: AtomicU64,
    listeners: Mutex<Arc<Vec<Listener>>>,
    queue: Mutex<Queue>,
    ids: AtomicU64,
}

#[derive(Default)]
struct Queue {
    events: VecDeque<Event>,
    draining: bool,
}

impl EventBus {
    /// Whether any listener wants one of these; events nobody wants need not be made.
    pub(crate) fn wants(&self, mask: EventMask) -> bool {
        self.wanted.load(Ordering::Acquire) & mask.bits() != 0
    }

    pub(crate) fn add(
        &self,
        mask: EventMask,
        callback: impl Fn(&Event) + Send + Sync + 'static,
    ) -> ListenerId {
        let id = ListenerId(self.ids.fetch_add(1, Ordering::Relaxed) + 1);
        let mut listeners = self.listeners.lock();
        Arc::make_mut(&mut listeners).push(Listener { id, mask, callback: Arc::new(callback) });
        self.wanted.fetch_or(mask.bits(), Ordering::AcqRel);
        id
    }

    /// Whether it was registered.
    pub(crate) fn remove(&self, id: ListenerId) -> bool {
        let mut listeners = self.listeners.lock();
        let Some(place) = listeners.iter().position(|listener| listener.id == id) else { return false };
        let removed = Arc::make_mut(&mut listeners).remove(place);
        let wanted = listeners.iter().fold(0, |bits, listener| bits | listener.mask.bits());
        self.wanted.store(wanted, Ordering::Release);
        drop(listeners);
        // What it owns may remove another listener as it goes.
        drop(removed);
        true
    }

    pub(crate) fn publish(&self, event: Event) {
        self.publish_all([event]);
    }

    /// Puts events into the queue and, unless another thread is at it, empties the queue.
    pub(crate) fn publish_all(&self, events: impl IntoIterator<Item = Event>) {
        self.enqueue(events);
        self.flush();
    }

    /// Puts events into the queue without calling a listener, so that it may be done under a lock.
    pub(crate) fn enqueue(&self, events: impl IntoIterator<Item = Event>) {
        let wanted = events.into_iter().filter(|event| self.wants(event.mask()));
        self.queue.lock().events.extend(wanted);
    }

    /// Tells what is in the queue, unless another thread is at it.
    pub(crate) fn flush(&self) {
        let mut queue = self.queue.lock();
        if queue.draining {
            return;
        }
        while let Some(event) = queue.events.pop_front() {
            queue.draining = true;
            drop(queue);
            let failures = self.deliver(&event);
            queue = self.queue.lock();
            queue.events.extend(failures);
        }
        queue.draining = false;
    }

    fn deliver(&self, event: &Event) -> Vec<Event> {
        let listeners = Arc::clone(&self.listeners.lock());
        let mut failures = Vec::new();
        let failing = if let Event::ListenerFailed { listener, .. } = event { Some(*listener) } else { None };
        for listener in listeners.iter().filter(|listener| listener.mask.contains(event.mask())) {
            if failing == Some(listener.id) {
                continue;
            }
            let call = AssertUnwindSafe(|| (listener.callback)(event));
            if let Err(panic) = std::panic::catch_unwind(call) {
                let reason: Arc<str> = panic_message(&*panic).into();
                tracing::error!(listener = listener.id.0, %reason, "a listener panicked");
                if failing.is_none() {
                    failures.push(Event::ListenerFailed { listener: listener.id, reason });
                }
            }
        }
        failures
    }
}

/// Events as a stream for code that pulls; see [`Scheduler::subscribe`](crate::Scheduler::subscribe). Dropping it
/// ends the subscription.
pub struct EventStream {
    pub(crate) receiver: std::sync::mpsc::Receiver<Event>,
    pub(crate) close: Box<dyn Fn() + Send>,
}

impl EventStream {
    /// The next event, waiting at most `limit` for it.
    pub fn next_within(&self, limit: Duration) -> Option<Event> {
        self.receiver.recv_timeout(limit).ok()
    }

    /// The events that have happened and were not read yet.
    pub fn drain(&self) -> Vec<Event> {
        self.receiver.try_iter().collect()
    }
}

impl Drop for EventStream {
    fn drop(&mut self) {
        (self.close)();
    }
}

impl std::fmt::Debug for EventStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EventStream")
    }
}
