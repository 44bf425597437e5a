//! The contract of a run queue.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use redis::Value;
use sched_core::{
    ClaimRequest, ClaimedRun, Error, ErrorKind, FencingToken, FinishedRun, JobId, Outcome, QueuedRun,
    RunClaim, RunCounts, RunFilter, RunId, RunPhase, RunQueue, RunRecord,
};

use crate::codec::{
    RunCells, RunRow, corrupt, decode_run, decode_tries, encode_direct_run, encode_ending, from_sortable,
    micros_of, sortable, sortable_floor,
};
use crate::script::{self, Request, bytes, count, list, list_of, text};
use crate::store::{PAGE, RedisStore, Started, lease_over};

impl RedisStore {
    /// Claims at most one page of runs; says whether there may be more.
    fn claim_run_page(
        &self,
        started: &Started,
        request: &ClaimRequest,
        executors: &[(Arc<str>, usize)],
        claimed: &mut Vec<ClaimedRun>,
    ) -> Result<bool, Error> {
        let most = PAGE.min(request.limit - claimed.len());
        let mut call = Request::write(&script::CLAIM_RUNS, self.keys());
        call.arg(sortable_floor(request.now)).number(most);
        call.arg(&*request.owner).number(micros_of(request.lease));
        call.number(executors.len());
        for (alias, free) in executors {
            let taken = claimed.iter().filter(|claimed| claimed.run.options.executor == *alias).count();
            call.arg(&**alias).number(free.saturating_sub(taken));
        }
        name_tasks(&mut call, started);
        let [token, ids, records, tries, mangled] = list_of(started.pool.write(&call)?)?;
        let (ids, mangled) = (list(ids)?, list(mangled)?);
        if !mangled.is_empty() {
            tracing::warn!(runs = mangled.len(), "runs whose rows are damaged were set aside");
        }
        if ids.is_empty() {
            return Ok(false);
        }
        let token = text(token)?;
        let fencing = FencingToken(token.parse().map_err(|_| corrupt("a token is no number"))?);
        let more = ids.len() >= most;
        let mut unreadable = Vec::new();
        let tries = list(tries)?.into_iter().map(bytes).chain(std::iter::repeat(None));
        for ((id, record), tries) in ids.into_iter().zip(list(records)?).zip(tries) {
            let id = text(id)?;
            let record = bytes(record).unwrap_or_default();
            match decode_run(&self.codec, &id, &record, &started.context) {
                Ok(run) => {
                    let (attempts, history) = decode_tries(&self.codec, tries.as_deref());
                    claimed.push(ClaimedRun {
                        run,
                        attempt: attempts.saturating_add(1),
                        token: fencing,
                        history,
                    });
                }
                Err(error) => unreadable.push((id, error)),
            }
        }
        if !unreadable.is_empty() {
            self.set_aside(started, &token, &unreadable);
        }
        Ok(more)
    }

    /// Ends claimed runs whose rows do not decode, so that they are not claimed for ever.
    fn set_aside(&self, started: &Started, token: &str, runs: &[(String, Error)]) {
        let now = started.context.clock.now();
        let mut request = Request::read(&script::SET_ASIDE, self.keys());
        for (id, reason) in runs {
            let outcome = Outcome::Abandoned(format!("its row does not decode: {reason}"));
            request.arg(id).arg(token).arg(encode_ending(&self.codec, &outcome, None, now));
        }
        match started.pool.write(&request) {
            Ok(_) => tracing::warn!(runs = runs.len(), "runs that do not decode were set aside"),
            Err(error) => tracing::warn!(%error, "runs that do not decode could not be set aside"),
        }
    }

