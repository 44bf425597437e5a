//! The limits of jobs, tasks and concurrency keys, as numbered places.
//!
//! A run that is claimed takes a place with each of its limits: the texts `j:report#0` and `k:tenant 7#2` in its own
//! document's `places`, of which a unique index lets each be in one document only. So a limit of two has the places 0 and
//! 1, and nobody can be third, whoever races. A place is given back by the same write that ends the claim, so that a
//! crash leaves none behind. Nothing here touches a server.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::codec::Row;

/// Something that limits how many runs are claimed at once: the text before `#`.
type Gate = String;

/// A gate and how many places it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Limit {
    gate: Gate,
    pub(crate) places: i64,
}

impl Limit {
    /// The job, task or key of a limit on such.
    pub(crate) fn name_of(&self, kind: &str) -> Option<&str> {
        self.gate.strip_prefix(kind)
    }
}

/// The beginnings of gates.
pub(crate) const OF_JOB: &str = "j:";
pub(crate) const OF_TASK: &str = "t:";
pub(crate) const OF_KEY: &str = "k:";

/// The limits of a waiting run.
pub(crate) fn limits_of(row: &Row, tasks: &HashMap<Arc<str>, Option<u32>>) -> Vec<Limit> {
    let text = |key| row.text(key).ok().flatten();
    let number = |key| row.number(key).ok().flatten().unwrap_or(1).max(1);
    let mut limits = Vec::new();
    limits.extend(text("job").map(|job| Limit { gate: format!("{OF_JOB}{job}"), places: number("max") }));
    let of_task = text("task").and_then(|task| Some((task, tasks.get(task).copied().flatten()?)));
    limits.extend(
        of_task
            .map(|(task, most)| Limit { gate: format!("{OF_TASK}{task}"), places: i64::from(most.max(1)) }),
    );
    limits.extend(text("key").map(|key| Limit { gate: format!("{OF_KEY}{key}"), places: number("key_max") }));
    limits
}

/// The places that are taken.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    gates: HashMap<Gate, HashSet<i64>>,
    /// The jobs whose gates are known; `None` when all gates are.
    known_jobs: Option<HashSet<String>>,
    knows_all: bool,
}

impl Taken {
    /// The jobs whose leased runs are to be looked at before these runs are admitted; `None` when all leased runs are.
    pub(crate) fn unknown_jobs(
        &self,
        rows: &[Row],
        tasks: &HashMap<Arc<str>, Option<u32>>,
    ) -> Option<Vec<String>> {
        if self.knows_all {
            return Some(Vec::new());
        }
        let mut jobs = HashSet::new();
        for row in rows {
            if limits_of(row, tasks).iter().any(|limit| limit.name_of(OF_JOB).is_none()) {
                return None;
            }
            let is_known = |job: &str| self.known_jobs.as_ref().is_some_and(|known| known.contains(job));
            jobs.extend(row.text("job").ok().flatten().filter(|job| !is_known(job)).map(str::to_owned));
        }
        Some(jobs.into_iter().collect())
    }

    /// Learns of the leased runs of these jobs, or of all there are.
    pub(crate) fn learn(&mut self, jobs: Option<Vec<String>>, leased: &[Row]) {
        for row in leased {
            let Ok(Some(places)) = row.0.get("places") else { continue };
            let Some(places) = places.as_array() else { continue };
            for place in places.into_iter().filter_map(Result::ok).filter_map(|place| place.as_str()) {
                let Some((gate, number)) = place.rsplit_once('#') else { continue };
                let Ok(number) = number.parse() else { continue };
                self.gates.entry(gate.to_owned()).or_default().insert(number);
            }
        }
        match jobs {
            Some(jobs) => self.known_jobs.get_or_insert_default().extend(jobs),
            None => self.knows_all = true,
        }
    }

