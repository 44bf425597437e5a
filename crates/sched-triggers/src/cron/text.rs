//! Reads cron text: five fields, Quartz's six or seven, and the macros of Unix cron.

use super::Plan;
use super::fault::CronFault;
use super::field::{Field, Selection};
use super::item;
use super::schedule::Schedule;
use crate::Dialect;

const UNIX_ORDER: [Field; 5] = [Field::Minute, Field::Hour, Field::Day, Field::Month, Field::DayOfWeek];
const QUARTZ_ORDER: [Field; 7] =
    [Field::Second, Field::Minute, Field::Hour, Field::Day, Field::Month, Field::DayOfWeek, Field::Year];

/// The macros of Unix cron and what they stand for.
const MACROS: [(&str, &str); 7] = [
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

/// Reads the whole of `text`.
pub(super) fn read(text: &str, dialect: Dialect) -> Result<Plan, CronFault> {
    let trimmed = text.trim();
    if trimmed.starts_with('@') && dialect == Dialect::Unix {
        return match MACROS.iter().find(|(name, _)| name.eq_ignore_ascii_case(trimmed)) {
            Some((_, fields)) => read(fields, dialect),
            None if trimmed.eq_ignore_ascii_case("@reboot") => Ok(Plan::Reboot),
            None => Err(unknown_macro(trimmed)),
        };
    }
    let mut fields: [Selection; 8] = std::array::from_fn(|_| Selection::all());
    fields[Field::Second.index()] = Selection::only(0);
    let order: &[Field] = if dialect == Dialect::Quartz { &QUARTZ_ORDER } else { &UNIX_ORDER };
    check_count(text, dialect)?;
    for (field, (column, word)) in order.iter().zip(words(text)) {
        fields[field.index()] = item::read(*field, word, dialect, column)?;
    }
    assemble(fields, dialect).map(Plan::Schedule)
}

/// Puts eight selections together by the rules of `dialect`.
pub(super) fn assemble(fields: [Selection; 8], dialect: Dialect) -> Result<Schedule, CronFault> {
    let (day, weekday) = (&fields[Field::Day.index()], &fields[Field::DayOfWeek.index()]);
    let either = dialect == Dialect::Unix && !day.starred && !weekday.starred;
    if dialect == Dialect::Quartz && !day.every && !weekday.every {
        return Err(CronFault {
            field: Some(Field::DayOfWeek),
            column: None,
            message: "day and day of week cannot both be given".to_owned(),
            suggestion: Some("write `?` for one of them".to_owned()),
        });
    }
    Ok(Schedule::new(fields, either))
}

fn check_count(text: &str, dialect: Dialect) -> Result<(), CronFault> {
    let count = words(text).count();
    let (fits, expected) = match dialect {
        Dialect::Quartz => {
            (count == 6 || count == 7, "6 or 7 fields (second minute hour day month weekday [year])")
        }
        _ => (count == 5, "5 fields (minute hour day month weekday)"),
    };
    if fits {
        return Ok(());
    }
    let suggestion = match (dialect, count) {
        (_, 1) if text.trim().starts_with('@') => Some("macros belong to the dialect `unix`"),
        (Dialect::Quartz, 5) => Some("the dialect `unix` has no seconds"),
        (Dialect::Quartz, _) => None,
        (_, 6 | 7) => Some("the dialect `quartz` has seconds and years"),
        _ => None,
    };
    let column = Some(words(text).nth(5).map_or(1, |(column, _)| column));
    let message = format!("expected {expected}, got {count}");
    Err(CronFault { field: None, column, message, suggestion: suggestion.map(str::to_owned) })
}

fn unknown_macro(text: &str) -> CronFault {
    let known = MACROS.iter().map(|(name, _)| *name).chain(["@reboot"]);
    let suggestion = match sched_core::registry::nearest(text, known.clone()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("known: {}", known.collect::<Vec<_>>().join(", ")),
    };
    let message = format!("unknown macro `{}`", text.chars().take(20).collect::<String>());
    CronFault { field: None, column: Some(1), message, suggestion: Some(suggestion) }
}

/// The words of a text, each with the column it starts at.
fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut rest = text;
    let mut column = 1;
    std::iter::from_fn(move || {
        let word = rest.trim_start();
        column += rest[..rest.len() - word.len()].chars().count();
        let end = word.find(char::is_whitespace).unwrap_or(word.len());
        let (found, tail) = word.split_at(end);
        let start = column;
        column += found.chars().count();
        rest = tail;
        (!found.is_empty()).then_some((start, found))
    })
}
