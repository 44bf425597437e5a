//! What a pool is told: its limits, how its processes are started, and how these settings are read from a table.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use sched_core::{Error, Section};
use serde_json::Value;

/// What is inherited from the environment when nothing else is said: where programs and libraries are, the language,
/// the time zone, and how much is logged. Nothing of it is a secret.
pub const DEFAULT_ENVIRONMENT: &[&str] = &[
    "DYLD_FALLBACK_LIBRARY_PATH",
    "DYLD_LIBRARY_PATH",
    "HOME",
    "LANG",
    "LANGUAGE",
    "LC_ALL",
    "LC_CTYPE",
    "LC_MESSAGES",
    "LC_NUMERIC",
    "LC_TIME",
    "LD_LIBRARY_PATH",
    "LOGNAME",
    "PATH",
    "RUST_BACKTRACE",
    "RUST_LIB_BACKTRACE",
    "RUST_LOG",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "TEMP",
    "TMP",
    "TMPDIR",
    "TZ",
    "USER",
];

/// The longest encoded arguments or result when nothing else is said: 16 MiB.
pub const DEFAULT_MAX_PAYLOAD: usize = 16 << 20;

/// How long a run that is to be stopped may take to do so by itself when nothing else is said: one second.
pub const DEFAULT_KILL_GRACE: Duration = Duration::from_secs(1);

/// How long a new process may take to answer when nothing else is said: ten seconds.
pub const DEFAULT_START_TIMEOUT: Duration = Duration::from_secs(10);

/// The most workers a configuration may ask for.
const MOST_WORKERS: u32 = 4_096;

/// The largest payload that a frame has room for, in bytes.
const MOST_PAYLOAD: i64 = 1 << 30;

/// The least address space in which a program can be expected to come up: 16 MiB.
const LEAST_MEMORY: i64 = 16 << 20;

/// What worker processes inherit from the environment of the program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InheritEnv {
    /// Everything.
    All,
    /// Nothing.
    Nothing,
    /// What [`DEFAULT_ENVIRONMENT`] lists.
    Default,
    /// These variables.
    Only(Vec<String>),
}

/// What becomes of the lines that tasks print.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskOutput {
    /// [`Log`](Self::Log) when the program has a `tracing` subscriber, else [`Stderr`](Self::Stderr).
    Auto,
    /// Events of `tracing`, with the run: `INFO` for standard output, `WARN` for standard error.
    Log,
    /// The program's standard error, each line with its run in front.
    Stderr,
    /// Nothing: the processes have `/dev/null`.
    Discard,
}

impl TaskOutput {
    const WORDS: [(&'static str, Self); 4] =
        [("auto", Self::Auto), ("log", Self::Log), ("stderr", Self::Stderr), ("discard", Self::Discard)];
}

/// Everything a pool is told.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) max_workers: usize,
    /// How many runs may wait when all workers are busy; any number when `None`.
    pub(crate) queue_size: Option<usize>,
    pub(crate) max_tasks_per_child: Option<u64>,
    /// The program itself when `None`.
    pub(crate) worker: Option<PathBuf>,
    pub(crate) worker_args: Vec<OsString>,
    pub(crate) env: Vec<(OsString, OsString)>,
    pub(crate) inherit_env: InheritEnv,
    pub(crate) max_memory: Option<u64>,
    pub(crate) max_payload: usize,
    pub(crate) kill_grace: Duration,
    pub(crate) start_timeout: Duration,
    pub(crate) output: TaskOutput,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_workers: std::thread::available_parallelism().map_or(1, usize::from),
            queue_size: None,
            max_tasks_per_child: None,
            worker: None,
            worker_args: Vec::new(),
            env: Vec::new(),
            inherit_env: InheritEnv::Default,
            max_memory: None,
            max_payload: DEFAULT_MAX_PAYLOAD,
            kill_grace: DEFAULT_KILL_GRACE,
            start_timeout: DEFAULT_START_TIMEOUT,
            output: TaskOutput::Auto,
        }
    }
}

impl Settings {
    /// When a process is to be killed that is told now to stop its run; never when no clock gets there.
    pub(crate) fn kill_at(&self) -> Option<Instant> {
        Instant::now().checked_add(self.kill_grace)
    }

