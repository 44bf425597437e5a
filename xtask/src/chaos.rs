//! `cargo xtask chaos`: processes that share a store are killed, frozen and cut off while jobs fire.
//!
//! Sees to it that the stores' servers run, builds `sched-chaos`, and plays one run for each store that is named. With
//! `--fleet` it plays the long runs: four members for two minutes, then a hundred rolling restarts while a thousand jobs
//! fire. A table of all runs comes last; whatever was lost or done twice is a failure.

use crate::{
    out,
    run::{self, Failure, Workspace},
    services,
};
use serde_json::Value;
use std::{
    env,
    ffi::OsString,
    process::{Command, Stdio},
};

/// All stores that can be shared, with the server each one needs.
const STORES: [(&str, Option<&str>); 5] = [
    ("sqlite", None),
    ("postgres", Some("postgres")),
    ("mysql", Some("mariadb")),
    ("redis", Some("redis")),
    ("mongodb", Some("mongodb")),
];

/// How long the members of a fleet are killed and frozen, in seconds.
const SECONDS: &str = "120";

/// What is played.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Options {
    /// The stores; all of them when empty.
    stores: Vec<String>,
    /// Whether the long runs are played.
    fleet: bool,
    /// How long incidents go on, in seconds.
    seconds: Option<String>,
    /// Goes to `sched-chaos` as it is.
    rest: Vec<OsString>,
}

/// Reads the arguments of the command; a fault is described in words.
pub(crate) fn parse(arguments: &[OsString]) -> Result<Options, String> {
    let mut options = Options::default();
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match argument.to_str() {
            Some("--fleet") => options.fleet = true,
            Some("--seconds") => {
                let seconds = arguments.next().ok_or("--seconds needs a number")?;
                options.seconds = Some(seconds.to_string_lossy().into_owned());
            }
            Some("--store") => {
                let store = arguments.next().ok_or("--store needs the name of a store")?.to_string_lossy();
                if !STORES.iter().any(|(name, _)| *name == store) {
                    let names: Vec<_> = STORES.iter().map(|(name, _)| *name).collect();
                    return Err(format!("there is no store `{store}`; the stores are: {}", names.join(", ")));
                }
                options.stores.push(store.into_owned());
            }
            _ => options.rest.push(argument.clone()),
        }
    }
    Ok(options)
}

/// Plays the runs; what is not good is a failure, after all were played.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<(), Failure> {
    let wanted = |name: &str| options.stores.is_empty() || options.stores.iter().any(|store| store == name);
    let stores: Vec<_> = STORES.iter().filter(|(name, _)| wanted(name)).collect();
    let servers: Vec<OsString> =
        stores.iter().filter_map(|(_, server)| *server).map(OsString::from).collect();
    if !servers.is_empty() {
        let up: Vec<OsString> = std::iter::once(OsString::from("up")).chain(servers).collect();
        services::perform(workspace, services::parse(&up).map_err(Failure::new)?)?;
    }
    run::run(&mut workspace.cargo(["build", "--package", "sched-chaos"]))?;
    let (mut rows, mut bad) = (vec![heading()], Vec::new());
    for (store, server) in stores {
        for play in plays(options) {
            out::title(&format!("chaos: {store} {}", play.join(" ")));
            let mut command = workspace.cargo(["run", "--quiet", "--package", "sched-chaos", "--", "run"]);
            command.args(["--store", store]).args(&play).args(&options.rest);
            lend_servers(workspace, &mut command, *server);
            match report(&mut command) {
                Ok(report) => rows.push(row(&report)),
                Err(failure) => bad.push(format!("{store} {}: {failure}", play.join(" "))),
            }
        }
    }
    out::title("chaos");
    table(&rows).into_iter().for_each(out::line);
    let is_bad = |row: &&Row| row[GOOD] == "no";
    bad.extend(rows.iter().filter(is_bad).map(|row| format!("{}: lost, doubled or stale runs", row[0])));
    match bad.is_empty() {
        true => Ok(()),
        false => Err(Failure::new(bad.join("\n  "))),
    }
}

/// Lets the harness kill and start the server of a store, unless that is somebody else's.
fn lend_servers(workspace: &Workspace, command: &mut Command, server: Option<&str>) {
    let all = services::all();
    let ours =
        all.iter().find(|it| Some(it.name) == server).is_some_and(|it| env::var_os(it.variable).is_none());
    if let (true, Ok(program)) = (ours, env::current_exe()) {
        command.env("SCHED_XTASK", program).env("SCHED_XTASK_DIR", workspace.root().join("xtask"));
    }
}

