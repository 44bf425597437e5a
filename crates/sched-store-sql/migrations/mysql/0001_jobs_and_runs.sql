-- Times are microseconds since the Unix epoch, UTC. NULL means never. Names are UTF-8, compared by their bytes.
-- A migration that was interrupted is run again from its beginning: each statement may find its work done.
CREATE TABLE IF NOT EXISTS {meta} (
    name VARBINARY(64) NOT NULL PRIMARY KEY,
    value BIGINT NOT NULL
) ENGINE = InnoDB;

-- state: 0 scheduled, 1 paused, 2 finished, 3 suspended, 4 quarantined
-- claimed_until: 0 when not claimed; last_fire_time: the least number before the first. A row that keeps its length is changed
-- in place, at half the cost: so claimed_by stays.
CREATE TABLE IF NOT EXISTS {jobs} (
    seq BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    id VARBINARY(2048) NOT NULL,
    task VARBINARY(1024) NOT NULL,
    payload LONGBLOB NOT NULL,
    next_run_time BIGINT,
    next_fire_time BIGINT,
    last_fire_time BIGINT NOT NULL,
    status LONGTEXT CHARACTER SET utf8mb4 NOT NULL,
    state BIGINT NOT NULL,
    revision BIGINT NOT NULL,
    token BIGINT NOT NULL DEFAULT 0,
    claimed_by VARBINARY(1024),
    claimed_until BIGINT NOT NULL DEFAULT 0,
    quarantine LONGTEXT CHARACTER SET utf8mb4,
    UNIQUE KEY {prefix}_jobs_id (id),
    KEY {prefix}_jobs_due (next_run_time, id)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC;

-- state: 0 queued, 1 running, 2 finished
CREATE TABLE IF NOT EXISTS {runs} (
    id BINARY(36) NOT NULL PRIMARY KEY,
    job_id VARBINARY(2048),
    task VARBINARY(1024) NOT NULL,
    executor VARBINARY(255) NOT NULL,
    priority BIGINT NOT NULL,
    fire_time BIGINT NOT NULL,
    scheduled_time BIGINT NOT NULL,
    payload LONGBLOB NOT NULL,
    max_instances BIGINT NOT NULL,
    task_max BIGINT,
    limit_key VARBINARY(1024),
    key_max BIGINT NOT NULL,
    result_ttl BIGINT NOT NULL,
    state BIGINT NOT NULL DEFAULT 0,
    attempt BIGINT NOT NULL DEFAULT 0,
    token BIGINT NOT NULL DEFAULT 0,
    owner VARBINARY(1024),
    lease_until BIGINT,
    outcome VARBINARY(64),
    result LONGBLOB,
    history LONGBLOB,
    started_at BIGINT,
    finished_at BIGINT,
    expires_at BIGINT,
    UNIQUE KEY {prefix}_runs_fire (job_id, fire_time),
    KEY {prefix}_runs_of_job (job_id, state),
    KEY {prefix}_runs_queued (state, executor, priority, scheduled_time, id),
    KEY {prefix}_runs_kept (expires_at),
    KEY {prefix}_runs_ended (finished_at, id)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC;

-- 1 is the token of a run that is claimed in the commit that queues it; the last token comes here.
INSERT IGNORE INTO {meta} (name, value) VALUES ('claim', 0), ('schema_version', 1), ('token', 1);
