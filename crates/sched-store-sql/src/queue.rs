//! The contract of a run queue.
//!
//! Where writers wait for one another, as claims of runs do everywhere, a look that takes no lock comes first, so that idle
//! schedulers do not keep one another waiting.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use sched_core::codec::{from_micros, to_micros};
use sched_core::{
    ClaimRequest, ClaimedRun, Error, ErrorKind, FencingToken, FinishedRun, Outcome, QueuedRun, RunClaim,
    RunCounts, RunFilter, RunId, RunPhase, RunQueue, RunRecord,
};

use crate::backend::{Access, RunPage, SqlConnection, Statements, Try, Unreadable, Wanted, run_counts};
use crate::claim;
use crate::error::Fault;
use crate::rows::{Ending, Proof, RunColumns, RunRow, run_state};
use crate::store::{SqlStore, Started, Surplus, distinct, due_of, lease_micros, lease_of, limit_of};

impl SqlStore {
    /// Queues runs inside the caller's own transaction: they are there when that is committed, and not otherwise. The
    /// schedulers find them when they next look.
    ///
    /// **Errors**: those of [`enqueue`](RunQueue::enqueue); [`InvalidConfig`](ErrorKind::InvalidConfig) for a
    /// connection to another kind of database than the store's.
    pub fn enqueue_in<C: SqlConnection>(&self, conn: &mut C, runs: Vec<QueuedRun>) -> Result<(), Error> {
        self.started()?;
        let tables = self.tables_for::<C>()?;
        let encoded = self.encode(runs)?;
        if encoded.is_empty() {
            return Ok(());
        }
        let inserted = conn.with_tables(tables).insert_runs(&encoded.iter().collect::<Vec<_>>());
        inserted.map_err(|error| Fault::from(error).into_error(self.location()))
    }

    fn encode(&self, runs: Vec<QueuedRun>) -> Result<Vec<RunColumns>, Error> {
        let encoded = runs.into_iter().map(|run| {
            let columns = RunColumns::encode(&self.codec, run)?;
            self.codec.check_run(&columns.payload, columns.run.id)?;
            Ok(columns)
        });
        encoded.collect()
    }

    fn may_be_queued(&self) -> Error {
        let message = "the connection was lost, and the runs may have been queued or not";
        Error::new(ErrorKind::Unavailable, message).in_context(self.location())
    }

    fn claimed(&self, started: &Started, rows: Vec<RunRow>) -> Vec<ClaimedRun> {
        let mut unreadable = Vec::new();
        let mut claimed = Vec::with_capacity(rows.len());
        for row in rows {
            match row.decode(&self.codec, &started.context) {
                Ok(run) => claimed.push(ClaimedRun {
                    run,
                    attempt: row.attempt(),
                    token: FencingToken(row.token.cast_unsigned()),
                    history: row.history(&self.codec),
                }),
                Err(error) => {
                    let reason = format!("its row does not decode: {error}");
                    unreadable.push(Unreadable { id: row.id, token: row.token, reason });
                }
            }
        }
        if !unreadable.is_empty() {
            self.set_aside(started, &unreadable);
        }
        claimed
    }

    /// Ends claimed runs whose rows do not decode, so that they are not claimed for ever.
    fn set_aside(&self, started: &Started, rows: &[Unreadable]) {
        let encode = |row: &Unreadable| {
            let (_, reason) = self.codec.encode_outcome(&Outcome::Abandoned(row.reason.clone()));
            reason.unwrap_or_default()
        };
        let reasons: Vec<Vec<u8>> = rows.iter().map(encode).collect();
        match started.run(Access::Single, |statements, _| Ok(statements.set_runs_aside(rows, &reasons)?)) {
            Ok(()) => tracing::warn!(runs = rows.len(), "runs that do not decode were set aside"),
            Err(error) => tracing::warn!(%error, "runs that do not decode could not be set aside"),
        }
    }
}

impl Started {
    /// Deletes finished runs beyond `keep`, the oldest first; says how many.
    fn delete_surplus(&self, keep: i64, limit: i64) -> Result<usize, Error> {
        let known = self.surplus.lock().take().filter(|surplus| surplus.keep == keep);
        let found = match known {
            Some(surplus) => Some(surplus),
            None => {
                let last = self.read(|rows| Ok(rows.last_ended_beyond(keep)?))?;
                last.map(|last| Surplus { keep, last })
            }
        };
        let Some(surplus) = found else { return Ok(0) };
        let deleted =
            self.run(Access::Single, |rows, _| Ok(rows.delete_ended_runs(&surplus.last, limit)?))?;
        if limit_of(deleted) >= limit {
            *self.surplus.lock() = Some(surplus);
        }
        Ok(deleted)
    }
}

