//! The pool of systems without Unix sockets: it does not start.

use std::sync::Arc;

use sched_core::{Capacity, Error, ErrorKind, Execution, Refused, RunId, Shutdown};

use crate::settings::Settings;

/// The kind of failure of a run whose process died.
pub const WORKER_DIED: &str = "worker_died";

/// Never made: nothing gets past [`Pool::start`].
#[derive(Debug)]
pub(crate) enum Pool {}

impl Pool {
    /// **Errors**: [`Unsupported`](ErrorKind::Unsupported), always.
    pub(crate) fn start(_: Arc<Settings>, alias: Arc<str>) -> Result<Arc<Self>, Error> {
        let message = format!("executor \"{alias}\": a process pool needs Unix sockets, use `threadpool`");
        Err(Error::new(ErrorKind::Unsupported, message))
    }

    pub(crate) fn is_open(&self) -> bool {
        match *self {}
    }

    pub(crate) fn submit(self: &Arc<Self>, _: Vec<Execution>) -> Result<(), Refused> {
        match **self {}
    }

    pub(crate) fn cancel(&self, _: RunId) -> bool {
        match *self {}
    }

    pub(crate) fn capacity(&self) -> Capacity {
        match *self {}
    }

    pub(crate) fn shutdown(self: &Arc<Self>, _: Shutdown) {
        match **self {}
    }
}
