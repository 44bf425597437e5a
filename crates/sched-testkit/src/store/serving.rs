//! Cases about stores on a server with a clock of its own: what the clocks of its clients say does not matter.

use chrono::TimeDelta;

use super::{StoreFixture, applied, claimed_ids};
use crate::jobs::{NOON, noon_plus, run_id, sample_job, sample_queued};
use crate::queue::{claim_of, run_ids};

/// An hour, in whichever direction.
const SKEWS: [i64; 2] = [-3_600, 3_600];

/// Leases on jobs end by the server's clock, though the clocks of two clients are an hour apart.
pub fn store_judges_leases_by_the_servers_clock(fixture: StoreFixture) {
    for seconds in SKEWS {
        fixture.restart_peer_skewed(TimeDelta::seconds(seconds));
        fixture.insert(&["a", "b"].map(|id| sample_job(id, NOON)));
        let ours = fixture.claim("one", NOON, 1);
        let request = fixture.request("two", NOON, 10);
        let theirs = fixture.peer.claim_due(&request).expect("claim");
        assert_eq!(claimed_ids(&theirs), ["b"], "our lease holds for a client that is {seconds} s off");
        assert!(fixture.claim("one", NOON, 10).is_empty(), "theirs holds for us");
        assert_eq!(fixture.advance(&ours[0].claim, noon_plus(60)), applied());
        fixture.outlast_leases();
        assert_eq!(claimed_ids(&fixture.claim("one", NOON, 10)), ["b"], "theirs ends in its time");
        fixture.store.clear().expect("clear");
    }
    fixture.end();
}

/// The same of leases on runs, and of renewals.
pub fn queue_judges_leases_by_the_servers_clock(fixture: StoreFixture) {
    let peer = fixture.peer.runs().expect("the peer has a run queue");
    let places = [(std::sync::Arc::from("default"), 100)];
    for (base, seconds) in [0, 10].into_iter().zip(SKEWS) {
        fixture.restart_peer_skewed(TimeDelta::seconds(seconds));
        fixture.enqueue([1, 2].map(|number| sample_queued(base + number, NOON)));
        let ours = fixture.claim_runs("one", NOON, 1);
        let theirs = peer.claim(&fixture.request("two", NOON, 10), &places).expect("claim");
        assert_eq!(
            run_ids(&theirs),
            [run_id(base + 2)],
            "our lease holds for a client that is {seconds} s off"
        );
        assert!(peer.reap().expect("reap").is_empty());
        assert!(fixture.queue().reap().expect("reap").is_empty());
        fixture.pass(fixture.lease() / 2);
        assert_eq!(peer.renew(&[claim_of(&theirs[0])], fixture.lease()).expect("renew"), [true]);
        fixture.pass(fixture.lease() / 2 + std::time::Duration::from_millis(5));
        assert_eq!(fixture.queue().reap().expect("reap"), [run_id(base + 1)], "only theirs was renewed");
        assert!(!fixture.finish_run(claim_of(&ours[0]), serde_json::Value::Null));
        fixture.outlast_leases();
        assert_eq!(peer.reap().expect("reap"), [run_id(base + 2)]);
        for claimed in fixture.claim_runs("one", NOON, 10) {
            assert!(fixture.finish_run(claim_of(&claimed), serde_json::Value::Null));
        }
    }
    fixture.end();
}
