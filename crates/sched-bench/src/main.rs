//! The runner: reads the command line, runs the scenarios in order, and judges.

use std::process::ExitCode;

use sched_bench::options::{Options, Request, USAGE};
use sched_bench::{Outcome, dispatch, memory, out};

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            out::error(&format!("sched-bench: {error}"));
            ExitCode::from(2)
        }
    }
}

fn run() -> Outcome<ExitCode> {
    dispatch::process::serve()?;
    let options = match Options::parse(std::env::args().skip(1))? {
        Request::Help => {
            out::line(USAGE);
            return Ok(ExitCode::SUCCESS);
        }
        Request::Fill { subject, jobs } => {
            out::line(&serde_json::to_string(&memory::fill::here(subject, jobs)?)?);
            return Ok(ExitCode::SUCCESS);
        }
        Request::Run(options) => options,
    };
    let mut board = out::Board::default();
    for scenario in &options.scenarios {
        (scenario.run)(&options, &mut board)?;
    }
    let failed = options.check && board.missed() > 0;
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
