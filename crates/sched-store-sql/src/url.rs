//! Where a database is: URLs as SQLAlchemy and diesel write them.
//!
//! A URL is taken apart only as far as this crate must know: its kind, and what must not be shown. The rest is for the
//! database's client library to judge.

use std::fmt;

use diesel::r2d2::{ConnectionManager, Pool};

use crate::schema::Dialect;

/// Where a database is.
#[derive(Clone)]
pub(crate) enum Location {
    /// In memory, for as long as the store lives.
    #[cfg(feature = "sqlite")]
    Memory,
    /// In a file; a path or a `file:` URI.
    #[cfg(feature = "sqlite")]
    File(String),
    /// Behind a pool that somebody else made.
    #[cfg(feature = "sqlite")]
    SqlitePool(Pool<ConnectionManager<diesel::SqliteConnection>>),
    #[cfg(feature = "postgres")]
    Postgres(Server),
    #[cfg(feature = "postgres")]
    PostgresPool(Pool<ConnectionManager<diesel::PgConnection>>),
    #[cfg(feature = "mysql")]
    Mysql(Server),
    #[cfg(feature = "mysql")]
    MysqlPool(Pool<ConnectionManager<diesel::MysqlConnection>>),
}

/// Why a URL is refused that is not clear.
pub(crate) const NOT_ENCODED: &str = "user and password are to be percent-encoded";

/// A URL for a client library.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Server {
    url: String,
    shown: String,
}

#[cfg_attr(
    not(any(feature = "postgres", feature = "mysql")),
    expect(dead_code, reason = "no server is compiled in")
)]
impl Server {
    fn new(url: String) -> Self {
        let shown = masked(&url);
        Self { url, shown }
    }

    /// The URL with its password; not for people.
    #[cfg(feature = "mysql")]
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// A text of the client library, without what must not be shown.
    pub(crate) fn scrub(&self, text: String) -> String {
        let text = text.replace(&self.url, &self.shown);
        match password_of(&self.url).filter(|password| password.len() > 2) {
            Some(password) => text.replace(password, "***"),
            None => text,
        }
    }

