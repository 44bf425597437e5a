//! What a run of the harness does: the jobs, their fire times, and how members are configured.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// A kind of store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Store {
    /// A file of SQLite.
    Sqlite,
    /// PostgreSQL.
    Postgres,
    /// MySQL or MariaDB.
    Mysql,
    /// Redis.
    Redis,
    /// A replica set of MongoDB.
    Mongodb,
}

impl Store {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Sqlite, Self::Postgres, Self::Mysql, Self::Redis, Self::Mongodb];

    /// The URL of a server for tests; `None` when there is none, or none is needed.
    pub fn server_url(self) -> Option<String> {
        match self {
            Self::Sqlite => None,
            Self::Postgres => sched_testkit::server::postgres(),
            Self::Mysql => sched_testkit::server::mysql(),
            Self::Redis => sched_testkit::server::redis(),
            Self::Mongodb => sched_testkit::server::mongodb(),
        }
    }

    /// The name of its server in `cargo xtask services`.
    pub fn server(self) -> &'static str {
        match self {
            Self::Mysql => "mariadb",
            other => other.name(),
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
            Self::Mysql => "mysql",
            Self::Redis => "redis",
            Self::Mongodb => "mongodb",
        }
    }

    /// The table of a job store in the database of `url`, apart from other runs of the harness.
    pub fn config(self, url: &str, name: &str) -> Value {
        match self {
            Self::Sqlite => json!({ "type": "sql", "url": url }),
            Self::Postgres | Self::Mysql => json!({ "type": "sql", "url": url, "tablename": name }),
            Self::Redis => json!({ "type": "redis", "url": url, "prefix": name }),
            Self::Mongodb => {
                json!({ "type": "mongodb", "url": url, "database": name, "collection": "jobs" })
            }
        }
    }
}

/// What every member is told.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Plan {
    /// The table of the store.
    pub store: Value,
    /// How many jobs there are.
    pub jobs: u32,
    /// From fire time to fire time of a job.
    pub interval: Duration,
    /// The first fire time of the first job, in microseconds since the Unix epoch.
    pub begin: i64,
    /// No fire time is later, in microseconds since the Unix epoch.
    pub end: i64,
    /// How long a claim holds.
    pub lease: Duration,
    /// The longest a task takes.
    pub longest: Duration,
    /// Where journals are written.
    pub directory: PathBuf,
}

impl Plan {
    /// The first fire time of a job. Jobs are spread over an interval.
    pub fn first_fire(&self, job: u32) -> i64 {
        let interval = i64::try_from(self.interval.as_micros()).unwrap_or(i64::MAX);
        self.begin + interval * i64::from(job) / i64::from(self.jobs.max(1))
    }

    /// All fire times of a job.
    pub fn fires(&self, job: u32) -> impl Iterator<Item = i64> + use<> {
        let interval = i64::try_from(self.interval.as_micros()).unwrap_or(i64::MAX);
        let end = self.end;
        std::iter::successors(Some(self.first_fire(job)), move |fire| fire.checked_add(interval))
            .take_while(move |fire| *fire <= end)
    }

    /// The configuration of a member's scheduler.
    pub fn config(&self) -> Value {
        json!({
            "job_stores": { "default": self.store },
            "executors": { "default": { "type": "threadpool", "max_workers": 8 } },
            "job_defaults": {
                "coalesce": "all",
                "overlap": "queue",
                "max_instances": 4,
                "max_catch_up": 100_000,
                "result_ttl": 3_600,
                // Here members are killed without end.
                "max_takeovers": 1_000_000,
            },
            "lease_duration": self.lease.as_secs_f64(),
            "poll_interval": 0.2,
            "jobstore_retry_interval": 0.1,
            "timezone": "UTC",
        })
    }
}
