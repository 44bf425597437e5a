//! What the factories share: aliases of keys, named options, bounds, and the text form of a configuration.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, NaiveDate, Utc};
use chrono_tz::Tz;
use sched_core::{Error, Section, Trigger};
use serde_json::{Map, Value, json};

use crate::options::Choice;
use crate::{DateTrigger, moment};

/// Reads an option by name.
pub(crate) fn choice<C: Choice>(section: &mut Section<'_>, key: &'static str) -> Option<C> {
    let name = section.string(key)?;
    let value = C::from_name(&name);
    if value.is_none() {
        let known: Vec<&str> = C::NAMES.iter().map(|(name, _)| *name).collect();
        section.fault(key, format!("unknown value `{name}`, expected {}", known.join(", ")));
    }
    value
}

/// Reads the zone, which defaults to the scheduler's.
pub(crate) fn timezone(section: &mut Section<'_>) -> Tz {
    let default = section.context().timezone;
    section.timezone("timezone").unwrap_or(default)
}

/// Reads an instant; a naive one is in `zone`.
pub(crate) fn instant(section: &mut Section<'_>, key: &'static str, zone: Tz) -> Option<DateTime<Utc>> {
    let text = section.string(key)?;
    moment::read(&text, zone).map_err(|error| section.fault(key, error.to_string())).ok()
}

/// Reads an instant under either of two names, which APScheduler 3 and 4 gave it.
pub(crate) fn renamed_instant(
    section: &mut Section<'_>,
    keys: [&'static str; 2],
    zone: Tz,
) -> Option<DateTime<Utc>> {
    one_of(section, keys, |section, key| instant(section, key, zone))
}

/// Reads a date.
pub(crate) fn date(section: &mut Section<'_>, key: &'static str) -> Option<NaiveDate> {
    let text = section.string(key)?;
    moment::read_date(&text).map_err(|error| section.fault(key, error.to_string())).ok()
}

/// Reads a jitter, kept to whole microseconds.
pub(crate) fn jitter(section: &mut Section<'_>) -> Option<Duration> {
    section.duration("jitter").map(whole_micros).filter(|jitter| !jitter.is_zero())
}

/// Cuts a duration to whole microseconds.
pub(crate) fn whole_micros(duration: Duration) -> Duration {
    Duration::new(duration.as_secs(), duration.subsec_micros() * 1000)
}

/// Reads a value under either of two names.
pub(crate) fn one_of<T>(
    section: &mut Section<'_>,
    [name, other]: [&'static str; 2],
    read: impl Fn(&mut Section<'_>, &'static str) -> Option<T>,
) -> Option<T> {
    match (read(section, name), read(section, other)) {
        (Some(_), Some(_)) => {
            section.fault(other, format!("means the same as `{name}`, give only one"));
            None
        }
        (first, second) => first.or(second),
    }
}

/// What a factory returns when its section holds a fault: the registry reports the faults and drops it.
pub(crate) fn refused() -> Result<Arc<dyn Trigger>, Error> {
    Ok(Arc::new(DateTrigger::at(DateTime::UNIX_EPOCH)))
}

/// Hands a built trigger over, or puts the error of building it into the section.
pub(crate) fn finish<T: Trigger>(
    section: &mut Section<'_>,
    built: Result<T, Error>,
) -> Result<Arc<dyn Trigger>, Error> {
    match built {
        Ok(trigger) => Ok(Arc::new(trigger)),
        Err(error) => {
            let path = section.path().to_owned();
            for fault in error.into_faults(&path) {
                let fault = sched_core::Fault { path: path.clone(), ..fault };
                section.absorb(Error::from_faults(sched_core::ErrorKind::InvalidTrigger, vec![fault]), "");
            }
            refused()
        }
    }
}

/// A configuration form under construction.
pub(crate) struct Form(Map<String, Value>);

impl Form {
    pub(crate) fn new(alias: &str) -> Self {
        Self(Map::from_iter([("type".to_owned(), json!(alias))]))
    }

    pub(crate) fn put(&mut self, key: &str, value: impl Into<Value>) {
        self.0.insert(key.to_owned(), value.into());
    }

    pub(crate) fn put_some(&mut self, key: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.put(key, value);
        }
    }

    pub(crate) fn put_time(&mut self, key: &str, time: Option<DateTime<Utc>>) {
        self.put_some(key, time.map(moment::show));
    }

    pub(crate) fn put_duration(&mut self, key: &str, duration: Option<Duration>) {
        self.put_some(key, duration.map(seconds));
    }

    pub(crate) fn put_zone(&mut self, zone: Option<Tz>) {
        self.put_some("timezone", zone.map(Tz::name));
    }

    pub(crate) fn done(self) -> Value {
        Value::Object(self.0)
    }
}

/// A duration in seconds, as an integer where it is one.
fn seconds(duration: Duration) -> Value {
    match duration.subsec_nanos() {
        0 => json!(duration.as_secs()),
        _ => json!(duration.as_secs_f64()),
    }
}

/// Writes a configuration form as text: `cron[hour='9', timezone='UTC']`.
pub(crate) fn display(config: &Value, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match config {
        Value::Object(entries) if entries.contains_key("type") => {
            write!(f, "{}[", entries.get("type").and_then(Value::as_str).unwrap_or_default())?;
            let mut separator = "";
            for (key, value) in entries.iter().filter(|(key, _)| *key != "type") {
                f.write_str(separator)?;
                separator = ", ";
                if !matches!(key.as_str(), "trigger" | "triggers" | "expr") {
                    write!(f, "{key}=")?;
                }
                display(value, f)?;
            }
            f.write_str("]")
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                f.write_str(if index == 0 { "" } else { ", " })?;
                display(item, f)?;
            }
            Ok(())
        }
        Value::String(text) => write!(f, "'{text}'"),
        other => write!(f, "{other}"),
    }
}
