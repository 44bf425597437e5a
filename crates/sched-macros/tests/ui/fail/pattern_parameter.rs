use sched_macros::task;

#[task(crate = "sched_core")]
fn tuple((to, rows): (String, u32)) {
    drop((to, rows));
}

#[task(crate = "sched_core")]
fn nameless(_: u32) {}

fn main() {}
