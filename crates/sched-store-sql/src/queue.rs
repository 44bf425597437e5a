//! The contract of a run queue.
//!
//! Writes that would change nothing are not begun: a look that takes no lock comes first, so that idle schedulers do
//! not keep one another waiting.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::sqlite::SqliteConnection;
use sched_core::{
    ClaimRequest, ClaimedRun, Error, ErrorKind, FencingToken, FinishedRun, QueuedRun, RunClaim, RunCounts,
    RunFilter, RunId, RunQueue, RunRecord,
};

use crate::codec::{RunColumns, micros, time};
use crate::error::Fault;
use crate::sqlite::jobs::{Due, Lease};
use crate::sqlite::runs::{self, Ending, Wanted};
use crate::statement::Bind;
use crate::store::{SqlStore, Started, limit_of};

impl SqlStore {
    /// Queues runs inside the caller's own transaction: they are there when that is committed, and not otherwise. The
    /// schedulers find them when they next look.
    ///
    /// **Errors**: those of [`enqueue`](RunQueue::enqueue).
    pub fn enqueue_in(&self, conn: &mut SqliteConnection, runs: Vec<QueuedRun>) -> Result<(), Error> {
        let started = self.started()?;
        for columns in self.encode(runs)? {
            let inserted = runs::insert(conn, started.tables(), &columns);
            inserted.map_err(|error| Fault::from(error).into_error(self.location()))?;
        }
        Ok(())
    }

    fn encode(&self, runs: Vec<QueuedRun>) -> Result<Vec<RunColumns>, Error> {
        let encoded = runs.into_iter().map(|run| {
            let columns = self.codec.encode_run(run)?;
            self.codec.check_length(&columns.payload, format_args!("run {}", columns.id))?;
            Ok(columns)
        });
        encoded.collect()
    }

    /// Ends claimed runs whose rows do not decode, so that they are not claimed for ever.
    fn set_aside(&self, started: &Started, token: i64, rows: &[(i64, Error)]) {
        let done = started.database.write(|conn| {
            for (seq, reason) in rows {
                let reason =
                    serde_json::Value::from(format!("its row does not decode: {reason}")).to_string();
                let ending = (&Bind::from(reason.as_str()), started.now());
                runs::set_aside(conn, started.tables(), (*seq, token), ending)?;
            }
            Ok(())
        });
        match done {
            Ok(()) => tracing::warn!(runs = rows.len(), "runs that do not decode were set aside"),
            Err(error) => tracing::warn!(%error, "runs that do not decode could not be set aside"),
        }
    }
}

impl RunQueue for SqlStore {
    fn enqueue(&self, runs: Vec<QueuedRun>) -> Result<(), Error> {
        let started = self.started()?;
        if runs.is_empty() {
            return Ok(());
        }
        let encoded = self.encode(runs)?;
        started.database.write(|conn| {
            for columns in &encoded {
                runs::insert(conn, started.tables(), columns)?;
            }
            Ok(())
        })
    }

    /// Runs whose task is not registered here are left to the others that share the file.
    fn claim(
        &self,
        request: &ClaimRequest,
        executors: &[(Arc<str>, usize)],
    ) -> Result<Vec<ClaimedRun>, Error> {
        let started = self.started()?;
        let (now, tables) = (started.now(), started.tables());
        let due = Due { at: request.now.timestamp_micros(), limit: limit_of(Some(request.limit)) };
        let wanted = Wanted { due, executors, tasks: started.tasks.as_deref() };
        if request.limit == 0
            || !started.database.read(|conn| Ok(runs::is_due(conn, tables, wanted, now)?))?
        {
            return Ok(Vec::new());
        }
        let lease = Lease { owner: &request.owner, now, until: started.lease_end(request.lease) };
        let (token, rows) = started.database.write(|conn| Ok(runs::claim(conn, tables, wanted, lease)?))?;
        let mut unreadable = Vec::new();
        let mut claimed = Vec::with_capacity(rows.len());
        for row in rows {
            let attempt = u32::try_from(row.attempt.saturating_add(1)).unwrap_or(u32::MAX);
            match self.codec.decode_run(&row, started.build_context()) {
                Ok(run) => {
                    let token = FencingToken(token.cast_unsigned());
                    claimed.push(ClaimedRun { run, attempt, token, history: Vec::new() });
                }
                Err(error) => unreadable.push((row.seq, error)),
            }
        }
        if !unreadable.is_empty() {
            self.set_aside(&started, token, &unreadable);
        }
        Ok(claimed)
    }

