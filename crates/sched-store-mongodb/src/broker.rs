//! The event broker: notices in a small capped collection, whose end everybody watches.
//!
//! A tailable cursor does the same on a server that is alone and on a replica set. Its commands are sent one by one, as the
//! driver's own cursor cannot be told to stop waiting.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Bson, Document, doc};
use mongodb::error::Result as DriverResult;
use mongodb::options::{ClientOptions, ConnectionString, HostInfo};
use mongodb::sync::{Client, ClientSession, Database};
use sched_broker::{Ear, Relay, Wire};
use sched_core::{
    Error, ErrorKind, EventBroker, Factory, Fault, Notice, NoticeCallback, Plugin, Section, SubscriptionId,
};

use crate::error::failed;

/// How long the server may keep the listener waiting, after which it looks whether it is closed.
const LOOK: Duration = Duration::from_millis(250);

/// How large the collection is, in bytes and documents. The oldest make place for the latest.
const SIZE: i64 = 1 << 20;
const MOST: i64 = 1_000;

/// How many documents are asked for at once.
const BATCH: i32 = 100;

/// The longest name of a database or collection, in bytes.
const MAX_NAME: usize = 60;

/// The collection is there already. **Source**: MongoDB, `src/mongo/base/error_codes.yml`.
const NAMESPACE_EXISTS: i32 = 48;

inventory::submit! {
    Plugin {
        aliases: &["mongodb"],
        summary: "wake-ups between schedulers through MongoDB",
        package: env!("CARGO_PKG_NAME"),
        factory: Factory::EventBroker(from_config),
    }
}

/// An event broker in MongoDB: notices are documents of a capped collection.
///
/// It connects when it is used first, and makes the collection when there is none. When the server is not there, the log
/// says so and it is tried again; the scheduler works on and finds what is due when it polls.
pub struct MongoBroker(Relay<Notices>);

impl MongoBroker {
    /// Starts a broker on a server or replica set, by its MongoDB URL.
    pub fn builder(url: impl Into<String>) -> MongoBrokerBuilder {
        MongoBrokerBuilder {
            url: url.into(),
            database: None,
            collection: "notices".to_owned(),
            connect_timeout: Duration::from_secs(5),
        }
    }
}

impl EventBroker for MongoBroker {
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

impl fmt::Debug for MongoBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MongoBroker").field(&self.0).finish()
    }
}

/// Builds a [`MongoBroker`].
///
/// # Example
/// ```
/// use sched_store_mongodb::MongoBroker;
///
/// let broker = MongoBroker::builder("mongodb://db1.example.org,db2.example.org/?replicaSet=rs0")
///     .database("app")
///     .collection("app_notices")
///     .build()?;
/// # Ok::<(), sched_core::Error>(())
/// ```
#[derive(Clone)]
#[must_use = "a builder does nothing until it builds"]
pub struct MongoBrokerBuilder {
    url: String,
    database: Option<String>,
    collection: String,
    connect_timeout: Duration,
}

impl fmt::Debug for MongoBrokerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("MongoBrokerBuilder");
        debug
            .field("url", &without_credentials(&self.url))
            .field("collection", &self.collection)
            .finish_non_exhaustive()
    }
}

impl MongoBrokerBuilder {
    /// The database; that of the URL when not given, and `sched` when the URL names none.
    pub fn database(mut self, name: impl Into<String>) -> Self {
        self.database = Some(name.into());
        self
    }

    /// The collection; `notices` when not given. Schedulers that share a store share it.
    pub fn collection(mut self, name: impl Into<String>) -> Self {
        self.collection = name.into();
        self
    }

