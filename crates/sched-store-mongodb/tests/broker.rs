//! The suites of brokers on a replica set, and on a server that is alone.
#![expect(clippy::expect_used, reason = "a test: what fails, panics")]

use std::sync::Arc;

use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, Document, doc};
use sched_store_mongodb::MongoBroker;
use sched_testkit::{BrokerFixture, Proxy, server};

/// Two instances on a collection of their own; nothing when there is no server.
fn two_on(url: Option<String>) -> Option<BrokerFixture> {
    let (url, collection) = (url?, server::unique_name("broker"));
    let address =
        url.split_once("://").and_then(|(_, rest)| rest.split(['/', '?']).next()).map(str::to_owned);
    let proxy = Proxy::to(address.expect("a url has an address")).expect("the server has an address");
    let open = |url: &str| {
        let builder = MongoBroker::builder(url).database("sched_brokers").collection(&collection);
        Arc::new(builder.build().expect("it is right"))
    };
    // A driver that knows of a replica set goes to its members, and not through the proxy.
    let (here, there) = (open(&format!("mongodb://{}/?directConnection=true", proxy.address())), open(&url));
    let stranger = move |message: &[u8]| {
        let client = mongodb::sync::Client::with_uri_str(&url).expect("the url is right");
        let message = Binary { subtype: BinarySubtype::Generic, bytes: message.to_vec() };
        let notices = client.database("sched_brokers").collection::<Document>(&collection);
        for document in [doc! { "message": message }, doc! { "message": 1 }, doc! {}] {
            notices.insert_one(document).run().expect("it is written");
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("there is a runtime");
    let fixture = BrokerFixture::new(here).with_peer(there).with_proxy(proxy).with_stranger(stranger);
    Some(fixture.with_threads("sched-mongo").with_runtime(move |work| runtime.block_on(async { work() })))
}

fn on_a_replica_set() -> Option<BrokerFixture> {
    two_on(server::mongodb())
}

fn on_a_server() -> Option<BrokerFixture> {
    two_on(server::mongodb_standalone())
}

mod alone {
    sched_testkit::broker_suite!(super::on_a_server);
}
mod networked {
    sched_testkit::network_broker_suite!(super::on_a_server);
}
mod on_a_set {
    sched_testkit::broker_suite!(super::on_a_replica_set);
}
mod networked_on_a_set {
    sched_testkit::network_broker_suite!(super::on_a_replica_set);
}
