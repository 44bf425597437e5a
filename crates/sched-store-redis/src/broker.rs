//! The event broker: notices by publish and subscribe.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::{Client, Connection, IntoConnectionInfo, RedisError, RedisResult, Value};
use sched_broker::{Ear, Relay, Wire};
use sched_core::{
    Error, ErrorKind, EventBroker, Factory, Fault, Notice, NoticeCallback, Plugin, Section, SubscriptionId,
};

use crate::config::{Address, needs};
use crate::error::from_client;

/// How often the listener looks whether it is closed.
const LOOK: Duration = Duration::from_millis(100);

/// A server that was silent for so long is asked whether it is there.
const REST: Duration = Duration::from_secs(10);

/// The longest name of a channel, in bytes.
const MAX_NAME: usize = 200;

inventory::submit! {
    Plugin {
        aliases: &["redis"],
        summary: "wake-ups between schedulers through Redis",
        package: env!("CARGO_PKG_NAME"),
        factory: Factory::EventBroker(from_config),
    }
}

/// An event broker in Redis: notices are published to one channel.
///
/// It connects when it is used first. When the server is not there, the log says so and it is tried again; the scheduler
/// works on and finds what is due when it polls. A node of a cluster will do, since nodes pass on what is published.
pub struct RedisBroker(Relay<Channel>);

impl RedisBroker {
    /// Starts a broker on a server: `redis://[user:password@]host[:port]`, or `rediss://…` with the cargo feature `tls`.
    pub fn builder(url: impl Into<String>) -> RedisBrokerBuilder {
        RedisBrokerBuilder { url: Some(url.into()), ..RedisBrokerBuilder::default() }
    }
}

impl EventBroker for RedisBroker {
    fn publish(&self, notices: &[Notice]) -> Result<(), Error> {
        self.0.publish(notices)
    }

    fn subscribe(&self, callback: NoticeCallback) -> Result<SubscriptionId, Error> {
        self.0.subscribe(callback)
    }

    fn unsubscribe(&self, subscription: SubscriptionId) {
        self.0.unsubscribe(subscription);
    }
}

impl fmt::Debug for RedisBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RedisBroker").field(&self.0).finish()
    }
}

/// Builds a [`RedisBroker`].
///
/// # Example
/// ```
/// use std::time::Duration;
/// use sched_store_redis::RedisBroker;
///
/// let broker = RedisBroker::builder("redis://127.0.0.1:6379")
///     .channel("app:notices")
///     .connect_timeout(Duration::from_secs(2))
///     .build()?;
/// # Ok::<(), sched_core::Error>(())
/// ```
#[derive(Clone)]
#[must_use = "a builder does nothing until it builds"]
pub struct RedisBrokerBuilder {
    url: Option<String>,
    host: Option<String>,
    port: Option<u16>,
    username: Option<String>,
    password: Option<String>,
    channel: String,
    connect_timeout: Duration,
    response_timeout: Duration,
}

impl Default for RedisBrokerBuilder {
    fn default() -> Self {
        Self {
            url: None,
            host: None,
            port: None,
            username: None,
            password: None,
            channel: "sched:notices".to_owned(),
            connect_timeout: Duration::from_secs(5),
            response_timeout: Duration::from_secs(5),
        }
    }
}

impl fmt::Debug for RedisBrokerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.address().ok();
        f.debug_struct("RedisBrokerBuilder")
            .field("address", &address)
            .field("channel", &self.channel)
            .finish_non_exhaustive()
    }
}

impl RedisBrokerBuilder {
    /// The channel; `sched:notices` when not given. Schedulers that share a store share it. Channels know no databases:
    /// two fleets on one server need two names.
    pub fn channel(mut self, name: impl Into<String>) -> Self {
        self.channel = name.into();
        self
    }

    /// As whom to log in, in place of the URL's user and password.
    pub fn login(mut self, username: Option<&str>, password: impl Into<String>) -> Self {
        self.username = username.map(str::to_owned);
        self.password = Some(password.into());
        self
    }

    /// How long a connection may take to be made, from 1 millisecond to 1 hour; 5 seconds when not given.
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.connect_timeout = limit;
        self
    }

    /// How long to wait for an answer, from 1 millisecond to 1 hour; 5 seconds when not given.
    pub fn response_timeout(mut self, limit: Duration) -> Self {
        self.response_timeout = limit;
        self
    }

    /// The broker; it does not connect before it is used.
    ///
    /// **Errors**: [`InvalidConfig`](ErrorKind::InvalidConfig) with every fault.
    pub fn build(self) -> Result<RedisBroker, Error> {
        self.check()
            .map(|channel| RedisBroker(Relay::new(channel)))
            .map_err(|faults| to_error(faults, str::to_owned))
    }

    fn check(self) -> Result<Channel, Faults> {
        let mut faults = Faults::new();
        let address = self.address().map_err(|message| faults.push(("url", message))).ok();
        for (key, limit) in
            [("connect_timeout", self.connect_timeout), ("response_timeout", self.response_timeout)]
        {
            if limit < Duration::from_millis(1) || limit > Duration::from_secs(3_600) {
                faults.push((key, "it is out of range, expected 1 millisecond to 1 hour".to_owned()));
            }
        }
        if self.channel.is_empty() || self.channel.len() > MAX_NAME || self.channel.contains(char::is_control)
        {
            faults.push(("channel", format!("expected 1 to {MAX_NAME} bytes without control characters")));
        }
        match address {
            Some(address) if faults.is_empty() => Ok(Channel {
                address,
                name: self.channel,
                connect_timeout: self.connect_timeout,
                response_timeout: self.response_timeout,
            }),
            _ => Err(faults),
        }
    }

    fn address(&self) -> Result<Address, String> {
        let info = match (&self.url, &self.host, self.port) {
            (Some(_), Some(_), _) | (Some(_), _, Some(_)) => {
                return Err("give either a url, or host and port".to_owned());
            }
            (Some(url), None, None) => {
                let url = url.trim();
                if url.starts_with("rediss://") && !cfg!(feature = "tls") {
                    return Err(format!("encryption {}", needs("tls")));
                }
                url.into_connection_info()
            }
            (None, host, port) => {
                (host.as_deref().unwrap_or("localhost"), port.unwrap_or(6_379)).into_connection_info()
            }
        };
        // The URL is not shown, as nobody can tell where a password ends in one that is wrong.
        let expected = "it is no url of a Redis server: expected `redis://[user:password@]host[:port]`, `rediss://…` or \
                        `unix:///path`";
        let info = info.map_err(|_| expected.to_owned())?;
        let mut login = info.redis_settings().clone();
        if let Some(username) = &self.username {
            login = login.set_username(username);
        }
        if let Some(password) = &self.password {
            login = login.set_password(password);
        }
        Ok(Address(info.set_redis_settings(login.set_lib_name("sched", env!("CARGO_PKG_VERSION")))))
    }
}

