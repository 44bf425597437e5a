//! The suites of [`EventBroker`]'s guarantees.
//!
//! [`broker_suite!`](crate::broker_suite) is for every broker. [`network_broker_suite!`](crate::network_broker_suite) is
//! for those on a server: a second instance stands for another process, and a [`Proxy`] is the line that breaks.

mod fleet;
mod heard;
mod local;
mod network;

use std::sync::Arc;

use parking_lot::{RwLock, RwLockReadGuard};
use sched_core::{EventBroker, SubscriptionId};

pub use self::fleet::fleet;
pub use self::heard::{Heard, notice, notice_due};
pub use self::local::*;
pub use self::network::*;
use crate::proxy::Proxy;

/// Tests an event broker, one test for each case.
///
/// It is given what makes a broker that nobody has used yet: a function or closure that returns an `Arc` of its type, a
/// [`BrokerFixture`] when there is more to say, or an `Option` of either, which is `None` without a server.
///
/// # Example
/// ```
/// mod local {
///     # use std::sync::Arc;
///     # use sched_core::LocalBroker;
///     sched_testkit::broker_suite!(|| Arc::new(LocalBroker::new()));
/// }
/// ```
#[macro_export]
macro_rules! broker_suite {
    ($make:expr) => {
        $crate::suite! { broker, $make;
            broker_reaches_every_subscriber,
            broker_carries_notices_whole,
            broker_takes_empty_batches,
            broker_is_silent_after_unsubscribe,
            broker_takes_unknown_subscriptions,
            broker_lets_go_of_callbacks,
            broker_is_subscribed_to_again,
            broker_takes_calls_from_callbacks,
            broker_survives_callbacks_that_panic,
            broker_is_used_from_many_threads,
            broker_shows_itself,
        }
    };
}

/// Tests an event broker on a server; to be used beside [`broker_suite!`](crate::broker_suite). Its fixture has a
/// [peer](BrokerFixture::with_peer), a [proxy](BrokerFixture::with_proxy), a
/// [stranger](BrokerFixture::with_stranger), the [names of its threads](BrokerFixture::with_threads) and a
/// [runtime](BrokerFixture::with_runtime).
#[macro_export]
macro_rules! network_broker_suite {
    ($make:expr) => {
        $crate::suite! { broker, $make;
            broker_reaches_other_processes,
            broker_is_quick,
            broker_gathers_bursts,
            broker_publishes_without_subscribers,
            broker_publish_does_not_wait,
            broker_reconnects_after_a_cut,
            broker_reconnects_after_an_outage,
            broker_keeps_what_was_published_in_an_outage,
            broker_starts_without_its_server,
            broker_ignores_what_is_no_notice,
            broker_threads_end,
            broker_works_inside_a_runtime,
        }
    };
}

/// Held while a case goes on, and held alone while threads are counted.
static CASES: RwLock<()> = RwLock::new(());

/// Sends bytes on a broker's channel.
type Stranger = Box<dyn Fn(&[u8])>;

/// Does work inside of a runtime.
type Inside = Box<dyn Fn(Box<dyn FnOnce()>)>;

/// A broker under test.
pub struct BrokerFixture {
    /// The broker.
    pub broker: Arc<dyn EventBroker>,
    peer: Option<Arc<dyn EventBroker>>,
    proxy: Option<Proxy>,
    stranger: Option<Stranger>,
    runtime: Option<Inside>,
    threads: &'static str,
    running: Option<RwLockReadGuard<'static, ()>>,
}

/// What a suite may be given to make its fixture from.
#[doc(hidden)]
pub trait IntoFixture {
    /// The fixture, unless there is no server.
    fn into_fixture(self) -> Option<BrokerFixture>;
}

impl<B: EventBroker> IntoFixture for Arc<B> {
    fn into_fixture(self) -> Option<BrokerFixture> {
        Some(BrokerFixture::new(self))
    }
}

impl IntoFixture for BrokerFixture {
    fn into_fixture(self) -> Option<BrokerFixture> {
        Some(self)
    }
}

impl<F: IntoFixture> IntoFixture for Option<F> {
    fn into_fixture(self) -> Option<BrokerFixture> {
        self.and_then(F::into_fixture)
    }
}

/// The broker of a case; nothing when its server is absent, which was told.
#[doc(hidden)]
pub fn fixture<F: IntoFixture>(make: impl Fn() -> F) -> Option<BrokerFixture> {
    let running = CASES.read_recursive();
    let mut fixture = make().into_fixture()?;
    fixture.running = Some(running);
    Some(fixture)
}

impl BrokerFixture {
    /// A broker, with nothing around it.
    pub fn new(broker: Arc<dyn EventBroker>) -> Self {
        Self { broker, peer: None, proxy: None, stranger: None, runtime: None, threads: "", running: None }
    }

    /// Another instance on the same server and channel, with a line of its own.
    #[must_use]
    pub fn with_peer(mut self, peer: Arc<dyn EventBroker>) -> Self {
        self.peer = Some(peer);
        self
    }

    /// The line that the broker, and not its peer, goes through.
    #[must_use]
    pub fn with_proxy(mut self, proxy: Proxy) -> Self {
        self.proxy = Some(proxy);
        self
    }

    /// Sends any bytes on the broker's channel.
    #[must_use]
    pub fn with_stranger(mut self, send: impl Fn(&[u8]) + 'static) -> Self {
        self.stranger = Some(Box::new(send));
        self
    }

    /// Does work inside of a runtime that does not like to be blocked, such as tokio.
    #[must_use]
    pub fn with_runtime(mut self, run: impl Fn(Box<dyn FnOnce()>) + 'static) -> Self {
        self.runtime = Some(Box::new(run));
        self
    }

    /// What the names of the broker's threads begin with.
    #[must_use]
    pub fn with_threads(mut self, prefix: &'static str) -> Self {
        self.threads = prefix;
        self
    }

    pub(crate) fn peer(&self) -> &Arc<dyn EventBroker> {
        self.peer.as_ref().expect("the fixture has a peer")
    }

    pub(crate) fn proxy(&self) -> &Proxy {
        self.proxy.as_ref().expect("the fixture has a proxy")
    }

    /// Subscribes somebody who remembers.
    pub(crate) fn subscribe(&self) -> (SubscriptionId, Arc<Heard>) {
        subscribe(&*self.broker)
    }
}

/// Subscribes somebody who remembers.
pub(crate) fn subscribe(broker: &dyn EventBroker) -> (SubscriptionId, Arc<Heard>) {
    let heard = Arc::new(Heard::default());
    let subscription = broker.subscribe(Heard::callback(&heard)).expect("a broker takes subscribers");
    (subscription, heard)
}
