//! `sched next --batch`: one request a line in, one answer a line out, in order.
//!
//! A bad line is answered with an error and the next is read. Memory is bounded by the longest line that is
//! accepted, not by what is sent.

use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::panic::AssertUnwindSafe;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use sched::triggers::{Preview, preview};
use sched::{BuildContext, Error, ErrorKind, Registry, time};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::failure::Failure;
use crate::next::shown_zone;
use crate::{plugins, times};

/// The longest line that is read, in bytes.
const MAX_LINE: usize = 1024 * 1024;

/// The most fire times that one request may ask for.
const MAX_COUNT: u64 = 100_000;

/// The size of the buffers for input and output.
const BUFFER: usize = 64 * 1024;

/// How many fire times are listed when a request does not say.
const DEFAULT_COUNT: u64 = 5;

#[derive(Serialize)]
struct Answer {
    id: Value,
    #[serde(flatten)]
    body: Body,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Body {
    Fires { fires: Vec<String>, exhausted: bool },
    Error { error: Refusal },
}

#[derive(Debug, Serialize)]
struct Refusal {
    kind: String,
    message: String,
}

impl Refusal {
    /// The line is no request.
    fn bad_line(message: impl Into<String>) -> Self {
        Self { kind: "bad_line".to_owned(), message: message.into() }
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self { kind: kind_name(error.kind()), message: error.to_string() }
    }
}

/// The kind's name in snake case. Derived from its `Debug` form, so that a kind added later has a name, too.
fn kind_name(kind: ErrorKind) -> String {
    let mut name = String::new();
    for letter in format!("{kind:?}").chars() {
        if letter.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name
}

/// Answers standard input on standard output, until the input ends or nobody reads the answers.
pub(crate) fn answer_all() -> Result<(), Failure> {
    let registry = plugins::linked().build()?;
    let mut input = BufReader::with_capacity(BUFFER, io::stdin());
    let mut output = BufWriter::with_capacity(BUFFER, io::stdout().lock());
    match answer_lines(&registry, &mut input, &mut output) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::new(error)),
        _ => Ok(()),
    }
}

fn answer_lines(
    registry: &Registry,
    input: &mut BufReader<impl Read>,
    output: &mut impl Write,
) -> io::Result<()> {
    let mut line = Vec::new();
    while let Some(read) = read_line(input, output, &mut line)? {
        let answer = match read {
            Line::Whole => answer(registry, &line),
            Line::TooLong => {
                let message = format!("the line is longer than {MAX_LINE} bytes");
                Answer { id: Value::Null, body: Body::Error { error: Refusal::bad_line(message) } }
            }
        };
        serde_json::to_writer(&mut *output, &answer)?;
        output.write_all(b"\n")?;
    }
    output.flush()
}

fn answer(registry: &Registry, line: &[u8]) -> Answer {
    let mut id = Value::Null;
    let body = match answer_request(registry, line, &mut id) {
        Ok(body) => body,
        Err(error) => Body::Error { error },
    };
    Answer { id, body }
}

fn answer_request(registry: &Registry, line: &[u8], id: &mut Value) -> Result<Body, Refusal> {
    let request: Value =
        serde_json::from_slice(line).map_err(|error| Refusal::bad_line(format!("not JSON: {error}")))?;
    let Value::Object(mut request) = request else {
        return Err(Refusal::bad_line("expected a JSON object"));
    };
    *id = request.remove("id").unwrap_or_default();
    let request = Request::read(request)?;
    let walk = AssertUnwindSafe(|| request.walk(registry));
    std::panic::catch_unwind(walk)
        .unwrap_or_else(|_| Err(Error::new(ErrorKind::Unexpected, "the trigger panicked").into()))
}

struct Request {
    trigger: Value,
    timezone: Tz,
    previous: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
    count: usize,
}

impl Request {
    fn read(mut request: Map<String, Value>) -> Result<Self, Refusal> {
        let mut take = |key: &str| request.remove(key).filter(|value| !value.is_null());
        let text = |key: &str, value: Option<Value>| match value {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(Refusal::bad_line(format!("{key}: expected text"))),
        };
        let timezone = match text("timezone", take("timezone"))? {
            Some(name) => time::parse_timezone(&name)?,
            None => Tz::UTC,
        };
        let moment = |key: &str, value: Option<Value>| match text(key, value)? {
            Some(text) => time::parse_datetime(&text, timezone)
                .map(Some)
                .map_err(|error| Refusal::bad_line(format!("{key}: {error}"))),
            None => Ok(None),
        };
        let previous = moment("previous", take("previous"))?;
        let now = moment("now", take("now"))?.unwrap_or_else(times::this_second);
        let count = match take("count") {
            None => Some(DEFAULT_COUNT),
            Some(value) => value.as_u64().filter(|count| *count <= MAX_COUNT),
        };
        let count = count.and_then(|count| usize::try_from(count).ok());
        let count = count.ok_or_else(|| Refusal::bad_line(format!("count: expected 0 to {MAX_COUNT}")))?;
        let trigger =
            take("trigger").ok_or_else(|| Refusal::bad_line("trigger: missing, expected a table"))?;
        Ok(Self { trigger, timezone, previous, now, count })
    }

    fn walk(self, registry: &Registry) -> Result<Body, Refusal> {
        let shown = shown_zone(&self.trigger);
        let context = BuildContext { registry, timezone: self.timezone };
        let trigger = registry.trigger("trigger", self.trigger, context)?;
        let Preview { fires, exhausted } = preview(&*trigger, self.previous, self.now, self.count)?;
        let zone = shown(&*trigger, self.timezone);
        let fires = fires.into_iter().map(|fire| times::rfc3339(fire, zone)).collect();
        Ok(Body::Fires { fires, exhausted })
    }
}

enum Line {
    Whole,
    TooLong,
}

/// Reads a line into `line`, without its end; `None` at the end of the input. A line that is too long is read to
/// its end and dropped. Before it waits for input it sends the answers so far: the other side may wait for them.
fn read_line(
    input: &mut BufReader<impl Read>,
    output: &mut impl Write,
    line: &mut Vec<u8>,
) -> io::Result<Option<Line>> {
    line.clear();
    let (mut any, mut too_long) = (false, false);
    loop {
        if input.buffer().is_empty() {
            output.flush()?;
        }
        let available = match input.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        };
        if available.is_empty() {
            break;
        }
        any = true;
        let end = available.iter().position(|byte| *byte == b'\n');
        let piece = &available[..end.unwrap_or(available.len())];
        too_long |= line.len() + piece.len() > MAX_LINE;
        if !too_long {
            line.extend_from_slice(piece);
        }
        let used = piece.len() + usize::from(end.is_some());
        input.consume(used);
        if end.is_some() {
            break;
        }
    }
    Ok(any.then_some(if too_long { Line::TooLong } else { Line::Whole }))
}
