//! The oracles bite: planted bugs are caught within a few seeds. Bugs that take hundreds of seeds are left to the example
//! `hunt mutants`, which runs them all.

use filch_core::Mutant;
use filch_sim::mutants::catch;

/// Seeds of each profile.
const SEEDS: u64 = 12;

#[test]
fn planted_bugs_are_caught_by_the_rule_that_they_break() {
    let expected: [(Mutant, &[&str]); 15] = [
        (Mutant::AckBeforeFsync, &["S3"]),
        (Mutant::AckAtOneCopy, &["S1"]),
        (Mutant::CountSelfTwice, &["S1"]),
        (Mutant::PinBeforeDisk, &["S5"]),
        (Mutant::TwoPinsInFlight, &["S5"]),
        (Mutant::OrderByArrival, &["S4"]),
        (Mutant::NoAntiEntropy, &["L1", "L2"]),
        (Mutant::ClosureAfterFact, &["S14"]),
        (Mutant::StealBothKeep, &["S13"]),
        (Mutant::StealNeitherKeeps, &["S11", "L1"]),
        (Mutant::BudgetChargesQueued, &["S12"]),
        (Mutant::DeadlineIgnoresQueued, &["L1"]),
        (Mutant::RepairDropsCopy, &["L3", "L4"]),
        (Mutant::NoSignatureCheck, &["S6"]),
        (Mutant::GrantTwice, &["S11", "S13"]),
    ];
    for (mutant, rules) in expected {
        let caught = catch(mutant, SEEDS).unwrap_or_else(|| panic!("{mutant:?} is not caught"));
        assert!(rules.contains(&caught.rule), "{mutant:?} breaks {}, not {rules:?}: {}", caught.rule, caught.text);
    }
}
