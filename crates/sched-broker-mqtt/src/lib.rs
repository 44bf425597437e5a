#![doc = include_str!("../README.md")]

mod broker;
mod config;
mod error;
#[cfg(feature = "tls")]
mod tls;
mod url;
mod wire;

pub use self::broker::MqttBroker;
pub use self::config::{MqttBrokerBuilder, Qos};

use sched_core::{Factory, Plugin};

inventory::submit! {
    Plugin {
        aliases: &["mqtt"],
        summary: "wake-ups between schedulers through an MQTT broker",
        package: env!("CARGO_PKG_NAME"),
        factory: Factory::EventBroker(config::from_config),
    }
}
