//! The stage: members as processes, a line to the server for each, and the incidents that are done to them.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use chrono::Utc;
use rustix::process::{Pid, Signal, kill_process};
use sched_testkit::Proxy;

use crate::Fault;
use crate::plan::{Plan, Store};

/// The environment variable with the program that kills and starts servers.
const XTASK: &str = "SCHED_XTASK";

/// How long a member may take to end when it is asked to.
const PATIENCE: Duration = Duration::from_secs(90);

/// What is done to a member or to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Deed {
    /// `SIGKILL`, and a new process in its place.
    Kill,
    /// `SIGSTOP` until its leases have ended, then `SIGCONT`.
    Freeze,
    /// It is asked to stop, and a new process takes its place.
    Restart,
    /// All its connections are cut.
    Cut,
    /// The answer to one of its next requests is lost.
    LoseAnswer,
    /// Its connection is cut when half of one of its next requests has been passed on.
    TearRequest,
    /// Its line passes nothing on until its leases have ended.
    Isolate,
    /// The server is killed and started again.
    KillServer,
}

impl Deed {
    /// Its name in the report.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Freeze => "freeze",
            Self::Restart => "restart",
            Self::Cut => "cut",
            Self::LoseAnswer => "lose_answer",
            Self::TearRequest => "tear_request",
            Self::Isolate => "isolate",
            Self::KillServer => "kill_server",
        }
    }
}

/// A time in which an owner could not keep its leases.
#[derive(Debug, Clone, Copy)]
pub struct Incident {
    /// The process; all of them when `None`.
    pub pid: Option<u32>,
    /// From when, in microseconds since the Unix epoch.
    pub from: i64,
    /// Until when, in microseconds since the Unix epoch.
    pub until: i64,
}

/// A process, and its line to the server.
struct Member {
    number: usize,
    child: Child,
    plan: PathBuf,
    proxy: Option<Proxy>,
}

/// All members of a run, with what was done to them.
pub struct Stage {
    members: Vec<Member>,
    store: Store,
    lease: Duration,
    /// What was done, in order.
    pub deeds: Vec<Deed>,
    /// When owners could not keep their leases.
    pub incidents: Vec<Incident>,
}

impl Stage {
    /// Starts the members. Each has a line of its own to the server of `url`, if there is one.
    ///
    /// **Errors**: those of the system.
    pub fn new(store: Store, url: &str, name: &str, plan: &Plan, members: usize) -> Result<Self, Fault> {
        let mut stage =
            Self { members: Vec::new(), store, lease: plan.lease, deeds: Vec::new(), incidents: Vec::new() };
        for number in 0..members {
            let proxy = match store {
                Store::Sqlite => None,
                _ => Some(Proxy::to(address_of(url)?)?),
            };
            let own = match &proxy {
                None => url.to_owned(),
                // A driver that asks a replica set for its members would go around the line.
                Some(proxy) if store == Store::Mongodb => {
                    format!("mongodb://{}/?directConnection=true", proxy.address())
                }
                Some(proxy) => proxy.url(url),
            };
            let plan = Plan { store: store.config(&own, name), ..plan.clone() };
            let path = plan.directory.join(format!("member-{number}.json"));
            std::fs::write(&path, serde_json::to_vec(&plan)?)?;
            let child = spawn(&path, number)?;
            stage.members.push(Member { number, child, plan: path, proxy });
        }
        Ok(stage)
    }

    /// What can be done on this store, and how often. Its server is spared unless `cargo xtask` is there to start it again.
    pub fn repertoire(&self, spares_server: bool) -> Vec<(Deed, u32)> {
        let mut deeds = vec![(Deed::Kill, 50), (Deed::Restart, 15), (Deed::Freeze, 8)];
        if self.store != Store::Sqlite {
            let cuts = [Deed::Cut, Deed::LoseAnswer, Deed::TearRequest].map(|deed| (deed, 10));
            deeds.extend(cuts.into_iter().chain([(Deed::Isolate, 4)]));
            if !spares_server && std::env::var_os(XTASK).is_some() {
                deeds.push((Deed::KillServer, 4));
            }
        }
        deeds
    }

