//! Triggers made of triggers: [`AndTrigger`], [`OrTrigger`], [`ExceptTrigger`], [`OffsetTrigger`], [`LimitTrigger`].
//!
//! Children are asked afresh, without a previous fire time, so that each keeps its own phase; an interval does not
//! restart when its neighbour fires. What the children are is none of their business here.

mod and;
mod except;
mod limit;
mod offset;
mod or;
mod rounds;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use sched_core::{BuildContext, Error, ErrorKind, Section, Trigger};
use serde_json::Value;

pub use self::and::AndTrigger;
pub use self::except::ExceptTrigger;
pub use self::limit::LimitTrigger;
pub use self::offset::OffsetTrigger;
pub use self::or::OrTrigger;
use crate::moment::MICROSECOND;

pub(crate) use self::and::AND;
pub(crate) use self::except::EXCEPT;
pub(crate) use self::limit::LIMIT;
pub(crate) use self::offset::OFFSET;
pub(crate) use self::or::OR;

/// Children of a combination; never empty.
type Children = Box<[Arc<dyn Trigger>]>;

/// The first fire time of `child` at or after `floor`, with the child's own phase.
fn at_or_after(child: &dyn Trigger, floor: DateTime<Utc>) -> Result<Option<DateTime<Utc>>, Error> {
    match child.next_fire_time(None, floor)? {
        // A date answers with its moment even when that is past.
        Some(time) if time < floor => child.next_fire_time(Some(floor - MICROSECOND), floor),
        found => Ok(found),
    }
}

/// Children with every open start fixed; `None` when none was open.
fn anchored(children: &[Arc<dyn Trigger>], at: DateTime<Utc>) -> Option<Children> {
    let fixed: Vec<_> = children.iter().map(|child| child.anchored(at)).collect();
    fixed.iter().any(Option::is_some).then(|| {
        fixed
            .into_iter()
            .zip(children)
            .map(|(fixed, child)| fixed.unwrap_or_else(|| Arc::clone(child)))
            .collect()
    })
}

fn checked(children: Vec<Arc<dyn Trigger>>) -> Result<Children, Error> {
    match children.is_empty() {
        true => Err(Error::new(ErrorKind::InvalidTrigger, "expected at least one trigger to combine")),
        false => Ok(children.into()),
    }
}

fn configs(children: &[Arc<dyn Trigger>]) -> Value {
    children.iter().map(|child| child.to_config()).collect()
}

/// The zone of a combination where it has one of its own, or that of its first child.
fn zone_of(own: Option<Tz>, first: Option<&Arc<dyn Trigger>>) -> Tz {
    own.or_else(|| first.map(|child| child.timezone())).unwrap_or(Tz::UTC)
}

/// Reads the combination's own zone.
fn read_zone(section: &mut Section<'_>) -> Option<Tz> {
    section.timezone("timezone")
}

/// What children are built with: the combination's own zone is their default.
fn context_in<'a>(section: &Section<'a>, zone: Option<Tz>) -> BuildContext<'a> {
    let context = section.context();
    BuildContext { timezone: zone.unwrap_or(context.timezone), ..context }
}

/// Reads a list of triggers, which may not be empty; every one is a table with `type`.
fn read_list(section: &mut Section<'_>, key: &'static str, zone: Option<Tz>) -> Vec<Arc<dyn Trigger>> {
    let Some(items) = section.list(key) else {
        section.missing(key, "a list of triggers");
        return Vec::new();
    };
    let context = context_in(section, zone);
    let mut children = Vec::new();
    for (index, item) in items.into_iter().enumerate() {
        let key = format!("{key}[{index}]");
        match context.registry.trigger(&section.path_of(&key), item, context) {
            Ok(child) => children.push(child),
            Err(error) => section.absorb(error, &key),
        }
    }
    if children.is_empty() && !section.is_faulty() {
        section.fault(key, "expected at least one trigger");
    }
    children
}

/// Reads the one trigger that another is made of.
fn read_child(section: &mut Section<'_>, zone: Option<Tz>) -> Option<Arc<dyn Trigger>> {
    let Some(config) = section.value("trigger") else {
        section.missing("trigger", "a trigger");
        return None;
    };
    let context = context_in(section, zone);
    let built = context.registry.trigger(&section.path_of("trigger"), config, context);
    built.map_err(|error| section.absorb(error, "trigger")).ok()
}
