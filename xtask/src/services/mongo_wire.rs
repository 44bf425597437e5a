//! Two questions to a MongoDB server, spoken on the wire: its own shell is in no package, and its driver is large.
//!
//! Knows one message (`OP_MSG`, <https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/>) and the few types
//! of BSON (<https://bsonspec.org/spec.html>) that these questions need. Answers are searched, not decoded.

use crate::run::Failure;
use std::{
    io::{self, Read, Write},
    net::TcpStream,
};

/// The kind of message that asks and answers.
const OP_MSG: i32 = 2013;

/// The largest answer that is read. Real ones have a few hundred bytes.
const LIMIT: usize = 1 << 20;

/// The bytes before a message's document: four numbers of the header, the flags, and the kind of the section.
const PREFIX: usize = 21;

/// Whether the server takes writes: it is alone, or the primary of its replica set.
pub(super) fn is_writable(stream: &mut TcpStream) -> Result<bool, Failure> {
    let answer = ask(stream, Document::new().int("hello", 1))?;
    Ok(answer.has(b"\x08isWritablePrimary\0\x01"))
}

/// Makes the server the only member of a replica set; what it says to that, in words.
pub(super) fn initiate(stream: &mut TcpStream, set: &str, address: &str) -> Result<String, Failure> {
    let member = Document::new().int("_id", 0).text("host", address);
    let members = Document::new().nested(DOCUMENT, "0", member);
    let config = Document::new().text("_id", set).nested(ARRAY, "members", members);
    let answer = ask(stream, Document::new().nested(DOCUMENT, "replSetInitiate", config))?;
    Ok(answer.text("errmsg").unwrap_or_else(|| "an election is under way".to_owned()))
}

const TEXT: u8 = 2;
const DOCUMENT: u8 = 3;
const ARRAY: u8 = 4;
const INT32: u8 = 16;

/// A BSON document that is being written.
struct Document(Vec<u8>);

impl Document {
    fn new() -> Self {
        Self(Vec::new())
    }

    fn key(mut self, kind: u8, name: &str) -> Self {
        self.0.push(kind);
        self.0.extend(name.bytes().chain([0]));
        self
    }

    fn int(self, name: &str, value: i32) -> Self {
        self.key(INT32, name).bytes(&value.to_le_bytes())
    }

    fn text(self, name: &str, value: &str) -> Self {
        self.key(TEXT, name).bytes(&length(value.len() + 1)).bytes(value.as_bytes()).bytes(&[0])
    }

    fn nested(self, kind: u8, name: &str, inner: Self) -> Self {
        self.key(kind, name).bytes(&inner.finish())
    }

    fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// The whole document: its length, counted with itself and the closing zero, comes first.
    fn finish(self) -> Vec<u8> {
        let mut whole = length(self.0.len() + 5).to_vec();
        whole.extend(self.0);
        whole.push(0);
        whole
    }
}

/// A BSON document that was received.
struct Answer(Vec<u8>);

impl Answer {
    fn has(&self, bytes: &[u8]) -> bool {
        self.after(bytes).is_some()
    }

    fn text(&self, name: &str) -> Option<String> {
        let rest = self.after(&Document::new().key(TEXT, name).0)?;
        let text = rest.get(4..)?.split(|byte| *byte == 0).next()?;
        Some(String::from_utf8_lossy(text).into_owned())
    }

    fn after(&self, bytes: &[u8]) -> Option<&[u8]> {
        let at = self.0.windows(bytes.len()).position(|window| window == bytes)?;
        self.0.get(at + bytes.len()..)
    }
}

fn ask(stream: &mut TcpStream, question: Document) -> Result<Answer, Failure> {
    let message = message(&question.text("$db", "admin").finish());
    exchange(stream, &message)
        .map(Answer)
        .map_err(|error| Failure::new(format!("the server does not answer: {error}")))
}

fn exchange(stream: &mut TcpStream, message: &[u8]) -> io::Result<Vec<u8>> {
    stream.write_all(message)?;
    let mut size = [0; 4];
    stream.read_exact(&mut size)?;
    let size = usize::try_from(u32::from_le_bytes(size)).unwrap_or(usize::MAX);
    let rest = size.checked_sub(size_of::<u32>()).filter(|rest| *rest <= LIMIT);
    let mut answer = vec![0; rest.ok_or(io::ErrorKind::InvalidData)?];
    stream.read_exact(&mut answer)?;
    Ok(answer)
}

/// A message with one section, of kind 0: a document.
fn message(document: &[u8]) -> Vec<u8> {
    let mut message = length(PREFIX + document.len()).to_vec();
    let (request_id, answers_to, flags) = (1_i32, 0_i32, 0_i32);
    for number in [request_id, answers_to, OP_MSG, flags] {
        message.extend(number.to_le_bytes());
    }
    message.push(0);
    message.extend(document);
    message
}

/// A length in bytes as the wire has it. What is written here is a few hundred bytes long.
fn length(bytes: usize) -> [u8; 4] {
    i32::try_from(bytes).unwrap_or(i32::MAX).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_written_as_the_specification_shows() {
        let hello = Document::new().text("hello", "world").finish();
        assert_eq!(hello, b"\x16\0\0\0\x02hello\0\x06\0\0\0world\0\0");
        let nested = Document::new().nested(ARRAY, "a", Document::new().int("0", 1)).finish();
        assert_eq!(nested, b"\x14\0\0\0\x04a\0\x0c\0\0\0\x100\0\x01\0\0\0\0\0");
    }

    #[test]
    fn a_message_counts_itself() {
        let message = message(&Document::new().finish());
        assert_eq!(message.len(), PREFIX + 5);
        assert_eq!(message[..4], length(message.len()));
        assert_eq!(message[12..16], OP_MSG.to_le_bytes());
    }

    #[test]
    fn answers_are_searched() {
        let answer = Answer(Document::new().text("errmsg", "already initialized").int("code", 23).finish());
        assert_eq!(answer.text("errmsg").as_deref(), Some("already initialized"));
        assert_eq!(answer.text("ok"), None);
        assert!(answer.has(b"\x10code\0"));
    }
}
