//! How a batch of commits is made: prepare the runs, advance the jobs, let the runs go, which may claim them.
//!
//! There are no transactions here. The README, "How a commit is made", says why a crash between any two of these writes
//! neither loses a run nor makes two of one. The number of commands does not depend on the number of jobs.

use std::collections::{BTreeMap, HashMap, HashSet};

use chrono::{DateTime, Utc};
use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Bson, RawArrayBuf, RawDocumentBuf, doc, rawdoc};
use sched_core::codec::{Codec, to_micros};
use sched_core::{Advance, Claim, Committed, Cursor, Error, JobCommit, Overlap, RunId, RunWish};

use crate::codec::{NewRun, PREPARED, QUEUED, RUNNING, Row, id_of_run};
use crate::database::{CHUNK, Database, Search, Table, Verb, Wait};
use crate::settle::{let_go, let_run, settle_earlier};
use crate::{jobs, runs};

/// A commit on its way.
#[derive(Debug)]
struct Step {
    claim: Claim,
    advance: Advance,
    runs: Vec<NewRun>,
    skipped: Vec<DateTime<Utc>>,
    /// Another of the same batch has this claim.
    is_double: bool,
    /// Its run is to be claimed by whoever commits, as far as is known.
    is_wanted: bool,
}

impl Step {
    fn id(&self) -> &str {
        self.claim.id.as_str()
    }

    fn token(&self) -> i64 {
        self.claim.token.0.cast_signed()
    }

    /// Its run, when it has one only.
    fn only_run(&self) -> Option<RunId> {
        match &*self.runs {
            [run] => Some(run.run.id),
            _ => None,
        }
    }

    fn answer(self, is_applied: bool, claimed: &HashSet<RunId>) -> Committed {
        match self.only_run().filter(|run| claimed.contains(run)) {
            Some(run) => Committed::Claimed(run),
            None if is_applied => Committed::Applied { skipped: self.skipped },
            None => Committed::Stale,
        }
    }
}

/// Commits claimed jobs, and claims the runs that are wished for; each job gets its own answer.
pub(crate) fn commit(
    database: &Database,
    codec: &Codec,
    commits: Vec<JobCommit>,
    wish: Option<&RunWish>,
) -> Result<Vec<Committed>, Error> {
    let mut seen = HashSet::new();
    let wanted = wish.map_or(&[][..], |wish| &wish.wanted).iter().copied().chain(std::iter::repeat(false));
    let steps = commits.into_iter().zip(wanted).map(|(JobCommit { claim, advance, runs }, is_wanted)| {
        let is_double = !seen.insert((claim.id.clone(), claim.token));
        let runs = if is_double { Vec::new() } else { runs };
        let runs = runs.into_iter().map(|run| NewRun::encode(run, codec)).collect::<Result<_, _>>()?;
        Ok(Step { claim, advance, runs, skipped: Vec::new(), is_double, is_wanted })
    });
    let mut steps = steps.collect::<Result<Vec<Step>, Error>>()?;
    admit(database, &mut steps)?;
    let mark = ObjectId::new();
    prepare(database, &mut steps, mark)?;
    let applied = advance(database, &steps, mark)?;
    let is_removed = |(step, applied): &(&Step, &bool)| **applied && matches!(step.advance, Advance::Remove);
    let removed: RawArrayBuf =
        steps.iter().zip(&applied).filter(is_removed).map(|(step, _)| step.id()).collect();
    // While its job is there, a committed run is let go by whoever finds it: only with the job's end it has to be durable.
    let wait = if removed.is_empty() { Wait::UntilApplied } else { Wait::UntilDurable };
    let claimed = end(database, (&steps, &applied), mark, (wish, wait))?;
    if !removed.is_empty() {
        // All runs of these jobs were let go, those of earlier commits when the jobs were claimed. A document that comes
        // back is marked still, and buried by the next upkeep.
        let gone = rawdoc! { "_id": { "$in": removed }, "removed": mark };
        let gone = [rawdoc! { "q": gone, "limit": 0 }];
        database.write_and((Table::Jobs, Verb::Delete), &gone, Wait::UntilApplied)?.all(database.place())?;
    }
    Ok(steps.into_iter().zip(applied).map(|(step, is_applied)| step.answer(is_applied, &claimed)).collect())
}