    /// The environment of a worker process.
    pub(crate) fn environment(&self) -> Vec<(OsString, OsString)> {
        let of_names = |names: &mut dyn Iterator<Item = &str>| {
            names.filter_map(|name| Some((name.into(), std::env::var_os(name)?))).collect()
        };
        let mut environment: Vec<_> = match &self.inherit_env {
            InheritEnv::All => std::env::vars_os().collect(),
            InheritEnv::Nothing => Vec::new(),
            InheritEnv::Default => of_names(&mut DEFAULT_ENVIRONMENT.iter().copied()),
            InheritEnv::Only(names) => of_names(&mut names.iter().map(String::as_str)),
        };
        environment.extend(self.env.iter().cloned());
        environment
    }

    /// Reads a table. Wrong values become its faults.
    pub(crate) fn read(section: &mut Section<'_>) -> Result<Self, Error> {
        let mut settings = Self::default();
        if let Some(count) = section.count("max_workers", MOST_WORKERS) {
            settings.max_workers = count;
        }
        let size = section.integer_in("queue_size", 0, i64::from(u32::MAX));
        settings.queue_size = size.and_then(|size| usize::try_from(size).ok());
        settings.max_tasks_per_child = read_tasks(section);
        settings.worker = section.string("worker").map(PathBuf::from);
        settings.worker_args = read_texts(section, "worker_args").into_iter().map(OsString::from).collect();
        settings.env = read_env(section);
        settings.inherit_env = read_inherit_env(section);
        let memory = section.integer_in("max_memory", LEAST_MEMORY, i64::MAX);
        settings.max_memory = memory.and_then(|bytes| u64::try_from(bytes).ok());
        if let Some(bytes) = section.integer_in("max_payload", 1_024, MOST_PAYLOAD) {
            settings.max_payload = usize::try_from(bytes).unwrap_or(usize::MAX);
        }
        settings.kill_grace = section.duration("kill_grace").unwrap_or(settings.kill_grace);
        settings.start_timeout = section.duration("start_timeout").unwrap_or(settings.start_timeout);
        settings.output = read_output(section);
        if let Some(mut pool_kwargs) = section.section("pool_kwargs") {
            settings.max_tasks_per_child = settings.max_tasks_per_child.or(read_tasks(&mut pool_kwargs));
            section.merge(pool_kwargs);
        }
        Ok(settings)
    }
}

fn read_tasks(section: &mut Section<'_>) -> Option<u64> {
    let count = section.integer_in("max_tasks_per_child", 1, i64::MAX)?;
    u64::try_from(count).ok()
}

fn read_texts(section: &mut Section<'_>, key: &'static str) -> Vec<String> {
    let mut texts = Vec::new();
    for item in section.list(key).unwrap_or_default() {
        match item {
            Value::String(text) => texts.push(text),
            Value::Number(number) => texts.push(number.to_string()),
            _ => section.fault(key, "expected a list of strings"),
        }
    }
    texts
}

fn read_env(section: &mut Section<'_>) -> Vec<(OsString, OsString)> {
    let mut env = Vec::new();
    match section.value("env") {
        None => {}
        Some(Value::Object(table)) => {
            for (name, value) in table {
                match value {
                    Value::String(text) => env.push((name.into(), text.into())),
                    Value::Number(number) => env.push((name.into(), number.to_string().into())),
                    _ => section.fault("env", format!("`{name}` is not a string")),
                }
            }
        }
        Some(_) => section.fault("env", "expected a table of strings"),
    }
    env
}

fn read_inherit_env(section: &mut Section<'_>) -> InheritEnv {
    match section.value("inherit_env") {
        None => InheritEnv::Default,
        Some(Value::Array(names)) => {
            let texts: Option<Vec<String>> =
                names.iter().map(|name| name.as_str().map(str::to_owned)).collect();
            texts.map_or_else(|| wrong_inherit_env(section), InheritEnv::Only)
        }
        Some(value) => match sched_core::config::to_bool(&value) {
            Some(true) => InheritEnv::All,
            Some(false) => InheritEnv::Nothing,
            None => wrong_inherit_env(section),
        },
    }
}

fn wrong_inherit_env(section: &mut Section<'_>) -> InheritEnv {
    section.fault("inherit_env", "expected a boolean or a list of the names of variables");
    InheritEnv::Nothing
}

fn read_output(section: &mut Section<'_>) -> TaskOutput {
    let Some(word) = section.string("output") else { return TaskOutput::Auto };
    let known = TaskOutput::WORDS.iter().find(|(known, _)| *known == word.trim());
    known.map(|(_, output)| *output).unwrap_or_else(|| {
        let words = TaskOutput::WORDS.map(|(word, _)| word).join(", ");
        section.fault("output", format!("`{word}` is not one of {words}"));
        TaskOutput::Auto
    })
}
