//! The parts of a dictionary that name things: stores, executors, and the jobs of a schedule file.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::config::{BuildContext, Section, to_duration};
use crate::executor::Executor;
use crate::job::{Draft, JobBuilder, JobSettings, read_word};
use crate::policy::ConflictPolicy;
use crate::registry::PluginKind;
use crate::store::JobStore;
use crate::task::Args;
use crate::{Error, ErrorKind, Fault};

/// Builds named parts and collects their faults.
pub(super) struct Parts<'a> {
    pub(super) context: BuildContext<'a>,
    pub(super) faults: Vec<Fault>,
}

pub(super) type Built<T> = Vec<(Arc<str>, Arc<T>)>;

impl Parts<'_> {
    fn fault(&mut self, path: &str, message: impl Into<String>) {
        self.faults.push(Fault { path: path.to_owned(), message: message.into(), suggestion: None });
    }

    pub(super) fn build<T: ?Sized>(
        &mut self,
        key: &str,
        tables: Option<Value>,
        build: impl Fn(&str, Value) -> Result<Arc<T>, Error>,
    ) -> Built<T> {
        let tables = match tables {
            Some(Value::Object(tables)) => tables,
            Some(_) => {
                self.fault(key, "expected a table of aliases");
                return Vec::new();
            }
            None => return Vec::new(),
        };
        let mut built = Vec::new();
        for (alias, table) in tables {
            let path = format!("{key}.{alias}");
            match build(&path, table) {
                Ok(part) => built.push((Arc::from(alias), part)),
                Err(error) => self.faults.extend(error.into_faults(&path)),
            }
        }
        built
    }

    pub(super) fn jobs(
        &mut self,
        jobs: Option<Value>,
        stores: &Built<dyn JobStore>,
        executors: &Built<dyn Executor>,
    ) -> Vec<Draft> {
        let jobs = match jobs {
            Some(Value::Array(jobs)) => jobs,
            Some(_) => {
                self.fault("jobs", "expected a list of tables");
                return Vec::new();
            }
            None => return Vec::new(),
        };
        let (mut drafts, mut ids) = (Vec::new(), HashSet::new());
        for (index, job) in jobs.into_iter().enumerate() {
            let path = format!("jobs[{index}]");
            match read_job(&path, job, self.context) {
                Ok(draft) => {
                    self.check_alias(&path, "executor", draft.settings.executor.as_ref(), executors);
                    self.check_alias(&path, "store", Some(&draft.store), stores);
                    if !ids.insert((Arc::clone(&draft.store), draft.id.clone())) {
                        self.fault(&format!("{path}.id"), format!("another job has the id `{}`", draft.id));
                    }
                    drafts.push(draft);
                }
                Err(error) => self.faults.extend(error.into_faults(&path)),
            }
        }
        drafts
    }

    fn check_alias<T: ?Sized>(&mut self, path: &str, key: &str, alias: Option<&Arc<str>>, known: &Built<T>) {
        let Some(alias) = alias.filter(|alias| &***alias != crate::DEFAULT_ALIAS) else { return };
        if known.iter().all(|(name, _)| name != alias) {
            let names: Vec<&str> = known.iter().map(|(name, _)| &**name).collect();
            let kind = if key == "store" { PluginKind::JobStore } else { PluginKind::Executor };
            let known = if names.is_empty() { "only `default`".to_owned() } else { names.join(", ") };
            self.fault(
                &format!("{path}.{key}"),
                format!("no {kind} is configured as `{alias}` (known: {known})"),
            );
        }
    }
}

