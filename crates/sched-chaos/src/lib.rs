#![doc = include_str!("../README.md")]

pub mod journal;
pub mod member;
pub mod out;
pub mod plan;
pub mod stage;
pub mod verdict;

/// What went wrong in the harness itself.
pub type Fault = Box<dyn std::error::Error + Send + Sync>;
