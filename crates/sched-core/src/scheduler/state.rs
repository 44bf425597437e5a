//! What a scheduler is made of at one moment.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chrono_tz::Tz;

use super::driver::Runtime;
use super::lane::Lane;
use crate::broker::{EventBroker, SubscriptionId};
use crate::config::BuildContext;
use crate::executor::Executor;
use crate::job::{DEFAULT_ALIAS, Defaults, Draft};
use crate::policy::{Delivery, Role};
use crate::registry::Registry;
use crate::store::JobStore;
use crate::{Error, ErrorKind};

/// Whether a scheduler fires.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SchedulerState {
    /// It has not been started, or was shut down.
    Stopped,
    /// It fires.
    Running,
    /// It is started but fires nothing.
    Paused,
}

impl fmt::Display for SchedulerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Stopped => "stopped",
            Self::Running => "running",
            Self::Paused => "paused",
        })
    }
}

/// The engine's own options.
#[derive(Debug, Clone)]
pub(crate) struct EngineOptions {
    pub(crate) claim_batch: usize,
    pub(crate) lease: Duration,
    pub(crate) retry_interval: Duration,
    pub(crate) poll_interval: Duration,
    pub(crate) max_concurrent_runs: usize,
    pub(crate) delivery: Option<Delivery>,
    pub(crate) role: Role,
    /// How many finished runs are kept at most.
    pub(crate) keep_runs: Option<usize>,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            claim_batch: 1_000,
            lease: Duration::from_secs(15),
            retry_interval: Duration::from_secs(10),
            poll_interval: Duration::from_secs(10),
            max_concurrent_runs: 10_000,
            delivery: None,
            role: Role::Both,
            keep_runs: None,
        }
    }
}

/// The engine's options as far as they are given.
#[derive(Debug, Clone, Default)]
pub(crate) struct EngineSettings {
    pub(crate) claim_batch: Option<usize>,
    pub(crate) lease: Option<Duration>,
    pub(crate) retry_interval: Option<Duration>,
    pub(crate) poll_interval: Option<Duration>,
    pub(crate) max_concurrent_runs: Option<usize>,
    pub(crate) delivery: Option<Delivery>,
    pub(crate) role: Option<Role>,
    pub(crate) keep_runs: Option<usize>,
}

impl EngineSettings {
    /// What is given here, else what `base` gives.
    pub(crate) fn over(self, base: Self) -> Self {
        Self {
            claim_batch: self.claim_batch.or(base.claim_batch),
            lease: self.lease.or(base.lease),
            retry_interval: self.retry_interval.or(base.retry_interval),
            poll_interval: self.poll_interval.or(base.poll_interval),
            max_concurrent_runs: self.max_concurrent_runs.or(base.max_concurrent_runs),
            delivery: self.delivery.or(base.delivery),
            role: self.role.or(base.role),
            keep_runs: self.keep_runs.or(base.keep_runs),
        }
    }

    /// The options, with defaults for what is not given.
    pub(crate) fn resolve(self) -> EngineOptions {
        let default = EngineOptions::default();
        EngineOptions {
            claim_batch: self.claim_batch.unwrap_or(default.claim_batch),
            lease: self.lease.unwrap_or(default.lease),
            retry_interval: self.retry_interval.unwrap_or(default.retry_interval),
            poll_interval: self.poll_interval.unwrap_or(default.poll_interval),
            max_concurrent_runs: self.max_concurrent_runs.unwrap_or(default.max_concurrent_runs),
            delivery: self.delivery,
            role: self.role.unwrap_or(default.role),
            keep_runs: self.keep_runs,
        }
    }
}

pub(crate) struct StoreEntry {
    pub(crate) alias: Arc<str>,
    pub(crate) store: Arc<dyn JobStore>,
    /// Present while the scheduler is started.
    pub(crate) lane: Option<Arc<Lane>>,
}

/// What adding a job needs of the state.
pub(crate) struct Target {
    pub(crate) store: Arc<dyn JobStore>,
    pub(crate) lane: Option<Arc<Lane>>,
    pub(crate) defaults: Arc<Defaults>,
}

pub(crate) struct State {
    pub(crate) phase: SchedulerState,
    pub(crate) registry: Arc<Registry>,
    pub(crate) timezone: Tz,
    pub(crate) defaults: Arc<Defaults>,
    pub(crate) engine: EngineOptions,
    pub(crate) stores: Vec<StoreEntry>,
    pub(crate) executors: Vec<(Arc<str>, Arc<dyn Executor>)>,
    pub(crate) pending: Vec<Draft>,
    pub(crate) runtime: Option<Arc<dyn Runtime>>,
    pub(crate) broker: Option<Arc<dyn EventBroker>>,
    /// Present while the scheduler is started and has a broker.
    pub(crate) subscription: Option<SubscriptionId>,
}

impl State {
    pub(crate) fn context(&self) -> BuildContext<'_> {
        BuildContext { registry: &self.registry, timezone: self.timezone }
    }

    pub(crate) fn store(&self, alias: &str) -> Result<&StoreEntry, Error> {
        self.stores.iter().find(|entry| &*entry.alias == alias).ok_or_else(|| {
            let known = self.stores.iter().map(|entry| &*entry.alias);
            unknown("job store", alias, known)
        })
    }

    pub(crate) fn executor(&self, alias: &str) -> Result<&Arc<dyn Executor>, Error> {
        let found = self.executors.iter().find(|(name, _)| &**name == alias).map(|(_, executor)| executor);
        found.ok_or_else(|| unknown("executor", alias, self.executors.iter().map(|(name, _)| &**name)))
    }

    /// A scheduler that runs nothing need not have the executor of a job.
    pub(crate) fn check_executor(&self, alias: &str) -> Result<(), Error> {
        match self.engine.role.runs() {
            true => self.executor(alias).map(drop),
            false => Ok(()),
        }
    }

    /// Where a job is to be stored; its executor must exist where it may run.
    pub(crate) fn target(&self, draft: &Draft) -> Result<Target, Error> {
        let entry = self.store(&draft.store)?;
        let own = draft.settings.executor.as_ref().or(draft.task.settings().executor.as_ref());
        let executor = own.or(self.defaults.settings.executor.as_ref());
        self.check_executor(executor.map_or(DEFAULT_ALIAS, |alias| alias))?;
        let (store, lane, defaults) =
            (Arc::clone(&entry.store), entry.lane.clone(), Arc::clone(&self.defaults));
        Ok(Target { store, lane, defaults })
    }

    pub(crate) fn lanes(&self) -> Vec<Arc<Lane>> {
        self.stores.iter().filter_map(|entry| entry.lane.clone()).collect()
    }

    pub(crate) fn must_be_started(&self) -> Result<(), Error> {
        match self.phase {
            SchedulerState::Stopped => Err(Error::new(ErrorKind::InvalidState, "scheduler is not running")),
            _ => Ok(()),
        }
    }

    pub(crate) fn must_be_stopped(&self) -> Result<(), Error> {
        match self.phase {
            SchedulerState::Stopped => Ok(()),
            _ => Err(Error::new(ErrorKind::InvalidState, "scheduler is already running")),
        }
    }
}

fn unknown<'a>(what: &str, alias: &str, known: impl Iterator<Item = &'a str> + Clone) -> Error {
    let hint = match crate::registry::nearest(alias, known.clone()) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => format!("known: {}", known.collect::<Vec<_>>().join(", ")),
    };
    Error::new(ErrorKind::NotFound, format!("no such {what}: \"{alias}\" ({hint})"))
}
