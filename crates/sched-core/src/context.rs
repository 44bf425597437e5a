//! What a running task can know of its run, and how it is asked to stop.

use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Waker};

use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use serde_json::{Map, Value};

use crate::executor::ExecutionData;
use crate::run::Run;
use crate::scheduler::Scheduler;

/// The run a task is part of. Cheap to clone; tasks get it as an optional argument or from [`current_run`].
#[derive(Clone)]
pub struct RunContext {
    shared: Arc<ExecutionData>,
    started_at: DateTime<Utc>,
}

impl RunContext {
    pub(crate) fn new(shared: Arc<ExecutionData>, started_at: DateTime<Utc>) -> Self {
        Self { shared, started_at }
    }

    pub(crate) fn tell_started(&self) {
        self.shared.tell_started();
    }

    /// The run: its ids, task, times and attempt.
    pub fn run(&self) -> &Run {
        &self.shared.run
    }

    /// When it started.
    pub fn started_at(&self) -> DateTime<Utc> {
        self.started_at
    }

    /// When its timeout ends, if it has one.
    pub fn deadline(&self) -> Option<DateTime<Utc>> {
        let timeout = chrono::TimeDelta::from_std(self.shared.options().timeout?).ok()?;
        self.started_at.checked_add_signed(timeout)
    }

    /// The token that says whether the run was asked to stop.
    pub fn cancel_token(&self) -> CancelToken {
        CancelToken::of_run(Arc::clone(&self.shared))
    }

    /// Whether the run was asked to stop.
    pub fn is_cancelled(&self) -> bool {
        self.shared.cancel.is_cancelled()
    }

    /// Why the run was asked to stop; `None` when it was not.
    pub fn cancel_reason(&self) -> Option<CancelReason> {
        self.shared.cancel.reason()
    }

    /// The metadata of its job.
    pub fn metadata(&self) -> Option<&Map<String, Value>> {
        self.shared.options().metadata.as_deref()
    }

    /// The scheduler that runs it; `None` in another process.
    pub fn scheduler(&self) -> Option<&Scheduler> {
        self.shared.scheduler()
    }
}

impl fmt::Debug for RunContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunContext").field("run", self.run()).field("deadline", &self.deadline()).finish()
    }
}

/// Why a run was asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CancelReason {
    /// Somebody asked for it.
    Asked,
    /// Its timeout ended.
    TimedOut,
    /// A later run of its job takes its place, by [`Overlap::CancelPrevious`](crate::Overlap::CancelPrevious).
    Replaced,
    /// Its scheduler or executor is shut down.
    Shutdown,
    /// Its lease ended and another scheduler may run it now.
    Lost,
}

impl CancelReason {
    const ALL: [Self; 5] = [Self::Asked, Self::TimedOut, Self::Replaced, Self::Shutdown, Self::Lost];

    /// Its number in a token, where 0 is nobody.
    fn code(self) -> u8 {
        match self {
            Self::Asked => 1,
            Self::TimedOut => 2,
            Self::Replaced => 3,
            Self::Shutdown => 4,
            Self::Lost => 5,
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.code() == code)
    }
}

impl fmt::Display for CancelReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Asked => "asked",
            Self::TimedOut => "timed out",
            Self::Replaced => "replaced",
            Self::Shutdown => "shutdown",
            Self::Lost => "lost",
        })
    }
}

/// A request to stop, shared between whoever asks and the run. It can be asked from any thread and awaited.
#[derive(Clone)]
pub struct CancelToken(Source);

/// A run's token is part of the run's own allocation.
#[derive(Clone)]
enum Source {
    Own(Arc<CancelState>),
    Run(Arc<ExecutionData>),
}

#[derive(Default)]
pub(crate) struct CancelState {
    /// The first reason's code; 0 while nobody asked.
    reason: AtomicU8,
    /// Apart, as few runs are waited for: a run's allocation is small enough to be given back by any thread without a lock.
    wakers: Mutex<Option<Box<Wakers>>>,
}

impl CancelState {
    /// Asks for the first time; later reasons change nothing.
    pub(crate) fn cancel(&self, reason: CancelReason) {
        let _ = self.reason.compare_exchange(0, reason.code(), Ordering::AcqRel, Ordering::Acquire);
        let waiting = self.with_wakers(|wakers| std::mem::take(&mut wakers.waiting));
        waiting.into_iter().flatten().for_each(|(_, waker)| waker.wake());
    }

    /// Does something with those who wait, if anybody ever did.
    fn with_wakers<T>(&self, work: impl FnOnce(&mut Wakers) -> T) -> Option<T> {
        self.wakers.lock().as_deref_mut().map(work)
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.reason.load(Ordering::Acquire) != 0
    }

    pub(crate) fn reason(&self) -> Option<CancelReason> {
        CancelReason::from_code(self.reason.load(Ordering::Acquire))
    }
}

