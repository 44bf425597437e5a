use sched_macros::{scheduled, task};

#[task(crate = "sched_core", max_instance = 3, coalese = true, wobble = 1)]
fn misspelt() {}

#[task(crate = "sched_core", cron = "0 9 * * *")]
fn belongs_to_scheduled() {}

#[scheduled(crate = "sched_core", corn = "0 9 * * *", every = "5m")]
fn misspelt_trigger() {}

fn main() {}
