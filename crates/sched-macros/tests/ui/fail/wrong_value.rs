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
    metadata = "ops"
)]
fn every_fault_at_once() {}

#[task(crate = 7)]
fn wrong_crate() {}

fn main() {}
