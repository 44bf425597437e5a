//! Where the server is and how it is used: addresses, the builder, and the keys of a configuration.
//!
//! Everything is checked here, once; nothing here connects or resolves a name.

use std::fmt::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use mongodb::options::{ConnectionString, HostInfo};
use sched_core::codec::{DEFAULT_MAX_PAYLOAD, PayloadFormat};
use sched_core::{Error, ErrorKind, Fault, JobStore, Section};

use crate::store::MongoStore;

/// The longest `max_payload`, in bytes. A run's document holds up to three payloads, and the server takes no document of
/// more than 16 MiB.
const MOST_PAYLOAD: usize = 4 << 20;

/// The most connections of a pool.
const MAX_POOL: u32 = 1_024;

/// The longest name of a database or collection, in bytes.
const MAX_NAME: usize = 60;

/// Where a server is. Its text has no password.
#[derive(Clone)]
pub(crate) struct Address {
    uri: String,
    hosts: String,
    /// The database that the URL names.
    database: Option<String>,
}

impl Address {
    /// Reads a MongoDB URL.
    fn parse(uri: &str) -> Result<Self, String> {
        let uri = uri.trim();
        let parsed = ConnectionString::parse(uri).map_err(|error| {
            // The driver's text may quote a part of the password, so that it is asked about the rest alone.
            let open = without_credentials(uri);
            let (error, uri) = match ConnectionString::parse(&open).err() {
                Some(error) => (error.kind.to_string(), open),
                None if open == uri => (error.kind.to_string(), open),
                None => ("user and password are to be percent-encoded".to_owned(), masked(uri)),
            };
            format!("`{uri}` is no MongoDB URL: {error}")
        })?;
        let hosts = match &parsed.host_info {
            HostInfo::HostIdentifiers(hosts) => {
                hosts.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
            }
            HostInfo::DnsRecord(name) => name.clone(),
            _ => masked(uri),
        };
        Ok(Self { uri: uri.to_owned(), hosts, database: parsed.default_database })
    }

    /// The URL as the driver reads it.
    pub(crate) fn uri(&self) -> &str {
        &self.uri
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mongodb {}", self.hosts)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The URL, and its part after the credentials. A password may hold any of the characters that end it, so that the last
/// `@` counts.
fn split_credentials(uri: &str) -> Option<(&str, &str, &str)> {
    let (scheme, rest) = uri.split_once("://")?;
    let (credentials, hosts) = rest.rsplit_once('@')?;
    Some((scheme, credentials, hosts))
}

fn without_credentials(uri: &str) -> String {
    split_credentials(uri).map_or_else(|| uri.to_owned(), |(scheme, _, hosts)| format!("{scheme}://{hosts}"))
}

/// The URL without its password.
fn masked(uri: &str) -> String {
    let Some((scheme, credentials, hosts)) = split_credentials(uri) else { return uri.to_owned() };
    match credentials.split_once(':') {
        Some((user, _)) => format!("{scheme}://{user}:***@{hosts}"),
        None => format!("{scheme}://{credentials}@{hosts}"),
    }
}

/// Percent-encodes what has a meaning in a URL.
fn encoded(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut encoded, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                encoded.push(char::from(byte))
            }
            // Writing to a string does not fail.
            _ => drop(write!(encoded, "%{byte:02X}")),
        }
        encoded
    })
}

/// A store's configuration, checked.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) address: Address,
    pub(crate) names: Names,
    pub(crate) server_selection_timeout: Duration,
    pub(crate) connect_timeout: Duration,
    pub(crate) write_timeout: Duration,
    pub(crate) max_pool_size: u32,
    pub(crate) create_schema: bool,
    pub(crate) format: PayloadFormat,
    pub(crate) max_payload: usize,
}

/// The database and the collections.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    pub(crate) database: String,
    pub(crate) jobs: String,
    pub(crate) runs: String,
    pub(crate) meta: String,
}

