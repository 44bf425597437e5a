//! What an async runtime has to offer, and work that is done off its event loop.

use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_channel::oneshot;
use sched_core::{Clock, Error, ErrorKind};

/// An async runtime, as a handle that is cheap to clone: somewhere to spawn, to sleep and to block.
///
/// # Guarantees
/// 1. `spawn` and `spawn_blocking` return at once. What they are given is dropped when the runtime has ended, and never
///    runs inside the call.
/// 2. Work of `spawn_blocking` may block for any time and delays no future.
/// 3. `sleep` never ends before its time.
pub trait AsyncRuntime: Clone + fmt::Debug + Send + Sync + 'static {
    /// Its name, for messages.
    const NAME: &'static str;

    /// The runtime that the calling code runs on.
    ///
    /// **Errors**: [`InvalidState`](ErrorKind::InvalidState) where there is none, or one that cannot sleep.
    fn current() -> Result<Self, Error>;

    /// Drives a future to its end beside the caller.
    fn spawn(&self, future: impl Future<Output = ()> + Send + 'static);

    /// Does work that may block.
    fn spawn_blocking(&self, work: impl FnOnce() + Send + 'static);

    /// Ends after so long.
    fn sleep(&self, pause: Duration) -> impl Future<Output = ()> + Send + 'static + use<Self>;

    /// Ends when the process is next asked to end, by ctrl-c or a request to terminate.
    ///
    /// **Errors**: [`Unavailable`](ErrorKind::Unavailable) when signals cannot be listened to.
    fn signal(&self) -> impl Future<Output = Result<(), Error>> + Send + 'static + use<Self>;

    /// The clock of schedulers that are given none, when it is not the computer's: a runtime whose time stands still
    /// in a test has a wall clock that does so too.
    fn clock() -> Option<Arc<dyn Clock>> {
        None
    }
}

/// Does work off the event loop and waits for its answer. A panic of the work is passed on to the caller. Work that has
/// begun is done to its end, even when nobody waits any more.
///
/// **Errors**: [`Closed`](ErrorKind::Closed) when the runtime has ended.
pub(crate) async fn off_loop<R: AsyncRuntime, T: Send + 'static>(
    runtime: &R,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Error> {
    let (sender, receiver) = oneshot::channel();
    runtime.spawn_blocking(move || {
        let done = std::panic::catch_unwind(AssertUnwindSafe(work));
        // Whoever waited may be gone.
        drop(sender.send(done));
    });
    match receiver.await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(panic)) => std::panic::resume_unwind(panic),
        Err(_) => Err(ended::<R>()),
    }
}

pub(crate) fn ended<R: AsyncRuntime>() -> Error {
    Error::new(ErrorKind::Closed, format!("the {} runtime has ended", R::NAME))
}
