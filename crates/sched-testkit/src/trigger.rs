//! The suite of [`Trigger`]'s guarantees.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use sched_core::{BuildContext, Registry, Trigger};

use crate::jobs::NOON;

/// Fire times walked in one test.
const STEPS: usize = 60;

/// Tests a trigger, one test for each guarantee.
///
/// It is given what makes the trigger under test: a function or closure that returns an `Arc<dyn Trigger>` or an `Arc`
/// of the trigger's type. The plug-in that builds it from its configuration must be linked in.
///
/// # Example
/// ```
/// mod fixed {
///     use std::sync::Arc;
///     use sched_testkit::{NOON, FixedTrigger};
///     sched_testkit::trigger_suite!(|| Arc::new(FixedTrigger::every(NOON, 60, 10)));
/// }
/// ```
#[macro_export]
macro_rules! trigger_suite {
    ($make:expr) => {
        $crate::suite! { trigger, $make;
            trigger_is_pure,
            trigger_is_strictly_increasing,
            trigger_search_is_bounded,
            trigger_config_round_trips,
            trigger_finds_the_latest,
        }
    };
}

/// Runs all cases on one trigger; for tables of triggers.
pub fn trigger_suite(make: impl Fn() -> Arc<dyn Trigger>, registry: &Registry) {
    trigger_is_pure(make());
    trigger_is_strictly_increasing(make());
    trigger_search_is_bounded(make());
    round_trips(&*make(), registry);
    trigger_finds_the_latest(make());
}

/// The trigger itself, fixed where its start is open.
#[doc(hidden)]
pub fn fixture<T: AnyTrigger>(make: impl Fn() -> T) -> Arc<dyn Trigger> {
    make().into_trigger()
}

/// An `Arc<dyn Trigger>`, or an `Arc` of a trigger's type.
pub trait AnyTrigger {
    /// The trigger.
    fn into_trigger(self) -> Arc<dyn Trigger>;
}

impl AnyTrigger for Arc<dyn Trigger> {
    fn into_trigger(self) -> Arc<dyn Trigger> {
        self
    }
}

impl<T: Trigger> AnyTrigger for Arc<T> {
    fn into_trigger(self) -> Arc<dyn Trigger> {
        self
    }
}

/// Moments that triggers like to stumble over: ends of days, months and years, leap days, the hours in which zones
/// change their offset.
fn moments() -> impl Iterator<Item = DateTime<Utc>> {
    const TEXTS: [&str; 8] = [
        "2000-02-28T23:59:59.999999Z",
        "2023-12-31T23:59:59Z",
        "2024-02-29T00:00:00Z",
        "2024-03-31T00:59:59.5Z",
        "2024-05-01T12:00:00Z",
        "2024-10-27T00:30:00Z",
        "2024-11-03T05:59:00.000001Z",
        "2099-12-31T12:00:00Z",
    ];
    TEXTS.into_iter().map(crate::jobs::time)
}

/// The trigger as a job has it: an open start is fixed.
fn anchored(trigger: Arc<dyn Trigger>) -> Arc<dyn Trigger> {
    trigger.anchored(NOON).unwrap_or(trigger)
}

fn next(trigger: &dyn Trigger, previous: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let answer = trigger.next_fire_time(previous, now);
    answer.unwrap_or_else(|error| panic!("{trigger} after {previous:?} at {now}: {error}"))
}

/// The same arguments give the same answer, whatever was asked in between and of which copy.
pub fn trigger_is_pure(trigger: Arc<dyn Trigger>) {
    let trigger = anchored(trigger);
    let ask = || {
        let fresh = moments().map(|now| next(&*trigger, None, now));
        let following = moments().map(|now| next(&*trigger, Some(now), NOON));
        fresh.chain(following).collect::<Vec<_>>()
    };
    let first = ask();
    let threads: Vec<Vec<_>> = std::thread::scope(|scope| {
        let handles: Vec<_> = (0..2).map(|_| scope.spawn(ask)).collect();
        handles.into_iter().map(|handle| handle.join().expect("the trigger does not panic")).collect()
    });
    assert!(
        threads.iter().all(|answers| *answers == first),
        "{trigger} answers differently from time to time"
    );
}

