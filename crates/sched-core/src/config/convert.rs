//! Lenient scalars: the strings of an ini-style dictionary stand for numbers, booleans and durations.

use std::time::Duration;

use serde_json::Value;

/// Reads an integer from a number or a numeric string.
pub fn to_integer(value: &Value) -> Option<i64> {
    match value {
        Value::String(text) => text.trim().parse().ok(),
        _ => value.as_i64(),
    }
}

/// Reads a boolean from `true`/`false`, the numbers 1/0, or the strings `true yes on y t 1` and
/// `false no off n f 0`, trimmed and in any case. **Source**: APScheduler 3 `asbool`.
pub fn to_bool(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(flag) => Some(*flag),
        Value::Number(number) => match number.as_i64()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        },
        Value::String(text) => match text.trim().to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "y" | "t" | "1" => Some(true),
            "false" | "no" | "off" | "n" | "f" | "0" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

/// Reads a duration: a number or numeric string is seconds, other text is `1h 30m`, `90s`, `250ms`.
pub fn to_duration(value: &Value) -> Option<Duration> {
    match value {
        Value::Number(number) => from_seconds(number.as_f64()?),
        Value::String(text) => match text.trim().parse::<f64>() {
            Ok(seconds) => from_seconds(seconds),
            Err(_) => humantime::parse_duration(text.trim()).ok(),
        },
        _ => None,
    }
}

/// A long duration is rounded to the microsecond: its nanoseconds are noise of the binary fraction.
fn from_seconds(seconds: f64) -> Option<Duration> {
    let exact = Duration::try_from_secs_f64(seconds).ok()?;
    if exact.as_secs() == 0 {
        return Some(exact);
    }
    let micros = (exact.subsec_nanos() + 500) / 1_000;
    Duration::from_secs(exact.as_secs()).checked_add(Duration::from_micros(micros.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn booleans_are_read_from_the_usual_words() {
        for text in [" True", "true ", "Yes", " yes ", "1  ", " on"] {
            assert_eq!(to_bool(&json!(text)), Some(true), "{text}");
        }
        for text in [" False", "false ", "No", " no ", "0  ", "OFF"] {
            assert_eq!(to_bool(&json!(text)), Some(false), "{text}");
        }
        assert_eq!(to_bool(&json!("yep")), None);
        assert_eq!(to_bool(&json!(2)), None);
    }

    #[test]
    fn integers_are_read_from_numbers_and_numeric_strings() {
        assert_eq!(to_integer(&json!("539")), Some(539));
        assert_eq!(to_integer(&json!(539)), Some(539));
        assert_eq!(to_integer(&json!("5s")), None);
        assert_eq!(to_integer(&json!(5.5)), None);
    }

    #[test]
    fn durations_are_seconds_or_words() {
        assert_eq!(to_duration(&json!(1.5)), Some(Duration::from_millis(1500)));
        assert_eq!(to_duration(&json!("20")), Some(Duration::from_secs(20)));
        assert_eq!(to_duration(&json!("1h 30m")), Some(Duration::from_secs(5400)));
        assert_eq!(to_duration(&json!(13_713_723.844)), Some(Duration::from_millis(13_713_723_844)));
        assert_eq!(to_duration(&json!(0.000_000_001)), Some(Duration::from_nanos(1)));
        assert_eq!(to_duration(&json!(-1)), None);
        assert_eq!(to_duration(&json!("NaN")), None);
    }
}
