//! When which slot is due: slots ordered by time, and by id where times are equal.
//!
//! Slots are gathered by the second, roughly, eight bytes each, and a second is put in order only when somebody looks at
//! it: until then an insert is an append, however many jobs there are, and no id has to be fetched. Nothing here knows
//! what a job is.

use std::cmp::Reverse;
use std::collections::BTreeMap;

/// Times that differ only in so many low bits, of microseconds, are gathered: 2²⁰ are about a second.
const BITS: u32 = 20;

/// Slots by time, then id.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    seconds: BTreeMap<i64, Second>,
}

/// The slots of one second; never none.
#[derive(Debug)]
enum Second {
    /// Few jobs are spread widely, so that most seconds have one.
    One(Due),
    Many(Box<Crowd>),
}

#[derive(Debug)]
struct Crowd {
    /// The last first, unless more came since they were sorted.
    due: Vec<Due>,
    sorted: bool,
}

/// A slot and when, within its second, it is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Due {
    offset: u32,
    slot: u32,
}

impl Crowd {
    /// Sorts by time first, then what shares a time by id, so that only their ids are fetched, and each once. The stable
    /// sort is quick where little came since the last time.
    fn sort<'a>(&mut self, id_of: &impl Fn(u32) -> &'a str) {
        if self.sorted {
            return;
        }
        self.due.sort_by_key(|due| Reverse(due.offset));
        let mut named = Vec::new();
        for tied in
            self.due.chunk_by_mut(|left, right| left.offset == right.offset).filter(|tied| tied.len() > 1)
        {
            named.extend(
                tied.iter().map(|due| (id_of(due.slot), due.slot)).map(|(id, slot)| (prefix(id), id, slot)),
            );
            named.sort_by(|left, right| right.cmp(left));
            tied.iter_mut().zip(named.drain(..)).for_each(|(due, (_, _, slot))| due.slot = slot);
        }
        self.sorted = true;
    }
}

impl Agenda {
    /// Puts a slot down for a time, in microseconds since the Unix epoch.
    pub(crate) fn insert(&mut self, time: i64, slot: u32) {
        let (second, offset) = split(time);
        let due = Due { offset, slot };
        let one = |there: Due| Second::Many(Box::new(Crowd { due: vec![there, due], sorted: false }));
        self.seconds
            .entry(second)
            .and_modify(|second| match second {
                Second::One(there) => *second = one(*there),
                Second::Many(crowd) => {
                    crowd.due.push(due);
                    crowd.sorted = false;
                }
            })
            .or_insert(Second::One(due));
    }

    /// Strikes a slot out.
    pub(crate) fn remove(&mut self, time: i64, slot: u32) {
        let (second, offset) = split(time);
        let is_left_empty = match self.seconds.get_mut(&second) {
            Some(Second::One(due)) => due.slot == slot,
            Some(Second::Many(crowd)) => {
                if let Some(place) = crowd.due.iter().position(|due| *due == Due { offset, slot }) {
                    crowd.due.remove(place);
                }
                crowd.due.is_empty()
            }
            None => false,
        };
        if is_left_empty {
            self.seconds.remove(&second);
        }
    }

    /// The earliest time.
    pub(crate) fn first(&self) -> Option<i64> {
        let (second, due) = self.seconds.first_key_value()?;
        let offset = match due {
            Second::One(due) => due.offset,
            Second::Many(crowd) if crowd.sorted => crowd.due.last()?.offset,
            Second::Many(crowd) => crowd.due.iter().map(|due| due.offset).min()?,
        };
        Some(join(*second, offset))
    }

    /// Takes at most `limit` slots due at or before `now`, in order.
    pub(crate) fn take_due<'a>(
        &mut self,
        now: i64,
        limit: usize,
        id_of: impl Fn(u32) -> &'a str,
    ) -> Vec<u32> {
        let mut taken = Vec::new();
        while let Some(mut entry) = self.seconds.first_entry() {
            let second = *entry.key();
            if taken.len() >= limit || join(second, 0) > now {
                break;
            }
            let is_due = |due: &Due| join(second, due.offset) <= now;
            let is_done = match entry.get_mut() {
                Second::One(due) => {
                    let is_due = is_due(due);
                    taken.extend(is_due.then_some(due.slot));
                    is_due
                }
                Second::Many(crowd) => {
                    crowd.sort(&id_of);
                    let later = crowd.due.partition_point(|due| !is_due(due));
                    let left = later.max(crowd.due.len().saturating_sub(limit - taken.len()));
                    taken.extend(crowd.due.drain(left..).rev().map(|due| due.slot));
                    crowd.due.is_empty()
                }
            };
            if !is_done {
                break;
            }
            entry.remove();
        }
        taken
    }

    /// All slots at or after `time`, and perhaps some of the same second before it, in order.
    pub(crate) fn from<'a>(
        &mut self,
        time: i64,
        id_of: impl Fn(u32) -> &'a str,
    ) -> impl Iterator<Item = (i64, u32)> {
        self.seconds.range_mut(split(time).0..).flat_map(move |(second, due)| {
            let (one, many) = match due {
                Second::One(due) => (Some(*due), Vec::new()),
                Second::Many(crowd) => {
                    crowd.sort(&id_of);
                    (None, crowd.due.iter().rev().copied().collect())
                }
            };
            one.into_iter().chain(many).map(|due| (join(*second, due.offset), due.slot))
        })
    }
}

