//! What listeners were told, as events and as short words that are easy to compare.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};
use sched_core::{Event, EventMask, JobRef, RunEnded, Scheduler};

use crate::sink::PATIENCE;

/// Records the events of a scheduler.
#[derive(Debug, Clone, Default)]
pub struct Recorder {
    shared: Arc<(Mutex<Vec<Event>>, Condvar)>,
}

impl Recorder {
    /// Records the events in `mask` from now on.
    pub fn listen(scheduler: &Scheduler, mask: EventMask) -> Self {
        let recorder = Self::default();
        let shared = Arc::clone(&recorder.shared);
        scheduler.add_listener(
            move |event| {
                shared.0.lock().push(event.clone());
                shared.1.notify_all();
            },
            mask,
        );
        recorder
    }

    /// Everything recorded so far.
    pub fn events(&self) -> Vec<Event> {
        self.shared.0.lock().clone()
    }

    /// Everything recorded so far, as [words](word).
    pub fn words(&self) -> Vec<String> {
        self.shared.0.lock().iter().map(word).collect()
    }

    /// The recorded words that start with one of `kinds`.
    pub fn words_of(&self, kinds: &[&str]) -> Vec<String> {
        let of_kind = |word: &String| kinds.iter().any(|kind| word.split(' ').next() == Some(kind));
        self.words().into_iter().filter(of_kind).collect()
    }

    /// Forgets what was recorded.
    pub fn clear(&self) {
        self.shared.0.lock().clear();
    }

    /// Waits until an event fits, and answers it. It fails the test when none comes.
    #[track_caller]
    pub fn wait_for(&self, what: &str, fits: impl Fn(&Event) -> bool) -> Option<Event> {
        let deadline = Instant::now() + PATIENCE;
        let mut events = self.shared.0.lock();
        loop {
            if let Some(event) = events.iter().find(|event| fits(event)) {
                return Some(event.clone());
            }
            let late = self.shared.1.wait_until(&mut events, deadline).timed_out();
            assert!(!late, "no event \"{what}\" among {:?}", events.iter().map(word).collect::<Vec<_>>());
        }
    }

    /// Waits until this word was recorded.
    #[track_caller]
    pub fn wait_for_word(&self, expected: &str) -> Option<Event> {
        self.wait_for(expected, |event| word(event) == expected)
    }

    /// Waits until so many events were recorded and compares their words.
    #[track_caller]
    pub fn expect(&self, expected: &[&str]) {
        let deadline = Instant::now() + PATIENCE;
        let mut events = self.shared.0.lock();
        while events.len() < expected.len() {
            if self.shared.1.wait_until(&mut events, deadline).timed_out() {
                break;
            }
        }
        let words: Vec<String> = events.iter().map(word).collect();
        drop(events);
        assert_eq!(words, expected);
    }
}

/// An event in short: its kind, then the job, alias or number it is about.
pub fn word(event: &Event) -> String {
    let of_job = |kind: &str, job: &JobRef| format!("{kind} {}", job.job_id);
    let of_run = |kind: &str, ended: &RunEnded| match &ended.run.job_id {
        Some(id) => format!("{kind} {id}"),
        None => kind.to_owned(),
    };
    match event {
        Event::SchedulerStarted => "started".to_owned(),
        Event::SchedulerShutdown => "shutdown".to_owned(),
        Event::SchedulerPaused => "paused".to_owned(),
        Event::SchedulerResumed => "resumed".to_owned(),
        Event::ExecutorAdded(alias) => format!("executor_added {alias}"),
        Event::ExecutorRemoved(alias) => format!("executor_removed {alias}"),
        Event::JobStoreAdded(alias) => format!("store_added {alias}"),
        Event::JobStoreRemoved(alias) => format!("store_removed {alias}"),
        Event::AllJobsRemoved(alias) => format!("all_removed {}", alias.as_deref().unwrap_or("*")),
        Event::JobAdded(job) => of_job("added", job),
        Event::JobRemoved(job) => of_job("removed", job),
        Event::JobModified(job) => of_job("modified", job),
        Event::JobSubmitted { job, .. } => of_job("submitted", job),
        Event::JobMaxInstances { job, .. } => of_job("max_instances", job),
        Event::RunStarted(run) => match &run.job_id {
            Some(id) => format!("run {id}"),
            None => "run".to_owned(),
        },
        Event::JobExecuted(ended) => of_run("executed", ended),
        Event::JobError(ended) => of_run("failed", ended),
        Event::JobMissed(ended) => of_run("missed", ended),
        Event::JobRetrying { attempt, .. } => of_run("retrying", attempt),
        Event::CatchUpLimited(job) => of_job("limited", job),
        Event::JobSuspended { job, .. } => of_job("suspended", job),
        Event::StoreFailed { store, .. } => format!("store_failed {store}"),
        Event::StoreRecovered(store) => format!("store_recovered {store}"),
        Event::ClockJumped { by_millis } => format!("clock_jumped {by_millis}"),
        Event::ClaimLost { .. } => "claim_lost".to_owned(),
        Event::ListenerFailed { .. } => "listener_failed".to_owned(),
        other => format!("{other:?}"),
    }
}