    /// The URL with parameters that it does not have yet.
    #[cfg(feature = "postgres")]
    pub(crate) fn with_defaults(&self, defaults: &[(&str, String)]) -> String {
        let mut url = self.url.clone();
        for (name, value) in defaults {
            if !has_parameter(&self.url, name) {
                url.push(if url.contains('?') { '&' } else { '?' });
                url.extend([*name, "=", value]);
            }
        }
        url
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl Location {
    /// Reads a URL as SQLAlchemy or diesel write it, or a path or `file:` URI as SQLite takes it.
    pub(crate) fn parse(url: &str) -> Result<Self, String> {
        let url = url.trim();
        let Some((scheme, rest)) = url.split_once("://") else { return Self::parse_path(url) };
        match scheme.split('+').next().unwrap_or_default().to_ascii_lowercase().as_str() {
            "file" => Self::parse_path(url),
            "sqlite" => Self::parse_sqlite(url, rest),
            "postgres" | "postgresql" | "mysql" | "mariadb" if !is_clear(rest) => {
                Err(format!("`{}` is not clear: {NOT_ENCODED}", masked(url)))
            }
            "postgres" | "postgresql" => Self::parse_postgres(rest),
            "mysql" | "mariadb" => Self::parse_mysql(rest),
            _ => Err(format!(
                "`{}` is of no known database: expected `postgresql://…`, `mysql://…`, `mariadb://…` or `sqlite:///…`",
                masked(url)
            )),
        }
    }

    #[cfg(feature = "postgres")]
    #[expect(clippy::unnecessary_wraps, reason = "without the feature it fails")]
    fn parse_postgres(rest: &str) -> Result<Self, String> {
        Ok(Self::Postgres(Server::new(format!("postgresql://{rest}"))))
    }

    #[cfg(not(feature = "postgres"))]
    fn parse_postgres(_: &str) -> Result<Self, String> {
        Err("PostgreSQL needs the cargo feature `postgres` of `sched-store-sql`, or of `sched` or `sched-cli`".to_owned())
    }

    #[cfg(feature = "mysql")]
    fn parse_mysql(rest: &str) -> Result<Self, String> {
        const KNOWN: [&str; 5] = ["unix_socket", "ssl_mode", "ssl_ca", "ssl_cert", "ssl_key"];
        let (base, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut url = format!("mysql://{base}");
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split('=').next().unwrap_or_default() {
                // The only one there is.
                "charset" => {}
                name if KNOWN.contains(&name) => {
                    url.push(if url.contains('?') { '&' } else { '?' });
                    url.push_str(pair);
                }
                name => {
                    return Err(format!(
                        "`{name}` is no option of a MySQL url: expected {}",
                        KNOWN.join(", ")
                    ));
                }
            }
        }
        Ok(Self::Mysql(Server::new(url)))
    }

    #[cfg(not(feature = "mysql"))]
    fn parse_mysql(_: &str) -> Result<Self, String> {
        Err("MySQL and MariaDB need the cargo feature `mysql` of `sched-store-sql`, or of `sched` or `sched-cli`".to_owned())
    }

    #[cfg(feature = "sqlite")]
    fn parse_sqlite(url: &str, rest: &str) -> Result<Self, String> {
        if rest.contains('?') {
            return Err(format!("`{}` has options after `?`: give them as keys of their own", masked(url)));
        }
        match rest.strip_prefix('/') {
            None if rest.is_empty() => Ok(Self::Memory),
            None => Err(format!(
                "`{}` names a host: a relative path has three slashes, an absolute one four (`sqlite:////var/jobs.sqlite`)",
                masked(url)
            )),
            Some("" | ":memory:") => Ok(Self::Memory),
            Some(path) => Self::parse_path(path),
        }
    }

    #[cfg(not(feature = "sqlite"))]
    fn parse_sqlite(_: &str, _: &str) -> Result<Self, String> {
        Err("SQLite needs the cargo feature `sqlite` of `sched-store-sql`".to_owned())
    }

    #[cfg(feature = "sqlite")]
    fn parse_path(path: &str) -> Result<Self, String> {
        let is_memory =
            path.contains(":memory:") || (path.starts_with("file:") && path.contains("mode=memory"));
        let is_scheme = |scheme: &str| path.starts_with(scheme);
        match path {
            "" => Err("this store needs a url, such as `sqlite:///jobs.sqlite`".to_owned()),
            _ if path.contains('\0') => Err("a path has no NUL character".to_owned()),
            _ if ["sqlite:", "postgres:", "postgresql:", "mysql:", "mariadb:"].into_iter().any(is_scheme) => {
                Err(format!("`{path}` is no url, expected `sqlite:///…`"))
            }
            _ if is_memory => Ok(Self::Memory),
            _ => Ok(Self::File(path.to_owned())),
        }
    }

    #[cfg(not(feature = "sqlite"))]
    fn parse_path(_: &str) -> Result<Self, String> {
        Err("this store needs a url, such as `postgresql://user@host/database`".to_owned())
    }

    /// How its SQL is written.
    pub(crate) fn dialect(&self) -> Dialect {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Memory | Self::File(_) | Self::SqlitePool(_) => Dialect::Sqlite,
            #[cfg(feature = "postgres")]
            Self::Postgres(_) | Self::PostgresPool(_) => Dialect::Postgres,
            #[cfg(feature = "mysql")]
            Self::Mysql(_) | Self::MysqlPool(_) => Dialect::Mysql,
        }
    }

    /// Whether there is a server, which has a clock and schemas.
    pub(crate) fn has_server(&self) -> bool {
        match self.dialect() {
            #[cfg(feature = "sqlite")]
            Dialect::Sqlite => false,
            #[cfg(any(feature = "postgres", feature = "mysql"))]
            _ => true,
        }
    }

    /// Whether other processes may use it at the same time.
    pub(crate) fn is_shared(&self) -> bool {
        !self.lives_with_the_store()
    }

    /// Whether it is gone when the store is.
    pub(crate) fn lives_with_the_store(&self) -> bool {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Memory => true,
            #[cfg_attr(
                not(any(feature = "postgres", feature = "mysql", feature = "sqlite")),
                expect(unreachable_patterns, reason = "there is no database at all")
            )]
            _ => false,
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Memory => f.write_str("sqlite in memory"),
            #[cfg(feature = "sqlite")]
            Self::File(path) => write!(f, "sqlite \"{path}\""),
            #[cfg(feature = "postgres")]
            Self::Postgres(server) => f.write_str(&server.shown),
            #[cfg(feature = "mysql")]
            Self::Mysql(server) => f.write_str(&server.shown),
            #[cfg_attr(
                not(any(feature = "postgres", feature = "mysql", feature = "sqlite")),
                expect(unreachable_patterns, reason = "there is no database at all")
            )]
            _ => write!(f, "{} behind a given pool", self.dialect()),
        }
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Whether a URL has a parameter.
#[cfg(feature = "postgres")]
fn has_parameter(url: &str, name: &str) -> bool {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    query.split('&').any(|pair| pair.split('=').next() == Some(name))
}

