//! A client of the simulated server: the job store that a simulated process has. Its calls take time, fail before or after
//! their effect, and end with the process.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use parking_lot::Mutex;

use sched_core::{
    Advance, Again, Attempt, ClaimRequest, ClaimedJob, ClaimedRun, Committed, ConflictPolicy, Error,
    ErrorKind, FinishedRun, Inserted, Job, JobCommit, JobFilter, JobId, JobStore, Outcome, PlannedCommits,
    Planner, QueuedRun, RunClaim, RunCounts, RunFilter, RunId, RunQueue, RunRecord, RunWish, StoreContext,
    StoreTraits, StoredJob,
};

use super::mutation::Mutation;
use super::watch::Process;
use super::world::{Hub, World};

/// What goes wrong with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    /// It does nothing and fails.
    Before,
    /// It does its work and fails.
    After,
}

/// The store of one process.
pub(super) struct Client {
    world: Weak<World>,
    process: Process,
    dead: AtomicBool,
    /// The attempts of the runs that it has claimed.
    histories: Mutex<BTreeMap<RunId, (u32, Vec<Attempt>)>>,
}

impl Client {
    pub(super) fn new(world: &Arc<World>, process: Process) -> Self {
        let (dead, histories) = (AtomicBool::new(false), Mutex::default());
        Self { world: Arc::downgrade(world), process, dead, histories }
    }

    /// Nothing that the process does reaches the server any more.
    pub(super) fn die(&self) {
        self.dead.store(true, Ordering::SeqCst);
    }

    fn alive(&self) -> Result<Arc<World>, Error> {
        let world = self.world.upgrade().filter(|_| !self.dead.load(Ordering::SeqCst));
        world.ok_or_else(|| Error::new(ErrorKind::Unavailable, "the process is dead"))
    }

    /// Something is asked of the server, with all that may come between.
    fn call<T>(&self, work: impl FnOnce(&mut Hub, DateTime<Utc>) -> T) -> Result<T, Error> {
        self.transact(|world, is_undone| if is_undone { None } else { Some(world.with(work)) })
    }

    /// The same with work that has steps, between which nothing else happens at the server. It is told that the server will
    /// undo it; then there is no answer.
    fn transact<T>(&self, work: impl FnOnce(&Arc<World>, bool) -> Option<T>) -> Result<T, Error> {
        let world = self.alive()?;
        let (fault, there, back) = world.with(|hub, now| {
            hub.watch.health[self.process].waits_since = Some(now);
            let rates = hub.rates;
            let fault = match hub.random.between(0, 999) {
                draw if draw < rates.fails_before => Fault::Before,
                draw if draw < rates.fails_before + rates.fails_after => Fault::After,
                _ => Fault::None,
            };
            (fault, rates.latency(&mut hub.random), rates.latency(&mut hub.random))
        });
        world.pass(self.process, there);
        let answer = self.alive().map(|world| work(&world, fault == Fault::Before));
        if answer.is_ok() {
            world.pass(self.process, back);
        }
        world.with(|hub, now| {
            let health = &mut hub.watch.health[self.process];
            let began = health.waits_since.take().unwrap_or(now);
            if fault != Fault::None || now - began > TimeDelta::seconds(1) {
                health.troubled = Some(now);
            }
        });
        if fault != Fault::None {
            world.with(|hub, now| {
                hub.watch.tell(now, || format!("p{}: a call fails ({fault:?})", self.process))
            });
        }
        let lost = || Error::new(ErrorKind::Unavailable, "the connection broke");
        let answer = answer?;
        self.alive()?;
        answer.filter(|_| fault == Fault::None).ok_or_else(lost)
    }

