//! What is said when a server does not let the store in, and what becomes of other stores meanwhile.
#![expect(clippy::expect_used, reason = "a test: what fails, panics")]

use std::path::Path;
use std::process::Command;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use mongodb::bson::{Document, doc};
use mongodb::sync::Client;
use sched::{BackgroundScheduler, Error, ErrorKind, Event, Job, Registry, Scheduler, Task};
use sched_core::{EventMask, JobStore, StoreContext, SystemClock};
use sched_store_mongodb::MongoStore;
use serde_json::{Value, json};

use own::OwnServer;

mod own;

const PATIENCE: Duration = Duration::from_secs(60);

/// A server that wants passwords, and whoever may do everything there.
fn guarded() -> Option<(OwnServer, Client)> {
    let server = OwnServer::with(|_| vec!["--auth".to_owned()])?;
    let create = doc! { "createUser": "root", "pwd": "hunter2", "roles": ["root"] };
    // As long as there is no user, whoever comes from the same machine may make the first.
    admin(&server.url(""), create);
    let root = Client::with_uri_str(server.url("root:hunter2@")).expect("the url is right");
    Some((server, root))
}

fn admin(url: &str, command: Document) {
    let client = Client::with_uri_str(url).expect("the url is right");
    client.database("admin").run_command(command).run().expect("the server does as it is told");
}

fn add_user(root: &Client, name: &str, role: &str) {
    let role = doc! { "role": role, "db": "app" };
    let user = doc! { "createUser": name, "pwd": "hunter2", "roles": [role] };
    root.database("admin").run_command(user).run().expect("the user is made");
}

/// Why a scheduler with this store under the alias `remote` does not start.
fn refusal(url: &str, more: &Value) -> Error {
    let mut store =
        json!({ "type": "mongodb", "url": url, "database": "app", "server_selection_timeout": 30 });
    if let (Some(store), Some(more)) = (store.as_object_mut(), more.as_object()) {
        store.extend(more.clone());
    }
    let config = json!({ "job_stores": { "remote": store } });
    let registry = Registry::builder().linked().build().expect("no name is taken twice");
    let scheduler = BackgroundScheduler::build(Scheduler::builder().registry(registry).config(config));
    let refused = scheduler.and_then(|scheduler| scheduler.start());
    refused.expect_err("the store is of no use")
}

fn check(error: &Error, kind: ErrorKind, words: &[&str]) {
    let text = error.to_string();
    assert_eq!(error.kind(), kind, "{text}");
    for word in words {
        assert!(text.contains(word), "`{word}` is not said: {text}");
    }
    assert!(
        !text.contains("hunter") && !format!("{error:?}").contains("hunter"),
        "a password is told: {error:?}"
    );
}

#[test]
fn a_wrong_url_is_said_before_anything_starts() {
    let error = refusal("mongodb://me:hunter2@host:port/app", &json!({}));
    check(&error, ErrorKind::InvalidConfig, &["job_stores.remote.url", "no MongoDB URL"]);
}

#[test]
fn a_server_that_is_not_there_is_asked_about() {
    let error = refusal("mongodb://me:hunter2@127.0.0.1:1/", &json!({ "server_selection_timeout": 1 }));
    check(&error, ErrorKind::Unavailable, &["job store \"remote\"", "127.0.0.1:1", "is the server up"]);
}

#[test]
fn whoever_is_not_let_in_is_told_why() {
    let Some((server, root)) = guarded() else { return };
    add_user(&root, "reads", "read");
    add_user(&root, "writes", "readWrite");
    let wrong = "the user or the password is wrong";
    for (login, words) in [
        ("writes:hunter3@", [wrong, "auth_source"]),
        ("nobody:hunter2@", [wrong, "auth_source"]),
        ("reads:hunter2@", ["not authorized on app", "`readWrite`"]),
        ("", ["requires authentication", "`readWrite`"]),
    ] {
        let error = refusal(&server.url(login), &json!({}));
        check(&error, ErrorKind::InvalidConfig, &["job store \"remote\"", "127.0.0.1", words[0], words[1]]);
    }
    let store = MongoStore::builder(server.url("writes:hunter2@")).database("app");
    let store = store.build().expect("the configuration is right");
    store.start(context()).expect("whoever may write is let in");
    store.shutdown().expect("it shuts down");
}

