//! The attributes of a declared job: when it fires, its id, its store and its arguments. Triggers are given in
//! their configuration form, so that no trigger is known here.

use std::time::Duration;

use proc_macro2::{Ident, Span};

use crate::attributes::{Attributes, check_keys, duration, text_of};
use crate::cron;
use crate::faults::Faults;
use crate::function::Function;
use crate::json::{Entry, Json, Value};

/// The attributes that only `#[scheduled]` has.
pub(crate) const ATTRIBUTES: &[&str] = &[
    "cron",
    "interval",
    "every",
    "calendarinterval",
    "at",
    "date",
    "trigger",
    "id",
    "args",
    "timezone",
    "store",
];

const CRON_FIELDS: &[&str] = &["year", "month", "day", "week", "day_of_week", "hour", "minute", "second"];

const CRON_KEYS: &[&str] = &[
    "year",
    "month",
    "day",
    "week",
    "day_of_week",
    "hour",
    "minute",
    "second",
    "expr",
    "dialect",
    "start_date",
    "end_date",
    "start_time",
    "end_time",
    "gap",
    "overlap",
    "jitter",
    "timezone",
];

const INTERVAL_KEYS: &[&str] = &[
    "weeks",
    "days",
    "hours",
    "minutes",
    "seconds",
    "microseconds",
    "first",
    "start_date",
    "end_date",
    "start_time",
    "end_time",
    "jitter",
    "timezone",
];

const CALENDAR_KEYS: &[&str] = &[
    "years",
    "months",
    "weeks",
    "days",
    "hour",
    "minute",
    "second",
    "start_date",
    "end_date",
    "gap",
    "overlap",
    "jitter",
    "timezone",
];

/// A declared job.
pub(crate) struct Schedule {
    pub(crate) id: Option<String>,
    pub(crate) store: Option<String>,
    pub(crate) args: Option<Json>,
    /// The trigger's configuration form.
    pub(crate) trigger: Json,
}

impl Schedule {
    /// Takes the attributes of a declared job out; `None` when it has no usable trigger.
    pub(crate) fn read(
        attributes: &mut Attributes,
        function: &Function,
        faults: &mut Faults,
    ) -> Option<Self> {
        let (id, store) = (attributes.text("id", faults), attributes.text("store", faults));
        let args = attributes.entry("args").map(|entry| entry.value);
        check_args(args.as_ref(), function, faults);
        let timezone = attributes.text("timezone", faults);
        let mut trigger = trigger(attributes, &function.ident, faults)?;
        if let (Some(timezone), Value::Object(entries)) = (timezone, &mut trigger.value) {
            match entries.iter().find(|entry| entry.key == "timezone") {
                Some(entry) => {
                    faults.at(entry.span, "`timezone` is given twice, here and outside of the trigger")
                }
                None => entries.push(Entry::new(trigger.span, "timezone", Value::Text(timezone))),
            }
        }
        Some(Self { id, store, args, trigger })
    }
}

/// The arguments must be as many as the parameters take, or have their names.
fn check_args(args: Option<&Json>, function: &Function, faults: &mut Faults) {
    let required = |given: &dyn Fn(usize, &str) -> bool| -> Vec<String> {
        let all = function.parameters.iter().enumerate();
        let missing = all.filter(|(index, it)| !it.optional && !given(*index, &it.name()));
        missing.map(|(_, it)| format!("`{}`", it.name())).collect()
    };
    let missing = match args.map(|json| &json.value) {
        None => required(&|_, _| false),
        Some(Value::Array(items)) => {
            for extra in items.iter().skip(function.parameters.len()) {
                let (name, takes) = (function.name(), function.parameters.len());
                faults.at(extra.span, format_args!("too many arguments: `{name}` takes {takes}"));
            }
            required(&|index, _| index < items.len())
        }
        Some(Value::Object(entries)) => {
            let names: Vec<String> = function.parameters.iter().map(|it| it.name()).collect();
            let known: Vec<&str> = names.iter().map(String::as_str).collect();
            check_keys(&function.name(), entries, &known, faults);
            required(&|_, name| entries.iter().any(|entry| entry.key == name))
        }
        Some(_) => {
            let span = args.map_or_else(Span::call_site, |json| json.span);
            return faults.at(
                span,
                "`args` must be a list such as `[\"ops\", 10]` or a table such as `{ rows = 10 }`",
            );
        }
    };
    if !missing.is_empty() {
        let span = args.map_or_else(|| function.ident.span(), |json| json.span);
        let (name, missing) = (function.name(), missing.join(", "));
        let message = format!(
            "`{name}` cannot be scheduled without its arguments {missing}: give them as `args = […]`"
        );
        faults.at(span, message);
    }
}

/// Exactly one attribute is the trigger.
fn trigger(attributes: &mut Attributes, function: &Ident, faults: &mut Faults) -> Option<Json> {
    let given: Vec<Entry> = ["cron", "interval", "every", "calendarinterval", "at", "date", "trigger"]
        .into_iter()
        .filter_map(|key| attributes.entry(key))
        .collect();
    let Some(first) = given.first() else {
        let message = "when does it fire? give `cron = \"0 9 * * mon-fri\"`, `cron(…)`, `every = \"5m\"`, \
                       `interval(…)`, `calendarinterval(…)`, `at = \"…\"` or `trigger = { type = \"…\" }`";
        faults.at(function.span(), message);
        return None;
    };
    for second in given.iter().skip(1) {
        let message =
            format!("a job has one trigger, `{}` is a second one beside `{}`", second.key, first.key);
        faults.at(second.span, message);
    }
    let entries = match first.key.as_str() {
        "cron" => cron_trigger(&first.value, faults),
        "interval" | "every" => interval_trigger(first, faults),
        "calendarinterval" => calendar_trigger(&first.value, faults),
        "at" | "date" => date_trigger(first, faults),
        _ => any_trigger(&first.value, faults),
    };
    entries.map(|entries| Json { span: first.span, value: Value::Object(entries) })
}

