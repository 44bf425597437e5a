//! The blocking and the background scheduler, each with the suite that every scheduler passes in real time.

use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::Mutex;
use sched_core::{
    Error, ErrorKind, EventMask, JobBuilder, NewRun, Scheduler, SchedulerBuilder, Shutdown, StartMode,
};
use sched_runtime_blocking::{BackgroundScheduler, BlockingScheduler};
use sched_testkit::adapter::Adapter;
use sched_testkit::adapter_suite;
use serde_json::Value;
use {sched_executor_thread as _, sched_store_memory as _};

struct Background(BackgroundScheduler);

impl Adapter for Background {
    fn make(builder: SchedulerBuilder) -> Result<Self, Error> {
        BackgroundScheduler::build(builder).map(Self)
    }
    fn scheduler(&self) -> &Scheduler {
        &self.0
    }
    fn start(&self, mode: StartMode) -> Result<(), Error> {
        match mode {
            StartMode::Running => self.0.start(),
            StartMode::Paused => self.0.start_paused(),
        }
    }
    fn shutdown(&self, how: Shutdown) -> Result<(), Error> {
        self.0.shutdown(how)
    }
    fn wait_until_stopped(&self) -> Result<(), Error> {
        self.0.wait_until_stopped();
        Ok(())
    }
    fn add_job(&self, job: JobBuilder) -> Result<(), Error> {
        self.0.add_job(job).map(drop)
    }
    fn run_job(&self, run: NewRun) -> Result<Value, Error> {
        self.0.run_job(run)
    }
}

/// The blocking scheduler has a thread that it blocks.
struct Blocking {
    scheduler: Arc<BlockingScheduler>,
    blocked: Mutex<Option<JoinHandle<Result<(), Error>>>>,
}

impl Blocking {
    /// What `start` returned, once it has.
    fn returned(&self) -> Result<(), Error> {
        match self.blocked.lock().take().map(JoinHandle::join) {
            Some(Ok(returned)) => returned,
            Some(Err(_)) => Err(Error::new(ErrorKind::Unexpected, "`start` panicked")),
            None => Ok(()),
        }
    }
}

impl Adapter for Blocking {
    fn make(builder: SchedulerBuilder) -> Result<Self, Error> {
        let scheduler = Arc::new(BlockingScheduler::build(builder)?);
        Ok(Self { scheduler, blocked: Mutex::new(None) })
    }
    fn scheduler(&self) -> &Scheduler {
        &self.scheduler
    }
    fn start(&self, mode: StartMode) -> Result<(), Error> {
        self.returned()?;
        let (scheduler, started) =
            (Arc::clone(&self.scheduler), self.scheduler.subscribe(EventMask::SCHEDULER_STARTED));
        *self.blocked.lock() = Some(std::thread::spawn(move || match mode {
            StartMode::Running => scheduler.start(),
            StartMode::Paused => scheduler.start_paused(),
        }));
        match started.next_within(sched_testkit::sink::PATIENCE) {
            Some(_) => Ok(()),
            None => Err(Error::new(ErrorKind::Timeout, "it does not start")),
        }
    }
    fn shutdown(&self, how: Shutdown) -> Result<(), Error> {
        self.scheduler.shutdown(how)?;
        self.returned()
    }
    fn wait_until_stopped(&self) -> Result<(), Error> {
        self.scheduler.wait_until_stopped();
        Ok(())
    }
    fn add_job(&self, job: JobBuilder) -> Result<(), Error> {
        self.scheduler.add_job(job).map(drop)
    }
    fn run_job(&self, run: NewRun) -> Result<Value, Error> {
        self.scheduler.run_job(run)
    }
}

mod background {
    use super::*;
    adapter_suite!(Background);
}

mod blocking {
    use super::*;
    adapter_suite!(Blocking);
}

/// A store that is added while the scheduler blocks is driven, and the scheduler goes on when its first store goes.
#[test]
fn stores_may_come_and_go_while_it_blocks() -> Result<(), Error> {
    let scheduler = Arc::new(BlockingScheduler::new()?);
    let (starts, ends) =
        (scheduler.subscribe(EventMask::SCHEDULER_STARTED), scheduler.subscribe(EventMask::JOB_EXECUTED));
    let blocking = Arc::clone(&scheduler);
    let blocked = std::thread::spawn(move || blocking.start());
    let patience = std::time::Duration::from_secs(60);
    assert!(starts.next_within(patience).is_some(), "it starts");
    scheduler.add_job_store(Arc::new(sched_store_memory::MemoryStore::new()), "late")?;
    scheduler.add_job(sched_core::Job::call(|| ()).store("late"))?;
    assert!(ends.next_within(patience).is_some(), "a job of the new store runs");
    scheduler.remove_job_store("default")?;
    scheduler.add_job(sched_core::Job::call(|| ()).store("late"))?;
    assert!(ends.next_within(patience).is_some() && !blocked.is_finished(), "it goes on");
    scheduler.shutdown(true)?;
    blocked.join().map_err(|_| Error::new(ErrorKind::Unexpected, "`start` panicked"))?
}
