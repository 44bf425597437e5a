//! The contract of an executor, and [`Execution`], the run that is handed to it.
//!
//! An executor only finds a place to run: judging lateness and leases, catching panics, telling listeners and reporting the
//! outcome exactly once is [`Execution`]'s work, the same for all executors.

use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::context::{CancelReason, CancelState, CancelToken, Entered, InContext, RunContext};
use crate::error::panic_message;
use crate::id::RunId;
use crate::job::{JobOptions, JobSpec};
use crate::plan::is_too_late;
use crate::policy::Shutdown;
use crate::run::{MissReason, Outcome, Run, RunReport};
use crate::scheduler::Scheduler;
use crate::task::{Args, Task, TaskBody, TaskError, TaskFuture, TaskResult};
use crate::{Error, ErrorKind};

/// What an executor gets when it is started.
#[derive(Debug, Clone)]
pub struct ExecutorContext {
    /// The alias under which the scheduler knows it.
    pub alias: Arc<str>,
}

/// How many more runs an executor takes at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Capacity {
    /// Any number: what cannot start yet waits inside.
    Unlimited,
    /// This many.
    Free(usize),
}

/// Runs an executor did not take, with the reason.
#[derive(Debug)]
pub struct Refused {
    /// The runs, in order.
    pub runs: Vec<Execution>,
    /// Why: [`Unavailable`](crate::ErrorKind::Unavailable) when it is full, [`Closed`](crate::ErrorKind::Closed)
    /// after shutdown.
    pub error: Error,
}

impl Refused {
    /// Runs that came before the executor of this alias was started, or after its shutdown.
    pub fn closed(runs: Vec<Execution>, alias: &str) -> Self {
        let error = Error::new(ErrorKind::Closed, format!("executor \"{alias}\" is shut down"));
        Self { runs, error }
    }

    /// Runs for which the executor of this alias has no place now.
    pub fn full(runs: Vec<Execution>, alias: &str) -> Self {
        let error = Error::new(ErrorKind::Unavailable, format!("executor \"{alias}\" is full"));
        Self { runs, error }
    }
}

/// What runs the runs.
///
/// # Guarantees
/// 1. Every run that is taken is reported exactly once, whatever happens (cases `executor_reports_once`,
///    `executor_survives_panics`).
/// 2. `submit` never waits for a run to end, except in executors that run inline; what does not fit is refused, in
///    order (case `executor_refuses_when_full`).
/// 3. Runs start in the order of submission as places become free (case `executor_starts_in_order`).
/// 4. `shutdown(Wait)` returns after the last taken run was reported; `shutdown(Now)` asks them to cancel, drops
///    what has not started, and returns (cases `executor_shutdown_waits`, `executor_shutdown_now_returns`).
///    After shutdown its capacity is `Free(0)`. Two runs that both call `shutdown(Wait)` do not wait for each other.
/// 5. `start` works again after `shutdown` (case `executor_restarts`).
/// 6. `shutdown` may be called from inside a run, and by whoever hears of its end; it does not wait for that one (cases
///    `executor_shutdown_inside_a_run`, `executor_shutdown_when_told_of_an_end`).
/// 7. A run that is asked to stop sees why: what whoever asked said, and that it was a shutdown when the executor asked
///    (cases `executor_says_why_a_run_stops`, `executor_shutdown_now_returns`).
/// 8. A limit of `shutdown` that no clock reaches is none (cases `executor_waits_without_limit`,
///    `executor_shutdown_waits_without_limit`).
///
/// **Source**: APScheduler 3.0 manual, "Custom executors".
pub trait Executor: fmt::Debug + Send + Sync + 'static {
    /// Makes ready. Threads may be started later, when they are needed.
    fn start(&self, context: ExecutorContext) -> Result<(), Error>;

    /// Takes runs.
    fn submit(&self, runs: Vec<Execution>) -> Result<(), Refused>;

    /// Stops one run by force, where that is possible; says whether it is over, or will be soon, for that reason. The
    /// run was asked to cancel before, and its token says why. What the executor says of its end does not matter: a
    /// run whose time was up has timed out.
    fn cancel(&self, run: RunId) -> bool {
        let _ = run;
        false
    }

    /// How many more runs it takes now.
    fn capacity(&self) -> Capacity;

    /// Stops.
    fn shutdown(&self, how: Shutdown) -> Result<(), Error>;
}

