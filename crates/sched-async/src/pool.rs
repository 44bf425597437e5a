//! The pool: which runs have a place on the runtime, which wait, and how each is started and stopped.
//!
//! An async run is a future of its own. Plain functions are served from one queue by blocking workers, which are called
//! one by one: whoever puts a run into the queue calls one, and a worker that leaves runs behind calls the next before
//! it begins. A burst of short runs is so done by few workers, and a run that blocks never keeps others waiting.
//!
//! One pool serves from one start of its executor to the next shutdown.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use atomic_waker::AtomicWaker;
use parking_lot::{Condvar, Mutex};
use sched_core::{
    CancelReason, CancelToken, Capacity, Execution, Refused, RunId, Shutdown, TaskBody, current_run,
};
use slab::Slab;

use crate::runtime::AsyncRuntime;

/// How much goes on at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// How many runs at once, and how many wait for a place; any number when `None`.
    pub(crate) places: Option<(usize, usize)>,
    /// How many plain functions at once.
    pub(crate) workers: usize,
}

/// The runs of one executor on one runtime.
#[derive(Debug)]
pub(crate) struct Pool<R> {
    runtime: R,
    limits: Limits,
    alias: Arc<str>,
    state: Mutex<State>,
    /// Shutdowns wait here for runs to end.
    rest: Condvar,
}

#[derive(Debug)]
struct State {
    open: bool,
    /// Runs that wait for a place.
    queue: VecDeque<Execution>,
    /// Plain functions that have a place and wait for a worker.
    ready: VecDeque<Execution>,
    /// What has a place and started.
    running: Slab<Arc<Started>>,
    /// Workers that are called and have not ended.
    workers: usize,
    /// Whether a worker was called that has not come yet; it calls the next one itself.
    called: bool,
    /// Runs that wait in a shutdown of this very pool, and how many of them hold a worker.
    halted: usize,
    halted_workers: usize,
}

/// A run that has a place.
#[derive(Debug)]
struct Started {
    run: Option<RunId>,
    token: CancelToken,
    /// Whether it is a future, which can be stopped at its next await.
    is_async: bool,
    stopped: AtomicBool,
    waker: AtomicWaker,
}

impl Started {
    fn of(run: &Execution, is_async: bool) -> Arc<Self> {
        let (id, token) = (run.run().map(|run| run.id), run.cancel_token());
        let (stopped, waker) = (AtomicBool::new(false), AtomicWaker::new());
        Arc::new(Self { run: id, token, is_async, stopped, waker })
    }

    fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.waker.wake();
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }
}

/// What follows from a change of the state, to be done without its lock.
#[derive(Default)]
struct Next {
    spawn: Vec<(usize, Execution, Arc<Started>)>,
    call_worker: bool,
}

impl<R: AsyncRuntime> Pool<R> {
    pub(crate) fn new(runtime: R, limits: Limits, alias: Arc<str>) -> Arc<Self> {
        let state = State {
            open: true,
            queue: VecDeque::new(),
            ready: VecDeque::new(),
            running: Slab::new(),
            workers: 0,
            called: false,
            halted: 0,
            halted_workers: 0,
        };
        Arc::new(Self { runtime, limits, alias, state: Mutex::new(state), rest: Condvar::new() })
    }

    pub(crate) fn is_open(&self) -> bool {
        self.state.lock().open
    }

    pub(crate) fn submit(self: &Arc<Self>, mut runs: Vec<Execution>) -> Result<(), Refused> {
        let mut state = self.state.lock();
        if !state.open {
            return Err(Refused::closed(runs, &self.alias));
        }
        let room = state.room(self.limits).unwrap_or(usize::MAX);
        let refused = if runs.len() > room { runs.split_off(room) } else { Vec::new() };
        state.queue.extend(runs);
        let next = state.admit(self.limits);
        drop(state);
        self.go_on(next);
        if refused.is_empty() {
            return Ok(());
        }
        Err(Refused::full(refused, &self.alias))
    }

    pub(crate) fn capacity(&self) -> Capacity {
        let state = self.state.lock();
        match state.room(self.limits) {
            _ if !state.open => Capacity::Free(0),
            None => Capacity::Unlimited,
            Some(room) => Capacity::Free(room),
        }
    }

