//! Which claims are open and until when.
//!
//! Jobs are claimed in batches that share a lease, and their tokens are consecutive: a batch is one entry here, however
//! many jobs it has.

use std::collections::BTreeMap;

/// Claims that have neither been committed nor run out, by the token of their first job.
#[derive(Debug, Default)]
pub(crate) struct Leases(BTreeMap<u64, Batch>);

/// Jobs claimed by one call.
#[derive(Debug)]
pub(crate) struct Batch {
    /// The last moment of the lease, in microseconds since the Unix epoch.
    pub(crate) until: i64,
    /// The slots; the token of each is the batch's first token plus its place.
    slots: Vec<u32>,
    open: usize,
}

impl Leases {
    /// Opens a batch whose first job has this token.
    pub(crate) fn open(&mut self, first_token: u64, until: i64, slots: Vec<u32>) {
        let open = slots.len();
        self.0.insert(first_token, Batch { until, slots, open });
    }

    /// Closes the claim with this token, which must be open.
    pub(crate) fn close(&mut self, token: u64) {
        let Some((first, batch)) = self.0.range_mut(..=token).next_back() else { return };
        batch.open -= 1;
        if batch.open == 0 {
            let first = *first;
            self.0.remove(&first);
        }
    }

    /// The earliest moment at which a lease no longer holds.
    pub(crate) fn first_end(&self) -> Option<i64> {
        self.0.values().map(|batch| batch.until.saturating_add(1)).min()
    }

    /// Takes out the slots, with their tokens, of every batch whose lease ran out before `now`. Some of them may be
    /// closed already.
    pub(crate) fn take_ended(&mut self, now: i64) -> Vec<(u64, u32)> {
        let ended: Vec<u64> =
            self.0.iter().filter(|(_, batch)| batch.until < now).map(|(first, _)| *first).collect();
        let batches = ended.into_iter().filter_map(|first| Some((first, self.0.remove(&first)?)));
        batches.flat_map(|(first, batch)| (first..).zip(batch.slots)).collect()
    }

    /// All slots with their tokens. Some of them may be closed already.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, u32)> {
        self.0.iter().flat_map(|(first, batch)| (*first..).zip(batch.slots.iter().copied()))
    }
}
