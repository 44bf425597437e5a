#![doc = include_str!("../README.md")]
#![expect(clippy::panic, clippy::expect_used, reason = "a test library: a failed check panics")]

pub mod adapter;
pub mod broker;
pub mod clock;
pub mod executor;
pub mod faults;
pub mod jobs;
pub mod proxy;
pub mod queue;
pub mod scheduler;
pub mod server;
pub mod simulator;
pub mod sink;
pub mod store;
pub mod trigger;

pub use self::broker::BrokerFixture;
pub use self::clock::SimClock;
pub use self::executor::ExecutorFixture;
pub use self::faults::{FaultyStore, FaultyTrigger, StoreCall};
pub use self::jobs::{FixedTrigger, NOON, sample_job};
pub use self::proxy::{Proxy, assert_bounded_round_trips};
pub use self::sink::{Gate, RecordingSink};
pub use self::store::StoreFixture;

/// Makes one test of each case of a suite.
#[doc(hidden)]
#[macro_export]
macro_rules! suite {
    (broker, $make:expr; $($case:ident),* $(,)?) => { $crate::suite! { @stored broker, $make; $($case),* } };
    (store, $make:expr; $($case:ident),* $(,)?) => { $crate::suite! { @stored store, $make; $($case),* } };
    (queue, $make:expr; $($case:ident),* $(,)?) => { $crate::suite! { @stored queue, $make; $($case),* } };
    (@stored $module:ident, $make:expr; $($case:ident),*) => {$(
        #[test]
        fn $case() {
            // A server that is absent was told of, or has failed the test already.
            if let Some(fixture) = $crate::$module::fixture($make) {
                $crate::$module::$case(fixture);
            }
        }
    )*};
    ($module:ident, $make:expr; $($case:ident),* $(,)?) => {$(
        #[test]
        fn $case() {
            $crate::$module::$case($crate::$module::fixture($make));
        }
    )*};
}
