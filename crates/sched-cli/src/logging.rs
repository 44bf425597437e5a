//! What happens during a run, as lines: for people, or as JSON objects with stable keys.
//!
//! Events of the scheduler and output of commands come here from several threads; each becomes one line on standard
//! output. The library's own diagnostics are another matter: they go to standard error, and only when asked for.

use std::borrow::Cow;
use std::io::IsTerminal;
use std::sync::OnceLock;
use std::time::Duration;

use chrono::Utc;
use chrono_tz::Tz;
use parking_lot::Mutex;
use sched::{Event, MissReason, Outcome, Run, RunEnded};
use serde::Serialize;
use tracing_subscriber::EnvFilter;

use crate::args::LogFormat;
use crate::{output, times};

/// The variable that says which of the library's diagnostics are shown, in the syntax of `RUST_LOG`.
const DIAGNOSTICS: &str = "SCHED_LOG";

/// The widest column of job ids; a longer id moves its own line to the right.
const MAX_ID_WIDTH: usize = 24;

/// Shows the library's diagnostics on standard error, with `-v` or through the variable. Without, nothing: what
/// matters of them is in the log, too.
pub(crate) fn show_diagnostics(verbose: u8) {
    let usual = ["off", "info", "debug", "trace"][usize::from(verbose.min(3))];
    let filter = EnvFilter::try_from_env(DIAGNOSTICS).unwrap_or_else(|_| EnvFilter::new(usual));
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // Only a second subscriber could make this fail, and there is none.
    let _ = subscriber.with_ansi(std::io::stderr().is_terminal()).try_init();
}

/// Where a line of output came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

/// How a line for people looks on a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tone {
    Plain,
    Quiet,
    Warning,
    Failure,
}

/// One line of the log.
#[derive(Debug, Default, Serialize)]
struct Record<'a> {
    time: String,
    event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    job: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    run: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    task: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scheduled: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<&'a str>,
}

#[derive(Debug, Clone, Copy)]
struct Layout {
    zone: Tz,
    id_width: usize,
}

/// The log of a run.
#[derive(Debug)]
pub(crate) struct Log {
    format: LogFormat,
    coloured: bool,
    layout: OnceLock<Layout>,
    /// Held while a line is stamped and written, so that the times of the lines never go back.
    order: Mutex<()>,
}

