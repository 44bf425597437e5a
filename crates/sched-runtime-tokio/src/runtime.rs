//! Tokio, as the scheduler sees it.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use sched_async::AsyncRuntime;
use sched_core::{Clock, Error, ErrorKind};
use tokio::runtime::Handle;

use crate::clock::TokioClock;

/// A tokio runtime, of one thread or of many.
///
/// Timers must be enabled (`enable_time`), which `#[tokio::main]` and `enable_all` do. Signals need `enable_io` too.
#[derive(Debug, Clone)]
pub struct Tokio(Handle);

impl From<Handle> for Tokio {
    fn from(handle: Handle) -> Self {
        Self(handle)
    }
}

impl AsyncRuntime for Tokio {
    const NAME: &'static str = "tokio";

    fn current() -> Result<Self, Error> {
        let handle = Handle::try_current().map_err(|error| {
            let message = "there is no tokio runtime here: call this inside of one (`#[tokio::main]`, \
                           `Runtime::block_on`), or give the executor a handle";
            Error::new(ErrorKind::InvalidState, message).with_source(error)
        })?;
        let runtime = Self(handle);
        // Tokio tells of this by a panic only, which would come later and end a store's loop.
        match std::panic::catch_unwind(AssertUnwindSafe(|| drop(runtime.sleep(Duration::ZERO)))) {
            Ok(()) => Ok(runtime),
            Err(_) => {
                let message = "the tokio runtime has no timers: build it with `enable_time` or `enable_all`";
                Err(Error::new(ErrorKind::InvalidState, message))
            }
        }
    }

    fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        drop(self.0.spawn(future));
    }

    fn spawn_blocking(&self, work: impl FnOnce() + Send + 'static) {
        drop(self.0.spawn_blocking(work));
    }

    fn sleep(&self, pause: Duration) -> impl Future<Output = ()> + Send + 'static + use<> {
        let _inside = self.0.enter();
        tokio::time::sleep(pause)
    }

    fn signal(&self) -> impl Future<Output = Result<(), Error>> + Send + 'static + use<> {
        let listening = {
            let _inside = self.0.enter();
            std::panic::catch_unwind(Signals::listen)
        };
        async move {
            let failed = "signals cannot be listened to: the tokio runtime needs `enable_io` or `enable_all`";
            match listening {
                Ok(Ok(mut signals)) => {
                    signals.next().await;
                    Ok(())
                }
                Ok(Err(error)) => Err(Error::new(ErrorKind::Unavailable, failed).with_source(error)),
                Err(_) => Err(Error::new(ErrorKind::Unavailable, failed)),
            }
        }
    }

    fn clock() -> Option<Arc<dyn Clock>> {
        TokioClock::is_paused().then(|| Arc::new(TokioClock::new()) as Arc<dyn Clock>)
    }
}

/// What asks a process to end.
#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn listen() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        std::future::poll_fn(|context| match self.interrupt.poll_recv(context) {
            std::task::Poll::Pending => self.terminate.poll_recv(context),
            ready => ready,
        })
        .await;
    }
}

/// What asks a process to end.
#[cfg(windows)]
struct Signals(tokio::signal::windows::CtrlC);

#[cfg(windows)]
impl Signals {
    fn listen() -> std::io::Result<Self> {
        tokio::signal::windows::ctrl_c().map(Self)
    }

    async fn next(&mut self) {
        self.0.recv().await;
    }
}
