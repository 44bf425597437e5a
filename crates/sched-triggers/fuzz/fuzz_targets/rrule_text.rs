//! Recurrence text: read or refused, increasing, the same from any moment, and searched in bounded time.
#![no_main]

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use libfuzzer_sys::fuzz_target;
use sched_core::Trigger;
use sched_triggers::{RruleTrigger, preview};

fuzz_target!(|text: &str| {
    let Ok(trigger) = RruleTrigger::parse(text, Tz::Europe__Helsinki) else { return };
    assert_eq!(trigger.to_config()["rule"], text.trim());
    assert!(!trigger.describe().is_empty());
    for now in ["1900-01-01T00:00:00Z", "2026-03-28T00:00:00Z", "9990-01-01T00:00:00Z"] {
        let now: DateTime<Utc> = now.parse().expect("a valid instant");
        let found = preview(&trigger, None, now, 5).expect("fire times increase").fires;
        assert!(found.iter().all(|time| *time >= now), "{text}: {found:?} before {now}");
        for pair in found.windows(2) {
            let between = trigger.next_fire_time(None, pair[0] + TimeDelta::microseconds(1)).expect("an answer");
            assert_eq!(between, Some(pair[1]), "{text}");
        }
    }
});
