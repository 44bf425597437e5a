//! [`Proxy`]: a line to a server that counts, and breaks when a test says so.
//!
//! It knows no protocol. A request is whatever a client sends before the server answers: what is sent in one go, or piped
//! behind one another, is one, as it costs one round trip. Data that a server sends unasked counts as an answer.

use std::fmt;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use sched_core::{Advance, ClaimRequest, FinishedRun, Job, JobCommit, JobStore, Outcome, RunClaim};
use serde_json::Value;

use crate::jobs::{NOON, cursor_at, noon_plus, sample_job, sample_queued_of};

/// A TCP proxy before a server.
///
/// # Example
/// ```
/// use std::io::{Read, Write};
/// use std::net::{TcpListener, TcpStream};
/// use sched_testkit::Proxy;
///
/// let server = TcpListener::bind("127.0.0.1:0")?;
/// let proxy = Proxy::to(server.local_addr()?)?;
/// let mut client = TcpStream::connect(proxy.address())?;
/// client.write_all(b"ping")?;
/// let (mut there, _) = server.accept()?;
/// let mut request = [0; 4];
/// there.read_exact(&mut request)?;
/// assert_eq!((&request, proxy.requests()), (b"ping", 1));
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Proxy {
    address: SocketAddr,
    line: Arc<Line>,
    acceptor: Option<JoinHandle<()>>,
}

/// What all connections of a proxy share.
struct Line {
    target: SocketAddr,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    closed: bool,
    frozen: bool,
    refusing: bool,
    delay: Duration,
    requests: usize,
    /// The number of the request whose answer is lost.
    lost: Option<usize>,
    /// The number of the request of which half is passed on.
    torn: Option<usize>,
    /// The number of the request after which everything is frozen.
    freezes: Option<usize>,
    /// How often everything was cut; a connection of an earlier time is over.
    cuts: usize,
    streams: Vec<TcpStream>,
}

impl Proxy {
    /// A proxy on a free port of this machine before a server.
    ///
    /// **Errors**: those of the network.
    pub fn to(target: impl ToSocketAddrs) -> std::io::Result<Self> {
        let unknown = || std::io::Error::new(std::io::ErrorKind::NotFound, "the target has no address");
        let target = target.to_socket_addrs()?.next().ok_or_else(unknown)?;
        let listener = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let line = Arc::new(Line { target, state: Mutex::default(), changed: Condvar::new() });
        let shared = Arc::clone(&line);
        let acceptor = std::thread::spawn(move || shared.accept(&listener));
        Ok(Self { address, line, acceptor: Some(acceptor) })
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of the server with the proxy's address in place of the server's: what is between the user, if any, and
    /// the path.
    pub fn url(&self, url: &str) -> String {
        let Some((scheme, rest)) = url.split_once("://") else { return self.address.to_string() };
        let (authority, path) = rest.find(['/', '?']).map_or((rest, ""), |at| rest.split_at(at));
        let user = authority.rfind('@').map_or("", |at| &authority[..=at]);
        format!("{scheme}://{user}{}{path}", self.address)
    }

    /// How many requests there were since the proxy began.
    pub fn requests(&self) -> usize {
        self.line.state.lock().requests
    }

    /// Ends all connections; new ones are taken.
    pub fn cut(&self) {
        self.line.cut();
    }

    /// Whether new connections are closed at once.
    pub fn refuse(&self, refusing: bool) {
        self.line.state.lock().refusing = refusing;
    }

    /// Each request is passed on so much later.
    pub fn delay(&self, delay: Duration) {
        self.line.state.lock().delay = delay;
    }

    /// Nothing is passed on, in either direction, and nothing is closed, until [`thaw`](Self::thaw).
    pub fn freeze(&self) {
        self.line.state.lock().frozen = true;
    }

    /// The n-th request from now on is passed on; its answer, and everything after it, is held back until
    /// [`thaw`](Self::thaw).
    pub fn freeze_after(&self, nth: usize) {
        let mut state = self.line.state.lock();
        state.freezes = Some(state.requests + nth.max(1));
    }

    /// What was held back is passed on.
    pub fn thaw(&self) {
        self.line.state.lock().frozen = false;
        self.line.changed.notify_all();
    }

    /// The answer to the n-th request from now on is lost: the server does the work, and the connection ends before the
    /// client hears of it. The next request is the first.
    pub fn lose_answer(&self, nth: usize) {
        let mut state = self.line.state.lock();
        state.lost = Some(state.requests + nth.max(1));
    }

    /// Of the n-th request from now on half is passed on, then the connection ends: the client was cut off while it wrote.
    pub fn tear_request(&self, nth: usize) {
        let mut state = self.line.state.lock();
        state.torn = Some(state.requests + nth.max(1));
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.line.state.lock().closed = true;
        self.line.cut();
        // The acceptor waits for a connection; this is the last one.
        drop(TcpStream::connect(self.address));
        if let Some(acceptor) = self.acceptor.take() {
            drop(acceptor.join());
        }
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({} before {})", self.address, self.line.target)
    }
}

/// One connection: whether its client waits for an answer, and whether that is to be lost.
#[derive(Default)]
struct Asked {
    waiting: bool,
    lost: bool,
}

impl Line {
    fn accept(self: Arc<Self>, listener: &TcpListener) {
        for client in listener.incoming() {
            let (closed, refusing) = {
                let state = self.state.lock();
                (state.closed, state.refusing)
            };
            if closed {
                break;
            }
            if let (Ok(client), false) = (client, refusing) {
                // A server that cannot be reached shows as a connection that ends at once.
                drop(self.connect(client));
            }
        }
    }

