//! One allowance for a search and all searches nested in it.
//!
//! A combination may ask a child that searches itself, which may ask another. Each search is bounded, but bounds
//! multiply; sharing one allowance makes the sum of all rounds bounded instead. It is a matter of the current call
//! on the current thread and leaves nothing behind, so that triggers stay pure.

use std::cell::Cell;

/// Rounds that one call of the outermost search may take, nested ones included.
const ALLOWANCE: u32 = 50_000;

thread_local! {
    static LEFT: Cell<Option<u32>> = const { Cell::new(None) };
}

/// A search in progress. The outermost brings the allowance and takes what is left with it.
pub(super) struct Rounds {
    outermost: bool,
}

impl Rounds {
    pub(super) fn begin() -> Self {
        let outermost = LEFT.get().is_none();
        if outermost {
            LEFT.set(Some(ALLOWANCE));
        }
        Self { outermost }
    }

    /// Whether there is another round to take.
    pub(super) fn next(&self) -> bool {
        let left = LEFT.get().unwrap_or(0);
        LEFT.set(Some(left.saturating_sub(1)));
        left > 0
    }
}

impl Drop for Rounds {
    fn drop(&mut self) {
        if self.outermost {
            LEFT.set(None);
        }
    }
}

/// Runs `search` with an allowance of its own, for answers that are kept.
pub(super) fn apart<T>(search: impl FnOnce() -> T) -> T {
    let restore = Restore(LEFT.take());
    let found = search();
    drop(restore);
    found
}

struct Restore(Option<u32>);

impl Drop for Restore {
    fn drop(&mut self) {
        LEFT.set(self.0);
    }
}
