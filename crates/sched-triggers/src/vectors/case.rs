//! One recorded case: its configuration form, what was recorded, and what our trigger answers.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use sched_core::time::{parse_timezone, resolve_local};
use sched_core::{BuildContext, Error, ErrorKind, Registry, Trigger};
use serde_json::{Map, Value, json};

use crate::moment::{self, MICROSECOND};
use crate::preview;

/// Who recorded the case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Aps3,
    Aps4,
    BruteForce,
}

/// What a right answer is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wanted {
    /// These fires; when exhausted, none after them.
    Fires { fires: Vec<DateTime<Utc>>, exhausted: bool },
    /// These fires, then an error.
    Unfinished { fires: Vec<DateTime<Utc>> },
    /// The arguments are refused.
    Refused,
}

/// What our trigger answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    Fires { fires: Vec<DateTime<Utc>>, exhausted: bool },
    Refused { message: String },
}

/// How fire times were asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Walk {
    Plain,
    Fresh,
    Single,
}

/// A line of a vector file.
pub(super) struct Case<'a> {
    pub(super) id: &'a str,
    pub(super) source: Source,
    pub(super) kind: &'a str,
    pub(super) trigger: &'a str,
    pub(super) args: &'a Map<String, Value>,
    pub(super) wanted: Wanted,
    pub(super) tz_sensitive: bool,
    line: &'a Map<String, Value>,
    walk: Walk,
}

impl<'a> Case<'a> {
    /// **Errors**: [`Corrupt`](ErrorKind::Corrupt) naming what is missing.
    pub(super) fn read(value: &'a Value) -> Result<Self, Error> {
        let line = value.as_object().ok_or_else(|| corrupt("a case is a table"))?;
        let text = |key: &str| {
            line.get(key).and_then(Value::as_str).ok_or_else(|| corrupt(&format!("`{key}` is missing")))
        };
        let source = match text("source")? {
            source if source.starts_with("apscheduler 3") => Source::Aps3,
            source if source.starts_with("apscheduler 4") => Source::Aps4,
            _ => Source::BruteForce,
        };
        let walk = match line.get("walk").and_then(Value::as_str) {
            Some("fresh") => Walk::Fresh,
            Some("single") => Walk::Single,
            _ => Walk::Plain,
        };
        let args = line.get("args").and_then(Value::as_object).ok_or_else(|| corrupt("`args` is missing"))?;
        Ok(Self {
            id: text("id")?,
            source,
            kind: text("kind")?,
            trigger: text("trigger")?,
            args,
            wanted: wanted(line)?,
            tz_sensitive: line.get("tz_sensitive") == Some(&Value::Bool(true)),
            line,
            walk,
        })
    }

    /// Builds the trigger and asks it as the source was asked.
    pub(super) fn answer(&self, registry: &Registry) -> Answer {
        let refused = |error: Error| Answer::Refused { message: error.to_string() };
        match self.build(registry).and_then(|trigger| self.ask(&*trigger)) {
            Ok((fires, exhausted)) => Answer::Fires { fires, exhausted },
            Err(error) => refused(error),
        }
    }

    /// What differs from the recorded answer, for people.
    pub(super) fn difference(&self, answer: &Answer) -> Option<String> {
        let same = match (&self.wanted, answer) {
            (Wanted::Refused, Answer::Refused { .. }) => true,
            (Wanted::Fires { fires, exhausted }, Answer::Fires { fires: ours, exhausted: ended }) => {
                fires == ours && (!exhausted || *ended)
            }
            _ => false,
        };
        (!same).then(|| format!("{} {:?}: wanted {:?}, got {answer:?}", self.trigger, self.args, self.wanted))
    }

    pub(super) fn ends_before_start(&self) -> bool {
        let time = |key| {
            self.line.get(key).and_then(Value::as_str).and_then(|text| moment::read(text, Tz::UTC).ok())
        };
        time("start").zip(time("end")).is_some_and(|(start, end)| end < start)
    }

    pub(super) fn is_zero_interval(&self) -> bool {
        self.args.values().all(|value| value.as_f64() == Some(0.0))
    }

    /// Whether a part, at any depth, takes its phase from the previous fire time.
    pub(super) fn has_phased_part(&self) -> bool {
        has_phased_part(self.args)
    }

    pub(super) fn has_no_children(&self) -> bool {
        self.args.get("triggers").and_then(Value::as_array).is_some_and(Vec::is_empty)
    }

    fn build(&self, registry: &Registry) -> Result<Arc<dyn Trigger>, Error> {
        let config = config_of(self.line, self.source, self.line.get("now"))?;
        let local = match self.line.get("local_timezone").and_then(Value::as_str) {
            Some(name) => parse_timezone(name)?,
            None => Tz::UTC,
        };
        registry.trigger("", config, BuildContext { registry, timezone: local })
    }

    fn ask(&self, trigger: &dyn Trigger) -> Result<(Vec<DateTime<Utc>>, bool), Error> {
        let now = self.time("now")?;
        let anchored = trigger.anchored(now);
        let trigger = anchored.as_deref().unwrap_or(trigger);
        // Version 4 has no `now`: a series begins with its start, however old that is.
        let now = if self.source == Source::Aps4 { moment::read("0001-01-03", Tz::UTC)? } else { now };
        let count = match &self.wanted {
            Wanted::Fires { fires, exhausted } => fires.len() + usize::from(*exhausted),
            Wanted::Unfinished { fires } => fires.len() + 1,
            Wanted::Refused => 1,
        };
        match self.walk {
            Walk::Plain => preview(trigger, None, now, count).map(|it| (it.fires, it.exhausted)),
            Walk::Single => {
                preview(trigger, Some(self.time("previous")?), now, count).map(|it| (it.fires, it.exhausted))
            }
            Walk::Fresh => fresh(trigger, now, count),
        }
    }