/// Reads one job of a schedule file.
fn read_job(path: &str, job: Value, context: BuildContext<'_>) -> Result<Draft, Error> {
    let mut section = Section::new(path, job, context)?;
    section.also_known(context.registry.job_keys());
    let task = section.string("task");
    match task.as_deref().map(|task| context.registry.task(task)) {
        None => section.missing("task", "the name of a registered task"),
        Some(Err(error)) => section.fault("task", error.to_string()),
        Some(Ok(_)) => {}
    }
    let mut builder =
        JobBuilder::task(task.clone().unwrap_or_default()).settings(JobSettings::read(&mut section));
    let id = section.string("id");
    if let Some(id) = &id {
        builder = builder.id(id.as_str());
    }
    if let Some(name) = section.string("name") {
        builder = builder.name(name);
    }
    if let Some(store) = section.string("store") {
        builder = builder.store(store);
    }
    builder = builder.args(read_args(&mut section)).on_conflict(read_conflict(&mut section));
    if let Some(time) = section.datetime("next_run_time", context.timezone) {
        builder = builder.next_run_time(time);
    }
    if section.boolean("paused") == Some(true) {
        builder = builder.paused();
    }
    if let Some(trigger) = read_trigger(&mut section) {
        builder = builder.trigger(trigger);
    }
    let faulty = section.is_faulty();
    let drafted = if faulty { None } else { Some(builder.draft(context, &section.path_of("trigger"))) };
    match (drafted, section.finish()) {
        (Some(Ok(draft)), Ok(())) => Ok(draft),
        (Some(Err(error)), Ok(())) => Err(error),
        (Some(Err(error)), Err(unknown)) => {
            let faults = [unknown.into_faults(path), error.into_faults(path)].concat();
            Err(Error::from_faults(ErrorKind::InvalidConfig, faults))
        }
        (_, Err(error)) => Err(error),
        (None, Ok(())) => Err(Error::new(ErrorKind::InvalidConfig, "the job could not be read")),
    }
}

fn read_args(section: &mut Section<'_>) -> Args {
    let positional = section.list("args").unwrap_or_default();
    let named = match section.value("kwargs") {
        Some(Value::Object(named)) => named,
        Some(_) => {
            section.fault("kwargs", "expected a table of named arguments");
            Map::new()
        }
        None => Map::new(),
    };
    Args::new(positional, named)
}

/// `replace_existing = true` is short for `conflict = "replace"`. A schedule file that is read at every start
/// replaces what it declared before, unless it says otherwise.
fn read_conflict(section: &mut Section<'_>) -> ConflictPolicy {
    let word = read_word(section, "conflict", ConflictPolicy::WORDS, ConflictPolicy::from_word);
    match (word, section.boolean("replace_existing")) {
        (Some(word), _) => word,
        (None, Some(false)) => ConflictPolicy::Error,
        (None, _) => ConflictPolicy::Replace,
    }
}

/// `trigger = { type = …, … }`, or one of its short forms `cron = "…"`, `every = …`, `at = "…"`.
fn read_trigger(section: &mut Section<'_>) -> Option<Arc<dyn crate::Trigger>> {
    const FORMS: [&str; 4] = ["trigger", "cron", "every", "at"];
    let given: Vec<&str> = FORMS.into_iter().filter(|form| section.has(form)).collect();
    if given.len() > 1 {
        section.fault(given[1], format!("a job has one trigger, but `{}` is given too", given[0]));
    }
    let short = |key: &'static str, section: &mut Section<'_>| {
        let config = match key {
            "cron" => serde_json::json!({ "type": "crontab", "expr": section.value(key)? }),
            "at" => serde_json::json!({ "type": "date", "run_date": section.value(key)? }),
            _ => {
                let expected = "a positive duration (seconds, or text such as `1h 30m`)";
                let positive = |value: &Value| to_duration(value).filter(|every| !every.is_zero());
                let every = section.read(key, expected, positive)?;
                serde_json::json!({ "type": "interval", "seconds": every.as_secs_f64() })
            }
        };
        let context = section.context();
        let built = context.registry.trigger(&section.path_of(key), config, context);
        built.map_err(|error| section.absorb(error, key)).ok()
    };
    let mut found = section.trigger("trigger");
    for key in ["cron", "every", "at"] {
        found = found.or(short(key, section));
    }
    found
}