impl Log {
    /// A log whose times are in UTC until [`show_in`](Self::show_in) is called.
    pub(crate) fn new(format: LogFormat) -> Self {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            format,
            coloured: !plain && std::io::stdout().is_terminal(),
            layout: OnceLock::new(),
            order: Mutex::new(()),
        }
    }

    /// Fixes the zone of its times and the width of its column of ids.
    pub(crate) fn show_in<'a>(&self, zone: Tz, ids: impl IntoIterator<Item = &'a str>) {
        let id_width = ids.into_iter().map(|id| id.chars().count()).max().unwrap_or(0).min(MAX_ID_WIDTH);
        // The schedule is loaded once; a second call would change nothing.
        let _ = self.layout.set(Layout { zone, id_width });
    }

    /// A line that is about no job.
    pub(crate) fn notice(&self, event: &'static str, text: &str) {
        self.write(Record { event, line: Some(text), ..Record::default() }, text, Tone::Quiet);
    }

    /// A line of output of a run.
    pub(crate) fn output(&self, run: &Run, stream: Stream, line: &str) {
        let (name, mark) = match stream {
            Stream::Stdout => ("stdout", '|'),
            Stream::Stderr => ("stderr", '!'),
        };
        let record = Record { stream: Some(name), line: Some(line), ..self.about("run_output", run) };
        self.write(record, &format!("{mark} {line}"), Tone::Plain);
    }

    /// What the scheduler tells.
    pub(crate) fn event(&self, event: &Event) {
        let job = event.job_id().map(sched::JobId::as_str);
        let plain = |event| Record { event, job, ..Record::default() };
        let problem = |event, error: &str| Record { error: Some(error.to_owned().into()), ..plain(event) };
        match event {
            Event::SchedulerStarted => {
                self.write(plain("scheduler_started"), "scheduler started", Tone::Quiet)
            }
            Event::SchedulerShutdown => {
                self.write(plain("scheduler_shutdown"), "scheduler stopped", Tone::Quiet)
            }
            Event::RunStarted(run) => self.write(self.about("run_started", run), "started", Tone::Quiet),
            Event::JobExecuted(ended) => self.ended("job_executed", ended),
            Event::JobError(ended) => self.ended("job_error", ended),
            Event::JobMissed(ended) => self.ended("job_missed", ended),
            Event::JobMaxInstances { limit, scheduled_run_times, .. } => {
                let text = format!("skipped: it is running already (max_instances = {limit})");
                let scheduled = scheduled_run_times.last().map(|time| times::rfc3339(*time, self.zone()));
                let record =
                    Record { scheduled, outcome: Some("missed"), ..problem("job_max_instances", &text) };
                self.write(record, &text, Tone::Warning);
            }
            Event::JobRemoved(_) => {
                self.write(plain("job_removed"), "ended: no fire times left", Tone::Quiet)
            }
            Event::CatchUpLimited(_) => {
                let text =
                    "more fire times were missed than max_catch_up allows; the later ones were dropped";
                self.write(problem("catch_up_limited", text), text, Tone::Warning);
            }
            Event::JobSuspended { reason, .. } => {
                self.write(problem("job_suspended", reason), &format!("suspended: {reason}"), Tone::Failure);
            }
            Event::StoreFailed { store, reason, retry_in } => {
                let retry = times::duration_text(*retry_in);
                let text = format!("job store \"{store}\" failed: {reason}; next try in {retry}");
                self.write(problem("store_failed", &text), &text, Tone::Failure);
            }
            Event::StoreRecovered(store) => {
                let text = format!("job store \"{store}\" works again");
                self.write(Record { line: Some(&text), ..plain("store_recovered") }, &text, Tone::Quiet);
            }
            Event::ClockJumped { by_millis } => {
                let text = format!("the clock jumped by {by_millis} ms");
                self.write(problem("clock_jumped", &text), &text, Tone::Warning);
            }
            Event::ClaimLost { .. } => {
                let text = "another scheduler has taken this over";
                self.write(problem("claim_lost", text), text, Tone::Warning);
            }
            _ => {}
        }
    }

    fn ended(&self, event: &'static str, ended: &RunEnded) {
        let taken = ended.started_at.and_then(|started| (ended.finished_at - started).to_std().ok());
        let after = |word: &str| match taken {
            Some(taken) => format!("{word} {}", times::duration_text(taken)),
            None => word.to_owned(),
        };
        let (outcome, text, tone) = match &ended.outcome {
            Outcome::Succeeded(_) => ("succeeded", after("finished in"), Tone::Plain),
            Outcome::Failed(error) => {
                ("failed", format!("{}: {error}", after("failed after")), Tone::Failure)
            }
            Outcome::TimedOut => ("timed_out", after("timed out after"), Tone::Failure),
            Outcome::Cancelled => ("cancelled", after("cancelled after"), Tone::Warning),
            Outcome::Missed(reason) => ("missed", self.missed(reason, &ended.run), Tone::Warning),
            other => ("abandoned", other.to_string(), Tone::Failure),
        };
        let error: Option<Cow<'_, str>> = match &ended.outcome {
            Outcome::Succeeded(_) => None,
            Outcome::Failed(error) => Some(error.message().into()),
            other => Some(other.to_string().into()),
        };
        let duration_ms = taken.and_then(|taken: Duration| u64::try_from(taken.as_millis()).ok());
        let record = Record { duration_ms, outcome: Some(outcome), error, ..self.about(event, &ended.run) };
        self.write(record, &text, tone);
    }

    fn missed(&self, reason: &MissReason, run: &Run) -> String {
        format!("missed: {reason} (it was due at {})", times::rfc3339(run.scheduled_time, self.zone()))
    }

    fn about<'a>(&self, event: &'static str, run: &'a Run) -> Record<'a> {
        Record {
            event,
            job: run.job_id.as_ref().map(sched::JobId::as_str),
            run: Some(run.id.to_string()),
            task: Some(&run.task),
            scheduled: Some(times::rfc3339(run.scheduled_time, self.zone())),
            ..Record::default()
        }
    }

    fn zone(&self) -> Tz {
        self.layout.get().map_or(Tz::UTC, |layout| layout.zone)
    }

    fn write(&self, mut record: Record<'_>, text: &str, tone: Tone) {
        let _order = self.order.lock();
        let now = Utc::now();
        if self.format == LogFormat::Human {
            let width = self.layout.get().map_or(0, |layout| layout.id_width);
            let time = now.with_timezone(&self.zone()).format("%Y-%m-%d %H:%M:%S%.3f %Z");
            let (job, text) = (printable(record.job.unwrap_or("-")), printable(text));
            output::line(match (self.coloured, tone) {
                (false, _) | (true, Tone::Plain) => format!("{time}  {job:<width$}  {text}"),
                (true, Tone::Quiet) => format!("\x1b[2m{time}  {job:<width$}  {text}\x1b[0m"),
                (true, Tone::Warning) => format!("{time}  {job:<width$}  \x1b[33m{text}\x1b[0m"),
                (true, Tone::Failure) => format!("{time}  {job:<width$}  \x1b[31m{text}\x1b[0m"),
            });
            return;
        }
        record.time = times::rfc3339(now, self.zone());
        // Text and numbers always have a JSON form.
        if let Ok(line) = serde_json::to_string(&record) {
            output::line(line);
        }
    }
}

/// The text without control characters, which could move the cursor or hide what is shown.
fn printable(text: &str) -> Cow<'_, str> {
    let is_harmful = |letter: char| letter.is_control() && letter != '\t';
    match text.contains(is_harmful) {
        true => text.replace(is_harmful, "\u{fffd}").into(),
        false => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_of_output_do_not_reach_the_terminal() {
        assert_eq!(printable("a\tb \u{1b}[2J"), "a\tb \u{fffd}[2J");
        assert!(matches!(printable("plain \u{e4}"), Cow::Borrowed(_)));
    }
}
