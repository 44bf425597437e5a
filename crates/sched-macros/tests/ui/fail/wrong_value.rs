use sched_macros::task;

#[task(
    crate = "sched_core",
    name = "",
    executor = 3,
    max_instances = 0,
    misfire_grace_time = "soon",
    coalesce = "some",
    overlap = "wait",
    timeout = 0,
    jitter = -1,
    retain = true,
    result_ttl = [1],
    max_catch_up = "10",
    metadata = "ops",
    timeout_slot = "lose",
    priority = "high",
    retry = 0,
    concurrency_key = 7,
    concurrency_limit = 0
)]
fn every_fault_at_once() {}

#[task(crate = "sched_core", retry(max_attempts = 3, backoff(first = "soon"), jitter = "a bit", only = [1], often = 2))]
fn wrong_retry() {}

#[task(crate = "sched_core", retry(backoff = 10))]
fn retry_without_a_count() {}

#[task(crate = 7)]
fn wrong_crate() {}

fn main() {}
