//! The pool: a queue, and threads that are started when they are needed and end when the pool is closed.
//!
//! One pool serves from one start of its executor to the next shutdown; threads that outlive a shutdown keep the old
//! pool, so that a new start has nothing to do with them.
//!
//! Hands are added one by one: whoever puts a run into the queue calls one worker, and a worker that leaves runs behind
//! in the queue calls the next before it begins. When every processor has a worker, the next one first waits a moment for the
//! queue to move on by itself. A burst of short runs is so done by few threads, and a run that blocks never keeps others
//! waiting while the pool may grow, but for that moment.

use std::cell::Cell;
use std::collections::VecDeque;
use std::num::NonZero;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};
use sched_core::{CancelReason, CancelToken, Capacity, Execution, Refused, RunId, Shutdown};

use crate::contain;

/// How long runs must not have moved on before more workers than processors serve them.
const PATIENCE: Duration = Duration::from_micros(100);

/// How large a pool may become.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) max_workers: usize,
    /// How many runs may wait when all workers are busy; any number when `None`.
    pub(crate) queue_size: Option<usize>,
}

/// Threads that serve one queue.
#[derive(Debug)]
pub(crate) struct Pool {
    limits: Limits,
    alias: Arc<str>,
    /// Threads are named after it, with their number.
    thread_name: String,
    state: Mutex<State>,
    /// How many runs the machine does at the same moment.
    processors: usize,
    /// Workers wait here for runs.
    work: Condvar,
    /// The one that was called waits here while runs move on.
    patience: Condvar,
    /// Shutdowns wait here for workers to end.
    rest: Condvar,
}

#[derive(Debug)]
struct State {
    open: bool,
    queue: VecDeque<Execution>,
    /// One place for each worker there ever was: what it runs.
    running: Vec<Option<CancelToken>>,
    /// How many of them run something.
    busy: usize,
    /// How many runs have left the queue.
    taken: u64,
    /// Workers that have not ended.
    alive: usize,
    /// Workers that wait for work.
    idle: usize,
    /// Workers whose run waits in a shutdown of this very pool.
    halted: usize,
    /// Whether a worker was called that has not come yet; it calls the next one itself.
    called: bool,
}

/// What brings another worker to the queue.
enum Call {
    Nobody,
    Idle,
    New(usize),
}

thread_local! {
    /// The address of the pool whose worker this thread is.
    static HOME: Cell<usize> = const { Cell::new(0) };
}

impl Pool {
    pub(crate) fn new(limits: Limits, alias: Arc<str>, thread_name: &str) -> Arc<Self> {
        let state = State {
            open: true,
            queue: VecDeque::new(),
            running: Vec::new(),
            busy: 0,
            taken: 0,
            alive: 0,
            idle: 0,
            halted: 0,
            called: false,
        };
        // A thread's name cannot hold NUL.
        let thread_name = thread_name.replace('\0', "");
        let processors = thread::available_parallelism().map_or(1, NonZero::get);
        Arc::new(Self {
            limits,
            alias,
            thread_name,
            state: Mutex::new(state),
            processors,
            work: Condvar::new(),
            patience: Condvar::new(),
            rest: Condvar::new(),
        })
    }

    pub(crate) fn is_open(&self) -> bool {
        self.state.lock().open
    }

    pub(crate) fn submit(self: &Arc<Self>, mut runs: Vec<Execution>) -> Result<(), Refused> {
        let mut state = self.state.lock();
        if !state.open {
            return Err(Refused::closed(runs, &self.alias));
        }
        let room = self.room(&state).unwrap_or(usize::MAX);
        let mut refused = if runs.len() > room { runs.split_off(room) } else { Vec::new() };
        state.queue.extend(runs);
        let stranded = self.call_worker(state);
        refused.splice(0..0, stranded);
        if refused.is_empty() {
            return Ok(());
        }
        Err(Refused::full(refused, &self.alias))
    }

    pub(crate) fn capacity(&self) -> Capacity {
        let state = self.state.lock();
        match self.room(&state) {
            _ if !state.open => Capacity::Free(0),
            None => Capacity::Unlimited,
            Some(room) => Capacity::Free(room),
        }
    }

    /// Drops a run that waits; says whether it did.
    pub(crate) fn cancel(&self, run: RunId) -> bool {
        let mut state = self.state.lock();
        let is_wanted = |waiting: &Execution| waiting.run().is_some_and(|waiting| waiting.id == run);
        let place = state.queue.iter().position(is_wanted);
        let taken = place.and_then(|place| state.queue.remove(place));
        drop(state);
        taken.map(|run| run.give_up(CancelReason::Asked)).is_some()
    }

    pub(crate) fn shutdown(self: &Arc<Self>, how: Shutdown) {
        let mut state = self.state.lock();
        state.open = false;
        self.work.notify_all();
        self.patience.notify_all();
        drop(state);
        let is_over = match how {
            Shutdown::Wait => self.wait(None),
            Shutdown::WaitFor(limit) => self.wait(Some(limit)),
            Shutdown::Now => false,
        };
        if !is_over {
            self.abandon();
        }
    }

