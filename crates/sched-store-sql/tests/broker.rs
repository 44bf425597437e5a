//! The suites of brokers on a real server.
#![cfg(feature = "postgres")]
#![expect(clippy::expect_used, reason = "a test: what fails, panics")]

use std::sync::Arc;

use diesel::pg::PgConnection;
use diesel::sql_types::Text;
use diesel::{Connection, RunQueryDsl, sql_query};
use sched_store_sql::PostgresBroker;
use sched_testkit::{BrokerFixture, Proxy, server};

/// Two instances on a channel of their own; nothing when there is no server.
fn on_a_server() -> Option<BrokerFixture> {
    let (url, channel) = (server::postgres()?, server::unique_name("broker \"q"));
    let address = url.rsplit_once('@').and_then(|(_, rest)| rest.split(['/', '?']).next()).map(str::to_owned);
    let proxy = Proxy::to(address.expect("the url has a user")).expect("the server has an address");
    let open =
        |url: &str| Arc::new(PostgresBroker::builder(url).channel(&channel).build().expect("it is right"));
    let (here, there) = (open(&proxy.url(&url)), open(&url));
    let stranger = move |message: &[u8]| {
        let mut link = PgConnection::establish(&url).expect("the server answers");
        let message = std::str::from_utf8(message).expect("the server takes text");
        let notify = sql_query("SELECT pg_notify($1, $2)").bind::<Text, _>(&channel).bind::<Text, _>(message);
        notify.execute(&mut link).expect("it is sent");
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("there is a runtime");
    let fixture = BrokerFixture::new(here).with_peer(there).with_proxy(proxy).with_stranger(stranger);
    Some(fixture.with_threads("sched-pgsql").with_runtime(move |work| runtime.block_on(async { work() })))
}

mod alone {
    sched_testkit::broker_suite!(super::on_a_server);
}
mod networked {
    sched_testkit::network_broker_suite!(super::on_a_server);
}
