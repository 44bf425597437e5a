//! The event broker.

use std::fmt;

use sched_broker::Relay;
use sched_core::{Error, EventBroker, Notice, NoticeCallback, SubscriptionId};

use crate::config::{Config, MqttBrokerBuilder};
use crate::wire::MqttWire;

/// An event broker on an MQTT broker: notices are messages to one topic.
///
/// It connects when it is used first. When the server is not there, the log says so and it is tried again; the scheduler
/// works on and finds what is due when it polls.
pub struct MqttBroker(Relay<MqttWire>);

impl MqttBroker {
    /// Starts a broker on a server: `mqtt://[user:password@]host[:port]`, or `mqtts://…` with the cargo feature `tls`.
    pub fn builder(url: impl Into<String>) -> MqttBrokerBuilder {
        MqttBrokerBuilder::new(url)
    }

    pub(crate) fn new(config: Config) -> Self {
        Self(Relay::new(MqttWire::new(config)))
    }
}

impl EventBroker for MqttBroker {
    fn publish(&self, notices: &[Notice]) -> Result<(), Error> {
        self.0.publish(notices)
    }

    fn subscribe(&self, callback: NoticeCallback) -> Result<SubscriptionId, Error> {
        self.0.subscribe(callback)
    }

    fn unsubscribe(&self, subscription: SubscriptionId) {
        self.0.unsubscribe(subscription);
    }
}

impl fmt::Debug for MqttBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MqttBroker").field(&self.0).finish()
    }
}
