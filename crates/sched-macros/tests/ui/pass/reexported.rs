//! `crate` may be any path, and a task may live in a function's body.

mod facade {
    pub mod sched {
        pub use sched_core::*;
    }
    pub use sched_macros::task;
}

fn main() {
    #[facade::task(crate = "crate::facade::sched")]
    fn local(rows: u32) -> u32 {
        rows
    }
    assert_eq!(local(2), 2);
    assert_eq!(local::task().signature_text(), "local(rows)");
    assert!(sched_core::Registry::linked().is_ok_and(|registry| registry.task("local").is_ok()));
}
