//! What the tests of this crate share.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use sched_core::{BuildContext, Error, Registry, Trigger};
use sched_triggers::preview;
use serde_json::Value;

/// Reads RFC 3339.
pub(crate) fn time(text: &str) -> DateTime<Utc> {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// Builds a trigger from its configuration form, with everything that is linked in; the default zone is UTC.
pub(crate) fn build(config: Value) -> Result<Arc<dyn Trigger>, Error> {
    let registry = Registry::linked()?;
    registry.trigger("", config, BuildContext { registry: &registry, timezone: Tz::UTC })
}

/// The next fire times in the trigger's own zone; `end` is the last item when it is exhausted.
pub(crate) fn fires(trigger: &dyn Trigger, now: &str, count: usize) -> Vec<String> {
    let preview = preview(trigger, None, time(now), count).unwrap();
    let zone = trigger.timezone();
    let mut fires: Vec<String> =
        preview.fires.iter().map(|fire| fire.with_timezone(&zone).to_rfc3339()).collect();
    if preview.exhausted {
        fires.push("end".to_owned());
    }
    fires
}
