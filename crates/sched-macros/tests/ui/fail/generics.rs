use sched_macros::task;

#[task(crate = "sched_core")]
fn generic<T: Send>(value: T) {
    drop(value);
}

#[task(crate = "sched_core")]
fn lifetime<'a>(value: &'a str) {
    let _ = value;
}

#[task(crate = "sched_core")]
fn bounded(value: String)
where
    String: Clone,
{
    drop(value);
}

fn main() {}