fn context() -> StoreContext {
    let registry = Registry::builder().linked().build().expect("no name is taken twice");
    StoreContext::new(
        "default",
        Arc::new(registry),
        Arc::new(SystemClock::new()),
        sched_core::chrono_tz::Tz::UTC,
    )
}

#[test]
fn a_store_whose_user_loses_its_rights_says_so_and_hinders_no_other() {
    let Some((server, root)) = guarded() else { return };
    add_user(&root, "writes", "readWrite");
    let (sender, ran) = mpsc::channel();
    let tick = Task::new("tick", move |_, _| {
        // The case that listens may be over.
        let _ = sender.send(());
    });
    let registry = Registry::builder().linked().task(tick).build().expect("no name is taken twice");
    let store = json!({ "type": "mongodb", "url": server.url("writes:hunter2@"), "database": "app" });
    let config =
        json!({ "job_stores": { "remote": store, "near": { "type": "memory" } }, "poll_interval": 0.1 });
    let scheduler = Scheduler::builder().registry(registry).config(config);
    let scheduler = BackgroundScheduler::build(scheduler).expect("the configuration is right");
    let (failed, failures) = mpsc::channel();
    scheduler.add_listener(
        move |event: &Event| {
            if let Event::StoreFailed { store, reason, .. } = event {
                let _ = failed.send((store.to_string(), reason.to_string()));
            }
        },
        EventMask::STORE_FAILED,
    );
    scheduler.start().expect("it starts");
    let every =
        |store: &str| Job::task("tick").store(store).trigger(json!({ "type": "interval", "seconds": 0.2 }));
    scheduler.add_job(every("remote")).expect("the job is added");
    let role = doc! { "role": "readWrite", "db": "app" };
    let revoke = doc! { "revokeRolesFromUser": "writes", "roles": [role] };
    root.database("admin").run_command(revoke).run().expect("the rights are gone");
    let (store, reason) = failures.recv_timeout(PATIENCE).expect("it is told");
    assert_eq!(store, "remote");
    assert!(reason.contains("`readWrite`") && !reason.contains("hunter2"), "{reason}");
    while ran.try_recv().is_ok() {}
    scheduler.add_job(every("near")).expect("the job is added");
    for _ in 0..3 {
        ran.recv_timeout(PATIENCE).expect("the job of the other store runs");
    }
    scheduler.shutdown(false).expect("it shuts down");
}

/// Makes an authority, and a certificate of a server on this machine.
fn make_certificates(directory: &Path) {
    let extensions = "basicConstraints=CA:FALSE\nsubjectAltName=IP:127.0.0.1,DNS:localhost\n";
    std::fs::write(directory.join("extensions"), extensions).expect("a file is written");
    for line in [
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=authority -keyout ca.key -out ca.pem",
        "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=localhost -keyout server.key -out server.csr",
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile extensions -out server.crt",
    ] {
        let made = Command::new("openssl").args(line.split(' ')).current_dir(directory).output();
        let made = made.expect("openssl makes certificates");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }
    let read = |name| std::fs::read_to_string(directory.join(name)).expect("openssl wrote it");
    let both = format!("{}{}", read("server.key"), read("server.crt"));
    std::fs::write(directory.join("server.pem"), both).expect("a file is written");
}

#[test]
fn a_server_with_a_certificate_of_ones_own_is_trusted_by_its_authority_only() {
    let certificates = tempfile::tempdir().expect("a temporary directory");
    let file = |name| certificates.path().join(name).display().to_string();
    let server = OwnServer::with(|_| {
        make_certificates(certificates.path());
        let key = file("server.pem");
        ["--tlsMode", "requireTLS", "--tlsCertificateKeyFile", &key].map(str::to_owned).to_vec()
    });
    let Some(server) = server else { return };
    let trusting = format!("{}?tls=true&tlsCAFile={}", server.url(""), file("ca.pem"));
    let store = MongoStore::builder(trusting).server_selection_timeout(PATIENCE).build();
    let store = store.expect("the configuration is right");
    store.start(context()).expect("its certificate is trusted");
    store.shutdown().expect("it shuts down");
    let soon = json!({ "server_selection_timeout": 5 });
    let error = refusal(&format!("{}?tls=true", server.url("")), &soon);
    check(&error, ErrorKind::Unavailable, &["job store \"remote\"", "certificate"]);
    check(&refusal(&server.url(""), &soon), ErrorKind::Unavailable, &["job store \"remote\""]);
}
