//! Which slot has which id: a hash table of eight bytes an entry, which leaves the ids where the jobs are.

use std::hash::Hasher;

use rustc_hash::FxHasher;

/// Slots by the hash of their job's id; open addressing, linear probing, at most seven eighths full.
#[derive(Debug, Default)]
pub(crate) struct Ids {
    /// A power of two of places, or none at all.
    places: Vec<Place>,
    len: usize,
}

/// An entry; a vacant place has the slot [`VACANT`].
#[derive(Debug, Clone, Copy)]
struct Place {
    hash: u32,
    slot: u32,
}

const VACANT: u32 = u32::MAX;
const SMALLEST: usize = 8;

impl Ids {
    /// The slot of `id`.
    pub(crate) fn find<'a>(&self, id: &str, id_of: impl Fn(u32) -> &'a str) -> Option<u32> {
        let hash = hash_of(id);
        self.probe(hash)
            .map(|at| self.places[at])
            .find(|it| it.hash == hash && id_of(it.slot) == id)
            .map(|it| it.slot)
    }

    /// Adds a slot whose id is not there.
    pub(crate) fn insert(&mut self, id: &str, slot: u32) {
        if (self.len + 1) * 8 > self.places.len() * 7 {
            self.grow();
        }
        self.put(Place { hash: hash_of(id), slot });
        self.len += 1;
    }

    /// Removes a slot.
    pub(crate) fn remove(&mut self, id: &str, slot: u32) {
        let found = self.probe(hash_of(id)).find(|at| self.places[*at].slot == slot);
        let Some(mut gap) = found else { return };
        self.len -= 1;
        // Entries behind the gap move up, so that no probe ends early at it.
        let mask = self.places.len() - 1;
        let mut at = gap;
        loop {
            at = (at + 1) & mask;
            let place = self.places[at];
            if place.slot == VACANT {
                break;
            }
            let home = self.home(place.hash);
            if (at.wrapping_sub(home) & mask) >= (at.wrapping_sub(gap) & mask) {
                self.places[gap] = place;
                gap = at;
            }
        }
        self.places[gap].slot = VACANT;
    }

    /// The occupied places that an entry of this hash may have, in order.
    fn probe(&self, hash: u32) -> impl Iterator<Item = usize> {
        let mask = self.places.len().wrapping_sub(1);
        let home = self.home(hash);
        let run = (0..self.places.len()).map(move |step| (home + step) & mask);
        run.take_while(|at| self.places[*at].slot != VACANT)
    }

    fn home(&self, hash: u32) -> usize {
        hash as usize & self.places.len().wrapping_sub(1)
    }

    fn put(&mut self, place: Place) {
        let mask = self.places.len() - 1;
        let mut at = self.home(place.hash);
        while self.places[at].slot != VACANT {
            at = (at + 1) & mask;
        }
        self.places[at] = place;
    }

    fn grow(&mut self) {
        let size = (self.places.len() * 2).max(SMALLEST);
        let old = std::mem::replace(&mut self.places, vec![Place { hash: 0, slot: VACANT }; size]);
        old.into_iter().filter(|place| place.slot != VACANT).for_each(|place| self.put(place));
    }
}

/// The upper half of the hash, whose bits are the better mixed.
fn hash_of(id: &str) -> u32 {
    let mut hasher = FxHasher::default();
    hasher.write(id.as_bytes());
    let hash = hasher.finish().wrapping_mul(0x9E37_79B9_7F4A_7C15);
    u32::try_from(hash >> 32).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_id_that_is_there_is_found_and_no_other() {
        let names: Vec<String> = (0..3_000).map(|number| format!("job-{number}")).collect();
        let id_of = |slot: u32| names[slot as usize].as_str();
        let mut ids = Ids::default();
        assert_eq!(ids.find("job-0", id_of), None);
        for (slot, name) in (0..).zip(&names) {
            ids.insert(name, slot);
        }
        for slot in (0..3_000).filter(|slot| slot % 3 != 0) {
            ids.remove(id_of(slot), slot);
        }
        for (slot, name) in (0..).zip(&names) {
            assert_eq!(ids.find(name, id_of), (slot % 3 == 0).then_some(slot), "{name}");
        }
        assert_eq!(ids.len, 1_000);
    }
}
