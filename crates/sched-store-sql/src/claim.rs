//! Which waiting runs a claim takes: the first in order that executors have places for and no limit holds back.
//!
//! Databases pass over what is behind a limit when they look; here is counted what the runs that are taken together add.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use diesel::QueryResult;

use crate::backend::{Due, Lease, Statements, Wanted};
use crate::rows::{RunRow, Waiting};
use crate::store::limit_of;

/// Claims waiting runs; answers their rows in order.
pub(crate) fn claim(
    rows: &mut dyn Statements,
    wanted: Wanted<'_>,
    lease: Lease<'_>,
) -> QueryResult<Vec<RunRow>> {
    rows.begin_claim()?;
    let mut free = wanted.executors.to_vec();
    let mut claimed: Vec<RunRow> = Vec::new();
    let mut left = wanted.due.limit;
    while left > 0 && free.iter().any(|(_, places)| *places > 0) {
        let due = Due { limit: left, ..wanted.due };
        let found = rows.waiting_runs(Wanted { due, executors: &free, tasks: wanted.tasks })?;
        let Choice { taken, may_be_more } = choose(found, &free, left);
        if taken.is_empty() {
            break;
        }
        let mut ids: Vec<&str> = taken.iter().map(|run| run.id.as_str()).collect();
        ids.sort_unstable();
        claimed.extend(rows.lease_runs(&ids, lease)?);
        left = left.saturating_sub(limit_of(taken.len()));
        for run in &taken {
            if let Some((_, places)) = free.iter_mut().find(|(alias, _)| **alias == *run.executor) {
                *places -= 1;
            }
        }
        if !may_be_more {
            break;
        }
    }
    claimed.sort_unstable_by(|left, right| place(left).cmp(&place(right)));
    Ok(claimed)
}

/// The order of claims.
fn place(row: &RunRow) -> (i64, i64, &str) {
    (row.priority.saturating_neg(), row.scheduled_time, &row.id)
}

/// What is taken of the waiting runs that were found.
struct Choice {
    taken: Vec<Waiting>,
    /// An executor may have more than were looked at.
    may_be_more: bool,
}

/// The next runs that may all be claimed together; the first that waits is always among them.
fn choose(mut found: Vec<Waiting>, free: &[(Arc<str>, i64)], limit: i64) -> Choice {
    found.sort_unstable_by(|left, right| left.place().cmp(&right.place()));
    let horizon = horizon(&found, free, limit);
    let mut limits = Limits::default();
    let mut places: HashMap<&str, i64> = free.iter().map(|(alias, places)| (&**alias, *places)).collect();
    let mut chosen = HashSet::new();
    let near = horizon.map_or(found.len(), |last| last + 1);
    for (at, run) in found.iter().enumerate().take(near) {
        let Some(places) = places.get_mut(run.executor.as_str()).filter(|places| **places > 0) else {
            continue;
        };
        if limit_of(chosen.len()) < limit && limits.admit(run) {
            *places -= 1;
            chosen.insert(at);
        }
    }
    let taken = found.into_iter().enumerate().filter(|(at, _)| chosen.contains(at)).map(|(_, run)| run);
    Choice { taken: taken.collect(), may_be_more: horizon.is_some() }
}

/// The earliest last run of a full page: behind it there may be earlier ones of the same executor.
fn horizon(found: &[Waiting], free: &[(Arc<str>, i64)], limit: i64) -> Option<usize> {
    let ends = free.iter().filter(|(_, places)| *places > 0).filter_map(|(alias, places)| {
        let of = |run: &&Waiting| *run.executor == **alias;
        let is_full = limit_of(found.iter().filter(of).count()) >= limit.min(*places);
        is_full.then(|| found.iter().rposition(|run| of(&run)))?
    });
    ends.min()
}

/// How many runs of jobs, of tasks and with keys are claimed or are about to be.
#[derive(Default)]
struct Limits {
    jobs: HashMap<String, i64>,
    tasks: HashMap<String, i64>,
    keys: HashMap<String, i64>,
}

impl Limits {
    /// Counts a run in, unless its job, its task or its key is full.
    fn admit(&mut self, run: &Waiting) -> bool {
        let job = run.job_id.as_ref().map(|id| (id, run.job_running, run.max_instances));
        let task = run.task_max.map(|most| (&run.task, run.task_running, most));
        let key = run.limit_key.as_ref().map(|key| (key, run.key_running, run.key_max));
        let has_place =
            has_place(&self.jobs, job) && has_place(&self.tasks, task) && has_place(&self.keys, key);
        if has_place {
            count(&mut self.jobs, job);
            count(&mut self.tasks, task);
            count(&mut self.keys, key);
        }
        has_place
    }
}

/// A limit of a run: whose it is, how many were claimed before this claim, and how many may be.
type Limit<'a> = Option<(&'a String, i64, i64)>;

fn has_place(added: &HashMap<String, i64>, limit: Limit<'_>) -> bool {
    limit.is_none_or(|(name, running, most)| running + added.get(name).copied().unwrap_or(0) < most)
}

fn count(added: &mut HashMap<String, i64>, limit: Limit<'_>) {
    if let Some((name, ..)) = limit {
        match added.get_mut(name) {
            Some(added) => *added += 1,
            None => drop(added.insert(name.clone(), 1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(number: i64, executor: &str) -> Waiting {
        Waiting {
            id: format!("{number:03}"),
            executor: executor.to_owned(),
            priority: 0,
            scheduled_time: number,
            job_id: None,
            task: "count".to_owned(),
            limit_key: None,
            max_instances: 1,
            task_max: None,
            key_max: 1,
            job_running: 0,
            task_running: 0,
            key_running: 0,
        }
    }

    fn ids(choice: &Choice) -> Vec<&str> {
        choice.taken.iter().map(|run| run.id.as_str()).collect()
    }

    #[test]
    fn limits_are_counted_within_a_claim_and_hold_nobody_else_back() {
        let of_job = |number, job: &str| Waiting { job_id: Some(job.to_owned()), ..waiting(number, "a") };
        let of_key = |number| Waiting {
            limit_key: Some("k".to_owned()),
            key_running: 1,
            key_max: 2,
            ..waiting(number, "a")
        };
        let of_task = |number| Waiting { task_max: Some(2), ..waiting(number, "a") };
        let found = vec![
            of_job(1, "x"),
            of_job(2, "x"),
            of_job(3, "y"),
            of_key(4),
            of_key(5),
            of_task(6),
            of_task(7),
            of_task(8),
            waiting(9, "a"),
        ];
        let choice = choose(found, &[(Arc::from("a"), 100)], 100);
        assert_eq!(ids(&choice), ["001", "003", "004", "006", "007", "009"]);
        assert!(!choice.may_be_more);
    }

    #[test]
    fn behind_the_end_of_a_full_page_nothing_is_taken_yet() {
        let found = vec![waiting(5, "b"), waiting(1, "a"), waiting(2, "a"), waiting(4, "b")];
        let choice = choose(found, &[(Arc::from("a"), 2), (Arc::from("b"), 9)], 9);
        assert_eq!((ids(&choice), choice.may_be_more), (vec!["001", "002"], true));
    }
}
