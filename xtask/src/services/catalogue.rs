//! Which servers there are: their names, where tests look for them, and what has to be installed.

use super::recipes::{MariaDb, MongoDb, Mosquitto, Postgres, Recipe, Redis};
use std::fmt;

/// A server that tests use.
pub(crate) struct Server {
    /// Its own name.
    pub(crate) name: &'static str,
    /// What people call the group it belongs to; each of these names the server, too.
    pub(crate) groups: &'static [&'static str],
    /// The environment variable with its URL. `sched_testkit::server` reads the same.
    pub(crate) variable: &'static str,
    /// The Debian packages that hold it; none for MongoDB, which is downloaded.
    pub(super) packages: &'static [&'static str],
    /// The Debian packages that its clients are linked with.
    pub(super) libraries: &'static [&'static str],
    /// The users it may run as when the caller is root; none when root will do.
    pub(super) users: &'static [&'static str],
    /// How it is made and asked.
    pub(super) recipe: &'static dyn Recipe,
}

/// All servers.
pub(crate) static SERVERS: [Server; 7] = [
    Server {
        name: "postgres",
        groups: &["postgresql"],
        variable: "SCHED_TEST_POSTGRES_URL",
        packages: &["postgresql"],
        libraries: &["libpq-dev"],
        users: &["postgres", "nobody"],
        recipe: &Postgres,
    },
    Server {
        name: "mariadb",
        groups: &["mysql"],
        variable: "SCHED_TEST_MYSQL_URL",
        packages: &["mariadb-server-core", "mariadb-client-core"],
        libraries: &["libmariadb-dev"],
        users: &["mysql", "nobody"],
        recipe: &MariaDb,
    },
    Server {
        name: "redis",
        groups: &[],
        variable: "SCHED_TEST_REDIS_URL",
        packages: &["redis-server"],
        libraries: &[],
        users: &[],
        recipe: &Redis { cluster: false },
    },
    Server {
        name: "redis-cluster",
        groups: &["redis"],
        variable: "SCHED_TEST_REDIS_CLUSTER_URL",
        packages: &["redis-server"],
        libraries: &[],
        users: &[],
        recipe: &Redis { cluster: true },
    },
    Server {
        name: "mongodb",
        groups: &[],
        variable: "SCHED_TEST_MONGODB_URL",
        packages: &[],
        libraries: &[],
        users: &[],
        recipe: &MongoDb { replica_set: true },
    },
    Server {
        name: "mongodb-standalone",
        groups: &["mongodb"],
        variable: "SCHED_TEST_MONGODB_STANDALONE_URL",
        packages: &[],
        libraries: &[],
        users: &[],
        recipe: &MongoDb { replica_set: false },
    },
    Server {
        name: "mosquitto",
        groups: &["mqtt"],
        variable: "SCHED_TEST_MQTT_URL",
        packages: &["mosquitto"],
        libraries: &[],
        users: &[],
        recipe: &Mosquitto,
    },
];

/// All servers, in the order of the table.
pub(crate) fn all() -> Vec<&'static Server> {
    SERVERS.iter().collect()
}

/// The server of this name.
pub(crate) fn find(name: &str) -> Option<&'static Server> {
    SERVERS.iter().find(|server| server.name == name)
}

/// The servers that a list of names means; all when it is empty, and for `all`.
pub(crate) fn select<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Vec<&'static Server>, String> {
    let mut any = false;
    let mut chosen = [false; SERVERS.len()];
    for name in names {
        any = true;
        let mut known = false;
        for (server, chosen) in SERVERS.iter().zip(&mut chosen) {
            let meant = name == "all" || server.name == name || server.groups.contains(&name);
            known |= meant;
            *chosen |= meant;
        }
        if !known {
            let names: Vec<_> = SERVERS.iter().map(|server| server.name).collect();
            return Err(format!("there is no server `{name}`; the servers are: {}", names.join(", ")));
        }
    }
    Ok(SERVERS.iter().zip(chosen).filter(|(_, chosen)| *chosen || !any).map(|(server, _)| server).collect())
}

/// The servers that a value of `SCHED_REQUIRE` names: a list with commas, where nothing means none.
pub(crate) fn required(list: &str) -> Result<Vec<&'static Server>, String> {
    let names: Vec<&str> = list.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
    if names.is_empty() { Ok(Vec::new()) } else { select(names) }
}

impl PartialEq for Server {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(servers: &[&Server]) -> Vec<&'static str> {
        servers.iter().map(|server| server.name).collect()
    }

    #[test]
    fn names_and_groups_select_servers_in_the_order_of_the_table() {
        for (words, selected) in [
            (&["mongodb", "redis-cluster"][..], &["redis-cluster", "mongodb", "mongodb-standalone"][..]),
            (&["mysql", "mariadb"], &["mariadb"]),
            (&["redis", "mqtt"], &["redis", "redis-cluster", "mosquitto"]),
        ] {
            assert_eq!(names(&select(words.iter().copied()).unwrap()), selected, "{words:?}");
        }
        assert_eq!(select([]).unwrap().len(), SERVERS.len());
        assert!(select(["redsi"]).unwrap_err().contains("there is no server `redsi`"));
    }

    #[test]
    fn nothing_is_required_unless_it_is_named() {
        assert_eq!(required("").unwrap(), required(" ,").unwrap());
        assert!(required("").unwrap().is_empty());
        assert_eq!(required("all").unwrap().len(), SERVERS.len());
        assert_eq!(names(&required("postgres, mqtt").unwrap()), ["postgres", "mosquitto"]);
        assert!(required("postgre").is_err());
    }

    #[test]
    fn tests_look_for_each_server_where_it_is_announced() {
        let reader = include_str!("../../../crates/sched-testkit/src/server.rs");
        for server in &SERVERS {
            assert!(reader.contains(&format!("\"{}\"", server.variable)), "{server:?}");
        }
    }
}
