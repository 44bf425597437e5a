//! A plug-in crate as a third party would write it. It depends on `sched-core` alone, and a program that links it
//! can name its parts in a configuration:
//!
//! | kind | alias | keys | |
//! | --- | --- | --- | --- |
//! | trigger | `beat` | `every` (duration) | [`BeatTrigger`] |
//! | executor | `thread-per-run` | `thread_name` | [`ThreadPerRun`] |
//!
//! Rust leaves a crate out that nobody mentions: write `use sched_example_plugin as _;` once.

mod beat;
mod thread_per_run;

pub use self::beat::BeatTrigger;
pub use self::thread_per_run::ThreadPerRun;
