//! A schedule file: from text to a scheduler that is set up and not started.
//!
//! In reading order: the text becomes a dictionary, variables are laid over it, `commands` takes the shell commands
//! out, and the library reads the rest. Every fault is found before anything is told.

mod commands;

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use chrono::Utc;
use sched::config::{Format, MAX_CONFIG_BYTES, from_variables, lay_over, parse};
use sched::{Args, Fault, JobHandle, JobStatus, Param, Registry, RunContext, Scheduler, Task, TaskError};
use serde_json::Value;

use crate::command::Commands;
use crate::failure::Failure;
use crate::logging::{Log, Stream};
use crate::plugins;

/// A schedule file that was read.
pub(crate) struct Schedule {
    /// Set up and not started; the jobs are pending.
    pub(crate) scheduler: Scheduler,
    pub(crate) jobs: Vec<JobHandle>,
    pub(crate) commands: Arc<Commands>,
}

/// Reads a schedule file. **Errors**: every fault of it.
pub(crate) fn load(path: &Path, log: &Arc<Log>) -> Result<Schedule, Failure> {
    let shown = path.display();
    let mut config = read(path)?;
    let (registry, commands) = registry(log)?;
    let variables = std::env::vars_os().filter_map(|(name, value)| {
        let name = name.into_string().ok().filter(|name| name.starts_with("SCHED__"))?;
        Some((name, value.to_string_lossy().into_owned()))
    });
    lay_over(&mut config, from_variables(variables));
    let mut faults = commands::take_out(&mut config, &registry, &commands);
    let built = Scheduler::builder().registry(registry).config(config).build();
    let scheduler = match built {
        Ok(scheduler) if faults.is_empty() => scheduler,
        Ok(_) => return Err(Failure::of_faults(shown, &faults)),
        Err(error) => {
            faults.extend(error.into_faults(""));
            faults.sort_by_key(|fault| job_index(&fault.path));
            return Err(Failure::of_faults(shown, &faults));
        }
    };
    let jobs = scheduler.get_jobs(None)?;
    let never = jobs.iter().enumerate().filter_map(|(index, job)| never_fires(index, job));
    let mut faults: Vec<Fault> = never.collect();
    if jobs.is_empty() {
        faults.push(fault("jobs", "the file has no jobs"));
    }
    match faults.is_empty() {
        true => Ok(Schedule { scheduler, jobs, commands }),
        false => Err(Failure::of_faults(shown, &faults)),
    }
}

/// What a schedule file can name: all that is linked in, and the tasks `command` and `log`.
pub(crate) fn registry(log: &Arc<Log>) -> Result<(Registry, Arc<Commands>), Failure> {
    let defined = Arc::new(Commands::default());
    let builder = plugins::linked().task(defined.task(log)).task(log_task(log)).job_keys(&commands::KEYS);
    Ok((builder.build()?, defined))
}

/// When a job fires, in words.
pub(crate) fn describe(job: &JobHandle) -> String {
    let words = job.trigger.describe();
    if is_paused(job) { format!("{words} (paused)") } else { words }
}

/// Whether the file says that the job is paused.
pub(crate) fn is_paused(job: &JobHandle) -> bool {
    *job.status() == JobStatus::Paused
}

/// The task `log`: its message becomes a line of the log.
fn log_task(log: &Arc<Log>) -> Task {
    let log = Arc::clone(log);
    let body = move |context: &RunContext, args: &Args| {
        let message = match args.get(0, "message") {
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
            None => return Err(TaskError::arguments("message: missing")),
        };
        message.lines().for_each(|line| log.output(context.run(), Stream::Stdout, line));
        Ok(())
    };
    Task::new("log", body).with_signature(&[Param { name: "message", optional: false }])
}

fn read(path: &Path) -> Result<Value, Failure> {
    let shown = path.display();
    let format = path.extension().and_then(|extension| Format::of_extension(&extension.to_string_lossy()));
    let text =
        read_text(path).map_err(|reason| Failure::new(format_args!("cannot read {shown}: {reason}")))?;
    let format = format.ok_or_else(|| {
        Failure::new(format_args!("{shown}: unknown kind of file, expected .toml, .yaml, .yml or .json"))
    })?;
    if text.trim().is_empty() {
        return Err(Failure::new(format_args!("{shown}: the file is empty")));
    }
    match parse(text.trim_start_matches('\u{feff}'), format) {
        Ok(Value::Null) => Err(Failure::new(format_args!("{shown}: the file has no content"))),
        Ok(config) => Ok(config),
        Err(error) => Err(Failure::new(format_args!("{shown}: {error}"))),
    }
}

fn read_text(path: &Path) -> Result<String, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    if file.metadata().is_ok_and(|data| data.is_dir()) {
        return Err("it is a directory".to_owned());
    }
    // One byte more than is accepted, so that the reader of the configuration can refuse it.
    let limit = u64::try_from(MAX_CONFIG_BYTES).map_or(u64::MAX, |limit| limit + 1);
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    String::from_utf8(bytes).map_err(|error| format!("it is not UTF-8 text ({})", error.utf8_error()))
}

/// The place of the job a path leads to; `None`, which comes first, for any other path.
fn job_index(path: &str) -> Option<usize> {
    path.strip_prefix("jobs[")?.split_once(']')?.0.parse().ok()
}

fn never_fires(index: usize, job: &JobHandle) -> Option<Fault> {
    if is_paused(job) || job.next_run_time().is_some() {
        return None;
    }
    let path = format!("jobs[{index}]");
    let now = Utc::now();
    let anchored = job.trigger.anchored(now);
    match anchored.as_ref().unwrap_or(&job.trigger).next_fire_time(None, now) {
        Ok(Some(_)) => None,
        Ok(None) => Some(fault(
            &path,
            &format!("job `{}` would never run: its trigger has no fire time left", job.id()),
        )),
        Err(error) => Some(fault(&path, &error.to_string())),
    }
}

fn fault(path: &str, message: &str) -> Fault {
    Fault { path: path.to_owned(), message: message.to_owned(), suggestion: None }
}
