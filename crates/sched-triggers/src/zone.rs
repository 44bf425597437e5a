//! The offset history of a zone as a table that can be searched from an instant onward.
//!
//! `chrono-tz` answers "which offset holds at this instant", but not "until when". Cron needs the second answer to
//! skip what cannot match, so each zone is sampled once, on first use, into the list of its changes since 1970.
//! Nothing here decides what a missing or repeated local time means; see [`Gap`](crate::Gap) and
//! [`Overlap`](crate::Overlap).

use std::sync::OnceLock;

use chrono::{DateTime, LocalResult, NaiveDateTime, Offset, TimeZone, Utc};
use chrono_tz::{TZ_VARIANTS, Tz};

use crate::civil::DAY;
use crate::{Gap, Overlap};

/// First instant that is sampled: cron years start at 1970, in every zone.
const FIRST: i64 = -30 * DAY;

/// Last instant that is sampled (2101-01-15): the zone data hold no later change.
const LAST: i64 = 4_135_000_000;

/// Sampling step. Two changes of one zone lie at least 167 hours apart since 1970 (2000-10-08 in Brazil, Gaza by
/// prediction), so that no step contains two.
const STEP: i64 = 6 * DAY;

/// Table buckets are 2^24 seconds (194 days) long.
const BUCKET_BITS: u32 = 24;

/// A span of constant offset, up to the start of the next.
#[derive(Debug, Clone, Copy)]
struct Span {
    start: i64,
    offset: i64,
}

/// What holds between two offset changes; all in seconds, instants counted from 1970-01-01 UTC.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Segment {
    /// First instant.
    pub(crate) start: i64,
    /// First instant after it.
    pub(crate) end: i64,
    /// Local time minus UTC.
    pub(crate) offset: i64,
    /// The offset before `start`.
    pub(crate) before: i64,
    /// The offset after `end`.
    pub(crate) after: i64,
}

impl Segment {
    /// Length of the stretch of local time that was skipped when it began; 0 or less when none.
    pub(crate) fn skipped(&self) -> i64 {
        self.offset - self.before
    }

    /// Length of the stretch of local time it repeats from its predecessor; 0 when none.
    pub(crate) fn repeats(&self) -> i64 {
        (self.before - self.offset).max(0)
    }

    /// Length of the stretch of local time at its end that its successor repeats; 0 when none.
    pub(crate) fn repeated(&self) -> i64 {
        (self.offset - self.after).max(0)
    }
}

/// The offset changes of one zone.
#[derive(Debug)]
pub(crate) struct Zone {
    spans: Box<[Span]>,
    buckets: Box<[usize]>,
}

/// The table of `tz`, built on first use.
pub(crate) fn zone(tz: Tz) -> &'static Zone {
    static ZONES: [OnceLock<Zone>; TZ_VARIANTS.len()] = [const { OnceLock::new() }; TZ_VARIANTS.len()];
    static UTC: OnceLock<Zone> = OnceLock::new();
    ZONES.get(tz as usize).unwrap_or(&UTC).get_or_init(|| Zone::sample(tz))
}

impl Zone {
    fn sample(tz: Tz) -> Self {
        let mut spans = vec![Span { start: i64::MIN, offset: offset_at(tz, FIRST) }];
        let mut offset = spans[0].offset;
        let mut at = FIRST;
        while at < LAST {
            let next = at + STEP;
            let found = offset_at(tz, next);
            if found != offset {
                spans.push(Span { start: change_between(tz, at, next), offset: found });
                offset = found;
            }
            at = next;
        }
        let mut buckets = Vec::new();
        let mut index = 0;
        for bucket in 0..=(LAST - FIRST) >> BUCKET_BITS {
            let start = FIRST + (bucket << BUCKET_BITS);
            while spans.get(index + 1).is_some_and(|span| span.start <= start) {
                index += 1;
            }
            buckets.push(index);
        }
        Self { spans: spans.into(), buckets: buckets.into() }
    }

    /// The index of the segment that contains an instant.
    pub(crate) fn index_at(&self, instant: i64) -> usize {
        let bucket = usize::try_from((instant - FIRST) >> BUCKET_BITS).unwrap_or(0);
        let mut index = match self.buckets.get(bucket) {
            Some(index) => *index,
            None => return self.spans.len() - 1,
        };
        while self.spans.get(index + 1).is_some_and(|span| span.start <= instant) {
            index += 1;
        }
        index
    }

