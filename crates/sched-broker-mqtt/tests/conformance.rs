//! The suites of the testkit on a real server.
#![expect(clippy::expect_used, reason = "a test: what fails, panics")]

use std::sync::Arc;

use rumqttc::{Client, Event, MqttOptions, Outgoing, QoS};
use sched_broker_mqtt::MqttBroker;
use sched_testkit::{BrokerFixture, Proxy, server};

/// Two instances on a topic of their own; nothing when there is no server.
fn on_a_server() -> Option<BrokerFixture> {
    let url = server::mqtt()?;
    let topic = server::unique_name("broker");
    let address = url.split_once("://").map(|(_, rest)| rest.trim_end_matches('/').to_owned());
    let address = address.expect("a url has a scheme");
    let proxy = Proxy::to(&address).expect("the server has an address");
    let open = |url: String| Arc::new(MqttBroker::builder(url).topic(&topic).build().expect("it is right"));
    let (here, there) = (open(proxy.url(&url)), open(url));
    let stranger = move |message: &[u8]| {
        let (host, port) = address.split_once(':').expect("the url has a port");
        let port = port.parse().expect("it is a number");
        let (client, mut connection) = Client::new(MqttOptions::new(server::unique_name("x"), host, port), 1);
        client.publish(&topic, QoS::AtMostOnce, false, message).expect("the client is there");
        let is_sent = |event: &Event| matches!(event, Event::Outgoing(Outgoing::Publish(_)));
        connection.iter().find(|event| is_sent(event.as_ref().expect("the server is there")));
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("there is a runtime");
    let fixture = BrokerFixture::new(here).with_peer(there).with_proxy(proxy).with_stranger(stranger);
    Some(fixture.with_threads("sched-mqtt").with_runtime(move |work| runtime.block_on(async { work() })))
}

mod alone {
    sched_testkit::broker_suite!(super::on_a_server);
}
mod networked {
    sched_testkit::network_broker_suite!(super::on_a_server);
}