/// Who is told of a run's progress; the engine, or a test.
pub trait RunSink: Send + Sync {
    /// The time.
    fn now(&self) -> DateTime<Utc>;
    /// The time by the clock that leases are measured with; `None` where nothing is leased.
    fn monotonic(&self) -> Option<Duration> {
        None
    }
    /// The run starts now.
    fn started(&self, run: &Arc<Run>);
    /// The run starts now and may take this long. Told before [`started`](Self::started) of runs with a timeout.
    fn timed(&self, run: &Arc<Run>, timeout: Duration) {
        let _ = (run, timeout);
    }
    /// The run is over. For every execution this or [`succeeded`](Self::succeeded) is called, exactly once.
    fn finished(&self, report: RunReport);
    /// The run is over: it succeeded, and had neither a claim nor a time limit. It is [`finished`](Self::finished) unless a sink
    /// makes less of it.
    fn succeeded(&self, report: RunReport) {
        self.finished(report);
    }
    /// The scheduler, for the run's context.
    fn scheduler(&self) -> Option<&Scheduler> {
        None
    }
}

/// A run on its way through an executor. Whatever becomes of it, its end is reported exactly once: a run that is
/// dropped is reported as abandoned.
pub struct Execution {
    shared: Option<Arc<ExecutionData>>,
}

/// What a run's execution, its context and its scheduler share: one allocation, so that handing a run over touches
/// few reference counts that other threads touch too.
pub(crate) struct ExecutionData {
    pub(crate) run: Arc<Run>,
    pub(crate) cancel: CancelState,
    /// When it started, in microseconds; [`NOT_STARTED`] before.
    started: AtomicI64,
    /// Until when it may start, as its claim holds for a while longer at least, in microseconds of the monotonic clock;
    /// [`NO_LEASE`] without a claim.
    lease_end: AtomicU64,
    work: Work,
    sink: Arc<dyn RunSink>,
}

const NOT_STARTED: i64 = i64::MIN;

const NO_LEASE: u64 = 0;

/// What is run: a job, or a call without one.
#[derive(Clone)]
enum Work {
    Job(Arc<JobSpec>),
    Call { task: Arc<Task>, args: Args, options: Arc<JobOptions> },
}

impl ExecutionData {
    /// Says that the run starts.
    pub(crate) fn tell_started(&self) {
        self.sink.started(&self.run);
    }

    pub(crate) fn task(&self) -> Option<&Arc<Task>> {
        match &self.work {
            Work::Job(spec) => spec.task.bound(),
            Work::Call { task, .. } => Some(task),
        }
    }

    pub(crate) fn options(&self) -> &Arc<JobOptions> {
        match &self.work {
            Work::Job(spec) => &spec.options,
            Work::Call { options, .. } => options,
        }
    }

    pub(crate) fn scheduler(&self) -> Option<&Scheduler> {
        self.sink.scheduler()
    }

    /// When it started, if it did.
    pub(crate) fn started_at(&self) -> Option<DateTime<Utc>> {
        match self.started.load(Ordering::Acquire) {
            NOT_STARTED => None,
            micros => DateTime::from_timestamp_micros(micros),
        }
    }

    /// It may start until `end`, by the monotonic clock.
    pub(crate) fn extend_lease(&self, end: Duration) {
        let micros = u64::try_from(end.as_micros()).unwrap_or(u64::MAX);
        self.lease_end.fetch_max(micros, Ordering::AcqRel);
    }

    fn lease_left(&self) -> Option<Duration> {
        match self.lease_end.load(Ordering::Acquire) {
            NO_LEASE => None,
            end => Some(Duration::from_micros(end).saturating_sub(self.sink.monotonic()?)),
        }
    }

    /// The next attempt at the same run.
    pub(crate) fn again(&self) -> Execution {
        let run = Run { attempt: self.run.attempt.saturating_add(1), ..Run::clone(&self.run) };
        Execution::of(Arc::new(run), self.work.clone(), Arc::clone(&self.sink))
    }

    fn args(&self) -> &Args {
        match &self.work {
            Work::Job(spec) => &spec.args,
            Work::Call { args, .. } => args,
        }
    }
}

impl Execution {
    /// A run of `task`, reported to `sink`.
    pub fn new(
        run: Arc<Run>,
        task: Arc<Task>,
        args: Args,
        options: Arc<JobOptions>,
        sink: Arc<dyn RunSink>,
    ) -> Self {
        Self::of(run, Work::Call { task, args, options }, sink)
    }

    /// A run of a job whose task is bound.
    pub(crate) fn of_job(run: Arc<Run>, spec: Arc<JobSpec>, sink: Arc<dyn RunSink>) -> Self {
        Self::of(run, Work::Job(spec), sink)
    }

