use std::rc::Rc;

use sched_macros::task;

struct Opaque;

#[derive(serde::Serialize)]
struct Silent;

#[task(crate = "sched_core")]
fn argument(value: Opaque) {
    drop(value);
}

#[task(crate = "sched_core")]
fn answer() -> Opaque {
    Opaque
}

#[task(crate = "sched_core")]
fn error() -> Result<u32, Silent> {
    Err(Silent)
}

#[task(crate = "sched_core")]
async fn not_send() {
    let shared = Rc::new(1);
    std::future::ready(()).await;
    drop(shared);
}

fn main() {}
