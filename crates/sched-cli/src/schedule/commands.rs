//! Takes the commands out of a schedule file's jobs, so that the library sees jobs of the task `command`.
//!
//! A job that is wrong is replaced by a harmless one, so that its other faults are found, too.

use chrono_tz::Tz;
use sched::config::substitute;
use sched::{BuildContext, DEFAULT_ALIAS, Error, Fault, Registry, Section};
use serde_json::{Map, Value};

use crate::command::{Command, Commands, TASK, Words};

/// The keys that belong to a command.
pub(super) const KEYS: [&str; 3] = ["command", "cwd", "env"];

/// Moves the commands of all jobs of `config` to `commands`; answers every fault found.
///
/// A job without an id gets one that names its place, `job-1` for the first, so that it has the same one at every
/// start.
pub(super) fn take_out(config: &mut Value, registry: &Registry, commands: &Commands) -> Vec<Fault> {
    let context = BuildContext { registry, timezone: Tz::UTC };
    let mut faults = Vec::new();
    for jobs in job_lists(config) {
        for (index, job) in jobs.iter_mut().enumerate() {
            // The library refuses what is no table.
            let Value::Object(job) = job else { continue };
            job.entry("id").or_insert_with(|| Value::from(format!("job-{}", index + 1)));
            let name = (text_of(job.get("store"), DEFAULT_ALIAS), text_of(job.get("id"), ""));
            match take_command(&format!("jobs[{index}]"), job, context) {
                Ok(Some(command)) => commands.define(&name.0, &name.1, command),
                Ok(None) => {}
                Err(error) => {
                    faults.extend(error.into_faults(""));
                    make_harmless(job);
                }
            }
        }
    }
    faults
}

/// The lists of jobs, under all names the library reads them from.
fn job_lists(config: &mut Value) -> Vec<&mut Vec<Value>> {
    let Value::Object(table) = config else { return Vec::new() };
    let mut lists = Vec::new();
    for (key, value) in table {
        match (key.as_str(), value) {
            ("jobs" | "sched.jobs" | "apscheduler.jobs", Value::Array(jobs)) => lists.push(jobs),
            ("sched" | "apscheduler", Value::Object(inner)) => {
                lists.extend(inner.get_mut("jobs").and_then(Value::as_array_mut));
            }
            _ => {}
        }
    }
    lists
}

fn text_of(value: Option<&Value>, default: &str) -> String {
    match value {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        _ => default.to_owned(),
    }
}

fn make_harmless(job: &mut Map<String, Value>) {
    for key in ["args", "kwargs"] {
        job.remove(key);
    }
    job.insert("task".to_owned(), Value::from(TASK));
}

/// Takes the command out of a job; `None` for a job of another task.
fn take_command(
    path: &str,
    job: &mut Map<String, Value>,
    context: BuildContext<'_>,
) -> Result<Option<Command>, Error> {
    let has_task = job.contains_key("task");
    let own = KEYS.iter().filter_map(|key| job.remove_entry(*key)).collect();
    let mut section = Section::new(path, Value::Object(own), context)?;
    let words = match (has_task, section.value("command")) {
        (false, Some(words)) => words,
        (false, None) => {
            section.fault("command", "missing: a job has either `command` or `task`");
            return section.finish().map(|()| None);
        }
        (true, Some(_)) => {
            section.fault("command", "a job has either `command` or `task`, not both");
            return section.finish().map(|()| None);
        }
        (true, None) => {
            for key in ["cwd", "env"].into_iter().filter(|key| section.has(key)).collect::<Vec<_>>() {
                section.fault(key, "only a job with `command` has it");
            }
            if job.get("task").and_then(Value::as_str) == Some(TASK) {
                section.fault("task", "write `command = \"…\"` instead");
            }
            let faulty = section.is_faulty();
            section.rest();
            return if faulty { section.finish().map(|()| None) } else { Ok(None) };
        }
    };
    for key in ["args", "kwargs"].into_iter().filter(|key| job.contains_key(*key)) {
        section.fault(key, "a `command` takes no arguments; make them part of it, or variables in `env`");
    }
    let words = read_words(&mut section, words);
    let cwd = section.string("cwd").and_then(|text| filled(&mut section, "cwd", text));
    let env = read_env(&mut section);
    section.finish()?;
    job.insert("task".to_owned(), Value::from(TASK));
    Ok(words.map(|words| Command { words, cwd: cwd.map(Into::into), env }))
}