/// Keys of the configuration, and what is wrong with each.
type Faults = Vec<(&'static str, String)>;

/// The factory behind the alias.
fn from_config(section: &mut Section<'_>) -> Result<Arc<dyn EventBroker>, Error> {
    let mut builder = RedisBrokerBuilder { url: section.string("url"), ..RedisBrokerBuilder::default() };
    builder.host = section.string("host");
    builder.port = section.integer_in("port", 1, 65_535).and_then(|port| u16::try_from(port).ok());
    builder.username = section.string("username");
    builder.password = section.string("password");
    builder.channel = section.string("channel").unwrap_or(builder.channel);
    builder.connect_timeout = section.duration("connect_timeout").unwrap_or(builder.connect_timeout);
    builder.response_timeout = section.duration("response_timeout").unwrap_or(builder.response_timeout);
    let channel = builder.check().map_err(|faults| to_error(faults, |key| section.path_of(key)))?;
    Ok(Arc::new(RedisBroker(Relay::new(channel))))
}

fn to_error(faults: Faults, path_of: impl Fn(&str) -> String) -> Error {
    let faults = faults.into_iter();
    let faults = faults.map(|(key, message)| Fault { path: path_of(key), message, suggestion: None });
    Error::from_faults(ErrorKind::InvalidConfig, faults.collect())
}

/// A channel of a server.
#[derive(Debug)]
struct Channel {
    address: Address,
    name: String,
    connect_timeout: Duration,
    response_timeout: Duration,
}

impl Channel {
    fn open(&self) -> RedisResult<Connection> {
        #[cfg(feature = "tls")]
        // Whoever chose a provider for the whole program has decided already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let link = Client::open(self.address.0.clone())?.get_connection_with_timeout(self.connect_timeout)?;
        link.set_read_timeout(Some(self.response_timeout))?;
        link.set_write_timeout(Some(self.response_timeout))?;
        Ok(link)
    }

    fn hear(&self, ear: &Ear) -> RedisResult<()> {
        let mut link = self.open()?;
        let mut messages = link.as_pubsub();
        messages.subscribe(&self.name)?;
        messages.set_read_timeout(Some(LOOK))?;
        ear.connected();
        let mut last = Instant::now();
        while !ear.is_closed() {
            match messages.get_message() {
                Ok(message) => ear.hear(message.get_payload_bytes()),
                Err(error) if error.is_timeout() && last.elapsed() < REST => continue,
                Err(error) if error.is_timeout() => {
                    messages.set_read_timeout(Some(self.response_timeout))?;
                    messages.ping::<Value>()?;
                    messages.set_read_timeout(Some(LOOK))?;
                }
                Err(error) => return Err(error),
            }
            last = Instant::now();
        }
        Ok(())
    }

    /// An error; the relay says where it came up.
    fn failed(&self, error: RedisError) -> Error {
        from_client(error, format_args!("channel \"{}\"", self.name))
    }
}

impl Wire for Channel {
    const NAME: &'static str = "sched-redis";
    const LONGEST: usize = 1 << 16;
    type Line = Connection;

    fn connect(&self) -> Result<Connection, Error> {
        self.open().map_err(|error| self.failed(error))
    }

    fn send(&self, line: &mut Connection, message: &str) -> Result<(), Error> {
        let sent = redis::cmd("PUBLISH").arg(&self.name).arg(message).exec(line);
        sent.map_err(|error| self.failed(error))
    }

    fn listen(&self, ear: &Ear) -> Result<(), Error> {
        self.hear(ear).map_err(|error| self.failed(error))
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.address, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_said_without_a_password() {
        let table = [
            ("", "no url of a Redis server"),
            ("http://me:hunter2@host", "no url of a Redis server"),
            ("redis://me:hunter2@host:port", "no url of a Redis server"),
        ];
        for (url, expected) in table {
            let builder = RedisBroker::builder(url);
            assert!(!format!("{builder:?}").contains("hunter2"), "{url}");
            let error = builder.build().unwrap_err().to_string();
            assert!(error.contains(expected) && !error.contains("hunter2"), "{url}: {error}");
        }
        let builder = RedisBroker::builder("redis://me:hunter2@host/").login(None, "hunter3");
        assert!(!format!("{builder:?} {:?}", builder.clone().build().unwrap()).contains("hunter"));
        for builder in [
            builder.clone().channel(""),
            builder.clone().channel("a\nb"),
            builder.response_timeout(Duration::ZERO),
        ] {
            assert_eq!(builder.build().unwrap_err().kind(), ErrorKind::InvalidConfig);
        }
    }
}