    /// A failed attempt is tried again a few times, as the options of a job might say.
    fn retried(&self, mut finished: FinishedRun) -> FinishedRun {
        let known = self.histories.lock().get(&finished.claim.id).cloned();
        let Some((attempt, mut history)) = known.filter(|(attempt, _)| *attempt < 3) else { return finished };
        if finished.again.is_none() && matches!(finished.outcome, Outcome::Failed(_)) {
            history.push(Attempt {
                attempt,
                outcome: finished.outcome.clone(),
                started_at: finished.started_at,
                finished_at: finished.finished_at,
            });
            let at = finished.finished_at + TimeDelta::seconds(7);
            finished.again = Some(Again { at, history });
        }
        finished
    }
}

impl Client {
    /// Commits, and claims what is wished for.
    fn commit_all(&self, commits: Vec<JobCommit>, wish: Option<&RunWish>) -> Result<Vec<Committed>, Error> {
        let answers = self.call(|hub, now| self.commit_there(hub, now, commits, wish))?;
        Ok(self.note_claims(answers))
    }

    fn commit_there(
        &self,
        hub: &mut Hub,
        now: DateTime<Utc>,
        commits: Vec<JobCommit>,
        wish: Option<&RunWish>,
    ) -> Vec<(Committed, Option<ClaimedRun>)> {
        let dropped = hub.mutation == Some(Mutation::WrapperDropsCommits) && hub.random.chance(200);
        let answers = commits.into_iter().enumerate().map(|(at, commit)| {
            if dropped {
                return (Committed::Applied { skipped: Vec::new() }, None);
            }
            let wish = wish.filter(|wish| wish.wanted[at]);
            let request = wish.map(|wish| claim_request(wish, &commit, now));
            let (answer, claimed) = match &request {
                Some(request) => hub.server.commit_and_claim(commit.clone(), request, now),
                None => (hub.server.commit(commit.clone()), None),
            };
            hub.watch.tell(now, || committing(self.process, &commit, &answer));
            hub.watch.committed(&commit, &answer, hub.is_durable);
            if let (Some(claimed), Some(request)) = (&claimed, &request) {
                hub.watch.commit_claimed(self.process, request, claimed, now);
            }
            (answer, claimed)
        });
        answers.collect()
    }

    fn note_claims(&self, answers: Vec<(Committed, Option<ClaimedRun>)>) -> Vec<Committed> {
        let mut histories = self.histories.lock();
        let known = answers.iter().filter_map(|(_, claimed)| claimed.as_ref());
        histories.extend(known.map(|claimed| (claimed.run.id, (claimed.attempt, claimed.history.clone()))));
        answers.into_iter().map(|(answer, _)| answer).collect()
    }
}

/// What a claim of one run in a commit asks for. By the clock of who commits the run is due, as its job was.
fn claim_request(wish: &RunWish, commit: &JobCommit, now: DateTime<Utc>) -> ClaimRequest {
    let now = commit.runs.iter().map(|run| run.scheduled_time).chain([now]).max().unwrap_or(now);
    ClaimRequest { owner: Arc::clone(&wish.owner), now, limit: 1, lease: wish.lease }
}

/// A commit in short, without the ids that the engine draws for its runs.
fn committing(process: Process, commit: &JobCommit, answer: &Committed) -> String {
    let next = match &commit.advance {
        Advance::To(cursor) => cursor.next_fire_time,
        Advance::Remove => None,
    };
    let runs: Vec<DateTime<Utc>> = commit.runs.iter().map(|run| run.fire_time).collect();
    format!("p{process} commits {:?}, next {next:?}, runs {runs:?}: {answer:?}", commit.claim)
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Client({})", self.process)
    }
}

impl JobStore for Client {
    fn start(&self, _: StoreContext) -> Result<(), Error> {
        self.alive().map(drop)
    }

    fn shutdown(&self) -> Result<(), Error> {
        self.die();
        Ok(())
    }

    fn traits(&self) -> StoreTraits {
        StoreTraits { persistent: true, blocking: true, shared: true }
    }

