//! Cases about rows that do not decode, and about owners that come back.

use std::time::Duration;

use sched_core::{
    ClaimRequest, ConflictPolicy, ErrorKind, Inserted, JobFilter, JobPosition, JobState, StoredJob,
};
use serde_json::json;

use super::{StoreFixture, applied, assert_kind, claimed_ids, single};
use crate::jobs::{ECHO, NOON, job_id, noon_plus, sample_job};

/// A lease that is not waited for.
const LONG_LEASE: Duration = Duration::from_secs(600);

/// The claims of an owner that is recovered, and no others, are free at once, and stale in its old hands.
pub fn store_recovers_an_owner(fixture: StoreFixture) {
    fixture.insert(&["a", "b", "c"].map(|id| sample_job(id, NOON)));
    let lost = fixture.claim("one", NOON, 2);
    let live = fixture.claim_one("two", NOON);
    fixture.store.recover("nobody").expect("recover");
    assert!(fixture.claim("one", NOON, 10).is_empty(), "nobody's claims are nobody's");
    fixture.peer.recover("one").expect("recover");
    let again = fixture.claim("one", NOON, 10);
    assert_eq!(claimed_ids(&again), ["a", "b"]);
    for (lost, again) in lost.iter().zip(&again) {
        assert!(again.claim.token > lost.claim.token);
        assert_eq!(fixture.advance(&lost.claim, noon_plus(60)), sched_core::Committed::Stale);
    }
    assert_eq!(fixture.advance(&again[0].claim, noon_plus(60)), applied());
    assert_eq!(fixture.advance(&live.claim, noon_plus(60)), applied(), "a live owner keeps its claim");
    fixture.store.recover("two").expect("recovering an owner without claims does no harm");
    fixture.end();
}

/// A claim outlives the store: it is committed after a restart, and keeps others off until its lease ends.
pub fn store_keeps_claims_over_a_restart(fixture: StoreFixture) {
    fixture.insert(&["a", "b"].map(|id| sample_job(id, NOON)));
    let claimed = fixture.claim("one", NOON, 10);
    fixture.shutdown();
    fixture.start();
    assert!(fixture.claim("two", NOON, 10).is_empty(), "the lease holds");
    assert_eq!(fixture.advance(&claimed[0].claim, noon_plus(60)), applied());
    fixture.outlast_leases();
    let taken_over = fixture.claim_one("two", NOON);
    assert!(taken_over.claim.token > claimed[1].claim.token, "tokens are not used again");
    fixture.end();
}

/// Pages go on across rows that do not decode, which keep a place of their own in the order.
pub fn store_pages_across_quarantined_rows(fixture: StoreFixture) {
    fixture.insert(&["a", "b", "c", "d", "e"].map(|id| sample_job(id, NOON)));
    ["a", "c", "e"].iter().for_each(|id| fixture.corrupt(&job_id(id)));
    fixture.claim("one", NOON, 10);
    let all = fixture.store.list(&JobFilter::default()).expect("list");
    assert_eq!(all.len(), 5);
    for limit in [1, 2, 3, 5] {
        let (mut paged, mut after): (Vec<StoredJob>, Option<JobPosition>) = (Vec::new(), None);
        loop {
            let filter = JobFilter { after: after.take(), limit: Some(limit), ..JobFilter::default() };
            let page = fixture.store.list(&filter).expect("list");
            let Some(last) = page.last() else { break };
            after = Some(last.position());
            paged.extend(page);
        }
        assert_eq!(paged, all, "pages of {limit}");
    }
    fixture.end();
}

/// Rows that do not decode are counted and filtered as such once a claim has met them; no task is known of them.
pub fn store_counts_quarantined_rows(fixture: StoreFixture) {
    fixture.insert(&[sample_job("a", NOON), sample_job("b", NOON), sample_job("p", None)]);
    fixture.corrupt(&job_id("b"));
    assert_eq!(fixture.claim("one", NOON, 10).len(), 1);
    let counts = fixture.store.job_counts().expect("counts");
    assert_eq!((counts.scheduled, counts.paused, counts.quarantined), (1, 1, 1), "{counts:?}");
    assert_eq!(counts.total(), 3);
    let ids = |filter: &JobFilter| -> Vec<String> {
        fixture.store.list(filter).expect("list").iter().map(|stored| stored.id().to_string()).collect()
    };
    let state = |state| ids(&JobFilter { state: Some(state), ..JobFilter::default() });
    assert_eq!(state(JobState::Quarantined), ["b"]);
    assert_eq!(state(JobState::Scheduled), ["a"]);
    assert_eq!(state(JobState::Paused), ["p"]);
    assert_eq!(ids(&JobFilter { task: Some(ECHO.into()), ..JobFilter::default() }), ["a", "p"]);
    fixture.end();
}

