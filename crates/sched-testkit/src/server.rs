//! Database servers and brokers that tests ask for by kind: `let Some(url) = server::postgres() else { return };`.
//!
//! Starts nothing: `cargo xtask services up` does, and so does `cargo xtask test`. A server is looked for
//!
//! 1. in its environment variable, such as `SCHED_TEST_POSTGRES_URL`,
//! 2. in the file `urls.env` of the directory that `SCHED_SERVICES_DIR` names,
//! 3. in `target/services/urls.env` of the package under test or of a directory above it.
//!
//! A test whose server is absent says so on standard error, appends the fact to the file that `SCHED_SKIPPED_FILE` names
//! (`cargo xtask test` lists it at the end) and passes. It panics instead when `SCHED_REQUIRE` names the server: a list like
//! `postgres,redis`, or `all`.

use std::collections::hash_map::RandomState;
use std::env;
use std::fs::{self, OpenOptions};
use std::hash::{BuildHasher, Hasher};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::thread;

/// A kind of server.
#[derive(Debug, PartialEq)]
struct Kind {
    /// Its names in `SCHED_REQUIRE`.
    names: &'static [&'static str],
    /// What people call it.
    title: &'static str,
    /// Where its URL stands, in the environment and in `urls.env`.
    variable: &'static str,
}

const POSTGRES: Kind =
    Kind { names: &["postgres", "postgresql"], title: "PostgreSQL", variable: "SCHED_TEST_POSTGRES_URL" };
const MYSQL: Kind =
    Kind { names: &["mysql", "mariadb"], title: "MySQL or MariaDB", variable: "SCHED_TEST_MYSQL_URL" };
const REDIS: Kind = Kind { names: &["redis"], title: "Redis", variable: "SCHED_TEST_REDIS_URL" };
const REDIS_CLUSTER: Kind = Kind {
    names: &["redis", "redis-cluster"],
    title: "Redis cluster",
    variable: "SCHED_TEST_REDIS_CLUSTER_URL",
};
const MONGODB: Kind = Kind { names: &["mongodb"], title: "MongoDB", variable: "SCHED_TEST_MONGODB_URL" };
const MONGODB_STANDALONE: Kind = Kind {
    names: &["mongodb", "mongodb-standalone"],
    title: "stand-alone MongoDB",
    variable: "SCHED_TEST_MONGODB_STANDALONE_URL",
};
const MQTT: Kind = Kind { names: &["mqtt", "mosquitto"], title: "MQTT", variable: "SCHED_TEST_MQTT_URL" };

const KINDS: [&Kind; 7] = [&POSTGRES, &MYSQL, &REDIS, &REDIS_CLUSTER, &MONGODB, &MONGODB_STANDALONE, &MQTT];

/// The URL of a PostgreSQL database, such as `postgres://sched:sched@127.0.0.1:41001/sched`.
///
/// The user owns the database and may create others; durability is on.
pub fn postgres() -> Option<String> {
    find(&POSTGRES)
}

/// The URL of a MySQL or MariaDB database, such as `mysql://sched:sched@127.0.0.1:41002/sched`.
///
/// The user may create databases whose names begin with `sched`; durability is on.
pub fn mysql() -> Option<String> {
    find(&MYSQL)
}

/// The URL of a Redis server with an append-only file, such as `redis://127.0.0.1:41003/`.
pub fn redis() -> Option<String> {
    find(&REDIS)
}

/// The URL of a node of a Redis cluster, which owns all slots.
pub fn redis_cluster() -> Option<String> {
    find(&REDIS_CLUSTER)
}

/// The URL of a MongoDB replica set, such as `mongodb://127.0.0.1:41004/?replicaSet=rs0`.
pub fn mongodb() -> Option<String> {
    find(&MONGODB)
}

/// The URL of a MongoDB server that is no replica set: no transactions, no change streams.
pub fn mongodb_standalone() -> Option<String> {
    find(&MONGODB_STANDALONE)
}

/// The URL of an MQTT broker that wants no credentials, such as `mqtt://127.0.0.1:41006`.
pub fn mqtt() -> Option<String> {
    find(&MQTT)
}

/// A name that nothing else has: `sched_`, the given middle, sixteen random digits. For a database, schema or key prefix.
///
/// With a middle of lower case letters and digits, at most 40 of them, every server takes it unquoted.
///
/// # Example
/// ```
/// use sched_testkit::server::unique_name;
/// let name = unique_name("leases");
/// assert!(name.starts_with("sched_leases_"));
/// assert_ne!(name, unique_name("leases"));
/// ```
pub fn unique_name(middle: &str) -> String {
    format!("sched_{middle}_{:016x}", RandomState::new().build_hasher().finish())
}

fn find(kind: &Kind) -> Option<String> {
    let from_environment = env::var(kind.variable).ok().filter(|url| !url.is_empty());
    let url = from_environment.or_else(|| url_files().iter().find_map(|file| url_in_file(file, kind)));
    if url.is_none() {
        let reason = absence(kind);
        let required = env::var("SCHED_REQUIRE").unwrap_or_default();
        assert!(!is_required(&required, kind), "SCHED_REQUIRE={required}, but there is {reason}");
        skipped(&reason);
    }
    url
}