    /// Does something to a member.
    ///
    /// **Errors**: those of the system; a member that ended by itself or does not end when it is asked to.
    pub fn perform(&mut self, deed: Deed, member: usize, random: &mut fastrand::Rng) -> Result<(), Fault> {
        self.deeds.push(deed);
        let lease = self.lease;
        let beyond = lease.mul_f64(1.3 + random.f64() / 2.0);
        let member = &mut self.members[member];
        if let Some(status) = member.child.try_wait()? {
            return Err(format!("member {} ended by itself: {status}", member.number).into());
        }
        let pid = member.child.id();
        let from = now();
        let mut until = from;
        match deed {
            Deed::Kill => {
                member.child.kill()?;
                member.child.wait()?;
                std::thread::sleep(Duration::from_millis(random.u64(0..150)));
                member.child = spawn(&member.plan, member.number)?;
                until = i64::MAX;
            }
            Deed::Restart => {
                stop(member)?;
                member.child = spawn(&member.plan, member.number)?;
            }
            Deed::Freeze => {
                signal(pid, Signal::STOP)?;
                std::thread::sleep(beyond);
                signal(pid, Signal::CONT)?;
                until = now() + micros(lease);
            }
            Deed::Cut => member.proxy.iter().for_each(Proxy::cut),
            Deed::LoseAnswer => {
                member.proxy.iter().for_each(|proxy| proxy.lose_answer(random.usize(1..8)));
            }
            Deed::TearRequest => {
                member.proxy.iter().for_each(|proxy| proxy.tear_request(random.usize(1..8)));
            }
            Deed::Isolate => {
                member.proxy.iter().for_each(Proxy::freeze);
                std::thread::sleep(beyond);
                member.proxy.iter().for_each(Proxy::thaw);
                until = now() + micros(lease);
            }
            Deed::KillServer => {
                let server = self.store.server();
                services("kill", server)?;
                std::thread::sleep(Duration::from_millis(random.u64(0..500)));
                services("restart", server)?;
                self.incidents.push(Incident { pid: None, from, until: now() + 2 * micros(lease) });
                return Ok(());
            }
        }
        if until > from {
            // Whoever is frozen in a transaction on a file keeps all others from renewing their leases.
            let alone = deed != Deed::Freeze || self.store != Store::Sqlite;
            self.incidents.push(Incident { pid: alone.then_some(pid), from, until });
        }
        Ok(())
    }

    /// How many members there are.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Asks all members to stop and waits for them.
    ///
    /// **Errors**: a member that does not end in time, or not well.
    pub fn end(&mut self) -> Result<(), Fault> {
        self.members.iter_mut().try_for_each(stop)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        for member in &mut self.members {
            // It may have ended already.
            let _ = member.child.kill();
            let _ = member.child.wait();
        }
    }
}

fn spawn(plan: &Path, number: usize) -> Result<Child, Fault> {
    let program =
        std::env::var_os("SCHED_CHAOS_PROGRAM").map_or_else(std::env::current_exe, |path| Ok(path.into()))?;
    let mut command = Command::new(program);
    command.arg("member").arg(plan).arg(number.to_string());
    Ok(command.stdin(Stdio::piped()).spawn()?)
}

fn stop(member: &mut Member) -> Result<(), Fault> {
    drop(member.child.stdin.take());
    let begin = Instant::now();
    loop {
        if let Some(status) = member.child.try_wait()? {
            return match status.success() {
                true => Ok(()),
                false => Err(format!("member {} ended with {status}", member.number).into()),
            };
        }
        if begin.elapsed() > PATIENCE {
            // Where cores are kept, one shows where it hangs.
            signal(member.child.id(), Signal::ABORT)?;
            return Err(format!("member {} does not stop", member.number).into());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn signal(pid: u32, signal: Signal) -> Result<(), Fault> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or("no such process")?;
    Ok(kill_process(pid, signal)?)
}

/// Lets `cargo xtask services` do something to a server.
fn services(what: &str, server: &str) -> Result<(), Fault> {
    let program = std::env::var_os(XTASK).ok_or("the server can be killed under `cargo xtask chaos` only")?;
    let mut command = Command::new(program);
    // Where the program finds its workspace.
    command.envs(std::env::var_os("SCHED_XTASK_DIR").map(|directory| ("CARGO_MANIFEST_DIR", directory)));
    let status = command.args(["services", what, server]).stdout(Stdio::null()).status()?;
    match status.success() {
        true => Ok(()),
        false => Err(format!("`services {what} {server}` ended with {status}").into()),
    }
}

/// The address in a URL.
fn address_of(url: &str) -> Result<String, Fault> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let address = authority.rsplit('@').next().unwrap_or_default();
    match address.is_empty() {
        true => Err("the URL has no address".into()),
        false => Ok(address.to_owned()),
    }
}

fn now() -> i64 {
    Utc::now().timestamp_micros()
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
