//! The pool: a queue, keepers that take runs from it, and how a pool ends.
//!
//! A keeper is a thread with one worker process. Keepers are added one by one, as in the thread pool: whoever puts runs
//! into the queue calls one keeper, and a keeper that leaves runs behind calls the next before it begins. One pool serves
//! from one start of its executor to the next shutdown.
//!
//! No lock is held while a run's sink is called.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};
use sched_core::{
    CancelReason, CancelToken, Capacity, Error, ErrorKind, Execution, Grace, Outcome, Refused, RunId,
    Shutdown, TaskError, TaskErrorKind,
};

use crate::bell::Bell;
use crate::keeper::{self, Shelf};
use crate::process::{FORGOTTEN, StartError};
use crate::settings::Settings;
use crate::worker;

/// So many processes that did not come up in a row, and the runs that wait fail.
const PATIENCE: u32 = 3;

/// The pause after a process that did not come up; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The longest pause.
const LAST_PAUSE: Duration = Duration::from_secs(5);

/// How often shelves are looked at while they are in use. A desk that lies there so long is cleared by another thread.
const TICK: Duration = Duration::from_millis(2);

/// After so many ticks without use shelves are not watched.
const QUIET_TICKS: u32 = 50;

/// The kind of failure of a run whose process died.
pub const WORKER_DIED: &str = "worker_died";

/// Keepers that serve one queue.
#[derive(Debug)]
pub(crate) struct Pool {
    pub(crate) settings: Arc<Settings>,
    pub(crate) alias: Arc<str>,
    state: Mutex<State>,
    /// Shutdowns wait here.
    rest: Condvar,
    watched: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    closed: bool,
    /// Nothing begins any more, and what runs is stopped by force.
    abandoned: bool,
    queue: VecDeque<Execution>,
    /// One place for each keeper there ever was.
    posts: Vec<Post>,
    /// Keepers without work, the last one to become so at the end.
    idle: Vec<usize>,
    /// Keepers that have not ended.
    alive: usize,
    /// Keepers whose thread waits in a shutdown of this very pool.
    halted: usize,
    /// Runs with keepers.
    taken: usize,
    /// Whether a keeper was called that has not come yet; it calls the next one itself.
    called: bool,
    /// Processes that serve.
    processes: usize,
    /// Processes that did not come up, since the last one that did.
    failures: u32,
    /// No process is started before.
    not_before: Option<Instant>,
}

/// What a keeper has, for others to see.
#[derive(Debug)]
struct Post {
    shelf: Arc<Shelf>,
    runs: VecDeque<(RunId, CancelToken)>,
    /// Runs that are to be stopped by force.
    stops: Vec<RunId>,
}

/// What brings another keeper to the queue.
enum Call {
    Nobody,
    Idle(Arc<Shelf>),
    New(Arc<Shelf>),
    Failed(io::Error),
}

/// What a keeper finds at the queue.
pub(crate) enum Found {
    Runs(Vec<Execution>),
    /// Nothing; it is called when there is something.
    Nothing,
    /// Nothing, and nothing will come.
    End,
}

thread_local! {
    /// The address of the pool whose keeper this thread is.
    static HOME: Cell<usize> = const { Cell::new(0) };
}

impl Pool {
    /// A pool without processes.
    ///
    /// **Errors**: [`InvalidState`](ErrorKind::InvalidState) where `init` was not called,
    /// [`Unsupported`](ErrorKind::Unsupported) for a limit that the system does not have.
    pub(crate) fn start(settings: Arc<Settings>, alias: Arc<str>) -> Result<Arc<Self>, Error> {
        let fault = |kind, text: &str| Err(Error::new(kind, format!("executor \"{alias}\": {text}")));
        if worker::confess() {
            return fault(
                ErrorKind::InvalidState,
                &format!("this is a worker process of another; {FORGOTTEN}"),
            );
        }
        let is_plain = settings.worker.is_none() && settings.worker_args.is_empty();
        if is_plain && !crate::is_initialised() {
            let text = format!("its processes would run the program itself; {FORGOTTEN}");
            return fault(ErrorKind::InvalidState, &text);
        }
        if settings.max_memory.is_some() && !cfg!(any(target_os = "linux", target_os = "android")) {
            return fault(ErrorKind::Unsupported, "`max_memory` works on Linux only");
        }
        let (state, rest, watched) = (Mutex::default(), Condvar::new(), AtomicBool::new(false));
        Ok(Arc::new(Self { settings, alias, state, rest, watched }))
    }

