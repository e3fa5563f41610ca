//! What `cargo test` follows to the end of every run; the example `search` goes further.
#![allow(missing_docs)]

use filch_core::Mutant;
use filch_search::{Limits, Outcome, Setting, search};

/// Far beyond what these searches visit: a bound, should the core get a bug that makes them endless.
const MOST: usize = 100_000;

fn all(copies: u8, limits: Limits) -> Outcome {
    let found = search(Setting { copies, mutant: None, limits }, MOST);
    if let Some(b) = &found.broken {
        panic!("{}\n{}\nby {:?}", b.story.join("\n"), b.why, b.by);
    }
    assert!(found.whole, "{} states are not all", found.states);
    found
}

fn reached(found: &Outcome, what: &[&str]) {
    for w in what {
        assert!(found.reached.contains(w), "in no run {w}: {:?}", found.reached);
    }
}

#[test]
fn one_steward_and_any_two_deviations() {
    let found = all(1, Limits::any(2));
    let what = ["a run ends", "a task is stolen", "a task runs twice", "tasks are lost on their way, and run"];
    reached(&found, &what);
    assert!(found.states > 5_000, "{} states", found.states);
}

#[test]
fn three_possible_stewards_and_any_one_deviation() {
    let found = all(3, Limits::any(1));
    reached(&found, &["a run ends", "a task is stolen", "somebody else becomes the steward"]);
    assert!(found.states > 500, "{} states", found.states);
}

#[test]
fn planted_bugs_of_leases_and_steals_are_found() {
    let expected = [
        (Mutant::StealBothKeep, "S13"),
        (Mutant::StealNeitherKeeps, "S11"),
        (Mutant::GrantTwice, "S11"),
        (Mutant::NoLeaseExpiry, "L1"),
    ];
    for (mutant, rule) in expected {
        let found = search(Setting { copies: 1, mutant: Some(mutant), limits: Limits::any(1) }, MOST);
        let broken = found.broken.unwrap_or_else(|| panic!("{mutant:?} is not found in {} states", found.states));
        assert!(broken.why.starts_with(rule), "{mutant:?} breaks {}, by {:?}", broken.why, broken.by);
    }
}
