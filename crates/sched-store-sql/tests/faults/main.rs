//! Bad surroundings: a disk that is full or read-only, missing rights, a server that dies. Each is a clear error, the
//! jobs of other stores go on, and the store's own go on where they stood once it works again.
#![cfg(feature = "sqlite")]
#![expect(clippy::expect_used, reason = "a test: what fails, panics")]

#[cfg(target_os = "linux")]
mod disks;
#[cfg(all(unix, feature = "postgres", feature = "mysql"))]
mod own_server;
#[cfg(all(unix, feature = "postgres", feature = "mysql"))]
mod servers;
#[cfg(any(target_os = "linux", all(unix, feature = "postgres", feature = "mysql")))]
mod stage;
