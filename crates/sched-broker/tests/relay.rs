//! The suites of brokers on a relay, over a server that passes on every line it is sent.
#![expect(clippy::unwrap_used, reason = "a test: what fails, panics")]

use std::fmt;
use std::io::{BufRead, BufReader, ErrorKind as IoKind, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sched_broker::{Ear, Relay, Wire};
use sched_core::{Error, ErrorKind};
use sched_testkit::{BrokerFixture, Proxy};

/// How often a listener looks whether it is closed.
const LOOK: Duration = Duration::from_millis(50);

#[derive(Debug)]
struct Lines(SocketAddr);

impl fmt::Display for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lines {}", self.0)
    }
}

fn lost(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Unavailable, "the line is lost").with_source(error)
}

/// A connection whose server has said that it is there.
fn connect(address: SocketAddr) -> std::io::Result<BufReader<TcpStream>> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    let mut reader = BufReader::new(stream);
    match reader.read_line(&mut String::new())? {
        0 => Err(IoKind::UnexpectedEof.into()),
        _ => Ok(reader),
    }
}

impl Wire for Lines {
    const NAME: &'static str = "sched-lines";
    const LONGEST: usize = 8_000;
    type Line = BufReader<TcpStream>;

    fn connect(&self) -> Result<Self::Line, Error> {
        connect(self.0).map_err(lost)
    }

    fn send(&self, line: &mut Self::Line, message: &str) -> Result<(), Error> {
        line.get_mut().write_all(format!("{message}\n").as_bytes()).map_err(lost)?;
        // The sender hears itself, so that it knows what arrived.
        match line.read_line(&mut String::new()).map_err(lost)? {
            0 => Err(lost(IoKind::UnexpectedEof.into())),
            _ => Ok(()),
        }
    }

    fn listen(&self, ear: &Ear) -> Result<(), Error> {
        let mut reader = connect(self.0).map_err(lost)?;
        reader.get_ref().set_read_timeout(Some(LOOK)).map_err(lost)?;
        ear.connected();
        let mut line = Vec::new();
        while !ear.is_closed() {
            match reader.read_until(b'\n', &mut line) {
                Ok(0) => return Ok(()),
                Ok(_) => ear.hear(&std::mem::take(&mut line)),
                Err(error) if matches!(error.kind(), IoKind::WouldBlock | IoKind::TimedOut) => {}
                Err(error) => return Err(lost(error)),
            }
        }
        Ok(())
    }
}

/// A server that passes on every line to everybody.
fn serve() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let clients: Arc<Mutex<Vec<TcpStream>>> = Arc::default();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let (clients, reader) = (Arc::clone(&clients), BufReader::new(stream.try_clone().unwrap()));
            let mut all = clients.lock().unwrap();
            if stream.write_all(b"welcome\n").is_ok() {
                all.push(stream);
            }
            drop(all);
            std::thread::spawn(move || {
                for line in reader.split(b'\n').map_while(Result::ok) {
                    let line = [&line[..], b"\n"].concat();
                    clients.lock().unwrap().retain_mut(|client| client.write_all(&line).is_ok());
                }
            });
        }
    });
    address
}

fn two_on_a_server() -> BrokerFixture {
    let address = serve();
    let proxy = Proxy::to(address).unwrap();
    let here = Relay::new(Lines(proxy.address()));
    let stranger = move |message: &[u8]| {
        connect(address).unwrap().get_mut().write_all(&[message, b"\n"].concat()).unwrap();
    };
    BrokerFixture::new(Arc::new(here))
        .with_peer(Arc::new(Relay::new(Lines(address))))
        .with_proxy(proxy)
        .with_stranger(stranger)
        .with_threads(Lines::NAME)
        .with_runtime(|work| work())
}

mod alone {
    sched_testkit::broker_suite!(super::two_on_a_server);
}
mod networked {
    sched_testkit::network_broker_suite!(super::two_on_a_server);
}
