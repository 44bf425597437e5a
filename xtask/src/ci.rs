//! `cargo xtask ci`: what CI runs. The steps stand in one table, cheapest first; the first failure ends the run.

use crate::{
    deps, examples, licences, out,
    run::{self, Failure, Workspace},
    sim, test, tidy,
};
use std::time::{Duration, Instant};

/// One step: a name that `--skip` takes, and what it does.
struct Step {
    name: &'static str,
    run: fn(&Workspace) -> Result<(), Failure>,
}

const STEPS: &[Step] = &[
    Step { name: "fmt", run: fmt },
    Step { name: "clippy", run: clippy },
    Step { name: "deps", run: deps::check },
    Step { name: "tidy", run: tidy::check },
    Step { name: "test", run: |workspace| test::run(workspace, test::Options::default()) },
    Step { name: "sim", run: |workspace| sim::play(workspace, Vec::new()) },
    Step { name: "doc", run: doc },
    Step { name: "examples", run: examples::run },
    Step { name: "deny", run: licences::check },
];

/// The names of all steps, in order.
pub(crate) fn step_names() -> impl Iterator<Item = &'static str> {
    STEPS.iter().map(|step| step.name)
}

/// Runs all steps but the skipped ones, and prints how long each took.
pub(crate) fn run(workspace: &Workspace, skip: &[String]) -> Result<(), Failure> {
    run_steps(STEPS, workspace, skip)
}

fn run_steps(steps: &[Step], workspace: &Workspace, skip: &[String]) -> Result<(), Failure> {
    let mut timings = Vec::new();
    for step in steps {
        if skip.iter().any(|name| name == step.name) {
            timings.push(format!("{:<10} skipped", step.name));
            continue;
        }
        out::title(step.name);
        let begun = Instant::now();
        let result = (step.run)(workspace);
        timings.push(timing(step.name, result.is_ok(), begun.elapsed()));
        if let Err(failure) = result {
            print_timings(&timings);
            return Err(Failure::new(format!("step `{}` failed: {failure}", step.name)));
        }
    }
    print_timings(&timings);
    Ok(())
}

fn timing(name: &str, passed: bool, took: Duration) -> String {
    let verdict = if passed { "ok" } else { "FAILED" };
    format!("{name:<10} {verdict:<7} {:>7.1} s", took.as_secs_f64())
}

fn print_timings(timings: &[String]) {
    out::title("ci");
    for timing in timings {
        out::line(timing);
    }
}

fn fmt(workspace: &Workspace) -> Result<(), Failure> {
    run::run(&mut workspace.cargo(["fmt", "--all", "--", "--check"]))
}

fn clippy(workspace: &Workspace) -> Result<(), Failure> {
    const ARGUMENTS: [&str; 7] =
        ["clippy", "--workspace", "--all-targets", "--all-features", "--", "-D", "warnings"];
    run::run(&mut workspace.cargo(ARGUMENTS))
}

fn doc(workspace: &Workspace) -> Result<(), Failure> {
    run::run(workspace.cargo(["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pass(_: &Workspace) -> Result<(), Failure> {
        Ok(())
    }

    fn fail(_: &Workspace) -> Result<(), Failure> {
        Err(Failure::new("it broke"))
    }

    fn check(steps: &[Step], skip: &[&str]) -> Result<(), String> {
        let workspace = Workspace::locate().unwrap();
        let skip: Vec<_> = skip.iter().map(|name| (*name).to_owned()).collect();
        run_steps(steps, &workspace, &skip).map_err(|failure| failure.to_string())
    }

    #[test]
    fn the_first_failing_step_is_named_and_ends_the_run() {
        let steps = [
            Step { name: "one", run: pass },
            Step { name: "two", run: fail },
            Step { name: "three", run: |_| Err(Failure::new("must not run")) },
        ];
        assert_eq!(check(&steps, &[]), Err("step `two` failed: it broke".to_owned()));
    }

    #[test]
    fn a_skipped_step_does_not_run() {
        let steps = [Step { name: "one", run: pass }, Step { name: "two", run: fail }];
        assert_eq!(check(&steps, &["two"]), Ok(()));
    }
}
