use sched_macros::scheduled;

#[scheduled(crate = "sched_core")]
fn none() {}

#[scheduled(crate = "sched_core", cron = "@daily", every = "5m")]
fn two() {}

#[scheduled(crate = "sched_core", trigger = { hour = 3 })]
fn untyped() {}

#[scheduled(crate = "sched_core", trigger = "daily")]
fn not_a_table() {}

#[scheduled(crate = "sched_core", every = "often")]
fn not_a_duration() {}

#[scheduled(crate = "sched_core", interval = 0)]
fn no_time_at_all() {}

#[scheduled(crate = "sched_core", interval(hour = 1))]
fn unknown_unit() {}

#[scheduled(crate = "sched_core", at = 5)]
fn not_a_date() {}

#[scheduled(crate = "sched_core", calendarinterval = "1 month")]
fn not_units() {}

#[scheduled(crate = "sched_core", cron(hour = 3, timezone = "UTC"), timezone = "Europe/Berlin")]
fn two_zones() {}

fn main() {}
