//! What goes over the wire between a pool and its worker processes: frames, their limits, and nothing that waits.
//!
//! A frame is its length, a letter that says what it is, and a body. Numbers are little-endian; times are microseconds;
//! what belongs to the user (arguments, metadata, results) is JSON, the rest has a fixed order. Both ends are builds of
//! this file, and the first frame in either direction carries the version.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use sched_core::{Args, CancelReason, JobId, MissReason, Outcome, Run, RunId, TaskError, TaskErrorKind};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use uuid::Uuid;

/// The version of this protocol. Ends of different versions refuse each other.
pub(crate) const VERSION: u16 = 3;

/// What a greeting begins with, so that a program can tell it from other input.
const MAGIC: [u8; 8] = *b"sched-wp";

/// The length in front of each frame.
const LENGTH: usize = 4;

/// What a frame holds besides one payload of the user's.
const ENVELOPE: usize = 64 * 1024;

/// The size of a greeting, which is the same for all.
pub(crate) const GREETING: usize = LENGTH + 1 + MAGIC.len() + 2 + 16 + 8 + 8;

/// Why a frame could not be made or read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WireError(pub(crate) String);

impl From<&str> for WireError {
    fn from(message: &str) -> Self {
        Self(message.to_owned())
    }
}

/// What a new process is told first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Greeting {
    /// Also in the environment of the process, so that no other program takes the greeting for its own.
    pub(crate) token: Uuid,
    /// The address space that the process allows itself, in bytes; 0 for any.
    pub(crate) max_memory: u64,
    /// The longest encoded arguments or result, in bytes.
    pub(crate) max_payload: u64,
}

/// A run on its way to a process.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Order {
    /// Counts the runs of one keeper.
    pub(crate) number: u64,
    pub(crate) run: Run,
    pub(crate) args: Args,
    /// When it starts, or when it was sent if it has to wait for others.
    pub(crate) started_at: DateTime<Utc>,
    /// Whether others are before it.
    pub(crate) follows: bool,
    /// When its lease may end, in microseconds of [`uptime`]: it must not start any more.
    pub(crate) lease_end: Option<u64>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) metadata: Option<Arc<Map<String, Value>>>,
}

/// A run as the pool has it at hand, to be encoded.
pub(crate) struct OrderRef<'a> {
    pub(crate) number: u64,
    pub(crate) run: &'a Run,
    pub(crate) args: &'a Args,
    pub(crate) started_at: DateTime<Utc>,
    pub(crate) follows: bool,
    pub(crate) lease_end: Option<u64>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) metadata: Option<&'a Map<String, Value>>,
}

/// What a pool tells a process.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ToWorker {
    Greeting(Greeting),
    Order(Box<Order>),
    /// The run of this number is to stop, for this reason.
    Cancel(u64, CancelReason),
    /// Runs that have not begun are to be given back.
    Recall,
}

/// What a process tells its pool.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ToPool {
    /// It serves.
    Ready,
    /// It got to the point of starting a pool of its own without having served: `init` was not called.
    Astray,
    /// It could not come up.
    Unfit(String),
    /// The run of this number is over.
    Done(u64, Outcome),
    /// The run of this number did not start: its lease may have ended.
    Late(u64),
    /// So many of the last runs it was sent have not begun and never will.
    Returned(u32),
}

/// The tag of one letter that each kind of frame has.
mod tag {
    pub(super) const GREETING: u8 = b'g';
    pub(super) const ORDER: u8 = b'o';
    pub(super) const CANCEL: u8 = b'c';
    pub(super) const RECALL: u8 = b'r';
    pub(super) const READY: u8 = b'y';
    pub(super) const ASTRAY: u8 = b'a';
    pub(super) const UNFIT: u8 = b'u';
    pub(super) const DONE: u8 = b'd';
    pub(super) const LATE: u8 = b'l';
    pub(super) const RETURNED: u8 = b'b';
}

