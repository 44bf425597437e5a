//! Connections to a server: a pool, sessions that are set up alike, and what is tried again after a failure.
//!
//! A piece of work is repeated once when its connection was lost and it is known not to have been committed, or may be
//! repeated all the same; and a few times when the database undid it for the sake of others. How long to wait before
//! the next turn is the engine's affair, not this module's.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use diesel::QueryResult;
use diesel::r2d2::{
    ConnectionManager, Error as ManagerError, ManageConnection, NopErrorHandler, Pool, PooledConnection,
    R2D2Connection,
};
use parking_lot::{Condvar, Mutex};
use sched_core::{Error, ErrorKind};

use crate::backend::{Access, Try};
use crate::config::{Config, Times};
use crate::error::{Fault, not_connected};
use crate::url::Server;

/// A connection that was used within this time is not tested before it is used again.
const FRESH: Duration = Duration::from_secs(1);

/// How long the end of a pool waits for connections that are just being made.
const REST: Duration = Duration::from_secs(2);

/// How often work is repeated that the database undid for the sake of others.
const MAX_CONFLICTS: u32 = 4;

/// The server undoes a transaction whose client is silent for so long, and ends its session: a process that is stopped in
/// the middle of a claim would keep all others from claiming until it goes on. In whole seconds.
pub(crate) const SILENCE: Duration = Duration::from_secs(5);

/// A client library's connection.
pub(crate) trait Client: R2D2Connection + Send + Sized + 'static {
    /// What it does first in a session.
    fn set_up(&mut self, times: &Times) -> QueryResult<()>;

    /// Does work in a transaction of the kind that this crate's statements expect.
    fn in_transaction<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T, Fault>) -> Result<T, Fault>;
}

/// The connections to one database.
pub(crate) struct Connections<C: Client> {
    source: Source<C>,
    shown: String,
    patience: Duration,
}

enum Source<C: Client> {
    Own(Pool<Manager<C>>, Arc<Troubles>),
    Given(Pool<ConnectionManager<C>>),
}

impl<C: Client> std::fmt::Debug for Connections<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Connections").field(&self.shown).finish()
    }
}

impl<C: Client> Connections<C> {
    /// Connects once, so that what is wrong is told at once, and makes a pool.
    pub(crate) fn open(config: &Config, server: &Server, url: String) -> Result<(Self, C), Error> {
        let shown = config.location.to_string();
        let troubles = Arc::new(Troubles::default());
        let manager = Manager {
            server: server.clone(),
            url,
            times: config.times,
            troubles: Arc::clone(&troubles),
            kind: PhantomData,
        };
        let first = manager.first(&shown)?;
        let pool = Pool::builder()
            .max_size(config.pool_size)
            .min_idle(Some(0))
            .connection_timeout(config.times.connect)
            .max_lifetime(config.times.recycle)
            .error_handler(Box::new(NopErrorHandler))
            .build_unchecked(manager);
        Ok((Self { source: Source::Own(pool, troubles), shown, patience: config.times.connect }, first))
    }

    /// The connections of a pool that somebody else made.
    pub(crate) fn given(config: &Config, pool: Pool<ConnectionManager<C>>) -> Self {
        let shown = config.location.to_string();
        Self { source: Source::Given(pool), shown, patience: config.times.connect }
    }

    /// Does something on a connection, once.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&mut C) -> Result<T, Fault>) -> Result<T, Error> {
        let mut held = self.get()?;
        let done = work(held.connection());
        done.map_err(|fault| {
            held.note(&fault);
            fault.into_error(&self.shown)
        })
    }

    /// Does work as its access says; repeats it where that is safe.
    pub(crate) fn run(
        &self,
        access: Access,
        work: &mut dyn FnMut(&mut C, Try) -> Result<(), Fault>,
    ) -> Result<(), Error> {
        let (mut tried, mut lost, mut conflicts) = (Try::First, false, 0);
        loop {
            let mut held = self.get()?;
            let Err(Failure { fault, may_be_done }) = attempt(held.connection(), access, tried, work) else {
                return Ok(());
            };
            held.note(&fault);
            match () {
                () if fault.is_lost() && !lost && (!may_be_done || access.may_repeat()) => {
                    lost = true;
                    if may_be_done {
                        tried = Try::AfterUnknown;
                    }
                    tracing::debug!(database = %self.shown, ?access, ?tried, "a connection was lost; once more");
                }
                () if fault.is_conflict() && conflicts < MAX_CONFLICTS => {
                    conflicts += 1;
                    tracing::debug!(database = %self.shown, ?access, conflicts, "others were in the way");
                    drop(held);
                    std::thread::sleep(pause(conflicts));
                }
                () => return Err(fault.into_error(&self.shown)),
            }
        }
    }

    fn get(&self) -> Result<Held<C>, Error> {
        let held = match &self.source {
            Source::Own(pool, _) => pool.get().map(Held::Own),
            Source::Given(pool) => pool.get().map(Held::Given),
        };
        held.map_err(|error| match self.refusal() {
            Some((kind, text)) => Error::new(kind, text).in_context(&self.shown),
            None => {
                let message = format!("no connection was free within {:?}", self.patience);
                Error::new(ErrorKind::Unavailable, message).in_context(&self.shown).with_source(error)
            }
        })
    }

    /// Why the latest connection could not be made.
    fn refusal(&self) -> Option<(ErrorKind, String)> {
        match &self.source {
            Source::Own(_, troubles) => troubles.refused.lock().clone(),
            Source::Given(_) => None,
        }
    }
}

