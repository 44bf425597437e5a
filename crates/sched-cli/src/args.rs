//! The command line.

use std::path::PathBuf;

use chrono_tz::Tz;
use clap::{Args, Parser, Subcommand, ValueEnum};

const EXAMPLES: &str = "\
Examples:
  sched run backups.toml                        run a schedule file until Ctrl-C
  sched check backups.toml                      every fault of it, or what it would do next
  sched next cron minute='*/5' hour=9-17 --tz Europe/Berlin
  sched next crontab '0 9 * * 1-5' -n 10        preview fire times";

const RUN_EXAMPLES: &str = "\
Examples:
  sched run backups.toml
  sched run backups.toml --log json --until 8h
  sched run backups.toml --once                 each job once, now; status 1 when one fails

A schedule file (TOML, YAML or JSON) has the scheduler's settings and a list of jobs:

  timezone = \"Europe/Berlin\"

  [[jobs]]
  id = \"backup\"
  cron = \"30 2 * * *\"
  command = \"pg_dump app | gzip > app.sql.gz\"   # or a list of words, run without a shell
  timeout = \"30m\"

Variables named SCHED__… stand above the file: SCHED__EXECUTORS__DEFAULT__MAX_WORKERS=20.
The first Ctrl-C (or SIGTERM) waits for what is running; the second ends it at once with status 130.";

const NEXT_EXAMPLES: &str = "\
Examples:
  sched next cron minute='*/5' hour=9-17 --tz Europe/Berlin -n 5
  sched next crontab '0 9 * * 1-5' --describe
  sched next interval hours=36 --from 2026-03-01
  sched next or 'triggers=[{\"type\":\"cron\",\"hour\":\"9\"},{\"type\":\"cron\",\"hour\":\"17\"}]'
  sched next --batch < requests.jsonl

A batch reads one JSON object a line and answers each with one line, in order:
  {\"id\":1,\"trigger\":{\"type\":\"cron\",\"hour\":\"9\"},\"timezone\":\"Europe/Berlin\",
   \"previous\":null,\"now\":\"2026-11-21T00:00:00Z\",\"count\":3}
  {\"id\":1,\"fires\":[\"2026-11-21T09:00:00+01:00\",…],\"exhausted\":false}
  {\"id\":2,\"error\":{\"kind\":\"invalid_config\",\"message\":\"…\"}}";

/// A job scheduler: runs commands and tasks at the times a schedule file gives.
#[derive(Debug, Parser)]
#[command(name = "sched", version, about, after_help = EXAMPLES, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,

    /// Show the scheduler's own diagnostics on standard error; twice for more.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a schedule file.
    Run(RunArgs),
    /// Check a schedule file: print every fault, or each job with its next fire times. Nothing is started.
    Check(CheckArgs),
    /// Preview the fire times of a trigger.
    Next(NextArgs),
    /// List the triggers, job stores, executors and tasks of this program.
    Plugins(PluginsArgs),
}

#[derive(Debug, Args)]
#[command(after_help = RUN_EXAMPLES)]
pub(crate) struct RunArgs {
    /// The schedule file: .toml, .yaml, .yml or .json.
    pub(crate) file: PathBuf,

    /// How to write what happens.
    #[arg(long, value_enum, default_value_t = LogFormat::Human)]
    pub(crate) log: LogFormat,

    /// Stop then: a time, or a duration such as `90s` or `8h`.
    #[arg(long, value_name = "TIME|DURATION")]
    pub(crate) until: Option<String>,

    /// Run every job once now, whatever its trigger, and exit; with status 1 when one of them fails.
    #[arg(long, conflicts_with = "until")]
    pub(crate) once: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Lines for people.
    Human,
    /// One JSON object a line.
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// The schedule file: .toml, .yaml, .yml or .json.
    pub(crate) file: PathBuf,
}

#[derive(Debug, Args)]
#[command(after_help = NEXT_EXAMPLES)]
pub(crate) struct NextArgs {
    /// The trigger's alias, such as `cron`; `sched plugins` lists them.
    #[arg(required_unless_present = "batch")]
    pub(crate) trigger: Option<String>,

    /// Its arguments as `key=value`; for crontab (and cron) also the expression itself.
    #[arg(value_name = "KEY=VALUE", requires = "trigger")]
    pub(crate) arguments: Vec<String>,

    /// The time zone; the machine's own when not given.
    #[arg(long, value_name = "ZONE", value_parser = parse_zone)]
    pub(crate) tz: Option<Tz>,

    /// The moment to look from; now when not given. Without offset it is in the time zone.
    #[arg(long, value_name = "TIME")]
    pub(crate) from: Option<String>,

    /// How many fire times.
    #[arg(short = 'n', long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) count: u32,

    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,

    /// Say in words what the trigger means, too.
    #[arg(long)]
    pub(crate) describe: bool,

    /// Read requests from standard input, one JSON object a line.
    #[arg(long, conflicts_with_all = ["trigger", "tz", "from", "count", "json", "describe"])]
    pub(crate) batch: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PluginsArgs {
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

fn parse_zone(name: &str) -> Result<Tz, sched::Error> {
    sched::time::parse_timezone(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
