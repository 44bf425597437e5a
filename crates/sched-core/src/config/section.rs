//! A strict reader of one table: it remembers which keys were asked for and collects every fault.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use serde_json::{Map, Value};

use super::convert::{to_bool, to_duration, to_integer};
use crate::registry::{Registry, nearest};
use crate::{Error, ErrorKind, Fault, Trigger, time};

/// What a factory may look at besides its own table.
#[derive(Debug, Clone, Copy)]
pub struct BuildContext<'a> {
    /// Resolves aliases of nested parts.
    pub registry: &'a Registry,
    /// The scheduler's zone, the default of triggers and naive times.
    pub timezone: Tz,
}

/// One table of a configuration, read key by key.
///
/// Every reader method takes the key out, so that [`finish`](Section::finish) can refuse what nobody asked for.
/// A wrong value is recorded as a fault and read as absent: a factory reads all its keys and lets `finish` report
/// every fault at once.
///
/// # Example
/// ```
/// use sched_core::{BuildContext, Registry, Section};
/// let registry = Registry::empty();
/// let context = BuildContext { registry: &registry, timezone: chrono_tz::Tz::UTC };
/// let table = serde_json::json!({ "max_workers": "20", "max_worker": 3 });
/// let mut section = Section::new("executors.default", table, context)?;
/// assert_eq!(section.integer("max_workers"), Some(20));
/// let error = section.finish().unwrap_err();
/// assert_eq!(error.to_string(), "executors.default.max_worker: unknown key (did you mean `max_workers`?)");
/// # Ok::<(), sched_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Section<'a> {
    path: String,
    entries: Map<String, Value>,
    asked: Vec<&'static str>,
    faults: Vec<Fault>,
    context: BuildContext<'a>,
}

impl<'a> Section<'a> {
    /// A reader of `value`, which must be a table (`null` counts as empty).
    pub fn new(path: impl Into<String>, value: Value, context: BuildContext<'a>) -> Result<Self, Error> {
        let path = path.into();
        let entries = match value {
            Value::Object(entries) => entries,
            Value::Null => Map::new(),
            other => {
                let message = format!("expected a table, got {}", kind_of(&other));
                let fault = Fault { path, message, suggestion: None };
                return Err(Error::from_faults(ErrorKind::InvalidConfig, vec![fault]));
            }
        };
        Ok(Self { path, entries, asked: Vec::new(), faults: Vec::new(), context })
    }

    /// The dotted path of this table.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Names keys that somebody takes out of this table before it is read: advice on an unknown key names them, too.
    pub(crate) fn also_known(&mut self, keys: &[&'static str]) {
        self.asked.extend(keys);
    }

    /// The dotted path of `key` in this table.
    pub fn path_of(&self, key: &str) -> String {
        match self.path.is_empty() {
            true => key.to_owned(),
            false => format!("{}.{key}", self.path),
        }
    }

    /// The registry and the default zone.
    pub fn context(&self) -> BuildContext<'a> {
        self.context
    }

    /// Takes a value as it is; `null` counts as absent.
    pub fn value(&mut self, key: &'static str) -> Option<Value> {
        self.asked.push(key);
        self.entries.remove(key).filter(|value| !value.is_null())
    }

    /// Whether `key` is present, `null` included, and has not been taken.
    pub fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// Takes every key that is left, in order; for tables whose keys are the user's own names.
    pub fn rest(&mut self) -> Map<String, Value> {
        std::mem::take(&mut self.entries)
    }

    /// Takes a string; a number is read as its text.
    pub fn string(&mut self, key: &'static str) -> Option<String> {
        self.read(key, "a string", |value| match value {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        })
    }

    /// Takes an integer, also from a numeric string.
    pub fn integer(&mut self, key: &'static str) -> Option<i64> {
        self.read(key, "an integer", to_integer)
    }

    /// Takes an integer in `least..=most`.
    pub fn integer_in(&mut self, key: &'static str, least: i64, most: i64) -> Option<i64> {
        let number = self.integer(key)?;
        if (least..=most).contains(&number) {
            return Some(number);
        }
        self.fault(key, format!("{number} is out of range, expected {least} to {most}"));
        None
    }

    /// Takes a count in `1..=most`, as a `usize`.
    pub fn count(&mut self, key: &'static str, most: u32) -> Option<usize> {
        self.integer_in(key, 1, i64::from(most)).and_then(|number| usize::try_from(number).ok())
    }

