//! The scheduler: the front door, and the engine behind it.
//!
//! In reading order: [`jobs`] is what users call; [`lifecycle`] starts and stops; [`driver`] is what an adapter
//! drives; [`turn`] is one step of the engine; [`dispatch`] hands runs to executors and hears of their end.
//!
//! Nothing sleeps here but a [`keeper`], where an adapter has no place of its own for it: an adapter does everything
//! else.

mod ahead;
mod at_once;
mod backoff;
mod builder;
mod commit;
mod config;
mod dispatch;
mod driver;
mod export;
mod file;
mod handle;
mod jobs;
mod keeper;
mod lane;
mod lifecycle;
mod parts;
mod queued;
mod runs;
mod settle;
mod state;
mod stopping;
mod told;
mod turn;

use std::fmt;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

pub use self::builder::SchedulerBuilder;
pub use self::config::SchedulerConfig;
pub use self::dispatch::ActiveRun;
use self::dispatch::Dispatcher;
pub use self::driver::{Driver, Runtime, Wake};
pub use self::handle::{JobHandle, JobKey};
pub use self::keeper::Keeper;
pub use self::lane::Health;
pub use self::lifecycle::StartMode;
pub use self::runs::NewRun;
pub use self::state::SchedulerState;
use self::state::State;
pub use self::stopping::{Drained, ShutDown, Stopping};
use crate::clock::Clock;
use crate::event::{Event, EventBus};
use crate::id::random_u64;

/// A scheduler: jobs, the stores that keep them, the executors that run them, and the listeners that are told.
///
/// It is a cheap handle: clones are the same scheduler, and every method works from any thread, from listeners and
/// from inside tasks. It does nothing by itself; a runtime adapter such as `BackgroundScheduler` drives it.
#[derive(Clone)]
pub struct Scheduler {
    inner: Arc<Inner>,
}

struct Inner {
    identity: Arc<str>,
    /// Whether the identity is the user's, so that what it left behind is its own.
    is_named: bool,
    seed: u64,
    clock: Arc<dyn Clock>,
    events: EventBus,
    state: RwLock<State>,
    /// Serialises start, shutdown and configure; never held while listeners are called.
    control: Mutex<()>,
    dispatcher: Dispatcher,
    waiters: runs::Waiters,
    /// Lanes whose end was left to their turn.
    closing: Mutex<Vec<Arc<lane::Lane>>>,
    endings: Arc<stopping::Endings>,
}

impl Scheduler {
    /// A scheduler with the plug-ins and tasks that are linked in, and defaults for everything.
    ///
    /// **Errors**: [`AlreadyExists`](crate::ErrorKind::AlreadyExists) when two plug-ins or tasks share a name.
    pub fn new() -> Result<Self, crate::Error> {
        Self::builder().build()
    }

    /// A scheduler from a configuration dictionary; see [`SchedulerConfig::from_value`].
    pub fn from_config(config: serde_json::Value) -> Result<Self, crate::Error> {
        Self::builder().config(config).build()
    }

    /// Starts to set a scheduler up in code.
    pub fn builder() -> SchedulerBuilder {
        SchedulerBuilder::default()
    }

    pub(crate) fn assemble(identity: Option<Arc<str>>, clock: Arc<dyn Clock>, state: State) -> Self {
        let (seed, is_named) = (random_u64(), identity.is_some());
        let identity = identity.unwrap_or_else(|| Arc::from(format!("{}-{seed:016x}", std::process::id())));
        let (events, control, dispatcher) = (EventBus::default(), Mutex::new(()), Dispatcher::default());
        let (state, waiters, closing) = (RwLock::new(state), runs::Waiters::default(), Mutex::default());
        let endings = Arc::default();
        Self {
            inner: Arc::new(Inner {
                identity,
                is_named,
                seed,
                clock,
                events,
                state,
                control,
                dispatcher,
                waiters,
                closing,
                endings,
            }),
        }
    }

    /// The name under which it claims jobs and runs.
    pub fn identity(&self) -> &str {
        &self.inner.identity
    }

    /// The clock it was given.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.inner.clock
    }

    fn publish(&self, event: Event) {
        self.inner.events.publish(event);
    }
}

impl fmt::Debug for Scheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.inner.state.try_read().map(|state| state.phase);
        f.debug_struct("Scheduler").field("identity", &self.inner.identity).field("state", &state).finish()
    }
}

impl PartialEq for Scheduler {
    /// Whether both handles are the same scheduler.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }
}
