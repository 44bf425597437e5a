//! Properties of planning, against a trigger whose fire times can be listed.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;
use sched_core::{
    Args, Coalesce, Cursor, Error, Grace, JobId, JobOptions, JobSettings, JobSpec, JobStatus, Retain, Task,
    TaskRef, Then, Trigger, is_too_late, plan,
};

type Answer = fn(&[i64], Option<DateTime<Utc>>, DateTime<Utc>) -> Option<DateTime<Utc>>;

/// A trigger made of numbers and a rule that reads them.
#[derive(Debug)]
struct Numbers {
    numbers: Vec<i64>,
    answer: Answer,
    latest: Option<TimeDelta>,
}

/// Fires at these seconds.
fn seconds(numbers: Vec<i64>) -> Numbers {
    let answer: Answer = |numbers, previous, now| {
        let mut times = numbers.iter().copied().map(second);
        times.find(|time| previous.map_or(*time >= now, |previous| *time > previous))
    };
    Numbers { numbers, answer, latest: None }
}

/// Goes on by steps that may be zero or negative, and claims that the latest fire time is a second ago.
fn wild(steps: Vec<i64>) -> Numbers {
    let answer: Answer = |steps, previous, _| {
        let from = previous.map_or(0, |previous| previous.timestamp());
        let index = usize::try_from(from.rem_euclid(7)).unwrap();
        steps.get(index).map(|step| second(from + step))
    };
    Numbers { numbers: steps, answer, latest: Some(TimeDelta::seconds(1)) }
}

impl Trigger for Numbers {
    fn next_fire_time(
        &self,
        previous: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, Error> {
        Ok((self.answer)(&self.numbers, previous, now))
    }

    fn alias(&self) -> &str {
        "numbers"
    }

    fn to_config(&self) -> serde_json::Value {
        serde_json::json!({ "type": "numbers", "numbers": self.numbers })
    }

    fn latest_fire_time(&self, first: DateTime<Utc>, now: DateTime<Utc>) -> Result<DateTime<Utc>, Error> {
        if let Some(before) = self.latest {
            return Ok(first.max(now - before));
        }
        let due = self.numbers.iter().copied().map(second).filter(|time| *time <= now);
        Ok(due.max().unwrap_or(first))
    }
}

impl fmt::Display for Numbers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("numbers")
    }
}

fn second(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(seconds, 0).unwrap()
}

fn spec(trigger: Numbers, options: JobOptions) -> JobSpec {
    JobSpec {
        id: JobId::new("job").unwrap(),
        name: None,
        task: TaskRef::Bound(Arc::new(Task::new("task", |_, _| ()))),
        args: Args::default(),
        trigger: Arc::new(trigger),
        settings: Arc::new(JobSettings::default()),
        options: Arc::new(options),
    }
}

fn at(seconds: i64) -> Cursor {
    Cursor::at(second(seconds), second(seconds))
}

fn coalesce() -> impl Strategy<Value = Coalesce> {
    prop_oneof![Just(Coalesce::Latest), Just(Coalesce::Earliest), Just(Coalesce::All)]
}

fn times() -> impl Strategy<Value = Vec<i64>> {
    proptest::collection::btree_set(0_i64..2_000, 1..150).prop_map(|times| times.into_iter().collect())
}