    fn connect(self: &Arc<Self>, client: TcpStream) -> std::io::Result<()> {
        let server = TcpStream::connect(self.target)?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let cuts = {
            let mut state = self.state.lock();
            state.streams.extend([client.try_clone()?, server.try_clone()?]);
            state.cuts
        };
        let asked = Arc::new(Mutex::new(Asked::default()));
        let up = (Arc::clone(self), client.try_clone()?, server.try_clone()?, Arc::clone(&asked));
        std::thread::spawn(move || up.0.pump(up.1, up.2, |line, length| line.ask(&up.3, cuts, length)));
        let line = Arc::clone(self);
        let all_or_nothing = move |line: &Self, length| if line.answer(&asked, cuts) { length } else { 0 };
        std::thread::spawn(move || line.pump(server, client, all_or_nothing));
        Ok(())
    }

    /// Passes data on, of each piece as much as it `may`; after less than all it ends the connection in both directions.
    fn pump(&self, mut from: TcpStream, mut to: TcpStream, may: impl Fn(&Self, usize) -> usize) {
        let mut buffer = vec![0; 1 << 16];
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            let passed = may(self, length);
            if to.write_all(&buffer[..passed]).is_err() || passed < length {
                break;
            }
        }
        // Ends that are closed already say so.
        drop(from.shutdown(Shutdown::Both));
        drop(to.shutdown(Shutdown::Both));
    }

    /// The client has sent something of this length. How much of it is passed on.
    fn ask(&self, asked: &Mutex<Asked>, cuts: usize, length: usize) -> usize {
        let mut passed = length;
        let mut state = self.state.lock();
        let first = !std::mem::replace(&mut asked.lock().waiting, true);
        if first {
            state.requests += 1;
            if state.lost == Some(state.requests) {
                asked.lock().lost = true;
                state.lost = None;
            }
            if state.torn == Some(state.requests) {
                state.torn = None;
                passed = length / 2;
            }
            let delay = state.delay;
            if !delay.is_zero() {
                let still = |state: &mut State| state.cuts == cuts;
                self.changed.wait_while_for(&mut state, still, delay);
            }
        }
        self.changed.wait_while(&mut state, |state| state.frozen && state.cuts == cuts);
        if first && state.freezes.is_some_and(|last| last <= state.requests) {
            (state.freezes, state.frozen) = (None, true);
        }
        if state.cuts == cuts { passed } else { 0 }
    }

