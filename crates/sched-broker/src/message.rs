//! Notices as messages: a list in JSON, in as many messages as its length needs.

use sched_core::{Error, ErrorKind, Notice};

/// The longest message that is read, in bytes. What a broker of this project sends is far below.
const LONGEST_READ: usize = 1 << 20;

/// Notices as messages of at most `longest` bytes each. A notice that is longer by itself is left out, which is logged;
/// others find what it is about when they poll.
pub fn encode(notices: &[Notice], longest: usize) -> Vec<String> {
    let mut messages: Vec<String> = Vec::new();
    for notice in notices {
        let text = match serde_json::to_string(notice) {
            Ok(text) if text.len() + "[]".len() <= longest => text,
            Ok(text) => {
                tracing::warn!(bytes = text.len(), longest, "a notice is too long for the event broker");
                continue;
            }
            Err(error) => {
                tracing::warn!(%error, "a notice could not be written");
                continue;
            }
        };
        match messages.last_mut() {
            Some(last) if last.len() + text.len() + ",]".len() <= longest => {
                last.push(',');
                last.push_str(&text);
            }
            _ => messages.push(format!("[{text}")),
        }
    }
    messages.iter_mut().for_each(|message| message.push(']'));
    messages
}

/// The notices of a message.
///
/// **Errors**: [`Corrupt`](ErrorKind::Corrupt) when it is somebody else's.
pub fn decode(message: &[u8]) -> Result<Vec<Notice>, Error> {
    if message.len() > LONGEST_READ {
        let text = format!("{} bytes are too many for a list of notices", message.len());
        return Err(Error::new(ErrorKind::Corrupt, text));
    }
    let no_notices = |error| Error::new(ErrorKind::Corrupt, "it is no list of notices").with_source(error);
    serde_json::from_slice(message).map_err(no_notices)
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::DateTime;

    fn notice(origin: &str) -> Notice {
        Notice { origin: origin.into(), store: "default".into(), due: DateTime::UNIX_EPOCH }
    }

    #[test]
    fn messages_are_as_long_as_they_may_be_and_hold_everything() {
        let notices: Vec<_> = (0..500).map(|number| notice(&format!("\u{e4}{number}"))).collect();
        let messages = encode(&notices, 1_000);
        assert!(messages.iter().all(|message| message.len() <= 1_000));
        let shortest = messages[..messages.len() - 1].iter().map(String::len).min();
        assert!(shortest > Some(900), "{shortest:?}");
        let read: Vec<_> = messages.iter().flat_map(|message| decode(message.as_bytes()).unwrap()).collect();
        assert_eq!(read, notices);
        assert!(encode(&[], 1_000).is_empty());
    }

    #[test]
    fn a_notice_that_is_too_long_does_not_keep_others_back() {
        let notices = [notice("a"), notice(&"b".repeat(1_000)), notice("c")];
        let messages = encode(&notices, 1_000);
        assert_eq!(messages.len(), 1);
        assert_eq!(decode(messages[0].as_bytes()).unwrap(), [notice("a"), notice("c")]);
        let exactly = messages[0].len();
        assert_eq!(encode(&notices, exactly), messages);
        assert_eq!(encode(&notices, exactly - 1).len(), 2);
    }

    #[test]
    fn what_is_no_list_of_notices_is_an_error() {
        let long = "[".repeat(LONGEST_READ + 1);
        for message in ["", "{}", "[{\"origin\":1}]", "[[[[", "\u{0}", &long] {
            assert_eq!(decode(message.as_bytes()).unwrap_err().kind(), ErrorKind::Corrupt);
        }
        assert_eq!(decode(b"\xff").unwrap_err().kind(), ErrorKind::Corrupt);
    }
}
