//! Where the server is and how it is used: addresses, the builder, and the keys of a configuration.
//!
//! Everything is checked here, once; nothing here connects.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use redis::{ConnectionInfo, IntoConnectionInfo};
use sched_core::codec::{DEFAULT_MAX_PAYLOAD, PayloadFormat};
use sched_core::{Error, ErrorKind, Fault, JobStore, Section};

use crate::script::Keys;
use crate::store::RedisStore;

/// The most connections of a pool.
const MAX_POOL: u32 = 1_024;

/// The longest limit of a wait. A request is sent a second time after both of them, and the server has to remember it then;
/// see `REMEMBERED` in `scripts/prelude.lua`.
const LONGEST_WAIT: Duration = Duration::from_secs(25);

/// The longest prefix, and the longest name of a key, in bytes.
const MAX_NAME: usize = 200;

/// The names that the scripts use for keys of their own.
const TAKEN: [&str; 30] = [
    "crowded",
    "crowds",
    "cursors",
    "ended",
    "ends",
    "finished",
    "fires",
    "gates",
    "group",
    "groups",
    "held",
    "kept",
    "leases",
    "lines",
    "owners",
    "parked",
    "paused",
    "quarantined",
    "reasons",
    "request",
    "run_ids",
    "run_leases",
    "run_owners",
    "runs",
    "scheduled",
    "schema",
    "suspended",
    "token",
    "tries",
    "waiting",
];

/// Where a server is, and as whom to speak to it. Its text has no password.
#[derive(Clone)]
pub(crate) struct Address(pub(crate) ConnectionInfo);

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "redis {}", self.0.addr())?;
        match self.0.redis_settings().db() {
            0 => Ok(()),
            db => write!(f, " database {db}"),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A store's configuration, checked.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) address: Address,
    pub(crate) keys: Keys,
    pub(crate) pool_size: usize,
    pub(crate) connect_timeout: Duration,
    pub(crate) response_timeout: Duration,
    pub(crate) wait_replicas: u32,
    pub(crate) cluster: bool,
    #[cfg_attr(not(feature = "sentinel"), expect(dead_code, reason = "refused without the feature"))]
    pub(crate) sentinels: Option<Sentinels>,
    pub(crate) format: PayloadFormat,
    pub(crate) max_payload: usize,
}

/// Who knows where the primary is.
#[derive(Debug, Clone)]
#[cfg_attr(not(feature = "sentinel"), expect(dead_code, reason = "refused without the feature"))]
pub(crate) struct Sentinels {
    pub(crate) addresses: Vec<Address>,
    pub(crate) master: String,
}

/// Builds a [`RedisStore`].
///
/// # Example
/// ```
/// use std::time::Duration;
/// use sched_store_redis::RedisStore;
///
/// let store = RedisStore::builder("redis://127.0.0.1:6379/2")
///     .prefix("app")
///     .pool_size(8)
///     .response_timeout(Duration::from_secs(10))
///     .build()?;
/// # Ok::<(), sched_core::Error>(())
/// ```
#[derive(Clone)]
#[must_use = "a builder does nothing until it builds"]
pub struct RedisStoreBuilder {
    url: Option<String>,
    host: Option<String>,
    port: Option<u16>,
    db: Option<i64>,
    username: Option<String>,
    password: Option<String>,
    prefix: String,
    jobs_key: String,
    run_times_key: String,
    pool_size: u32,
    connect_timeout: Duration,
    response_timeout: Duration,
    wait_replicas: u32,
    cluster: bool,
    sentinels: Vec<String>,
    master: Option<String>,
    format: PayloadFormat,
    max_payload: usize,
}

impl fmt::Debug for RedisStoreBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = self.url.as_deref().map(masked);
        f.debug_struct("RedisStoreBuilder")
            .field("url", &url)
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

impl Default for RedisStoreBuilder {
    fn default() -> Self {
        Self {
            url: None,
            host: None,
            port: None,
            db: None,
            username: None,
            password: None,
            prefix: "sched".to_owned(),
            jobs_key: "jobs".to_owned(),
            run_times_key: "run_times".to_owned(),
            pool_size: 4,
            connect_timeout: Duration::from_secs(5),
            response_timeout: Duration::from_secs(10),
            wait_replicas: 0,
            cluster: false,
            sentinels: Vec::new(),
            master: None,
            format: PayloadFormat::default(),
            max_payload: DEFAULT_MAX_PAYLOAD,
        }
    }
}

