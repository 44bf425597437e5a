//! The contract of a run queue.
//!
//! Looks come before writes, so that idle schedulers write nothing. The number of commands does not depend on the number
//! of runs, but for claims behind limits: each page of waiting runs that finds new limits reached costs one more look.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use mongodb::bson::oid::ObjectId;
use mongodb::bson::{RawArrayBuf, RawDocumentBuf, cstr, doc, rawdoc};
use sched_core::codec::{Codec, from_micros, to_micros};
use sched_core::{
    ClaimRequest, ClaimedRun, Error, ErrorKind, FencingToken, FinishedRun, Outcome, QueuedRun, RunClaim,
    RunCounts, RunFilter, RunId, RunQueue, RunRecord,
};

use crate::codec::{
    FINISHED, NewRun, QUEUED, RUNNING, Row, attempts, decode_record, decode_run, history, id_of_run, payload,
};
use crate::database::{Search, Table, Verb, Wait, lease_micros};
use crate::places::{Limit, Taken, limits_of};
use crate::runs::{self, Choice, Page};
use crate::settle::{bury, settle, settle_ended};
use crate::store::{MongoStore, Started};

/// How often a claim is tried when others take the places it has chosen.
const ATTEMPTS: usize = 3;

/// The fewest runs that are looked at once a limit was met.
const LEAST_PAGE: usize = 64;

impl RunQueue for MongoStore {
    fn enqueue(&self, runs: Vec<QueuedRun>) -> Result<(), Error> {
        self.call(|started| started.enqueue(runs))
    }

    /// Runs whose task is not registered here are left to the others that share the database.
    fn claim(
        &self,
        request: &ClaimRequest,
        executors: &[(Arc<str>, usize)],
    ) -> Result<Vec<ClaimedRun>, Error> {
        self.call(|started| started.claim(request, executors))
    }

    fn renew(&self, claims: &[RunClaim], lease: Duration) -> Result<Vec<bool>, Error> {
        self.call(|Started { database, .. }| {
            if claims.is_empty() {
                return Ok(Vec::new());
            }
            let distinct: HashSet<(RunId, u64)> =
                claims.iter().map(|claim| (claim.id, claim.token.0)).collect();
            if runs::renew(database, claims, lease_micros(lease))? == distinct.len() {
                return Ok(vec![true; claims.len()]);
            }
            let mut open = runs::of_ids(claims.iter().map(|claim| claim.id));
            open.insert("state", RUNNING);
            let open: HashSet<(RunId, i64)> = database
                .find(Table::Runs, Search::of(open).only(doc! { "token": 1 }))?
                .into_iter()
                .map(Row)
                .filter_map(|row| Some((row.run_id()?, row.token())))
                .collect();
            Ok(claims.iter().map(|claim| open.contains(&(claim.id, claim.token.0.cast_signed()))).collect())
        })
    }

    fn finish(&self, finished: Vec<FinishedRun>) -> Result<Vec<bool>, Error> {
        self.call(|started| started.finish(&finished))
    }

    fn cancel(&self, runs: &[RunId], at: DateTime<Utc>) -> Result<Vec<bool>, Error> {
        self.call(|started| started.cancel(runs, at))
    }

    fn release(&self, claims: &[RunClaim]) -> Result<(), Error> {
        self.call(|Started { database, .. }| match claims.is_empty() {
            true => Ok(()),
            false => runs::release(database, claims),
        })
    }

    fn result(&self, id: RunId) -> Result<RunRecord, Error> {
        self.call(|Started { database, codec, context, .. }| {
            let mut filter = runs::of_ids([id]);
            filter.insert("state", doc! { "$gte": QUEUED });
            let missing = || Error::new(ErrorKind::NotFound, format!("no run by the id of {id} was found"));
            let row = database.find_one(Table::Runs, Search::of(filter))?.map(Row).ok_or_else(missing)?;
            decode_record(&row, codec, context)
        })
    }

    fn list(&self, filter: &RunFilter) -> Result<Vec<RunRecord>, Error> {
        self.call(|Started { database, codec, context, .. }| {
            let found = database.find(Table::Runs, runs::listing(filter).page(filter.limit))?;
            let decoded = found.into_iter().map(Row).filter_map(|row| {
                let record = decode_record(&row, codec, context);
                record.inspect_err(|error| tracing::warn!(%error, "a document among the runs is no run")).ok()
            });
            Ok(decoded.collect())
        })
    }

