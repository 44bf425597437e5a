//! Plug-ins that fail on purpose: [`FaultyStore`] around any store, and [`FaultyTrigger`].

mod store;
mod trigger;

pub use self::store::{FaultyStore, StoreCall};
pub use self::trigger::FaultyTrigger;