proptest! {
    #[test]
    fn a_plan_is_what_listing_every_fire_gives(
        times in times(),
        late in 0_i64..2_500,
        coalesce in coalesce(),
        most in 1_u32..40,
        grace in proptest::option::of(1_u64..500),
    ) {
        let now = second(times[0] + late);
        let grace: Grace = grace.map(Duration::from_secs).into();
        let options = JobOptions { coalesce, max_catch_up: most, misfire_grace_time: grace, ..JobOptions::default() };
        let plan = plan(&spec(seconds(times.clone()), options), &at(times[0]), now, 7).unwrap();
        let due: Vec<i64> = times.iter().copied().filter(|time| second(*time) <= now).collect();
        let expected: Vec<i64> = match coalesce {
            Coalesce::Latest => due[due.len() - 1..].to_vec(),
            Coalesce::Earliest => due[..1].to_vec(),
            Coalesce::All => due.iter().copied().take(most as usize).collect(),
        };
        let fires: Vec<i64> = plan.fires.iter().map(|fire| fire.fire_time.timestamp()).collect();
        prop_assert_eq!(fires, expected);
        for fire in &plan.fires {
            prop_assert_eq!(fire.missed, is_too_late(grace, fire.scheduled_time, now));
            prop_assert_eq!(fire.scheduled_time, fire.fire_time);
        }
        let next = times.get(due.len()).copied();
        prop_assert_eq!(plan.cursor.next_fire_time.map(|time| time.timestamp()), next);
        prop_assert_eq!(plan.then, if next.is_some() { Then::Continue } else { Then::Remove });
        prop_assert_eq!(plan.catch_up_limited, coalesce == Coalesce::All && due.len() > most as usize);
        prop_assert_eq!(plan.cursor.last_fire_time, plan.fires.last().map(|fire| fire.fire_time));
    }

    #[test]
    fn the_provided_search_finds_the_latest_fire(times in times(), late in 0_i64..2_500) {
        #[derive(Debug)]
        struct Provided(Numbers);
        impl fmt::Display for Provided {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("provided")
            }
        }
        impl Trigger for Provided {
            fn next_fire_time(
                &self,
                previous: Option<DateTime<Utc>>,
                now: DateTime<Utc>,
            ) -> Result<Option<DateTime<Utc>>, Error> {
                self.0.next_fire_time(previous, now)
            }
            fn alias(&self) -> &str {
                "provided"
            }
            fn to_config(&self) -> serde_json::Value {
                self.0.to_config()
            }
        }
        let now = second(times[0] + late);
        let listed = times.iter().copied().map(second).filter(|time| *time <= now).max();
        let found = Provided(seconds(times.clone())).latest_fire_time(second(times[0]), now).unwrap();
        prop_assert_eq!(Some(found), listed);
    }

    #[test]
    fn plan_is_strictly_increasing(
        steps in proptest::collection::vec(-3_i64..50, 7),
        late in 0_i64..5_000,
        coalesce in coalesce(),
    ) {
        let options = JobOptions { coalesce, max_catch_up: 20, ..JobOptions::default() };
        let (spec, mut now, mut cursor) = (spec(wild(steps), options), second(100 + late), at(100));
        let mut last = None;
        for _ in 0..5 {
            let Ok(plan) = plan(&spec, &cursor, now, 1) else { return Ok(()) };
            for fire in &plan.fires {
                prop_assert!(last.is_none_or(|last| last < fire.fire_time));
                last = Some(fire.fire_time);
            }
            let Some(next) = plan.cursor.next_fire_time else { return Ok(()) };
            prop_assert!(last.is_none_or(|last| last < next));
            now = now.max(next) + TimeDelta::seconds(late % 100);
            cursor = plan.cursor;
        }
    }

    #[test]
    fn plan_is_bounded(most in 1_u32..100, late in 0_i64..100_000, coalesce in coalesce()) {
        let options = JobOptions { coalesce, max_catch_up: most, ..JobOptions::default() };
        let plan = plan(&spec(wild(vec![1; 7]), options), &at(10), second(10 + late), 1).unwrap();
        prop_assert!(!plan.fires.is_empty() && plan.fires.len() <= most as usize);
    }

    #[test]
    fn jitter_does_not_accumulate(times in times(), jitter in 1_u64..5_000, seed in any::<u64>()) {
        let jitter = Duration::from_millis(jitter);
        let options = JobOptions { jitter: Some(jitter), coalesce: Coalesce::All, ..JobOptions::default() };
        let spec = spec(seconds(times.clone()), options);
        let (mut cursor, mut seen, mut before) = (at(times[0]), Vec::new(), None);
        while let Some(now) = cursor.next_run_time {
            let plan = plan(&spec, &cursor, now, seed).unwrap();
            for fire in &plan.fires {
                let delay = (fire.scheduled_time - fire.fire_time).to_std();
                prop_assert!(delay.is_ok_and(|delay| delay <= jitter));
                prop_assert!(before.is_none_or(|before| before < fire.scheduled_time), "runs keep their order");
                before = Some(fire.scheduled_time);
                seen.push(fire.fire_time.timestamp());
            }
            cursor = plan.cursor;
        }
        prop_assert_eq!(seen, times);
    }

    #[test]
    fn jitter_is_the_same_for_a_retry_and_another_for_another_scheduler(
        fire in 1_000_i64..1_000_000,
        seed in any::<u64>(),
    ) {
        let options = JobOptions { jitter: Some(Duration::from_secs(600)), ..JobOptions::default() };
        let spec = spec(seconds((0..20).map(|step| fire + step * 3_600).collect()), options);
        let run_times = |seed: u64| -> Vec<_> {
            let walk = std::iter::successors(Some(at(fire)), |cursor| {
                let plan = plan(&spec, cursor, cursor.next_run_time?, seed).ok()?;
                plan.cursor.next_run_time.is_some().then_some(plan.cursor)
            });
            walk.filter_map(|cursor| cursor.next_run_time).collect()
        };
        prop_assert_eq!(run_times(seed), run_times(seed));
        prop_assert_ne!(run_times(seed), run_times(seed ^ 1));
    }

    #[test]
    fn a_grace_is_kept_exactly(grace in 1_u64..1_000_000, lateness in 0_u64..2_000_000) {
        let scheduled = second(1_000);
        let (grace, lateness) = (Duration::from_micros(grace), Duration::from_micros(lateness));
        let now = scheduled + lateness;
        prop_assert_eq!(is_too_late(grace.into(), scheduled, now), lateness > grace);
        prop_assert!(!is_too_late(Grace::Unlimited, scheduled, now));
        prop_assert!(!is_too_late(grace.into(), now, scheduled), "early is not late");
    }
}

#[test]
fn a_job_out_of_the_schedule_is_not_planned() {
    let paused = Cursor::default().stopped(JobStatus::Paused);
    assert!(plan(&spec(seconds(vec![1]), JobOptions::default()), &paused, second(5), 0).is_err());
}

#[test]
fn an_ended_job_is_removed_or_retained() {
    for (retain, then) in [(Retain::Remove, Then::Remove), (Retain::Finished, Then::Retain)] {
        let options = JobOptions { retain, ..JobOptions::default() };
        let plan = plan(&spec(seconds(vec![1]), options), &at(1), second(5), 0).unwrap();
        assert_eq!((plan.then, plan.cursor.status), (then, JobStatus::Finished));
        assert_eq!((plan.cursor.next_fire_time, plan.cursor.last_fire_time), (None, Some(second(1))));
    }
}
