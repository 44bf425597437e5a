//! Reads the expression of one field: lists, ranges, steps, names, and the dialects' special forms.
//!
//! The reader consumes the whole expression or refuses it: nothing that it does not understand is dropped. It
//! does not know how fields are put together; that is [`text`](super::text) and [`builder`](super::builder).

use super::fault::CronFault;
use super::field::{Field, MONTHS, Selection, WEEKDAYS, Years};
use crate::Dialect;

/// Reads `text` as an expression for `field`. `origin` is the column at which `text` starts, counted from 1.
pub(super) fn read(
    field: Field,
    text: &str,
    dialect: Dialect,
    origin: usize,
) -> Result<Selection, CronFault> {
    let mut reader = Reader { field, dialect, text, bytes: text.as_bytes(), at: 0, end: text.len(), origin };
    let mut selection = Selection::default();
    loop {
        reader.skip_spaces();
        let start = reader.at;
        reader.item(&mut selection)?;
        selection.starred |= start == 0 && reader.bytes.first() == Some(&b'*');
        reader.skip_spaces();
        match reader.peek() {
            None => return Ok(selection),
            Some(b',') => reader.at += 1,
            Some(_) => return Err(reader.junk()),
        }
    }
}

struct Reader<'a> {
    field: Field,
    dialect: Dialect,
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    end: usize,
    origin: usize,
}

/// A range as written: numbers of the dialect, before weekdays are renumbered.
#[derive(Clone, Copy)]
struct Range {
    first: u32,
    last: u32,
    step: u32,
}

/// One end of a range.
#[derive(Clone, Copy)]
struct Atom {
    value: u32,
    named: bool,
    at: usize,
}

impl<'a> Reader<'a> {
    fn item(&mut self, selection: &mut Selection) -> Result<(), CronFault> {
        match self.peek() {
            Some(b'*') => self.star(selection),
            Some(b'?') if self.dialect == Dialect::Quartz && self.is_day_field() => {
                self.at += 1;
                selection.every = true;
                Ok(())
            }
            _ if self.special(selection)? => Ok(()),
            _ => self.range(selection),
        }
    }

    fn star(&mut self, selection: &mut Selection) -> Result<(), CronFault> {
        self.at += 1;
        if self.peek() != Some(b'/') {
            selection.every = true;
            return Ok(());
        }
        let at = self.at - 1;
        self.at += 1;
        let step = self.step()?;
        let (least, most) = self.field.bounds(self.dialect);
        if step > most - least {
            return Err(self.step_too_long(at, step, most - least));
        }
        // Every dialect but Unix and Quartz counts weekdays from Monday here.
        let monday_first = self.field == Field::DayOfWeek && self.dialect == Dialect::Aps4;
        let range = match monday_first {
            true => Range { first: 1, last: 7, step },
            false if self.field == Field::DayOfWeek && most == 7 && least == 0 => {
                Range { first: 0, last: 6, step }
            }
            false => Range { first: least, last: most, step },
        };
        self.insert(range, selection);
        Ok(())
    }

    fn range(&mut self, selection: &mut Selection) -> Result<(), CronFault> {
        let first = self.atom()?;
        let mut last = None;
        if self.peek() == Some(b'-') {
            self.at += 1;
            let atom = self.atom()?;
            if atom.named != first.named && !self.is_lenient() {
                return Err(self.fault(first.at, "names and numbers cannot be mixed in one range", None));
            }
            last = Some(atom);
        }
        let step = match self.peek() {
            Some(b'/') if first.named && !self.is_lenient() => {
                let hint = "write the numbers, or a list of names";
                return Err(self.fault(self.at, "a range of names takes no step", Some(hint.to_owned())));
            }
            Some(b'/') => {
                self.at += 1;
                Some(self.step()?)
            }
            _ => None,
        };
        let range = self.checked(first, last, step)?;
        self.insert(range, selection);
        Ok(())
    }

