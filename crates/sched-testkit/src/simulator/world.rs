//! The world: the true time, the server, the processes, and what happens to them.
//!
//! It is one thread. While a call of one process is under way, the others go on: the call moves the world until its time
//! has come. So a process can be frozen, robbed of its lease, or killed between any two of its calls.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use parking_lot::Mutex;
use sched_core::{ClaimRequest, FinishedRun, Outcome, Registry, RunClaim, SchedulerState, Shutdown, Wake};

use super::mutation::Mutation;
use super::node::{Node, NodePlan, TrueTime};
use super::random::Random;
use super::server::Server;
use super::watch::{Health, Process, Watch};

type Time = DateTime<Utc>;

/// So many turns in a second, none of which does anything, are busy waiting.
const RESTLESS_TURNS: usize = 40;

/// How often what goes wrong with calls, of a thousand.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Rates {
    pub(super) fails_before: i64,
    pub(super) fails_after: i64,
    pub(super) stalls: i64,
}

impl Rates {
    /// How long one way to the server takes.
    pub(super) fn latency(&self, random: &mut Random) -> TimeDelta {
        match random.chance(self.stalls) {
            true => TimeDelta::milliseconds(random.between(100, 25_000)),
            false => TimeDelta::microseconds(random.between(100, 3_000)),
        }
    }
}

/// What all processes share.
#[derive(Debug)]
pub(super) struct Hub {
    pub(super) server: Server,
    pub(super) watch: Watch,
    pub(super) random: Random,
    pub(super) rates: Rates,
    pub(super) mutation: Option<Mutation>,
    pub(super) is_durable: bool,
    /// Whether jobs are claimed and committed in one write.
    pub(super) is_at_once: bool,
    /// The claim of the last visitor, which was given back.
    old: Option<RunClaim>,
    digest: u64,
}

impl Hub {
    /// Claims a run and gives it back; first, messages of the last visitor arrive late.
    fn visit(&mut self, now: Time) {
        if let Some(old) = self.old {
            let lease = Duration::from_secs(15);
            let answer = self.server.renew(old, lease, now);
            self.watch.renewed(old, lease, answer, now);
            self.server.release(old);
            let outcome = Outcome::Cancelled;
            let late = FinishedRun { claim: old, outcome, started_at: None, finished_at: now, again: None };
            let answer = self.server.finish(late.clone());
            self.watch.finished(&late, answer);
        }
        self.watch.health.push(Health::default());
        let (process, places) = (self.watch.health.len() - 1, [(Arc::from("default"), 1)]);
        let owner = Arc::from("visitor");
        let request = ClaimRequest { owner, now, limit: 1, lease: Duration::from_secs(15) };
        let claimed = self.server.claim_runs(&request, &places, now);
        self.watch.runs_claimed(process, (&request, &places), &claimed, now);
        if let Some(claimed) = claimed.first() {
            let claim = RunClaim { id: claimed.run.id, token: claimed.token };
            self.server.release(claim);
            self.watch.released(claim);
            self.old = Some(claim);
        }
    }
}

/// What happens to a process, named by its slot.
#[derive(Debug, Clone)]
pub(super) enum Chaos {
    Crash {
        slot: usize,
    },
    Stop {
        slot: usize,
    },
    Start(NodePlan),
    Freeze {
        slot: usize,
        time: TimeDelta,
    },
    SetClock {
        slot: usize,
        by: TimeDelta,
    },
    /// A caller that did not hear of its first answer queues a run again.
    QueueAgain,
    /// Somebody claims a run and gives it back; what it sends later still is stale.
    Visit,
}

/// The world of one simulation.
#[derive(Debug)]
pub(super) struct World {
    pub(super) truth: Arc<TrueTime>,
    hub: Mutex<Hub>,
    nodes: Mutex<Vec<Arc<Node>>>,
    /// What happens, the last first.
    chaos: Mutex<Vec<(Time, Chaos)>>,
    registry: Registry,
}

/// Something that happens next.
enum Next {
    Turn(Arc<Node>),
    Run(Arc<Node>),
    Chaos,
}

impl World {
    pub(super) fn new(start: Time, seed: u64, mutation: Option<Mutation>) -> Arc<Self> {
        let hub = Hub {
            server: Server::new(mutation),
            watch: Watch::default(),
            random: Random::new(seed),
            rates: Rates::default(),
            mutation,
            is_durable: true,
            is_at_once: false,
            old: None,
            digest: seed,
        };
        let registry = Registry::clone(&crate::jobs::registry());
        let (nodes, chaos) = (Mutex::default(), Mutex::default());
        Arc::new(Self { truth: TrueTime::new(start), hub: Mutex::new(hub), nodes, chaos, registry })
    }

