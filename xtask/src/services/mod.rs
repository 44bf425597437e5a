//! `cargo xtask services`: the database servers and the broker that tests use, private to this checkout.
//!
//! Each server gets a free port on the loopback interface and an empty data directory on disk; tests find the URLs in
//! `target/services/urls.env` through `sched_testkit::server`. A server whose URL stands in the environment is somebody
//! else's and is left alone. Reading order: this file (the commands), [`catalogue`] (which servers there are), [`recipes`]
//! (how each is made), [`install`], [`start`], [`process`], [`state`] (what is remembered), [`mongo_wire`].

mod catalogue;
mod install;
mod mongo_wire;
mod process;
mod recipes;
mod start;
mod state;

pub(crate) use self::catalogue::{SERVERS, Server, all, find, required};
pub(crate) use self::state::Directory;

use self::{
    catalogue::select,
    install::Installer,
    state::{Entry, State, cannot, remove},
};
use crate::{
    out,
    run::{Failure, Workspace},
};
use std::{
    env,
    ffi::OsString,
    fs::File,
    path::PathBuf,
    sync::mpsc::{Sender, channel},
    thread,
    time::Instant,
};

/// What the command line asks for.
#[derive(Debug, PartialEq)]
pub(crate) enum Request {
    Up { servers: Vec<&'static Server>, install: bool },
    Down { servers: Vec<&'static Server> },
    Status,
    Restart { servers: Vec<&'static Server> },
    Kill { servers: Vec<&'static Server> },
}

/// How servers are started.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    /// Whether missing programs may be installed.
    pub(crate) install: bool,
    /// Whether the servers are for a test run only.
    pub(crate) temporary: bool,
}

/// What came of a server.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The environment names one; it was not asked whether it answers.
    Elsewhere,
    /// It runs, with this URL.
    Ready(String),
    /// There is none, and why.
    Absent(Failure),
}

/// Reads the arguments of the command; a fault is described in words.
pub(crate) fn parse(arguments: &[OsString]) -> Result<Request, String> {
    let words: Vec<&str> = arguments
        .iter()
        .map(|word| word.to_str().ok_or("an argument is not UTF-8"))
        .collect::<Result<_, _>>()?;
    let (command, names) =
        words.split_first().ok_or("services needs a command: up, down, status, restart or kill")?;
    let (options, names): (Vec<&str>, Vec<&str>) = names.iter().partition(|name| name.starts_with("--"));
    let install = !options.contains(&"--no-install");
    let unknown = options.iter().find(|option| *command != "up" || **option != "--no-install");
    if let Some(option) = unknown {
        return Err(format!("unexpected argument `{option}`"));
    }
    match (*command, names.as_slice()) {
        ("up", names) => Ok(Request::Up { servers: select(names.iter().copied())?, install }),
        ("down", names) => Ok(Request::Down { servers: select(names.iter().copied())? }),
        ("status", []) => Ok(Request::Status),
        ("status", [extra, ..]) => Err(format!("unexpected argument `{extra}`")),
        ("restart" | "kill", []) => Err(format!("{command} needs the name of a server")),
        ("restart", names) => Ok(Request::Restart { servers: exactly(names)? }),
        ("kill", names) => Ok(Request::Kill { servers: exactly(names)? }),
        _ => Err(format!("unknown command `services {command}`")),
    }
}

/// The servers of these names, where a name that one server has does not mean a group.
fn exactly(names: &[&str]) -> Result<Vec<&'static Server>, String> {
    let servers = names.iter().map(|name| match find(name) {
        Some(server) => Ok(vec![server]),
        None => select([*name]),
    });
    Ok(servers.collect::<Result<Vec<_>, _>>()?.concat())
}

/// Does what the command line asks for.
pub(crate) fn perform(workspace: &Workspace, request: Request) -> Result<(), Failure> {
    let directory = Directory::of(workspace)?;
    match request {
        Request::Up { servers, install } => {
            let outcomes = up(&directory, &servers, Terms { install, temporary: false })?;
            let is_absent = |outcome: &Outcome| matches!(outcome, Outcome::Absent(_));
            let absent = outcomes.iter().filter(|(_, outcome)| is_absent(outcome));
            match absent.map(|(server, _)| server.name).collect::<Vec<_>>().as_slice() {
                [] => Ok(()),
                names => Err(Failure::new(format!("not started: {}", names.join(", ")))),
            }
        }
        Request::Down { servers } => down(&directory, &servers),
        Request::Status => status(&directory),
        Request::Restart { servers } => restart(&directory, &servers),
        Request::Kill { servers } => kill(&directory, &servers),
    }
}

/// Starts those of the servers that do not run, and says what came of each.
pub(crate) fn up(
    directory: &Directory,
    servers: &[&'static Server],
    terms: Terms,
) -> Result<Vec<(&'static Server, Outcome)>, Failure> {
    let _lock = directory.lock()?;
    let mut state = State::load(directory)?;
    forget_ended(&mut state, servers)?;
    state.temporary = terms.temporary && (state.temporary || state.entries.is_empty());
    let mut outcomes = Vec::new();
    let mut missing = Vec::new();
    let mut installer = Installer::new(directory.cache(), terms.install);
    if let Err(failure) = installer.libraries(servers) {
        out::line(format!("libraries of database clients: {failure}"));
    }
    for server in servers {
        let outcome = if elsewhere(server) {
            Outcome::Elsewhere
        } else if let Some(entry) = state.entry(server.name) {
            Outcome::Ready(entry.url.clone())
        } else {
            match installer.program(server) {
                Ok(program) => {
                    missing.push((*server, program));
                    continue;
                }
                Err(failure) => Outcome::Absent(failure),
            }
        };
        announce(server, &outcome, None);
        outcomes.push((*server, outcome));
    }
    outcomes.extend(start_all(directory, &mut state, missing)?);
    state.save(directory)?;
    Ok(outcomes)
}

/// What a thread that starts a server has to tell.
enum News {
    /// A process was started; nothing is known of it yet.
    Spawned(Entry),
    /// It is done with this server.
    Done(&'static Server, Result<Entry, Failure>),
}

/// Starts servers beside one another. What was started is remembered at once: this program may be interrupted.
fn start_all(
    directory: &Directory,
    state: &mut State,
    missing: Vec<(&'static Server, PathBuf)>,
) -> Result<Vec<(&'static Server, Outcome)>, Failure> {
    let begun = Instant::now();
    let mut outcomes = Vec::new();
    let mut remembered = Ok(());
    thread::scope(|scope| {
        let (sender, news) = channel();
        for (server, program) in missing {
            let sender: Sender<News> = sender.clone();
            scope.spawn(move || {
                // The receiver lives as long as there are senders.
                let spawned = |entry: &Entry| drop(sender.send(News::Spawned(entry.clone())));
                let result = start::create(server, program, directory, spawned);
                drop(sender.send(News::Done(server, result)));
            });
        }
        drop(sender);
        for news in news {
            match news {
                News::Spawned(entry) => state.put(entry),
                News::Done(server, result) => {
                    let outcome = match result {
                        Ok(entry) => Outcome::Ready(entry.url),
                        Err(failure) => {
                            state.entries.retain(|entry| entry.name != server.name);
                            Outcome::Absent(failure)
                        }
                    };
                    announce(server, &outcome, Some(begun));
                    outcomes.push((server, outcome));
                }
            }
            remembered = remembered.clone().and(state.save(directory));
        }
    });
    if remembered.is_err() {
        // Nobody could stop them later.
        for (server, _) in &outcomes {
            state.entry(server.name).map_or(Ok(()), |entry| entry.process.kill())?;
        }
    }
    remembered.map(|()| outcomes)
}

/// Prints what came of a server.
fn announce(server: &Server, outcome: &Outcome, begun: Option<Instant>) {
    let text = match outcome {
        Outcome::Elsewhere => format!("as {} says", server.variable),
        Outcome::Ready(url) => match begun {
            Some(begun) => format!("{url}  ready after {:.1} s", begun.elapsed().as_secs_f64()),
            None => format!("{url}  runs already"),
        },
        Outcome::Absent(failure) => format!("absent: {failure}"),
    };
    out::line(format!("{:<19} {text}", server.name));
}

/// Whether the environment names a server of this kind.
fn elsewhere(server: &Server) -> bool {
    env::var_os(server.variable).is_some_and(|url| !url.is_empty())
}

/// Drops what is known of those servers that ended, with their data: they are made anew.
fn forget_ended(state: &mut State, servers: &[&Server]) -> Result<(), Failure> {
    for server in servers {
        if state.entry(server.name).is_some_and(|entry| !entry.process.is_alive()) {
            discard(state, server)?;
        }
    }
    Ok(())
}

/// Drops what is known of a server that does not run, with its data.
fn discard(state: &mut State, server: &Server) -> Result<(), Failure> {
    let Some(entry) = state.entry(server.name) else { return Ok(()) };
    remove(&entry.directory)?;
    state.entries.retain(|entry| entry.name != server.name);
    Ok(())
}

/// Ends servers and removes their data.
fn down(directory: &Directory, servers: &[&'static Server]) -> Result<(), Failure> {
    let _lock = directory.lock()?;
    let mut state = State::load(directory)?;
    let running: Vec<_> =
        servers.iter().filter_map(|server| Some((*server, state.entry(server.name)?.clone()))).collect();
    let stop = |(server, entry): &(&'static Server, Entry)| entry.process.stop(server.recipe.stop_signal());
    let stopped: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = running.iter().map(|one| scope.spawn(move || stop(one))).collect();
        threads.into_iter().map(|thread| thread.join()).collect()
    });
    for ((server, _), stopped) in running.iter().zip(stopped) {
        stopped.unwrap_or_else(|_| Err(Failure::new(format!("{} was not stopped", server.name))))?;
        discard(&mut state, server)?;
        state.save(directory)?;
        out::line(format!("{:<19} stopped", server.name));
    }
    if running.is_empty() {
        out::line("nothing was started here");
    }
    if state.entries.is_empty() {
        state.forget(directory)?;
    }
    Ok(())
}

/// Ends the servers at the end of a test run, if they were started for one and no other is under way.
pub(crate) fn down_after_test(directory: &Directory, own_use: File) -> Result<(), Failure> {
    drop(own_use);
    let is_last = directory.lock_file(IN_USE)?.try_lock().is_ok();
    if is_last && State::load(directory)?.temporary {
        return down(directory, &all());
    }
    Ok(())
}

/// The file that test runs keep locked together.
const IN_USE: &str = "in-use";

/// Says that a test run uses the servers, until the file is dropped.
pub(crate) fn in_use(directory: &Directory) -> Result<File, Failure> {
    let file = directory.lock_file(IN_USE)?;
    file.lock_shared().map_err(|error| cannot("lock", IN_USE, &error))?;
    Ok(file)
}

/// Prints a table of all servers.
fn status(directory: &Directory) -> Result<(), Failure> {
    let state = State::load(directory)?;
    out::line(format!("{:<19} {:<10} {:>7}  {:<55} data and log", "server", "state", "process", "URL"));
    for server in &SERVERS {
        let Some(entry) = state.entry(server.name) else {
            let what = if elsewhere(server) { "elsewhere" } else { "absent" };
            out::line(format!("{:<19} {what}", server.name));
            continue;
        };
        let condition = if !entry.process.is_alive() {
            "ended"
        } else if start::place_of(entry).and_then(|place| server.recipe.probe(&place)).is_ok() {
            "ready"
        } else {
            "not ready"
        };
        let Entry { process, url, directory, .. } = entry;
        out::line(format!(
            "{:<19} {condition:<10} {:>7}  {url:<55} {}",
            server.name,
            process.pid,
            directory.display()
        ));
    }
    Ok(())
}

/// Ends servers, if they run, and starts them on the same ports with the same data.
fn restart(directory: &Directory, servers: &[&'static Server]) -> Result<(), Failure> {
    change(directory, servers, |server, entry| {
        entry.process.stop(server.recipe.stop_signal())?;
        let begun = Instant::now();
        *entry = start::again(server, entry)?;
        announce(server, &Outcome::Ready(entry.url.clone()), Some(begun));
        Ok(())
    })
}

/// Ends servers as a crash would. They stay known, for `restart`.
fn kill(directory: &Directory, servers: &[&'static Server]) -> Result<(), Failure> {
    change(directory, servers, |server, entry| {
        entry.process.kill()?;
        out::line(format!("{:<19} killed", server.name));
        Ok(())
    })
}

/// Does something with servers that were started here, and remembers what they became.
fn change(
    directory: &Directory,
    servers: &[&'static Server],
    act: impl Fn(&'static Server, &mut Entry) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let _lock = directory.lock()?;
    let mut state = State::load(directory)?;
    for server in servers {
        let unknown = || Failure::new(format!("{} was not started by `services up`", server.name));
        let mut entry = state.entry(server.name).ok_or_else(unknown)?.clone();
        act(server, &mut entry)?;
        state.put(entry);
        state.save(directory)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{process::Process, *};

    fn parsed(line: &str) -> Result<Request, String> {
        parse(&line.split_whitespace().map(OsString::from).collect::<Vec<_>>())
    }

    fn servers(names: &[&str]) -> Vec<&'static Server> {
        names.iter().map(|name| find(name).unwrap()).collect()
    }

    #[test]
    fn command_lines_are_read() {
        for (line, request) in [
            ("up", Request::Up { servers: all(), install: true }),
            ("up --no-install mysql", Request::Up { servers: servers(&["mariadb"]), install: false }),
            ("down", Request::Down { servers: all() }),
            ("down mongodb", Request::Down { servers: servers(&["mongodb", "mongodb-standalone"]) }),
            ("status", Request::Status),
            ("kill mongodb", Request::Kill { servers: servers(&["mongodb"]) }),
            ("restart redis mqtt", Request::Restart { servers: servers(&["redis", "mosquitto"]) }),
        ] {
            assert_eq!(parsed(line), Ok(request), "{line}");
        }
    }

    #[test]
    fn a_server_whose_process_id_was_used_again_is_forgotten_with_its_data() {
        let home = env::temp_dir().join(format!("sched-xtask-forgotten-{}", std::process::id()));
        std::fs::create_dir(&home).unwrap();
        let process = Process { pid: std::process::id(), started: "before the flood".to_owned() };
        let entry = Entry {
            name: "redis".to_owned(),
            process,
            port: 1,
            url: "redis://127.0.0.1:1/".to_owned(),
            directory: home.clone(),
            user: None,
            command: Vec::new(),
        };
        let mut state = State { entries: vec![entry], temporary: false };
        forget_ended(&mut state, &all()).unwrap();
        assert_eq!(state, State::default());
        assert!(!home.exists());
    }

    #[test]
    fn a_senseless_command_line_is_described() {
        for (line, words) in [
            ("", "services needs a command"),
            ("start", "unknown command `services start`"),
            ("up oracle", "there is no server `oracle`"),
            ("up --fast", "unexpected argument `--fast`"),
            ("down --no-install", "unexpected argument `--no-install`"),
            ("status redis", "unexpected argument `redis`"),
            ("kill", "kill needs the name of a server"),
        ] {
            let message = parsed(line).unwrap_err();
            assert!(message.contains(words), "{line}: {message}");
        }
    }
}