    /// Puts a range in order and checks its step.
    fn checked(&self, first: Atom, last: Option<Atom>, step: Option<u32>) -> Result<Range, CronFault> {
        let (least, most) = self.field.bounds(self.dialect);
        let end = match (last, step) {
            (Some(last), _) if last.value >= first.value => last.value,
            (Some(last), _) if self.wraps() => {
                last.value + if self.field == Field::DayOfWeek { 7 } else { most - least + 1 }
            }
            (Some(last), _) => return Err(self.reversed(first, last)),
            (None, Some(_)) => most,
            (None, None) => first.value,
        };
        match step {
            Some(step) if step > end - first.value => {
                Err(self.step_too_long(first.at, step, end - first.value))
            }
            _ => Ok(Range { first: first.value, last: end, step: step.unwrap_or(1) }),
        }
    }

    fn insert(&self, range: Range, selection: &mut Selection) {
        let step = usize::try_from(range.step).unwrap_or(usize::MAX);
        let values = (range.first..=range.last).step_by(step);
        if self.field == Field::Year {
            let years = selection.years.get_or_insert_with(Years::none);
            values.for_each(|year| years.insert(year));
            return;
        }
        let (least, most) = self.field.bounds(self.dialect);
        for value in values {
            let value = match self.field {
                Field::DayOfWeek => self.monday_based(value),
                _ if value > most => value - (most - least + 1),
                _ => value,
            };
            selection.bits |= 1 << value;
        }
    }

    /// A weekday number of the dialect, with Monday as 0. Wrapped ranges arrive here one cycle too high.
    fn monday_based(&self, value: u32) -> u32 {
        match self.dialect {
            Dialect::Aps3 => value % 7,
            Dialect::Aps4 | Dialect::Unix => (value + 6) % 7,
            Dialect::Quartz => (value + 5) % 7,
        }
    }

    /// The forms that are no ranges; `false` when there is none here.
    fn special(&mut self, selection: &mut Selection) -> Result<bool, CronFault> {
        match (self.dialect, self.field) {
            (Dialect::Quartz, Field::Day) => self.quartz_day(selection),
            (Dialect::Quartz, Field::DayOfWeek) => self.quartz_weekday(selection),
            (_, Field::Day) => self.position(selection),
            _ => Ok(false),
        }
    }

    /// `last`, `last sun`, `2nd fri`.
    fn position(&mut self, selection: &mut Selection) -> Result<bool, CronFault> {
        let start = self.at;
        let word = self.word();
        let nth = ["last", "1st", "2nd", "3rd", "4th", "5th"]
            .iter()
            .position(|known| known.eq_ignore_ascii_case(word));
        let Some(nth) = nth else {
            self.at = start;
            return Ok(false);
        };
        let after = self.at;
        self.skip_spaces();
        let at = self.at;
        let name = self.word();
        if name.is_empty() {
            self.at = after;
            if nth != 0 {
                let hint = "write the weekday after it, as in `1st mon`".to_owned();
                return Err(self.fault(start, "a weekday is missing", Some(hint)));
            }
            selection.from_last |= 1;
            return Ok(true);
        }
        if at == after {
            return Err(self.junk_at(after));
        }
        let weekday = self.name_index(&WEEKDAYS, name, at)?;
        selection.nth[nth] |= 1 << weekday;
        Ok(true)
    }