impl RunQueue for SqlStore {
    /// What is not there after a lost answer was never queued, or has ended and is forgotten already. Nobody can tell which,
    /// so that it is not queued again.
    fn enqueue(&self, runs: Vec<QueuedRun>) -> Result<(), Error> {
        let started = self.started()?;
        let encoded = self.encode(runs)?;
        let runs: Vec<&RunColumns> = encoded.iter().collect();
        if runs.is_empty() {
            return Ok(());
        }
        started.run(Access::Single, |rows, tried| {
            if tried == Try::First {
                return Ok(rows.insert_runs(&runs)?);
            }
            match rows.known_runs(&runs)?.contains(&false) {
                false => Ok(()),
                true => Err(self.may_be_queued().into()),
            }
        })
    }

    /// Runs whose task is not registered here are left to the others that share the tables.
    fn claim(
        &self,
        request: &ClaimRequest,
        executors: &[(Arc<str>, usize)],
    ) -> Result<Vec<ClaimedRun>, Error> {
        let started = self.started()?;
        let executors: Vec<(Arc<str>, i64)> =
            executors.iter().map(|(alias, free)| (Arc::clone(alias), limit_of(*free))).collect();
        let wanted = Wanted { due: due_of(request), executors: &executors, tasks: started.tasks.as_ref() };
        if request.limit == 0 || !started.read(|rows| Ok(rows.is_run_due(wanted)?))? {
            return Ok(Vec::new());
        }
        let lease = lease_of(request);
        let rows = started.run(Access::Claim, |rows, _| Ok(claim::claim(rows, wanted, lease)?))?;
        Ok(self.claimed(&started, rows))
    }

    fn renew(&self, claims: &[RunClaim], lease: Duration) -> Result<Vec<bool>, Error> {
        let started = self.started()?;
        let claims: Vec<Proof> = claims.iter().map(Proof::from).collect();
        if claims.is_empty() {
            return Ok(Vec::new());
        }
        started.run(Access::Single, |rows, _| {
            by_id(&claims, |claim| &claim.id, |batch| Ok(rows.renew_runs(batch, lease_micros(lease))?))
        })
    }

    fn finish(&self, finished: Vec<FinishedRun>) -> Result<Vec<bool>, Error> {
        let started = self.started()?;
        if finished.is_empty() {
            return Ok(Vec::new());
        }
        let endings: Vec<Ending> =
            finished.into_iter().map(|finished| Ending::encode(&self.codec, finished)).collect();
        started.run(Access::Single, |rows, tried| {
            by_id(
                &endings,
                |ending| &ending.id,
                |batch| {
                    let mut ended = rows.finish_runs(batch)?;
                    if tried == Try::AfterUnknown {
                        read_back(rows, batch, &mut ended)?;
                    }
                    Ok(ended)
                },
            )
        })
    }

    fn cancel(&self, runs: &[RunId], at: DateTime<Utc>) -> Result<Vec<bool>, Error> {
        let started = self.started()?;
        let ids: Vec<String> = runs.iter().map(ToString::to_string).collect();
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        started.run(Access::Single, |rows, tried| {
            by_id(
                &ids,
                |id| id,
                |batch| {
                    let batch: Vec<&str> = batch.iter().map(|id| id.as_str()).collect();
                    let mut cancelled = rows.cancel_runs(&batch, to_micros(at))?;
                    if tried == Try::AfterUnknown {
                        let states = rows.run_states(&batch)?;
                        let unfinished: Vec<&str> = states
                            .iter()
                            .filter(|(_, state, _)| *state != run_state::FINISHED)
                            .map(|(id, ..)| id.as_str())
                            .collect();
                        let is_over =
                            |(id, cancelled): (&&str, &mut bool)| *cancelled |= !unfinished.contains(id);
                        batch.iter().zip(&mut cancelled).for_each(is_over);
                    }
                    Ok(cancelled)
                },
            )
        })
    }

    fn release(&self, claims: &[RunClaim]) -> Result<(), Error> {
        let started = self.started()?;
        let claims: Vec<Proof> = claims.iter().map(Proof::from).collect();
        let mut claims: Vec<&Proof> = claims.iter().collect();
        claims.sort_unstable_by_key(|claim| &claim.id);
        match claims.is_empty() {
            true => Ok(()),
            false => started.run(Access::Single, |rows, _| Ok(rows.release_runs(&claims)?)),
        }
    }

    fn result(&self, id: RunId) -> Result<RunRecord, Error> {
        let started = self.started()?;
        let text = id.to_string();
        let row = started.read(|rows| Ok(rows.find_run(&text)?))?;
        let missing = || Error::new(ErrorKind::NotFound, format!("no run by the id of {id} was found"));
        row.ok_or_else(missing)?.record(&self.codec, &started.context)
    }

