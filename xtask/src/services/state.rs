//! What is remembered between commands: the directory of a checkout's servers, which servers were started, their URLs.

use super::process::{Process, User};
use crate::run::{Failure, Workspace};
use serde_json::{Value, json};
use std::{
    env,
    ffi::OsStr,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

/// Where everything about a checkout's servers lies: `target/services`, or what `SCHED_SERVICES_DIR` names.
///
/// Not below cargo's target directory when that is elsewhere: several checkouts may share it.
#[derive(Clone, Debug)]
pub(crate) struct Directory {
    root: PathBuf,
}

impl Directory {
    /// Finds the directory of a checkout and makes it.
    pub(crate) fn of(workspace: &Workspace) -> Result<Self, Failure> {
        let named = env::var_os("SCHED_SERVICES_DIR").filter(|directory| !directory.is_empty());
        let root = named.map_or_else(|| workspace.root().join("target/services"), PathBuf::from);
        let root = std::path::absolute(&root).map_err(|error| cannot("find", &root, &error))?;
        fs::create_dir_all(&root).map_err(|error| cannot("make", &root, &error))?;
        Ok(Self { root })
    }

    /// Waits until no other command changes this checkout's servers, and keeps the others out until it is dropped.
    pub(super) fn lock(&self) -> Result<File, Failure> {
        let file = self.lock_file("lock")?;
        file.lock().map_err(|error| cannot("lock", &self.root, &error))?;
        Ok(file)
    }

    /// A file that is there to be locked.
    pub(super) fn lock_file(&self, name: &str) -> Result<File, Failure> {
        let path = self.root.join(name);
        File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(|error| cannot("write", &path, &error))
    }

    /// What is kept for the next time: downloaded servers.
    pub(super) fn cache(&self) -> PathBuf {
        self.root.join("cache")
    }

    /// Where the servers keep their data.
    pub(super) fn data(&self) -> PathBuf {
        self.root.join("data")
    }

    /// The file in which tests find the URLs.
    pub(super) fn urls(&self) -> PathBuf {
        self.root.join("urls.env")
    }

    /// The file in which tests note that they did not run.
    pub(crate) fn skipped(&self) -> PathBuf {
        self.root.join("skipped.tsv")
    }

    fn state(&self) -> PathBuf {
        self.root.join("state.json")
    }
}

/// One server that was started.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) process: Process,
    pub(super) port: u16,
    pub(super) url: String,
    /// Where its data and its log are, and nothing else.
    pub(super) directory: PathBuf,
    /// The user it runs as, when that is not the one who started it.
    pub(super) user: Option<String>,
    /// What starts it again on the same port with the same data.
    pub(super) command: Vec<String>,
}

impl Entry {
    /// The file with the server's output.
    pub(super) fn log(&self) -> PathBuf {
        self.directory.join("log")
    }

    /// The user it runs as.
    pub(super) fn user(&self) -> Result<Option<User>, Failure> {
        let Some(name) = &self.user else { return Ok(None) };
        let user = User::first_of(&[name]);
        user.map(Some).ok_or_else(|| Failure::new(format!("there is no user {name} any more")))
    }

    fn to_json(&self) -> Value {
        json!({
            "name": self.name,
            "pid": self.process.pid,
            "started": self.process.started,
            "port": self.port,
            "url": self.url,
            "directory": self.directory,
            "user": self.user,
            "command": self.command,
        })
    }

    fn parse(value: &Value) -> Option<Self> {
        let text = |key: &str| value[key].as_str().map(str::to_owned);
        let command = value["command"].as_array()?.iter().map(|word| word.as_str().map(str::to_owned));
        Some(Self {
            name: text("name")?,
            process: Process { pid: value["pid"].as_u64()?.try_into().ok()?, started: text("started")? },
            port: value["port"].as_u64()?.try_into().ok()?,
            url: text("url")?,
            directory: text("directory")?.into(),
            user: text("user"),
            command: command.collect::<Option<_>>()?,
        })
    }
}

/// The servers that were started.
#[derive(Debug, Default, PartialEq)]
pub(super) struct State {
    pub(super) entries: Vec<Entry>,
    /// Whether they are there for a test run only, which stops them at its end.
    pub(super) temporary: bool,
}

