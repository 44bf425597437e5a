//! What a seed says: processes, jobs, and what will happen to them.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use sched_core::{Coalesce, Delivery, Grace, Job, JobSettings, JobSpec, Overlap, Retain, TaskRef};

use super::mutation::Mutation;
use super::node::NodePlan;
use super::random::Random;
use super::world::{Chaos, Rates, World};
use crate::jobs::{ECHO, FixedTrigger, LIMITED, NOON, sample_job, task, with_settings, with_trigger};

/// A story before it is told.
#[derive(Debug)]
pub(super) struct Scenario {
    pub(super) nodes: Vec<NodePlan>,
    jobs: Vec<Job>,
    chaos: Vec<(DateTime<Utc>, Chaos)>,
    rates: Rates,
    is_durable: bool,
    is_at_once: bool,
    /// When the trouble ends.
    pub(super) ends: DateTime<Utc>,
}

impl Scenario {
    pub(super) fn of(seed: u64) -> Self {
        // Not the numbers that the story itself will draw.
        let mut random = Random::new(!seed);
        let is_durable = random.chance(850);
        let delivery = if is_durable { Delivery::Durable } else { Delivery::Direct };
        let nodes: Vec<NodePlan> =
            (0..random.between(1, 4)).map(|slot| node(&mut random, slot, delivery)).collect();
        let jobs = (0..random.between(1, 6)).map(|number| job(&mut random, number)).collect();
        let length = random.between(30, 240);
        let ends = NOON + TimeDelta::seconds(length);
        let mut chaos = Vec::new();
        for _ in 0..random.between(0, length / 12) {
            let time = NOON + TimeDelta::milliseconds(random.between(0, length * 1_000));
            let plan = random.pick(&nodes);
            happen(&mut random, time, &plan, &mut chaos);
        }
        for _ in 0..random.between(0, 6) {
            chaos.push((NOON + TimeDelta::milliseconds(random.between(0, length * 1_000)), Chaos::Visit));
        }
        let rates = random.pick(&[
            Rates::default(),
            Rates { fails_before: 20, fails_after: 20, stalls: 2 },
            Rates { fails_before: 5, fails_after: 60, stalls: 10 },
            Rates { fails_before: 150, fails_after: 50, stalls: 30 },
        ]);
        let is_at_once = random.chance(500);
        Self { nodes, jobs, chaos, rates, is_durable, is_at_once, ends }
    }

    /// The world of the story, with its processes up.
    pub(super) fn begin(&self, seed: u64, mutation: Option<Mutation>) -> Arc<World> {
        let world = World::new(NOON, seed, mutation);
        world.with(|hub, _| {
            (hub.is_durable, hub.is_at_once) = (self.is_durable, self.is_at_once);
            for job in &self.jobs {
                hub.server.insert(job);
                hub.watch.added(job);
            }
        });
        self.nodes.iter().for_each(|plan| world.start(plan.clone()));
        world.with(|hub, _| hub.rates = self.rates);
        world.plan(self.chaos.clone());
        world
    }
}

fn node(random: &mut Random, slot: i64, delivery: Delivery) -> NodePlan {
    let off = if random.chance(400) { random.between(-90_000, 90_000) } else { random.between(-50, 50) };
    NodePlan {
        slot: usize::try_from(slot).unwrap_or(0),
        identity: format!("node-{slot}"),
        offset: TimeDelta::milliseconds(off),
        drift: random.between(-200, 200),
        batch: random.pick(&[1, 2, 1_000]),
        places: usize::try_from(random.between(1, 4)).unwrap_or(1),
        delivery,
    }
}

fn job(random: &mut Random, number: i64) -> Job {
    let start = NOON + TimeDelta::milliseconds(random.between(0, 60_000));
    let (period, count) = (random.between(1, 40), i32::try_from(random.between(1, 8)).unwrap_or(1));
    let grace = Duration::from_secs(random.between(1, 60).unsigned_abs());
    let settings = JobSettings {
        coalesce: Some(random.pick(&[Coalesce::Latest, Coalesce::Earliest, Coalesce::All])),
        max_instances: u32::try_from(random.between(1, 3)).ok(),
        overlap: Some(random.pick(&[Overlap::Skip, Overlap::Queue])),
        misfire_grace_time: random.chance(250).then_some(Grace::Within(grace)),
        retain: Some(random.pick(&[Retain::Remove, Retain::Finished])),
        result_ttl: random.chance(300).then_some(Duration::from_secs(3_600)),
        concurrency_key: random.chance(300).then(|| Arc::from("key")),
        concurrency_limit: Some(1),
        ..JobSettings::default()
    };
    let job = sample_job(&format!("job-{number}"), start);
    let job = with_settings(&with_trigger(&job, FixedTrigger::every(start, period, count)), settings);
    let name = if random.chance(400) { LIMITED } else { ECHO };
    let spec = JobSpec { task: TaskRef::Bound(task(name)), ..JobSpec::clone(&job.spec) };
    Job { spec: Arc::new(spec), cursor: job.cursor }
}

/// Something happens to a process, and it is up again some time later.
fn happen(
    random: &mut Random,
    time: DateTime<Utc>,
    plan: &NodePlan,
    chaos: &mut Vec<(DateTime<Utc>, Chaos)>,
) {
    let slot = plan.slot;
    let what = match random.between(0, 9) {
        0..=2 => Chaos::Crash { slot },
        3 => Chaos::Stop { slot },
        4..=6 => Chaos::Freeze { slot, time: TimeDelta::milliseconds(random.between(10, 50_000)) },
        7 => Chaos::SetClock { slot, by: TimeDelta::milliseconds(random.between(-60_000, 60_000)) },
        _ => Chaos::QueueAgain,
    };
    if matches!(what, Chaos::Crash { .. } | Chaos::Stop { .. }) {
        let back = time + TimeDelta::milliseconds(random.between(1, 40_000));
        let mut plan = plan.clone();
        if random.chance(500) {
            plan.identity = format!("{}-{}", plan.identity, back.timestamp_millis());
        }
        chaos.push((back, Chaos::Start(plan)));
    }
    chaos.push((time, what));
}