/// Builds a [`MongoStore`].
///
/// # Example
/// ```
/// use std::time::Duration;
/// use sched_store_mongodb::MongoStore;
///
/// let store = MongoStore::builder("mongodb://db1.example.org,db2.example.org/?replicaSet=rs0")
///     .database("app")
///     .collection("app_jobs")
///     .server_selection_timeout(Duration::from_secs(2))
///     .build()?;
/// assert!(store.ddl().contains("db.app_jobs.createIndex("));
/// # Ok::<(), sched_core::Error>(())
/// ```
#[derive(Clone)]
#[must_use = "a builder does nothing until it builds"]
pub struct MongoStoreBuilder {
    url: String,
    database: Option<String>,
    collection: String,
    runs_collection: String,
    meta_collection: String,
    server_selection_timeout: Duration,
    connect_timeout: Duration,
    write_timeout: Duration,
    max_pool_size: u32,
    create_schema: bool,
    format: PayloadFormat,
    max_payload: usize,
}

impl fmt::Debug for MongoStoreBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("MongoStoreBuilder");
        debug.field("url", &masked(&self.url)).field("database", &self.database).finish_non_exhaustive()
    }
}

impl MongoStoreBuilder {
    pub(crate) fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            database: None,
            collection: "jobs".to_owned(),
            runs_collection: "runs".to_owned(),
            meta_collection: "meta".to_owned(),
            server_selection_timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(5),
            write_timeout: Duration::from_secs(10),
            max_pool_size: 10,
            create_schema: true,
            format: PayloadFormat::default(),
            max_payload: DEFAULT_MAX_PAYLOAD,
        }
    }

    /// The database; that of the URL when not given, and `sched` when the URL names none.
    pub fn database(mut self, name: impl Into<String>) -> Self {
        self.database = Some(name.into());
        self
    }

    /// The collection of the jobs; `jobs` when not given.
    pub fn collection(mut self, name: impl Into<String>) -> Self {
        self.collection = name.into();
        self
    }

    /// The collection of the runs; `runs` when not given.
    pub fn runs_collection(mut self, name: impl Into<String>) -> Self {
        self.runs_collection = name.into();
        self
    }

    /// The collection of the schema's version and the latest token; `meta` when not given.
    pub fn meta_collection(mut self, name: impl Into<String>) -> Self {
        self.meta_collection = name.into();
        self
    }

    /// How long a call waits for a server that is not there; 5 seconds when not given.
    pub fn server_selection_timeout(mut self, limit: Duration) -> Self {
        self.server_selection_timeout = limit;
        self
    }

    /// How long a connection may take to be made; 5 seconds when not given.
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.connect_timeout = limit;
        self
    }

    /// How long a write waits for a majority of the members; 10 seconds when not given.
    pub fn write_timeout(mut self, limit: Duration) -> Self {
        self.write_timeout = limit;
        self
    }

    /// At most this many connections, from 1 to 1,024; 10 when not given.
    pub fn max_pool_size(mut self, connections: u32) -> Self {
        self.max_pool_size = connections;
        self
    }

    /// Whether `start` makes the indexes; it does when not given. Without it, a start that finds one missing fails and
    /// names what to create.
    pub fn create_schema(mut self, create: bool) -> Self {
        self.create_schema = create;
        self
    }

    /// The format of payloads that are written; either is read.
    pub fn codec(mut self, format: PayloadFormat) -> Self {
        self.format = format;
        self
    }

    /// The longest payload of a job, of a run that is queued directly, or of a result, in bytes: one mebibyte when not
    /// given, four at most.
    pub fn max_payload(mut self, bytes: usize) -> Self {
        self.max_payload = bytes;
        self
    }

    /// The store; it does not connect before it is started.
    ///
    /// **Errors**: [`InvalidConfig`](ErrorKind::InvalidConfig) with every fault.
    pub fn build(self) -> Result<MongoStore, Error> {
        self.check().map(MongoStore::new).map_err(|faults| to_error(faults, str::to_owned))
    }

    /// The checked configuration, or the keys that are wrong and why.
    fn check(self) -> Result<Config, Vec<(&'static str, String)>> {
        let mut faults = Vec::new();
        let address = Address::parse(&self.url).map_err(|message| faults.push(("url", message))).ok();
        let of_url = address.as_ref().and_then(|address| address.database.clone());
        let names = Names {
            database: self.database.or(of_url).unwrap_or_else(|| "sched".to_owned()),
            jobs: self.collection,
            runs: self.runs_collection,
            meta: self.meta_collection,
        };
        faults.extend(names.faults());
        let mut limit = |key, holds: bool, message: String| {
            if !holds {
                faults.push((key, message));
            }
        };
        let pool = self.max_pool_size;
        limit(
            "max_pool_size",
            (1..=MAX_POOL).contains(&pool),
            format!("{pool} is out of range, expected 1 to {MAX_POOL}"),
        );
        let most = self.max_payload;
        limit(
            "max_payload",
            most <= MOST_PAYLOAD,
            format!("{most} is out of range, expected at most {MOST_PAYLOAD}"),
        );
        let timeouts = [
            ("server_selection_timeout", self.server_selection_timeout),
            ("connect_timeout", self.connect_timeout),
            ("write_timeout", self.write_timeout),
        ];
        for (key, timeout) in timeouts {
            let fits = !timeout.is_zero() && i32::try_from(timeout.as_millis()).is_ok();
            limit(key, fits, "it is zero or too long".to_owned());
        }
        match address {
            Some(address) if faults.is_empty() => Ok(Config {
                address,
                names,
                server_selection_timeout: self.server_selection_timeout,
                connect_timeout: self.connect_timeout,
                write_timeout: self.write_timeout,
                max_pool_size: self.max_pool_size,
                create_schema: self.create_schema,
                format: self.format,
                max_payload: self.max_payload,
            }),
            _ => Err(faults),
        }
    }
}