impl RedisStoreBuilder {
    pub(crate) fn new(url: impl Into<String>) -> Self {
        Self { url: Some(url.into()), ..Self::default() }
    }

    /// The database's number, from 0; that of the URL when not given. A cluster has only 0.
    pub fn db(mut self, number: i64) -> Self {
        self.db = Some(number);
        self
    }

    /// As whom to log in, in place of the URL's user and password.
    pub fn login(mut self, username: Option<&str>, password: impl Into<String>) -> Self {
        self.username = username.map(str::to_owned);
        self.password = Some(password.into());
        self
    }

    /// All keys begin with `{prefix}:`, so that they are in one slot of a cluster; `sched` when not given. At most 200
    /// bytes, without braces.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// The name, after the prefix, of the hash of jobs; `jobs` when not given.
    pub fn jobs_key(mut self, name: impl Into<String>) -> Self {
        self.jobs_key = name.into();
        self
    }

    /// The name, after the prefix, of the sorted set of run times; `run_times` when not given.
    pub fn run_times_key(mut self, name: impl Into<String>) -> Self {
        self.run_times_key = name.into();
        self
    }

    /// At most this many connections, from 1 to 1,024; 4 when not given.
    pub fn pool_size(mut self, connections: u32) -> Self {
        self.pool_size = connections;
        self
    }

