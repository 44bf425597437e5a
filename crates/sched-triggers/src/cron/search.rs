//! Finds the next instant whose local time matches a schedule.
//!
//! It walks the zone's spans of constant offset and asks the schedule for local times within each. Instants are
//! compared, never wall clocks, so that gaps and overlaps of any length, across midnight or of whole days, need no
//! case of their own.

use super::schedule::Schedule;
use crate::zone::{Segment, Zone};
use crate::{Gap, Overlap};

/// Latest instant a trigger answers with: 9999-12-31 23:59:59 UTC.
pub(super) const LAST_INSTANT: i64 = 253_402_300_799;

/// What clock changes do to matching local times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Policy {
    pub(super) gap: Gap,
    pub(super) overlap: Overlap,
}

/// The first fire time at or after `from`, in seconds since 1970 UTC.
pub(super) fn at_or_after(schedule: &Schedule, zone: &Zone, policy: Policy, from: i64) -> Option<i64> {
    let found = match zone.fixed() {
        Some(offset) => schedule.at_or_after(from + offset)? - offset,
        None => in_segments(schedule, zone, policy, from)?,
    };
    (found <= LAST_INSTANT).then_some(found)
}

fn in_segments(schedule: &Schedule, zone: &Zone, policy: Policy, from: i64) -> Option<i64> {
    let mut index = zone.index_at(from);
    let mut matches = Matches { schedule, empty: 0, hit: i64::MIN };
    let mut from = from;
    while let Some(segment) = zone.segment(index) {
        let opens = match policy.overlap {
            Overlap::First => from.max(segment.start.saturating_add(segment.repeats())),
            _ => from,
        };
        let closes = match policy.overlap {
            Overlap::Second => segment.end.saturating_sub(segment.repeated()),
            _ => segment.end,
        };
        let mut best = matches.at_or_after(opens + segment.offset).saturating_sub(segment.offset);
        if policy.gap == Gap::Shift {
            best = best.min(shifted(schedule, segment, from));
        }
        if best < closes {
            return (best < NEVER).then_some(best);
        }
        from = from.max(segment.end);
        index += 1;
    }
    None
}

/// Stands for "no match"; far above every real instant, with room to subtract an offset.
const NEVER: i64 = i64::MAX / 2;

/// The first skipped local time that fires at or after `from`, moved to where it fires.
fn shifted(schedule: &Schedule, segment: Segment, from: i64) -> i64 {
    if segment.skipped() <= 0 || from >= segment.start + segment.skipped() {
        return NEVER;
    }
    let missing = schedule.at_or_after(from.max(segment.start) + segment.before);
    match missing {
        Some(missing) if missing < segment.start + segment.offset => missing - segment.before,
        _ => NEVER,
    }
}

/// Remembers the last answer: nothing matches in `[empty, hit)`. That skips spans between which nothing matches
/// at the price of a comparison.
struct Matches<'a> {
    schedule: &'a Schedule,
    empty: i64,
    hit: i64,
}

impl Matches<'_> {
    fn at_or_after(&mut self, local: i64) -> i64 {
        if !(self.empty <= local && local <= self.hit) {
            self.empty = local;
            self.hit = self.schedule.at_or_after(local).unwrap_or(NEVER);
        }
        self.hit
    }
}
