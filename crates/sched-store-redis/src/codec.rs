//! Jobs and runs as the scripts keep them, and back.
//!
//! Payloads are those of [`sched_core::codec`]. Around them is what the scripts order, count and compare by: a job's cursor,
//! a run's record, the ending of a run. The scripts say what each looks like; nothing here talks to a server.

use std::fmt::Write;

use chrono::{DateTime, Utc};
use sched_core::codec::{Codec, RunHead, from_micros, to_micros};
use sched_core::{
    Attempt, Cursor, Error, ErrorKind, FencingToken, Job, JobId, JobStatus, Outcome, Overlap, QueuedRun,
    RunId, RunRecord, RunState, StoreContext, StoredJob,
};

/// Where a job is kept: under its run time, or in the set of its state.
pub(crate) fn encode_place(cursor: &Cursor) -> String {
    match (cursor.next_run_time, &cursor.status) {
        (Some(time), _) => sortable(time),
        (None, JobStatus::Suspended(_)) => "suspended".to_owned(),
        (None, status) => status.to_string(),
    }
}

/// Stands in a cursor for a run time that there is not, as long as one.
const NO_TIME: &str = "----------------";

/// A cursor as text: next run time as it is ordered, revision, next fire time, last fire time, status.
pub(crate) fn encode_cursor(cursor: &Cursor, revision: u64) -> String {
    let mut text = String::with_capacity(80);
    match cursor.next_run_time {
        Some(time) => push_sortable(&mut text, time),
        None => text.push_str(NO_TIME),
    }
    // Writing to a string does not fail.
    let _ = write!(text, " {revision}");
    for time in [cursor.next_fire_time, cursor.last_fire_time] {
        let _ = match time {
            Some(time) => write!(text, " {}", to_micros(time)),
            None => write!(text, " -"),
        };
    }
    let _ = write!(text, " {}", cursor.status);
    text
}

/// **Errors**: [`Corrupt`](ErrorKind::Corrupt) with the reason.
pub(crate) fn decode_cursor(text: &[u8]) -> Result<Cursor, Error> {
    let text = std::str::from_utf8(text).map_err(|_| corrupt("the cursor is no text"))?;
    let mut words = text.splitn(5, ' ');
    let mut word = || words.next().ok_or_else(|| corrupt("the cursor is cut off"));
    let next_run_time = decode_run_time(word()?)?;
    let revision = word()?.parse().map_err(|_| corrupt("the revision is no number"))?;
    let next_fire_time = decode_time(word()?)?;
    let last_fire_time = decode_time(word()?)?;
    let status = word()?.parse()?;
    Ok(Cursor { next_fire_time, next_run_time, last_fire_time, status, revision })
}

fn decode_run_time(word: &str) -> Result<Option<DateTime<Utc>>, Error> {
    if word == NO_TIME { Ok(None) } else { from_sortable(word).map(Some) }
}

/// A time in microseconds, or `-`.
fn decode_time(word: &str) -> Result<Option<DateTime<Utc>>, Error> {
    match word {
        "-" => Ok(None),
        micros => from_micros(micros.parse().map_err(|_| corrupt("a time is no number"))?).map(Some),
    }
}

/// A time whose text is ordered as the time is: 16 hexadecimal digits.
pub(crate) fn sortable(time: DateTime<Utc>) -> String {
    let mut text = String::with_capacity(TIME);
    push_sortable(&mut text, time);
    text
}

fn push_sortable(text: &mut String, time: DateTime<Utc>) {
    let _ = write!(text, "{:016x}", to_micros(time).cast_unsigned() ^ (1 << 63));
}

/// A moment of a claim as text; what is finer than a microsecond is left away, because nothing is due before its time.
pub(crate) fn sortable_floor(now: DateTime<Utc>) -> String {
    sortable(DateTime::from_timestamp_micros(now.timestamp_micros()).unwrap_or(now))
}

/// **Errors**: [`Corrupt`](ErrorKind::Corrupt).
pub(crate) fn from_sortable(text: &str) -> Result<DateTime<Utc>, Error> {
    let bits = u64::from_str_radix(text, 16).map_err(|_| corrupt("a time is no hexadecimal number"))?;
    from_micros((bits ^ (1 << 63)).cast_signed())
}

/// A run as it is sent.
#[derive(Debug)]
pub(crate) struct RunRow {
    pub(crate) run: RunId,
    pub(crate) id: String,
    pub(crate) record: Vec<u8>,
    /// Whether it is skipped when its job is full.
    pub(crate) skips: bool,
    pub(crate) fire_time: DateTime<Utc>,
}