/// A text is a line for the shell, which fills in variables itself; a list is a program and its arguments.
fn read_words(section: &mut Section<'_>, words: Value) -> Option<Words> {
    match words {
        Value::String(line) if !line.trim().is_empty() => {
            if line.contains('\0') {
                section.fault("command", "has a NUL character");
            }
            Some(Words::Shell(line))
        }
        Value::Array(items) => {
            let texts = items.iter().map(|item| item.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>();
            let mut texts =
                texts.unwrap_or_default().into_iter().filter_map(|text| filled(section, "command", text));
            let program = texts.next().filter(|program| !program.trim().is_empty());
            let arguments = texts.collect();
            match program {
                Some(program) => Some(Words::Argv(program, arguments)),
                None if section.is_faulty() => None,
                None => {
                    section.fault("command", "expected a list of words, the program first");
                    None
                }
            }
        }
        _ => {
            section.fault("command", "expected a line for the shell, or a list of words");
            None
        }
    }
}

fn read_env(section: &mut Section<'_>) -> Vec<(String, String)> {
    let table = match section.value("env") {
        None => return Vec::new(),
        Some(Value::Object(table)) => table,
        Some(_) => {
            section.fault("env", "expected a table of variables");
            return Vec::new();
        }
    };
    let mut variables = Vec::new();
    for (name, value) in table {
        let key = format!("env.{name}");
        let text = match value {
            Value::String(text) => text,
            Value::Number(number) => number.to_string(),
            Value::Bool(flag) => flag.to_string(),
            _ => {
                section.fault(&key, "expected text");
                continue;
            }
        };
        if name.is_empty() || name.contains(['=', '\0']) {
            section.fault(&key, "is no name for a variable");
        } else if let Some(text) = filled(section, &key, text) {
            variables.push((name, text));
        }
    }
    variables
}

/// The text with `${NAME}` filled in from the environment, as everywhere in a configuration.
fn filled(section: &mut Section<'_>, key: &str, text: String) -> Option<String> {
    let filled = substitute(&text).and_then(|text| match text.contains('\0') {
        true => Err("has a NUL character".to_owned()),
        false => Ok(text),
    });
    filled.map_err(|message| section.fault(key, message)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn faults(job: Value) -> Vec<String> {
        let registry = Registry::empty();
        let mut config = json!({ "jobs": [{ "task": "log" }, job] });
        let found = take_out(&mut config, &registry, &Commands::default());
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_fault_of_a_command_is_told_with_its_path() {
        let table = [
            (json!({}), "jobs[1].command: missing"),
            (json!({ "task": "log", "command": "true" }), "jobs[1].command: a job has either"),
            (json!({ "task": "log", "cwd": "/" }), "jobs[1].cwd: only a job with `command`"),
            (json!({ "task": "command" }), "jobs[1].task: write `command"),
            (json!({ "command": 5 }), "jobs[1].command: expected a line for the shell"),
            (json!({ "command": " " }), "jobs[1].command: expected a line for the shell"),
            (json!({ "command": [] }), "jobs[1].command: expected a list of words"),
            (json!({ "command": ["ls", 5] }), "jobs[1].command: expected a list of words"),
            (json!({ "command": "true", "args": [1] }), "jobs[1].args: a `command` takes no arguments"),
            (json!({ "command": "true", "env": "x" }), "jobs[1].env: expected a table"),
            (json!({ "command": "true", "env": { "A=": "x" } }), "jobs[1].env.A=: is no name"),
            (json!({ "command": "true", "env": { "A": "${SCHED_NO_SUCH}" } }), "`SCHED_NO_SUCH` is not set"),
            (json!({ "command": "true", "cwd": false }), "jobs[1].cwd: expected a string"),
        ];
        for (job, expected) in table {
            let found = faults(job.clone());
            assert!(found.len() == 1 && found[0].contains(expected), "{job}: {found:?}");
        }
    }

    #[test]
    fn a_job_gets_an_id_that_names_its_place() {
        let mut config = json!({ "sched": { "jobs": [{ "command": "echo ${x}" }] } });
        let registry = Registry::empty();
        assert_eq!(take_out(&mut config, &registry, &Commands::default()), []);
        assert_eq!(config, json!({ "sched": { "jobs": [{ "id": "job-1", "task": "command" }] } }));
    }
}
