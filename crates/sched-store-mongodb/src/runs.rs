//! Statements about runs, and what is asked about them.
//!
//! A claim is open while `state` is [`RUNNING`]; `wake` is when something is to happen to a run: it starts, its lease ends,
//! or its time to live does.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Bson, Document, RawArrayBuf, RawBson, RawDocumentBuf, cstr, doc, rawdoc};
use sched_core::codec::to_micros;
use sched_core::{Error, RunClaim, RunFilter, RunId, RunPhase};

use crate::codec::{FINISHED, PREPARED, QUEUED, RUNNING, Row, id_of_run};
use crate::database::{
    CHUNK, Database, Search, TOKENS_END, Table, Verb, lease_end, raw_server_now, server_now, value_by_id,
};
use crate::places::{Limit, OF_JOB, OF_KEY, OF_TASK};
use crate::schema::{UNFINISHED, WAITING, WAKES};

/// What ends a claim without ending the run.
fn requeue(attempt: Option<RawDocumentBuf>) -> RawArrayBuf {
    let mut set = rawdoc! { "state": QUEUED, "wake": "$scheduled" };
    if let Some(attempt) = attempt {
        set.append(cstr!("attempt"), attempt);
    }
    [rawdoc! { "$set": set }, rawdoc! { "$unset": ["owner", "places"] }].into_iter().collect()
}

/// Finds open claims, by their token.
fn of_claims(claims: &[RunClaim]) -> Vec<RawDocumentBuf> {
    let mut by_token: HashMap<i64, RawArrayBuf> = HashMap::new();
    for claim in claims {
        by_token.entry(claim.token.0.cast_signed()).or_default().push(id_of_run(claim.id));
    }
    let filter = |(token, ids)| rawdoc! { "_id": { "$in": ids }, "token": token, "state": RUNNING };
    by_token.into_iter().map(filter).collect()
}

/// What finds runs by their ids.
pub(crate) fn of_ids(ids: impl IntoIterator<Item = RunId>) -> Document {
    let ids: Vec<Bson> = ids.into_iter().filter_map(|id| Bson::try_from(id_of_run(id)).ok()).collect();
    doc! { "_id": { "$in": ids } }
}

/// A page of waiting runs, in the order of claims.
#[derive(Debug)]
pub(crate) struct Page<'a> {
    /// Runs due at or before this moment.
    pub(crate) due: i64,
    pub(crate) limit: usize,
    /// The executors that have a place.
    pub(crate) executors: Vec<&'a str>,
    pub(crate) tasks: &'a HashMap<Arc<str>, Option<u32>>,
    /// The limits that have no place.
    pub(crate) full: &'a [Limit],
    /// The run after which the page begins.
    pub(crate) after: Option<&'a Row>,
}

impl Page<'_> {
    /// The runs of the page.
    pub(crate) fn read(&self, database: &Database) -> Result<Vec<Row>, Error> {
        let is_full = |task: &str| self.full.iter().any(|limit| limit.name_of(OF_TASK) == Some(task));
        let tasks: Vec<&str> = self.tasks.keys().map(|task| &**task).filter(|task| !is_full(task)).collect();
        let mut filter = doc! {
            "state": QUEUED,
            "executor": { "$in": &self.executors },
            "scheduled": { "$lte": self.due },
            "task": { "$in": tasks },
            "token": { "$not": { "$gte": TOKENS_END } },
        };
        let held_back = self.held_back();
        if !held_back.is_empty() {
            filter.insert("$nor", held_back);
        }
        if let Some(after) = self.after {
            let field = |key: &str| after.0.get(key).ok().flatten().and_then(|it| Bson::try_from(it).ok());
            let (priority, scheduled, id) = (field("priority"), field("scheduled"), field("_id"));
            filter.insert(
                "$or",
                vec![
                    doc! { "priority": { "$lt": priority.clone() } },
                    doc! { "priority": priority.clone(), "scheduled": { "$gt": scheduled.clone() } },
                    doc! { "priority": priority, "scheduled": scheduled, "_id": { "$gt": id } },
                ],
            );
        }
        let order = doc! { "priority": -1, "scheduled": 1, "_id": 1 };
        let found =
            database.find(Table::Runs, Search::of(filter).sorted(order).first(self.limit).by(WAITING))?;
        Ok(found.into_iter().map(Row).collect())
    }

    /// What finds the runs behind full limits: those of the same job or key whose own limit is no greater.
    fn held_back(&self) -> Vec<Document> {
        let mut full: BTreeMap<(&str, &str, i64), Vec<&str>> = BTreeMap::new();
        for limit in self.full {
            for (kind, name, most) in [(OF_JOB, "job", "max"), (OF_KEY, "key", "key_max")] {
                let of_kind = limit.name_of(kind);
                of_kind
                    .into_iter()
                    .for_each(|it| full.entry((name, most, limit.places)).or_default().push(it));
            }
        }
        let filter =
            |((name, most, places), names)| doc! { name: { "$in": names }, most: { "$lte": places } };
        full.into_iter().map(filter).collect()
    }
}

