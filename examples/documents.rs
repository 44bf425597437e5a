//! The code in the README and in `docs/`, compiled and run with the documentation tests. Nothing here is to be called.

/// `README.md`
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;

/// `docs/deployment.md`
#[cfg(doctest)]
#[doc = include_str!("../docs/deployment.md")]
pub struct Deployment;

/// `docs/migration-from-apscheduler.md`
#[cfg(doctest)]
#[doc = include_str!("../docs/migration-from-apscheduler.md")]
pub struct Migration;
