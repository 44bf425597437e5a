//! The choices a job can make, as types with one name each.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Which of several fire times that are due at once become runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Coalesce {
    /// One run, for the latest due fire time.
    #[default]
    Latest,
    /// One run, for the earliest due fire time.
    Earliest,
    /// One run for each, in order, at most `max_catch_up` of them.
    All,
}

impl From<bool> for Coalesce {
    fn from(coalesce: bool) -> Self {
        if coalesce { Self::Latest } else { Self::All }
    }
}

/// What happens when a job is due while `max_instances` runs of it are unfinished.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// The run is a misfire: it does not happen, and an event says so.
    #[default]
    Skip,
    /// The run waits for its turn.
    Queue,
    /// The oldest unfinished run is asked to stop, and this one waits for its turn. Of queued runs, those that this
    /// scheduler runs are asked.
    CancelPrevious,
}

/// What happens when a job is added under an id that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConflictPolicy {
    /// The call fails with [`AlreadyExists`](crate::ErrorKind::AlreadyExists).
    #[default]
    Error,
    /// The job is replaced. An unchanged trigger keeps its next fire time.
    Replace,
    /// The stored job stays as it is.
    Keep,
}

/// How late a run may start and still be worth it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Grace {
    /// However late.
    #[default]
    Unlimited,
    /// At most this much later than its scheduled time; later is a misfire.
    Within(Duration),
}

impl Grace {
    /// Whether a start that is `lateness` late is still in time. Exactly at the limit is in time.
    pub fn allows(self, lateness: Duration) -> bool {
        match self {
            Self::Unlimited => true,
            Self::Within(limit) => lateness <= limit,
        }
    }
}

impl From<Duration> for Grace {
    fn from(limit: Duration) -> Self {
        Self::Within(limit)
    }
}

impl From<Option<Duration>> for Grace {
    fn from(limit: Option<Duration>) -> Self {
        limit.map_or(Self::Unlimited, Self::Within)
    }
}

/// What happens to a job when its trigger ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Retain {
    /// It is removed from its store.
    #[default]
    Remove,
    /// It stays, with status finished, until it is removed by hand.
    Finished,
}

/// What happens to the place of a run whose time was up while its code could not be stopped, as on a thread.
///
/// Either way the run is reported as timed out at once, and its late end is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeoutSlot {
    /// It keeps its place until the code really ends, so that `max_instances` is never exceeded. A run that is to be
    /// tried again always does.
    #[default]
    Hold,
    /// It gives its place up: the job goes on beside the code that hangs.
    Free,
}

/// How a component stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Shutdown {
    /// Wait for unfinished runs, however long they take.
    #[default]
    Wait,
    /// Wait at most this long, then as [`Now`](Shutdown::Now).
    WaitFor(Duration),
    /// Ask runs to cancel and do not wait for them. Threads cannot be killed; they end when their task does.
    Now,
}

impl From<bool> for Shutdown {
    fn from(wait: bool) -> Self {
        if wait { Self::Wait } else { Self::Now }
    }
}

impl From<Duration> for Shutdown {
    fn from(limit: Duration) -> Self {
        Self::WaitFor(limit)
    }
}

/// Who makes sure that a run happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    /// The job is advanced first and then handed to the executor. A crash in between loses that run, and none is
    /// ever doubled. Also written `at_most_once`. The default of stores that do not outlive the process.
    #[serde(alias = "at_most_once")]
    Direct,
    /// Advancing the job and inserting its run is one transaction; the run is leased, renewed, and taken over when
    /// its scheduler dies. The default of persistent stores.
    Durable,
}

/// What a scheduler of a fleet does. All of them can add, change and cancel jobs and runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// It plans jobs that are due, and runs runs.
    #[default]
    Both,
    /// It plans jobs that are due and queues their runs for workers; it needs durable delivery.
    Scheduler,
    /// It runs queued runs and plans no job.
    Worker,
    /// It does neither: for web applications and command lines that look and queue.
    Client,
}

impl Role {
    /// Whether it claims jobs that are due.
    pub fn plans(self) -> bool {
        matches!(self, Self::Both | Self::Scheduler)
    }

    /// Whether it claims runs.
    pub fn runs(self) -> bool {
        matches!(self, Self::Both | Self::Worker)
    }
}

macro_rules! choices {
    ($($name:ident { $($variant:ident = $text:literal),* })*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(match self { $(Self::$variant => $text),* })
            }
        }
        impl $name {
            /// The words a configuration may use.
            pub const WORDS: &'static [&'static str] = &[$($text),*];

            /// Reads one of [`WORDS`](Self::WORDS).
            pub fn from_word(word: &str) -> Option<Self> {
                match word { $($text => Some(Self::$variant),)* _ => None }
            }
        }
    )*};
}

choices! {
    Coalesce { Latest = "latest", Earliest = "earliest", All = "all" }
    Overlap { Skip = "skip", Queue = "queue", CancelPrevious = "cancel_previous" }
    ConflictPolicy { Error = "error", Replace = "replace", Keep = "keep" }
    Retain { Remove = "remove", Finished = "finished" }
    TimeoutSlot { Hold = "hold", Free = "free" }
    Role { Both = "both", Scheduler = "scheduler", Worker = "worker", Client = "client" }
    Delivery { Direct = "direct", Durable = "durable" }
}