    fn reap(&self) -> Result<Vec<RunId>, Error> {
        self.call(|Started { database, .. }| {
            settle_ended(database)?;
            settle(database, doc! {})?;
            bury(database, &doc! {})?;
            runs::take_back(database)
        })
    }

    fn cleanup(&self, keep: Option<usize>, limit: usize) -> Result<usize, Error> {
        self.call(|Started { database, .. }| {
            let expired = runs::delete_expired(database, limit)?;
            let beyond = match keep {
                Some(keep) => runs::delete_beyond(database, keep, limit.saturating_sub(expired))?,
                None => 0,
            };
            Ok(expired + beyond)
        })
    }

    fn counts(&self) -> Result<RunCounts, Error> {
        self.call(|Started { database, .. }| {
            Ok(RunCounts {
                queued: runs::of_state(database, QUEUED)?,
                running: runs::of_state(database, RUNNING)?,
                finished: runs::of_state(database, FINISHED)?,
            })
        })
    }

    /// Runs whose task is not registered here are left out.
    fn next_wakeup(&self) -> Result<Option<DateTime<Utc>>, Error> {
        self.call(|Started { database, tasks, .. }| {
            runs::next_wakeup(database, tasks)?.map(from_micros).transpose()
        })
    }
}

impl Started {
    fn enqueue(&self, all: Vec<QueuedRun>) -> Result<(), Error> {
        let encoded = all.into_iter().map(|run| Ok(NewRun::encode_direct(run, &self.codec)?.queued()));
        let documents = encoded.collect::<Result<Vec<RawDocumentBuf>, Error>>()?;
        // A run whose id, or whose job and fire time, are taken is dropped.
        let refused = self.database.write(Table::Runs, Verb::Insert, &documents)?.refused;
        match refused.into_iter().find(|refused| !refused.is_duplicate()) {
            Some(refused) => Err(refused.into_error(self.database.place())),
            None => Ok(()),
        }
    }

    fn claim(
        &self,
        request: &ClaimRequest,
        executors: &[(Arc<str>, usize)],
    ) -> Result<Vec<ClaimedRun>, Error> {
        let mut free: HashMap<&str, usize> =
            executors.iter().map(|(alias, places)| (&**alias, *places)).collect();
        if request.limit == 0 || free.values().all(|places| *places == 0) {
            return Ok(Vec::new());
        }
        if runs::has_ended_leases(&self.database)? {
            settle_ended(&self.database)?;
            runs::take_back(&self.database)?;
        }
        let mut claimed = Vec::new();
        for _ in 0..ATTEMPTS {
            let left = request.limit - claimed.len();
            let choices = self.choose((request.now.timestamp_micros(), left), &mut free.clone())?;
            if choices.is_empty() {
                break;
            }
            let latest = choices.iter().map(|choice| choice.row.token()).max();
            let token = self.database.token(latest.unwrap_or(0))?;
            let (won, lost_any) =
                runs::claim(&self.database, choices, (token, &request.owner, request.lease))?;
            for row in &won {
                let places = row.text("executor").ok().flatten().and_then(|executor| free.get_mut(executor));
                places.into_iter().for_each(|places| *places = places.saturating_sub(1));
            }
            claimed.extend(self.decode(token, won));
            if !lost_any || claimed.len() >= request.limit {
                break;
            }
        }
        let place = |claimed: &ClaimedRun| {
            let run = &claimed.run;
            (std::cmp::Reverse(run.priority), run.scheduled_time, run.id)
        };
        claimed.sort_unstable_by_key(place);
        Ok(claimed)
    }

