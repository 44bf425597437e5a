#![doc = include_str!("../README.md")]

mod backoff;
mod ear;
mod message;
mod relay;
mod wire;

pub use self::backoff::Backoff;
pub use self::ear::Ear;
pub use self::message::{decode, encode};
pub use self::relay::Relay;
pub use self::wire::Wire;