    fn time(&self, key: &str) -> Result<DateTime<Utc>, Error> {
        let text = self.line.get(key).and_then(Value::as_str).unwrap_or_default();
        moment::read(text, Tz::UTC).map_err(|error| corrupt(&format!("`{key}`: {error}")))
    }
}

fn has_phased_part(args: &Map<String, Value>) -> bool {
    let parts = args.get("triggers").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    parts.iter().filter_map(Value::as_object).any(|part| {
        let kind = part.get("trigger").and_then(Value::as_str).unwrap_or_default();
        kind == "interval" || part.get("args").and_then(Value::as_object).is_some_and(has_phased_part)
    })
}

fn fresh(
    trigger: &dyn Trigger,
    now: DateTime<Utc>,
    count: usize,
) -> Result<(Vec<DateTime<Utc>>, bool), Error> {
    let mut fires = Vec::new();
    let mut now = now;
    while fires.len() < count {
        match trigger.next_fire_time(None, now)? {
            // A date whose moment has passed answers with it again.
            Some(time) if time >= now => {
                now = time + MICROSECOND;
                fires.push(time);
            }
            _ => return Ok((fires, true)),
        }
    }
    Ok((fires, false))
}

fn wanted(line: &Map<String, Value>) -> Result<Wanted, Error> {
    let line = line.get("expected").and_then(Value::as_object).unwrap_or(line);
    let Some(fires) = line.get("fires").and_then(Value::as_array) else {
        return match line.contains_key("error") {
            true => Ok(Wanted::Refused),
            false => Err(corrupt("neither `fires` nor `error`")),
        };
    };
    let read = |fire: &Value| moment::read(fire.as_str().unwrap_or_default(), Tz::UTC);
    let fires = fires.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    Ok(match line.contains_key("error") {
        true => Wanted::Unfinished { fires },
        false => Wanted::Fires { fires, exhausted: line.get("exhausted") == Some(&Value::Bool(true)) },
    })
}

/// The configuration form of a case, or of a part of one.
fn config_of(line: &Map<String, Value>, source: Source, now: Option<&Value>) -> Result<Value, Error> {
    let kind = line.get("trigger").and_then(Value::as_str).unwrap_or_default();
    let args = line.get("args").and_then(Value::as_object).ok_or_else(|| corrupt("`args` is missing"))?;
    let mut config = Map::from_iter([("type".to_owned(), json!(kind))]);
    for (key, value) in args {
        let value = match value {
            Value::Array(parts) if key == "triggers" => {
                let part = |part: &Value| match part.as_object() {
                    Some(part) => config_of(part, source, now),
                    None => Err(corrupt("a part is a table")),
                };
                parts.iter().map(part).collect::<Result<Value, Error>>()?
            }
            other => plain(other)?,
        };
        config.insert(key.clone(), value);
    }
    let combines = matches!(kind, "and" | "or");
    for (key, name) in [("timezone", "timezone"), ("start", "start_date"), ("end", "end_date")] {
        if let Some(value) = line.get(key).filter(|value| !value.is_null() && !combines) {
            config.insert(name.to_owned(), value.clone());
        }
    }
    stand_in(&mut config, kind, source, now);
    Ok(Value::Object(config))
}

/// Adds the options that stand for the source.
fn stand_in(config: &mut Map<String, Value>, kind: &str, source: Source, now: Option<&Value>) {
    let mut default = |key: &str, value: Value| {
        config.entry(key).or_insert(value);
    };
    match (kind, source) {
        ("cron" | "crontab", Source::Aps3) => default("dialect", json!("aps3")),
        ("cron" | "crontab", Source::Aps4) => {
            default("dialect", json!("aps4"));
            if !config.contains_key("start_time") {
                config.entry("start_date").or_insert_with(|| now.cloned().unwrap_or_default());
            }
        }
        ("interval", Source::Aps4) => default("first", json!("now")),
        ("and", Source::Aps3) => default("threshold", json!(0)),
        _ => {}
    }
}

/// Python objects as configuration writes them.
fn plain(value: &Value) -> Result<Value, Error> {
    let Some(object) = value.as_object() else {
        return Ok(value.clone());
    };
    if let Some(seconds) = object.get("$timedelta") {
        return Ok(seconds.clone());
    }
    if let Some(date) = object.get("$date") {
        return Ok(date.clone());
    }
    let text =
        object.get("$datetime").and_then(Value::as_str).ok_or_else(|| corrupt("unknown kind of object"))?;
    match object.get("$zone").and_then(Value::as_str) {
        None => Ok(json!(text)),
        Some(zone) => {
            let local = moment::read(text, Tz::UTC)?.naive_utc();
            Ok(json!(moment::show(resolve_local(local, parse_timezone(zone)?))))
        }
    }
}

fn corrupt(message: &str) -> Error {
    Error::new(ErrorKind::Corrupt, message)
}