    /// Waits until every worker has ended, but for those that wait here themselves; says whether they have.
    fn wait(self: &Arc<Self>, limit: Option<Duration>) -> bool {
        let is_inside = HOME.get() == Arc::as_ptr(self).addr();
        if is_inside {
            let mut state = self.state.lock();
            state.halted += 1;
            self.rest.notify_all();
            // This worker serves the queue no more, so another may take its place.
            give_up(self.call_worker(state));
        }
        let mut state = self.state.lock();
        let goes_on = |state: &mut State| state.alive > state.halted || !state.queue.is_empty();
        let timed_out = match limit {
            Some(limit) => self.rest.wait_while_for(&mut state, goes_on, limit).timed_out(),
            None => {
                self.rest.wait_while(&mut state, goes_on);
                false
            }
        };
        state.halted -= usize::from(is_inside);
        !timed_out
    }

    /// Asks runs to cancel, and drops those that wait.
    fn abandon(&self) {
        let mut state = self.state.lock();
        let waiting = std::mem::take(&mut state.queue);
        let running: Vec<CancelToken> = state.running.iter().flatten().cloned().collect();
        drop(state);
        running.iter().for_each(|token| token.cancel_because(CancelReason::Shutdown));
        give_up(waiting);
    }

    /// How many more runs are taken; any number when `None`.
    fn room(&self, state: &State) -> Option<usize> {
        let most = self.limits.queue_size?.saturating_add(self.limits.max_workers);
        Some(most.saturating_sub(state.queue.len() + state.busy))
    }

    /// Brings one more worker to the queue, if there is anything for it to do. When not even one thread can be had,
    /// the queue is answered.
    fn call_worker(self: &Arc<Self>, mut state: MutexGuard<'_, State>) -> Vec<Execution> {
        let call = state.call(self.limits.max_workers);
        drop(state);
        let number = match call {
            Call::Nobody => return Vec::new(),
            Call::Idle => {
                self.work.notify_one();
                return Vec::new();
            }
            Call::New(number) => number,
        };
        let pool = Arc::clone(self);
        let thread = thread::Builder::new().name(format!("{}-{number}", self.thread_name));
        let Err(error) = thread.spawn(move || pool.serve(number)) else { return Vec::new() };
        tracing::warn!(executor = &*self.alias, %error, "a thread could not be started");
        let mut state = self.state.lock();
        state.called = false;
        state.alive -= 1;
        self.rest.notify_all();
        if state.alive > state.halted { Vec::new() } else { std::mem::take(&mut state.queue).into() }
    }

    /// The life of a worker.
    fn serve(self: Arc<Self>, number: usize) {
        HOME.set(Arc::as_ptr(&self).addr());
        let mut state = self.state.lock();
        self.hold_back(&mut state);
        state.called = false;
        loop {
            // A token may be the last to hold the scheduler, and with it this pool's executor: it is not dropped under the
            // lock.
            let over = state.running[number].take();
            if let Some(run) = state.queue.pop_front() {
                state.running[number] = Some(run.cancel_token());
                state.busy += 1;
                state.taken = state.taken.wrapping_add(1);
                let stranded = self.call_worker(state);
                debug_assert!(stranded.is_empty(), "this worker is alive");
                drop(over);
                contain(|| run.run_blocking());
                state = self.state.lock();
                state.busy -= 1;
            } else if over.is_some() {
                drop(state);
                drop(over);
                state = self.state.lock();
            } else if state.open {
                state.idle += 1;
                self.work.wait(&mut state);
                state.idle -= 1;
                self.hold_back(&mut state);
                state.called = false;
            } else {
                break;
            }
        }
        state.alive -= 1;
        self.rest.notify_all();
    }

    /// A worker that was called while every processor has one waits a moment: short runs are over sooner when no more
    /// threads contend for them, and it sees by then that they move on. It is still the one that was called.
    fn hold_back(&self, state: &mut MutexGuard<'_, State>) {
        while state.open && state.busy >= self.processors && !state.queue.is_empty() {
            let taken = state.taken;
            self.patience.wait_for(state, PATIENCE);
            if state.taken == taken {
                break;
            }
        }
    }
}

impl State {
    fn call(&mut self, max_workers: usize) -> Call {
        if self.called || self.queue.is_empty() {
            return Call::Nobody;
        }
        if self.idle > 0 {
            self.called = true;
            return Call::Idle;
        }
        if self.alive - self.halted >= max_workers {
            return Call::Nobody;
        }
        self.called = true;
        self.alive += 1;
        self.running.push(None);
        Call::New(self.running.len() - 1)
    }
}

/// Drops runs that have not started, because the pool is shut down.
fn give_up(runs: impl IntoIterator<Item = Execution>) {
    runs.into_iter().for_each(|run| run.give_up(CancelReason::Shutdown));
}