    /// Drops a run that waits, or stops one that is a future; says whether it was either.
    pub(crate) fn cancel(self: &Arc<Self>, run: RunId) -> bool {
        let mut state = self.state.lock();
        if let Some(waiting) = state.take_waiting(run) {
            let next = state.admit(self.limits);
            drop(state);
            waiting.give_up(CancelReason::Asked);
            self.go_on(next);
            return true;
        }
        let of_run = |started: &&Arc<Started>| started.is_async && started.run == Some(run);
        let found = state.running.iter().map(|(_, started)| started).find(of_run).cloned();
        drop(state);
        if let Some(started) = &found {
            started.token.cancel();
            started.stop();
        }
        found.is_some()
    }

    pub(crate) fn shutdown(self: &Arc<Self>, how: Shutdown) {
        self.state.lock().open = false;
        let is_over = match how {
            Shutdown::Wait => self.wait(None),
            Shutdown::WaitFor(limit) => self.wait(Some(limit)),
            Shutdown::Now => false,
        };
        if !is_over {
            self.abandon();
        }
    }

    /// Waits until every run is over, but for those that wait here themselves; says whether they are.
    fn wait(self: &Arc<Self>, limit: Option<Duration>) -> bool {
        let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
        let own = current_run().map(|context| context.run().id);
        let mut state = self.state.lock();
        let mut running = state.running.iter().map(|(_, started)| started);
        let inside = running.find(|started| own.is_some() && started.run == own);
        let inside = inside.map(|started| usize::from(!started.is_async));
        if let Some(workers) = inside {
            state.halted += 1;
            state.halted_workers += workers;
            self.rest.notify_all();
            // Its place and its worker are free for others.
            let next = state.admit(self.limits);
            drop(state);
            self.go_on(next);
            state = self.state.lock();
        }
        let goes_on = |state: &mut State| state.unfinished() > state.halted;
        let timed_out = match deadline {
            Some(deadline) => self.rest.wait_while_until(&mut state, goes_on, deadline).timed_out(),
            None => {
                self.rest.wait_while(&mut state, goes_on);
                false
            }
        };
        if let Some(workers) = inside {
            state.halted -= 1;
            state.halted_workers -= workers;
        }
        !timed_out
    }

    /// Asks runs to cancel, stops the async ones, and drops those that wait.
    fn abandon(&self) {
        let own = current_run().map(|context| context.run().id);
        let mut state = self.state.lock();
        let waiting: Vec<Execution> = state.take_all_waiting();
        let running: Vec<Arc<Started>> =
            state.running.iter().map(|(_, started)| Arc::clone(started)).collect();
        drop(state);
        for started in running {
            started.token.cancel_because(CancelReason::Shutdown);
            // A run that shuts its own executor down is not stopped in the middle of doing so.
            if own.is_none() || started.run != own {
                started.stop();
            }
        }
        waiting.into_iter().for_each(|run| run.give_up(CancelReason::Shutdown));
    }

    fn go_on(self: &Arc<Self>, next: Next) {
        for (number, execution, started) in next.spawn {
            let place = Place { pool: Arc::clone(self), number };
            self.runtime.spawn(run_until(execution, started, place));
        }
        if next.call_worker {
            let worker = Worker { pool: Arc::clone(self), came: false };
            self.runtime.spawn_blocking(move || worker.serve());
        }
    }

    /// The run of that number is over: its place is another's.
    fn release(self: &Arc<Self>, number: usize) {
        let mut state = self.state.lock();
        let over = state.running.remove(number);
        let next = state.admit(self.limits);
        if !state.open {
            self.rest.notify_all();
        }
        drop(state);
        // It may be the last to hold the scheduler, and with it this pool's executor.
        drop(over);
        self.go_on(next);
    }
}

impl State {
    fn unfinished(&self) -> usize {
        self.queue.len() + self.ready.len() + self.running.len()
    }

    /// How many more runs are taken; any number when `None`.
    fn room(&self, limits: Limits) -> Option<usize> {
        let (places, queue) = limits.places?;
        Some(places.saturating_add(queue).saturating_sub(self.unfinished() - self.halted))
    }

