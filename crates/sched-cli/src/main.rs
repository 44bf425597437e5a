#![doc = include_str!("../README.md")]

mod args;
mod batch;
mod check;
mod command;
mod failure;
mod logging;
mod next;
mod once;
mod output;
mod plugins;
mod run;
mod schedule;
mod signals;
mod times;

use std::process::ExitCode;

use clap::Parser;

use self::args::{Cli, Command};

fn main() -> ExitCode {
    let cli = Cli::parse();
    logging::show_diagnostics(cli.verbose);
    let done = match &cli.command {
        Command::Run(args) => run::run(args),
        Command::Check(args) => check::check(args),
        Command::Next(args) => next::next(args),
        Command::Plugins(args) => plugins::list(args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.text().is_empty() {
                output::note(format_args!("error: {}", failure.text()));
            }
            ExitCode::from(failure.status())
        }
    }
}