/// Appends one frame to `out`. When it cannot be made, `out` is as it was.
fn frame(
    out: &mut Vec<u8>,
    tag: u8,
    body: impl FnOnce(&mut Writer<'_>) -> Result<(), WireError>,
) -> Result<(), WireError> {
    let begin = out.len();
    out.extend([0; LENGTH]);
    out.push(tag);
    let made = body(&mut Writer(out)).and_then(|()| {
        u32::try_from(out.len() - begin - LENGTH).map_err(|_| WireError::from("it is longer than 4 GiB"))
    });
    match made {
        Ok(length) => {
            out[begin..begin + LENGTH].copy_from_slice(&length.to_le_bytes());
            Ok(())
        }
        Err(error) => {
            out.truncate(begin);
            Err(error)
        }
    }
}

/// Appends a frame whose body cannot fail.
fn plain(out: &mut Vec<u8>, tag: u8, body: impl FnOnce(&mut Writer<'_>)) {
    let made = frame(out, tag, |writer| {
        body(writer);
        Ok(())
    });
    debug_assert!(made.is_ok(), "a small frame has no limit to break");
}

impl Greeting {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        plain(out, tag::GREETING, |writer| {
            writer.bytes(&MAGIC);
            writer.bytes(&VERSION.to_le_bytes());
            writer.bytes(self.token.as_bytes());
            writer.u64(self.max_memory);
            writer.u64(self.max_payload);
        });
    }
}

impl OrderRef<'_> {
    /// **Errors**: arguments or metadata that are longer than `max_payload`.
    pub(crate) fn encode(&self, out: &mut Vec<u8>, max_payload: usize) -> Result<(), WireError> {
        frame(out, tag::ORDER, |writer| {
            writer.u64(self.number);
            writer.bytes(self.run.id.as_uuid().as_bytes());
            writer.text(&self.run.store);
            writer.text(&self.run.task);
            writer.optional(self.run.job_id.as_ref(), |writer, id| writer.text(id.as_str()));
            writer.time(self.run.fire_time);
            writer.time(self.run.scheduled_time);
            writer.u32(self.run.attempt);
            writer.time(self.started_at);
            writer.flag(self.follows);
            writer.optional(self.lease_end, Writer::u64);
            writer.optional(self.timeout, |writer, timeout| {
                writer.u64(timeout.as_secs());
                writer.u32(timeout.subsec_nanos());
            });
            writer.json("the metadata", self.metadata, max_payload)?;
            let args = (!self.args.is_empty()).then_some(self.args);
            writer.json("the arguments", args, max_payload)
        })
    }
}

/// The time, in microseconds, by a clock that all processes of this machine share and that goes on while they are stopped.
pub(crate) fn uptime() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let (seconds, nanos) =
        (u64::try_from(time.tv_sec).unwrap_or(0), u64::try_from(time.tv_nsec).unwrap_or(0));
    seconds.saturating_mul(1_000_000).saturating_add(nanos / 1_000)
}

pub(crate) fn encode_cancel(out: &mut Vec<u8>, number: u64, reason: CancelReason) {
    plain(out, tag::CANCEL, |writer| {
        writer.u64(number);
        writer.reason(reason);
    });
}

pub(crate) fn encode_recall(out: &mut Vec<u8>) {
    plain(out, tag::RECALL, |_| ());
}

impl ToPool {
    /// A result that is too long becomes a failure that says so.
    pub(crate) fn encode(&self, out: &mut Vec<u8>, max_payload: usize) {
        match self {
            Self::Ready => plain(out, tag::READY, |writer| writer.bytes(&VERSION.to_le_bytes())),
            Self::Astray => plain(out, tag::ASTRAY, |_| ()),
            Self::Unfit(reason) => plain(out, tag::UNFIT, |writer| writer.text(reason)),
            Self::Late(number) => plain(out, tag::LATE, |writer| writer.u64(*number)),
            Self::Returned(count) => plain(out, tag::RETURNED, |writer| writer.u32(*count)),
            Self::Done(number, outcome) => {
                let made = frame(out, tag::DONE, |writer| {
                    writer.u64(*number);
                    writer.outcome(outcome, max_payload)
                });
                if let Err(WireError(reason)) = made {
                    let failed = Outcome::Failed(TaskError::new(reason));
                    plain(out, tag::DONE, |writer| {
                        writer.u64(*number);
                        // The reason is short.
                        let _ = writer.outcome(&failed, usize::MAX);
                    });
                }
            }
        }
    }
}

/// Why a run is to stop, as a letter.
const REASONS: [(u8, CancelReason); 5] = [
    (b'a', CancelReason::Asked),
    (b't', CancelReason::TimedOut),
    (b'r', CancelReason::Replaced),
    (b's', CancelReason::Shutdown),
    (b'l', CancelReason::Lost),
];

