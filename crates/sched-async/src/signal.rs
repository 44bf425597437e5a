//! Signals, for runtimes that have none of their own.

use std::future::{Future, poll_fn};
use std::pin::Pin;

use async_signal::{Signal, Signals};
use futures_core::Stream;
use sched_core::{Error, ErrorKind};

#[cfg(unix)]
const ENDING: &[Signal] = &[Signal::Int, Signal::Term];
#[cfg(not(unix))]
const ENDING: &[Signal] = &[Signal::Int];

/// Ends when the process is next asked to end, by ctrl-c or a request to terminate. It is listened for from the call
/// on, not only once the future is polled.
///
/// **Errors**: [`Unavailable`](ErrorKind::Unavailable) when signals cannot be listened to.
pub fn next_signal() -> impl Future<Output = Result<(), Error>> + Send + 'static {
    let listening = Signals::new(ENDING);
    async move {
        let failed =
            |error| Error::new(ErrorKind::Unavailable, "signals cannot be listened to").with_source(error);
        let mut signals = listening.map_err(failed)?;
        match poll_fn(|context| Pin::new(&mut signals).poll_next(context)).await {
            Some(Err(error)) => Err(failed(error)),
            Some(Ok(_)) | None => Ok(()),
        }
    }
}
