//! `sched next`: a look ahead at the fire times of a trigger. It runs nothing.

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use sched::triggers::{Preview, preview};
use sched::{BuildContext, Trigger, time};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::args::NextArgs;
use crate::failure::Failure;
use crate::{batch, output, plugins, times};

/// Triggers that take their one expression without a key.
const WITH_EXPRESSION: [&str; 2] = ["crontab", "cron"];

#[derive(Serialize)]
struct Answer {
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    timezone: &'static str,
    fires: Vec<String>,
    exhausted: bool,
}

/// Prints the next fire times of the trigger on the command line, or answers a batch of requests.
pub(crate) fn next(args: &NextArgs) -> Result<(), Failure> {
    if args.batch {
        return batch::answer_all();
    }
    let registry = plugins::linked().build()?;
    let zone = args.tz.unwrap_or_else(time::local_timezone);
    let from = start(args.from.as_deref(), zone)?;
    let config = trigger_config(args)?;
    let shown = shown_zone(&config);
    let trigger = registry.trigger("", config, BuildContext { registry: &registry, timezone: zone })?;
    let count = usize::try_from(args.count).unwrap_or(usize::MAX);
    let Preview { fires, exhausted } = preview(&*trigger, None, from, count)?;
    let zone = shown(&*trigger, zone);
    let description = args.describe.then(|| trigger.describe());
    if args.json {
        let fires = fires.iter().map(|fire| times::rfc3339(*fire, zone)).collect();
        let answer = Answer { description, timezone: zone.name(), fires, exhausted };
        output::line(serde_json::to_string(&answer).map_err(Failure::new)?);
        return Ok(());
    }
    description.iter().for_each(output::line);
    fires.iter().for_each(|fire| output::line(times::with_weekday(*fire, zone)));
    if exhausted {
        let last = if fires.is_empty() { "the trigger never fires" } else { "no fire times after that" };
        output::note(format_args!("{last} (looked from {})", times::rfc3339(from, zone)));
    }
    Ok(())
}

/// The zone in which fire times are shown: the trigger's, when its table names one; else the one that was asked for.
pub(crate) fn shown_zone(config: &Value) -> impl Fn(&dyn Trigger, Tz) -> Tz + use<> {
    let own = names_zone(config);
    move |trigger, asked| if own { trigger.timezone() } else { asked }
}

fn names_zone(config: &Value) -> bool {
    match config {
        Value::Object(table) => {
            table.get("timezone").is_some_and(|zone| !zone.is_null()) || table.values().any(names_zone)
        }
        Value::Array(items) => items.iter().any(names_zone),
        _ => false,
    }
}

fn start(from: Option<&str>, zone: Tz) -> Result<DateTime<Utc>, Failure> {
    match from {
        Some(text) => {
            time::parse_datetime(text, zone).map_err(|error| Failure::usage(format_args!("--from: {error}")))
        }
        None => Ok(times::this_second()),
    }
}

/// The trigger's table. Values stay text, which triggers read as numbers where they expect one; what looks like a
/// list or a table is read as JSON.
fn trigger_config(args: &NextArgs) -> Result<Value, Failure> {
    let alias = args.trigger.as_deref().unwrap_or_default();
    let mut table = Map::from_iter([("type".to_owned(), Value::from(alias))]);
    let mut expression: Vec<&str> = Vec::new();
    for argument in &args.arguments {
        let Some((key, value)) = key_and_value(argument) else {
            expression.push(argument);
            continue;
        };
        if table.insert(key.to_owned(), read_value(key, value)?).is_some() {
            return Err(Failure::usage(format_args!("`{key}` is given twice")));
        }
    }
    if let Some(line) = crontab_line(alias, &expression) {
        return Err(Failure::usage(format_args!(
            "`{line}` is no trigger but a crontab line: write `sched next crontab \"{line}\"`"
        )));
    }
    if !expression.is_empty() {
        let text = expression.join(" ");
        if !WITH_EXPRESSION.contains(&alias) {
            return Err(Failure::usage(format_args!("`{text}`: expected `key=value` for trigger `{alias}`")));
        }
        if table.insert("expr".to_owned(), Value::from(text)).is_some() {
            return Err(Failure::usage("`expr` is given twice"));
        }
    }
    Ok(Value::Object(table))
}

/// The crontab line that stands where a trigger's name belongs, in quotes or without.
fn crontab_line(alias: &str, rest: &[&str]) -> Option<String> {
    let words: Vec<&str> = alias.split_whitespace().chain(rest.iter().copied()).collect();
    let first = words.first()?;
    let is_line = match words.len() {
        1 => first.starts_with('@'),
        count => count >= 5 && !first.starts_with(|start: char| start.is_ascii_alphabetic()),
    };
    is_line.then(|| words.join(" "))
}

fn key_and_value(argument: &str) -> Option<(&str, &str)> {
    let (key, value) = argument.split_once('=')?;
    let is_key = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    is_key.then_some((key, value))
}

fn read_value(key: &str, value: &str) -> Result<Value, Failure> {
    match value.trim_start().starts_with(['[', '{']) {
        true => serde_json::from_str(value)
            .map_err(|error| Failure::usage(format_args!("`{key}` looks like JSON but is not: {error}"))),
        false => Ok(Value::from(value)),
    }
}