impl CancelToken {
    /// A token nobody has asked yet.
    pub fn new() -> Self {
        Self(Source::Own(Arc::default()))
    }

    pub(crate) fn of_run(run: Arc<ExecutionData>) -> Self {
        Self(Source::Run(run))
    }

    /// Asks the run to stop. Idempotent.
    pub fn cancel(&self) {
        self.cancel_because(CancelReason::Asked);
    }

    /// Asks the run to stop and says why. The first reason stays.
    pub fn cancel_because(&self, reason: CancelReason) {
        self.state().cancel(reason);
    }

    /// Why the run was asked to stop; `None` when it was not.
    pub fn reason(&self) -> Option<CancelReason> {
        self.state().reason()
    }

    /// Whether the run was asked to stop.
    pub fn is_cancelled(&self) -> bool {
        self.state().is_cancelled()
    }

    /// Ends once the run is asked to stop.
    pub fn cancelled(&self) -> Cancelled {
        Cancelled { token: self.clone(), number: None }
    }

    fn state(&self) -> &CancelState {
        match &self.0 {
            Source::Own(state) => state,
            Source::Run(run) => &run.cancel,
        }
    }
}

impl Default for CancelToken {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for CancelToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.reason() {
            Some(reason) => write!(f, "CancelToken({reason})"),
            None => f.write_str("CancelToken"),
        }
    }
}

/// Those who wait for a run to be asked to stop, each with a number of its own.
#[derive(Debug, Default)]
struct Wakers {
    last: u64,
    waiting: Vec<(u64, Waker)>,
}

impl Wakers {
    /// One who waits, by the number that it has or gets.
    fn put(&mut self, number: Option<u64>, waker: &Waker) -> u64 {
        let number = number.unwrap_or(self.last + 1);
        self.last = self.last.max(number);
        match self.waiting.iter_mut().find(|(of, _)| *of == number) {
            Some((_, waiting)) => waiting.clone_from(waker),
            None => self.waiting.push((number, waker.clone())),
        }
        number
    }

    fn take(&mut self, number: u64) -> Option<(u64, Waker)> {
        let place = self.waiting.iter().position(|(of, _)| *of == number);
        place.map(|place| self.waiting.swap_remove(place))
    }
}

/// The future of [`CancelToken::cancelled`].
#[derive(Debug)]
#[must_use = "a future does nothing unless it is awaited"]
pub struct Cancelled {
    token: CancelToken,
    /// Its number among those who wait, once it does.
    number: Option<u64>,
}

impl Future for Cancelled {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.token.is_cancelled() {
            return Poll::Ready(());
        }
        let number = self.token.state().wakers.lock().get_or_insert_default().put(self.number, cx.waker());
        self.number = Some(number);
        if self.token.is_cancelled() { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for Cancelled {
    fn drop(&mut self) {
        let Some(number) = self.number else { return };
        // It is not dropped under the lock.
        drop(self.token.state().with_wakers(|wakers| wakers.take(number)));
    }
}

thread_local! {
    static CURRENT: RefCell<Option<RunContext>> = const { RefCell::new(None) };
}

/// The run this code is part of; `None` outside a task. It works in sync tasks and at every poll of async ones.
pub fn current_run() -> Option<RunContext> {
    CURRENT.with(|current| current.borrow().clone())
}

/// The scheduler that runs this code; `None` outside a task and in another process.
pub fn current_scheduler() -> Option<Scheduler> {
    current_run().and_then(|context| context.scheduler().cloned())
}

/// Makes `context` the current run for as long as the guard lives.
pub(crate) struct Entered(Option<RunContext>);

impl Entered {
    pub(crate) fn new(context: RunContext) -> Self {
        Self(CURRENT.with(|current| current.borrow_mut().replace(context)))
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        // What it drops may be the last to hold a scheduler, so it is dropped when it is current no more.
        drop(CURRENT.with(|current| current.replace(self.0.take())));
    }
}

/// Runs a future with `context` as the current run at every poll.
pub(crate) struct InContext<F> {
    pub(crate) context: RunContext,
    pub(crate) future: F,
}

impl<F: Future + Unpin> Future for InContext<F> {
    type Output = F::Output;
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let _entered = Entered::new(self.context.clone());
        Pin::new(&mut self.future).poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_no_longer_is_forgotten() {
        let token = CancelToken::new();
        let mut cx = Context::from_waker(Waker::noop());
        let mut stays = Box::pin(token.cancelled());
        assert!(stays.as_mut().poll(&mut cx).is_pending());
        for _ in 0..100 {
            let mut goes = Box::pin(token.cancelled());
            assert!(goes.as_mut().poll(&mut cx).is_pending() && goes.as_mut().poll(&mut cx).is_pending());
        }
        assert_eq!(token.state().with_wakers(|wakers| wakers.waiting.len()), Some(1));
        token.cancel();
        assert!(stays.as_mut().poll(&mut cx).is_ready());
    }
}
