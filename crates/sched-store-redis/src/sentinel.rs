//! Where the primary is, as Sentinels say.
//!
//! Each is asked over a connection of its own, and nothing is waited for longer than a connection may take: a Sentinel that
//! hangs costs its share of that time. Nothing is remembered, as the primary may be another one each time.

use std::time::{Duration, Instant};

use redis::{Client, Connection, ConnectionAddr, ConnectionInfo, ErrorKind, RedisError, RedisResult, Value};

use crate::config::{Address, Sentinels};
use crate::pool::limit;

/// The least time for a Sentinel or a server, however many there are.
const LEAST: Duration = Duration::from_millis(50);

impl Sentinels {
    /// A connection to the primary, which is spoken to as the store's address says: its login, its database, its encryption.
    pub(crate) fn connect(&self, store: &Address, time: Duration) -> RedisResult<Connection> {
        let end = Instant::now() + time;
        let mut failed = RedisError::from((ErrorKind::Client, "no Sentinel is known"));
        for (asked, sentinel) in self.addresses.iter().enumerate() {
            let left = end.saturating_duration_since(Instant::now());
            // Half of a share is for the question, half for the server that is named.
            let others = u32::try_from(self.addresses.len() - asked).unwrap_or(u32::MAX);
            let share = (left / others.saturating_mul(2)).max(LEAST);
            let primary = self.ask(sentinel, share).and_then(|at| primary(at_address(store, at), share));
            match primary {
                Ok(link) => return Ok(link),
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    /// Host and port of the primary, as one Sentinel says.
    fn ask(&self, sentinel: &Address, time: Duration) -> RedisResult<(String, u16)> {
        let mut link = open(sentinel.0.clone(), time)?;
        let found: Option<(String, u16)> =
            redis::cmd("SENTINEL").arg("get-master-addr-by-name").arg(&self.master).query(&mut link)?;
        let message = "a Sentinel knows no master of this name (`master`)";
        found.ok_or_else(|| (ErrorKind::MasterNameNotFoundBySentinel, message).into())
    }
}

/// A connection to a server that says of itself that it is the primary: a Sentinel may not know yet of a failover.
fn primary(info: ConnectionInfo, time: Duration) -> RedisResult<Connection> {
    let mut link = open(info, time)?;
    let role: Vec<Value> = redis::cmd("ROLE").query(&mut link)?;
    match role.first() {
        Some(Value::BulkString(role)) if role == b"master" => Ok(link),
        _ => Err((ErrorKind::Io, "the server that a Sentinel named is not the primary").into()),
    }
}

fn open(info: ConnectionInfo, time: Duration) -> RedisResult<Connection> {
    let link = Client::open(info)?.get_connection_with_timeout(time)?;
    limit(&link, time)?;
    Ok(link)
}

/// The store's address, at another host and port.
fn at_address(store: &Address, (host, port): (String, u16)) -> ConnectionInfo {
    let addr = match store.0.addr() {
        ConnectionAddr::TcpTls { insecure, tls_params, .. } => {
            ConnectionAddr::TcpTls { host, port, insecure: *insecure, tls_params: tls_params.clone() }
        }
        _ => ConnectionAddr::Tcp(host, port),
    };
    store.0.clone().set_addr(addr)
}
