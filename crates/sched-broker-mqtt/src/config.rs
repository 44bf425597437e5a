//! Where the server is and how it is used: the builder, and the keys of a configuration.
//!
//! Everything is checked here, once; nothing here connects.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rumqttc::{MqttOptions, QoS, Transport};
use sched_core::{Error, ErrorKind, EventBroker, Fault, Section};

use crate::broker::MqttBroker;
use crate::url::{Url, masked};

/// The longest name of a topic, client or user, in bytes.
const MAX_NAME: usize = 1_000;

/// The longest message that is received, in bytes: what the protocol allows, since a longer one would end the connection.
const LONGEST_RECEIVED: usize = 268_435_460;

/// The longest packet that is sent, in bytes; messages are shorter.
const LONGEST_SENT: usize = 1 << 17;

/// How surely a message arrives.
///
/// **Source**: MQTT 3.1.1, section 4.3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Qos {
    /// At most once: 0.
    AtMostOnce,
    /// At least once: 1; the default.
    #[default]
    AtLeastOnce,
    /// Exactly once: 2. Nothing here needs it.
    ExactlyOnce,
}

impl From<Qos> for QoS {
    fn from(qos: Qos) -> Self {
        match qos {
            Qos::AtMostOnce => Self::AtMostOnce,
            Qos::AtLeastOnce => Self::AtLeastOnce,
            Qos::ExactlyOnce => Self::ExactlyOnce,
        }
    }
}

/// A broker's configuration, checked. Its text has no password.
#[derive(Clone)]
pub(crate) struct Config {
    options: MqttOptions,
    pub(crate) topic: String,
    pub(crate) qos: QoS,
    /// In whole seconds.
    pub(crate) connect_timeout: u64,
}

impl Config {
    /// What a connection is made by.
    pub(crate) fn options(&self) -> MqttOptions {
        self.options.clone()
    }
}

impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (host, port) = self.options.broker_address();
        write!(f, "mqtt {host}:{port}")
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self} topic {}", self.topic)
    }
}

/// Builds an [`MqttBroker`].
///
/// # Example
/// ```
/// use std::time::Duration;
/// use sched_broker_mqtt::{MqttBroker, Qos};
///
/// let broker = MqttBroker::builder("mqtt://broker.example.org")
///     .login("app", "secret")
///     .topic("app/sched")
///     .qos(Qos::AtMostOnce)
///     .keep_alive(Duration::from_secs(10))
///     .build()?;
/// # Ok::<(), sched_core::Error>(())
/// ```
#[derive(Clone)]
#[must_use = "a builder does nothing until it builds"]
pub struct MqttBrokerBuilder {
    url: Option<String>,
    host: Option<String>,
    port: Option<u16>,
    topic: String,
    client_id: Option<String>,
    username: Option<String>,
    password: Option<String>,
    qos: Qos,
    keep_alive: Duration,
    connect_timeout: Duration,
    ca_file: Option<PathBuf>,
}

impl Default for MqttBrokerBuilder {
    fn default() -> Self {
        Self {
            url: None,
            host: None,
            port: None,
            topic: "sched/notices".to_owned(),
            client_id: None,
            username: None,
            password: None,
            qos: Qos::default(),
            keep_alive: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(5),
            ca_file: None,
        }
    }
}

impl fmt::Debug for MqttBrokerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = self.url.as_deref().map(masked);
        f.debug_struct("MqttBrokerBuilder")
            .field("url", &url)
            .field("topic", &self.topic)
            .finish_non_exhaustive()
    }
}

impl MqttBrokerBuilder {
    pub(crate) fn new(url: impl Into<String>) -> Self {
        Self { url: Some(url.into()), ..Self::default() }
    }

    /// The topic of the messages; `sched/notices` when not given. Schedulers that share a store share it.
    pub fn topic(mut self, topic: impl Into<String>) -> Self {
        self.topic = topic.into();
        self
    }

    /// Who this client is to the server; a random name when not given. A server keeps one connection for each name, so
    /// that two processes must not share it.
    pub fn client_id(mut self, id: impl Into<String>) -> Self {
        self.client_id = Some(id.into());
        self
    }

    /// As whom to log in, in place of the URL's user and password.
    pub fn login(mut self, username: impl Into<String>, password: impl Into<String>) -> Self {
        self.username = Some(username.into());
        self.password = Some(password.into());
        self
    }

    /// How surely messages arrive; at least once when not given.
    pub fn qos(mut self, qos: Qos) -> Self {
        self.qos = qos;
        self
    }

    /// After so long without a word the server is asked whether it is there, from one second to 18 hours; 30 seconds when
    /// not given. A server that does not answer until it is asked again is given up.
    pub fn keep_alive(mut self, pause: Duration) -> Self {
        self.keep_alive = pause;
        self
    }

