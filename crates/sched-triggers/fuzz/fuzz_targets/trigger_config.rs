//! A configuration form: built or refused, written back to one that builds an equal trigger, and previewed.
#![no_main]

use std::sync::{Arc, LazyLock};

use chrono_tz::Tz;
use libfuzzer_sys::fuzz_target;
use sched_core::{BuildContext, Error, Registry, Trigger};
use sched_triggers::{PLUGINS, preview};
use serde_json::Value;

static REGISTRY: LazyLock<Registry> = LazyLock::new(|| {
    let builder = PLUGINS.into_iter().fold(Registry::builder(), |builder, plugin| builder.plugin(plugin));
    builder.build().expect("the aliases differ")
});

fn build(config: Value) -> Result<Arc<dyn Trigger>, Error> {
    REGISTRY.trigger("", config, BuildContext { registry: &REGISTRY, timezone: Tz::Europe__Helsinki })
}

fuzz_target!(|bytes: &[u8]| {
    let Ok(config) = serde_json::from_slice::<Value>(bytes) else { return };
    let Ok(trigger) = build(config) else { return };
    let written = trigger.to_config();
    let again = build(written.clone()).unwrap_or_else(|error| panic!("{written}: {error}"));
    assert_eq!(again.to_config(), written);
    assert!(!trigger.describe().is_empty());
    let now = "2026-03-28T00:00:00Z".parse().expect("a valid instant");
    let fires = preview(&*trigger, None, now, 5).unwrap_or_else(|error| panic!("{written}: {error}"));
    let same = preview(&*again, None, now, 5).expect("the first trigger had fire times");
    assert_eq!(fires, same, "{written}");
});