/// Why a suite does not run.
fn absence(kind: &Kind) -> String {
    let Kind { title, variable, .. } = kind;
    format!("no {title} server ({variable} is not set; `cargo xtask services up` starts one)")
}

/// Whether the value of `SCHED_REQUIRE` names a kind; a word that names none is a mistake worth failing for.
fn is_required(required: &str, kind: &Kind) -> bool {
    let words: Vec<&str> = required.split(',').map(str::trim).filter(|word| !word.is_empty()).collect();
    for word in &words {
        let known = *word == "all" || KINDS.iter().any(|kind| kind.names.contains(word));
        assert!(known, "SCHED_REQUIRE={required}: there is no server called {word}");
    }
    words.iter().any(|word| *word == "all" || kind.names.contains(word))
}

/// The files that may hold URLs, the nearest first.
fn url_files() -> Vec<PathBuf> {
    if let Some(directory) = env::var_os("SCHED_SERVICES_DIR").filter(|directory| !directory.is_empty()) {
        return vec![Path::new(&directory).join("urls.env")];
    }
    // Cargo sets it for the tests it runs; a test program that was started by hand looks above where it was started.
    let start = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from).or_else(|| env::current_dir().ok());
    let start = start.unwrap_or_default();
    start.ancestors().map(|directory| directory.join("target/services/urls.env")).collect()
}

/// The URL of a kind in a file of lines like `SCHED_TEST_REDIS_URL=redis://…`.
fn url_in_file(file: &Path, kind: &Kind) -> Option<String> {
    url_in_text(&fs::read_to_string(file).ok()?, kind)
}

fn url_in_text(text: &str, kind: &Kind) -> Option<String> {
    let url = |line: &str| Some(line.strip_prefix(kind.variable)?.strip_prefix('=')?.trim().to_owned());
    text.lines().find_map(url).filter(|url| !url.is_empty())
}

/// Says that the calling test does not run and why, to the person and to `cargo xtask test`: for tests that need more
/// of their surroundings than a server.
///
/// # Panics
/// When the file that `SCHED_SKIPPED_FILE` names cannot be written.
pub fn skipped(reason: &str) {
    // Written past the test harness, which hides what a passing test prints.
    let _ = writeln!(io::stderr(), "suite skipped: {reason}");
    let Some(file) = env::var_os("SCHED_SKIPPED_FILE").filter(|file| !file.is_empty()) else { return };
    let program = env::current_exe().unwrap_or_default();
    let program = program.file_name().unwrap_or_default().to_string_lossy();
    let test = thread::current().name().unwrap_or("?").to_owned();
    let written = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&file)
        // One call, so that lines of programs that run at once do not mix.
        .and_then(|mut file| file.write_all(format!("{program}\t{test}\t{reason}\n").as_bytes()));
    assert!(written.is_ok(), "cannot append to SCHED_SKIPPED_FILE {}: {written:?}", file.display());
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;

    #[test]
    fn a_url_is_found_by_the_whole_name_of_its_variable() {
        let text = "# made by hand\nSCHED_TEST_MONGODB_STANDALONE_URL=mongodb://b/\nSCHED_TEST_MONGODB_URL=mongodb://a/?replicaSet=rs0\nSCHED_TEST_REDIS_URL=\n";
        for (kind, url) in [
            (&MONGODB, Some("mongodb://a/?replicaSet=rs0")),
            (&MONGODB_STANDALONE, Some("mongodb://b/")),
            (&REDIS, None),
            (&MQTT, None),
        ] {
            assert_eq!(url_in_text(text, kind).as_deref(), url, "{}", kind.title);
        }
    }

    #[test]
    fn a_server_is_required_by_any_of_its_names_or_by_all() {
        for (required, kind, verdict) in [
            ("", &POSTGRES, false),
            ("all", &MONGODB_STANDALONE, true),
            ("redis, mysql", &MYSQL, true),
            ("mariadb", &MYSQL, true),
            ("redis,", &POSTGRES, false),
            ("mongodb", &MONGODB_STANDALONE, true),
            ("mongodb-standalone", &MONGODB, false),
        ] {
            assert_eq!(is_required(required, kind), verdict, "{required} {}", kind.title);
        }
    }

    #[test]
    #[should_panic(expected = "there is no server called postgre")]
    fn a_required_server_that_nobody_knows_is_a_failure() {
        is_required("redis,postgre", &REDIS);
    }

    #[test]
    fn every_server_that_is_found_answers() {
        for kind in KINDS {
            let Some(url) = find(kind) else { continue };
            let (_, rest) = url.split_once("://").unwrap();
            let authority = rest.split(['/', '?']).next().unwrap();
            let address = authority.rsplit('@').next().unwrap();
            let connected = TcpStream::connect(address);
            assert!(connected.is_ok(), "{url} does not answer; `cargo xtask services up` makes it anew");
        }
    }

    #[test]
    fn the_reason_names_the_variable_and_the_cure() {
        let reason = absence(&POSTGRES);
        assert_eq!(
            reason,
            "no PostgreSQL server (SCHED_TEST_POSTGRES_URL is not set; `cargo xtask services up` starts one)"
        );
    }
}
