//! The configuration form of cron triggers, and the text form that is made of it.

use std::sync::Arc;

use chrono_tz::Tz;
use sched_core::{BuildContext, Error, ErrorKind, Factory, Plugin, Registry, Section, Trigger};
use serde_json::{Map, Value};

use super::field::Field;
use super::{CronTrigger, Options, Source, text};
use crate::config::{self, Form};
use crate::holidays::BusinessDays;
use crate::options::Choice;
use crate::{Dialect, Gap, Overlap};

/// The plug-in `cron`.
pub(crate) const CRON: Plugin = Plugin {
    aliases: &["cron"],
    summary: "when the local time matches cron fields",
    package: env!("CARGO_PKG_NAME"),
    factory: Factory::Trigger(build_cron),
};

/// The plug-in `crontab`.
pub(crate) const CRONTAB: Plugin = Plugin {
    aliases: &["crontab"],
    summary: "when the local time matches a crontab line",
    package: env!("CARGO_PKG_NAME"),
    factory: Factory::Trigger(build_crontab),
};

fn build_cron(section: &mut Section<'_>) -> Result<Arc<dyn Trigger>, Error> {
    match read_cron(section) {
        Some(trigger) => Ok(Arc::new(trigger)),
        None => config::refused(),
    }
}

fn build_crontab(section: &mut Section<'_>) -> Result<Arc<dyn Trigger>, Error> {
    match read_crontab(section) {
        Some(trigger) => Ok(Arc::new(trigger)),
        None => config::refused(),
    }
}

fn read_cron(section: &mut Section<'_>) -> Option<CronTrigger> {
    if section.has("expr") {
        return read_crontab(section);
    }
    let mut builder = CronTrigger::builder();
    for field in Field::ALL {
        if let Some(expression) = section.string(field.name()) {
            builder = builder.field(field, expression);
        }
    }
    if let Some(dialect) = config::choice(section, "dialect") {
        builder = builder.dialect(dialect);
    }
    let options = read_options(section);
    if section.is_faulty() {
        return None;
    }
    let path = |field: Option<Field>| match field {
        Some(field) => section.path_of(field.name()),
        None => section.path().to_owned(),
    };
    match builder.options(options).compile(path) {
        Ok(trigger) => Some(trigger),
        Err(errors) => {
            errors.into_iter().for_each(|error| section.absorb(error, ""));
            None
        }
    }
}

fn read_crontab(section: &mut Section<'_>) -> Option<CronTrigger> {
    let expression = section.string("expr");
    let dialect = config::choice(section, "dialect").unwrap_or(Dialect::Unix);
    let options = read_options(section);
    let Some(expression) = expression else {
        if !section.is_faulty() {
            section.missing("expr", "five fields such as `30 4 * * mon-fri`");
        }
        return None;
    };
    match text::read(&expression, dialect) {
        Ok(plan) => {
            let source = Source::Text(expression.trim().into());
            let plan = plan.with_business(options.business.clone());
            (!section.is_faulty()).then_some(CronTrigger { plan, source, dialect, options })
        }
        Err(fault) => {
            let error = fault.at(section.path_of("expr"));
            section.absorb(error, "expr");
            None
        }
    }
}

fn read_options(section: &mut Section<'_>) -> Options {
    let timezone = config::timezone(section);
    Options {
        timezone,
        start: config::renamed_instant(section, ["start_date", "start_time"], timezone),
        end: config::renamed_instant(section, ["end_date", "end_time"], timezone),
        gap: config::choice(section, "gap").unwrap_or_default(),
        overlap: config::choice(section, "overlap").unwrap_or(Overlap::Both),
        business: BusinessDays::read(section).map(Arc::new),
        jitter: config::jitter(section),
        anchor: config::instant(section, sched_core::ANCHOR_KEY, timezone),
    }
}

/// The configuration form.
pub(super) fn write(trigger: &CronTrigger) -> Value {
    let mut form = Form::new(trigger.alias());
    let usual = match &trigger.source {
        Source::Fields(fields) => {
            for (field, expression) in Field::ALL.into_iter().zip(fields.iter()) {
                form.put_some(field.name(), expression.as_deref());
            }
            Dialect::Aps3
        }
        Source::Text(text) => {
            form.put("expr", &**text);
            Dialect::Unix
        }
    };
    let options = &trigger.options;
    form.put_some("dialect", (trigger.dialect != usual).then(|| trigger.dialect.name()));
    form.put_time("start_date", options.start);
    form.put_time("end_date", options.end);
    form.put_some("gap", (options.gap != Gap::Skip).then(|| options.gap.name()));
    form.put_some("overlap", (options.overlap != Overlap::Both).then(|| options.overlap.name()));
    if let Some(business) = &options.business {
        business.write(&mut form);
    }
    form.put_duration("jitter", options.jitter);
    form.put_time(sched_core::ANCHOR_KEY, options.anchor);
    form.put("timezone", options.timezone.name());
    form.done()
}

/// Reads what `Display` wrote.
pub(super) fn parse_display(text: &str) -> Result<CronTrigger, Error> {
    let malformed =
        || Error::new(ErrorKind::InvalidTrigger, "malformed trigger text, expected `cron[hour='9', …]`");
    let (alias, rest) = text.trim().split_once('[').ok_or_else(malformed)?;
    let body = rest.strip_suffix(']').ok_or_else(malformed)?;
    let config = Value::Object(entries(body).ok_or_else(malformed)?);
    let registry = Registry::empty();
    let context = BuildContext { registry: &registry, timezone: Tz::UTC };
    let mut section = Section::new("", config, context)?;
    let trigger = match alias {
        "cron" => read_cron(&mut section),
        "crontab" => read_crontab(&mut section),
        _ => return Err(malformed()),
    };
    let finished = section
        .finish()
        .map_err(|error| Error::from_faults(ErrorKind::InvalidTrigger, error.into_faults("")));
    finished.and_then(|()| trigger.ok_or_else(malformed))
}

/// Splits `'0 9 * * *', key='value', key=1`.
fn entries(body: &str) -> Option<Map<String, Value>> {
    let mut entries = Map::new();
    let mut rest = body;
    while !rest.is_empty() {
        let (key, value) = match rest.starts_with('\'') {
            true => ("expr", rest),
            false => rest.split_once('=')?,
        };
        let (value, tail) = match value.strip_prefix('\'') {
            Some(quoted) => {
                let (text, tail) = quoted.split_once('\'')?;
                (Value::String(text.to_owned()), tail)
            }
            None => {
                let (number, tail) = value.split_at(value.find(',').unwrap_or(value.len()));
                (Value::String(number.to_owned()), tail)
            }
        };
        entries.insert(key.to_owned(), value);
        rest = match tail.strip_prefix(", ") {
            Some(more) => more,
            None if tail.is_empty() => tail,
            None => return None,
        };
    }
    Some(entries)
}