    fn of(run: Arc<Run>, work: Work, sink: Arc<dyn RunSink>) -> Self {
        let (cancel, started) = (CancelState::default(), AtomicI64::new(NOT_STARTED));
        let lease_end = AtomicU64::new(NO_LEASE);
        Self { shared: Some(Arc::new(ExecutionData { run, cancel, started, lease_end, work, sink })) }
    }

    /// The run; `None` once it is reported, which only its owner could see.
    pub fn run(&self) -> Option<&Arc<Run>> {
        self.shared.as_ref().map(|shared| &shared.run)
    }

    /// The task.
    pub fn task(&self) -> Option<&Arc<Task>> {
        self.shared.as_ref().and_then(|shared| shared.task())
    }

    /// The arguments.
    pub fn args(&self) -> Option<&Args> {
        self.shared.as_ref().map(|shared| shared.args())
    }

    /// The options of its job.
    pub fn options(&self) -> Option<&Arc<JobOptions>> {
        self.shared.as_ref().map(|shared| shared.options())
    }

    /// The token through which it is asked to stop.
    pub fn cancel_token(&self) -> CancelToken {
        self.shared.as_ref().map_or_else(CancelToken::new, |shared| CancelToken::of_run(Arc::clone(shared)))
    }

    pub(crate) fn data(&self) -> Option<&Arc<ExecutionData>> {
        self.shared.as_ref()
    }

    /// For how long the run may still start: as long as at least a third of the lease on it is left for sure, since a lease
    /// of which less is left could not be renewed. `None` for a run without a claim. The claim is renewed meanwhile.
    pub fn lease_left(&self) -> Option<Duration> {
        self.shared.as_ref().and_then(|shared| shared.lease_left())
    }

    /// Judges once more whether the run may start, and says that it does. `None`: it was too late, asked to stop, or
    /// its lease may have ended, and is reported.
    ///
    /// For executors that run the task elsewhere; call [`finish`](Self::finish) afterwards.
    pub fn begin(self) -> Option<(Self, RunContext)> {
        // The time is read before the lease is judged: whatever holds this thread up in between, the run starts, by its
        // own account, while it is leased.
        let now = self.shared.as_ref()?.sink.now();
        let execution = self.unless_stopped(now)?;
        if execution.lease_left().is_some_and(|left| left.is_zero()) {
            execution.lapse();
            return None;
        }
        execution.enter(now)
    }

    /// The same for a run that another process has started, which has judged there how much of its
    /// [lease](Self::lease_left) was left.
    pub fn begin_elsewhere(self) -> Option<(Self, RunContext)> {
        let now = self.shared.as_ref()?.sink.now();
        self.unless_stopped(now)?.enter(now)
    }

    /// Gives up a run that did not start because its lease may have ended. It is not over: whoever claims it next runs
    /// it, and what is told is that the claim was lost.
    pub fn lapse(self) {
        if let Some(shared) = &self.shared {
            shared.cancel.cancel(CancelReason::Lost);
            shared.started.store(NOT_STARTED, Ordering::Release);
        }
        self.finish(Outcome::Cancelled);
    }

    /// Gives up a run that has not started and never will, for this reason unless it was asked to stop before. It is
    /// reported as cancelled; a panic of whoever hears of that goes no further.
    pub fn give_up(self, reason: CancelReason) {
        self.cancel_token().cancel_because(reason);
        let told = std::panic::catch_unwind(AssertUnwindSafe(|| self.finish(Outcome::Cancelled)));
        if let Err(payload) = told {
            // The payload's own drop may panic as well; then it is leaked.
            let dropped = std::panic::catch_unwind(AssertUnwindSafe(|| drop(payload)));
            dropped.unwrap_or_else(std::mem::forget);
        }
    }

    /// `None`: it was asked to stop or is too late, and is reported.
    fn unless_stopped(self, now: DateTime<Utc>) -> Option<Self> {
        let shared = self.shared.as_ref()?;
        if shared.cancel.is_cancelled() {
            self.finish(Outcome::Cancelled);
            return None;
        }
        if is_too_late(shared.options().misfire_grace_time, shared.run.scheduled_time, now) {
            self.finish(Outcome::Missed(MissReason::TooLate));
            return None;
        }
        Some(self)
    }