    /// How long to wait for a connection, made or free; 5 seconds when not given, 25 at most.
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.connect_timeout = limit;
        self
    }

    /// How long to wait for an answer; 10 seconds when not given, 25 at most.
    pub fn response_timeout(mut self, limit: Duration) -> Self {
        self.response_timeout = limit;
        self
    }

    /// A write fails when not so many replicas have it in half the response timeout; 0, and no wait, when not given.
    pub fn wait_replicas(mut self, replicas: u32) -> Self {
        self.wait_replicas = replicas;
        self
    }

    /// The URL is that of a node of a cluster. Needs the cargo feature `cluster`.
    pub fn cluster(mut self, cluster: bool) -> Self {
        self.cluster = cluster;
        self
    }

    /// The primary called `master` is asked for at these Sentinels (`host:port` or URLs). Needs the cargo feature
    /// `sentinel`. User, password and database are those of the store's own URL.
    pub fn sentinels(mut self, sentinels: &[&str], master: impl Into<String>) -> Self {
        self.sentinels = sentinels.iter().map(|it| (*it).to_owned()).collect();
        self.master = Some(master.into());
        self
    }

    /// The format of payloads that are written; JSON when not given. Either is read.
    pub fn codec(mut self, format: PayloadFormat) -> Self {
        self.format = format;
        self
    }

    /// The longest payload of a job, a run or a result, in bytes; one mebibyte when not given.
    pub fn max_payload(mut self, bytes: usize) -> Self {
        self.max_payload = bytes;
        self
    }

    /// The store; it does not connect before it is started.
    ///
    /// **Errors**: [`InvalidConfig`](ErrorKind::InvalidConfig) with every fault.
    pub fn build(self) -> Result<RedisStore, Error> {
        self.check().map(RedisStore::new).map_err(|faults| to_error(faults, str::to_owned))
    }

    /// The checked configuration, or the keys that are wrong and why.
    fn check(self) -> Result<Config, Faults> {
        let mut faults = Faults::new();
        let address = self.address().map_err(|message| faults.push(("url", message))).ok();
        let sentinels = self.check_sentinels(&mut faults);
        self.check_names(&mut faults);
        if !(1..=MAX_POOL).contains(&self.pool_size) {
            let message = format!("{} is out of range, expected 1 to {MAX_POOL}", self.pool_size);
            faults.push(("pool_size", message));
        }
        for (key, limit) in
            [("connect_timeout", self.connect_timeout), ("response_timeout", self.response_timeout)]
        {
            if limit < Duration::from_millis(1) || limit > LONGEST_WAIT {
                let longest = LONGEST_WAIT.as_secs();
                let message = format!("it is out of range, expected 1 millisecond to {longest} seconds");
                faults.push((key, message));
            }
        }
        if self.cluster && !cfg!(feature = "cluster") {
            faults.push(("cluster", needs("cluster")));
        }
        if self.cluster && (self.wait_replicas > 0 || self.master.is_some()) {
            faults.push(("cluster", "it goes with neither `wait_replicas` nor `sentinels`".to_owned()));
        }
        match address {
            Some(address) if faults.is_empty() => Ok(Config {
                address,
                keys: Keys::new(&self.prefix, &self.jobs_key, &self.run_times_key),
                pool_size: usize::try_from(self.pool_size).unwrap_or(usize::MAX),
                connect_timeout: self.connect_timeout,
                response_timeout: self.response_timeout,
                wait_replicas: self.wait_replicas,
                cluster: self.cluster,
                sentinels,
                format: self.format,
                max_payload: self.max_payload,
            }),
            _ => Err(faults),
        }
    }

    fn address(&self) -> Result<Address, String> {
        let mut info = match (&self.url, &self.host, self.port) {
            (Some(_), Some(_), _) | (Some(_), _, Some(_)) => {
                return Err("give either a url, or host and port".to_owned());
            }
            (Some(url), None, None) => parse(url)?,
            (None, host, port) => {
                let host = host.clone().unwrap_or_else(|| "localhost".to_owned());
                (host, port.unwrap_or(6_379)).into_connection_info().map_err(|error| error.to_string())?
            }
        };
        let mut login = info.redis_settings().clone();
        if let Some(db) = self.db {
            login = login.set_db(db);
        }
        if let Some(username) = &self.username {
            login = login.set_username(username);
        }
        if let Some(password) = &self.password {
            login = login.set_password(password);
        }
        if login.db() < 0 {
            return Err(format!("{} is no number of a database", login.db()));
        }
        info = info.set_redis_settings(login.set_lib_name("sched", env!("CARGO_PKG_VERSION")));
        Ok(Address(info))
    }

    fn check_sentinels(&self, faults: &mut Faults) -> Option<Sentinels> {
        match (&self.master, self.sentinels.is_empty()) {
            (None, true) => return None,
            (None, false) => faults.push(("master", "it is needed beside `sentinels`".to_owned())),
            (Some(_), true) => faults.push(("sentinels", "they are needed beside `master`".to_owned())),
            (Some(_), false) if !cfg!(feature = "sentinel") => {
                faults.push(("sentinels", needs("sentinel")));
            }
            _ => {}
        }
        let parsed = self.sentinels.iter().map(|sentinel| match sentinel.contains("://") {
            true => parse(sentinel),
            false => parse(&format!("redis://{sentinel}")),
        });
        match parsed.collect::<Result<Vec<_>, _>>() {
            Ok(infos) => {
                let addresses = infos.into_iter().map(Address).collect();
                Some(Sentinels { addresses, master: self.master.clone()? })
            }
            Err(message) => {
                faults.push(("sentinels", message));
                None
            }
        }
    }

    fn check_names(&self, faults: &mut Faults) {
        let names =
            [("prefix", &self.prefix), ("jobs_key", &self.jobs_key), ("run_times_key", &self.run_times_key)];
        for (key, name) in names {
            let is_plain = !name.is_empty() && name.len() <= MAX_NAME && !name.contains(['{', '}']);
            if !is_plain || name.chars().any(char::is_control) {
                let message = format!("expected 1 to {MAX_NAME} bytes without braces and control characters");
                faults.push((key, message));
            } else if key != "prefix" && TAKEN.contains(&name.split(':').next().unwrap_or_default()) {
                faults.push((key, format!("`{name}` is a key of the store's own")));
            }
        }
        if self.jobs_key == self.run_times_key {
            faults.push(("run_times_key", "it is the name of `jobs_key`".to_owned()));
        }
    }
}