    /// Does something at the server. It must not call a scheduler.
    pub(super) fn with<T>(&self, work: impl FnOnce(&mut Hub, Time) -> T) -> T {
        work(&mut self.hub.lock(), self.truth.now())
    }

    pub(super) fn new_process(&self) -> Process {
        self.with(|hub, _| {
            hub.watch.health.push(Health::default());
            hub.watch.health.len() - 1
        })
    }

    /// A number that differs when anything happened otherwise.
    pub(super) fn digest(&self) -> u64 {
        self.with(|hub, _| hub.digest)
    }

    pub(super) fn violation(&self) -> Option<String> {
        self.with(|hub, _| hub.watch.violation.clone())
    }

    pub(super) fn nodes(&self) -> Vec<Arc<Node>> {
        self.nodes.lock().clone()
    }

    fn node(&self, slot: usize) -> Option<Arc<Node>> {
        self.nodes.lock().iter().find(|node| node.plan.slot == slot).cloned()
    }

    /// Sets what will happen.
    pub(super) fn plan(&self, mut chaos: Vec<(Time, Chaos)>) {
        chaos.sort_by_key(|(time, _)| *time);
        chaos.reverse();
        *self.chaos.lock() = chaos;
    }

    /// Starts a process. One that comes back under its old name takes up what it had. While it starts, another may have
    /// taken its slot.
    pub(super) fn start(self: &Arc<Self>, plan: NodePlan) {
        if self.node(plan.slot).is_some() {
            return;
        }
        match Node::start(self, plan.clone(), self.registry.clone()) {
            Ok(node) => {
                let node = Arc::new(node);
                if self.node(plan.slot).is_some() {
                    return self.kill(&node);
                }
                let mut nodes = self.nodes.lock();
                nodes.push(node);
                nodes.sort_by_key(|node| node.plan.slot);
            }
            // As whoever keeps processes up does.
            Err(error) if error.is_retryable() => {
                let mut chaos = self.chaos.lock();
                chaos.push((self.truth.now() + TimeDelta::seconds(1), Chaos::Start(plan)));
                chaos.sort_by_key(|(time, _)| std::cmp::Reverse(*time));
            }
            Err(error) => {
                self.with(|hub, _| hub.watch.violated(format!("a process does not start: {error}")))
            }
        }
    }

    /// The way of a call: time passes, for all others too.
    pub(super) fn pass(self: &Arc<Self>, process: Process, time: TimeDelta) {
        self.advance(self.truth.now() + time);
        let node = self.nodes.lock().iter().find(|node| node.process == process).cloned();
        let frozen = || node.as_ref().and_then(|node| node.state.lock().frozen_until);
        while let Some(until) = frozen().filter(|until| *until > self.truth.now()) {
            self.advance(until);
        }
    }

    /// Lets happen what happens until a moment.
    pub(super) fn advance(self: &Arc<Self>, until: Time) {
        while self.with(|hub, _| hub.watch.violation.is_none()) {
            let Some((time, next)) = self.next().filter(|(time, _)| *time <= until) else { break };
            self.truth.advance_to(time);
            self.with(|hub, now| {
                let what = match &next {
                    Next::Turn(node) => node.process * 3,
                    Next::Run(node) => node.process * 3 + 1,
                    Next::Chaos => 2,
                };
                let mixed = hub.digest ^ now.timestamp_micros().unsigned_abs() ^ ((what as u64) << 56);
                hub.digest = mixed.rotate_left(7).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            });
            match next {
                Next::Turn(node) => self.turn(&node),
                Next::Run(node) => node.executor.step(self.truth.now()),
                Next::Chaos => self.happen(),
            }
        }
        self.truth.advance_to(until);
    }

    fn next(&self) -> Option<(Time, Next)> {
        let now = self.truth.now();
        let chaos = self.chaos.lock().last().map(|(time, _)| ((*time).max(now), Next::Chaos));
        let nodes = self.nodes.lock();
        let of_nodes = nodes.iter().filter_map(|node| {
            let (time, turn) = node.next(now)?;
            let next = if turn { Next::Turn(Arc::clone(node)) } else { Next::Run(Arc::clone(node)) };
            Some((time.max(now), next))
        });
        of_nodes.chain(chaos).min_by_key(|(time, _)| *time)
    }