    /// Chooses waiting runs, in order, that have a place with their executor and with each of their limits.
    fn choose(
        &self,
        (due, limit): (i64, usize),
        free: &mut HashMap<&str, usize>,
    ) -> Result<Vec<Choice>, Error> {
        let mut taken = Taken::default();
        let mut full: Vec<Limit> = Vec::new();
        let mut choices: Vec<Choice> = Vec::new();
        let mut after: Option<Row> = None;
        let mut size = limit;
        while choices.len() < limit {
            let executors: Vec<&str> =
                free.iter().filter(|(_, places)| **places > 0).map(|(alias, _)| *alias).collect();
            if executors.is_empty() {
                break;
            }
            let page =
                Page { due, limit: size, executors, tasks: &self.tasks, full: &full, after: after.as_ref() };
            let rows = page.read(&self.database)?;
            let is_last = rows.len() < size;
            after = rows.last().cloned();
            self.learn(&mut taken, &rows)?;
            for row in rows {
                let executor = row.text("executor").ok().flatten().unwrap_or_default().to_owned();
                let Some(places) = free.get_mut(executor.as_str()).filter(|places| **places > 0) else {
                    continue;
                };
                if choices.len() >= limit {
                    break;
                }
                match taken.take(&limits_of(&row, &self.tasks)) {
                    Ok(taken) => {
                        *places -= 1;
                        choices.push(Choice { row, places: taken });
                    }
                    Err(limit) => full.extend(Some(limit).filter(|limit| !full.contains(limit))),
                }
            }
            if is_last {
                break;
            }
            size = (limit - choices.len()).max(LEAST_PAGE);
        }
        Ok(choices)
    }

    /// Learns which places are taken of the limits of these runs.
    fn learn(&self, taken: &mut Taken, rows: &[Row]) -> Result<(), Error> {
        let jobs = taken.unknown_jobs(rows, &self.tasks);
        if jobs.as_ref().is_some_and(Vec::is_empty) {
            return Ok(());
        }
        let leased = runs::leased(&self.database, jobs.as_deref())?;
        taken.learn(jobs, &leased);
        Ok(())
    }

    /// The claimed runs; those that do not decode are ended, so that they are not claimed for ever.
    fn decode(&self, token: i64, rows: Vec<Row>) -> Vec<ClaimedRun> {
        let mut unreadable = Vec::new();
        let mut claimed = Vec::with_capacity(rows.len());
        for row in rows {
            let read = || {
                let run = decode_run(&row, &self.codec, &self.context)?;
                let attempt = attempts(&row)?.saturating_add(1);
                let (token, history) = (FencingToken(token.cast_unsigned()), history(&row, &self.codec)?);
                Ok::<_, Error>(ClaimedRun { run, attempt, token, history })
            };
            match read() {
                Ok(run) => claimed.push(run),
                Err(error) => unreadable.push((row, reason(&self.codec, &error))),
            }
        }
        if !unreadable.is_empty() {
            match runs::set_aside(&self.database, token, &unreadable) {
                Ok(runs) => tracing::warn!(runs, "runs that do not decode were set aside"),
                Err(error) => tracing::warn!(%error, "runs that do not decode could not be set aside"),
            }
        }
        claimed
    }

    fn finish(&self, finished: &[FinishedRun]) -> Result<Vec<bool>, Error> {
        let found = self.found(finished.iter().map(|run| run.claim.id), RUNNING)?;
        let endings = finished.iter().map(|run| {
            let token = run.claim.token.0.cast_signed();
            let found = found.get(&run.claim.id).filter(|found| found.token == token)?;
            let is_gone = found.ttl == 0 && run.again.is_none();
            let change = (!is_gone).then(|| self.ending(run, found.ttl));
            Some(Ending { id: run.claim.id, token, change })
        });
        let endings: Vec<Option<Ending>> = endings.collect();
        let claims = || finished.iter().map(|run| run.claim);
        let mut before = self.ended_before(claims().filter(|claim| !found.contains_key(&claim.id)))?;
        let mark = ObjectId::new();
        let ended = self.end(endings, RUNNING, mark).inspect_err(|_| {
            self.doubtful
                .lock()
                .extend(claims().filter(|it| found.contains_key(&it.id)).map(|it| (key_of(it), mark)));
        })?;
        let mut doubtful = self.doubtful.lock();
        for claim in claims() {
            doubtful.remove(&key_of(claim));
        }
        Ok(claims().zip(ended).map(|(claim, ended)| ended || before.remove(&claim.id)).collect())
    }