/// A job's run, of any length; with the token of the claim on its job when it is to be claimed at once.
///
/// **Errors**: [`InvalidJob`](ErrorKind::InvalidJob) for a closure, and for names that no key can hold.
pub(crate) fn encode_run(
    codec: &Codec,
    run: &QueuedRun,
    token: Option<FencingToken>,
) -> Result<RunRow, Error> {
    let payload = codec.encode_run(run)?;
    row_of(run, token, &payload)
}

/// A run that is queued directly.
///
/// **Errors**: as above, and for a payload that is too long.
pub(crate) fn encode_direct_run(codec: &Codec, run: &QueuedRun) -> Result<RunRow, Error> {
    let payload = codec.encode_run(run)?;
    codec.check_run(&payload, run.id)?;
    row_of(run, None, &payload)
}

fn row_of(run: &QueuedRun, token: Option<FencingToken>, payload: &[u8]) -> Result<RunRow, Error> {
    let wrong = |what: &str| {
        let message = format!("run {}: the names of its executor, task and key {what}", run.id);
        Error::new(ErrorKind::InvalidJob, message)
    };
    let options = &run.options;
    let (executor, task) = (&*options.executor, run.call.task.name());
    let key = options.concurrency_key.as_deref().unwrap_or("");
    let job = run.job_id.as_ref().map_or("", JobId::as_str);
    let line = format!("{}:{executor}:{task}", executor.len());
    if line.contains('\n') {
        return Err(wrong("must not have line breaks"));
    }
    let length = |length: usize| u16::try_from(length).map_err(|_| wrong("are too long"));
    let class = LIMITS + line.len() + key.len();
    let mut head = String::with_capacity(CLASS);
    match token {
        Some(FencingToken(token)) => write!(head, "{token:TOKEN$}"),
        None => write!(head, "{:TOKEN$}", ""),
    }
    .unwrap_or_default();
    let priority = (i64::from(i32::MAX) - i64::from(run.priority)).cast_unsigned();
    let _ = write!(head, "{priority:08x}");
    push_sortable(&mut head, run.scheduled_time);
    let mut record = head.into_bytes();
    record.reserve(2 * 2 + class + job.len() + TIME + payload.len());
    record.extend_from_slice(&length(class)?.to_be_bytes());
    record.extend_from_slice(&length(job.len())?.to_be_bytes());
    record.extend_from_slice(&options.max_instances.max(1).to_be_bytes());
    record.extend_from_slice(&options.concurrency_limit.max(1).to_be_bytes());
    record.extend_from_slice(&micros_of(options.result_ttl).to_be_bytes());
    record.extend_from_slice(&length(line.len())?.to_be_bytes());
    for text in [&*line, key, job, &*sortable(run.fire_time)] {
        record.extend_from_slice(text.as_bytes());
    }
    record.extend_from_slice(payload);
    let skips = !job.is_empty() && options.overlap == Overlap::Skip;
    Ok(RunRow { run: run.id, id: run.id.to_string(), record, skips, fire_time: run.fire_time })
}

/// A duration in microseconds, as long as Lua's numbers are exact with a time added.
pub(crate) fn micros_of(duration: std::time::Duration) -> u64 {
    const LONGEST: u64 = 1 << 52;
    u64::try_from(duration.as_micros()).unwrap_or(LONGEST).min(LONGEST)
}

/// The lengths of a token, of a priority, and of a time in a record.
const TOKEN: usize = 20;
const PRIORITY: usize = 8;
const TIME: usize = 16;

/// Where a record's class begins.
const CLASS: usize = TOKEN + PRIORITY + TIME + 2 * 2;

/// The length of what stands in a class before its line.
const LIMITS: usize = 4 + 4 + 8 + 2;

/// A record's fields; `runs.lua` says where they are.
struct Fields<'a> {
    place: &'a str,
    line: &'a str,
    job: &'a str,
    fire_time: &'a str,
    payload: &'a [u8],
}

impl<'a> Fields<'a> {
    fn read(record: &'a [u8]) -> Option<Self> {
        let (head, rest) = record.split_at_checked(CLASS)?;
        let (place, lengths) = head.get(TOKEN..)?.split_at_checked(PRIORITY + TIME)?;
        let (class, job) = lengths.split_at_checked(2)?;
        let (class, rest) = rest.split_at_checked(length(class)?)?;
        let (job, rest) = rest.split_at_checked(length(job)?)?;
        let (fire_time, payload) = rest.split_at_checked(TIME)?;
        let (limits, names) = class.split_at_checked(LIMITS)?;
        let line = names.get(..length(limits.get(LIMITS - 2..)?)?)?;
        let text = |bytes: &'a [u8]| std::str::from_utf8(bytes).ok();
        Some(Self {
            place: text(place)?,
            line: text(line)?,
            job: text(job)?,
            fire_time: text(fire_time)?,
            payload,
        })
    }