/// Takes out the runs that the overlap policy skips, and wishes where it is not all that is unfinished of the job. A place
/// that is free before the commit is enough for all of its runs. The jobs are claimed, so that nobody else commits runs
/// of theirs in between.
fn admit(database: &Database, steps: &mut [Step]) -> Result<(), Error> {
    let may_skip = |run: &NewRun| run.run.options.overlap == Overlap::Skip;
    steps.iter_mut().for_each(|step| step.is_wanted &= step.runs.len() == 1);
    let is_asked = |step: &&Step| step.is_wanted || step.runs.iter().any(may_skip);
    let ids: Vec<&str> = steps.iter().filter(is_asked).map(Step::id).collect();
    if ids.is_empty() {
        return Ok(());
    }
    let unfinished = unfinished(database, &ids)?;
    let mut doubtful = Vec::new();
    for step in steps.iter_mut() {
        let unfinished = unfinished.get(step.id()).copied().unwrap_or(0);
        step.is_wanted &= unfinished == 0;
        let is_full = |run: &NewRun| unfinished >= i64::from(run.run.options.max_instances.max(1));
        let (skip, keep) =
            std::mem::take(&mut step.runs).into_iter().partition(|run| may_skip(run) && is_full(run));
        step.runs = keep;
        doubtful.push(skip);
    }
    let all: Vec<&NewRun> = doubtful.iter().flatten().collect();
    let known = known(database, &all)?;
    for (step, doubtful) in steps.iter_mut().zip(doubtful) {
        let unknown = doubtful.iter().filter(|run| !known.iter().any(|known| known.is(run)));
        step.skipped.extend(unknown.map(|run| run.run.fire_time));
    }
    Ok(())
}

/// How many unfinished runs each of the jobs has.
fn unfinished(database: &Database, ids: &[&str]) -> Result<HashMap<String, i64>, Error> {
    let mut counts = HashMap::new();
    for row in runs::of_jobs(database, ids, &[QUEUED, RUNNING], doc! { "job": 1 })? {
        if let Ok(Some(job)) = row.text("job") {
            *counts.entry(job.to_owned()).or_insert(0) += 1;
        }
    }
    Ok(counts)
}

/// A run that is there, by what must be unique of it.
#[derive(Debug)]
struct Known {
    id: Option<RunId>,
    fire: Option<(String, i64)>,
}

impl Known {
    fn read(row: &Row) -> Self {
        let job = row.text("job").ok().flatten().map(str::to_owned);
        Self { id: row.run_id(), fire: job.zip(row.number("fire").ok().flatten()) }
    }

    fn is(&self, run: &NewRun) -> bool {
        let run = &run.run;
        let is_fire = |(job, fire): &(String, i64)| {
            run.job_id.as_ref().is_some_and(|id| id.as_str() == job) && to_micros(run.fire_time) == *fire
        };
        self.id == Some(run.id) || self.fire.as_ref().is_some_and(is_fire)
    }
}

/// The runs that are there already.
fn known(database: &Database, runs: &[&NewRun]) -> Result<Vec<Known>, Error> {
    if runs.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<Bson> = runs.iter().filter_map(|run| Bson::try_from(id_of_run(run.run.id)).ok()).collect();
    let fires =
        runs.iter().filter_map(|run| Some((run.run.job_id.as_ref()?.as_str(), to_micros(run.run.fire_time))));
    let (jobs, fires): (Vec<&str>, Vec<i64>) = fires.unzip();
    let is_seen = doc! { "$gte": QUEUED };
    let filter = doc! { "$or": [
        { "_id": { "$in": ids }, "state": is_seen.clone() },
        { "job": { "$in": jobs }, "fire": { "$in": fires }, "state": is_seen },
    ] };
    let found = database.find(Table::Runs, Search::of(filter).only(doc! { "job": 1, "fire": 1 }))?;
    Ok(found.into_iter().map(|document| Known::read(&Row(document))).collect())
}

