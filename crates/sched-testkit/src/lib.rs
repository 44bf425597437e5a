#![doc = include_str!("../README.md")]
#![expect(clippy::panic, clippy::expect_used, reason = "a test library: a failed check panics")]

pub mod clock;
pub mod executor;
pub mod faults;
pub mod jobs;
pub mod queue;
pub mod scheduler;
pub mod sink;
pub mod store;
pub mod trigger;

pub use self::clock::SimClock;
pub use self::executor::ExecutorFixture;
pub use self::faults::{FaultyStore, FaultyTrigger, StoreCall};
pub use self::jobs::{FixedTrigger, NOON, sample_job};
pub use self::sink::{Gate, RecordingSink};
pub use self::store::StoreFixture;

/// Makes one test of each case of a suite.
#[doc(hidden)]
#[macro_export]
macro_rules! suite {
    ($module:ident, $make:expr; $($case:ident),* $(,)?) => {$(
        #[test]
        fn $case() {
            $crate::$module::$case($crate::$module::fixture($make));
        }
    )*};
}
