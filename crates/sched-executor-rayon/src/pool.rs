//! The pool: a queue, and the threads of a rayon pool that come to serve it.
//!
//! Rayon starts what is spawned in an order of its own, so nothing is spawned but the service of the queue. Hands are
//! added one by one: whoever puts a run into the queue calls one server, and a server that leaves runs behind calls the
//! next before it begins. A burst of short runs is so done by few threads.
//!
//! One pool serves from one start of its executor to the next shutdown; runs that outlive a shutdown keep the old pool.

use std::cell::Cell;
use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};
use sched_core::{CancelReason, CancelToken, Capacity, Execution, Refused, RunId, Shutdown, current_run};

/// The threads of a pool.
#[derive(Debug)]
pub(crate) enum Threads {
    /// Threads of its own. They end when this is dropped and the last run is over.
    Own(rayon::ThreadPool),
    /// Those of the whole program.
    Global,
}

impl Threads {
    fn count(&self) -> usize {
        match self {
            Self::Own(pool) => pool.current_num_threads(),
            Self::Global => rayon::current_num_threads(),
        }
    }

    fn spawn(&self, work: impl FnOnce() + Send + 'static) {
        match self {
            Self::Own(pool) => pool.spawn_fifo(work),
            Self::Global => rayon::spawn_fifo(work),
        }
    }
}

/// One queue, and who serves it.
#[derive(Debug)]
pub(crate) struct Pool {
    threads: Threads,
    width: usize,
    /// How many runs may wait when all threads are busy; any number when `None`.
    queue_size: Option<usize>,
    alias: Arc<str>,
    state: Mutex<State>,
    /// Shutdowns wait here for runs to end.
    rest: Condvar,
}

#[derive(Debug)]
struct State {
    open: bool,
    queue: VecDeque<Execution>,
    running: Vec<(Option<RunId>, CancelToken)>,
    /// Services that are spawned and have not ended.
    servers: usize,
    /// Whether a service was spawned that has not begun; it calls the next one itself.
    called: bool,
    /// Runs that wait in a shutdown of this very pool.
    halted: usize,
}

thread_local! {
    /// Whether this thread is inside a run of some pool.
    static BUSY: Cell<bool> = const { Cell::new(false) };
}

impl Pool {
    pub(crate) fn new(threads: Threads, queue_size: Option<usize>, alias: Arc<str>) -> Arc<Self> {
        let state = State {
            open: true,
            queue: VecDeque::new(),
            running: Vec::new(),
            servers: 0,
            called: false,
            halted: 0,
        };
        let width = threads.count();
        Arc::new(Self { threads, width, queue_size, alias, state: Mutex::new(state), rest: Condvar::new() })
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
        let refused = if runs.len() > room { runs.split_off(room) } else { Vec::new() };
        state.queue.extend(runs);
        let call = self.calls(&mut state);
        drop(state);
        self.call(call);
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
        self.state.lock().open = false;
        let is_over = match how {
            Shutdown::Wait => self.wait(None),
            Shutdown::WaitFor(limit) => self.wait(Instant::now().checked_add(limit)),
            Shutdown::Now => false,
        };
        if !is_over {
            self.abandon();
        }
    }

    /// Waits until every run is over, but for those that wait here themselves; says whether they are.
    fn wait(self: &Arc<Self>, deadline: Option<Instant>) -> bool {
        let own = current_run().map(|context| context.run().id);
        let mut state = self.state.lock();
        let is_inside = own.is_some() && state.running.iter().any(|(run, _)| *run == own);
        if is_inside {
            state.halted += 1;
            self.rest.notify_all();
            drop(state);
            // This thread serves the queue itself: there may be no other, and rayon starts none in its place.
            while deadline.is_none_or(|deadline| Instant::now() < deadline) && self.run_next() {}
            state = self.state.lock();
        }
        let goes_on = |state: &mut State| state.running.len() > state.halted || !state.queue.is_empty();
        let timed_out = match deadline {
            Some(deadline) => self.rest.wait_while_until(&mut state, goes_on, deadline).timed_out(),
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
        let running: Vec<CancelToken> = state.running.iter().map(|(_, token)| token.clone()).collect();
        drop(state);
        running.iter().for_each(|token| token.cancel_because(CancelReason::Shutdown));
        waiting.into_iter().for_each(|run| run.give_up(CancelReason::Shutdown));
    }

    /// How many more runs are taken; any number when `None`.
    fn room(&self, state: &State) -> Option<usize> {
        let most = self.queue_size?.saturating_add(self.width);
        Some(most.saturating_sub(state.queue.len() + state.running.len()))
    }

    /// Whether another service is to be spawned; it counts from here on.
    fn calls(&self, state: &mut State) -> bool {
        let calls = !state.called && !state.queue.is_empty() && state.servers < self.width;
        if calls {
            state.called = true;
            state.servers += 1;
        }
        calls
    }

    fn call(self: &Arc<Self>, calls: bool) {
        if calls {
            let pool = Arc::clone(self);
            self.threads.spawn(move || pool.serve());
        }
    }

    /// Runs what waits, until nothing does. Inside another run, which then waits for rayon, only one.
    fn serve(self: Arc<Self>) {
        self.state.lock().called = false;
        let is_nested = BUSY.get();
        while self.run_next() && !is_nested {
            if matches!(self.threads, Threads::Global) {
                // Others use these threads too: between two runs, a piece of their work.
                let _ = rayon::yield_now();
            }
        }
        let mut state = self.state.lock();
        state.servers -= 1;
        // What came after the last look, or is left to another by a nested service.
        let call = self.calls(&mut state);
        drop(state);
        self.call(call);
    }

    /// Runs the next run that waits; says whether there was one. The queue's next server is called before it begins.
    fn run_next(self: &Arc<Self>) -> bool {
        let mut state = self.state.lock();
        let Some(run) = state.queue.pop_front() else { return false };
        let id = run.run().map(|run| run.id);
        state.running.push((id, run.cancel_token()));
        let call = self.calls(&mut state);
        drop(state);
        self.call(call);
        let was_busy = BUSY.replace(true);
        contain(|| run.run_blocking());
        BUSY.set(was_busy);
        let mut state = self.state.lock();
        if let Some(place) = state.running.iter().position(|(running, _)| *running == id) {
            state.running.swap_remove(place);
        }
        if !state.open {
            self.rest.notify_all();
        }
        true
    }
}

/// Does something that may call foreign code outside a task, such as a listener, and survives its panic. A task's own
/// panic is caught and reported before it gets here; rayon would end the process.
fn contain(work: impl FnOnce()) {
    if let Err(payload) = std::panic::catch_unwind(AssertUnwindSafe(work)) {
        // The payload's own drop may panic as well; then it is leaked.
        let dropped = std::panic::catch_unwind(AssertUnwindSafe(|| drop(payload)));
        dropped.unwrap_or_else(std::mem::forget);
    }
}