/// How many jobs are looked up one by one.
const FEW_JOBS: usize = 16;

/// How many runs are looked through for those of some jobs.
const MANY_RUNS: usize = 2_000;

/// The runs of these jobs in some states, with some fields.
///
/// Most jobs have none, and a look for nothing walks over all that was deleted nearby in the last minutes. Where there are
/// not many runs in these states, they are all read instead, in one walk.
pub(crate) fn of_jobs(
    database: &Database,
    jobs: &[&str],
    states: &[i32],
    fields: Document,
) -> Result<Vec<Row>, Error> {
    let states = doc! { "$in": states };
    if jobs.len() > FEW_JOBS {
        let mut with_job = fields.clone();
        with_job.insert("job", 1);
        let search = Search::of(doc! { "state": states.clone() }).only(with_job).first(MANY_RUNS).by(WAKES);
        let found = database.find(Table::Runs, search)?;
        if found.len() < MANY_RUNS {
            let jobs: HashSet<&str> = jobs.iter().copied().collect();
            let is_of_jobs = |row: &Row| row.text("job").ok().flatten().is_some_and(|job| jobs.contains(job));
            return Ok(found.into_iter().map(Row).filter(is_of_jobs).collect());
        }
    }
    // The upper bound is that of the index.
    let filter = doc! { "job": { "$in": jobs }, "state": states, "$and": [{ "state": { "$lt": FINISHED } }] };
    let found = database.find(Table::Runs, Search::of(filter).only(fields).by(UNFINISHED))?;
    Ok(found.into_iter().map(Row).collect())
}

/// The places that leased runs of these jobs have taken, or all leased runs.
pub(crate) fn leased(database: &Database, jobs: Option<&[String]>) -> Result<Vec<Row>, Error> {
    let fields = doc! { "places": 1 };
    match jobs {
        Some(jobs) => {
            let jobs: Vec<&str> = jobs.iter().map(String::as_str).collect();
            of_jobs(database, &jobs, &[RUNNING], fields)
        }
        None => {
            let search = Search::of(doc! { "state": RUNNING }).only(fields).by(WAKES);
            Ok(database.find(Table::Runs, search)?.into_iter().map(Row).collect())
        }
    }
}

/// A waiting run as it was read, and the places it is to take.
#[derive(Debug)]
pub(crate) struct Choice {
    pub(crate) row: Row,
    pub(crate) places: Vec<String>,
}

impl Choice {
    fn id(&self) -> RawBson {
        self.row.0.get("_id").ok().flatten().map_or(RawBson::Null, RawBson::from)
    }
}