/// Inserts the runs as prepared, and sees to what earlier commits have left. Runs whose id is taken are there already.
fn prepare(database: &Database, steps: &mut [Step], mark: ObjectId) -> Result<(), Error> {
    let of_step = |step: &Step| -> Vec<RawDocumentBuf> {
        let claim = (step.token(), step.claim.slot.cast_signed());
        step.runs.iter().map(|run| run.prepared(mark, claim)).collect()
    };
    let documents: Vec<RawDocumentBuf> = steps.iter().flat_map(of_step).collect();
    let mut chain = database.chain()?;
    if documents.is_empty() {
        database.wait_until_durable(&mut chain)?;
    }
    let mut taken = HashSet::new();
    for refused in database.write_in(&mut chain, (Table::Runs, Verb::Insert), &documents)?.refused {
        if !refused.is_duplicate() {
            return Err(refused.into_error(database.place()));
        }
        taken.insert(refused.index);
    }
    let mut index = 0..;
    for step in steps.iter_mut() {
        step.runs.retain(|_| index.next().is_some_and(|index| !taken.contains(&index)));
    }
    let jobs: Vec<&str> = steps.iter().map(Step::id).collect();
    settle_earlier(database, &mut chain, (&jobs, mark))
}

/// What becomes of jobs that are claimed under one token.
#[derive(Debug, Default)]
struct Advances<'a> {
    go_on: Vec<(&'a str, &'a Cursor)>,
    end: Vec<&'a str>,
}

/// Advances the jobs; says of each whether its claim was open. This is where a commit happens or does not.
fn advance(database: &Database, steps: &[Step], mark: ObjectId) -> Result<Vec<bool>, Error> {
    let single: Vec<&Step> = steps.iter().filter(|step| !step.is_double).collect();
    let mut by_token: BTreeMap<i64, Advances<'_>> = BTreeMap::new();
    for step in &single {
        let advances = by_token.entry(step.token()).or_default();
        match &step.advance {
            Advance::To(cursor) => advances.go_on.push((step.id(), cursor)),
            Advance::Remove => advances.end.push(step.id()),
        }
    }
    let mut statements = Vec::new();
    for (token, Advances { go_on, end }) in &by_token {
        statements.extend(go_on.chunks(CHUNK).map(|jobs| jobs::advance(jobs, *token, mark)));
        statements.extend(end.chunks(CHUNK).map(|jobs| jobs::advance_to_the_end(jobs, *token, mark)));
    }
    let advanced = database.update(Table::Jobs, &statements)?;
    if advanced == single.len() {
        return Ok(steps.iter().map(|step| !step.is_double).collect());
    }
    let ids: Vec<&str> = single.iter().map(|step| step.id()).collect();
    let search = Search::of(doc! { "_id": { "$in": ids } }).only(doc! { "committed": 1 });
    let committed: HashMap<String, ObjectId> = database
        .find(Table::Jobs, search)?
        .into_iter()
        .map(Row)
        .filter_map(|row| Some((row.job_id()?.to_owned(), row.mark("committed")?)))
        .collect();
    let is_applied = |step: &Step| !step.is_double && committed.get(step.id()) == Some(&mark);
    Ok(steps.iter().map(is_applied).collect())
}

/// Lets the runs of applied commits go, and deletes those of stale ones. Answers which runs are claimed.
fn end(
    database: &Database,
    (steps, applied): (&[Step], &[bool]),
    mark: ObjectId,
    (wish, wait): (Option<&RunWish>, Wait),
) -> Result<HashSet<RunId>, Error> {
    let (mut run, mut go, mut stay) = (Vec::new(), Vec::new(), Vec::new());
    for (step, is_applied) in steps.iter().zip(applied) {
        let ids = step.runs.iter().map(|run| run.run.id);
        match is_applied {
            true if step.is_wanted => run.extend(ids),
            true => go.extend(ids.map(id_of_run)),
            false => stay.extend(ids.map(id_of_run)),
        }
    }
    if !go.is_empty() {
        let_go(database, mark, &go, wait)?;
    }
    if !stay.is_empty() {
        let stay: RawArrayBuf = stay.into_iter().collect();
        database
            .delete(Table::Runs, rawdoc! { "_id": { "$in": stay }, "state": PREPARED, "commit": mark })?;
    }
    match wish.filter(|_| !run.is_empty()) {
        Some(wish) => let_run(database, mark, &run, wish),
        None => Ok(HashSet::new()),
    }
}
