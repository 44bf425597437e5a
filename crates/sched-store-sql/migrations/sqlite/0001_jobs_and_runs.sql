-- Times are microseconds since the Unix epoch, UTC. NULL means never.
CREATE TABLE {prefix}_meta (
    name TEXT NOT NULL PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT;
INSERT INTO {prefix}_meta (name, value) VALUES ('schema_version', 1), ('token', 0);

CREATE TABLE {prefix}_jobs (
    seq INTEGER NOT NULL PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    payload TEXT NOT NULL,
    payload_version INTEGER NOT NULL,
    next_run_time INTEGER,
    next_fire_time INTEGER,
    last_fire_time INTEGER,
    status TEXT NOT NULL,
    revision INTEGER NOT NULL,
    token INTEGER NOT NULL DEFAULT 0,
    claimed_by TEXT,
    claimed_until INTEGER,
    quarantine TEXT
) STRICT;
CREATE INDEX {prefix}_jobs_due ON {prefix}_jobs (next_run_time, id);
CREATE INDEX {prefix}_jobs_claimed ON {prefix}_jobs (claimed_until) WHERE claimed_until IS NOT NULL;

-- state: 0 queued, 1 running, 2 finished
CREATE TABLE {prefix}_runs (
    seq INTEGER NOT NULL PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    job_id TEXT,
    fire_time INTEGER NOT NULL,
    scheduled_time INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    task TEXT NOT NULL,
    executor TEXT NOT NULL,
    payload TEXT NOT NULL,
    payload_version INTEGER NOT NULL,
    max_instances INTEGER NOT NULL,
    task_max INTEGER,
    result_ttl INTEGER NOT NULL,
    state INTEGER NOT NULL DEFAULT 0,
    attempt INTEGER NOT NULL DEFAULT 0,
    token INTEGER NOT NULL DEFAULT 0,
    owner TEXT,
    lease_until INTEGER,
    outcome TEXT,
    result TEXT,
    started_at INTEGER,
    finished_at INTEGER,
    expires_at INTEGER,
    UNIQUE (job_id, fire_time)
) STRICT;
CREATE INDEX {prefix}_runs_of_job ON {prefix}_runs (job_id, state);
CREATE INDEX {prefix}_runs_queued ON {prefix}_runs (executor, priority, scheduled_time, id) WHERE state = 0;
CREATE INDEX {prefix}_runs_leased ON {prefix}_runs (lease_until) WHERE state = 1;
CREATE INDEX {prefix}_runs_of_limited_task ON {prefix}_runs (task) WHERE state = 1 AND task_max IS NOT NULL;
CREATE INDEX {prefix}_runs_kept ON {prefix}_runs (expires_at) WHERE state = 2;
