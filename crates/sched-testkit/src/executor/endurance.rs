//! Endurance: very many quick runs through one executor, each reported once, in memory that stays as it is.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use chrono::{DateTime, Utc};
use parking_lot::{Condvar, Mutex};
use sched_core::{Execution, JobOptions, Outcome, Run, RunReport, RunSink, Shutdown};
use serde_json::json;

use super::ExecutorFixture;
use crate::clock::SimClock;
use crate::jobs::{ECHO, ECHO_LATER, execution_with, run_id, task};
use crate::sink::PATIENCE;

/// How many runs there are.
const RUNS: u64 = 100_000;

/// After so many of them memory is what it will be.
const WARM: u64 = 40_000;

/// The most that are unfinished at once.
const WINDOW: u64 = 2_000;

/// How many are submitted at once.
const BATCH: u64 = 500;

/// What memory may grow by from [`WARM`] to the end, in KiB: less than 70 bytes for each run.
const GROWTH: u64 = 4 * 1_024;

/// A hundred thousand quick runs, plain and async in turn, are each reported once with their own value, and leave nothing
/// behind: neither this process nor its children grow. For a test that is alone in its program, because memory is the
/// whole program's.
pub fn executor_endures(fixture: &ExecutorFixture) {
    let tally = Arc::new(Tally::new(fixture.clock.clone()));
    let tasks = [task(ECHO), task(ECHO_LATER)];
    let options = JobOptions::default();
    let execution = |number: u64| -> Execution {
        let task = Arc::clone(&tasks[usize::from(number % 2 == 1)]);
        let sink = Arc::clone(&tally) as Arc<dyn RunSink>;
        execution_with(number, task, json!([number]), options.clone(), sink)
    };
    let mut warm = BTreeMap::new();
    for first in (0..RUNS).step_by(usize::try_from(BATCH).expect("small")) {
        tally.wait_for((first + BATCH).saturating_sub(WINDOW));
        if first == WARM {
            warm = memory();
        }
        fixture.submit((first..first + BATCH).map(execution));
    }
    tally.wait_for(RUNS);
    let grown = growth(&warm, &memory());
    fixture.shutdown(Shutdown::Wait);
    tally.check();
    assert!(grown <= GROWTH, "{} runs left {grown} KiB behind", RUNS - WARM);
}

/// Counts the reports of each run, and keeps none.
struct Tally {
    clock: SimClock,
    counts: Vec<AtomicU8>,
    ended: Mutex<u64>,
    more: Condvar,
}

impl Tally {
    fn new(clock: SimClock) -> Self {
        let counts = std::iter::repeat_with(AtomicU8::default).take(usize::try_from(RUNS).expect("small"));
        Self { clock, counts: counts.collect(), ended: Mutex::new(0), more: Condvar::new() }
    }

    /// Waits until so many runs have ended. It fails the test when none ends for a long time.
    fn wait_for(&self, count: u64) {
        let mut ended = self.ended.lock();
        while *ended < count {
            let before = *ended;
            let waited = self.more.wait_for(&mut ended, PATIENCE);
            assert!(!waited.timed_out() || *ended > before, "{ended} of {count} runs have ended");
        }
    }

    fn check(&self) {
        let counts = self.counts.iter().map(|count| count.load(Ordering::Relaxed));
        let wrong: Vec<_> = counts.enumerate().filter(|(_, count)| *count != 1).take(10).collect();
        assert!(wrong.is_empty(), "reports by run: {wrong:?}");
    }
}

impl RunSink for Tally {
    fn now(&self) -> DateTime<Utc> {
        sched_core::Clock::now(&self.clock)
    }

    fn started(&self, _: &Arc<Run>) {}

    fn finished(&self, report: RunReport) {
        let number = u64::try_from(report.run.id.as_uuid().as_u128()).unwrap_or(RUNS);
        let is_own = report.run.id == run_id(number) && report.outcome == Outcome::Succeeded(json!(number));
        let place = usize::try_from(number).ok().and_then(|number| self.counts.get(number));
        // What is not as it should be is not counted, and so found in the end.
        if let Some(count) = place.filter(|_| is_own) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        *self.ended.lock() += 1;
        self.more.notify_all();
    }
}

/// The resident memory of this process and its children, in KiB by process number. Empty where the system does not say.
fn memory() -> BTreeMap<u32, u64> {
    let own = std::process::id();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let of_process = |number: u32| {
        let status = fs::read_to_string(format!("/proc/{number}/status")).ok()?;
        let field = |name: &str| -> Option<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse().ok()
        };
        let is_ours = number == own || field("PPid:")? == u64::from(own);
        Some((number, field("VmRSS:")?)).filter(|_| is_ours)
    };
    numbers.filter_map(of_process).collect()
}

/// How much the process that grew most has grown, in KiB.
fn growth(before: &BTreeMap<u32, u64>, after: &BTreeMap<u32, u64>) -> u64 {
    let grown = before.iter().filter_map(|(process, size)| Some(after.get(process)?.saturating_sub(*size)));
    grown.max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_that_grew_most_counts() {
        let before = BTreeMap::from([(1, 100), (2, 100), (3, 100)]);
        let after = BTreeMap::from([(1, 90), (2, 170), (4, 500)]);
        assert_eq!(growth(&before, &after), 70);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn what_a_process_keeps_is_seen() {
        let before = memory();
        let kept = vec![1_u8; 64 << 20];
        assert!(growth(&before, &memory()) > 32 * 1_024, "{} bytes are kept", kept.len());
    }
}
