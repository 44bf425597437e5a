//! The tokio executor keeps the contract of an executor, and a scheduler on it is one like any other.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use sched_runtime_tokio::{AsyncExecutor, Tokio, TokioClock, TokioExecutor};
use sched_store_memory::MemoryStore;
use sched_testkit::ExecutorFixture;
use sched_testkit::scheduler::Fixture;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

fn threads() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn executor(runtime: &Runtime) -> TokioExecutor {
    TokioExecutor::on(Tokio::from(runtime.handle().clone()))
}

/// An executor without limit, on many threads.
fn wide() -> ExecutorFixture {
    let runtime = threads();
    ExecutorFixture::new(Arc::new(executor(&runtime))).keeping(runtime)
}

/// An executor of so many places, on many threads.
fn narrow(places: usize, queue_size: Option<usize>) -> ExecutorFixture {
    let runtime = threads();
    let builder = AsyncExecutor::builder().runtime(Tokio::from(runtime.handle().clone()));
    let builder = queue_size.into_iter().fold(builder, |builder, size| builder.queue_size(size));
    let executor: TokioExecutor = builder.max_concurrency(places).build();
    ExecutorFixture::new(Arc::new(executor)).with_width(places).keeping(runtime)
}

/// A runtime of one thread, which is driven until this is dropped.
struct Driven(Option<(oneshot::Sender<()>, JoinHandle<()>)>);

impl Drop for Driven {
    fn drop(&mut self) {
        let (stop, thread) = self.0.take().unwrap();
        stop.send(()).unwrap();
        thread.join().unwrap();
    }
}

/// An executor without limit, on one thread.
fn single_thread() -> ExecutorFixture {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let executor = executor(&runtime);
    let (stop, stopped) = oneshot::channel();
    let thread = std::thread::spawn(move || runtime.block_on(stopped).unwrap());
    ExecutorFixture::new(Arc::new(executor)).keeping(Driven(Some((stop, thread))))
}

/// The same with so many workers for plain functions.
fn few_workers(workers: usize) -> ExecutorFixture {
    let runtime = threads();
    let builder = AsyncExecutor::builder().runtime(Tokio::from(runtime.handle().clone()));
    let executor: TokioExecutor = builder.max_workers(workers).build();
    ExecutorFixture::new(Arc::new(executor)).with_width(workers).keeping(runtime)
}

mod unlimited {
    use super::*;
    sched_testkit::executor_suite!(wide);
    sched_testkit::pool_suite!(wide);
}

mod on_one_thread {
    use super::*;
    sched_testkit::executor_suite!(single_thread);
    sched_testkit::pool_suite!(single_thread);
}

mod limited {
    use super::*;
    sched_testkit::executor_suite!(|| narrow(3, None));
    sched_testkit::pool_suite!(|| narrow(3, None));
}

mod one_place {
    use super::*;
    sched_testkit::executor_suite!(|| narrow(1, Some(20)));
    sched_testkit::pool_suite!(|| narrow(1, Some(20)));
}

mod without_queue {
    use super::*;
    sched_testkit::executor_suite!(|| narrow(2, Some(0)));
}

mod with_few_workers {
    use super::*;
    sched_testkit::executor_suite!(|| few_workers(2));
    sched_testkit::pool_suite!(|| few_workers(2));
}

mod clock {
    use super::*;
    sched_testkit::clock_suite!(|| Arc::new(TokioClock::new()));
}

fn world() -> Fixture {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    let executor = || executor(RUNTIME.get_or_init(threads));
    Fixture::new(|| Arc::new(MemoryStore::new()), move || Arc::new(executor()))
}

sched_testkit::scheduler_suite!(world);