    fn enter(self, now: DateTime<Utc>) -> Option<(Self, RunContext)> {
        let shared = Arc::clone(self.shared.as_ref()?);
        shared.started.store(now.timestamp_micros(), Ordering::Release);
        if let Some(timeout) = shared.options().timeout {
            shared.sink.timed(&shared.run, timeout);
        }
        let context = RunContext::new(shared, now);
        // A listener that is told here is part of the run, as one is that is told of its end.
        let entered = Entered::new(context.clone());
        context.tell_started();
        drop(entered);
        Some((self, context))
    }

    /// Runs the task on this thread and reports it. An async task is driven to its end by blocking.
    pub fn run_blocking(self) {
        let Some((execution, context)) = self.begin() else { return };
        let (Some(task), Some(args)) = (execution.task(), execution.args()) else { return };
        let _entered = Entered::new(context.clone());
        let caught = std::panic::catch_unwind(AssertUnwindSafe(|| match task.body() {
            TaskBody::Sync(body) => body(&context, args),
            TaskBody::Async(body) => pollster::block_on(body(context.clone(), args.clone())),
        }));
        execution.finish(Outcome::of(caught.unwrap_or_else(|panic| Err(panicked(&*panic)))));
    }

    /// Runs the task as a future and reports it. A plain function runs at the first poll and blocks it. A future
    /// that is dropped half-way reports the run as cancelled.
    pub async fn run_async(self) {
        let Some((mut execution, context)) = self.begin() else { return };
        let (Some(task), Some(args)) = (execution.task().cloned(), execution.args().cloned()) else { return };
        let guard = CancelOnDrop(Some(&mut execution));
        let made = std::panic::catch_unwind(AssertUnwindSafe(|| match task.body() {
            TaskBody::Sync(body) => {
                let _entered = Entered::new(context.clone());
                Err(body(&context, &args))
            }
            TaskBody::Async(body) => Ok(body(context.clone(), args.clone())),
        }));
        let result = match made {
            Ok(Ok(future)) => CatchPanic(InContext { context, future }).await,
            Ok(Err(result)) => result,
            Err(panic) => Err(panicked(&*panic)),
        };
        guard.disarm();
        execution.finish(Outcome::of(result));
    }

    /// Reports the end of the run. One whose time was up has timed out, whatever its outcome; one that was asked to stop
    /// and is abandoned was cancelled.
    pub fn finish(mut self, outcome: Outcome) {
        self.report(outcome);
    }

    /// Lets go of a run that will not happen and that its scheduler reports in another way.
    pub(crate) fn forget(mut self) {
        self.shared = None;
    }

    fn report(&mut self, outcome: Outcome) {
        let Some(shared) = self.shared.take() else { return };
        let finished_at = shared.sink.now();
        let (run, started_at) = (Arc::clone(&shared.run), shared.started_at());
        let outcome = match (outcome, shared.cancel.reason()) {
            (_, Some(CancelReason::TimedOut)) => Outcome::TimedOut,
            (Outcome::Abandoned(_), Some(_)) => Outcome::Cancelled,
            (outcome, _) => outcome,
        };
        // A listener that is told here is part of the run, on whatever thread it ends: it may shut the scheduler down.
        let _entered = Entered::new(RunContext::new(Arc::clone(&shared), started_at.unwrap_or(finished_at)));
        let is_free =
            shared.lease_end.load(Ordering::Acquire) == NO_LEASE && shared.options().timeout.is_none();
        let is_plain = is_free && outcome.is_success();
        let report = RunReport { run, outcome, started_at, finished_at };
        match is_plain {
            true => shared.sink.succeeded(report),
            false => shared.sink.finished(report),
        }
    }
}

impl Drop for Execution {
    fn drop(&mut self) {
        self.report(Outcome::Abandoned("the executor dropped the run".to_owned()));
    }
}

impl fmt::Debug for Execution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Execution").field("run", &self.run()).finish_non_exhaustive()
    }
}

struct CancelOnDrop<'a>(Option<&'a mut Execution>);

impl CancelOnDrop<'_> {
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        if let Some(execution) = self.0.take() {
            execution.report(Outcome::Cancelled);
        }
    }
}

struct CatchPanic(InContext<TaskFuture>);

impl Future for CatchPanic {
    type Output = TaskResult;
    fn poll(mut self: std::pin::Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<TaskResult> {
        let polled = std::panic::catch_unwind(AssertUnwindSafe(|| std::pin::Pin::new(&mut self.0).poll(cx)));
        polled.unwrap_or_else(|panic| Poll::Ready(Err(panicked(&*panic))))
    }
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> TaskError {
    TaskError::panicked(format_args!("panicked: {}", panic_message(panic)))
}