    pub(crate) fn is_open(&self) -> bool {
        !self.state.lock().closed
    }

    pub(crate) fn is_abandoned(&self) -> bool {
        self.state.lock().abandoned
    }

    pub(crate) fn submit(self: &Arc<Self>, mut runs: Vec<Execution>) -> Result<(), Refused> {
        let mut state = self.state.lock();
        if state.closed {
            return Err(Refused::closed(runs, &self.alias));
        }
        let room = self.room(&state).unwrap_or(usize::MAX);
        let mut refused = if runs.len() > room { runs.split_off(room) } else { Vec::new() };
        state.queue.extend(runs);
        let stranded = self.call_keeper(state);
        refused.splice(0..0, stranded);
        if refused.is_empty() {
            return Ok(());
        }
        Err(Refused::full(refused, &self.alias))
    }

    pub(crate) fn capacity(&self) -> Capacity {
        let state = self.state.lock();
        match self.room(&state) {
            _ if state.closed => Capacity::Free(0),
            None => Capacity::Unlimited,
            Some(room) => Capacity::Free(room),
        }
    }

    /// Drops a run that waits, or has the process of a run that goes on killed; says whether it is one of the two. It is
    /// not where processes are never killed.
    pub(crate) fn cancel(&self, run: RunId) -> bool {
        let mut state = self.state.lock();
        let is_wanted = |waiting: &Execution| waiting.run().is_some_and(|waiting| waiting.id == run);
        if let Some(place) = state.queue.iter().position(is_wanted) {
            let taken = state.queue.remove(place);
            drop(state);
            return taken.map(|run| run.give_up(CancelReason::Asked)).is_some();
        }
        let has = |post: &&mut Post| post.runs.iter().any(|(id, _)| *id == run);
        let Some(post) = state.posts.iter_mut().find(has) else { return false };
        post.stops.push(run);
        post.shelf.bell.ring();
        self.settings.kill_at().is_some()
    }

