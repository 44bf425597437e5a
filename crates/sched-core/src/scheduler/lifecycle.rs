//! Start, pause, resume, shutdown.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;

use super::driver::{Driver, Runtime, in_turn};
use super::lane::Lane;
use super::state::{EngineOptions, SchedulerState, State, StoreEntry};
use super::turn::Engine;
use super::{Scheduler, SchedulerConfig};
use crate::Error;
use crate::broker::Notice;
use crate::config::BuildContext;
use crate::event::{Event, EventMask, JobRef};
use crate::executor::ExecutorContext;
use crate::job::{DEFAULT_ALIAS, Defaults};
use crate::policy::{Delivery, Shutdown};
use crate::registry::Registry;
use crate::store::{Inserted, JobStore, RunClaim, StoreContext};

/// Whether a scheduler fires as soon as it is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StartMode {
    /// It fires.
    #[default]
    Running,
    /// It waits for `resume`, so that stored jobs can be pruned first.
    Paused,
}

static LANES: AtomicU32 = AtomicU32::new(0);

impl Scheduler {
    /// Whether it fires.
    pub fn state(&self) -> SchedulerState {
        self.inner.state.read().phase
    }

    /// Whether it is started, paused or not.
    pub fn is_running(&self) -> bool {
        self.state() != SchedulerState::Stopped
    }

    /// Sets the scheduler up anew: stores, executors and options are replaced; pending jobs and listeners stay.
    /// The jobs of the configuration become pending. See also [`configure_from`](Self::configure_from).
    ///
    /// **Errors**: [`InvalidState`](crate::ErrorKind::InvalidState) when started; nothing is changed then.
    pub fn configure(&self, config: SchedulerConfig) -> Result<(), Error> {
        let _control = self.inner.control.lock();
        let mut state = self.inner.state.write();
        state.must_be_stopped()?;
        config.check_conflicts(&state)?;
        let jobs = config.apply(&mut state);
        drop(state);
        jobs.into_iter().try_for_each(|job| self.add_pending(job).map(drop))
    }

    /// [`configure`](Self::configure) from a dictionary, read with the scheduler's own registry.
    ///
    /// **Errors**: those of [`SchedulerConfig::from_value`] and [`configure`](Self::configure).
    pub fn configure_from(&self, config: serde_json::Value) -> Result<(), Error> {
        let registry = self.registry();
        self.configure(SchedulerConfig::from_value(config, &registry)?)
    }

    /// Starts: executors, stores, pending jobs, then one loop for each store on `runtime`. For adapters; users
    /// call their adapter's `start`.
    ///
    /// All or nothing: when anything fails, what was started is shut down, jobs that were added are removed again,
    /// and pending jobs stay pending.
    ///
    /// **Errors**: [`InvalidState`](crate::ErrorKind::InvalidState) when started; those of stores and executors;
    /// those of [`add_job`](Self::add_job) for pending jobs.
    pub fn start_on(&self, runtime: Arc<dyn Runtime>, mode: StartMode) -> Result<(), Error> {
        let control = self.inner.control.lock();
        let mut state = self.inner.state.write();
        state.must_be_stopped()?;
        let mut begun = Begun::before(&state);
        let mut events = Vec::new();
        let started = self.begin(&mut state, &mut begun, &mut events).and_then(|drivers| {
            self.subscribe_to_broker(&mut state)?;
            drivers.into_iter().try_for_each(|driver| runtime.spawn(driver))
        });
        if let Err(error) = started {
            begun.undo(&mut state);
            return Err(error);
        }
        state.phase =
            if mode == StartMode::Paused { SchedulerState::Paused } else { SchedulerState::Running };
        state.runtime = Some(runtime);
        state.pending.clear();
        events.push(Event::SchedulerStarted);
        // Queued before the loops may pass the lock, so that no run is told of earlier.
        self.inner.events.enqueue(events);
        drop(state);
        tracing::info!(identity = &*self.inner.identity, "the scheduler started");
        drop(control);
        self.inner.events.flush();
        Ok(())
    }

