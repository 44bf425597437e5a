//! When loops look again that share a store and are told nothing.
#![cfg(all(feature = "sql", feature = "thread", feature = "memory"))]

use std::sync::Arc;
use std::time::Duration;

use sched::{Error, JobStore};
use sched_executor_thread::DebugExecutor;
use sched_store_memory::MemoryStore;
use sched_store_sql::SqlStore;
use sched_testkit::scheduler::Fixture;
use tempfile::TempDir;

const POLL: Duration = Duration::from_secs(10);

/// How long the idle loop of a scheduler of that name sleeps.
fn pause(store: Arc<dyn JobStore>, name: &str) -> Result<Option<Duration>, Error> {
    let fixture = Fixture::new(|| Arc::new(MemoryStore::new()), || Arc::new(DebugExecutor::new()));
    let world = fixture.started_with(|config| config.job_store("default", store).identity(name))?;
    Ok(world.turn())
}

/// A file is shared, so it is looked at within the interval, by each in its own time; nobody else writes to memory.
#[test]
fn who_shares_a_store_looks_at_it_in_a_time_of_its_own() -> Result<(), Error> {
    let directory = TempDir::new().unwrap();
    let url = format!("sqlite:///{}/jobs.sqlite", directory.path().display());
    let shared = |name| pause(Arc::new(SqlStore::open(&*url)?), name);
    let pauses = [shared("one")?, shared("two")?, shared("three")?];
    let is_near = |pause: &Option<Duration>| pause.is_some_and(|pause| pause <= POLL && pause > POLL * 3 / 4);
    assert!(pauses.iter().all(is_near), "{pauses:?}");
    assert!(pauses[0] != pauses[1] && pauses[1] != pauses[2], "{pauses:?}");
    assert_eq!(pause(Arc::new(MemoryStore::new()), "one")?, None);
    Ok(())
}