/// A row that does not decode is looked up with the reason, and its id is taken.
pub fn store_looks_quarantined_rows_up(fixture: StoreFixture) {
    fixture.insert(&["a", "b"].map(|id| sample_job(id, NOON)));
    fixture.corrupt(&job_id("b"));
    let found = fixture.store.get(&["b", "a", "x"].map(job_id)).expect("get");
    let Some(StoredJob::Quarantined { id, reason, .. }) = &found[0] else { panic!("{:?}", found[0]) };
    assert_eq!(id.as_str(), "b");
    assert!(!reason.is_empty());
    assert!(matches!(&found[1], Some(StoredJob::Job(_))));
    assert!(found[2].is_none());
    let job = sample_job("b", NOON);
    assert_kind(fixture.insert_one(&job, ConflictPolicy::Error), ErrorKind::AlreadyExists);
    assert_eq!(fixture.insert_one(&job, ConflictPolicy::Keep).expect("insert"), Inserted::Kept);
    assert!(matches!(
        single(fixture.store.get(&[job_id("b")]).expect("get")),
        Some(StoredJob::Quarantined { .. })
    ));
    fixture.end();
}

/// A row that does not decode may be replaced, and is a job again.
pub fn store_replaces_a_quarantined_row(fixture: StoreFixture) {
    fixture.insert(&["a", "b"].map(|id| sample_job(id, NOON)));
    fixture.corrupt(&job_id("b"));
    fixture.claim("one", NOON, 10);
    let job = sample_job("b", noon_plus(5));
    assert_eq!(fixture.insert_one(&job, ConflictPolicy::Replace).expect("insert"), Inserted::Replaced);
    assert_eq!(fixture.stored("b").next_run_time(), Some(noon_plus(5)));
    let claimed = fixture.claim("two", noon_plus(5), 10);
    assert!(claimed_ids(&claimed).contains(&"b"), "it is due again");
    assert_eq!(fixture.store.job_counts().expect("counts").quarantined, 0);
    assert_eq!(fixture.store.clear().expect("clear"), 2);
    fixture.end();
}

/// Spoiled rows at the front of the line do not keep others from being claimed, however few are asked for; a row that
/// is spoiled while it is claimed does no harm either.
pub fn store_claims_past_spoiled_rows(fixture: StoreFixture) {
    let ids: Vec<String> = (0..12).map(|number| format!("job-{number:02}")).collect();
    fixture.insert(&ids.iter().map(|id| sample_job(id, NOON)).collect::<Vec<_>>());
    ids[..10].iter().for_each(|id| fixture.corrupt(&job_id(id)));
    // However slow the server is, none of these leases ends before the last claim is made.
    let request = ClaimRequest { lease: LONG_LEASE, ..fixture.request("one", NOON, 1) };
    let claims = (0..13).flat_map(|_| fixture.store.claim_due(&request).expect("claim"));
    assert_eq!(claimed_ids(&claims.collect::<Vec<_>>()), ids[10..]);
    fixture.corrupt(&job_id(&ids[10]));
    fixture.store.recover("one").expect("recover");
    let mut again = fixture.claim("two", NOON, 1);
    again.extend(fixture.claim("two", NOON, 1));
    assert_eq!(claimed_ids(&again), ids[11..]);
    fixture.end();
}

/// A job whose payload is longer than the store allows is refused, and takes no other of its batch with it; one just
/// below comes back as it was.
pub fn store_refuses_long_payloads(fixture: StoreFixture) {
    let most = fixture.max_payload();
    let with = |id: &str, length: usize| {
        let job = sample_job(id, NOON);
        let args = sched_core::Args::from(json!(["x".repeat(length)]));
        let spec = sched_core::JobSpec { args, ..sched_core::JobSpec::clone(&job.spec) };
        sched_core::Job { spec: std::sync::Arc::new(spec), cursor: job.cursor }
    };
    let jobs = [with("a", 10), with("b", most + 1), with("c", most - 1_024)];
    let answers = fixture.store.insert(&jobs, ConflictPolicy::Error).expect("insert");
    let kinds: Vec<_> = answers.into_iter().map(|answer| answer.map_err(|error| error.kind())).collect();
    assert_eq!(kinds, [Ok(Inserted::Added), Err(ErrorKind::InvalidJob), Ok(Inserted::Added)]);
    assert_eq!(fixture.stored("c").spec.args, jobs[2].spec.args);
    assert_eq!(claimed_ids(&fixture.claim("one", NOON, 10)), ["a", "c"]);
    fixture.end();
}
