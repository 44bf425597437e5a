use sched_macros::scheduled;

#[scheduled(crate = "sched_core", cron = "0 9 * *")]
fn four_fields() {}

#[scheduled(crate = "sched_core", cron = "0 0 9 * * mon")]
fn six_fields() {}

#[scheduled(crate = "sched_core", cron = "0 9 * * mon;fri")]
fn odd_character() {}

#[scheduled(crate = "sched_core", cron = "@dayly")]
fn unknown_macro() {}

#[scheduled(crate = "sched_core", cron(days = "last sun", hour = 3))]
fn unknown_field() {}

#[scheduled(crate = "sched_core", cron(timezone = "UTC"))]
fn no_field() {}

#[scheduled(crate = "sched_core", cron = 5)]
fn not_text() {}

fn main() {}
