//! The event broker: notices by `LISTEN` and `NOTIFY`.
//!
//! libpq has no call that waits for a notification and ends when it is told to, so that the listener looks for one every few
//! milliseconds. That asks the operating system, not the server.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use diesel::pg::PgConnection;
use diesel::result::Error as DieselError;
use diesel::sql_types::Text;
use diesel::{Connection, QueryResult, RunQueryDsl, sql_query};
use sched_broker::{Ear, Relay, Wire};
use sched_core::{
    Error, ErrorKind, EventBroker, Factory, Fault, Notice, NoticeCallback, Plugin, Section, SubscriptionId,
};

use super::KEEPALIVES;
use crate::error::{self, not_connected};
use crate::url::{Location, NOT_ENCODED, Server, is_clear, masked};

/// How often the listener looks for notifications.
const LOOK: Duration = Duration::from_millis(5);

/// A server that was silent for so long is asked whether it is there.
const REST: Duration = Duration::from_secs(10);

/// The longest payload of a notification, in bytes. **Source**: PostgreSQL manual, `NOTIFY`.
const LONGEST_PAYLOAD: usize = 7_999;

/// The longest name of a channel, in bytes. **Source**: PostgreSQL manual, "Identifiers and Key Words".
const MAX_NAME: usize = 63;

inventory::submit! {
    Plugin {
        aliases: &["postgres", "postgresql"],
        summary: "wake-ups between schedulers through PostgreSQL",
        package: env!("CARGO_PKG_NAME"),
        factory: Factory::EventBroker(from_config),
    }
}

/// An event broker in PostgreSQL: notices are notifications of one channel.
///
/// It connects when it is used first, past every pool. When the server is not there, the log says so and it is tried again;
/// the scheduler works on and finds what is due when it polls.
pub struct PostgresBroker(Relay<Channel>);

impl PostgresBroker {
    /// Starts a broker in a database: `postgresql://user:password@host/database`, as libpq takes it.
    pub fn builder(url: impl Into<String>) -> PostgresBrokerBuilder {
        PostgresBrokerBuilder {
            url: url.into(),
            channel: "sched_notices".to_owned(),
            connect_timeout: Duration::from_secs(5),
        }
    }
}

impl EventBroker for PostgresBroker {
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

impl fmt::Debug for PostgresBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PostgresBroker").field(&self.0).finish()
    }
}

/// Builds a [`PostgresBroker`].
///
/// # Example
/// ```
/// use sched_store_sql::PostgresBroker;
///
/// let broker = PostgresBroker::builder("postgresql://app@db.example.org/app").channel("app_notices").build()?;
/// # Ok::<(), sched_core::Error>(())
/// ```
#[derive(Clone)]
#[must_use = "a builder does nothing until it builds"]
pub struct PostgresBrokerBuilder {
    url: String,
    channel: String,
    connect_timeout: Duration,
}

impl fmt::Debug for PostgresBrokerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("PostgresBrokerBuilder");
        debug.field("url", &masked(&self.url)).field("channel", &self.channel).finish_non_exhaustive()
    }
}

impl PostgresBrokerBuilder {
    /// The channel; `sched_notices` when not given. Schedulers that share a store share it. At most 63 bytes.
    pub fn channel(mut self, name: impl Into<String>) -> Self {
        self.channel = name.into();
        self
    }

    /// How long a connection may take to be made, from 1 second to 1 hour, in whole seconds; 5 seconds when not given.
    /// `connect_timeout` in the URL comes before it.
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.connect_timeout = limit;
        self
    }

    /// The broker; it does not connect before it is used.
    ///
    /// **Errors**: [`InvalidConfig`](ErrorKind::InvalidConfig) with every fault.
    pub fn build(self) -> Result<PostgresBroker, Error> {
        let channel = self.check().map_err(|faults| to_error(faults, str::to_owned))?;
        Ok(PostgresBroker(Relay::new(channel)))
    }

    fn check(self) -> Result<Channel, Faults> {
        let mut faults = Faults::new();
        let server = match Location::parse(&self.url) {
            Ok(Location::Postgres(server)) => Some(server),
            _ => {
                let (url, rest) = (masked(&self.url), self.url.split_once("://"));
                let why = match rest.is_none_or(|(_, rest)| is_clear(rest)) {
                    true => "expected `postgresql://…`",
                    false => NOT_ENCODED,
                };
                faults.push(("url", format!("`{url}` is no url of PostgreSQL: {why}")));
                None
            }
        };
        if self.channel.is_empty() || self.channel.len() > MAX_NAME || self.channel.contains(char::is_control)
        {
            faults.push(("channel", format!("expected 1 to {MAX_NAME} bytes without control characters")));
        }
        let connect_timeout = self.connect_timeout.as_secs();
        if !(1..=3_600).contains(&connect_timeout) {
            faults.push(("connect_timeout", "it is out of range, expected 1 second to 1 hour".to_owned()));
        }
        match server {
            Some(server) if faults.is_empty() => {
                // A network that went away is noticed, whether something is under way or not.
                let mut defaults = vec![
                    ("connect_timeout", connect_timeout.to_string()),
                    ("application_name", "sched".to_owned()),
                    ("tcp_user_timeout", "10000".to_owned()),
                ];
                defaults.extend(KEEPALIVES.map(|(name, value)| (name, value.to_owned())));
                let url = server.with_defaults(&defaults);
                Ok(Channel { server, url, name: self.channel })
            }
            _ => Err(faults),
        }
    }
}

