#![doc = include_str!("../README.md")]

mod background;
mod blocking;
#[cfg(feature = "signal")]
mod signal;
mod threads;

pub use self::background::BackgroundScheduler;
pub use self::blocking::BlockingScheduler;
#[cfg(feature = "signal")]
pub use self::signal::shutdown_on_signal;
