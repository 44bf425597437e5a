//! The simulator finds every bug that is put into it, tells the same story twice, and finds nothing where nothing is.

use sched_testkit::simulator::{Mutation, Violation, simulate, tell};

/// So many seeds a mutation has to be found in.
const SEEDS: u64 = 2_000;

/// So many seeds are played here; `cargo xtask sim` plays more.
const SOME: u64 = 150;

fn caught(mutation: Mutation) -> Option<Violation> {
    (0..SEEDS).find_map(|seed| simulate(seed, Some(mutation)).err())
}

#[test]
fn every_mutation_is_caught() {
    assert!(Mutation::ALL.len() >= 30);
    let mut missed = Vec::new();
    for mutation in Mutation::ALL {
        match caught(*mutation) {
            Some(violation) => println!("{mutation}: {violation}"),
            None => missed.push(*mutation),
        }
    }
    assert!(missed.is_empty(), "not caught within {SEEDS} seeds: {missed:?}");
}

#[test]
fn nothing_is_found_where_nothing_is() {
    let (mut started, mut finished) = (0, 0);
    for seed in 0..SOME {
        let summary = simulate(seed, None).unwrap_or_else(|violation| panic!("{violation}"));
        (started, finished) = (started + summary.started, finished + summary.finished);
    }
    assert!(started > 1_000 && finished > 1_000, "{started} runs started and {finished} are over");
}

#[test]
fn a_seed_tells_the_same_story_to_the_last_line() {
    for seed in 0..50 {
        let (first, second) = (tell(seed, None), tell(seed, None));
        assert_eq!(first, second, "seed {seed}");
        assert_eq!(first.0, simulate(seed, None), "to listen changes nothing");
        assert!(first.1.len() > 2, "{:?}", first.1);
    }
    let violation = caught(Mutation::CommitAcceptsStaleToken).expect("it is caught");
    assert_eq!(simulate(violation.seed, violation.mutation), Err(violation.clone()));
    let command = format!("cargo xtask sim --seed {} --mutation CommitAcceptsStaleToken", violation.seed);
    assert!(violation.to_string().contains(&command), "{violation}");
}
