//! Configuration: one dictionary model for code, maps, TOML, YAML, JSON and the environment.
//!
//! In reading order: `source` turns text and variables into a dictionary, `shape` makes flat and nested forms one,
//! [`Section`] reads it strictly, and [`SchedulerConfig`](crate::SchedulerConfig) gives it meaning. Nothing here
//! starts anything.

mod convert;
mod overlay;
mod section;
mod shape;
mod source;

pub use self::convert::{to_bool, to_duration, to_integer};
pub use self::overlay::lay_over;
pub use self::section::{BuildContext, Section};
pub(crate) use self::shape::expand;
pub use self::shape::substitute;
pub use self::source::{Format, MAX_CONFIG_BYTES, from_pairs, from_variables, parse};