    /// Which runs were ended by an earlier call whose answer was lost. One that is gone is taken for such.
    fn ended_before(&self, claims: impl Iterator<Item = RunClaim>) -> Result<HashSet<RunId>, Error> {
        let doubtful = self.doubtful.lock().clone();
        let marks: HashMap<RunId, ObjectId> =
            claims.filter_map(|claim| Some((claim.id, *doubtful.get(&key_of(claim))?))).collect();
        if marks.is_empty() {
            return Ok(HashSet::new());
        }
        let mut chain = self.database.chain()?;
        self.database.wait_until_durable(&mut chain)?;
        let search = Search::of(runs::of_ids(marks.keys().copied())).only(doc! { "mark": 1 });
        let found = self.database.find_in(&mut chain, Table::Runs, search)?.into_iter().map(Row);
        let found: HashMap<RunId, Option<ObjectId>> =
            found.filter_map(|row| Some((row.run_id()?, row.mark("mark")))).collect();
        let is_ours =
            |(id, mark): &(RunId, ObjectId)| found.get(id).is_none_or(|found| *found == Some(*mark));
        Ok(marks.into_iter().filter(is_ours).map(|(id, _)| id).collect())
    }

    fn cancel(&self, ids: &[RunId], at: DateTime<Utc>) -> Result<Vec<bool>, Error> {
        let found = self.found(ids.iter().copied(), QUEUED)?;
        let endings = ids.iter().map(|id| {
            let Found { token, ttl } = *found.get(id)?;
            let change = (ttl != 0).then(|| self.over(&Outcome::Cancelled, (None, at), ttl));
            Some(Ending { id: *id, token, change })
        });
        self.end(endings.collect(), QUEUED, ObjectId::new())
    }

    /// The runs of these ids that are in a state.
    fn found(&self, ids: impl Iterator<Item = RunId>, state: i32) -> Result<HashMap<RunId, Found>, Error> {
        let mut filter = runs::of_ids(ids);
        filter.insert("state", state);
        let found =
            self.database.find(Table::Runs, Search::of(filter).only(doc! { "token": 1, "ttl": 1 }))?;
        let found = found.into_iter().map(Row).filter_map(|row| {
            let ttl = row.number("ttl").ok().flatten().unwrap_or(0);
            Some((row.run_id()?, Found { token: row.token(), ttl }))
        });
        Ok(found.collect())
    }

    /// Ends runs that are in a state; says of each whether it still was. What is not kept is marked before it is deleted,
    /// so that of two who end it at once only one is told that he did.
    fn end(&self, endings: Vec<Option<Ending>>, state: i32, mark: ObjectId) -> Result<Vec<bool>, Error> {
        let mut ended = Vec::with_capacity(endings.len());
        let mut meant = HashSet::new();
        let mut statements = Vec::new();
        let mut gone: HashMap<i64, Vec<RunId>> = HashMap::new();
        for ending in &endings {
            // A run that is named twice is ended by the first.
            let Some(ending) = ending.as_ref().filter(|ending| meant.insert(ending.id)) else {
                ended.push(false);
                continue;
            };
            ended.push(true);
            match &ending.change {
                Some(change) => statements.push(ending.statement(change, state, mark)),
                None => gone.entry(ending.token).or_default().push(ending.id),
            }
        }
        let kept = self.database.update(Table::Runs, &statements)?;
        let marks = gone.iter().map(|(token, ids)| ending_without_trace((ids, state), *token, mark));
        let marks: Vec<RawDocumentBuf> = marks.collect();
        // What is deleted next is durable as soon as its deletion is.
        let marked = self.database.write_and((Table::Runs, Verb::Update), &marks, Wait::UntilApplied)?;
        if kept + marked.all(self.database.place())? < meant.len() {
            let mut ours = runs::of_ids(meant);
            ours.insert("mark", mark);
            let ours: HashSet<RunId> = runs::ids(&self.database, Search::of(ours))?.into_iter().collect();
            let is_ours = |(ending, ended): (&Option<Ending>, bool)| {
                ended && ending.as_ref().is_some_and(|ending| ours.contains(&ending.id))
            };
            ended = endings.iter().zip(ended).map(is_ours).collect();
        }
        if !gone.is_empty() {
            self.delete_marked(&gone, state, mark)?;
        }
        Ok(ended)
    }