/// With `previous` the answer is later, whatever `now` says; without, it is at or after `now` and the first such.
pub fn trigger_is_strictly_increasing(trigger: Arc<dyn Trigger>) {
    let trigger = anchored(trigger);
    for now in moments() {
        let Some(first) = next(&*trigger, None, now) else { continue };
        assert!(
            first >= now || trigger.alias() == "date",
            "{trigger} at {now} answers with the past: {first}"
        );
        assert_eq!(
            first.timestamp_subsec_nanos() % 1_000,
            0,
            "{trigger}: {first} has fractions of a microsecond"
        );
        let mut fire = first;
        for _ in 0..STEPS {
            let Some(following) = next(&*trigger, Some(fire), fire) else { break };
            assert!(following > fire, "{trigger} does not go on after {fire}: {following}");
            for other_now in [fire - TimeDelta::days(400), following, following + TimeDelta::days(400)] {
                let answer = next(&*trigger, Some(fire), other_now);
                assert!(
                    answer.is_none_or(|it| it > fire),
                    "{trigger} after {fire} at {other_now}: {answer:?}"
                );
            }
            fire = following;
        }
    }
}

/// Every search ends, also far outside of the times that anybody means.
pub fn trigger_search_is_bounded(trigger: Arc<dyn Trigger>) {
    let trigger = anchored(trigger);
    for text in [
        "0001-01-01T00:00:00Z",
        "1900-01-01T00:00:00Z",
        "9999-12-30T23:59:59Z",
        "9999-12-31T23:59:59.999999Z",
    ] {
        let now = crate::jobs::time(text);
        let fresh = next(&*trigger, None, now);
        let following = next(&*trigger, Some(now), now);
        assert!(following.is_none_or(|it| it > now), "{trigger} after {now}: {following:?}, fresh {fresh:?}");
    }
}

/// The registry builds an equal trigger from the configuration form.
pub fn trigger_config_round_trips(trigger: Arc<dyn Trigger>) {
    let registry =
        Registry::linked().unwrap_or_else(|error| panic!("the plug-ins contradict each other: {error}"));
    let is_linked = registry.plugins().any(|plugin| plugin.aliases.contains(&trigger.alias()));
    match is_linked {
        true => round_trips(&*trigger, &registry),
        false => round_trips(&*trigger, &crate::jobs::registry()),
    }
}

fn round_trips(trigger: &dyn Trigger, registry: &Registry) {
    let forms = [Some(trigger.to_config()), trigger.anchored(NOON).map(|trigger| trigger.to_config())];
    for form in forms.into_iter().flatten() {
        assert_eq!(form["type"], trigger.alias(), "{form} does not name its type");
        let context = BuildContext { registry, timezone: trigger.timezone() };
        let built = registry.trigger("trigger", form.clone(), context);
        let built = built.unwrap_or_else(|error| panic!("{form} does not build: {error}"));
        assert_eq!(built.to_config(), form, "{trigger} changes on its way through its configuration");
        if built.anchored(NOON).is_none() {
            let answers =
                |trigger: &dyn Trigger| moments().map(|now| next(trigger, None, now)).collect::<Vec<_>>();
            let original = anchored_by(trigger, &form).map_or_else(|| answers(trigger), |it| answers(&*it));
            assert_eq!(answers(&*built), original, "{form} fires at other times");
        }
    }
}

/// The anchored trigger, when that is the one that has this form.
fn anchored_by(trigger: &dyn Trigger, form: &serde_json::Value) -> Option<Arc<dyn Trigger>> {
    trigger.anchored(NOON).filter(|anchored| anchored.to_config() == *form)
}

/// The latest fire time that is due is the one that a walk finds.
pub fn trigger_finds_the_latest(trigger: Arc<dyn Trigger>) {
    let trigger = anchored(trigger);
    for start in moments() {
        let Some(first) = next(&*trigger, None, start) else { continue };
        let mut due = vec![first];
        while let Some(following) = due.last().and_then(|last| next(&*trigger, Some(*last), *last)) {
            due.push(following);
            if due.len() > STEPS {
                break;
            }
        }
        for pair in due.windows(2) {
            for now in [pair[0], pair[1] - TimeDelta::microseconds(1)] {
                let latest = trigger.latest_fire_time(first, now);
                let latest =
                    latest.unwrap_or_else(|error| panic!("{trigger} from {first} to {now}: {error}"));
                assert_eq!(latest, pair[0], "{trigger}: the latest from {first} to {now}");
            }
        }
    }
}
