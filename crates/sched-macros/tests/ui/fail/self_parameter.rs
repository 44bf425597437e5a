use sched_macros::task;

struct Mailer;

impl Mailer {
    #[task(crate = "sched_core")]
    fn send(&self, to: String) {
        drop(to);
    }
}

fn main() {}