    /// Fires nothing until resumed. What is running goes on. Without effect when paused already.
    pub fn pause(&self) -> Result<(), Error> {
        if self.switch(SchedulerState::Running, SchedulerState::Paused)? {
            self.publish(Event::SchedulerPaused);
        }
        Ok(())
    }

    /// Fires again; what was missed meanwhile is judged as any late run. Without effect when running already.
    pub fn resume(&self) -> Result<(), Error> {
        if self.switch(SchedulerState::Paused, SchedulerState::Running)? {
            self.publish(Event::SchedulerResumed);
            self.wakeup();
        }
        Ok(())
    }

    /// Waits until the scheduler is shut down; returns at once when it is stopped.
    pub fn wait_until_stopped(&self) {
        let events = self.subscribe(EventMask::SCHEDULER_SHUTDOWN);
        while self.is_running() && events.next_within(Duration::from_secs(60)).is_none() {}
    }

    /// Makes every loop look at its store soon.
    pub fn wakeup(&self) {
        self.inner.state.read().lanes().iter().for_each(|lane| lane.wake());
    }

    /// Stops: nothing more fires, unfinished runs are waited for or asked to cancel, then executors and stores
    /// are shut down. It may be called from inside a task (whose own run it does not wait for) and from listeners.
    /// The scheduler can be started again.
    ///
    /// `true` waits, `false` does not; a `Duration` waits at most that long.
    ///
    /// **Errors**: [`InvalidState`](crate::ErrorKind::InvalidState) when stopped; else the first error of an
    /// executor or store, after all were shut down.
    pub fn shutdown(&self, how: impl Into<Shutdown>) -> Result<(), Error> {
        let how = how.into();
        let (lanes, executors, stores, subscribed) = {
            let _control = self.inner.control.lock();
            let mut state = self.inner.state.write();
            state.must_be_started()?;
            state.phase = SchedulerState::Stopped;
            state.runtime = None;
            let subscribed = state.broker.clone().zip(state.subscription.take());
            let lanes: Vec<Arc<Lane>> =
                state.stores.iter_mut().filter_map(|entry| entry.lane.take()).collect();
            let stores: Vec<_> = state.stores.iter().map(|entry| Arc::clone(&entry.store)).collect();
            (lanes, state.executors.clone(), stores, subscribed)
        };
        if let Some((broker, subscription)) = subscribed {
            broker.unsubscribe(subscription);
        }
        lanes.iter().for_each(|lane| end_of_turn(lane, how));
        let stop = match how {
            // What this turn has not handed over yet cannot end before it does: only executors can wait here.
            Shutdown::Wait | Shutdown::WaitFor(_) if lanes.iter().any(|lane| in_turn(lane)) => how,
            Shutdown::Wait if self.inner.dispatcher.drain(self, None) => how,
            Shutdown::WaitFor(limit) if self.inner.dispatcher.drain(self, Some(limit)) => Shutdown::Wait,
            _ => Shutdown::Now,
        };
        if stop == Shutdown::Now {
            self.inner.dispatcher.close();
        }
        let mut first_error = None;
        for (_, executor) in executors {
            first_error = first_error.or(executor.shutdown(stop).err());
        }
        lanes.iter().for_each(|lane| self.end_lane(lane));
        for store in stores {
            first_error = first_error.or(store.shutdown().err());
        }
        self.inner.waiters.abandon();
        tracing::info!(identity = &*self.inner.identity, "the scheduler was shut down");
        self.publish(Event::SchedulerShutdown);
        first_error.map_or(Ok(()), Err)
    }

    fn switch(&self, from: SchedulerState, to: SchedulerState) -> Result<bool, Error> {
        let mut state = self.inner.state.write();
        state.must_be_started()?;
        let switched = state.phase == from;
        if switched {
            state.phase = to;
        }
        Ok(switched)
    }

