//! Setting a scheduler up in code, from a dictionary, or both.

use std::sync::Arc;

use chrono_tz::Tz;
use serde_json::Value;

use super::state::{EngineOptions, SchedulerState, State};
use super::{Scheduler, SchedulerConfig};
use crate::Error;
use crate::clock::{Clock, SystemClock};
use crate::executor::Executor;
use crate::job::JobSettings;
use crate::policy::Role;
use crate::registry::Registry;
use crate::store::JobStore;

/// Sets a scheduler up in code, from a dictionary, or both.
#[derive(Default)]
#[must_use = "a builder does nothing until it is built"]
pub struct SchedulerBuilder {
    registry: Option<Registry>,
    clock: Option<Arc<dyn Clock>>,
    identity: Option<Arc<str>>,
    value: Option<Value>,
    config: SchedulerConfig,
}

impl SchedulerBuilder {
    /// The plug-ins and tasks it knows; everything that is linked in when not given.
    pub fn registry(mut self, registry: Registry) -> Self {
        self.registry = Some(registry);
        self
    }

    /// Where the time comes from; the computer's clocks when not given.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Where the time comes from when [`clock`](Self::clock) does not say so; for adapters whose runtime has a time
    /// of its own.
    pub fn clock_or(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock.get_or_insert(clock);
        self
    }

    /// The name under which it claims; made up when not given.
    ///
    /// A scheduler that starts under a name of its own takes what the last one of that name held as its own leftovers:
    /// claims and leases end at once and the work goes on, not after the leases. No two schedulers over a store that
    /// are alive at the same time may have the same name.
    pub fn identity(mut self, identity: impl Into<Arc<str>>) -> Self {
        self.identity = Some(identity.into());
        self
    }

    /// A configuration dictionary. What is also set in code is taken from the code.
    pub fn config(mut self, config: Value) -> Self {
        self.value = Some(config);
        self
    }

    /// Changes the configuration that is made in code.
    pub fn with(mut self, change: impl FnOnce(SchedulerConfig) -> SchedulerConfig) -> Self {
        self.config = change(self.config);
        self
    }

    /// Adds a job store under an alias.
    pub fn job_store(self, alias: &str, store: impl JobStore) -> Self {
        self.with(|config| config.job_store(alias, Arc::new(store)))
    }

    /// Adds an executor under an alias.
    pub fn executor(self, alias: &str, executor: impl Executor) -> Self {
        self.with(|config| config.executor(alias, Arc::new(executor)))
    }

    /// The options of jobs that have none of their own.
    pub fn job_defaults(self, defaults: JobSettings) -> Self {
        self.with(|config| config.job_defaults(defaults))
    }

    /// What it does in a fleet; everything when not given.
    pub fn role(self, role: Role) -> Self {
        self.with(|config| config.role(role))
    }

    /// The zone of triggers and naive times that name none.
    pub fn timezone(self, timezone: Tz) -> Self {
        self.with(|config| config.timezone(timezone))
    }

    /// **Errors**: those of [`Registry::linked`] and [`SchedulerConfig::from_value`].
    pub fn build(self) -> Result<Scheduler, Error> {
        let registry = Arc::new(self.registry.map_or_else(Registry::linked, Ok)?);
        let clock = self.clock.unwrap_or_else(|| Arc::new(SystemClock::new()));
        let config = match self.value {
            Some(value) => SchedulerConfig::from_value(value, &registry)?.overlaid(self.config),
            None => self.config,
        };
        let state = State {
            phase: SchedulerState::Stopped,
            registry,
            timezone: Tz::UTC,
            defaults: Arc::default(),
            engine: EngineOptions::default(),
            stores: Vec::new(),
            executors: Vec::new(),
            pending: Vec::new(),
            runtime: None,
            broker: None,
            subscription: None,
        };
        let config = match self.identity {
            Some(identity) => config.identity(identity),
            None => config,
        };
        let identity = config.given_identity().cloned();
        let scheduler = Scheduler::assemble(identity, clock, state);
        scheduler.configure(config)?;
        Ok(scheduler)
    }
}

impl std::fmt::Debug for SchedulerBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SchedulerBuilder").field("config", &self.config).finish_non_exhaustive()
    }
}
