//! Connections: at most so many, made when they are needed, looked at before they are used again after a rest.

use std::fmt;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use redis::{Cmd, ConnectionLike, RedisResult, Value};
use sched_core::{Error, ErrorKind};

use crate::config::Config;
#[cfg(feature = "sentinel")]
use crate::config::Sentinels;
use crate::error::{from_client, is_lost, spoils_connection};
use crate::script::{self, Request};

/// A connection that rested longer is asked whether it is alive.
const REST: Duration = Duration::from_secs(10);

type Link = Box<dyn ConnectionLike + Send>;

/// The connections of a started store.
pub(crate) struct Pool {
    config: Config,
    target: Target,
    state: Mutex<State>,
    returned: Condvar,
}

/// How a connection is made.
enum Target {
    Server(Box<redis::Client>),
    #[cfg(feature = "sentinel")]
    Sentinels(Sentinels),
    #[cfg(feature = "cluster")]
    Cluster(Box<redis::cluster::ClusterClient>),
}

#[derive(Default)]
struct State {
    idle: Vec<(Link, Instant)>,
    /// Those in use included.
    open: usize,
}

impl Pool {
    /// A pool without a connection.
    pub(crate) fn new(config: Config) -> Result<Self, Error> {
        let target = Target::of(&config).map_err(|error| from_client(error, &config.address))?;
        Ok(Self { config, target, state: Mutex::default(), returned: Condvar::new() })
    }

    /// Runs a script.
    pub(crate) fn call(&self, request: &Request) -> Result<Value, Error> {
        self.query(|link| run(link, request))
    }

    /// Runs a script that writes, and waits for the replicas that are to have it.
    pub(crate) fn write(&self, request: &Request) -> Result<Value, Error> {
        let wanted = self.config.wait_replicas;
        if wanted == 0 {
            return self.call(request);
        }
        let limit = u64::try_from(self.config.response_timeout.as_millis() / 2).unwrap_or(u64::MAX);
        let answer = self.query(|link| {
            // `WAIT` speaks of what its own connection wrote.
            let answer = run(link, request)?;
            let have = send(link, redis::cmd("WAIT").arg(wanted).arg(limit.max(1)))?;
            Ok(Value::Array(vec![answer, have]))
        })?;
        let [answer, have] = script::list_of(answer)?;
        let have = script::count(&have)?;
        if have >= usize::try_from(wanted).unwrap_or(usize::MAX) {
            return Ok(answer);
        }
        let message = format!("written, but {have} of {wanted} replicas have it (`wait_replicas`)");
        Err(Error::new(ErrorKind::Timeout, message).in_context(&self.config.address))
    }

    /// Runs a plain command that may be repeated.
    pub(crate) fn command(&self, command: &Cmd) -> Result<Value, Error> {
        self.query(|link| send(link, command))
    }

    /// Asks on a connection of the pool. After a lost answer it asks once more, on a fresh connection.
    fn query(&self, ask: impl Fn(&mut Link) -> RedisResult<Value>) -> Result<Value, Error> {
        let mut link = self.check_out()?;
        let mut answer = ask(&mut link);
        if answer.as_ref().is_err_and(is_lost) {
            // The others were cut off as well, as a rule.
            self.drop_idle();
            match self.connect() {
                Ok(fresh) => {
                    link = fresh;
                    answer = ask(&mut link);
                }
                Err(error) => {
                    self.give_up(link);
                    return Err(error);
                }
            }
        }
        match answer.as_ref().is_err_and(spoils_connection) {
            true => self.give_up(link),
            false => self.check_in(link),
        }
        answer.map_err(|error| from_client(error, &self.config.address))
    }

    fn check_out(&self) -> Result<Link, Error> {
        let deadline = Instant::now() + self.config.connect_timeout;
        let mut state = self.state.lock();
        loop {
            if let Some((mut link, since)) = state.idle.pop() {
                drop(state);
                if since.elapsed() < REST || link.check_connection() {
                    return Ok(link);
                }
                self.give_up(link);
                state = self.state.lock();
            } else if state.open < self.config.pool_size {
                state.open += 1;
                drop(state);
                return self.connect().inspect_err(|_| self.forget());
            } else if self.returned.wait_until(&mut state, deadline).timed_out() {
                let message = format!("all {} connections are in use (`pool_size`)", self.config.pool_size);
                return Err(Error::new(ErrorKind::Timeout, message).in_context(&self.config.address));
            }
        }
    }

    fn check_in(&self, link: Link) {
        self.state.lock().idle.push((link, Instant::now()));
        self.returned.notify_one();
    }

    fn give_up(&self, link: Link) {
        drop(link);
        self.forget();
    }

    fn forget(&self) {
        self.state.lock().open -= 1;
        self.returned.notify_one();
    }

    fn drop_idle(&self) {
        let mut state = self.state.lock();
        state.open -= state.idle.len();
        let idle = std::mem::take(&mut state.idle);
        drop(state);
        drop(idle);
    }

    fn connect(&self) -> Result<Link, Error> {
        let link = self.target.connect(&self.config);
        link.map_err(|error| from_client(error, &self.config.address).in_context("cannot connect"))
    }
}

/// Runs a script; a server that does not know it is told.
fn run(link: &mut Link, request: &Request) -> RedisResult<Value> {
    match send(link, &request.command) {
        Err(error) if error.code() == Some("NOSCRIPT") => {
            send(link, redis::cmd("SCRIPT").arg("LOAD").arg(request.script.text))?;
            send(link, &request.command)
        }
        answer => answer,
    }
}

/// An error that the server answers comes as a value.
fn send(link: &mut Link, command: &Cmd) -> RedisResult<Value> {
    link.req_command(command)?.extract_error()
}

impl Target {
    fn of(config: &Config) -> RedisResult<Self> {
        #[cfg(feature = "tls")]
        // Whoever chose a provider for the whole program has decided already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        #[cfg(feature = "sentinel")]
        if let Some(sentinels) = &config.sentinels {
            return Ok(Self::Sentinels(sentinels.clone()));
        }
        #[cfg(feature = "cluster")]
        if config.cluster {
            let info = config.address.0.clone();
            let builder = redis::cluster::ClusterClient::builder([info]);
            let builder = builder.connection_timeout(config.connect_timeout);
            return Ok(Self::Cluster(Box::new(builder.response_timeout(config.response_timeout).build()?)));
        }
        Ok(Self::Server(Box::new(redis::Client::open(config.address.0.clone())?)))
    }

    fn connect(&self, config: &Config) -> RedisResult<Link> {
        let link = match self {
            Self::Server(client) => client.get_connection_with_timeout(config.connect_timeout)?,
            #[cfg(feature = "sentinel")]
            Self::Sentinels(sentinels) => sentinels.connect(&config.address, config.connect_timeout)?,
            #[cfg(feature = "cluster")]
            Self::Cluster(client) => return Ok(Box::new(client.get_connection()?)),
        };
        limit(&link, config.response_timeout)?;
        Ok(Box::new(link))
    }
}

/// Limits how long a connection is waited for.
pub(crate) fn limit(link: &redis::Connection, time: Duration) -> RedisResult<()> {
    link.set_read_timeout(Some(time))?;
    link.set_write_timeout(Some(time))
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("open", &self.state.lock().open).finish_non_exhaustive()
    }
}
