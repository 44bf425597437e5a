//! Runs that are prepared: what becomes of them when whoever prepared them does not finish.
//!
//! A commit inserts its runs as *prepared*, which nobody sees, then advances the job, and then lets the runs go; the
//! README, "How a commit is made", has the argument. What a prepared run is can be read off its job at any time: it is
//! *committed* when the job's `committed` names its commit, it is *open* while the job is still claimed under its token,
//! and otherwise it is *dead*, for ever. Everything here may be done by anybody, any number of times.

use std::collections::{HashMap, HashSet};

use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Bson, Document, RawArrayBuf, RawBson, RawDocumentBuf, doc, rawdoc};
use mongodb::sync::ClientSession;
use sched_core::{Error, ErrorKind, FencingToken, RunId, RunWish};

use crate::codec::{PREPARED, QUEUED, RUNNING, Row, id_of_run};
use crate::database::{CHUNK, Database, Search, Table, Verb, Wait, lease_end, raw_server_now, server_now};
use crate::places::OF_JOB;
use crate::runs;
use crate::schema::WAKES;

/// A prepared run.
#[derive(Debug)]
struct Prepared {
    id: RawBson,
    job: String,
    commit: ObjectId,
    /// The token of the claim that the commit is made under.
    token: i64,
}

impl Prepared {
    fn read(row: &Row) -> Option<Self> {
        let id = row.0.get("_id").ok()??.into();
        let job = row.text("job").ok()??.to_owned();
        Some(Self { id, job, commit: row.mark("commit")?, token: row.token() })
    }

    /// Finds it as long as nobody has decided about it.
    fn filter(&self) -> RawDocumentBuf {
        rawdoc! { "_id": self.id.clone(), "state": PREPARED, "commit": self.commit }
    }
}

/// What a job says about the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Committed,
    Open,
    Dead,
}

/// Lets committed runs go. One whose fire time is taken by now is dropped.
pub(crate) fn let_go(
    database: &Database,
    commit: ObjectId,
    ids: &[RawBson],
    wait: Wait,
) -> Result<usize, Error> {
    let update: RawArrayBuf =
        [rawdoc! { "$set": { "state": QUEUED, "wake": "$scheduled" } }, rawdoc! { "$unset": "commit" }]
            .into_iter()
            .collect();
    let list: RawArrayBuf = ids.iter().cloned().collect();
    let all = rawdoc! { "_id": { "$in": list }, "state": PREPARED, "commit": commit };
    let all = rawdoc! { "q": all, "u": update.clone(), "multi": true };
    let reply = database.write_and((Table::Runs, Verb::Update), &[all], wait)?;
    if reply.refused.is_empty() {
        return Ok(reply.changed);
    }
    // The server stops at the first that it refuses.
    let of = |id: &RawBson| rawdoc! { "_id": id.clone(), "state": PREPARED, "commit": commit };
    let each: Vec<_> = ids.iter().map(|id| rawdoc! { "q": of(id), "u": update.clone() }).collect();
    let reply = database.write(Table::Runs, Verb::Update, &each)?;
    let mut taken = Vec::new();
    for refused in reply.refused {
        if !refused.is_duplicate() {
            return Err(refused.into_error(database.place()));
        }
        taken.push(rawdoc! { "q": of(&ids[refused.index]), "limit": 1 });
    }
    database.write(Table::Runs, Verb::Delete, &taken)?.all(database.place())?;
    Ok(reply.changed)
}

/// Lets committed runs go as claimed by whoever commits, each in its job's first place; answers which of them are. The
/// others wait: somebody else has let them go, or their place is taken.
pub(crate) fn let_run(
    database: &Database,
    commit: ObjectId,
    runs: &[RunId],
    wish: &RunWish,
) -> Result<HashSet<RunId>, Error> {
    let ids: Vec<RawBson> = runs.iter().map(|run| id_of_run(*run)).collect();
    let place = rawdoc! { "$concat": [OF_JOB, "$job", "#0"] };
    let claim = rawdoc! {
        "state": RUNNING,
        "token": FencingToken::FIRST.0.cast_signed(),
        "owner": { "$literal": &*wish.owner },
        "wake": lease_end(wish.lease),
        "attempt": 1_i64,
        "places": [place],
    };
    let statements = ids.chunks(CHUNK).map(|ids| {
        let ids: RawArrayBuf = ids.iter().cloned().collect();
        rawdoc! {
            "q": { "_id": { "$in": ids }, "state": PREPARED, "commit": commit },
            "u": [{ "$set": claim.clone() }, { "$unset": "commit" }],
            "multi": true,
        }
    });
    let statements: Vec<RawDocumentBuf> = statements.collect();
    let reply = database.write(Table::Runs, Verb::Update, &statements)?;
    if let Some(other) = reply.refused.into_iter().find(|refused| !refused.is_duplicate()) {
        return Err(other.into_error(database.place()));
    }
    if reply.changed == runs.len() {
        return Ok(runs.iter().copied().collect());
    }
    let_go(database, commit, &ids, Wait::UntilDurable)?;
    let mut claimed = runs::of_ids(runs.iter().copied());
    claimed.extend(doc! { "state": RUNNING, "token": FencingToken::FIRST.0.cast_signed() });
    Ok(runs::ids(database, Search::of(claimed))?.into_iter().collect())
}

