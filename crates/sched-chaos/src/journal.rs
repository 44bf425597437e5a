//! What tasks write down: one line when a run starts and one when it ends, in a file of each process.
//!
//! A line is one write to a file that is opened for appending, so a kill leaves whole lines, or none.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::Fault;

/// What happened to a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// The task was entered.
    Start,
    /// The task is about to return.
    End,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// What happened.
    pub step: Step,
    /// The job's number.
    pub job: u32,
    /// The fire time, in microseconds since the Unix epoch.
    pub fire: i64,
    /// The attempt.
    pub attempt: u32,
    /// The process.
    pub pid: u32,
    /// When, in microseconds since the Unix epoch.
    pub at: i64,
    /// When its scheduler began the run, having looked at its lease, in microseconds since the Unix epoch.
    pub begun: i64,
}

/// A file to write to.
#[derive(Debug)]
pub struct Journal(File);

impl Journal {
    /// Opens the file of a process. **Errors**: those of the file system.
    pub fn open(path: &Path) -> Result<Self, Fault> {
        Ok(Self(OpenOptions::new().create(true).append(true).open(path)?))
    }

    /// Writes a line. **Errors**: those of the file system.
    pub fn write(&self, entry: &Entry) -> Result<(), Fault> {
        let mut line = serde_json::to_vec(entry)?;
        line.push(b'\n');
        (&self.0).write_all(&line)?;
        Ok(())
    }
}

/// The file of a process in a directory.
pub fn path_of(directory: &Path, member: usize) -> PathBuf {
    directory.join(format!("member-{member}.journal"))
}

/// Reads the journals of all processes. A last line that a kill cut off is left out.
///
/// **Errors**: those of the file system; a line in the middle that is none.
pub fn read_all(directory: &Path) -> Result<Vec<Entry>, Fault> {
    let mut entries = Vec::new();
    for file in std::fs::read_dir(directory)? {
        let path = file?.path();
        if path.extension().is_none_or(|extension| extension != "journal") {
            continue;
        }
        let text = std::fs::read_to_string(&path)?;
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        for line in whole.lines() {
            entries.push(serde_json::from_str(line).map_err(|error| format!("`{line}`: {error}"))?);
        }
    }
    entries.sort_by_key(|entry: &Entry| entry.at);
    Ok(entries)
}