    /// Takes a number, also from a numeric string.
    pub fn number(&mut self, key: &'static str) -> Option<f64> {
        self.read(key, "a number", |value| match value {
            Value::String(text) => text.trim().parse().ok().filter(|number: &f64| number.is_finite()),
            _ => value.as_f64(),
        })
    }

    /// Takes a boolean, also from the usual words.
    pub fn boolean(&mut self, key: &'static str) -> Option<bool> {
        self.read(key, "a boolean", to_bool)
    }

    /// Takes a duration: seconds, or text such as `1h 30m`.
    pub fn duration(&mut self, key: &'static str) -> Option<Duration> {
        self.read(key, "a duration (seconds, or text such as `1h 30m`)", to_duration)
    }

    /// Takes an IANA zone name.
    pub fn timezone(&mut self, key: &'static str) -> Option<Tz> {
        let name = self.string(key)?;
        time::parse_timezone(&name).map_err(|error| self.fault(key, error.to_string())).ok()
    }

    /// Takes a date and time; a naive one is in `zone`.
    pub fn datetime(&mut self, key: &'static str, zone: Tz) -> Option<DateTime<Utc>> {
        let text = self.string(key)?;
        time::parse_datetime(&text, zone).map_err(|error| self.fault(key, error.to_string())).ok()
    }

    /// Takes a list; a single value is a list of one.
    pub fn list(&mut self, key: &'static str) -> Option<Vec<Value>> {
        self.value(key).map(|value| match value {
            Value::Array(items) => items,
            single => vec![single],
        })
    }

    /// Takes a nested table as a reader of its own. Give it back with [`merge`](Section::merge).
    pub fn section(&mut self, key: &'static str) -> Option<Section<'a>> {
        let path = self.path_of(key);
        let value = self.value(key)?;
        Section::new(path, value, self.context).map_err(|error| self.absorb(error, key)).ok()
    }

    /// Takes a nested trigger: a table with `type`.
    pub fn trigger(&mut self, key: &'static str) -> Option<Arc<dyn Trigger>> {
        let path = self.path_of(key);
        let value = self.value(key)?;
        let built = self.context.registry.trigger(&path, value, self.context);
        built.map_err(|error| self.absorb(error, key)).ok()
    }

    /// Finishes a nested reader and keeps its faults.
    pub fn merge(&mut self, nested: Section<'_>) {
        if let Err(error) = nested.finish() {
            self.faults.extend(error.into_faults(""));
        }
    }

    /// Records that `key` is wrong.
    pub fn fault(&mut self, key: &str, message: impl Into<String>) {
        let path = self.path_of(key);
        self.faults.push(Fault { path, message: message.into(), suggestion: None });
    }

    /// Records the faults of `error`, which came up under `key`.
    pub fn absorb(&mut self, error: Error, key: &str) {
        let path = self.path_of(key);
        self.faults.extend(error.into_faults(&path));
    }

    /// Records that a key without default is missing.
    pub fn missing(&mut self, key: &str, what: &str) {
        self.fault(key, format!("missing, expected {what}"));
    }

    /// Whether a fault was recorded so far.
    pub fn is_faulty(&self) -> bool {
        !self.faults.is_empty()
    }

    /// Ends the reading: an error with every fault, unknown keys included, or nothing.
    pub fn finish(mut self) -> Result<(), Error> {
        for (key, _) in std::mem::take(&mut self.entries) {
            let near = nearest(&key, self.asked.iter().copied());
            let suggestion = match near {
                Some(near) => Some(format!("did you mean `{near}`?")),
                None if self.asked.is_empty() => None,
                None => Some(format!("known keys: {}", self.asked.join(", "))),
            };
            let path = self.path_of(&key);
            self.faults.push(Fault { path, message: "unknown key".to_owned(), suggestion });
        }
        match self.faults.is_empty() {
            true => Ok(()),
            false => Err(Error::from_faults(ErrorKind::InvalidConfig, self.faults)),
        }
    }

    /// Takes a value that `parse` understands; of any other the fault says what was expected, and what is there.
    pub(crate) fn read<T>(
        &mut self,
        key: &'static str,
        expected: &str,
        parse: impl Fn(&Value) -> Option<T>,
    ) -> Option<T> {
        let value = self.value(key)?;
        let parsed = parse(&value);
        if parsed.is_none() {
            self.fault(key, format!("expected {expected}, got {}", shown(&value)));
        }
        parsed
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "a table",
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) if text.len() <= 60 => format!("`{text}`"),
        Value::Bool(_) | Value::Number(_) => format!("`{value}`"),
        other => kind_of(other).to_owned(),
    }
}
