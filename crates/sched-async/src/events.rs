//! Events as a stream.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use futures_core::Stream;
use parking_lot::Mutex;
use sched_core::{Event, EventMask, ListenerId, Scheduler};

/// How many events a stream keeps when nothing else is said.
pub const DEFAULT_EVENT_CAPACITY: usize = 1_024;

/// The reader was too slow: this many of the oldest events were dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lagged {
    /// How many.
    pub missed: u64,
}

impl fmt::Display for Lagged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the reader was too slow and missed {} events", self.missed)
    }
}

impl std::error::Error for Lagged {}

/// The events of a scheduler from the moment it was made, in order. Dropping it ends the subscription.
///
/// It ends after the scheduler was shut down; a run that this did not wait for may end later, untold. It keeps a bounded number of events: when it is full the oldest is
/// dropped, and the next item says how many were. The scheduler never waits for a reader.
pub struct Events {
    ring: Arc<Mutex<Ring>>,
    scheduler: Scheduler,
    listener: ListenerId,
}

struct Ring {
    kept: VecDeque<Event>,
    capacity: usize,
    missed: u64,
    ended: bool,
    reader: Option<Waker>,
}

impl Ring {
    fn push(&mut self, event: Event) {
        if self.kept.len() == self.capacity {
            self.kept.pop_front();
            self.missed += 1;
        }
        self.kept.push_back(event);
    }

    fn next(&mut self) -> Option<Result<Event, Lagged>> {
        match std::mem::take(&mut self.missed) {
            0 => self.kept.pop_front().map(Ok),
            missed => Some(Err(Lagged { missed })),
        }
    }
}

impl Events {
    pub(crate) fn of(scheduler: &Scheduler, mask: EventMask, capacity: usize) -> Self {
        let capacity = capacity.max(1);
        let ring = Ring { kept: VecDeque::new(), capacity, missed: 0, ended: false, reader: None };
        let ring = Arc::new(Mutex::new(ring));
        let filled = Arc::clone(&ring);
        let fill = move |event: &Event| {
            let mut ring = filled.lock();
            if mask.contains(event.mask()) {
                ring.push(event.clone());
            }
            ring.ended |= matches!(event, Event::SchedulerShutdown);
            let reader = ring.reader.take();
            drop(ring);
            if let Some(reader) = reader {
                reader.wake();
            }
        };
        let listener = scheduler.add_listener(fill, mask | EventMask::SCHEDULER_SHUTDOWN);
        Self { ring, scheduler: scheduler.clone(), listener }
    }

    /// The next event; `None` once the scheduler was shut down and everything was read.
    pub async fn next(&mut self) -> Option<Result<Event, Lagged>> {
        poll_fn(|context| self.poll(context)).await
    }

    fn poll(&self, context: &Context<'_>) -> Poll<Option<Result<Event, Lagged>>> {
        let mut ring = self.ring.lock();
        match ring.next() {
            None if !ring.ended => {
                ring.reader = Some(context.waker().clone());
                Poll::Pending
            }
            item => Poll::Ready(item),
        }
    }
}

impl Stream for Events {
    type Item = Result<Event, Lagged>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll(context)
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.scheduler.remove_listener(self.listener);
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").field("scheduler", &self.scheduler).finish_non_exhaustive()
    }
}