impl Names {
    fn faults(&self) -> Vec<(&'static str, String)> {
        let all = [
            ("database", &self.database, "/\\. \"$*<>:|?"),
            ("collection", &self.jobs, "$"),
            ("runs_collection", &self.runs, "$"),
            ("meta_collection", &self.meta, "$"),
        ];
        let mut faults = Vec::new();
        for (at, (key, name, banned)) in all.iter().enumerate() {
            let is_banned = |letter: char| banned.contains(letter) || letter.is_control();
            if name.is_empty() {
                faults.push((*key, format!("the {key} must not be empty")));
            } else if name.len() > MAX_NAME || name.starts_with("system.") || name.contains(is_banned) {
                faults.push((
                    *key,
                    format!("`{name}` is no name of a {}", key.rsplit('_').next().unwrap_or(key)),
                ));
            } else if at > 0 && all[1..at].iter().any(|(_, other, _)| other == name) {
                faults.push((*key, format!("`{name}` is the name of two collections")));
            }
        }
        faults
    }
}

/// The URL that a configuration gives, or gives the parts of.
fn url_of(section: &mut Section<'_>) -> String {
    let (url, host) = (section.string("url"), section.string("host"));
    let (user, password) = (section.string("username"), section.string("password"));
    let port = section.integer_in("port", 1, 65_535);
    let (source, set) = (section.string("auth_source"), section.string("replica_set"));
    let tls = section.boolean("tls");
    // The Python client takes a URL for a host.
    let given = url.or_else(|| host.clone().filter(|host| host.contains("://")));
    if let Some(url) = given {
        let parts = [
            ("port", port.is_some()),
            ("username", user.is_some()),
            ("password", password.is_some()),
            ("auth_source", source.is_some()),
            ("replica_set", set.is_some()),
            ("tls", tls.is_some()),
        ];
        for (key, _) in parts.into_iter().filter(|(_, is_given)| *is_given) {
            section.fault(key, "it is a part of the url");
        }
        return url;
    }
    let mut url = "mongodb://".to_owned();
    match (&user, &password) {
        (Some(user), Some(password)) => url.push_str(&format!("{}:{}@", encoded(user), encoded(password))),
        (Some(user), None) => url.push_str(&format!("{}@", encoded(user))),
        (None, Some(_)) => section.fault("password", "it needs a `username`"),
        (None, None) => {}
    }
    url.push_str(host.as_deref().unwrap_or("localhost"));
    if let Some(port) = port {
        url.push_str(&format!(":{port}"));
    }
    let source = source.map(|source| format!("authSource={}", encoded(&source)));
    let set = set.map(|set| format!("replicaSet={}", encoded(&set)));
    let options: Vec<String> =
        [source, set, tls.map(|tls| format!("tls={tls}"))].into_iter().flatten().collect();
    format!("{url}/?{}", options.join("&")).trim_end_matches('?').to_owned()
}