    pub(crate) fn shutdown(self: &Arc<Self>, how: Shutdown) {
        let mut state = self.state.lock();
        state.closed = true;
        state.posts.iter().for_each(|post| post.shelf.bell.ring());
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

    /// Waits until every keeper has ended, but for those that wait here themselves; says whether they have.
    fn wait(self: &Arc<Self>, limit: Option<Duration>) -> bool {
        let is_inside = HOME.get() == Arc::as_ptr(self).addr();
        if is_inside {
            let mut state = self.state.lock();
            state.halted += 1;
            self.rest.notify_all();
            // This keeper serves the queue no more, so another may take its place.
            give_up(self.call_keeper(state));
        }
        let mut state = self.state.lock();
        let goes_on = |state: &mut State| {
            state.alive > state.halted || state.taken > state.halted || !state.queue.is_empty()
        };
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

    /// Stops runs by force, and drops those that wait.
    fn abandon(&self) {
        let mut state = self.state.lock();
        state.abandoned = true;
        let waiting = std::mem::take(&mut state.queue);
        let tokens: Vec<CancelToken> =
            state.posts.iter().flat_map(|post| &post.runs).map(|(_, token)| token.clone()).collect();
        drop(state);
        // Before their keepers hear of it, who pass the reason on.
        tokens.iter().for_each(|token| token.cancel_because(CancelReason::Shutdown));
        for post in &mut self.state.lock().posts {
            post.stops.extend(post.runs.iter().map(|(id, _)| *id));
            post.shelf.bell.ring();
        }
        give_up(waiting);
    }

    /// How many more runs are taken; any number when `None`.
    fn room(&self, state: &State) -> Option<usize> {
        let most = self.settings.queue_size?.saturating_add(self.settings.max_workers);
        Some(most.saturating_sub(state.queue.len() + state.taken))
    }

    /// Brings one more keeper to the queue, if there is anything for it to do. When not even one can be had, the queue
    /// is answered.
    fn call_keeper(self: &Arc<Self>, mut state: MutexGuard<'_, State>) -> Vec<Execution> {
        let call = state.call(self.settings.max_workers);
        drop(state);
        let failed = match call {
            Call::Nobody => return Vec::new(),
            Call::Idle(shelf) => {
                shelf.bell.ring();
                return Vec::new();
            }
            Call::New(shelf) => match self.start_keeper(shelf) {
                Ok(()) => return Vec::new(),
                Err(error) => {
                    self.state.lock().alive -= 1;
                    error
                }
            },
            Call::Failed(error) => error,
        };
        tracing::warn!(executor = &*self.alias, error = %failed, "a worker could not be added");
        let mut state = self.state.lock();
        state.called = false;
        self.rest.notify_all();
        if state.alive > state.halted { Vec::new() } else { std::mem::take(&mut state.queue).into() }
    }

    /// Starts the thread of a keeper that was counted as alive.
    fn start_keeper(self: &Arc<Self>, shelf: Arc<Shelf>) -> io::Result<()> {
        let (pool, number) = (Arc::clone(self), shelf.number);
        self.thread(number, move || {
            contain(|| keeper::keep(&pool, shelf));
            pool.leave(number);
        })
    }

    fn thread(self: &Arc<Self>, number: usize, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let home = Arc::as_ptr(self).addr();
        // A thread's name cannot hold NUL.
        let thread = thread::Builder::new().name(format!("sched-{}-{number}", self.alias.replace('\0', "")));
        thread.spawn(move || {
            HOME.set(home);
            work();
        })?;
        Ok(())
    }

    /// The end of a keeper.
    fn leave(&self, number: usize) {
        let mut state = self.state.lock();
        state.alive -= 1;
        state.idle.retain(|idle| *idle != number);
        // There is something only when the keeper itself went wrong; its runs have reported themselves as dropped.
        let left = std::mem::take(&mut state.posts[number].runs);
        state.taken -= left.len();
        self.rest.notify_all();
    }

    /// Makes sure that shelves are watched as long as there is anything on them.
    pub(crate) fn watch(self: &Arc<Self>) {
        if self.watched.swap(true, Ordering::SeqCst) {
            return;
        }
        let pool = Arc::clone(self);
        let watcher = thread::Builder::new().name("sched-process-watch".to_owned());
        if let Err(error) = watcher.spawn(move || pool.keep_watch()) {
            tracing::warn!(executor = &*self.alias, %error, "a thread could not be started");
            self.watched.store(false, Ordering::SeqCst);
        }
    }

    /// Has the desk of a keeper that is held up by foreign code cleared by another thread.
    fn keep_watch(self: Arc<Self>) {
        let (mut seen, mut quiet) = (Vec::new(), 0);
        loop {
            thread::sleep(TICK);
            let shelves: Vec<_> =
                self.state.lock().posts.iter().map(|post| Arc::clone(&post.shelf)).collect();
            let now: Vec<Option<u64>> = shelves.iter().map(|shelf| shelf.occupied()).collect();
            quiet = if now.iter().all(Option::is_none) && now == seen { quiet + 1 } else { 0 };
            let held_up = now.iter().zip(&seen).map(|(now, before)| now.is_some() && now == before);
            shelves
                .iter()
                .zip(held_up)
                .filter(|(_, held_up)| *held_up)
                .for_each(|(shelf, _)| self.relieve(shelf));
            seen = now;
            if quiet > QUIET_TICKS {
                self.watched.store(false, Ordering::SeqCst);
                let is_needed = shelves.iter().any(|shelf| shelf.occupied().is_some());
                if !is_needed || self.watched.swap(true, Ordering::SeqCst) {
                    return;
                }
            }
        }
    }

    fn relieve(self: &Arc<Self>, shelf: &Arc<Shelf>) {
        self.state.lock().alive += 1;
        let (pool, shelf) = (Arc::clone(self), Arc::clone(shelf));
        let started = self.thread(shelf.number, move || {
            contain(|| keeper::clear(&pool, &shelf));
            pool.state.lock().alive -= 1;
            pool.rest.notify_all();
        });
        if started.is_err() {
            // It is tried again at the next tick.
            self.state.lock().alive -= 1;
            self.rest.notify_all();
        }
    }

    /// Takes runs for a keeper that has room for so many: its share of the queue. With `others` before them it takes only
    /// runs that no one has to judge again when they begin.
    pub(crate) fn take(self: &Arc<Self>, number: usize, room: usize, others: bool) -> Found {
        let mut state = self.state.lock();
        state.idle.retain(|idle| *idle != number);
        state.called = false;
        let share = state.queue.len().div_ceil(self.settings.max_workers).min(room);
        let mut runs = Vec::with_capacity(share);
        while runs.len() < share {
            let may_follow = |run: &Execution| {
                run.options().is_none_or(|options| options.misfire_grace_time == Grace::Unlimited)
            };
            let alone = runs.is_empty() && !others;
            match state.queue.pop_front() {
                Some(run) if alone || may_follow(&run) => runs.push(run),
                Some(run) => {
                    state.queue.push_front(run);
                    break;
                }
                None => break,
            }
        }
        state.taken += runs.len();
        let shown = runs.iter().filter_map(|run| Some((run.run()?.id, run.cancel_token())));
        state.posts[number].runs.extend(shown);
        if runs.is_empty() && !others {
            if state.closed && state.queue.is_empty() {
                return Found::End;
            }
            state.idle.push(number);
        }
        let stranded = self.call_keeper(state);
        debug_assert!(stranded.is_empty(), "this keeper is alive");
        if runs.is_empty() { Found::Nothing } else { Found::Runs(runs) }
    }

    /// Puts runs that have not begun back to where they were. A pool that was abandoned drops them.
    pub(crate) fn give_back(self: &Arc<Self>, number: usize, runs: Vec<Execution>) {
        let mut state = self.state.lock();
        for run in &runs {
            state.forget(number, run.run().map(|run| run.id));
        }
        let is_dropped = |run: &Execution| state.abandoned || run.cancel_token().is_cancelled();
        let (dropped, kept): (Vec<_>, Vec<_>) = runs.into_iter().partition(is_dropped);
        kept.into_iter().rev().for_each(|run| state.queue.push_front(run));
        let stranded = self.call_keeper(state);
        give_up(dropped.into_iter().chain(stranded));
        self.rest.notify_all();
    }

    /// A run of a keeper was reported.
    pub(crate) fn ended(&self, number: usize, run: RunId) {
        let mut state = self.state.lock();
        state.forget(number, Some(run));
        if state.closed {
            self.rest.notify_all();
        }
    }

    /// The runs of a keeper that are to be stopped by force.
    pub(crate) fn stops(&self, number: usize) -> Vec<RunId> {
        std::mem::take(&mut self.state.lock().posts[number].stops)
    }

    /// How long a keeper may start no process yet. Others are called to the queue meanwhile.
    pub(crate) fn pause(self: &Arc<Self>, number: usize) -> Option<Duration> {
        let mut state = self.state.lock();
        let pause = state.not_before?.saturating_duration_since(Instant::now());
        if pause.is_zero() || state.abandoned || (state.closed && state.queue.is_empty()) {
            return None;
        }
        state.idle.retain(|idle| *idle != number);
        state.called = false;
        give_up(self.call_keeper(state));
        Some(pause)
    }

    pub(crate) fn process_started(&self) {
        let mut state = self.state.lock();
        state.processes += 1;
        state.failures = 0;
        state.not_before = None;
    }

    pub(crate) fn process_ended(&self) {
        self.state.lock().processes -= 1;
    }

    /// A process did not come up. The runs it was to run wait for another one, or fail together with all that wait when
    /// none is to be expected.
    pub(crate) fn process_failed(self: &Arc<Self>, number: usize, runs: Vec<Execution>, error: &StartError) {
        tracing::error!(executor = &*self.alias, reason = error.reason, "a worker process did not come up");
        let mut state = self.state.lock();
        state.failures = state.failures.saturating_add(1);
        let doubled = FIRST_PAUSE.saturating_mul(1 << (state.failures - 1).min(10));
        state.not_before = Some(Instant::now() + doubled.min(LAST_PAUSE));
        let is_hopeless = state.processes == 0 && (error.is_final || state.failures >= PATIENCE);
        if !is_hopeless {
            drop(state);
            return self.give_back(number, runs);
        }
        let waiting = std::mem::take(&mut state.queue);
        drop(state);
        let failed = Outcome::Failed(died(&error.reason));
        for run in waiting {
            contain(|| run.finish(failed.clone()));
        }
        for run in runs {
            let id = run.run().map(|run| run.id);
            contain(|| run.finish(failed.clone()));
            id.into_iter().for_each(|id| self.ended(number, id));
        }
        self.rest.notify_all();
    }
}

impl State {
    fn call(&mut self, max_workers: usize) -> Call {
        if self.called || self.queue.is_empty() {
            return Call::Nobody;
        }
        if let Some(idle) = self.idle.pop() {
            self.called = true;
            return Call::Idle(Arc::clone(&self.posts[idle].shelf));
        }
        if self.alive - self.halted >= max_workers {
            return Call::Nobody;
        }
        let shelf = match Bell::new() {
            Ok(bell) => Arc::new(Shelf::new(self.posts.len(), bell)),
            Err(error) => return Call::Failed(error),
        };
        self.called = true;
        self.alive += 1;
        self.posts.push(Post { shelf: Arc::clone(&shelf), runs: VecDeque::new(), stops: Vec::new() });
        Call::New(shelf)
    }

    fn forget(&mut self, number: usize, run: Option<RunId>) {
        let runs = &mut self.posts[number].runs;
        if let Some(place) = runs.iter().position(|(id, _)| Some(*id) == run) {
            runs.remove(place);
            self.taken -= 1;
        }
    }
}

/// The failure of a run whose process died.
pub(crate) fn died(reason: &str) -> TaskError {
    TaskError::new(reason).with_kind(TaskErrorKind::Other(WORKER_DIED.to_owned()))
}

/// Drops runs that have not started, because the pool is shut down or for the reason that they were asked to stop for.
fn give_up(runs: impl IntoIterator<Item = Execution>) {
    runs.into_iter().for_each(|run| run.give_up(CancelReason::Shutdown));
}

/// Does something that may call foreign code, such as a listener, and survives its panic.
pub(crate) fn contain<T>(work: impl FnOnce() -> T) -> Option<T> {
    match std::panic::catch_unwind(AssertUnwindSafe(work)) {
        Ok(done) => Some(done),
        Err(payload) => {
            // The payload's own drop may panic as well; then it is leaked.
            let dropped = std::panic::catch_unwind(AssertUnwindSafe(|| drop(payload)));
            dropped.unwrap_or_else(std::mem::forget);
            None
        }
    }
}