/// Writes the parts of a body.
struct Writer<'a>(&'a mut Vec<u8>);

impl Writer<'_> {
    fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn flag(&mut self, flag: bool) {
        self.0.push(u8::from(flag));
    }

    fn u32(&mut self, number: u32) {
        self.bytes(&number.to_le_bytes());
    }

    fn u64(&mut self, number: u64) {
        self.bytes(&number.to_le_bytes());
    }

    fn time(&mut self, time: DateTime<Utc>) {
        self.bytes(&time.timestamp_micros().to_le_bytes());
    }

    /// A text; what is longer than 4 GiB would break the limit of the frame before.
    fn text(&mut self, text: &str) {
        self.u32(u32::try_from(text.len()).unwrap_or(u32::MAX));
        self.bytes(text.as_bytes());
    }

    fn optional<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.flag(value.is_some());
        if let Some(value) = value {
            write(self, value);
        }
    }

    /// JSON with its length in front; nothing has the length 0.
    fn json<T: Serialize>(&mut self, what: &str, value: Option<&T>, most: usize) -> Result<(), WireError> {
        let begin = self.0.len();
        self.u32(0);
        let Some(value) = value else { return Ok(()) };
        let mut limited = Limited { out: &mut *self.0, left: most, over: false };
        if let Err(error) = serde_json::to_writer(&mut limited, value) {
            return Err(WireError(match limited.over {
                true => format!("{what} would take more than {most} bytes, the limit of `max_payload`"),
                false => format!("{what} cannot be encoded: {error}"),
            }));
        }
        let length = u32::try_from(self.0.len() - begin - LENGTH).map_err(|_| "it is longer than 4 GiB")?;
        self.0[begin..begin + LENGTH].copy_from_slice(&length.to_le_bytes());
        Ok(())
    }

    fn reason(&mut self, reason: CancelReason) {
        let known = REASONS.iter().find(|(_, known)| *known == reason);
        // A run that is to stop is told so, whatever the reason.
        self.0.push(known.map_or(b'a', |(letter, _)| *letter));
    }

    fn outcome(&mut self, outcome: &Outcome, most: usize) -> Result<(), WireError> {
        match outcome {
            Outcome::Succeeded(value) => {
                self.0.push(b's');
                return self.json("the result", Some(value).filter(|value| !value.is_null()), most);
            }
            Outcome::Failed(error) => {
                self.0.push(b'f');
                let (kind, word) = match error.kind() {
                    TaskErrorKind::Panic => (b'p', ""),
                    TaskErrorKind::Arguments => (b'a', ""),
                    TaskErrorKind::Other(word) => (b'o', &**word),
                    _ => (b'e', ""),
                };
                self.0.push(kind);
                self.text(shortened(word, most.min(ENVELOPE / 2)));
                self.text(shortened(error.message(), most));
            }
            Outcome::Missed(_) => self.0.push(b'm'),
            Outcome::Cancelled => self.0.push(b'c'),
            Outcome::TimedOut => self.0.push(b't'),
            Outcome::Abandoned(reason) => {
                self.0.push(b'a');
                self.text(shortened(reason, most));
            }
            _ => return Err("its outcome is not known to the protocol".into()),
        }
        Ok(())
    }
}

/// A text of at most so many bytes.
fn shortened(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or(0)]
}

/// Writes until a limit.
struct Limited<'a> {
    out: &'a mut Vec<u8>,
    left: usize,
    over: bool,
}

