//! What a plug-in says of itself.

use std::fmt;
use std::sync::Arc;

use crate::config::Section;
use crate::executor::Executor;
use crate::store::JobStore;
use crate::{Error, EventBroker, LocalBroker, Trigger};

/// The kinds of thing a plug-in can provide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PluginKind {
    /// A [`Trigger`].
    Trigger,
    /// A [`JobStore`].
    JobStore,
    /// An [`Executor`].
    Executor,
    /// An [`EventBroker`].
    EventBroker,
}

impl fmt::Display for PluginKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Trigger => "trigger",
            Self::JobStore => "job store",
            Self::Executor => "executor",
            Self::EventBroker => "event broker",
        })
    }
}

/// How a plug-in builds its part from a table. It reads its keys from the [`Section`] and leaves
/// [`finish`](Section::finish) to the registry.
#[derive(Debug, Clone, Copy)]
pub enum Factory {
    /// Builds a trigger.
    Trigger(fn(&mut Section<'_>) -> Result<Arc<dyn Trigger>, Error>),
    /// Builds a job store. It does not connect: that is [`JobStore::start`]'s work.
    JobStore(fn(&mut Section<'_>) -> Result<Arc<dyn JobStore>, Error>),
    /// Builds an executor. It starts no thread: that is [`Executor::start`]'s work.
    Executor(fn(&mut Section<'_>) -> Result<Arc<dyn Executor>, Error>),
    /// Builds an event broker.
    EventBroker(fn(&mut Section<'_>) -> Result<Arc<dyn EventBroker>, Error>),
}

/// A plug-in's descriptor, submitted through `inventory` or added to a registry by hand.
#[derive(Debug, Clone, Copy)]
pub struct Plugin {
    /// The names a configuration may use; the first is the canonical one.
    pub aliases: &'static [&'static str],
    /// One line for people.
    pub summary: &'static str,
    /// The crate it comes from (`env!("CARGO_PKG_NAME")`).
    pub package: &'static str,
    /// Builds the part.
    pub factory: Factory,
}

impl Plugin {
    /// What it provides.
    pub fn kind(&self) -> PluginKind {
        match self.factory {
            Factory::Trigger(_) => PluginKind::Trigger,
            Factory::JobStore(_) => PluginKind::JobStore,
            Factory::Executor(_) => PluginKind::Executor,
            Factory::EventBroker(_) => PluginKind::EventBroker,
        }
    }
}

inventory::collect!(Plugin);

inventory::submit! {
    Plugin {
        aliases: &["local"],
        summary: "wake-ups between schedulers of one process",
        package: env!("CARGO_PKG_NAME"),
        factory: Factory::EventBroker(|_| Ok(Arc::new(LocalBroker::new()))),
    }
}
