//! URLs of MQTT brokers.

use std::fmt;

/// Where a broker is, and as whom to speak to it. Its text has no password.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Url {
    pub(crate) host: String,
    pub(crate) port: Option<u16>,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<String>,
    pub(crate) tls: bool,
}

impl Url {
    /// Reads `mqtt://[user[:password]@]host[:port]`; the schemes `tcp`, `mqtts` and `ssl` are known too.
    pub(crate) fn parse(url: &str) -> Result<Self, String> {
        let url = url.trim();
        let wrong = |why: &str| format!("`{}` is no url of an MQTT broker: {why}", masked(url));
        if url.is_empty() {
            return Err("this broker needs a url, such as `mqtt://localhost`".to_owned());
        }
        let Some((scheme, rest)) = url.split_once("://") else {
            return Err(wrong("expected `mqtt://[user:password@]host[:port]`"));
        };
        let tls = match scheme {
            "mqtt" | "tcp" => false,
            "mqtts" | "ssl" => true,
            _ => return Err(wrong("expected one of the schemes mqtt, tcp, mqtts, ssl")),
        };
        let (login, place) =
            rest.rsplit_once('@').map_or((None, rest), |(login, place)| (Some(login), place));
        let place = place.strip_suffix('/').unwrap_or(place);
        if place.contains(['/', '?', '#']) {
            return Err(wrong("it has a path or options: give the topic as `topic`"));
        }
        let (host, port) = split_port(place).ok_or_else(|| wrong("the port is no number from 1 to 65535"))?;
        if host.is_empty() || host.contains(char::is_whitespace) {
            return Err(wrong("it has no host"));
        }
        let (username, password) = match login.map(|login| login.split_once(':').unwrap_or((login, ""))) {
            None => (None, None),
            Some((user, password)) => {
                let decoded = decoded(user).zip(decoded(password));
                let (user, password) =
                    decoded.ok_or_else(|| wrong("user and password are to be percent-encoded"))?;
                (Some(user), Some(password).filter(|password| !password.is_empty()))
            }
        };
        Ok(Self { host: host.to_owned(), port, username, password, tls })
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.host)
    }
}

/// Host and port; an address of version 6 is in brackets, which it keeps.
fn split_port(place: &str) -> Option<(&str, Option<u16>)> {
    match place.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => {
            let port = port.parse().ok().filter(|port| *port > 0)?;
            Some((host, Some(port)))
        }
        _ => Some((place, None)),
    }
}

/// The URL without its password.
pub(crate) fn masked(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    // A password may hold any of the characters that end an authority, so that the last `@` counts.
    match rest.rsplit_once('@') {
        Some((login, host)) => match login.split_once(':') {
            Some((user, _)) => format!("{scheme}://{user}:***@{host}"),
            None => url.to_owned(),
        },
        None => url.to_owned(),
    }
}

/// Text whose percent-encoding is undone.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let (high, low) = (hex(rest.next()?)?, hex(rest.next()?)?);
                bytes.push(high << 4 | low);
            }
            _ => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).ok()
}

fn hex(digit: u8) -> Option<u8> {
    u8::try_from(char::from(digit).to_digit(16)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_a_host_and_perhaps_more() {
        let plain = |host: &str, port| Url {
            host: host.to_owned(),
            port,
            username: None,
            password: None,
            tls: false,
        };
        let login = |user: &str, password: Option<&str>| Url {
            username: Some(user.to_owned()),
            password: password.map(str::to_owned),
            ..plain("host", None)
        };
        let table = [
            ("mqtt://localhost", plain("localhost", None)),
            ("tcp://localhost:1884/", plain("localhost", Some(1884))),
            ("mqtt://[::1]", plain("[::1]", None)),
            ("mqtt://[::1]:9", plain("[::1]", Some(9))),
            ("mqtts://localhost", Url { tls: true, ..plain("localhost", None) }),
            ("ssl://localhost", Url { tls: true, ..plain("localhost", None) }),
            ("mqtt://me:hunter2@host", login("me", Some("hunter2"))),
            ("mqtt://me@host", login("me", None)),
            ("mqtt://m%C3%A9:a%40b%3a@host", login("m\u{e9}", Some("a@b:"))),
            ("mqtt://me:a@b/c@host", login("me", Some("a@b/c"))),
        ];
        for (url, expected) in table {
            let parsed = Url::parse(url).unwrap();
            assert!(parsed == expected, "{url}: {parsed:?}");
        }
    }

    #[test]
    fn wrong_urls_are_explained_without_their_password() {
        let table = [
            ("", "needs a url"),
            ("localhost", "expected `mqtt://"),
            ("http://host", "schemes"),
            ("mqtt://", "no host"),
            ("mqtt://host:0", "port"),
            ("mqtt://host:65536", "port"),
            ("mqtt://me:hunter2@host:port", "port"),
            ("mqtt://me:hunter2@host/topic", "`topic`"),
            ("mqtt://host?qos=1", "options"),
            ("mqtt://me:hunter2%@host", "percent-encoded"),
            ("mqtt://me:hunter2%zz@host", "percent-encoded"),
            ("mqtt://me:hunter2%ff@host", "percent-encoded"),
        ];
        for (url, expected) in table {
            let message = Url::parse(url).unwrap_err();
            assert!(message.contains(expected) && !message.contains("hunter2"), "{url}: {message}");
        }
    }
}
