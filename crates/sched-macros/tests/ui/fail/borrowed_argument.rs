use std::borrow::Cow;
use std::path::Path;

use sched_macros::task;

#[task(crate = "sched_core")]
fn text(to: &str) {
    let _ = to;
}

#[task(crate = "sched_core")]
fn others(file: &Path, rows: &[u8], count: &u32) {
    let _ = (file, rows, count);
}

#[task(crate = "sched_core")]
fn inside(names: Vec<&str>, text: Cow<'_, str>) {
    let _ = (names, text);
}

#[task(crate = "sched_core")]
fn opaque(value: impl ToString, values: Vec<impl ToString>) {
    let _ = (value, values);
}

fn main() {}
