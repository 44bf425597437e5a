//! The suites of brokers on a real server, and on a node of a cluster.
#![expect(clippy::expect_used, reason = "a test: what fails, panics")]

use std::sync::Arc;

use sched_store_redis::RedisBroker;
use sched_testkit::{BrokerFixture, Proxy, server};

/// Two instances on a channel of their own; nothing when there is no server.
fn two_on(url: Option<String>) -> Option<BrokerFixture> {
    let (url, channel) = (url?, server::unique_name("broker"));
    let address = url.split_once("://").map(|(_, rest)| rest.trim_end_matches('/').to_owned());
    let proxy = Proxy::to(address.expect("a url has a scheme")).expect("the server has an address");
    let open =
        |url: &str| Arc::new(RedisBroker::builder(url).channel(&channel).build().expect("it is right"));
    let (here, there) = (open(&proxy.url(&url)), open(&url));
    let stranger = move |message: &[u8]| {
        let client = redis::Client::open(url.as_str()).expect("the url is right");
        let mut link = client.get_connection().expect("the server answers");
        redis::cmd("PUBLISH").arg(&channel).arg(message).exec(&mut link).expect("it is published");
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("there is a runtime");
    let fixture = BrokerFixture::new(here).with_peer(there).with_proxy(proxy).with_stranger(stranger);
    Some(fixture.with_threads("sched-redis").with_runtime(move |work| runtime.block_on(async { work() })))
}

fn on_a_server() -> Option<BrokerFixture> {
    two_on(server::redis())
}

fn on_a_node() -> Option<BrokerFixture> {
    two_on(server::redis_cluster())
}

mod alone {
    sched_testkit::broker_suite!(super::on_a_server);
}
mod networked {
    sched_testkit::network_broker_suite!(super::on_a_server);
}
mod in_a_cluster {
    sched_testkit::broker_suite!(super::on_a_node);
}
mod networked_in_a_cluster {
    sched_testkit::network_broker_suite!(super::on_a_node);
}
