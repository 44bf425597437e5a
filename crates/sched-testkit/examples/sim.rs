//! Plays simulations: `sim --seed N` one of them, `sim --story N` the same line by line, `sim --seeds N` the first N;
//! `--mutation NAME` with a deliberate bug.
//!
//! `cargo xtask sim` runs it in a release build.

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use sched_testkit::simulator::{Mutation, Summary, Violation, simulate, tell};

const USAGE: &str = "usage: sim (--seed N | --story N | --seeds N) [--mutation NAME]";

/// What the command line asks for.
struct Request {
    from: u64,
    until: u64,
    mutation: Option<Mutation>,
    is_told: bool,
}

fn parse(arguments: &[String]) -> Result<Request, String> {
    let mut request = Request { from: 0, until: 1_000, mutation: None, is_told: false };
    let pairs = arguments.chunks(2);
    for pair in pairs {
        let [key, value] = pair else { return Err(USAGE.to_owned()) };
        let number = || value.parse::<u64>().map_err(|error| format!("{key} {value}: {error}"));
        match key.as_str() {
            "--seed" | "--story" => {
                (request.from, request.until) = (number()?, number()?.saturating_add(1));
                request.is_told = key == "--story";
            }
            "--seeds" => (request.from, request.until) = (0, number()?),
            "--mutation" => request.mutation = Some(value.parse()?),
            _ => return Err(format!("unknown option `{key}`; {USAGE}")),
        }
    }
    Ok(request)
}

/// Plays the seeds of a request on all processors; answers what was played and the violation of the least seed.
fn play(request: &Request) -> (Vec<Summary>, Option<Violation>) {
    let (next, stop) = (AtomicU64::new(request.from), AtomicBool::new(false));
    let worker = || {
        let (mut played, mut found) = (Vec::new(), None);
        while !stop.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= request.until {
                break;
            }
            match simulate(seed, request.mutation) {
                Ok(summary) => played.push(summary),
                Err(violation) => {
                    stop.store(true, Ordering::Relaxed);
                    found = Some(violation);
                }
            }
        }
        (played, found)
    };
    thread::scope(|scope| {
        let width = thread::available_parallelism().map_or(1, usize::from);
        let workers: Vec<_> = (0..width).map(|_| scope.spawn(worker)).collect();
        let (mut played, mut found): (Vec<Summary>, Option<Violation>) = (Vec::new(), None);
        for worker in workers {
            let Ok((more, violation)) = worker.join() else { continue };
            played.extend(more);
            found = found.into_iter().chain(violation).min_by_key(|violation| violation.seed);
        }
        (played, found)
    })
}

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line")]
fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let request = match parse(&arguments) {
        Ok(request) => request,
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::from(2);
        }
    };
    if request.is_told {
        tell(request.from, request.mutation).1.iter().for_each(|line| println!("{line}"));
    }
    let start = Instant::now();
    let (played, found) = play(&request);
    let (started, finished) = played.iter().fold((0, 0), |(started, finished), summary| {
        (started + summary.started, finished + summary.finished)
    });
    let (count, took) = (played.len(), start.elapsed());
    println!("{count} simulations, {started} runs started, {finished} over, in {took:.1?}");
    if let [summary] = played[..] {
        println!("digest {:016x}", summary.digest);
    }
    match found {
        None => ExitCode::SUCCESS,
        Some(violation) => {
            eprintln!("{violation}");
            ExitCode::FAILURE
        }
    }
}