/// The factory behind the alias.
pub(crate) fn from_config(section: &mut Section<'_>) -> Result<Arc<dyn JobStore>, Error> {
    let mut builder = MongoStoreBuilder::new(url_of(section));
    builder.database = section.string("database");
    builder.collection = section.string("collection").unwrap_or(builder.collection);
    builder.runs_collection = section.string("runs_collection").unwrap_or(builder.runs_collection);
    builder.meta_collection = section.string("meta_collection").unwrap_or(builder.meta_collection);
    for (key, timeout) in [
        ("server_selection_timeout", &mut builder.server_selection_timeout),
        ("connect_timeout", &mut builder.connect_timeout),
        ("write_timeout", &mut builder.write_timeout),
    ] {
        *timeout = section.duration(key).unwrap_or(*timeout);
    }
    let max_pool_size = section.count("max_pool_size", MAX_POOL).and_then(|size| u32::try_from(size).ok());
    builder.max_pool_size = max_pool_size.unwrap_or(builder.max_pool_size);
    builder.create_schema = section.boolean("create_schema").unwrap_or(builder.create_schema);
    builder.max_payload = section.count("max_payload", u32::MAX).unwrap_or(builder.max_payload);
    if let Some(word) = section.string("codec") {
        match PayloadFormat::from_word(word.trim()) {
            Ok(format) => builder.format = format,
            Err(error) => section.fault("codec", error.to_string()),
        }
    }
    let config = builder.check().map_err(|faults| to_error(faults, |key| section.path_of(key)))?;
    Ok(Arc::new(MongoStore::new(config)))
}

fn to_error(faults: Vec<(&'static str, String)>, path_of: impl Fn(&str) -> String) -> Error {
    let faults = faults.into_iter();
    let faults = faults.map(|(key, message)| Fault { path: path_of(key), message, suggestion: None });
    Error::from_faults(ErrorKind::InvalidConfig, faults.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_hosts_and_perhaps_a_database() {
        let table = [
            ("mongodb://localhost", "mongodb localhost:27017", None),
            ("mongodb://a:1,b:2/app?replicaSet=rs0", "mongodb a:1,b:2", Some("app")),
            ("mongodb://me:hunter2@host/app?authSource=admin", "mongodb host:27017", Some("app")),
            ("mongodb+srv://me:hunter2@cluster.example.org/", "mongodb cluster.example.org", None),
        ];
        for (url, place, database) in table {
            let address = Address::parse(url).unwrap();
            assert_eq!(
                (address.to_string().as_str(), address.database.as_deref()),
                (place, database),
                "{url}"
            );
        }
    }

    #[test]
    fn passwords_are_masked() {
        let urls = [
            "mongodb://me:hunter2@host:port/db",
            "mongodb://me:hun@ter2@host/db",
            "mongodb://me:hunter2/x@host/db",
            "mongodb://me:hunter2%@host/db",
            "mongo://me:hunter2@host/db",
            "mongodb://me:hunter2@host/db?replicaSet",
        ];
        for url in urls {
            let builder = MongoStoreBuilder::new(url);
            assert!(!format!("{builder:?}").contains("ter2"), "{url}");
            let error = builder.build().map(drop).unwrap_err().to_string();
            assert!(!error.contains("ter2"), "{url}: {error}");
        }
        let fine = MongoStore::builder("mongodb://me:hunter2@host/db").build().unwrap();
        assert!(!format!("{fine:?}").contains("hunter2"));
    }

    #[test]
    fn credentials_are_encoded() {
        let url = format!("mongodb://{}:{}@host/", encoded("m\u{e9}"), encoded("a@b:c/d%"));
        assert_eq!(url, "mongodb://m%C3%A9:a%40b%3Ac%2Fd%25@host/");
        assert!(Address::parse(&url).is_ok());
    }

    #[test]
    fn names_that_no_server_takes_are_refused() {
        let build = |database: &str, jobs: &str, runs: &str| {
            let builder = MongoStoreBuilder::new("mongodb://host/").database(database);
            builder.collection(jobs).runs_collection(runs).build().map(drop)
        };
        assert!(build("app", "a.jobs", "a-runs").is_ok());
        for (database, jobs, runs, fault) in [
            ("", "a", "b", "database"),
            ("a.b", "a", "b", "database"),
            ("a", "", "b", "collection"),
            ("a", "system.jobs", "b", "collection"),
            ("a", "a$b", "b", "collection"),
            ("a", "same", "same", "runs_collection"),
        ] {
            let error = build(database, jobs, runs).unwrap_err();
            assert!(error.to_string().contains(fault), "{error}");
        }
    }
}