    /// A segment by index.
    pub(crate) fn segment(&self, index: usize) -> Option<Segment> {
        let span = self.spans.get(index)?;
        let before = match index.checked_sub(1).and_then(|index| self.spans.get(index)) {
            Some(previous) => previous.offset,
            None => span.offset,
        };
        let (end, after) = match self.spans.get(index + 1) {
            Some(next) => (next.start, next.offset),
            None => (i64::MAX, span.offset),
        };
        Some(Segment { start: span.start, end, offset: span.offset, before, after })
    }

    /// The one offset of a zone that never changed since 1970.
    pub(crate) fn fixed(&self) -> Option<i64> {
        match &*self.spans {
            [only] => Some(only.offset),
            _ => None,
        }
    }
}

/// The instants of a local time, in order: none, one or two.
pub(crate) fn resolve(
    local: NaiveDateTime,
    tz: Tz,
    gap: Gap,
    overlap: Overlap,
) -> [Option<DateTime<Utc>>; 2] {
    let seconds = local.and_utc().timestamp();
    if seconds < FIRST + 2 * DAY {
        return resolve_early(local, tz, overlap);
    }
    let table = zone(tz);
    let mut found = [None, None];
    let mut shifted = None;
    // Offsets stay within a day of UTC, so that only these spans can hold the time.
    let mut index = table.index_at(seconds - 2 * DAY);
    while let Some(segment) = table.segment(index).filter(|segment| segment.start <= seconds + 2 * DAY) {
        let instant = seconds - segment.offset;
        if segment.start <= instant && instant < segment.end {
            let free = usize::from(found[0].is_some());
            found[free] = DateTime::from_timestamp(instant, 0);
        }
        if segment.start.saturating_add(segment.before) <= seconds && instant < segment.start {
            shifted = DateTime::from_timestamp(seconds - segment.before, 0);
        }
        index += 1;
    }
    match (found, overlap) {
        ([None, _], _) => [shifted.filter(|_| gap == Gap::Shift), None],
        ([first, Some(_)], Overlap::First) => [first, None],
        ([_, second @ Some(_)], Overlap::Second) => [second, None],
        (both, _) => both,
    }
}

/// Before the tables begin, chrono's own answer has to do; there, a skipped time is always left out.
fn resolve_early(local: NaiveDateTime, tz: Tz, overlap: Overlap) -> [Option<DateTime<Utc>>; 2] {
    match (tz.from_local_datetime(&local), overlap) {
        (LocalResult::None, _) => [None, None],
        (LocalResult::Single(time), _) => [Some(time.to_utc()), None],
        (LocalResult::Ambiguous(first, _), Overlap::First) => [Some(first.to_utc()), None],
        (LocalResult::Ambiguous(_, second), Overlap::Second) => [Some(second.to_utc()), None],
        (LocalResult::Ambiguous(first, second), Overlap::Both) => {
            [Some(first.to_utc()), Some(second.to_utc())]
        }
    }
}

fn offset_at(tz: Tz, instant: i64) -> i64 {
    let time = DateTime::from_timestamp(instant, 0).unwrap_or_default();
    i64::from(tz.offset_from_utc_datetime(&time.naive_utc()).fix().local_minus_utc())
}

/// Bisects for the change that lies in `(low, high]`.
fn change_between(tz: Tz, mut low: i64, mut high: i64) -> i64 {
    let before = offset_at(tz, low);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        match offset_at(tz, middle) == before {
            true => low = middle,
            false => high = middle,
        }
    }
    high
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_agree_with_chrono_tz_everywhere() {
        for (index, tz) in TZ_VARIANTS.iter().enumerate() {
            let table = zone(*tz);
            // A different stride per zone, so that together they look everywhere.
            let stride = 1_000_003 + i64::try_from(index).unwrap() * 7_919;
            let mut at = FIRST;
            while at < LAST + 10 * DAY {
                let segment = table.segment(table.index_at(at)).unwrap();
                assert_eq!(segment.offset, offset_at(*tz, at), "{tz} at {at}");
                assert!(segment.start <= at && at < segment.end, "{tz} at {at}");
                at += stride;
            }
        }
    }

    #[test]
    fn every_change_is_where_the_offset_changes() {
        for tz in [Tz::Europe__Berlin, Tz::Pacific__Apia, Tz::Australia__Lord_Howe, Tz::Africa__Casablanca] {
            for span in &zone(tz).spans[1..] {
                assert_eq!(offset_at(tz, span.start), span.offset);
                assert_ne!(offset_at(tz, span.start - 1), span.offset);
            }
        }
    }
}