    /// Lets notices of other schedulers wake the loops.
    fn subscribe_to_broker(&self, state: &mut State) -> Result<(), Error> {
        let Some(broker) = &state.broker else { return Ok(()) };
        let (inner, identity) = (Arc::downgrade(&self.inner), Arc::clone(&self.inner.identity));
        let wake = move |notice: &Notice| {
            let Some(inner) = inner.upgrade().filter(|_| notice.origin != identity) else { return };
            let lanes = inner.state.read().lanes();
            for lane in lanes.iter().filter(|lane| lane.alias == notice.store) {
                lane.wake_for(Some(notice.due));
            }
        };
        state.subscription = Some(broker.subscribe(Arc::new(wake))?);
        Ok(())
    }

    /// Tells other schedulers that share the store, and our own loop, that something is due.
    pub(crate) fn due(&self, lane: &Lane, due: Option<DateTime<Utc>>) {
        let Some(due) = due else { return };
        lane.wake_for(Some(due));
        let Some(broker) = self.inner.state.read().broker.clone() else { return };
        let (origin, store) = (Arc::clone(&self.inner.identity), Arc::clone(&lane.alias));
        if let Err(error) = broker.publish(&[Notice { origin, store, due }]) {
            tracing::warn!(%error, "the event broker failed; others find the job when they poll");
        }
    }

    /// Adds the executor and the store of alias `default` where none is configured.
    fn add_default_parts(&self, state: &mut State, events: &mut Vec<Event>) -> Result<(), Error> {
        let alias: Arc<str> = Arc::from(DEFAULT_ALIAS);
        let registry = Arc::clone(&state.registry);
        let context = BuildContext { registry: &registry, timezone: state.timezone };
        if state.executor(DEFAULT_ALIAS).is_err() {
            let executor = registry.executor("", serde_json::json!({ "type": "threadpool" }), context)?;
            state.executors.push((Arc::clone(&alias), executor));
            events.push(Event::ExecutorAdded(Arc::clone(&alias)));
        }
        if state.store(DEFAULT_ALIAS).is_err() {
            let store = registry.job_store("", serde_json::json!({ "type": "memory" }), context)?;
            state.stores.push(StoreEntry { alias: Arc::clone(&alias), store, lane: None });
            events.push(Event::JobStoreAdded(alias));
        }
        Ok(())
    }

    fn begin(
        &self,
        state: &mut State,
        begun: &mut Begun,
        events: &mut Vec<Event>,
    ) -> Result<Vec<Driver>, Error> {
        self.add_default_parts(state, events)?;
        for draft in &state.pending {
            state.store(&draft.store)?;
        }
        for (alias, executor) in &state.executors {
            let started = executor.start(ExecutorContext { alias: Arc::clone(alias) });
            started.map_err(|error| error.in_context(format_args!("executor \"{alias}\"")))?;
            begun.executors += 1;
        }
        let mut drivers = Vec::with_capacity(state.stores.len());
        for at in 0..state.stores.len() {
            let entry = &state.stores[at];
            let parts = LaneParts::of(state, Arc::clone(&entry.alias), Arc::clone(&entry.store));
            let (driver, lane) = self.start_lane(parts)?;
            drivers.push(driver);
            state.stores[at].lane = Some(lane);
            begun.stores += 1;
        }
        for draft in state.pending.clone() {
            let target = state.target(&draft)?;
            let (handle, inserted) = self.add_to_store(&target, draft)?;
            let store = Some(Arc::clone(&handle.store));
            if inserted == Inserted::Added {
                begun.added.push((Arc::clone(&handle.store), handle.id().clone()));
            }
            if inserted != Inserted::Kept {
                events.push(Event::JobAdded(JobRef { job_id: handle.id().clone(), store }));
            }
        }
        Ok(drivers)
    }