impl io::Write for Limited<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.left.checked_sub(bytes.len()) {
            Some(left) => {
                self.left = left;
                self.out.extend_from_slice(bytes);
                Ok(bytes.len())
            }
            None => {
                self.over = true;
                Err(io::ErrorKind::FileTooLarge.into())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Collects what comes over the wire until it makes frames.
#[derive(Debug)]
pub(crate) struct Inbox {
    buffer: Vec<u8>,
    /// Where the bytes that were not read yet begin.
    begin: usize,
    longest: usize,
}

impl Inbox {
    /// An inbox of frames with payloads of at most `max_payload` bytes each.
    pub(crate) fn new(max_payload: usize) -> Self {
        // An order has two payloads: arguments and metadata.
        Self { buffer: Vec::new(), begin: 0, longest: max_payload.saturating_mul(2).saturating_add(ENVELOPE) }
    }

    /// Adds bytes.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        if self.begin > 0 {
            self.buffer.drain(..self.begin);
            self.begin = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame, as tag and body.
    ///
    /// **Errors**: a frame of a length that none has.
    fn next(&mut self) -> Result<Option<(u8, &[u8])>, WireError> {
        let Some((length, rest)) = self.buffer[self.begin..].split_first_chunk::<LENGTH>() else {
            return Ok(None);
        };
        let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
        if length == 0 || length > self.longest {
            return Err(WireError(format!("a frame of {length} bytes")));
        }
        if rest.len() < length {
            return Ok(None);
        }
        let from = self.begin + LENGTH;
        self.begin = from + length;
        Ok(Some((self.buffer[from], &self.buffer[from + 1..self.begin])))
    }

    /// The next frame of a pool. **Errors**: bytes that are none.
    pub(crate) fn next_to_worker(&mut self) -> Result<Option<ToWorker>, WireError> {
        let Some((tag, body)) = self.next()? else { return Ok(None) };
        let mut reader = Reader(body);
        let read = match tag {
            tag::GREETING => ToWorker::Greeting(reader.greeting()?),
            tag::ORDER => ToWorker::Order(Box::new(reader.order()?)),
            tag::CANCEL => ToWorker::Cancel(reader.u64()?, reader.reason()?),
            tag::RECALL => ToWorker::Recall,
            other => return Err(WireError(format!("a frame of the unknown kind {other}"))),
        };
        reader.end().map(|()| Some(read))
    }

    /// The next frame of a process. **Errors**: bytes that are none.
    pub(crate) fn next_to_pool(&mut self) -> Result<Option<ToPool>, WireError> {
        let Some((tag, body)) = self.next()? else { return Ok(None) };
        let mut reader = Reader(body);
        let read = match tag {
            tag::READY => {
                reader.version()?;
                ToPool::Ready
            }
            tag::ASTRAY => ToPool::Astray,
            tag::UNFIT => ToPool::Unfit(reader.text()?.to_owned()),
            tag::DONE => ToPool::Done(reader.u64()?, reader.outcome()?),
            tag::LATE => ToPool::Late(reader.u64()?),
            tag::RETURNED => ToPool::Returned(reader.u32()?),
            other => return Err(WireError(format!("a frame of the unknown kind {other}"))),
        };
        reader.end().map(|()| Some(read))
    }
}

/// Reads the parts of a body.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn chunk<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (chunk, rest) = self.0.split_first_chunk().ok_or("a frame ends early")?;
        self.0 = rest;
        Ok(*chunk)
    }

