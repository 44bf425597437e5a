//! Cron text checked by the compiler: the macro [`cron!`](crate::cron!) and the checker behind it.
//!
//! The checker accepts exactly what [`text`](super::text) and [`item`](super::item) accept by Unix rules (a property
//! test holds them together) but keeps nothing of what it reads: constants cannot allocate.

use chrono::{DateTime, Utc};

use super::field::Selection;
use super::schedule::Schedule;
use super::{CronTrigger, Options, Plan, Source};
use crate::Dialect;

/// A [`CronTrigger`](crate::CronTrigger) from crontab text by Unix rules, checked when the program is compiled.
///
/// The zone is UTC until [`with_timezone`](crate::CronTrigger::with_timezone).
///
/// # Example
/// ```
/// use sched_core::Trigger;
/// use sched_triggers::cron;
///
/// let trigger = cron!("*/15 8-18 * * mon-fri").with_timezone(chrono_tz::Tz::Europe__Berlin);
/// assert_eq!(trigger.timezone(), chrono_tz::Tz::Europe__Berlin);
/// ```
///
/// Text that is wrong does not compile:
/// ```compile_fail
/// let trigger = sched_triggers::cron!("0 24 * * *");
/// ```
/// ```text
/// error[E0080]: evaluation panicked: cron field `hour`: a number is out of range, expected 0 to 23
/// ```
#[macro_export]
macro_rules! cron {
    ($text:literal) => {{
        const _: () = {
            let fault = $crate::__cron::fault($text);
            ::core::assert!(fault.is_empty(), "{}", fault);
        };
        $crate::__cron::checked($text)
    }};
}

/// The trigger of text that [`fault`] accepts. Should the run-time reader ever refuse it, one that never fires.
pub fn checked(text: &'static str) -> CronTrigger {
    let trigger = CronTrigger::parse_dialect(text, Dialect::Unix);
    debug_assert!(trigger.is_ok(), "the two readers of cron text disagree on `{text}`");
    trigger.unwrap_or_else(|_| CronTrigger {
        plan: Plan::Schedule(Schedule::new(std::array::from_fn(|_| Selection::all()), false)),
        source: Source::Text(text.into()),
        dialect: Dialect::Unix,
        options: Options { end: Some(DateTime::<Utc>::MIN_UTC), ..Options::default() },
    })
}

/// Least and greatest number of each field.
const BOUNDS: [(u32, u32); 5] = [(0, 59), (0, 23), (1, 31), (1, 12), (0, 7)];
const DAY: usize = 2;
const MONTH: usize = 3;
const WEEKDAY: usize = 4;

/// Names in the order of their numbers.
const MONTHS: &[u8] = b"janfebmaraprmayjunjulaugsepoctnovdec";
const WEEKDAYS: &[u8] = b"sunmontuewedthufrisat";
const MACROS: [&[u8]; 8] =
    [b"@yearly", b"@annually", b"@monthly", b"@weekly", b"@daily", b"@midnight", b"@hourly", b"@reboot"];

macro_rules! messages {
    ($what:literal) => {
        [
            concat!("cron field `minute`: ", $what),
            concat!("cron field `hour`: ", $what),
            concat!("cron field `day`: ", $what),
            concat!("cron field `month`: ", $what),
            concat!("cron field `day_of_week`: ", $what),
        ]
    };
}

const JUNK: [&str; 5] = messages!("expected `*`, a number or a name, ranges, steps or a list of them");
const ZERO: [&str; 5] = messages!("a step of 0 never advances");
const LONG: [&str; 5] = messages!("the step is longer than the range");
const BACKWARDS: [&str; 5] = messages!("the range runs backwards");
const NAME: [&str; 5] = messages!("unknown name, expected three letters such as `jan` or `mon`");
const RANGE: [&str; 5] = [
    "cron field `minute`: a number is out of range, expected 0 to 59",
    "cron field `hour`: a number is out of range, expected 0 to 23",
    "cron field `day`: a number is out of range, expected 1 to 31",
    "cron field `month`: a number is out of range, expected 1 to 12",
    "cron field `day_of_week`: a number is out of range, expected 0 to 7",
];
const COUNT: &str = "expected 5 cron fields (minute hour day month weekday) or a macro such as `@daily`";
const MACRO: &str =
    "unknown cron macro, known: @yearly, @annually, @monthly, @weekly, @daily, @midnight, @hourly, @reboot";

/// What is wrong with `text` by Unix rules; empty when nothing is.
pub const fn fault(text: &str) -> &'static str {
    let bytes = text.as_bytes();
    let mut at = after_space(bytes, 0);
    if at < bytes.len() && bytes[at] == b'@' {
        return macro_fault(bytes, at);
    }
    let mut field = 0;
    while at < bytes.len() {
        let end = word_end(bytes, at);
        if field == BOUNDS.len() {
            return COUNT;
        }
        let fault = Reader { bytes, at, end, field }.list();
        if !fault.is_empty() {
            return fault;
        }
        field += 1;
        at = after_space(bytes, end);
    }
    if field == BOUNDS.len() { "" } else { COUNT }
}