    /// The server has sent something. Whether it is passed on.
    fn answer(&self, asked: &Mutex<Asked>, cuts: usize) -> bool {
        let mut state = self.state.lock();
        self.changed.wait_while(&mut state, |state| state.frozen && state.cuts == cuts);
        let mut asked = asked.lock();
        asked.waiting = false;
        state.cuts == cuts && !asked.lost
    }

    fn cut(&self) {
        let streams = {
            let mut state = self.state.lock();
            state.cuts += 1;
            std::mem::take(&mut state.streams)
        };
        self.changed.notify_all();
        streams.iter().for_each(|stream| drop(stream.shutdown(Shutdown::Both)));
    }
}

/// Panics unless a store that is started and reached through the proxy alone needs as many round trips for the claim and
/// the commit of 500 jobs, each with a run, as for those of 10, and the same for the claim, the renewal and the end of the
/// runs where it has a run queue. Answers that number. The store is left empty.
pub fn assert_bounded_round_trips(store: &dyn JobStore, proxy: &Proxy) -> usize {
    // Connections are made and statements prepared only once.
    round_trips(store, proxy, 10, 0);
    let measure = |base| (round_trips(store, proxy, 10, base), round_trips(store, proxy, 500, base + 1_000));
    // On a busy machine a pause may be so long that a store tests its connection before it is used again.
    let (few, many) = [1_000, 3_000]
        .into_iter()
        .map(measure)
        .find(|(few, many)| few == many)
        .unwrap_or_else(|| measure(5_000));
    assert_eq!(few, many, "round trips for 10 and for 500 jobs");
    few
}