    fn bytes(&mut self) -> Result<&'a [u8], WireError> {
        let length = usize::try_from(self.u32()?).unwrap_or(usize::MAX);
        let (bytes, rest) = self.0.split_at_checked(length).ok_or("a frame ends early")?;
        self.0 = rest;
        Ok(bytes)
    }

    fn byte(&mut self) -> Result<u8, WireError> {
        self.chunk::<1>().map(|[byte]| byte)
    }

    fn flag(&mut self) -> Result<bool, WireError> {
        self.byte().map(|byte| byte != 0)
    }

    fn u32(&mut self) -> Result<u32, WireError> {
        self.chunk().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, WireError> {
        self.chunk().map(u64::from_le_bytes)
    }

    fn text(&mut self) -> Result<&'a str, WireError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| "a text is not UTF-8".into())
    }

    fn time(&mut self) -> Result<DateTime<Utc>, WireError> {
        let micros = i64::from_le_bytes(self.chunk()?);
        DateTime::from_timestamp_micros(micros).ok_or_else(|| "a time that no calendar has".into())
    }

    fn optional<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, WireError>,
    ) -> Result<Option<T>, WireError> {
        if self.flag()? { read(self).map(Some) } else { Ok(None) }
    }

    fn json<T: DeserializeOwned>(&mut self) -> Result<Option<T>, WireError> {
        let bytes = self.bytes()?;
        if bytes.is_empty() {
            return Ok(None);
        }
        serde_json::from_slice(bytes).map(Some).map_err(|error| WireError(format!("no JSON: {error}")))
    }

    fn version(&mut self) -> Result<(), WireError> {
        let version = u16::from_le_bytes(self.chunk()?);
        if version == VERSION {
            return Ok(());
        }
        Err(WireError(format!("the other end speaks version {version} of the protocol, this one {VERSION}")))
    }

    fn greeting(&mut self) -> Result<Greeting, WireError> {
        if self.chunk()? != MAGIC {
            return Err("no greeting".into());
        }
        self.version()?;
        let token = Uuid::from_bytes(self.chunk()?);
        Ok(Greeting { token, max_memory: self.u64()?, max_payload: self.u64()? })
    }

    fn order(&mut self) -> Result<Order, WireError> {
        let number = self.u64()?;
        let id = RunId::from_uuid(Uuid::from_bytes(self.chunk()?));
        let (store, task) = (Arc::from(self.text()?), Arc::from(self.text()?));
        let job_id = self.optional(|reader| {
            JobId::new(reader.text()?).map_err(|error| WireError(format!("a job id: {error}")))
        })?;
        let (fire_time, scheduled_time, attempt) = (self.time()?, self.time()?, self.u32()?);
        let (started_at, follows) = (self.time()?, self.flag()?);
        let lease_end = self.optional(Self::u64)?;
        let timeout = self.optional(|reader| {
            let (seconds, nanos) = (reader.u64()?, reader.u32()?);
            Ok(Duration::from_secs(seconds).saturating_add(Duration::from_nanos(u64::from(nanos))))
        })?;
        let metadata = self.json()?.map(Arc::new);
        let args = self.json()?.unwrap_or_default();
        let run = Run { id, job_id, store, task, fire_time, scheduled_time, attempt };
        Ok(Order { number, run, args, started_at, follows, lease_end, timeout, metadata })
    }

    fn reason(&mut self) -> Result<CancelReason, WireError> {
        let letter = self.byte()?;
        let known = REASONS.iter().find(|(known, _)| *known == letter);
        known.map(|(_, reason)| *reason).ok_or_else(|| WireError(format!("the unknown reason {letter}")))
    }

    fn outcome(&mut self) -> Result<Outcome, WireError> {
        Ok(match self.byte()? {
            b's' => Outcome::Succeeded(self.json()?.unwrap_or_default()),
            b'f' => {
                let kind = match (self.byte()?, self.text()?) {
                    (b'p', _) => TaskErrorKind::Panic,
                    (b'a', _) => TaskErrorKind::Arguments,
                    (b'o', word) => TaskErrorKind::Other(word.to_owned()),
                    _ => TaskErrorKind::Error,
                };
                Outcome::Failed(TaskError::new(self.text()?).with_kind(kind))
            }
            b'm' => Outcome::Missed(MissReason::TooLate),
            b'c' => Outcome::Cancelled,
            b't' => Outcome::TimedOut,
            b'a' => Outcome::Abandoned(self.text()?.to_owned()),
            other => return Err(WireError(format!("an outcome of the unknown kind {other}"))),
        })
    }

    fn end(&self) -> Result<(), WireError> {
        if self.0.is_empty() { Ok(()) } else { Err("a frame goes on after its end".into()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn order() -> Order {
        let time = |seconds: i64| DateTime::from_timestamp_micros(seconds * 1_000_000 + 7).unwrap();
        let run = Run {
            id: RunId::from_uuid(Uuid::from_u128(7)),
            job_id: Some(JobId::new("nightly \u{1F980}").unwrap()),
            store: Arc::from("default"),
            task: Arc::from("report"),
            fire_time: time(1),
            scheduled_time: time(2),
            attempt: 3,
        };
        let metadata = json!({ "team": "ops" }).as_object().cloned().map(Arc::new);
        Order {
            number: 9,
            run,
            args: json!(["x", 0.1, null]).into(),
            started_at: time(-3),
            follows: true,
            lease_end: Some(11),
            timeout: Some(Duration::new(90, 5)),
            metadata,
        }
    }

    fn encoded(order: &Order, max_payload: usize) -> Result<Vec<u8>, WireError> {
        let mut out = Vec::new();
        let shown = OrderRef {
            number: order.number,
            run: &order.run,
            args: &order.args,
            started_at: order.started_at,
            follows: order.follows,
            lease_end: order.lease_end,
            timeout: order.timeout,
            metadata: order.metadata.as_deref(),
        };
        shown.encode(&mut out, max_payload).map(|()| out)
    }

    #[test]
    fn frames_come_out_as_they_went_in_however_they_are_cut() {
        let bare = Order { args: Args::default(), lease_end: None, timeout: None, metadata: None, ..order() };
        let greeting = Greeting { token: Uuid::from_u128(5), max_memory: 1, max_payload: 2 };
        let mut sent = Vec::new();
        greeting.encode(&mut sent);
        assert_eq!(sent.len(), GREETING);
        sent.extend(encoded(&order(), 1_000).unwrap());
        for (_, reason) in REASONS {
            encode_cancel(&mut sent, 9, reason);
        }
        sent.extend(encoded(&bare, 0).unwrap());
        encode_recall(&mut sent);
        for step in [1, 2, 7, sent.len()] {
            let mut inbox = Inbox::new(1_000);
            let mut got = Vec::new();
            for piece in sent.chunks(step) {
                inbox.push(piece);
                while let Some(frame) = inbox.next_to_worker().unwrap() {
                    got.push(frame);
                }
            }
            let mut expected = vec![ToWorker::Greeting(greeting), ToWorker::Order(Box::new(order()))];
            expected.extend(REASONS.map(|(_, reason)| ToWorker::Cancel(9, reason)));
            expected.extend([ToWorker::Order(Box::new(bare.clone())), ToWorker::Recall]);
            assert_eq!(got, expected, "in steps of {step}");
        }
    }

    #[test]
    fn outcomes_come_back_as_they_are() {
        let word = TaskErrorKind::Other("busy".to_owned());
        let outcomes = [
            Outcome::Succeeded(Value::Null),
            Outcome::Succeeded(json!({ "rows": [1, 2.5, u64::MAX] })),
            Outcome::Failed(TaskError::new("no")),
            Outcome::Failed(TaskError::panicked("no")),
            Outcome::Failed(TaskError::arguments("no")),
            Outcome::Failed(TaskError::new("no").with_kind(word)),
            Outcome::Cancelled,
            Outcome::TimedOut,
            Outcome::Abandoned("gone".to_owned()),
        ];
        for outcome in outcomes {
            let (mut out, mut inbox) = (Vec::new(), Inbox::new(1_000));
            ToPool::Done(4, outcome.clone()).encode(&mut out, 1_000);
            inbox.push(&out);
            assert_eq!(inbox.next_to_pool(), Ok(Some(ToPool::Done(4, outcome))));
        }
    }

    #[test]
    fn what_is_over_the_limit_is_refused_before_it_is_sent() {
        let order = Order { args: json!(["x".repeat(100)]).into(), ..order() };
        let refused = encoded(&order, 100).unwrap_err();
        assert_eq!(refused.0, "the arguments would take more than 100 bytes, the limit of `max_payload`");
        let (mut out, mut inbox) = (Vec::new(), Inbox::new(100));
        ToPool::Done(1, Outcome::Succeeded(json!("x".repeat(100)))).encode(&mut out, 100);
        inbox.push(&out);
        let Ok(Some(ToPool::Done(1, Outcome::Failed(error)))) = inbox.next_to_pool() else {
            panic!("a result that is too long is a failure")
        };
        assert_eq!(error.message(), "the result would take more than 100 bytes, the limit of `max_payload`");
    }

    #[test]
    fn bytes_that_are_no_frames_are_refused() {
        let table: [&[u8]; 6] = [
            &[0, 0, 0, 0],
            &[255, 255, 255, 255],
            &[1, 0, 0, 0, b'?'],
            &[2, 0, 0, 0, b'y', 1],
            &[3, 0, 0, 0, b'y', 99, 0],
            &[4, 0, 0, 0, b'y', 1, 0, 0],
        ];
        for bytes in table {
            let mut inbox = Inbox::new(10);
            inbox.push(bytes);
            assert!(inbox.next_to_pool().is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn no_cut_of_a_frame_makes_a_reader_panic() {
        let whole = encoded(&order(), 1_000).unwrap();
        for cut in 0..whole.len() {
            let body = &whole[(LENGTH + 1).min(cut)..cut];
            assert!(Reader(body).order().is_err(), "cut at {cut}");
        }
    }
}