    fn renew(&self, claims: &[RunClaim], lease: Duration) -> Result<Vec<bool>, Error> {
        let started = self.started()?;
        if claims.is_empty() {
            return Ok(Vec::new());
        }
        let until = started.lease_end(lease);
        started.database.write(|conn| {
            let answers = claims.iter().map(|claim| runs::renew(conn, started.tables(), *claim, until));
            Ok(answers.collect::<Result<_, _>>()?)
        })
    }

    fn finish(&self, finished: Vec<FinishedRun>) -> Result<Vec<bool>, Error> {
        let started = self.started()?;
        if finished.is_empty() {
            return Ok(Vec::new());
        }
        let endings =
            finished.into_iter().map(|FinishedRun { claim, outcome, started_at, finished_at, .. }| {
                let (outcome, result) = self.codec.encode_outcome(&outcome);
                let (started_at, finished_at) = (started_at.map(micros), micros(finished_at));
                Ending { claim, outcome, result, started_at, finished_at }
            });
        let endings: Vec<Ending> = endings.collect();
        started.database.write(|conn| {
            let answers = endings.iter().map(|ending| runs::finish(conn, started.tables(), ending));
            Ok(answers.collect::<Result<_, _>>()?)
        })
    }

    fn release(&self, claims: &[RunClaim]) -> Result<(), Error> {
        let started = self.started()?;
        if claims.is_empty() {
            return Ok(());
        }
        started.database.write(|conn| {
            claims.iter().try_for_each(|claim| runs::release(conn, started.tables(), *claim))?;
            Ok(())
        })
    }

    fn result(&self, id: RunId) -> Result<RunRecord, Error> {
        let started = self.started()?;
        let row = started.database.read(|conn| Ok(runs::find(conn, started.tables(), &id.to_string())?))?;
        let missing = || Error::new(ErrorKind::NotFound, format!("no run by the id of {id} was found"));
        self.codec.decode_record(&row.ok_or_else(missing)?, started.build_context())
    }

    fn list(&self, filter: &RunFilter) -> Result<Vec<RunRecord>, Error> {
        let started = self.started()?;
        let after = filter.after.map(|id| id.to_string()).unwrap_or_default();
        let job_id = filter.job_id.as_ref().map(sched_core::JobId::as_str);
        let rows = started
            .database
            .read(|conn| Ok(runs::list(conn, started.tables(), (job_id, &after), limit_of(filter.limit))?))?;
        let decoded = rows.iter().filter_map(|row| {
            let record = self.codec.decode_record(row, started.build_context());
            record.inspect_err(|error| tracing::warn!(seq = row.seq, %error, "a run's row is no run")).ok()
        });
        Ok(decoded.collect())
    }

    fn reap(&self) -> Result<Vec<RunId>, Error> {
        let started = self.started()?;
        let (now, tables) = (started.now(), started.tables());
        if !started.database.read(|conn| Ok(runs::has_ended_leases(conn, tables, now)?))? {
            return Ok(Vec::new());
        }
        let ids = started.database.write(|conn| Ok(runs::take_back(conn, tables, now)?))?;
        let mut reaped: Vec<RunId> = ids.iter().filter_map(|id| id.parse().ok()).collect();
        reaped.sort_unstable();
        Ok(reaped)
    }

    fn cleanup(&self, _keep: Option<usize>, limit: usize) -> Result<usize, Error> {
        let started = self.started()?;
        let (now, tables) = (started.now(), started.tables());
        if !started.database.read(|conn| Ok(runs::has_expired(conn, tables, now)?))? {
            return Ok(0);
        }
        let due = Due { at: now, limit: limit_of(Some(limit)) };
        started.database.write(|conn| Ok(runs::cleanup(conn, tables, due)?))
    }

    fn counts(&self) -> Result<RunCounts, Error> {
        let started = self.started()?;
        started.database.read(|conn| Ok(runs::counts(conn, started.tables())?))
    }

    /// Runs whose task is not registered here are left out, as are those behind a limit.
    fn next_wakeup(&self) -> Result<Option<DateTime<Utc>>, Error> {
        let started = self.started()?;
        let next = started
            .database
            .read(|conn| Ok(runs::next_wakeup(conn, started.tables(), started.tasks.as_deref())?))?;
        next.map(time).transpose()
    }
}