/// Keys of the configuration, and what is wrong with each.
type Faults = Vec<(&'static str, String)>;

/// The factory behind the aliases.
fn from_config(section: &mut Section<'_>) -> Result<Arc<dyn EventBroker>, Error> {
    let mut builder = PostgresBroker::builder(section.string("url").unwrap_or_default());
    builder.channel = section.string("channel").unwrap_or(builder.channel);
    builder.connect_timeout = section.duration("connect_timeout").unwrap_or(builder.connect_timeout);
    let channel = builder.check().map_err(|faults| to_error(faults, |key| section.path_of(key)))?;
    Ok(Arc::new(PostgresBroker(Relay::new(channel))))
}

fn to_error(faults: Faults, path_of: impl Fn(&str) -> String) -> Error {
    let faults = faults.into_iter();
    let faults = faults.map(|(key, message)| Fault { path: path_of(key), message, suggestion: None });
    Error::from_faults(ErrorKind::InvalidConfig, faults.collect())
}

/// A channel of a database.
struct Channel {
    server: Server,
    /// With its password; not for people.
    url: String,
    name: String,
}

impl Channel {
    fn hear(&self, link: &mut PgConnection, ear: &Ear) -> QueryResult<()> {
        sql_query(format!("LISTEN \"{}\"", self.name.replace('"', "\"\""))).execute(link)?;
        ear.connected();
        let mut last = Instant::now();
        while ear.rest(LOOK) {
            if last.elapsed() >= REST {
                sql_query("SELECT 1").execute(link)?;
                last = Instant::now();
            }
            for notification in link.notifications_iter() {
                ear.hear(notification?.payload.as_bytes());
                last = Instant::now();
            }
        }
        Ok(())
    }

    /// An error; the relay says where it came up.
    fn failed(&self, error: DieselError) -> Error {
        error::Fault::from(error).into_error(format_args!("channel \"{}\"", self.name))
    }
}

impl Wire for Channel {
    const NAME: &'static str = "sched-pgsql";
    const LONGEST: usize = LONGEST_PAYLOAD;
    type Line = PgConnection;

    fn connect(&self) -> Result<PgConnection, Error> {
        let shown = |text: String| self.server.scrub(text.replace(&self.url, &self.to_string()));
        let channel = format_args!("channel \"{}\"", self.name);
        PgConnection::establish(&self.url).map_err(|error| not_connected(error, channel, shown))
    }

    fn send(&self, line: &mut PgConnection, message: &str) -> Result<(), Error> {
        let notify =
            sql_query("SELECT pg_notify($1, $2)").bind::<Text, _>(&self.name).bind::<Text, _>(message);
        notify.execute(line).map(drop).map_err(|error| self.failed(error))
    }

    fn listen(&self, ear: &Ear) -> Result<(), Error> {
        let mut link = self.connect()?;
        self.hear(&mut link, ear).map_err(|error| self.failed(error))
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.server, f)
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self} channel \"{}\"", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_said_without_a_password() {
        for url in ["", "http://me:hunter2@host", "mysql://me:hunter2@host/db", "jobs.sqlite"] {
            let builder = PostgresBroker::builder(url);
            assert!(!format!("{builder:?}").contains("hunter2"), "{url}");
            let error = builder.build().unwrap_err().to_string();
            assert!(error.contains("no url of PostgreSQL") && !error.contains("hunter2"), "{url}: {error}");
        }
        let error = PostgresBroker::builder("postgresql://me:hunter2/x@host/db").build().unwrap_err();
        assert!(
            error.to_string().contains("postgresql://me:***@host/db` is no url of PostgreSQL: user"),
            "{error}"
        );
        let builder = PostgresBroker::builder("postgresql://me:hunter2@host/db");
        assert!(!format!("{builder:?} {:?}", builder.clone().build().unwrap()).contains("hunter2"));
        let wrong = [
            builder.clone().channel(""),
            builder.clone().channel("x".repeat(64)),
            builder.connect_timeout(Duration::ZERO),
        ];
        for builder in wrong {
            assert_eq!(builder.build().unwrap_err().kind(), ErrorKind::InvalidConfig);
        }
    }
}