/// The URL without its passwords.
pub(crate) fn masked(url: &str) -> String {
    let url = match password_range(url) {
        Some(range) => format!("{}***{}", &url[..range.start], &url[range.end..]),
        None => url.to_owned(),
    };
    let Some((base, query)) = url.split_once('?') else { return url };
    let pairs = query.split('&').map(|pair| match pair.split_once('=') {
        Some((name, _)) if name.contains("pass") => format!("{name}=***"),
        _ => pair.to_owned(),
    });
    format!("{base}?{}", pairs.collect::<Vec<_>>().join("&"))
}

/// The password of a URL.
fn password_of(url: &str) -> Option<&str> {
    password_range(url).and_then(|range| url.get(range))
}

/// Where the password of a URL stands. Where it is not clear, all up to the last `@` may be of it.
fn password_range(url: &str) -> Option<std::ops::Range<usize>> {
    let start = url.find("://")? + 3;
    let rest = &url[start..];
    let end = if is_clear(rest) { split_authority(rest).0.len() } else { rest.len() };
    let at = rest[..end].rfind('@')?;
    let colon = rest[..at].find(':')?;
    Some(start + colon + 1..start + at)
}

/// What a URL has before its path, and the rest.
fn split_authority(rest: &str) -> (&str, &str) {
    rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()))
}

