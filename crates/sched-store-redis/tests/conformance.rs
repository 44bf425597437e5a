//! The suites of the testkit on a real server: alone, with payloads in CBOR, and in a cluster.
#![expect(clippy::expect_used, reason = "a test: what fails, panics")]

use std::sync::Arc;

use sched_store_redis::{RedisStore, RedisStoreBuilder};
use sched_testkit::{StoreFixture, server};

/// Two handles on keys of their own; nothing when there is no server.
fn two_handles(
    url: Option<String>,
    with: fn(RedisStoreBuilder) -> RedisStoreBuilder,
) -> Option<StoreFixture> {
    let (url, prefix) = (url?, server::unique_name("suite"));
    let open = || {
        let builder = with(RedisStore::builder(&url).prefix(&prefix));
        Arc::new(builder.build().expect("the configuration is right"))
    };
    let fixture = StoreFixture::new(open()).with_peer(open()).with_server_clock().with_claimed_commits();
    let spoil = move |hash: &str, id: &str, change: fn(Vec<u8>) -> Vec<u8>| {
        let client = redis::Client::open(url.as_str()).expect("the url is right");
        let mut conn = client.get_connection().expect("the server answers");
        let key = format!("{{{prefix}}}:{hash}");
        let row: Vec<u8> = redis::cmd("HGET").arg(&key).arg(id).query(&mut conn).expect("the row is there");
        redis::cmd("HSET").arg(key).arg(id).arg(change(row)).exec(&mut conn).expect("it is a hash");
    };
    let spoil_run = spoil.clone();
    let fixture =
        fixture.with_corruption(move |id| spoil("jobs", id.as_str(), |_| b"{\"version\":".to_vec()));
    Some(fixture.with_run_corruption(move |id| {
        spoil_run("runs", &id.to_string(), |record| [&record[..], b"]"].concat());
    }))
}

fn alone() -> Option<StoreFixture> {
    two_handles(server::redis(), |builder| builder)
}

/// One of the two formats, and one of the two ways to connect, is left to these.
#[cfg(all(feature = "cbor", feature = "cluster"))]
mod in_a_cluster_as_cbor {
    fn clustered() -> Option<sched_testkit::StoreFixture> {
        super::two_handles(sched_testkit::server::redis_cluster(), |builder| {
            builder.cluster(true).codec(sched_store_redis::PayloadFormat::Cbor)
        })
    }

    mod store {
        sched_testkit::store_suite!(super::clustered);
    }
    mod queue {
        sched_testkit::queue_suite!(super::clustered);
    }
}

mod store {
    sched_testkit::store_suite!(super::alone);
}
mod persistent {
    sched_testkit::persistent_store_suite!(super::alone);
}
mod on_a_server {
    sched_testkit::server_store_suite!(super::alone);
}
mod queue {
    sched_testkit::queue_suite!(super::alone);
}
mod persistent_queue {
    sched_testkit::persistent_queue_suite!(super::alone);
}
