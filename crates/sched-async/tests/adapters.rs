//! The async schedulers, each with the suite that every scheduler passes in real time: on tokio of many threads and of
//! one, on async-std and on smol.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::future::Future;
use std::marker::PhantomData;
use std::sync::{Arc, OnceLock, mpsc};

use sched_async::{AsyncRuntime, AsyncScheduler};
use sched_core::{Error, ErrorKind, JobBuilder, NewRun, Scheduler, SchedulerBuilder, Shutdown, StartMode};
use sched_runtime_async_std::AsyncStd;
use sched_runtime_smol::Smol;
use sched_runtime_tokio::Tokio;
use sched_testkit::adapter::Adapter;
use sched_testkit::adapter_suite;
use serde_json::Value;
use tokio::runtime::Builder;
use {sched_executor_thread as _, sched_store_memory as _};

/// A runtime that goes on beside the tests.
trait Beside: 'static {
    type Runtime: AsyncRuntime;
    fn runtime() -> Self::Runtime;
}

/// Makes every call in a task of the runtime, and waits for its answer on a thread of the test.
struct OnRuntime<B: Beside> {
    scheduler: Arc<AsyncScheduler<B::Runtime>>,
    beside: PhantomData<fn() -> B>,
}

impl<B: Beside> OnRuntime<B> {
    fn call<T, F>(&self, call: impl FnOnce(Arc<AsyncScheduler<B::Runtime>>) -> F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let ((tell, told), future) = (mpsc::channel(), call(Arc::clone(&self.scheduler)));
        // Whoever gave up waiting needs no answer.
        B::runtime().spawn(async move { drop(tell.send(future.await)) });
        let lost = |error| Error::new(ErrorKind::Timeout, "the call does not end").with_source(error);
        told.recv_timeout(sched_testkit::sink::PATIENCE).map_err(lost)?
    }
}

impl<B: Beside> Adapter for OnRuntime<B> {
    fn make(builder: SchedulerBuilder) -> Result<Self, Error> {
        Ok(Self { scheduler: Arc::new(AsyncScheduler::build(builder)?), beside: PhantomData })
    }
    fn scheduler(&self) -> &Scheduler {
        self.scheduler.scheduler()
    }
    fn start(&self, mode: StartMode) -> Result<(), Error> {
        self.call(|scheduler| async move {
            match mode {
                StartMode::Running => scheduler.start().await,
                StartMode::Paused => scheduler.start_paused().await,
            }
        })
    }
    fn shutdown(&self, how: Shutdown) -> Result<(), Error> {
        self.call(|scheduler| async move { scheduler.shutdown(how).await })
    }
    fn wait_until_stopped(&self) -> Result<(), Error> {
        self.call(|scheduler| async move {
            scheduler.wait_until_stopped().await;
            Ok(())
        })
    }
    fn add_job(&self, job: JobBuilder) -> Result<(), Error> {
        self.call(|scheduler| async move { scheduler.add_job(job).await.map(drop) })
    }
    fn run_job(&self, run: NewRun) -> Result<Value, Error> {
        self.call(|scheduler| async move { scheduler.run_job(run).await })
    }
}

struct TokioThreads;

impl Beside for TokioThreads {
    type Runtime = Tokio;
    fn runtime() -> Tokio {
        static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
        let make = || Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        RUNTIME.get_or_init(make).handle().clone().into()
    }
}

/// A runtime of one thread, which drives it for as long as the tests go on.
struct TokioOneThread;

impl Beside for TokioOneThread {
    type Runtime = Tokio;
    fn runtime() -> Tokio {
        static RUNTIME: OnceLock<tokio::runtime::Handle> = OnceLock::new();
        let make = || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            let handle = runtime.handle().clone();
            std::thread::spawn(move || runtime.block_on(std::future::pending::<()>()));
            handle
        };
        RUNTIME.get_or_init(make).clone().into()
    }
}

struct OnAsyncStd;

impl Beside for OnAsyncStd {
    type Runtime = AsyncStd;
    fn runtime() -> AsyncStd {
        AsyncStd
    }
}

struct OnSmol;

impl Beside for OnSmol {
    type Runtime = Smol;
    fn runtime() -> Smol {
        Smol
    }
}

mod tokio_threads {
    use super::*;
    adapter_suite!(OnRuntime<TokioThreads>);
}

mod tokio_one_thread {
    use super::*;
    adapter_suite!(OnRuntime<TokioOneThread>);
}

mod async_std {
    use super::*;
    adapter_suite!(OnRuntime<OnAsyncStd>);
}

mod smol {
    use super::*;
    adapter_suite!(OnRuntime<OnSmol>);
}
