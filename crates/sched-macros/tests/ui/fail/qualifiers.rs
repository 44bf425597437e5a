use sched_macros::task;

#[task(crate = "sched_core")]
unsafe fn dangerous() {}

#[task(crate = "sched_core")]
extern "C" fn foreign() {}

#[task(crate = "sched_core")]
const fn constant() {}

fn main() {}