/// Decides about the prepared runs that a filter finds: lets those go that are committed, deletes those that are dead.
/// Answers the jobs of which some are still open.
pub(crate) fn settle(database: &Database, filter: Document) -> Result<HashSet<String>, Error> {
    let one = prepared(filter.clone()).only(doc! { "_id": 1 });
    match database.find_one(Table::Runs, one)? {
        None => Ok(HashSet::new()),
        Some(_) => settle_durably(database, filter),
    }
}

/// As [`settle`], also about runs that are let go already but would be prepared again after a crash.
fn settle_durably(database: &Database, filter: Document) -> Result<HashSet<String>, Error> {
    let mut chain = database.chain()?;
    // The claim that a run was prepared under may be as new as the run. Were its job read as it stood before, then the run
    // would look dead that is about to be committed.
    database.wait_until_durable(&mut chain)?;
    let search = prepared(filter).only(doc! { "job": 1, "commit": 1, "token": 1 });
    let found = database.find_in(&mut chain, Table::Runs, search)?;
    let prepared: Vec<Prepared> =
        found.into_iter().filter_map(|document| Prepared::read(&Row(document))).collect();
    if prepared.is_empty() {
        return Ok(HashSet::new());
    }
    let verdicts = judge(database, &mut chain, &prepared)?;
    let of = |wanted: Verdict| {
        prepared.iter().zip(&verdicts).filter(move |(_, it)| **it == wanted).map(|(run, _)| run)
    };
    let mut committed: HashMap<ObjectId, Vec<RawBson>> = HashMap::new();
    of(Verdict::Committed).for_each(|run| committed.entry(run.commit).or_default().push(run.id.clone()));
    for (commit, ids) in committed {
        let runs = let_go(database, commit, &ids, Wait::UntilDurable)?;
        tracing::info!(runs, "let runs go whose commit was left unfinished");
    }
    let deletes: Vec<_> = of(Verdict::Dead).map(|run| rawdoc! { "q": run.filter(), "limit": 1 }).collect();
    database.write(Table::Runs, Verb::Delete, &deletes)?.all(database.place())?;
    Ok(of(Verdict::Open).map(|run| run.job.clone()).collect())
}

/// Those of the runs that a filter finds which are prepared.
///
/// Not by the jobs: of few prepared runs, most jobs have none, and each look for nothing walks over what was deleted.
fn prepared(mut filter: Document) -> Search {
    filter.insert("state", PREPARED);
    Search::of(filter).by(WAKES)
}

/// Decides about the prepared runs of jobs that were claimed just now: from then on only this claim may commit runs of theirs.
pub(crate) fn settle_claimed(database: &Database, jobs: &[&str]) -> Result<(), Error> {
    settle_all(database, doc! { "job": { "$in": jobs } })
}

/// Decides about the runs that earlier commits have left prepared, before a commit overwrites what says that they are
/// committed. `chain` has prepared the runs of this commit.
///
/// What was let go when the jobs were claimed may be prepared again, as the claim may have outlived a crash which that has
/// not.
pub(crate) fn settle_earlier(
    database: &Database,
    chain: &mut ClientSession,
    (jobs, mark): (&[&str], ObjectId),
) -> Result<(), Error> {
    let earlier = doc! { "commit": { "$ne": mark }, "job": { "$in": jobs } };
    let one = prepared(earlier.clone()).only(doc! { "_id": 1 }).first(1);
    match database.find_in(chain, Table::Runs, one)?.is_empty() {
        true => Ok(()),
        false => settle_all(database, earlier),
    }
}

