//! Triggers made of triggers: [`AndTrigger`], [`OrTrigger`], [`ExceptTrigger`], [`OffsetTrigger`], [`LimitTrigger`].
//!
//! Children are asked afresh, without a previous fire time, so that each keeps its own phase; an interval does not
//! restart when its neighbour fires. What the children are is none of their business here.

mod and;
mod except;
mod limit;
mod offset;
mod or;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use sched_core::{Error, ErrorKind, Section, Trigger};
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

/// Reads the list `triggers`; every child is a table with `type`.
fn read_children(section: &mut Section<'_>) -> Vec<Arc<dyn Trigger>> {
    read_list(section, "triggers")
}

/// Reads a list of triggers, which may not be empty.
fn read_list(section: &mut Section<'_>, key: &'static str) -> Vec<Arc<dyn Trigger>> {
    let Some(items) = section.list(key) else {
        section.missing(key, "a list of triggers");
        return Vec::new();
    };
    let context = section.context();
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
fn read_child(section: &mut Section<'_>) -> Option<Arc<dyn Trigger>> {
    let child = section.trigger("trigger");
    if child.is_none() && !section.is_faulty() {
        section.missing("trigger", "a trigger");
    }
    child
}