impl<C: Client> Drop for Connections<C> {
    /// A program may end right after this. A thread of the pool that is making a connection then would use a library for
    /// TLS that is being taken down, and be killed for it.
    fn drop(&mut self) {
        if let Source::Own(_, troubles) = &self.source {
            troubles.making.end(REST);
        }
    }
}

impl Access {
    fn may_repeat(self) -> bool {
        self != Self::Claim
    }
}

/// Why a try failed.
struct Failure {
    fault: Fault,
    /// Nobody knows whether it was committed.
    may_be_done: bool,
}

fn attempt<C: Client>(
    conn: &mut C,
    access: Access,
    tried: Try,
    work: &mut dyn FnMut(&mut C, Try) -> Result<(), Fault>,
) -> Result<(), Failure> {
    match access {
        Access::Read => work(conn, tried).map_err(|fault| Failure { fault, may_be_done: false }),
        Access::Single => work(conn, tried).map_err(|fault| Failure { fault, may_be_done: true }),
        Access::Claim | Access::Change => {
            let (mut begun, mut first_fault) = (false, None);
            let done = conn.in_transaction(|conn| {
                begun = true;
                work(conn, tried).map_err(|fault| {
                    // What comes of undoing it says less.
                    first_fault = Some(fault);
                    Fault::Database(diesel::result::Error::RollbackTransaction)
                })
            });
            done.map_err(|fault| match first_fault {
                Some(fault) => Failure { fault, may_be_done: false },
                None => Failure { fault, may_be_done: begun },
            })
        }
    }
}

/// A short pause with jitter, longer each time.
fn pause(round: u32) -> Duration {
    let random = RandomState::new().build_hasher().finish();
    Duration::from_millis((5 + random % 10) * u64::from(round))
}

/// A connection in use.
enum Held<C: Client> {
    Own(PooledConnection<Manager<C>>),
    Given(PooledConnection<ConnectionManager<C>>),
}

impl<C: Client> Held<C> {
    fn connection(&mut self) -> &mut C {
        match self {
            Self::Own(link) => &mut link.conn,
            Self::Given(conn) => conn,
        }
    }