    fn turn(self: &Arc<Self>, node: &Arc<Node>) {
        let Some(mut driver) = node.driver.lock().take() else { return };
        let failures = node.failures();
        node.state.lock().busy = true;
        let effects = self.with(|hub, _| hub.watch.effects);
        let wake = driver.turn();
        let now = self.truth.now();
        let (mutation, idle) = self.with(|hub, _| (hub.mutation, hub.watch.effects == effects));
        let mut state = node.state.lock();
        state.busy = false;
        if state.dead {
            drop(state);
            drop(driver);
            return node.bury();
        }
        state.turns += 1;
        let failed = node.failures() != failures;
        state.failures = if failed { state.failures + 1 } else { 0 };
        let pause = match (wake, mutation) {
            (Wake::Stop, _) => return,
            (_, Some(Mutation::DriverDiesOfFailure)) if failed => return,
            (Wake::After(_) | Wake::WhenWoken, Some(Mutation::DriverNeverSleeps)) => Some(Duration::ZERO),
            (Wake::Again, _) => Some(Duration::ZERO),
            // The engine draws lots for this pause.
            (Wake::After(_), _) if failed => Some(Duration::from_millis(100 << state.failures.min(7))),
            (Wake::After(pause), Some(Mutation::DriverOversleeps)) => Some(pause * 10),
            (Wake::After(pause), _) => Some(pause),
            (Wake::WhenWoken, _) => None,
        };
        state.next_turn = pause.map(|pause| now + TimeDelta::from_std(pause).unwrap_or(TimeDelta::MAX));
        let (turns, since) = state.restless;
        let more = usize::from(idle && !failed);
        state.restless =
            if now - since > TimeDelta::seconds(1) { (more, now) } else { (turns + more, since) };
        let is_restless = state.restless.0 > RESTLESS_TURNS;
        drop(state);
        *node.driver.lock() = Some(driver);
        if is_restless {
            let name = &node.plan.identity;
            self.with(|hub, _| hub.watch.violated(format!("{name} took {RESTLESS_TURNS} turns in a second")));
        }
    }

    fn happen(self: &Arc<Self>) {
        let Some((_, chaos)) = self.chaos.lock().pop() else { return };
        self.with(|hub, now| hub.watch.tell(now, || format!("{chaos:?}")));
        match chaos {
            Chaos::Start(plan) => self.start(plan),
            Chaos::QueueAgain => self.with(|hub, _| {
                if let Some(run) = hub.watch.some_unfinished() {
                    hub.server.enqueue(run);
                }
            }),
            Chaos::Visit => self.with(Hub::visit),
            Chaos::Crash { slot } => self.crash(slot),
            Chaos::Stop { slot } => {
                if let Some(node) = self.node(slot) {
                    self.stop(&node);
                }
            }
            Chaos::Freeze { slot, time } => {
                let Some(node) = self.node(slot) else { return };
                let until = self.truth.now() + time;
                node.state.lock().frozen_until = Some(until);
                self.with(|hub, _| hub.watch.health[node.process].troubled = Some(until));
            }
            Chaos::SetClock { slot, by } => {
                if let Some(node) = self.node(slot) {
                    node.clock.step(by);
                }
            }
        }
    }

    fn crash(&self, slot: usize) {
        if let Some(node) = self.node(slot) {
            self.nodes.lock().retain(|other| other.process != node.process);
            self.kill(&node);
        }
    }

    fn kill(&self, node: &Node) {
        self.with(|hub, _| hub.watch.health[node.process].dead = true);
        node.client.die();
        let busy = {
            let mut state = node.state.lock();
            state.dead = true;
            state.busy
        };
        if !busy {
            node.bury();
        }
    }

    /// Shuts a process down, if it is not in the midst of something. It must come to an end.
    pub(super) fn stop(self: &Arc<Self>, node: &Arc<Node>) {
        if std::mem::replace(&mut node.state.lock().busy, true) {
            return;
        }
        // What was frozen is not asked.
        node.state.lock().frozen_until = None;
        let how = if node.scheduler.active_runs().is_empty() { Shutdown::Wait } else { Shutdown::Now };
        let ended = node.scheduler.shutdown(how);
        let driver = node.driver.lock().take();
        let stopped = driver.is_none_or(|mut driver| driver.turn() == Wake::Stop);
        self.nodes.lock().retain(|other| other.process != node.process);
        self.with(|hub, _| {
            hub.watch.health[node.process].dead = true;
            if !stopped || node.scheduler.state() != SchedulerState::Stopped {
                hub.watch.violated(format!("{} does not stop: {ended:?}", node.plan.identity));
            }
        });
        node.state.lock().dead = true;
        node.client.die();
    }

    /// From now on all goes well.
    pub(super) fn calm(self: &Arc<Self>, plans: &[NodePlan]) {
        self.chaos.lock().clear();
        self.with(|hub, _| hub.rates = Rates::default());
        for node in self.nodes() {
            node.state.lock().frozen_until = None;
            node.clock.correct();
        }
        for plan in plans {
            let plan = NodePlan { offset: TimeDelta::zero(), drift: 0, ..plan.clone() };
            self.start(plan);
        }
    }
}