/// Decides about prepared runs of jobs whose claim is one's own, so that none can be open.
fn settle_all(database: &Database, filter: Document) -> Result<(), Error> {
    match settle(database, filter)?.is_empty() {
        true => Ok(()),
        false => {
            let message = "it is not known yet what was committed last";
            Err(Error::new(ErrorKind::Unavailable, message).in_context(database.place()))
        }
    }
}

/// What the jobs say about prepared runs which `chain` has found.
fn judge(
    database: &Database,
    chain: &mut ClientSession,
    prepared: &[Prepared],
) -> Result<Vec<Verdict>, Error> {
    let ids: Vec<&str> = prepared.iter().map(|run| run.job.as_str()).collect();
    let search = Search::of(doc! { "_id": { "$in": ids } });
    let fields = doc! { "token": 1, "until": 1, "committed": 1 };
    let jobs: HashMap<String, Row> = database
        .find_in(chain, Table::Jobs, search.only(fields))?
        .into_iter()
        .map(Row)
        .filter_map(|row| Some((row.job_id()?.to_owned(), row)))
        .collect();
    let verdict = |run: &Prepared| {
        let Some(job) = jobs.get(&run.job) else { return Verdict::Dead };
        let is_claimed = job.number("until").ok().flatten().is_some();
        match () {
            () if job.mark("committed") == Some(run.commit) => Verdict::Committed,
            () if is_claimed && job.token() == run.token => Verdict::Open,
            () => Verdict::Dead,
        }
    };
    Ok(prepared.iter().map(verdict).collect())
}

/// Ends the claims on jobs under which runs were prepared and whose lease has ended, and decides about these runs.
pub(crate) fn settle_ended(database: &Database) -> Result<(), Error> {
    let ended = doc! { "state": PREPARED, "$expr": { "$lt": ["$wake", server_now()] } };
    let fields = doc! { "job": 1, "commit": 1, "token": 1 };
    let found = database.find(Table::Runs, Search::of(ended).only(fields).first(1_000).by(WAKES))?;
    if found.is_empty() {
        return Ok(());
    }
    let prepared: Vec<Prepared> =
        found.into_iter().filter_map(|document| Prepared::read(&Row(document))).collect();
    let fences: Vec<RawDocumentBuf> = prepared.iter().map(|run| fence(&run.job, run.token)).collect();
    database.update(Table::Jobs, &fences)?;
    let ids: Vec<Bson> = prepared.into_iter().filter_map(|run| Bson::try_from(run.id).ok()).collect();
    settle(database, doc! { "_id": { "$in": ids } }).map(drop)
}

/// Ends a claim whose lease has ended.
fn fence(job: &str, token: i64) -> RawDocumentBuf {
    let ended = rawdoc! { "$lt": ["$until", raw_server_now()] };
    rawdoc! {
        "q": { "_id": job, "token": token, "until": { "$exists": true }, "$expr": ended },
        "u": { "$unset": { "until": "", "owner": "" } },
    }
}

/// Deletes jobs that are marked as removed, after their runs were let go.
pub(crate) fn bury(database: &Database, filter: &Document) -> Result<(), Error> {
    let mut filter = filter.clone();
    if !filter.contains_key("removed") {
        filter.insert("removed", doc! { "$exists": true });
    }
    let found = database.find(Table::Jobs, Search::of(filter).only(doc! { "removed": 1 }))?;
    for found in found.chunks(1_000) {
        let field =
            |document: &RawDocumentBuf, key: &str| document.get(key).ok().flatten().map(RawBson::from);
        let ids = found.iter().filter_map(|document| field(document, "_id"));
        let of_jobs: Vec<Bson> = ids.clone().filter_map(|id| Bson::try_from(id).ok()).collect();
        // A mark that was undone leaves its job claimed, perhaps. Then it stays for the next time.
        let open = settle_durably(database, doc! { "job": { "$in": of_jobs } })?;
        let is_settled = |id: &RawBson| !id.as_str().is_some_and(|id| open.contains(id));
        // By its mark: a job of that id may have been added and removed again since.
        let marks: RawArrayBuf = found.iter().filter_map(|document| field(document, "removed")).collect();
        let ids: RawArrayBuf = ids.filter(is_settled).collect();
        database.delete(Table::Jobs, rawdoc! { "_id": { "$in": ids }, "removed": { "$in": marks } })?;
    }
    Ok(())
}
