-- Times are microseconds since the Unix epoch, UTC. NULL means never. Ids are ordered by their bytes.
CREATE TABLE {meta} (
    name text PRIMARY KEY,
    value bigint NOT NULL
);
INSERT INTO {meta} (name, value) VALUES ('schema_version', 1);
-- 1 is the token of a run that is claimed in the commit that queues it.
CREATE SEQUENCE {tokens} START 2;

-- state: 0 scheduled, 1 paused, 2 finished, 3 suspended, 4 quarantined
CREATE TABLE {jobs} (
    id text COLLATE "C" PRIMARY KEY,
    task text NOT NULL,
    payload bytea NOT NULL,
    next_run_time bigint,
    next_fire_time bigint,
    last_fire_time bigint,
    status text NOT NULL,
    state bigint NOT NULL,
    revision bigint NOT NULL,
    token bigint NOT NULL DEFAULT 0,
    claimed_by text,
    claimed_until bigint,
    quarantine text
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX {prefix}_jobs_due ON {jobs} (next_run_time, id);

-- state: 0 queued, 1 running, 2 finished
CREATE TABLE {runs} (
    id uuid PRIMARY KEY,
    job_id text COLLATE "C",
    task text COLLATE "C" NOT NULL,
    executor text COLLATE "C" NOT NULL,
    priority bigint NOT NULL,
    fire_time bigint NOT NULL,
    scheduled_time bigint NOT NULL,
    payload bytea NOT NULL,
    max_instances bigint NOT NULL,
    task_max bigint,
    limit_key text COLLATE "C",
    key_max bigint NOT NULL,
    result_ttl bigint NOT NULL,
    state bigint NOT NULL DEFAULT 0,
    attempt bigint NOT NULL DEFAULT 0,
    token bigint NOT NULL DEFAULT 0,
    owner text,
    lease_until bigint,
    outcome text,
    result bytea,
    history bytea,
    started_at bigint,
    finished_at bigint,
    expires_at bigint,
    UNIQUE (job_id, fire_time)
) WITH (autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX {prefix}_runs_of_job ON {runs} (job_id, state) WHERE state < 2 AND job_id IS NOT NULL;
CREATE INDEX {prefix}_runs_queued ON {runs} (executor, priority, scheduled_time, id) WHERE state = 0;
CREATE INDEX {prefix}_runs_leased ON {runs} (lease_until) WHERE state = 1;
CREATE INDEX {prefix}_runs_of_task ON {runs} (task) WHERE state = 1 AND task_max IS NOT NULL;
CREATE INDEX {prefix}_runs_of_key ON {runs} (limit_key) WHERE state = 1 AND limit_key IS NOT NULL;
CREATE INDEX {prefix}_runs_kept ON {runs} (expires_at) WHERE state = 2;
CREATE INDEX {prefix}_runs_ended ON {runs} (finished_at, id) WHERE state = 2;
