use sched_macros::task;

const NAME: &str = "report";

#[task("report")]
fn positional() {}

#[task(coalesce)]
fn no_value() {}

#[task(name = NAME)]
fn not_a_literal() {}

#[task(crate = "sched_core", name = "a", name = "b")]
fn twice() {}

#[task(crate = "sched_core", max_instances = 99999999999999999999)]
fn too_large() {}

fn main() {}