    /// Deletes the runs that were marked, by the tokens of their claims.
    ///
    /// **Errors**: [`Unavailable`](ErrorKind::Unavailable) when a crash of the primary has undone the marks.
    fn delete_marked(
        &self,
        gone: &HashMap<i64, Vec<RunId>>,
        state: i32,
        mark: ObjectId,
    ) -> Result<(), Error> {
        let ids: RawArrayBuf = gone.values().flatten().map(|id| id_of_run(*id)).collect();
        let marked = rawdoc! { "_id": { "$in": ids }, "state": FINISHED, "mark": mark };
        if self.database.delete(Table::Runs, marked)? == gone.values().map(Vec::len).sum::<usize>() {
            return Ok(());
        }
        // Some were not ours to end, or somebody else has cleaned up already.
        let open = self.found(gone.values().flatten().copied(), state)?;
        let is_open = |(token, ids): (&i64, &Vec<RunId>)| {
            ids.iter().any(|id| open.get(id).is_some_and(|found| found.token == *token))
        };
        match gone.iter().any(is_open) {
            true => {
                let message = "the primary has forgotten which runs had ended";
                Err(Error::new(ErrorKind::Unavailable, message).in_context(self.database.place()))
            }
            false => Ok(()),
        }
    }

    /// What changes when an attempt ends: the run is over, or is tried again.
    fn ending(&self, run: &FinishedRun, ttl: i64) -> RawDocumentBuf {
        let Some(again) = &run.again else {
            return self.over(&run.outcome, (run.started_at, run.finished_at), ttl);
        };
        rawdoc! {
            "state": QUEUED,
            "scheduled": to_micros(again.at),
            "wake": to_micros(again.at),
            "history": payload(self.codec.encode_history(&again.history)),
        }
    }

    /// What changes when a run is over.
    fn over(
        &self,
        outcome: &Outcome,
        (started_at, finished_at): (Option<DateTime<Utc>>, DateTime<Utc>),
        ttl: i64,
    ) -> RawDocumentBuf {
        let (word, data) = self.codec.encode_outcome(outcome);
        let finished = to_micros(finished_at);
        let mut set = rawdoc! {
            "state": FINISHED, "outcome": word, "finished": finished, "wake": finished.saturating_add(ttl),
        };
        if let Some(data) = data {
            set.append(cstr!("result"), payload(data));
        }
        if let Some(started) = started_at {
            set.append(cstr!("started"), to_micros(started));
        }
        set
    }
}

fn key_of(claim: RunClaim) -> (RunId, FencingToken) {
    (claim.id, claim.token)
}

/// A run that was found.
#[derive(Debug, Clone, Copy)]
struct Found {
    token: i64,
    ttl: i64,
}

/// A run that ends.
#[derive(Debug)]
struct Ending {
    id: RunId,
    /// The token of its latest claim.
    token: i64,
    /// What its document becomes; `None` when it is deleted.
    change: Option<RawDocumentBuf>,
}

impl Ending {
    fn statement(&self, change: &RawDocumentBuf, state: i32, mark: ObjectId) -> RawDocumentBuf {
        let mut set = change.clone();
        set.append(cstr!("mark"), mark);
        rawdoc! {
            "q": { "_id": id_of_run(self.id), "token": self.token, "state": state },
            "u": { "$set": set, "$unset": { "owner": "", "places": "" } },
        }
    }
}

/// The statement that ends runs whose results are not kept; they are deleted next.
fn ending_without_trace((ids, state): (&[RunId], i32), token: i64, mark: ObjectId) -> RawDocumentBuf {
    let ids: RawArrayBuf = ids.iter().map(|id| id_of_run(*id)).collect();
    rawdoc! {
        "q": { "_id": { "$in": ids }, "token": token, "state": state },
        "u": { "$set": { "state": FINISHED, "wake": i64::MIN, "mark": mark }, "$unset": { "owner": "", "places": "" } },
        "multi": true,
    }
}

/// What is kept in place of the result of a run that does not decode.
fn reason(codec: &Codec, error: &Error) -> Vec<u8> {
    let outcome = Outcome::Abandoned(format!("its document does not decode: {error}"));
    codec.encode_outcome(&outcome).1.unwrap_or_default()
}