    fn list(&self, filter: &RunFilter) -> Result<Vec<RunRecord>, Error> {
        let started = self.started()?;
        let after = filter.after.map(|id| id.to_string());
        let page = RunPage {
            after: after.as_deref(),
            job_id: filter.job_id.as_ref().map(sched_core::JobId::as_str),
            task: filter.task.as_deref(),
            state: filter.phase.map(|phase| match phase {
                RunPhase::Queued => run_state::QUEUED,
                RunPhase::Running => run_state::RUNNING,
                RunPhase::Finished => run_state::FINISHED,
            }),
            from: filter.from.map_or(i64::MIN, to_micros),
            until: filter.until.map_or(i64::MAX, |until| to_micros(until).saturating_sub(1)),
            limit: filter.limit.map_or(i64::MAX, limit_of),
        };
        let rows = started.read(|rows| Ok(rows.list_runs(page)?))?;
        let decoded = rows.iter().filter_map(|row| {
            let record = row.record(&self.codec, &started.context);
            record.inspect_err(|error| tracing::warn!(run = %row.id, %error, "a run's row is no run")).ok()
        });
        Ok(decoded.collect())
    }

    fn reap(&self) -> Result<Vec<RunId>, Error> {
        let started = self.started()?;
        if started.is_idle(|rows| Ok(rows.has_ended_leases()?))? {
            return Ok(Vec::new());
        }
        let ids = started.run(Access::Single, |rows, _| Ok(rows.take_back()?))?;
        let mut reaped: Vec<RunId> = ids.iter().filter_map(|id| id.parse().ok()).collect();
        reaped.sort_unstable();
        Ok(reaped)
    }

    /// What is beyond `keep` is counted once, and then deleted in as many calls as it takes; what ended since is counted by
    /// the next call after these.
    fn cleanup(&self, keep: Option<usize>, limit: usize) -> Result<usize, Error> {
        let (started, limit) = (self.started()?, limit_of(limit));
        let expired = match limit == 0 || started.is_idle(|rows| Ok(rows.has_expired_runs()?))? {
            true => 0,
            false => started.run(Access::Single, |rows, _| Ok(rows.delete_expired_runs(limit)?))?,
        };
        match (keep, limit.saturating_sub(limit_of(expired))) {
            (Some(keep), left @ 1..) => Ok(expired + started.delete_surplus(limit_of(keep), left)?),
            _ => Ok(expired),
        }
    }

    fn counts(&self) -> Result<RunCounts, Error> {
        let counts = self.started()?.read(|rows| Ok(rows.count_runs()?))?;
        Ok(run_counts(&counts))
    }

    /// Runs whose task is not registered here are left out, as are those behind a limit.
    fn next_wakeup(&self) -> Result<Option<DateTime<Utc>>, Error> {
        let started = self.started()?;
        let next = started.read(|rows| Ok(rows.next_run(started.tasks.as_ref())?))?;
        next.map(from_micros).transpose()
    }
}

/// Does something with items in the order of their ids, in which every transaction locks rows: what locked the same rows in
/// another order would wait for one another. No batch has an id twice; the answers are in the order of the items.
fn by_id<T>(
    items: &[T],
    id: impl Fn(&T) -> &String,
    mut work: impl FnMut(&[&T]) -> Result<Vec<bool>, Fault>,
) -> Result<Vec<bool>, Fault> {
    let mut sorted: Vec<(usize, &T)> = items.iter().enumerate().collect();
    sorted.sort_by(|(_, left), (_, right)| id(left).cmp(id(right)));
    let (places, sorted): (Vec<usize>, Vec<&T>) = sorted.into_iter().unzip();
    let mut sorted_answers = Vec::with_capacity(items.len());
    for batch in distinct(&sorted, |item| id(item)) {
        sorted_answers.extend(work(batch)?);
    }
    let mut answers = vec![false; items.len()];
    places.into_iter().zip(sorted_answers).for_each(|(place, answer)| answers[place] = answer);
    Ok(answers)
}

/// Tells stale claims from those that an earlier try has ended: their row is gone, or keeps the claim's token.
fn read_back(rows: &mut dyn Statements, endings: &[&Ending], answers: &mut [bool]) -> Result<(), Fault> {
    let open = endings.iter().zip(answers).filter(|(_, ended)| !**ended);
    let open: Vec<(&&Ending, &mut bool)> = open.collect();
    let ids: Vec<&str> = open.iter().map(|(ending, _)| ending.id.as_str()).collect();
    if ids.is_empty() {
        return Ok(());
    }
    let states = rows.run_states(&ids)?;
    let tokens: HashMap<String, i64> = states.into_iter().map(|(id, _, token)| (id, token)).collect();
    for (ending, ended) in open {
        *ended = tokens.get(&ending.id).is_none_or(|token| *token == ending.token);
    }
    Ok(())
}
