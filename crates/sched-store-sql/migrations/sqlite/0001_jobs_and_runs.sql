-- Times are microseconds since the Unix epoch, UTC. NULL means never.
CREATE TABLE {prefix}_meta (
    name TEXT NOT NULL PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT;
-- 1 is the token of a run that is claimed in the commit that queues it; the last token comes here.
INSERT INTO {prefix}_meta (name, value) VALUES ('schema_version', 1), ('token', 1);

-- state: 0 scheduled, 1 paused, 2 finished, 3 suspended, 4 quarantined
CREATE TABLE {prefix}_jobs (
    seq INTEGER NOT NULL PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    task TEXT NOT NULL,
    payload BLOB NOT NULL,
    next_run_time INTEGER,
    next_fire_time INTEGER,
    last_fire_time INTEGER,
    status TEXT NOT NULL,
    state INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    token INTEGER NOT NULL DEFAULT 0,
    claimed_by TEXT,
    claimed_until INTEGER,
    quarantine TEXT
) STRICT;
CREATE INDEX {prefix}_jobs_due ON {prefix}_jobs (next_run_time, id);

-- state: 0 queued, 1 running, 2 finished
CREATE TABLE {prefix}_runs (
    id TEXT NOT NULL UNIQUE,
    job_id TEXT,
    task TEXT NOT NULL,
    executor TEXT NOT NULL,
    priority INTEGER NOT NULL,
    fire_time INTEGER NOT NULL,
    scheduled_time INTEGER NOT NULL,
    payload BLOB NOT NULL,
    max_instances INTEGER NOT NULL,
    task_max INTEGER,
    limit_key TEXT,
    key_max INTEGER NOT NULL,
    result_ttl INTEGER NOT NULL,
    state INTEGER NOT NULL DEFAULT 0,
    attempt INTEGER NOT NULL DEFAULT 0,
    token INTEGER NOT NULL DEFAULT 0,
    owner TEXT,
    lease_until INTEGER,
    outcome TEXT,
    result BLOB,
    history BLOB,
    started_at INTEGER,
    finished_at INTEGER,
    expires_at INTEGER,
    UNIQUE (job_id, fire_time)
) STRICT;
CREATE INDEX {prefix}_runs_of_job ON {prefix}_runs (job_id, state) WHERE state < 2;
CREATE INDEX {prefix}_runs_queued ON {prefix}_runs (executor, priority, scheduled_time, id) WHERE state = 0;
CREATE INDEX {prefix}_runs_leased ON {prefix}_runs (lease_until) WHERE state = 1;
CREATE INDEX {prefix}_runs_of_task ON {prefix}_runs (task) WHERE state = 1 AND task_max IS NOT NULL;
CREATE INDEX {prefix}_runs_of_key ON {prefix}_runs (limit_key) WHERE state = 1 AND limit_key IS NOT NULL;
CREATE INDEX {prefix}_runs_kept ON {prefix}_runs (expires_at) WHERE state = 2;
CREATE INDEX {prefix}_runs_ended ON {prefix}_runs (finished_at, id) WHERE state = 2;