    /// How long a server may take to be found and connected to, from 1 millisecond to 1 hour; 5 seconds when not given.
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.connect_timeout = limit;
        self
    }

    /// The broker; it does not connect before it is used.
    ///
    /// **Errors**: [`InvalidConfig`](ErrorKind::InvalidConfig) with every fault.
    pub fn build(self) -> Result<MongoBroker, Error> {
        self.check()
            .map(|notices| MongoBroker(Relay::new(notices)))
            .map_err(|faults| to_error(faults, str::to_owned))
    }

    fn check(self) -> Result<Notices, Faults> {
        let mut faults = Faults::new();
        let parsed = parse(&self.url).map_err(|message| faults.push(("url", message))).ok();
        let (place, of_url) = parsed.unwrap_or_default();
        let database = self.database.or(of_url).unwrap_or_else(|| "sched".to_owned());
        for (key, name, banned) in
            [("database", &database, "/\\. \"$*<>:|?"), ("collection", &self.collection, "$")]
        {
            let is_banned = |letter: char| banned.contains(letter) || letter.is_control();
            if name.is_empty()
                || name.len() > MAX_NAME
                || name.starts_with("system.")
                || name.contains(is_banned)
            {
                faults.push((key, format!("`{name}` is no name of a {key}")));
            }
        }
        if self.connect_timeout < Duration::from_millis(1)
            || self.connect_timeout > Duration::from_secs(3_600)
        {
            faults
                .push(("connect_timeout", "it is out of range, expected 1 millisecond to 1 hour".to_owned()));
        }
        match faults.is_empty() {
            true => Ok(Notices {
                uri: self.url.trim().to_owned(),
                place: format!("mongodb {place}/{database}"),
                database,
                collection: self.collection,
                connect_timeout: self.connect_timeout,
            }),
            false => Err(faults),
        }
    }
}

/// The hosts of a URL, and its database.
fn parse(url: &str) -> Result<(String, Option<String>), String> {
    let url = url.trim();
    let parsed = ConnectionString::parse(url).map_err(|_| {
        // The driver's text may quote a part of the password, so that it is asked about the rest alone.
        let open = without_credentials(url);
        let why = match ConnectionString::parse(&open) {
            Err(error) => error.kind.to_string(),
            Ok(_) => "user and password are to be percent-encoded".to_owned(),
        };
        format!("`{open}` is no MongoDB URL: {why}")
    })?;
    let hosts = match &parsed.host_info {
        HostInfo::HostIdentifiers(hosts) => {
            hosts.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
        }
        HostInfo::DnsRecord(name) => name.clone(),
        _ => without_credentials(url),
    };
    Ok((hosts, parsed.default_database))
}

/// The URL without user and password. A password may hold any of the characters that end it, so that the last `@` counts.
fn without_credentials(url: &str) -> String {
    let parts = url.split_once("://").and_then(|(scheme, rest)| Some((scheme, rest.rsplit_once('@')?.1)));
    parts.map_or_else(|| url.to_owned(), |(scheme, hosts)| format!("{scheme}://{hosts}"))
}

