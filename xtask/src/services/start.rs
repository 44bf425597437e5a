//! Starting one server: a directory and a port of its own, then waiting until it can be used.

use super::{
    catalogue::Server,
    process::{Process, User, is_root, launch, succeeded, tail},
    recipes::Place,
    state::{Directory, Entry, cannot, remove},
};
use crate::run::Failure;
use std::{
    fs,
    hash::{BuildHasher, Hasher, RandomState},
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command},
    thread,
    time::{Duration, Instant},
};

/// How long a server may take until it can be used.
const LIMIT: Duration = Duration::from_secs(60);

/// How often a server is asked whether it can be used, and a failed one is started again.
const POLL: Duration = Duration::from_millis(50);

/// The ports that servers get. The system gives none of them to a connection that a client opens: one that tried to reach
/// a stopped server could be given the server's own port and keep it from coming back.
const PORTS: std::ops::Range<u16> = 12_000..22_000;

/// A node of a Redis cluster listens on a second port, this far above.
const SECOND_PORT: u16 = 10_000;

/// The least free space that the servers are started with, in KiB.
const SPACE: u64 = 1 << 20;

/// Why a server that was started cannot be used.
enum Trouble {
    /// It ended.
    Ended,
    /// It runs, but this is all it says.
    NotReady(Failure),
}

/// Makes a server with an empty database and starts it. `spawned` hears of each process before anything is asked of it.
pub(super) fn create(
    server: &'static Server,
    program: PathBuf,
    directory: &Directory,
    spawned: impl Fn(&Entry),
) -> Result<Entry, Failure> {
    const ATTEMPTS: u32 = 3;
    let user = user_of(server)?;
    let home = home(server, directory, user.as_ref())?;
    for attempt in 1..=ATTEMPTS {
        empty(&home, user.as_ref())?;
        let place = Place {
            program: program.clone(),
            directory: home.clone(),
            port: free_port()?,
            user: user.clone(),
        };
        server.recipe.initialise(&place)?;
        let (mut child, entry) = spawn(server, &place)?;
        spawned(&entry);
        let Err(trouble) = wait(server, &place, &mut child) else { return Ok(entry) };
        let log = fs::read_to_string(entry.log()).unwrap_or_default();
        // Somebody else may have taken the port since it was found free.
        if attempt == ATTEMPTS || !log.contains("ddress already in use") {
            entry.process.kill()?;
            return Err(describe(server, &trouble, &log));
        }
    }
    Err(Failure::new("no attempt was made"))
}

/// Starts a server again on its port with its data, as often as it takes: what a killed one leaves behind may be in its way.
pub(super) fn again(server: &'static Server, entry: &Entry) -> Result<Entry, Failure> {
    let place = place_of(entry)?;
    let begun = Instant::now();
    while !is_free(entry.port) {
        if begun.elapsed() > LIMIT {
            return Err(Failure::new(format!(
                "{}: port {} is taken by somebody else",
                entry.name, entry.port
            )));
        }
        thread::sleep(POLL);
    }
    loop {
        let (mut child, entry) = spawn(server, &place)?;
        match wait(server, &place, &mut child) {
            Ok(()) => return Ok(entry),
            Err(Trouble::Ended) if begun.elapsed() < LIMIT => thread::sleep(POLL),
            Err(trouble) => {
                entry.process.kill()?;
                let log = fs::read_to_string(entry.log()).unwrap_or_default();
                return Err(describe(server, &trouble, &log));
            }
        }
    }
}

/// Where a server is that was started.
pub(super) fn place_of(entry: &Entry) -> Result<Place, Failure> {
    Ok(Place {
        program: entry.command.first().map(PathBuf::from).unwrap_or_default(),
        directory: entry.directory.clone(),
        port: entry.port,
        user: entry.user()?,
    })
}

fn spawn(server: &Server, place: &Place) -> Result<(Child, Entry), Failure> {
    let mut command = vec![place.program.display().to_string()];
    command.extend(server.recipe.arguments(place));
    let log = place.directory.join("log");
    let child = launch(&command, place.user.as_ref(), &log)?;
    let vanished = || describe(server, &Trouble::Ended, &fs::read_to_string(&log).unwrap_or_default());
    let entry = Entry {
        name: server.name.to_owned(),
        process: Process::of(child.id()).ok_or_else(vanished)?,
        port: place.port,
        url: server.recipe.url(place.port),
        directory: place.directory.clone(),
        user: place.user.as_ref().map(|user| user.name.clone()),
        command,
    };
    Ok((child, entry))
}

