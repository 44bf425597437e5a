//! The harness and, under a hidden command, its members.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use chrono::Utc;
use clap::{Parser, Subcommand};
use sched_chaos::plan::{Plan, Store};
use sched_chaos::stage::{Deed, Stage};
use sched_chaos::verdict::Verdict;
use sched_chaos::{Fault, journal, member, out};
use serde_json::json;

#[derive(Parser)]
#[command(about = "Kills, freezes and cuts off schedulers that share a store while jobs fire")]
struct Line {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Plays a run and judges it.
    Run(Options),
    /// A member of a run.
    #[command(hide = true)]
    Member { plan: PathBuf, number: usize },
}

#[derive(clap::Args)]
struct Options {
    /// The store the members share.
    #[arg(long)]
    store: Store,
    /// How many incidents there are.
    #[arg(long, default_value_t = 200)]
    rounds: usize,
    /// Goes on with incidents for so many seconds, whatever the number of rounds.
    #[arg(long)]
    seconds: Option<u64>,
    /// How many processes there are.
    #[arg(long, default_value_t = 2)]
    members: usize,
    /// How many jobs there are.
    #[arg(long, default_value_t = 40)]
    jobs: u32,
    /// Milliseconds from fire time to fire time of a job.
    #[arg(long, default_value_t = 500)]
    interval: u64,
    /// Members are only asked to stop and started again, one after the other.
    #[arg(long)]
    rolling: bool,
    /// The server is not killed.
    #[arg(long)]
    spare_server: bool,
    /// Milliseconds that a lease holds.
    #[arg(long, default_value_t = 2_000)]
    lease: u64,
    /// The order of incidents.
    #[arg(long)]
    seed: Option<u64>,
}

fn main() -> ExitCode {
    let result = match Line::parse().command {
        Command::Run(options) => play(&options),
        Command::Member { plan, number } => serve(&plan, number).map(|()| true),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            out::error(&format!("sched-chaos: {error}"));
            ExitCode::from(2)
        }
    }
}

fn serve(plan: &std::path::Path, number: usize) -> Result<(), Fault> {
    member::serve(serde_json::from_slice(&std::fs::read(plan)?)?, number)
}

/// Plays a run; says whether it is good.
fn play(options: &Options) -> Result<bool, Fault> {
    let seed = options.seed.unwrap_or_else(|| fastrand::u64(..1_000_000));
    let mut random = fastrand::Rng::with_seed(seed);
    let directory = tempfile::Builder::new().prefix("sched-chaos-").tempdir()?;
    let name = format!("chaos_{}_{:x}", std::process::id(), Utc::now().timestamp_micros() & 0xffff_ffff);
    let url = match options.store {
        Store::Sqlite => format!("sqlite:///{}", directory.path().join("jobs.sqlite").display()),
        store => store.server_url().ok_or_else(|| format!("there is no server for {}", store.name()))?,
    };
    let begin = Utc::now().timestamp_micros() + 1_000_000;
    let plan = Plan {
        store: options.store.config(&url, &name),
        jobs: options.jobs,
        interval: Duration::from_millis(options.interval),
        begin,
        end: begin + 24 * 3_600 * 1_000_000,
        lease: Duration::from_millis(options.lease),
        longest: Duration::from_millis(40),
        directory: directory.path().to_owned(),
    };
    member::lay(&plan)?;
    let mut stage = Stage::new(options.store, &url, &name, &plan, options.members)?;
    let started = Instant::now();
    incidents(options, &mut stage, &mut random, started)?;
    let cutoff = Utc::now().timestamp_micros();
    let entries = settle(&plan, cutoff, &stage)?;
    let mut verdict = Verdict::of(&plan, &entries, &stage.incidents, cutoff);
    stage.end()?;
    let entries = journal::read_all(&plan.directory)?;
    let rows = verdict.look_at_rows(&plan, &entries)?;
    let mut deeds: BTreeMap<&str, usize> = BTreeMap::new();
    stage.deeds.iter().for_each(|deed| *deeds.entry(deed.name()).or_default() += 1);
    let report = json!({
        "store": options.store.name(),
        "members": options.members,
        "jobs": options.jobs,
        "rolling": options.rolling,
        "seed": seed,
        "seconds": started.elapsed().as_secs(),
        "incidents": deeds,
        "rows": rows,
        "verdict": verdict.summary(),
    });
    out::line(&report.to_string());
    Ok(verdict.is_good())
}

fn incidents(
    options: &Options,
    stage: &mut Stage,
    random: &mut fastrand::Rng,
    started: Instant,
) -> Result<(), Fault> {
    let repertoire = stage.repertoire(options.spare_server);
    let weight: u32 = repertoire.iter().map(|(_, weight)| weight).sum();
    let limit = options.seconds.map(Duration::from_secs);
    let mut round = 0;
    while limit.map_or(round < options.rounds, |limit| started.elapsed() < limit) {
        let member = if options.rolling { round % stage.len() } else { random.usize(..stage.len()) };
        let deed = match options.rolling {
            true => Deed::Restart,
            false => pick(&repertoire, random.u32(..weight)),
        };
        let pause = if options.rolling { 10..60 } else { 20..300 };
        std::thread::sleep(Duration::from_millis(random.u64(pause)));
        stage.perform(deed, member, random)?;
        round += 1;
    }
    Ok(())
}

fn pick(repertoire: &[(Deed, u32)], mut at: u32) -> Deed {
    for (deed, weight) in repertoire {
        if at < *weight {
            return *deed;
        }
        at -= weight;
    }
    Deed::Kill
}

/// Waits until every fire time until `cutoff` has a run that ended, or for as long as that may take.
fn settle(plan: &Plan, cutoff: i64, stage: &Stage) -> Result<Vec<journal::Entry>, Fault> {
    let begin = Instant::now();
    loop {
        let entries = journal::read_all(&plan.directory)?;
        let verdict = Verdict::of(plan, &entries, &stage.incidents, cutoff);
        if verdict.lost.is_empty() || begin.elapsed() > Duration::from_secs(90) {
            return Ok(entries);
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}
