//! Pieces of English that the descriptions of several triggers share.

use std::time::Duration;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;

/// "a", "a and b", "a, b and c".
pub(crate) fn list(mut items: Vec<String>) -> String {
    match items.pop() {
        None => String::new(),
        Some(last) if items.is_empty() => last,
        Some(last) => format!("{} and {last}", items.join(", ")),
    }
}

/// "every minute", "every 5 minutes".
pub(crate) fn every(count: u32, unit: &str) -> String {
    match count {
        1 => format!("every {unit}"),
        _ => format!("every {count} {unit}s"),
    }
}

/// "1 hour 30 minutes".
pub(crate) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let units = [
        (seconds / 86_400, "day"),
        (seconds / 3600 % 24, "hour"),
        (seconds / 60 % 60, "minute"),
        (seconds % 60, "second"),
        (u64::from(duration.subsec_millis()), "millisecond"),
        (u64::from(duration.subsec_micros() % 1000), "microsecond"),
    ];
    let parts = units.iter().filter(|(count, _)| *count > 0).map(|(count, unit)| match count {
        1 => format!("1 {unit}"),
        _ => format!("{count} {unit}s"),
    });
    parts.collect::<Vec<_>>().join(" ")
}

/// A time as its zone's clocks show it.
pub(crate) fn local(time: DateTime<Utc>, zone: Tz) -> String {
    time.with_timezone(&zone).format("%Y-%m-%d %H:%M:%S%.f").to_string()
}

/// ", from … until …", as far as there are bounds.
pub(crate) fn bounds(start: Option<DateTime<Utc>>, end: Option<DateTime<Utc>>, zone: Tz) -> String {
    let mut text = String::new();
    if let Some(start) = start {
        text.push_str(&format!(", from {}", local(start, zone)));
    }
    if let Some(end) = end {
        text.push_str(&format!(", until {}", local(end, zone)));
    }
    text
}
