//! Cases about races: many threads, through two handles, at the same rows.

use std::collections::BTreeSet;
use std::sync::Barrier;
use std::time::Duration;

use sched_core::{
    Advance, ClaimRequest, Committed, ConflictPolicy, ErrorKind, Inserted, Job, JobCommit, JobFilter,
    JobStore,
};

use super::{StoreFixture, applied};
use crate::jobs::{NOON, cursor_at, job_id, moved, noon_plus, sample_job};

/// How many threads race.
const THREADS: u32 = 8;

/// How often a race is run.
const ROUNDS: u32 = 10;

/// Does something on many threads at once, every second of them through the peer; answers in the order of threads.
pub(crate) fn race<T: Send>(
    fixture: &StoreFixture,
    threads: u32,
    work: impl Fn(&dyn JobStore, u32) -> T + Sync,
) -> Vec<T> {
    let (barrier, work) = (&Barrier::new(threads as usize), &work);
    std::thread::scope(|scope| {
        let runners: Vec<_> = (0..threads)
            .map(|thread| {
                let store = if thread % 2 == 0 { &fixture.store } else { &fixture.peer };
                scope.spawn(move || {
                    barrier.wait();
                    work(&**store, thread)
                })
            })
            .collect();
        runners.into_iter().map(|runner| runner.join().expect("the store does not panic")).collect()
    })
}

fn commit_one(store: &dyn JobStore, claim: &sched_core::Claim, advance: Advance) -> Committed {
    let commit = JobCommit { claim: claim.clone(), advance, runs: Vec::new() };
    store.commit(vec![commit]).expect("commit").remove(0)
}

/// Of eight who claim at once, each job goes to one, and tokens are distinct.
pub fn store_claims_once_among_eight(fixture: StoreFixture) {
    const JOBS: usize = 400;
    let jobs: Vec<Job> = (0..JOBS).map(|number| sample_job(&format!("job-{number}"), NOON)).collect();
    fixture.insert(&jobs);
    let claimed = race(&fixture, THREADS, |store, thread| {
        let request = fixture.request(&format!("owner {thread}"), NOON, 5);
        let request = ClaimRequest { lease: Duration::from_secs(600), ..request };
        let (mut claims, mut idle) = (Vec::new(), 0);
        while idle < 2 {
            let batch = store.claim_due(&request).expect("claim");
            idle = if batch.is_empty() { idle + 1 } else { 0 };
            claims.extend(batch.into_iter().map(|claimed| claimed.claim));
        }
        claims
    });
    let claims: Vec<_> = claimed.into_iter().flatten().collect();
    let ids: BTreeSet<&str> = claims.iter().map(|claim| claim.id.as_str()).collect();
    assert_eq!((claims.len(), ids.len()), (JOBS, JOBS), "each job is claimed once");
    fixture.end();
}

/// Of eight who insert one id at once, one adds it.
pub fn store_inserts_once_among_eight(fixture: StoreFixture) {
    for round in 0..ROUNDS {
        let answers = race(&fixture, THREADS, |store, thread| {
            let job = sample_job(&format!("job-{round}"), noon_plus(thread.into()));
            let mut answers = store.insert(&[job], ConflictPolicy::Error).expect("insert");
            answers.remove(0).map_err(|error| error.kind())
        });
        assert_eq!(answers.iter().filter(|answer| **answer == Ok(Inserted::Added)).count(), 1, "{answers:?}");
        let refused = answers.iter().filter(|answer| **answer == Err(ErrorKind::AlreadyExists));
        assert_eq!(refused.count(), answers.len() - 1, "{answers:?}");
    }
    fixture.end();
}

/// Eight who insert overlapping batches in opposite orders all come through, and each id is added once.
pub fn store_takes_crossed_batches(fixture: StoreFixture) {
    const JOBS: u32 = 40;
    for round in 0..ROUNDS {
        let answers = race(&fixture, THREADS, |store, thread| {
            let mut batch: Vec<Job> =
                (0..JOBS).map(|number| sample_job(&format!("job-{round}-{number}"), NOON)).collect();
            if thread % 4 > 1 {
                batch.reverse();
            }
            let answers = store.insert(&batch, ConflictPolicy::Error).expect("insert");
            answers.iter().filter(|answer| answer.is_ok()).count()
        });
        assert_eq!(answers.iter().sum::<usize>(), JOBS as usize, "{answers:?}");
    }
    assert_eq!(fixture.ids().len(), (JOBS * ROUNDS) as usize);
    fixture.end();
}