    /// Starts a store and makes the loop that will drive it.
    pub(crate) fn start_lane(&self, parts: LaneParts) -> Result<(Driver, Arc<Lane>), Error> {
        let LaneParts { alias, store, registry, timezone, options, defaults } = parts;
        let (clock, name) = (Arc::clone(&self.inner.clock), Arc::clone(&alias));
        let started = store.start(StoreContext::new(name, registry, clock, timezone).with_defaults(defaults));
        started.map_err(|error| error.in_context(format_args!("job store \"{alias}\"")))?;
        let queue = store.runs().is_some();
        let usual = if store.traits().persistent && queue { Delivery::Durable } else { Delivery::Direct };
        let delivery =
            options.delivery.filter(|chosen| queue || *chosen == Delivery::Direct).unwrap_or(usual);
        let engine = Engine::new(options, delivery, self.clone());
        let index = LANES.fetch_add(1, Ordering::Relaxed);
        let lane = Arc::new(Lane::new(alias, store, index, engine));
        Ok((Driver::new(self.clone(), Arc::clone(&lane)), lane))
    }

    /// Ends a loop: finishes the rows of runs that ended and gives the claims on the others back.
    pub(crate) fn end_lane(&self, lane: &Arc<Lane>) {
        lane.stop();
        if in_turn(lane) {
            return;
        }
        let mut engine = lane.engine.lock();
        if let Err(error) = engine.settle(self, lane) {
            tracing::warn!(store = &*lane.alias, %error, "runs that ended could not be recorded");
        }
        let left: Vec<RunClaim> = lane.claims.lock().drain().map(|(_, claim)| claim).collect();
        let released = lane.store.runs().filter(|_| !left.is_empty()).map(|queue| queue.release(&left));
        if let Some(Err(error)) = released {
            tracing::warn!(store = &*lane.alias, %error, "leases could not be given back; they will end");
        }
    }
}

/// What a store's loop is made of.
pub(crate) struct LaneParts {
    alias: Arc<str>,
    store: Arc<dyn JobStore>,
    registry: Arc<Registry>,
    timezone: Tz,
    options: EngineOptions,
    defaults: Arc<Defaults>,
}

impl LaneParts {
    pub(crate) fn of(state: &State, alias: Arc<str>, store: Arc<dyn JobStore>) -> Self {
        let (registry, timezone, options) =
            (Arc::clone(&state.registry), state.timezone, state.engine.clone());
        Self { alias, store, registry, timezone, options, defaults: Arc::clone(&state.defaults) }
    }
}

/// Waits until no turn is under way that still hands runs over, then lets the loop settle what ends.
fn end_of_turn(lane: &Lane, how: Shutdown) {
    let turn = match how {
        _ if in_turn(lane) => None,
        Shutdown::Wait => Some(lane.engine.lock()),
        Shutdown::WaitFor(limit) => lane.engine.try_lock_for(limit),
        Shutdown::Now => None,
    };
    drop(turn);
    lane.wake();
}

/// What a start has begun, to be undone when it fails.
#[derive(Default)]
struct Begun {
    /// How many executors and stores there were before those of alias `default` were added.
    configured: (usize, usize),
    executors: usize,
    stores: usize,
    added: Vec<(Arc<str>, crate::JobId)>,
}

impl Begun {
    fn before(state: &State) -> Self {
        Self { configured: (state.executors.len(), state.stores.len()), ..Self::default() }
    }

    fn undo(self, state: &mut State) {
        if let (Some(broker), Some(subscription)) = (&state.broker, state.subscription.take()) {
            broker.unsubscribe(subscription);
        }
        for (alias, id) in self.added {
            if let Ok(entry) = state.store(&alias) {
                let _ = entry.store.remove(&[id]);
            }
        }
        for entry in state.stores.iter_mut().take(self.stores) {
            if let Some(lane) = entry.lane.take() {
                lane.stop();
            }
            let _ = entry.store.shutdown();
        }
        for (_, executor) in state.executors.iter().take(self.executors) {
            let _ = executor.shutdown(Shutdown::Now);
        }
        let (executors, stores) = self.configured;
        state.executors.truncate(executors);
        state.stores.truncate(stores);
    }
}
