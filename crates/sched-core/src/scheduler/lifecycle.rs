//! Start, pause, resume, shutdown.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use rustc_hash::FxHashMap;

use super::driver::{Driver, Runtime, in_turn};
use super::lane::{ClosesAfter, Lane};
use super::settle::settle;
use super::state::{EngineOptions, SchedulerState, State, StoreEntry};
use super::turn::Engine;
use super::{Scheduler, SchedulerConfig};
use crate::Error;
use crate::broker::Notice;
use crate::config::BuildContext;
use crate::context::current_run;
use crate::event::{Event, EventMask, JobRef};
use crate::executor::ExecutorContext;
use crate::id::RunId;
use crate::job::{DEFAULT_ALIAS, Defaults};
use crate::policy::{Delivery, Role, Shutdown};
use crate::registry::Registry;
use crate::run::Outcome;
use crate::store::{
    Again, Attempt, FinishedRun, Inserted, JobStore, RunClaim, RunQueue, RunRecord, StoreContext,
};

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
        if config.given_identity().is_some_and(|given| *given != self.inner.identity) {
            let message = "the identity of a scheduler is given when it is built and stays";
            return Err(Error::new(crate::ErrorKind::InvalidState, message));
        }
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
        self.await_closing();
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

    /// Waits until the scheduler is shut down, with all that a shutdown waits for; returns at once when it is stopped.
    pub fn wait_until_stopped(&self) {
        let events = self.subscribe(EventMask::SCHEDULER_SHUTDOWN);
        while self.is_running() && events.next_within(Duration::from_secs(60)).is_none() {}
        self.shut_down().wait();
    }

    /// Makes every loop look at its store soon.
    pub fn wakeup(&self) {
        self.inner.state.read().lanes().iter().for_each(|lane| lane.wake());
    }

    /// Stops: nothing more fires, unfinished runs are waited for or asked to cancel, then executors and stores
    /// are shut down. It may be called from inside a task (whose own run it does not wait for) and from listeners.
    /// The scheduler can be started again.
    ///
    /// It holds its thread while it waits. An async run that waits so keeps its runtime from driving the runs it waits
    /// for, and on a runtime of one thread for ever: there await the `shutdown` of the runtime's own scheduler.
    ///
    /// `true` waits, `false` does not; a `Duration` waits at most that long.
    ///
    /// **Errors**: [`InvalidState`](crate::ErrorKind::InvalidState) when stopped; else the first error of an
    /// executor or store, after all were shut down.
    pub fn shutdown(&self, how: impl Into<Shutdown>) -> Result<(), Error> {
        let how = how.into();
        self.begin_shutdown(how)?.finish(how)
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
        lane.wake_for(due);
        self.notify(lane, due);
    }

    /// Tells other schedulers that share the store that something is due.
    pub(crate) fn notify(&self, lane: &Lane, due: Option<DateTime<Utc>>) {
        let Some(due) = due else { return };
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
        let prepared = match options.role {
            Role::Scheduler if delivery == Delivery::Direct => Err(plans_in_vain(&alias)),
            _ if self.inner.is_named => store.recover(&self.inner.identity),
            _ => Ok(()),
        };
        if let Err(error) = prepared {
            let _ = store.shutdown();
            return Err(error.in_context(format_args!("job store \"{alias}\"")));
        }
        let index = LANES.fetch_add(1, Ordering::Relaxed);
        let lane = Arc::new_cyclic(|lane| {
            let engine = Engine::new(options, delivery, self.clone(), Weak::clone(lane));
            Lane::new(alias, store, index, engine)
        });
        Ok((Driver::new(self.clone(), Arc::clone(&lane)), lane))
    }

    /// Ends a loop and closes its store: finishes the rows of runs that ended and gives the claims on the others back.
    /// Inside a turn of the loop, or inside a run that was claimed by it, that is left to the end of the turn or the
    /// run, which has a row to be written; and to a turn that takes longer than `patience`, if there is a limit.
    ///
    /// **Errors**: those of closing the store.
    pub(crate) fn end_lane(&self, lane: &Arc<Lane>, patience: Option<Duration>) -> Result<(), Error> {
        lane.stop();
        let own = current_run().filter(|context| context.scheduler() == Some(self));
        let own = own.map(|context| context.run().id).filter(|id| lane.claims.lock().contains_key(id));
        let inside = match own {
            _ if in_turn(lane) => Some(ClosesAfter::Turn),
            own => own.map(ClosesAfter::Run),
        };
        if let Some(inside) = inside {
            lane.close_after(inside, self.ending());
            self.inner.closing.lock().push(Arc::clone(lane));
            return Ok(());
        }
        let engine = match patience {
            None => Some(lane.engine.lock()),
            Some(patience) => lane.engine.try_lock_for(patience),
        };
        if let Some(mut engine) = engine {
            return self.close_lane(lane, &mut engine);
        }
        lane.close_after(ClosesAfter::Turn, self.ending());
        self.inner.closing.lock().push(Arc::clone(lane));
        // A turn that was over just before does not see it any more; one that is not over yet does.
        match lane.engine.try_lock() {
            Some(mut engine) if lane.take_close(ClosesAfter::Turn) => self.close_lane(lane, &mut engine),
            _ => Ok(()),
        }
    }

    /// The last that is done in a lane.
    pub(crate) fn close_lane(&self, lane: &Arc<Lane>, engine: &mut Engine) -> Result<(), Error> {
        let _ending = lane.take_ending();
        self.end_held(lane);
        if let Err(error) = engine.release_prepared(lane) {
            tracing::warn!(store = &*lane.alias, %error, "claims on jobs could not be given back; they will end");
        }
        if let Err(error) = settle(self, lane) {
            tracing::warn!(store = &*lane.alias, %error, "runs that ended could not be recorded");
        }
        // What ended and could not be recorded stays leased: given back, it would run again as the same attempt.
        let unrecorded: Vec<RunId> = lane.ended.lock().iter().map(|ended| ended.claim.id).collect();
        let claims = std::mem::take(&mut *lane.claims.lock());
        let left: Vec<RunClaim> =
            claims.into_values().filter(|claim| !unrecorded.contains(&claim.id)).collect();
        let released =
            lane.store.runs().filter(|_| !left.is_empty()).map(|queue| self.give_back(queue, left));
        if let Some(Err(error)) = released {
            tracing::warn!(store = &*lane.alias, %error, "leases could not be given back; they will end");
        }
        lane.store.shutdown()
    }

    /// Gives claims on unfinished runs back, so that others may take them at once. A run that has started may have done
    /// part of its work: it is put back as one whose attempt was cut short, so that the next one has another number.
    fn give_back(&self, queue: &dyn RunQueue, claims: Vec<RunClaim>) -> Result<(), Error> {
        let active = self.active_runs().into_iter();
        let started: FxHashMap<RunId, DateTime<Utc>> =
            active.filter_map(|active| Some((active.run.id, active.started_at?))).collect();
        let (mut cut, mut unstarted) = (Vec::new(), Vec::new());
        for claim in claims {
            match started.get(&claim.id).map(|started| (started, queue.result(claim.id))) {
                Some((started, Ok(record))) => {
                    cut.push(cut_short(claim, *started, record, self.inner.clock.now()))
                }
                Some((_, Err(_))) | None => unstarted.push(claim),
            }
        }
        let put_back = if cut.is_empty() { Ok(()) } else { queue.finish(cut).map(drop) };
        let released = if unstarted.is_empty() { Ok(()) } else { queue.release(&unstarted) };
        put_back.and(released)
    }

    /// Closes a lane whose scheduler was shut down from inside a run that has ended now.
    pub(crate) fn close_after_run(&self, lane: &Arc<Lane>) {
        if let Err(error) = self.close_lane(lane, &mut lane.engine.lock()) {
            tracing::warn!(store = &*lane.alias, %error, "the job store could not be shut down");
        }
    }

    /// Waits for turns that close their stores when they end, so that none is closed that is started again.
    fn await_closing(&self) {
        let closing = std::mem::take(&mut *self.inner.closing.lock());
        for lane in closing {
            let engine = (!in_turn(&lane)).then(|| lane.engine.lock());
            if lane.take_any_close() {
                // Started anew before what shut it down has ended: that is left to the end of its lease.
                let _ = lane.store.shutdown();
                drop(lane.take_ending());
            }
            drop(engine);
        }
    }
}

/// The end of an attempt that its scheduler did not wait for.
fn cut_short(claim: RunClaim, started: DateTime<Utc>, record: RunRecord, now: DateTime<Utc>) -> FinishedRun {
    let outcome = Outcome::Abandoned("its scheduler was shut down".to_owned());
    let started_at = Some(started);
    let attempt = Attempt { attempt: record.attempt, outcome: outcome.clone(), started_at, finished_at: now };
    let history = record.history.into_iter().chain([attempt]).collect();
    FinishedRun { claim, outcome, started_at, finished_at: now, again: Some(Again { at: now, history }) }
}

fn plans_in_vain(alias: &str) -> Error {
    let message =
        format!("role `scheduler` needs durable delivery, and job store \"{alias}\" delivers directly");
    Error::new(crate::ErrorKind::InvalidConfig, message)
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