    /// Takes a place with each limit, or says which of them has none left.
    pub(crate) fn take(&mut self, limits: &[Limit]) -> Result<Vec<String>, Limit> {
        let is_full = |limit: &&Limit| {
            let taken = self.gates.get(&limit.gate).map_or(0, HashSet::len);
            i64::try_from(taken).unwrap_or(i64::MAX) >= limit.places
        };
        if let Some(full) = limits.iter().find(is_full) {
            return Err(full.clone());
        }
        let places = limits.iter().map(|limit| {
            let taken = self.gates.entry(limit.gate.clone()).or_default();
            // There is one: fewer are taken than there are.
            let free = (0..).find(|number| !taken.contains(number)).unwrap_or(i64::MAX);
            taken.insert(free);
            format!("{}#{free}", limit.gate)
        });
        Ok(places.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mongodb::bson::rawdoc;

    fn leased(places: &[&str]) -> Row {
        Row(rawdoc! { "places": places.iter().copied().collect::<mongodb::bson::RawArrayBuf>() })
    }

    fn limit(gate: &str, places: i64) -> Limit {
        Limit { gate: gate.to_owned(), places }
    }

    #[test]
    fn the_lowest_free_place_is_taken_until_there_is_none() {
        let mut taken = Taken::default();
        taken.learn(None, &[leased(&["j:a#1", "k:x#0"])]);
        assert_eq!(taken.take(&[limit("j:a", 3)]).unwrap(), ["j:a#0"]);
        assert_eq!(taken.take(&[limit("j:a", 3), limit("k:x", 2)]).unwrap(), ["j:a#2", "k:x#1"]);
        assert_eq!(taken.take(&[limit("j:a", 3)]).unwrap_err(), limit("j:a", 3));
    }

    #[test]
    fn who_is_refused_at_one_gate_takes_no_place_at_another() {
        let mut taken = Taken::default();
        taken.learn(None, &[leased(&["k:x#0"])]);
        assert_eq!(taken.take(&[limit("j:a", 1), limit("k:x", 1)]).unwrap_err(), limit("k:x", 1));
        assert_eq!(taken.take(&[limit("j:a", 1)]).unwrap(), ["j:a#0"]);
    }

    #[test]
    fn places_beyond_a_lowered_limit_count() {
        let mut taken = Taken::default();
        taken.learn(None, &[leased(&["t:x#4"]), leased(&["t:x#3"])]);
        assert!(taken.take(&[limit("t:x", 2)]).is_err());
        assert_eq!(taken.take(&[limit("t:x", 3)]).unwrap(), ["t:x#0"]);
    }

    #[test]
    fn gates_whose_names_look_like_places_are_told_apart() {
        let mut taken = Taken::default();
        taken.learn(None, &[leased(&["j:a#1#0"])]);
        assert_eq!(taken.take(&[limit("j:a", 1)]).unwrap(), ["j:a#0"]);
        assert!(taken.take(&[limit("j:a#1", 1)]).is_err());
    }

    #[test]
    fn only_what_is_unknown_is_asked_for() {
        let tasks = HashMap::from([(Arc::from("limited"), Some(2)), (Arc::from("free"), None)]);
        let of_job = Row(rawdoc! { "job": "a", "max": 1_i64, "task": "free" });
        let of_task = Row(rawdoc! { "task": "limited" });
        let mut taken = Taken::default();
        let rows = [of_job.clone(), Row(rawdoc! { "task": "free" })];
        assert_eq!(taken.unknown_jobs(&rows, &tasks), Some(vec!["a".to_owned()]));
        taken.learn(Some(vec!["a".to_owned()]), &[]);
        assert_eq!(taken.unknown_jobs(&rows, &tasks), Some(Vec::new()));
        assert_eq!(taken.unknown_jobs(&[of_job.clone(), of_task.clone()], &tasks), None);
        taken.learn(None, &[]);
        assert_eq!(taken.unknown_jobs(&[of_job, of_task], &tasks), Some(Vec::new()));
    }
}