    fn insert(&self, jobs: &[Job], _: ConflictPolicy) -> Result<Vec<Result<Inserted, Error>>, Error> {
        self.call(|hub, _| {
            jobs.iter().for_each(|job| {
                hub.server.insert(job);
                hub.watch.added(job);
            });
            jobs.iter().map(|_| Ok(Inserted::Added)).collect()
        })
    }

    fn update(&self, _: &[Job]) -> Result<Vec<Result<(), Error>>, Error> {
        Err(Error::new(ErrorKind::Unsupported, "nobody changes simulated jobs"))
    }

    fn remove(&self, ids: &[JobId]) -> Result<Vec<bool>, Error> {
        self.call(|hub, _| ids.iter().map(|id| hub.server.remove(id)).collect())
    }

    fn clear(&self) -> Result<usize, Error> {
        Err(Error::new(ErrorKind::Unsupported, "nobody changes simulated jobs"))
    }

    fn get(&self, ids: &[JobId]) -> Result<Vec<Option<StoredJob>>, Error> {
        self.call(|hub, _| ids.iter().map(|id| hub.server.job(id).map(StoredJob::Job)).collect())
    }

    fn list(&self, filter: &JobFilter) -> Result<Vec<StoredJob>, Error> {
        let all: Vec<StoredJob> =
            self.call(|hub, _| hub.server.jobs().into_iter().map(StoredJob::Job).collect())?;
        Ok(all.into_iter().filter(|stored| filter.admits(stored)).collect())
    }

    fn next_wakeup(&self) -> Result<Option<DateTime<Utc>>, Error> {
        self.call(|hub, _| {
            let answer = hub.server.next_wakeup();
            hub.watch.job_wakeup(answer);
            answer
        })
    }

    fn recover(&self, owner: &str) -> Result<(), Error> {
        self.call(|hub, now| {
            hub.watch.tell(now, || format!("p{} recovers {owner}", self.process));
            hub.server.recover(owner);
            hub.watch.recovered(owner);
        })
    }

    fn claim_due(&self, request: &ClaimRequest) -> Result<Vec<ClaimedJob>, Error> {
        self.call(|hub, now| {
            let claimed = hub.server.claim_due(request, now);
            hub.watch.jobs_claimed(self.process, request, &claimed, now);
            claimed
        })
    }

    fn commit(&self, commits: Vec<JobCommit>) -> Result<Vec<Committed>, Error> {
        self.commit_all(commits, None)
    }

    fn commit_and_claim(&self, commits: Vec<JobCommit>, wish: &RunWish) -> Result<Vec<Committed>, Error> {
        self.commit_all(commits, Some(wish))
    }

    /// In stories whose server can. What the server undoes was planned all the same.
    fn claim_and_commit(
        &self,
        request: &ClaimRequest,
        plan: &mut Planner<'_>,
    ) -> Result<Option<Vec<Committed>>, Error> {
        if !self.alive()?.with(|hub, _| hub.is_at_once) {
            return Ok(None);
        }
        let answers = self.transact(|world, is_undone| {
            if is_undone {
                plan(world.with(|hub, now| hub.server.clone().claim_due(request, now)));
                return None;
            }
            let mutation = world.with(|hub, _| hub.mutation);
            let claimed = match mutation {
                Some(Mutation::AtOnceLocksNothing) => {
                    let seen = world.with(|hub, now| hub.server.clone().claim_due(request, now));
                    world.pass(self.process, TimeDelta::milliseconds(40));
                    seen
                }
                _ => world.with(|hub, now| {
                    let claimed = hub.server.claim_due(request, now);
                    hub.watch.jobs_claimed(self.process, request, &claimed, now);
                    claimed
                }),
            };
            let PlannedCommits { commits, wish } = plan(claimed);
            if mutation == Some(Mutation::WrapperAnswersUndone) && world.with(|hub, _| hub.random.chance(200))
            {
                return Some(
                    commits.iter().map(|_| (Committed::Applied { skipped: Vec::new() }, None)).collect(),
                );
            }
            Some(world.with(|hub, now| self.commit_there(hub, now, commits, wish.as_ref())))
        })?;
        Ok(Some(self.note_claims(answers)))
    }

