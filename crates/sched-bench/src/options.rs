//! The command line.

use crate::memory::fill::Subject;
use crate::out::Board;
use crate::{Outcome, dispatch, idle, lateness, memory, scale, stores, triggers, weight};

/// What `--help` prints.
pub const USAGE: &str = "\
usage: sched-bench NAME... [--quick] [--runs N] [--check] [--build] [--store NAME]

  memory lateness idle stores scale triggers weight dispatch   the scenarios; `all` runs every one
  --quick     shorter runs, smaller numbers where only time depends on them
  --full      scale: a million jobs and runs, ten million finished ones
  --runs N    how often each measurement is repeated; the median counts (default 3)
  --check     exit with status 1 when a budget is missed
  --build     weight: time a cold build too
  --store NAME  stores: this one alone; may be repeated";

/// A scenario of the runner.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// Its name on the command line.
    pub name: &'static str,
    /// Measures and prints.
    pub run: fn(&Options, &mut Board) -> Outcome,
}

/// All scenarios, in the order of `all`.
pub const SCENARIOS: &[Scenario] = &[
    Scenario { name: "triggers", run: triggers::run },
    Scenario { name: "memory", run: memory::run },
    Scenario { name: "dispatch", run: dispatch::run },
    Scenario { name: "lateness", run: lateness::run },
    Scenario { name: "idle", run: idle::run },
    Scenario { name: "stores", run: stores::run },
    Scenario { name: "scale", run: scale::run },
    Scenario { name: "weight", run: weight::run },
];

/// How the scenarios run.
#[derive(Debug, Clone)]
pub struct Options {
    /// What runs, in order.
    pub scenarios: Vec<Scenario>,
    /// Shorter runs.
    pub quick: bool,
    /// Scale: the sizes that are meant, which take long.
    pub full: bool,
    /// How often each measurement is repeated.
    pub runs: usize,
    /// Whether a missed budget is a failure.
    pub check: bool,
    /// Whether a cold build is timed.
    pub build: bool,
    /// Which stores are measured; all when empty.
    pub stores: Vec<String>,
}

/// What the command line asks for.
#[derive(Debug)]
pub enum Request {
    /// Explain the command line.
    Help,
    /// Run scenarios.
    Run(Options),
    /// Fill a fresh process with jobs and print what they cost; asked by the memory scenario of itself.
    Fill {
        /// Whose jobs.
        subject: Subject,
        /// How many.
        jobs: u32,
    },
}

impl Options {
    /// Reads the arguments. **Errors**: one line that names the argument.
    pub fn parse(arguments: impl IntoIterator<Item = String>) -> Outcome<Request> {
        let (scenarios, stores) = (Vec::new(), Vec::new());
        let mut options =
            Self { scenarios, quick: false, full: false, runs: 3, check: false, build: false, stores };
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("`{argument}` needs a value"));
            match argument.as_str() {
                "--help" | "-h" => return Ok(Request::Help),
                "--quick" => options.quick = true,
                "--full" => options.full = true,
                "--check" => options.check = true,
                "--build" => options.build = true,
                "--store" => options.stores.push(value()?),
                "--runs" => options.runs = value()?.parse::<usize>()?.max(1),
                "--fill" => {
                    return Ok(Request::Fill {
                        subject: Subject::parse(&value()?)?,
                        jobs: value()?.parse()?,
                    });
                }
                "all" => options.scenarios.extend(SCENARIOS),
                name => options.scenarios.push(scenario(name)?),
            }
        }
        if options.scenarios.is_empty() { Ok(Request::Help) } else { Ok(Request::Run(options)) }
    }
}

fn scenario(name: &str) -> Outcome<Scenario> {
    let known = || SCENARIOS.iter().map(|scenario| scenario.name).collect::<Vec<_>>().join(", ");
    let found = SCENARIOS.iter().find(|scenario| scenario.name == name);
    found.copied().ok_or_else(|| format!("there is no scenario `{name}`; there are: all, {}", known()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Outcome<Request> {
        Options::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn scenarios_and_switches_mix() {
        let Ok(Request::Run(options)) = parse("memory --quick idle --runs 5") else { panic!("not a run") };
        let names: Vec<_> = options.scenarios.iter().map(|scenario| scenario.name).collect();
        assert_eq!(
            (names, options.quick, options.runs, options.check),
            (vec!["memory", "idle"], true, 5, false)
        );
    }

    #[test]
    fn a_senseless_command_line_is_described() {
        for (line, words) in [("memroy", "no scenario `memroy`"), ("all --runs", "`--runs` needs a value")] {
            let error = parse(line).map(|_| ()).unwrap_err().to_string();
            assert!(error.contains(words), "{line}: {error}");
        }
    }
}
