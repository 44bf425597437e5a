//! What the suites cannot say: a server that is restarted, logins, encryption, and the keys of a configuration.
#![expect(clippy::expect_used, reason = "a test: what fails, panics")]

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sched_broker_mqtt::{MqttBroker, MqttBrokerBuilder};
use sched_core::chrono_tz::Tz;
use sched_core::{BuildContext, Error, EventBroker, Registry};
use sched_testkit::broker::{Heard, notice};
use sched_testkit::server;
use serde_json::{Value, json};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(30);

/// A server of a test's own.
struct Server {
    directory: TempDir,
    port: u16,
    child: Option<Child>,
}

impl Server {
    /// Starts a server with more lines of configuration, in which `DIR` is its directory; nothing where tests of servers do
    /// not run.
    fn start(lines: &str, prepare: impl FnOnce(&TempDir)) -> Option<Self> {
        server::mqtt()?;
        let directory = tempfile::tempdir().expect("there is a place for files");
        prepare(&directory);
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let port = free.expect("a port is free").port();
        let lines = lines.replace("DIR", &directory.path().display().to_string());
        // As root it would become another user, who could not read the directory.
        let config = format!("user root\nlistener {port} 127.0.0.1\n{lines}\n");
        fs::write(directory.path().join("mosquitto.conf"), config).expect("it is written");
        let mut server = Self { directory, port, child: None };
        server.run();
        Some(server)
    }

    fn run(&mut self) {
        // It is where the paths of users do not always lead.
        let programs = ["mosquitto", "/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto"];
        let child = programs.into_iter().find_map(|program| {
            let mut command = Command::new(program);
            command.arg("-c").arg(self.directory.path().join("mosquitto.conf"));
            command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()
        });
        self.child = Some(child.expect("mosquitto is installed where tests of servers run"));
        let begin = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(begin.elapsed() < PATIENCE, "the server does not start");
            std::thread::yield_now();
        }
    }

    fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().expect("it is killed");
        child.wait().expect("it is dead");
    }

    fn broker(&self, scheme: &str) -> MqttBrokerBuilder {
        MqttBroker::builder(format!("{scheme}://localhost:{}", self.port))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.kill();
        }
    }
}

fn listening(broker: &MqttBroker) -> Arc<Heard> {
    let heard = Arc::new(Heard::default());
    broker.subscribe(Heard::callback(&heard)).expect("it subscribes");
    heard
}

#[test]
fn a_server_that_was_restarted_is_found_again() {
    let Some(mut server) = Server::start("allow_anonymous true", |_| {}) else { return };
    let broker = server.broker("mqtt").build().expect("it is right");
    let heard = listening(&broker);
    broker.publish(&[notice("before")]).expect("it is published");
    heard.of("before");
    server.kill();
    broker.publish(&[notice("meanwhile")]).expect("it is kept");
    server.run();
    heard.hears_in_the_end(&broker, "after");
}

#[test]
fn who_may_not_log_in_hears_nothing_and_goes_on() {
    let users = |directory: &TempDir| {
        // `app` with the password `secret`, which the server hashes by itself when it is told to; made by mosquitto_passwd.
        let file = directory.path().join("users");
        fs::write(&file, "app:secret\n").expect("it is written");
        let hashed = Command::new("mosquitto_passwd").arg("-U").arg(&file).status();
        assert!(hashed.expect("mosquitto_passwd is installed beside the server").success());
    };
    let lines = "allow_anonymous false\npassword_file DIR/users";
    let Some(server) = Server::start(lines, users) else { return };
    let welcome = server.broker("mqtt").login("app", "secret").build().expect("it is right");
    let heard = listening(&welcome);
    let stranger = server.broker("mqtt").login("app", "guess").build().expect("it is right");
    let nothing = listening(&stranger);
    stranger.publish(&[notice("stranger")]).expect("it is kept");
    welcome.publish(&[notice("app")]).expect("it is published");
    heard.of("app");
    assert_eq!((nothing.notices().len(), heard.count_of("stranger")), (0, 0));
    assert!(!format!("{stranger:?}").contains("guess"));
}

#[cfg(feature = "tls")]
#[test]
fn an_encrypted_line_needs_a_certificate_that_is_trusted() {
    let make = |directory: &TempDir| {
        let mut openssl = Command::new("openssl");
        openssl
            .current_dir(directory.path())
            .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]);
        openssl.args(["-keyout", "key.pem", "-out", "cert.pem", "-subj", "/CN=localhost"]);
        openssl.args(["-addext", "subjectAltName=DNS:localhost"]);
        // It is to be an authority and not: rustls takes no authority for a server.
        openssl.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
        let made = openssl.stdout(Stdio::null()).stderr(Stdio::null()).status();
        assert!(made.expect("openssl is installed where tests of servers run").success());
    };
    let lines = "allow_anonymous true\ncertfile DIR/cert.pem\nkeyfile DIR/key.pem";
    let Some(server) = Server::start(lines, make) else { return };
    let trusting = server.broker("mqtts").ca_file(server.directory.path().join("cert.pem"));
    let trusting = trusting.build().expect("it is right");
    let heard = listening(&trusting);
    let wary = server.broker("mqtts").build().expect("it is right");
    let nothing = listening(&wary);
    trusting.publish(&[notice("trusting")]).expect("it is published");
    heard.of("trusting");
    assert!(nothing.notices().is_empty());
}

fn build(table: Value) -> Result<Arc<dyn EventBroker>, Error> {
    let registry = Registry::linked()?;
    registry.event_broker("event_broker", table, BuildContext { registry: &registry, timezone: Tz::UTC })
}

#[test]
fn a_dictionary_says_everything() {
    let table = json!({
        "type": "mqtt", "host": "broker", "port": "1884", "topic": "app/sched", "client_id": "one", "username": "me",
        "password": "hunter2", "qos": 2, "keep_alive": "1m", "connect_timeout": 2,
    });
    let text = format!("{:?}", build(table).expect("it is right"));
    assert!(text.contains("mqtt broker:1884 topic app/sched") && !text.contains("hunter2"), "{text}");
}

#[test]
fn a_dictionary_is_wrong_in_all_its_faults_at_once() {
    let table = json!({
        "type": "mqtt", "url": "http://me:hunter2@host", "topic": "a/#", "client_id": " x", "qos": 3, "keep_alive": 0,
        "connect_timeout": "0.1s", "ca_file": "/no/such/file", "topics": 1,
    });
    let error = build(table).expect_err("it is wrong");
    let mut keys: Vec<_> =
        error.faults().iter().map(|fault| fault.path.trim_start_matches("event_broker.")).collect();
    keys.sort_unstable();
    assert_eq!(
        keys,
        ["ca_file", "client_id", "connect_timeout", "keep_alive", "qos", "topic", "topics", "url"]
    );
    assert!(!error.to_string().contains("hunter2"), "{error}");
    let error = build(json!({ "type": "mqtt", "url": "mqtt://host", "port": 1 })).expect_err("it is wrong");
    assert!(error.to_string().contains("either a url, or host and port"), "{error}");
}
