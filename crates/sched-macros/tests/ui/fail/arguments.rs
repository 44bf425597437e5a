use sched_macros::scheduled;

#[scheduled(crate = "sched_core", every = "5m")]
fn none(to: String, rows: u32, note: Option<String>) {
    drop((to, rows, note));
}

#[scheduled(crate = "sched_core", every = "5m", args = ["ops"])]
fn too_few(to: String, rows: u32) {
    drop((to, rows));
}

#[scheduled(crate = "sched_core", every = "5m", args = ["ops", 1, 2])]
fn too_many(to: String, rows: u32) {
    drop((to, rows));
}

#[scheduled(crate = "sched_core", every = "5m", args = { to = "ops", row = 1 })]
fn misnamed(to: String, rows: u32) {
    drop((to, rows));
}

#[scheduled(crate = "sched_core", every = "5m", args = "ops")]
fn single(to: String) {
    drop(to);
}

fn main() {}