/// Keys of the configuration, and what is wrong with each.
type Faults = Vec<(&'static str, String)>;

fn parse(url: &str) -> Result<ConnectionInfo, String> {
    let url = url.trim();
    let wrong = |why: &str| format!("`{}` is no url of a Redis server: {why}", masked(url));
    if url.is_empty() {
        return Err("this store needs a url, such as `redis://localhost:6379/0`".to_owned());
    }
    let scheme = url.split_once("://").map_or("", |(scheme, _)| scheme);
    if matches!(scheme, "rediss" | "valkeys") && !cfg!(feature = "tls") {
        return Err(wrong(&format!("encryption {}", needs("tls"))));
    }
    let info = url.into_connection_info();
    info.map_err(|_| {
        wrong("expected `redis://[user:password@]host[:port][/db]`, `rediss://…` or `unix:///path`")
    })
}

/// What to enable for what this build lacks.
pub(crate) fn needs(feature: &str) -> String {
    format!(
        "needs the cargo feature `{feature}` of `sched-store-redis`, which is `redis-{feature}` of `sched` and `sched-cli`"
    )
}

/// The URL without its password.
fn masked(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    // A password may hold any of the characters that end an authority, so that the last `@` counts.
    match rest.rsplit_once('@') {
        Some((login, host)) => match login.split_once(':') {
            Some((user, _)) => format!("{scheme}://{user}:***@{host}"),
            None => url.to_owned(),
        },
        None => url.to_owned(),
    }
}

/// The factory behind the alias.
pub(crate) fn from_config(section: &mut Section<'_>) -> Result<Arc<dyn JobStore>, Error> {
    let mut builder = RedisStoreBuilder { url: section.string("url"), ..RedisStoreBuilder::default() };
    builder.host = section.string("host");
    builder.port = section.integer_in("port", 1, 65_535).and_then(|port| u16::try_from(port).ok());
    builder.db = section.integer_in("db", 0, i64::from(u16::MAX));
    builder.username = section.string("username");
    builder.password = section.string("password");
    builder.prefix = section.string("prefix").unwrap_or(builder.prefix);
    builder.jobs_key = section.string("jobs_key").unwrap_or(builder.jobs_key);
    builder.run_times_key = section.string("run_times_key").unwrap_or(builder.run_times_key);
    let pool_size = section.count("pool_size", MAX_POOL).and_then(|size| u32::try_from(size).ok());
    builder.pool_size = pool_size.unwrap_or(builder.pool_size);
    builder.connect_timeout = section.duration("connect_timeout").unwrap_or(builder.connect_timeout);
    builder.response_timeout = section.duration("response_timeout").unwrap_or(builder.response_timeout);
    let replicas = section.count("wait_replicas", 1_000).and_then(|count| u32::try_from(count).ok());
    builder.wait_replicas = replicas.unwrap_or(0);
    builder.cluster = section.boolean("cluster").unwrap_or(false);
    builder.master = section.string("master");
    builder.max_payload = section.count("max_payload", u32::MAX).unwrap_or(builder.max_payload);
    for sentinel in section.list("sentinels").unwrap_or_default() {
        match sentinel.as_str() {
            Some(sentinel) => builder.sentinels.push(sentinel.to_owned()),
            None => section.fault("sentinels", "expected texts such as `host:26379`"),
        }
    }
    if let Some(word) = section.string("codec") {
        match PayloadFormat::from_word(word.trim()) {
            Ok(format) => builder.format = format,
            Err(error) => section.absorb(error, "codec"),
        }
    }
    let config = builder.check().map_err(|faults| to_error(faults, |key| section.path_of(key)))?;
    Ok(Arc::new(RedisStore::new(config)))
}

fn to_error(faults: Faults, path_of: impl Fn(&str) -> String) -> Error {
    let faults = faults.into_iter();
    let faults = faults.map(|(key, message)| Fault { path: path_of(key), message, suggestion: None });
    Error::from_faults(ErrorKind::InvalidConfig, faults.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_build_lacks_is_told_with_the_crate_and_the_feature() {
        let builder = || RedisStore::builder("redis://localhost/0");
        let cases = [
            ("cluster", cfg!(feature = "cluster"), RedisStoreBuilder { cluster: true, ..builder() }),
            ("sentinel", cfg!(feature = "sentinel"), builder().sentinels(&["localhost:26379"], "main")),
            ("tls", cfg!(feature = "tls"), RedisStore::builder("rediss://localhost/0")),
        ];
        for (feature, is_there, builder) in cases {
            let built = builder.build();
            if is_there {
                assert!(built.is_ok(), "{built:?}");
                continue;
            }
            let error = built.unwrap_err().to_string();
            let expected =
                format!("`{feature}` of `sched-store-redis`, which is `redis-{feature}` of `sched` and");
            assert!(error.contains(&expected), "{error}");
        }
    }
}