/// Whether user and password of what follows `://` end where every reader takes them to end. A client library that reads on
/// in the middle of a password tells a part of it as a host, a port or an option.
pub(crate) fn is_clear(rest: &str) -> bool {
    let (authority, tail) = split_authority(rest);
    let (path, query) = tail.split_once('?').unwrap_or((tail, ""));
    let (login, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
    let is_port = |host: &str| match host.rsplit_once(':') {
        Some((_, port)) => port.ends_with(']') || port.bytes().all(|byte| byte.is_ascii_digit()),
        None => true,
    };
    let is_in_value = query.split_once('@').is_none_or(|(before, _)| before.contains('='));
    let ends_here =
        !login.contains('@') && hosts.split(',').all(is_port) && !path.contains('@') && is_in_value;
    ends_here || !rest.contains('@')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(feature = "sqlite")]
    #[test]
    fn urls_name_files_or_memory() {
        let file = |path: &str| format!("sqlite \"{path}\"");
        let memory = || "sqlite in memory".to_owned();
        let table = [
            ("sqlite:///jobs.sqlite", file("jobs.sqlite")),
            ("sqlite:///data/jobs.sqlite", file("data/jobs.sqlite")),
            ("sqlite:////var/jobs.sqlite", file("/var/jobs.sqlite")),
            ("sqlite+pysqlite:////var/jobs.sqlite", file("/var/jobs.sqlite")),
            ("sqlite:///C:\\jobs.sqlite", file("C:\\jobs.sqlite")),
            ("jobs.sqlite", file("jobs.sqlite")),
            ("/var/jobs.sqlite", file("/var/jobs.sqlite")),
            ("file:/var/jobs.sqlite?cache=private", file("file:/var/jobs.sqlite?cache=private")),
            ("file:///var/jobs.sqlite", file("file:///var/jobs.sqlite")),
            ("sqlite://", memory()),
            ("sqlite:///", memory()),
            ("sqlite:///:memory:", memory()),
            (":memory:", memory()),
            ("file::memory:?cache=shared", memory()),
            ("file:jobs?mode=memory", memory()),
        ];
        for (url, expected) in table {
            assert_eq!(Location::parse(url).unwrap().to_string(), expected, "{url}");
        }
        let wrong = [
            ("", "needs a url"),
            ("sqlite://jobs.sqlite", "three slashes"),
            ("sqlite:jobs.sqlite", "is no url"),
            ("sqlite:///jobs.sqlite?timeout=5", "keys of their own"),
            ("oracle://me@host/db", "of no known database"),
        ];
        for (url, expected) in wrong {
            let message = Location::parse(url).unwrap_err();
            assert!(message.contains(expected), "{url}: {message}");
        }
    }

    #[cfg(feature = "postgres")]
    #[test]
    fn urls_of_postgres_go_to_libpq_without_the_driver() {
        for url in [
            "postgresql://me:pw@host:5433/db",
            "postgres://me:pw@host:5433/db",
            "postgresql+psycopg2://me:pw@host:5433/db",
        ] {
            let Location::Postgres(server) = Location::parse(url).unwrap() else { panic!("{url}") };
            assert_eq!(server.url, "postgresql://me:pw@host:5433/db");
            assert_eq!(format!("{server:?}"), "postgresql://me:***@host:5433/db");
        }
        let Location::Postgres(server) = Location::parse("postgresql:///db?connect_timeout=9").unwrap()
        else {
            panic!("it is a server")
        };
        let defaults = [("connect_timeout", "5".to_owned()), ("application_name", "sched".to_owned())];
        assert_eq!(
            server.with_defaults(&defaults),
            "postgresql:///db?connect_timeout=9&application_name=sched"
        );
    }

    #[cfg(feature = "mysql")]
    #[test]
    fn urls_of_mysql_go_to_its_client_with_the_options_it_knows() {
        for (url, expected) in [
            ("mysql://me@host/db", "mysql://me@host/db"),
            ("mysql+pymysql://me@host/db?charset=utf8mb4", "mysql://me@host/db"),
            (
                "mariadb+mariadbconnector://me@host/db?ssl_mode=required",
                "mysql://me@host/db?ssl_mode=required",
            ),
        ] {
            let Location::Mysql(server) = Location::parse(url).unwrap() else { panic!("{url}") };
            assert_eq!(server.url, expected);
        }
        assert!(
            Location::parse("mysql://h/db?autocommit=1").unwrap_err().contains("`autocommit` is no option")
        );
    }

    #[test]
    fn passwords_are_masked() {
        let table = [
            ("postgresql://me:hunter2@host/db", "postgresql://me:***@host/db"),
            ("postgresql://me:hunter2@host", "postgresql://me:***@host"),
            ("postgresql://me:hun@ter2@host/db", "postgresql://me:***@host/db"),
            ("postgresql://me:hunter2/x@host/db", "postgresql://me:***@host/db"),
            ("postgresql://:hunter2@host/db", "postgresql://:***@host/db"),
            ("postgresql://me@host:5432/db", "postgresql://me@host:5432/db"),
            ("postgresql:///db?user=me&password=hunter2", "postgresql:///db?user=me&password=***"),
            ("postgresql://[::1]:5432/db?user=me@corp", "postgresql://[::1]:5432/db?user=me@corp"),
            ("mysql://host/db", "mysql://host/db"),
        ];
        for (url, expected) in table {
            assert_eq!(masked(url), expected);
            assert!(!format!("{:?}", Server::new(url.to_owned())).contains("hunter2"));
        }
    }

    #[test]
    fn what_a_client_library_says_of_a_url_is_told_without_its_password() {
        let server = Server::new("postgresql://me:hunter2@host/db".to_owned());
        for text in ["bad URI: \"postgresql://me:hunter2@host/db\"", "host \"hunter2\" is unknown"] {
            let told = server.scrub(text.to_owned());
            assert!(told.contains("***") && !told.contains("hunter2"), "{told}");
        }
    }

    #[test]
    fn a_password_that_is_not_encoded_is_refused_and_no_part_of_it_is_told() {
        for scheme in ["postgres", "postgresql+psycopg2", "mysql", "mariadb"] {
            for rest in [
                "me:hunter2/x@host/db",
                "me:x/hunter2@host/db",
                "me:hunter2?x@host/db",
                "me:x?hunter2@host/db",
                "me:5432?hunter2@host/db",
                "me:5432/hunter2@host/db",
                "me:x#hunter2@host/db",
                "me:x@hunter2@host/db",
                "me:x@y/hunter2@host/db",
                "me:x@y?hunter2@host/db",
            ] {
                let message = Location::parse(&format!("{scheme}://{rest}")).unwrap_err();
                assert!(message.contains("are to be percent-encoded"), "{rest}: {message}");
                let is_told = ["hunter2", "x?", "x/", "x@", "x#"].iter().any(|part| message.contains(part));
                assert!(!is_told, "{rest}: {message}");
            }
            for rest in [
                "me:a%2Fb@host:5432/db",
                "host:5432/db?user=me@corp&password=a@b",
                "a:1,b:2/db",
                "me:a:b@[::1]:5432/db",
                "[::1]/db",
                "host:/db",
                "%2Fvar%2Frun/db",
                "/db",
                "",
            ] {
                assert!(is_clear(rest), "{rest}");
            }
        }
    }
}
