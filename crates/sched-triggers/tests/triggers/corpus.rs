//! Replays texts that once were, or could become, a defect of a reader. Fuzzing adds to `tests/corpus`.

use std::path::Path;

use sched_triggers::{CronTrigger, Dialect, preview};
use serde_json::Value;

use crate::support::{build, time};

pub(crate) fn lines(name: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.lines().map(str::to_owned).collect()
}

#[test]
fn cron_texts_are_read_or_refused() {
    let lines = lines("cron.txt");
    assert!(lines.len() > 20);
    for line in lines {
        for dialect in [Dialect::Aps3, Dialect::Aps4, Dialect::Unix, Dialect::Quartz] {
            match CronTrigger::parse_dialect(&line, dialect) {
                Ok(trigger) => {
                    assert!(preview(&trigger, None, time("2026-11-21T00:00:00Z"), 5).is_ok(), "{line}")
                }
                Err(error) => assert!(!error.faults().is_empty(), "{line}"),
            }
        }
        let _ = line.parse::<CronTrigger>();
    }
}

#[test]
fn configurations_are_read_or_refused() {
    let lines = lines("config.jsonl");
    assert!(lines.len() > 10);
    for line in lines {
        let config: Value = serde_json::from_str(&line).unwrap();
        if let Ok(trigger) = build(config) {
            assert!(preview(&*trigger, None, time("2026-11-21T00:00:00Z"), 5).is_ok(), "{line}");
            assert!(build(trigger.to_config()).is_ok(), "{line}");
        }
    }
}

#[cfg(feature = "rrule")]
#[test]
fn recurrence_texts_are_read_or_refused() {
    let lines = lines("rrule.txt");
    assert!(lines.len() > 20);
    for line in lines {
        let text = line.replace("\\n", "\n");
        match sched_triggers::RruleTrigger::parse(&text, chrono_tz::Tz::Pacific__Apia) {
            Ok(trigger) => {
                assert!(preview(&trigger, None, time("2011-12-20T00:00:00Z"), 5).is_ok(), "{line}");
                assert!(preview(&trigger, None, time("9990-01-01T00:00:00Z"), 5).is_ok(), "{line}");
            }
            Err(error) => assert!(!error.to_string().is_empty(), "{line}"),
        }
    }
}