/// The round trips that one turn with so many due jobs needs; run ids count from `base` on.
fn round_trips(store: &dyn JobStore, proxy: &Proxy, jobs: usize, base: u64) -> usize {
    store.clear().expect("clear");
    let due: Vec<Job> =
        (0..jobs).map(|number| sample_job(&format!("job-{base}-{number:03}"), NOON)).collect();
    let answers = store.insert(&due, sched_core::ConflictPolicy::Error).expect("insert");
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    let lease = Duration::from_secs(60);
    let request = ClaimRequest { owner: Arc::from("counted"), now: noon_plus(1), limit: 1_000, lease };
    let queue = store.runs();
    let before = proxy.requests();
    let claimed = store.claim_due(&request).expect("claim");
    assert_eq!(claimed.len(), jobs);
    let commits = (base..).zip(claimed).map(|(number, claimed)| JobCommit {
        claim: claimed.claim,
        advance: Advance::To(cursor_at(noon_plus(60))),
        runs: queue.iter().map(|_| sample_queued_of(&claimed.job, number, NOON)).collect(),
    });
    let committed = store.commit(commits.collect()).expect("commit");
    assert!(committed.iter().all(|answer| *answer == crate::store::applied()), "{committed:?}");
    if let Some(queue) = queue {
        let claimed = queue.claim(&request, &[(Arc::from("default"), 1_000)]).expect("claim");
        assert_eq!(claimed.len(), jobs);
        let claims: Vec<RunClaim> = claimed.iter().map(crate::queue::claim_of).collect();
        assert!(queue.renew(&claims, lease).expect("renew").iter().all(|open| *open));
        let finished = claims.into_iter().map(|claim| FinishedRun {
            claim,
            outcome: Outcome::Succeeded(Value::Null),
            started_at: Some(NOON),
            finished_at: NOON,
            again: None,
        });
        assert!(queue.finish(finished.collect()).expect("finish").iter().all(|open| *open));
    }
    let needed = proxy.requests() - before;
    store.clear().expect("clear");
    needed
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// A server that answers each line with the same line, and counts what it has heard.
    fn echo() -> (SocketAddr, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, heard) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
        let counter = Arc::clone(&heard);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let counter = Arc::clone(&counter);
                std::thread::spawn(move || {
                    let mut answers = stream.try_clone().unwrap();
                    for line in BufReader::new(stream).lines().map_while(Result::ok) {
                        counter.fetch_add(1, Ordering::SeqCst);
                        if answers.write_all(format!("{line}\n").as_bytes()).is_err() {
                            break;
                        }
                    }
                });
            }
        });
        (address, heard)
    }

    struct Client(BufReader<TcpStream>);

    impl Client {
        fn of(proxy: &Proxy) -> Self {
            let stream = TcpStream::connect(proxy.address()).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
            Self(BufReader::new(stream))
        }

        fn send(&mut self, text: &str) {
            // A connection that was cut is noticed when the answer is read.
            drop(self.0.get_mut().write_all(text.as_bytes()));
        }

        /// The next line of the answer; `None` when the connection is over.
        fn line(&mut self) -> Option<String> {
            let mut line = String::new();
            match self.0.read_line(&mut line) {
                Ok(0) | Err(_) => None,
                Ok(_) => Some(line.trim_end().to_owned()),
            }
        }

        fn ask(&mut self, text: &str) -> Option<String> {
            self.send(&format!("{text}\n"));
            self.line()
        }
    }

    #[test]
    fn what_is_sent_in_one_go_is_one_request() {
        let proxy = Proxy::to(echo().0).unwrap();
        let mut client = Client::of(&proxy);
        assert_eq!(client.ask("one").as_deref(), Some("one"));
        client.send("two\nthree\n");
        assert_eq!((client.line().as_deref(), client.line().as_deref()), (Some("two"), Some("three")));
        assert_eq!(Client::of(&proxy).ask("four").as_deref(), Some("four"));
        assert_eq!(proxy.requests(), 3);
    }

    #[test]
    fn a_cut_ends_connections_and_new_ones_are_taken_unless_refused() {
        let proxy = Proxy::to(echo().0).unwrap();
        let mut client = Client::of(&proxy);
        assert_eq!(client.ask("one").as_deref(), Some("one"));
        proxy.cut();
        assert_eq!(client.ask("two"), None);
        proxy.refuse(true);
        assert_eq!(Client::of(&proxy).ask("three"), None);
        proxy.refuse(false);
        assert_eq!(Client::of(&proxy).ask("four").as_deref(), Some("four"));
    }

    #[test]
    fn a_lost_answer_is_to_work_that_was_done() {
        let (address, heard) = echo();
        let proxy = Proxy::to(address).unwrap();
        let mut client = Client::of(&proxy);
        proxy.lose_answer(2);
        assert_eq!(client.ask("one").as_deref(), Some("one"));
        assert_eq!(client.ask("two"), None);
        assert_eq!(heard.load(Ordering::SeqCst), 2);
        assert_eq!(Client::of(&proxy).ask("three").as_deref(), Some("three"));
    }

    #[test]
    fn half_of_a_torn_request_arrives() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = Proxy::to(listener.local_addr().unwrap()).unwrap();
        let mut client = Client::of(&proxy);
        proxy.tear_request(1);
        client.send("half of it");
        let (mut server, mut arrived) = (listener.accept().unwrap().0, Vec::new());
        server.read_to_end(&mut arrived).unwrap();
        assert_eq!((arrived.as_slice(), client.line()), (&b"half "[..], None));
    }

    #[test]
    fn what_is_frozen_comes_when_it_is_thawed() {
        let (address, heard) = echo();
        let proxy = Proxy::to(address).unwrap();
        let mut client = Client::of(&proxy);
        proxy.delay(Duration::from_millis(2));
        proxy.freeze();
        client.send("one\n");
        client.0.get_mut().set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        assert_eq!(client.line(), None);
        assert_eq!(heard.load(Ordering::SeqCst), 0);
        client.0.get_mut().set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        proxy.thaw();
        assert_eq!(client.line().as_deref(), Some("one"));
    }

    #[test]
    fn a_url_keeps_all_but_its_address() {
        let proxy = Proxy::to("127.0.0.1:9").unwrap();
        let here = proxy.address();
        for (url, expected) in [
            ("redis://127.0.0.1:6379/0", format!("redis://{here}/0")),
            ("postgres://a:b@localhost/x?y=1", format!("postgres://a:b@{here}/x?y=1")),
            ("mongodb://localhost:1/?replicaSet=rs0", format!("mongodb://{here}/?replicaSet=rs0")),
            ("mongodb://localhost:1?a=@", format!("mongodb://{here}?a=@")),
        ] {
            assert_eq!(proxy.url(url), expected);
        }
    }
}
