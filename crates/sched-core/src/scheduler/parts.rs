//! Listeners, executors and job stores: adding and removing them, before and after start.

use std::sync::Arc;

use super::lane::Lane;
use super::lifecycle::LaneParts;
use super::state::{SchedulerState, StoreEntry};
use super::{Health, Scheduler};
use crate::event::{Event, EventMask, EventStream, ListenerId};
use crate::executor::{Executor, ExecutorContext};
use crate::job::JobSettings;
use crate::policy::Shutdown;
use crate::registry::Registry;
use crate::store::JobStore;
use crate::{Error, ErrorKind};

impl Scheduler {
    /// Calls `listener` for every event in `mask`. Listeners run on the thread that causes the event; a slow one
    /// holds it up. See [`subscribe`](Self::subscribe) for code that takes its time.
    pub fn add_listener(
        &self,
        listener: impl Fn(&Event) + Send + Sync + 'static,
        mask: EventMask,
    ) -> ListenerId {
        self.inner.events.add(mask, listener)
    }

    /// Ends a listener; whether it was registered.
    pub fn remove_listener(&self, listener: ListenerId) -> bool {
        self.inner.events.remove(listener)
    }

    /// The events in `mask` from now on, kept until they are read.
    pub fn subscribe(&self, mask: EventMask) -> EventStream {
        let (sender, receiver) = std::sync::mpsc::channel();
        let listener = self.add_listener(move |event| drop(sender.send(event.clone())), mask);
        let scheduler = self.clone();
        EventStream { receiver, close: Box::new(move || _ = scheduler.remove_listener(listener)) }
    }

    /// Adds an executor. On a started scheduler it is started first.
    ///
    /// **Errors**: [`AlreadyExists`](ErrorKind::AlreadyExists) for a taken alias, those of the executor.
    pub fn add_executor(&self, executor: Arc<dyn Executor>, alias: &str) -> Result<(), Error> {
        let alias: Arc<str> = Arc::from(alias);
        let control = self.inner.control.lock();
        if self.inner.state.read().executor(&alias).is_ok() {
            return Err(taken("an executor", &alias));
        }
        if self.state() != SchedulerState::Stopped {
            executor.start(ExecutorContext { alias: Arc::clone(&alias) })?;
        }
        self.inner.state.write().executors.push((Arc::clone(&alias), executor));
        drop(control);
        self.publish(Event::ExecutorAdded(alias));
        Ok(())
    }

    /// Removes an executor and shuts it down as told.
    pub fn remove_executor(&self, alias: &str, how: impl Into<Shutdown>) -> Result<(), Error> {
        let mut state = self.inner.state.write();
        state.executor(alias)?;
        let at = state.executors.iter().position(|(name, _)| &**name == alias).unwrap_or_default();
        let (alias, executor) = state.executors.remove(at);
        let started = state.phase != SchedulerState::Stopped;
        drop(state);
        self.publish(Event::ExecutorRemoved(alias));
        if started { executor.shutdown(how.into()) } else { Ok(()) }
    }

    /// Adds a job store. On a started scheduler it is started, and its loop begins.
    ///
    /// **Errors**: [`AlreadyExists`](ErrorKind::AlreadyExists) for a taken alias, those of the store.
    pub fn add_job_store(&self, store: Arc<dyn JobStore>, alias: &str) -> Result<(), Error> {
        let alias: Arc<str> = Arc::from(alias);
        let control = self.inner.control.lock();
        let mut state = self.inner.state.write();
        if state.stores.iter().any(|entry| entry.alias == alias) {
            return Err(taken("a job store", &alias));
        }
        let begun = match state.runtime.clone() {
            None => None,
            Some(runtime) => {
                let parts = LaneParts::of(&state, Arc::clone(&alias), Arc::clone(&store));
                drop(state);
                let (driver, lane) = self.start_lane(parts)?;
                state = self.inner.state.write();
                Some((runtime, driver, lane))
            }
        };
        let lane = begun.as_ref().map(|(_, _, lane)| Arc::clone(lane));
        state.stores.push(StoreEntry { alias: Arc::clone(&alias), store, lane });
        drop(state);
        let spawned = begun.map_or(Ok(()), |(runtime, driver, _)| runtime.spawn(driver));
        if let Err(error) = spawned {
            drop(control);
            let _ = self.remove_job_store(&alias);
            return Err(error);
        }
        drop(control);
        self.publish(Event::JobStoreAdded(alias));
        Ok(())
    }

    /// Removes a job store: its loop ends and it is shut down. Its jobs stay where they are. Runs of its queue that were
    /// claimed here are waited for, except the one that this is called from: given back, others would start them again.
    pub fn remove_job_store(&self, alias: &str) -> Result<(), Error> {
        let mut state = self.inner.state.write();
        state.store(alias)?;
        let at = state.stores.iter().position(|entry| &*entry.alias == alias).unwrap_or_default();
        let StoreEntry { alias, lane, .. } = state.stores.remove(at);
        drop(state);
        let closed = match &lane {
            Some(lane) => {
                lane.leave();
                self.inner.dispatcher.drain_claimed(self, lane);
                let closed = self.end_lane(lane, None);
                self.drop_retries(Some(lane.index));
                closed
            }
            None => Ok(()),
        };
        self.publish(Event::JobStoreRemoved(alias));
        closed
    }

    /// The aliases of the executors, in the order in which they were added.
    pub fn executors(&self) -> Vec<Arc<str>> {
        self.inner.state.read().executors.iter().map(|(alias, _)| Arc::clone(alias)).collect()
    }

    /// The aliases of the job stores, in the order in which they were added.
    pub fn job_stores(&self) -> Vec<Arc<str>> {
        self.inner.state.read().stores.iter().map(|entry| Arc::clone(&entry.alias)).collect()
    }

    /// The executor of that alias.
    pub fn executor(&self, alias: &str) -> Result<Arc<dyn Executor>, Error> {
        self.inner.state.read().executor(alias).cloned()
    }

    /// The job store of that alias.
    pub fn job_store(&self, alias: &str) -> Result<Arc<dyn JobStore>, Error> {
        self.inner.state.read().store(alias).map(|entry| Arc::clone(&entry.store))
    }

    /// How each job store's loop fares.
    pub fn health(&self) -> Vec<(Arc<str>, Health)> {
        let lanes = self.inner.state.read().lanes();
        lanes.into_iter().map(|lane: Arc<Lane>| (Arc::clone(&lane.alias), lane.health())).collect()
    }

    /// The plug-ins and tasks it knows.
    pub fn registry(&self) -> Arc<Registry> {
        Arc::clone(&self.inner.state.read().registry)
    }

    /// The zone of triggers and naive times that name none.
    pub fn timezone(&self) -> chrono_tz::Tz {
        self.inner.state.read().timezone
    }

    /// The options of jobs that have none of their own.
    pub fn job_defaults(&self) -> JobSettings {
        self.inner.state.read().defaults.settings.clone()
    }

    /// Gives a task other settings. They apply to jobs that are added or changed from now on; settings that are
    /// `None` stay.
    pub fn configure_task(&self, name: &str, settings: &JobSettings) -> Result<(), Error> {
        let mut state = self.inner.state.write();
        Arc::make_mut(&mut state.registry).configure_task(name, settings)
    }
}

fn taken(what: &str, alias: &str) -> Error {
    let message = format!("this scheduler already has {what} by the alias of \"{alias}\"");
    Error::new(ErrorKind::AlreadyExists, message)
}