/// Eight who read, change and update until it works lose no update.
pub fn store_loses_no_update_among_eight(fixture: StoreFixture) {
    fixture.insert(&[sample_job("a", NOON)]);
    race(&fixture, THREADS, |store, _| {
        for _ in 0..5 {
            loop {
                let read = store.get(&[job_id("a")]).expect("get").remove(0).expect("it is there");
                let read = read.into_job().expect("it decodes");
                let next = read.next_run_time().map(|time| time + chrono::TimeDelta::seconds(1));
                let answer = store.update(&[moved(&read, next)]).expect("update").remove(0);
                match answer.map_err(|error| error.kind()) {
                    Ok(()) => break,
                    Err(kind) => assert_eq!(kind, ErrorKind::Stale),
                }
            }
        }
    });
    assert_eq!(fixture.stored("a").next_run_time(), Some(noon_plus(i64::from(THREADS) * 5)));
    fixture.end();
}

/// Of eight who remove a job at once, one is told that it was there.
pub fn store_removes_once_among_eight(fixture: StoreFixture) {
    for round in 0..ROUNDS {
        let id = job_id(&format!("job-{round}"));
        fixture.insert(&[sample_job(id.as_str(), NOON)]);
        let removed =
            race(&fixture, THREADS, |store, _| store.remove(std::slice::from_ref(&id)).expect("remove")[0]);
        assert_eq!(removed.iter().filter(|there| **there).count(), 1, "round {round}");
    }
    fixture.end();
}

/// Of eight who commit one claim at once, one is applied.
pub fn store_commits_once_among_eight(fixture: StoreFixture) {
    for round in 0..ROUNDS {
        fixture.insert(&[sample_job("a", NOON)]);
        let claim = fixture.claim_one("one", NOON).claim;
        let answers = race(&fixture, THREADS, |store, thread| {
            commit_one(store, &claim, Advance::To(cursor_at(noon_plus(60 + i64::from(thread)))))
        });
        let winner = (0..).zip(&answers).find(|(_, answer)| **answer == applied()).expect("one is applied").0;
        assert_eq!(answers.iter().filter(|answer| **answer == applied()).count(), 1, "round {round}");
        assert_eq!(fixture.stored("a").next_run_time(), Some(noon_plus(60 + i64::from(winner))));
        fixture.store.clear().expect("clear");
    }
    fixture.end();
}

/// A removal and a commit at once: whoever is first, the job is gone afterwards.
pub fn store_removal_wins_over_a_commit(fixture: StoreFixture) {
    for round in 0..ROUNDS * 2 {
        fixture.insert(&[sample_job("a", NOON)]);
        let claim = fixture.claim_one("one", NOON).claim;
        race(&fixture, 2, |store, thread| match (thread + round) % 2 {
            0 => assert_eq!(store.remove(&[job_id("a")]).expect("remove"), [true]),
            _ => drop(commit_one(store, &claim, Advance::To(cursor_at(noon_plus(60))))),
        });
        assert!(fixture.get("a").is_none(), "round {round}");
    }
    fixture.end();
}

/// An update and a commit at once: one of them is applied, and the other is told that it came too late.
pub fn store_update_races_a_commit(fixture: StoreFixture) {
    for round in 0..ROUNDS * 2 {
        fixture.insert(&[sample_job("a", NOON)]);
        let claimed = fixture.claim_one("one", NOON);
        let read = fixture.stored("a");
        let done = race(&fixture, 2, |store, thread| match (thread + round) % 2 {
            0 => match store.update(&[moved(&read, noon_plus(7))]).expect("update").remove(0) {
                Ok(()) => Some(7),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Stale, "{error}");
                    None
                }
            },
            _ => match commit_one(store, &claimed.claim, Advance::To(cursor_at(noon_plus(60)))) {
                Committed::Stale => None,
                _ => Some(60),
            },
        });
        let done: Vec<i64> = done.into_iter().flatten().collect();
        assert_eq!(done.len(), 1, "round {round}: {done:?}");
        assert_eq!(fixture.stored("a").next_run_time(), Some(noon_plus(done[0])), "round {round}");
        fixture.store.clear().expect("clear");
    }
    fixture.end();
}

/// A listing is whole while others claim, commit, insert and remove: no job twice, none of the quiet ones missing.
pub fn store_lists_whole_while_others_write(fixture: StoreFixture) {
    let quiet: Vec<Job> =
        (0..50).map(|number| sample_job(&format!("quiet-{number:02}"), noon_plus(9_000))).collect();
    fixture.insert(&quiet);
    race(&fixture, 4, |store, thread| {
        for round in 0..20 {
            if thread < 2 {
                let listed = store.list(&JobFilter::default()).expect("list");
                let ids: BTreeSet<&str> = listed.iter().map(|stored| stored.id().as_str()).collect();
                assert_eq!(ids.len(), listed.len(), "a job is listed twice");
                assert_eq!(ids.iter().filter(|id| id.starts_with("quiet")).count(), 50);
                continue;
            }
            let id = format!("busy-{thread}-{round}");
            let answers = store.insert(&[sample_job(&id, NOON)], ConflictPolicy::Error).expect("insert");
            assert!(answers[0].is_ok());
            for claimed in store.claim_due(&fixture.request(&id, NOON, 5)).expect("claim") {
                commit_one(store, &claimed.claim, Advance::Remove);
            }
        }
    });
    fixture.end();
}