    /// **Errors**: [`Corrupt`](ErrorKind::Corrupt).
    fn head<'h>(&'h self, id: &'h str) -> Result<RunHead<'h>, Error> {
        let inverted = self.place.get(..PRIORITY).and_then(|digits| i64::from_str_radix(digits, 16).ok());
        let priority = inverted.and_then(|digits| i32::try_from(i64::from(i32::MAX) - digits).ok());
        let task = self
            .line
            .split_once(':')
            .and_then(|(length, rest)| rest.get(length.parse::<usize>().ok()?..)?.strip_prefix(':'));
        Ok(RunHead {
            id,
            job_id: Some(self.job).filter(|job| !job.is_empty()),
            task: task.ok_or_else(|| corrupt("the line of a run is none"))?,
            fire_time: from_sortable(self.fire_time)?,
            scheduled_time: from_sortable(self.place.get(PRIORITY..).unwrap_or_default())?,
            priority: priority.ok_or_else(|| corrupt("the priority of a run is none"))?,
        })
    }
}

/// A length in a record.
fn length(bytes: &[u8]) -> Option<usize> {
    Some(usize::from(u16::from_be_bytes(bytes.try_into().ok()?)))
}

/// **Errors**: [`Corrupt`](ErrorKind::Corrupt) with the reason.
pub(crate) fn decode_run(
    codec: &Codec,
    id: &str,
    record: &[u8],
    context: &StoreContext,
) -> Result<QueuedRun, Error> {
    let fields = Fields::read(record).ok_or_else(|| corrupt("its record is cut off"))?;
    codec.decode_run(fields.payload, fields.head(id)?, context)
}

/// The attempts so far, and those that ended. Attempts that do not decode are left out.
pub(crate) fn decode_tries(codec: &Codec, tries: Option<&[u8]>) -> (u32, Vec<Attempt>) {
    let Some(at) = tries.and_then(|tries| tries.iter().position(|byte| *byte == b'\n')) else {
        return (0, Vec::new());
    };
    let (attempt, history) = tries.unwrap_or_default().split_at(at);
    let history = match &history[1..] {
        [] => Vec::new(),
        history => codec.decode_history(history).unwrap_or_default(),
    };
    (number(attempt).unwrap_or(0), history)
}

/// The ending of a run as text: the outcome's word, when it started, when it ended, and, in a line of its own, the
/// outcome's data.
pub(crate) fn encode_ending(
    codec: &Codec,
    outcome: &Outcome,
    started_at: Option<DateTime<Utc>>,
    finished_at: DateTime<Utc>,
) -> Vec<u8> {
    let (word, data) = codec.encode_outcome(outcome);
    let started = started_at.map_or_else(|| "-".to_owned(), |time| to_micros(time).to_string());
    let mut ending = format!("{word} {started} {}\n", to_micros(finished_at)).into_bytes();
    ending.extend(data.unwrap_or_default());
    ending
}

/// The attempt that ended, and how.
fn decode_ending(codec: &Codec, ending: &[u8]) -> Result<(u32, RunState), Error> {
    let cut_off = || corrupt("the ending of a run is cut off");
    let at = ending.iter().position(|byte| *byte == b'\n').ok_or_else(cut_off)?;
    let (head, data) = ending.split_at(at);
    let head = std::str::from_utf8(head).map_err(|_| cut_off())?;
    let mut words = head.split(' ');
    let mut word = || words.next().ok_or_else(cut_off);
    let attempt = word()?.parse().map_err(|_| cut_off())?;
    let (outcome, started_at, finished_at) = (word()?, decode_time(word()?)?, decode_time(word()?)?);
    let data = Some(&data[1..]).filter(|data| !data.is_empty());
    let (outcome, finished_at) = (codec.decode_outcome(outcome, data)?, finished_at.ok_or_else(cut_off)?);
    Ok((attempt, RunState::Finished { outcome, started_at, finished_at }))
}

