//! The suites of the testkit, on a file with two handles and in memory.
#![expect(clippy::expect_used, reason = "a test: what fails, panics")]

use std::sync::Arc;

use diesel::connection::SimpleConnection;
use diesel::{Connection, SqliteConnection};
use sched_store_sql::{SqlStore, diesel};
use sched_testkit::StoreFixture;
use tempfile::TempDir;

/// A fresh database file, which goes with the last of its two handles.
fn in_a_file() -> StoreFixture {
    let directory = TempDir::new().expect("a temporary directory");
    let path = directory.path().join("jobs.sqlite").to_str().expect("a path in UTF-8").to_owned();
    let open = || Arc::new(SqlStore::open(format!("sqlite:///{path}")).expect("the url is right"));
    let (store, peer) = (open(), open());
    StoreFixture::new(store).with_peer(peer).with_corruption(move |id| {
        let path = directory.path().join("jobs.sqlite");
        let mut conn =
            SqliteConnection::establish(path.to_str().expect("a path in UTF-8")).expect("it opens");
        let sql = format!("UPDATE sched_jobs SET payload = '{{\"version\":' WHERE id = '{id}'");
        conn.batch_execute(&sql).expect("the row is there");
    })
}

mod file {
    mod store {
        sched_testkit::store_suite!(super::super::in_a_file);
    }
    mod persistent {
        sched_testkit::persistent_store_suite!(super::super::in_a_file);
    }
    mod queue {
        sched_testkit::queue_suite!(super::super::in_a_file);
    }
}

mod memory {
    fn in_memory() -> sched_testkit::StoreFixture {
        let store = sched_store_sql::SqlStore::open("sqlite://").expect("the url is right");
        sched_testkit::StoreFixture::new(std::sync::Arc::new(store))
    }

    mod store {
        sched_testkit::store_suite!(super::in_memory);
    }
    mod queue {
        sched_testkit::queue_suite!(super::in_memory);
    }
}