    /// `L`, `L-3`, `LW`, `15W`.
    fn quartz_day(&mut self, selection: &mut Selection) -> Result<bool, CronFault> {
        let start = self.at;
        if self.eat(b'L') {
            if self.eat(b'W') {
                selection.last_working = true;
            } else if self.eat(b'-') {
                let at = self.at;
                let days = self.number()?;
                if days > 30 {
                    return Err(self.fault(at, format!("{days} is out of range, expected 0 to 30"), None));
                }
                selection.from_last |= 1 << days;
            } else {
                selection.from_last |= 1;
            }
            return Ok(true);
        }
        if self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            let day = self.atom()?;
            if self.eat(b'W') {
                selection.nearest |= 1 << day.value;
                return Ok(true);
            }
        }
        self.at = start;
        Ok(false)
    }

    /// `L`, `6L`, `friL`, `6#3`, `fri#3`.
    fn quartz_weekday(&mut self, selection: &mut Selection) -> Result<bool, CronFault> {
        let start = self.at;
        if self.eat(b'L') {
            selection.bits |= 1 << 5;
            return Ok(true);
        }
        let digits = self.peek().is_some_and(|byte| byte.is_ascii_digit());
        let length = if digits { 1 } else { 3 };
        let marked = self.bytes.get(start + length).is_some_and(|byte| matches!(byte, b'L' | b'l' | b'#'));
        if !marked {
            return Ok(false);
        }
        let end = std::mem::replace(&mut self.end, start + length);
        let day = self.atom();
        self.end = end;
        let weekday = self.monday_based(day?.value);
        if self.eat(b'L') {
            selection.nth[0] |= 1 << weekday;
            return Ok(true);
        }
        self.at += 1;
        let at = self.at;
        match usize::try_from(self.number()?) {
            Ok(nth @ 1..=5) => selection.nth[nth] |= 1 << weekday,
            _ => return Err(self.fault(at, "expected 1 to 5 after `#`", None)),
        }
        Ok(true)
    }

    fn atom(&mut self) -> Result<Atom, CronFault> {
        let at = self.at;
        let (least, most) = self.field.bounds(self.dialect);
        match self.peek() {
            Some(byte) if byte.is_ascii_digit() => {
                let value = self.number()?;
                if value < least || value > most {
                    let message = format!("{value} is out of range, expected {least} to {most}");
                    return Err(self.fault(at, message, self.range_hint(value)));
                }
                Ok(Atom { value, named: false, at })
            }
            Some(byte) if byte.is_ascii_alphabetic() => {
                let word = self.word();
                let value = match self.field {
                    Field::Month => self.name_index(&MONTHS, word, at)? + 1,
                    Field::DayOfWeek => self.numbered(self.name_index(&WEEKDAYS, word, at)?),
                    _ => return Err(self.junk_at(at)),
                };
                Ok(Atom { value, named: true, at })
            }
            _ => Err(self.junk_at(at)),
        }
    }

    /// The number a weekday has in the dialect; Monday comes in as 0.
    fn numbered(&self, weekday: u32) -> u32 {
        match self.dialect {
            Dialect::Aps3 => weekday,
            Dialect::Aps4 | Dialect::Unix => (weekday + 1) % 7,
            Dialect::Quartz => (weekday + 1) % 7 + 1,
        }
    }

    fn name_index(&self, names: &[&str], word: &str, at: usize) -> Result<u32, CronFault> {
        let index = names.iter().position(|name| name.eq_ignore_ascii_case(word));
        index.and_then(|index| u32::try_from(index).ok()).ok_or_else(|| {
            let lower = word.to_ascii_lowercase();
            let near = names.iter().find(|name| lower.starts_with(**name)).copied();
            let near = near.or_else(|| sched_core::registry::nearest(&lower, names.iter().copied()));
            let near = near.or_else(|| names.iter().copied().find(|name| lower.get(..2) == name.get(..2)));
            let hint = match near {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("expected {} to {}", names[0], names[names.len() - 1]),
            };
            let kind = if names.len() == 12 { "month" } else { "weekday" };
            self.fault(at, format!("unknown {kind} name `{word}`"), Some(hint))
        })
    }

    fn step(&mut self) -> Result<u32, CronFault> {
        let at = self.at;
        match self.number()? {
            0 => Err(self.fault(at, "a step of 0 never advances", Some("write 1 or more".to_owned()))),
            step => Ok(step),
        }
    }

    fn number(&mut self) -> Result<u32, CronFault> {
        let start = self.at;
        let mut value = 0_u32;
        while let Some(byte @ b'0'..=b'9') = self.peek() {
            value = value.saturating_mul(10).saturating_add(u32::from(byte - b'0'));
            self.at += 1;
        }
        if self.at == start { Err(self.junk_at(start)) } else { Ok(value) }
    }

    /// Takes letters and digits, for names and positions.
    fn word(&mut self) -> &'a str {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_alphanumeric()) {
            self.at += 1;
        }
        self.text.get(start..self.at).unwrap_or_default()
    }

    fn eat(&mut self, letter: u8) -> bool {
        let found = self.peek().is_some_and(|byte| byte.eq_ignore_ascii_case(&letter));
        self.at += usize::from(found);
        found
    }

    fn peek(&self) -> Option<u8> {
        if self.at < self.end { self.bytes.get(self.at).copied() } else { None }
    }

    fn skip_spaces(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t')) {
            self.at += 1;
        }
    }

    fn is_day_field(&self) -> bool {
        matches!(self.field, Field::Day | Field::DayOfWeek)
    }

    /// Whether names may stand wherever numbers may.
    fn is_lenient(&self) -> bool {
        matches!(self.dialect, Dialect::Unix | Dialect::Quartz)
    }

    fn wraps(&self) -> bool {
        match self.dialect {
            Dialect::Aps3 => false,
            Dialect::Aps4 | Dialect::Unix => self.field == Field::DayOfWeek,
            Dialect::Quartz => self.field != Field::Year,
        }
    }

    fn fault(&self, at: usize, message: impl Into<String>, suggestion: Option<String>) -> CronFault {
        let before = self.text.get(..at).unwrap_or_default().chars().count();
        CronFault {
            field: Some(self.field),
            column: Some(self.origin + before),
            message: message.into(),
            suggestion,
        }
    }

    fn junk(&self) -> CronFault {
        self.junk_at(self.at)
    }

    fn junk_at(&self, at: usize) -> CronFault {
        let rest = self.text.get(at..).unwrap_or_default();
        let shown: String = rest.chars().take_while(|letter| *letter != ',').take(20).collect();
        if shown.trim().is_empty() {
            return self.fault(at, "the expression ends early, expected a value", None);
        }
        let hint = match (shown.chars().next(), self.field) {
            (Some('#'), _) => Some("write `2nd fri` in the field `day`, or use the dialect `quartz`"),
            (Some('L' | 'l'), Field::Day) => Some("write `last`, or use the dialect `quartz`"),
            (Some('?' | 'L' | 'W'), _) => Some("write `*`, or use the dialect `quartz`"),
            (Some('-'), _) => Some("negative numbers are not allowed"),
            _ => None,
        };
        self.fault(at, format!("unexpected `{shown}`"), hint.map(str::to_owned))
    }

    fn step_too_long(&self, at: usize, step: u32, range: u32) -> CronFault {
        let hint = "leave the step out, or make it smaller".to_owned();
        self.fault(at, format!("the step {step} is longer than the range ({range})"), Some(hint))
    }

    fn reversed(&self, first: Atom, last: Atom) -> CronFault {
        let (least, most) = self.field.bounds(self.dialect);
        let show = |value: u32| match self.field {
            Field::Month if first.named => usize::try_from(value - 1)
                .ok()
                .and_then(|index| MONTHS.get(index))
                .map(|name| (*name).to_owned()),
            Field::DayOfWeek if first.named => usize::try_from(value)
                .ok()
                .and_then(|index| WEEKDAYS.get(index))
                .map(|name| (*name).to_owned()),
            _ => Some(value.to_string()),
        };
        let show = |value| show(value).unwrap_or_default();
        let (from, to) = (show(first.value), show(last.value));
        let hint = match self.field {
            Field::Year => format!("did you mean `{to}-{from}`?"),
            _ => format!("to go past the end, write `{from}-{},{}-{to}`", show(most), show(least)),
        };
        self.fault(first.at, "the range runs backwards", Some(hint))
    }

    fn range_hint(&self, value: u32) -> Option<String> {
        match (self.field, value) {
            (Field::DayOfWeek, 7) => Some("0 is monday here, so sunday is 6 or `sun`".to_owned()),
            (Field::DayOfWeek, 0) => Some("sunday is 1 or `sun` here".to_owned()),
            (Field::Hour, 24) => Some("midnight is 0".to_owned()),
            (Field::Minute | Field::Second, 60) => Some("a full turn is 0".to_owned()),
            _ => None,
        }
    }
}