impl State {
    /// Reads what was remembered; nothing is no failure, nonsense is.
    pub(super) fn load(directory: &Directory) -> Result<Self, Failure> {
        let path = directory.state();
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(cannot("read", &path, &error)),
        };
        Self::parse(&text).ok_or_else(|| {
            Failure::new(format!(
                "{} is damaged: end the servers it names by their process ids, then remove it",
                path.display()
            ))
        })
    }

    /// Remembers the servers, and tells tests their URLs.
    pub(super) fn save(&self, directory: &Directory) -> Result<(), Failure> {
        write(&directory.state(), &self.to_text())?;
        write(&directory.urls(), &self.urls_text())
    }

    /// Leaves nothing to read, neither for the next command nor for tests.
    pub(super) fn forget(&self, directory: &Directory) -> Result<(), Failure> {
        [directory.state(), directory.urls()].iter().try_for_each(|path| match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(cannot("remove", path, &error)),
            _ => Ok(()),
        })
    }

    /// The server of this name.
    pub(super) fn entry(&self, name: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.name == name)
    }

    /// Adds a server, or replaces the one of its name.
    pub(super) fn put(&mut self, entry: Entry) {
        self.entries.retain(|other| other.name != entry.name);
        self.entries.push(entry);
    }

    fn to_text(&self) -> String {
        let servers: Vec<Value> = self.entries.iter().map(Entry::to_json).collect();
        format!("{:#}\n", json!({"temporary": self.temporary, "servers": servers}))
    }

    fn parse(text: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(text).ok()?;
        Some(Self {
            entries: value["servers"].as_array()?.iter().map(Entry::parse).collect::<Option<_>>()?,
            temporary: value["temporary"].as_bool()?,
        })
    }

    fn urls_text(&self) -> String {
        let line = |entry: &Entry| {
            let variable = super::catalogue::find(&entry.name)?.variable;
            Some(format!("{variable}={}\n", entry.url))
        };
        self.entries.iter().filter_map(line).collect()
    }
}

/// Replaces a file in one step, so that a reader never sees half of it.
fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let draft = path.with_extension("draft");
    fs::write(&draft, text)
        .and_then(|()| fs::rename(&draft, path))
        .map_err(|error| cannot("write", path, &error))
}

/// Removes a directory with all it holds; one that is not there is no failure.
pub(super) fn remove(directory: &Path) -> Result<(), Failure> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(cannot("remove", directory, &error)),
        _ => Ok(()),
    }
}

/// The failure to do something with a file.
pub(super) fn cannot(what: &str, path: impl AsRef<OsStr>, error: &io::Error) -> Failure {
    Failure::new(format!("cannot {what} {}: {error}", path.as_ref().display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, user: Option<&str>) -> Entry {
        Entry {
            name: name.to_owned(),
            process: Process { pid: 4711, started: "987654".to_owned() },
            port: 12_345,
            url: format!("{name}://127.0.0.1:12345/"),
            directory: PathBuf::from("/somewhere/data").join(name),
            user: user.map(str::to_owned),
            command: vec!["/usr/bin/server".to_owned(), "--port=12345".to_owned()],
        }
    }

    fn state() -> State {
        State { entries: vec![entry("redis", None), entry("postgres", Some("postgres"))], temporary: true }
    }

    #[test]
    fn what_is_written_is_read_again() {
        assert_eq!(State::parse(&state().to_text()), Some(state()));
    }

    #[test]
    fn a_damaged_file_is_not_taken_for_an_empty_one() {
        let text = state().to_text();
        for damaged in ["", "{}", &text[..text.len() / 2], &text.replace("4711", "\"x\"")] {
            assert_eq!(State::parse(damaged), None, "{damaged}");
        }
    }

    #[test]
    fn tests_find_a_line_for_each_server() {
        assert_eq!(
            state().urls_text(),
            "SCHED_TEST_REDIS_URL=redis://127.0.0.1:12345/\nSCHED_TEST_POSTGRES_URL=postgres://127.0.0.1:12345/\n"
        );
    }

    #[test]
    fn a_server_that_was_started_again_replaces_itself() {
        let mut state = state();
        state.put(Entry { port: 1, ..entry("redis", None) });
        assert_eq!(state.entries.len(), 2);
        assert_eq!(state.entry("redis").unwrap().port, 1);
    }
}
