//! Servers that die and come back, and users who may not do what a store needs.

use sched_core::{ConflictPolicy, Error, ErrorKind, Inserted, JobStore};
use sched_store_sql::SqlStore;
use sched_testkit::{NOON, sample_job};

use crate::own_server::{Kind, OwnServer};
use crate::stage::{Stage, context};

fn dies_in_mid_work(kind: Kind) {
    let Some(mut server) = OwnServer::new(kind) else { return };
    let stage = Stage::with(server.store());
    for end in [OwnServer::kill, OwnServer::stop, OwnServer::kill] {
        end(&mut server);
        stage.degrades("cannot connect");
        server.start();
        stage.recovers();
    }
    stage.ends_whole();
}

#[test]
fn postgres_dies_in_mid_work_and_nothing_is_lost_or_done_twice() {
    dies_in_mid_work(Kind::Postgres);
}

#[test]
fn mariadb_dies_in_mid_work_and_nothing_is_lost_or_done_twice() {
    dies_in_mid_work(Kind::Mariadb);
}

fn is_restarted_unnoticed(kind: Kind) {
    let Some(mut server) = OwnServer::new(kind) else { return };
    let store = server.store();
    store.start(context()).expect("it starts");
    for (number, end) in [OwnServer::stop, OwnServer::kill].into_iter().enumerate() {
        let added = store.insert(&[sample_job(&number.to_string(), NOON)], ConflictPolicy::Error);
        assert_eq!(added.expect("insert")[0].as_ref().expect("it is stored"), &Inserted::Added);
        end(&mut server);
        server.start();
    }
    assert_eq!(store.list(&sched_core::JobFilter::default()).expect("list").len(), 2);
}

#[test]
fn a_restart_of_postgres_between_two_calls_is_not_noticed() {
    is_restarted_unnoticed(Kind::Postgres);
}

#[test]
fn a_restart_of_mariadb_between_two_calls_is_not_noticed() {
    is_restarted_unnoticed(Kind::Mariadb);
}

/// What differs between the servers where rights are given.
struct Rights {
    make: &'static str,
    read: &'static str,
    write: &'static str,
    revoke: &'static str,
    lock_out: &'static str,
    let_in: &'static str,
    /// What is said to whom lacks which.
    no_create: &'static str,
    no_write: &'static str,
    no_entry: &'static str,
}

const POSTGRES: Rights = Rights {
    make: "CREATE USER worker PASSWORD 'sched'",
    read: "GRANT SELECT ON ALL TABLES IN SCHEMA public TO worker",
    write: "GRANT INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO worker; \
            GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO worker",
    revoke: "REVOKE UPDATE ON sched_jobs FROM worker",
    lock_out: "ALTER USER worker PASSWORD 'another'; \
               SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'worker'",
    let_in: "ALTER USER worker PASSWORD 'sched'",
    no_create: "permission denied for schema public",
    no_write: "permission denied for",
    no_entry: "password authentication failed for user \"worker\"",
};

const MARIADB: Rights = Rights {
    make: "CREATE USER worker IDENTIFIED BY 'sched'; GRANT SHOW VIEW ON sched.* TO worker",
    read: "GRANT SELECT ON sched.sched_meta TO worker; GRANT SELECT ON sched.sched_jobs TO worker; \
           GRANT SELECT ON sched.sched_runs TO worker",
    write: "GRANT INSERT, UPDATE, DELETE ON sched.sched_meta TO worker; \
            GRANT INSERT, UPDATE, DELETE ON sched.sched_jobs TO worker; \
            GRANT INSERT, UPDATE, DELETE ON sched.sched_runs TO worker",
    revoke: "REVOKE UPDATE ON sched.sched_jobs FROM worker",
    lock_out: "ALTER USER worker IDENTIFIED BY 'another'; KILL USER worker",
    let_in: "ALTER USER worker IDENTIFIED BY 'sched'",
    no_create: "CREATE command denied to user 'worker'",
    no_write: "command denied to user 'worker'",
    no_entry: "Access denied for user 'worker'",
};

fn is_refused(stage: &Stage, store: SqlStore, kind: ErrorKind, parts: &[&str]) {
    let error: Error = stage.add(store).expect_err("the start fails");
    assert_eq!(error.kind(), kind, "{error}");
    let text = error.to_string();
    for part in parts {
        assert!(text.contains(part), "`{part}` is not in {text}");
    }
    assert!(!text.contains(":sched@") && !text.contains("hunter2"), "{text}");
    stage.goes_on();
}

/// A user gets what is missing bit by bit; each time the error names it, and another store's jobs go on.
fn names_what_is_missing(kind: Kind, rights: &Rights) {
    let Some(server) = OwnServer::new(kind) else { return };
    let build = |url: String| SqlStore::open(url).expect("the url is right");
    let store = || build(server.url_of("worker", "sched"));
    let stage = Stage::new();
    server.execute(rights.make);
    let elsewhere = build("postgres://worker:hunter2@127.0.0.1:1/sched".to_owned());
    is_refused(&stage, elsewhere, ErrorKind::Unavailable, &["127.0.0.1:1", "cannot connect"]);
    let stranger = build(server.url_of("worker", "hunter2"));
    is_refused(&stage, stranger, ErrorKind::InvalidConfig, &[rights.no_entry]);
    let ddl = store().ddl();
    let parts = ["cannot be made", rights.no_create, "needs the right", "`create_schema`", &ddl];
    is_refused(&stage, store(), ErrorKind::InvalidConfig, &parts);
    server.execute(&ddl);
    server.execute(rights.read);
    let parts = ["cannot be written", rights.no_write, "the user needs", "INSERT, UPDATE and DELETE"];
    is_refused(&stage, store(), ErrorKind::InvalidConfig, &parts);
    server.execute(rights.write);
    server.execute("UPDATE sched_meta SET value = 99 WHERE name = 'schema_version'");
    is_refused(&stage, store(), ErrorKind::Unsupported, &["schema version 99, newer than 1"]);
    server.execute("UPDATE sched_meta SET value = 1 WHERE name = 'schema_version'");
    stage.add(store()).expect("it has all it needs");
}

#[test]
fn postgres_names_what_is_missing() {
    names_what_is_missing(Kind::Postgres, &POSTGRES);
}

#[test]
fn mariadb_names_what_is_missing() {
    names_what_is_missing(Kind::Mariadb, &MARIADB);
}

/// The rights that the errors ask for are enough, and taking them away holds up the jobs of that store only.
fn rights_come_and_go(kind: Kind, rights: &Rights) {
    let Some(server) = OwnServer::new(kind) else { return };
    let builder = SqlStore::builder(server.url_of("worker", "sched")).create_schema(false);
    let store = builder.build().expect("the configuration is right");
    for statements in [rights.make, &store.ddl(), rights.read, rights.write] {
        server.execute(statements);
    }
    let stage = Stage::with(store);
    server.execute(rights.revoke);
    stage.degrades(rights.no_write);
    server.execute(rights.write);
    stage.recovers();
    server.execute(rights.lock_out);
    stage.degrades(rights.no_entry);
    server.execute(rights.let_in);
    stage.recovers();
    stage.ends_whole();
}

#[test]
fn the_rights_that_are_asked_for_are_enough_and_may_come_and_go_in_postgres() {
    rights_come_and_go(Kind::Postgres, &POSTGRES);
}

#[test]
fn the_rights_that_are_asked_for_are_enough_and_may_come_and_go_in_mariadb() {
    rights_come_and_go(Kind::Mariadb, &MARIADB);
}
