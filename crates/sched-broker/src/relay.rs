//! The threads of a broker on a server: one that listens and one that sends, for as long as somebody is subscribed.

use std::fmt;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use parking_lot::Mutex;
use sched_core::{
    DEFAULT_GATHERING, Error, ErrorKind, EventBroker, Notice, NoticeCallback, Outbox, Subscribers,
    SubscriptionId,
};

use crate::backoff::Backoff;
use crate::ear::Ear;
use crate::message::encode;
use crate::wire::Wire;

/// How long the first subscription waits for a server before it goes on without.
const ANSWER: Duration = Duration::from_secs(5);

/// How long the end waits until what is left is sent.
const REST: Duration = Duration::from_secs(5);

/// An event broker on a server, which it reaches by a [`Wire`].
///
/// It does nothing until it is used. From then on it has two threads and two connections, until the last subscription ends
/// or it is dropped.
///
/// A server that is not there is no error: the log says so, and it is tried again after pauses that double up to ten
/// seconds. What is published meanwhile is kept, one notice for each store and scheduler, and sent when it is back.
pub struct Relay<W: Wire> {
    wire: Arc<W>,
    subscribers: Arc<Subscribers>,
    running: Mutex<Option<Running>>,
}

/// How long the end waits until the listener is done.
const SILENCE: Duration = Duration::from_secs(1);

/// The two threads.
struct Running {
    ear: Arc<Ear>,
    outbox: Outbox,
    /// Closed when the listener is done.
    listener: mpsc::Receiver<()>,
}

impl<W: Wire> Relay<W> {
    /// A relay that has not begun.
    pub fn new(wire: W) -> Self {
        Self { wire: Arc::new(wire), subscribers: Arc::default(), running: Mutex::default() }
    }

    fn start(&self) -> Result<Running, Error> {
        let ear = Arc::new(Ear::new(Arc::clone(&self.subscribers)));
        let (wire, heard) = (Arc::clone(&self.wire), Arc::clone(&ear));
        let listener = std::thread::Builder::new().name(format!("{}-in", W::NAME));
        let no_thread =
            |error| Error::new(ErrorKind::Unavailable, "a thread could not be started").with_source(error);
        let (done, is_done) = mpsc::channel::<()>();
        // Nobody waits long for it, as it may be waiting for a network.
        let work = move || {
            listen(&*wire, &heard);
            drop((wire, heard, done));
        };
        listener.spawn(work).map_err(no_thread)?;
        match self.start_sending(&ear) {
            Ok(outbox) => Ok(Running { ear, outbox, listener: is_done }),
            Err(error) => {
                ear.close();
                Err(error)
            }
        }
    }

    fn start_sending(&self, ear: &Arc<Ear>) -> Result<Outbox, Error> {
        let (wire, ear) = (Arc::clone(&self.wire), Arc::clone(ear));
        let (mut line, mut backoff) = (None, Backoff::default());
        Outbox::new(&format!("{}-out", W::NAME), DEFAULT_GATHERING, move |notices| {
            // What comes meanwhile is gathered.
            while ear.wait_for_line() {
                let Err(error) = send(&*wire, &mut line, notices) else {
                    backoff = Backoff::default();
                    break;
                };
                let pause = backoff.pause();
                tracing::warn!(server = %wire, %error, ?pause, "the event broker sent nothing; trying again");
                if !ear.rest_sending(pause) {
                    return Err(error.in_context(&wire));
                }
            }
            Ok(())
        })
    }
}

impl Running {
    /// Sends what is left, when there is a line, and ends the threads. A program may end right after this, and a thread that
    /// uses a library for TLS meanwhile would be killed for it.
    fn stop(self, name: &str) {
        let Self { ear, outbox, listener } = self;
        ear.end_soon();
        let (sender, sent) = mpsc::channel::<()>();
        let send_rest = move || {
            drop(outbox);
            drop(sender);
        };
        // A client that waits for a network for ever holds its own thread up, and nobody else.
        if std::thread::Builder::new().name(format!("{name}-end")).spawn(send_rest).is_ok() {
            let _ = sent.recv_timeout(REST);
        }
        ear.close();
        let _ = listener.recv_timeout(SILENCE);
    }
}

impl<W: Wire> EventBroker for Relay<W> {
    fn publish(&self, notices: &[Notice]) -> Result<(), Error> {
        if notices.is_empty() {
            return Ok(());
        }
        let mut running = self.running.lock();
        match &*running {
            Some(running) => running.outbox.put(notices),
            None => running.insert(self.start()?).outbox.put(notices),
        }
        Ok(())
    }

    fn subscribe(&self, callback: NoticeCallback) -> Result<SubscriptionId, Error> {
        let mut running = self.running.lock();
        let ear = match &*running {
            Some(running) => Arc::clone(&running.ear),
            None => Arc::clone(&running.insert(self.start()?).ear),
        };
        // Before the lock is left, so that whoever ends the last subscription meanwhile sees this one.
        let subscription = self.subscribers.add(callback);
        drop(running);
        ear.wait_for_answer(ANSWER);
        Ok(subscription)
    }

    fn unsubscribe(&self, subscription: SubscriptionId) {
        let mut running = self.running.lock();
        let ended = match self.subscribers.remove(subscription) {
            0 => running.take(),
            _ => None,
        };
        drop(running);
        ended.into_iter().for_each(|running| running.stop(W::NAME));
    }
}

impl<W: Wire> Drop for Relay<W> {
    fn drop(&mut self) {
        self.running.get_mut().take().into_iter().for_each(|running| running.stop(W::NAME));
    }
}

impl<W: Wire> fmt::Debug for Relay<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relay")
            .field("wire", &self.wire)
            .field("subscribers", &self.subscribers.len())
            .finish()
    }
}

/// Listens until the ear is closed.
fn listen(wire: &impl Wire, ear: &Ear) {
    let mut backoff = Backoff::default();
    loop {
        let ended = wire.listen(ear);
        let was_up = ear.lost();
        if ear.is_closed() {
            return;
        }
        backoff.was_up_for(was_up);
        let pause = backoff.pause();
        match ended {
            Ok(()) => {
                tracing::warn!(server = %wire, ?pause, "the event broker ended the connection; trying again")
            }
            Err(error) => {
                tracing::warn!(server = %wire, %error, ?pause, "the event broker is not there; trying again");
            }
        }
        if !ear.rest(pause) {
            return;
        }
    }
}

/// Sends notices. A line that was lost since it was last used is made anew, once.
fn send<W: Wire>(wire: &W, line: &mut Option<W::Line>, notices: &[Notice]) -> Result<(), Error> {
    for message in encode(notices, W::LONGEST) {
        if let Some(used) = line.as_mut() {
            if wire.send(used, &message).is_ok() {
                continue;
            }
            *line = None;
        }
        let mut fresh = wire.connect()?;
        wire.send(&mut fresh, &message)?;
        *line = Some(fresh);
    }
    Ok(())
}
