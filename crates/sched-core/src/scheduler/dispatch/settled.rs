//! Waiting for runs to end, as a thread or as a task.

use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

use parking_lot::{Condvar, Mutex};

use super::Dispatcher;
use crate::id::RunId;

/// Tells whoever waits that a run ended.
#[derive(Default)]
pub(super) struct Settled {
    threads: Condvar,
    tasks: Mutex<Vec<Waker>>,
    /// Whether a task waits; most of the time none does.
    any_task: AtomicBool,
}

impl Settled {
    pub(super) fn notify_all(&self) {
        self.threads.notify_all();
        if self.any_task.load(Ordering::SeqCst) {
            self.any_task.store(false, Ordering::SeqCst);
            let wakers = std::mem::take(&mut *self.tasks.lock());
            wakers.into_iter().for_each(Waker::wake);
        }
    }
}

impl Deref for Settled {
    type Target = Condvar;
    fn deref(&self) -> &Condvar {
        &self.threads
    }
}

impl Dispatcher {
    /// Ready once nothing is unfinished, except the run of that id.
    pub(crate) fn poll_drained(&self, except: Option<RunId>, context: &Context<'_>) -> Poll<()> {
        let mut tasks = self.settled.tasks.lock();
        if !tasks.iter().any(|waker| waker.will_wake(context.waker())) {
            tasks.push(context.waker().clone());
        }
        drop(tasks);
        // Before the table is looked at: a run that ends afterwards sees it.
        self.settled.any_task.store(true, Ordering::SeqCst);
        let table = self.table.lock();
        let is_drained = table.waiting == 0 && table.active.keys().all(|id| Some(*id) == except);
        if is_drained { Poll::Ready(()) } else { Poll::Pending }
    }
}