    /// Gives free places to those that wait, in order.
    fn admit(&mut self, limits: Limits) -> Next {
        let mut next = Next::default();
        let places = limits.places.map_or(usize::MAX, |(places, _)| places);
        while !self.queue.is_empty() && self.ready.len() + self.running.len() - self.halted < places {
            let Some(run) = self.queue.pop_front() else { break };
            if matches!(run.task().map(|task| task.body()), Some(TaskBody::Async(_))) {
                let started = Started::of(&run, true);
                next.spawn.push((self.running.insert(Arc::clone(&started)), run, started));
            } else {
                self.ready.push_back(run);
            }
        }
        next.call_worker = self.call_worker(limits);
        next
    }

    /// Whether another worker is to be called; it counts from here on.
    fn call_worker(&mut self, limits: Limits) -> bool {
        let calls =
            !self.called && !self.ready.is_empty() && self.workers - self.halted_workers < limits.workers;
        if calls {
            self.called = true;
            self.workers += 1;
        }
        calls
    }

    fn take_waiting(&mut self, run: RunId) -> Option<Execution> {
        let is_wanted = |waiting: &Execution| waiting.run().is_some_and(|waiting| waiting.id == run);
        if let Some(place) = self.ready.iter().position(is_wanted) {
            return self.ready.remove(place);
        }
        let place = self.queue.iter().position(is_wanted)?;
        self.queue.remove(place)
    }

    fn take_all_waiting(&mut self) -> Vec<Execution> {
        self.ready.drain(..).chain(self.queue.drain(..)).collect()
    }
}

/// A place that an async run has, until its future is dropped.
struct Place<R: AsyncRuntime> {
    pool: Arc<Pool<R>>,
    number: usize,
}

impl<R: AsyncRuntime> Drop for Place<R> {
    fn drop(&mut self) {
        self.pool.release(self.number);
    }
}

/// Runs an async task until it ends or is stopped. Its place is free when it was reported.
async fn run_until<R: AsyncRuntime>(run: Execution, started: Arc<Started>, place: Place<R>) {
    let mut run = pin!(Some(run.run_async()));
    poll_fn(|context| {
        started.waker.register(context.waker());
        let Some(run) = run.as_mut().as_pin_mut().filter(|_| !started.is_stopped()) else {
            return Poll::Ready(());
        };
        // The task's own panic is caught and reported; this is one of a listener.
        let polled = std::panic::catch_unwind(AssertUnwindSafe(|| run.poll(context)));
        polled.unwrap_or_else(|payload| {
            contain(|| drop(payload));
            Poll::Ready(())
        })
    })
    .await;
    contain(|| run.set(None));
    drop(place);
}

/// A worker, from when it is called. A call that comes to nothing, because the runtime has ended, answers the queue.
struct Worker<R: AsyncRuntime> {
    pool: Arc<Pool<R>>,
    came: bool,
}

impl<R: AsyncRuntime> Worker<R> {
    fn serve(mut self) {
        self.came = true;
        let pool = Arc::clone(&self.pool);
        let mut state = pool.state.lock();
        state.called = false;
        while let Some(run) = state.ready.pop_front() {
            let number = state.running.insert(Started::of(&run, false));
            let call_worker = state.call_worker(pool.limits);
            drop(state);
            pool.go_on(Next { spawn: Vec::new(), call_worker });
            contain(|| run.run_blocking());
            pool.release(number);
            state = pool.state.lock();
        }
        // In the same breath as the last look: whoever comes later calls another.
        state.workers -= 1;
    }
}

impl<R: AsyncRuntime> Drop for Worker<R> {
    fn drop(&mut self) {
        if self.came {
            return;
        }
        let mut state = self.pool.state.lock();
        state.called = false;
        state.workers -= 1;
        let stranded =
            if state.workers > state.halted_workers { Vec::new() } else { state.take_all_waiting() };
        self.pool.rest.notify_all();
        drop(state);
        stranded.into_iter().for_each(|run| contain(|| drop(run)));
    }
}

/// Does something that may call foreign code outside a task, such as a listener, and survives its panic.
fn contain(work: impl FnOnce()) {
    if let Err(payload) = std::panic::catch_unwind(AssertUnwindSafe(work)) {
        // The payload's own drop may panic as well; then it is leaked.
        let dropped = std::panic::catch_unwind(AssertUnwindSafe(|| drop(payload)));
        dropped.unwrap_or_else(std::mem::forget);
    }
}
