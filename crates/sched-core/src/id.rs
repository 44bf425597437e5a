//! The names of things: jobs, runs, schedulers, and the token that fences a stale owner off.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Error, ErrorKind};

/// The longest job id, in characters.
pub const MAX_JOB_ID_CHARS: usize = 512;

/// The longest name of a task, an executor or a concurrency key, in characters.
pub(crate) const MAX_NAME_CHARS: usize = 255;

/// Whether every store can hold a name: 1 to [`MAX_NAME_CHARS`] characters of any script, without control characters.
pub(crate) fn is_name(name: &str) -> bool {
    let fits = name.len() <= MAX_NAME_CHARS || name.chars().count() <= MAX_NAME_CHARS;
    !name.is_empty() && fits && !name.chars().any(char::is_control)
}

/// A job's unique name in its store: 1 to 512 characters of any script, without control characters.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct JobId(Arc<str>);

impl JobId {
    /// **Errors**: [`InvalidJob`](ErrorKind::InvalidJob) when the id is empty, too long or has control characters.
    pub fn new(id: impl Into<Arc<str>>) -> Result<Self, Error> {
        let id = id.into();
        let fits = !id.is_empty() && (id.len() <= MAX_JOB_ID_CHARS || id.chars().count() <= MAX_JOB_ID_CHARS);
        if fits && !id.chars().any(char::is_control) {
            return Ok(Self(id));
        }
        let message =
            format!("id must be a string of 1 to {MAX_JOB_ID_CHARS} characters without control characters");
        Err(Error::new(ErrorKind::InvalidJob, message))
    }

    /// A fresh random id: 32 hexadecimal digits.
    pub fn random() -> Self {
        let mut buffer = Uuid::encode_buffer();
        Self(Arc::from(&*Uuid::from_u64_pair(random_u64(), random_u64()).simple().encode_lower(&mut buffer)))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for JobId {
    type Error = Error;
    fn try_from(id: String) -> Result<Self, Error> {
        Self::new(id)
    }
}

impl From<JobId> for String {
    fn from(id: JobId) -> Self {
        id.0.as_ref().to_owned()
    }
}

impl Borrow<str> for JobId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for JobId {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

/// A run's unique name: a version 7 UUID, so that ids sort by the time they were made.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(Uuid);

impl RunId {
    /// An id from a UUID, for stores that decode one.
    pub fn from_uuid(uuid: Uuid) -> Self {
        Self(uuid)
    }

    /// The id as a UUID.
    pub fn as_uuid(&self) -> &Uuid {
        &self.0
    }

    /// The id that comes before all others.
    pub(crate) const fn least() -> Self {
        Self(Uuid::nil())
    }

    /// A fresh id for a run made at `millis` since the Unix epoch. Cheap: two thread-local random numbers.
    pub fn at(millis: u64) -> Self {
        let mut random = [0; 10];
        random[..8].copy_from_slice(&random_u64().to_be_bytes());
        random[8..].copy_from_slice(&random_u64().to_be_bytes()[..2]);
        Self(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
    }
}

impl std::str::FromStr for RunId {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        let parsed = text.parse().map(Self);
        parsed.map_err(|error| {
            Error::new(ErrorKind::InvalidJob, format!("`{text}` is not a run id")).with_source(error)
        })
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// The number that fences a stale owner off: a write that carries an old token is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FencingToken(pub u64);

impl FencingToken {
    /// The token of a run that was claimed as it was committed, before all others of that run.
    pub const FIRST: Self = Self(1);
}

thread_local! {
    static RANDOM: std::cell::Cell<u64> = std::cell::Cell::new(Uuid::new_v4().as_u64_pair().1 ^ Uuid::new_v4().as_u64_pair().0);
}

/// 64 random bits, not secret: SplitMix64 over a state seeded by the operating system once per thread.
pub(crate) fn random_u64() -> u64 {
    RANDOM.with(|state| {
        let next = state.get().wrapping_add(0x9E37_79B9_7F4A_7C15);
        state.set(next);
        mix64(next)
    })
}

/// The finaliser of SplitMix64: spreads every input bit over the output.
pub(crate) fn mix64(value: u64) -> u64 {
    let mut mixed = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn random_ids_have_32_hexadecimal_digits_and_do_not_repeat() {
        let ids: HashSet<JobId> = (0..100_000).map(|_| JobId::random()).collect();
        assert_eq!(ids.len(), 100_000);
        assert!(
            ids.iter()
                .all(|id| id.as_str().len() == 32 && id.as_str().bytes().all(|b| b.is_ascii_hexdigit()))
        );
        let runs: HashSet<RunId> = (0..100_000).map(|_| RunId::at(1)).collect();
        assert_eq!(runs.len(), 100_000);
    }

    #[test]
    fn bad_ids_are_refused() {
        for bad in ["", "a\nb", &"x".repeat(513)] {
            assert_eq!(JobId::new(bad).unwrap_err().kind(), ErrorKind::InvalidJob, "{bad:?}");
        }
        assert!(JobId::new("\u{e4}".repeat(512)).is_ok());
    }

    #[test]
    fn names_are_such_that_every_store_holds_them() {
        for bad in ["", "a\0", "a\n", &"x".repeat(256)] {
            assert!(!is_name(bad), "{bad:?}");
        }
        assert!(is_name(&"\u{e4}".repeat(255)) && is_name("tenant 7/\u{1f980}"));
    }
}
