//! One connection that listens and sends.

use std::fmt;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use rumqttc::{Client, Connection, Event, Outgoing, Packet, SubAck, SubscribeReasonCode};
use sched_broker::{Ear, Wire};
use sched_core::{Error, ErrorKind};

use crate::config::Config;
use crate::error::{from_client, lost};

/// How many requests may wait for the connection's thread; there is one sender, who waits for each.
const WAITING: usize = 16;

/// How long a message may take to be on its way.
const SENDING: Duration = Duration::from_secs(5);

/// The server, and the connection to it while there is one.
pub(crate) struct MqttWire {
    config: Config,
    session: Mutex<Session>,
    changed: Condvar,
}

#[derive(Default)]
struct Session {
    client: Option<Client>,
    /// Tells connections apart.
    number: u64,
    /// How many messages have left through it.
    sent: u64,
}

impl MqttWire {
    pub(crate) fn new(config: Config) -> Self {
        Self { config, session: Mutex::default(), changed: Condvar::new() }
    }

    fn open(&self) -> (Client, Connection) {
        let (client, mut connection) = Client::new(self.config.options(), WAITING);
        let mut network = connection.eventloop.network_options();
        network.set_connection_timeout(self.config.connect_timeout).set_tcp_nodelay(true);
        connection.eventloop.set_network_options(network);
        (client, connection)
    }

    /// Lets the sender use a connection, as it is up.
    fn begin(&self, client: &Client) {
        let mut session = self.session.lock();
        session.client = Some(client.clone());
        session.number += 1;
    }

    fn end(&self) {
        self.session.lock().client = None;
        self.changed.notify_all();
    }

    /// Does what an event of the connection asks for; says whether it goes on.
    fn handle(&self, event: Event, client: &Client, ear: &Ear) -> Result<bool, Error> {
        let Config { topic, qos, .. } = &self.config;
        match event {
            Event::Incoming(Packet::ConnAck(_)) => client.try_subscribe(topic, *qos).map_err(|_| lost())?,
            Event::Incoming(Packet::SubAck(SubAck { return_codes, .. })) => {
                if return_codes.contains(&SubscribeReasonCode::Failure) {
                    let message = format!("the server refuses the topic `{topic}`");
                    return Err(Error::new(ErrorKind::InvalidConfig, message));
                }
                self.begin(client);
                ear.connected();
            }
            Event::Incoming(Packet::Publish(message)) => ear.hear(&message.payload),
            Event::Outgoing(Outgoing::Publish(_)) => {
                self.session.lock().sent += 1;
                self.changed.notify_all();
            }
            Event::Outgoing(Outgoing::Disconnect) => return Ok(false),
            _ => {}
        }
        Ok(!ear.is_closed())
    }

    fn serve(&self, connection: &mut Connection, client: &Client, ear: &Ear) -> Result<(), Error> {
        for event in connection.iter() {
            if !self.handle(event.map_err(from_client)?, client, ear)? {
                break;
            }
        }
        Ok(())
    }
}

impl Wire for MqttWire {
    const NAME: &'static str = "sched-mqtt";
    const LONGEST: usize = 1 << 16;
    /// The number of the connection, which belongs to the listener.
    type Line = u64;

    fn connect(&self) -> Result<u64, Error> {
        let session = self.session.lock();
        session.client.as_ref().map(|_| session.number).ok_or_else(lost)
    }

    fn send(&self, line: &mut u64, message: &str) -> Result<(), Error> {
        let mut session = self.session.lock();
        let client = session.client.clone().filter(|_| session.number == *line).ok_or_else(lost)?;
        let sent = session.sent;
        client.try_publish(&self.config.topic, self.config.qos, false, message).map_err(|_| lost())?;
        let end = Instant::now() + SENDING;
        while session.sent == sent {
            if session.client.is_none() || session.number != *line {
                return Err(lost());
            }
            if self.changed.wait_until(&mut session, end).timed_out() {
                return Err(Error::new(ErrorKind::Timeout, "the server does not take the message"));
            }
        }
        Ok(())
    }

    fn listen(&self, ear: &Ear) -> Result<(), Error> {
        let (client, mut connection) = self.open();
        let leaving = client.clone();
        ear.when_closed(move || {
            // When it cannot be asked to leave, it is not connected, and finds that it is closed.
            let _ = leaving.try_disconnect();
        });
        let served = self.serve(&mut connection, &client, ear);
        self.end();
        served
    }
}

impl fmt::Display for MqttWire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.config, f)
    }
}

impl fmt::Debug for MqttWire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.config, f)
    }
}
