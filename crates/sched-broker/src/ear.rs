//! The state of a relay's listening side, which its threads share.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use sched_core::Subscribers;

use crate::message::decode;

/// What a [`Wire`](crate::Wire) tells of what it hears, and by which it knows when to stop.
pub struct Ear {
    subscribers: Arc<Subscribers>,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    line: Line,
    end: End,
    when_closed: Option<Box<dyn FnOnce() + Send>>,
}

/// How the connection that listens fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    /// It is being made for the first time.
    Begun,
    Up(Instant),
    Down,
}

/// Whether the relay goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
enum End {
    No,
    /// What is on its way out is still sent, when there is a line.
    Near,
    Yes,
}

impl Ear {
    /// An ear of a line that is about to be made.
    pub(crate) fn new(subscribers: Arc<Subscribers>) -> Self {
        let state = State { line: Line::Begun, end: End::No, when_closed: None };
        Self { subscribers, state: Mutex::new(state), changed: Condvar::new() }
    }

    /// The line is up: what is published from now on is heard.
    pub fn connected(&self) {
        self.state.lock().line = Line::Up(Instant::now());
        self.changed.notify_all();
    }

    /// Calls the subscribers for each notice of a message, unless the ear is closed. What is no message of this project is
    /// ignored; the log says so.
    pub fn hear(&self, message: &[u8]) {
        if self.is_closed() {
            return;
        }
        match decode(message) {
            Ok(notices) => self.subscribers.tell(&notices),
            Err(error) => {
                tracing::warn!(%error, bytes = message.len(), "a message to the event broker was ignored");
            }
        }
    }

    /// Whether listening is to end.
    pub fn is_closed(&self) -> bool {
        self.state.lock().end == End::Yes
    }

    /// Calls `work` when the ear is closed, at once when it is; in place of what was to be called so far.
    pub fn when_closed(&self, work: impl FnOnce() + Send + 'static) {
        let mut state = self.state.lock();
        if state.end < End::Yes {
            state.when_closed = Some(Box::new(work));
            return;
        }
        drop(state);
        work();
    }

    /// Waits, or less long when listening is to end; says whether it is to go on.
    pub fn rest(&self, pause: Duration) -> bool {
        let end = Instant::now() + pause;
        let mut state = self.state.lock();
        while state.end < End::Yes && !self.changed.wait_until(&mut state, end).timed_out() {}
        state.end < End::Yes
    }

    /// The line is down; says for how long it was up.
    pub(crate) fn lost(&self) -> Duration {
        let line = std::mem::replace(&mut self.state.lock().line, Line::Down);
        self.changed.notify_all();
        match line {
            Line::Up(since) => since.elapsed(),
            Line::Begun | Line::Down => Duration::ZERO,
        }
    }

    /// Waits until the line is up or was found to be down, at most so long.
    pub(crate) fn wait_for_answer(&self, limit: Duration) {
        let end = Instant::now() + limit;
        let mut state = self.state.lock();
        while state.line == Line::Begun && state.end == End::No {
            if self.changed.wait_until(&mut state, end).timed_out() {
                return;
            }
        }
    }

    /// Waits until something can be sent; says whether it can, or the end has come.
    pub(crate) fn wait_for_line(&self) -> bool {
        let mut state = self.state.lock();
        loop {
            match (state.line, state.end) {
                (Line::Up(_), _) => return true,
                (Line::Down, End::Near) | (_, End::Yes) => return false,
                _ => self.changed.wait(&mut state),
            }
        }
    }

    /// Waits before something is sent again, or less long when the end is near; says whether it is not.
    pub(crate) fn rest_sending(&self, pause: Duration) -> bool {
        let end = Instant::now() + pause;
        let mut state = self.state.lock();
        while state.end == End::No && !self.changed.wait_until(&mut state, end).timed_out() {}
        state.end == End::No
    }

    /// Nothing more will come that is to be sent.
    pub(crate) fn end_soon(&self) {
        self.state.lock().end = End::Near;
        self.changed.notify_all();
    }

    /// Makes listening end.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock();
        state.end = End::Yes;
        let work = state.when_closed.take();
        drop(state);
        self.changed.notify_all();
        if let Some(work) = work {
            work();
        }
    }
}

impl fmt::Debug for Ear {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock();
        f.debug_struct("Ear").field("line", &state.line).field("end", &state.end).finish_non_exhaustive()
    }
}