    /// Rows of runs by id, as many as are asked for; what is no run is left out.
    fn records(&self, started: &Started, search: &Search<'_>) -> Result<Vec<RunRecord>, Error> {
        let filter = search.filter;
        let limit = filter.limit.unwrap_or(usize::MAX);
        let mut after = filter.after.map(|id| id.to_string()).unwrap_or_default();
        let time = |time: Option<DateTime<Utc>>| time.map(sortable).unwrap_or_default();
        let mut found = Vec::new();
        while found.len() < limit {
            let mut request = Request::read(&script::LIST_RUNS, self.keys());
            request.arg(&after).number(PAGE.min(limit - found.len())).number(PAGE);
            request
                .arg(filter.job_id.as_ref().map_or("", JobId::as_str))
                .arg(filter.task.as_deref().unwrap_or(""));
            request.arg(filter.phase.map_or("", phase_word)).arg(time(filter.from)).arg(time(filter.until));
            request.arg(search.only);
            let [last, rows] = list_of(started.pool.call(&request)?)?;
            for row in list(rows)? {
                let cells = cells_of(row)?;
                match cells.decode(&self.codec, &started.context) {
                    Ok(record) => found.extend(Some(record).filter(|record| filter.admits(record))),
                    Err(error) => tracing::warn!(run = cells.id, %error, "a run's row is no run"),
                }
            }
            after = text(last)?;
            if after.is_empty() {
                break;
            }
        }
        Ok(found)
    }
}

/// What runs are looked for.
struct Search<'a> {
    filter: &'a RunFilter,
    /// The id of the only one; empty for any.
    only: &'a str,
}

fn phase_word(phase: RunPhase) -> &'static str {
    match phase {
        RunPhase::Queued => "queued",
        RunPhase::Running => "running",
        RunPhase::Finished => "finished",
    }
}

fn cells_of(row: Value) -> Result<RunCells, Error> {
    let [id, record, claim, lease, ending, tries] = list_of(row)?;
    Ok(RunCells {
        id: text(id)?,
        record: bytes(record).unwrap_or_default(),
        claim: bytes(claim),
        lease: bytes(lease),
        ending: bytes(ending),
        tries: bytes(tries),
    })
}

/// The tasks that are registered here, with their limits.
fn name_tasks(request: &mut Request, started: &Started) {
    for (name, limit) in &started.tasks {
        request.arg(&**name).arg(limit.map(|limit| limit.to_string()).unwrap_or_default());
    }
}

fn put_claim(request: &mut Request, claim: RunClaim) -> &mut Request {
    request.arg(claim.id.to_string()).number(claim.token.0)
}

fn are_open(answers: &[Value]) -> Vec<bool> {
    answers.iter().map(|answer| *answer == Value::Int(1)).collect()
}

impl RunQueue for RedisStore {
    fn enqueue(&self, runs: Vec<QueuedRun>) -> Result<(), Error> {
        let started = self.started()?;
        let rows: Result<Vec<RunRow>, Error> =
            runs.iter().map(|run| encode_direct_run(&self.codec, run)).collect();
        self.write_all(&started, (&script::ENQUEUE, &[]), &rows?, |request, row| {
            request.arg(&row.id).arg(&row.record);
        })?;
        Ok(())
    }

    /// Runs whose task is not registered here are left to the others that share the server.
    fn claim(
        &self,
        request: &ClaimRequest,
        executors: &[(Arc<str>, usize)],
    ) -> Result<Vec<ClaimedRun>, Error> {
        let started = self.started()?;
        let mut claimed = Vec::new();
        if executors.iter().all(|(_, free)| *free == 0) {
            return Ok(claimed);
        }
        while claimed.len() < request.limit
            && self.claim_run_page(&started, request, executors, &mut claimed)?
        {}
        Ok(claimed)
    }

    fn renew(&self, claims: &[RunClaim], lease: Duration) -> Result<Vec<bool>, Error> {
        let started = self.started()?;
        let lease = micros_of(lease).to_string();
        let answers =
            self.write_all(&started, (&script::RENEW, &[lease.as_bytes()]), claims, |request, claim| {
                put_claim(request, *claim);
            })?;
        Ok(are_open(&answers))
    }

