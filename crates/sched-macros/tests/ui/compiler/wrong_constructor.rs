use sched_macros::task;

#[task(crate = "sched_core")]
fn report(to: String, rows: u32) {
    drop((to, rows));
}

fn main() {
    let _ = report::job("ops@example.org".to_owned(), "ten");
    let _ = report::job("ops@example.org".to_owned());
}
