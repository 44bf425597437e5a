//! The suites of the testkit on real servers: a replica set, a server that stands alone, and with payloads in CBOR.
#![expect(clippy::expect_used, reason = "a test: what fails, panics")]

use std::sync::Arc;

use mongodb::bson::{Bson, Document, doc};
use mongodb::sync::{Client, Collection};
use sched_store_mongodb::{MongoStore, MongoStoreBuilder};
use sched_testkit::{StoreFixture, server};

/// A database that nobody else has, for as long as a test takes.
struct Place {
    client: Client,
    name: String,
}

impl Place {
    fn collection(&self, name: &str) -> Collection<Document> {
        self.client.database(&self.name).collection(name)
    }

    fn spoil(&self, collection: &str, id: Bson) {
        let update = doc! { "$set": { "payload": "{\"version\":" } };
        let changed =
            self.collection(collection).update_one(doc! { "_id": id }, update).run().expect("update");
        assert_eq!(changed.matched_count, 1, "the document is there");
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // The server may be gone, and the next one begins empty.
        let _ = self.client.database(&self.name).drop().run();
    }
}

/// Two handles on a database of their own; nothing when there is no server.
fn two_handles(
    url: Option<String>,
    with: fn(MongoStoreBuilder) -> MongoStoreBuilder,
) -> Option<StoreFixture> {
    let url = url?;
    let client = Client::with_uri_str(&url).expect("the url is right");
    let place = Arc::new(Place { client, name: server::unique_name("suite") });
    let open = || {
        let builder = with(MongoStore::builder(&url).database(&place.name));
        Arc::new(builder.build().expect("the configuration is right"))
    };
    let fixture = StoreFixture::new(open()).with_peer(open()).with_server_clock().with_claimed_commits();
    let of_runs = Arc::clone(&place);
    let fixture = fixture.with_corruption(move |id| place.spoil("jobs", id.as_str().into()));
    Some(fixture.with_run_corruption(move |id| {
        of_runs.spoil("runs", mongodb::bson::Uuid::from_bytes(*id.as_uuid().as_bytes()).into());
    }))
}

mod replica_set {
    fn fixture() -> Option<sched_testkit::StoreFixture> {
        super::two_handles(sched_testkit::server::mongodb(), |builder| builder)
    }
    mod store {
        sched_testkit::store_suite!(super::fixture);
    }
    mod persistent {
        sched_testkit::persistent_store_suite!(super::fixture);
    }
    mod on_a_server {
        sched_testkit::server_store_suite!(super::fixture);
    }
    mod queue {
        sched_testkit::queue_suite!(super::fixture);
    }
    mod persistent_queue {
        sched_testkit::persistent_queue_suite!(super::fixture);
    }
}

mod alone {
    fn fixture() -> Option<sched_testkit::StoreFixture> {
        super::two_handles(sched_testkit::server::mongodb_standalone(), |builder| builder)
    }
    mod store {
        sched_testkit::store_suite!(super::fixture);
    }
    mod persistent {
        sched_testkit::persistent_store_suite!(super::fixture);
    }
    mod on_a_server {
        sched_testkit::server_store_suite!(super::fixture);
    }
    mod queue {
        sched_testkit::queue_suite!(super::fixture);
    }
    mod persistent_queue {
        sched_testkit::persistent_queue_suite!(super::fixture);
    }
}

#[cfg(feature = "cbor")]
mod cbor {
    fn fixture() -> Option<sched_testkit::StoreFixture> {
        let url = sched_testkit::server::mongodb_standalone();
        super::two_handles(url, |builder| builder.codec(sched_core::codec::PayloadFormat::Cbor))
    }
    mod store {
        sched_testkit::store_suite!(super::fixture);
    }
    mod persistent {
        sched_testkit::persistent_store_suite!(super::fixture);
    }
    mod queue {
        sched_testkit::queue_suite!(super::fixture);
    }
    mod persistent_queue {
        sched_testkit::persistent_queue_suite!(super::fixture);
    }
}