/// A run's row as it is listed.
#[derive(Debug)]
pub(crate) struct RunCells {
    pub(crate) id: String,
    pub(crate) record: Vec<u8>,
    pub(crate) claim: Option<Vec<u8>>,
    pub(crate) lease: Option<Vec<u8>>,
    pub(crate) ending: Option<Vec<u8>>,
    pub(crate) tries: Option<Vec<u8>>,
}

impl RunCells {
    /// The row. One whose payload does not decode is shown without arguments and options.
    ///
    /// **Errors**: [`Corrupt`](ErrorKind::Corrupt).
    pub(crate) fn decode(&self, codec: &Codec, context: &StoreContext) -> Result<RunRecord, Error> {
        let fields = Fields::read(&self.record).ok_or_else(|| corrupt("its record is cut off"))?;
        let head = fields.head(&self.id)?;
        let run = codec.decode_run(fields.payload, head, context);
        let run = run.or_else(|_| codec.bare_run(head, context))?;
        let (mut attempt, history) = decode_tries(codec, self.tries.as_deref());
        let state = match (&self.ending, &self.claim) {
            (Some(ending), _) => {
                let state;
                (attempt, state) = decode_ending(codec, ending)?;
                state
            }
            (None, Some(claim)) => {
                let claim = std::str::from_utf8(claim).map_err(|_| corrupt("a claim is no text"))?;
                let mut words = claim.splitn(3, ' ').skip(1);
                let claimed = words.next().and_then(|word| word.parse().ok());
                attempt = claimed.ok_or_else(|| corrupt("the attempt of a claim is no number"))?;
                let owner = words.next().unwrap_or_default().into();
                let lease_until = self.lease.as_deref().and_then(number);
                RunState::Running { owner, lease_until: from_micros(lease_until.unwrap_or(0))? }
            }
            (None, None) => RunState::Queued,
        };
        Ok(RunRecord { run, attempt, state, history })
    }
}

/// A job as it is read.
#[derive(Debug)]
pub(crate) struct JobRow<'a> {
    pub(crate) id: &'a str,
    pub(crate) payload: Option<Vec<u8>>,
    pub(crate) cursor: Option<Vec<u8>>,
    /// Why it is in quarantine.
    pub(crate) reason: Option<Vec<u8>>,
}

impl JobRow<'_> {
    /// **Errors**: [`Corrupt`](ErrorKind::Corrupt) with the reason.
    pub(crate) fn decode(&self, codec: &Codec, context: &StoreContext) -> Result<Job, Error> {
        let payload = self.payload.as_deref().ok_or_else(|| corrupt("the payload is missing"))?;
        let cursor = self.cursor.as_deref().ok_or_else(|| corrupt("the cursor is missing"))?;
        codec.decode_job(payload, self.id, decode_cursor(cursor)?, context)
    }

    /// The revision's digits; nothing when the cursor has none.
    pub(crate) fn revision(&self) -> &str {
        let cursor = std::str::from_utf8(self.cursor.as_deref().unwrap_or_default()).unwrap_or_default();
        let mut words = cursor.split(' ');
        let (time, revision, more) = (words.next(), words.next(), words.next());
        match revision {
            Some(digits)
                if !digits.is_empty()
                    && digits.bytes().all(|byte| byte.is_ascii_digit())
                    && time.is_some_and(|time| !time.is_empty())
                    && more.is_some() =>
            {
                digits
            }
            _ => "",
        }
    }

    /// The job as it is listed; `None` when there is no row, or not even its id is one.
    pub(crate) fn show(&self, codec: &Codec, context: &StoreContext) -> Option<StoredJob> {
        if self.payload.is_none() && self.cursor.is_none() {
            return None;
        }
        let (next_run_time, reason) = match &self.reason {
            Some(reason) => (None, String::from_utf8_lossy(reason).into_owned()),
            None => match self.decode(codec, context) {
                Ok(job) => return Some(StoredJob::Job(job)),
                Err(error) => (self.next_run_time(), error.to_string()),
            },
        };
        match JobId::new(self.id) {
            Ok(id) => Some(StoredJob::Quarantined { id, next_run_time, reason }),
            Err(error) => {
                tracing::warn!(%error, "a stored job has an invalid id");
                None
            }
        }
    }

    fn next_run_time(&self) -> Option<DateTime<Utc>> {
        let cursor = std::str::from_utf8(self.cursor.as_deref()?).ok()?;
        decode_run_time(cursor.split(' ').next()?).ok()?
    }
}

/// A number in text.
pub(crate) fn number<T: std::str::FromStr>(text: &[u8]) -> Option<T> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

pub(crate) fn corrupt(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Corrupt, message)
}