type Entries = Option<Vec<Entry>>;

/// The form of a trigger: its type before its arguments.
fn form(alias: &str, span: Span, arguments: impl IntoIterator<Item = Entry>) -> Entries {
    let alias = Entry::new(span, "type", Value::Text(alias.to_owned()));
    Some(std::iter::once(alias).chain(arguments).collect())
}

fn cron_trigger(json: &Json, faults: &mut Faults) -> Entries {
    match &json.value {
        Value::Text(text) => {
            if let Some(fault) = cron::fault(text) {
                faults.at(json.span, format_args!("not a crontab line: {fault}"));
            }
            form("crontab", json.span, [Entry::new(json.span, "expr", json.value.clone())])
        }
        Value::Object(entries) => {
            check_keys("cron", entries, CRON_KEYS, faults);
            let tells_when = |entry: &Entry| entry.key == "expr" || CRON_FIELDS.contains(&entry.key.as_str());
            if !entries.iter().any(tells_when) {
                faults.at(json.span, format_args!("give at least one field of {}", CRON_FIELDS.join(", ")));
            }
            form("cron", json.span, entries.iter().cloned())
        }
        _ => {
            faults.at(
                json.span,
                "`cron` must be crontab text, or fields as in `cron(day = \"last sun\", hour = 3)`",
            );
            None
        }
    }
}

fn interval_trigger(entry: &Entry, faults: &mut Faults) -> Entries {
    let span = entry.value.span;
    if let Value::Object(arguments) = &entry.value.value {
        check_keys("interval", arguments, INTERVAL_KEYS, faults);
        return form("interval", span, arguments.iter().cloned());
    }
    match duration(&entry.value.value).filter(|every| every.as_micros() > 0) {
        Some(every) => form("interval", span, [seconds(every, span)]),
        None => {
            let message = "must be a positive duration (seconds, or text such as \"1h 30m\") or units as in";
            faults.at(span, format_args!("`{}` {message} `interval(hours = 2)`", entry.key));
            None
        }
    }
}

fn seconds(every: Duration, span: Span) -> Entry {
    match (every.subsec_nanos(), i64::try_from(every.as_secs())) {
        (0, Ok(whole)) => Entry::new(span, "seconds", Value::Integer(whole)),
        _ => Entry::new(span, "seconds", Value::Float(every.as_secs_f64())),
    }
}

fn calendar_trigger(json: &Json, faults: &mut Faults) -> Entries {
    let Value::Object(arguments) = &json.value else {
        faults
            .at(json.span, "`calendarinterval` takes units, as in `calendarinterval(months = 1, hour = 9)`");
        return None;
    };
    check_keys("calendarinterval", arguments, CALENDAR_KEYS, faults);
    form("calendarinterval", json.span, arguments.iter().cloned())
}

fn date_trigger(entry: &Entry, faults: &mut Faults) -> Entries {
    match text_of(&entry.value).filter(|(text, _)| text.starts_with(|first: char| first.is_ascii_digit())) {
        Some((_, span)) => form("date", span, [Entry::new(span, "run_date", entry.value.value.clone())]),
        None => {
            let message = "must be a date such as \"2026-12-24 18:00:00\"";
            faults.at(entry.value.span, format_args!("`{}` {message}", entry.key));
            None
        }
    }
}

fn any_trigger(json: &Json, faults: &mut Faults) -> Entries {
    let Value::Object(entries) = &json.value else {
        faults.at(json.span, "`trigger` must be a table, such as `trigger = { type = \"cron\", hour = 3 }`");
        return None;
    };
    let alias = entries.iter().find(|entry| entry.key == "type").and_then(|entry| text_of(&entry.value));
    if alias.is_none() {
        faults.at(json.span, "a trigger needs the alias of its plug-in, as `type = \"cron\"`");
    }
    Some(entries.clone())
}

#[cfg(test)]
mod tests {
    use sched_core::{BuildContext, Registry};
    use sched_triggers as _;
    use serde_json::json;

    use super::{CALENDAR_KEYS, CRON_KEYS, INTERVAL_KEYS};

    #[test]
    fn every_key_that_is_let_through_is_one_the_trigger_knows() {
        let registry = Registry::linked().unwrap();
        let context = BuildContext { registry: &registry, timezone: chrono_tz::Tz::UTC };
        let is_known = |alias: &str, key: &str| {
            let built = registry.trigger("trigger", json!({ "type": alias, key: "?" }), context);
            !built.unwrap_err().to_string().contains(&format!("trigger.{key}: unknown key"))
        };
        let table = [("cron", CRON_KEYS), ("interval", INTERVAL_KEYS), ("calendarinterval", CALENDAR_KEYS)];
        for (alias, keys) in table {
            assert!(!is_known(alias, "no_such_key"));
            for key in keys {
                assert!(is_known(alias, key), "{alias}: {key}");
            }
        }
    }
}