/// Keys of the configuration, and what is wrong with each.
type Faults = Vec<(&'static str, String)>;

/// The factory behind the alias.
fn from_config(section: &mut Section<'_>) -> Result<Arc<dyn EventBroker>, Error> {
    let url = section.string("url").unwrap_or_else(|| "mongodb://localhost".to_owned());
    let mut builder = MongoBroker::builder(url);
    builder.database = section.string("database");
    builder.collection = section.string("collection").unwrap_or(builder.collection);
    builder.connect_timeout = section.duration("connect_timeout").unwrap_or(builder.connect_timeout);
    let notices = builder.check().map_err(|faults| to_error(faults, |key| section.path_of(key)))?;
    Ok(Arc::new(MongoBroker(Relay::new(notices))))
}

fn to_error(faults: Faults, path_of: impl Fn(&str) -> String) -> Error {
    let faults = faults.into_iter();
    let faults = faults.map(|(key, message)| Fault { path: path_of(key), message, suggestion: None });
    Error::from_faults(ErrorKind::InvalidConfig, faults.collect())
}

/// The collection of notices.
struct Notices {
    uri: String,
    place: String,
    database: String,
    collection: String,
    connect_timeout: Duration,
}

impl Notices {
    fn open(&self) -> DriverResult<(Client, Database)> {
        let mut options = ClientOptions::parse(&self.uri).run()?;
        options.server_selection_timeout.get_or_insert(self.connect_timeout);
        options.connect_timeout.get_or_insert(self.connect_timeout);
        options.app_name.get_or_insert_with(|| "sched".to_owned());
        let client = Client::with_options(options)?;
        let database = client.database(&self.database);
        let made = database.create_collection(&self.collection).capped(true).size(SIZE.unsigned_abs());
        match made.max(MOST.unsigned_abs()).run() {
            Err(error) if !exists_already(&error) => Err(error),
            _ => Ok((client, database)),
        }
    }

    /// Writes a document; that the primary has it is enough.
    fn insert(&self, database: &Database, document: Document) -> DriverResult<()> {
        let command =
            doc! { "insert": &self.collection, "documents": [document], "writeConcern": { "w": 1 } };
        database.run_command(command).run().map(drop)
    }

    fn hear(&self, ear: &Ear) -> DriverResult<()> {
        let (client, database) = self.open()?;
        let mut session = client.start_session().run()?;
        // What comes after the greeting is new; and the end of an empty collection cannot be watched.
        let greeting = ObjectId::new();
        self.insert(&database, doc! { "_id": greeting })?;
        let find = doc! { "find": &self.collection, "tailable": true, "awaitData": true, "batchSize": BATCH };
        let (mut cursor, mut batch) = ask(&database, find, &mut session)?;
        let mut is_new = false;
        loop {
            for document in &batch {
                match document.get_binary_generic("message") {
                    Ok(message) if is_new => ear.hear(message),
                    _ => {}
                }
                if !is_new && document.get_object_id("_id").is_ok_and(|id| id == greeting) {
                    is_new = true;
                    ear.connected();
                }
            }
            // The collection was dropped, or has wrapped around before it was read.
            if cursor == 0 || ear.is_closed() {
                break;
            }
            let wait = i64::try_from(LOOK.as_millis()).unwrap_or(i64::MAX);
            let more = doc! { "getMore": cursor, "collection": &self.collection, "batchSize": BATCH, "maxTimeMS": wait };
            (cursor, batch) = ask(&database, more, &mut session)?;
        }
        if cursor != 0 {
            let kill = doc! { "killCursors": &self.collection, "cursors": [cursor] };
            database.run_command(kill).session(&mut session).run()?;
        }
        Ok(())
    }
}

/// Whether a collection was not made because there is one of its name.
fn exists_already(error: &mongodb::error::Error) -> bool {
    matches!(&*error.kind, mongodb::error::ErrorKind::Command(command) if command.code == NAMESPACE_EXISTS)
}

/// A cursor's number, which is 0 when it is over, and its next documents.
fn ask(
    database: &Database,
    command: Document,
    session: &mut ClientSession,
) -> DriverResult<(i64, Vec<Document>)> {
    let mut reply = database.run_command(command).session(session).run()?;
    let Ok(cursor) = reply.get_document_mut("cursor") else { return Ok((0, Vec::new())) };
    let id = cursor.get_i64("id").unwrap_or(0);
    let batch = ["nextBatch", "firstBatch"].into_iter().find_map(|key| match cursor.remove(key) {
        Some(Bson::Array(batch)) => Some(batch),
        _ => None,
    });
    let documents = batch.into_iter().flatten().filter_map(|document| match document {
        Bson::Document(document) => Some(document),
        _ => None,
    });
    Ok((id, documents.collect()))
}

impl Wire for Notices {
    const NAME: &'static str = "sched-mongo";
    const LONGEST: usize = 1 << 14;
    type Line = Database;

    fn connect(&self) -> Result<Database, Error> {
        self.open().map(|(_, database)| database).map_err(|error| failed(error, &self.collection))
    }

    fn send(&self, line: &mut Database, message: &str) -> Result<(), Error> {
        let message = mongodb::bson::Binary {
            subtype: mongodb::bson::spec::BinarySubtype::Generic,
            bytes: message.as_bytes().to_vec(),
        };
        self.insert(line, doc! { "message": message }).map_err(|error| failed(error, &self.collection))
    }

    fn listen(&self, ear: &Ear) -> Result<(), Error> {
        self.hear(ear).map_err(|error| failed(error, &self.collection))
    }
}

impl fmt::Display for Notices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.place)
    }
}

impl fmt::Debug for Notices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.place, self.collection)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_said_without_a_password() {
        for url in [
            "",
            "http://me:hunter2@host",
            "mongodb://me:hunter2@host:port/db",
            "mongodb://me:hunter2%@host/db",
        ] {
            let builder = MongoBroker::builder(url);
            assert!(!format!("{builder:?}").contains("hunter2"), "{url}");
            let error = builder.build().unwrap_err().to_string();
            assert!(error.contains("no MongoDB URL") && !error.contains("hunter2"), "{url}: {error}");
        }
        let builder = MongoBroker::builder("mongodb://me:hunter2@host/db");
        assert!(!format!("{builder:?} {:?}", builder.clone().build().unwrap()).contains("hunter2"));
        for builder in [
            builder.clone().collection(""),
            builder.clone().database("a.b"),
            builder.connect_timeout(Duration::MAX),
        ] {
            assert_eq!(builder.build().unwrap_err().kind(), ErrorKind::InvalidConfig);
        }
    }
}