/// Claims the chosen runs under a token; says which of them were won, and whether any was lost to somebody else.
pub(crate) fn claim(
    database: &Database,
    choices: Vec<Choice>,
    (token, owner, lease): (i64, &str, Duration),
) -> Result<(Vec<Row>, bool), Error> {
    // As long as nobody else has claimed a run, nothing else of it has changed since its latest claim.
    let mut groups: BTreeMap<(i64, bool), Vec<&Choice>> = BTreeMap::new();
    for choice in &choices {
        groups.entry((choice.row.token(), choice.places.is_empty())).or_default().push(choice);
    }
    let groups: Vec<(i64, &[&Choice])> = groups
        .iter()
        .flat_map(|((before, _), choices)| choices.chunks(CHUNK).map(|choices| (*before, choices)))
        .collect();
    let statement = |(before, choices): (i64, &[&Choice])| {
        rawdoc! {
            "q": { "_id": { "$in": ids_of(choices) }, "state": QUEUED, "token": before },
            "u": [{ "$set": claimed(choices, (token, owner, lease)) }],
            "multi": true,
        }
    };
    let statements: Vec<RawDocumentBuf> = groups.iter().map(|group| statement(*group)).collect();
    let mut reply = database.write(Table::Runs, Verb::Update, &statements)?;
    let refused = std::mem::take(&mut reply.refused);
    if !refused.is_empty() {
        // Others have taken some of the places. The server stops at the first run that it refuses, so that now each has a
        // statement of its own.
        let left = refused.iter().filter_map(|refused| groups.get(refused.index));
        let each = left.flat_map(|(before, choices)| choices.chunks(1).map(|one| statement((*before, one))));
        let again = database.write(Table::Runs, Verb::Update, &each.collect::<Vec<_>>())?;
        reply.changed += again.changed;
        if let Some(other) = again.refused.into_iter().find(|refused| !refused.is_duplicate()) {
            return Err(other.into_error(database.place()));
        }
    }
    let is_all = reply.changed == choices.len();
    let rows: Vec<Row> = choices.into_iter().map(|choice| choice.row).collect();
    if is_all {
        return Ok((rows, false));
    }
    let mut filter = of_ids(rows.iter().filter_map(Row::run_id));
    filter.extend(doc! { "state": RUNNING, "token": token });
    let won: HashSet<RunId> = ids(database, Search::of(filter))?.into_iter().collect();
    let is_won = |row: &Row| row.run_id().is_some_and(|id| won.contains(&id));
    Ok((rows.into_iter().filter(is_won).collect(), true))
}

fn ids_of(choices: &[&Choice]) -> RawArrayBuf {
    choices.iter().map(|choice| choice.id()).collect()
}

/// What a claim changes of these runs, which all have limits or all have none.
fn claimed(choices: &[&Choice], (token, owner, lease): (i64, &str, Duration)) -> RawDocumentBuf {
    let attempts = rawdoc! { "$cond": [{ "$isNumber": "$attempt" }, "$attempt", 0_i64] };
    let mut set = rawdoc! {
        "state": RUNNING,
        "token": token,
        "owner": { "$literal": owner },
        "wake": lease_end(lease),
        "attempt": { "$add": [attempts, 1_i64] },
    };
    if choices.iter().any(|choice| !choice.places.is_empty()) {
        let places = |choice: &&Choice| choice.places.iter().map(String::as_str).collect::<RawArrayBuf>();
        set.append(cstr!("places"), value_by_id(ids_of(choices), choices.iter().map(places).collect()));
    }
    set
}

/// Whether any lease on runs that are claimed or prepared has ended.
pub(crate) fn has_ended_leases(database: &Database) -> Result<bool, Error> {
    let ended = doc! { "state": { "$in": [PREPARED, RUNNING] }, "$expr": { "$lt": ["$wake", server_now()] } };
    Ok(database.find_one(Table::Runs, Search::of(ended).only(doc! { "_id": 1 }).by(WAKES))?.is_some())
}

/// The ids of the runs that a search finds.
pub(crate) fn ids(database: &Database, search: Search) -> Result<Vec<RunId>, Error> {
    let found = database.find(Table::Runs, search.only(doc! { "_id": 1 }))?;
    Ok(found.into_iter().filter_map(|document| Row(document).run_id()).collect())
}