    /// Remembers that the connection is gone, and that the others may be.
    fn note(&mut self, fault: &Fault) {
        if let (Self::Own(link), true) = (self, fault.is_lost()) {
            link.is_lost = true;
            link.troubles.losses.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A connection of the pool of this crate.
pub(crate) struct Link<C> {
    conn: C,
    used: Instant,
    is_lost: bool,
    /// How many connections had been lost when it was last tested.
    losses: u64,
    troubles: Arc<Troubles>,
}

/// What went wrong with connections.
#[derive(Default)]
struct Troubles {
    /// How many were lost: what was alive before may not be any more.
    losses: AtomicU64,
    /// Why the latest could not be made; `None` when it was.
    refused: Mutex<Option<(ErrorKind, String)>>,
    making: Making,
}

/// Counts the connections that are being made, until no more are.
#[derive(Default)]
struct Making {
    state: Mutex<MakingState>,
    changed: Condvar,
}

#[derive(Default)]
struct MakingState {
    under_way: usize,
    is_over: bool,
}

impl Making {
    /// Does `make`, unless no more are made.
    fn one<T>(&self, make: impl FnOnce() -> Result<T, ManagerError>) -> Result<T, ManagerError> {
        let mut state = self.state.lock();
        if state.is_over {
            return Err(bad_connection("the pool is closed"));
        }
        state.under_way += 1;
        drop(state);
        let made = make();
        self.state.lock().under_way -= 1;
        self.changed.notify_all();
        made
    }

    /// Makes no more, and waits for those that are under way, at most so long.
    fn end(&self, limit: Duration) {
        let end = Instant::now() + limit;
        let mut state = self.state.lock();
        state.is_over = true;
        while state.under_way > 0 && !self.changed.wait_until(&mut state, end).timed_out() {}
    }
}

fn bad_connection(text: &str) -> ManagerError {
    ManagerError::ConnectionError(diesel::ConnectionError::BadConnection(text.to_owned()))
}

/// Makes and tests connections.
pub(crate) struct Manager<C> {
    server: Server,
    /// The URL with the parameters that were added.
    url: String,
    times: Times,
    troubles: Arc<Troubles>,
    kind: PhantomData<fn() -> C>,
}

impl<C: Client> Manager<C> {
    fn establish(url: &str, times: &Times) -> Result<C, ManagerError> {
        let mut conn = C::establish(url).map_err(ManagerError::ConnectionError)?;
        conn.set_up(times).map_err(ManagerError::QueryError)?;
        Ok(conn)
    }

    /// The first connection, on a thread of its own: a client library may wait for longer than it was told.
    fn first(&self, shown: &str) -> Result<C, Error> {
        let (sender, receiver) = std::sync::mpsc::channel();
        let (url, times) = (self.url.clone(), self.times);
        let connect = move || drop(sender.send(Self::establish(&url, &times)));
        let thread = std::thread::Builder::new().name("sched-sql-connect".to_owned()).spawn(connect);
        thread.map_err(|error| {
            Error::new(ErrorKind::Unavailable, "no thread could be started").with_source(error)
        })?;
        let answer = receiver.recv_timeout(self.times.connect.saturating_add(FRESH)).map_err(|_| {
            let message = format!("cannot connect: no answer within {:?}", self.times.connect);
            Error::new(ErrorKind::Timeout, message).in_context(shown)
        })?;
        answer.map_err(|error| self.judge(error, shown))
    }

    fn judge(&self, error: ManagerError, shown: &str) -> Error {
        match error {
            ManagerError::ConnectionError(error) => {
                not_connected(error, shown, |text| self.server.scrub(text))
            }
            ManagerError::QueryError(error) => Fault::from(error).into_error(shown),
        }
    }
}

impl<C: Client> ManageConnection for Manager<C> {
    type Connection = Link<C>;
    type Error = ManagerError;

    fn connect(&self) -> Result<Link<C>, ManagerError> {
        let losses = self.troubles.losses.load(Ordering::Relaxed);
        match self.troubles.making.one(|| Self::establish(&self.url, &self.times)) {
            Ok(conn) => {
                *self.troubles.refused.lock() = None;
                let troubles = Arc::clone(&self.troubles);
                Ok(Link { conn, used: Instant::now(), is_lost: false, losses, troubles })
            }
            Err(error) => {
                // The error itself cannot be kept: the pool wants one too, and it is not shown.
                let judged = self.judge(error, "");
                let text = judged.to_string().trim_start_matches(": ").to_owned();
                *self.troubles.refused.lock() = Some((judged.kind(), text));
                Err(bad_connection("see the error before"))
            }
        }
    }

    /// A connection is tested after a pause, and after another one was lost.
    fn is_valid(&self, link: &mut Link<C>) -> Result<(), ManagerError> {
        let losses = self.troubles.losses.load(Ordering::Relaxed);
        if losses != link.losses || link.used.elapsed() > FRESH {
            link.conn.ping().map_err(ManagerError::QueryError)?;
        }
        (link.used, link.losses) = (Instant::now(), losses);
        Ok(())
    }

    fn has_broken(&self, link: &mut Link<C>) -> bool {
        link.is_lost || std::thread::panicking() || link.conn.is_broken()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn the_end_waits_for_connections_that_are_being_made() {
        let making = Making::default();
        let (begun, begins) = mpsc::channel();
        let (finish, finishes) = mpsc::channel::<()>();
        std::thread::scope(|scope| {
            let making = &making;
            let maker = scope.spawn(move || {
                making.one(|| {
                    begun.send(()).map_err(|_| bad_connection("nobody listens"))?;
                    finishes.recv().map_err(|_| bad_connection("nobody finishes"))
                })
            });
            begins.recv().expect("one has begun");
            let before = Instant::now();
            making.end(Duration::from_millis(50));
            assert!(before.elapsed() >= Duration::from_millis(50), "it is under way");
            assert!(making.one(|| Ok(())).is_err(), "no more are made");
            finish.send(()).expect("it is still there");
            making.end(Duration::from_secs(60));
            assert!(maker.join().is_ok_and(|made| made.is_ok()));
        });
    }
}
