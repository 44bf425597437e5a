//! Jobs that are claimed, planned and committed in one transaction.
//!
//! Their rows are locked meanwhile, so that no claim has to be written. What was committed shows in the rows: they have a token
//! that no claim ever had.

use std::collections::HashSet;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use sched_core::{ClaimRequest, Committed, Error, ErrorKind, JobCommit, JobId, PlannedCommits, Planner};

use crate::backend::{Access, Answer, Lease, Statements, Try};
use crate::error::Fault;
use crate::rows::CommitColumns;
use crate::store::{SqlStore, committed, due_of, lease_micros, read_back};

impl SqlStore {
    /// Claims what is due and commits what is planned of it.
    pub(crate) fn commit_at_once(
        &self,
        request: &ClaimRequest,
        plan: &mut Planner<'_>,
    ) -> Result<Vec<Committed>, Error> {
        let started = self.started()?;
        let due = due_of(request);
        if request.limit == 0 || started.is_idle(|rows| Ok(rows.is_job_due(due)?))? {
            return Ok(Vec::new());
        }
        let (mut writing, mut quarantined) = (Writing::default(), 0);
        started.run(Access::Change, |rows, tried| {
            if tried == Try::AfterUnknown && writing.was_made(rows)? {
                return Ok(());
            }
            let (claimed, unreadable) = self.decode_claimed(&started, rows.lock_jobs(due)?);
            quarantined = unreadable.len();
            if !unreadable.is_empty() {
                rows.quarantine_jobs(&unreadable)?;
            }
            let ids: HashSet<JobId> = claimed.iter().map(|claimed| claimed.job.id().clone()).collect();
            let planned = plan(claimed);
            let wish = planned.wish.as_ref().map(|wish| (Arc::clone(&wish.owner), lease_micros(wish.lease)));
            let lease = wish.as_ref().map(|(owner, micros)| Lease { owner, micros: *micros });
            writing = self.encode_planned(ids, planned)?;
            writing.write(rows, lease)
        })?;
        if quarantined > 0 {
            tracing::warn!(jobs = quarantined, "jobs that do not decode were quarantined");
        }
        Ok(committed(&writing.commits, writing.answers))
    }

    /// Encodes what was planned of claimed jobs, to be written under a token that no claim ever had.
    fn encode_planned(&self, mut claimed: HashSet<JobId>, planned: PlannedCommits) -> Result<Writing, Error> {
        let PlannedCommits { commits, wish } = planned;
        let wanted = |at: usize| wish.as_ref().and_then(|wish| wish.wanted.get(at)).copied().unwrap_or(false);
        let token = unclaimed_token();
        let encode = |(at, commit): (usize, JobCommit)| {
            if !claimed.remove(&commit.claim.id) {
                let message = format!("job \"{}\" was not claimed for this commit", commit.claim.id);
                return Err(Error::new(ErrorKind::InvalidJob, message));
            }
            Ok(CommitColumns { token, ..self.encode_commit(commit, wanted(at))? })
        };
        let commits = commits.into_iter().enumerate().map(encode).collect::<Result<_, Error>>()?;
        Ok(Writing { commits, answers: Vec::new() })
    }
}

/// What is written when jobs are claimed and committed at once, and what became of it.
#[derive(Default)]
struct Writing {
    commits: Vec<CommitColumns>,
    answers: Vec<Answer>,
}

impl Writing {
    fn write(&mut self, rows: &mut dyn Statements, lease: Option<Lease<'_>>) -> Result<(), Fault> {
        let commits: Vec<&CommitColumns> = self.commits.iter().collect();
        if !commits.is_empty() {
            self.answers = rows.commit_locked(&commits, lease)?;
        }
        Ok(())
    }

    /// Whether it was committed, though its answer was lost: all of it was or nothing, so one row with the token, or one of its
    /// runs, is proof enough. That a job is gone is none, and neither is a fire time that has a row: others may have been
    /// there since.
    fn was_made(&mut self, rows: &mut dyn Statements) -> Result<bool, Fault> {
        let commits: Vec<&CommitColumns> = self.commits.iter().collect();
        let mut answers = vec![Answer::Stale; commits.len()];
        read_back(rows, &commits, &mut answers)?;
        let has_token = |(commit, answer): (&&CommitColumns, &Answer)| {
            commit.cursor.is_some() && *answer != Answer::Stale
        };
        let has_row = commits.iter().zip(&answers).any(has_token);
        self.answers = answers;
        if has_row {
            return Ok(true);
        }
        let runs: Vec<&str> =
            commits.iter().flat_map(|commit| &commit.runs).map(|run| run.id.as_str()).collect();
        Ok(!runs.is_empty() && !rows.run_states(&runs)?.is_empty())
    }
}

/// A token that is no claim's, so that a row shows who committed it. Those of claims are counted, and greater than zero.
fn unclaimed_token() -> i64 {
    let random = RandomState::new().build_hasher().finish();
    -1 - (random >> 2).cast_signed()
}