/// Extends the leases of open claims; says how many.
pub(crate) fn renew(database: &Database, claims: &[RunClaim], lease: i64) -> Result<usize, Error> {
    let until = rawdoc! { "$add": [raw_server_now(), lease] };
    let statements = of_claims(claims).into_iter();
    let statements = statements
        .map(|filter| rawdoc! { "q": filter, "u": [{ "$set": { "wake": until.clone() } }], "multi": true });
    database.update(Table::Runs, &statements.collect::<Vec<_>>())
}

/// Gives open claims back; their attempts do not count.
pub(crate) fn release(database: &Database, claims: &[RunClaim]) -> Result<(), Error> {
    let attempt = rawdoc! { "$subtract": ["$attempt", 1_i64] };
    let statements = of_claims(claims).into_iter();
    let statements =
        statements.map(|filter| rawdoc! { "q": filter, "u": requeue(Some(attempt.clone())), "multi": true });
    database.update(Table::Runs, &statements.collect::<Vec<_>>()).map(drop)
}

/// Ends the claims of an owner; says how many.
pub(crate) fn end_claims(database: &Database, owner: &str) -> Result<usize, Error> {
    let filter = rawdoc! { "state": RUNNING, "owner": owner };
    database.update(Table::Runs, &[rawdoc! { "q": filter, "u": requeue(None), "multi": true }])
}

/// Puts runs back into the queue whose lease has ended; says which.
pub(crate) fn take_back(database: &Database) -> Result<Vec<RunId>, Error> {
    let ended = doc! { "state": RUNNING, "$expr": { "$lt": ["$wake", server_now()] } };
    let found = database.find(Table::Runs, Search::of(ended).only(doc! { "token": 1 }).by(WAKES))?;
    if found.is_empty() {
        return Ok(Vec::new());
    }
    let found: Vec<(RunId, i64)> =
        found.into_iter().map(Row).filter_map(|row| Some((row.run_id()?, row.token()))).collect();
    let mark = ObjectId::new();
    let is_ended = rawdoc! { "$lt": ["$wake", raw_server_now()] };
    let statements: Vec<RawDocumentBuf> = found
        .iter()
        .map(|(id, token)| {
            let mut update = RawArrayBuf::new();
            update.push(rawdoc! { "$set": { "mark": mark } });
            requeue(None).into_iter().flatten().for_each(|stage| update.push(RawBson::from(stage)));
            let filter = rawdoc! { "_id": id_of_run(*id), "token": *token, "state": RUNNING, "$expr": is_ended.clone() };
            rawdoc! { "q": filter, "u": update }
        })
        .collect();
    let taken = database.update(Table::Runs, &statements)?;
    let mut taken = match taken == found.len() {
        true => found.into_iter().map(|(id, _)| id).collect(),
        false => ids(database, Search::of(doc! { "state": QUEUED, "mark": mark }))?,
    };
    taken.sort_unstable();
    Ok(taken)
}

/// Ends claimed runs whose documents do not decode. They are kept, for somebody to look at.
pub(crate) fn set_aside(database: &Database, token: i64, rows: &[(Row, Vec<u8>)]) -> Result<usize, Error> {
    let statements = rows.iter().filter_map(|(row, reason)| {
        let id = RawBson::from(row.0.get("_id").ok()??);
        let set = rawdoc! {
            "state": FINISHED, "outcome": "abandoned", "finished": raw_server_now(), "wake": i64::MAX,
            "result": { "$literal": crate::codec::payload(reason.clone()) },
        };
        Some(rawdoc! {
            "q": { "_id": id, "token": token, "state": RUNNING },
            "u": [{ "$set": set }, { "$unset": ["owner", "places"] }],
        })
    });
    database.update(Table::Runs, &statements.collect::<Vec<_>>())
}

/// Deletes finished runs whose time to live has ended; says how many.
pub(crate) fn delete_expired(database: &Database, limit: usize) -> Result<usize, Error> {
    let expired = doc! { "state": FINISHED, "$expr": { "$lte": ["$wake", server_now()] } };
    let search = Search::of(expired).sorted(doc! { "wake": 1 }).first(limit);
    delete_finished(database, &ids(database, search)?)
}