/// Plays one run and answers what it reports, good or bad.
fn report(command: &mut Command) -> Result<Value, Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::new(format!("it could not be played: {error}"));
    let output = command.stderr(Stdio::inherit()).output().map_err(|error| failed(&error))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().last().unwrap_or_default();
    out::line(line);
    serde_json::from_str(line).map_err(|_| failed(&output.status))
}

/// The arguments of each run of a store.
fn plays(options: &Options) -> Vec<Vec<&str>> {
    let seconds = options.seconds.as_deref();
    match options.fleet {
        false => vec![seconds.map_or(Vec::new(), |seconds| vec!["--seconds", seconds])],
        true => vec![
            vec!["--members", "4", "--seconds", seconds.unwrap_or(SECONDS)],
            vec!["--members", "4", "--rolling", "--rounds", "400", "--jobs", "1000", "--interval", "5000"],
        ],
    }
}

/// A line of the table.
type Row = [String; 12];

/// Where it says whether a run was good.
const GOOD: usize = 11;

fn heading() -> Row {
    [
        "store",
        "members",
        "incidents",
        "seconds",
        "fire times",
        "lost",
        "doubled",
        "invented",
        "stale",
        "started again",
        "held up",
        "good",
    ]
    .map(str::to_owned)
}

fn row(report: &Value) -> Row {
    let verdict = &report["verdict"];
    let rolling = if report["rolling"] == true { " (rolling)" } else { "" };
    let incidents = report["incidents"].as_object();
    let incidents: u64 = incidents.into_iter().flatten().filter_map(|(_, count)| count.as_u64()).sum();
    let good = if verdict["good"] == true { "yes" } else { "no" };
    [
        format!("{}{rolling}", report["store"].as_str().unwrap_or_default()),
        report["members"].to_string(),
        incidents.to_string(),
        report["seconds"].to_string(),
        verdict["fires"].to_string(),
        verdict["lost"]["count"].to_string(),
        verdict["doubled"]["count"].to_string(),
        verdict["invented"]["count"].to_string(),
        verdict["stale"]["count"].to_string(),
        verdict["repeated_after_incidents"].to_string(),
        verdict["held_up_before_the_task"].to_string(),
        good.to_owned(),
    ]
}

/// The lines of a table, in columns.
fn table(rows: &[Row]) -> Vec<String> {
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..heading().len()).map(width).collect();
    let line = |row: &Row| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parsed(line: &str) -> Result<Options, String> {
        parse(&line.split_whitespace().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn stores_are_known_and_the_rest_goes_on() {
        let options = parsed("--store redis --rounds 5 --fleet").unwrap();
        assert_eq!(options.stores, ["redis"]);
        assert_eq!(options.rest, ["--rounds", "5"]);
        assert!(options.fleet);
        assert!(parsed("--store").unwrap_err().contains("needs the name"));
        assert!(parsed("--store oracle").unwrap_err().contains("sqlite, postgres, mysql"));
    }

    #[test]
    fn the_length_of_a_fleet_is_set_and_its_rolling_restarts_are_not() {
        let options = parsed("--fleet --seconds 7").unwrap();
        assert_eq!(plays(&options)[0], ["--members", "4", "--seconds", "7"]);
        assert!(plays(&options)[1].contains(&"--rolling"));
        assert_eq!(plays(&parsed("--fleet").unwrap())[0], ["--members", "4", "--seconds", "120"]);
        assert_eq!(plays(&parsed("--seconds 7").unwrap()), [["--seconds", "7"]]);
    }

    #[test]
    fn a_report_is_a_line_of_the_table() {
        let count = |count: u64| json!({ "count": count, "first": [] });
        let report = |doubled: u64| {
            json!({
                "store": "redis", "members": 4, "rolling": doubled == 0, "seconds": 120,
                "incidents": { "kill": 5, "freeze": 2 },
                "verdict": {
                    "fires": 900, "lost": count(0), "doubled": count(doubled), "invented": count(0),
                    "stale": count(0), "repeated_after_incidents": 3, "held_up_before_the_task": 1,
                    "good": doubled == 0,
                },
            })
        };
        let lines = table(&[heading(), row(&report(0)), row(&report(1))]);
        let words: Vec<Vec<&str>> = lines.iter().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(
            words[1],
            ["redis", "(rolling)", "4", "7", "120", "900", "0", "0", "0", "0", "3", "1", "yes"]
        );
        assert_eq!(words[2], ["redis", "4", "7", "120", "900", "0", "1", "0", "0", "3", "1", "no"]);
    }
}