const fn macro_fault(bytes: &[u8], at: usize) -> &'static str {
    let end = word_end(bytes, at);
    if after_space(bytes, end) < bytes.len() {
        return MACRO;
    }
    let mut index = 0;
    while index < MACROS.len() {
        if is_same(bytes, at, end, MACROS[index]) {
            return "";
        }
        index += 1;
    }
    MACRO
}

/// Reads one field. Methods answer with a message that is empty when all is well.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    end: usize,
    field: usize,
}

impl Reader<'_> {
    const fn list(&mut self) -> &'static str {
        loop {
            let fault = self.item();
            if !fault.is_empty() {
                return fault;
            }
            if self.at == self.end {
                return "";
            }
            if !self.eat(b',') {
                return JUNK[self.field];
            }
        }
    }

    const fn item(&mut self) -> &'static str {
        let (least, most) = BOUNDS[self.field];
        if self.eat(b'*') {
            return self.step(most - least);
        }
        if self.field == DAY && is_same(self.bytes, self.at, self.letters_end(), b"last") {
            self.at = self.letters_end();
            return "";
        }
        let first = match self.atom() {
            Ok(value) => value,
            Err(fault) => return fault,
        };
        if !self.eat(b'-') {
            return self.step(most - first);
        }
        match self.atom() {
            Ok(last) if last >= first => self.step(last - first),
            Ok(last) if self.field == WEEKDAY => self.step(last + 7 - first),
            Ok(_) => BACKWARDS[self.field],
            Err(fault) => fault,
        }
    }

    /// An optional step through a range of such a length.
    const fn step(&mut self, length: u32) -> &'static str {
        if !self.eat(b'/') {
            return "";
        }
        match self.number() {
            None => JUNK[self.field],
            Some(0) => ZERO[self.field],
            Some(step) if step > length => LONG[self.field],
            Some(_) => "",
        }
    }

    const fn atom(&mut self) -> Result<u32, &'static str> {
        let (least, most) = BOUNDS[self.field];
        if let Some(value) = self.number() {
            return if value < least || value > most { Err(RANGE[self.field]) } else { Ok(value) };
        }
        let (names, first) = match self.field {
            MONTH => (MONTHS, 1),
            WEEKDAY => (WEEKDAYS, 0),
            _ => return Err(JUNK[self.field]),
        };
        let end = self.letters_end();
        if end == self.at {
            return Err(JUNK[self.field]);
        }
        let (mut rest, mut value) = (names, first);
        while let [a, b, c, tail @ ..] = rest {
            if is_same(self.bytes, self.at, end, &[*a, *b, *c]) {
                self.at = end;
                return Ok(value);
            }
            (rest, value) = (tail, value + 1);
        }
        Err(NAME[self.field])
    }

    const fn number(&mut self) -> Option<u32> {
        let start = self.at;
        let mut value = 0_u32;
        while self.at < self.end && self.bytes[self.at].is_ascii_digit() {
            value = value.saturating_mul(10).saturating_add((self.bytes[self.at] - b'0') as u32);
            self.at += 1;
        }
        if self.at == start { None } else { Some(value) }
    }

    const fn eat(&mut self, byte: u8) -> bool {
        let found = self.at < self.end && self.bytes[self.at] == byte;
        if found {
            self.at += 1;
        }
        found
    }

    /// The end of the letters and digits that begin here.
    const fn letters_end(&self) -> usize {
        let mut end = self.at;
        while end < self.end && self.bytes[end].is_ascii_alphanumeric() {
            end += 1;
        }
        end
    }
}

/// Whether the bytes from `at` to `end` are `known`, which is in lower case.
const fn is_same(bytes: &[u8], at: usize, end: usize, known: &[u8]) -> bool {
    if end - at != known.len() {
        return false;
    }
    let mut index = 0;
    while index < known.len() {
        if bytes[at + index].to_ascii_lowercase() != known[index] {
            return false;
        }
        index += 1;
    }
    true
}

const fn word_end(bytes: &[u8], mut at: usize) -> usize {
    while at < bytes.len() && space_at(bytes, at) == 0 {
        at += 1;
    }
    at
}

const fn after_space(bytes: &[u8], mut at: usize) -> usize {
    while at < bytes.len() && space_at(bytes, at) > 0 {
        at += space_at(bytes, at);
    }
    at
}

/// How many bytes the white space at `at` has, by the rules of [`char::is_whitespace`]; 0 when there is none.
const fn space_at(bytes: &[u8], at: usize) -> usize {
    let second = if at + 1 < bytes.len() { bytes[at + 1] } else { 0 };
    let third = if at + 2 < bytes.len() { bytes[at + 2] } else { 0 };
    match (bytes[at], second, third) {
        (b'\t'..=b'\r' | b' ', ..) => 1,
        (0xC2, 0x85 | 0xA0, _) => 2,
        (0xE1, 0x9A, 0x80) | (0xE2, 0x81, 0x9F) | (0xE3, 0x80, 0x80) => 3,
        (0xE2, 0x80, 0x80..=0x8A | 0xA8 | 0xA9 | 0xAF) => 3,
        _ => 0,
    }
}
