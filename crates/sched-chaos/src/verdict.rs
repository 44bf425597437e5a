//! The verdict: what the journals say beside what the triggers give and what the store has.

use std::collections::{BTreeMap, HashMap};

use sched::{Outcome, RunFilter, RunId, RunRecord, RunState, Scheduler, StartMode};
use serde::Serialize;
use serde_json::{Value, json};

use crate::Fault;
use crate::journal::{Entry, Step};
use crate::plan::Plan;
use crate::stage::Incident;

/// How many rows are read at once.
const PAGE: usize = 1_000;

/// A job's number and a fire time.
type Fire = (u32, i64);

/// What came out.
#[derive(Debug, Default, Serialize)]
pub struct Verdict {
    /// Fire times that were to happen.
    pub fires: usize,
    /// Fire times without a run that came to its end, and what the store has of each.
    pub lost: Vec<(Fire, String)>,
    /// Runs of fire times that no trigger gives.
    pub invented: Vec<Fire>,
    /// Runs that were started again without need.
    pub doubled: Vec<(Fire, String)>,
    /// Rows whose result is not that of the last attempt that was started.
    pub stale: Vec<(Fire, String)>,
    /// Runs that were rightly started again after an incident.
    pub repeated: usize,
    /// Runs whose process was held up between the look at their lease and the first instruction of their task, for so
    /// long that others had started them in the meantime.
    pub held_up: usize,
}

impl Verdict {
    /// Compares journals with fire times until `cutoff`, in microseconds since the Unix epoch.
    pub fn of(plan: &Plan, entries: &[Entry], incidents: &[Incident], cutoff: i64) -> Self {
        let mut starts: BTreeMap<Fire, Vec<&Entry>> = BTreeMap::new();
        let mut ended: HashMap<Fire, usize> = HashMap::new();
        for entry in entries {
            let fire = (entry.job, entry.fire);
            match entry.step {
                Step::Start => starts.entry(fire).or_default().push(entry),
                Step::End => *ended.entry(fire).or_default() += 1,
            }
        }
        let mut verdict = Self::default();
        for job in 0..plan.jobs {
            for fire in plan.fires(job).take_while(|fire| *fire <= cutoff) {
                verdict.fires += 1;
                if !ended.contains_key(&(job, fire)) {
                    verdict.lost.push(((job, fire), "no row".to_owned()));
                }
            }
        }
        for (fire, mut starts) in starts {
            starts.sort_by_key(|start| (start.begun, start.attempt));
            if !plan.fires(fire.0).take_while(|at| *at <= fire.1).any(|at| at == fire.1) {
                verdict.invented.push(fire);
            }
            for pair in starts.windows(2) {
                match needless(pair[0], pair[1], incidents) {
                    Some(why) => verdict.doubled.push((fire, why)),
                    None => verdict.repeated += 1,
                }
                verdict.held_up += usize::from(pair[0].at > pair[1].begun);
            }
        }
        verdict
    }

    /// Looks for rows whose result is not that of the attempt they count, and for those of what was lost.
    ///
    /// **Errors**: those of the scheduler.
    pub fn look_at_rows(&mut self, plan: &Plan, entries: &[Entry]) -> Result<usize, Fault> {
        let mut attempts: HashMap<Fire, u32> = HashMap::new();
        for entry in entries.iter().filter(|entry| entry.step == Step::Start) {
            let attempt = attempts.entry((entry.job, entry.fire)).or_default();
            *attempt = entry.attempt.max(*attempt);
        }
        let scheduler = Scheduler::builder().config(plan.config()).build()?;
        scheduler.start_on(
            std::sync::Arc::new(sched_testkit::scheduler::ManualRuntime::default()),
            StartMode::Paused,
        )?;
        let mut after: Option<RunId> = None;
        let mut rows = 0;
        loop {
            let filter = RunFilter { after, limit: Some(PAGE), ..RunFilter::default() };
            let page = scheduler.get_runs(&filter, None)?;
            let Some(last) = page.last() else { break };
            after = Some(last.run.id);
            rows += page.len();
            self.stale.extend(page.iter().filter_map(|record| stale(record, &attempts)));
            for (fire, row) in &mut self.lost {
                let of_fire = page.iter().find(|record| place_of(record) == *fire);
                of_fire.into_iter().for_each(|record| *row = format!("{record:?}"));
            }
        }
        Ok(rows)
    }

    /// Whether nothing was lost, doubled, invented or stale.
    pub fn is_good(&self) -> bool {
        self.lost.is_empty() && self.doubled.is_empty() && self.invented.is_empty() && self.stale.is_empty()
    }

    /// The figures, with a few examples of what is wrong.
    pub fn summary(&self) -> Value {
        fn some<T: Serialize>(list: &[T]) -> Value {
            json!({ "count": list.len(), "first": list.iter().take(5).collect::<Vec<_>>() })
        }
        json!({
            "fires": self.fires,
            "lost": some(&self.lost),
            "invented": some(&self.invented),
            "doubled": some(&self.doubled),
            "stale": some(&self.stale),
            "repeated_after_incidents": self.repeated,
            "held_up_before_the_task": self.held_up,
            "good": self.is_good(),
        })
    }
}

/// Why a second start was not right, if it was not: the owner before has to have been dead, frozen or cut off since it had
/// looked at its lease, and before its task was there if the task came after the second start.
fn needless(before: &Entry, again: &Entry, incidents: &[Incident]) -> Option<String> {
    if again.attempt <= before.attempt {
        return Some(format!("attempt {} after attempt {}", again.attempt, before.attempt));
    }
    let excuses = |incident: &Incident| {
        incident.pid.is_none_or(|pid| pid == before.pid)
            && incident.from < again.begun
            && incident.until > before.begun
    };
    match incidents.iter().any(excuses) {
        true => None,
        false => Some(format!(
            "process {} started attempt {}, {} ms after process {} started attempt {} and was well",
            again.pid,
            again.attempt,
            (again.begun - before.begun) / 1_000,
            before.pid,
            before.attempt,
        )),
    }
}

/// The fire time that a row is of.
fn place_of(record: &RunRecord) -> Fire {
    let job = record.run.call.args.get(0, "job").and_then(Value::as_u64);
    let job = job.and_then(|job| u32::try_from(job).ok());
    (job.unwrap_or(u32::MAX), record.run.fire_time.timestamp_micros())
}

/// What is wrong with a finished row, if anything is.
fn stale(record: &RunRecord, attempts: &HashMap<Fire, u32>) -> Option<(Fire, String)> {
    let RunState::Finished { outcome, .. } = &record.state else { return None };
    let place = place_of(record);
    match outcome {
        Outcome::Succeeded(value) => {
            let started = attempts.get(&place).copied().unwrap_or_default();
            let is_last = value["attempt"].as_u64().is_some_and(|attempt| attempt >= u64::from(started));
            (!is_last)
                .then(|| (place, format!("attempt {started} was started, the row has the result {value}")))
        }
        other => Some((place, format!("the row says: {other}"))),
    }
}