/// The first bytes of an id, whose order is that of the ids wherever they differ: most comparisons need no more.
fn prefix(id: &str) -> u64 {
    let mut bytes = [0; 8];
    let length = id.len().min(bytes.len());
    bytes[..length].copy_from_slice(&id.as_bytes()[..length]);
    u64::from_be_bytes(bytes)
}

fn split(time: i64) -> (i64, u32) {
    let offset = time & ((1 << BITS) - 1);
    (time >> BITS, u32::try_from(offset).unwrap_or(0))
}

fn join(second: i64, offset: u32) -> i64 {
    (second << BITS) | i64::from(offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In another second than the others.
    const LATE: i64 = 5 << BITS;

    const IDS: [&str; 6] = ["c", "a", "f", "b", "e", "d"];

    fn id_of(slot: u32) -> &'static str {
        IDS[slot as usize]
    }

    fn agenda() -> Agenda {
        let mut agenda = Agenda::default();
        for (time, slot) in [(20, 0), (10, 1), (20, 2), (20, 3), (LATE, 4), (20, 5)] {
            agenda.insert(time, slot);
        }
        agenda
    }

    #[test]
    fn slots_come_by_time_and_then_id_however_they_are_cut() {
        for limit in 1..=7 {
            let (mut agenda, mut all) = (agenda(), Vec::new());
            loop {
                let due = agenda.take_due(25, limit, id_of);
                all.extend(due.iter().map(|slot| id_of(*slot)));
                if due.is_empty() {
                    break;
                }
            }
            assert_eq!(all, ["a", "b", "c", "d", "f"], "limit {limit}");
            assert_eq!(agenda.first(), Some(LATE));
        }
    }

    #[test]
    fn a_slot_that_joins_a_time_already_begun_is_put_in_its_place() {
        let mut agenda = agenda();
        assert_eq!(agenda.take_due(25, 3, id_of), [1, 3, 0]);
        agenda.insert(20, 1);
        assert_eq!(agenda.take_due(25, 9, id_of), [1, 5, 2]);
    }

    #[test]
    fn removed_slots_are_gone_and_the_others_stay() {
        let mut agenda = agenda();
        for (time, slot) in [(10, 1), (20, 3), (20, 0), (20, 5)] {
            agenda.remove(time, slot);
        }
        assert_eq!(agenda.from(i64::MIN, id_of).collect::<Vec<_>>(), [(20, 2), (LATE, 4)]);
        agenda.remove(20, 2);
        agenda.remove(LATE, 4);
        assert_eq!(agenda.first(), None);
        assert!(agenda.seconds.is_empty());
    }

    #[test]
    fn times_of_any_sign_are_split_and_joined_again() {
        for time in [i64::MIN, -1, 0, 1, 1_048_575, 1_048_576, i64::MAX] {
            let (second, offset) = split(time);
            assert_eq!(join(second, offset), time);
        }
    }

    #[test]
    fn what_is_due_later_in_the_same_second_stays() {
        let mut agenda = Agenda::default();
        (0..4).for_each(|slot| agenda.insert(i64::from(slot) * 100, slot));
        assert_eq!(agenda.take_due(199, 9, id_of), [0, 1]);
        assert_eq!(agenda.first(), Some(200));
        assert!(agenda.take_due(199, 9, id_of).is_empty());
        agenda.insert(150, 0);
        assert_eq!(agenda.first(), Some(150));
        assert_eq!(agenda.take_due(i64::MAX, 2, id_of), [0, 2]);
        assert_eq!(agenda.take_due(i64::MAX, 2, id_of), [3]);
    }
}
