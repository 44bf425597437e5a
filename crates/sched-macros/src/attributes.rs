//! Reads the list of attributes, key by key, with the type each of them must have. What nobody asked for is a
//! fault, and so is what is given twice.

use std::time::Duration;

use proc_macro2::{Span, TokenStream};
use syn::parse::Parser;

use crate::faults::{Faults, hint};
use crate::json::{Entry, Json, Value};

/// The attributes that were given, less those that were asked for.
pub(crate) struct Attributes {
    entries: Vec<Entry>,
    asked: Vec<&'static str>,
}

impl Attributes {
    /// Reads the list; `None` when it is malformed, which is a fault.
    pub(crate) fn parse(tokens: TokenStream, faults: &mut Faults) -> Option<Self> {
        let mut entries: Vec<Entry> = Vec::new();
        for entry in Entry::list.parse2(tokens).map_err(|error| faults.push(error)).ok()? {
            match entries.iter().any(|other| other.key == entry.key) {
                true => faults.at(entry.span, format_args!("`{}` is given twice", entry.key)),
                false => entries.push(entry),
            }
        }
        Some(Self { entries, asked: Vec::new() })
    }

    /// Takes an attribute out, with its name's place.
    pub(crate) fn entry(&mut self, key: &'static str) -> Option<Entry> {
        self.asked.push(key);
        let index = self.entries.iter().position(|entry| entry.key == key)?;
        Some(self.entries.remove(index))
    }

    /// Takes out what `read` makes of an attribute's value; a value it refuses is a fault that says what is
    /// `expected`.
    pub(crate) fn read<T>(
        &mut self,
        key: &'static str,
        expected: &str,
        faults: &mut Faults,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Option<T> {
        let entry = self.entry(key)?;
        let value = read(&entry.value.value);
        if value.is_none() {
            faults.at(entry.value.span, format_args!("`{key}` must be {expected}"));
        }
        value
    }

    /// Takes text out, which must not be empty nor hold control characters.
    pub(crate) fn text(&mut self, key: &'static str, faults: &mut Faults) -> Option<String> {
        self.read(key, &format!("text that is not empty, such as `{key} = \"…\"`"), faults, |value| {
            match value {
                Value::Text(text) if is_name(text) => Some(text.clone()),
                _ => None,
            }
        })
    }

    /// Takes one of `words` out.
    pub(crate) fn word(
        &mut self,
        key: &'static str,
        words: &[&'static str],
        faults: &mut Faults,
    ) -> Option<usize> {
        let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
        self.read(key, &format!("one of {}", quoted.join(", ")), faults, |value| match value {
            Value::Text(text) => words.iter().position(|word| word == text),
            _ => None,
        })
    }

    /// Takes an integer of at least 1 out.
    pub(crate) fn count(&mut self, key: &'static str, faults: &mut Faults) -> Option<u32> {
        self.read(key, &format!("a positive integer, such as `{key} = 3`"), faults, |value| match value {
            Value::Integer(number) => u32::try_from(*number).ok().filter(|number| *number > 0),
            _ => None,
        })
    }

    /// Takes a duration out.
    pub(crate) fn duration(&mut self, key: &'static str, faults: &mut Faults) -> Option<Duration> {
        self.read(key, "a duration: seconds, or text such as \"1h 30m\"", faults, duration)
    }

    /// Whatever is left is unknown. `elsewhere` are names that another attribute macro knows.
    pub(crate) fn finish(self, elsewhere: (&str, &[&str]), faults: &mut Faults) {
        let (owner, theirs) = elsewhere;
        for Entry { span, key, .. } in self.entries {
            match theirs.contains(&key.as_str()) {
                true => faults.at(span, format_args!("`{key}` is an attribute of `#[{owner}]`")),
                false => {
                    faults.at(span, format_args!("unknown attribute `{key}` ({})", hint(&key, &self.asked)))
                }
            }
        }
    }
}

/// Checks that every key is known to a trigger.
pub(crate) fn check_keys(owner: &str, entries: &[Entry], known: &[&str], faults: &mut Faults) {
    for (index, Entry { span, key, .. }) in entries.iter().enumerate() {
        if !known.contains(&key.as_str()) {
            faults.at(*span, format_args!("`{owner}` has no argument `{key}` ({})", hint(key, known)));
        }
        if entries.iter().take(index).any(|other| other.key == *key) {
            faults.at(*span, format_args!("`{key}` is given twice"));
        }
    }
}

/// Whether a text can name something: not blank, and without control characters.
pub(crate) fn is_name(text: &str) -> bool {
    !text.trim().is_empty() && !text.chars().any(char::is_control)
}

/// Reads a duration as configuration files do: a number or numeric text is seconds.
pub(crate) fn duration(value: &Value) -> Option<Duration> {
    match value {
        Value::Integer(seconds) => u64::try_from(*seconds).ok().map(Duration::from_secs),
        Value::Float(seconds) => Duration::try_from_secs_f64(*seconds).ok(),
        Value::Text(text) => match text.trim().parse::<f64>() {
            Ok(seconds) => Duration::try_from_secs_f64(seconds).ok(),
            Err(_) => humantime::parse_duration(text.trim()).ok(),
        },
        _ => None,
    }
}

/// The text and its place; `None` for other literals.
pub(crate) fn text_of(json: &Json) -> Option<(&str, Span)> {
    match &json.value {
        Value::Text(text) => Some((text, json.span)),
        _ => None,
    }
}
