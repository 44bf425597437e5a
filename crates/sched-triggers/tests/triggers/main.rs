//! The triggers as their users meet them.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

mod brute_force;
mod calendar;
mod combine;
mod config;
mod corpus;
mod cron;
mod interval;
mod literal;
#[cfg(feature = "rrule")]
mod rrule;
mod support;
