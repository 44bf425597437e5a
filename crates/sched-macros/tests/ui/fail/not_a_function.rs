use sched_macros::task;

#[task(crate = "sched_core")]
struct Report;

trait Reports {
    #[task(crate = "sched_core")]
    fn report();
}

fn main() {}