    /// How long a connection may take to be made, from one second to one hour, in whole seconds; 5 seconds when not given.
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.connect_timeout = limit;
        self
    }

    /// The certificates, in PEM, of those who sign the server's, in place of the system's. Needs `mqtts://` and the cargo
    /// feature `tls`. The file is read when the broker is built.
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.ca_file = Some(path.into());
        self
    }

    /// The broker; it does not connect before it is used.
    ///
    /// **Errors**: [`InvalidConfig`](ErrorKind::InvalidConfig) with every fault.
    pub fn build(self) -> Result<MqttBroker, Error> {
        self.check().map(MqttBroker::new).map_err(|faults| to_error(faults, str::to_owned))
    }

    /// The checked configuration, or the keys that are wrong and why.
    fn check(self) -> Result<Config, Faults> {
        let mut faults = Faults::new();
        let address = self.address().map_err(|message| faults.push(("url", message))).ok();
        let tls = address.as_ref().is_some_and(|url| url.tls);
        let transport = self.transport(tls).map_err(|fault| faults.push(fault)).ok();
        self.check_names(&mut faults);
        if !(1..=65_535).contains(&self.keep_alive.as_secs()) {
            faults.push(("keep_alive", "it is out of range, expected 1 second to 18 hours".to_owned()));
        }
        if !(1..=3_600).contains(&self.connect_timeout.as_secs()) {
            faults.push(("connect_timeout", "it is out of range, expected 1 second to 1 hour".to_owned()));
        }
        let (Some(url), Some(transport), true) = (address, transport, faults.is_empty()) else {
            return Err(faults);
        };
        let id = self.client_id.unwrap_or_else(|| format!("sched{:016x}", fastrand::u64(..)));
        let port = url.port.unwrap_or(if tls { 8_883 } else { 1_883 });
        let mut options = MqttOptions::new(id, url.host, port);
        options.set_transport(transport);
        options.set_keep_alive(self.keep_alive);
        options.set_max_packet_size(LONGEST_RECEIVED, LONGEST_SENT);
        if let Some(username) = self.username.or(url.username) {
            options.set_credentials(username, self.password.or(url.password).unwrap_or_default());
        }
        let connect_timeout = self.connect_timeout.as_secs();
        Ok(Config { options, topic: self.topic, qos: self.qos.into(), connect_timeout })
    }

    fn address(&self) -> Result<Url, String> {
        match (&self.url, &self.host, self.port) {
            (Some(_), Some(_), _) | (Some(_), _, Some(_)) => {
                Err("give either a url, or host and port".to_owned())
            }
            (Some(url), None, None) => Url::parse(url),
            (None, host, port) => {
                let host = host.as_deref().unwrap_or("localhost");
                Ok(Url { port, ..Url::parse(&format!("mqtt://{host}"))? })
            }
        }
    }

    fn transport(&self, tls: bool) -> Result<Transport, (&'static str, String)> {
        match (tls, &self.ca_file) {
            (false, None) => Ok(Transport::tcp()),
            (false, Some(_)) => Err(("ca_file", "it goes with `mqtts://` only".to_owned())),
            #[cfg(feature = "tls")]
            (true, file) => crate::tls::transport(file.as_deref()),
            #[cfg(not(feature = "tls"))]
            (true, _) => {
                let feature = "`tls` of `sched-broker-mqtt`, which is `mqtt-tls` of `sched` and `sched-cli`";
                Err(("url", format!("encryption needs the cargo feature {feature}")))
            }
        }
    }

    fn check_names(&self, faults: &mut Faults) {
        let is_name =
            |name: &str| !name.is_empty() && name.len() <= MAX_NAME && !name.contains(char::is_control);
        if !is_name(&self.topic) || self.topic.contains(['+', '#']) || self.topic.starts_with('$') {
            let message = format!(
                "expected 1 to {MAX_NAME} bytes without `+`, `#`, a `$` in front and control characters"
            );
            faults.push(("topic", message));
        }
        if self.client_id.as_deref().is_some_and(|id| !is_name(id) || id.starts_with(' ')) {
            let message =
                format!("expected 1 to {MAX_NAME} bytes without a space in front and control characters");
            faults.push(("client_id", message));
        }
        if self.password.is_some() && self.username.is_none() && self.url.is_none() {
            faults.push(("password", "it needs a `username`".to_owned()));
        }
    }
}

/// Keys of the configuration, and what is wrong with each.
type Faults = Vec<(&'static str, String)>;

/// The factory behind the alias.
pub(crate) fn from_config(section: &mut Section<'_>) -> Result<Arc<dyn EventBroker>, Error> {
    let mut builder = MqttBrokerBuilder { url: section.string("url"), ..MqttBrokerBuilder::default() };
    builder.host = section.string("host");
    builder.port = section.integer_in("port", 1, 65_535).and_then(|port| u16::try_from(port).ok());
    builder.topic = section.string("topic").unwrap_or(builder.topic);
    builder.client_id = section.string("client_id");
    builder.username = section.string("username");
    builder.password = section.string("password");
    builder.qos = match section.integer_in("qos", 0, 2) {
        None => builder.qos,
        Some(0) => Qos::AtMostOnce,
        Some(1) => Qos::AtLeastOnce,
        Some(_) => Qos::ExactlyOnce,
    };
    builder.keep_alive = section.duration("keep_alive").unwrap_or(builder.keep_alive);
    builder.connect_timeout = section.duration("connect_timeout").unwrap_or(builder.connect_timeout);
    builder.ca_file = section.string("ca_file").map(PathBuf::from);
    let config = builder.check().map_err(|faults| to_error(faults, |key| section.path_of(key)))?;
    Ok(Arc::new(MqttBroker::new(config)))
}

fn to_error(faults: Faults, path_of: impl Fn(&str) -> String) -> Error {
    let faults = faults.into_iter();
    let faults = faults.map(|(key, message)| Fault { path: path_of(key), message, suggestion: None });
    Error::from_faults(ErrorKind::InvalidConfig, faults.collect())
}

#[cfg(all(test, not(feature = "tls")))]
mod tests {
    use crate::MqttBroker;

    #[test]
    fn encryption_names_the_crate_and_the_feature_that_it_needs() {
        let error = MqttBroker::builder("mqtts://localhost").build().unwrap_err().to_string();
        assert!(error.contains("`tls` of `sched-broker-mqtt`, which is `mqtt-tls` of `sched`"), "{error}");
    }
}
