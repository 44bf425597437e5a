//! Runs that an executor had no place for: by priority, then in order.

use std::collections::VecDeque;

use crate::executor::Execution;
use crate::id::RunId;

/// Runs that wait for a place of one executor.
#[derive(Default)]
pub(super) struct Backlog(VecDeque<Execution>);

impl Backlog {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Lines runs up behind those of the same priority.
    pub(super) fn extend(&mut self, runs: impl IntoIterator<Item = Execution>) {
        for run in runs {
            let priority = priority(&run);
            let place = self.0.partition_point(|waiting| self::priority(waiting) >= priority);
            self.0.insert(place, run);
        }
    }

    /// Puts runs back, before those of the same priority.
    pub(super) fn put_back(&mut self, runs: Vec<Execution>) {
        for run in runs.into_iter().rev() {
            let priority = priority(&run);
            let place = self.0.partition_point(|waiting| self::priority(waiting) > priority);
            self.0.insert(place, run);
        }
    }

    /// Takes one run out.
    pub(super) fn take(&mut self, run: RunId) -> Option<Execution> {
        let is_wanted = |waiting: &Execution| waiting.run().is_some_and(|waiting| waiting.id == run);
        let place = self.0.iter().position(is_wanted)?;
        self.0.remove(place)
    }
}

impl From<Backlog> for Vec<Execution> {
    fn from(backlog: Backlog) -> Self {
        backlog.0.into()
    }
}

fn priority(run: &Execution) -> i32 {
    run.options().map_or(0, |options| options.priority)
}
