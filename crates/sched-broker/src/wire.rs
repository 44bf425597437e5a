//! What a broker of a certain server has to do by itself.

use std::fmt;

use sched_core::Error;

use crate::Ear;

/// How a [`Relay`](crate::Relay) reaches its server: everything that differs between brokers.
///
/// Its text (`Display`) says where the server is, for logs, without credentials. All of it is called from threads of the
/// relay's own, outside of every runtime, and may block; a network that is silent has to be an error in seconds.
pub trait Wire: fmt::Display + fmt::Debug + Send + Sync + 'static {
    /// What the names of the relay's threads begin with; at most 11 bytes, so that Linux shows all of `{NAME}-out`.
    const NAME: &'static str;

    /// The longest message that the server takes, in bytes.
    const LONGEST: usize;

    /// A connection that sends. It is used by one thread.
    type Line: Send + 'static;

    /// Makes a connection that sends.
    fn connect(&self) -> Result<Self::Line, Error>;

    /// Sends a message to everybody who listens. After an error the line is given up.
    fn send(&self, line: &mut Self::Line, message: &str) -> Result<(), Error>;

    /// Connects, says so by [`Ear::connected`] as soon as nothing that is sent from then on would be missed, and passes
    /// messages on by [`Ear::hear`] until the ear [is closed](Ear::is_closed), at which it looks at least a few times a
    /// second, or is told by [`Ear::when_closed`].
    ///
    /// **Errors**: whatever ended it early; it is called again after a pause.
    fn listen(&self, ear: &Ear) -> Result<(), Error>;
}