    fn runs(&self) -> Option<&dyn RunQueue> {
        Some(self)
    }
}

impl RunQueue for Client {
    fn enqueue(&self, runs: Vec<QueuedRun>) -> Result<(), Error> {
        self.call(|hub, _| {
            for run in runs {
                hub.watch.enqueued(&run);
                hub.server.enqueue(run);
            }
        })
    }

    fn claim(
        &self,
        request: &ClaimRequest,
        executors: &[(Arc<str>, usize)],
    ) -> Result<Vec<ClaimedRun>, Error> {
        let claimed = self.call(|hub, now| {
            let claimed = hub.server.claim_runs(request, executors, now);
            hub.watch.runs_claimed(self.process, (request, executors), &claimed, now);
            claimed
        })?;
        let known =
            claimed.iter().map(|claimed| (claimed.run.id, (claimed.attempt, claimed.history.clone())));
        self.histories.lock().extend(known);
        Ok(claimed)
    }

    fn renew(&self, claims: &[RunClaim], lease: Duration) -> Result<Vec<bool>, Error> {
        self.call(|hub, now| {
            if hub.mutation == Some(Mutation::WrapperForgetsToRenew) {
                return vec![true; claims.len()];
            }
            let answers = claims.iter().map(|claim| {
                let answer = hub.server.renew(*claim, lease, now);
                hub.watch.tell(now, || format!("p{} renews {claim:?}: {answer}", self.process));
                hub.watch.renewed(*claim, lease, answer, now);
                answer
            });
            answers.collect()
        })
    }

    fn finish(&self, finished: Vec<FinishedRun>) -> Result<Vec<bool>, Error> {
        let finished: Vec<FinishedRun> =
            finished.into_iter().map(|finished| self.retried(finished)).collect();
        self.call(|hub, now| {
            let answers = finished.into_iter().map(|finished| {
                let answer = hub.server.finish(finished.clone());
                hub.watch.tell(now, || format!("p{} finishes {finished:?}: {answer}", self.process));
                hub.watch.finished(&finished, answer);
                answer
            });
            answers.collect()
        })
    }

    fn release(&self, claims: &[RunClaim]) -> Result<(), Error> {
        self.call(|hub, now| {
            for claim in claims {
                hub.watch.tell(now, || format!("p{} releases {claim:?}", self.process));
                hub.server.release(*claim);
                hub.watch.released(*claim);
            }
        })
    }

    fn result(&self, id: RunId) -> Result<RunRecord, Error> {
        let records = self.call(|hub, _| hub.server.records())?;
        let found = records.into_iter().find(|record| record.run.id == id);
        found.ok_or_else(|| Error::new(ErrorKind::NotFound, format!("no run {id}")))
    }

    fn list(&self, filter: &RunFilter) -> Result<Vec<RunRecord>, Error> {
        let records = self.call(|hub, _| hub.server.records())?;
        Ok(records.into_iter().filter(|record| filter.admits(record)).collect())
    }

    fn reap(&self) -> Result<Vec<RunId>, Error> {
        self.call(|hub, now| {
            let taken = hub.server.take_back(now);
            if !taken.is_empty() {
                hub.watch.tell(now, || format!("p{} takes back {taken:?}", self.process));
            }
            hub.watch.reaped(&taken, now);
            taken
        })
    }

    fn cleanup(&self, _: Option<usize>, _: usize) -> Result<usize, Error> {
        // Results are kept to the end of a simulation.
        self.call(|_, _| 0)
    }

    fn counts(&self) -> Result<RunCounts, Error> {
        self.call(|hub, _| hub.server.counts())
    }

    fn next_wakeup(&self) -> Result<Option<DateTime<Utc>>, Error> {
        self.call(|hub, _| {
            let answer = hub.server.next_run();
            hub.watch.run_wakeup(answer);
            answer
        })
    }
}
