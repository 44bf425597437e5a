//! A simulator: several real engines on one simulated server, from one seed.
//!
//! Each process is a [`Scheduler`](sched_core::Scheduler) as users have it, turned by hand. Its clock is off and is set
//! now and then, its calls to the server take time and fail before or after their effect, it is frozen past its leases,
//! it crashes, and it comes back under its old name or a new one. Runs take simulated time, fail and time out. Nothing
//! else decides what happens: the same seed is the same story, to the microsecond.
//!
//! What is checked, by a watch that sees every call that reaches the server:
//!
//! 1. No fire time is lost: every one that the trigger gives is run, coalesced, or missed by policy.
//! 2. None is run twice by owners that live: a run starts only while its process holds a lease on it, and a second start
//!    has a higher attempt, and comes after the first owner was dead, frozen or cut off past its lease.
//! 3. No stale commit, renewal, end or release is applied.
//! 4. Claims are in order and within the limits of batches, executors, jobs, tasks and keys; what is due and has a place
//!    is not left out.
//! 5. The next fire time of a job strictly increases.
//! 6. A scheduler that is stopped stops.
//! 7. A quiet system sleeps.
//!
//! A simulation with a [`Mutation`] has a deliberate bug in it, which the watch must find. What the engine draws lots for
//! itself (ids of runs, jitter, pauses after a failure) is replaced or left out, so that it decides nothing.

mod client;
mod executor;
mod mutation;
mod node;
mod random;
mod scenario;
mod server;
mod watch;
mod world;

use std::fmt;
use std::sync::Arc;

use chrono::TimeDelta;

pub use self::mutation::Mutation;
use self::scenario::Scenario;
use self::world::World;

/// How long a simulation may take to finish its work once all is well.
const PATIENCE: TimeDelta = TimeDelta::hours(2);

/// How long a quiet system is watched.
const QUIET: TimeDelta = TimeDelta::seconds(120);

/// At most so many turns may a process take in that time.
const QUIET_TURNS: usize = 60;

/// What a simulation came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// How many runs were started.
    pub started: usize,
    /// How many runs are over.
    pub finished: usize,
    /// A number that differs when anything happened otherwise.
    pub digest: u64,
}

/// What must never happen, and did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The seed.
    pub seed: u64,
    /// The bug that was switched on.
    pub mutation: Option<Mutation>,
    /// What happened.
    pub what: String,
    /// As in [`Summary`].
    pub digest: u64,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, what, digest, .. } = self;
        write!(f, "seed {seed}: {what} (digest {digest:016x}); again with `cargo xtask sim --seed {seed}")?;
        match self.mutation {
            Some(mutation) => write!(f, " --mutation {mutation}`"),
            None => f.write_str("`"),
        }
    }
}

impl std::error::Error for Violation {}

/// Plays the story of a seed to its end.
///
/// **Errors**: what must never happen, if it did.
///
/// # Example
/// ```
/// use sched_testkit::simulator::simulate;
/// assert_eq!(simulate(1, None)?, simulate(1, None)?);
/// # Ok::<(), sched_testkit::simulator::Violation>(())
/// ```
pub fn simulate(seed: u64, mutation: Option<Mutation>) -> Result<Summary, Violation> {
    play(&Scenario::of(seed).begin(seed, mutation), seed, mutation)
}

/// The same, with the story: a line for each call that changed something, each start and each accident.
pub fn tell(seed: u64, mutation: Option<Mutation>) -> (Result<Summary, Violation>, Vec<String>) {
    let world = Scenario::of(seed).begin(seed, mutation);
    world.with(|hub, _| hub.watch.story = Some(Vec::new()));
    let ended = play(&world, seed, mutation);
    (ended, world.with(|hub, _| hub.watch.story.take()).unwrap_or_default())
}

fn play(world: &Arc<World>, seed: u64, mutation: Option<Mutation>) -> Result<Summary, Violation> {
    let scenario = Scenario::of(seed);
    world.advance(scenario.ends);
    world.calm(&scenario.nodes);
    finish(world);
    rest(world);
    for node in world.nodes() {
        world.stop(&node);
    }
    let digest = world.digest();
    match world.violation() {
        Some(what) => {
            world.nodes().iter().for_each(|node| node.bury());
            Err(Violation { seed, mutation, what, digest })
        }
        None => Ok(world.with(|hub, _| Summary {
            started: hub.watch.started,
            finished: hub.watch.finished,
            digest,
        })),
    }
}

/// Lets all work be done.
fn finish(world: &Arc<World>) {
    let deadline = world.truth.now() + PATIENCE;
    while world.violation().is_none() {
        world.advance(world.truth.now() + TimeDelta::seconds(30));
        let now = world.truth.now();
        let done = world
            .with(|hub, now| hub.watch.is_done(now) && hub.watch.last_fire().is_none_or(|last| last <= now));
        if done {
            return;
        }
        if now > deadline {
            let left = world.with(|hub, now| hub.watch.left(now));
            world.with(|hub, _| hub.watch.violated(format!("work is left: {left:?}")));
        }
    }
}

/// Looks on while nothing is due.
fn rest(world: &Arc<World>) {
    // Runs without a row, and what the last turn left to settle.
    world.advance(world.truth.now() + TimeDelta::seconds(60));
    let before: Vec<usize> = world.nodes().iter().map(|node| node.state.lock().turns).collect();
    world.advance(world.truth.now() + QUIET);
    for (node, before) in world.nodes().iter().zip(before) {
        let turns = node.state.lock().turns - before;
        if turns > QUIET_TURNS {
            let name = &node.plan.identity;
            world.with(|hub, _| {
                hub.watch.violated(format!("{name} took {turns} turns while nothing was due"))
            });
        }
    }
}