    fn finish(&self, finished: Vec<FinishedRun>) -> Result<Vec<bool>, Error> {
        let started = self.started()?;
        let answers = self.write_all(&started, (&script::FINISH, &[]), &finished, |request, finished| {
            let FinishedRun { claim, outcome, started_at, finished_at, again } = finished;
            put_claim(request, *claim);
            match again {
                Some(again) => {
                    let mut next = sortable(again.at).into_bytes();
                    next.extend(self.codec.encode_history(&again.history));
                    request.arg(next);
                }
                None => {
                    let ending = encode_ending(&self.codec, outcome, *started_at, *finished_at);
                    request.arg([b". ", &*ending].concat());
                }
            }
        })?;
        Ok(are_open(&answers))
    }

    fn cancel(&self, runs: &[RunId], at: DateTime<Utc>) -> Result<Vec<bool>, Error> {
        let started = self.started()?;
        let ending = encode_ending(&self.codec, &Outcome::Cancelled, None, at);
        let answers = self.write_all(&started, (&script::CANCEL, &[&ending[..]]), runs, |request, id| {
            request.arg(id.to_string());
        })?;
        Ok(are_open(&answers))
    }

    fn release(&self, claims: &[RunClaim]) -> Result<(), Error> {
        let started = self.started()?;
        self.write_all(&started, (&script::RELEASE, &[]), claims, |request, claim| {
            put_claim(request, *claim);
        })?;
        Ok(())
    }

    fn result(&self, id: RunId) -> Result<RunRecord, Error> {
        let started = self.started()?;
        let filter = RunFilter::default();
        let found = self.records(&started, &Search { filter: &filter, only: &id.to_string() })?;
        let missing = || Error::new(ErrorKind::NotFound, format!("no run by the id of {id} was found"));
        found.into_iter().next().ok_or_else(missing)
    }

    fn list(&self, filter: &RunFilter) -> Result<Vec<RunRecord>, Error> {
        let started = self.started()?;
        self.records(&started, &Search { filter, only: "" })
    }

    fn reap(&self) -> Result<Vec<RunId>, Error> {
        let started = self.started()?;
        let ids = list(started.pool.write(&Request::write(&script::REAP, self.keys()))?)?;
        let mut reaped: Vec<RunId> = ids.into_iter().filter_map(|id| text(id).ok()?.parse().ok()).collect();
        reaped.sort_unstable();
        Ok(reaped)
    }

    fn cleanup(&self, keep: Option<usize>, limit: usize) -> Result<usize, Error> {
        let started = self.started()?;
        let mut deleted = 0;
        while deleted < limit {
            let most = PAGE.min(limit - deleted);
            let mut request = Request::write(&script::CLEANUP, self.keys());
            request.arg(keep.map(|keep| keep.to_string()).unwrap_or_default()).number(most);
            let gone = count(&started.pool.write(&request)?)?;
            deleted += gone;
            if gone < most {
                break;
            }
        }
        Ok(deleted)
    }

    fn counts(&self) -> Result<RunCounts, Error> {
        let started = self.started()?;
        let answer = started.pool.call(&Request::read(&script::RUN_COUNTS, self.keys()))?;
        let [queued, running, finished] = list_of(answer)?;
        Ok(RunCounts { queued: count(&queued)?, running: count(&running)?, finished: count(&finished)? })
    }

    /// Runs whose task is not registered here are left out, as are those behind a limit.
    fn next_wakeup(&self) -> Result<Option<DateTime<Utc>>, Error> {
        let started = self.started()?;
        let mut request = Request::read(&script::NEXT_RUN, self.keys());
        name_tasks(&mut request, &started);
        let [start, lease] = list_of(started.pool.call(&request)?)?;
        let start = Some(text(start)?).filter(|start| !start.is_empty());
        let start = start.map(|start| from_sortable(&start)).transpose()?;
        Ok([start, lease_over(text(lease)?.as_bytes())?].into_iter().flatten().min())
    }
}
