//! Scenario `triggers`: the time for one next fire, for parsing, previewing, and planning after a long sleep.

pub mod cases;
pub mod hand;
mod peers;
pub mod planning;

use std::hint::black_box;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use sched_core::Trigger;
use sched_triggers::CronTrigger;

use self::cases::{CASES, Case};
use self::hand::HandZone;
use crate::Outcome;
use crate::figure::Figure;
use crate::measure::{made, nanos_per, race};
use crate::options::Options;
use crate::out::Board;
use crate::random::Random;

/// 2020-01-01 and 2030-01-01: random instants lie in between.
const YEARS: (i64, i64) = (1_577_836_800, 1_893_456_000);

/// 2099-01-01: a series that comes this far starts anew.
const HORIZON: i64 = 4_070_908_800;

const ZONES: [Tz; 2] = [Tz::UTC, Tz::Europe__Berlin];

/// Measures everything about triggers.
///
/// **Errors**: those of the triggers.
pub fn run(options: &Options, board: &mut Board) -> Outcome {
    let instants = random_instants(if options.quick { 1_000 } else { 4_000 });
    let rounds = if options.quick { options.runs } else { options.runs.max(9) };
    for zone in ZONES {
        let hand = HandZone::sample(zone);
        let mut wrong = 0;
        for case in CASES {
            let subject = Subject { case, zone, hand: &hand, trigger: case.trigger(zone)? };
            wrong += subject.differences(&instants)?;
            board.put(&subject.scatter(&instants, rounds)?);
            board.put(&subject.sequence(instants.len(), rounds)?);
        }
        let case = format!("{zone}: answers that differ from the limit's");
        board.put(&Figure::new("triggers", case, "answers", wrong as f64).at_most(0.0, None));
    }
    planning::run(options, board)
}

fn random_instants(count: usize) -> Vec<i64> {
    let mut random = Random::new(7);
    let span = YEARS.1.abs_diff(YEARS.0);
    let offsets = std::iter::repeat_with(|| i64::try_from(random.below(span)).unwrap_or(0));
    offsets.take(count).map(|offset| YEARS.0 + offset).collect()
}

/// One case in one zone.
struct Subject<'a> {
    case: &'a Case,
    zone: Tz,
    hand: &'a HandZone,
    trigger: CronTrigger,
}

impl Subject<'_> {
    /// How many answers differ from the limit's, so that both do the same work.
    fn differences(&self, instants: &[i64]) -> Outcome<usize> {
        let mut wrong = 0;
        for instant in instants {
            let ours = self.trigger.next_fire_time(None, utc(*instant))?.map(|time| time.timestamp());
            wrong += usize::from(ours != self.hand.at_or_after(&self.case.hand, *instant));
        }
        Ok(wrong)
    }

    /// From random instants.
    fn scatter(&self, instants: &[i64], rounds: usize) -> Outcome<Figure> {
        let trigger: &dyn Trigger = &self.trigger;
        let times: Vec<DateTime<Utc>> = instants.iter().copied().map(utc).collect();
        let ours = || {
            nanos_per(times.len(), || {
                times.iter().for_each(|time| made(trigger.next_fire_time(None, *time)));
            })
        };
        let limit = || {
            nanos_per(instants.len(), || {
                instants.iter().for_each(|at| made(self.hand.at_or_after(&self.case.hand, *at)));
            })
        };
        let mut subjects = peers::scatter(self.case, self.zone, instants)?;
        subjects.insert(0, ("ours", Box::new(ours)));
        subjects.insert(1, ("limit", Box::new(limit)));
        Ok(self.figure("scatter", &race(rounds, &mut subjects)))
    }

    /// From fire to fire.
    fn sequence(&self, steps: usize, rounds: usize) -> Outcome<Figure> {
        let trigger: &dyn Trigger = &self.trigger;
        let start = utc(YEARS.0);
        let ours = || {
            nanos_per(steps, || {
                let mut at = start;
                for _ in 0..steps {
                    let next = trigger.next_fire_time(Some(at), at).ok().flatten();
                    at = next.filter(|next| next.timestamp() < HORIZON).unwrap_or(start);
                }
                black_box(at);
            })
        };
        let limit = || {
            nanos_per(steps, || {
                let mut at = YEARS.0;
                for _ in 0..steps {
                    let next = self.hand.at_or_after(&self.case.hand, at + 1);
                    at = next.filter(|next| *next < HORIZON).unwrap_or(YEARS.0);
                }
                black_box(at);
            })
        };
        let mut subjects = peers::sequence(self.case, self.zone, steps)?;
        subjects.insert(0, ("ours", Box::new(ours)));
        subjects.insert(1, ("limit", Box::new(limit)));
        Ok(self.figure("sequence", &race(rounds, &mut subjects)))
    }

    fn figure(&self, order: &str, times: &[(&'static str, f64)]) -> Figure {
        let [(_, ours), (_, limit), peers @ ..] = times else {
            return Figure::new("triggers", self.case.name, "ns", f64::NAN);
        };
        let name = format!("{}, {}, {order}", self.case.name, self.zone);
        let figure = Figure::new("triggers", name, "ns", *ours).limit(*limit);
        let figure = peers.iter().fold(figure, |figure, (name, time)| figure.peer(name, *time));
        let budget = self.case.budget(self.zone);
        figure.at_most(budget.ours, Some(budget.limit))
    }
}

fn utc(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(seconds, 0).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_and_the_limit_agree_on_every_case() {
        let instants = random_instants(500);
        for zone in ZONES {
            let hand = HandZone::sample(zone);
            for case in CASES {
                let subject = Subject { case, zone, hand: &hand, trigger: case.trigger(zone).unwrap() };
                assert_eq!(subject.differences(&instants).unwrap(), 0, "{} {zone}", case.name);
            }
        }
    }

    #[test]
    fn every_peer_reads_its_patterns() {
        for case in CASES {
            let peers = peers::scatter(case, Tz::UTC, &random_instants(3)).unwrap();
            assert_eq!(peers.len(), 1 + usize::from(case.cron.is_some()), "{}", case.name);
        }
    }
}
