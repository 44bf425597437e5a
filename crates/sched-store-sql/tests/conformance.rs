//! The suites of the testkit: a file with two handles, a database in memory, and every server that is there.
#![expect(clippy::expect_used, reason = "a test: what fails, panics")]

/// The suites of a shared database, in a module.
macro_rules! shared_suites {
    ($make:expr) => {
        mod store {
            sched_testkit::store_suite!($make);
        }
        mod persistent {
            sched_testkit::persistent_store_suite!($make);
        }
        mod queue {
            sched_testkit::queue_suite!($make);
        }
        mod persistent_queue {
            sched_testkit::persistent_queue_suite!($make);
        }
    };
}

#[cfg(feature = "sqlite")]
mod file {
    use std::sync::Arc;

    use diesel::connection::SimpleConnection;
    use diesel::{Connection, SqliteConnection};
    use sched_store_sql::{SqlStore, diesel};
    use sched_testkit::StoreFixture;
    use tempfile::TempDir;

    /// A fresh database file, which goes with the last of its two handles.
    fn in_a_file() -> StoreFixture {
        let directory = Arc::new(TempDir::new().expect("a temporary directory"));
        let path = directory.path().join("jobs.sqlite").to_str().expect("a path in UTF-8").to_owned();
        let open = || Arc::new(SqlStore::open(format!("sqlite:///{path}")).expect("the url is right"));
        let run = {
            let path = path.clone();
            move |sql: &str| {
                let mut conn = SqliteConnection::establish(&path).expect("it opens");
                conn.batch_execute(sql).expect("the row is there");
            }
        };
        let (of_job, of_run) = (run.clone(), run);
        StoreFixture::new(open())
            .with_peer(open())
            .with_claimed_commits()
            .with_corruption(move |id| {
                let _kept = &directory;
                of_job(&format!(
                    "UPDATE sched_jobs SET payload = CAST('{{\"version\":' AS BLOB) WHERE id = '{id}'"
                ));
            })
            .with_run_corruption(move |id| {
                of_run(&format!("UPDATE sched_runs SET payload = CAST('{{' AS BLOB) WHERE id = '{id}'"));
            })
    }

    shared_suites!(super::in_a_file);
}

#[cfg(feature = "sqlite")]
mod memory {
    fn in_memory() -> sched_testkit::StoreFixture {
        let store = sched_store_sql::SqlStore::open("sqlite://").expect("the url is right");
        sched_testkit::StoreFixture::new(std::sync::Arc::new(store)).with_claimed_commits()
    }

    mod store {
        sched_testkit::store_suite!(super::in_memory);
    }
    mod queue {
        sched_testkit::queue_suite!(super::in_memory);
    }
}

#[cfg(feature = "postgres")]
mod postgres {
    use std::sync::Arc;

    use diesel::connection::SimpleConnection;
    use diesel::{Connection, PgConnection};
    use sched_store_sql::{SqlStore, diesel};
    use sched_testkit::{StoreFixture, server};

    /// A schema of its own, which goes with the fixture.
    struct Schema {
        url: String,
        name: String,
    }

    impl Schema {
        fn run(&self, sql: &str) {
            let mut conn = PgConnection::establish(&self.url).expect("the server is there");
            conn.batch_execute(&format!("SET search_path = {}; {sql}", self.name)).expect("it is right");
        }
    }

    impl Drop for Schema {
        fn drop(&mut self) {
            if !std::thread::panicking() {
                self.run(&format!("SET client_min_messages = warning; DROP SCHEMA {} CASCADE", self.name));
            }
        }
    }

    fn on_a_server() -> Option<StoreFixture> {
        let url = server::postgres()?;
        let schema = Arc::new(Schema { name: server::unique_name("suite"), url });
        let open = || {
            let store = SqlStore::builder(&schema.url).table_schema(&schema.name).pool_size(3).build();
            Arc::new(store.expect("the configuration is right"))
        };
        let fixture = StoreFixture::new(open()).with_peer(open()).with_server_clock().with_claimed_commits();
        let (of_job, of_run) = (Arc::clone(&schema), schema);
        Some(
            fixture
                .with_corruption(move |id| {
                    of_job
                        .run(&format!("UPDATE sched_jobs SET payload = '{{\"version\":' WHERE id = '{id}'"));
                })
                .with_run_corruption(move |id| {
                    of_run.run(&format!("UPDATE sched_runs SET payload = '{{' WHERE id = '{id}'"));
                }),
        )
    }

    shared_suites!(super::on_a_server);
    mod server_clock {
        sched_testkit::server_store_suite!(super::on_a_server);
    }
}

#[cfg(feature = "mysql")]
mod mysql {
    use std::sync::Arc;

    use diesel::connection::SimpleConnection;
    use diesel::{Connection, MysqlConnection};
    use sched_store_sql::{SqlStore, diesel};
    use sched_testkit::{StoreFixture, server};

    /// A database of its own, which goes with the fixture.
    struct Database {
        url: String,
        name: String,
    }

    impl Database {
        fn run(&self, sql: &str) {
            let mut conn = MysqlConnection::establish(&self.url).expect("the server is there");
            conn.batch_execute(sql).expect("it is right");
        }
    }

    impl Drop for Database {
        fn drop(&mut self) {
            if !std::thread::panicking() {
                self.run(&format!("DROP DATABASE {}", self.name));
            }
        }
    }

    fn on_a_server() -> Option<StoreFixture> {
        let url = server::mysql()?;
        let database = Arc::new(Database { name: server::unique_name("suite"), url });
        let open = || {
            let store = SqlStore::builder(&database.url).table_schema(&database.name).pool_size(3).build();
            Arc::new(store.expect("the configuration is right"))
        };
        let fixture = StoreFixture::new(open()).with_peer(open()).with_server_clock().with_claimed_commits();
        let (of_job, of_run) = (Arc::clone(&database), database);
        Some(
            fixture
                .with_corruption(move |id| {
                    let table = format!("{}.sched_jobs", of_job.name);
                    of_job.run(&format!("UPDATE {table} SET payload = '{{\"version\":' WHERE id = '{id}'"));
                })
                .with_run_corruption(move |id| {
                    let table = format!("{}.sched_runs", of_run.name);
                    of_run.run(&format!("UPDATE {table} SET payload = '{{' WHERE id = '{id}'"));
                }),
        )
    }

    shared_suites!(super::on_a_server);
    mod server_clock {
        sched_testkit::server_store_suite!(super::on_a_server);
    }
}
