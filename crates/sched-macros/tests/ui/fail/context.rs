use sched_core::RunContext;
use sched_macros::task;

#[task(crate = "sched_core")]
fn owned(run: RunContext) {
    drop(run);
}

#[task(crate = "sched_core")]
fn mutable(run: &mut RunContext) {
    let _ = run;
}

#[task(crate = "sched_core")]
fn two(first: &RunContext, second: &RunContext) {
    let _ = (first, second);
}

fn main() {}