fn wait(server: &Server, place: &Place, child: &mut Child) -> Result<(), Trouble> {
    let begun = Instant::now();
    loop {
        // First, because a server of somebody else may answer on the port.
        if !matches!(child.try_wait(), Ok(None)) {
            return Err(Trouble::Ended);
        }
        match server.recipe.probe(place) {
            Ok(()) => return Ok(()),
            Err(failure) if begun.elapsed() > LIMIT => return Err(Trouble::NotReady(failure)),
            Err(_) => thread::sleep(POLL),
        }
    }
}

fn describe(server: &Server, trouble: &Trouble, log: &str) -> Failure {
    let what = match trouble {
        Trouble::Ended => "ended".to_owned(),
        Trouble::NotReady(failure) => format!("was not ready after {} s: {failure}", LIMIT.as_secs()),
    };
    Failure::new(format!("{} {what}; its log ends with\n{}", server.name, tail(log)))
}

/// The user that a server runs as; none for the caller.
fn user_of(server: &Server) -> Result<Option<User>, Failure> {
    if server.users.is_empty() || !is_root() {
        return Ok(None);
    }
    let missing = || Failure::new(format!("{} refuses root, and there is no other user", server.name));
    User::first_of(server.users).map(Some).ok_or_else(missing)
}

/// The directory of a server: below the others', or in the system's when its user cannot get there.
fn home(server: &Server, directory: &Directory, user: Option<&User>) -> Result<PathBuf, Failure> {
    let data = directory.data();
    fs::create_dir_all(&data).map_err(|error| cannot("make", &data, &error))?;
    let near = data.join(server.name);
    let home = if user.is_none_or(|user| user.can_enter(&data)) {
        near
    } else {
        // Outlives a restart of the machine, as a disk should; /tmp may be memory.
        Path::new("/var/tmp").join(format!("sched-{}-{:016x}", server.name, random()))
    };
    let parent = home.parent().unwrap_or(&data);
    if free_space(parent).is_some_and(|free| free < SPACE) {
        return Err(Failure::new(format!("less than 1 GiB is free in {}", parent.display())));
    }
    Ok(home)
}

/// Makes a directory anew.
fn empty(home: &Path, user: Option<&User>) -> Result<(), Failure> {
    remove(home)?;
    fs::create_dir(home).map_err(|error| cannot("make", home, &error))?;
    user.map_or(Ok(()), |user| user.own(home))
}

/// The free space where a directory is, in KiB; none when the system does not say.
fn free_space(directory: &Path) -> Option<u64> {
    free_in_table(&succeeded(Command::new("df").arg("-Pk").arg(directory)).ok()?)
}

/// Reads what `df -P` prints: a heading, then one line with the free space in its fourth column.
fn free_in_table(table: &str) -> Option<u64> {
    table.lines().nth(1)?.split_whitespace().nth(3)?.parse().ok()
}

/// A port that nobody listens on, and whose second port is free, too.
fn free_port() -> Result<u16, Failure> {
    const ATTEMPTS: u32 = 100;
    let width = u64::from(PORTS.end - PORTS.start);
    let candidate = |_| PORTS.start + u16::try_from(random() % width).unwrap_or_default();
    let both_free = |port: &u16| is_free(*port) && is_free(*port + SECOND_PORT);
    let none = || Failure::new(format!("no free port from {} to {}", PORTS.start, PORTS.end));
    (0..ATTEMPTS).map(candidate).find(both_free).ok_or_else(none)
}

/// Whether nobody listens on a port.
fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// A number that nobody else has.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_free_and_their_second_ports_are_ports() {
        let port = free_port().unwrap();
        assert!(PORTS.contains(&port));
        assert!(port.checked_add(SECOND_PORT).is_some());
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    }

    #[test]
    fn the_free_space_is_read_from_the_second_line() {
        let table =
            "Filesystem     1024-blocks     Used Available Capacity Mounted on\n/dev/vda 100 60 40 60% /\n";
        assert_eq!(free_in_table(table), Some(40));
        assert_eq!(free_in_table("df: no such file\n"), None);
    }

    #[test]
    fn a_server_that_fails_shows_the_end_of_its_log() {
        let server = crate::services::catalogue::find("redis").unwrap();
        let message = describe(server, &Trouble::Ended, "one\nFATAL: no space left on device\n").to_string();
        assert_eq!(message, "redis ended; its log ends with\none\nFATAL: no space left on device");
    }
}
