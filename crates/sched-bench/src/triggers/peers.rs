//! The peers: `cron` and croner, in the same races.

use std::hint::black_box;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use croner::Cron;
use croner::parser::{CronParser, Seconds};

use super::cases::Case;
use super::{HORIZON, YEARS, utc};
use crate::Outcome;
use crate::measure::{Contestant, made, nanos_per};

pub(super) const CRON: &str = "cron 0.17";
pub(super) const CRONER: &str = "croner 4.0";

/// Peers slow down with the distance of the answer; so many steps are enough.
const STEPS: usize = 200;

pub(super) fn cron(text: &str) -> Outcome<cron::Schedule> {
    Ok(cron::Schedule::from_str(text)?)
}

pub(super) fn croner(text: &str) -> Outcome<Cron> {
    Ok(CronParser::builder().seconds(Seconds::Optional).build().parse(text)?)
}

/// The peers that can say a case, from random instants.
pub(super) fn scatter<'a>(case: &Case, zone: Tz, instants: &[i64]) -> Outcome<Vec<Contestant<'a>>> {
    let times: Vec<_> = instants.iter().take(STEPS).map(|at| utc(*at).with_timezone(&zone)).collect();
    let mut contestants: Vec<Contestant<'a>> = Vec::new();
    if let Some(text) = case.cron {
        let (schedule, times) = (cron(text)?, times.clone());
        let round = move || {
            nanos_per(times.len(), || {
                times.iter().for_each(|time| made(schedule.after(time).next()));
            })
        };
        contestants.push((CRON, Box::new(round)));
    }
    let schedule = croner(case.croner)?;
    let round = move || {
        nanos_per(times.len(), || {
            times.iter().for_each(|time| made(schedule.find_next_occurrence(time, true)));
        })
    };
    contestants.push((CRONER, Box::new(round)));
    Ok(contestants)
}

/// The peers that can say a case, from fire to fire.
pub(super) fn sequence<'a>(case: &Case, zone: Tz, steps: usize) -> Outcome<Vec<Contestant<'a>>> {
    let start = utc(YEARS.0).with_timezone(&zone);
    let steps = steps.min(STEPS);
    let mut contestants: Vec<Contestant<'a>> = Vec::new();
    if let Some(text) = case.cron {
        let schedule = cron(text)?;
        contestants.push((CRON, Box::new(move || walk(start, steps, |at| schedule.after(at).next()))));
    }
    let schedule = croner(case.croner)?;
    let round = move || walk(start, steps, |at| schedule.find_next_occurrence(at, false).ok());
    contestants.push((CRONER, Box::new(round)));
    Ok(contestants)
}

fn walk(start: DateTime<Tz>, steps: usize, next: impl Fn(&DateTime<Tz>) -> Option<DateTime<Tz>>) -> f64 {
    let end = utc(HORIZON).with_timezone(&Utc);
    nanos_per(steps, || {
        let mut at = start;
        for _ in 0..steps {
            at = next(&at).filter(|next| *next < end).unwrap_or(start);
        }
        black_box(at);
    })
}
