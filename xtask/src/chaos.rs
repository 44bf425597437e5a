//! `cargo xtask chaos`: processes that share a store are killed, frozen and cut off while jobs fire.
//!
//! Builds `sched-chaos` for release, sees to it that the stores' servers run, and plays one run for each store that is
//! named. With `--fleet` it plays the long runs: four members for two minutes, then a rolling restart while a thousand
//! jobs fire.

use crate::{
    out,
    run::{self, Failure, Workspace},
    services,
};
use std::{env, ffi::OsString};

/// All stores that can be shared, with the server each one needs.
const STORES: [(&str, Option<&str>); 5] = [
    ("sqlite", None),
    ("postgres", Some("postgres")),
    ("mysql", Some("mariadb")),
    ("redis", Some("redis")),
    ("mongodb", Some("mongodb")),
];

/// What is played.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Options {
    /// The stores; all of them when empty.
    stores: Vec<String>,
    /// Whether the long runs are played.
    fleet: bool,
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

/// Plays the runs; the first that is not good is a failure, after all were played.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<(), Failure> {
    let wanted = |name: &str| options.stores.is_empty() || options.stores.iter().any(|store| store == name);
    let stores: Vec<_> = STORES.iter().filter(|(name, _)| wanted(name)).collect();
    let servers: Vec<OsString> =
        stores.iter().filter_map(|(_, server)| *server).map(OsString::from).collect();
    if !servers.is_empty() {
        let up: Vec<OsString> = std::iter::once(OsString::from("up")).chain(servers).collect();
        services::perform(workspace, services::parse(&up).map_err(Failure::new)?)?;
    }
    run::run(&mut workspace.cargo(["build", "--release", "--package", "sched-chaos"]))?;
    let mut bad = Vec::new();
    for (store, _) in stores {
        for play in plays(options) {
            out::title(&format!("chaos: {store} {}", play.join(" ")));
            let mut command = workspace.cargo([
                "run",
                "--quiet",
                "--release",
                "--package",
                "sched-chaos",
                "--",
                "run",
                "--store",
                store,
            ]);
            command.args(&play).args(&options.rest);
            // The harness lets this program kill and start servers.
            if let Ok(program) = env::current_exe() {
                command.env("SCHED_XTASK", program).env("SCHED_XTASK_DIR", workspace.root().join("xtask"));
            }
            if let Err(failure) = run::run(&mut command) {
                bad.push(format!("{store}: {failure}"));
            }
        }
    }
    match bad.is_empty() {
        true => Ok(()),
        false => Err(Failure::new(bad.join("\n  "))),
    }
}

/// The arguments of each run of a store.
fn plays(options: &Options) -> Vec<Vec<&'static str>> {
    match options.fleet {
        false => vec![Vec::new()],
        true => vec![
            vec!["--members", "4", "--seconds", "120"],
            vec!["--members", "4", "--rolling", "--rounds", "400", "--jobs", "1000", "--interval", "5000"],
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
