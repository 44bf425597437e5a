//! Cron text of any dialect: read or refused, written back to an equal trigger, and searched in bounded time.
#![no_main]

use chrono_tz::Tz;
use libfuzzer_sys::fuzz_target;
use sched_core::Trigger;
use sched_triggers::{CronTrigger, Dialect, preview};

fuzz_target!(|text: &str| {
    let _ = text.parse::<CronTrigger>();
    for dialect in [Dialect::Aps3, Dialect::Aps4, Dialect::Unix, Dialect::Quartz] {
        let Ok(trigger) = CronTrigger::parse_dialect(text, dialect) else { continue };
        let trigger = trigger.with_timezone(Tz::America__New_York);
        let shown = trigger.to_string();
        let again: CronTrigger = shown.parse().unwrap_or_else(|error| panic!("{shown}: {error}"));
        assert_eq!(again, trigger, "{shown}");
        assert!(!trigger.describe().is_empty());
        let now = "2026-03-07T00:00:00Z".parse().expect("a valid instant");
        preview(&trigger, None, now, 5).expect("fire times increase");
    }
});