/// Deletes the finished runs that ended first, beyond so many; says how many.
pub(crate) fn delete_beyond(database: &Database, keep: usize, limit: usize) -> Result<usize, Error> {
    if limit == 0 {
        return Ok(0);
    }
    // Not of all there are: what is beyond so many is left to the next pass.
    let finished = of_state_up_to(database, FINISHED, keep.saturating_add(limit))?;
    let search = Search::of(doc! { "state": FINISHED }).sorted(doc! { "finished": 1, "_id": 1 });
    delete_finished(database, &ids(database, search.first(finished.saturating_sub(keep).min(limit)))?)
}

fn delete_finished(database: &Database, ids: &[RunId]) -> Result<usize, Error> {
    if ids.is_empty() {
        return Ok(0);
    }
    let ids: RawArrayBuf = ids.iter().map(|id| id_of_run(*id)).collect();
    database.delete(Table::Runs, rawdoc! { "_id": { "$in": ids }, "state": FINISHED })
}

/// How many runs there are in a state.
pub(crate) fn of_state(database: &Database, state: i32) -> Result<usize, Error> {
    of_state_up_to(database, state, usize::MAX)
}

/// How many runs there are in a state, as far as so many.
fn of_state_up_to(database: &Database, state: i32, most: usize) -> Result<usize, Error> {
    let most = i64::try_from(most).unwrap_or(i64::MAX).max(1);
    let stages =
        vec![doc! { "$match": { "state": state } }, doc! { "$limit": most }, doc! { "$count": "count" }];
    let counted = database.aggregate(Table::Runs, stages, Some(WAKES))?;
    let count = counted.first().and_then(|counted| counted.get("count"));
    let count = count.and_then(|count| count.as_i64().or_else(|| count.as_i32().map(i64::from)));
    Ok(count.and_then(|count| usize::try_from(count).ok()).unwrap_or(0))
}

/// Runs as they are listed: by id.
pub(crate) fn listing(filter: &RunFilter) -> Search {
    let mut found = match filter.phase {
        None => doc! { "state": { "$gte": QUEUED } },
        Some(RunPhase::Queued) => doc! { "state": QUEUED },
        Some(RunPhase::Running) => doc! { "state": RUNNING },
        Some(RunPhase::Finished) => doc! { "state": FINISHED },
    };
    if let Some(job_id) = &filter.job_id {
        found.insert("job", job_id.as_str());
    }
    if let Some(task) = &filter.task {
        found.insert("task", &**task);
    }
    let mut fires = Document::new();
    fires.extend(filter.from.map(|from| ("$gte".to_owned(), Bson::from(to_micros(from)))));
    fires.extend(filter.until.map(|until| ("$lt".to_owned(), Bson::from(to_micros(until)))));
    if !fires.is_empty() {
        found.insert("fire", fires);
    }
    if let Some(after) = filter.after.and_then(|id| Bson::try_from(id_of_run(id)).ok()) {
        found.insert("_id", doc! { "$gt": after });
    }
    Search::of(found).sorted(doc! { "_id": 1 })
}

/// When the next run that is known here is to start, or the earliest lease no longer holds.
pub(crate) fn next_wakeup(
    database: &Database,
    tasks: &HashMap<Arc<str>, Option<u32>>,
) -> Result<Option<i64>, Error> {
    let wake = |filter: Document| -> Result<Option<i64>, Error> {
        let search = Search::of(filter).sorted(doc! { "wake": 1 }).only(doc! { "wake": 1 }).by(WAKES);
        let found = database.find_one(Table::Runs, search)?;
        Ok(found.and_then(|document| Row(document).number("wake").ok().flatten()))
    };
    let tasks: Vec<&str> = tasks.keys().map(|task| &**task).collect();
    let starts = wake(doc! { "state": QUEUED, "task": { "$in": tasks } })?;
    let ends = [wake(doc! { "state": RUNNING })?, wake(doc! { "state": PREPARED })?];
    let ends = ends.into_iter().flatten().map(|until| until.saturating_add(1));
    Ok(starts.into_iter().chain(ends).min())
}
